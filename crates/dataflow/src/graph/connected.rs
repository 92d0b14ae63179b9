//! Two keyed streams that are looked at together.

use highwater_types::{DefaultSerializer, Key, Result, TaggedUnion, VoidNamespace};
use serde::Serialize;

use super::keyed::{USER_TIMERS, operate};
use super::{Collector, DataStream, KeyedStream, OpenContext, Record};
use crate::function::{Connected, Context, KeyedCoProcessFunction, OperatorTime, TimerContext};
use crate::operator::{Timed, keyed_pair};

/// Two streams, keyed alike, on which one function works (Flink's `ConnectedStreams`).
///
/// Its event time is that of the stream that is further behind, unless that one is idle.
#[must_use]
pub struct ConnectedStreams<'s, K: 'static, T: 'static, U: 'static> {
    first: KeyedStream<'s, K, T>,
    second: KeyedStream<'s, K, U>,
}

impl<'s, K, T, U> ConnectedStreams<'s, K, T, U>
where
    K: Key + DefaultSerializer + Record,
    T: Record,
    U: Record,
{
    pub(super) fn new(first: KeyedStream<'s, K, T>, second: KeyedStream<'s, K, U>) -> Self {
        Self { first, second }
    }

    /// Adds a process with state and timers that both streams share (Flink's `KeyedCoProcessFunction`). `open` returns what
    /// the three functions need.
    ///
    /// ```
    /// use highwater_dataflow::DataStream;
    /// use highwater_state::{ListStateDescriptor, ValueStateDescriptor};
    ///
    /// /// Orders, as customer and amount, with the name of the customer; they wait for it as long as it takes.
    /// fn named<'s>(
    ///     orders: DataStream<'s, (i64, i64)>,
    ///     customers: DataStream<'s, (i64, String)>,
    /// ) -> DataStream<'s, (String, i64)> {
    ///     orders.key_by(|(customer, _): &(i64, i64)| *customer).connect(customers.key_by(|(id, _): &(i64, String)| *id))
    ///         .process_timed(
    ///             "named",
    ///             |open| {
    ///                 let name = open.value_state(&ValueStateDescriptor::<String>::new("name"))?;
    ///                 Ok((name, open.list_state(&ListStateDescriptor::<i64>::new("waiting"))?))
    ///             },
    ///             |(name, waiting), _, (_, amount), out| match name.value()? {
    ///                 Some(name) => Ok(out.collect((name, amount))),
    ///                 None => waiting.add(amount),
    ///             },
    ///             |(name, waiting), _, (_, new), out| {
    ///                 out.extend(waiting.get()?.into_iter().map(|amount| (new.clone(), amount)));
    ///                 waiting.clear()?;
    ///                 name.update(new)
    ///             },
    ///             |_, _, _| Ok(()),
    ///         )
    /// }
    /// # let _ = named;
    /// ```
    pub fn process_timed<O: Serialize + 'static, S: 'static>(
        self,
        uid: &str,
        open: impl FnOnce(&OpenContext<'_, K>) -> Result<S>,
        on_first: impl FnMut(&mut S, &Context<'_, K>, T, &mut Collector<O>) -> Result<()> + 'static,
        on_second: impl FnMut(&mut S, &Context<'_, K>, U, &mut Collector<O>) -> Result<()> + 'static,
        on_timer: impl FnMut(&mut S, &TimerContext<'_, K>, &mut Collector<O>) -> Result<()> + 'static,
    ) -> DataStream<'s, O> {
        self.process_function(uid, |context| Ok(Closures { state: open(context)?, on_first, on_second, on_timer }))
    }

    /// Adds a process that is a type of its own; see [`process_timed`](Self::process_timed).
    pub fn process_function<O: Serialize + 'static, F: KeyedCoProcessFunction<K, T, U, O>>(
        self,
        uid: &str,
        open: impl FnOnce(&OpenContext<'_, K>) -> Result<F>,
    ) -> DataStream<'s, O> {
        let (build, first) = self.first.into_parts();
        let (_, second) = self.second.into_parts();
        let open = |context: &OpenContext<'_, K>| {
            let backend = context.shared_backend();
            let timers = backend.timer_service(USER_TIMERS, VoidNamespace::default_serializer())?;
            Ok(Timed::new(backend, OperatorTime::new(backend, timers), Connected(open(context)?)))
        };
        operate::<K, TaggedUnion<T, U>, O, _, _>(&build, uid, first.zip(second), open, |inputs, mailbox, parts| {
            keyed_pair(inputs, mailbox, parts)
        })
    }
}

/// A process function of three closures.
struct Closures<S, L, R, M> {
    state: S,
    on_first: L,
    on_second: R,
    on_timer: M,
}

impl<K, T, U, O, S, L, R, M> KeyedCoProcessFunction<K, T, U, O> for Closures<S, L, R, M>
where
    S: 'static,
    L: FnMut(&mut S, &Context<'_, K>, T, &mut Collector<O>) -> Result<()> + 'static,
    R: FnMut(&mut S, &Context<'_, K>, U, &mut Collector<O>) -> Result<()> + 'static,
    M: FnMut(&mut S, &TimerContext<'_, K>, &mut Collector<O>) -> Result<()> + 'static,
{
    fn process_first(&mut self, record: T, context: &Context<'_, K>, out: &mut Collector<O>) -> Result<()> {
        (self.on_first)(&mut self.state, context, record, out)
    }

    fn process_second(&mut self, record: U, context: &Context<'_, K>, out: &mut Collector<O>) -> Result<()> {
        (self.on_second)(&mut self.state, context, record, out)
    }

    fn on_timer(&mut self, context: &TimerContext<'_, K>, out: &mut Collector<O>) -> Result<()> {
        (self.on_timer)(&mut self.state, context, out)
    }
}

impl<K: 'static, T: 'static, U: 'static> std::fmt::Debug for ConnectedStreams<'_, K, T, U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectedStreams").finish_non_exhaustive()
    }
}
