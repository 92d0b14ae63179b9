//! A checkpoint that has begun and is neither complete nor given up, and the memory of those given up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::CheckpointKind;

/// How many given-up checkpoints are remembered for late acknowledgements.
const REMEMBERED: usize = 64;

/// A checkpoint under way.
#[derive(Debug)]
pub(super) struct Pending<T> {
    pub(super) attempt: u64,
    pub(super) kind: CheckpointKind,
    /// When it expires, unless all acknowledgements are there.
    pub(super) deadline: Duration,
    pub(super) acknowledgements: BTreeMap<u32, T>,
    /// Subtasks still to acknowledge.
    pub(super) missing: BTreeSet<u32>,
}

impl<T> Pending<T> {
    /// Whether every subtask has acknowledged.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.missing.is_empty()
    }
}

/// Which subtasks of given-up checkpoints may still acknowledge. State that comes late is deleted, but only once, and
/// never because of a message that might repeat one of a *complete* checkpoint.
#[derive(Debug, Default)]
pub(super) struct Aborted {
    missing: BTreeMap<u64, (u64, BTreeSet<u32>)>,
}

impl Aborted {
    pub(super) fn remember(&mut self, checkpoint: u64, attempt: u64, missing: BTreeSet<u32>) {
        if !missing.is_empty() {
            self.missing.insert(checkpoint, (attempt, missing));
        }
        // What is forgotten here is found by the clean-up of the next start.
        while self.missing.len() > REMEMBERED {
            self.missing.pop_first();
        }
    }

    /// Whether this is the first answer of the subtask to a checkpoint that was given up.
    pub(super) fn take(&mut self, checkpoint: u64, attempt: u64, subtask: u32) -> bool {
        let Some((of, missing)) = self.missing.get_mut(&checkpoint) else { return false };
        let first = *of == attempt && missing.remove(&subtask);
        if missing.is_empty() {
            self.missing.remove(&checkpoint);
        }
        first
    }
}
