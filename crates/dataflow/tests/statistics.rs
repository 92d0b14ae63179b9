//! What an operator sees of a job: its checkpoints with their phases, bounded however long it runs, and what each
//! operator has done, over restarts too.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "helpers of tests")]

mod support;

use std::time::Duration;

use highwater_backends::Configuration;
use highwater_checkpoint::CheckpointMetadata;
use highwater_dataflow::{CheckpointStatus, Job, JobHandle, JobOutcome, OperatorProgress, Progress};
use support::{CommitSink, NumbersUntil, config, count, files, occurrences};

const RECORDS: u64 = 5_000;
const KEYS: u64 = 50;

/// Counts until the job has come so far.
fn counting(sink: &CommitSink, handle: &JobHandle, is_enough: fn(&Progress) -> bool) -> Job {
    let (sink, handle) = (sink.clone(), handle.clone());
    Job::new("observed", move |env| {
        let numbers = NumbersUntil::watching(RECORDS, KEYS, 20_000.0, &handle, is_enough);
        count(env.source("numbers", numbers).map(|number| number), "count").sink("sink", sink.clone());
        Ok(())
    })
}

fn of(progress: &Progress, operator: &str) -> OperatorProgress {
    let mut of_all = progress.operators.iter().filter(|one| one.operator == operator);
    let mut sum = of_all.next().unwrap().clone();
    for one in of_all {
        sum.records_in += one.records_in;
        sum.records_out += one.records_out;
        sum.bytes_in += one.bytes_in;
        sum.bytes_out += one.bytes_out;
        sum.busy += one.busy;
    }
    sum
}

/// The durations of all checkpoints were kept for as long as the job ran.
#[test]
fn the_last_checkpoints_are_remembered_with_their_phases_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let (sink, handle) = (CommitSink::new(), JobHandle::new());
    let mut settings = Configuration::new();
    settings.set_raw("web.checkpoints.history", "3");
    let backend = files(directory.path()).with_file_state_size_threshold(0).unwrap();
    let config = config().workers(2).state_backend(backend).configuration(&settings).handle(&handle);
    let job = counting(&sink, &handle, |progress| progress.completed_checkpoints >= 8);
    let result = job.execute(&config).unwrap();
    assert_eq!(result.outcome, JobOutcome::Finished);

    let history = handle.checkpoints();
    assert_eq!(history.checkpoints.len(), 3);
    assert_eq!(history.counts.completed, result.progress.completed_checkpoints);
    assert_eq!((history.counts.in_progress, history.counts.restored), (0, 0));
    assert_eq!(history.counts.total, history.counts.completed + history.counts.failed);
    assert_eq!(history.duration.count(), history.counts.completed);
    let newest = history.checkpoints.back().unwrap();
    assert_eq!(history.latest_completed.as_ref(), Some(newest));
    let told = result.progress.last_checkpoint.unwrap();
    assert_eq!((newest.id, newest.pointer.as_ref()), (told.id, Some(&told.pointer)));
    assert_eq!((newest.state_size, newest.checkpointed_size), (told.state_size, told.checkpointed_size));
    let file = directory.path().join(newest.pointer.as_deref().unwrap().rsplit("file:").next().unwrap());
    let metadata = CheckpointMetadata::read(&std::fs::read(file.join("_metadata")).unwrap()).unwrap();
    // The state of the enumerators is no subtask's.
    let of_enumerators: u64 = metadata.operators.iter().filter_map(|one| Some(one.coordinator.as_ref()?.size())).sum();
    for checkpoint in &history.checkpoints {
        assert_eq!(checkpoint.status, CheckpointStatus::Completed);
        // Source, count and sink on two workers.
        assert_eq!((checkpoint.subtasks, checkpoint.acknowledged.len()), (6, 6), "{checkpoint:?}");
        let sizes = checkpoint.acknowledged.iter().map(|subtask| subtask.state_size);
        assert_eq!(sizes.sum::<u64>() + of_enumerators, checkpoint.state_size, "{checkpoint:?}");
        let last = checkpoint.last_subtask().unwrap();
        assert_eq!(last.acknowledged_after, checkpoint.duration, "{checkpoint:?}");
        assert!(checkpoint.asynchronous() > Duration::ZERO && checkpoint.duration >= checkpoint.asynchronous());
        assert!(checkpoint.metadata_duration > Duration::ZERO);
        assert!(checkpoint.latest_acknowledgement().unwrap() >= checkpoint.triggered);
        let of_count = checkpoint.acknowledged.iter().filter(|subtask| subtask.operator == "count");
        assert!(of_count.clone().all(|subtask| subtask.state_size > 0 && subtask.sync > Duration::ZERO));
        assert_eq!(of_count.map(|subtask| subtask.subtask).collect::<Vec<_>>().len(), 2);
    }
}

#[test]
fn restarts_failures_and_what_operators_did_are_counted_over_all_attempts() {
    let handle = JobHandle::new();
    let sink = CommitSink::new().failing_on(1, &handle);
    let job = counting(&sink, &handle, |progress| progress.attempt >= 2);
    let result = job.execute(&config().workers(2).handle(&handle)).unwrap();
    sink.assert_exactly_once(&occurrences(RECORDS, KEYS));

    let progress = result.progress;
    assert_eq!((progress.attempt, progress.restarts), (2, 1));
    assert_eq!(progress.outcome, Some(JobOutcome::Finished));
    let history = handle.checkpoints();
    assert_eq!(history.counts.restored, 1);
    let restored = history.latest_restored.unwrap();
    assert_eq!(Some(&restored.from), progress.restored_from.as_ref());
    if let Some(failed) = history.latest_failed {
        assert!(failed.failure.unwrap().reason.contains("attempt ended"));
    }

    assert_eq!(progress.operators.len(), 2 * 4, "numbers, two maps under one name, count, sink: {progress:?}");
    let [numbers, map, count, sink] = ["numbers", "map", "count", "sink"].map(|operator| of(&progress, operator));
    assert_eq!((numbers.records_in, numbers.records_out), (progress.records_in, progress.records_in));
    assert!(numbers.bytes_out > 0 && numbers.bytes_in == 0);
    // What was under way when the attempt failed came in nowhere.
    assert!(map.records_in > RECORDS && map.records_in <= 2 * numbers.records_out);
    assert!(count.records_in >= RECORDS && count.records_out >= RECORDS && count.bytes_in > 0);
    assert!(sink.records_in >= progress.records_out && sink.records_out == 0);
    assert!(progress.operators.iter().all(|one| one.busy > Duration::ZERO && one.idle > Duration::ZERO));
}

/// Slow enough that the source has to wait for it.
#[test]
fn who_waits_for_a_slow_operator_is_back_pressured() {
    let handle = JobHandle::new();
    let sink = CommitSink::new().slow(Duration::from_micros(300));
    let job = counting(&sink, &handle, |_| true);
    let progress = job.execute(&config().workers(1).handle(&handle)).unwrap().progress;
    let [numbers, sink] = ["numbers", "sink"].map(|operator| of(&progress, operator));
    assert!(sink.busy > Duration::from_micros(300) * RECORDS as u32, "{sink:?}");
    assert!(sink.back_pressured.is_zero(), "{sink:?}");
    assert!(numbers.back_pressured > numbers.busy, "{numbers:?}");
}
