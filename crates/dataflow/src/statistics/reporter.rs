//! Publishes what is known of a job through the `metrics` facade, under Flink's names. Without a recorder, which the
//! program installs, that is to look at some numbers once a second.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use metrics::{Label, counter, gauge};

use super::operators::OperatorProgress;
use super::{CheckpointCounts, CheckpointHistory, JobDescription};
use crate::{JobHandle, Progress};

/// How often metrics are published. Rates are those of this time.
const INTERVAL: Duration = Duration::from_secs(1);

/// A thread that publishes the metrics of a job until it is dropped, and then once more.
#[derive(Debug)]
pub(crate) struct Reporter {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Reporter {
    /// Starts the thread. A job runs without its metrics too.
    pub(crate) fn start(handle: &JobHandle) -> Self {
        let (stop, stopped) = bounded::<()>(0);
        let mut published = Published::new(handle.clone());
        let run = move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(INTERVAL) {
                published.publish();
            }
            published.publish();
        };
        let thread = thread::Builder::new().name("metrics".to_owned()).spawn(run);
        let thread = thread.inspect_err(|error| tracing::warn!(%error, "the job's metrics are not published")).ok();
        Self { stop: Some(stop), thread }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.stop = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread for metrics panicked");
        }
    }
}

/// What was published last: rates are differences.
struct Published {
    handle: JobHandle,
    time: Instant,
    operators: Vec<OperatorProgress>,
}

impl Published {
    fn new(handle: JobHandle) -> Self {
        Self { handle, time: Instant::now(), operators: Vec::new() }
    }

    fn publish(&mut self) {
        let Some(job) = self.handle.description() else { return };
        let labels = vec![Label::new("job_id", job.id.to_string()), Label::new("job_name", job.name.clone())];
        let progress = self.handle.progress();
        if job.is_coordinated_here {
            let checkpoints = self.handle.read_checkpoints(Checkpoints::of);
            publish_job(&labels, &job, &progress, &checkpoints);
        }
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.time);
        for operator in &progress.operators {
            let is_same =
                |one: &&OperatorProgress| (&one.operator, one.subtask) == (&operator.operator, operator.subtask);
            let before = self.operators.iter().find(is_same);
            publish_operator(&labels, operator, before, passed);
        }
        (self.time, self.operators) = (now, progress.operators);
    }
}

/// What is published of the history of the checkpoints.
struct Checkpoints {
    counts: CheckpointCounts,
    latest: Option<Latest>,
    restored: Option<SystemTime>,
}

/// The newest completed checkpoint.
struct Latest {
    id: u64,
    duration: Duration,
    checkpointed_size: u64,
    state_size: u64,
    completed: SystemTime,
}

impl Checkpoints {
    fn of(history: &CheckpointHistory) -> Self {
        let latest = history.latest_completed.as_ref().map(|latest| Latest {
            id: latest.id,
            duration: latest.duration,
            checkpointed_size: latest.checkpointed_size,
            state_size: latest.state_size,
            completed: latest.triggered + latest.duration + latest.metadata_duration,
        });
        Self {
            counts: history.counts,
            latest,
            restored: history.latest_restored.as_ref().map(|restored| restored.time),
        }
    }
}

fn publish_job(labels: &[Label], job: &JobDescription, progress: &Progress, checkpoints: &Checkpoints) {
    let set = |name: &'static str, value: f64| gauge!(name, labels.to_vec()).set(value);
    let counts = &checkpoints.counts;
    set("numRestarts", progress.restarts as f64);
    set("parallelism", f64::from(job.parallelism));
    set("totalNumberOfCheckpoints", counts.total as f64);
    set("numberOfInProgressCheckpoints", counts.in_progress as f64);
    set("numberOfCompletedCheckpoints", counts.completed as f64);
    set("numberOfFailedCheckpoints", counts.failed as f64);
    if let Some(latest) = &checkpoints.latest {
        set("lastCompletedCheckpointId", latest.id as f64);
        set("lastCheckpointDuration", milliseconds(latest.duration));
        set("lastCheckpointSize", latest.checkpointed_size as f64);
        set("lastCheckpointFullSize", latest.state_size as f64);
        set("lastCheckpointCompletedTimestamp", timestamp(latest.completed));
    }
    if let Some(restored) = checkpoints.restored {
        set("lastCheckpointRestoreTimestamp", timestamp(restored));
    }
}

fn publish_operator(labels: &[Label], now: &OperatorProgress, before: Option<&OperatorProgress>, passed: Duration) {
    let own = [Label::new("operator_name", now.operator.clone()), Label::new("subtask_index", now.subtask.to_string())];
    let labels: Vec<Label> = labels.iter().cloned().chain(own).collect();
    let count = |name: &'static str, value| counter!(name, labels.clone()).absolute(value);
    count("numLateRecordsDropped", now.late_records_dropped);
    count("numRecordsIn", now.records_in);
    count("numRecordsOut", now.records_out);
    count("numBytesIn", now.bytes_in);
    count("numBytesOut", now.bytes_out);
    let time = |total: &'static str, rate: &'static str, of: fn(&OperatorProgress) -> Duration| {
        count(total, u64::try_from(of(now).as_millis()).unwrap_or(u64::MAX));
        let more = of(now).saturating_sub(before.map(of).unwrap_or_default());
        // A turn that began before this time counts when it ends.
        let per_second = milliseconds(more) / passed.as_secs_f64().max(f64::EPSILON);
        gauge!(rate, labels.clone()).set(per_second.min(1_000.0));
    };
    time("accumulateBusyTimeMs", "busyTimeMsPerSecond", |operator| operator.busy);
    time("accumulateBackPressuredTimeMs", "backPressuredTimeMsPerSecond", |operator| operator.back_pressured);
    time("accumulateIdleTimeMs", "idleTimeMsPerSecond", |operator| operator.idle);
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// Milliseconds since 1970.
fn timestamp(time: SystemTime) -> f64 {
    milliseconds(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}
