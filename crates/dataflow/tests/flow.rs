//! Sources keep a bounded distance from the sinks, and unequal sources do not hold each other up.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "helpers of tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use highwater_backends::MemoryStateBackend;
use highwater_dataflow::{
    CollectionSource, Collector, ExecutionConfig, GeneratorSource, Job, JobHandle, JobOutcome, Sink, SinkContext,
    SinkWriter,
};
use highwater_types::Result;
use support::{CommitSink, NumbersUntil, config, count, numbers, occurrences, wait_until};

/// Counts the records between source and sink.
#[derive(Clone, Debug, Default)]
struct Gauge {
    under_way: Arc<AtomicI64>,
    most: Arc<AtomicI64>,
}

impl Gauge {
    fn enter(&self) {
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }
}

/// Takes a millisecond for every record.
#[derive(Clone, Debug)]
struct SlowSink(Gauge);

impl Sink<i64> for SlowSink {
    fn open(&self, _: &SinkContext<'_>) -> Result<Box<dyn SinkWriter<i64>>> {
        Ok(Box::new(self.clone()))
    }
}

impl SinkWriter<i64> for SlowSink {
    fn write(&mut self, _: i64) -> Result<()> {
        std::thread::sleep(Duration::from_millis(1));
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }

    fn prepare(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _: u64) -> Result<()> {
        Ok(())
    }
}

/// Most records under way at once, of an endless source before a slow sink.
fn most_under_way(config: ExecutionConfig) -> i64 {
    let gauge = Gauge::default();
    let of_job = gauge.clone();
    let job = Job::new("slow", move |env| {
        let gauge = of_job.clone();
        let source = gauge.clone();
        env.source("numbers", GeneratorSource::new(|index| index as i64))
            .map(move |number| {
                source.enter();
                number
            })
            .key_by(|number: &i64| *number)
            .process("pass", |_| {
                Ok(|_: &i64, number: i64, out: &mut Collector<i64>| {
                    out.collect(number);
                    Ok(())
                })
            })
            .sink("slow", SlowSink(gauge));
        Ok(())
    });
    let handle = JobHandle::new();
    let stopper = handle.clone();
    let thread = std::thread::spawn(move || {
        wait_until(|| stopper.progress().records_out >= 1_000);
        stopper.stop();
    });
    let result = job.execute(&config.workers(2).handle(&handle)).unwrap();
    thread.join().unwrap();
    assert_eq!(result.outcome, JobOutcome::Stopped);
    gauge.most.load(Ordering::SeqCst)
}

/// A window of eight ticks of at first 256 records for each of two workers, and a tick that is being filled.
const BOUND: i64 = 2 * 9 * 256;

#[test]
fn a_slow_sink_holds_back_the_sources_without_checkpoints() {
    let most = most_under_way(ExecutionConfig::new().state_backend(MemoryStateBackend::new()));
    assert!((1..=BOUND).contains(&most), "{most} records under way");
}

#[test]
fn a_slow_sink_holds_back_the_sources_with_a_long_interval() {
    let most = most_under_way(ExecutionConfig::new().checkpoint_interval(Duration::from_secs(600)));
    assert!((1..=BOUND).contains(&most), "{most} records under way");
}

#[test]
fn a_slow_sink_holds_back_the_sources_over_many_epochs() {
    let most = most_under_way(ExecutionConfig::new().checkpoint_interval(Duration::from_millis(10)));
    assert!((1..=BOUND).contains(&most), "{most} records under way");
}

#[test]
fn a_source_that_finishes_early_follows_the_epochs() {
    let sink = CommitSink::new();
    let handle = JobHandle::new();
    let (of_job, handle_of_job) = (sink.clone(), handle.clone());
    let job = Job::new("uneven", move |env| {
        // All elements are on one subtask or another, which finishes at once; the other source goes on.
        let short = env.source("short", CollectionSource::new(vec![1_000_i64, 1_001]));
        let numbers =
            NumbersUntil::watching(20_000, 50, 60_000.0, &handle_of_job, |progress| progress.completed_checkpoints > 5);
        let long = env.source("long", numbers);
        count(short, "count short").sink("sink short", of_job.clone());
        count(long, "count long").sink("sink long", of_job.clone());
        Ok(())
    });
    let result = job.execute(&config().workers(2).handle(&handle)).unwrap();
    assert_eq!(result.outcome, JobOutcome::Finished, "checkpoints went on, else the long source had no end");
    let mut expected = occurrences(20_000, 50);
    expected.extend([(1_000, 1), (1_001, 1)]);
    sink.assert_exactly_once(&expected);
}

