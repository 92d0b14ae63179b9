//! What the tests of the runtime share: a sink that collects what is committed, and a counting job.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater_backends::{FsStateBackend, RestartStrategy};
use highwater_dataflow::{
    Collector, DataStream, ExecutionConfig, GeneratorSource, JobHandle, Sink, SinkContext, SinkWriter,
};
use highwater_state::{ListStateDescriptor, OperatorListState, ValueStateDescriptor};
use highwater_types::Result;

/// Records of the [`CommitSink`]: a key and its running count.
pub(crate) type Counted = (i64, i64);

/// An exactly-once sink in memory: what was written becomes visible with the checkpoint that covers it. What is not yet
/// committed is operator state.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommitSink {
    /// With the checkpoint that covers the record: committing again after a restore changes nothing.
    committed: Arc<Mutex<BTreeSet<(i64, Counted)>>>,
    /// The subtask on which writing fails, once, when the job has completed a checkpoint.
    failing: Arc<Mutex<Option<(u32, JobHandle)>>>,
    delay: Duration,
}

impl CommitSink {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Fails once, on one subtask, when the job has completed a checkpoint.
    pub(crate) fn failing_on(self, subtask: u32, handle: &JobHandle) -> Self {
        *self.failing.lock().unwrap() = Some((subtask, handle.clone()));
        self
    }

    /// Takes its time for each record.
    pub(crate) fn slow(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    pub(crate) fn committed(&self) -> Vec<Counted> {
        self.committed.lock().unwrap().iter().map(|(_, record)| *record).collect()
    }

    /// Asserts that for every key each count from 1 to its occurrences was committed exactly once.
    pub(crate) fn assert_exactly_once(&self, occurrences: &BTreeMap<i64, i64>) {
        let mut counts: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for (key, count) in self.committed() {
            counts.entry(key).or_default().push(count);
        }
        for (key, mut counts) in counts.clone() {
            counts.sort_unstable();
            let expected: Vec<i64> = (1..=occurrences.get(&key).copied().unwrap_or(0)).collect();
            assert_eq!(counts, expected, "counts of key {key}");
        }
        assert_eq!(counts.len(), occurrences.len(), "number of keys");
    }
}

impl Sink<Counted> for CommitSink {
    fn open(&self, context: &SinkContext<'_>) -> Result<Box<dyn SinkWriter<Counted>>> {
        let pending = context.state.list_state(&ListStateDescriptor::<(i64, i64, i64)>::new("pending"))?;
        let mut writer = Writer {
            sink: self.clone(),
            subtask: context.subtask,
            current: Vec::new(),
            prepared: pending.get()?.into_iter().map(|(id, key, count)| (id, (key, count))).collect(),
            pending,
        };
        if let Some(restored) = context.restored_checkpoint {
            writer.commit(restored)?;
        }
        Ok(Box::new(writer))
    }

    fn is_exactly_once(&self) -> bool {
        true
    }
}

struct Writer {
    sink: CommitSink,
    subtask: u32,
    current: Vec<Counted>,
    prepared: Vec<(i64, Counted)>,
    pending: OperatorListState<(i64, i64, i64)>,
}

impl SinkWriter<Counted> for Writer {
    fn write(&mut self, record: Counted) -> Result<()> {
        let is_due = |(subtask, handle): &mut (u32, JobHandle)| *subtask == self.subtask && has_checkpoint(handle);
        let fails = self.sink.failing.lock().unwrap().take_if(is_due).is_some();
        assert!(!fails, "injected failure of the sink");
        if !self.sink.delay.is_zero() {
            std::thread::sleep(self.sink.delay);
        }
        self.current.push(record);
        Ok(())
    }

    fn prepare(&mut self, checkpoint_id: u64) -> Result<()> {
        self.prepared.extend(self.current.drain(..).map(|record| (checkpoint_id as i64, record)));
        self.pending.update(self.prepared.iter().map(|(id, (key, count))| (*id, *key, *count)))
    }

    fn commit(&mut self, checkpoint_id: u64) -> Result<()> {
        let (done, left): (Vec<_>, Vec<_>) = self.prepared.drain(..).partition(|(id, _)| *id <= checkpoint_id as i64);
        self.prepared = left;
        self.sink.committed.lock().unwrap().extend(done);
        Ok(())
    }
}

/// Whether a job has something to restore.
pub(crate) fn has_checkpoint(handle: &JobHandle) -> bool {
    handle.progress().completed_checkpoints > 0
}

/// Counts per key.
pub(crate) fn count<'s>(stream: DataStream<'s, i64>, uid: &str) -> DataStream<'s, Counted> {
    stream.key_by(|key: &i64| *key).process(uid, |open| {
        let count = open.value_state(&ValueStateDescriptor::<i64>::new("count"))?;
        Ok(move |key: &i64, _: i64, out: &mut Collector<Counted>| {
            let n = count.modify(
                || 0,
                |n| {
                    *n += 1;
                    *n
                },
            )?;
            out.collect((*key, n));
            Ok(())
        })
    })
}

/// A source of `records` numbers below `keys`.
pub(crate) fn numbers(
    records: u64,
    keys: u64,
    rate: Option<f64>,
) -> GeneratorSource<impl Fn(u64) -> i64 + Send + Sync + 'static> {
    let source = GeneratorSource::new(move |index| (index.wrapping_mul(0x9E37_79B9) % keys) as i64).count(records);
    match rate {
        Some(rate) => source.rate(rate),
        None => source,
    }
}

/// How often each key occurs in [`numbers`].
pub(crate) fn occurrences(records: u64, keys: u64) -> BTreeMap<i64, i64> {
    let mut occurrences = BTreeMap::new();
    for index in 0..records {
        *occurrences.entry((index.wrapping_mul(0x9E37_79B9) % keys) as i64).or_insert(0) += 1;
    }
    occurrences
}

/// Files below a directory.
pub(crate) fn files(directory: &Path) -> FsStateBackend {
    FsStateBackend::new(format!("file://{}", directory.display())).unwrap()
}

/// Frequent checkpoints and a quick restart.
pub(crate) fn config() -> ExecutionConfig {
    let restart = RestartStrategy::FixedDelay { attempts: 3, delay: Duration::from_millis(1) };
    ExecutionConfig::new().checkpoint_interval(Duration::from_millis(10)).restart_strategy(&restart)
}
