//! Tests of operators without a job (feature `testing`): records, watermarks and the clock are given by hand, and what
//! comes out is looked at (Flink's operator test harnesses).

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use highwater_checkpoint::{CancelToken, KeyedStateHandle, MemoryStreamFactory, SnapshotOpener};
use highwater_state::{ByteStoreContext, ByteStoreFactory, KeyedBackend, ManualClock};
use highwater_types::{DefaultSerializer, Key, MaxParallelism, Result, StreamRecord, TaggedUnion};

use crate::function::OutputTag;
use crate::graph::{Bench, Build, KeyedStream};
use crate::operator::{EventTime, KeyedOperator};
use crate::watermark::{Mark, Status};
use crate::{Collector, DataStream, Record};

/// Runs one keyed operator by hand.
///
/// ```
/// use std::time::Duration;
/// use highwater_dataflow::TumblingEventTimeWindows;
/// use highwater_dataflow::testing::Harness;
///
/// let mut sums = Harness::keyed(
///     |(key, _): &(String, i64)| key.clone(),
///     |stream| {
///         stream.window(TumblingEventTimeWindows::of(Duration::from_millis(10))).reduce("sums", |sum, more| sum.1 += more.1)
///     },
/// )?;
/// sums.element(("a".to_owned(), 1), 3)?;
/// sums.element(("a".to_owned(), 2), 7)?;
/// sums.watermark(8)?;
/// assert!(sums.take_outputs().is_empty());
///
/// // The state goes on elsewhere.
/// let snapshot = sums.snapshot()?;
/// let mut sums = sums.restored(&snapshot, |stream| {
///     stream.window(TumblingEventTimeWindows::of(Duration::from_millis(10))).reduce("sums", |sum, more| sum.1 += more.1)
/// })?;
/// sums.watermark(9)?;
/// let sum = &sums.take_outputs()[0];
/// assert_eq!((sum.value.1, sum.timestamp), (3, Some(9)));
/// # Ok::<(), highwater_types::Error>(())
/// ```
pub struct Harness<K, T, O> {
    key: Rc<dyn Fn(&T) -> K>,
    place: Place,
    clock: Arc<ManualClock>,
    bench: Rc<Bench<K>>,
    operator: Box<dyn KeyedOperator<K, T, O>>,
    event_time: EventTime,
    out: Collector<O>,
    outputs: Vec<StreamRecord<O>>,
    progress: Vec<Progress>,
}

/// What an operator says of its event time to those behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// No more records with this timestamp or a smaller one.
    Watermark(i64),
    /// Nobody needs to wait for it.
    Idle,
    /// It is to be waited for again.
    Active,
}

/// The state of an operator in a [`Harness`].
#[derive(Clone, Debug)]
pub struct Snapshot {
    handles: Vec<KeyedStateHandle>,
    /// How far event time had come.
    watermark: i64,
}

/// That of an operator that had seen nothing.
const NOTHING: Snapshot = Snapshot { handles: Vec::new(), watermark: i64::MIN };

/// Where an operator keeps its state, and which part of it.
#[derive(Clone)]
struct Place {
    bed: TestBed,
    subtask: u32,
    parallelism: u32,
}

/// Where operators are put to be tested: on which kind of store.
#[derive(Clone, Default)]
pub struct TestBed {
    store: Option<Arc<dyn ByteStoreFactory>>,
}

impl TestBed {
    /// State is on the heap.
    #[must_use]
    pub fn heap() -> Self {
        Self::default()
    }

    /// State is in stores of this factory.
    #[must_use]
    pub fn bytes(factory: impl ByteStoreFactory) -> Self {
        Self { store: Some(Arc::new(factory)) }
    }

