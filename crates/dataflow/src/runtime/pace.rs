//! What an operator is doing right now: so that it gives its thread back after a while, and that one which does not is
//! named.
//!
//! Operators read no clock. Each notes the beginning and the end of its turn; one thread of the attempt looks at these
//! notes now and then, raises a flag where a turn takes long, and reports what does not react to it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use highwater_backends::CancellationSettings;
use highwater_types::{Error, Result};

use super::attempt::{Attempt, lock};

/// How often turns are looked at while there are any. One that is seen twice is over.
const TICK: Duration = Duration::from_millis(5);
/// How often they are looked at while all workers rest.
const REST: Duration = Duration::from_millis(50);
/// A call that takes this long is reported, and again whenever the time has doubled.
const LONG_CALL: Duration = Duration::from_secs(10);
/// Status with which a process ends whose code could not be cancelled in time.
pub(crate) const EXIT_CODE: i32 = 239;

/// Bits of a note that hold the number of the operator; above them turns are counted.
const OPERATOR_BITS: u32 = 16;

/// The notes of one worker.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Pace {
    /// The turn should end.
    is_over: AtomicBool,
    /// The turn there is; 0 for none.
    turn: AtomicU64,
    /// Number of the last turn. Written by the worker alone.
    turns: AtomicU64,
    operators: Mutex<Vec<Arc<str>>>,
}

impl Pace {
    /// Adds an operator. Returns the number under which it takes its turns.
    pub(crate) fn register(&self, operator: Arc<str>) -> usize {
        let mut operators = lock(&self.operators);
        operators.push(operator);
        operators.len() - 1
    }

    /// An operator begins its turn. It ends when the value is dropped.
    pub(crate) fn begin(&self, operator: usize) -> Turn<'_> {
        let turn = self.turns.load(Ordering::Relaxed) + 1;
        self.turns.store(turn, Ordering::Relaxed);
        self.is_over.store(false, Ordering::Relaxed);
        self.turn.store(turn << OPERATOR_BITS | operator as u64 & ((1 << OPERATOR_BITS) - 1), Ordering::Relaxed);
        Turn(self)
    }

    /// Whether the operator should give the thread back. A plain load of a cache line that seldom changes.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Lets the running turn end at the next opportunity.
    pub(crate) fn end_turn(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    fn operator_of(&self, turn: u64) -> Arc<str> {
        let operators = lock(&self.operators);
        operators.get((turn & ((1 << OPERATOR_BITS) - 1)) as usize).map_or_else(|| "unknown".into(), Arc::clone)
    }
}

/// A turn of an operator.
pub(crate) struct Turn<'a>(&'a Pace);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.turn.store(0, Ordering::Relaxed);
    }
}

/// How patient a cancellation is (`task.cancellation.*`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Time between two reports of code that does not return.
    pub(crate) interval: Duration,
    /// After this time the process ends; none: never.
    pub(crate) timeout: Option<Duration>,
}

impl From<&CancellationSettings> for Patience {
    fn from(settings: &CancellationSettings) -> Self {
        Self { interval: settings.interval, timeout: settings.timeout }
    }
}

/// The thread that looks at the notes of the workers. Dropping it ends and joins it.
pub(crate) struct Watchdog {
    thread: Option<JoinHandle<()>>,
    is_done: Arc<AtomicBool>,
}

impl Watchdog {
    /// Watches the workers of this process, of which the first has this index.
    pub(crate) fn start(
        attempt: &Arc<Attempt>,
        paces: &[Arc<Pace>],
        first_worker: usize,
        patience: Patience,
    ) -> Result<Self> {
        let is_done = Arc::new(AtomicBool::new(false));
        let workers = paces.iter().enumerate();
        let workers = workers.map(|(index, pace)| Watched::new(first_worker + index, Arc::clone(pace))).collect();
        let watch = Watch { attempt: Arc::clone(attempt), workers, patience, cancelled: None };
        let of_thread = Arc::clone(&is_done);
        let thread = thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || watch.run(&of_thread))
            .map_err(|error| Error::storage("a background thread could not be started").because(error))?;
        Ok(Self { thread: Some(thread), is_done })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.is_done.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the watchdog panicked");
            }
        }
    }
}

