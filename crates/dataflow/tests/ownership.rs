//! Whose a snapshot is: what a job starts from after a crash, what it deletes and what never, and what is left when it
//! has ended. Before, the keys for it were parsed and ignored: a pointer was followed again after every crash, and a
//! retained checkpoint of the job's own that somebody pointed to was deleted.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "helpers of tests")]

mod support;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater_backends::{
    ClaimMode, Configuration, ExternalizedRetention, HashMapStateBackend, KeyedStore, MemoryStateBackend, StateBackend,
};
use highwater_checkpoint::{CompletedCheckpoint, JobId, resolve_pointer};
use highwater_dataflow::{
    CollectionSource, ExecutionConfig, Job, JobHandle, JobOutcome, JobResult, Pending, StartFrom,
};
use highwater_types::{Error, ErrorKind, Result};
use support::{CommitSink, config, count, counting, files, numbers, occurrences, wait_until};

const RECORDS: u64 = 60_000;
const KEYS: u64 = 101;
const NAME: &str = "owned";

fn job(sink: &CommitSink, rate: Option<f64>) -> Job {
    counting(NAME, (RECORDS, KEYS), sink.clone(), rate)
}

fn on(directory: &Path) -> ExecutionConfig {
    // Small state, all in files.
    let backend = files(directory).with_file_state_size_threshold(0).unwrap();
    config().state_backend(backend).workers(2).retained_checkpoints(2)
}

/// Runs a slow job until it has taken so many checkpoints, then ends it.
fn run_until(
    sink: &CommitSink,
    config: ExecutionConfig,
    checkpoints: u64,
    end: impl Fn(&JobHandle) -> Pending<JobOutcome> + Send + 'static,
) -> Result<JobResult> {
    let handle = JobHandle::new();
    let observer = handle.clone();
    let thread = std::thread::spawn(move || {
        wait_until(|| observer.progress().completed_checkpoints >= checkpoints);
        end(&observer);
    });
    let result = job(sink, Some(20_000.0)).execute(&config.handle(&handle));
    thread.join().unwrap();
    result
}

/// As after a crash: the newest checkpoint is all there is.
fn crash(sink: &CommitSink, config: ExecutionConfig, checkpoints: u64) -> JobResult {
    let result = run_until(sink, config, checkpoints, JobHandle::cancel).unwrap();
    assert_eq!(result.outcome, JobOutcome::Cancelled);
    result
}

fn stop(sink: &CommitSink, config: ExecutionConfig) -> JobResult {
    run_until(sink, config, 2, JobHandle::stop).unwrap()
}

fn pointer(result: &JobResult) -> String {
    result.progress.last_checkpoint.clone().unwrap().pointer
}

fn from(pointer: &str) -> StartFrom {
    StartFrom::Pointer(pointer.to_owned())
}

fn restored_from(result: &JobResult) -> String {
    result.progress.restored_from.clone().unwrap().pointer
}

/// The files of a snapshot, with its metadata.
fn files_of(pointer: &str) -> BTreeSet<PathBuf> {
    let snapshot = resolve_pointer(pointer).unwrap();
    let checkpoint = CompletedCheckpoint::from_snapshot(&snapshot).unwrap();
    checkpoint.files().iter().chain([&snapshot.metadata_file]).map(|file| file.to_local_path().unwrap()).collect()
}

fn checkpoints_in(directory: &Path) -> usize {
    let job = directory.join(JobId::from_name(NAME).to_string());
    let names = std::fs::read_dir(job).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("chk-")).count()
}

#[test]
fn after_a_crash_the_own_checkpoints_go_on_from_the_pointer() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sink = CommitSink::new();
    let snapshot = pointer(&stop(&sink, on(old.path())));
    let command = || on(new.path()).start_from(from(&snapshot));

    // It crashes before its first checkpoint: there is nothing but the pointer.
    let failed = job(&sink, None).execute(&command().checkpoint_interval(Duration::from_secs(3_600)).handle(&{
        let handle = JobHandle::new();
        handle.cancel();
        handle
    }));
    assert_eq!(failed.unwrap().outcome, JobOutcome::Cancelled);

    let first = crash(&sink, command(), 2);
    assert_eq!(restored_from(&first), snapshot);
    let second = crash(&sink, command(), 2);
    assert!(restored_from(&second).starts_with(&format!("file:{}", new.path().display())), "it goes on");
    assert_ne!(restored_from(&second), snapshot);
    // The user needs the snapshot no more.
    std::fs::remove_dir_all(old.path().join(JobId::from_name(NAME).to_string())).unwrap();
    let last = job(&sink, None).execute(&command()).unwrap();
    assert_eq!(last.outcome, JobOutcome::Finished);
    sink.assert_exactly_once(&occurrences(RECORDS, KEYS));
    assert_eq!(job(&sink, None).execute(&command()).unwrap().outcome, JobOutcome::AlreadyFinished);
}

