//! Stopping, resuming, rescaling, and everything that is refused.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "helpers of tests")]

mod support;

use std::path::Path;

use highwater_backends::MemoryStateBackend;
use highwater_checkpoint::{
    ChannelStateHandle, CheckpointMetadata, KeyGroupsFormat, KeyGroupsHandle, KeyedStateHandle, MetadataVersion,
    OperatorState, OperatorStateHandle, StreamHandle, SubtaskState,
};
use highwater_dataflow::{ExecutionConfig, Job, JobHandle, JobOutcome, JobResult, StartFrom};
use highwater_types::{ErrorKind, MaxParallelism, OperatorId, Result};
use support::{CommitSink, NumbersUntil, config, count, files, numbers, occurrences, wait_until};

const RECORDS: u64 = 60_000;
const KEYS: u64 = 101;

fn job(sink: &CommitSink, uid: &'static str, rate: Option<f64>) -> Job {
    let sink = sink.clone();
    Job::new("resumed", move |env| {
        count(env.source("numbers", NumbersUntil::part_or_rest(RECORDS, KEYS, rate)), uid).sink("sink", sink.clone());
        Ok(())
    })
}

/// Runs a slow job until it has taken some checkpoints, then stops it.
fn run_and_stop(sink: &CommitSink, config: ExecutionConfig) -> JobResult {
    let handle = JobHandle::new();
    let stopper = handle.clone();
    let thread = std::thread::spawn(move || {
        wait_until(|| stopper.progress().completed_checkpoints >= 2);
        stopper.stop();
    });
    let result = job(sink, "count", Some(50_000.0)).execute(&config.handle(&handle)).unwrap();
    thread.join().unwrap();
    result
}

fn on(directory: &Path) -> ExecutionConfig {
    config().state_backend(files(directory)).retained_checkpoints(2)
}

#[test]
fn a_stopped_job_goes_on_with_another_parallelism() {
    let directory = tempfile::tempdir().unwrap();
    let sink = CommitSink::new();
    let first = run_and_stop(&sink, on(directory.path()).workers(1));
    assert_eq!(first.outcome, JobOutcome::Stopped);
    assert_eq!(first.progress.restored_from, None);
    let read = first.progress.records_in;
    assert_eq!(sink.committed().len() as u64, read, "everything read before the stop is committed");

    let second = run_and_stop(&sink, on(directory.path()).workers(3));
    let restored = second.progress.restored_from.unwrap();
    assert_eq!(restored.checkpoint_id, first.progress.last_checkpoint.unwrap().id);
    assert_eq!(sink.committed().len() as u64, read + second.progress.records_in);

    let last = job(&sink, "count", None).execute(&on(directory.path()).workers(2)).unwrap();
    assert_eq!(last.outcome, JobOutcome::Finished);
    sink.assert_exactly_once(&occurrences(RECORDS, KEYS));
}

#[test]
fn a_finished_job_says_so_and_can_be_run_again_explicitly() {
    let directory = tempfile::tempdir().unwrap();
    let sink = CommitSink::new();
    let counting = job(&sink, "count", None);
    let first = counting.execute(&on(directory.path()).workers(2)).unwrap();
    assert_eq!(first.outcome, JobOutcome::Finished);
    let again = counting.execute(&on(directory.path()).workers(2)).unwrap();
    assert_eq!((again.outcome, again.progress.records_in), (JobOutcome::AlreadyFinished, 0));

    let pointer = StartFrom::Pointer(first.progress.last_checkpoint.unwrap().pointer);
    let from_pointer = counting.execute(&on(directory.path()).start_from(pointer)).unwrap();
    assert_eq!((from_pointer.outcome, from_pointer.progress.records_in), (JobOutcome::Finished, 0));
    sink.assert_exactly_once(&occurrences(RECORDS, KEYS));

    let fresh =
        job(&CommitSink::new(), "count", None).execute(&on(directory.path()).start_from(StartFrom::Fresh)).unwrap();
    assert_eq!((fresh.outcome, fresh.progress.records_in), (JobOutcome::Finished, RECORDS));
}

