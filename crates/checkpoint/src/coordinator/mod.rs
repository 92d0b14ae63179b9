//! The checkpoint coordinator: it decides when a checkpoint begins, when it is complete and when it is given up.
//!
//! It is a state machine and nothing else: [`Event`]s go in with the time, [`Command`]s come out. It holds no clock, no
//! file and no thread, so that every order of events can be tried. The caller delivers events one by one, carries out
//! the commands in order, and comes back at [`Coordinator::next_wakeup`].
//!
//! The rules, as in Flink's `CheckpointCoordinator`:
//!
//! * Periodic checkpoints begin at a fixed rate, after a random first delay, not before the minimum pause since the last
//!   completion is over, and not while the permitted number is under way.
//! * Ids only grow, also over failed checkpoints and over attempts.
//! * When all subtasks of the attempt have acknowledged, the metadata is written; when it is durable, the checkpoint is
//!   complete, and older ones still under way are given up. Only one metadata write is under way at a time.
//! * A checkpoint is given up when it cannot start, a subtask declines or fails, it expires, its metadata cannot be
//!   written or the attempt ends; what was acknowledged is discarded. Once the write has begun, only its outcome
//!   decides: not the timeout, and not the end of the attempt.
//! * More than the tolerable number of failures in a row fail the job.
//! * Savepoints begin at once, beside any checkpoint, and neither subsume nor are subsumed; they do not count, as success
//!   or failure, and of the permitted number they take no place (in Flink they do): their targets may be slow. One that is
//!   to end the attempt keeps everything else from beginning until it is given up, and ends what is under way when it
//!   completes.
//! * What is acknowledged too late is discarded, once. What might repeat an acknowledgement of a complete checkpoint is
//!   ignored.

mod pending;
mod protocol;
mod schedule;
mod settings;

use std::collections::BTreeMap;
use std::time::Duration;

use highwater_types::{Error, Result};

pub use protocol::{AbortReason, CheckpointKind, Command, DiscardExtent, Event};
pub use settings::CoordinatorSettings;

use pending::{Aborted, Pending};
use schedule::{FinalRequest, Requests, Schedule};

/// What a new attempt begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptStart {
    /// Number of the attempt; greater than that of any before it.
    pub attempt: u64,
    /// How many subtasks take part in every checkpoint; they are numbered from 0.
    pub subtasks: u32,
    /// Least id of the next checkpoint: greater than that of the restored one and of any that was ever begun, complete
    /// or not. Ids start at 1.
    pub next_checkpoint: u64,
    /// Any random number; it places the first periodic checkpoint between the minimum pause and the interval.
    pub jitter: u64,
}

/// Decides about the checkpoints of one job. `T` is what a subtask acknowledges with; clones of it should be cheap.
///
/// Times are durations since a moment the caller chooses once; they never go back.
///
/// ```
/// use std::time::Duration;
/// use highwater_checkpoint::{AttemptStart, CheckpointKind, Command, Coordinator, CoordinatorSettings, Event};
///
/// let mut coordinator = Coordinator::<&str>::new(CoordinatorSettings::default())?;
/// let now = Duration::ZERO;
/// coordinator.start(now, AttemptStart { attempt: 1, subtasks: 1, next_checkpoint: 1, jitter: 0 })?;
///
/// let commands = coordinator.handle(now, Event::Trigger { kind: CheckpointKind::Manual });
/// assert_eq!(commands, [Command::Begin { attempt: 1, checkpoint: 1, kind: CheckpointKind::Manual }]);
///
/// let acknowledge = Event::Acknowledge { attempt: 1, checkpoint: 1, subtask: 0, payload: "handles" };
/// let commands = coordinator.handle(now, acknowledge);
/// assert!(matches!(&commands[..], [Command::WriteMetadata { checkpoint: 1, .. }]));
///
/// let commands = coordinator.handle(now, Event::MetadataWritten { checkpoint: 1 });
/// assert_eq!(commands, [Command::Complete { attempt: 1, checkpoint: 1, kind: CheckpointKind::Manual }]);
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Debug)]
pub struct Coordinator<T> {
    settings: CoordinatorSettings,
    now: Duration,
    next_checkpoint: u64,
    attempt: Option<Attempt>,
    last_attempt: u64,
    pending: BTreeMap<u64, Pending<T>>,
    /// The checkpoint, or savepoint that ends the job, whose metadata is being written.
    writing: Option<u64>,
    /// Another savepoint whose metadata is being written. Its target is the user's, who may have chosen one that hangs.
    writing_savepoint: Option<u64>,
    aborted: Aborted,
    last_completed: Option<u64>,
    /// End of the minimum pause after the last completion.
    pause_end: Duration,
    failures_in_a_row: u32,
    commands: Vec<Command<T>>,
}

