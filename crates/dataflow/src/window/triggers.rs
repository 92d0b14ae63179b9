//! Flink's triggers.

use std::rc::Rc;
use std::time::Duration;

use highwater_state::{ReducingState, ReducingStateDescriptor, StateValue, ValueState, ValueStateDescriptor};
use highwater_types::{DefaultSerializer, Key, Result};

use super::Window;
use super::trigger::{Trigger, TriggerContext, TriggerFunction, TriggerOpen, TriggerResult};
use TriggerResult::{Continue, Fire, FireAndPurge};

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Fires when the watermark passes the end of the window, and with every record that comes later but not too late. The
/// default of windows by event time.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventTimeTrigger;

impl<T, W: Window> Trigger<T, W> for EventTimeTrigger {
    type Opened = Self;

    fn open<K: Key>(&self, _: &TriggerOpen<'_, K, W>) -> Result<Self> {
        Ok(*self)
    }

    fn can_merge(&self) -> bool {
        true
    }
}

impl<T, W: Window> TriggerFunction<T, W> for EventTimeTrigger {
    fn on_element(&mut self, _: &T, _: i64, window: &W, context: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        let end = window.max_timestamp();
        if end <= context.current_watermark() {
            return Ok(Fire);
        }
        context.register_event_time(end)?;
        Ok(Continue)
    }

    fn on_event_time(&mut self, time: i64, window: &W, _: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        Ok(if time == window.max_timestamp() { Fire } else { Continue })
    }

    fn on_processing_time(&mut self, _: i64, _: &W, _: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        Ok(Continue)
    }

    fn on_merge(&mut self, window: &W, _: &[W], context: &TriggerContext<'_, W>) -> Result<()> {
        let end = window.max_timestamp();
        if end > context.current_watermark() { context.register_event_time(end) } else { Ok(()) }
    }

    fn clear(&mut self, window: &W, context: &TriggerContext<'_, W>) -> Result<()> {
        context.delete_event_time(window.max_timestamp())
    }
}

/// Fires when the clock passes the end of the window. The default of windows by processing time.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessingTimeTrigger;

impl<T, W: Window> Trigger<T, W> for ProcessingTimeTrigger {
    type Opened = Self;

    fn open<K: Key>(&self, _: &TriggerOpen<'_, K, W>) -> Result<Self> {
        Ok(*self)
    }

    fn can_merge(&self) -> bool {
        true
    }
}

impl<T, W: Window> TriggerFunction<T, W> for ProcessingTimeTrigger {
    fn on_element(&mut self, _: &T, _: i64, window: &W, context: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        context.register_processing_time(window.max_timestamp())?;
        Ok(Continue)
    }

    fn on_event_time(&mut self, _: i64, _: &W, _: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        Ok(Continue)
    }

    fn on_processing_time(&mut self, _: i64, _: &W, _: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        Ok(Fire)
    }

    fn on_merge(&mut self, window: &W, _: &[W], context: &TriggerContext<'_, W>) -> Result<()> {
        let end = window.max_timestamp();
        if end > context.current_processing_time() { context.register_processing_time(end) } else { Ok(()) }
    }

    fn clear(&mut self, window: &W, context: &TriggerContext<'_, W>) -> Result<()> {
        context.delete_processing_time(window.max_timestamp())
    }
}

/// Fires with every so many records of a window. At the end of the window nothing is emitted: wrap or combine if it
/// should be.
#[derive(Clone, Copy, Debug)]
pub struct CountTrigger(i64);