#[test]
fn another_pointer_is_followed_and_the_same_one_on_request() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sink = CommitSink::new();
    let a = pointer(&stop(&sink, on(old.path()).retained_checkpoints(100)));
    let b = pointer(&stop(&sink, on(old.path()).retained_checkpoints(100)));
    assert_eq!(restored_from(&crash(&sink, on(new.path()).start_from(from(&a)), 2)), a);
    assert_eq!(restored_from(&crash(&sink, on(new.path()).start_from(from(&b)), 2)), b, "another pointer");
    let own = crash(&sink, on(new.path()).start_from(from(&b)), 2);
    assert_ne!(restored_from(&own), b);
    let anew = crash(&sink, on(new.path()).start_from(StartFrom::Anew(b.clone())), 2);
    assert_eq!(restored_from(&anew), b);
    // A start that came to nothing takes nothing away from the job.
    let error = job(&sink, None).execute(&on(new.path()).start_from(from(&a)).max_parallelism(7)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert_ne!(restored_from(&crash(&sink, on(new.path()).start_from(from(&b)), 2)), b);
    // Latest is what the job has done last, wherever it began.
    let latest = crash(&sink, on(new.path()), 2);
    assert!(restored_from(&latest).starts_with(&format!("file:{}", new.path().display())));
}

#[test]
fn a_checkpoint_of_the_job_that_somebody_points_to_is_never_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let sink = CommitSink::new();
    let snapshot = pointer(&stop(&sink, on(directory.path())));
    let needed = files_of(&snapshot);
    assert!(needed.len() > 1);
    crash(&sink, on(directory.path()).start_from(from(&snapshot)), 5);
    assert!(needed.iter().all(|file| file.exists()), "while the job runs");
    crash(&sink, on(directory.path()).start_from(from(&snapshot)), 5);
    crash(&sink, on(directory.path()), 5);
    crash(&sink, on(directory.path()).start_from(StartFrom::Fresh), 5);
    let policy = ExternalizedRetention::NoExternalizedCheckpoints;
    run_until(&sink, on(directory.path()).checkpoint_retention(policy), 5, JobHandle::stop).unwrap();
    assert!(needed.iter().all(|file| file.exists()), "in all later runs");
    assert_eq!(checkpoints_in(directory.path()), 1, "and nothing else is left");

    // Whoever gives it to the job gives it up.
    let claimed = on(directory.path()).start_from(from(&snapshot)).claim_mode(ClaimMode::Claim);
    crash(&CommitSink::new(), claimed, 5);
    assert!(needed.iter().all(|file| !file.exists()));
}

#[test]
fn a_claimed_snapshot_is_deleted_when_newer_checkpoints_replace_it() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sink = CommitSink::new();
    let snapshot = pointer(&stop(&sink, on(old.path())));
    let needed = files_of(&snapshot);
    let command = |mode| on(new.path()).start_from(from(&snapshot)).claim_mode(mode);
    for mode in [ClaimMode::NoClaim, ClaimMode::Legacy] {
        crash(&CommitSink::new(), command(mode).start_from(StartFrom::Anew(snapshot.clone())), 5);
        assert!(needed.iter().all(|file| file.exists()), "{mode}");
    }
    let anew = || command(ClaimMode::Claim).start_from(StartFrom::Anew(snapshot.clone()));
    crash(&sink, anew().retained_checkpoints(50), 2);
    assert!(needed.iter().all(|file| file.exists()), "it is one of those that are kept");
    // The next start still knows whose it is, whatever its mode.
    let last = crash(&sink, command(ClaimMode::NoClaim), 5);
    assert_ne!(restored_from(&last), snapshot);
    assert!(needed.iter().all(|file| !file.exists()));
    assert!(old.path().join(JobId::from_name(NAME).to_string()).join("shared").exists(), "its parent stays");
    let last = job(&sink, None).execute(&command(ClaimMode::Claim)).unwrap();
    assert_eq!(last.outcome, JobOutcome::Finished);
    sink.assert_exactly_once(&occurrences(RECORDS, KEYS));
}

