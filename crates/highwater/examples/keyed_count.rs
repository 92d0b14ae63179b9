//! Speed of a job end to end: source, `key_by`, count in a `ValueState<i64>`, discard; a checkpoint to local files every
//! second. Beside it a bare loop that counts the same keys in a hash map, on the same number of threads.
//!
//! `cargo run --release -p highwater --example keyed_count -- --workers 2 --keys 1000000`
//! `cargo run --release -p highwater --features rocksdb --example keyed_count -- --state-backend rocksdb --incremental`
//!
//! Each source subtask emits its share of all keys once, then keys drawn by a linear congruential generator. Measured
//! are windows of one second after every key has been counted. Flink's figures are those of Flink 2.1.3 in its best run of
//! the same job on two cores of an EPYC machine: its HashMap backend, or RocksDB with incremental checkpoints and 1 gb of
//! managed memory. They are constants here, not measured in this run.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark stops at the first failure")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use highwater::{
    Collector, Configuration, ExecutionConfig, FixedSplits, Job, JobHandle, Result, Sink, SinkContext, SinkWriter,
    Source, SourceContext, SourceReader, SourceStatus, SplitEnumerator, ValueStateDescriptor,
};

#[derive(Parser)]
#[command(about = "Records per second of a keyed count with checkpoints")]
struct Options {
    /// Worker threads, each with a source and a count.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Number of keys.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Windows of one second that are measured.
    #[arg(long, default_value_t = 20)]
    windows: usize,
    /// Seconds between the last new key and the first window.
    #[arg(long, default_value_t = 5)]
    warm_up: u64,
    /// Milliseconds between two checkpoints.
    #[arg(long, default_value_t = 1_000)]
    checkpoint_interval: u64,
    /// Where state is kept: fs (on the heap) or rocksdb (cargo feature rocksdb).
    #[arg(long, default_value = "fs")]
    state_backend: String,
    /// Checkpoints of RocksDB consist of its own files, of which only new ones are uploaded.
    #[arg(long)]
    incremental: bool,
    /// Memory of all databases of RocksDB.
    #[arg(long, default_value = "1 gb")]
    managed_memory: String,
}

impl Options {
    fn configuration(&self, checkpoints: &Path) -> Configuration {
        let mut configuration = Configuration::new();
        configuration
            .set_raw("state.backend.type", &self.state_backend)
            .set_raw("execution.checkpointing.dir", format!("file://{}", checkpoints.display()))
            .set_raw("execution.checkpointing.incremental", self.incremental.to_string())
            .set_raw("taskmanager.memory.managed.size", &self.managed_memory);
        configuration
    }

    /// Flink's records per second, if they were measured for this.
    fn flink(&self) -> Option<f64> {
        match (self.state_backend.as_str(), self.keys, self.workers) {
            ("rocksdb", 1_000_000, 1) => Some(124_828.0),
            ("rocksdb", 1_000_000, 2) => Some(185_258.0),
            ("rocksdb", 10_000_000, 1) => Some(55_394.0),
            ("rocksdb", 10_000_000, 2) => Some(84_278.0),
            ("fs", 1_000_000, 1) => Some(1_268_700.0),
            ("fs", 1_000_000, 2) => Some(1_605_913.0),
            ("fs", 10_000_000, 1) => Some(514_788.0),
            ("fs", 10_000_000, 2) => Some(544_277.0),
            _ => None,
        }
    }
}

/// The keys of one subtask.
#[derive(Clone, Copy)]
struct Keys {
    keys: u64,
    step: u64,
    /// The next key that was not emitted yet.
    next: u64,
    random: u64,
}

impl Keys {
    fn new(keys: u64, subtask: u64, parallelism: u64) -> Self {
        Self { keys, step: parallelism, next: subtask, random: 42 + subtask }
    }

    #[inline]
    fn draw(&mut self) -> i64 {
        if self.next < self.keys {
            let key = self.next;
            self.next += self.step;
            return key as i64;
        }
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 33) % self.keys) as i64
    }
}

#[derive(Debug)]
struct KeySource(u64);

impl Source for KeySource {
    type Record = i64;
    /// There are none: what comes is endless and never comes again.
    type Split = ();

    fn create_enumerator(&self, restored: Option<&[u8]>) -> Result<Box<dyn SplitEnumerator<()>>> {
        FixedSplits::on_request([], restored)
    }

    fn create_reader(&self, context: &SourceContext<'_>) -> Result<Box<dyn SourceReader<Record = i64, Split = ()>>> {
        Ok(Box::new(Keys::new(self.0, context.subtask.into(), context.parallelism.into())))
    }
}

impl SourceReader for Keys {
    type Record = i64;
    type Split = ();

    fn add_splits(&mut self, _: Vec<()>) -> Result<()> {
        Ok(())
    }

    fn poll(&mut self, limit: usize, out: &mut Vec<i64>) -> Result<SourceStatus> {
        out.extend((0..limit).map(|_| self.draw()));
        Ok(SourceStatus::Ready)
    }

    fn snapshot_state(&mut self) -> Result<Vec<()>> {
        Ok(Vec::new())
    }
}

/// Drops what it gets.
#[derive(Clone, Debug)]
struct Discard;

impl Sink<i64> for Discard {
    fn open(&self, _: &SinkContext<'_>) -> Result<Box<dyn SinkWriter<i64>>> {
        Ok(Box::new(Self))
    }
}

impl SinkWriter<i64> for Discard {
    fn write(&mut self, record: i64) -> Result<()> {
        black_box(record);
        Ok(())
    }

