//! Windows that merge: which are there for a key, and under which window the contents of each lie (Flink's
//! `MergingWindowSet`).

use highwater_state::{KeyedBackend, ListState, ListStateDescriptor};
use highwater_types::{Key, Result};

use super::assigner::Merge;
use super::{Window, WindowAssigner};

/// The windows of the current key. A window that grows by merging keeps its contents where they are, under the *state
/// window*: one of those that it was made of.
pub(super) struct MergingWindows<W> {
    /// Window and state window.
    state: ListState<(W, W)>,
    windows: Vec<(W, W)>,
    is_changed: bool,
}

/// What adding a window has led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Added<W> {
    /// What has become of the window.
    pub(super) window: W,
    /// The windows that became part of it; none if there are none, or if it was part of one.
    pub(super) merged: Vec<W>,
    /// Where its contents lie, and what has to be merged into that.
    pub(super) state_window: W,
    pub(super) sources: Vec<W>,
}

impl<W: Window> MergingWindows<W> {
    pub(super) fn open<K: Key>(backend: &KeyedBackend<K>) -> Result<Self> {
        let state = backend.list_state(&ListStateDescriptor::new("merging-window-set"))?;
        Ok(Self { state, windows: Vec::new(), is_changed: false })
    }

    /// Reads the windows of the current key.
    pub(super) fn load(&mut self) -> Result<()> {
        self.windows = self.state.get()?;
        self.is_changed = false;
        Ok(())
    }

    /// Writes them back, if anything has changed.
    pub(super) fn store(&mut self) -> Result<()> {
        if std::mem::take(&mut self.is_changed) {
            self.state.update(std::mem::take(&mut self.windows))?;
        }
        Ok(())
    }

    /// Where the contents of a window lie; none if there is no such window any more.
    pub(super) fn state_window(&self, window: &W) -> Option<W> {
        self.windows.iter().find(|(of, _)| of == window).map(|(_, state_window)| state_window.clone())
    }

    /// What becomes of a window that is added. Nothing is changed yet.
    pub(super) fn plan<T: 'static>(&self, window: W, assigner: &dyn WindowAssigner<T, Window = W>) -> Added<W> {
        if let Some(state_window) = self.state_window(&window) {
            return Added { window, merged: Vec::new(), state_window, sources: Vec::new() };
        }
        let all = self.windows.iter().map(|(window, _)| window.clone()).chain([window.clone()]).collect();
        let merge = assigner.merge_windows(all).into_iter().find(|merge| merge.windows.contains(&window));
        let Some(Merge { into, windows }) = merge else {
            let state_window = window.clone();
            return Added { window, merged: Vec::new(), state_window, sources: Vec::new() };
        };
        let merged: Vec<W> = windows.into_iter().filter(|part| self.state_window(part).is_some()).collect();
        let mut state_windows = merged.iter().filter_map(|window| self.state_window(window));
        let state_window = state_windows.next().unwrap_or(window);
        let sources = state_windows.collect();
        // It was inside of the only one.
        let merged = if merged == [into.clone()] { Vec::new() } else { merged };
        Added { window: into, merged, state_window, sources }
    }

    /// Carries out what was planned.
    pub(super) fn add(&mut self, added: &Added<W>) {
        let entry = (added.window.clone(), added.state_window.clone());
        if !self.windows.contains(&entry) {
            self.windows.retain(|(window, _)| !added.merged.contains(window));
            self.windows.push(entry);
            self.is_changed = true;
        }
    }

    /// A window is gone.
    pub(super) fn retire(&mut self, window: &W) {
        self.windows.retain(|(of, _)| of != window);
        self.is_changed = true;
    }
}
