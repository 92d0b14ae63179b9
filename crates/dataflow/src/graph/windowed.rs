//! Windows on keyed streams.

use std::sync::Arc;
use std::time::Duration;

use highwater_state::{AggregateFunction, StateValue};
use highwater_types::{DefaultSerializer, Error, Key, Result};
use serde::Serialize;

use super::{Collector, DataStream, KeyedStream, OpenContext, Record};
use crate::function::OutputTag;
use crate::operator::KeyedOperator;
use crate::window::{
    Aggregated, AnyTrigger, Contents, DefaultTrigger, EventTimeTrigger, Evicted, Evictor, Lateness, Listed,
    NeverTrigger, OpenWindow, ProcessingTimeTrigger, Reduced, Trigger, Window, WindowAssigner, WindowContext,
    WindowOperator, WindowParts,
};

/// The records of each key in windows (Flink's `WindowedStream`), on which a function is called when they are complete.
///
/// Results have the largest timestamp of their window, so that they fall into the same or a later window of what comes
/// behind. A window that is emitted several times is emitted whole each time, unless its trigger purges it.
///
/// ```
/// use std::time::Duration;
/// use highwater_dataflow::{DataStream, TumblingEventTimeWindows};
///
/// /// The largest reading of each sensor in each minute, with the minute.
/// fn largest<'s>(readings: DataStream<'s, (String, i64)>) -> DataStream<'s, (String, i64, i64)> {
///     readings
///         .key_by(|(sensor, _): &(String, i64)| sensor.clone())
///         .window(TumblingEventTimeWindows::of(Duration::from_secs(60)))
///         .allowed_lateness(Duration::from_secs(10))
///         .reduce_with(
///             "largest",
///             |largest, reading| largest.1 = largest.1.max(reading.1),
///             |_| Ok(()),
///             |(), context, (sensor, largest), out| {
///                 out.collect((sensor, context.window().start, largest));
///                 Ok(())
///             },
///         )
/// }
/// # let _ = largest;
/// ```
#[must_use]
pub struct WindowedStream<'s, K: 'static, T: 'static, W: 'static> {
    stream: KeyedStream<'s, K, T>,
    assigner: Box<dyn WindowAssigner<T, Window = W>>,
    trigger: Option<Box<dyn AnyTrigger<K, T, W>>>,
    evictor: Option<Box<dyn Evictor<T, W>>>,
    allowed_lateness: i64,
    late: Option<OutputTag<T>>,
}

