//! Two streams joined in windows.

use std::time::Duration;

use highwater_state::StateValue;
use highwater_types::{DefaultSerializer, Key, Result, TaggedUnion};
use serde::Serialize;

use super::{Collector, DataStream, Record, WindowedStream};
use crate::window::{Evictor, Trigger, Window, WindowAssigner};

/// Two streams, of which the records of a key and window are brought together (Flink's `CoGroupedStreams` and
/// `JoinedStreams`). From [`DataStream::join`].
///
/// ```
/// use std::time::Duration;
/// use highwater_dataflow::{DataStream, TumblingEventTimeWindows};
///
/// /// Every order of a minute with every payment of the same customer in that minute.
/// fn paid<'s>(
///     orders: DataStream<'s, (i64, String)>,
///     payments: DataStream<'s, (i64, i64)>,
/// ) -> DataStream<'s, (String, i64)> {
///     orders
///         .join(payments)
///         .key_by(|(customer, _)| *customer, |(customer, _)| *customer)
///         .window(TumblingEventTimeWindows::of(Duration::from_secs(60)))
///         .apply("paid", |(_, order), (_, amount)| (order.clone(), *amount))
/// }
/// # let _ = paid;
/// ```
#[must_use]
pub struct JoinedStreams<'s, A: 'static, B: 'static> {
    first: DataStream<'s, A>,
    second: DataStream<'s, B>,
}

impl<'s, A: Record, B: Record> JoinedStreams<'s, A, B> {
    pub(super) fn new(first: DataStream<'s, A>, second: DataStream<'s, B>) -> Self {
        Self { first, second }
    }

    /// The keys that must be equal (Flink's `where` and `equalTo`).
    pub fn key_by<K>(
        self,
        of_first: impl Fn(&A) -> K + 'static,
        of_second: impl Fn(&B) -> K + 'static,
    ) -> KeyedJoin<'s, K, A, B>
    where
        K: Key + DefaultSerializer + Record,
    {
        let (first, second) = (self.first.map(TaggedUnion::One), self.second.map(TaggedUnion::Two));
        let stream = first.union([second]).key_by(move |record| match record {
            TaggedUnion::One(record) => of_first(record),
            TaggedUnion::Two(record) => of_second(record),
        });
        KeyedJoin { stream }
    }
}

/// Two streams and their keys.
#[must_use]
pub struct KeyedJoin<'s, K: 'static, A: 'static, B: 'static> {
    stream: super::KeyedStream<'s, K, TaggedUnion<A, B>>,
}

impl<'s, K, A, B> KeyedJoin<'s, K, A, B>
where
    K: Key + DefaultSerializer + Record,
    A: Record,
    B: Record,
{
    /// The windows in which records meet.
    pub fn window<W: WindowAssigner<TaggedUnion<A, B>>>(self, assigner: W) -> WindowedJoin<'s, K, A, B, W::Window> {
        WindowedJoin { stream: self.stream.window(assigner) }
    }
}

/// Two streams in windows. What is set here holds for the records of both together.
#[must_use]
pub struct WindowedJoin<'s, K: 'static, A: 'static, B: 'static, W: 'static> {
    stream: WindowedStream<'s, K, TaggedUnion<A, B>, W>,
}

impl<'s, K, A, B, W> WindowedJoin<'s, K, A, B, W>
where
    K: Key + DefaultSerializer + Record,
    A: Record + StateValue + DefaultSerializer,
    B: Record + StateValue + DefaultSerializer,
    W: Window,
{
    /// As [`WindowedStream::trigger`].
    pub fn trigger(self, trigger: impl Trigger<TaggedUnion<A, B>, W>) -> Self {
        Self { stream: self.stream.trigger(trigger) }
    }

    /// As [`WindowedStream::evictor`].
    pub fn evictor(self, evictor: impl Evictor<TaggedUnion<A, B>, W>) -> Self {
        Self { stream: self.stream.evictor(evictor) }
    }

    /// As [`WindowedStream::allowed_lateness`].
    pub fn allowed_lateness(self, lateness: Duration) -> Self {
        Self { stream: self.stream.allowed_lateness(lateness) }
    }

    /// Turns every pair of a record of the first and one of the second stream into a result (Flink's `join(..).apply`).
    /// What has no partner in its window has no result.
    pub fn apply<O: Serialize + 'static>(
        self,
        uid: &str,
        mut function: impl FnMut(&A, &B) -> O + 'static,
    ) -> DataStream<'s, O> {
        self.co_group(uid, move |first, second, out| {
            for one in &first {
                second.iter().for_each(|two| out.collect(function(one, two)));
            }
            Ok(())
        })
    }

    /// Calls a function with the records of both streams, either of which may have none (Flink's `coGroup(..).apply`).
    pub fn co_group<O: Serialize + 'static>(
        self,
        uid: &str,
        mut function: impl FnMut(Vec<A>, Vec<B>, &mut Collector<O>) -> Result<()> + 'static,
    ) -> DataStream<'s, O> {
        self.stream.process(
            uid,
            |_| Ok(()),
            move |(), _, records, out| {
                let (mut first, mut second) = (Vec::new(), Vec::new());
                for record in records {
                    match record {
                        TaggedUnion::One(record) => first.push(record),
                        TaggedUnion::Two(record) => second.push(record),
                    }
                }
                function(first, second, out)
            },
        )
    }
}

macro_rules! debug {
    ($($name:ident<$($parameter:ident),+>;)*) => {$(
        impl<$($parameter: 'static),+> std::fmt::Debug for $name<'_, $($parameter),+> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}

debug! {
    JoinedStreams<A, B>;
    KeyedJoin<K, A, B>;
    WindowedJoin<K, A, B, W>;
}
