//! A job of session windows and timers is killed with SIGKILL at random moments and started again, with one, three and two
//! workers. What is committed in the end is what a run without a kill commits: no window is closed twice or left open, no
//! timer fires twice or is lost.
//!
//! `HIGHWATER_KILLS=1000` for a long run; `HIGHWATER_SEED=…` repeats the moments of a run.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption should stop the test, in helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant, SystemTime};

use highwater::{
    Configuration, EventTimeSessionWindows, ExecutionConfig, FileSink, GeneratorSource, Job, JobOutcome,
    WatermarkStrategy,
};

const KILLS: usize = 12;
const KEYS: u64 = 40;
const GAP: i64 = 60;
const DELAY: i64 = 500;
/// Records a second in runs that are killed.
const RATE: f64 = 20_000.0;
const WORKERS: [usize; 3] = [1, 3, 2];

/// What the child is told: directory, backend, number of records, workers, and whether it runs at full speed.
const CHILD: &str = "HIGHWATER_TEST_KILL_WINDOWS";

/// Timestamp and key. Every so often nothing happens for a while.
fn record(index: u64) -> (i64, i64) {
    let mixed = index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    ((index + index / 1_000 * 200) as i64, (mixed % KEYS) as i64)
}

fn job(directory: &Path, records: u64, rate: f64) -> Job {
    let line = |text: &String, line: &mut Vec<u8>| line.extend_from_slice(text.as_bytes());
    let sessions = FileSink::new(directory.join("sessions"), line);
    let timers = FileSink::new(directory.join("timers"), line);
    Job::new("sessions and timers", move |env| {
        let times = WatermarkStrategy::monotonous().timestamps(|(at, _): &(i64, i64), _| *at);
        let source = GeneratorSource::new(record).count(records).rate(rate);
        let records = env.source_with_watermarks("records", source, times);
        records
            .clone()
            .key_by(|(_, key): &(i64, i64)| *key)
            .window(EventTimeSessionWindows::with_gap(Duration::from_millis(GAP as u64)))
            .process(
                "sessions",
                |_| Ok(()),
                |(), context, records, out| {
                    let window = context.window();
                    out.collect(format!("{} {} {} {}", context.key(), window.start, window.end, records.len()));
                    Ok(())
                },
            )
            .sink("session files", sessions.clone());
        records
            .key_by(|(_, key): &(i64, i64)| *key)
            .process_timed(
                "timers",
                |_| Ok(()),
                |(), context, (at, _), _| context.timers().register_event_time(at + DELAY),
                |(), context, out| {
                    out.collect(format!("{} {}", context.key(), context.time()));
                    Ok(())
                },
            )
            .sink("timer files", timers.clone());
        Ok(())
    })
}

/// The lines that there must be, by definition: sort and group.
fn expected(records: u64) -> (Vec<String>, Vec<String>) {
    let mut times: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    (0..records).map(record).for_each(|(at, key)| times.entry(key).or_default().push(at));
    let (mut sessions, mut timers) = (Vec::new(), BTreeSet::new());
    for (key, times) in times {
        timers.extend(times.iter().map(|at| format!("{key} {}", at + DELAY)));
        for session in times.chunk_by(|one, next| next - one <= GAP) {
            let (first, last) = (session.first().unwrap(), session.last().unwrap());
            sessions.push(format!("{key} {first} {} {}", last + GAP, session.len()));
        }
    }
    sessions.sort();
    (sessions, timers.into_iter().collect())
}

/// All committed lines of a sink.
fn committed(directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for file in fs::read_dir(directory).into_iter().flatten() {
        let path = file.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("part-") {
            lines.extend(fs::read_to_string(path).unwrap().lines().map(str::to_owned));
        }
    }
    lines.sort();
    lines
}

/// Runs the job in this process if it is a child.
fn is_child() -> bool {
    let Ok(told) = std::env::var(CHILD) else { return false };
    let [directory, backend, records, workers, is_slow] = told.split('|').collect::<Vec<_>>().try_into().unwrap();
    let checkpoints = format!("file://{directory}/checkpoints");
    let working = format!("{directory}/working");
    let configuration: Configuration = [
        ("state.backend.type", backend),
        ("execution.checkpointing.dir", &checkpoints),
        ("execution.checkpointing.incremental", "true"),
        ("execution.checkpointing.interval", "50 ms"),
        ("state.backend.rocksdb.localdir", &working),
        ("pipeline.auto-watermark-interval", "10 ms"),
    ]
    .into_iter()
    .collect();
    let config = ExecutionConfig::from_configuration(&configuration).workers(workers.parse().unwrap());
    let rate = if is_slow == "true" { RATE } else { 1e12 };
    let outcome = job(directory.as_ref(), records.parse().unwrap(), rate).execute(&config).unwrap().outcome;
    assert!(matches!(outcome, JobOutcome::Finished | JobOutcome::AlreadyFinished), "{outcome:?}");
    true
}

/// Runs it in a child, which is killed at some moment if there is one.
fn run(test: &str, told: &str, moment: Option<Duration>) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command.args(["--exact", test, "--nocapture"]).env(CHILD, told).spawn().unwrap();
    if let Some(moment) = moment {
        std::thread::sleep(moment);
        child.kill().unwrap();
    }
    child.wait().unwrap()
}

fn tell(test: &str, backend: &str) {
    if is_child() {
        return;
    }
    let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut seed = std::env::var("HIGHWATER_SEED").map_or_else(|_| clock(), |seed| seed.parse().unwrap());
    let kills = std::env::var("HIGHWATER_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let directory = tempfile::Builder::new().prefix("kill-windows").tempdir().unwrap().keep();
    println!("seed {seed}, files in {}", directory.display());
    fs::create_dir(directory.join("working")).unwrap();
    let start = Instant::now();
    // More than all runs together can read.
    let records = (kills as f64 * RATE) as u64;
    for kill in 0..kills {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = Duration::from_millis(50 + (seed >> 33) % 800);
        let workers = WORKERS.get(kill % WORKERS.len()).unwrap();
        let told = format!("{}|{backend}|{records}|{workers}|true", directory.display());
        assert!(!run(test, &told, Some(moment)).success(), "the job ended before it was killed");
    }
    let told = format!("{}|{backend}|{records}|2|false", directory.display());
    assert!(run(test, &told, None).success());
    let (sessions, timers) = expected(records);
    assert_eq!(committed(&directory.join("sessions")), sessions);
    assert_eq!(committed(&directory.join("timers")), timers);
    println!("{kills} kills, {} sessions, {} timers, {:?}", sessions.len(), timers.len(), start.elapsed());
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn killed_at_any_moment_sessions_and_timers_are_exactly_once() {
    tell("killed_at_any_moment_sessions_and_timers_are_exactly_once", "hashmap");
}

#[cfg(feature = "rocksdb")]
#[test]
fn killed_at_any_moment_on_rocksdb_too() {
    tell("killed_at_any_moment_on_rocksdb_too", "rocksdb");
}
