//! Memory stays flat, whatever comes between source and sink. A fan-out of 20,000 took 1.47 GB before a slow sink, as
//! only the records of the source were counted, and all results of one call were gathered before the first one left.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "helpers of tests")]

#[path = "support/ports.rs"]
mod ports;
mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Command;
use std::time::Duration;

use highwater_dataflow::{
    Cluster, CollectionSource, Collector, DataStream, ExecutionConfig, FileSource, GeneratorSource, Job, JobOutcome,
    Record, Sink, SinkContext, SinkWriter,
};
use highwater_state::ValueStateDescriptor;
use highwater_types::Result;
use support::{CommitSink, config, count};

const MEBIBYTE: usize = 1024 * 1024;
const LIMIT: usize = 100 * MEBIBYTE;

/// Takes a break of a millisecond for every so many records.
#[derive(Clone, Debug)]
struct SlowSink {
    each: usize,
}

impl<T: 'static> Sink<T> for SlowSink {
    fn open(&self, _: &SinkContext<'_>) -> Result<Box<dyn SinkWriter<T>>> {
        Ok(Box::new(SlowWriter { each: self.each, taken: 0 }))
    }
}

struct SlowWriter {
    each: usize,
    taken: usize,
}

impl<T> SinkWriter<T> for SlowWriter {
    fn write(&mut self, _: T) -> Result<()> {
        self.taken += 1;
        if self.taken.is_multiple_of(self.each) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn prepare(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _: u64) -> Result<()> {
        Ok(())
    }
}

/// A value of `/proc/self/status` in bytes.
fn status(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<usize>().unwrap() * 1024
}

/// Runs a job in a process of its own and checks by how much its memory grew at most. What the process allocated before
/// the job is not counted.
fn stays_flat(
    test: &str,
    records_out: u64,
    build: impl Fn(&mut highwater_dataflow::StreamEnvironment<'_>) + Send + Sync + 'static,
) {
    const CHILD: &str = "HIGHWATER_TEST_PRESSURE";
    if std::env::var_os(CHILD).is_none() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let status = command.args(["--exact", test, "--nocapture"]).env(CHILD, "1").status().unwrap();
        assert!(status.success(), "{test}: {status}");
        return;
    }
    let job = Job::new(test, move |env| {
        build(env);
        Ok(())
    });
    let before = status("VmRSS:");
    // Without checkpoints nothing but the flow of records moves a source on that waits for another one.
    let config = ExecutionConfig::new().workers(2);
    let result = job.execute(&config).unwrap();
    let grown = status("VmHWM:") - before;
    println!("{test}: {} MiB", grown / MEBIBYTE);
    assert_eq!((result.outcome, result.progress.records_out), (JobOutcome::Finished, records_out));
    assert!(grown < LIMIT, "{test}: {} MiB", grown / MEBIBYTE);
}

/// Exchanges the records and passes them on.
fn exchange<'s, T: Record>(stream: DataStream<'s, T>, key: impl Fn(&T) -> i64 + 'static) -> DataStream<'s, T> {
    stream.key_by(move |record| key(record)).process("pass", |_| {
        Ok(|_: &i64, record: T, out: &mut Collector<T>| {
            out.collect(record);
            Ok(())
        })
    })
}

#[test]
fn a_fan_out_of_20_000_before_a_slow_sink() {
    stays_flat("a_fan_out_of_20_000_before_a_slow_sink", 100 * 20_000, |env| {
        let numbers = env.source("numbers", GeneratorSource::new(|index| index as i64).count(100));
        let words = numbers.flat_map(|number: i64, out: &mut Collector<(i64, String)>| {
            out.extend((0..20_000).map(|n| (n, format!("result {n} of number {number}, forty bytes long"))));
            Ok(())
        });
        exchange(words, |(n, _)| *n).sink("slow", SlowSink { each: 1_000 });
    });
}

#[test]
fn a_keyed_fan_out_before_a_slow_sink() {
    stays_flat("a_keyed_fan_out_before_a_slow_sink", 100 * 20_000, |env| {
        let numbers = env.source("numbers", GeneratorSource::new(|index| index as i64).count(100));
        let words = numbers.key_by(|number: &i64| *number).process("fan out", |_| {
            Ok(|number: &i64, _: i64, out: &mut Collector<(i64, String)>| {
                out.extend((0..20_000).map(|n| (n, format!("result {n} of number {number}, forty bytes long"))));
                Ok(())
            })
        });
        words.sink("slow", SlowSink { each: 1_000 });
    });
}

#[test]
fn results_that_nobody_takes() {
    stays_flat("results_that_nobody_takes", 0, |env| {
        let numbers = env.source("numbers", GeneratorSource::new(|index| index as i64).count(100));
        numbers.flat_map(|number: i64, out: &mut Collector<(i64, i64)>| {
            out.extend((0..50_000).map(|n| (n, number)));
            Ok(())
        });
    });
}

#[test]
fn one_line_of_60_megabytes_becomes_a_million_words() {
    stays_flat("one_line_of_60_megabytes_becomes_a_million_words", 1_000_000, |env| {
        let line = |_| "a word of the kind that German law is said to be written in ".repeat(1_000_000);
        let words = env.source("line", GeneratorSource::new(line).count(1)).flat_map(
            |line: String, out: &mut Collector<(i64, String)>| {
                let words = line.as_bytes().chunks(60).zip(0..);
                out.extend(words.map(|(word, n)| (n, String::from_utf8_lossy(word).into_owned())));
                Ok(())
            },
        );
        exchange(words, |(n, _)| *n).sink("slow", SlowSink { each: 10_000 });
    });
}

/// The file source once took 5.4 GB and 27 s for such a line.
#[test]
fn one_line_of_60_megabytes_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("law.txt");
    // In pieces: what the process had at once before the job would hide what the job takes.
    let thousand = "a word of the kind that German law is said to be written in ".repeat(1_000);
    let mut out = std::fs::File::create(&file).unwrap();
    out.write_all(b"short\n").unwrap();
    (0..1_000).for_each(|_| out.write_all(thousand.as_bytes()).unwrap());
    out.write_all(b"\nshort\n").unwrap();
    stays_flat("one_line_of_60_megabytes_in_a_file", 1_000_002, move |env| {
        let words = env.source("lines", FileSource::lines([&file])).flat_map(
            |line: String, out: &mut Collector<(i64, String)>| {
                let words = line.as_bytes().chunks(60).zip(0..);
                out.extend(words.map(|(word, n)| (n, String::from_utf8_lossy(word).into_owned())));
                Ok(())
            },
        );
        exchange(words, |(n, _)| *n).sink("slow", SlowSink { each: 10_000 });
    });
}