/// A start that claimed the snapshot came to nothing; the next says otherwise, or begins elsewhere. The snapshot was
/// deleted all the same.
#[test]
fn a_claim_that_came_to_nothing_is_given_back() {
    let other = tempfile::tempdir().unwrap();
    let elsewhere = pointer(&stop(&CommitSink::new(), on(other.path())));
    let starts = [
        ("the same one, the user's", ClaimMode::NoClaim, None),
        ("the same one, as before Flink 1.15", ClaimMode::Legacy, None),
        ("nothing", ClaimMode::NoClaim, Some(StartFrom::Fresh)),
        ("another one", ClaimMode::NoClaim, Some(from(&elsewhere))),
    ];
    for (what, mode, start) in starts {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let snapshot = pointer(&stop(&CommitSink::new(), on(old.path())));
        let needed = files_of(&snapshot);
        let command = |mode| on(new.path()).start_from(from(&snapshot)).claim_mode(mode);
        let claimed = command(ClaimMode::Claim).checkpoint_interval(Duration::from_secs(3_600));
        crash(&CommitSink::new(), claimed, 0);
        let next = command(mode);
        let next = if let Some(start) = start { next.start_from(start) } else { next };
        crash(&CommitSink::new(), next, 5);
        assert!(needed.iter().all(|file| file.exists()), "{what}");
        // Later starts go on, and leave it alone too.
        crash(&CommitSink::new(), on(new.path()), 5);
        assert!(needed.iter().all(|file| file.exists()), "{what}");
    }
}

/// A backend that writes its snapshots itself.
#[derive(Clone, Debug)]
struct Dependent;

impl fmt::Display for Dependent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dependent")
    }
}

impl StateBackend for Dependent {
    fn name(&self) -> &str {
        "Dependent"
    }

    fn configure(&self, _: &Configuration) -> Result<Arc<dyn StateBackend>> {
        Ok(Arc::new(self.clone()))
    }

    fn keyed_store(&self) -> KeyedStore {
        HashMapStateBackend::new().keyed_store()
    }

    fn supports_no_claim_restore_mode(&self) -> bool {
        false
    }
}

#[test]
fn a_mode_that_cannot_be_is_refused_by_its_key() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sink = CommitSink::new();
    let snapshot = pointer(&stop(&sink, on(old.path())));
    let refused = |config: ExecutionConfig| -> Error {
        let error = job(&sink, None).execute(&config.start_from(from(&snapshot))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert_eq!(error.value("key"), Some("execution.state-recovery.claim-mode"), "{error}");
        error
    };
    let path = format!("file://{}", new.path().display());
    let dependent = || {
        let directory: Configuration = [("execution.checkpointing.dir", path.as_str())].into_iter().collect();
        config().configuration(&directory).state_backend(Dependent)
    };
    assert!(refused(dependent()).message().contains("CLAIM"));
    let memory = config().state_backend(MemoryStateBackend::new()).claim_mode(ClaimMode::Claim);
    assert!(refused(memory).message().contains("checkpoint directory"));
    let result = job(&sink, None).execute(&dependent().start_from(from(&snapshot)).claim_mode(ClaimMode::Legacy));
    assert_eq!(result.unwrap().outcome, JobOutcome::Finished);
}

/// Ends a job in each way there is, with each policy.
#[test]
fn each_policy_keeps_what_its_table_says() {
    use ExternalizedRetention::{DeleteOnCancellation, NoExternalizedCheckpoints, RetainOnCancellation};
    let policies = [None, Some(RetainOnCancellation), Some(DeleteOnCancellation), Some(NoExternalizedCheckpoints)];
    let ends = ["finished", "stopped", "cancelled", "failed"];
    let kept = [[true; 4], [false, true, true, true], [false, true, false, true], [false; 4]];
    for (policy, kept) in policies.into_iter().zip(kept) {
        for (end, kept) in ends.into_iter().zip(kept) {
            let directory = tempfile::tempdir().unwrap();
            let mut config = on(directory.path()).restart_strategy(&highwater_backends::RestartStrategy::None);
            if let Some(policy) = policy {
                config = config.checkpoint_retention(policy);
            }
            match end {
                "finished" => drop(job(&CommitSink::new(), None).execute(&config).unwrap()),
                "stopped" => drop(run_until(&CommitSink::new(), config, 1, JobHandle::stop).unwrap()),
                "cancelled" => drop(run_until(&CommitSink::new(), config, 1, JobHandle::cancel).unwrap()),
                _ => {
                    let handle = JobHandle::new();
                    let sink = CommitSink::new().failing_on(1, &handle);
                    job(&sink, Some(20_000.0)).execute(&config.handle(&handle)).unwrap_err();
                }
            }
            assert_eq!(checkpoints_in(directory.path()) > 0, kept, "{policy:?}: {end}");
        }
    }
}

