//! The end of an attempt, and of a job, when a storage takes its time.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "helpers of tests")]

#[path = "support/ports.rs"]
mod ports;
mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use highwater_backends::{Configuration, ExternalizedRetention, HashMapStateBackend, RestartStrategy};
use highwater_checkpoint::{
    FaultyFileSystem, FileStep, FileSystemCheckpointStorage, JobId, LocalFileSystem, StoragePath,
};
use highwater_dataflow::{CheckpointStatistics, Cluster, ExecutionConfig, JobHandle, JobOutcome, JobStatus, Pending};
use highwater_types::Result;
use support::{CommitSink, config, counting, has_checkpoint, occurrences, wait_until};

const SIZE: (u64, u64) = (30_000, 5_003);

/// Checkpoints below a directory, all state in files, and something befalls each step.
fn on(
    directory: &Path,
    fault: impl Fn(FileStep, &StoragePath) -> Result<()> + Send + Sync + 'static,
) -> ExecutionConfig {
    let fs = FaultyFileSystem::new(LocalFileSystem, fault);
    let storage = FileSystemCheckpointStorage::new(StoragePath::from_local(directory).unwrap()).unwrap();
    let storage = storage.with_inline_threshold(0).with_file_system(Arc::new(fs));
    config().workers(2).state_backend(HashMapStateBackend::new()).checkpoint_storage(storage)
}

/// Runs `act` beside a job that goes on until somebody ends it.
fn beside(name: &str, config: ExecutionConfig, act: impl FnOnce(&JobHandle) + Send) -> JobOutcome {
    let handle = JobHandle::new();
    std::thread::scope(|scope| {
        scope.spawn(|| act(&handle));
        let job = counting(name, SIZE, CommitSink::new(), Some(20_000.0));
        job.execute(&config.handle(&handle)).unwrap().outcome
    })
}

/// It ended as a failure, although somebody had asked for the end and nothing was wrong any more.
#[test]
fn a_job_that_waits_to_restart_can_be_stopped_and_cancelled() {
    for (ask, outcome) in [
        (JobHandle::stop as fn(&JobHandle) -> Pending<JobOutcome>, JobOutcome::Stopped),
        (JobHandle::cancel, JobOutcome::Cancelled),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let handle = JobHandle::new();
        let sink = CommitSink::new();
        let failing = sink.clone().failing_on(0, &handle);
        let hour = Duration::from_secs(3_600);
        let restart = RestartStrategy::FixedDelay { attempts: 3, delay: hour };
        let config = || on(directory.path(), |_, _| Ok(())).restart_strategy(&restart);
        let ended = std::thread::scope(|scope| {
            scope.spawn(|| {
                wait_until(|| handle.progress().status == JobStatus::Restarting);
                drop(ask(&handle));
            });
            counting("restarting", SIZE, failing, Some(20_000.0)).execute(&config().handle(&handle)).unwrap()
        });
        assert_eq!((ended.outcome, ended.progress.attempt), (outcome, 1));
        let rest = counting("restarting", SIZE, sink.clone(), None).execute(&config()).unwrap();
        assert!(rest.progress.restored_from.is_some() && rest.outcome == JobOutcome::Finished);
        sink.assert_exactly_once(&occurrences(SIZE.0, SIZE.1));
    }
}

/// The other process has not come yet, and somebody asks for the end: a policy that keeps nothing deleted all that the
/// job had, although it had not run.
#[test]
fn a_job_that_was_stopped_before_it_began_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let fine = || on(directory.path(), |_, _| Ok(()));
    let stopped = beside("waiting", fine(), |handle| {
        wait_until(|| has_checkpoint(handle));
        handle.stop();
    });
    assert_eq!(stopped, JobOutcome::Stopped);
    // How long process 0 waits to tell the others.
    let soon: Configuration = [("heartbeat.interval", "10 ms"), ("heartbeat.timeout", "100 ms")].into_iter().collect();
    let nothing_kept =
        || fine().configuration(&soon).checkpoint_retention(ExternalizedRetention::NoExternalizedCheckpoints);
    for ask in [JobHandle::stop as fn(&JobHandle) -> Pending<JobOutcome>, JobHandle::cancel] {
        let hosts = [(); 2].map(|()| format!("127.0.0.1:{}", ports::free_port()));
        let ended = beside("waiting", nothing_kept().cluster(Cluster::new(0, hosts)), |handle| {
            wait_until(|| handle.description().is_some());
            drop(ask(handle));
        });
        assert!(matches!(ended, JobOutcome::Stopped | JobOutcome::Cancelled));
        let job = directory.path().join(JobId::from_name("waiting").to_string());
        let is_complete = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().path().join("_metadata").exists();
        assert!(std::fs::read_dir(job).unwrap().any(is_complete));
    }
}

