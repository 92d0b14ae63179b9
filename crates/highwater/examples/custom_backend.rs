//! A state backend of one's own: keyed state in fjall, a log-structured store in Rust.
//!
//! `cargo run --release --example custom_backend`
//!
//! The backend is `support/fjall_store.rs`, beside this file: begin there. Here it is used: registered by a name, chosen
//! by a configuration as any built-in backend is, and given a job that is stopped half-way and goes on with another
//! number of workers. `tests/custom_backend.rs` is the proof that the store does all that a store has to do: one line
//! runs the conformance suite on it. The larger job takes the backend too:
//!
//! `cargo run --release --example word_count -- --state-backend fjall`
#![allow(missing_docs, reason = "a program")]

#[path = "support/fjall_store.rs"]
mod fjall_store;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use fjall_store::FjallStateBackend;
use highwater::{
    BackendRegistry, Collector, Configuration, Error, ExecutionConfig, FileSink, GeneratorSource, Job, JobHandle,
    JobStatus, ListStateDescriptor, Result, ValueStateDescriptor,
};

const USERS: u64 = 100;
const VISITS: u64 = 40_000;
/// Visits on one receipt.
const RECEIPT: usize = 10;

fn main() -> Result<()> {
    let scratch = tempfile::tempdir().map_err(|error| Error::storage("no place for files").because(error))?;
    let (working, output) = (scratch.path().join("working"), scratch.path().join("receipts"));

    // 1. Give the backend a name ...
    let mut backends = BackendRegistry::new();
    backends.register("fjall", FjallStateBackend::from_configuration)?;

    // 2. ... by which a configuration chooses it. It reads keys of its own; checkpoints go where they always go.
    let configuration: Configuration = [
        ("state.backend.type", "fjall".to_owned()),
        ("state.backend.fjall.localdir", working.display().to_string()),
        ("execution.checkpointing.dir", format!("file://{}", scratch.path().join("checkpoints").display())),
        ("execution.checkpointing.interval", "20 ms".to_owned()),
    ]
    .into_iter()
    .collect();
    let config = ExecutionConfig::from_configuration(&configuration).backends(backends);

    // 3. Run the job until it has taken some checkpoints, and stop it: it takes a last one. Then run it again: it goes
    // on from there. The checkpoint is in Flink's canonical format, so the state moves to three databases from two,
    // and would move to another backend as well.
    let handle = JobHandle::new();
    let watcher = thread::spawn({
        let handle = handle.clone();
        move || {
            while handle.progress().completed_checkpoints < 3 && handle.progress().status != JobStatus::Ended {
                thread::sleep(Duration::from_millis(5));
            }
            handle.stop();
        }
    });
    run(&receipts(&output, 20_000.0), &config.clone().handle(&handle), 2)?;
    let _ = watcher.join();
    run(&receipts(&output, 1_000_000.0), &config, 3)?;

    // 4. Exactly once: the receipts of every user are numbered without a gap or a double, and the directories are gone.
    let found = read(&output).map_err(|error| Error::storage("cannot read the receipts").because(error))?;
    let every = VISITS as i64 / USERS as i64 / RECEIPT as i64;
    if found != (0..USERS).map(|user| (format!("user-{user}"), (1..=every).collect())).collect() {
        return Err(Error::internal("the receipts are not those of an undisturbed run"));
    }
    println!("{} receipts, each exactly once", found.values().map(Vec::len).sum::<usize>());
    println!("{} databases left in the working directory", fs::read_dir(&working).map_or(0, Iterator::count));
    Ok(())
}

/// Runs the job and says what came of it.
fn run(job: &Job, config: &ExecutionConfig, workers: usize) -> Result<()> {
    let result = job.execute(&config.clone().workers(workers))?;
    let from = match &result.progress.restored_from {
        Some(from) => format!("restored from checkpoint {}", from.checkpoint_id),
        None => "started afresh".to_owned(),
    };
    let (visits, checkpoints) = (result.progress.records_in, result.progress.completed_checkpoints);
    println!("{workers} workers, {from}: {:?} after {visits} visits and {checkpoints} checkpoints", result.outcome);
    Ok(())
}

/// The job: visits of pages, and a receipt for every ten visits of a user. Nothing in it knows where its state is.
fn receipts(output: &Path, visits_per_second: f64) -> Job {
    let sink = FileSink::new(output, |(user, number, pages): &(String, i64, Vec<String>), line| {
        // Writing to a vector cannot fail.
        let _ = write!(line, "{user}\t{number}\t{}", pages.join(" "));
    });
    Job::new("receipts", move |env| {
        let visit = |n| (format!("user-{}", n % USERS), format!("page-{}", n % 7));
        env.source("visits", GeneratorSource::new(visit).count(VISITS).rate(visits_per_second))
            .key_by(|(user, _): &(String, String)| user.clone())
            .process("receipts", |open| {
                let issued = open.value_state(&ValueStateDescriptor::<i64>::new("issued"))?;
                let pages = open.list_state(&ListStateDescriptor::<String>::new("pages"))?;
                Ok(move |user: &String, (_, page), out: &mut Collector<(String, i64, Vec<String>)>| {
                    pages.add(page)?;
                    let seen = pages.get()?;
                    if seen.len() == RECEIPT {
                        pages.clear()?;
                        let number = issued.modify(
                            || 0,
                            |n| {
                                *n += 1;
                                *n
                            },
                        )?;
                        out.collect((user.clone(), number, seen));
                    }
                    Ok(())
                })
            })
            .sink("files", sink.clone());
        Ok(())
    })
}

/// The numbers of each user's receipts, in order. A receipt that is not over ten pages is not counted.
fn read(output: &Path) -> io::Result<BTreeMap<String, Vec<i64>>> {
    let mut receipts = BTreeMap::<String, Vec<i64>>::new();
    for file in fs::read_dir(output)? {
        for line in fs::read_to_string(file?.path())?.lines() {
            let mut fields = line.split('\t');
            let (user, number, pages) = (fields.next(), fields.next(), fields.next());
            if let (Some(user), Some(Ok(number)), Some(RECEIPT)) =
                (user, number.map(str::parse), pages.map(|pages| pages.split(' ').count()))
            {
                receipts.entry(user.to_owned()).or_default().push(number);
            }
        }
    }
    receipts.values_mut().for_each(|numbers| numbers.sort_unstable());
    Ok(receipts)
}
