//! How far a job is: what the embedding program shows, and how it asks the job to stop.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use highwater_types::{Error, Result};

use crate::JobOutcome;
use crate::pending::{Pending, Promise, pending};
use crate::runtime::attempt::{Attempt, lock};
use crate::runtime::requests::{Request, Waiting};
use crate::statistics::{CheckpointHistory, JobDescription, OperatorProgress, Operators};

/// A count that one thread raises and others read. On a cache line of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Arc<Padded>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }
}

/// The counters of all workers of this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    workers: Arc<Mutex<Vec<(u32, Counter, Counter)>>>,
    pub(crate) operators: Operators,
}

impl Counters {
    pub(crate) fn records_in(&self, worker: u32) -> Counter {
        self.of(worker).0
    }

    pub(crate) fn records_out(&self, worker: u32) -> Counter {
        self.of(worker).1
    }

    fn of(&self, worker: u32) -> (Counter, Counter) {
        let mut workers = lock(&self.workers);
        if let Some((_, records_in, records_out)) = workers.iter().find(|(index, ..)| *index == worker) {
            return (records_in.clone(), records_out.clone());
        }
        let (records_in, records_out) = (Counter::default(), Counter::default());
        workers.push((worker, records_in.clone(), records_out.clone()));
        (records_in, records_out)
    }

    fn totals(&self) -> (u64, u64) {
        let add = |(all_in, all_out), (_, i, o): &(u32, Counter, Counter)| (all_in + i.get(), all_out + o.get());
        lock(&self.workers).iter().fold((0, 0), add)
    }
}

/// What a job is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobStatus {
    /// It has not begun to run.
    #[default]
    Created,
    /// It opens its operators and restores their state.
    Starting,
    /// It runs.
    Running,
    /// It takes its last checkpoint, because its input is at an end or it was asked to stop.
    Finishing,
    /// It waits to be restarted after a failure.
    Restarting,
    /// It is over.
    Ended,
}

/// A completed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointStatistics {
    /// Number of the checkpoint.
    pub id: u64,
    /// From its start to the durable metadata.
    pub duration: Duration,
    /// Size of all state in bytes, files that it shares with earlier checkpoints included.
    pub state_size: u64,
    /// Bytes of state that were written for this checkpoint alone.
    pub checkpointed_size: u64,
    /// Text by which it is restored.
    pub pointer: String,
}

/// What a job was restored from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredFrom {
    /// Number of the checkpoint.
    pub checkpoint_id: u64,
    /// Where it lies.
    pub pointer: String,
}

/// How far a job is. Records and failures are those of this process.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// What it is doing.
    pub status: JobStatus,
    /// Number of the attempt, from 1.
    pub attempt: u64,
    /// Records that sources have read, over all attempts.
    pub records_in: u64,
    /// Records that sinks have taken, over all attempts.
    pub records_out: u64,
    /// What the running attempt was restored from; none if it began afresh.
    pub restored_from: Option<RestoredFrom>,
    /// The newest completed checkpoint.
    pub last_checkpoint: Option<CheckpointStatistics>,
    /// How many checkpoints were completed.
    pub completed_checkpoints: u64,
    /// How many checkpoints were given up.
    pub failed_checkpoints: u64,
    /// How often the job was restarted after a failure.
    pub restarts: u64,
    /// The newest failure of an attempt.
    pub last_failure: Option<String>,
    /// How the job ended; none before its end, and if it failed.
    pub outcome: Option<JobOutcome>,
    /// What every operator subtask of this process has done, over all attempts.
    pub operators: Vec<OperatorProgress>,
}

/// A handle on a running job, for the program that started it: its progress, and requests to it.
///
/// Clone it before the job starts and use it from any thread. It can be used for one execution after the other, and
/// begins anew with each: what it shows is that of the last. A request that comes before the first execution waits for
/// it; one that comes after an execution has ended is nobody's, and forgotten.
///
/// ```
/// use highwater_dataflow::{JobHandle, JobStatus};
///
/// let handle = JobHandle::new();
/// assert_eq!(handle.progress().status, JobStatus::Created);
/// handle.stop(); // the job that runs with this handle takes a last checkpoint and ends
/// ```
#[derive(Clone, Debug, Default)]
pub struct JobHandle {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Told of every stop.
    stopped: Condvar,
}

#[derive(Debug, Default)]
struct State {
    progress: Progress,
    checkpoints: CheckpointHistory,
    description: Option<Arc<JobDescription>>,
    counters: Counters,
    is_running: bool,
    is_stopped: bool,
    is_cancelled: bool,
    attempt: Option<Arc<Attempt>>,
    /// Those who asked for the end of the job, and hear of it.
    asked_to_end: Vec<Promise<JobOutcome>>,
}