impl CountTrigger {
    /// With every `count` records.
    #[must_use]
    pub fn of(count: u64) -> Self {
        Self(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

/// A [`CountTrigger`] at work.
#[derive(Debug)]
pub struct Counting<W> {
    most: i64,
    count: ReducingState<i64, W>,
}

impl<T, W: Window> Trigger<T, W> for CountTrigger {
    type Opened = Counting<W>;

    fn open<K: Key>(&self, open: &TriggerOpen<'_, K, W>) -> Result<Counting<W>> {
        let count = ReducingStateDescriptor::new("count", |count: &mut i64, more| *count = count.wrapping_add(more));
        Ok(Counting { most: self.0, count: open.reducing_state(&count)? })
    }

    fn can_merge(&self) -> bool {
        true
    }
}

impl<T, W: Window> TriggerFunction<T, W> for Counting<W> {
    fn on_element(&mut self, _: &T, _: i64, _: &W, _: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        self.count.add(1)?;
        if self.count.get()?.is_some_and(|count| count >= self.most) {
            self.count.clear()?;
            return Ok(Fire);
        }
        Ok(Continue)
    }

    fn on_event_time(&mut self, _: i64, _: &W, _: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        Ok(Continue)
    }

    fn on_processing_time(&mut self, _: i64, _: &W, _: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        Ok(Continue)
    }

    fn on_merge(&mut self, window: &W, merged: &[W], _: &TriggerContext<'_, W>) -> Result<()> {
        self.count.merge_namespaces(window.clone(), merged)
    }

    fn clear(&mut self, _: &W, _: &TriggerContext<'_, W>) -> Result<()> {
        self.count.clear()
    }
}

/// When the next of several firings of a window is due: the earliest of those that are asked for.
fn fire_time() -> ReducingStateDescriptor<i64> {
    ReducingStateDescriptor::new("fire-time", |time: &mut i64, other| *time = (*time).min(other))
}

/// The next multiple of the interval behind `time`, but not behind the end of the window.
fn next_multiple(time: i64, interval: i64, end: i64) -> i64 {
    time.div_euclid(interval)
        .checked_add(1)
        .and_then(|next| next.checked_mul(interval))
        .map_or(end, |next| next.min(end))
}

macro_rules! continuous {
    ($($(#[$doc:meta])* $name:ident, $opened:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name(i64);

        impl $name {
            /// With this interval, at least one millisecond.
            #[must_use]
            pub fn of(interval: Duration) -> Self {
                Self(millis(interval).max(1))
            }
        }

        impl<T, W: Window> Trigger<T, W> for $name {
            type Opened = $opened<W>;

            fn open<K: Key>(&self, open: &TriggerOpen<'_, K, W>) -> Result<$opened<W>> {
                Ok($opened { interval: self.0, fire_time: open.reducing_state(&fire_time())? })
            }

            fn can_merge(&self) -> bool {
                true
            }
        }

        /// The trigger at work.
        #[derive(Debug)]
        pub struct $opened<W> {
            interval: i64,
            fire_time: ReducingState<i64, W>,
        }
    )*};
}

continuous! {
    /// Fires again and again while event time passes, at multiples of an interval, and at the end of the window.
    ContinuousEventTimeTrigger, ContinuousEventTime;
    /// Fires again and again while time passes, at multiples of an interval, and at the end of the window.
    ContinuousProcessingTimeTrigger, ContinuousProcessingTime;
}

impl<W: Window> ContinuousEventTime<W> {
    fn arrange(&self, after: i64, window: &W, context: &TriggerContext<'_, W>) -> Result<()> {
        let next = next_multiple(after, self.interval, window.max_timestamp());
        self.fire_time.add(next)?;
        context.register_event_time(next)
    }
}

impl<T, W: Window> TriggerFunction<T, W> for ContinuousEventTime<W> {
    fn on_element(
        &mut self,
        _: &T,
        timestamp: i64,
        window: &W,
        context: &TriggerContext<'_, W>,
    ) -> Result<TriggerResult> {
        if window.max_timestamp() <= context.current_watermark() {
            return Ok(Fire);
        }
        context.register_event_time(window.max_timestamp())?;
        if self.fire_time.get()?.is_none() {
            self.arrange(timestamp, window, context)?;
        }
        Ok(Continue)
    }

    fn on_event_time(&mut self, time: i64, window: &W, context: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        if time == window.max_timestamp() {
            return Ok(Fire);
        }
        if self.fire_time.get()? != Some(time) {
            return Ok(Continue);
        }
        self.fire_time.clear()?;
        self.arrange(time, window, context)?;
        Ok(Fire)
    }

    fn on_processing_time(&mut self, _: i64, _: &W, _: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        Ok(Continue)
    }

    fn on_merge(&mut self, window: &W, merged: &[W], context: &TriggerContext<'_, W>) -> Result<()> {
        self.fire_time.merge_namespaces(window.clone(), merged)?;
        self.fire_time.get()?.map_or(Ok(()), |next| context.register_event_time(next))
    }

    fn clear(&mut self, _: &W, context: &TriggerContext<'_, W>) -> Result<()> {
        if let Some(time) = self.fire_time.get()? {
            context.delete_event_time(time)?;
            self.fire_time.clear()?;
        }
        Ok(())
    }
}

impl<W: Window> ContinuousProcessingTime<W> {
    fn arrange(&self, after: i64, window: &W, context: &TriggerContext<'_, W>) -> Result<()> {
        let next = next_multiple(after, self.interval, window.max_timestamp());
        self.fire_time.add(next)?;
        context.register_processing_time(next)
    }
}

impl<T, W: Window> TriggerFunction<T, W> for ContinuousProcessingTime<W> {
    fn on_element(&mut self, _: &T, _: i64, window: &W, context: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        if self.fire_time.get()?.is_none() {
            self.arrange(context.current_processing_time(), window, context)?;
        }
        Ok(Continue)
    }

    fn on_event_time(&mut self, _: i64, _: &W, _: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        Ok(Continue)
    }

    fn on_processing_time(&mut self, time: i64, window: &W, context: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        if time == window.max_timestamp() {
            return Ok(Fire);
        }
        if self.fire_time.get()? != Some(time) {
            return Ok(Continue);
        }
        self.fire_time.clear()?;
        self.arrange(time, window, context)?;
        Ok(Fire)
    }

    fn on_merge(&mut self, window: &W, merged: &[W], context: &TriggerContext<'_, W>) -> Result<()> {
        self.fire_time.merge_namespaces(window.clone(), merged)?;
        self.fire_time.get()?.map_or(Ok(()), |next| context.register_processing_time(next))
    }

    fn clear(&mut self, _: &W, context: &TriggerContext<'_, W>) -> Result<()> {
        if let Some(time) = self.fire_time.get()? {
            context.delete_processing_time(time)?;
            self.fire_time.clear()?;
        }
        Ok(())
    }
}

/// Drops the contents of a window whenever another trigger fires.
#[derive(Clone, Copy, Debug)]
pub struct PurgingTrigger<R>(R);

impl<R> PurgingTrigger<R> {
    /// Does so with this trigger.
    #[must_use]
    pub fn of(trigger: R) -> Self {
        Self(trigger)
    }
}

impl<T, W: Window, R: Trigger<T, W>> Trigger<T, W> for PurgingTrigger<R> {
    type Opened = PurgingTrigger<R::Opened>;

    fn open<K: Key>(&self, open: &TriggerOpen<'_, K, W>) -> Result<Self::Opened> {
        self.0.open(open).map(PurgingTrigger)
    }

    fn can_merge(&self) -> bool {
        self.0.can_merge()
    }
}

fn purging(result: TriggerResult) -> TriggerResult {
    if result.is_fire() { FireAndPurge } else { result }
}

impl<T, W: Window, F: TriggerFunction<T, W>> TriggerFunction<T, W> for PurgingTrigger<F> {
    fn on_element(
        &mut self,
        record: &T,
        timestamp: i64,
        window: &W,
        context: &TriggerContext<'_, W>,
    ) -> Result<TriggerResult> {
        self.0.on_element(record, timestamp, window, context).map(purging)
    }

    fn on_event_time(&mut self, time: i64, window: &W, context: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        self.0.on_event_time(time, window, context).map(purging)
    }

    fn on_processing_time(&mut self, time: i64, window: &W, context: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        self.0.on_processing_time(time, window, context).map(purging)
    }

    fn on_merge(&mut self, window: &W, merged: &[W], context: &TriggerContext<'_, W>) -> Result<()> {
        self.0.on_merge(window, merged, context)
    }

    fn clear(&mut self, window: &W, context: &TriggerContext<'_, W>) -> Result<()> {
        self.0.clear(window, context)
    }
}

/// How far one record is from another.
type Delta<T> = Rc<dyn Fn(&T, &T) -> f64>;

/// Fires with a record that is further than a threshold from the one that fired last; the first record of a window counts
/// as that. Cannot be used where windows merge.
pub struct DeltaTrigger<T> {
    threshold: f64,
    delta: Delta<T>,
    last: Rc<dyn Fn() -> ValueStateDescriptor<T>>,
}

impl<T: StateValue + DefaultSerializer> DeltaTrigger<T> {
    /// `delta` is given the last record that fired and the new one.
    #[must_use]
    pub fn of(threshold: f64, delta: impl Fn(&T, &T) -> f64 + 'static) -> Self {
        Self { threshold, delta: Rc::new(delta), last: Rc::new(|| ValueStateDescriptor::new("last-element")) }
    }
}

/// A [`DeltaTrigger`] at work.
pub struct Deltas<T, W> {
    threshold: f64,
    delta: Delta<T>,
    last: ValueState<T, W>,
}

impl<T: StateValue, W: Window> Trigger<T, W> for DeltaTrigger<T> {
    type Opened = Deltas<T, W>;

    fn open<K: Key>(&self, open: &TriggerOpen<'_, K, W>) -> Result<Deltas<T, W>> {
        let last = open.value_state(&(self.last)())?;
        Ok(Deltas { threshold: self.threshold, delta: Rc::clone(&self.delta), last })
    }
}

impl<T: StateValue, W: Window> TriggerFunction<T, W> for Deltas<T, W> {
    fn on_element(&mut self, record: &T, _: i64, _: &W, _: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        let Some(last) = self.last.value()? else {
            self.last.update(record.clone())?;
            return Ok(Continue);
        };
        if (self.delta)(&last, record) > self.threshold {
            self.last.update(record.clone())?;
            return Ok(Fire);
        }
        Ok(Continue)
    }

    fn on_event_time(&mut self, _: i64, _: &W, _: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        Ok(Continue)
    }

    fn on_processing_time(&mut self, _: i64, _: &W, _: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        Ok(Continue)
    }

    fn clear(&mut self, _: &W, _: &TriggerContext<'_, W>) -> Result<()> {
        self.last.clear()
    }
}

impl<T> std::fmt::Debug for DeltaTrigger<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeltaTrigger").field("threshold", &self.threshold).finish_non_exhaustive()
    }
}

impl<T, W> std::fmt::Debug for Deltas<T, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deltas").field("threshold", &self.threshold).finish_non_exhaustive()
    }
}