#[test]
fn records_of_64_megabytes() {
    stays_flat("records_of_64_megabytes", 12, |env| {
        let make = |index| (index as i64, "x".repeat(64 * MEBIBYTE));
        let records = env.source("records", GeneratorSource::new(make).count(12));
        exchange(records, |(n, _)| *n).sink("slow", SlowSink { each: 1 });
    });
}

#[test]
fn many_records_of_a_megabyte() {
    stays_flat("many_records_of_a_megabyte", 300, |env| {
        let make = |index| (index as i64, "x".repeat(MEBIBYTE));
        let records = env.source("records", GeneratorSource::new(make).count(300));
        exchange(records, |(n, _)| *n).sink("slow", SlowSink { each: 1 });
    });
}

#[test]
fn two_branches_of_which_one_is_slow() {
    stays_flat("two_branches_of_which_one_is_slow", 2 * 100 * 20_000, |env| {
        let numbers = env.source("numbers", GeneratorSource::new(|index| index as i64).count(100));
        let results = numbers.flat_map(|number: i64, out: &mut Collector<(i64, i64)>| {
            out.extend((0..20_000).map(|n| (n, number)));
            Ok(())
        });
        results.clone().sink("quick", SlowSink { each: usize::MAX });
        exchange(results, |(n, _)| *n).sink("slow", SlowSink { each: 5_000 });
    });
}

/// Credit comes back from another process too.
#[test]
fn a_fan_out_over_two_processes() {
    const NAME: &str = "a_fan_out_over_two_processes";
    const INDEX: &str = "HIGHWATER_TEST_PRESSURE_INDEX";
    const HOSTS: &str = "HIGHWATER_TEST_PRESSURE_HOSTS";
    if let (Ok(index), Ok(hosts)) = (std::env::var(INDEX), std::env::var(HOSTS)) {
        let job = Job::new(NAME, |env| {
            let numbers = env.source("numbers", GeneratorSource::new(|index| index as i64).count(100));
            let words = numbers.flat_map(|number: i64, out: &mut Collector<(i64, String)>| {
                out.extend((0..20_000).map(|n| (n, format!("result {n} of number {number}, forty bytes long"))));
                Ok(())
            });
            exchange(words, |(n, _)| *n).sink("slow", SlowSink { each: 1_000 });
            Ok(())
        });
        let before = status("VmRSS:");
        let config = ExecutionConfig::new().cluster(Cluster::new(index.parse().unwrap(), hosts.split(',')));
        assert_eq!(job.execute(&config).unwrap().outcome, JobOutcome::Finished);
        let grown = status("VmHWM:") - before;
        println!("{NAME}, process {index}: {} MiB", grown / MEBIBYTE);
        assert!(grown < LIMIT, "process {index}: {} MiB", grown / MEBIBYTE);
        return;
    }
    let hosts = [(); 2].map(|()| format!("127.0.0.1:{}", ports::free_port()));
    let start = |index: usize| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", NAME, "--nocapture"]).env(INDEX, index.to_string()).env(HOSTS, hosts.join(","));
        command.spawn().unwrap()
    };
    let children: Vec<_> = (0..2).map(start).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
}

/// The function is left in the middle of a record, with the state of its key in use, while barriers come and go and the
/// job fails and is restored: every result is there once.
#[test]
fn functions_that_are_left_in_the_middle_keep_exactly_once() {
    const RESULTS: i64 = 3_000;
    const RECORDS: i64 = 200;
    let sink = CommitSink::new();
    let of_job = sink.clone();
    let config = config().workers(3);
    let handle = highwater_dataflow::JobHandle::new();
    let failing = sink.clone().failing_on(1, &handle);
    let job = Job::new("left in the middle", move |env| {
        let numbers = env.source("numbers", CollectionSource::new((0..RECORDS).collect::<Vec<_>>()));
        let fanned = numbers.key_by(|number: &i64| number % 10).process("fan out", |open| {
            let seen = open.value_state(&ValueStateDescriptor::<i64>::new("seen"))?;
            Ok(move |_: &i64, _: i64, out: &mut Collector<i64>| {
                seen.modify(
                    || 0,
                    |seen| {
                        out.extend((0..RESULTS).map(|n| n + *seen % 2));
                        *seen += 1;
                    },
                )
            })
        });
        count(fanned, "count").sink("sink", failing.clone());
        Ok(())
    });
    let result = job.execute(&config.handle(&handle)).unwrap();
    assert_eq!(result.outcome, JobOutcome::Finished);
    let mut expected = BTreeMap::new();
    for call in 0..RECORDS / 10 {
        for n in 0..RESULTS {
            *expected.entry(n + call % 2).or_insert(0) += 10;
        }
    }
    of_job.assert_exactly_once(&expected);
}
