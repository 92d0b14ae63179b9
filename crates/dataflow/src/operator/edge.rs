//! The edges between operators, with credit: how many bytes one sender has under way to one receiver, so that a sender
//! knows when there is no room. Timely's channels have no bound of their own.
//!
//! Every sender has a window of its own at every receiver, and gets it back as the receiver processes what it sent.
//! Records of a later epoch, which wait at a receiver for a barrier, fill the windows of those who sent them and no
//! other: whoever still has records of the epoch before finds room for them. That is why waiting never goes in a circle.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::rc::{Rc, Weak};

use serde::Serialize;
use serde::de::DeserializeOwned;
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::communication::allocator::thread::{ThreadPuller, ThreadPusher};
use timely::communication::{Bytesable, Pull, Push};
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::ParallelizationContract;
use timely::dataflow::channels::pushers::Exchange;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};
use timely::logging::TimelyLogger;
use timely::progress::Stamp;
use timely::scheduling::Activator;
use timely::worker::Worker;

use crate::runtime::time::Time;

/// What all windows of one edge add up to in a process, as long as there are not too many workers.
const EDGE_BYTES: usize = 16 * 1024 * 1024;
/// Bounds of a window.
const WINDOW_BYTES: std::ops::RangeInclusive<usize> = 64 * 1024..=4 * 1024 * 1024;
/// The same for an edge within a worker, over which nothing has to travel.
const LOCAL_BYTES: usize = 1024 * 1024;

/// Records on their way.
#[derive(Clone, Debug)]
pub(crate) struct Batch<T> {
    pub(crate) records: Vec<T>,
    /// About how many bytes of memory they take.
    pub(crate) weight: usize,
    /// The worker that sent them.
    pub(crate) from: usize,
}

impl<T> Batch<T> {
    pub(crate) fn new(records: Vec<T>, weight: usize) -> Self {
        Self { records, weight, from: 0 }
    }
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self::new(Vec::new(), 0)
    }
}

impl<T> Accountable for Batch<T> {
    fn record_count(&self) -> i64 {
        self.records.len() as i64
    }
}

/// Bytes of weight and sender before the records, in the form that another process reads.
const HEADER: usize = 16;

impl<T: Serialize + DeserializeOwned> ContainerBytes for Batch<T> {
    fn from_bytes(mut bytes: Bytes) -> Self {
        let header = bytes.extract_to(HEADER);
        let (weight, from) = numbers(&header);
        Self { records: Vec::from_bytes(bytes), weight, from }
    }

    fn length_in_bytes(&self) -> usize {
        HEADER + self.records.length_in_bytes()
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        write_numbers(writer, self.weight, self.from);
        self.records.into_bytes(writer);
    }
}

/// Says to a sender that a receiver has processed this much of it.
struct Credit {
    bytes: usize,
    receiver: usize,
}

impl Bytesable for Credit {
    fn from_bytes(bytes: Bytes) -> Self {
        let (bytes, receiver) = numbers(&bytes);
        Self { bytes, receiver }
    }

    fn length_in_bytes(&self) -> usize {
        HEADER
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        write_numbers(writer, self.bytes, self.receiver);
    }
}

fn numbers(bytes: &[u8]) -> (usize, usize) {
    let number = |chunk: Option<&[u8; 8]>| chunk.map_or(0, |chunk| u64::from_le_bytes(*chunk) as usize);
    let mut chunks = bytes.as_chunks::<8>().0.iter();
    (number(chunks.next()), number(chunks.next()))
}

fn write_numbers(writer: &mut impl Write, first: usize, second: usize) {
    for number in [first as u64, second as u64] {
        // Timely's writers are memory: they have no errors, and no way to report one.
        let _ = writer.write_all(&number.to_le_bytes());
    }
}

/// The stream of an operator's results on one worker, and whether there is room for more of them.
pub(crate) struct Batches<'s, T> {
    stream: Stream<'s, Time, Batch<T>>,
    outlet: Rc<Outlet>,
}

