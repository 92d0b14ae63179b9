//! Two keyed streams joined by time.

use highwater_state::StateValue;
use highwater_types::{DefaultSerializer, Error, Key, Result, TaggedUnion};
use serde::Serialize;

use super::keyed::operate;
use super::{Collector, DataStream, KeyedStream, OpenContext, Record};
use crate::function::OutputTag;
use crate::operator::{Bounds, IntervalJoin, keyed_pair};

/// Two keyed streams, of which every record of the first is brought together with those of the second whose timestamps
/// are close enough (Flink's `intervalJoin`). From [`KeyedStream::interval_join`].
///
/// Pairs come as soon as both records are there, with the larger of their timestamps. A record is late if its timestamp is
/// *below* the watermark. Records are kept until the watermark *has reached* the last timestamp that could match; one that
/// comes exactly then may miss its partner, as in Flink.
///
/// ```
/// use highwater_dataflow::DataStream;
///
/// /// Every order with the payments of the same customer within ten minutes after it.
/// fn paid<'s>(
///     orders: DataStream<'s, (i64, String)>,
///     payments: DataStream<'s, (i64, i64)>,
/// ) -> DataStream<'s, (String, i64)> {
///     orders
///         .key_by(|(customer, _): &(i64, String)| *customer)
///         .interval_join(payments.key_by(|(customer, _): &(i64, i64)| *customer))
///         .between_millis(0, 600_000)
///         .process("paid", |_, ((_, order), _), ((_, amount), _), out| {
///             out.collect((order.clone(), *amount));
///             Ok(())
///         })
/// }
/// # let _ = paid;
/// ```
#[must_use]
pub struct IntervalJoined<'s, K: 'static, L: 'static, R: 'static> {
    left: KeyedStream<'s, K, L>,
    right: KeyedStream<'s, K, R>,
    bounds: Bounds,
    is_exclusive: (bool, bool),
    late: (Option<OutputTag<L>>, Option<OutputTag<R>>),
}

impl<'s, K, L, R> IntervalJoined<'s, K, L, R>
where
    K: Key + DefaultSerializer + Record,
    L: Record + StateValue + DefaultSerializer,
    R: Record + StateValue + DefaultSerializer,
{
    pub(super) fn new(left: KeyedStream<'s, K, L>, right: KeyedStream<'s, K, R>) -> Self {
        let (bounds, late) = (Bounds { lower: 0, upper: 0 }, (None, None));
        Self { left, right, bounds, is_exclusive: (false, false), late }
    }

    /// The timestamp of the second record may be from `lower` to `upper` milliseconds larger than that of the first, which
    /// may be negative. Both ends belong to it. Default: both are equal.
    pub fn between_millis(mut self, lower: i64, upper: i64) -> Self {
        self.bounds = Bounds { lower, upper };
        self
    }

    /// The lower end does not belong to it.
    pub fn lower_exclusive(mut self) -> Self {
        self.is_exclusive.0 = true;
        self
    }

    /// The upper end does not belong to it.
    pub fn upper_exclusive(mut self) -> Self {
        self.is_exclusive.1 = true;
        self
    }

    /// Emits late records of the first stream to a side output. By default they are dropped.
    pub fn side_output_left_late_data(mut self, tag: &OutputTag<L>) -> Self {
        self.late.0 = Some(tag.clone());
        self
    }

    /// Emits late records of the second stream to a side output. By default they are dropped.
    pub fn side_output_right_late_data(mut self, tag: &OutputTag<R>) -> Self {
        self.late.1 = Some(tag.clone());
        self
    }

    /// Calls a function with the key and every pair, each record with its timestamp.
    pub fn process<O: Serialize + 'static>(
        self,
        uid: &str,
        function: impl FnMut(&K, (&L, i64), (&R, i64), &mut Collector<O>) -> Result<()> + 'static,
    ) -> DataStream<'s, O> {
        let Self { left, right, bounds, is_exclusive, late } = self;
        if bounds.lower > bounds.upper {
            let error = Error::program("an interval join needs a lower bound that is not above the upper one");
            left.fail(error.with("operator", uid).with("lower bound", bounds.lower).with("upper bound", bounds.upper));
        }
        // Nothing may be left of it: then there are no pairs, as in Flink.
        let bounds = Bounds {
            lower: bounds.lower.saturating_add(i64::from(is_exclusive.0)),
            upper: bounds.upper.saturating_sub(i64::from(is_exclusive.1)),
        };
        let (build, left) = left.into_parts();
        let (_, right) = right.into_parts();
        let open = |context: &OpenContext<'_, K>| {
            let left_late = late.0.map(|tag| context.side_output(&tag)).transpose()?;
            let right_late = late.1.map(|tag| context.side_output(&tag)).transpose()?;
            IntervalJoin::open(context, bounds, (left_late, right_late), function)
        };
        operate::<K, TaggedUnion<L, R>, O, _, _>(&build, uid, left.zip(right), open, |inputs, mailbox, parts| {
            keyed_pair(inputs, mailbox, parts)
        })
    }
}

impl<K: 'static, L: 'static, R: 'static> std::fmt::Debug for IntervalJoined<'_, K, L, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IntervalJoined").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}
