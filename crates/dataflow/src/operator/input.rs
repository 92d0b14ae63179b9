//! What every operator with checkpointed state does with its input: it waits for barriers, and lets records of later
//! epochs wait.

use std::collections::BTreeMap;
use std::rc::Rc;

use timely::dataflow::operators::{Capability, InputCapability};

use crate::runtime::mailbox::Mailbox;
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

/// What an operator has to do before it reads its input.
pub(super) struct Due<T> {
    pub(super) batches: Vec<(Capability<Time>, Vec<T>)>,
    /// To be taken when the batches are processed.
    pub(super) checkpoint: Option<u64>,
}

impl<T> AlignedInput<T> {
    pub(super) fn new(mailbox: &Rc<Mailbox>) -> Self {
        Self { mailbox: Rc::clone(mailbox), handled: 0, epoch: 0, waiting: BTreeMap::new() }
    }

    /// What this frontier makes due: batches that waited, to be processed, and then a checkpoint to take. Call until
    /// there is no checkpoint. One at a time, because a frontier may reach several barriers at once, and what came
    /// between two of them belongs to the later checkpoint.
    pub(super) fn advance(&mut self, frontier: Option<Time>) -> Due<T> {
        let barrier = self.mailbox.next_barrier(self.handled).filter(|barrier| barrier.is_reached(frontier));
        self.epoch = match barrier {
            Some(barrier) => barrier.next_epoch - 1,
            None => frontier.map_or(time::LAST_EPOCH, time::epoch_of),
        };
        let mut batches = Vec::new();
        while let Some(epoch) = self.waiting.first_entry().filter(|first| *first.key() <= self.epoch) {
            batches.append(&mut epoch.remove());
        }
        self.handled = barrier.map_or(self.handled, |barrier| barrier.checkpoint);
        Due { batches, checkpoint: barrier.map(|barrier| barrier.checkpoint) }
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