#[test]
fn a_finished_job_is_known_without_its_checkpoints() {
    let (old, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sink = CommitSink::new();
    let snapshot = pointer(&stop(&sink, on(old.path())));
    let config = || on(directory.path()).checkpoint_retention(ExternalizedRetention::RetainOnCancellation);
    for start in [StartFrom::Latest, from(&snapshot)] {
        let result = job(&sink, None).execute(&config().start_from(start.clone())).unwrap();
        assert_eq!(result.outcome, JobOutcome::Finished, "{start:?}");
        assert_eq!(checkpoints_in(directory.path()), 0);
        let again = job(&sink, None).execute(&config().start_from(start)).unwrap();
        assert_eq!(again.outcome, JobOutcome::AlreadyFinished);
        assert_eq!(job(&sink, None).execute(&config()).unwrap().outcome, JobOutcome::AlreadyFinished);
    }
    let fresh = job(&CommitSink::new(), None).execute(&config().start_from(StartFrom::Fresh)).unwrap();
    assert_eq!((fresh.outcome, fresh.progress.records_in), (JobOutcome::Finished, RECORDS));
}

/// A policy that keeps nothing is no reason to lose the state of a job that was only started wrong.
#[test]
fn a_job_that_cannot_begin_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let sink = CommitSink::new();
    crash(&sink, on(directory.path()), 2);
    let config = || on(directory.path()).checkpoint_retention(ExternalizedRetention::NoExternalizedCheckpoints);
    job(&sink, None).execute(&config().max_parallelism(7)).unwrap_err();
    let other = Job::new(NAME, |env| {
        count(env.source("numbers", numbers(RECORDS, KEYS, None)), "renamed").sink("sink", CommitSink::new());
        Ok(())
    });
    assert_eq!(other.execute(&config()).unwrap_err().kind(), ErrorKind::Incompatible);
    assert!(checkpoints_in(directory.path()) > 0);
    assert_eq!(job(&sink, None).execute(&config()).unwrap().outcome, JobOutcome::Finished);
    sink.assert_exactly_once(&occurrences(RECORDS, KEYS));
}

/// The handle kept its stop, so that the second job ended at once, and counted on from the first.
#[test]
fn a_handle_begins_anew_with_each_execution() {
    let handle = JobHandle::new();
    let config = || config().handle(&handle);
    let mut answer = handle.stop();
    let stopped = job(&CommitSink::new(), Some(100.0)).execute(&config()).unwrap();
    assert_eq!(stopped.outcome, JobOutcome::Stopped, "a stop waits for the first execution");
    assert_eq!(answer.wait(Duration::ZERO).unwrap().unwrap(), JobOutcome::Stopped);
    for mut nobodys in [handle.stop(), handle.cancel()] {
        assert_eq!(nobodys.wait(Duration::ZERO).unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    }
    for _ in 0..2 {
        let result = job(&CommitSink::new(), None).execute(&config()).unwrap();
        assert_eq!(result.outcome, JobOutcome::Finished);
        assert_eq!((result.progress.records_in, result.progress.records_out), (RECORDS, RECORDS));
        assert_eq!(result.progress.completed_checkpoints, handle.checkpoints().duration.count());
        assert_eq!(handle.progress(), result.progress, "it shows the last execution");
    }
}

/// Who asks a job to end hears how it ended, also if it was otherwise.
#[test]
fn whoever_asks_for_the_end_hears_of_it() {
    let handle = JobHandle::new();
    let asked = Arc::new(Mutex::new(None));
    let (of_job, answer) = (handle.clone(), Arc::clone(&asked));
    let failing = Job::new("failing", move |env| {
        *answer.lock().unwrap() = Some(of_job.stop());
        env.source("nothing", CollectionSource::new(Vec::<i64>::new()));
        Err(Error::program("injected: the program fails"))
    });
    failing.execute(&config().handle(&handle)).unwrap_err();
    let mut answer = asked.lock().unwrap().take().unwrap();
    let error = answer.wait(Duration::ZERO).unwrap().unwrap_err();
    assert!(error.to_string().contains("the job failed before it ended"), "{error}");
}

#[test]
fn a_handle_belongs_to_one_execution_at_a_time() {
    let handle = JobHandle::new();
    let sink = CommitSink::new();
    let (second, observer) = (handle.clone(), handle.clone());
    let running = std::thread::spawn(move || {
        wait_until(|| observer.progress().completed_checkpoints > 0);
        let error = job(&CommitSink::new(), None).execute(&config().handle(&second)).unwrap_err();
        observer.stop();
        error
    });
    let result = job(&sink, Some(1_000.0)).execute(&config().handle(&handle)).unwrap();
    let error = running.join().unwrap();
    assert_eq!(error.kind(), ErrorKind::Program, "{error}");
    assert_eq!(result.outcome, JobOutcome::Stopped);
}