#[test]
fn a_pointer_elsewhere_is_restored_and_left_alone() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sink = CommitSink::new();
    let first = run_and_stop(&sink, on(old.path()).workers(2));
    let pointer = first.progress.last_checkpoint.unwrap().pointer;
    let start = StartFrom::Pointer(pointer.clone());
    let second = job(&sink, "count", None).execute(&on(new.path()).workers(3).start_from(start)).unwrap();
    assert_eq!(second.progress.restored_from.unwrap().pointer, pointer);
    assert!(Path::new(pointer.trim_start_matches("file:")).join("_metadata").exists());
    sink.assert_exactly_once(&occurrences(RECORDS, KEYS));
}

#[test]
fn a_source_that_is_new_in_a_restored_job_begins_at_its_beginning() {
    let directory = tempfile::tempdir().unwrap();
    let (sink, added) = (CommitSink::new(), CommitSink::new());
    run_and_stop(&sink, on(directory.path()));
    let (of_job, added_of_job) = (sink.clone(), added.clone());
    let extended = Job::new("resumed", move |env| {
        let rest = NumbersUntil::part_or_rest(RECORDS, KEYS, None);
        count(env.source("numbers", rest), "count").sink("sink", of_job.clone());
        count(env.source("more", numbers(1_000, KEYS, None)), "count more").sink("more sink", added_of_job.clone());
        Ok(())
    });
    assert!(extended.execute(&on(directory.path()).workers(2)).unwrap().progress.restored_from.is_some());
    sink.assert_exactly_once(&occurrences(RECORDS, KEYS));
    added.assert_exactly_once(&occurrences(1_000, KEYS));
}

#[test]
fn state_that_no_operator_claims_is_refused_unless_ignored() {
    let directory = tempfile::tempdir().unwrap();
    run_and_stop(&CommitSink::new(), on(directory.path()).workers(2));
    let renamed = job(&CommitSink::new(), "renamed", None);
    let error = renamed.execute(&on(directory.path())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.message().contains("Cannot map"), "{error}");
    assert!(error.value("uids of the program").unwrap().contains("'renamed'"));
    let result = renamed.execute(&on(directory.path()).ignore_unclaimed_state(true)).unwrap();
    assert_eq!(result.outcome, JobOutcome::Finished);
}

/// Flink's snapshots hold more than is read here. The error used to say just that only Flink could restore them.
#[test]
fn state_that_only_flink_reads_is_refused_with_a_way_out() {
    let data = StreamHandle::Inline { name: "raw".into(), bytes: [0].into() };
    let max_parallelism = MaxParallelism::new(1).unwrap();
    let (range, offsets) = (max_parallelism.all(), vec![0]);
    let keyed = KeyGroupsHandle { format: KeyGroupsFormat::Legacy, range, offsets, data: data.clone() };
    let in_flight = ChannelStateHandle::Merged { subtask: 0, size: 0, channels: vec![], data: data.clone() };
    let with = |state: SubtaskState| {
        let mut operator = OperatorState::new(OperatorId::from_uid("count"), 1, max_parallelism);
        operator.subtasks.insert(0, state.into());
        operator
    };
    let none = SubtaskState::default;
    let finished = OperatorState { fully_finished: true, subtasks: [].into(), ..with(none()) };
    let raw_operator = OperatorStateHandle::new([].into(), data.clone());
    for (operator, what, way_out) in [
        (finished, "had finished", "another uid"),
        (OperatorState { coordinator: Some(data), ..with(none()) }, "coordinator", "ignore-unclaimed-state"),
        (
            with(SubtaskState { raw_keyed: Some(KeyedStateHandle::KeyGroups(keyed)), ..none() }),
            "raw state",
            "canonical savepoint",
        ),
        (with(SubtaskState { raw_operator: Some(raw_operator), ..none() }), "raw state", "managed operator state"),
        (with(SubtaskState { input_channels: vec![in_flight], ..none() }), "in-flight", "Take a savepoint"),
    ] {
        let (snapshot, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let metadata = CheckpointMetadata { operators: vec![operator], ..CheckpointMetadata::new(1) };
        std::fs::write(snapshot.path().join("_metadata"), metadata.write(MetadataVersion::V6).unwrap()).unwrap();
        let start = StartFrom::Pointer(format!("file:{}", snapshot.path().display()));
        let counting = job(&CommitSink::new(), "count", None);
        let error = counting.execute(&on(directory.path()).workers(1).start_from(start)).unwrap_err();
        assert_eq!((error.kind(), error.value("operator")), (ErrorKind::Unsupported, Some("count")), "{error}");
        assert!(error.message().contains(what) && error.message().contains(way_out), "{error}");
    }
}

#[test]
fn the_number_of_key_groups_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let sink = CommitSink::new();
    run_and_stop(&sink, on(directory.path()).workers(1).max_parallelism(2));
    let counting = job(&sink, "count", None);
    let error = counting.execute(&on(directory.path()).workers(3)).unwrap_err();
    assert_eq!(error.value("max parallelism"), Some("2"), "{error}");
    let error = counting.execute(&on(directory.path()).max_parallelism(64)).unwrap_err();
    assert_eq!((error.value("expected"), error.value("found")), (Some("2"), Some("64")), "{error}");
    let result = counting.execute(&on(directory.path()).workers(2)).unwrap();
    assert_eq!(result.outcome, JobOutcome::Finished);
    sink.assert_exactly_once(&occurrences(RECORDS, KEYS));
}