/// Fires when another trigger does, or when that has not happened for a while by the clock. Cannot be used where windows
/// merge.
#[derive(Clone, Copy, Debug)]
pub struct ProcessingTimeoutTrigger<R> {
    trigger: R,
    timeout: i64,
    resets: bool,
    clears: bool,
}

impl<R> ProcessingTimeoutTrigger<R> {
    /// With this trigger and timeout, which runs from the first record on. When it fires, the other trigger begins anew.
    #[must_use]
    pub fn of(trigger: R, timeout: Duration) -> Self {
        Self { trigger, timeout: millis(timeout), resets: false, clears: true }
    }

    /// Lets every record begin the timeout anew.
    #[must_use]
    pub fn reset_on_record(mut self) -> Self {
        self.resets = true;
        self
    }

    /// Leaves the other trigger as it is when the timeout fires.
    #[must_use]
    pub fn keep_on_timeout(mut self) -> Self {
        self.clears = false;
        self
    }
}

/// A [`ProcessingTimeoutTrigger`] at work.
#[derive(Debug)]
pub struct Timeouts<F, W> {
    trigger: F,
    timeout: i64,
    resets: bool,
    clears: bool,
    due: ValueState<i64, W>,
}

impl<T, W: Window, R: Trigger<T, W>> Trigger<T, W> for ProcessingTimeoutTrigger<R> {
    type Opened = Timeouts<R::Opened, W>;

