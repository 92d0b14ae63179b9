//! A function that never returns: it is named, and a cancelled job does not wait for it for ever. A failure elsewhere left
//! the process hanging without a word.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "helpers of tests")]

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use highwater_backends::Configuration;
use highwater_dataflow::{Collector, ExecutionConfig, GeneratorSource, Job};
use highwater_types::Error;

const CHILD: &str = "HIGHWATER_TEST_STUCK";

/// Not a test of its own: a job of which one subtask fails when the other one has come into an endless loop.
#[test]
fn process() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let is_stuck = Arc::new(AtomicBool::new(false));
    let job = Job::new("stuck", move |env| {
        let is_stuck = Arc::clone(&is_stuck);
        // Of two subtasks one has the odd numbers.
        let numbers = env.source("numbers", GeneratorSource::new(|index| index as i64));
        numbers.flat_map(move |number: i64, _: &mut Collector<i64>| {
            if number % 2 == 1 {
                is_stuck.store(true, Ordering::SeqCst);
                loop {
                    std::hint::spin_loop();
                }
            }
            while !is_stuck.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(Error::program("injected"))
        });
        Ok(())
    });
    let configuration: Configuration =
        [("task.cancellation.interval", "200 ms"), ("task.cancellation.timeout", "1 s")].into_iter().collect();
    let result = job.execute(&ExecutionConfig::from_configuration(&configuration).workers(2));
    panic!("the job cannot come to an end: {result:?}");
}

#[test]
fn an_endless_loop_is_named_and_a_cancelled_job_ends_with_the_process() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "process", "--nocapture"]).env(CHILD, "1").stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    // Does nothing to a process that has ended.
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(239), "{text}");
    for part in ["task.cancellation.timeout", "operator \"flat_map\", subtask 1", "injected"] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

/// As long as nobody cancels it, a long call is the program's own business.
#[test]
fn a_long_call_is_left_alone() {
    let job = Job::new("patient", |env| {
        let numbers = env.source("numbers", GeneratorSource::new(|index| index as i64).count(2));
        numbers.map(|number| {
            std::thread::sleep(Duration::from_millis(1_500));
            number
        });
        Ok(())
    });
    let config = ExecutionConfig::new().cancellation_timeout(Duration::from_secs(1));
    assert_eq!(job.execute(&config).unwrap().progress.records_in, 2);
}
