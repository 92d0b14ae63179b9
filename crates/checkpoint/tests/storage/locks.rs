//! Two processes on one directory.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use highwater_checkpoint::{
    CheckpointStorage, FileSystem, FileSystemCheckpointStorage, JobId, JobManagerCheckpointStorage, LocalFileSystem,
    StoragePath,
};
use highwater_types::ErrorKind;

use crate::support::{scratch, storage_on};

const CHILD_DIRECTORY: &str = "HIGHWATER_TEST_LOCK_DIRECTORY";

#[test]
fn one_job_runs_once() {
    let (_guard, base) = scratch();
    let fs: Arc<dyn FileSystem> = Arc::new(LocalFileSystem);
    let storage = storage_on(&fs, &base);
    let job = JobId::from_name("job");
    let running = storage.open(job).unwrap();

    let error = storage.open(job).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert_eq!(error.value("directory"), Some(base.join(&job.to_string()).to_string().as_str()));
    assert_eq!(error.value("held by process"), Some(std::process::id().to_string().as_str()));

    // Another job has a directory of its own; the same job may run again afterwards.
    storage.open(JobId::from_name("another job")).unwrap();
    drop(running);
    storage.open(job).unwrap();
}

#[test]
fn without_sub_directories_two_jobs_collide() {
    let (_guard, base) = scratch();
    let storage = FileSystemCheckpointStorage::new(base.clone()).unwrap().with_create_subdir(false);
    let running = storage.open(JobId::from_name("one")).unwrap();
    assert_eq!(running.directory().unwrap().path(), &base);
    assert_eq!(storage.open(JobId::from_name("two")).unwrap_err().kind(), ErrorKind::Storage);
}

#[test]
fn metadata_directories_of_the_memory_storage_are_locked_too() {
    let (_guard, base) = scratch();
    let storage = JobManagerCheckpointStorage::new().with_directory(base).unwrap();
    let _running = storage.open(JobId::from_name("job")).unwrap();
    assert_eq!(storage.open(JobId::from_name("job")).unwrap_err().kind(), ErrorKind::Storage);
    // In memory alone there is nothing to collide on.
    let memory = JobManagerCheckpointStorage::new();
    let _one = memory.open(JobId::from_name("job")).unwrap();
    memory.open(JobId::from_name("job")).unwrap();
}

/// Not a test of its own: the other process of the next test, which starts this binary again.
#[test]
fn child_that_holds_the_lock() {
    let Ok(directory) = std::env::var(CHILD_DIRECTORY) else { return };
    let storage = FileSystemCheckpointStorage::new(StoragePath::parse(&directory).unwrap()).unwrap();
    let _running = storage.open(JobId::from_name("job")).unwrap();
    println!("\nlocked");
    // Until it is killed, or the test has ended.
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn the_lock_of_another_process_ends_with_its_death() {
    let (_guard, base) = scratch();
    let storage = FileSystemCheckpointStorage::new(base.clone()).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "locks::child_that_holds_the_lock", "--nocapture"])
        .env(CHILD_DIRECTORY, base.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "locked"), "the child took the lock");

    let error = storage.open(JobId::from_name("job")).unwrap_err();
    assert_eq!(error.value("held by process"), Some(child.id().to_string().as_str()));

    child.kill().unwrap();
    child.wait().unwrap();
    storage.open(JobId::from_name("job")).unwrap();
}
