//! When the contents of a window are emitted.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use highwater_state::{
    KeyedBackend, ReducingState, ReducingStateDescriptor, StateValue, ValueState, ValueStateDescriptor,
};
use highwater_types::{Key, Result};

use super::Window;
use crate::function::{OperatorTime, TimeDomain};

/// What a trigger wants done with a window (Flink's `TriggerResult`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerResult {
    /// Nothing.
    Continue,
    /// Its contents are emitted, and stay.
    Fire,
    /// Its contents are dropped.
    Purge,
    /// Its contents are emitted, and dropped.
    FireAndPurge,
}

impl TriggerResult {
    /// Whether the contents are emitted.
    #[must_use]
    pub fn is_fire(self) -> bool {
        matches!(self, Self::Fire | Self::FireAndPurge)
    }

    /// Whether the contents are dropped.
    #[must_use]
    pub fn is_purge(self) -> bool {
        matches!(self, Self::Purge | Self::FireAndPurge)
    }
}

/// Decides when the contents of a window are emitted (Flink's `Trigger`): what it is made of, from which every subtask
/// opens one of its own.
pub trait Trigger<T, W>: 'static {
    /// The trigger at work.
    type Opened: TriggerFunction<T, W>;

    /// Registers what it remembers for each window.
    ///
    /// # Errors
    /// Whatever registering a state reports.
    fn open<K: Key>(&self, open: &TriggerOpen<'_, K, W>) -> Result<Self::Opened>;

    /// Whether it can be used where windows merge: then [`TriggerFunction::on_merge`] does what is to be done. Default no.
    fn can_merge(&self) -> bool {
        false
    }
}

/// A trigger at work. Its states are those of the window that it is asked about.
///
/// # Errors
/// An error, of any of them, fails the attempt.
pub trait TriggerFunction<T, W>: 'static {
    /// A record is added to the window.
    #[allow(clippy::missing_errors_doc, reason = "see the trait")]
    fn on_element(
        &mut self,
        record: &T,
        timestamp: i64,
        window: &W,
        context: &TriggerContext<'_, W>,
    ) -> Result<TriggerResult>;

    /// A timer of event time is due.
    #[allow(clippy::missing_errors_doc, reason = "see the trait")]
    fn on_event_time(&mut self, time: i64, window: &W, context: &TriggerContext<'_, W>) -> Result<TriggerResult>;

    /// A timer of processing time is due.
    #[allow(clippy::missing_errors_doc, reason = "see the trait")]
    fn on_processing_time(&mut self, time: i64, window: &W, context: &TriggerContext<'_, W>) -> Result<TriggerResult>;

    /// Several windows have become `window`: merge what is remembered of them, and register what timers it needs. Those
    /// of the others are deleted by [`clear`](Self::clear), which is called for each of them afterwards.
    #[allow(clippy::missing_errors_doc, reason = "see the trait")]
    fn on_merge(&mut self, window: &W, merged: &[W], context: &TriggerContext<'_, W>) -> Result<()> {
        let _ = (window, merged, context);
        Ok(())
    }

    /// The window is gone: delete timers, clear states.
    #[allow(clippy::missing_errors_doc, reason = "see the trait")]
    fn clear(&mut self, window: &W, context: &TriggerContext<'_, W>) -> Result<()>;
}

/// Any trigger, for keys of this type.
pub(crate) trait AnyTrigger<K, T, W> {
    fn open_any(&self, open: &TriggerOpen<'_, K, W>) -> Result<Box<dyn TriggerFunction<T, W>>>;
    fn merges(&self) -> bool;
}

impl<K: Key, T, W, R: Trigger<T, W>> AnyTrigger<K, T, W> for R {
    fn open_any(&self, open: &TriggerOpen<'_, K, W>) -> Result<Box<dyn TriggerFunction<T, W>>> {
        Ok(Box::new(self.open(open)?))
    }

    fn merges(&self) -> bool {
        self.can_merge()
    }
}

/// Makes a state follow the window that is looked at.
pub(super) type SetWindow<W> = Box<dyn Fn(&W) -> Result<()>>;

/// Where a trigger gets its states.
pub struct TriggerOpen<'a, K, W> {
    backend: &'a Rc<KeyedBackend<K>>,
    states: RefCell<Vec<SetWindow<W>>>,
}

impl<'a, K: Key, W: Window> TriggerOpen<'a, K, W> {
    pub(super) fn new(backend: &'a Rc<KeyedBackend<K>>) -> Self {
        Self { backend, states: RefCell::default() }
    }

    pub(super) fn into_states(self) -> Vec<SetWindow<W>> {
        self.states.into_inner()
    }

    /// A value for each window. Its name must not be that of another state of the operator, `window-contents` among them.
    ///
    /// # Errors
    /// `Program` for a name that is used already, `Incompatible` if restored state of this name has another type.
    pub fn value_state<V: StateValue>(&self, descriptor: &ValueStateDescriptor<V>) -> Result<ValueState<V, W>> {
        let state = self.backend.value_state_in(W::default_serializer(), descriptor)?;
        let of_window = state.clone();
        self.states.borrow_mut().push(Box::new(move |window| of_window.set_namespace(window.clone())));
        Ok(state)
    }

    /// A value for each window into which every added value is folded. As [`value_state`](Self::value_state).
    ///
    /// # Errors
    /// As there.
    pub fn reducing_state<V: StateValue>(
        &self,
        descriptor: &ReducingStateDescriptor<V>,
    ) -> Result<ReducingState<V, W>> {
        let state = self.backend.reducing_state_in(W::default_serializer(), descriptor)?;
        let of_window = state.clone();
        self.states.borrow_mut().push(Box::new(move |window| of_window.set_namespace(window.clone())));
        Ok(state)
    }
}

impl<K, W> fmt::Debug for TriggerOpen<'_, K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TriggerOpen").finish_non_exhaustive()
    }
}