impl State {
    /// Whether a request is somebody's.
    fn takes_requests(&self) -> bool {
        self.is_running || self.progress.status == JobStatus::Created
    }
}

/// The time of one execution. When it is over, requests are forgotten.
pub(crate) struct Running<'a>(&'a JobHandle);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let (outcome, asked_to_end) = {
            let mut state = lock(&self.0.shared.state);
            state.progress.status = JobStatus::Ended;
            (state.is_running, state.is_stopped, state.is_cancelled) = (false, false, false);
            (state.progress.outcome, std::mem::take(&mut state.asked_to_end))
        };
        for promise in asked_to_end {
            promise.keep(outcome.ok_or_else(|| Error::cancelled("the job failed before it ended as it was asked to")));
        }
    }
}

impl JobHandle {
    /// A handle for one job.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the job to take a last checkpoint, commit it and end. It can be resumed from there. The answer comes when the
    /// job has ended, with how it did: it may have finished first. An error if it failed, or no job runs any more.
    pub fn stop(&self) -> Pending<JobOutcome> {
        self.request(|state| &mut state.is_stopped, Attempt::stop)
    }

    /// Asks for a checkpoint beside the periodic ones (Flink's `triggerCheckpoint`). Requests that wait together get one.
    pub fn trigger_checkpoint(&self) -> Pending<CheckpointStatistics> {
        self.ask(Request::Checkpoint)
    }

    /// Asks for a savepoint: all state in Flink's canonical format, which every backend reads, in a directory
    /// `savepoint-<6 digits of the job id>-<12 random digits>` of its own below `target`, which can be moved. `target` is
    /// a URI or a local path; none: the backend's default directory, else `execution.checkpointing.savepoint-dir`.
    ///
    /// The savepoint is the user's: the job never deletes it, does not count it among its checkpoints, and resumes from
    /// it only if it is pointed to. Nothing is committed with it. The job goes on, and so do its checkpoints, whether it
    /// succeeds or fails, or its target hangs: then it begins when there is a directory for it, and is given up with the
    /// attempt.
    pub fn trigger_savepoint(&self, target: Option<&str>) -> Pending<CheckpointStatistics> {
        let target = target.map(str::to_owned);
        self.ask(|waiting| Request::Savepoint { target, waiting })
    }

    /// Asks for a [savepoint](Self::trigger_savepoint) behind which the sources stay silent, and ends the job when the
    /// sinks have committed what it covers; that is when the answer comes. If the savepoint fails, the job goes on.
    ///
    /// A later start of the job resumes from this savepoint. With `drain` (Flink's `TERMINATE`) the job counts as
    /// finished instead, as if its input had ended here: later starts do nothing, unless they point to the savepoint.
    pub fn stop_with_savepoint(&self, target: Option<&str>, drain: bool) -> Pending<CheckpointStatistics> {
        let target = target.map(str::to_owned);
        self.ask(|waiting| Request::StopWithSavepoint { target, is_drained: drain, waiting })
    }

    fn ask(&self, request: impl FnOnce(Waiting) -> Request) -> Pending<CheckpointStatistics> {
        let (promise, answer) = pending();
        let (attempt, status) = {
            let state = lock(&self.shared.state);
            (state.attempt.clone(), state.progress.status)
        };
        match (attempt, status) {
            (Some(attempt), JobStatus::Running | JobStatus::Finishing) => attempt.request(request(promise)),
            _ => promise.keep(Err(Error::storage(
                "no checkpoint or savepoint can be taken now: not all of the job runs; ask the process that coordinates it \
                 (index 0), while it runs",
            )
            .with("status", format_args!("{status:?}")))),
        }
        answer
    }

    /// Ends the job at once ([`JobOutcome::Cancelled`](crate::JobOutcome::Cancelled)): no checkpoint is taken, what is
    /// not yet committed is not. Like a failure it can be resumed from the newest checkpoint, if that is
    /// [kept](crate::ExecutionConfig::checkpoint_retention). Its answer is that of [`Self::stop`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater_dataflow::{ExecutionConfig, GeneratorSource, Job, JobHandle, JobOutcome};
    ///
    /// let handle = JobHandle::new();
    /// let job = Job::new("endless", |env| {
    ///     env.source("numbers", GeneratorSource::new(|n| n).rate(100.0));
    ///     Ok(())
    /// });
    /// let config = ExecutionConfig::new().handle(&handle);
    /// let running = std::thread::spawn(move || job.execute(&config));
    /// let outcome = handle.cancel().wait(Duration::from_secs(60)).expect("it ends within a minute")?;
    /// assert_eq!(outcome, JobOutcome::Cancelled);
    /// # running.join().unwrap()?;
    /// # Ok::<(), highwater_types::Error>(())
    /// ```
    pub fn cancel(&self) -> Pending<JobOutcome> {
        self.request(|state| &mut state.is_cancelled, Attempt::cancel_job)
    }

