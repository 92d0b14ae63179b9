//! The local disk fails under a running job: the attempt ends, and the next one goes on from a checkpoint.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use highwater::{ErrorKind, ExecutionConfig, JobHandle, JobOutcome, JobResult, RestartStrategy, Result};

use crate::place::{Place, listing};
use crate::support::wait_until;

/// Runs the job, does `harm` after some checkpoints, and stops it when it goes on after its failure.
fn harmed(
    place: &Place,
    config: ExecutionConfig,
    harm: impl FnOnce(&JobHandle) + Send,
) -> (Result<JobResult>, JobHandle) {
    let handle = JobHandle::new();
    let has_ended = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            let wait_until = |is_true: &dyn Fn() -> bool| wait_until(|| is_true() || has_ended.load(Ordering::SeqCst));
            wait_until(&|| handle.progress().completed_checkpoints >= 3);
            harm(&handle);
            wait_until(&|| handle.progress().last_failure.is_some());
            let before = handle.progress().completed_checkpoints;
            wait_until(&|| handle.progress().completed_checkpoints > before);
            handle.stop();
        });
        let result = place.job(Some(30_000.0)).execute(&config.handle(&handle));
        has_ended.store(true, Ordering::SeqCst);
        result
    });
    (result, handle)
}

/// Removes what is in a directory and the directory itself, while others write there.
fn remove(directory: &Path) {
    wait_until(|| match fs::remove_dir_all(directory) {
        Ok(()) => true,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    });
}

fn assert_went_on(place: &Place, result: &JobResult) {
    assert_eq!(result.outcome, JobOutcome::Stopped);
    assert!(result.progress.attempt >= 2, "the attempt went on without its files");
    assert!(result.progress.restored_from.is_some());
    place.assert_tidy();
    place.run_to_end(&place.config());
    place.assert_tidy();
}

#[test]
fn a_job_whose_databases_are_removed_goes_on_from_a_checkpoint() {
    let place = Place::new();
    let databases = place.path("databases");
    let (result, _) = harmed(&place, place.config(), |_| remove(&databases));
    let result = result.unwrap();
    assert_went_on(&place, &result);
    let failure = result.progress.last_failure.unwrap();
    assert!(failure.contains(databases.to_str().unwrap()), "{failure}");
    assert!(listing(&databases).is_empty());
}

#[test]
fn without_a_restart_the_error_names_the_directory() {
    let place = Place::new();
    let databases = place.path("databases");
    let config = place.config().restart_strategy(&RestartStrategy::None);
    let (result, _) = harmed(&place, config, |_| remove(&databases));
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
    assert!(error.to_string().contains(databases.to_str().unwrap()), "{error}");
    // It can be resumed.
    place.run_to_end(&place.config());
}

/// Of two disks one goes for good. Each operator takes the next disk in turn: with two subtasks, one of them met the
/// lost disk in every attempt, and the job never ran again.
#[test]
fn of_several_directories_the_usable_one_is_taken_by_the_next_attempt() {
    let mut place = Place::new();
    let [lost, good] = ["lost", "good"].map(|name| place.path(name));
    place.set("state.backend.rocksdb.localdir", &format!("{},{}", lost.display(), good.display()));
    let harm = |_: &JobHandle| {
        // What is in its place is no directory, so that nobody can make it again.
        wait_until(|| {
            remove(&lost);
            fs::write(&lost, b"").is_ok()
        });
    };
    let (result, _) = harmed(&place, place.config(), harm);
    assert_went_on(&place, &result.unwrap());
    assert!(listing(&good).is_empty());

    // All are gone: they are named.
    fs::remove_dir(&good).unwrap();
    fs::write(&good, b"").unwrap();
    fs::remove_dir_all(place.path("checkpoints")).unwrap();
    let (error, handle) = place.run_in_vain(&place.config());
    assert_eq!((error.kind(), handle.progress().attempt), (ErrorKind::Storage, 6), "{error}");
    for directory in [&lost, &good] {
        assert!(error.to_string().contains(directory.to_str().unwrap()), "{error}");
    }
}

/// A file system of its own, unmounted at the end.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    /// None if this user may not mount.
    fn new(directory: &'a Path, size: &str) -> Option<Self> {
        fs::create_dir_all(directory).unwrap();
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", size, "highwater-test"]).arg(directory);
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(directory));
        }
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "SKIPPED: this user may not mount a file system");
        None
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).output();
    }
}

/// Until the attempt has failed.
fn wait_for_failure(handle: &JobHandle) {
    wait_until(|| handle.progress().last_failure.is_some());
}

fn patient() -> RestartStrategy {
    RestartStrategy::FixedDelay { attempts: 50, delay: Duration::from_millis(20) }
}

#[test]
fn a_full_local_disk_fails_the_attempt_and_the_next_one_has_room_again() {
    let place = Place::new();
    let databases = place.path("databases");
    let Some(_disk) = Mount::new(&databases, "size=24m") else { return };
    let ballast = databases.join("ballast");
    let failure = Mutex::new(String::new());
    let (result, _) = harmed(&place, place.config().restart_strategy(&patient()), |handle| {
        fill(&ballast);
        wait_for_failure(handle);
        *failure.lock().unwrap() = handle.progress().last_failure.unwrap();
        fs::remove_file(&ballast).unwrap();
    });
    let failure = failure.into_inner().unwrap();
    assert!(failure.contains("the disk is full") || failure.contains("No space left"), "{failure}");
    assert!(failure.contains(databases.to_str().unwrap()), "{failure}");
    assert_went_on(&place, &result.unwrap());
    assert!(listing(&databases).is_empty(), "{:?}", listing(&databases));
}

#[test]
fn a_local_disk_that_becomes_read_only_fails_the_attempt() {
    let place = Place::new();
    let databases = place.path("databases");
    let Some(_disk) = Mount::new(&databases, "size=64m") else { return };
    let failure = Mutex::new(String::new());
    let mount =
        |arguments: &[&str]| Command::new("mount").args(arguments).arg(&databases).output().unwrap().status.success();
    let (result, _) = harmed(&place, place.config().restart_strategy(&patient()), |handle| {
        // Files that are open for writing keep a mount as it is; a second mount over it does not know of them.
        assert!(mount(&["--bind", databases.to_str().unwrap()]));
        let over = Mount(&databases);
        // Not while a new file is being written.
        wait_until(|| mount(&["-o", "remount,bind,ro"]));
        wait_for_failure(handle);
        *failure.lock().unwrap() = handle.progress().last_failure.unwrap();
        drop(over);
    });
    let failure = failure.into_inner().unwrap();
    assert!(failure.contains("Read-only") && failure.contains(databases.to_str().unwrap()), "{failure}");
    assert_went_on(&place, &result.unwrap());
}

/// Takes all the space there is.
fn fill(file: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(file).unwrap();
    while file.write_all(&[0; 1 << 16]).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
}