impl<'s, T: 'static> Batches<'s, T> {
    pub(super) fn new(stream: Stream<'s, Time, Batch<T>>, outlet: Rc<Outlet>) -> Self {
        Self { stream, outlet }
    }

    /// The stream alone, of what takes no room.
    pub(super) fn into_stream(self) -> Stream<'s, Time, Batch<T>> {
        self.stream
    }

    /// The stream, the contract by which an operator on the same worker reads it, and the operator's side of the credit.
    pub(super) fn local(self) -> (Stream<'s, Time, Batch<T>>, Local, Inlet) {
        let gate = self.outlet.add_gate();
        let inlet = Inlet { gate: Rc::clone(&gate), back: Rc::default() };
        (self.stream, Local { gate }, inlet)
    }

    /// The same for an operator whose records are at the worker that `owner` names.
    pub(super) fn exchanged<F>(self, owner: F) -> (Stream<'s, Time, Batch<T>>, Exchanged<F>, Inlet) {
        let gate = self.outlet.add_gate();
        let inlet = Inlet { gate: Rc::clone(&gate), back: Rc::default() };
        let pact = Exchanged { gate, back: Rc::clone(&inlet.back), owner };
        (self.stream, pact, inlet)
    }
}

impl<T: Clone + 'static> Clone for Batches<'_, T> {
    fn clone(&self) -> Self {
        Self { stream: self.stream.clone(), outlet: Rc::clone(&self.outlet) }
    }
}

/// The sending side of an operator: the gates of all that read its results.
#[derive(Default)]
pub(crate) struct Outlet {
    gates: RefCell<Vec<Rc<Gate>>>,
    activator: RefCell<Option<Activator>>,
    /// Whether the operator wants to run when there is room.
    is_waiting: Cell<bool>,
}

impl Outlet {
    /// Says whom to wake when there is room again.
    pub(super) fn set_activator(&self, activator: Activator) {
        *self.activator.borrow_mut() = Some(activator);
    }

    /// Whether there is room. If there is not, the operator is activated when there is.
    pub(super) fn has_room(&self) -> bool {
        let has_room = self.gates.borrow().iter().all(|gate| gate.full.get() == 0);
        self.is_waiting.set(!has_room);
        has_room
    }

    fn add_gate(self: &Rc<Self>) -> Rc<Gate> {
        let gate = Rc::new(Gate { outlet: Rc::downgrade(self), ..Gate::default() });
        self.gates.borrow_mut().push(Rc::clone(&gate));
        gate
    }

    fn opened(&self) {
        if self.is_waiting.get()
            && let Some(activator) = &*self.activator.borrow()
        {
            activator.activate();
        }
    }
}

/// What one sender has under way over one edge.
#[derive(Default)]
struct Gate {
    outlet: Weak<Outlet>,
    /// Bytes by receiver.
    under_way: RefCell<Vec<usize>>,
    /// The window of each receiver.
    window: Cell<usize>,
    /// How many windows are full. A batch that is larger than a window goes when its window is not full.
    full: Cell<usize>,
}

impl Gate {
    fn open(&self, receivers: usize, window: usize) {
        *self.under_way.borrow_mut() = vec![0; receivers];
        self.window.set(window);
    }

    fn sent(&self, receiver: usize, bytes: usize) {
        self.change(receiver, |under_way| under_way.saturating_add(bytes));
    }

    fn processed(&self, receiver: usize, bytes: usize) {
        self.change(receiver, |under_way| under_way.saturating_sub(bytes));
        if self.full.get() == 0
            && let Some(outlet) = self.outlet.upgrade()
        {
            outlet.opened();
        }
    }

    fn change(&self, receiver: usize, change: impl FnOnce(usize) -> usize) {
        if let Some(under_way) = self.under_way.borrow_mut().get_mut(receiver) {
            let was_full = usize::from(*under_way >= self.window.get());
            *under_way = change(*under_way);
            let is_full = usize::from(*under_way >= self.window.get());
            self.full.set(self.full.get() + is_full - was_full);
        }
    }
}