    /// The keyed operator that `build` adds to a stream. The clock shows 0.
    ///
    /// # Errors
    /// Whatever the operator reports when it is opened; `Program` if `build` adds no keyed operator.
    pub fn keyed<K, T, O>(
        &self,
        key: impl Fn(&T) -> K + 'static,
        build: impl FnOnce(KeyedStream<'static, K, T>) -> DataStream<'static, O>,
    ) -> Result<Harness<K, T, O>>
    where
        K: Key + DefaultSerializer + Record,
        T: Record,
        O: 'static,
    {
        self.open(Rc::new(key), EventTime::single(), |bench| build(KeyedStream::on_bench(bench)))
    }

    /// The operator that `build` adds to two keyed streams. Records of the first are [`TaggedUnion::One`].
    ///
    /// # Errors
    /// As [`keyed`](Self::keyed).
    pub fn connected<K, A, B, O>(
        &self,
        of_first: impl Fn(&A) -> K + 'static,
        of_second: impl Fn(&B) -> K + 'static,
        build: impl FnOnce(KeyedStream<'static, K, A>, KeyedStream<'static, K, B>) -> DataStream<'static, O>,
    ) -> Result<Harness<K, TaggedUnion<A, B>, O>>
    where
        K: Key + DefaultSerializer + Record,
        A: Record,
        B: Record,
        O: 'static,
    {
        self.open(key_of_either(of_first, of_second), EventTime::pair(), |bench| {
            build(KeyedStream::on_bench(bench), KeyedStream::on_bench(bench))
        })
    }

    /// The join that `build` makes of two streams. Records of the first are [`TaggedUnion::One`].
    ///
    /// # Errors
    /// As [`keyed`](Self::keyed).
    pub fn joined<K, A, B, O>(
        &self,
        of_first: impl Fn(&A) -> K + 'static,
        of_second: impl Fn(&B) -> K + 'static,
        build: impl FnOnce(DataStream<'static, A>, DataStream<'static, B>) -> DataStream<'static, O>,
    ) -> Result<Harness<K, TaggedUnion<A, B>, O>>
    where
        K: Key + DefaultSerializer + Record,
        A: Record,
        B: Record,
        O: 'static,
    {
        self.open(key_of_either(of_first, of_second), EventTime::arms(2), |bench| {
            build(DataStream::on_bench(bench), DataStream::on_bench(bench))
        })
    }

    fn open<K, T, O>(
        &self,
        key: Rc<dyn Fn(&T) -> K>,
        event_time: EventTime,
        build: impl FnOnce(&Rc<Build<'static>>) -> DataStream<'static, O>,
    ) -> Result<Harness<K, T, O>>
    where
        K: Key + DefaultSerializer + Record,
        T: Record,
        O: 'static,
    {
        let place = Place { bed: self.clone(), subtask: 0, parallelism: 1 };
        Harness::open(key, place, Arc::new(ManualClock::new(0)), &NOTHING, event_time, build)
    }
}

fn key_of_either<K, A, B>(
    of_first: impl Fn(&A) -> K + 'static,
    of_second: impl Fn(&B) -> K + 'static,
) -> Rc<dyn Fn(&TaggedUnion<A, B>) -> K> {
    Rc::new(move |record| match record {
        TaggedUnion::One(record) => of_first(record),
        TaggedUnion::Two(record) => of_second(record),
    })
}

impl fmt::Debug for TestBed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestBed").field("store", &self.store).finish()
    }
}

