//! Barriers that reach a busy worker several at a time, or together with the news that their checkpoint was given up.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "helpers of tests")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use highwater_backends::Configuration;
use highwater_dataflow::{
    Collector, FixedSplits, Job, JobHandle, JobOutcome, Source, SourceContext, SourceReader, SourceStatus,
    SplitEnumerator,
};
use highwater_state::ValueStateDescriptor;
use highwater_types::{Error, Result};
use support::{CommitSink, Counted, config};

const RECORDS: i64 = 120;
const KEYS: i64 = 7;

/// The first subtask sends a record now and then, until the job has failed once; the second only keeps its worker busy,
/// so that barriers reach it several at a time.
#[derive(Clone, Debug, Default)]
struct Uneven {
    handle: JobHandle,
    is_finished: Arc<AtomicBool>,
    /// Records in all.
    records: Arc<AtomicI64>,
}

struct Reader {
    source: Uneven,
    /// Subtask and next record.
    split: Option<(i64, i64)>,
}

impl Source for Uneven {
    type Record = i64;
    type Split = (i64, i64);

    fn create_enumerator(&self, restored: Option<&[u8]>) -> Result<Box<dyn SplitEnumerator<(i64, i64)>>> {
        FixedSplits::dealt_evenly([(0, 0), (1, 0)], restored)
    }

    fn create_reader(&self, _: &SourceContext<'_>) -> Result<Box<dyn SourceReader<Record = i64, Split = (i64, i64)>>> {
        self.is_finished.store(false, Ordering::SeqCst);
        Ok(Box::new(Reader { source: self.clone(), split: None }))
    }
}

impl SourceReader for Reader {
    type Record = i64;
    type Split = (i64, i64);

    fn add_splits(&mut self, splits: Vec<(i64, i64)>) -> Result<()> {
        self.split = splits.into_iter().next().or(self.split);
        Ok(())
    }

    fn poll(&mut self, _: usize, out: &mut Vec<i64>) -> Result<SourceStatus> {
        let Some((subtask, next)) = &mut self.split else { return Ok(SourceStatus::NeedsSplit) };
        if *subtask == 1 {
            std::thread::sleep(Duration::from_millis(60));
            let is_finished = self.source.is_finished.load(Ordering::SeqCst);
            return Ok(if is_finished { SourceStatus::NeedsSplit } else { SourceStatus::Ready });
        }
        if *next >= RECORDS && self.source.handle.progress().attempt >= 2 {
            self.source.records.store(*next, Ordering::SeqCst);
            self.source.is_finished.store(true, Ordering::SeqCst);
            return Ok(SourceStatus::NeedsSplit);
        }
        out.push(*next % KEYS);
        *next += 1;
        Ok(SourceStatus::Idle(Duration::from_millis(4)))
    }

    fn snapshot_state(&mut self) -> Result<Vec<(i64, i64)>> {
        Ok(self.split.into_iter().collect())
    }
}

#[test]
fn records_between_two_barriers_that_arrive_together_are_in_the_later_checkpoint() {
    let (handle, armed, sink) = (JobHandle::new(), Arc::new(AtomicBool::new(true)), CommitSink::new());
    let source = Uneven { handle: handle.clone(), ..Uneven::default() };
    let (handle_of_job, sink_of_job, records) = (handle.clone(), sink.clone(), Arc::clone(&source.records));
    let job = Job::new("overtaking", move |env| {
        let (armed, handle) = (Arc::clone(&armed), handle_of_job.clone());
        env.source("uneven", source.clone())
            .key_by(|key: &i64| *key)
            .process("count", move |open| {
                let count = open.value_state(&ValueStateDescriptor::<i64>::new("count"))?;
                Ok(move |key: &i64, _: i64, out: &mut Collector<Counted>| {
                    let is_due = handle.progress().last_checkpoint.is_some_and(|checkpoint| checkpoint.id >= 4);
                    if is_due && armed.swap(false, Ordering::SeqCst) {
                        return Err(Error::program("injected failure"));
                    }
                    let n = count.value()?.unwrap_or(0) + 1;
                    count.update(n)?;
                    out.collect((*key, n));
                    Ok(())
                })
            })
            .sink("sink", sink_of_job.clone());
        Ok(())
    });
    let mut concurrent = Configuration::new();
    concurrent.set_raw("execution.checkpointing.max-concurrent-checkpoints", "8");
    let result = job.execute(&config().configuration(&concurrent).workers(2).handle(&handle)).unwrap();
    assert_eq!((result.outcome, result.progress.attempt), (JobOutcome::Finished, 2));
    let mut occurrences = BTreeMap::new();
    (0..records.load(Ordering::SeqCst)).for_each(|index| *occurrences.entry(index % KEYS).or_insert(0) += 1);
    sink.assert_exactly_once(&occurrences);
}

