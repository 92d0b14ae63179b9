//! Streams of records.

use std::rc::Rc;
use std::sync::Arc;

use highwater_types::{DefaultSerializer, Error, Key, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::build::{Build, OperatorKind};
use super::{Collector, JoinedStreams, KeyedStream};
use crate::function::{OutputTag, SideOutputs};
use crate::operator::{Batches, SinkParts, assign, end, side, sink, transform, union};
use crate::{Sink, SinkContext, WatermarkStrategy};

/// What can be sent from one worker to another, which may be in another process. Implemented for every type that has
/// what it needs; derive serde's `Serialize` and `Deserialize`.
pub trait Record: Clone + Send + Serialize + DeserializeOwned + 'static {}
impl<T: Clone + Send + Serialize + DeserializeOwned + 'static> Record for T {}

/// A stream of records (Flink's `DataStream`). Its functions run on the worker where the records are; the order of the
/// records of one subtask is kept. Records are weighed by what serde shows of them, which is why all of them have to be
/// `Serialize`: that bounds how much memory they take on their way.
pub struct DataStream<'s, T: 'static> {
    build: Rc<Build<'s>>,
    /// None while the job is only planned, and after it was used.
    batches: Option<Batches<'s, T>>,
    /// None if the operator that the stream comes from has no side outputs.
    sides: Option<SideStreams<'s>>,
}

/// The side outputs of an operator, and the stream of notices that there is something in them.
#[derive(Clone)]
pub(super) struct SideStreams<'s> {
    pub(super) notices: Batches<'s, ()>,
    pub(super) outputs: Rc<SideOutputs>,
}