impl<K, T, O> Harness<K, T, O>
where
    K: Key + DefaultSerializer + Record,
    T: Record,
    O: 'static,
{
    /// The keyed operator that `build` adds to a stream, on the heap: short for [`TestBed::keyed`].
    ///
    /// # Errors
    /// As there.
    pub fn keyed(
        key: impl Fn(&T) -> K + 'static,
        build: impl FnOnce(KeyedStream<'static, K, T>) -> DataStream<'static, O>,
    ) -> Result<Self> {
        TestBed::heap().keyed(key, build)
    }

    /// The same operator, or another one, with the state of a snapshot, and its event time. Clock and keys are those of
    /// this one.
    ///
    /// # Errors
    /// As [`keyed`](Self::keyed), and whatever a restore reports.
    pub fn restored<P: 'static>(
        &self,
        snapshot: &Snapshot,
        build: impl FnOnce(KeyedStream<'static, K, T>) -> DataStream<'static, P>,
    ) -> Result<Harness<K, T, P>> {
        self.restored_as(snapshot, 0, 1, build)
    }

    /// As [`restored`](Self::restored), as one of several subtasks, with the state of its own keys.
    ///
    /// # Errors
    /// As there.
    pub fn restored_as<P: 'static>(
        &self,
        snapshot: &Snapshot,
        subtask: u32,
        parallelism: u32,
        build: impl FnOnce(KeyedStream<'static, K, T>) -> DataStream<'static, P>,
    ) -> Result<Harness<K, T, P>> {
        let place = Place { bed: self.place.bed.clone(), subtask, parallelism };
        Harness::open(Rc::clone(&self.key), place, Arc::clone(&self.clock), snapshot, EventTime::single(), |bench| {
            build(KeyedStream::on_bench(bench))
        })
    }

    fn open(
        key: Rc<dyn Fn(&T) -> K>,
        place: Place,
        clock: Arc<ManualClock>,
        snapshot: &Snapshot,
        mut event_time: EventTime,
        build: impl FnOnce(&Rc<Build<'static>>) -> DataStream<'static, O>,
    ) -> Result<Self> {
        let max_parallelism = MaxParallelism::new(128)?;
        let range = max_parallelism.range_of(place.subtask, place.parallelism)?;
        let Snapshot { handles, watermark } = snapshot;
        let opener = SnapshotOpener::in_memory();
        let mut builder = KeyedBackend::<K>::builder(K::default_serializer(), max_parallelism, range)
            .operator("harness")
            .clock(Arc::clone(&clock) as _)
            .restore(handles, &opener);
        if let Some(factory) = &place.bed.store {
            builder = builder.byte_store(&**factory, ByteStoreContext::new("harness", range, max_parallelism));
        }
        let bench = Bench::new(builder.build()?, !handles.is_empty());
        let of_bench = Build::on_bench(&bench);
        drop(build(&of_bench));
        of_bench.finish()?;
        let mut operator: Box<dyn KeyedOperator<K, T, O>> = bench.take()?;
        operator.resume_at(*watermark);
        event_time.resume_at(*watermark);
        Ok(Self {
            key,
            place,
            clock,
            bench,
            operator,
            event_time,
            out: Collector::default(),
            outputs: Vec::new(),
            progress: Vec::new(),
        })
    }

    /// Gives it a record, with or without a timestamp.
    ///
    /// # Errors
    /// Whatever the operator reports, here and below.
    pub fn element(&mut self, record: T, timestamp: impl Into<Option<i64>>) -> Result<()> {
        let timestamp = timestamp.into().unwrap_or(i64::MIN);
        self.out.set_timestamp(timestamp);
        self.bench.backend.set_current_key((self.key)(&record))?;
        let Self { bench, operator, out, .. } = self;
        let processed = bench.backend.with_current_key(|key| operator.process(key, record, timestamp, out));
        self.collect();
        processed
    }

    /// Gives it a watermark. One that is not larger than the last changes nothing.
    pub fn watermark(&mut self, timestamp: i64) -> Result<()> {
        self.watermark_of(0, timestamp)
    }

    /// Gives one of its inputs, from 0, a watermark.
    pub fn watermark_of(&mut self, input: usize, timestamp: i64) -> Result<()> {
        self.mark(input, Mark::watermark(timestamp))
    }

    /// Tells it that its input is idle.
    pub fn idle(&mut self) -> Result<()> {
        self.idle_of(0)
    }

    /// Tells it that one of its inputs, from 0, is idle.
    pub fn idle_of(&mut self, input: usize) -> Result<()> {
        self.mark(input, Mark::status(Status::Idle))
    }

    /// Tells it that its input is active again.
    pub fn active(&mut self) -> Result<()> {
        self.active_of(0)
    }

    /// Tells it that one of its inputs, from 0, is active again.
    pub fn active_of(&mut self, input: usize) -> Result<()> {
        self.mark(input, Mark::status(Status::Active))
    }

    fn mark(&mut self, input: usize, mark: Mark) -> Result<()> {
        let advance = self.event_time.mark(input, 0, mark);
        if let Some(watermark) = advance.event_time {
            let advanced = self.operator.advance(watermark, &mut self.out);
            self.collect();
            advanced?;
        }
        self.progress.extend(advance.forward.into_iter().flat_map(said));
        Ok(())
    }

    /// Lets the clock show this many milliseconds since 1970, and has it fire what is due.
    pub fn clock(&mut self, millis: i64) -> Result<()> {
        self.clock.set(millis);
        let ticked = self.operator.tick(&mut self.out);
        self.collect();
        ticked
    }

    fn collect(&mut self) {
        let (records, stamps) = self.out.take();
        let stamps = stamps.into_iter().map(|stamp| (stamp > i64::MIN).then_some(stamp)).chain(std::iter::repeat(None));
        self.outputs
            .extend(records.into_iter().zip(stamps).map(|(value, timestamp)| StreamRecord { value, timestamp }));
    }

    /// What it has emitted since the last call.
    pub fn take_outputs(&mut self) -> Vec<StreamRecord<O>> {
        std::mem::take(&mut self.outputs)
    }

    /// What it has emitted to a side output since the last call.
    ///
    /// # Errors
    /// `Program` if the side output has another type.
    pub fn take_side_outputs<X: 'static>(&mut self, tag: &OutputTag<X>) -> Result<Vec<StreamRecord<X>>> {
        let Some(side) = self.bench.sides.get(tag)? else { return Ok(Vec::new()) };
        let record = |(value, stamp)| StreamRecord { value, timestamp: (stamp > i64::MIN).then_some(stamp) };
        Ok(side.take().into_iter().map(record).collect())
    }

    /// What it has said of its event time since the last call.
    pub fn take_progress(&mut self) -> Vec<Progress> {
        std::mem::take(&mut self.progress)
    }

    /// How many records came too late for their windows, and were dropped.
    #[must_use]
    pub fn late_records_dropped(&self) -> u64 {
        self.operator.late_records_dropped()
    }

    /// A snapshot of its state.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let streams = MemoryStreamFactory::new(u64::MAX, CancelToken::new());
        let handle = self.bench.backend.snapshot()?.write(&streams)?;
        let watermark = self.operator.watermark().unwrap_or(i64::MIN);
        Ok(Snapshot { handles: handle.into_iter().collect(), watermark })
    }

    /// Its keyed state, to look into.
    #[must_use]
    pub fn backend(&self) -> &KeyedBackend<K> {
        &self.bench.backend
    }
}

/// What a mark says, in its order.
fn said(mark: Mark) -> impl Iterator<Item = Progress> {
    let status = |wanted, said| (mark.status == wanted).then_some(said);
    let watermark = (mark.watermark > i64::MIN).then_some(Progress::Watermark(mark.watermark));
    [status(Status::Active, Progress::Active), watermark, status(Status::Idle, Progress::Idle)].into_iter().flatten()
}

impl<K, T, O> fmt::Debug for Harness<K, T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness").finish_non_exhaustive()
    }
}
