//! The control plane of one attempt: reports go from workers to the coordinator, orders from the coordinator to single
//! workers, in order for each. In the process of the coordinator these are channels; every other process has a relay in
//! the coordinator's place, which passes both on ([`cluster`](crate::cluster)).

use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::message::{Order, Report};
use crate::cluster::protocol::Failure;

/// Wakes the thread that looks into a channel, once that thread runs. It looks before it parks for the first time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waker(Arc<OnceLock<Thread>>);

impl Waker {
    /// From now on the calling thread is woken.
    pub(crate) fn register(&self) {
        // The second time it would be the same thread.
        let _ = self.0.set(thread::current());
    }

    fn wake(&self) {
        if let Some(thread) = self.0.get() {
            thread.unpark();
        }
    }
}

/// The sending half of a channel whose receiver parks.
#[derive(Debug)]
pub(crate) struct Port<T> {
    sender: Sender<T>,
    waker: Waker,
}

impl<T> Port<T> {
    /// A port, and the other half for the thread that registers with the waker.
    pub(crate) fn new(waker: &Waker) -> (Self, Receiver<T>) {
        let (sender, receiver) = unbounded();
        (Self { sender, waker: waker.clone() }, receiver)
    }

    /// Sends and wakes. Nobody misses what comes after the receiver has left.
    pub(crate) fn send(&self, message: T) {
        let _ = self.sender.send(message);
        self.waker.wake();
    }
}

impl<T> Clone for Port<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), waker: self.waker.clone() }
    }
}

/// One worker's end.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    reports: Port<Report>,
    orders: Receiver<Order>,
    waker: Waker,
}

impl Link {
    /// From now on an order wakes the calling thread.
    pub(crate) fn register(&self) {
        self.waker.register();
    }

    /// Sends a message to the coordinator.
    pub(crate) fn report(&self, report: Report) {
        self.reports.send(report);
    }

    /// The next order that has arrived.
    pub(crate) fn take_order(&self) -> Option<Order> {
        self.orders.try_recv().ok()
    }
}

/// The coordinator's end, or that of the relay in its place.
pub(crate) struct Hub {
    reports: Receiver<Report>,
    waker: Waker,
    orders: Orders,
}

impl Hub {
    /// From now on a report wakes the calling thread.
    pub(crate) fn register(&self) {
        self.waker.register();
    }

    /// The next report that has arrived.
    pub(crate) fn take_report(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    pub(crate) fn orders(&self) -> &Orders {
        &self.orders
    }
}

/// The way to workers of other processes.
pub(crate) trait Elsewhere: Send + Sync {
    /// Sends an order to one worker.
    fn order(&self, worker: u32, order: Order);

    /// Tells the other processes that the attempt has failed.
    fn leave(&self, failure: Failure);
}

/// Ways to all workers.
#[derive(Clone)]
pub(crate) struct Orders {
    /// Index of the first worker of this process.
    first: u32,
    local: Vec<Port<Order>>,
    /// Only in the process of the coordinator.
    elsewhere: Option<Arc<dyn Elsewhere>>,
    /// Workers of all processes.
    workers: u32,
}

impl Orders {
    /// Sends an order to one worker.
    pub(crate) fn send(&self, worker: u32, order: Order) {
        let local = worker.checked_sub(self.first).and_then(|index| self.local.get(index as usize));
        match (local, &self.elsewhere) {
            (Some(port), _) => port.send(order),
            (None, Some(elsewhere)) => elsewhere.order(worker, order),
            (None, None) => tracing::error!(worker, "an order for a worker that nobody knows"),
        }
    }

    /// Sends an order to all workers.
    pub(crate) fn broadcast(&self, order: &Order) {
        (0..self.workers).for_each(|worker| self.send(worker, order.clone()));
    }

    /// Tells the other processes that the attempt has failed. Those of this process share it.
    pub(crate) fn leave(&self, failure: Failure) {
        if let Some(elsewhere) = &self.elsewhere {
            elsewhere.leave(failure);
        }
    }
}

/// Which workers there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workers {
    /// Index of the first worker of this process.
    pub(crate) first: u32,
    /// Workers of this process.
    pub(crate) local: u32,
    /// Workers of all processes.
    pub(crate) all: u32,
}

/// The ends of one attempt in this process: the hub, a way for reports that come from elsewhere, and the links of the
/// workers.
pub(crate) fn connect(workers: Workers, elsewhere: Option<Arc<dyn Elsewhere>>) -> (Hub, Port<Report>, Vec<Link>) {
    let waker = Waker::default();
    let (reports, receiver) = Port::new(&waker);
    let (local, links) = (0..workers.local)
        .map(|_| {
            let waker = Waker::default();
            let (port, orders) = Port::new(&waker);
            (port, Link { reports: reports.clone(), orders, waker })
        })
        .unzip();
    let orders = Orders { first: workers.first, local, elsewhere, workers: workers.all };
    (Hub { reports: receiver, waker, orders }, reports, links)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Noted(Sender<u32>);

    impl Elsewhere for Noted {
        fn order(&self, worker: u32, _: Order) {
            self.0.send(worker).unwrap();
        }

        fn leave(&self, _: Failure) {}
    }

    #[test]
    fn orders_reach_single_workers_here_and_elsewhere_in_order() {
        let (noted, elsewhere) = unbounded();
        let (hub, _, links) = connect(Workers { first: 2, local: 2, all: 6 }, Some(Arc::new(Noted(noted))));
        hub.orders().send(3, Order::Abort { checkpoint: 7 });
        hub.orders().send(5, Order::Abort { checkpoint: 8 });
        hub.orders().broadcast(&Order::Abort { checkpoint: 9 });
        let numbers = |link: &Link| {
            std::iter::from_fn(|| link.take_order())
                .map(|order| match order {
                    Order::Abort { checkpoint } => checkpoint,
                    _ => 0,
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(links.iter().map(numbers).collect::<Vec<_>>(), [vec![9], vec![7, 9]]);
        assert_eq!(elsewhere.try_iter().collect::<Vec<_>>(), [5, 0, 1, 4, 5]);
    }

    #[test]
    fn a_report_wakes_the_thread_that_waits_for_it() {
        let (hub, _, links) = connect(Workers { first: 0, local: 1, all: 1 }, None);
        let waiting = thread::spawn(move || {
            hub.register();
            loop {
                match hub.take_report() {
                    Some(Report::Ready { worker }) => return worker,
                    _ => thread::park(),
                }
            }
        });
        links.first().unwrap().report(Report::Ready { worker: 3 });
        assert_eq!(waiting.join().unwrap(), 3);
    }
}
