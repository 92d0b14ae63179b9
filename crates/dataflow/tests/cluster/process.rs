//! What the processes run that the tests start: this test program, once more.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use highwater_backends::RestartStrategy;
use highwater_dataflow::{Cluster, Collector, ExecutionConfig, FileSink, Job, JobHandle, JobOutcome, Secret};
use highwater_types::{Error, ErrorKind, Result};

use super::support::{Counted, count, files, numbers};

pub(crate) const RECORDS: u64 = 30_000;
pub(crate) const KEYS: u64 = 50;

/// The environment of a process.
pub(crate) const INDEX: &str = "HIGHWATER_TEST_INDEX";
pub(crate) const HOSTS: &str = "HIGHWATER_TEST_HOSTS";
pub(crate) const DIRECTORY: &str = "HIGHWATER_TEST_DIRECTORY";
pub(crate) const SECRET: &str = "HIGHWATER_TEST_SECRET";
/// A function fails on this worker, whenever the file `fail` is there.
pub(crate) const FAILS: &str = "HIGHWATER_TEST_FAILS";
/// More configuration, as `key=value` parted by `;`.
pub(crate) const CONFIGURATION: &str = "HIGHWATER_TEST_CONFIGURATION";
/// Workers of each process.
pub(crate) const WORKERS: &str = "HIGHWATER_TEST_WORKERS";

/// Exit codes, as word_count has them.
pub(crate) const FINISHED: i32 = 0;
pub(crate) const FAILED: i32 = 1;
pub(crate) const REFUSED: i32 = 2;
pub(crate) const ALREADY_FINISHED: i32 = 10;
pub(crate) const STOPPED: i32 = 130;

/// Not a test of its own.
#[test]
fn process() {
    if std::env::var(INDEX).is_err() {
        return;
    }
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new("info"))
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let code = match run() {
        Ok(JobOutcome::Finished) => FINISHED,
        Ok(JobOutcome::AlreadyFinished) => ALREADY_FINISHED,
        Ok(_) => STOPPED,
        Err(error) => {
            eprintln!("error: {error}");
            if error.kind() == ErrorKind::Configuration { REFUSED } else { FAILED }
        }
    };
    std::process::exit(code);
}

fn run() -> Result<JobOutcome> {
    let variable = |name: &str| std::env::var(name).ok();
    let directory = PathBuf::from(variable(DIRECTORY).unwrap());
    let hosts = variable(HOSTS).unwrap();
    let mut cluster = Cluster::new(variable(INDEX).unwrap().parse().unwrap(), hosts.split(','));
    if let Some(secret) = Secret::from_env(SECRET)? {
        cluster = cluster.secret(secret);
    }
    let entries = variable(CONFIGURATION).unwrap_or_default();
    let entries = entries.split(';').filter_map(|entry| entry.split_once('='));
    let restart = RestartStrategy::FixedDelay { attempts: 1_000, delay: Duration::from_millis(20) };
    let handle = JobHandle::new();
    stop_when_asked(&handle, directory.join("stop"));
    let config = ExecutionConfig::new()
        .checkpoint_interval(Duration::from_millis(100))
        .restart_strategy(&restart)
        .configuration(&entries.collect())
        .tolerable_checkpoint_failures(100)
        .workers(variable(WORKERS).map_or(2, |workers| workers.parse().unwrap()))
        .state_backend(files(&directory.join("checkpoints")))
        .cluster(cluster)
        .handle(&handle);
    job(&directory, variable(FAILS)).execute(&config).map(|result| result.outcome)
}

fn stop_when_asked(handle: &JobHandle, file: PathBuf) {
    let handle = handle.clone();
    std::thread::spawn(move || {
        while !file.exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
        // Only process 1 asks; all must stop.
        if std::env::var(INDEX).as_deref() == Ok("1") {
            handle.stop();
        }
    });
}

fn job(directory: &Path, fails: Option<String>) -> Job {
    let (output, failing) = (directory.join("output"), directory.join("fail"));
    let is_here = std::env::var(INDEX).ok() == fails;
    Job::new("cluster", move |env| {
        let counted = count(env.source("numbers", numbers(RECORDS, KEYS, Some(6_000.0))), "count");
        let (seen, failing) = (AtomicU64::new(0), failing.clone());
        let checked = counted.flat_map(move |record: Counted, out: &mut Collector<Counted>| {
            if is_here && seen.fetch_add(1, Ordering::Relaxed) == 500 && failing.exists() {
                return Err(Error::program("injected failure in one process"));
            }
            out.collect(record);
            Ok(())
        });
        let line = |(key, n): &Counted, line: &mut Vec<u8>| line.extend_from_slice(format!("{key} {n}").as_bytes());
        checked.sink("output", FileSink::new(&output, line));
        Ok(())
    })
}