    fn open<K: Key>(&self, open: &TriggerOpen<'_, K, W>) -> Result<Self::Opened> {
        Ok(Timeouts {
            trigger: self.trigger.open(open)?,
            timeout: self.timeout,
            resets: self.resets,
            clears: self.clears,
            due: open.value_state(&ValueStateDescriptor::new("timeout"))?,
        })
    }
}

impl<F, W: Window> Timeouts<F, W> {
    fn cancel(&self, context: &TriggerContext<'_, W>) -> Result<()> {
        if let Some(due) = self.due.value()? {
            context.delete_processing_time(due)?;
            self.due.clear()?;
        }
        Ok(())
    }
}

impl<T, W: Window, F: TriggerFunction<T, W>> TriggerFunction<T, W> for Timeouts<F, W> {
    fn on_element(
        &mut self,
        record: &T,
        timestamp: i64,
        window: &W,
        context: &TriggerContext<'_, W>,
    ) -> Result<TriggerResult> {
        let result = self.trigger.on_element(record, timestamp, window, context)?;
        if result.is_fire() {
            TriggerFunction::<T, W>::clear(self, window, context)?;
            return Ok(result);
        }
        let due = context.current_processing_time().saturating_add(self.timeout);
        match self.due.value()? {
            Some(_) if !self.resets => {}
            Some(old) => {
                context.delete_processing_time(old)?;
                self.due.update(due)?;
                context.register_processing_time(due)?;
            }
            None => {
                self.due.update(due)?;
                context.register_processing_time(due)?;
            }
        }
        Ok(result)
    }