/// The receiving side of an operator: gives the senders back what they had under way.
pub(crate) struct Inlet {
    gate: Rc<Gate>,
    /// None within a worker.
    back: Rc<RefCell<Option<Back>>>,
}

/// The channels on which credit travels back, and what has not been sent yet, by sender.
struct Back {
    worker: usize,
    owed: Vec<usize>,
    /// Credit is sent when it has come to this much: less than a window, so that none stays full for want of it.
    least: usize,
    pushers: Vec<Box<dyn Push<Credit>>>,
    puller: Box<dyn Pull<Credit>>,
}

impl Inlet {
    /// Takes the credit that other workers have sent back to this worker's sender.
    pub(super) fn receive(&self) {
        if let Some(back) = &mut *self.back.borrow_mut() {
            while let Some(credit) = back.puller.pull().take() {
                self.gate.processed(credit.receiver, credit.bytes);
            }
        }
    }

    /// A batch has been processed.
    pub(super) fn processed(&self, from: usize, bytes: usize) {
        match &mut *self.back.borrow_mut() {
            None => self.gate.processed(0, bytes),
            Some(back) if back.worker == from => self.gate.processed(from, bytes),
            Some(back) => back.owe(from, bytes),
        }
    }
}

impl Back {
    fn owe(&mut self, to: usize, bytes: usize) {
        if let (Some(owed), Some(pusher)) = (self.owed.get_mut(to), self.pushers.get_mut(to)) {
            *owed += bytes;
            if *owed >= self.least {
                pusher.send(Credit { bytes: std::mem::take(owed), receiver: self.worker });
                pusher.done();
            }
        }
    }
}

/// The contract of an edge within a worker.
pub(super) struct Local {
    gate: Rc<Gate>,
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
        (Metered { pusher, gate: self.gate, from: worker.index(), to: 0 }, puller)
    }
}

/// The contract of an edge on which every record goes to the worker that owns it.
pub(super) struct Exchanged<F> {
    gate: Rc<Gate>,
    back: Rc<RefCell<Option<Back>>>,
    owner: F,
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
        let meter = |(to, pusher)| Metered { pusher, gate: Rc::clone(&self.gate), from, to };
        let pushers = pushers.into_iter().enumerate().map(meter).collect();
        let (back, puller) = worker.allocate(worker.new_identifier(), address);
        *self.back.borrow_mut() =
            Some(Back { worker: from, owed: vec![0; workers], least: window / 4, pushers: back, puller });
        let buffers = (0..workers).map(|_| Batch::default()).collect();
        (Exchange::new(pushers, ByOwner { owner: self.owner, buffers }), messages)
    }
}

/// Deals the records of a batch out to their owners.
pub(super) struct ByOwner<T, F> {
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
        for record in batch.records.drain(..) {
            if let Some(buffer) = self.buffers.get_mut((self.owner)(&record)) {
                buffer.records.push(record);
                buffer.weight += each;
            }
        }
        batch.weight = 0;
        self.flush(stamp, pushers);
    }

    fn flush<S: Clone, P: Push<Message<S, Batch<T>>>>(&mut self, stamp: &Stamp<S>, pushers: &mut [P]) {
        for (buffer, pusher) in self.buffers.iter_mut().zip(pushers) {
            if !buffer.records.is_empty() {
                Message::push_at(buffer, stamp.clone(), pusher);
                *buffer = Batch::default();
            }
        }
    }
}

/// Notes what a sender has under way to one receiver.
pub(super) struct Metered<P> {
    pusher: P,
    gate: Rc<Gate>,
    from: usize,
    to: usize,
}

impl<T, P: Push<Message<Time, Batch<T>>>> Push<Message<Time, Batch<T>>> for Metered<P> {
    fn push(&mut self, message: &mut Option<Message<Time, Batch<T>>>) {
        if let Some(message) = message {
            message.from = self.from;
            message.data.from = self.from;
            self.gate.sent(self.to, message.data.weight);
        }
        self.pusher.push(message);
    }
}
