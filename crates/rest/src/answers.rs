//! The answers, field by field as in Flink. Sizes are bytes, durations and times milliseconds; -1 stands for what there
//! is not, as there.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use highwater_dataflow::{
    CheckpointHistory, CheckpointRecord, CheckpointStatus, JobDescription, JobHandle, JobOutcome, JobStatus, Progress,
    RestoredCheckpoint, SubtaskStatistics, Summary,
};
use serde_json::{Map, Value, json};

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// There is no such thing.
    Unknown,
    /// Another process of the job has it.
    Elsewhere,
}

/// What a path asks for.
pub(crate) fn answer(handle: &JobHandle, path: &str) -> Result<Value, Missing> {
    let is_elsewhere =
        handle.description().is_some_and(|job| !job.is_coordinated_here) && path.contains("/checkpoints");
    match is_elsewhere {
        true => Err(Missing::Elsewhere),
        false => known(handle, path).ok_or(Missing::Unknown),
    }
}

fn known(handle: &JobHandle, path: &str) -> Option<Value> {
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let ["jobs", rest @ ..] = &*parts else { return None };
    let description = handle.description();
    let [id, rest @ ..] = rest else {
        let jobs = description.map(|job| json!({ "id": job.id.to_string(), "status": status(&handle.progress()) }));
        return Some(json!({ "jobs": jobs.into_iter().collect::<Vec<_>>() }));
    };
    let job = description.filter(|job| job.id.to_string() == *id)?;
    let ["checkpoints", rest @ ..] = rest else { return None };
    match rest {
        [] => Some(checkpoints(&handle.checkpoints())),
        ["config"] => Some(config(&job)),
        ["details", id] => handle.checkpoints().checkpoint(id.parse().ok()?).map(|record| detail(&job, record)),
        ["details", id, "subtasks", operator] => {
            let history = handle.checkpoints();
            let record = history.checkpoint(id.parse().ok()?)?;
            let (uid, _) = job.operators.iter().find(|(_, id)| id.to_string() == *operator)?;
            Some(of_operator(&job, record, uid, operator))
        }
        _ => None,
    }
}

/// Flink's `JobStatus`.
fn status(progress: &Progress) -> &'static str {
    match (progress.status, progress.outcome) {
        (JobStatus::Created | JobStatus::Starting, _) => "INITIALIZING",
        (JobStatus::Running | JobStatus::Finishing, _) => "RUNNING",
        (JobStatus::Restarting, _) => "RESTARTING",
        (_, Some(JobOutcome::Cancelled)) => "CANCELED",
        (_, Some(_)) => "FINISHED",
        (_, None) => "FAILED",
    }
}

fn checkpoints(history: &CheckpointHistory) -> Value {
    let counts = &history.counts;
    json!({
        "counts": {
            "restored": counts.restored,
            "total": counts.total,
            "in_progress": counts.in_progress,
            "completed": counts.completed,
            "failed": counts.failed,
        },
        "summary": {
            "checkpointed_size": summary(&history.checkpointed_size),
            "state_size": summary(&history.state_size),
            "end_to_end_duration": summary(&history.end_to_end_duration),
            // Barriers are aligned, and nothing is buffered for them that would be counted or written.
            "alignment_buffered": summary(&Summary::default()),
            "processed_data": summary(&Summary::default()),
            "persisted_data": summary(&Summary::default()),
        },
        "latest": {
            "completed": history.latest_completed.as_ref().map(entry),
            "savepoint": history.latest_savepoint.as_ref().map(entry),
            "failed": history.latest_failed.as_ref().map(entry),
            "restored": history.latest_restored.as_ref().map(restored),
        },
        // The newest first.
        "history": history.checkpoints.iter().rev().map(entry).collect::<Vec<_>>(),
    })
}

fn summary(of: &Summary) -> Value {
    json!({
        "min": of.min(),
        "max": of.max(),
        "avg": of.mean(),
        "p50": of.quantile(0.5),
        "p90": of.quantile(0.9),
        "p95": of.quantile(0.95),
        "p99": of.quantile(0.99),
        "p999": of.quantile(0.999),
    })
}

