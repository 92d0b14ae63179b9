//! The edges between operators, with credit: how many bytes one sender has under way to one receiver, so that a sender
//! knows when there is no room. Timely's channels have no bound of their own.
//!
//! Every sender has a window of its own at every receiver, and gets it back as the receiver processes what it sent.
//! Records of a later epoch, which wait at a receiver for a barrier, fill the windows of those who sent them and no
//! other: whoever still has records of the epoch before finds room for them. That is why waiting never goes in a circle.

mod batch;
mod credit;
mod pact;

use std::rc::Rc;

use timely::dataflow::{Scope, Stream};

pub(crate) use self::batch::Batch;
pub(crate) use self::credit::{Inlet, Outlet};
use self::pact::{Exchanged, Local};
use crate::runtime::time::Time;

/// The stream of an operator's results on one worker, and whether there is room for more of them.
pub(crate) struct Batches<'s, T> {
    stream: Stream<'s, Time, Batch<T>>,
    outlet: Rc<Outlet>,
}

impl<'s, T: 'static> Batches<'s, T> {
    pub(in crate::operator) fn new(stream: Stream<'s, Time, Batch<T>>, outlet: Rc<Outlet>) -> Self {
        Self { stream, outlet }
    }

    pub(in crate::operator) fn scope(&self) -> Scope<'s, Time> {
        self.stream.scope()
    }

    /// The stream alone, of what takes no room.
    pub(in crate::operator) fn into_stream(self) -> Stream<'s, Time, Batch<T>> {
        self.stream
    }

    /// The stream, the contract by which an operator on the same worker reads it, and the operator's side of the credit.
    pub(in crate::operator) fn local(self) -> (Stream<'s, Time, Batch<T>>, Local, Inlet) {
        let gate = self.outlet.add_gate();
        (self.stream, Local::new(&gate), Inlet::new(gate))
    }

    /// The same for an operator whose records are at the worker that `owner` names.
    pub(in crate::operator) fn exchanged<F>(self, owner: F) -> (Stream<'s, Time, Batch<T>>, Exchanged<F>, Inlet) {
        let gate = self.outlet.add_gate();
        let inlet = Inlet::new(Rc::clone(&gate));
        (self.stream, Exchanged::new(gate, inlet.back(), owner), inlet)
    }
}

impl<T: Clone + 'static> Clone for Batches<'_, T> {
    fn clone(&self) -> Self {
        Self { stream: self.stream.clone(), outlet: Rc::clone(&self.outlet) }
    }
}
