//! The worker-local mailbox that joins the control plane with the operators of the dataflow.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};
use highwater_checkpoint::{
    CancelToken, CheckpointMetadata, MetadataVersion, OperatorState, StoragePath, SubtaskState,
};
use highwater_types::{Error, MaxParallelism, OperatorId, Result};
use timely::scheduling::Activator;

use super::attempt::Attempt;
use super::control::Link;
use super::message::{Assignment, Report};
use super::pace::Pace;
use super::pool::{Done, Frozen, Job, SnapshotThreads};
use super::splits::SplitInbox;
use super::time::{self, Time};
use super::timing::CheckpointTimer;
use crate::statistics::Operators;

/// A checkpoint that the operators of this worker have to take when their input has left its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Barrier {
    pub(crate) checkpoint: u64,
    /// The epoch behind the barrier.
    pub(crate) next_epoch: u64,
}

impl Barrier {
    /// Whether everything before the barrier is through, seen from an input with this frontier.
    pub(crate) fn is_reached(&self, frontier: Option<Time>) -> bool {
        frontier.is_none_or(|frontier| frontier >= time::at(self.next_epoch, 0))
    }
}

/// A stateful operator of this worker.
#[derive(Debug)]
struct Operator {
    id: OperatorId,
    uid: Arc<str>,
    max_parallelism: MaxParallelism,
}

/// A source of this worker.
struct Source {
    /// Index of the operator.
    operator: usize,
    inbox: Rc<SplitInbox>,
    activator: Activator,
}

/// A checkpoint of which not all operators of this worker have delivered their state.
struct Collecting {
    cancel: CancelToken,
    /// The directory, if it is a savepoint.
    savepoint: Option<Arc<StoragePath>>,
    /// By operator; none while it is missing.
    states: Vec<Option<SubtaskState>>,
}

/// What operators and worker loop of one worker share.
pub(crate) struct Mailbox {
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) worker: u32,
    pub(crate) workers: u32,
    pub(crate) pace: Arc<Pace>,
    /// What the operators do.
    pub(crate) meters: Operators,
    /// Id of the checkpoint that ends epoch 0.
    first_checkpoint: u64,
    link: Link,
    jobs: SnapshotThreads,
    replies: (Sender<Done>, Receiver<Done>),
    /// Largest acknowledgement in bytes.
    limit: u64,
    pub(crate) timer: CheckpointTimer,

    operators: RefCell<Vec<Operator>>,
    activators: RefCell<Vec<Activator>>,
    sources: RefCell<Vec<Source>>,
    barriers: RefCell<Vec<Barrier>>,
    /// The epoch behind the newest barrier, given up or not.
    newest_epoch: Cell<u64>,
    collecting: RefCell<BTreeMap<u64, Collecting>>,
    completed: Cell<u64>,
    aborted: RefCell<Vec<u64>>,
    /// How many checkpoints were completed or given up.
    news: Cell<u64>,
    final_checkpoint: Cell<Option<u64>>,
    is_ending: Cell<bool>,
    running_sources: Cell<usize>,
    sinks: Cell<usize>,
    sinks_done: Cell<usize>,
}

impl Mailbox {
    pub(crate) fn new(
        attempt: Arc<Attempt>,
        (worker, workers): (u32, u32),
        (pace, meters): (Arc<Pace>, Operators),
        first_checkpoint: u64,
        link: Link,
        jobs: SnapshotThreads,
        limit: u64,
    ) -> Rc<Self> {
        Rc::new(Self {
            attempt,
            worker,
            workers,
            pace,
            meters,
            first_checkpoint,
            link,
            jobs,
            replies: unbounded(),
            limit,
            timer: CheckpointTimer::default(),
            operators: RefCell::default(),
            activators: RefCell::default(),
            sources: RefCell::default(),
            barriers: RefCell::default(),
            newest_epoch: Cell::default(),
            collecting: RefCell::default(),
            completed: Cell::default(),
            aborted: RefCell::default(),
            news: Cell::default(),
            final_checkpoint: Cell::default(),
            is_ending: Cell::default(),
            running_sources: Cell::default(),
            sinks: Cell::default(),
            sinks_done: Cell::default(),
        })
    }

