//! What a process function is told with a record or a timer.

use std::fmt;

use highwater_types::{Key, Result};
use serde::Serialize;

use super::side::SideOutput;
use super::time::{OperatorTime, TimeDomain, TimerRegistry};
use crate::Collector;

/// A function on a keyed stream, with timers (Flink's `KeyedProcessFunction`). One instance serves all keys of a subtask;
/// what it keeps for a key it keeps in state.
pub trait KeyedProcessFunction<K, T, O>: 'static {
    /// Handles a record. What is emitted has its timestamp.
    ///
    /// # Errors
    /// An error fails the attempt.
    fn process_element(&mut self, record: T, context: &Context<'_, K>, out: &mut Collector<O>) -> Result<()>;

    /// Handles a timer. What is emitted has the timer's time as its timestamp, if that is event time, else none.
    ///
    /// # Errors
    /// An error fails the attempt.
    fn on_timer(&mut self, context: &TimerContext<'_, K>, out: &mut Collector<O>) -> Result<()> {
        let _ = (context, out);
        Ok(())
    }
}

/// What a process function is told with a record, and what it can do (Flink's `KeyedProcessFunction.Context`).
pub struct Context<'a, K> {
    key: &'a K,
    timestamp: i64,
    time: &'a OperatorTime<K>,
}

impl<'a, K: Key> Context<'a, K> {
    pub(crate) fn new(key: &'a K, timestamp: i64, time: &'a OperatorTime<K>) -> Self {
        Self { key, timestamp, time }
    }

    /// The key of the record.
    #[must_use]
    pub fn key(&self) -> &'a K {
        self.key
    }

    /// The timestamp of the record, if it has one.
    #[must_use]
    pub fn timestamp(&self) -> Option<i64> {
        (self.timestamp > i64::MIN).then_some(self.timestamp)
    }

    /// How far event time has come: no more records with this timestamp or a smaller one are expected. `MIN` before
    /// anybody has said so.
    #[must_use]
    pub fn current_watermark(&self) -> i64 {
        self.time.watermark()
    }

    /// The clock, in milliseconds since 1970.
    #[must_use]
    pub fn current_processing_time(&self) -> i64 {
        self.time.now()
    }

    /// The timers of this key.
    #[must_use]
    pub fn timers(&self) -> TimerRegistry<'a, K> {
        TimerRegistry::new(self.time)
    }

    /// Emits to a side output, with the timestamp of the record.
    pub fn output<X: Serialize>(&self, side: &SideOutput<X>, record: X) {
        side.emit(record, self.timestamp);
    }
}

/// What a timer function is told (Flink's `KeyedProcessFunction.OnTimerContext`). It can do what a [`Context`] can.
pub struct TimerContext<'a, K> {
    context: Context<'a, K>,
    domain: TimeDomain,
}

impl<'a, K: Key> TimerContext<'a, K> {
    pub(crate) fn new(key: &'a K, timestamp: i64, domain: TimeDomain, time: &'a OperatorTime<K>) -> Self {
        Self { context: Context::new(key, timestamp, time), domain }
    }

    /// The time for which the timer was registered.
    #[must_use]
    pub fn time(&self) -> i64 {
        self.context.timestamp
    }

    /// What time it waited for.
    #[must_use]
    pub fn domain(&self) -> TimeDomain {
        self.domain
    }

    /// The key for which it was registered.
    #[must_use]
    pub fn key(&self) -> &'a K {
        self.context.key
    }

    /// As [`Context::current_watermark`]: that which made the timer due.
    #[must_use]
    pub fn current_watermark(&self) -> i64 {
        self.context.current_watermark()
    }

    /// As [`Context::current_processing_time`].
    #[must_use]
    pub fn current_processing_time(&self) -> i64 {
        self.context.current_processing_time()
    }

    /// The timers of this key.
    #[must_use]
    pub fn timers(&self) -> TimerRegistry<'a, K> {
        self.context.timers()
    }

    /// Emits to a side output, with the timer's time as timestamp.
    pub fn output<X: Serialize>(&self, side: &SideOutput<X>, record: X) {
        self.context.output(side, record);
    }
}

impl<K: fmt::Debug> fmt::Debug for Context<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("key", self.key).field("timestamp", &self.timestamp).finish_non_exhaustive()
    }
}

impl<K: fmt::Debug> fmt::Debug for TimerContext<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerContext")
            .field("key", self.context.key)
            .field("time", &self.context.timestamp)
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}