impl<'s, K, T, W> WindowedStream<'s, K, T, W>
where
    K: Key + DefaultSerializer + Record,
    T: Record,
    W: Window,
{
    pub(super) fn new(stream: KeyedStream<'s, K, T>, assigner: Box<dyn WindowAssigner<T, Window = W>>) -> Self {
        Self { stream, assigner, trigger: None, evictor: None, allowed_lateness: 0, late: None }
    }

    /// Decides otherwise when windows are emitted. The trigger takes the place of the assigner's own: one that counts does
    /// not emit what is left when a window ends.
    pub fn trigger(mut self, trigger: impl Trigger<T, W>) -> Self {
        self.trigger = Some(Box::new(trigger));
        self
    }

    /// Takes records out of windows when they are emitted. All records are kept then.
    pub fn evictor(mut self, evictor: impl Evictor<T, W>) -> Self {
        self.evictor = Some(Box::new(evictor));
        self
    }

    /// For so long after the end of a window records still come into it, in whole milliseconds; each makes it emit once
    /// more. Of no meaning for processing time. Default: not at all.
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.allowed_lateness = i64::try_from(lateness.as_millis()).unwrap_or(i64::MAX);
        self
    }

    /// Emits records that come too late to a side output. By default they are dropped and counted.
    pub fn side_output_late_data(mut self, tag: &OutputTag<T>) -> Self {
        self.late = Some(tag.clone());
        self
    }

    /// Folds the records of a window into one (Flink's `reduce`), as they come.
    pub fn reduce(self, uid: &str, reduce: impl Fn(&mut T, T) + Send + Sync + 'static) -> DataStream<'s, T>
    where
        T: StateValue + DefaultSerializer,
    {
        self.reduce_with(
            uid,
            reduce,
            |_| Ok(()),
            |(), _, record, out| {
                out.collect(record);
                Ok(())
            },
        )
    }

    /// Folds the records of a window into one as they come, and calls a function with that, the key and the window.
    pub fn reduce_with<O: Serialize + 'static, S: 'static>(
        self,
        uid: &str,
        reduce: impl Fn(&mut T, T) + Send + Sync + 'static,
        open: impl FnOnce(&OpenWindow<'_, K, W>) -> Result<S>,
        mut function: impl FnMut(&mut S, &WindowContext<'_, K, W>, T, &mut Collector<O>) -> Result<()> + 'static,
    ) -> DataStream<'s, O>
    where
        T: StateValue + DefaultSerializer,
    {
        let reduce = Arc::new(reduce);
        let fold = Arc::clone(&reduce);
        let fold = move |records: Vec<T>| {
            let fold = &fold;
            records.into_iter().reduce(|mut folded, record| {
                fold(&mut folded, record);
                folded
            })
        };
        let reduced = move |context: &OpenContext<'_, K>| {
            Reduced::open(context.backend(), move |folded: &mut T, record| reduce(folded, record))
        };
        self.build(uid, open, reduced, Box::new(fold), move |state, context, record: Option<T>, out| {
            record.map_or(Ok(()), |record| function(state, context, record, out))
        })
    }

    /// Gathers the records of a window in an accumulator (Flink's `aggregate`), as they come.
    pub fn aggregate<A>(self, uid: &str, aggregate: A) -> DataStream<'s, A::Output>
    where
        A: AggregateFunction<Input = T, Accumulator: StateValue + DefaultSerializer, Output: Serialize + 'static>,
        T: StateValue + DefaultSerializer,
    {
        self.aggregate_with(
            uid,
            aggregate,
            |_| Ok(()),
            |(), _, result, out| {
                out.collect(result);
                Ok(())
            },
        )
    }

    /// Gathers the records of a window in an accumulator as they come, and calls a function with the result, the key and
    /// the window.
    pub fn aggregate_with<A, O: Serialize + 'static, S: 'static>(
        self,
        uid: &str,
        aggregate: A,
        open: impl FnOnce(&OpenWindow<'_, K, W>) -> Result<S>,
        mut function: impl FnMut(&mut S, &WindowContext<'_, K, W>, A::Output, &mut Collector<O>) -> Result<()> + 'static,
    ) -> DataStream<'s, O>
    where
        A: AggregateFunction<Input = T, Accumulator: StateValue + DefaultSerializer, Output: 'static>,
        T: StateValue + DefaultSerializer,
    {
        let aggregate = Arc::new(aggregate);
        let fold = Arc::clone(&aggregate);
        let fold = move |records: Vec<T>| {
            let mut accumulator = fold.create_accumulator();
            records.into_iter().for_each(|record| fold.add(&mut accumulator, record));
            Some(fold.result(&accumulator))
        };
        let aggregated =
            move |context: &OpenContext<'_, K>| Aggregated::open(context.backend(), SharedAggregate(aggregate));
        self.build(uid, open, aggregated, Box::new(fold), move |state, context, result: Option<A::Output>, out| {
            result.map_or(Ok(()), |result| function(state, context, result, out))
        })
    }

    /// Calls a function with all records of a window, which are kept until then (Flink's `process`). `open` runs once per
    /// subtask and attempt and returns what the function needs: states, side outputs.
    pub fn process<O: Serialize + 'static, S: 'static>(
        self,
        uid: &str,
        open: impl FnOnce(&OpenWindow<'_, K, W>) -> Result<S>,
        mut function: impl FnMut(&mut S, &WindowContext<'_, K, W>, Vec<T>, &mut Collector<O>) -> Result<()> + 'static,
    ) -> DataStream<'s, O>
    where
        T: StateValue + DefaultSerializer,
    {
        let listed = |context: &OpenContext<'_, K>| Listed::open(context.backend());
        self.build(uid, open, listed, Box::new(Some), move |state, context, records: Option<Vec<T>>, out| {
            records.map_or(Ok(()), |records| function(state, context, records, out))
        })
    }

    /// `contents` opens what a window remembers if it has no evictor; `fold` makes the same of all its records.
    fn build<O, S, R, C>(
        self,
        uid: &str,
        open: impl FnOnce(&OpenWindow<'_, K, W>) -> Result<S>,
        contents: impl FnOnce(&OpenContext<'_, K>) -> Result<C>,
        fold: Box<dyn FnMut(Vec<T>) -> Option<R>>,
        mut function: impl FnMut(&mut S, &WindowContext<'_, K, W>, Option<R>, &mut Collector<O>) -> Result<()> + 'static,
    ) -> DataStream<'s, O>
    where
        O: Serialize + 'static,
        S: 'static,
        R: 'static,
        C: Contents<T, W, Out = R>,
        T: StateValue + DefaultSerializer,
    {
        let Self { stream, assigner, trigger, evictor, allowed_lateness, late } = self;
        let trigger = trigger.unwrap_or_else(|| match assigner.default_trigger() {
            DefaultTrigger::EventTime => Box::new(EventTimeTrigger),
            DefaultTrigger::ProcessingTime => Box::new(ProcessingTimeTrigger),
            DefaultTrigger::Never => Box::new(NeverTrigger),
        });
        if let Err(error) = check(&*assigner, &*trigger) {
            stream.fail(error.with("operator", uid));
        }
        stream.operate(uid, move |context| {
            let of_function = OpenWindow::new(context, assigner.is_merging());
            let mut state = open(&of_function)?;
            let side = late.map(|tag| context.side_output(&tag)).transpose()?;
            let lateness = Lateness { allowed: allowed_lateness, side };
            Ok(match evictor {
                None => {
                    let function = move |context: &WindowContext<'_, K, W>, contents: R, out: &mut Collector<O>| {
                        function(&mut state, context, Some(contents), out)
                    };
                    let contents = contents(context)?;
                    let parts = WindowParts { assigner, trigger, lateness, contents, function };
                    Box::new(WindowOperator::open(context, of_function, parts)?) as Box<dyn KeyedOperator<K, T, O>>
                }
                Some(evictor) => {
                    let function =
                        move |context: &WindowContext<'_, K, W>, contents: Option<R>, out: &mut Collector<O>| {
                            function(&mut state, context, contents, out)
                        };
                    let contents = Evicted::open(context.backend(), evictor, fold)?;
                    let parts = WindowParts { assigner, trigger, lateness, contents, function };
                    Box::new(WindowOperator::open(context, of_function, parts)?)
                }
            })
        })
    }
}

fn check<K, T: 'static, W: Window>(
    assigner: &dyn WindowAssigner<T, Window = W>,
    trigger: &dyn AnyTrigger<K, T, W>,
) -> Result<()> {
    assigner.check()?;
    if assigner.is_merging() && !trigger.merges() {
        return Err(Error::program("the trigger cannot be used where windows merge: it keeps what cannot be merged"));
    }
    Ok(())
}

/// An aggregate function that is used in two places.
struct SharedAggregate<A>(Arc<A>);

impl<A: AggregateFunction> AggregateFunction for SharedAggregate<A> {
    type Input = A::Input;
    type Accumulator = A::Accumulator;
    type Output = A::Output;

    fn create_accumulator(&self) -> A::Accumulator {
        self.0.create_accumulator()
    }

    fn add(&self, accumulator: &mut A::Accumulator, input: A::Input) {
        self.0.add(accumulator, input);
    }

    fn result(&self, accumulator: &A::Accumulator) -> A::Output {
        self.0.result(accumulator)
    }

    fn merge(&self, accumulator: &mut A::Accumulator, other: A::Accumulator) {
        self.0.merge(accumulator, other);
    }
}

impl<K: 'static, T: 'static, W: 'static> std::fmt::Debug for WindowedStream<'_, K, T, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WindowedStream").field("allowed_lateness", &self.allowed_lateness).finish_non_exhaustive()
    }
}
