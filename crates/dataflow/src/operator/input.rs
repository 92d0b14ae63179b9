//! What every operator does with its input: it waits for barriers, lets records of later epochs wait, and keeps in order
//! what is due.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use timely::dataflow::operators::{Capability, InputCapability};

use super::edge::Batch;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::time::{self, Time};

/// What an operator has to do next.
pub(super) enum Due<T> {
    /// Process a batch; the results get its capability.
    Batch(Capability<Time>, Batch<T>),
    /// Take a checkpoint: everything before it has been processed.
    Checkpoint(u64),
}

/// The aligned input of one operator.
pub(super) struct AlignedInput<T> {
    mailbox: Rc<Mailbox>,
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
    pub(super) fn new(mailbox: &Rc<Mailbox>) -> Self {
        Self { mailbox: Rc::clone(mailbox), handled: 0, epoch: 0, due: VecDeque::new(), waiting: BTreeMap::new() }
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
            self.due.push_back(Due::Checkpoint(barrier.checkpoint));
        }
    }

    /// Adds a batch, which waits if its epoch has not begun.
    pub(super) fn add(&mut self, capability: &InputCapability<Time>, batch: &mut Batch<T>) {
        let Some(capability) = capability.retain_least(0) else { return };
        let epoch = time::epoch_of(*capability.time());
        let batch = Due::Batch(capability, std::mem::take(batch));
        match epoch <= self.epoch {
            true => self.due.push_back(batch),
            false => self.waiting.entry(epoch).or_default().push(batch),
        }
    }

    /// Whether a batch is to be processed next.
    pub(super) fn has_batch(&self) -> bool {
        matches!(self.due.front(), Some(Due::Batch(..)))
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
