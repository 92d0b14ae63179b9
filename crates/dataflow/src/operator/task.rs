//! An operator at work: its input, its code on a fiber, and its results. One turn lasts until there is nothing to do, no
//! room for results, or its time is up.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater_types::Result;
use timely::container::NoopBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::ParallelizationContract;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::Operator;
use timely::scheduling::Activator;

use super::edge::{Batch, Batches, Inlet, Outlet};
use super::fiber::{Fiber, Signal};
use super::input::{AlignedInput, Due};
use crate::graph::Collector;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::time::{self, Time};
use crate::statistics::Meter;

/// What the code of an operator is told to do.
pub(super) enum Command<T> {
    /// Process these records. Between two of them it takes a breath ([`Collector::breathe`]).
    Process(Vec<T>),
    /// Freeze the state of a checkpoint.
    Checkpoint(u64),
    /// Look what has become of earlier checkpoints, and at the [`Alarm`].
    Review,
}

/// When the code of an operator wants to look again because of the time. Shared between the code and its task.
#[derive(Clone, Default)]
pub(super) struct Alarm(Rc<Cell<Option<Instant>>>);

impl Alarm {
    /// Rings at once.
    pub(super) fn now() -> Self {
        Self(Rc::new(Cell::new(Some(Instant::now()))))
    }

    /// Rings after this time, or never.
    pub(super) fn set(&self, pause: Option<Duration>) {
        self.0.set(pause.and_then(|pause| Instant::now().checked_add(pause)));
    }

    pub(super) fn is_due(&self) -> bool {
        self.0.get().is_some_and(|time| Instant::now() >= time)
    }
}

/// Builds an operator around its code.
pub(super) fn operator<'s, T, O, P>(
    stream: Stream<'s, Time, Batch<T>>,
    input: (P, Inlet),
    mailbox: &Rc<Mailbox>,
    uid: &Arc<str>,
    code: impl FnMut(Command<T>, &mut Collector<O>) -> Result<()> + 'static,
) -> Result<Batches<'s, O>>
where
    T: 'static,
    O: 'static,
    P: ParallelizationContract<Time, Batch<T>>,
{
    operator_with_alarm(stream, input, mailbox, uid, Alarm::default(), code)
}

/// Builds an operator whose code is also called because of the time.
pub(super) fn operator_with_alarm<'s, T, O, P>(
    stream: Stream<'s, Time, Batch<T>>,
    (pact, inlet): (P, Inlet),
    mailbox: &Rc<Mailbox>,
    uid: &Arc<str>,
    alarm: Alarm,
    code: impl FnMut(Command<T>, &mut Collector<O>) -> Result<()> + 'static,
) -> Result<Batches<'s, O>>
where
    T: 'static,
    O: 'static,
    P: ParallelizationContract<Time, Batch<T>>,
{
    let fiber = Fiber::new(Arc::clone(&mailbox.pace), code)?;
    let outlet = Rc::new(Outlet::default());
    let (scope, mailbox, name) = (stream.scope(), Rc::clone(mailbox), Arc::clone(uid));
    let of_task = Rc::clone(&outlet);
    let results = stream.unary_frontier::<NoopBuilder<Batch<O>>, _, _, _>(pact, &name, move |capability, info| {
        drop(capability);
        of_task.set_activator(scope.activator_for(Rc::clone(&info.address)));
        mailbox.add_activator(scope.activator_for(Rc::clone(&info.address)));
        let mut task = Task {
            input: AlignedInput::new(&mailbox),
            number: mailbox.pace.register(Arc::clone(uid)),
            meter: mailbox.meters.meter(uid, mailbox.worker),
            uid: Arc::clone(uid),
            activator: scope.activator_for(info.address),
            inlet,
            outlet: of_task,
            fiber,
            current: None,
            reviewed: 0,
            alarm,
            woken_at: None,
            mailbox,
        };
        move |(input, frontier), output| {
            task.inlet.receive();
            task.input.advance(time::least(frontier));
            input.for_each(|capability, batch| task.input.add(&capability, batch));
            task.run(&mut |capability, batch| output.session_with_builder(capability).give_container(batch));
        }
    });
    Ok(Batches::new(results, outlet))
}

struct Task<T, O: 'static> {
    mailbox: Rc<Mailbox>,
    uid: Arc<str>,
    /// Under which it takes its turns.
    number: usize,
    meter: Rc<Meter>,
    activator: Activator,
    input: AlignedInput<T>,
    inlet: Inlet,
    outlet: Rc<Outlet>,
    fiber: Fiber<Command<T>, O>,
    /// The batch that is being processed.
    current: Option<Current>,
    /// How much news of checkpoints the code has seen.
    reviewed: u64,
    alarm: Alarm,
    /// The alarm for which an activation is arranged.
    woken_at: Option<Instant>,
}

struct Current {
    capability: Capability<Time>,
    from: usize,
    weight: usize,
}

/// Takes results away.
type Send<'a, O> = dyn FnMut(&Capability<Time>, &mut Batch<O>) + 'a;

impl<T: 'static, O: 'static> Task<T, O> {
    fn run(&mut self, send: &mut Send<'_, O>) {
        let mailbox = Rc::clone(&self.mailbox);
        let turn = mailbox.pace.begin(self.number);
        let meter = Rc::clone(&self.meter);
        let _metered = meter.turn();
        while !mailbox.attempt.is_cancelled() {
            // A checkpoint has no results, and does not wait for those of others.
            if (self.fiber.is_busy() || self.input.has_batch()) && !self.outlet.has_room() {
                return meter.waits_for_room();
            }
            if !self.fiber.is_busy() {
                let Some(command) = self.next() else { return };
                self.fiber.begin(command);
            }
            match self.fiber.resume() {
                Signal::Chunk(records, weight) => {
                    meter.sent(records.len(), weight);
                    if let Some(current) = &self.current {
                        send(&current.capability, &mut Batch::new(records, weight));
                    }
                }
                Signal::Pause => {}
                Signal::Done => self.done(),
                Signal::Failed(error) => {
                    mailbox.attempt.fail(error.with("operator", &self.uid).with("subtask", mailbox.worker));
                }
            }
            if mailbox.pace.is_over() {
                return self.activator.activate();
            }
        }
        // The code is dropped within the turn: what its destructors do counts too.
        self.close();
        drop(turn);
    }

    fn next(&mut self) -> Option<Command<T>> {
        if self.reviewed < self.mailbox.news() || self.alarm.is_due() {
            self.reviewed = self.mailbox.news();
            return Some(Command::Review);
        }
        Some(match self.input.next()? {
            Due::Batch(capability, Batch { records, weight, from }) => {
                self.meter.received(records.len(), weight);
                self.current = Some(Current { capability, from, weight });
                Command::Process(records)
            }
            Due::Checkpoint(checkpoint) => Command::Checkpoint(checkpoint),
        })
    }

    /// A command is carried out.
    fn done(&mut self) {
        if let Some(Current { from, weight, .. }) = self.current.take() {
            self.inlet.processed(from, weight);
        }
        self.arrange_alarm();
    }

    fn arrange_alarm(&mut self) {
        if let Some(time) = self.alarm.0.get().filter(|time| self.woken_at != Some(*time)) {
            self.woken_at = Some(time);
            self.activator.activate_after(time.saturating_duration_since(Instant::now()));
        }
    }

    /// The attempt is over: nothing is called any more, and nothing kept.
    fn close(&mut self) {
        self.fiber.close();
        self.current = None;
        self.input.clear();
    }
}