impl<'s, T: 'static> DataStream<'s, T> {
    pub(super) fn new(build: &Rc<Build<'s>>, batches: Option<Batches<'s, T>>) -> Self {
        Self::with_sides(build, batches, None)
    }

    pub(super) fn with_sides(
        build: &Rc<Build<'s>>,
        batches: Option<Batches<'s, T>>,
        sides: Option<SideStreams<'s>>,
    ) -> Self {
        Self { build: Rc::clone(build), batches, sides }
    }

    /// What the operator that this stream comes from has emitted to a side output (Flink's `getSideOutput`). An output can
    /// be read once: clone the stream to use it several times. What nobody reads is dropped.
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater_dataflow::{DataStream, OutputTag, TumblingEventTimeWindows};
    ///
    /// fn sums_and_late<'s>(
    ///     numbers: DataStream<'s, (String, i64)>,
    /// ) -> (DataStream<'s, (String, i64)>, DataStream<'s, (String, i64)>) {
    ///     let late = OutputTag::new("late");
    ///     let sums = numbers
    ///         .key_by(|(key, _): &(String, i64)| key.clone())
    ///         .window(TumblingEventTimeWindows::of(Duration::from_secs(60)))
    ///         .side_output_late_data(&late)
    ///         .reduce("sums", |sum, number| sum.1 += number.1);
    ///     let late = sums.side_output(&late);
    ///     (sums, late)
    /// }
    /// # let _ = sums_and_late;
    /// ```
    pub fn side_output<X: Serialize + 'static>(&self, tag: &OutputTag<X>) -> DataStream<'s, X> {
        let Some(runtime) = self.build.runtime() else { return DataStream::new(&self.build, None) };
        let read = || {
            let sides = self.sides.as_ref();
            let output = sides.map(|sides| sides.outputs.get(tag)).transpose()?.flatten();
            let (Some(sides), Some(output)) = (sides, output) else {
                return Err(Error::program("the operator has no side output of this id: open it with `side_output`"));
            };
            if !output.read() {
                return Err(Error::program("a side output can be read once: clone the stream"));
            }
            side(sides.notices.clone(), &runtime.mailbox, &tag.id().into(), output)
        };
        let batches = read().map_err(|error| self.build.fail(error.with("side output", tag.id()))).ok();
        DataStream::new(&self.build, batches)
    }

    /// Turns every record into another.
    pub fn map<U: Serialize + 'static>(self, mut function: impl FnMut(T) -> U + 'static) -> DataStream<'s, U> {
        self.transform("map", move |record, out| {
            out.collect(function(record));
            Ok(())
        })
    }

    /// Keeps the records for which `predicate` is true.
    pub fn filter(self, mut predicate: impl FnMut(&T) -> bool + 'static) -> Self
    where
        T: Serialize,
    {
        self.transform("filter", move |record, out| {
            if predicate(&record) {
                out.collect(record);
            }
            Ok(())
        })
    }

    /// Turns every record into any number of others; they leave while the function runs. An error fails the attempt.
    pub fn flat_map<U: Serialize + 'static>(
        self,
        function: impl FnMut(T, &mut Collector<U>) -> Result<()> + 'static,
    ) -> DataStream<'s, U> {
        self.transform("flat_map", function)
    }

    /// Puts streams of one type together (Flink's `union`). Its event time is that of the stream that is furthest behind,
    /// among those that are not idle.
    pub fn union(mut self, others: impl IntoIterator<Item = Self>) -> Self
    where
        T: Serialize,
    {
        let others: Vec<_> = others.into_iter().filter_map(|mut other| other.batches.take()).collect();
        let batches = match (self.build.runtime(), self.batches.take()) {
            (Some(runtime), Some(batches)) => {
                union(batches, others, &runtime.mailbox, &"union".into()).map_err(|error| self.build.fail(error)).ok()
            }
            _ => None,
        };
        DataStream::new(&self.build, batches)
    }

    /// Brings the records of two streams together that have equal keys and lie in the same window (Flink's `join` and
    /// `coGroup`).
    pub fn join<U: Record>(self, other: DataStream<'s, U>) -> JoinedStreams<'s, T, U>
    where
        T: Record,
    {
        JoinedStreams::new(self, other)
    }

    /// Gives the records timestamps and the stream watermarks (Flink's `assignTimestampsAndWatermarks`). Those that the
    /// stream has already are not looked at, but for the end of the stream; a record's own timestamp is shown to the
    /// strategy. Where it can be done, do it at the source
    /// ([`source_with_watermarks`](crate::StreamEnvironment::source_with_watermarks)), which knows the splits.
    pub fn assign_timestamps_and_watermarks(mut self, strategy: WatermarkStrategy<T>) -> Self
    where
        T: Serialize,
    {
        let batches = match (self.build.runtime(), self.batches.take()) {
            (Some(runtime), Some(batches)) => strategy
                .check()
                .and_then(|()| {
                    let interval = runtime.setup.watermark_interval;
                    assign(batches, &runtime.mailbox, &"timestamps".into(), strategy, interval)
                })
                .map_err(|error| self.build.fail(error))
                .ok(),
            _ => None,
        };
        DataStream::new(&self.build, batches)
    }

    /// Partitions the stream: records of equal keys meet at one subtask, that which owns the key's key group.
    pub fn key_by<K>(self, mut key: impl FnMut(&T) -> K + 'static) -> KeyedStream<'s, K, T>
    where
        K: Key + DefaultSerializer + Record,
        T: Record,
    {
        KeyedStream::new(self.map(move |record| (key(&record), record)))
    }

    /// Ends the stream in a sink, whose state is found by its uid when the job is restored.
    pub fn sink(mut self, uid: &str, target: impl Sink<T>) {
        let plan = self.build.register(uid, OperatorKind::Sink { exactly_once: target.is_exactly_once() });
        let Some(batches) = self.batches.take() else { return };
        self.build.open(&plan, |runtime| {
            let mailbox = &runtime.mailbox;
            let max_parallelism = runtime.max_parallelism(&plan)?;
            let state = runtime.operator_state(&plan)?;
            let writer = target.open(&SinkContext {
                job_id: &runtime.setup.job_id,
                uid,
                subtask: mailbox.worker,
                parallelism: mailbox.workers,
                attempt: &runtime.setup.attempt_id,
                restored_checkpoint: runtime.setup.restored.as_ref().map(|restored| restored.checkpoint),
                state: &state,
            })?;
            let index = mailbox.add_operator(&plan.uid, plan.id, max_parallelism);
            let records = runtime.setup.counters.records_out(mailbox.worker);
            let parts = SinkParts { uid: Arc::clone(&plan.uid), index, writer, state, records };
            sink(batches, mailbox, &runtime.probe, parts)
        });
    }

    fn transform<U: 'static>(
        mut self,
        name: &str,
        function: impl FnMut(T, &mut Collector<U>) -> Result<()> + 'static,
    ) -> DataStream<'s, U> {
        let batches = match (self.build.runtime(), self.batches.take()) {
            (Some(runtime), Some(batches)) => transform(batches, &runtime.mailbox, &name.into(), function)
                .map_err(|error| self.build.fail(error))
                .ok(),
            _ => None,
        };
        DataStream::new(&self.build, batches)
    }

    /// A stream that leads to a bench.
    #[cfg(feature = "testing")]
    pub(crate) fn on_bench(build: &Rc<Build<'s>>) -> Self {
        Self::new(build, None)
    }

    /// The job cannot be built.
    pub(super) fn fail(&self, error: Error) {
        self.build.fail(error);
    }

    /// The stream of batches and where to build, for the operators of this crate.
    pub(super) fn into_parts(mut self) -> (Rc<Build<'s>>, Option<Batches<'s, T>>) {
        (Rc::clone(&self.build), self.batches.take())
    }
}

/// A second use of the same records, each of which is cloned.
impl<T: Clone + 'static> Clone for DataStream<'_, T> {
    fn clone(&self) -> Self {
        Self { build: Rc::clone(&self.build), batches: self.batches.clone(), sides: self.sides.clone() }
    }
}

/// A stream that leads nowhere is an end of the dataflow too: sources must not run ahead of it.
impl<T: 'static> Drop for DataStream<'_, T> {
    fn drop(&mut self) {
        if let (Some(runtime), Some(batches)) = (self.build.runtime(), self.batches.take())
            && let Err(error) = end(batches, &runtime.mailbox, &runtime.probe)
        {
            self.build.fail(error);
        }
    }
}

impl<T: 'static> std::fmt::Debug for DataStream<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataStream").finish_non_exhaustive()
    }
}
