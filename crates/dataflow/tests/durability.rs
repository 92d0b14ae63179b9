//! What a sink leaves for the background is done before its checkpoint completes, or the checkpoint fails.
#![allow(clippy::unwrap_used, dead_code, reason = "helpers of tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ThreadId;
use std::time::Duration;

use highwater_backends::MemoryStateBackend;
use highwater_dataflow::{
    Durability, ExecutionConfig, Job, JobHandle, JobOutcome, JobResult, Sink, SinkContext, SinkWriter,
};
use highwater_types::{Error, Result};
use support::NumbersUntil;

/// A sink that asserts with each commit that its checkpoint was made durable on another thread.
#[derive(Clone, Debug, Default)]
struct Careful {
    /// Fails the next background part.
    fails: Arc<AtomicBool>,
    commits: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Writer {
    sink: Careful,
    prepared: u64,
    /// The newest checkpoint made durable.
    durable: Arc<AtomicU64>,
    worker: ThreadId,
}

impl Sink<i64> for Careful {
    fn open(&self, _: &SinkContext<'_>) -> Result<Box<dyn SinkWriter<i64>>> {
        let worker = std::thread::current().id();
        Ok(Box::new(Writer { sink: self.clone(), prepared: 0, durable: Arc::default(), worker }))
    }
}

impl SinkWriter<i64> for Writer {
    fn write(&mut self, _: i64) -> Result<()> {
        Ok(())
    }

    fn prepare(&mut self, checkpoint_id: u64) -> Result<()> {
        self.prepared = checkpoint_id;
        Ok(())
    }

    fn durability(&mut self) -> Option<Durability> {
        let (checkpoint, durable, worker) = (self.prepared, Arc::clone(&self.durable), self.worker);
        let fails = Arc::clone(&self.sink.fails);
        Some(Box::new(move || {
            assert_ne!(std::thread::current().id(), worker);
            // Long enough for a completion that does not wait to come first.
            std::thread::sleep(Duration::from_millis(20));
            if fails.swap(false, Ordering::SeqCst) {
                return Err(Error::storage("injected failure"));
            }
            durable.store(checkpoint, Ordering::SeqCst);
            Ok(())
        }))
    }

    fn commit(&mut self, checkpoint_id: u64) -> Result<()> {
        assert!(self.durable.load(Ordering::SeqCst) >= checkpoint_id, "committed before it was durable");
        self.sink.commits.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

fn run(sink: &Careful) -> JobResult {
    let handle = JobHandle::new();
    let (of_job, handle_of_job) = (sink.clone(), handle.clone());
    let job = Job::new("careful", move |env| {
        let numbers = NumbersUntil::watching(3_000, 100, 10_000.0, &handle_of_job, |progress| {
            progress.completed_checkpoints >= 4
        });
        env.source("numbers", numbers).sink("careful", of_job.clone());
        Ok(())
    });
    let config = ExecutionConfig::new()
        .workers(2)
        .state_backend(MemoryStateBackend::new())
        .checkpoint_interval(Duration::from_millis(10))
        .tolerable_checkpoint_failures(1)
        .handle(&handle);
    job.execute(&config).unwrap()
}

#[test]
fn a_checkpoint_waits_for_the_background_part_of_a_sink() {
    let sink = Careful::default();
    let result = run(&sink);
    assert_eq!(result.outcome, JobOutcome::Finished);
    assert_eq!((result.progress.attempt, result.progress.failed_checkpoints), (1, 0));
    let (commits, checkpoints) = (sink.commits.load(Ordering::SeqCst), result.progress.completed_checkpoints);
    assert!((4..=2 * checkpoints).contains(&commits), "{commits} commits of two writers, {checkpoints} checkpoints");
}

#[test]
fn a_failing_background_part_costs_its_checkpoint() {
    let sink = Careful::default();
    sink.fails.store(true, Ordering::SeqCst);
    let result = run(&sink);
    assert_eq!(result.outcome, JobOutcome::Finished);
    assert_eq!((result.progress.attempt, result.progress.failed_checkpoints), (1, 1));
}
