//! The interval join (Flink's `IntervalJoinOperator`): records of two streams whose timestamps are close enough.

use highwater_state::{MapState, MapStateDescriptor, StateValue};
use highwater_types::{BufferEntry, DefaultSerializer, Error, Key, Result, TaggedUnion};
use serde::Serialize;

use super::KeyedOperator;
use crate::function::{OperatorTime, SideOutput, TimeDomain};
use crate::{Collector, OpenContext};

/// How far the timestamp of a second record may be from that of a first, in milliseconds; both ends belong to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) lower: i64,
    pub(crate) upper: i64,
}

/// Records by timestamp.
type Buffer<T> = MapState<i64, Vec<BufferEntry<T>>>;

/// Names of timers, as Flink has them.
const TIMERS: &str = "CLEANUP_TIMER";
const CLEANUP_LEFT: &str = "CLEANUP_LEFT";
const CLEANUP_RIGHT: &str = "CLEANUP_RIGHT";

pub(crate) struct IntervalJoin<K, L, R, F> {
    time: OperatorTime<K, String>,
    bounds: Bounds,
    left: Buffer<L>,
    right: Buffer<R>,
    /// Where late records go; they are dropped otherwise.
    late: (Option<SideOutput<L>>, Option<SideOutput<R>>),
    /// Gets a pair with its timestamps.
    function: F,
}

impl<K, L, R, F> IntervalJoin<K, L, R, F>
where
    K: Key,
    L: StateValue + DefaultSerializer,
    R: StateValue + DefaultSerializer,
{
    pub(crate) fn open(
        open: &OpenContext<'_, K>,
        bounds: Bounds,
        late: (Option<SideOutput<L>>, Option<SideOutput<R>>),
        function: F,
    ) -> Result<Self> {
        let backend = open.shared_backend();
        let timers = backend.timer_service(TIMERS, String::default_serializer())?;
        Ok(Self {
            time: OperatorTime::new(backend, timers),
            bounds,
            left: backend.map_state(&MapStateDescriptor::new("LEFT_BUFFER"))?,
            right: backend.map_state(&MapStateDescriptor::new("RIGHT_BUFFER"))?,
            late,
            function,
        })
    }

    /// Late is what is behind the watermark; what is level with it is not.
    fn is_late(&self, timestamp: i64) -> Result<bool> {
        if timestamp == i64::MIN {
            return Err(Error::program(
                "a record without a timestamp cannot be joined by time. Were timestamps assigned? Use \
                 `source_with_watermarks` or `assign_timestamps_and_watermarks`",
            ));
        }
        Ok(timestamp < self.time.watermark())
    }

    /// Keeps a record until nothing can match it any more.
    fn keep<T: StateValue>(&self, buffer: &Buffer<T>, record: T, timestamp: i64, cleanup: (i64, &str)) -> Result<()> {
        let entry = BufferEntry { element: record, has_been_joined: false };
        buffer.modify(timestamp, Vec::new, |entries| entries.push(entry))?;
        let (after, namespace) = cleanup;
        let at = timestamp.saturating_add(after.max(0));
        self.time.register(TimeDomain::EventTime, at, &namespace.to_owned())
    }
}

/// The records of a buffer with timestamps from `from` to `to`, by timestamp.
fn partners<T: StateValue>(buffer: &Buffer<T>, from: i64, to: i64) -> Result<Vec<(i64, T)>> {
    let mut partners = Vec::new();
    buffer.for_each(|timestamp, entries| {
        if (from..=to).contains(timestamp) {
            partners.extend(entries.iter().map(|entry| (*timestamp, entry.element.clone())));
        }
    })?;
    partners.sort_by_key(|(timestamp, _)| *timestamp);
    Ok(partners)
}

impl<K, L, R, O, F> KeyedOperator<K, TaggedUnion<L, R>, O> for IntervalJoin<K, L, R, F>
where
    K: Key,
    L: StateValue + DefaultSerializer + Serialize,
    R: StateValue + DefaultSerializer + Serialize,
    O: 'static,
    F: FnMut(&K, (&L, i64), (&R, i64), &mut Collector<O>) -> Result<()> + 'static,
{
    fn process(&mut self, key: &K, record: TaggedUnion<L, R>, timestamp: i64, out: &mut Collector<O>) -> Result<()> {
        let is_late = self.is_late(timestamp)?;
        let Bounds { lower, upper } = self.bounds;
        match record {
            TaggedUnion::One(left) if is_late => self.late.0.iter().for_each(|side| side.emit(left.clone(), timestamp)),
            TaggedUnion::Two(right) if is_late => {
                self.late.1.iter().for_each(|side| side.emit(right.clone(), timestamp));
            }
            TaggedUnion::One(left) => {
                self.keep(&self.left, left.clone(), timestamp, (upper, CLEANUP_LEFT))?;
                let (from, to) = (timestamp.saturating_add(lower), timestamp.saturating_add(upper));
                for (at, right) in partners(&self.right, from, to)? {
                    out.set_timestamp(timestamp.max(at));
                    (self.function)(key, (&left, timestamp), (&right, at), out)?;
                }
            }
            TaggedUnion::Two(right) => {
                self.keep(&self.right, right.clone(), timestamp, (lower.saturating_neg(), CLEANUP_RIGHT))?;
                let (from, to) = (timestamp.saturating_sub(upper), timestamp.saturating_sub(lower));
                for (at, left) in partners(&self.left, from, to)? {
                    out.set_timestamp(timestamp.max(at));
                    (self.function)(key, (&left, at), (&right, timestamp), out)?;
                }
            }
        }
        Ok(())
    }

    fn advance(&mut self, watermark: i64, out: &mut Collector<O>) -> Result<()> {
        let Self { time, left, right, bounds: Bounds { lower, upper }, .. } = self;
        time.advance(watermark, out, |at, namespace, _| match namespace.as_str() {
            CLEANUP_LEFT => left.remove(&at.saturating_sub((*upper).max(0))),
            _ => right.remove(&at.saturating_sub(lower.saturating_neg().max(0))),
        })
    }

    fn watermark(&self) -> Option<i64> {
        Some(self.time.watermark())
    }

    fn resume_at(&mut self, watermark: i64) {
        self.time.resume_at(watermark);
    }
}

impl<K, L, R, F> std::fmt::Debug for IntervalJoin<K, L, R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IntervalJoin").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}