/// The first subtask declines the first checkpoint while the second keeps its worker busy, and ends with the second
/// checkpoint.
#[derive(Clone, Debug, Default)]
struct Declining {
    checkpoints: Arc<AtomicU64>,
    /// Records the first subtask sent between the two checkpoints.
    records: Arc<AtomicU64>,
}

struct DecliningReader(Declining, u32);

const ENOUGH: u64 = 100;

impl Source for Declining {
    type Record = i64;
    type Split = i64;

    fn create_enumerator(&self, restored: Option<&[u8]>) -> Result<Box<dyn SplitEnumerator<i64>>> {
        FixedSplits::on_request([], restored)
    }

    fn create_reader(&self, context: &SourceContext<'_>) -> Result<Box<dyn SourceReader<Record = i64, Split = i64>>> {
        Ok(Box::new(DecliningReader(self.clone(), context.subtask)))
    }
}

impl SourceReader for DecliningReader {
    type Record = i64;
    type Split = i64;

    fn add_splits(&mut self, _: Vec<i64>) -> Result<()> {
        Ok(())
    }

    fn poll(&mut self, _: usize, out: &mut Vec<i64>) -> Result<SourceStatus> {
        let Self(source, subtask) = self;
        match (source.checkpoints.load(Ordering::SeqCst), *subtask) {
            (0, 1) => {
                std::thread::sleep(Duration::from_millis(100));
                return Ok(SourceStatus::Ready);
            }
            // More than can be under way: it was not held up.
            (1, _) if source.records.load(Ordering::SeqCst) >= ENOUGH => return Ok(SourceStatus::NeedsSplit),
            (1, 0) => drop(source.records.fetch_add(1, Ordering::SeqCst)),
            (0 | 1, _) => {}
            _ => return Ok(SourceStatus::NeedsSplit),
        }
        if *subtask == 0 {
            out.push(1);
        }
        Ok(SourceStatus::Idle(Duration::from_millis(1)))
    }

    fn snapshot_state(&mut self) -> Result<Vec<i64>> {
        match self.1 == 0 && self.0.checkpoints.fetch_add(1, Ordering::SeqCst) == 0 {
            true => Err(Error::program("injected failure of a snapshot")),
            false => Ok(Vec::new()),
        }
    }
}

#[test]
fn a_checkpoint_given_up_before_a_worker_heard_of_it_holds_up_nobody() {
    let source = Declining::default();
    let of_job = source.clone();
    let job = Job::new("given up", move |env| {
        env.source("declining", of_job.clone());
        Ok(())
    });
    let mut settings = Configuration::new();
    // The first checkpoint after one interval, not at a random moment before. Until the second there is time enough on
    // any machine; the job does not wait for it.
    settings.set_raw("execution.checkpointing.min-pause", "3 s");
    let config = config()
        .checkpoint_interval(Duration::from_secs(3))
        .tolerable_checkpoint_failures(1)
        .configuration(&settings)
        .workers(2);
    assert_eq!(job.execute(&config).unwrap().progress.attempt, 1);
    let records = source.records.load(Ordering::SeqCst);
    assert!(records >= ENOUGH, "only {records} records between the checkpoints");
}