    fn prepare(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _: u64) -> Result<()> {
        Ok(())
    }
}

/// Records per second in each window, and per second of CPU time over all of them.
struct Measured {
    windows: Vec<f64>,
    per_cpu_second: f64,
}

/// Waits until all keys are there, then measures a counter that others raise.
fn measure(options: &Options, count: impl Fn() -> u64, mut each_window: impl FnMut()) -> Measured {
    while count() < options.keys + options.keys / 8 {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_secs(options.warm_up));
    let (first, cpu) = (count(), cpu_seconds());
    let mut windows = Vec::with_capacity(options.windows);
    for _ in 0..options.windows {
        let (before, begin) = (count(), Instant::now());
        std::thread::sleep(Duration::from_secs(1));
        windows.push((count() - before) as f64 / begin.elapsed().as_secs_f64());
        each_window();
    }
    let per_cpu_second = (count() - first) as f64 / (cpu_seconds() - cpu);
    windows.sort_by(f64::total_cmp);
    Measured { windows, per_cpu_second }
}

/// User and system time of the process.
fn cpu_seconds() -> f64 {
    // SAFETY: getrusage fills the struct it is given, for which all zeroes are a valid value.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Resident memory in MB.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096 / 1_000_000
}

fn job(options: &Options) -> Result<Measured> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let keys = options.keys;
    let job = Job::new("keyed count", move |env| {
        env.source("keys", KeySource(keys))
            .key_by(|key: &i64| *key)
            .process("count", |open| {
                let count = open.value_state(&ValueStateDescriptor::<i64>::new("count"))?;
                Ok(move |_: &i64, _: i64, out: &mut Collector<i64>| {
                    let increment = |n: &mut i64| {
                        *n += 1;
                        *n
                    };
                    out.collect(count.modify(|| 0, increment)?);
                    Ok(())
                })
            })
            .sink("discard", Discard);
        Ok(())
    });
    let handle = JobHandle::new();
    let config = ExecutionConfig::from_configuration(&options.configuration(directory.path()))
        .workers(options.workers)
        .checkpoint_interval(Duration::from_millis(options.checkpoint_interval))
        .max_parallelism(128)
        .handle(&handle);
    let running = std::thread::spawn(move || job.execute(&config));
    while handle.progress().records_out == 0 {
        if running.is_finished() {
            return Err(running.join().expect("no panic").expect_err("the source never ends"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut uploads = BTreeMap::new();
    let measured = measure(
        options,
        || handle.progress().records_out,
        || uploads.extend(handle.progress().last_checkpoint.map(|newest| (newest.id, newest.checkpointed_size))),
    );
    let memory = resident();
    handle.stop();
    let result = running.join().expect("no panic")?;
    let durations = handle.checkpoints().duration;
    let state = result.progress.last_checkpoint.map_or(0, |checkpoint| checkpoint.state_size) / 1_000_000;
    let mut uploads: Vec<_> = uploads.into_values().map(|bytes| bytes as f64 / 1e6).collect();
    uploads.sort_by(f64::total_cmp);
    print("job", &measured);
    println!(
        "          checkpoints: {}, p50 {:.0?}, max {:.0?}, state {state} MB, of which a checkpoint writes {:.1} MB \
         (median); resident {memory} MB",
        durations.count(),
        Duration::from_micros(durations.quantile(0.5)),
        Duration::from_micros(durations.max()),
        uploads.get(uploads.len() / 2).copied().unwrap_or_default(),
    );
    Ok(measured)
}

/// The same keys in a hash map per thread, without anything else.
fn bare(options: &Options) -> Measured {
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let threads: Vec<_> = (0..options.workers as u64)
        .map(|subtask| {
            let mut keys = Keys::new(options.keys, subtask, options.workers as u64);
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            std::thread::spawn(move || {
                let mut counts = hashbrown::HashMap::<i64, i64, foldhash::fast::RandomState>::default();
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..1_024 {
                        *counts.entry(keys.draw()).or_insert(0) += 1;
                    }
                    count.fetch_add(1_024, Ordering::Relaxed);
                }
                black_box(counts.len())
            })
        })
        .collect();
    let measured = measure(options, || count.load(Ordering::Relaxed), || ());
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("no panic");
    }
    print("bare loop", &measured);
    measured
}

fn median(measured: &Measured) -> f64 {
    measured.windows.get(measured.windows.len() / 2).copied().unwrap_or(0.0)
}

fn print(name: &str, measured: &Measured) {
    println!(
        "{name:9} {:6.2} M records/s (median of {} windows; {:.2} to {:.2}), {:.2} M per CPU second",
        median(measured) / 1e6,
        measured.windows.len(),
        measured.windows.first().copied().unwrap_or(0.0) / 1e6,
        measured.windows.last().copied().unwrap_or(0.0) / 1e6,
        measured.per_cpu_second / 1e6,
    );
}

fn main() -> Result<()> {
    let options = Options::parse();
    println!(
        "{} workers, {} keys, {} cores",
        options.workers,
        options.keys,
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    let bare = bare(&options);
    let job = job(&options)?;
    println!(
        "ratio     {:.2} of the bare loop by the clock, {:.2} by CPU time",
        median(&job) / median(&bare),
        job.per_cpu_second / bare.per_cpu_second
    );
    if let Some(flink) = options.flink() {
        // Means, as Flink's are.
        let mean = job.windows.iter().sum::<f64>() / job.windows.len() as f64;
        println!("Flink     {:.1} times its {:.3} M records/s", mean / flink, flink / 1e6);
    }
    Ok(())
}
