//! Failures injected on one of three workers: the job restarts, and every result is committed exactly once.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "helpers of tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use highwater_backends::{HashMapStateBackend, MemoryStateBackend, RestartStrategy, StateBackend};
use highwater_checkpoint::{
    CheckpointStorage, FaultyStorage, FileSystemCheckpointStorage, JobManagerCheckpointStorage, StoragePath,
};
use highwater_dataflow::{Collector, ExecutionConfig, Job, JobHandle, JobOutcome, Progress};
use highwater_state::ValueStateDescriptor;
use highwater_types::{Error, Result};
use support::{CommitSink, Counted, NumbersUntil, config, files, has_checkpoint, numbers, occurrences};

const RECORDS: u64 = 60_000;
const KEYS: u64 = 97;
const RATE: f64 = 120_000.0;

/// Where user code fails, once, on one of the workers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Open,
    OpenPanics,
    Process,
    ProcessPanics,
    Sink,
}

fn run(place: Place, backend: impl StateBackend) {
    let handle = JobHandle::new();
    let sink = match place {
        Place::Sink => CommitSink::new().failing_on(1, &handle),
        _ => CommitSink::new(),
    };
    let armed = Arc::new(AtomicBool::new(true));
    let (sink_of_job, armed_of_job, handle_of_job) = (sink.clone(), Arc::clone(&armed), handle.clone());
    let job = Job::new("failing", move |env| {
        let (armed, handle) = (Arc::clone(&armed_of_job), handle_of_job.clone());
        // Goes on until it has failed.
        let numbers = NumbersUntil::watching(RECORDS, KEYS, RATE, &handle, |progress| progress.attempt >= 2);
        env.source("numbers", numbers)
            .key_by(|key: &i64| *key)
            .process("count", move |open| {
                let fails_here = |at| place == at && open.subtask() == 1 && armed.swap(false, Ordering::SeqCst);
                if fails_here(Place::Open) {
                    return Err(Error::storage("injected failure at open"));
                }
                assert!(!fails_here(Place::OpenPanics), "injected panic at open");
                let count = open.value_state(&ValueStateDescriptor::<i64>::new("count"))?;
                let subtask = open.subtask();
                Ok(move |key: &i64, _: i64, out: &mut Collector<Counted>| {
                    let is_due = || subtask == 1 && has_checkpoint(&handle) && armed.swap(false, Ordering::SeqCst);
                    let fails_here = |at| place == at && is_due();
                    if fails_here(Place::Process) {
                        return Err(Error::program("injected failure of a process"));
                    }
                    assert!(!fails_here(Place::ProcessPanics), "injected panic of a process");
                    let n = count.value()?.unwrap_or(0) + 1;
                    count.update(n)?;
                    out.collect((*key, n));
                    Ok(())
                })
            })
            .sink("sink", sink_of_job.clone());
        Ok(())
    });
    let result = job.execute(&config().workers(3).state_backend(backend).handle(&handle)).unwrap();
    assert_eq!(result.outcome, JobOutcome::Finished);
    assert_eq!(result.progress.attempt, 2, "{place:?} failed once");
    assert!(result.progress.last_failure.is_some());
    if matches!(place, Place::Process | Place::ProcessPanics | Place::Sink) {
        assert!(result.progress.restored_from.is_some(), "a checkpoint came before the failure");
    }
    sink.assert_exactly_once(&occurrences(RECORDS, KEYS));
}

macro_rules! places {
    ($($name:ident: $place:ident),* $(,)?) => {$(
        mod $name {
            use super::*;

            #[test]
            fn on_files() {
                let directory = tempfile::tempdir().unwrap();
                run(Place::$place, files(directory.path()));
            }

            #[test]
            fn in_memory() {
                run(Place::$place, MemoryStateBackend::new());
            }
        }
    )*};
}

places! {
    an_error_at_open: Open,
    a_panic_at_open: OpenPanics,
    an_error_of_a_process: Process,
    a_panic_of_a_process: ProcessPanics,
    a_panic_of_a_sink: Sink,
}

/// A storage of which this many streams fail, those of the first checkpoints spared.
fn unreliable(storage: impl CheckpointStorage + 'static, failures: u32, spared: u64) -> FaultyStorage {
    let failures = AtomicU32::new(failures);
    FaultyStorage::new(storage, move |write| {
        let next = |left: u32| if write.checkpoint <= spared { None } else { left.checked_sub(1) };
        match failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next) {
            Ok(_) => Err(Error::storage("injected: no space left")),
            Err(_) => Ok(()),
        }
    })
}