/// The attempt that runs.
#[derive(Debug)]
struct Attempt {
    number: u64,
    subtasks: u32,
    schedule: Option<Schedule>,
    requests: Requests,
    /// A failure was seen: nothing begins any more.
    is_failing: bool,
}

impl<T: Clone> Coordinator<T> {
    /// A coordinator without an attempt.
    ///
    /// # Errors
    /// Settings out of range ([`CoordinatorSettings::validate`]).
    pub fn new(settings: CoordinatorSettings) -> Result<Self> {
        settings.validate()?;
        Ok(Self {
            settings,
            now: Duration::ZERO,
            next_checkpoint: 1,
            attempt: None,
            last_attempt: 0,
            pending: BTreeMap::new(),
            writing: None,
            writing_savepoint: None,
            aborted: Aborted::default(),
            last_completed: None,
            pause_end: Duration::ZERO,
            failures_in_a_row: 0,
            commands: Vec::new(),
        })
    }

    /// Starts an attempt. Requests of earlier attempts are forgotten.
    ///
    /// # Errors
    /// [`Internal`](highwater_types::ErrorKind::Internal) if an attempt runs, if a metadata write of the last attempt
    /// has not reported its outcome (without it nobody knows which checkpoint to restore), or if the number is not new.
    pub fn start(&mut self, now: Duration, start: AttemptStart) -> Result<()> {
        if let Some(running) = &self.attempt {
            return Err(Error::internal("an attempt starts while another runs").with("attempt", running.number));
        }
        if let Some(checkpoint) = self.writing() {
            return Err(Error::internal("an attempt starts before the outcome of a metadata write is known")
                .with("checkpoint", checkpoint));
        }
        if start.attempt <= self.last_attempt || start.subtasks == 0 {
            return Err(Error::internal("an attempt needs a new number and at least one subtask")
                .with("attempt", start.attempt)
                .with("last attempt", self.last_attempt)
                .with("subtasks", start.subtasks));
        }
        self.now = self.now.max(now);
        self.next_checkpoint = self.next_checkpoint.max(start.next_checkpoint);
        self.last_attempt = start.attempt;
        self.attempt = Some(Attempt {
            number: start.attempt,
            subtasks: start.subtasks,
            schedule: Schedule::new(&self.settings, self.now, start.jitter),
            requests: Requests::default(),
            is_failing: false,
        });
        Ok(())
    }

    /// Takes one event and says what to do, in order.
    #[must_use = "the commands have to be carried out"]
    pub fn handle(&mut self, now: Duration, event: Event<T>) -> Vec<Command<T>> {
        self.now = self.now.max(now);
        match event {
            Event::Tick => {}
            Event::Trigger { kind } => self.request(kind),
            Event::BeginFailed { checkpoint, reason } => {
                if self.is_collecting(checkpoint) {
                    self.abort(checkpoint, AbortReason::BeginFailed(reason));
                }
            }
            Event::Acknowledge { attempt, checkpoint, subtask, payload } => {
                self.acknowledge(attempt, checkpoint, subtask, payload);
            }
            Event::Decline { attempt, checkpoint, subtask, reason } => {
                self.decline(attempt, checkpoint, subtask, reason);
            }
            Event::SubtaskFailed { attempt, subtask } => self.subtask_failed(attempt, subtask),
            Event::MetadataWritten { checkpoint } => self.metadata_written(checkpoint),
            Event::MetadataFailed { checkpoint, reason, unclear } => self.metadata_failed(checkpoint, reason, unclear),
            Event::AttemptEnded { attempt } => self.attempt_ended(attempt),
        }
        self.expire();
        self.write_next();
        self.begin_next();
        std::mem::take(&mut self.commands)
    }