    fn on_event_time(&mut self, time: i64, window: &W, context: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        let result = self.trigger.on_event_time(time, window, context)?;
        Ok(if result.is_purge() { FireAndPurge } else { Fire })
    }

    fn on_processing_time(&mut self, time: i64, window: &W, context: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        let result = self.trigger.on_processing_time(time, window, context)?;
        if self.clears {
            TriggerFunction::<T, W>::clear(self, window, context)?;
        }
        Ok(if result.is_purge() { FireAndPurge } else { Fire })
    }

    fn clear(&mut self, window: &W, context: &TriggerContext<'_, W>) -> Result<()> {
        self.cancel(context)?;
        self.trigger.clear(window, context)
    }
}

/// Never fires. The default of [`GlobalWindows`](super::GlobalWindows).
#[derive(Clone, Copy, Debug, Default)]
pub struct NeverTrigger;

impl<T, W: Window> Trigger<T, W> for NeverTrigger {
    type Opened = Self;

    fn open<K: Key>(&self, _: &TriggerOpen<'_, K, W>) -> Result<Self> {
        Ok(*self)
    }

    fn can_merge(&self) -> bool {
        true
    }
}

impl<T, W: Window> TriggerFunction<T, W> for NeverTrigger {
    fn on_element(&mut self, _: &T, _: i64, _: &W, _: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        Ok(Continue)
    }

    fn on_event_time(&mut self, _: i64, _: &W, _: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        Ok(Continue)
    }

    fn on_processing_time(&mut self, _: i64, _: &W, _: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        Ok(Continue)
    }

    fn clear(&mut self, _: &W, _: &TriggerContext<'_, W>) -> Result<()> {
        Ok(())
    }
}

/// Fires when the input has ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndOfStreamTrigger;

impl<T, W: Window> Trigger<T, W> for EndOfStreamTrigger {
    type Opened = Self;

    fn open<K: Key>(&self, _: &TriggerOpen<'_, K, W>) -> Result<Self> {
        Ok(*self)
    }

    fn can_merge(&self) -> bool {
        true
    }
}

impl<T, W: Window> TriggerFunction<T, W> for EndOfStreamTrigger {
    fn on_element(&mut self, _: &T, _: i64, _: &W, context: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        context.register_event_time(i64::MAX)?;
        Ok(Continue)
    }

    fn on_event_time(&mut self, time: i64, _: &W, _: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        Ok(if time == i64::MAX { Fire } else { Continue })
    }

    fn on_processing_time(&mut self, _: i64, _: &W, _: &TriggerContext<'_, W>) -> Result<TriggerResult> {
        Ok(Continue)
    }

    fn on_merge(&mut self, _: &W, _: &[W], context: &TriggerContext<'_, W>) -> Result<()> {
        context.register_event_time(i64::MAX)
    }

    fn clear(&mut self, _: &W, context: &TriggerContext<'_, W>) -> Result<()> {
        context.delete_event_time(i64::MAX)
    }
}
