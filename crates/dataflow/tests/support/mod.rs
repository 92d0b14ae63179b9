//! What the tests of the runtime share: a sink that collects what is committed, and a counting job.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use highwater_backends::{FsStateBackend, RestartStrategy};
use highwater_dataflow::{
    Collector, DataStream, ExecutionConfig, GeneratorSource, Job, JobHandle, Progress, Sink, SinkContext, SinkWriter,
    Source, SourceContext, SourceReader, SourceStatus, SplitEnumerator,
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

    /// Asserts that for every key each count from 1 to its occurrences was committed exactly once, and of a filler each
    /// up to some number.
    pub(crate) fn assert_exactly_once(&self, occurrences: &BTreeMap<i64, i64>) {
        let mut counts: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for (key, count) in self.committed() {
            counts.entry(key).or_default().push(count);
        }
        for (key, counts) in &mut counts {
            counts.sort_unstable();
            let expected =
                if is_filler(*key) { counts.len() as i64 } else { occurrences.get(key).copied().unwrap_or(0) };
            assert_eq!(*counts, (1..=expected).collect::<Vec<_>>(), "counts of key {key}");
        }
        counts.retain(|key, _| !is_filler(*key));
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

/// A job that counts so many numbers of so many keys: a part at a rate until somebody ends it, or the rest.
pub(crate) fn counting(
    name: &str,
    (records, keys): (u64, u64),
    sink: impl Sink<Counted> + Clone,
    rate: Option<f64>,
) -> Job {
    Job::new(name, move |env| {
        count(env.source("numbers", NumbersUntil::part_or_rest(records, keys, rate)), "count")
            .sink("sink", sink.clone());
        Ok(())
    })
}

/// A source of `records` numbers below `keys`.
pub(crate) fn numbers(
    records: u64,
    keys: u64,
    rate: Option<f64>,
) -> GeneratorSource<impl Fn(u64) -> i64 + Send + Sync + 'static> {
    let source = GeneratorSource::new(move |index| number(index, keys)).count(records);
    match rate {
        Some(rate) => source.rate(rate),
        None => source,
    }
}

/// Keys of what comes from [`NumbersUntil`] when its numbers have all come: enough for each subtask to get some.
const FILLERS: std::ops::Range<i64> = -64..0;
/// Most stripes of a generator that one subtask has.
const STRIPES: usize = 128;

/// [`numbers`] at a rate, and then fillers until the test has seen enough. So a job goes on for as long as the test
/// needs, however slow the machine is, and what it counts is known beforehand.
pub(crate) struct NumbersUntil {
    source: GeneratorSource<Box<dyn Fn(u64) -> i64 + Send + Sync>>,
    is_enough: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl NumbersUntil {
    pub(crate) fn new(
        records: u64,
        keys: u64,
        rate: f64,
        is_enough: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        let number = move |index| if index < records { number(index, keys) } else { filler(index) };
        let source = GeneratorSource::new(Box::new(number) as Box<dyn Fn(u64) -> i64 + Send + Sync>).rate(rate);
        Self { source, is_enough: Arc::new(is_enough) }
    }

    /// A part that goes on until somebody ends the job, or with `None` the rest, as fast as it can.
    pub(crate) fn part_or_rest(records: u64, keys: u64, rate: Option<f64>) -> Self {
        Self::new(records, keys, rate.unwrap_or(1e9), move || rate.is_none())
    }

    /// Until the job has come so far.
    pub(crate) fn watching(
        records: u64,
        keys: u64,
        rate: f64,
        handle: &JobHandle,
        is_enough: impl Fn(&Progress) -> bool + Send + Sync + 'static,
    ) -> Self {
        let handle = handle.clone();
        Self::new(records, keys, rate, move || is_enough(&handle.progress()))
    }
}

impl fmt::Debug for NumbersUntil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl Source for NumbersUntil {
    type Record = i64;
    type Split = (i64, i64);

    fn create_enumerator(&self, restored: Option<&[u8]>) -> Result<Box<dyn SplitEnumerator<Self::Split>>> {
        self.source.create_enumerator(restored)
    }

    fn create_reader(
        &self,
        context: &SourceContext<'_>,
    ) -> Result<Box<dyn SourceReader<Record = i64, Split = Self::Split>>> {
        let (reader, is_enough) = (self.source.create_reader(context)?, Arc::clone(&self.is_enough));
        Ok(Box::new(ReaderUntil { reader, is_enough, fillers: 0 }))
    }
}

struct ReaderUntil {
    reader: Box<dyn SourceReader<Record = i64, Split = (i64, i64)>>,
    is_enough: Arc<dyn Fn() -> bool + Send + Sync>,
    /// How many there were without a number in between. A whole round through the stripes: there are no more numbers.
    fillers: usize,
}

impl SourceReader for ReaderUntil {
    type Record = i64;
    type Split = (i64, i64);

    fn add_splits(&mut self, splits: Vec<(i64, i64)>) -> Result<()> {
        self.reader.add_splits(splits)
    }

    fn poll(&mut self, limit: usize, out: &mut Vec<i64>) -> Result<SourceStatus> {
        let is_enough = (self.is_enough)();
        if is_enough && self.fillers >= STRIPES {
            return Ok(SourceStatus::NeedsSplit);
        }
        let mut read = Vec::new();
        let status = self.reader.poll(limit, &mut read)?;
        for number in read {
            self.fillers = if is_filler(number) { self.fillers + 1 } else { 0 };
            if !is_enough || !is_filler(number) {
                out.push(number);
            }
        }
        Ok(status)
    }

    fn snapshot_state(&mut self) -> Result<Vec<(i64, i64)>> {
        self.reader.snapshot_state()
    }
}

/// Waits until something has happened: long enough for any machine.
pub(crate) fn wait_until(has_happened: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !has_happened() {
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How often each key occurs in [`numbers`].
pub(crate) fn occurrences(records: u64, keys: u64) -> BTreeMap<i64, i64> {
    let mut occurrences = BTreeMap::new();
    for index in 0..records {
        *occurrences.entry(number(index, keys)).or_insert(0) += 1;
    }
    occurrences
}

fn number(index: u64, keys: u64) -> i64 {
    (index.wrapping_mul(0x9E37_79B9) % keys) as i64
}

fn filler(index: u64) -> i64 {
    FILLERS.start + (index % FILLERS.clone().count() as u64) as i64
}

pub(crate) fn is_filler(key: i64) -> bool {
    FILLERS.contains(&key)
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