fn restored(of: &RestoredCheckpoint) -> Value {
    json!({
        "id": of.from.checkpoint_id,
        "restore_timestamp": timestamp(of.time),
        // A snapshot does not say what it is; the name of its directory does.
        "is_savepoint": of.from.pointer.rsplit('/').next().is_some_and(|name| name.starts_with("savepoint-")),
        "external_path": of.from.pointer,
    })
}

/// A checkpoint in the history.
fn entry(record: &CheckpointRecord) -> Value {
    Value::Object(fields(record))
}

fn fields(record: &CheckpointRecord) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
    set("className", json!(class(record.status)));
    set("id", json!(record.id));
    set("status", json!(status_of(record.status)));
    set("is_savepoint", json!(record.is_savepoint));
    set("savepointFormat", if record.is_savepoint { json!("CANONICAL") } else { Value::Null });
    set("trigger_timestamp", json!(timestamp(record.triggered)));
    set("latest_ack_timestamp", json!(record.latest_acknowledgement().map_or(-1, timestamp)));
    set("checkpointed_size", json!(record.checkpointed_size));
    set("state_size", json!(record.state_size));
    set("end_to_end_duration", json!(milliseconds(record.duration)));
    set("alignment_buffered", json!(0));
    set("processed_data", json!(0));
    set("persisted_data", json!(0));
    set("num_subtasks", json!(record.subtasks));
    set("num_acknowledged_subtasks", json!(record.acknowledged.len()));
    set("checkpoint_type", json!(if record.is_savepoint { "SAVEPOINT" } else { "CHECKPOINT" }));
    set("tasks", json!({}));
    if let Some(pointer) = &record.pointer {
        set("external_path", json!(pointer));
        set("discarded", json!(record.is_discarded));
    }
    if let Some(failure) = &record.failure {
        set("failure_timestamp", json!(timestamp(failure.time)));
        set("failure_message", json!(failure.reason));
    }
    fields
}

/// One checkpoint with its operators, which are Flink's tasks.
fn detail(job: &JobDescription, record: &CheckpointRecord) -> Value {
    let mut fields = fields(record);
    let tasks = job.operators.iter().map(|(uid, id)| (id.to_string(), of_task(job, record, uid, &id.to_string())));
    fields.insert("tasks".to_owned(), Value::Object(tasks.collect()));
    Value::Object(fields)
}

fn of_task(job: &JobDescription, record: &CheckpointRecord, uid: &str, id: &str) -> Value {
    let subtasks: Vec<_> = record.acknowledged.iter().filter(|subtask| subtask.operator == uid).collect();
    let last = subtasks.iter().map(|subtask| subtask.acknowledged_after).max();
    json!({
        "id": id,
        "status": status_of(record.status),
        "latest_ack_timestamp": last.map_or(-1, |last| timestamp(record.triggered + last)),
        "checkpointed_size": subtasks.iter().map(|subtask| subtask.checkpointed_size).sum::<u64>(),
        "state_size": subtasks.iter().map(|subtask| subtask.state_size).sum::<u64>(),
        "end_to_end_duration": last.map_or(-1, milliseconds),
        "alignment_buffered": 0,
        "processed_data": 0,
        "persisted_data": 0,
        "num_subtasks": job.parallelism,
        "num_acknowledged_subtasks": subtasks.len(),
    })
}

