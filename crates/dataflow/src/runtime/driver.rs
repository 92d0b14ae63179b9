//! The coordinator, on a thread of its own: feeds the protocol with what happens, and carries out what it decides. No
//! function of the user ever runs here, so none delays a checkpoint, its end, or the end of the attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use highwater_checkpoint::{AttemptStart, CheckpointKind, CheckpointMetadata, Command, Coordinator, Event};
use highwater_types::{Error, Result};

use super::attempt::{Attempt, catch, lock, panicked};
use super::control::{Hub, Orders};
use super::enumerators::{Decision, EnumeratorEvent, EnumeratorStates, EnumeratorThread};
use super::io::{Acknowledgement, IoDone, IoJob, IoThread, Waited, Written};
use super::message::{Ending, Opening, Order, Report};
use super::requests::{Next, Request, Requests};
use crate::cluster::protocol::Failure;
use crate::progress::{CheckpointStatistics, JobHandle, JobStatus};

/// The protocol, kept over all attempts of this process.
pub(crate) type SharedCoordinator = Arc<Mutex<Coordinator<Acknowledgement>>>;

/// Drives the protocol during one attempt.
pub(crate) struct Driver {
    attempt: Arc<Attempt>,
    coordinator: SharedCoordinator,
    /// When the job began; times of the protocol count from here.
    origin: Instant,
    workers: u32,
    opening: Opening,
    hub: Hub,
    io: IoThread,
    /// For savepoints alone.
    savepoint_io: IoThread,
    enumerators: EnumeratorThread,
    handle: JobHandle,
    requests: Requests,
    /// How long the end of the attempt waits for savepoints.
    savepoint_grace: Duration,

    ready: BTreeSet<u32>,
    finished: BTreeSet<u32>,
    committed: BTreeSet<u32>,
    /// Checkpoints under way, and when they began.
    begun: BTreeMap<u64, (Instant, CheckpointKind)>,
    /// Where the savepoints among them go, until the workers know.
    directories: BTreeMap<u64, String>,
    /// The savepoints of this attempt.
    savepoints: BTreeSet<u64>,
    /// What the enumerators hold of them.
    enumerated: BTreeMap<u64, EnumeratorStates>,
    is_stopping: bool,
    /// Why the final checkpoint was asked for.
    ending: Option<Ending>,
    is_complete: bool,
}

impl Driver {
    pub(crate) fn new(
        attempt: Arc<Attempt>,
        coordinator: SharedCoordinator,
        origin: Instant,
        workers: u32,
        opening: Opening,
        (hub, io, savepoint_io, enumerators): (Hub, IoThread, IoThread, EnumeratorThread),
        (handle, requests, savepoint_grace): (JobHandle, Requests, Duration),
    ) -> Self {
        Self {
            attempt,
            coordinator,
            origin,
            workers,
            opening,
            hub,
            io,
            savepoint_io,
            enumerators,
            handle,
            requests,
            savepoint_grace,
            ready: BTreeSet::new(),
            finished: BTreeSet::new(),
            committed: BTreeSet::new(),
            begun: BTreeMap::new(),
            directories: BTreeMap::new(),
            savepoints: BTreeSet::new(),
            enumerated: BTreeMap::new(),
            is_stopping: false,
            ending: None,
            is_complete: false,
        }
    }

    /// Runs until the attempt is cancelled.
    pub(crate) fn start(self) -> Result<DriverThread> {
        let thread = thread::Builder::new()
            .name("coordinator".to_owned())
            .spawn(move || self.run())
            .map_err(|error| Error::storage("the thread of the coordinator could not be started").because(error))?;
        Ok(DriverThread(thread))
    }

    fn run(mut self) -> Self {
        self.hub.register();
        self.attempt.register_sleeper();
        self.orders().broadcast(&Order::Open(self.opening.clone()));
        while !self.attempt.is_cancelled() {
            match catch(|| Ok(self.step())) {
                Ok(Some(pause)) => thread::park_timeout(pause),
                Ok(None) => thread::park(),
                Err(error) => self.attempt.fail(error),
            }
        }
        if let Some((kind, text)) = self.attempt.failure() {
            self.orders().leave(Failure::from_parts(kind, text));
        }
        self
    }

    fn orders(&self) -> &Orders {
        self.hub.orders()
    }

