//! Keyed streams.

use std::rc::Rc;
use std::sync::Arc;

use highwater_state::{StateValue, ValueStateDescriptor};
use highwater_types::{DefaultSerializer, Error, GlobalWindow, Key, Result, VoidNamespace};
use serde::Serialize;

use super::build::{Build, OperatorKind};
use super::stream::SideStreams;
use super::{Collector, ConnectedStreams, DataStream, IntervalJoined, OpenContext, Record, WindowedStream};
use crate::function::{Context, KeyedProcessFunction, OperatorTime, SideOutputs, TimerContext};
use crate::operator::{Batches, KeyedOperator, KeyedParts, Plain, Results, Timed, WatermarkMemory, keyed};
use crate::runtime::mailbox::Mailbox;
use crate::window::{CountEvictor, CountTrigger, GlobalWindows, PurgingTrigger, WindowAssigner};

/// A stream partitioned by key (Flink's `KeyedStream`). Operators on it have state for each key.
pub struct KeyedStream<'s, K: 'static, T: 'static> {
    pairs: DataStream<'s, (K, T)>,
}

impl<'s, K, T> KeyedStream<'s, K, T>
where
    K: Key + DefaultSerializer + Record,
    T: Record,
{
    pub(super) fn new(pairs: DataStream<'s, (K, T)>) -> Self {
        Self { pairs }
    }

    /// Adds a keyed process (Flink's `KeyedProcessFunction`), whose state is found by its uid when the job is restored.
    ///
    /// `open` runs once per subtask and attempt: it registers the states and returns the function that is called with
    /// the key and every record. The states' handles work on the key of that record. An error or a panic, here or
    /// there, fails the attempt, in which the function is never called again.
    pub fn process<O: Serialize + 'static, F>(
        self,
        uid: &str,
        open: impl FnOnce(&OpenContext<'_, K>) -> Result<F>,
    ) -> DataStream<'s, O>
    where
        F: FnMut(&K, T, &mut Collector<O>) -> Result<()> + 'static,
    {
        self.operate(uid, |context| open(context).map(Plain))
    }

    /// Adds a keyed process with timers (Flink's `KeyedProcessFunction`). `open` returns what both functions need: states,
    /// side outputs. `on_record` is called with every record, `on_timer` with every timer that has become due.
    ///
    /// ```
    /// use highwater_dataflow::{DataStream, Record};
    /// use highwater_state::ValueStateDescriptor;
    ///
    /// /// How many records a key has had when none has come for a minute.
    /// fn counts<'s>(records: DataStream<'s, (String, i64)>) -> DataStream<'s, (String, i64)> {
    ///     records.key_by(|(key, _): &(String, i64)| key.clone()).process_timed(
    ///         "counts",
    ///         |open| {
    ///             let count = open.value_state(&ValueStateDescriptor::<i64>::new("count"))?;
    ///             Ok((count, open.value_state(&ValueStateDescriptor::<i64>::new("last"))?))
    ///         },
    ///         |(count, last), context, _, _| {
    ///             let now = context.timestamp().unwrap_or_else(|| context.current_watermark());
    ///             count.modify(|| 0, |count| *count += 1)?;
    ///             last.update(now)?;
    ///             context.timers().register_event_time(now + 60_000)
    ///         },
    ///         |(count, last), context, out| {
    ///             if last.value()?.is_some_and(|last| last + 60_000 == context.time()) {
    ///                 out.collect((context.key().clone(), count.value()?.unwrap_or(0)));
    ///                 count.clear()?;
    ///                 last.clear()?;
    ///             }
    ///             Ok(())
    ///         },
    ///     )
    /// }
    /// # let _ = counts;
    /// ```
    pub fn process_timed<O: Serialize + 'static, S: 'static>(
        self,
        uid: &str,
        open: impl FnOnce(&OpenContext<'_, K>) -> Result<S>,
        on_record: impl FnMut(&mut S, &Context<'_, K>, T, &mut Collector<O>) -> Result<()> + 'static,
        on_timer: impl FnMut(&mut S, &TimerContext<'_, K>, &mut Collector<O>) -> Result<()> + 'static,
    ) -> DataStream<'s, O> {
        self.process_function(uid, |context| Ok(Closures { state: open(context)?, on_record, on_timer }))
    }

    /// Gathers every so many records of a key (Flink's `countWindow`).
    pub fn count_window(self, size: u64) -> WindowedStream<'s, K, T, GlobalWindow> {
        self.window(GlobalWindows).trigger(PurgingTrigger::of(CountTrigger::of(size)))
    }

    /// Gathers the last `size` records of a key with every `slide` records (Flink's `countWindow`).
    pub fn count_window_sliding(self, size: u64, slide: u64) -> WindowedStream<'s, K, T, GlobalWindow> {
        let evictor = CountEvictor::of(usize::try_from(size).unwrap_or(usize::MAX));
        self.window(GlobalWindows).evictor(evictor).trigger(CountTrigger::of(slide))
    }

    /// Adds a keyed process that is a type of its own; see [`process_timed`](Self::process_timed).
    pub fn process_function<O: Serialize + 'static, F: KeyedProcessFunction<K, T, O>>(
        self,
        uid: &str,
        open: impl FnOnce(&OpenContext<'_, K>) -> Result<F>,
    ) -> DataStream<'s, O> {
        self.operate(uid, |context| {
            let backend = context.shared_backend();
            let timers = backend.timer_service(USER_TIMERS, VoidNamespace::default_serializer())?;
            Ok(Timed::new(backend, OperatorTime::new(backend, timers), open(context)?))
        })
    }

    /// Cuts the records of each key into windows, by time or by count, to be folded or processed together (Flink's
    /// `window`).
    pub fn window<A: WindowAssigner<T>>(self, assigner: A) -> WindowedStream<'s, K, T, A::Window> {
        WindowedStream::new(self, Box::new(assigner))
    }

    /// A stream that leads to a bench.
    #[cfg(feature = "testing")]
    pub(crate) fn on_bench(build: &Rc<Build<'s>>) -> Self {
        Self::new(DataStream::new(build, None))
    }

    /// The job cannot be built.
    pub(super) fn fail(&self, error: Error) {
        self.pairs.fail(error);
    }

    /// Looks at two keyed streams together: records of equal keys meet in one subtask (Flink's `connect`).
    pub fn connect<U: Record>(self, other: KeyedStream<'s, K, U>) -> ConnectedStreams<'s, K, T, U> {
        ConnectedStreams::new(self, other)
    }

    /// Brings records of two keyed streams together whose timestamps are close enough (Flink's `intervalJoin`).
    pub fn interval_join<U>(self, other: KeyedStream<'s, K, U>) -> IntervalJoined<'s, K, T, U>
    where
        T: StateValue + DefaultSerializer,
        U: Record + StateValue + DefaultSerializer,
    {
        IntervalJoined::new(self, other)
    }

    /// Adds a keyed operator.
    pub(super) fn operate<O: Serialize + 'static, P: KeyedOperator<K, T, O>>(
        self,
        uid: &str,
        open: impl FnOnce(&OpenContext<'_, K>) -> Result<P>,
    ) -> DataStream<'s, O> {
        let (build, batches) = self.pairs.into_parts();
        operate(&build, uid, batches, open, |batches, mailbox, parts| keyed(batches, mailbox, parts))
    }

    pub(super) fn into_parts(self) -> (Rc<Build<'s>>, Option<Batches<'s, (K, T)>>) {
        self.pairs.into_parts()
    }

    /// Folds the records of each key into one and emits it after every record (Flink's `reduce`). The state is a value
    /// named `_op_state`, as in Flink.
    pub fn reduce(self, uid: &str, mut reduce: impl FnMut(&mut T, T) + 'static) -> DataStream<'s, T>
    where
        T: StateValue + DefaultSerializer,
    {
        self.process(uid, move |open| {
            let state = open.value_state(&ValueStateDescriptor::<T>::new("_op_state"))?;
            Ok(move |_: &K, record: T, out: &mut Collector<T>| {
                let folded = match state.value()? {
                    Some(mut folded) => {
                        reduce(&mut folded, record);
                        folded
                    }
                    None => record,
                };
                state.update(folded.clone())?;
                out.collect(folded);
                Ok(())
            })
        })
    }
}

/// Adds a keyed operator with such inputs, or puts it on the bench.
pub(super) fn operate<'s, K, T, O, P, I>(
    build: &Rc<Build<'s>>,
    uid: &str,
    inputs: Option<I>,
    open: impl FnOnce(&OpenContext<'_, K>) -> Result<P>,
    connect: impl FnOnce(I, &Rc<Mailbox>, KeyedParts<K, P>) -> Result<Results<'s, O>>,
) -> DataStream<'s, O>
where
    K: Key + DefaultSerializer,
    T: 'static,
    O: Serialize + 'static,
    P: KeyedOperator<K, T, O>,
{
    let plan = build.register(uid, OperatorKind::Keyed);
    #[cfg(feature = "testing")]
    if let Some(bench) = build.bench::<K>() {
        let operator = open(&bench.open_context(uid));
        bench.put(operator.map(|operator| Box::new(operator) as Box<dyn KeyedOperator<K, T, O>>));
        return DataStream::new(build, None);
    }
    let Some(inputs) = inputs else {
        return DataStream::new(build, None);
    };
    let results = build.open(&plan, |runtime| {
        let mailbox = &runtime.mailbox;
        let max_parallelism = runtime.max_parallelism(&plan)?;
        let backend = Rc::new(runtime.keyed_state::<K>(&plan, max_parallelism)?);
        let sides = Rc::new(SideOutputs::default());
        let operator = open(&OpenContext {
            uid,
            subtask: mailbox.worker,
            parallelism: mailbox.workers,
            is_restored: runtime.setup.restored.is_some(),
            backend: &backend,
            sides: &sides,
        })?;
        let index = mailbox.add_operator(&plan.uid, plan.id, max_parallelism);
        let (uid, of_parts) = (Arc::clone(&plan.uid), Rc::clone(&sides));
        let memory = (operator.watermark().is_some() && runtime.setup.remembers_watermarks)
            .then(|| WatermarkMemory::open(runtime.operator_state(&plan)?, backend.key_groups()))
            .transpose()?;
        let parts = KeyedParts { uid, index, max_parallelism, backend, operator, sides: of_parts, memory };
        let (results, notices) = connect(inputs, mailbox, parts)?;
        Ok((results, notices.map(|notices| SideStreams { notices, outputs: sides })))
    });
    let (results, sides) = results.unzip();
    DataStream::with_sides(build, results, sides.flatten())
}

/// The timers of process functions, as Flink calls them.
pub(super) const USER_TIMERS: &str = "user-timers";

/// A process function of two closures.
struct Closures<S, R, M> {
    state: S,
    on_record: R,
    on_timer: M,
}

impl<K, T, O, S, R, M> KeyedProcessFunction<K, T, O> for Closures<S, R, M>
where
    S: 'static,
    R: FnMut(&mut S, &Context<'_, K>, T, &mut Collector<O>) -> Result<()> + 'static,
    M: FnMut(&mut S, &TimerContext<'_, K>, &mut Collector<O>) -> Result<()> + 'static,
{
    fn process_element(&mut self, record: T, context: &Context<'_, K>, out: &mut Collector<O>) -> Result<()> {
        (self.on_record)(&mut self.state, context, record, out)
    }

    fn on_timer(&mut self, context: &TimerContext<'_, K>, out: &mut Collector<O>) -> Result<()> {
        (self.on_timer)(&mut self.state, context, out)
    }
}

impl<K: 'static, T: 'static> std::fmt::Debug for KeyedStream<'_, K, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedStream").finish_non_exhaustive()
    }
}