/// What time it is, and the timers of a window.
pub(super) trait WindowTime<W> {
    fn watermark(&self) -> i64;
    fn now(&self) -> i64;
    fn register(&self, domain: TimeDomain, time: i64, window: &W) -> Result<()>;
    fn delete(&self, domain: TimeDomain, time: i64, window: &W) -> Result<()>;
}

impl<K: Key, W: Window> WindowTime<W> for OperatorTime<K, W> {
    fn watermark(&self) -> i64 {
        self.watermark()
    }

    fn now(&self) -> i64 {
        self.now()
    }

    fn register(&self, domain: TimeDomain, time: i64, window: &W) -> Result<()> {
        self.register(domain, time, window)
    }

    fn delete(&self, domain: TimeDomain, time: i64, window: &W) -> Result<()> {
        self.delete(domain, time, window)
    }
}

/// What a trigger can do: look at the time, and set timers of the window it is asked about (Flink's `TriggerContext`).
pub struct TriggerContext<'a, W> {
    time: &'a dyn WindowTime<W>,
    window: &'a W,
}

impl<'a, W> TriggerContext<'a, W> {
    pub(super) fn new(time: &'a dyn WindowTime<W>, window: &'a W) -> Self {
        Self { time, window }
    }

    /// How far event time has come; `MIN` before anybody has said so.
    #[must_use]
    pub fn current_watermark(&self) -> i64 {
        self.time.watermark()
    }

    /// The clock, in milliseconds since 1970.
    #[must_use]
    pub fn current_processing_time(&self) -> i64 {
        self.time.now()
    }

    /// Calls [`TriggerFunction::on_event_time`] when the watermark has reached this.
    ///
    /// # Errors
    /// Whatever the state backend reports, here and below.
    pub fn register_event_time(&self, time: i64) -> Result<()> {
        self.time.register(TimeDomain::EventTime, time, self.window)
    }

    /// Calls [`TriggerFunction::on_processing_time`] when the clock has passed this.
    pub fn register_processing_time(&self, time: i64) -> Result<()> {
        self.time.register(TimeDomain::ProcessingTime, time, self.window)
    }

    /// Deletes a timer of event time. A missing one is nothing.
    pub fn delete_event_time(&self, time: i64) -> Result<()> {
        self.time.delete(TimeDomain::EventTime, time, self.window)
    }

    /// Deletes a timer of processing time. A missing one is nothing.
    pub fn delete_processing_time(&self, time: i64) -> Result<()> {
        self.time.delete(TimeDomain::ProcessingTime, time, self.window)
    }
}

impl<W: fmt::Debug> fmt::Debug for TriggerContext<'_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TriggerContext").field("window", self.window).finish_non_exhaustive()
    }
}