#[test]
fn an_idle_worker_does_not_hold_up_the_others() {
    let sink = CommitSink::new();
    let of_job = sink.clone();
    let job = Job::new("idle", move |env| {
        // With more workers than elements some subtasks have nothing to read.
        count(
            env.source("numbers", CollectionSource::new((0..300_000_i64).map(|n| n % 10).collect::<Vec<_>>())),
            "count",
        )
        .sink("sink", of_job.clone());
        Ok(())
    });
    let result = job.execute(&config().workers(3)).unwrap();
    assert_eq!(result.progress.records_in, 300_000);
    sink.assert_exactly_once(&(0..10).map(|key| (key, 30_000)).collect());
}

#[test]
fn streams_branch_and_transform() {
    let sink = CommitSink::new();
    let of_job = sink.clone();
    let job = Job::new("branches", move |env| {
        let numbers = env.source("numbers", numbers(1_000, 1_000, None));
        let even = numbers.clone().filter(|n: &i64| n % 2 == 0).map(|n| (n, 1));
        even.sink("even", of_job.clone());
        let odd = numbers.flat_map(|n: i64, out: &mut Collector<(i64, i64)>| {
            if n % 2 == 1 {
                out.extend([(n, 1), (n, 2)]);
            }
            Ok(())
        });
        odd.sink("odd", of_job.clone());
        Ok(())
    });
    let result = job.execute(&ExecutionConfig::new().workers(2)).unwrap();
    assert_eq!((result.progress.records_in, result.progress.records_out), (1_000, 1_500));
    sink.assert_exactly_once(&(0..1_000).map(|n| (n, 1 + n % 2)).collect());
}

#[test]
fn reduce_emits_every_intermediate_result() {
    let sink = CommitSink::new();
    let of_job = sink.clone();
    let job = Job::new("reduce", move |env| {
        env.source("numbers", numbers(10_000, 7, None))
            .map(|key| (key, 1_i64))
            .key_by(|(key, _): &(i64, i64)| *key)
            .reduce("sum", |sum, next| sum.1 += next.1)
            .sink("sink", of_job.clone());
        Ok(())
    });
    job.execute(&config().workers(3)).unwrap();
    sink.assert_exactly_once(&occurrences(10_000, 7));
}

/// Processor time of this process so far.
#[cfg(target_os = "linux")]
fn processor_time(threads: &str) -> Duration {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap().filter_map(std::result::Result::ok) {
        // Fields 14 and 15, counted behind the name, which stands in brackets.
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        if stat.contains(threads) {
            let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            ticks += fields.iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
        }
    }
    Duration::from_millis(ticks * 10)
}

/// Runs in a process of its own, so that no other test's threads are counted.
#[cfg(target_os = "linux")]
#[test]
fn an_idle_job_rests() {
    const CHILD: &str = "HIGHWATER_TEST_IDLE";
    if std::env::var_os(CHILD).is_none() {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let status = command.args(["--exact", "an_idle_job_rests", "--nocapture"]).env(CHILD, "1").status();
        assert!(status.unwrap().success());
        return;
    }
    let job = Job::new("idle", |env| {
        count(env.source("numbers", GeneratorSource::new(|index| index as i64).rate(20.0)), "count");
        Ok(())
    });
    let handle = JobHandle::new();
    let watcher = handle.clone();
    let thread = std::thread::spawn(move || {
        wait_until(|| watcher.progress().completed_checkpoints > 0 && watcher.progress().records_in > 0);
        let (before, begin) = (processor_time("timely:work"), Instant::now());
        std::thread::sleep(Duration::from_millis(1_000));
        let (used, time) = (processor_time("timely:work") - before, begin.elapsed());
        watcher.stop();
        (used, time)
    });
    let config = ExecutionConfig::new().workers(3).checkpoint_interval(Duration::from_millis(500)).handle(&handle);
    job.execute(&config).unwrap();
    let (used, time) = thread.join().unwrap();
    assert!(used < time / 4, "three idle workers used {used:?} of {time:?}");
}

/// A source that has nothing to send for a minute and a half: the other one must not wait for its next record.
#[test]
fn a_source_with_little_to_send_does_not_hold_up_a_busy_one() {
    let job = Job::new("busy and idle", |env| {
        count(env.source("busy", numbers(1_000_000, 1_000, None)), "count busy");
        count(env.source("idle", numbers(20, 20, Some(0.01))), "count idle");
        Ok(())
    });
    let handle = JobHandle::new();
    let watcher = handle.clone();
    let thread = std::thread::spawn(move || {
        wait_until(|| watcher.progress().records_in >= 1_000_000);
        watcher.stop();
    });
    let result = job.execute(&ExecutionConfig::new().workers(2).handle(&handle)).unwrap();
    thread.join().unwrap();
    assert_eq!((result.outcome, result.progress.records_in), (JobOutcome::Stopped, 1_000_000));
}
