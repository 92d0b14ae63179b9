//! What a sink leaves for the background is done before its checkpoint completes, or the checkpoint fails. The clock calls
//! it whether records come or not, and it is told which checkpoint is the last.
#![allow(clippy::unwrap_used, dead_code, reason = "helpers of tests")]

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use highwater_backends::MemoryStateBackend;
use highwater_dataflow::{
    Durability, ExecutionConfig, GeneratorSource, Job, JobHandle, JobOutcome, JobResult, Sink, SinkContext, SinkWriter,
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

/// What a sink was told: calls by the clock, and for every checkpoint whether it is the last.
#[derive(Clone, Debug, Default)]
struct Told {
    by_clock: Arc<AtomicU64>,
    is_last: Arc<Mutex<Vec<bool>>>,
}

struct Listener {
    told: Told,
    is_finishing: bool,
    due: Instant,
}

const PAUSE: Duration = Duration::from_millis(2);

impl Sink<u64> for Told {
    fn open(&self, _: &SinkContext<'_>) -> Result<Box<dyn SinkWriter<u64>>> {
        Ok(Box::new(Listener { told: self.clone(), is_finishing: false, due: Instant::now() }))
    }
}

impl SinkWriter<u64> for Listener {
    fn write(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn on_processing_time(&mut self) -> Result<Option<Duration>> {
        assert!(Instant::now() >= self.due, "called too early");
        self.due = Instant::now() + PAUSE;
        self.told.by_clock.fetch_add(1, Ordering::SeqCst);
        Ok(Some(PAUSE))
    }

    fn finish(&mut self) -> Result<()> {
        self.is_finishing = true;
        Ok(())
    }

    fn prepare(&mut self, _: u64) -> Result<()> {
        self.told.is_last.lock().unwrap().push(self.is_finishing);
        Ok(())
    }

    fn commit(&mut self, _: u64) -> Result<()> {
        Ok(())
    }
}

fn listening(told: &Told, rate: f64) -> Job {
    let told = told.clone();
    Job::new("listening", move |env| {
        env.source("numbers", GeneratorSource::new(|index| index).count(100).rate(rate)).sink("told", told.clone());
        Ok(())
    })
}

#[test]
fn the_clock_calls_a_sink_to_which_no_records_come() {
    let (told, handle) = (Told::default(), JobHandle::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            while told.by_clock.load(Ordering::SeqCst) < 50 && start.elapsed() < Duration::from_secs(60) {
                std::thread::sleep(PAUSE);
            }
            handle.stop();
        });
        // The first record would come after a quarter of an hour, and no checkpoint is taken before the last.
        let config = ExecutionConfig::new().state_backend(MemoryStateBackend::new()).handle(&handle);
        assert_eq!(listening(&told, 0.001).execute(&config).unwrap().outcome, JobOutcome::Stopped);
    });
    assert!(told.by_clock.load(Ordering::SeqCst) >= 50, "{told:?}");
    assert_eq!(*told.is_last.lock().unwrap(), [true]);
}

#[test]
fn a_sink_is_told_which_checkpoint_is_the_last() {
    let told = Told::default();
    let config = ExecutionConfig::new().checkpoint_interval(Duration::from_millis(10));
    let config = config.state_backend(MemoryStateBackend::new());
    assert_eq!(listening(&told, 500.0).execute(&config).unwrap().outcome, JobOutcome::Finished);
    let is_last = told.is_last.lock().unwrap();
    assert_eq!(is_last.iter().filter(|is_last| **is_last).count(), 1, "{is_last:?}");
    assert_eq!(is_last.last(), Some(&true));
}
