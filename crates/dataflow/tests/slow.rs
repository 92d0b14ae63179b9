//! Slow functions: a checkpoint comes, a stop and a failure take effect, after few more records. With 50 ms per record a
//! stop took 103 seconds and no checkpoint came, as a whole window of 4,096 records was under way and processed at once.
//!
//! What is promised in seconds is counted in records here, each of which takes its time asleep: a busy machine makes
//! them take longer, and fewer of them are under way.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, clippy::indexing_slicing, reason = "helpers of tests")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use highwater_backends::RestartStrategy;
use highwater_dataflow::{
    Collector, ExecutionConfig, GeneratorSource, Job, JobHandle, JobOutcome, Sink, SinkContext, SinkWriter,
};
use highwater_types::{Error, Result};

/// Calls of a slow function, by subtask.
#[derive(Clone, Debug, Default)]
struct Calls(Arc<[AtomicU64; 2]>);

impl Calls {
    fn add(&self, subtask: u32) {
        self.0[subtask as usize].fetch_add(1, Ordering::SeqCst);
    }

    fn get(&self) -> [u64; 2] {
        [0, 1].map(|subtask| self.0[subtask].load(Ordering::SeqCst))
    }

    fn wait_for(&self, calls: u64) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while self.get().iter().any(|done| *done < calls) {
            assert!(Instant::now() < deadline, "no records: {self:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A slow sink. The slow process below is the other place.
#[derive(Clone, Debug)]
struct SlowSink(Calls, Duration);

impl Sink<i64> for SlowSink {
    fn open(&self, context: &SinkContext<'_>) -> Result<Box<dyn SinkWriter<i64>>> {
        Ok(Box::new(SlowWriter(self.clone(), context.subtask)))
    }
}

struct SlowWriter(SlowSink, u32);

impl SinkWriter<i64> for SlowWriter {
    fn write(&mut self, _: i64) -> Result<()> {
        let Self(SlowSink(calls, each), subtask) = self;
        calls.add(*subtask);
        thread::sleep(*each);
        Ok(())
    }

    fn prepare(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _: u64) -> Result<()> {
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Process,
    Sink,
}

/// An endless job that takes this long for each record.
fn slow_job(place: Place, each: Duration, calls: &Calls) -> Job {
    let calls = calls.clone();
    Job::new("slow", move |env| {
        let (of_process, of_sink) = (calls.clone(), calls.clone());
        let numbers = env.source("numbers", GeneratorSource::new(|index| index as i64));
        let passed = numbers.key_by(|number: &i64| *number).process("slow process", move |open| {
            let subtask = open.subtask();
            Ok(move |_: &i64, number: i64, out: &mut Collector<i64>| {
                if place == Place::Process {
                    of_process.add(subtask);
                    thread::sleep(each);
                }
                out.collect(number);
                Ok(())
            })
        });
        match place {
            Place::Process => drop(passed),
            Place::Sink => passed.sink("slow sink", SlowSink(of_sink, each)),
        }
        Ok(())
    })
}

/// Stops the job when it has taken a checkpoint. Returns the most records that one subtask processed after that, and
/// the longest time that a checkpoint took.
fn stop(place: Place, each: Duration, interval: Option<Duration>) -> (u64, Duration) {
    let calls = Calls::default();
    let handle = JobHandle::new();
    let mut config = ExecutionConfig::new().workers(2).handle(&handle);
    if let Some(interval) = interval {
        config = config.checkpoint_interval(interval);
    }
    let job = slow_job(place, each, &calls);
    let runner = thread::spawn(move || job.execute(&config).unwrap());
    calls.wait_for(4);
    let deadline = Instant::now() + Duration::from_secs(120);
    while interval.is_some() && handle.progress().completed_checkpoints < 2 {
        assert!(Instant::now() < deadline, "no checkpoint");
        thread::sleep(Duration::from_millis(5));
    }
    let before = calls.get();
    handle.stop();
    assert_eq!(runner.join().unwrap().outcome, JobOutcome::Stopped);
    let after = calls.get();
    let longest = Duration::from_micros(handle.checkpoints().duration.max());
    (after.iter().zip(before).map(|(after, before)| after - before).max().unwrap(), longest)
}

const FAST: Duration = Duration::from_millis(50);
const SLOW: Duration = Duration::from_secs(1);

#[test]
fn at_50_ms_per_record_a_checkpoint_takes_less_than_5_s_and_a_stop_2_s() {
    for place in [Place::Process, Place::Sink] {
        let (records, longest) = stop(place, FAST, Some(Duration::from_millis(500)));
        // Two seconds' worth.
        assert!(records <= 40, "{place:?}: {records} records of one subtask after the stop");
        assert!(longest < Duration::from_secs(5), "{place:?}: a checkpoint took {longest:?}");
    }
}

#[test]
fn at_1_s_per_record_a_stop_takes_less_than_10_s() {
    let (records, _) = stop(Place::Process, SLOW, None);
    assert!(records <= 9, "{records} records of one subtask after the stop");
}

#[test]
fn a_cancellation_is_seen_between_two_slow_records() {
    for (each, most) in [(FAST, 40), (SLOW, 9)] {
        let calls = Calls::default();
        let handle = JobHandle::new();
        let config = ExecutionConfig::new().workers(2).handle(&handle);
        let job = slow_job(Place::Process, each, &calls);
        let runner = thread::spawn(move || job.execute(&config).unwrap());
        calls.wait_for(2);
        let before = calls.get();
        handle.cancel();
        assert_eq!(runner.join().unwrap().outcome, JobOutcome::Cancelled);
        let after = calls.get();
        let records = after.iter().zip(before).map(|(after, before)| after - before).max().unwrap();
        assert!(records <= most, "{each:?}: {records} records of one subtask after the cancellation");
    }
}

/// One subtask fails while the other one is busy with slow records, and is left between two of them. Returns how many it
/// processed after the failure.
fn fail(each: Duration) -> u64 {
    let calls = Calls::default();
    let failed = Arc::new(Mutex::new(None));
    let (of_job, of_calls) = (Arc::clone(&failed), calls.clone());
    let job = Job::new("failing", move |env| {
        let (failed, calls) = (Arc::clone(&of_job), of_calls.clone());
        let numbers = env.source("numbers", GeneratorSource::new(|index| index as i64));
        numbers.key_by(|number: &i64| *number).process("slow process", move |open| {
            let subtask = open.subtask();
            Ok(move |_: &i64, _: i64, _: &mut Collector<i64>| {
                if subtask == 0 && calls.get().iter().all(|calls| *calls >= 3) {
                    *failed.lock().unwrap() = Some(calls.get()[1]);
                    return Err(Error::program("injected"));
                }
                calls.add(subtask);
                thread::sleep(each);
                Ok(())
            })
        });
        Ok(())
    });
    let config = ExecutionConfig::new().workers(2).restart_strategy(&RestartStrategy::None);
    let error = job.execute(&config).unwrap_err();
    assert_eq!(error.message(), "injected");
    let before = failed.lock().unwrap().unwrap();
    calls.get()[1] - before
}

#[test]
fn a_failure_is_seen_between_two_slow_records() {
    let records = fail(FAST);
    // Two seconds' worth. One or two is what it takes.
    assert!(records <= 40, "{records} records after a failure elsewhere");
    let records = fail(SLOW);
    assert!(records <= 9, "{records} records after a failure elsewhere");
}

/// What a function does when its time has come.
#[derive(Clone, Copy, Debug)]
enum How {
    Error,
    Panic,
}

/// Counts the calls of one instance of a function, and fails at the hundredth.
struct Instance {
    calls: u64,
    how: How,
    after: Arc<AtomicU64>,
}

impl Instance {
    fn call(&mut self) -> Result<()> {
        self.calls += 1;
        if self.calls > 100 {
            self.after.fetch_add(1, Ordering::SeqCst);
        }
        match (self.calls, self.how) {
            (100, How::Error) => Err(Error::program("injected")),
            (100, How::Panic) => panic!("injected"),
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
struct FailingSink(How, Arc<AtomicU64>);

impl Sink<i64> for FailingSink {
    fn open(&self, _: &SinkContext<'_>) -> Result<Box<dyn SinkWriter<i64>>> {
        Ok(Box::new(FailingWriter(Instance { calls: 0, how: self.0, after: Arc::clone(&self.1) })))
    }
}

struct FailingWriter(Instance);

impl SinkWriter<i64> for FailingWriter {
    fn write(&mut self, _: i64) -> Result<()> {
        self.0.call()
    }

    fn prepare(&mut self, _: u64) -> Result<()> {
        self.0.call()
    }

    fn commit(&mut self, _: u64) -> Result<()> {
        self.0.call()
    }
}

/// After an error or a panic of one call, 1,024 further calls of the same instance followed: its batch was gone on with.
#[test]
fn a_function_that_has_failed_is_never_called_again() {
    for how in [How::Error, How::Panic] {
        for place in ["map", "filter", "flat_map", "key_by", "process", "sink"] {
            let after = Arc::new(AtomicU64::new(0));
            let of_job = Arc::clone(&after);
            let job = Job::new("failing", move |env| {
                let mut instance = Instance { calls: 0, how, after: Arc::clone(&of_job) };
                // Functions without a result of their own can only panic.
                let mut unwrap = Instance { calls: 0, how: How::Panic, after: Arc::clone(&of_job) };
                let numbers = env.source("numbers", GeneratorSource::new(|index| index as i64).count(1_000_000));
                match place {
                    "map" => drop(numbers.map(move |number| (number, unwrap.call().unwrap()))),
                    "filter" => drop(numbers.filter(move |_| unwrap.call().is_ok())),
                    "flat_map" => drop(numbers.flat_map(move |_, _: &mut Collector<()>| instance.call())),
                    "key_by" => drop(
                        numbers
                            .key_by(move |number: &i64| number + i64::from(unwrap.call().is_err()))
                            .reduce("sum", |sum, next| *sum += next),
                    ),
                    "process" => drop(numbers.key_by(|number: &i64| *number).process("process", move |_| {
                        Ok(move |_: &i64, _: i64, _: &mut Collector<()>| instance.call())
                    })),
                    _ => numbers.sink("sink", FailingSink(how, Arc::clone(&of_job))),
                }
                Ok(())
            });
            let error = job.execute(&ExecutionConfig::new().workers(2)).unwrap_err();
            assert!(error.to_string().contains("injected"), "{place}: {error}");
            assert_eq!(after.load(Ordering::SeqCst), 0, "{place}: calls after the {how:?}");
        }
    }
}
