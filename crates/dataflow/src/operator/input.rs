//! What every operator with checkpointed state does with its input: it waits for barriers, and lets records of later
//! epochs wait.

use std::collections::BTreeMap;
use std::rc::Rc;

use timely::dataflow::operators::{Capability, InputCapability};

use crate::runtime::mailbox::{Barrier, Mailbox};
use crate::runtime::time::{self, Time};

/// The aligned input of one operator.
pub(super) struct AlignedInput<T> {
    mailbox: Rc<Mailbox>,
    /// The newest checkpoint this operator has taken.
    handled: u64,
    /// Records up to this epoch may be processed.
    epoch: u64,
    /// Whole batches of later epochs in the order they came. Their capabilities keep the epochs open downstream.
    waiting: BTreeMap<u64, Vec<(Capability<Time>, Vec<T>)>>,
}

impl<T> AlignedInput<T> {
    pub(super) fn new(mailbox: &Rc<Mailbox>) -> Self {
        Self { mailbox: Rc::clone(mailbox), handled: 0, epoch: 0, waiting: BTreeMap::new() }
    }

    /// The next checkpoint whose barrier this frontier has reached. Call until there is none, then
    /// [`advance`](Self::advance).
    pub(super) fn next_barrier(&mut self, frontier: Option<Time>) -> Option<Barrier> {
        let barrier = self.mailbox.next_barrier(self.handled).filter(|barrier| barrier.is_reached(frontier))?;
        self.handled = barrier.checkpoint;
        Some(barrier)
    }

    /// Opens the epoch of the frontier; all checkpoints before it have been taken. Returns the batches that waited.
    pub(super) fn advance(&mut self, frontier: Option<Time>) -> Vec<(Capability<Time>, Vec<T>)> {
        self.epoch = frontier.map_or(time::LAST_EPOCH, time::epoch_of);
        let mut ready = Vec::new();
        while let Some(epoch) = self.waiting.first_entry().filter(|first| *first.key() <= self.epoch) {
            ready.append(&mut epoch.remove());
        }
        ready
    }

    /// Keeps a batch back whose epoch has not begun. Returns whether it did.
    pub(super) fn hold_back(&mut self, capability: &InputCapability<Time>, batch: &mut Vec<T>) -> bool {
        let epoch = capability.least().map_or(0, |time| time::epoch_of(*time));
        if epoch <= self.epoch {
            return false;
        }
        if let Some(capability) = capability.retain_least(0) {
            self.waiting.entry(epoch).or_default().push((capability, std::mem::take(batch)));
        }
        true
    }

    /// Forgets everything, capabilities too: the attempt is over.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }
}