/// A restore read to its end, however long that took; then `task.cancellation.timeout` took it for a function that does
/// not return, and ended the process. Had it ended, it would have deleted the checkpoints from which it could not begin.
#[test]
fn a_cancelled_restore_reads_no_further() {
    let directory = tempfile::tempdir().unwrap();
    let stopped = beside("restored", on(directory.path(), |_, _| Ok(())), |handle| {
        wait_until(|| has_checkpoint(handle));
        handle.stop();
    });
    assert_eq!(stopped, JobOutcome::Stopped);

    let (reads, cancelled, later) =
        (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (of_fault, is_cancelled, of_later) = (Arc::clone(&reads), Arc::clone(&cancelled), Arc::clone(&later));
    let config = on(directory.path(), move |step, path| {
        let is_state = path.file_name().is_some_and(|name| !name.starts_with('_') && !name.starts_with("chk-"));
        if step == FileStep::Read && is_state {
            of_later.fetch_add(u64::from(is_cancelled.load(Ordering::SeqCst)), Ordering::SeqCst);
            of_fault.fetch_add(1, Ordering::SeqCst);
            wait_until(|| is_cancelled.load(Ordering::SeqCst));
        }
        Ok(())
    });
    let config = config.checkpoint_retention(ExternalizedRetention::DeleteOnCancellation);
    let outcome = beside("restored", config, |handle| {
        wait_until(|| reads.load(Ordering::SeqCst) > 0);
        drop(handle.cancel());
        cancelled.store(true, Ordering::SeqCst);
    });
    assert_eq!(outcome, JobOutcome::Cancelled);
    // One read of each worker may have been on its way.
    let later = later.load(Ordering::SeqCst);
    assert!(later <= 2, "{later} reads after the cancellation");
    let job = directory.path().join(JobId::from_name("restored").to_string());
    let names = std::fs::read_dir(job).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with("chk-")).count(), 1, "a job that has not run loses nothing");
}

fn answer<T>(mut pending: Pending<T>) -> Result<T> {
    pending.wait(Duration::from_secs(100)).unwrap()
}

/// Where the target of a savepoint hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hangs {
    Directory,
    State,
    Metadata,
}

const HANGS: [Hangs; 3] = [Hangs::Directory, Hangs::State, Hangs::Metadata];

/// A target that hangs until it is released.
#[derive(Debug, Default)]
struct Gate {
    is_entered: AtomicBool,
    is_open: AtomicBool,
}

impl Gate {
    fn befall(&self, hangs: Hangs, step: FileStep, path: &StoragePath) {
        let is_metadata = path.file_name().is_some_and(|name| name.contains("_metadata"));
        let here = match hangs {
            Hangs::Directory => step == FileStep::CreateDirectory,
            Hangs::State => step == FileStep::Create && !is_metadata,
            Hangs::Metadata => step == FileStep::Create && is_metadata,
        };
        if here && path.path().contains("/savepoints") {
            self.is_entered.store(true, Ordering::SeqCst);
            wait_until(|| self.is_open.load(Ordering::SeqCst));
        }
    }
}

/// Runs a job whose savepoint hangs, until it has completed more checkpoints all the same.
fn with_hanging_savepoint(hangs: Hangs, act: impl FnOnce(&JobHandle, &Gate, Pending<CheckpointStatistics>) + Send) {
    let directory = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let of_fault = Arc::clone(&gate);
    let config = on(directory.path(), move |step, path| {
        of_fault.befall(hangs, step, path);
        Ok(())
    });
    let target = directory.path().join("savepoints").display().to_string();
    beside("saved", config, |handle| {
        wait_until(|| has_checkpoint(handle));
        let savepoint = handle.trigger_savepoint(Some(&target));
        wait_until(|| gate.is_entered.load(Ordering::SeqCst));
        let before = handle.progress().completed_checkpoints;
        wait_until(|| handle.progress().completed_checkpoints >= before + 3);
        act(handle, &gate, savepoint);
    });
}

/// A savepoint shared its threads with the checkpoints and counted as one of them: as long as its target did not answer,
/// none was completed.
#[test]
fn checkpoints_go_on_while_the_target_of_a_savepoint_hangs() {
    for hangs in HANGS {
        with_hanging_savepoint(hangs, |handle, gate, savepoint| {
            gate.is_open.store(true, Ordering::SeqCst);
            let saved = answer(savepoint).unwrap_or_else(|error| panic!("{hangs:?}: {error}"));
            let directory = saved.pointer.trim_start_matches("file:");
            assert!(Path::new(directory).join("_metadata").exists(), "{hangs:?}");
            handle.stop();
        });
    }
}

/// A cancelled or failed job waited for the target as well, for ever.
#[test]
fn a_cancelled_job_ends_while_the_target_of_a_savepoint_hangs() {
    for hangs in HANGS {
        with_hanging_savepoint(hangs, |handle, gate, savepoint| {
            assert_eq!(answer(handle.cancel()).unwrap(), JobOutcome::Cancelled, "{hangs:?}");
            assert!(answer(savepoint).is_err(), "{hangs:?}");
            assert!(!gate.is_open.swap(true, Ordering::SeqCst));
        });
    }
}
