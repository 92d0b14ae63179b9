//! What a window function is told.

use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;

use highwater_state::{
    ListState, ListStateDescriptor, MapKey, MapState, MapStateDescriptor, StateValue, ValueState, ValueStateDescriptor,
};
use highwater_types::{Error, Key, Result};
use serde::Serialize;

use super::Window;
use super::trigger::{SetWindow, WindowTime};
use crate::OpenContext;
use crate::function::SideOutput;

/// What a window function is told with the contents of a window (Flink's `ProcessWindowFunction.Context`).
pub struct WindowContext<'a, K, W> {
    key: &'a K,
    window: &'a W,
    time: &'a dyn WindowTime<W>,
}

impl<'a, K, W: Window> WindowContext<'a, K, W> {
    pub(super) fn new(key: &'a K, window: &'a W, time: &'a dyn WindowTime<W>) -> Self {
        Self { key, window, time }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &'a K {
        self.key
    }

    /// The window.
    #[must_use]
    pub fn window(&self) -> &'a W {
        self.window
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

    /// Emits to a side output, with the largest timestamp of the window.
    pub fn output<X: Serialize>(&self, side: &SideOutput<X>, record: X) {
        side.emit(record, self.window.max_timestamp());
    }
}

impl<K: fmt::Debug, W: fmt::Debug> fmt::Debug for WindowContext<'_, K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowContext").field("key", self.key).field("window", self.window).finish_non_exhaustive()
    }
}

/// What a window function is told when it opens. The states it gets from the [`OpenContext`] within are those of the key,
/// whatever the window (Flink's `globalState`); those of the methods here belong to one window (`windowState`), and are
/// cleared with it.
pub struct OpenWindow<'a, K, W> {
    open: &'a OpenContext<'a, K>,
    can_have_state: bool,
    states: RefCell<Vec<WindowState<W>>>,
}

/// A state of the program's that belongs to a window.
pub(super) struct WindowState<W> {
    pub(super) set_window: SetWindow<W>,
    pub(super) clear: Box<dyn Fn() -> Result<()>>,
}

impl<'a, K: Key, W: Window> OpenWindow<'a, K, W> {
    pub(crate) fn new(open: &'a OpenContext<'a, K>, is_merging: bool) -> Self {
        Self { open, can_have_state: !is_merging, states: RefCell::default() }
    }

    pub(super) fn into_states(self) -> Vec<WindowState<W>> {
        self.states.into_inner()
    }

    /// One value per key and window.
    ///
    /// # Errors
    /// `Program` where windows merge, here and below; as [`OpenContext::value_state`].
    pub fn window_value_state<V: StateValue>(&self, descriptor: &ValueStateDescriptor<V>) -> Result<ValueState<V, W>> {
        let state = self.open.backend().value_state_in(W::default_serializer(), descriptor)?;
        let (of_window, cleared) = (state.clone(), state.clone());
        self.add(move |window| of_window.set_namespace(window.clone()), move || cleared.clear())?;
        Ok(state)
    }

    /// A list per key and window.
    pub fn window_list_state<V: StateValue>(&self, descriptor: &ListStateDescriptor<V>) -> Result<ListState<V, W>> {
        let state = self.open.backend().list_state_in(W::default_serializer(), descriptor)?;
        let (of_window, cleared) = (state.clone(), state.clone());
        self.add(move |window| of_window.set_namespace(window.clone()), move || cleared.clear())?;
        Ok(state)
    }

    /// A map per key and window.
    pub fn window_map_state<UK: MapKey, UV: StateValue>(
        &self,
        descriptor: &MapStateDescriptor<UK, UV>,
    ) -> Result<MapState<UK, UV, W>> {
        let state = self.open.backend().map_state_in(W::default_serializer(), descriptor)?;
        let (of_window, cleared) = (state.clone(), state.clone());
        self.add(move |window| of_window.set_namespace(window.clone()), move || cleared.clear())?;
        Ok(state)
    }

    fn add(
        &self,
        set_window: impl Fn(&W) -> Result<()> + 'static,
        clear: impl Fn() -> Result<()> + 'static,
    ) -> Result<()> {
        if !self.can_have_state {
            return Err(Error::program(
                "windows that merge have no state of their own: keep it for the key, whatever the window",
            ));
        }
        self.states.borrow_mut().push(WindowState { set_window: Box::new(set_window), clear: Box::new(clear) });
        Ok(())
    }
}

impl<'a, K, W> Deref for OpenWindow<'a, K, W> {
    type Target = OpenContext<'a, K>;

    fn deref(&self) -> &Self::Target {
        self.open
    }
}

impl<K, W> fmt::Debug for OpenWindow<'_, K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenWindow").field("open", &self.open).finish_non_exhaustive()
    }
}