    /// Does what is to do now. Returns how long it can wait; none: until somebody wakes it.
    fn step(&mut self) -> Option<Duration> {
        self.is_stopping |= self.attempt.is_stopping();
        while let Some(report) = self.hub.take_report() {
            if let Err(error) = self.receive(report) {
                self.attempt.fail(error);
            }
        }
        while let Some(done) = self.io.poll().or_else(|| self.savepoint_io.poll()) {
            self.io_done(done);
        }
        while let Some(decision) = self.enumerators.poll() {
            self.decided(decision);
        }
        for request in self.attempt.take_requests() {
            self.request(request);
        }
        self.discard_left_over();
        let now = self.origin.elapsed();
        let wakeup = lock(&self.coordinator).next_wakeup();
        if wakeup.is_some_and(|wakeup| wakeup <= now) {
            self.handle_event(Event::Tick);
        }
        // Also after a savepoint that was to end the job has failed.
        self.end_if_due();
        let wakeup = lock(&self.coordinator).next_wakeup();
        wakeup.map(|wakeup| wakeup.saturating_sub(self.origin.elapsed()))
    }

    /// Somebody wants a checkpoint or savepoint. What cannot be is answered at once.
    fn request(&mut self, request: Request) {
        match self.requests.add(request) {
            Some(Next::Trigger(kind)) => self.handle_event(Event::Trigger { kind }),
            Some(Next::MakeRoom { request, target }) => self.savepoint_io.submit(IoJob::MakeRoom { request, target }),
            None => {}
        }
    }

    /// All workers have gone: ends the attempt for the protocol and waits for the files.
    pub(crate) fn finish(mut self) {
        self.attempt.close_requests();
        self.handle_event(Event::AttemptEnded { attempt: self.attempt.number });
        self.finish_savepoints();
        while lock(&self.coordinator).writing().is_some() {
            match self.io.wait() {
                Some(done) => self.io_done(done),
                None => break,
            }
        }
        self.discard_left_over();
        self.io.close();
        while let Some(done) = self.io.wait() {
            self.io_done(done);
        }
    }

    /// Waits for what is to be done about savepoints, for a while: their targets are not the job's.
    fn finish_savepoints(&mut self) {
        let deadline = Instant::now() + self.savepoint_grace;
        while self.writing_savepoint().is_some() {
            match self.savepoint_io.wait_until(deadline) {
                Waited::Done(done) => self.io_done(done),
                Waited::Ended | Waited::TimedOut => break,
            }
        }
        self.savepoint_io.close();
        loop {
            match self.savepoint_io.wait_until(deadline) {
                Waited::Done(done) => self.io_done(done),
                Waited::Ended => return,
                Waited::TimedOut => break,
            }
        }
        tracing::warn!(
            waited = ?self.savepoint_grace,
            "the target of a savepoint does not answer: the attempt ends without it, and what is there of it stays"
        );
        if self.savepoint_io.abandon()
            && let Waited::Done(done) = self.savepoint_io.wait_until(Instant::now() + self.savepoint_grace)
        {
            self.io_done(done);
        }
        while let Some(checkpoint) = self.writing_savepoint() {
            let reason = "its target does not answer".to_owned();
            self.handle_event(Event::MetadataFailed { checkpoint, reason, unclear: true });
        }
    }

    fn writing_savepoint(&self) -> Option<u64> {
        lock(&self.coordinator).writing_savepoints().next()
    }

    /// The thread that has the files of a checkpoint or savepoint.
    fn io_of(&self, checkpoint: u64) -> &IoThread {
        match self.savepoints.contains(&checkpoint) {
            true => &self.savepoint_io,
            false => &self.io,
        }
    }

    fn discard_left_over(&self) {
        for (checkpoint, state) in self.attempt.take_left_over() {
            self.io.submit(IoJob::DiscardState { checkpoint, state: Box::new(state) });
        }
    }

