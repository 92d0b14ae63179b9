//! The thread that looks at the notes of the others: it ends long turns of operators, reports calls that take long, and
//! ends the process when an attempt does not come to its end after a cancellation.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use highwater_backends::CancellationSettings;
use highwater_types::{Error, Result};

use super::attempt::{Attempt, lock};
use super::pace::Pace;

/// How often turns are looked at while there are any. One that is seen twice is over.
const TICK: Duration = Duration::from_millis(5);
/// How often they are looked at while all workers rest.
const REST: Duration = Duration::from_millis(50);
/// A call that takes this long is reported, and again whenever the time has doubled.
const LONG_CALL: Duration = Duration::from_secs(10);
/// Status with which a process ends whose code could not be cancelled in time.
pub(crate) const EXIT_CODE: i32 = 239;

/// How patient a cancellation is (`task.cancellation.*`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Time between two reports of code that does not return.
    pub(crate) interval: Duration,
    /// After this time the process ends; none: never.
    pub(crate) timeout: Option<Duration>,
}

/// How long the end of an attempt waits for what is still to be done about savepoints.
const SAVEPOINT_GRACE: Duration = Duration::from_secs(5);

impl Patience {
    /// How long the end of an attempt waits for what is still to be done about savepoints, twice: for the state and for
    /// the metadata. Their targets are not the job's.
    pub(crate) fn savepoint_grace(self) -> Duration {
        self.timeout.map_or(SAVEPOINT_GRACE, |timeout| SAVEPOINT_GRACE.min(timeout / 4))
    }
}

impl From<&CancellationSettings> for Patience {
    fn from(settings: &CancellationSettings) -> Self {
        Self { interval: settings.interval, timeout: settings.timeout }
    }
}

/// Where code runs that the end of the attempt waits for.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// Operators, on the worker of this index.
    Worker(usize),
    /// Enumerators of sources.
    Enumerators,
    /// A thread of this name that reads and writes files.
    Files(String),
}

/// Watches the threads of one attempt in this process. Dropping it ends and joins its thread: to be done last, when all
/// others have been joined.
pub(crate) struct Watchdog {
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    watched: Mutex<Vec<Watched>>,
    have_workers_left: AtomicBool,
    is_done: AtomicBool,
}

impl Watchdog {
    pub(crate) fn start(attempt: &Arc<Attempt>, patience: Patience) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (attempt, of_thread) = (Arc::clone(attempt), Arc::clone(&shared));
        let watch = Watch { attempt, shared: of_thread, patience, cancelled: None, changed: Instant::now() };
        let thread = thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || watch.run())
            .map_err(|error| Error::storage("a background thread could not be started").because(error))?;
        Ok(Self { thread: Some(thread), shared })
    }

    /// Watches one more thread, which takes its notes here.
    pub(crate) fn watch(&self, place: Place) -> Arc<Pace> {
        let pace = Arc::new(Pace::default());
        lock(&self.shared.watched).push(Watched::new(place, Arc::clone(&pace)));
        pace
    }

    /// The workers are gone. From now on the end of the attempt may take longer, as long as it gets on.
    pub(crate) fn workers_have_left(&self) {
        self.shared.have_workers_left.store(true, Ordering::Release);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.is_done.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the watchdog panicked");
            }
        }
    }
}

/// What is known of one thread.
struct Watched {
    place: Place,
    pace: Arc<Pace>,
    /// The turn that was seen last, and when it was seen first.
    turn: u64,
    since: Instant,
    /// How long it may take before the next report.
    allowed: Duration,
}

/// What was seen of one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// The same as the last time: nothing.
    Rest,
    /// The same call as the last time.
    Busy,
    /// Something else than the last time.
    Change,
}

impl Watched {
    fn new(place: Place, pace: Arc<Pace>) -> Self {
        Self { place, pace, turn: 0, since: Instant::now(), allowed: LONG_CALL }
    }

    /// Looks once.
    fn look(&mut self, now: Instant) -> Seen {
        let turn = self.pace.turn();
        if turn != self.turn {
            (self.turn, self.since, self.allowed) = (turn, now, LONG_CALL);
            return Seen::Change;
        }
        if turn == 0 {
            return Seen::Rest;
        }
        self.pace.end_turn();
        let time = now.saturating_duration_since(self.since);
        if time >= self.allowed {
            self.allowed = time * 2;
            self.report(turn, time);
        }
        Seen::Busy
    }

    fn report(&self, turn: u64, time: Duration) {
        let operator = self.pace.operator_of(turn);
        match &self.place {
            Place::Worker(subtask) => tracing::warn!(%operator, subtask, ?time, "one call of an operator takes long: \
                until it returns, its worker takes no checkpoint and cannot be stopped"),
            Place::Enumerators => {
                tracing::warn!(%operator, ?time, "one call of the enumerator of a source takes long: \
                until it returns, no source gets splits, and no checkpoint can be taken, not even the one with which \
                the job would stop")
            }
            // A checkpoint that takes too long is given up, which is reported elsewhere.
            Place::Files(_) => {}
        }
    }

