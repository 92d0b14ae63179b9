//! Counting jobs, from the source to committed results.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, unused_imports, reason = "helpers of tests")]

mod support;

use highwater_backends::MemoryStateBackend;
use highwater_dataflow::{Job, JobOutcome};
use support::{CommitSink, config, count, files, numbers, occurrences};

fn counting(sink: &CommitSink, records: u64, keys: u64) -> Job {
    let sink = sink.clone();
    Job::new("counting", move |env| {
        count(env.source("numbers", numbers(records, keys, None)), "count").sink("sink", sink.clone());
        Ok(())
    })
}

#[test]
fn counts_are_exact_with_one_to_three_workers_on_both_backends() {
    for workers in 1..=3 {
        for on_files in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let sink = CommitSink::new();
            let config = config().workers(workers);
            let config = match on_files {
                true => config.state_backend(files(directory.path())),
                false => config.state_backend(MemoryStateBackend::new()),
            };
            let result = counting(&sink, 50_000, 100).execute(&config).unwrap();
            assert_eq!(result.outcome, JobOutcome::Finished);
            assert_eq!((result.progress.records_in, result.progress.records_out), (50_000, 50_000));
            assert!(result.progress.completed_checkpoints >= 1);
            sink.assert_exactly_once(&occurrences(50_000, 100));
        }
    }
}