fn run_unreliable(
    storage: impl CheckpointStorage + 'static,
    tolerated: u32,
    failures: u32,
) -> (JobHandle, Result<JobOutcome>, CommitSink) {
    let storage = unreliable(storage, failures, 1);
    let sink = CommitSink::new();
    let handle = JobHandle::new();
    let (sink_of_job, handle_of_job) = (sink.clone(), handle.clone());
    let job = Job::new("unreliable", move |env| {
        let has_failed = move |progress: &Progress| match tolerated {
            0 => progress.attempt >= 2,
            _ => progress.failed_checkpoints > 0,
        };
        let numbers = NumbersUntil::watching(RECORDS, KEYS, RATE, &handle_of_job, has_failed);
        support::count(env.source("numbers", numbers), "count").sink("sink", sink_of_job.clone());
        Ok(())
    });
    let config = config()
        .workers(3)
        .state_backend(HashMapStateBackend::new())
        .checkpoint_storage(storage)
        .tolerable_checkpoint_failures(tolerated)
        .handle(&handle);
    let outcome = job.execute(&config).map(|result| result.outcome);
    (handle, outcome, sink)
}

#[test]
fn a_failing_asynchronous_part_costs_a_checkpoint_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let on_files = FileSystemCheckpointStorage::new(StoragePath::from_local(directory.path()).unwrap()).unwrap();
    let (handle, outcome, sink) = run_unreliable(on_files, 3, 2);
    assert_eq!(outcome.unwrap(), JobOutcome::Finished);
    assert_eq!(handle.progress().attempt, 1, "the job went on");
    assert!((1..=2).contains(&handle.progress().failed_checkpoints));
    sink.assert_exactly_once(&occurrences(RECORDS, KEYS));

    let (handle, outcome, sink) = run_unreliable(JobManagerCheckpointStorage::new(), 3, 2);
    assert_eq!(outcome.unwrap(), JobOutcome::Finished);
    assert!((1..=2).contains(&handle.progress().failed_checkpoints));
    sink.assert_exactly_once(&occurrences(RECORDS, KEYS));
}

#[test]
fn a_final_checkpoint_that_fails_is_tried_again() {
    let sink = CommitSink::new();
    let of_job = sink.clone();
    let job = Job::new("persistent", move |env| {
        support::count(env.source("numbers", numbers(5_000, KEYS, None)), "count").sink("sink", of_job.clone());
        Ok(())
    });
    let failing = unreliable(JobManagerCheckpointStorage::new(), 1, 0);
    let config = ExecutionConfig::new()
        .workers(2)
        .state_backend(HashMapStateBackend::new())
        .checkpoint_storage(failing)
        .tolerable_checkpoint_failures(1);
    let result = job.execute(&config).unwrap();
    assert_eq!(result.outcome, JobOutcome::Finished);
    assert_eq!((result.progress.failed_checkpoints, result.progress.completed_checkpoints), (1, 1));
    sink.assert_exactly_once(&occurrences(5_000, KEYS));
}

#[test]
fn more_failed_checkpoints_than_tolerated_restart_the_job() {
    let (handle, outcome, sink) = run_unreliable(JobManagerCheckpointStorage::new(), 0, 1);
    assert_eq!(outcome.unwrap(), JobOutcome::Finished);
    assert_eq!(handle.progress().attempt, 2);
    assert!(handle.progress().last_failure.unwrap().contains("tolerable failure threshold"));
    sink.assert_exactly_once(&occurrences(RECORDS, KEYS));
}

#[test]
fn a_failure_that_stays_ends_the_job_with_its_cause() {
    let job = Job::new("hopeless", |env| {
        env.source("numbers", numbers(10, 10, None)).flat_map(|number: i64, _: &mut Collector<i64>| {
            Err(Error::program("injected for good").with("number", number))
        });
        Ok(())
    });
    let handle = JobHandle::new();
    let error = job.execute(&config().workers(2).handle(&handle)).unwrap_err();
    assert_eq!(error.message(), "injected for good");
    assert_eq!(error.value("operator"), Some("flat_map"));
    assert_eq!(handle.progress().attempt, 4, "three restarts");
    let error = job.execute(&ExecutionConfig::new().restart_strategy(&RestartStrategy::None)).unwrap_err();
    assert_eq!(error.message(), "injected for good");
}