    fn receive(&mut self, report: Report) -> Result<()> {
        match report {
            Report::Ready { worker } => {
                self.ready.insert(worker);
                self.enumerators.tell(EnumeratorEvent::Ready { worker });
                if self.ready.len() == self.workers as usize {
                    self.begin()?;
                }
            }
            Report::Acknowledge { attempt, checkpoint, worker, state, timings } => {
                let payload = Arc::new(CheckpointMetadata::read(&state)?);
                self.handle.note(|history| history.acknowledged(checkpoint, worker, &payload, timings));
                self.handle_event(Event::Acknowledge { attempt, checkpoint, subtask: worker, payload });
            }
            Report::Decline { attempt, checkpoint, worker, reason } => {
                self.handle_event(Event::Decline { attempt, checkpoint, subtask: worker, reason });
            }
            Report::RequestSplit { worker, operator } => {
                self.enumerators.tell(EnumeratorEvent::Request { operator, worker });
            }
            Report::SourcesFinished { worker } => {
                self.finished.insert(worker);
            }
            Report::Committed { worker } => {
                self.committed.insert(worker);
                if let (true, Some(ending)) =
                    (self.is_complete && self.committed.len() == self.workers as usize, self.ending)
                {
                    self.orders().broadcast(&Order::End(ending));
                    self.requests.ended();
                }
            }
        }
        self.end_if_due();
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        let jitter = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), self.attempt.number);
        let start = AttemptStart {
            attempt: self.attempt.number,
            subtasks: self.workers,
            next_checkpoint: self.opening.first_checkpoint,
            jitter,
        };
        lock(&self.coordinator).start(self.origin.elapsed(), start)?;
        self.attempt.open_requests();
        self.handle.update(|progress| progress.status = JobStatus::Running);
        Ok(())
    }

    /// Asks for the final checkpoint, once.
    fn end_if_due(&mut self) {
        let all = self.workers as usize;
        if self.ending.is_some() || self.ready.len() < all {
            return;
        }
        self.ending = match self.is_stopping {
            _ if self.finished.len() == all => Some(Ending::Finished),
            true => Some(Ending::Stopped),
            false => return,
        };
        self.handle.update(|progress| progress.status = JobStatus::Finishing);
        self.handle_event(Event::Trigger { kind: CheckpointKind::Final });
    }

    fn io_done(&mut self, done: IoDone) {
        match done {
            IoDone::Begun { checkpoint, result: Ok(savepoint) } => {
                // It may have been given up meanwhile.
                if self.begun.contains_key(&checkpoint) {
                    self.directories.extend(savepoint.map(|directory| (checkpoint, directory)));
                    self.enumerators.tell(EnumeratorEvent::Snapshot { checkpoint });
                }
            }
            IoDone::Begun { checkpoint, result: Err(error) } => {
                self.handle_event(Event::BeginFailed { checkpoint, reason: error.to_string() });
            }
            IoDone::Room { request, result } => {
                if let Some(kind) = self.requests.room(request, result) {
                    self.handle_event(Event::Trigger { kind });
                }
            }
            IoDone::Written { checkpoint, result: Ok(written), .. } => {
                self.completed(checkpoint, written);
                self.handle_event(Event::MetadataWritten { checkpoint });
            }
            IoDone::Written { checkpoint, result: Err(error), is_unclear } => {
                let reason = error.to_string();
                self.handle_event(Event::MetadataFailed { checkpoint, reason, unclear: is_unclear });
            }
        }
    }

    /// Passes on what the enumerators decide, in their order: what they assigned before the snapshot reaches the readers
    /// before the barrier, the rest behind it.
    fn decided(&mut self, decision: Decision) {
        match decision {
            Decision::Assign { worker, operator, assignment } => {
                self.orders().send(worker, Order::Assign { operator, assignment });
            }
            Decision::Snapshot { checkpoint, result } => {
                let Some((_, kind)) = self.begun.get(&checkpoint) else { return };
                let (is_final, savepoint) = (kind.is_final(), self.directories.remove(&checkpoint));
                match result {
                    Ok(states) => {
                        self.enumerated.insert(checkpoint, states);
                        self.orders().broadcast(&Order::Begin { checkpoint, is_final, savepoint });
                    }
                    Err(error) => self.handle_event(Event::BeginFailed { checkpoint, reason: error.to_string() }),
                }
            }
        }
    }

    fn completed(&mut self, checkpoint: u64, written: Written) {
        let Some((begun, kind)) = self.begun.remove(&checkpoint) else { return };
        let duration = begun.elapsed();
        let Written { pointer, state_size, checkpointed_size } = written;
        tracing::debug!(checkpoint, ?duration, state_size, checkpointed_size, "checkpoint completed");
        let statistics = CheckpointStatistics { id: checkpoint, duration, state_size, checkpointed_size, pointer };
        let sizes = (state_size, checkpointed_size);
        self.handle.note(|history| history.completed(checkpoint, &statistics.pointer, sizes));
        self.requests.completed(kind, &statistics);
        if !kind.is_savepoint() {
            self.handle.completed(statistics);
        }
    }

    fn handle_event(&mut self, event: Event<Acknowledgement>) {
        let commands = lock(&self.coordinator).handle(self.origin.elapsed(), event);
        for command in commands {
            self.carry_out(command);
        }
    }

    fn carry_out(&mut self, command: Command<Acknowledgement>) {
        match command {
            Command::Begin { checkpoint, kind, .. } => {
                self.begun.insert(checkpoint, (Instant::now(), kind));
                let operators = self.handle.description().map_or(0, |job| job.operators.len());
                let subtasks = self.workers * u32::try_from(operators).unwrap_or(u32::MAX);
                self.handle.note(|history| history.began(checkpoint, kind.is_savepoint(), subtasks));
                let savepoint = self.requests.begin(checkpoint, kind);
                if let (Some(savepoint), CheckpointKind::FinalSavepoint) = (&savepoint, kind) {
                    self.ending = Some(if savepoint.is_drained { Ending::Finished } else { Ending::Stopped });
                    self.handle.update(|progress| progress.status = JobStatus::Finishing);
                }
                match savepoint {
                    Some(savepoint) => {
                        self.savepoints.insert(checkpoint);
                        self.savepoint_io.submit(IoJob::TakeRoom { request: savepoint.request, checkpoint });
                        self.io.submit(IoJob::BeginSavepoint { checkpoint, directory: savepoint.directory });
                    }
                    None => self.io.submit(IoJob::Begin { checkpoint }),
                }
            }
            Command::WriteMetadata { checkpoint, acknowledgements } => {
                let acknowledgements = acknowledgements.into_values().collect();
                let kind = self.begun.get(&checkpoint).map_or(CheckpointKind::Periodic, |(_, kind)| *kind);
                let enumerators = self.enumerated.remove(&checkpoint).unwrap_or_default();
                self.io_of(checkpoint).submit(IoJob::Write { checkpoint, kind, acknowledgements, enumerators });
            }
            // The user's: the sinks commit nothing with it, and no store builds on it.
            Command::Complete { kind: CheckpointKind::Savepoint, .. } => {}
            Command::Complete { checkpoint, kind, .. } => {
                let is_final = kind.is_final();
                self.is_complete |= is_final;
                self.orders().broadcast(&Order::Complete { checkpoint, is_final });
            }
            Command::Abort { checkpoint, reason, .. } => {
                self.requests.aborted(checkpoint, &reason);
                self.handle.note(|history| history.failed(checkpoint, reason.to_string()));
                let begun = self.begun.remove(&checkpoint);
                if begun.is_some_and(|(_, kind)| kind == CheckpointKind::FinalSavepoint) {
                    // The job goes on, unless something else ends it.
                    self.ending = None;
                    self.handle.update(|progress| progress.status = JobStatus::Running);
                }
                self.enumerated.remove(&checkpoint);
                self.directories.remove(&checkpoint);
                if reason.is_failure() {
                    tracing::warn!(checkpoint, %reason, "checkpoint given up");
                    self.handle.update(|progress| progress.failed_checkpoints += 1);
                }
                self.orders().broadcast(&Order::Abort { checkpoint });
            }
            Command::Discard { checkpoint, payloads, extent } => {
                // All files of a savepoint are in its directory.
                let payloads = if self.savepoints.contains(&checkpoint) { Vec::new() } else { payloads };
                self.io_of(checkpoint).submit(IoJob::Discard { checkpoint, payloads, extent });
            }
            Command::FailJob { reason } => self.attempt.fail(Error::storage(reason)),
        }
    }
}

/// The running thread of the coordinator.
pub(crate) struct DriverThread(JoinHandle<Driver>);

impl DriverThread {
    /// Waits for the thread, whose attempt has been cancelled.
    pub(crate) fn join(self) -> Result<Driver> {
        self.0.join().map_err(|panic| panicked(&*panic))
    }
}
