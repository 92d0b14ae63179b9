//! Credit: what a sender has under way, and what it gets back.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::rc::{Rc, Weak};

use timely::bytes::arc::Bytes;
use timely::communication::{Bytesable, Pull, Push};
use timely::scheduling::Activator;

use super::batch::{PAIR, numbers, write_numbers};

/// Says to a sender that a receiver has processed this much of it.
pub(super) struct Credit {
    bytes: usize,
    receiver: usize,
}

impl Bytesable for Credit {
    fn from_bytes(bytes: Bytes) -> Self {
        let (bytes, receiver) = numbers(&bytes);
        Self { bytes, receiver }
    }

    fn length_in_bytes(&self) -> usize {
        PAIR
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        write_numbers(writer, self.bytes, self.receiver);
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
    pub(in crate::operator) fn set_activator(&self, activator: Activator) {
        *self.activator.borrow_mut() = Some(activator);
    }

    /// Whether there is room. If there is not, the operator is activated when there is.
    pub(in crate::operator) fn has_room(&self) -> bool {
        let has_room = self.gates.borrow().iter().all(|gate| gate.full.get() == 0);
        self.is_waiting.set(!has_room);
        has_room
    }

    pub(super) fn add_gate(self: &Rc<Self>) -> Rc<Gate> {
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
pub(super) struct Gate {
    outlet: Weak<Outlet>,
    /// Bytes by receiver.
    under_way: RefCell<Vec<usize>>,
    /// The window of each receiver.
    window: Cell<usize>,
    /// How many windows are full. A batch that is larger than a window goes when its window is not full.
    full: Cell<usize>,
}

impl Gate {
    pub(super) fn open(&self, receivers: usize, window: usize) {
        *self.under_way.borrow_mut() = vec![0; receivers];
        self.window.set(window);
    }

    pub(super) fn sent(&self, receiver: usize, bytes: usize) {
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
pub(super) struct Back {
    worker: usize,
    owed: Vec<usize>,
    /// Credit is sent when it has come to this much: less than a window, so that none stays full for want of it.
    least: usize,
    pushers: Vec<Box<dyn Push<Credit>>>,
    puller: Box<dyn Pull<Credit>>,
}

impl Inlet {
    pub(super) fn new(gate: Rc<Gate>) -> Self {
        Self { gate, back: Rc::default() }
    }

    /// Where the contract of the edge puts the way back.
    pub(super) fn back(&self) -> Rc<RefCell<Option<Back>>> {
        Rc::clone(&self.back)
    }

    /// How many senders there are.
    pub(in crate::operator) fn channels(&self) -> usize {
        self.back.borrow().as_ref().map_or(1, |back| back.owed.len())
    }

    /// Takes the credit that other workers have sent back to this worker's sender.
    pub(in crate::operator) fn receive(&self) {
        if let Some(back) = &mut *self.back.borrow_mut() {
            while let Some(credit) = back.puller.pull().take() {
                self.gate.processed(credit.receiver, credit.bytes);
            }
        }
    }

    /// A batch has been processed.
    pub(in crate::operator) fn processed(&self, from: usize, bytes: usize) {
        match &mut *self.back.borrow_mut() {
            None => self.gate.processed(0, bytes),
            Some(back) if back.worker == from => self.gate.processed(from, bytes),
            Some(back) => back.owe(from, bytes),
        }
    }
}

impl Back {
    /// The way back from this worker, for windows of this size.
    pub(super) fn new(
        worker: usize,
        window: usize,
        (pushers, puller): (Vec<Box<dyn Push<Credit>>>, Box<dyn Pull<Credit>>),
    ) -> Self {
        Self { worker, owed: vec![0; pushers.len()], least: window / 4, pushers, puller }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn outlet(receivers: usize) -> (Rc<Outlet>, Rc<Gate>) {
        let outlet = Rc::new(Outlet::default());
        let gate = outlet.add_gate();
        gate.open(receivers, 1_000);
        (outlet, gate)
    }

    #[test]
    fn a_full_window_at_any_receiver_of_any_edge_closes_the_outlet() {
        let (outlet, first) = outlet(2);
        let second = outlet.add_gate();
        second.open(1, 1_000);
        assert!(outlet.has_room());
        first.sent(1, 999);
        assert!(outlet.has_room());
        first.sent(1, 1);
        second.sent(0, 1_000);
        assert!(!outlet.has_room());
        first.processed(1, 1);
        assert!(!outlet.has_room(), "the other edge is full");
        second.processed(0, 1_000);
        assert!(outlet.has_room());
    }

    #[test]
    fn what_is_larger_than_a_window_goes_alone() {
        let (outlet, gate) = outlet(2);
        gate.sent(0, 64_000_000);
        assert!(!outlet.has_room());
        gate.processed(0, 64_000_000);
        assert!(outlet.has_room());
    }

    /// Collects credit as a sender in another process would get it.
    #[derive(Clone, Default)]
    struct Sent(Rc<RefCell<Vec<usize>>>);

    impl Push<Credit> for Sent {
        fn push(&mut self, credit: &mut Option<Credit>) {
            self.0.borrow_mut().extend(credit.take().map(|credit| credit.bytes));
        }
    }

    struct Nothing;

    impl Pull<Credit> for Nothing {
        fn pull(&mut self) -> &mut Option<Credit> {
            Box::leak(Box::new(None))
        }
    }

    /// Credit travels back in few messages, and yet no sender waits for what is left.
    #[test]
    fn a_sender_whose_records_are_all_processed_has_room() {
        let (outlet, gate) = outlet(1);
        let sent = Sent::default();
        let mut back = Back {
            worker: 1,
            owed: vec![0],
            least: 250,
            pushers: vec![Box::new(sent.clone())],
            puller: Box::new(Nothing),
        };
        for bytes in [1, 249, 100, 1_000, 3, 700, 40] {
            let mut under_way = Vec::new();
            while outlet.has_room() {
                gate.sent(0, bytes);
                under_way.push(bytes);
            }
            under_way.into_iter().for_each(|bytes| back.owe(0, bytes));
            sent.0.take().into_iter().for_each(|credit| gate.processed(0, credit));
            assert!(outlet.has_room(), "batches of {bytes} bytes");
        }
    }

    #[test]
    fn credit_survives_the_way_between_processes() {
        let credit = Credit { bytes: 64 << 20, receiver: 7 };
        let mut written = Vec::new();
        credit.into_bytes(&mut written);
        assert_eq!((written.len(), numbers(&written)), (credit.length_in_bytes(), (64 << 20, 7)));
    }
}