    fn request(
        &self,
        flag: impl FnOnce(&mut State) -> &mut bool,
        pass_on: impl FnOnce(&Attempt),
    ) -> Pending<JobOutcome> {
        let (promise, answer) = pending();
        let attempt = {
            let mut state = lock(&self.shared.state);
            if !state.takes_requests() {
                return answer;
            }
            *flag(&mut state) = true;
            state.asked_to_end.push(promise);
            state.attempt.clone()
        };
        self.shared.stopped.notify_all();
        if let Some(attempt) = attempt {
            pass_on(&attempt);
        }
        answer
    }

    /// How far the job is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let state = lock(&self.shared.state);
        let mut progress = state.progress.clone();
        (progress.records_in, progress.records_out) = state.counters.totals();
        progress.operators = state.counters.operators.progress();
        progress
    }

    /// The last checkpoints with all that is known of them, and a summary of all.
    #[must_use]
    pub fn checkpoints(&self) -> CheckpointHistory {
        lock(&self.shared.state).checkpoints.clone()
    }

    /// What the job is; none before its execution has begun.
    #[must_use]
    pub fn description(&self) -> Option<Arc<JobDescription>> {
        lock(&self.shared.state).description.clone()
    }

    pub(crate) fn describe(&self, description: JobDescription) {
        let mut state = lock(&self.shared.state);
        let settings = &description.checkpointing;
        state.checkpoints = CheckpointHistory::new(settings.history as usize, settings.retained as usize);
        state.description = Some(Arc::new(description));
    }

    /// Takes note of what happens to checkpoints.
    pub(crate) fn note(&self, note: impl FnOnce(&mut CheckpointHistory)) {
        note(&mut lock(&self.shared.state).checkpoints);
    }

    /// Reads of [`checkpoints`](Self::checkpoints) without a copy, while nothing can be noted.
    pub(crate) fn read_checkpoints<R>(&self, read: impl FnOnce(&CheckpointHistory) -> R) -> R {
        read(&lock(&self.shared.state).checkpoints)
    }

    /// Begins an execution, which ends when the result is dropped.
    ///
    /// # Errors
    /// `Program` while another one uses the handle.
    pub(crate) fn begin(&self) -> Result<Running<'_>> {
        let mut state = lock(&self.shared.state);
        if state.is_running {
            return Err(Error::program("the job handle is in use: give each job that runs a handle of its own"));
        }
        let (is_stopped, is_cancelled) = (state.is_stopped, state.is_cancelled);
        let asked_to_end = std::mem::take(&mut state.asked_to_end);
        *state = State { is_running: true, is_stopped, is_cancelled, asked_to_end, ..State::default() };
        Ok(Running(self))
    }

    /// Whether somebody stopped or cancelled the job.
    pub(crate) fn is_ending(&self) -> bool {
        let state = lock(&self.shared.state);
        state.is_stopped || state.is_cancelled
    }

    /// Whether somebody cancelled the job.
    pub(crate) fn is_cancelled(&self) -> bool {
        lock(&self.shared.state).is_cancelled
    }

    pub(crate) fn counters(&self) -> Counters {
        lock(&self.shared.state).counters.clone()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut lock(&self.shared.state).progress);
    }

    pub(crate) fn completed(&self, statistics: CheckpointStatistics) {
        let mut state = lock(&self.shared.state);
        state.progress.completed_checkpoints += 1;
        state.progress.last_checkpoint = Some(statistics);
    }

    /// The attempt that a stop is passed on to.
    pub(crate) fn attach(&self, attempt: Option<&Arc<Attempt>>) {
        let (is_stopped, is_cancelled) = {
            let mut state = lock(&self.shared.state);
            state.attempt = attempt.cloned();
            (state.is_stopped, state.is_cancelled)
        };
        if let (true, Some(attempt)) = (is_stopped, attempt) {
            attempt.stop();
        }
        if let (true, Some(attempt)) = (is_cancelled, attempt) {
            attempt.cancel_job();
        }
    }

    /// Waits, at most until somebody stops or cancels the job. Returns whether somebody did.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let mut state = lock(&self.shared.state);
        while !state.is_stopped && !state.is_cancelled {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = match self.shared.stopped.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }
}