    fn is_running(&self) -> bool {
        self.pace.turn() != 0
    }

    /// What it does not come back from.
    fn describe(&self) -> String {
        let turn = self.pace.turn();
        let what = self.pace.operator_of(turn);
        match (&self.place, turn) {
            (Place::Worker(subtask), 0) => format!("subtask {subtask} between two calls"),
            (Place::Worker(subtask), _) => format!("operator \"{what}\", subtask {subtask}"),
            (Place::Enumerators, 0) => "the thread of the enumerators between two calls".to_owned(),
            (Place::Enumerators, _) => format!("the enumerator of operator \"{what}\""),
            (Place::Files(thread), 0) => format!("thread \"{thread}\" between two calls"),
            (Place::Files(thread), _) => format!("thread \"{thread}\" ({what})"),
        }
    }
}

struct Watch {
    attempt: Arc<Attempt>,
    shared: Arc<Shared>,
    patience: Patience,
    /// When the attempt was seen cancelled first, and when to report next.
    cancelled: Option<(Instant, Instant)>,
    /// When something was seen last that got on.
    changed: Instant,
}

impl Watch {
    fn run(mut self) {
        let mut had_workers_left = false;
        while !self.shared.is_done.load(Ordering::Acquire) {
            let now = Instant::now();
            let mut is_busy = false;
            for watched in &mut *lock(&self.shared.watched) {
                let seen = watched.look(now);
                is_busy |= seen != Seen::Rest && matches!(watched.place, Place::Worker(_));
                if seen == Seen::Change {
                    self.changed = now;
                }
            }
            let have_workers_left = self.shared.have_workers_left.load(Ordering::Acquire);
            if have_workers_left != had_workers_left {
                (had_workers_left, self.changed) = (have_workers_left, now);
            }
            if self.attempt.is_cancelled() {
                self.urge(now, have_workers_left);
            }
            thread::park_timeout(if is_busy { TICK } else { REST });
        }
    }

    /// The attempt is cancelled: all turns are over, and those that go on are reported, in the end with an exit. Workers
    /// have to leave within the timeout. Whoever has files to write or to remove behind them may take longer, as long as
    /// no single call does.
    fn urge(&mut self, now: Instant, have_workers_left: bool) {
        lock(&self.shared.watched).iter().for_each(|watched| watched.pace.end_turn());
        let (since, next) = *self.cancelled.get_or_insert((now, now + self.patience.interval));
        let begin = if have_workers_left { since.max(self.changed) } else { since };
        let time = now.saturating_duration_since(begin);
        if self.patience.timeout.is_some_and(|timeout| time >= timeout) {
            self.give_up(time);
        }
        if now >= next {
            self.cancelled = Some((since, now + self.patience.interval));
            for running in self.describe(Watched::is_running) {
                tracing::warn!(%running, ?time, "cancelled, but does not return");
            }
        }
    }

    fn describe(&self, which: impl Fn(&Watched) -> bool) -> Vec<String> {
        lock(&self.shared.watched).iter().filter(|watched| which(watched)).map(Watched::describe).collect()
    }

    /// Nothing in this process can end a thread. Locks of the job are the operating system's, and end with it.
    fn give_up(&self, time: Duration) {
        let mut running = self.describe(Watched::is_running);
        if running.is_empty() {
            running = self.describe(|_| true);
        }
        let failure = self.attempt.failure().map(|(_, text)| format!(" (the attempt failed: {text})"));
        let text = format!(
            "a cancelled job does not end after {time:?} (task.cancellation.timeout): {} does not return; the process \
             ends with status {EXIT_CODE}{}",
            running.join("; "),
            failure.unwrap_or_default()
        );
        tracing::error!("{text}");
        // Without a subscriber nobody would ever know.
        eprintln!("highwater: {text}");
        std::process::exit(EXIT_CODE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_is_seen_twice_is_over_and_reports_come_ever_more_seldom() {
        let pace = Arc::new(Pace::default());
        let operator = pace.register("count".into());
        let begin = Instant::now();
        let mut watched = Watched::new(Place::Worker(3), Arc::clone(&pace));
        assert_eq!(watched.look(begin), Seen::Rest);
        let turn = pace.begin(operator);
        assert!(watched.look(begin) == Seen::Change && !pace.is_over());
        assert!(watched.look(begin + TICK) == Seen::Busy && pace.is_over());
        assert_eq!(watched.describe(), "operator \"count\", subtask 3");
        watched.look(begin + LONG_CALL);
        assert_eq!(watched.allowed, LONG_CALL * 2);
        drop(turn);
        let _next = pace.begin(operator);
        assert!(!pace.is_over());
        watched.look(begin + LONG_CALL * 5);
        assert!(!pace.is_over(), "another turn of the same operator");
        assert_eq!(watched.allowed, LONG_CALL);
    }
}