    /// When to come back with a [`Tick`](Event::Tick), unless something happens before; none: when something happens.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Duration> {
        let deadlines = self.pending.values().filter(|p| !p.is_acknowledged()).map(|p| p.deadline);
        deadlines.chain(self.next_begin()).min()
    }

    /// Checkpoints under way, ascending.
    pub fn pending(&self) -> impl ExactSizeIterator<Item = u64> {
        self.pending.keys().copied()
    }

    /// A checkpoint or savepoint whose metadata is being written. No attempt may start until the outcome is reported.
    #[must_use]
    pub fn writing(&self) -> Option<u64> {
        self.writing.or(self.writing_savepoint)
    }

    /// The savepoints among those that are being written.
    pub fn writing_savepoints(&self) -> impl Iterator<Item = u64> {
        let is_savepoint = |id: &u64| self.pending.get(id).is_some_and(|pending| pending.kind.is_savepoint());
        [self.writing.filter(is_savepoint), self.writing_savepoint].into_iter().flatten()
    }

    /// The newest checkpoint this coordinator completed.
    #[must_use]
    pub fn last_completed(&self) -> Option<u64> {
        self.last_completed
    }

    /// The id the next checkpoint will have.
    #[must_use]
    pub fn next_checkpoint(&self) -> u64 {
        self.next_checkpoint
    }

    fn request(&mut self, kind: CheckpointKind) {
        let now = self.now;
        if let Some(attempt) = &mut self.attempt {
            attempt.requests.add(kind, now);
        }
    }

    fn is_collecting(&self, checkpoint: u64) -> bool {
        self.pending.get(&checkpoint).is_some_and(|pending| !pending.is_acknowledged())
    }

    fn acknowledge(&mut self, attempt: u64, checkpoint: u64, subtask: u32, payload: T) {
        match self.pending.get_mut(&checkpoint).filter(|pending| pending.attempt == attempt) {
            Some(pending) => {
                if pending.missing.remove(&subtask) {
                    pending.acknowledgements.insert(subtask, payload);
                }
            }
            None => {
                let never_begun = checkpoint >= self.next_checkpoint;
                if never_begun || self.aborted.take(checkpoint, attempt, subtask) {
                    self.discard(checkpoint, vec![payload], DiscardExtent::Late);
                }
            }
        }
    }

    fn decline(&mut self, attempt: u64, checkpoint: u64, subtask: u32, reason: String) {
        match self.pending.get_mut(&checkpoint).filter(|pending| pending.attempt == attempt) {
            Some(pending) => {
                if pending.missing.remove(&subtask) {
                    self.abort(checkpoint, AbortReason::Declined { subtask, reason });
                }
            }
            // It will not acknowledge any more.
            None => drop(self.aborted.take(checkpoint, attempt, subtask)),
        }
    }

    fn subtask_failed(&mut self, attempt: u64, subtask: u32) {
        let Some(running) = self.attempt.as_mut().filter(|running| running.number == attempt) else { return };
        running.is_failing = true;
        let waiting_for_it = self.pending.iter().filter(|(_, p)| p.missing.contains(&subtask)).map(|(id, _)| *id);
        for checkpoint in waiting_for_it.collect::<Vec<_>>() {
            self.abort(checkpoint, AbortReason::SubtaskFailed { subtask });
        }
    }

    fn attempt_ended(&mut self, attempt: u64) {
        if self.attempt.take_if(|running| running.number == attempt).is_none() {
            return;
        }
        let writing = [self.writing, self.writing_savepoint];
        for checkpoint in self.pending().filter(|id| !writing.contains(&Some(*id))).collect::<Vec<_>>() {
            self.abort(checkpoint, AbortReason::AttemptEnded);
        }
    }

    fn metadata_written(&mut self, checkpoint: u64) {
        let Some(pending) = self.end_write(checkpoint) else { return };
        self.commands.push(Command::Complete { attempt: pending.attempt, checkpoint, kind: pending.kind });
        if pending.kind == CheckpointKind::Savepoint {
            return;
        }
        if !pending.kind.is_savepoint() {
            self.last_completed = Some(checkpoint);
            self.pause_end = self.now.saturating_add(self.settings.pause());
            self.failures_in_a_row = 0;
        }
        let older = self.pending.range(..checkpoint).filter(|(_, pending)| !pending.kind.is_savepoint());
        for older in older.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.abort(older, AbortReason::Subsumed { by: checkpoint });
        }
    }

    fn metadata_failed(&mut self, checkpoint: u64, reason: String, unclear: bool) {
        if !self.take_writing(checkpoint) {
            return;
        }
        self.abort(
            checkpoint,
            match unclear {
                true => AbortReason::MetadataUnclear(reason),
                false => AbortReason::MetadataFailed(reason),
            },
        );
    }

    /// Gives up a checkpoint under way: tells of it, deletes what was acknowledged, counts the failure.
    fn abort(&mut self, checkpoint: u64, reason: AbortReason) {
        let Some(pending) = self.pending.remove(&checkpoint) else { return };
        self.aborted.remember(checkpoint, pending.attempt, pending.missing);
        self.commands.push(Command::Abort { attempt: pending.attempt, checkpoint, reason: reason.clone() });
        if !matches!(reason, AbortReason::MetadataUnclear(_)) {
            let payloads = pending.acknowledgements.into_values().collect();
            self.discard(checkpoint, payloads, DiscardExtent::Checkpoint);
        }
        match pending.kind {
            CheckpointKind::Final => self.retry_final(),
            CheckpointKind::FinalSavepoint => self.go_on(),
            _ => {}
        }
        if !pending.kind.is_savepoint() {
            self.count_failure(checkpoint, &reason);
        }
    }

    fn discard(&mut self, checkpoint: u64, payloads: Vec<T>, extent: DiscardExtent) {
        self.commands.push(Command::Discard { checkpoint, payloads, extent });
    }

    fn retry_final(&mut self) {
        let from = self.now.saturating_add(self.settings.retry_pause());
        if let Some(attempt) = &mut self.attempt {
            attempt.requests.last = FinalRequest::Waiting(from);
        }
    }

    /// The attempt does not end: others may begin again.
    fn go_on(&mut self) {
        if let Some(attempt) = &mut self.attempt {
            attempt.requests.go_on(self.now);
        }
    }

    fn count_failure(&mut self, checkpoint: u64, reason: &AbortReason) {
        let is_old = self.last_completed.is_some_and(|last| checkpoint < last);
        if is_old || !reason.is_failure() {
            return;
        }
        self.failures_in_a_row += 1;
        let Some(attempt) = &mut self.attempt else { return };
        if self.failures_in_a_row > self.settings.tolerable_failures && !attempt.is_failing {
            attempt.is_failing = true;
            let reason = format!(
                "Exceeded checkpoint tolerable failure threshold: {} failed in a row, {} are tolerated; checkpoint \
                 {checkpoint} {reason}",
                self.failures_in_a_row, self.settings.tolerable_failures
            );
            self.failures_in_a_row = 0;
            self.commands.push(Command::FailJob { reason });
        }
    }

    fn expire(&mut self) {
        let late = self.pending.iter().filter(|(_, p)| !p.is_acknowledged() && p.deadline <= self.now);
        for checkpoint in late.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.abort(checkpoint, AbortReason::Expired);
        }
    }

    /// Writes what is acknowledged by all: savepoints in their order, and beside them the newest checkpoint, which makes
    /// the older ones superfluous. The savepoint that ends the job takes its turn with the checkpoints.
    fn write_next(&mut self) {
        let acknowledged = || self.pending.iter().filter(|(_, pending)| pending.is_acknowledged());
        if self.writing_savepoint.is_none() {
            let savepoint = acknowledged().find(|(_, pending)| pending.kind == CheckpointKind::Savepoint);
            self.writing_savepoint = savepoint.map(|(id, _)| *id);
            self.commands.extend(savepoint.map(write));
        }
        if self.writing.is_none() {
            let others = || acknowledged().filter(|(_, pending)| pending.kind != CheckpointKind::Savepoint);
            let last = others().find(|(_, pending)| pending.kind.is_savepoint());
            let next = last.or_else(|| others().next_back());
            self.writing = next.map(|(id, _)| *id);
            self.commands.extend(next.map(write));
        }
    }

    fn begin_next(&mut self) {
        while let Some(kind) = self.take_request() {
            self.begin(kind);
        }
    }

    /// What may begin now.
    fn take_request(&mut self) -> Option<CheckpointKind> {
        let is_full = self.is_full();
        let attempt = self.attempt.as_mut().filter(|attempt| !attempt.is_failing)?;
        if attempt.schedule.as_mut().is_some_and(|schedule| schedule.take_due(self.now)) {
            attempt.requests.periodic = true;
        }
        let kind = attempt.requests.first(self.now)?;
        if !kind.is_savepoint() && is_full {
            return None;
        }
        if kind == CheckpointKind::Periodic && self.now < self.pause_end {
            // Too early: the clock starts anew at the end of the pause.
            if let Some(schedule) = &mut attempt.schedule {
                schedule.restart_at(self.pause_end);
                attempt.requests.periodic = false;
            }
            return None;
        }
        attempt.requests.remove(kind);
        Some(kind)
    }

    fn begin(&mut self, kind: CheckpointKind) {
        let Some(attempt) = &self.attempt else { return };
        let checkpoint = self.next_checkpoint;
        self.next_checkpoint += 1;
        self.pending.insert(
            checkpoint,
            Pending {
                attempt: attempt.number,
                kind,
                deadline: self.now.saturating_add(self.settings.timeout),
                acknowledgements: BTreeMap::new(),
                missing: (0..attempt.subtasks).collect(),
            },
        );
        self.commands.push(Command::Begin { attempt: attempt.number, checkpoint, kind });
    }

    /// Whether as many checkpoints are under way as may be. A savepoint holds none up: how long it takes is up to its
    /// target.
    fn is_full(&self) -> bool {
        let is_checkpoint = |pending: &&Pending<T>| pending.kind != CheckpointKind::Savepoint;
        self.pending.values().filter(is_checkpoint).count() >= self.settings.max_concurrent
    }

    /// When the next checkpoint may begin, as far as time alone decides it.
    fn next_begin(&self) -> Option<Duration> {
        let attempt = self.attempt.as_ref().filter(|attempt| !attempt.is_failing)?;
        if self.is_full() {
            return None;
        }
        match attempt.requests.last {
            FinalRequest::Begun => None,
            FinalRequest::Waiting(from) => Some(from),
            FinalRequest::No if attempt.requests.periodic => Some(self.pause_end),
            FinalRequest::No => attempt.schedule.as_ref().map(Schedule::next),
        }
    }

    /// Takes the checkpoint being written out of the pending ones, if it is this one.
    fn end_write(&mut self, checkpoint: u64) -> Option<Pending<T>> {
        self.take_writing(checkpoint).then(|| self.pending.remove(&checkpoint))?
    }

    /// Whether this one was being written. Now it is not any more.
    fn take_writing(&mut self, checkpoint: u64) -> bool {
        let of_any = [&mut self.writing, &mut self.writing_savepoint];
        of_any.into_iter().any(|writing| writing.take_if(|writing| *writing == checkpoint).is_some())
    }
}

fn write<T: Clone>((checkpoint, pending): (&u64, &Pending<T>)) -> Command<T> {
    Command::WriteMetadata { checkpoint: *checkpoint, acknowledgements: pending.acknowledgements.clone() }
}
