//! The control dataflow: a second dataflow in the same timely cluster that carries messages between the workers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::operator::{Operator, source};
use timely::scheduling::Activator;
use timely::worker::Worker;

use super::message::{Envelope, Message, Order, Report};

/// One worker's end of the control dataflow.
#[derive(Clone)]
pub(crate) struct Link {
    shared: Rc<Shared>,
    activator: Rc<Activator>,
}

#[derive(Default)]
struct Shared {
    outbox: RefCell<Vec<Envelope>>,
    reports: RefCell<Vec<Report>>,
    orders: RefCell<Vec<Order>>,
    is_closed: Cell<bool>,
    peers: Cell<u32>,
}

impl Link {
    /// Builds the control dataflow. Every worker has to, before its data dataflow.
    pub(crate) fn build(worker: &mut Worker) -> Self {
        let shared = Rc::new(Shared::default());
        shared.peers.set(worker.peers() as u32);
        let (outgoing, incoming) = (Rc::clone(&shared), Rc::clone(&shared));
        let activator = worker.dataflow::<u64, _, _>(move |scope| {
            let mut activator = None;
            let stream =
                source::<_, CapacityContainerBuilder<Vec<Envelope>>, _, _>(scope, "ControlOut", |capability, info| {
                    activator = Some(scope.activator_for(info.address));
                    // The time of control messages stands still: their order is all that matters.
                    let mut capability = Some(capability);
                    move |output| {
                        if let Some(capability) = &capability {
                            output.session(capability).give_iterator(outgoing.outbox.borrow_mut().drain(..));
                        }
                        if outgoing.is_closed.get() {
                            capability = None;
                        }
                    }
                });
            stream.sink(Exchange::new(|envelope: &Envelope| u64::from(envelope.to)), "ControlIn", move |(input, _)| {
                input.for_each(|_, envelopes| incoming.deliver(envelopes));
            });
            activator
        });
        let activator = activator.unwrap_or_else(|| worker.activator_for(Rc::from([])));
        Self { shared, activator: Rc::new(activator) }
    }

    /// Sends a message to the coordinator.
    pub(crate) fn report(&self, report: Report) {
        self.send(0, Message::Report(report));
    }

    /// Sends a message to all workers, this one included.
    pub(crate) fn order(&self, order: &Order) {
        (0..self.shared.peers.get()).for_each(|worker| self.send(worker, Message::Order(order.clone())));
    }

    fn send(&self, to: u32, message: Message) {
        self.shared.outbox.borrow_mut().push(Envelope { to, message });
        self.activator.activate();
    }

    /// Reports that have arrived since the last call.
    pub(crate) fn take_reports(&self) -> Vec<Report> {
        self.shared.reports.take()
    }

    /// Orders that have arrived since the last call.
    pub(crate) fn take_orders(&self) -> Vec<Order> {
        self.shared.orders.take()
    }

    /// Lets the dataflow end once all workers have closed their ends.
    pub(crate) fn close(&self) {
        self.shared.is_closed.set(true);
        self.activator.activate();
    }
}

impl Shared {
    fn deliver(&self, envelopes: &mut Vec<Envelope>) {
        for envelope in envelopes.drain(..) {
            match envelope.message {
                Message::Report(report) => self.reports.borrow_mut().push(report),
                Message::Order(order) => self.orders.borrow_mut().push(order),
            }
        }
    }
}
