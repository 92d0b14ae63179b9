//! The time of one operator: its watermark, its clock, and its timers.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use highwater_state::{Clock, KeyedBackend, Namespace, TimerService, Timers};
use highwater_types::{Key, Result, VoidNamespace};

use crate::Collector;

/// What time a timer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeDomain {
    /// The time of the records: the watermark.
    EventTime,
    /// The clock of the machine.
    ProcessingTime,
}

/// Watermark, clock and timers of one operator subtask.
pub(crate) struct OperatorTime<K, N = VoidNamespace> {
    backend: Rc<KeyedBackend<K>>,
    timers: TimerService<K, N>,
    watermark: Cell<i64>,
    /// Whether the input has ended: the clock has no say any more.
    is_over: Cell<bool>,
}

impl<K: Key, N: Namespace> OperatorTime<K, N> {
    pub(crate) fn new(backend: &Rc<KeyedBackend<K>>, timers: TimerService<K, N>) -> Self {
        Self { backend: Rc::clone(backend), timers, watermark: Cell::new(i64::MIN), is_over: Cell::new(false) }
    }

    pub(crate) fn watermark(&self) -> i64 {
        self.watermark.get()
    }

    /// Goes on from a watermark of an earlier attempt, for which all timers have fired.
    pub(crate) fn resume_at(&self, watermark: i64) {
        self.watermark.set(watermark);
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock().now_millis()
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        self.backend.clock()
    }

    pub(crate) fn register(&self, domain: TimeDomain, timestamp: i64, namespace: &N) -> Result<()> {
        match domain {
            TimeDomain::EventTime => self.timers.event_time().register(timestamp, namespace),
            TimeDomain::ProcessingTime if self.is_over.get() => Ok(()),
            TimeDomain::ProcessingTime => self.timers.processing_time().register(timestamp, namespace),
        }
    }

    pub(crate) fn delete(&self, domain: TimeDomain, timestamp: i64, namespace: &N) -> Result<()> {
        match domain {
            TimeDomain::EventTime => self.timers.event_time().delete(timestamp, namespace),
            TimeDomain::ProcessingTime => self.timers.processing_time().delete(timestamp, namespace),
        }
    }

    /// Moves event time and calls `fire` for every timer that is due then, in the order of their time, with its key as
    /// the current key. What the calls register comes in its turn, if it is due too. Event time ends with the input.
    pub(crate) fn advance<O>(
        &self,
        watermark: i64,
        out: &mut Collector<O>,
        fire: impl FnMut(i64, &N, &mut Collector<O>) -> Result<()>,
    ) -> Result<()> {
        self.watermark.set(watermark);
        self.is_over.set(watermark == i64::MAX);
        self.fire(self.timers.event_time(), watermark, out, fire)
    }

    /// Calls `fire` for every timer that is due by the clock. A timer is due when its millisecond is over.
    pub(crate) fn tick<O>(
        &self,
        out: &mut Collector<O>,
        mut fire: impl FnMut(i64, &N, &mut Collector<O>) -> Result<()>,
    ) -> Result<()> {
        while !self.is_over.get() && self.timers.processing_time().next()?.is_some_and(|next| next < self.now()) {
            let until = self.now().saturating_sub(1);
            self.fire(self.timers.processing_time(), until, out, &mut fire)?;
        }
        Ok(())
    }

    fn fire<O>(
        &self,
        timers: &Timers<K, N>,
        until: i64,
        out: &mut Collector<O>,
        mut fire: impl FnMut(i64, &N, &mut Collector<O>) -> Result<()>,
    ) -> Result<()> {
        while let Some(timer) = timers.pop(until)? {
            self.backend.set_current_key(timer.key)?;
            fire(timer.timestamp, &timer.namespace, out)?;
            // However many are due, others have their turns.
            out.breathe()?;
        }
        self.backend.clear_current_key()
    }

    /// When the clock will make the next timer due.
    pub(crate) fn next_tick(&self) -> Result<Option<i64>> {
        match self.is_over.get() {
            true => Ok(None),
            false => Ok(self.timers.processing_time().next()?.map(|time| time.saturating_add(1))),
        }
    }
}

/// Registers and deletes timers of the current key (Flink's `TimerService`).
pub struct TimerRegistry<'a, K>(&'a OperatorTime<K>);

impl<'a, K: Key> TimerRegistry<'a, K> {
    pub(super) fn new(time: &'a OperatorTime<K>) -> Self {
        Self(time)
    }

    /// Calls the timer function when the watermark has reached `timestamp`. If it has already, that is with the next
    /// watermark.
    ///
    /// # Errors
    /// Whatever the state backend reports, here and below.
    pub fn register_event_time(&self, timestamp: i64) -> Result<()> {
        self.0.register(TimeDomain::EventTime, timestamp, &VoidNamespace)
    }

    /// Calls the timer function when the clock has passed `timestamp`. Once the input has ended nothing is registered,
    /// and what is still waiting is not called.
    pub fn register_processing_time(&self, timestamp: i64) -> Result<()> {
        self.0.register(TimeDomain::ProcessingTime, timestamp, &VoidNamespace)
    }

    /// Deletes a timer by event time. A missing one is nothing.
    pub fn delete_event_time(&self, timestamp: i64) -> Result<()> {
        self.0.delete(TimeDomain::EventTime, timestamp, &VoidNamespace)
    }

    /// Deletes a timer by processing time. A missing one is nothing.
    pub fn delete_processing_time(&self, timestamp: i64) -> Result<()> {
        self.0.delete(TimeDomain::ProcessingTime, timestamp, &VoidNamespace)
    }
}

impl<K> fmt::Debug for TimerRegistry<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerRegistry").finish_non_exhaustive()
    }
}
