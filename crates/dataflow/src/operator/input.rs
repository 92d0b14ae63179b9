//! What every operator does with its input: it waits for barriers, lets records of later epochs wait, and keeps in order
//! what is due.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use timely::dataflow::operators::InputCapability;

use super::capability::Capabilities;
use super::edge::Batch;
use crate::runtime::mailbox::{Barrier, Mailbox};
use crate::runtime::time::{self, Time};

/// What an operator has to do next.
pub(super) enum Due<T> {
    /// Process a batch of an input; the results get its capabilities.
    Batch(Capabilities, usize, Batch<T>),
    /// Take a checkpoint: everything before it has been processed.
    Checkpoint(Barrier),
}

/// The aligned input of one operator.
pub(super) struct AlignedInput<T> {
    mailbox: Rc<Mailbox>,
    /// Whether the operator has side outputs.
    has_notices: bool,
    /// The newest checkpoint whose barrier has been reached.
    handled: u64,
    /// Records up to this epoch may be processed.
    epoch: u64,
    /// In the order in which it has to be done. Capabilities keep the epochs open downstream.
    due: VecDeque<Due<T>>,
    /// Batches of later epochs in the order they came.
    waiting: BTreeMap<u64, Vec<Due<T>>>,
}

impl<T> AlignedInput<T> {
    pub(super) fn new(mailbox: &Rc<Mailbox>, has_notices: bool) -> Self {
        let (mailbox, due, waiting) = (Rc::clone(mailbox), VecDeque::new(), BTreeMap::new());
        Self { mailbox, has_notices, handled: 0, epoch: 0, due, waiting }
    }

    /// Takes note of how far the frontier has come. It may reach several barriers at once; what came between two of
    /// them belongs to the later checkpoint.
    pub(super) fn advance(&mut self, frontier: Option<Time>) {
        loop {
            let barrier = self.mailbox.next_barrier(self.handled).filter(|barrier| barrier.is_reached(frontier));
            self.epoch = match barrier {
                Some(barrier) => barrier.next_epoch - 1,
                None => frontier.map_or(time::LAST_EPOCH, time::epoch_of),
            };
            while let Some(epoch) = self.waiting.first_entry().filter(|first| *first.key() <= self.epoch) {
                self.due.extend(epoch.remove());
            }
            let Some(barrier) = barrier else { return };
            self.handled = barrier.checkpoint;
            self.due.push_back(Due::Checkpoint(barrier));
        }
    }

    /// Adds a batch, which waits if its epoch has not begun: its mark too has no effect before.
    pub(super) fn add(&mut self, capability: &InputCapability<Time>, port: usize, batch: Batch<T>) {
        let Some(capabilities) = Capabilities::retain(capability, self.has_notices) else { return };
        let epoch = time::epoch_of(capabilities.time());
        let batch = Due::Batch(capabilities, port, batch);
        match epoch <= self.epoch {
            true => self.due.push_back(batch),
            false => self.waiting.entry(epoch).or_default().push(batch),
        }
    }

    /// Whether a batch is to be processed next.
    pub(super) fn has_batch(&self) -> bool {
        matches!(self.due.front(), Some(Due::Batch(..)))
    }

    /// Whether nothing is to be done.
    pub(super) fn is_idle(&self) -> bool {
        self.due.is_empty()
    }

    /// What is to be done next.
    pub(super) fn next(&mut self) -> Option<Due<T>> {
        self.due.pop_front()
    }

    /// Forgets everything, capabilities too: the attempt is over.
    pub(super) fn clear(&mut self) {
        self.due.clear();
        self.waiting.clear();
    }
}
