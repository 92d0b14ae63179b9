//! The window operator (Flink's `WindowOperator`, and with an evictor its `EvictingWindowOperator`).

use std::rc::Rc;

use highwater_state::KeyedBackend;
use highwater_types::{DefaultSerializer, Key, Result};
use serde::Serialize;

use super::context::{OpenWindow, WindowContext, WindowState};
use super::merging::MergingWindows;
use super::trigger::{AnyTrigger, SetWindow, TriggerContext, TriggerFunction, TriggerOpen, TriggerResult};
use super::{Contents, Window, WindowAssigner};
use crate::function::{OperatorTime, SideOutput, TimeDomain};
use crate::operator::KeyedOperator;
use crate::{Collector, OpenContext};

/// The timers of windows, as Flink calls them.
const WINDOW_TIMERS: &str = "window-timers";

/// What becomes of records that come when their window has ended.
pub(crate) struct Lateness<T> {
    /// For so many milliseconds they are still added.
    pub(crate) allowed: i64,
    /// Where they go after that.
    pub(crate) side: Option<SideOutput<T>>,
}

/// What a window operator is built from.
pub(crate) struct WindowParts<K, T, W, C, F> {
    pub(crate) assigner: Box<dyn WindowAssigner<T, Window = W>>,
    pub(crate) trigger: Box<dyn AnyTrigger<K, T, W>>,
    pub(crate) lateness: Lateness<T>,
    pub(crate) contents: C,
    pub(crate) function: F,
}

pub(crate) struct WindowOperator<K, T, W, C, F> {
    backend: Rc<KeyedBackend<K>>,
    time: OperatorTime<K, W>,
    windows: Windows<T, W, C, F>,
    /// Those of the record at hand.
    assigned: Vec<W>,
}

/// All but the time.
struct Windows<T, W, C, F> {
    assigner: Box<dyn WindowAssigner<T, Window = W>>,
    trigger: Box<dyn TriggerFunction<T, W>>,
    trigger_states: Vec<SetWindow<W>>,
    contents: C,
    function: F,
    function_states: Vec<WindowState<W>>,
    /// None if windows do not merge.
    merging: Option<MergingWindows<W>>,
    lateness: Lateness<T>,
    is_event_time: bool,
    dropped: u64,
}

impl<K: Key, T: Clone + 'static, W: Window, C: Contents<T, W>, F> WindowOperator<K, T, W, C, F> {
    pub(crate) fn open(
        open: &OpenContext<'_, K>,
        function_states: OpenWindow<'_, K, W>,
        parts: WindowParts<K, T, W, C, F>,
    ) -> Result<Self>
    where
        W: DefaultSerializer,
    {
        let WindowParts { assigner, trigger, lateness, contents, function } = parts;
        let backend = open.shared_backend();
        let timers = backend.timer_service(WINDOW_TIMERS, W::default_serializer())?;
        let of_trigger = TriggerOpen::new(backend);
        let trigger = trigger.open_any(&of_trigger)?;
        let merging = assigner.is_merging().then(|| MergingWindows::open(backend)).transpose()?;
        let windows = Windows {
            is_event_time: assigner.is_event_time(),
            assigner,
            trigger,
            trigger_states: of_trigger.into_states(),
            contents,
            function,
            function_states: function_states.into_states(),
            merging,
            lateness,
            dropped: 0,
        };
        let time = OperatorTime::new(backend, timers);
        Ok(Self { backend: Rc::clone(backend), time, windows, assigned: Vec::new() })
    }
}

