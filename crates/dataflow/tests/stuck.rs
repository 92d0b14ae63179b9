//! Code that never returns, on a worker or beside them: it is named, and a cancelled job does not wait for it for ever. A
//! failure elsewhere left the process hanging without a word.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "helpers of tests")]

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use highwater_backends::Configuration;
use highwater_dataflow::{
    Collector, Durability, ExecutionConfig, GeneratorSource, Job, JobHandle, Sink, SinkContext, SinkWriter, Source,
    SourceContext, SourceReader, SplitEnumerator, SplitEnumeratorContext, StreamEnvironment,
};
use highwater_types::{Error, Result};

const CHILD: &str = "HIGHWATER_TEST_STUCK";

/// Tells where it has come, and does not come back.
#[derive(Clone, Debug, Default)]
struct Trap(Arc<AtomicBool>);

impl Trap {
    fn enter(&self) -> ! {
        self.0.store(true, Ordering::SeqCst);
        loop {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn wait_until_entered(&self) {
        while !self.0.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Its enumerator never comes to an end with looking.
impl Source for Trap {
    type Record = i64;
    type Split = (i64, i64);

    fn create_enumerator(&self, _: Option<&[u8]>) -> Result<Box<dyn SplitEnumerator<(i64, i64)>>> {
        Ok(Box::new(self.clone()))
    }

    fn create_reader(
        &self,
        context: &SourceContext<'_>,
    ) -> Result<Box<dyn SourceReader<Record = i64, Split = (i64, i64)>>> {
        GeneratorSource::new(|index| index as i64).create_reader(context)
    }
}

impl SplitEnumerator<(i64, i64)> for Trap {
    fn discover(&mut self, _: &mut SplitEnumeratorContext<(i64, i64)>) -> Result<Option<Duration>> {
        self.enter()
    }

    fn handle_split_request(&mut self, _: u32, _: &mut SplitEnumeratorContext<(i64, i64)>) -> Result<()> {
        Ok(())
    }

    fn snapshot_state(&mut self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

/// What it has written never becomes durable.
impl Sink<i64> for Trap {
    fn open(&self, _: &SinkContext<'_>) -> Result<Box<dyn SinkWriter<i64>>> {
        Ok(Box::new(self.clone()))
    }
}

impl SinkWriter<i64> for Trap {
    fn write(&mut self, _: i64) -> Result<()> {
        Ok(())
    }

    fn prepare(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn durability(&mut self) -> Option<Durability> {
        let trap = self.clone();
        Some(Box::new(move || trap.enter()))
    }

    fn commit(&mut self, _: u64) -> Result<()> {
        Ok(())
    }
}

/// Of two subtasks one has the odd numbers, and comes into an endless loop.
fn stuck_function(env: &mut StreamEnvironment<'_>, trap: Trap) {
    env.source("numbers", GeneratorSource::new(|index| index as i64)).flat_map(
        move |number: i64, _: &mut Collector<i64>| {
            if number % 2 == 1 {
                trap.enter();
            }
            trap.wait_until_entered();
            Err(Error::program("injected"))
        },
    );
}

fn stuck_enumerator(env: &mut StreamEnvironment<'_>, trap: Trap) {
    env.source("trap", trap.clone()).map(move |number| {
        let _ = &trap;
        number
    });
}

fn stuck_durability(env: &mut StreamEnvironment<'_>, trap: Trap) {
    let numbers = env.source("numbers", GeneratorSource::new(|index| index as i64).rate(1_000.0));
    numbers.map(|number| number).sink("trap", trap);
}

/// Not a test of its own: a job that fails when something of it has come where it does not come back from.
#[test]
fn process() {
    let Some(kind) = std::env::var_os(CHILD) else { return };
    let (trap, of_job) = (Trap::default(), kind.clone());
    let entered = trap.clone();
    let job = Job::new("stuck", move |env| {
        match of_job.to_str() {
            Some("function") => stuck_function(env, trap.clone()),
            Some("enumerator") => stuck_enumerator(env, trap.clone()),
            _ => stuck_durability(env, trap.clone()),
        }
        Ok(())
    });
    let handle = JobHandle::new();
    let of_thread = handle.clone();
    if kind != "function" {
        std::thread::spawn(move || {
            entered.wait_until_entered();
            drop(of_thread.cancel());
        });
    }
    let configuration: Configuration =
        [("task.cancellation.interval", "200 ms"), ("task.cancellation.timeout", "1 s")].into_iter().collect();
    let config = ExecutionConfig::from_configuration(&configuration).workers(2).handle(&handle);
    let result = job.execute(&config.checkpoint_interval(Duration::from_millis(10)));
    panic!("the job cannot come to an end: {result:?}");
}

/// Runs the job in a process, which is to end with a message that has these parts.
fn ends_with_the_process(kind: &str, parts: &[&str]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "process", "--nocapture"]).env(CHILD, kind).stderr(Stdio::piped());
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
    for part in ["task.cancellation.timeout"].iter().chain(parts) {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

#[test]
fn an_endless_loop_is_named_and_a_cancelled_job_ends_with_the_process() {
    ends_with_the_process("function", &["operator \"flat_map\", subtask 1", "injected"]);
}

/// All workers left at once, and nobody watched while the process waited for the thread of the enumerators.
#[test]
fn an_enumerator_that_does_not_return_is_named_too() {
    ends_with_the_process("enumerator", &["the enumerator of operator \"trap\"", "was cancelled"]);
}

/// As above, for the threads that write snapshots.
#[test]
fn a_sync_that_does_not_return_is_named_too() {
    ends_with_the_process("durability", &["thread \"snapshot-", "operator \"trap\"", "was cancelled"]);
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
