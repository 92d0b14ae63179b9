//! The contracts by which batches go from sender to receiver.

use std::cell::RefCell;
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use timely::communication::allocator::thread::{ThreadPuller, ThreadPusher};
use timely::communication::{Pull, Push};
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::ParallelizationContract;
use timely::dataflow::channels::pushers::Exchange;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::logging::TimelyLogger;
use timely::progress::Stamp;
use timely::worker::Worker;

use super::batch::Batch;
use super::credit::{Back, Gate};
use crate::runtime::time::Time;

/// What all windows of one edge add up to in a process, as long as there are not too many workers.
const EDGE_BYTES: usize = 16 * 1024 * 1024;
/// Bounds of a window.
const WINDOW_BYTES: std::ops::RangeInclusive<usize> = 64 * 1024..=4 * 1024 * 1024;
/// The same for an edge within a worker, over which nothing has to travel.
const LOCAL_BYTES: usize = 1024 * 1024;

/// The contract of an edge within a worker.
pub(in crate::operator) struct Local {
    gate: Rc<Gate>,
}

impl Local {
    pub(super) fn new(gate: &Rc<Gate>) -> Self {
        Self { gate: Rc::clone(gate) }
    }
}

impl<T: 'static> ParallelizationContract<Time, Batch<T>> for Local {
    type Pusher = Metered<ThreadPusher<Message<Time, Batch<T>>>>;
    type Puller = ThreadPuller<Message<Time, Batch<T>>>;

    fn connect(
        self,
        worker: &Worker,
        identifier: usize,
        address: Rc<[usize]>,
        _: Option<TimelyLogger>,
    ) -> (Self::Pusher, Self::Puller) {
        self.gate.open(1, (EDGE_BYTES / worker.peers()).clamp(*WINDOW_BYTES.start(), LOCAL_BYTES));
        let (pusher, puller) = worker.pipeline(identifier, address);
        (Metered { pusher, gate: self.gate, from: worker.index(), channel: 0, to: 0 }, puller)
    }
}

/// The contract of an edge on which every record goes to the worker that owns it.
pub(in crate::operator) struct Exchanged<F> {
    gate: Rc<Gate>,
    back: Rc<RefCell<Option<Back>>>,
    owner: F,
}

impl<F> Exchanged<F> {
    pub(super) fn new(gate: Rc<Gate>, back: Rc<RefCell<Option<Back>>>, owner: F) -> Self {
        Self { gate, back, owner }
    }
}

impl<T, F> ParallelizationContract<Time, Batch<T>> for Exchanged<F>
where
    T: Send + Serialize + DeserializeOwned + 'static,
    F: FnMut(&T) -> usize + 'static,
{
    type Pusher = Exchange<Time, Metered<Box<dyn Push<Message<Time, Batch<T>>>>>, ByOwner<T, F>>;
    type Puller = Box<dyn Pull<Message<Time, Batch<T>>>>;

    fn connect(
        self,
        worker: &Worker,
        identifier: usize,
        address: Rc<[usize]>,
        _: Option<TimelyLogger>,
    ) -> (Self::Pusher, Self::Puller) {
        let (from, workers) = (worker.index(), worker.peers());
        let window = (EDGE_BYTES / (workers * workers)).clamp(*WINDOW_BYTES.start(), *WINDOW_BYTES.end());
        self.gate.open(workers, window);
        let (pushers, messages) = worker.allocate(identifier, Rc::clone(&address));
        let meter = |(to, pusher)| Metered { pusher, gate: Rc::clone(&self.gate), from, channel: from, to };
        let pushers = pushers.into_iter().enumerate().map(meter).collect();
        let back = Back::new(from, window, worker.allocate(worker.new_identifier(), address));
        *self.back.borrow_mut() = Some(back);
        let buffers = (0..workers).map(|_| Batch::default()).collect();
        (Exchange::new(pushers, ByOwner { owner: self.owner, buffers }), messages)
    }
}

/// Deals the records of a batch out to their owners.
pub(in crate::operator) struct ByOwner<T, F> {
    owner: F,
    buffers: Vec<Batch<T>>,
}

impl<T, F: FnMut(&T) -> usize> Distributor<Batch<T>> for ByOwner<T, F> {
    fn partition<S: Clone, P: Push<Message<S, Batch<T>>>>(
        &mut self,
        batch: &mut Batch<T>,
        stamp: &Stamp<S>,
        pushers: &mut [P],
    ) {
        // A batch has one large record or many small ones, so that the average is good enough.
        let each = batch.weight / batch.records.len().max(1);
        let expected = batch.records.len() / self.buffers.len().max(1);
        for buffer in &mut self.buffers {
            buffer.records.reserve(expected);
        }
        if batch.stamps.is_empty() {
            for record in batch.records.drain(..) {
                if let Some(buffer) = self.buffers.get_mut((self.owner)(&record)) {
                    buffer.records.push(record);
                    buffer.weight += each;
                }
            }
        } else {
            for (record, stamp) in batch.records.drain(..).zip(batch.stamps.drain(..)) {
                if let Some(buffer) = self.buffers.get_mut((self.owner)(&record)) {
                    buffer.records.push(record);
                    buffer.stamps.push(stamp);
                    buffer.weight += each;
                }
            }
        }
        // A mark holds for every channel, behind what was sent on it before.
        if let Some(mark) = batch.mark.take() {
            self.buffers.iter_mut().for_each(|buffer| (buffer.mark, buffer.fan) = (Some(mark), 1));
        }
        batch.weight = 0;
        self.flush(stamp, pushers);
    }

    fn flush<S: Clone, P: Push<Message<S, Batch<T>>>>(&mut self, stamp: &Stamp<S>, pushers: &mut [P]) {
        for (buffer, pusher) in self.buffers.iter_mut().zip(pushers) {
            if !buffer.is_nothing() {
                Message::push_at(buffer, stamp.clone(), pusher);
                *buffer = Batch::default();
            }
        }
    }
}

/// Notes what a sender has under way to one receiver.
pub(in crate::operator) struct Metered<P> {
    pusher: P,
    gate: Rc<Gate>,
    from: usize,
    /// What the receiver knows the sender by.
    channel: usize,
    to: usize,
}

impl<T, P: Push<Message<Time, Batch<T>>>> Push<Message<Time, Batch<T>>> for Metered<P> {
    fn push(&mut self, message: &mut Option<Message<Time, Batch<T>>>) {
        if let Some(message) = message {
            message.from = self.from;
            message.data.from = self.channel;
            self.gate.sent(self.to, message.data.weight);
        }
        self.pusher.push(message);
    }
}
