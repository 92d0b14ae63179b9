//! Background threads of one attempt in this process, which run the asynchronous parts of snapshots.

use std::sync::Arc;
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendError, Sender, unbounded};
use highwater_checkpoint::{CancelToken, CheckpointStreamFactory, StoragePath, SubtaskState};
use highwater_state::{KeyedSnapshot, OperatorSnapshot};
use highwater_types::{Error, Result, ResultExt};

use super::attempt::{Attempt, catch};
use super::pace::Pace;
use crate::sink::Durability;

/// Opens the streams of one checkpoint, or of a savepoint in this directory. They fail once the token is cancelled.
pub(crate) type OpenStreams =
    Arc<dyn Fn(u64, Option<&StoragePath>, &CancelToken) -> Result<Arc<dyn CheckpointStreamFactory>> + Send + Sync>;

/// What the synchronous part of one operator leaves for the asynchronous part.
#[derive(Default)]
pub(crate) struct Frozen {
    pub(crate) operator: Option<OperatorSnapshot>,
    pub(crate) keyed: Option<KeyedSnapshot>,
    /// What the state speaks of has to be durable first.
    pub(crate) durability: Option<Durability>,
}

/// The asynchronous part of one operator subtask.
pub(crate) struct Job {
    pub(crate) checkpoint: u64,
    /// The directory of a savepoint.
    pub(crate) savepoint: Option<Arc<StoragePath>>,
    /// Index of the operator in its worker.
    pub(crate) operator: usize,
    pub(crate) uid: Arc<str>,
    pub(crate) frozen: Frozen,
    pub(crate) cancel: CancelToken,
    pub(crate) reply: Sender<Done>,
    /// The thread that waits for the reply.
    pub(crate) worker: Thread,
}

/// Where jobs go: savepoints have threads of their own, because their targets may hang.
#[derive(Clone)]
pub(crate) struct SnapshotThreads {
    pub(crate) checkpoints: Sender<Job>,
    pub(crate) savepoints: Sender<Job>,
}

impl SnapshotThreads {
    /// False if the threads have ended.
    pub(crate) fn submit(&self, job: Job) -> bool {
        let threads = if job.savepoint.is_some() { &self.savepoints } else { &self.checkpoints };
        threads.send(job).is_ok()
    }
}

/// The outcome of a [`Job`].
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) checkpoint: u64,
    pub(crate) operator: usize,
    pub(crate) result: Result<SubtaskState>,
    /// When it was there.
    pub(crate) when: Instant,
}

/// The threads. Dropping the pool ends and joins them.
pub(crate) struct SnapshotPool {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl SnapshotPool {
    /// Starts the threads, of which each gets a name and takes notes.
    pub(crate) fn start(
        threads: impl IntoIterator<Item = (String, Arc<Pace>)>,
        open: &OpenStreams,
        attempt: &Arc<Attempt>,
    ) -> Result<Self> {
        let (sender, receiver) = unbounded::<Job>();
        let mut pool = Self { jobs: Some(sender), threads: Vec::new() };
        for (name, pace) in threads {
            let (receiver, open, attempt) = (receiver.clone(), Arc::clone(open), Arc::clone(attempt));
            let thread = thread::Builder::new().name(name).spawn(move || run(&receiver, &open, &attempt, &pace));
            pool.threads.push(
                thread.map_err(|error| Error::storage("a background thread could not be started").because(error))?,
            );
        }
        Ok(pool)
    }

    /// Where jobs go.
    pub(crate) fn sender(&self) -> Option<Sender<Job>> {
        self.jobs.clone()
    }
}

/// How often a thread that should end is looked at.
const LOOK: Duration = Duration::from_millis(5);

impl SnapshotPool {
    /// Ends the threads, and leaves those to themselves that have not ended after some time.
    pub(crate) fn leave(mut self, grace: Duration) {
        self.jobs = None;
        let deadline = Instant::now() + grace;
        while self.threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < deadline {
            thread::sleep(LOOK);
        }
        let threads = self.threads.len();
        self.threads.retain(JoinHandle::is_finished);
        if self.threads.len() < threads {
            tracing::warn!(
                ?grace,
                "a thread that writes a savepoint does not end: it is left to itself, with the state \
                that it writes"
            );
        }
    }
}

impl Drop for SnapshotPool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a snapshot thread panicked");
            }
        }
    }
}

fn run(jobs: &Receiver<Job>, open: &OpenStreams, attempt: &Attempt, pace: &Pace) {
    for job in jobs {
        let Job { checkpoint, savepoint, operator, uid, frozen, cancel, reply, worker } = job;
        let _turn = pace.begin_named(&format!("a snapshot of operator \"{uid}\""));
        let result =
            catch(|| write(|| open(checkpoint, savepoint.as_deref(), &cancel), frozen, &cancel)).with("operator", &uid);
        // A worker that has gone does not wait for it.
        if let Err(SendError(Done { checkpoint, result: Ok(state), .. })) =
            reply.send(Done { checkpoint, operator, result, when: Instant::now() })
        {
            attempt.leave_over(checkpoint, state);
        }
        worker.unpark();
    }
}

fn write(
    open: impl FnOnce() -> Result<Arc<dyn CheckpointStreamFactory>>,
    frozen: Frozen,
    cancel: &CancelToken,
) -> Result<SubtaskState> {
    cancel.check()?;
    if let Some(durability) = frozen.durability {
        durability()?;
    }
    let mut state = SubtaskState::default();
    if frozen.operator.is_none() && frozen.keyed.is_none() {
        return Ok(state);
    }
    let streams = open()?;
    if let Some(snapshot) = frozen.operator {
        state.managed_operator = snapshot.write(&*streams)?;
    }
    if let Some(snapshot) = frozen.keyed {
        state.managed_keyed = snapshot.write(&*streams)?;
    }
    Ok(state)
}