/// What the thread knows of one worker.
struct Watched {
    worker: usize,
    pace: Arc<Pace>,
    /// The turn that was seen last, and when it was seen first.
    turn: u64,
    since: Instant,
    /// How long it may take before the next report.
    allowed: Duration,
}

impl Watched {
    fn new(worker: usize, pace: Arc<Pace>) -> Self {
        Self { worker, pace, turn: 0, since: Instant::now(), allowed: LONG_CALL }
    }

    /// Looks once. Returns whether an operator has its turn.
    fn look(&mut self, now: Instant) -> bool {
        let turn = self.pace.turn.load(Ordering::Relaxed);
        if turn != self.turn {
            (self.turn, self.since, self.allowed) = (turn, now, LONG_CALL);
            return turn != 0;
        }
        if turn == 0 {
            return false;
        }
        self.pace.end_turn();
        let time = now.saturating_duration_since(self.since);
        if time >= self.allowed {
            self.allowed = time * 2;
            let operator = self.pace.operator_of(turn);
            tracing::warn!(%operator, subtask = self.worker, ?time, "one call of an operator takes long: until it \
                returns, its worker takes no checkpoint and cannot be stopped");
        }
        true
    }

    /// What it does not come back from.
    fn describe(&self) -> String {
        let turn = self.pace.turn.load(Ordering::Relaxed);
        match turn {
            0 => format!("subtask {} between two calls", self.worker),
            _ => format!("operator \"{}\", subtask {}", self.pace.operator_of(turn), self.worker),
        }
    }
}

struct Watch {
    attempt: Arc<Attempt>,
    workers: Vec<Watched>,
    patience: Patience,
    /// When the attempt was seen cancelled first, and when to report next.
    cancelled: Option<(Instant, Instant)>,
}

impl Watch {
    fn run(mut self, is_done: &AtomicBool) {
        while !is_done.load(Ordering::Acquire) {
            let now = Instant::now();
            let mut is_busy = false;
            for worker in &mut self.workers {
                is_busy |= worker.look(now);
            }
            if self.attempt.is_cancelled() {
                self.urge(now);
            }
            thread::park_timeout(if is_busy { TICK } else { REST });
        }
    }

    /// The attempt is cancelled: all turns are over, and those that go on are reported, in the end with an exit.
    fn urge(&mut self, now: Instant) {
        self.workers.iter().for_each(|worker| worker.pace.end_turn());
        let (since, next) = *self.cancelled.get_or_insert((now, now + self.patience.interval));
        let time = now.saturating_duration_since(since);
        if self.patience.timeout.is_some_and(|timeout| time >= timeout) {
            self.give_up(time);
        }
        if now >= next {
            self.cancelled = Some((since, now + self.patience.interval));
            for running in self.running() {
                tracing::warn!(%running, ?time, "cancelled, but does not return");
            }
        }
    }

    fn running(&self) -> Vec<String> {
        let is_running = |worker: &&Watched| worker.pace.turn.load(Ordering::Relaxed) != 0;
        self.workers.iter().filter(is_running).map(Watched::describe).collect()
    }

    /// Nothing in this process can end a thread. Locks of the job are the operating system's, and end with it.
    fn give_up(&self, time: Duration) {
        let mut running = self.running();
        if running.is_empty() {
            running.extend(self.workers.iter().map(Watched::describe));
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
        let mut watched = Watched::new(3, Arc::clone(&pace));
        assert!(!watched.look(begin));
        let turn = pace.begin(operator);
        assert!(watched.look(begin) && !pace.is_over());
        assert!(watched.look(begin + TICK) && pace.is_over());
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