    // What operators do.

    /// Adds an operator that takes part in checkpoints. Returns its index.
    pub(crate) fn add_operator(&self, uid: &Arc<str>, id: OperatorId, max_parallelism: MaxParallelism) -> usize {
        let mut operators = self.operators.borrow_mut();
        operators.push(Operator { id, uid: Arc::clone(uid), max_parallelism });
        operators.len() - 1
    }

    /// Adds an operator that wants to run whenever an order arrives.
    pub(crate) fn add_activator(&self, activator: Activator) {
        self.activators.borrow_mut().push(activator);
    }

    /// Adds a source, which also wants to run when the end of the dataflow has moved. Returns where its splits arrive.
    pub(crate) fn add_source(&self, operator: usize, activator: Activator) -> Rc<SplitInbox> {
        self.running_sources.set(self.running_sources.get() + 1);
        let inbox = Rc::new(SplitInbox::default());
        self.sources.borrow_mut().push(Source { operator, inbox: Rc::clone(&inbox), activator });
        inbox
    }

    /// A source of this worker has nothing left to read.
    pub(crate) fn request_split(&self, operator: usize) {
        self.link.report(Report::RequestSplit { worker: self.worker, operator: operator as u32 });
    }

    /// Lets sources run that sleep because they were too far ahead.
    pub(crate) fn activate_sources(&self) {
        self.sources.borrow().iter().for_each(|source| source.activator.activate());
    }

    pub(crate) fn add_sink(&self) {
        self.sinks.set(self.sinks.get() + 1);
    }

    /// A source of this worker will never have another record.
    pub(crate) fn source_finished(&self) {
        self.running_sources.set(self.running_sources.get().saturating_sub(1));
        if self.running_sources.get() == 0 {
            self.link.report(Report::SourcesFinished { worker: self.worker });
        }
    }

    /// The first barrier behind checkpoint `after`, if it has been announced and not been given up.
    pub(crate) fn next_barrier(&self, after: u64) -> Option<Barrier> {
        self.barriers.borrow().iter().find(|barrier| barrier.checkpoint > after).copied()
    }

    /// The epoch every source has to be in. Also behind a barrier that was given up before this worker looked: sources of
    /// other workers may have passed it, and their records wait until all have.
    pub(crate) fn newest_epoch(&self) -> u64 {
        self.newest_epoch.get()
    }

    /// Whether a final checkpoint is under way: sources must not send.
    pub(crate) fn is_quiet(&self) -> bool {
        self.final_checkpoint.get().is_some()
    }

    /// Whether this checkpoint is to be the last.
    pub(crate) fn is_final(&self, checkpoint: u64) -> bool {
        self.final_checkpoint.get() == Some(checkpoint)
    }

    /// Newest completed checkpoint of this attempt, 0 for none.
    pub(crate) fn completed(&self) -> u64 {
        self.completed.get()
    }

    /// Names the checkpoints that were given up since the last call with the same `seen`, which begins at 0.
    pub(crate) fn aborted_from(&self, seen: &mut usize, tell: impl FnMut(u64)) {
        let aborted = self.aborted.borrow();
        aborted.iter().skip(*seen).copied().for_each(tell);
        *seen = aborted.len();
    }

    /// Grows with every checkpoint that is completed or given up.
    pub(crate) fn news(&self) -> u64 {
        self.news.get()
    }

    /// Whether a checkpoint still waits for the state of operators.
    pub(crate) fn is_wanted(&self, checkpoint: u64) -> bool {
        self.collecting.borrow().contains_key(&checkpoint)
    }

