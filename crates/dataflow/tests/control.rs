//! Requests from outside the process. Before, there was no way in but a signal to stop.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "helpers of tests")]

mod support;

use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use highwater_checkpoint::{JobId, StoragePath, resolve_pointer};
use highwater_dataflow::{ControlCommand, ExecutionConfig, Job, JobControl, JobHandle, JobOutcome, JobResult};
use highwater_types::{ErrorKind, Result};
use support::{CommitSink, config, counting, files, occurrences, wait_until};

const RECORDS: u64 = 60_000;
const KEYS: u64 = 101;
const NAME: &str = "controlled";
/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(120);

fn job(sink: &CommitSink, rate: Option<f64>) -> Job {
    counting(NAME, (RECORDS, KEYS), sink.clone(), rate)
}

fn on(directory: &Path) -> ExecutionConfig {
    config().state_backend(files(directory)).workers(2).control_directory(true)
}

fn control(directory: &Path) -> JobControl {
    JobControl::new(&StoragePath::from_local(directory).unwrap(), JobId::from_name(NAME)).unwrap()
}

fn requests(directory: &Path) -> PathBuf {
    directory.join(JobId::from_name(NAME).to_string()).join("control")
}

/// Starts a job that goes on until it is told to end, and waits until it runs.
fn start(sink: &CommitSink, directory: &Path) -> JoinHandle<Result<JobResult>> {
    let handle = JobHandle::new();
    let (job, config) = (job(sink, Some(6_000.0)), on(directory).handle(&handle));
    let running = thread::spawn(move || job.execute(&config));
    wait_until(|| handle.progress().completed_checkpoints > 0);
    running
}

#[test]
fn another_process_asks_for_everything_a_handle_gives() {
    let (directory, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sink = CommitSink::new();
    let control = control(directory.path());
    let target = Some(format!("file://{}", target.path().display()));

    let running = start(&sink, directory.path());
    let checkpoint = control.ask(&ControlCommand::Checkpoint, LONG).unwrap();
    assert!(checkpoint.pointer.unwrap().ends_with(&format!("/chk-{}", checkpoint.id.unwrap())));
    let savepoint = control.ask(&ControlCommand::Savepoint { target: target.clone() }, LONG).unwrap();
    assert_eq!(
        resolve_pointer(&savepoint.pointer.unwrap()).unwrap().metadata().unwrap().state_size(),
        savepoint.size.unwrap()
    );
    assert!(savepoint.duration_ms.is_some());
    let error = control.ask(&ControlCommand::Savepoint { target: None }, LONG).unwrap_err();
    assert!(error.to_string().contains("execution.checkpointing.savepoint-dir"), "{error}");
    let stopped = control.ask(&ControlCommand::Stop, LONG).unwrap();
    let result = running.join().unwrap().unwrap();
    assert_eq!(result.outcome, JobOutcome::Stopped);
    assert_eq!(stopped.pointer, result.progress.last_checkpoint.map(|last| last.pointer));

    let running = start(&sink, directory.path());
    control.ask(&ControlCommand::Cancel, LONG).unwrap();
    assert_eq!(running.join().unwrap().unwrap().outcome, JobOutcome::Cancelled);

    let running = start(&sink, directory.path());
    let saved = control.ask(&ControlCommand::StopWithSavepoint { target, drain: false }, LONG).unwrap();
    assert_eq!(running.join().unwrap().unwrap().outcome, JobOutcome::Stopped);
    let result = job(&sink, None).execute(&on(directory.path())).unwrap();
    assert_eq!(result.progress.restored_from.map(|from| from.pointer), saved.pointer);
    sink.assert_exactly_once(&occurrences(RECORDS, KEYS));
    let left = std::fs::read_dir(requests(directory.path())).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).filter(|name| name != ".lock").collect();
    assert!(left.is_empty(), "{left:?}");
    let error = control.ask(&ControlCommand::Checkpoint, LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
}

#[test]
fn what_is_no_request_is_answered_with_an_error_and_old_ones_are_not_carried_out() {
    let directory = tempfile::tempdir().unwrap();
    let place = requests(directory.path());
    std::fs::create_dir_all(&place).unwrap();
    let put = |name: &str, text: &str| std::fs::write(place.join(name), text).unwrap();
    // Of a process that was killed, and from before this one.
    put("was-begun.running", r#"{"command":"cancel"}"#);
    put("too-early.request", r#"{"command":"cancel"}"#);
    put("old.answer.incomplete", "{");
    let running = start(&CommitSink::new(), directory.path());
    let garbage = [
        ("no-json", "savepoint please"),
        ("nothing", ""),
        ("unknown", r#"{"command":"explode"}"#),
        ("misspelt", r#"{"command":"savepoint","tarket":"file:///tmp"}"#),
        ("no-text", "\u{0}\u{1}"),
    ];
    for (name, text) in garbage {
        put(&format!("{name}.part"), text);
        std::fs::rename(place.join(format!("{name}.part")), place.join(format!("{name}.request"))).unwrap();
    }
    let large = format!(r#"{{"command":"cancel"{}}}"#, " ".repeat(1 << 20));
    put("large.request", &large);
    std::fs::create_dir(place.join("directory.request")).unwrap();
    put("not plain.request", r#"{"command":"cancel"}"#);
    let names = garbage.iter().map(|(name, _)| *name).chain(["was-begun", "too-early", "large", "directory"]);
    for name in names {
        let answer = place.join(format!("{name}.answer"));
        wait_until(|| answer.exists());
        let text = std::fs::read_to_string(&answer).unwrap();
        assert!(text.starts_with(r#"{"failed":"#), "{name}: {text}");
    }
    assert!(place.join("not plain.request").exists(), "not our business");
    assert!(!place.join("old.answer.incomplete").exists());
    control(directory.path()).ask(&ControlCommand::Stop, LONG).unwrap();
    assert_eq!(running.join().unwrap().unwrap().outcome, JobOutcome::Stopped, "none of them cancelled it");
}

#[test]
fn a_job_takes_no_requests_unless_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let config = on(directory.path()).control_directory(false);
    job(&CommitSink::new(), None).execute(&config).unwrap();
    assert!(!requests(directory.path()).exists());
    let error = control(directory.path()).ask(&ControlCommand::Checkpoint, LONG).unwrap_err();
    assert!(error.message().contains("does not run"), "{error}");
}