/// The coordinator once ran in the loop of the first worker: a function that held it up there stopped the clock of all
/// checkpoints.
#[test]
fn a_checkpoint_expires_while_a_function_on_the_first_worker_waits() {
    let handle = JobHandle::new();
    let expired = Arc::new(AtomicBool::new(false));
    let (handle_of_job, expired_of_job) = (handle.clone(), Arc::clone(&expired));
    let job = Job::new("waiting", move |env| {
        let (handle, expired) = (handle_of_job.clone(), Arc::clone(&expired_of_job));
        env.source("numbers", numbers(1_000, 100, None)).key_by(|key: &i64| *key).process("wait", move |open| {
            let (handle, expired, subtask) = (handle.clone(), Arc::clone(&expired), open.subtask());
            Ok(move |_: &i64, _: i64, _: &mut Collector<i64>| {
                let deadline = Instant::now() + Duration::from_secs(60);
                while subtask == 0 && !expired.load(Ordering::SeqCst) && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(1));
                    expired.store(handle.progress().failed_checkpoints > 0, Ordering::SeqCst);
                }
                Ok(())
            })
        });
        Ok(())
    });
    let short = [("execution.checkpointing.timeout", "500 ms")].into_iter().collect();
    let config = config().configuration(&short).workers(2).tolerable_checkpoint_failures(1_000_000).handle(&handle);
    assert_eq!(job.execute(&config).unwrap().outcome, JobOutcome::Finished);
    assert!(expired.load(Ordering::SeqCst), "no checkpoint was given up while the function waited");
}

/// Counts those that are alive.
struct Alive(Arc<AtomicU32>);

impl Alive {
    fn new(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn nothing_of_a_failed_attempt_is_alive_when_the_next_begins() {
    let alive = Arc::new(AtomicU32::new(0));
    let at_open = Arc::new(AtomicU32::new(0));
    let (alive_of_job, at_open_of_job) = (Arc::clone(&alive), Arc::clone(&at_open));
    let job = Job::new("left-overs", move |env| {
        let (alive, at_open) = (Arc::clone(&alive_of_job), Arc::clone(&at_open_of_job));
        env.source("numbers", numbers(1_000, 10, None)).key_by(|key: &i64| *key).process("fail", move |open| {
            at_open.fetch_max(alive.load(Ordering::SeqCst), Ordering::SeqCst);
            let held = Alive::new(&alive);
            let subtask = open.subtask();
            Ok(move |_: &i64, number: i64, _: &mut Collector<i64>| match subtask {
                1 => {
                    Err(Error::program("injected").with("number", number).with("alive", held.0.load(Ordering::SeqCst)))
                }
                _ => Ok(()),
            })
        });
        Ok(())
    });
    job.execute(&config().workers(3)).unwrap_err();
    assert_eq!(alive.load(Ordering::SeqCst), 0, "everything was dropped");
    assert!(at_open.load(Ordering::SeqCst) < 3, "the functions of one attempt never met those of another");
}

/// A state that is registered twice is so at every attempt: it was restarted for ever. What a function says of a record
/// may be different the next time.
#[test]
fn an_error_of_the_program_while_it_opens_is_not_restarted() {
    let opened = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&opened);
    let job = Job::new("twice", move |env| {
        let opened = Arc::clone(&counter);
        env.source("numbers", numbers(RECORDS, KEYS, Some(RATE)))
            .key_by(|key: &i64| *key)
            .process("count", move |open| {
                opened.fetch_add(1, Ordering::SeqCst);
                let _ = open.value_state(&ValueStateDescriptor::<i64>::new("count"))?;
                let _ = open.value_state(&ValueStateDescriptor::<i64>::new("count"))?;
                Ok(|key: &i64, _: i64, out: &mut Collector<Counted>| {
                    out.collect((*key, 0));
                    Ok(())
                })
            })
            .sink("sink", CommitSink::new());
        Ok(())
    });
    let error = job.execute(&config()).unwrap_err();
    assert_eq!(
        (error.kind(), error.value("operator")),
        (highwater_types::ErrorKind::Program, Some("count")),
        "{error}"
    );
    assert_eq!(error.value("raised"), Some("while the job was opened"));
    assert_eq!(opened.load(Ordering::SeqCst), 1);
}