/// One operator in a checkpoint, with its subtasks.
fn of_operator(job: &JobDescription, record: &CheckpointRecord, uid: &str, id: &str) -> Value {
    let known: Vec<_> = record.acknowledged.iter().filter(|subtask| subtask.operator == uid).collect();
    let of = |phase: &dyn Fn(&SubtaskStatistics) -> u64| {
        let mut of = Summary::default();
        known.iter().for_each(|subtask| of.record(phase(subtask)));
        summary(&of)
    };
    let span = |duration: Duration| u64::try_from(milliseconds(duration)).unwrap_or(0);
    let nothing = || summary(&Summary::default());
    let mut task = of_task(job, record, uid, id);
    if let Value::Object(fields) = &mut task {
        let summary = json!({
            "checkpointed_size": of(&|subtask| subtask.checkpointed_size),
            "state_size": of(&|subtask| subtask.state_size),
            "end_to_end_duration": of(&|subtask| span(subtask.acknowledged_after)),
            "checkpoint_duration": {
                "sync": of(&|subtask| span(subtask.sync)),
                "async": of(&|subtask| span(subtask.asynchronous)),
            },
            "alignment": {
                "buffered": nothing(),
                "processed": nothing(),
                "persisted": nothing(),
                "duration": of(&|subtask| span(subtask.alignment)),
            },
            "start_delay": of(&|subtask| span(subtask.delay())),
        });
        fields.insert("summary".to_owned(), summary);
        let subtasks = (0..job.parallelism).map(|number| {
            let known = known.iter().find(|subtask| subtask.subtask == number);
            known.map_or_else(|| pending(number), |subtask| of_subtask(record, subtask))
        });
        fields.insert("subtasks".to_owned(), subtasks.collect());
    }
    task
}

fn pending(number: u32) -> Value {
    json!({ "index": number, "status": "pending_or_failed" })
}

fn of_subtask(record: &CheckpointRecord, subtask: &SubtaskStatistics) -> Value {
    json!({
        "index": subtask.subtask,
        "status": "completed",
        "ack_timestamp": timestamp(record.triggered + subtask.acknowledged_after),
        "end_to_end_duration": milliseconds(subtask.acknowledged_after),
        "checkpointed_size": subtask.checkpointed_size,
        "state_size": subtask.state_size,
        "checkpoint": {
            "sync": milliseconds(subtask.sync),
            "async": milliseconds(subtask.asynchronous),
        },
        "alignment": {
            "buffered": 0,
            "processed": 0,
            "persisted": 0,
            "duration": milliseconds(subtask.alignment),
        },
        "start_delay": milliseconds(subtask.delay()),
        "unaligned_checkpoint": false,
        "aborted": record.status == CheckpointStatus::Failed,
    })
}

fn config(job: &JobDescription) -> Value {
    let settings = &job.checkpointing;
    let coordinator = &settings.coordinator;
    // Flink has no way to say "never": the greatest number stands for it.
    let interval = coordinator.interval.map_or(i64::MAX, milliseconds);
    let retention = settings.retention.map(|retention| retention.to_string());
    json!({
        "mode": "exactly_once",
        "interval": interval,
        "timeout": milliseconds(coordinator.timeout),
        "min_pause": milliseconds(coordinator.min_pause),
        "max_concurrent": coordinator.max_concurrent,
        "externalization": {
            "enabled": retention.as_deref() != Some("NO_EXTERNALIZED_CHECKPOINTS"),
            "delete_on_cancellation": retention.as_deref().is_some_and(|retention| retention != "RETAIN_ON_CANCELLATION"),
        },
        "state_backend": job.state_backend,
        "unaligned_checkpoints": false,
        "tolerable_failed_checkpoints": coordinator.tolerable_failures,
        "aligned_checkpoint_timeout": 0,
        "checkpoints_after_tasks_finish": true,
        "state_changelog_enabled": false,
    })
}

fn class(status: CheckpointStatus) -> &'static str {
    match status {
        CheckpointStatus::InProgress => "in_progress",
        CheckpointStatus::Completed => "completed",
        CheckpointStatus::Failed => "failed",
    }
}

fn status_of(status: CheckpointStatus) -> &'static str {
    match status {
        CheckpointStatus::InProgress => "IN_PROGRESS",
        CheckpointStatus::Completed => "COMPLETED",
        CheckpointStatus::Failed => "FAILED",
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn timestamp(time: SystemTime) -> i64 {
    milliseconds(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}