impl<K, T, W, O, C, F> KeyedOperator<K, T, O> for WindowOperator<K, T, W, C, F>
where
    K: Key,
    T: Clone + Serialize + 'static,
    W: Window,
    O: 'static,
    C: Contents<T, W>,
    F: FnMut(&WindowContext<'_, K, W>, C::Out, &mut Collector<O>) -> Result<()> + 'static,
{
    fn process(&mut self, key: &K, record: T, timestamp: i64, out: &mut Collector<O>) -> Result<()> {
        let Self { time, windows, assigned, .. } = self;
        assigned.clear();
        // Most assigners do not ask for the time.
        let now = if windows.is_event_time { i64::MIN } else { time.now() };
        windows.assigner.assign_windows(&record, timestamp, now, assigned)?;
        let left = windows.add(key, time, assigned, (record, timestamp), out)?;
        let is_late = || timestamp.saturating_add(windows.lateness.allowed) <= time.watermark();
        if let Some(record) = left.filter(|_| windows.is_event_time && is_late()) {
            windows.late(record, timestamp);
        }
        Ok(())
    }

    fn advance(&mut self, watermark: i64, out: &mut Collector<O>) -> Result<()> {
        let Self { backend, time, windows, .. } = self;
        time.advance(watermark, out, |at, window, out| {
            backend.with_current_key(|key| windows.on_timer(key, time, (TimeDomain::EventTime, at), window, out))
        })
    }

    fn tick(&mut self, out: &mut Collector<O>) -> Result<()> {
        let Self { backend, time, windows, .. } = self;
        time.tick(out, |at, window, out| {
            backend.with_current_key(|key| windows.on_timer(key, time, (TimeDomain::ProcessingTime, at), window, out))
        })
    }

    fn next_tick(&self) -> Result<Option<i64>> {
        self.time.next_tick()
    }

    fn watermark(&self) -> Option<i64> {
        Some(self.time.watermark())
    }

    fn resume_at(&mut self, watermark: i64) {
        self.time.resume_at(watermark);
    }

    fn late_records_dropped(&self) -> u64 {
        self.windows.dropped
    }
}

impl<T: Clone + Serialize + 'static, W: Window, C: Contents<T, W>, F> Windows<T, W, C, F> {
    fn late(&mut self, record: T, timestamp: i64) {
        match &self.lateness.side {
            Some(side) => side.emit(record, timestamp),
            None => self.dropped += 1,
        }
    }

    /// Adds a record to its windows, but for those that are over. Returns it if none took it.
    fn add<K: Key, O>(
        &mut self,
        key: &K,
        time: &OperatorTime<K, W>,
        assigned: &[W],
        (record, timestamp): (T, i64),
        out: &mut Collector<O>,
    ) -> Result<Option<T>>
    where
        F: FnMut(&WindowContext<'_, K, W>, C::Out, &mut Collector<O>) -> Result<()>,
    {
        let (mut record, mut is_taken) = (Some(record), false);
        if let Some(merging) = &mut self.merging {
            merging.load()?;
        }
        for (assigned, behind) in assigned.iter().zip((0..assigned.len()).rev()) {
            let Some((window, state_window)) = self.enter(time, assigned)? else { continue };
            // Only those behind the first need a copy.
            let Some(added) = (if behind == 0 { record.take() } else { record.clone() }) else { break };
            is_taken = true;
            let context = TriggerContext::new(time, &window);
            self.set_trigger(&window)?;
            let result = self.trigger.on_element(&added, timestamp, &window, &context)?;
            self.contents.set_window(&state_window)?;
            self.contents.add(added, timestamp)?;
            self.carry_out(result, key, time, &window, out)?;
            self.register_cleanup(time, &window)?;
        }
        if let Some(merging) = &mut self.merging {
            merging.store()?;
        }
        Ok(record.filter(|_| !is_taken))
    }

    /// The window that a record is added to, and where its contents lie; none if it is over.
    fn enter<K: Key>(&mut self, time: &OperatorTime<K, W>, assigned: &W) -> Result<Option<(W, W)>> {
        let Some(merging) = &self.merging else {
            return Ok((!self.is_over(assigned, time)).then(|| (assigned.clone(), assigned.clone())));
        };
        let added = merging.plan(assigned.clone(), &*self.assigner);
        if self.is_over(&added.window, time) {
            return Ok(None);
        }
        if !added.merged.is_empty() {
            self.set_trigger(&added.window)?;
            let context = TriggerContext::new(time, &added.window);
            self.trigger.on_merge(&added.window, &added.merged, &context)?;
            for window in &added.merged {
                self.set_trigger(window)?;
                self.trigger.clear(window, &TriggerContext::new(time, window))?;
                self.delete_cleanup(time, window)?;
            }
            self.contents.merge(&added.state_window, &added.sources)?;
        }
        if let Some(merging) = &mut self.merging {
            merging.add(&added);
        }
        Ok(Some((added.window, added.state_window)))
    }

    /// A timer of a window is due.
    fn on_timer<K: Key, O>(
        &mut self,
        key: &K,
        time: &OperatorTime<K, W>,
        (domain, at): (TimeDomain, i64),
        window: &W,
        out: &mut Collector<O>,
    ) -> Result<()>
    where
        F: FnMut(&WindowContext<'_, K, W>, C::Out, &mut Collector<O>) -> Result<()>,
    {
        match &mut self.merging {
            None => self.contents.set_window(window)?,
            Some(merging) => {
                merging.load()?;
                // One that has become part of another has no say any more.
                let Some(state_window) = merging.state_window(window) else { return Ok(()) };
                self.contents.set_window(&state_window)?;
            }
        }
        self.set_trigger(window)?;
        let context = TriggerContext::new(time, window);
        let result = match domain {
            TimeDomain::EventTime => self.trigger.on_event_time(at, window, &context)?,
            TimeDomain::ProcessingTime => self.trigger.on_processing_time(at, window, &context)?,
        };
        self.carry_out(result, key, time, window, out)?;
        let is_own_time = self.is_event_time == (domain == TimeDomain::EventTime);
        if is_own_time && at >= self.cleanup_time(window) {
            self.clear(time, window)?;
        } else if is_own_time {
            // The allowed lateness may be another one than when the timers were registered.
            self.register_cleanup(time, window)?;
        }
        if let Some(merging) = &mut self.merging {
            merging.store()?;
        }
        Ok(())
    }

    /// Emits and drops what the trigger says. The contents looked at are those of the window.
    fn carry_out<K: Key, O>(
        &mut self,
        result: TriggerResult,
        key: &K,
        time: &OperatorTime<K, W>,
        window: &W,
        out: &mut Collector<O>,
    ) -> Result<()>
    where
        F: FnMut(&WindowContext<'_, K, W>, C::Out, &mut Collector<O>) -> Result<()>,
    {
        if result.is_fire()
            && let Some(contents) = self.contents.get(window)?
        {
            self.function_states.iter().try_for_each(|state| (state.set_window)(window))?;
            out.set_timestamp(window.max_timestamp());
            (self.function)(&WindowContext::new(key, window, time), contents, out)?;
            self.contents.emitted(window)?;
        }
        if result.is_purge() {
            self.contents.clear()?;
        }
        Ok(())
    }

    /// The window is over: nothing of it is left.
    fn clear<K: Key>(&mut self, time: &OperatorTime<K, W>, window: &W) -> Result<()> {
        self.contents.clear()?;
        self.trigger.clear(window, &TriggerContext::new(time, window))?;
        for state in &self.function_states {
            (state.set_window)(window)?;
            (state.clear)()?;
        }
        if let Some(merging) = &mut self.merging {
            merging.retire(window);
        }
        Ok(())
    }

    fn set_trigger(&self, window: &W) -> Result<()> {
        self.trigger_states.iter().try_for_each(|set_window| set_window(window))
    }

    fn is_over<K: Key>(&self, window: &W, time: &OperatorTime<K, W>) -> bool {
        self.is_event_time && self.cleanup_time(window) <= time.watermark()
    }

    fn cleanup_time(&self, window: &W) -> i64 {
        match self.is_event_time {
            true => window.max_timestamp().saturating_add(self.lateness.allowed),
            false => window.max_timestamp(),
        }
    }

    fn cleanup_domain(&self) -> TimeDomain {
        if self.is_event_time { TimeDomain::EventTime } else { TimeDomain::ProcessingTime }
    }

    /// The window that never ends is cleared by nobody.
    fn register_cleanup<K: Key>(&self, time: &OperatorTime<K, W>, window: &W) -> Result<()> {
        match window.max_timestamp() {
            i64::MAX => Ok(()),
            _ => time.register(self.cleanup_domain(), self.cleanup_time(window), window),
        }
    }

    fn delete_cleanup<K: Key>(&self, time: &OperatorTime<K, W>, window: &W) -> Result<()> {
        time.delete(self.cleanup_domain(), self.cleanup_time(window), window)
    }
}
