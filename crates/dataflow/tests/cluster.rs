//! One job in two processes, over loopback.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "helpers of tests")]

mod support;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};

use highwater_dataflow::{Cluster, Collector, FileSink, Job, JobOutcome};
use highwater_types::Error;
use support::{Counted, config, count, files, numbers, occurrences};

const RECORDS: u64 = 20_000;
const KEYS: u64 = 50;

/// The environment of a child: its index, the hosts, the directory, whether it fails.
const PROCESS: &str = "HIGHWATER_TEST_PROCESS";
const HOSTS: &str = "HIGHWATER_TEST_HOSTS";
const DIRECTORY: &str = "HIGHWATER_TEST_DIRECTORY";
const FAILS: &str = "HIGHWATER_TEST_FAILS";

/// Not a test of its own: what the processes run that the tests below start.
#[test]
fn process() {
    let Ok(index) = std::env::var(PROCESS) else { return };
    let directory = std::env::var(DIRECTORY).unwrap();
    let hosts = std::env::var(HOSTS).unwrap().split(',').map(str::to_owned).collect();
    let cluster = Cluster { index: index.parse().unwrap(), hosts };
    let fails = std::env::var(FAILS).is_ok();
    let output = Path::new(&directory).join("output");
    let job = Job::new("cluster", move |env| {
        let counted = count(env.source("numbers", numbers(RECORDS, KEYS, Some(40_000.0))), "count");
        let mut seen = 0;
        let checked = counted.flat_map(move |record: Counted, out: &mut Collector<Counted>| {
            seen += 1;
            if fails && seen == 1_000 {
                return Err(Error::program("injected failure in one process"));
            }
            out.collect(record);
            Ok(())
        });
        let line = |(key, n): &Counted, line: &mut Vec<u8>| line.extend_from_slice(format!("{key} {n}").as_bytes());
        checked.sink("output", FileSink::new(&output, line));
        Ok(())
    });
    let config = config().workers(2).state_backend(files(&Path::new(&directory).join("checkpoints"))).cluster(cluster);
    match job.execute(&config) {
        Ok(result) => assert_eq!(result.outcome, JobOutcome::Finished),
        Err(error) => {
            eprintln!("process {index}: {error}");
            // As any program that ends with an error.
            std::process::exit(3);
        }
    }
}

fn start(directory: &Path, failing: Option<usize>) -> Vec<Child> {
    // Two ports that are free now.
    let listeners: Vec<_> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let hosts: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
    drop(listeners);
    let program = std::env::current_exe().unwrap();
    let run = |index: usize| {
        let mut command = Command::new(&program);
        command.args(["--exact", "process", "--nocapture"]);
        command.env(PROCESS, index.to_string()).env(HOSTS, hosts.join(",")).env(DIRECTORY, directory);
        if failing == Some(index) {
            command.env(FAILS, "1");
        }
        command.spawn().unwrap()
    };
    (0..2).map(run).collect()
}

fn committed(directory: &Path) -> BTreeMap<i64, i64> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(directory.join("output")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("part-") {
            lines.extend(std::fs::read_to_string(path).unwrap().lines().map(str::to_owned));
        }
    }
    let all = lines.len();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), all, "no line twice");
    let mut counts = BTreeMap::new();
    for line in lines {
        let (key, n) = line.split_once(' ').unwrap();
        let most = counts.entry(key.parse().unwrap()).or_insert(0);
        *most = n.parse::<i64>().unwrap().max(*most);
    }
    counts
}

#[test]
fn two_processes_count_exactly() {
    let directory = tempfile::tempdir().unwrap();
    for mut child in start(directory.path(), None) {
        assert!(child.wait().unwrap().success());
    }
    let counts = committed(directory.path());
    assert_eq!(counts.values().sum::<i64>(), RECORDS as i64);
    assert_eq!(counts, occurrences(RECORDS, KEYS));
}

#[test]
fn a_failure_in_one_process_ends_all_and_the_next_start_resumes() {
    for failing in 0..2 {
        let directory = tempfile::tempdir().unwrap();
        for mut child in start(directory.path(), Some(failing)) {
            assert!(!child.wait().unwrap().success());
        }
        for mut child in start(directory.path(), None) {
            assert!(child.wait().unwrap().success());
        }
        assert_eq!(committed(directory.path()), occurrences(RECORDS, KEYS));
    }
}
