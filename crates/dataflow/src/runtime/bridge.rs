//! The control plane between processes: a second dataflow in the same timely cluster.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crossbeam_channel::Receiver;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::operator::{Operator, source};
use timely::scheduling::Activator;
use timely::worker::Worker;

use super::control::{Hub, Orders, Port};
use super::message::{Envelope, Message, Order, Report};

/// What the first worker of a process sends on.
pub(crate) enum Outgoing {
    /// In the process of the coordinator.
    Orders(Receiver<(u32, Order)>),
    /// In the others.
    Reports(Hub),
}

/// One worker's end of the dataflow.
pub(crate) struct Bridge {
    shared: Rc<Shared>,
    outgoing: Option<Outgoing>,
    activator: Activator,
}

#[derive(Default)]
struct Shared {
    outbox: RefCell<Vec<Envelope>>,
    is_closed: Cell<bool>,
}

impl Bridge {
    /// Builds the dataflow. Every worker has to, before its data dataflow.
    pub(crate) fn build(
        worker: &mut Worker,
        outgoing: Option<Outgoing>,
        reports: Port<Report>,
        orders: Orders,
    ) -> Self {
        if let Some(Outgoing::Reports(hub)) = &outgoing {
            hub.register();
        }
        let shared = Rc::new(Shared::default());
        let sent = Rc::clone(&shared);
        let activator = worker.dataflow::<u64, _, _>(move |scope| {
            let mut activator = None;
            let stream =
                source::<_, CapacityContainerBuilder<Vec<Envelope>>, _, _>(scope, "ControlOut", |capability, info| {
                    activator = Some(scope.activator_for(info.address));
                    // The time of control messages stands still: their order is all that matters.
                    let mut capability = Some(capability);
                    move |output| {
                        if let Some(capability) = &capability {
                            output.session(capability).give_iterator(sent.outbox.borrow_mut().drain(..));
                        }
                        if sent.is_closed.get() {
                            capability = None;
                        }
                    }
                });
            stream.sink(Exchange::new(|envelope: &Envelope| u64::from(envelope.to)), "ControlIn", move |(input, _)| {
                input.for_each(|_, envelopes| {
                    for envelope in envelopes.drain(..) {
                        match envelope.message {
                            Message::Report(report) => reports.send(report),
                            Message::Order(order) => orders.send(envelope.to, order),
                        }
                    }
                });
            });
            activator
        });
        let activator = activator.unwrap_or_else(|| worker.activator_for(Rc::from([])));
        Self { shared, outgoing, activator }
    }

    /// Sends on what has come since the last call.
    pub(crate) fn step(&self) {
        let mut outbox = self.shared.outbox.borrow_mut();
        match &self.outgoing {
            Some(Outgoing::Orders(orders)) => {
                outbox.extend(orders.try_iter().map(|(to, order)| Envelope { to, message: Message::Order(order) }));
            }
            Some(Outgoing::Reports(hub)) => {
                let reports = std::iter::from_fn(|| hub.take_report());
                outbox.extend(reports.map(|report| Envelope { to: 0, message: Message::Report(report) }));
            }
            None => {}
        }
        if !outbox.is_empty() {
            self.activator.activate();
        }
    }

    /// Lets the dataflow end once all workers have closed their ends.
    pub(crate) fn close(&self) {
        self.step();
        self.shared.is_closed.set(true);
        self.activator.activate();
    }
}