    /// Whether the attempt has come to its end and operators drop what they hold.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.get()
    }

    /// A sink has committed a checkpoint.
    pub(crate) fn sink_committed(&self, checkpoint: u64) {
        if self.final_checkpoint.get() == Some(checkpoint) {
            self.sinks_done.set(self.sinks_done.get() + 1);
            self.report_committed();
        }
    }

    fn report_committed(&self) {
        if self.sinks_done.get() == self.sinks.get() {
            self.link.report(Report::Committed { worker: self.worker });
        }
    }

    /// Whether it is a savepoint: it consists of all state in the format that every store reads.
    pub(crate) fn is_savepoint(&self, checkpoint: u64) -> bool {
        self.collecting.borrow().get(&checkpoint).is_some_and(|collecting| collecting.savepoint.is_some())
    }

    /// Takes the synchronous part of one operator: either its frozen state, which goes to a background thread, or the
    /// error that makes the worker decline the checkpoint.
    pub(crate) fn submit(&self, checkpoint: u64, operator: usize, frozen: Result<Frozen>) {
        let (cancel, savepoint) = match self.collecting.borrow().get(&checkpoint) {
            Some(collecting) => (collecting.cancel.clone(), collecting.savepoint.clone()),
            None => return,
        };
        let uid = self
            .operators
            .borrow()
            .get(operator)
            .map(|operator| Arc::clone(&operator.uid))
            .unwrap_or_else(|| "".into());
        self.timer.frozen(checkpoint, operator);
        match frozen {
            Ok(frozen) => {
                let (reply, worker) = (self.replies.0.clone(), thread::current());
                let job = Job { checkpoint, savepoint, operator, uid, frozen, cancel, reply, worker };
                if !self.jobs.submit(job) {
                    self.decline(checkpoint, &Error::cancelled("the background threads have ended"));
                }
            }
            Err(error) => self.decline(checkpoint, &error.with("operator", uid)),
        }
    }

    fn decline(&self, checkpoint: u64, error: &Error) {
        if self.give_up(checkpoint) {
            tracing::warn!(checkpoint, worker = self.worker, %error, "checkpoint declined");
            self.link.report(Report::Decline {
                attempt: self.attempt.number,
                checkpoint,
                worker: self.worker,
                reason: error.to_string(),
            });
        }
    }

    /// Stops collecting a checkpoint. What operators have delivered already is nobody's now.
    fn give_up(&self, checkpoint: u64) -> bool {
        self.timer.forget(checkpoint);
        let Some(collecting) = self.collecting.borrow_mut().remove(&checkpoint) else { return false };
        collecting.cancel.cancel();
        collecting.states.into_iter().flatten().for_each(|state| self.attempt.leave_over(checkpoint, state));
        true
    }

    // What the worker loop does.

    /// All operators are open.
    pub(crate) fn opened(&self) {
        self.link.report(Report::Ready { worker: self.worker });
        if self.running_sources.get() == 0 {
            self.link.report(Report::SourcesFinished { worker: self.worker });
        }
    }

    /// The enumerator of a source has decided something.
    pub(crate) fn assign(&self, operator: u32, assignment: Assignment) {
        if let Some(source) = self.sources.borrow().iter().find(|source| source.operator == operator as usize) {
            source.inbox.push(self.newest_epoch.get(), assignment);
            source.activator.activate();
        }
    }

    pub(crate) fn begin(&self, checkpoint: u64, is_final: bool, savepoint: Option<StoragePath>) {
        self.timer.begin(checkpoint);
        let states = self.operators.borrow().iter().map(|_| None).collect::<Vec<_>>();
        let is_empty = states.is_empty();
        let collecting = Collecting { cancel: CancelToken::new(), savepoint: savepoint.map(Arc::new), states };
        self.collecting.borrow_mut().insert(checkpoint, collecting);
        let next_epoch = checkpoint.saturating_sub(self.first_checkpoint) + 1;
        if next_epoch > time::LAST_EPOCH {
            self.attempt.fail(Error::unsupported("an attempt cannot take more checkpoints: restart the job to go on"));
        }
        self.barriers.borrow_mut().push(Barrier { checkpoint, next_epoch });
        self.newest_epoch.set(next_epoch);
        if is_final {
            self.final_checkpoint.set(Some(checkpoint));
            self.sinks_done.set(0);
        }
        if is_empty {
            self.acknowledge(checkpoint);
        }
        self.activate();
    }

    pub(crate) fn complete(&self, checkpoint: u64, is_final: bool) {
        self.completed.set(self.completed.get().max(checkpoint));
        self.news.set(self.news.get() + 1);
        if is_final && self.sinks.get() == 0 {
            self.report_committed();
        }
        self.activate();
    }

    /// Sources go on after a final checkpoint was given up; operators that have not come to the barrier skip it.
    pub(crate) fn abort(&self, checkpoint: u64) {
        self.aborted.borrow_mut().push(checkpoint);
        self.news.set(self.news.get() + 1);
        self.barriers.borrow_mut().retain(|barrier| barrier.checkpoint != checkpoint);
        self.give_up(checkpoint);
        if self.final_checkpoint.get() == Some(checkpoint) {
            self.final_checkpoint.set(None);
        }
        self.activate();
    }

    pub(crate) fn end(&self) {
        self.is_ending.set(true);
        self.activate();
    }

    /// Lets all operators run that look into the mailbox.
    pub(crate) fn activate(&self) {
        self.activate_sources();
        self.activators.borrow().iter().for_each(Activator::activate);
    }

    /// Takes what the background threads have done, and acknowledges what is complete.
    pub(crate) fn collect(&self) {
        while let Ok(done) = self.replies.1.try_recv() {
            self.timer.written(done.checkpoint, done.operator, done.when);
            match done.result {
                Ok(state) => self.add_state(done.checkpoint, done.operator, state),
                Err(error) => self.decline(done.checkpoint, &error),
            }
        }
    }

    fn add_state(&self, checkpoint: u64, operator: usize, state: SubtaskState) {
        let is_whole = {
            let mut collecting = self.collecting.borrow_mut();
            let Some(collecting) = collecting.get_mut(&checkpoint) else {
                return self.attempt.leave_over(checkpoint, state);
            };
            if let Some(slot) = collecting.states.get_mut(operator) {
                *slot = Some(state);
            }
            collecting.states.iter().all(Option::is_some)
        };
        if is_whole {
            self.acknowledge(checkpoint);
        }
    }

    fn acknowledge(&self, checkpoint: u64) {
        let Some(collecting) = self.collecting.borrow_mut().remove(&checkpoint) else { return };
        // All operators of this worker have passed it.
        self.barriers.borrow_mut().retain(|barrier| barrier.checkpoint != checkpoint);
        let operators = self.operators.borrow();
        let timings = self.timer.take(checkpoint, operators.iter().map(|operator| &*operator.uid));
        drop(operators);
        match self.encode(checkpoint, &collecting.states) {
            Ok(state) => self.link.report(Report::Acknowledge {
                attempt: self.attempt.number,
                checkpoint,
                worker: self.worker,
                state,
                timings,
            }),
            Err(error) => {
                self.collecting.borrow_mut().insert(checkpoint, collecting);
                self.decline(checkpoint, &error);
            }
        }
    }

    fn encode(&self, checkpoint: u64, states: &[Option<SubtaskState>]) -> Result<Vec<u8>> {
        let mut metadata = CheckpointMetadata::new(checkpoint);
        for (operator, state) in self.operators.borrow().iter().zip(states) {
            let mut whole = OperatorState::new(operator.id, self.workers, operator.max_parallelism);
            if let Some(state) = state.as_ref().filter(|state| !state.is_empty()) {
                whole.subtasks.insert(self.worker, state.clone().into());
            }
            metadata.operators.push(whole);
        }
        let bytes = metadata.write(MetadataVersion::V3)?;
        if bytes.len() as u64 > self.limit {
            return Err(Error::storage(
                "the inline state of one acknowledgement is larger than the largest message: use a state backend with \
                 files, or raise the limit",
            )
            .with("key", "pekko.framesize")
            .with("size", bytes.len())
            .with("limit", self.limit));
        }
        Ok(bytes)
    }
}

/// The worker leaves: nobody waits for its asynchronous parts any more.
impl Drop for Mailbox {
    fn drop(&mut self) {
        let collecting: Vec<u64> = self.collecting.borrow().keys().copied().collect();
        for checkpoint in collecting {
            self.give_up(checkpoint);
        }
        while let Ok(Done { checkpoint, result: Ok(state), .. }) = self.replies.1.try_recv() {
            self.attempt.leave_over(checkpoint, state);
        }
    }
}