#[test]
fn two_executions_in_one_directory_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let handle = JobHandle::new();
    let (stopper, config) = (handle.clone(), on(directory.path()).handle(&handle));
    let running = std::thread::spawn(move || job(&CommitSink::new(), "count", Some(1_000.0)).execute(&config));
    wait_until(|| handle.progress().completed_checkpoints > 0);
    let error = job(&CommitSink::new(), "count", None).execute(&on(directory.path())).unwrap_err();
    assert!(error.to_string().contains(directory.path().to_str().unwrap()), "{error}");
    stopper.stop();
    assert_eq!(running.join().unwrap().unwrap().outcome, JobOutcome::Stopped);
}

#[test]
fn another_kind_of_state_under_an_old_name_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    run_and_stop(&CommitSink::new(), on(directory.path()));
    let sink = CommitSink::new();
    let changed = Job::new("resumed", move |env| {
        env.source("numbers", numbers(RECORDS, KEYS, None))
            .key_by(|key: &i64| key.to_string())
            .process("count", |open| {
                let _ = open.value_state(&highwater_state::ValueStateDescriptor::<i64>::new("count"))?;
                Ok(|_: &String, number: i64, out: &mut highwater_dataflow::Collector<_>| {
                    out.collect((number, 0));
                    Ok(())
                })
            })
            .sink("sink", sink.clone());
        Ok(())
    });
    let error = changed.execute(&on(directory.path())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
    assert_eq!(error.value("operator"), Some("count"));
}

#[test]
fn mistakes_in_a_program_are_errors_before_anything_starts() {
    let execute = |build: fn(&mut highwater_dataflow::StreamEnvironment<'_>) -> Result<()>| {
        Job::new("mistaken", build).execute(&ExecutionConfig::new()).unwrap_err()
    };
    let twice = execute(|env| {
        count(env.source("numbers", numbers(1, 1, None)), "same").sink("same", CommitSink::new());
        Ok(())
    });
    assert_eq!((twice.kind(), twice.value("operator")), (ErrorKind::Program, Some("same")));
    let unnamed = execute(|env| {
        count(env.source(" ", numbers(1, 1, None)), "count");
        Ok(())
    });
    assert!(unnamed.message().contains("needs a uid"), "{unnamed}");
    assert!(execute(|_| Ok(())).message().contains("at least one source"));
    assert!(execute(|_| panic!("mistake")).value("panic").is_some());
    let nameless = Job::new("", |_| Ok(())).execute(&ExecutionConfig::new()).unwrap_err();
    assert_eq!(nameless.kind(), ErrorKind::Configuration);
    let idle = Job::new("idle", |_| Ok(())).execute(&ExecutionConfig::new().workers(0)).unwrap_err();
    assert_eq!(idle.kind(), ErrorKind::Configuration);
}

#[test]
fn without_periodic_checkpoints_the_end_commits_everything() {
    let sink = CommitSink::new();
    let config = ExecutionConfig::new().workers(2).state_backend(MemoryStateBackend::new());
    let result = job(&sink, "count", None).execute(&config).unwrap();
    assert_eq!(result.progress.completed_checkpoints, 1);
    sink.assert_exactly_once(&occurrences(RECORDS, KEYS));
}
