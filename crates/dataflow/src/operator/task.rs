//! An operator at work: its input, its code on a fiber, and its results. One turn lasts until there is nothing to do, no
//! room for results, or its time is up.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater_types::{Error, Result};
use timely::container::NoopBuilder;
use timely::dataflow::channels::pact::ParallelizationContract;
use timely::dataflow::operators::generic::{OutputBuilder, builder_rc};
use timely::dataflow::operators::{Capability, InputCapability};
use timely::dataflow::{Scope, Stream};
use timely::scheduling::Activator;

use super::capability::Capabilities;
use super::edge::{Batch, Batches, Inlet, Outlet};
use super::event_time::EventTime;
use super::fiber::{Chunk, Fiber, Signal};
use super::input::{AlignedInput, Due};
use crate::function::SideOutputs;
use crate::graph::Collector;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::time::{self, Time};
use crate::statistics::Meter;
use crate::watermark::{Advance, Mark, Valve};

/// What the code of an operator is told to do.
pub(super) enum Command<T> {
    /// Process these records. Between two of them it takes a breath ([`Collector::breathe`]).
    Process(Records<T>),
    /// Event time has come further, or stands still from now on. Whoever has nothing to say of it passes it on.
    Mark(Advance),
    /// Freeze the state of a checkpoint.
    Checkpoint(u64),
    /// Look what has become of earlier checkpoints, and at the [`Alarm`].
    Review,
}

/// Records with their timestamps.
pub(super) struct Records<T> {
    records: Vec<T>,
    stamps: Vec<i64>,
}

impl<T> Records<T> {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether any of them has a timestamp.
    pub(super) fn are_stamped(&self) -> bool {
        !self.stamps.is_empty()
    }

    /// The records, and their timestamps: as many, or none.
    pub(super) fn into_parts(self) -> (Vec<T>, Vec<i64>) {
        (self.records, self.stamps)
    }

    /// The records alone.
    pub(super) fn into_records(self) -> Vec<T> {
        self.records
    }
}

impl<T> IntoIterator for Records<T> {
    type Item = (T, i64);
    type IntoIter = Stamped<T>;

    fn into_iter(self) -> Stamped<T> {
        Stamped { records: self.records.into_iter(), stamps: self.stamps.into_iter() }
    }
}

/// The records with their timestamps, `MIN` for none.
pub(super) struct Stamped<T> {
    records: std::vec::IntoIter<T>,
    stamps: std::vec::IntoIter<i64>,
}

impl<T> Iterator for Stamped<T> {
    type Item = (T, i64);

    #[inline]
    fn next(&mut self) -> Option<(T, i64)> {
        let record = self.records.next()?;
        Some((record, self.stamps.next().unwrap_or(i64::MIN)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.records.size_hint()
    }
}

impl<T> ExactSizeIterator for Stamped<T> {}

/// When the code of an operator wants to look again because of the time. Shared between the code and its task.
#[derive(Clone, Default)]
pub(super) struct Alarm(Rc<AlarmState>);

#[derive(Default)]
struct AlarmState {
    at: Cell<Option<Instant>>,
    emits: Cell<bool>,
}

impl Alarm {
    /// Rings at once.
    pub(super) fn now() -> Self {
        let alarm = Self::default();
        alarm.0.at.set(Some(Instant::now()));
        alarm
    }

    /// Rings after this time, or never.
    pub(super) fn set(&self, pause: Option<Duration>) {
        self.0.at.set(pause.and_then(|pause| Instant::now().checked_add(pause)));
    }

    /// Whether results may come of it: then the operator holds up the barriers behind it, no longer than its input does.
    pub(super) fn set_emits(&self, emits: bool) {
        self.0.emits.set(emits);
    }

    pub(super) fn is_due(&self) -> bool {
        self.0.at.get().is_some_and(|time| Instant::now() >= time)
    }
}

/// Builds an operator with one input around its code.
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

/// Builds an operator with one input whose code is also called because of the time.
pub(super) fn operator_with_alarm<'s, T, O, P>(
    stream: Stream<'s, Time, Batch<T>>,
    input: (P, Inlet),
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
    let mut builder = OperatorBuilder::new(stream.scope(), mailbox, uid);
    let channels = builder.add_input(stream, input, |records| records);
    builder.build(EventTime::One(Valve::new(channels)), alarm, None, code).map(|(results, _)| results)
}

/// An operator whose inputs are being added.
pub(super) struct OperatorBuilder<'s, T> {
    builder: builder_rc::OperatorBuilder<'s, Time>,
    scope: Scope<'s, Time>,
    mailbox: Rc<Mailbox>,
    uid: Arc<str>,
    inputs: Vec<Input<T>>,
}

/// One input of an operator.
struct Input<T> {
    /// Takes what has come.
    pull: Box<dyn FnMut(&mut Take<'_, T>)>,
    inlet: Inlet,
}

/// Takes a batch in.
type Take<'a, T> = dyn FnMut(&InputCapability<Time>, Batch<T>) + 'a;

impl<'s, T: 'static> OperatorBuilder<'s, T> {
    pub(super) fn new(scope: Scope<'s, Time>, mailbox: &Rc<Mailbox>, uid: &Arc<str>) -> Self {
        let builder = builder_rc::OperatorBuilder::new(uid.to_string(), scope);
        Self { builder, scope, mailbox: Rc::clone(mailbox), uid: Arc::clone(uid), inputs: Vec::new() }
    }

    /// Adds an input, whose records become those of the operator by `wrap`. Returns how many channels it has.
    pub(super) fn add_input<U, P>(
        &mut self,
        stream: Stream<'s, Time, Batch<U>>,
        (pact, inlet): (P, Inlet),
        wrap: impl Fn(Vec<U>) -> Vec<T> + 'static,
    ) -> usize
    where
        U: 'static,
        P: ParallelizationContract<Time, Batch<U>>,
    {
        let mut input = self.builder.new_input(stream, pact);
        let channels = inlet.channels();
        let pull = move |take: &mut Take<'_, T>| {
            input.for_each(|capability, batch| take(&capability, std::mem::take(batch).map(&wrap)));
        };
        self.inputs.push(Input { pull: Box::new(pull), inlet });
        channels
    }

    /// Ends the building. The second stream, there if there are side outputs, tells when they have something.
    pub(super) fn build<O: 'static>(
        mut self,
        event_time: EventTime,
        alarm: Alarm,
        sides: Option<Rc<SideOutputs>>,
        code: impl FnMut(Command<T>, &mut Collector<O>) -> Result<()> + 'static,
    ) -> Result<(Batches<'s, O>, Option<Batches<'s, ()>>)> {
        let fiber = Fiber::new(Arc::clone(&self.mailbox.pace), code)?;
        let (output, results) = self.builder.new_output();
        let mut output = OutputBuilder::<_, NoopBuilder<Batch<O>>>::from(output);
        let outlet = Rc::new(Outlet::default());
        let results = Batches::new(results, Rc::clone(&outlet));
        let mut notices = None;
        let sides = sides.map(|outputs| {
            let (output, stream) = self.builder.new_output();
            let outlet = Rc::new(Outlet::default());
            notices = Some(Batches::new(stream, Rc::clone(&outlet)));
            outputs.set_way_out(fiber.way_out());
            Sides { outputs, outlet, output: OutputBuilder::from(output) }
        });
        let info = self.builder.operator_info();
        let activator = || self.scope.activator_for(Rc::clone(&info.address));
        outlet.set_activator(activator());
        sides.iter().for_each(|sides| sides.outlet.set_activator(activator()));
        self.mailbox.add_activator(activator());
        let (mailbox, uid) = (self.mailbox, self.uid);
        let mut inputs = self.inputs;
        let mut task = Task {
            input: AlignedInput::new(&mailbox, sides.is_some()),
            number: mailbox.pace.register(Arc::clone(&uid)),
            meter: mailbox.meters.meter(&uid, mailbox.worker),
            uid,
            activator: self.scope.activator_for(Rc::clone(&info.address)),
            inlets: Vec::new(),
            event_time,
            outlet,
            sides,
            fiber,
            current: None,
            held: None,
            own: None,
            reviewed: 0,
            alarm,
            woken_at: None,
            mailbox,
        };
        self.builder.build(move |capabilities| {
            task.own = Capabilities::initial(capabilities).filter(|_| task.alarm.0.emits.get());
            let mut pulls = Vec::new();
            for Input { pull, inlet } in inputs.drain(..) {
                pulls.push(pull);
                task.inlets.push(inlet);
            }
            move |frontiers| {
                task.inlets.iter().for_each(Inlet::receive);
                let frontier = frontiers.iter().filter_map(time::least).min();
                task.input.advance(frontier);
                for (port, pull) in pulls.iter_mut().enumerate() {
                    pull(&mut |capability, batch| task.input.add(capability, port, batch));
                }
                let mut session = output.activate();
                let mut send = |capability: &_, batch: &mut _| {
                    session.session_with_builder(capability).give_container(batch);
                };
                task.run(&mut send);
                task.release(&mut send);
                task.keep_up(frontier);
            }
        });
        Ok((results, notices))
    }
}

/// The side outputs of an operator, which have no channels of their own: those who read them are told when there is
/// something, and take it.
struct Sides {
    outputs: Rc<SideOutputs>,
    outlet: Rc<Outlet>,
    output: OutputBuilder<Time, NoopBuilder<Batch<()>>>,
}

impl Sides {
    /// Sends what has been emitted, and a mark behind it.
    fn send(&mut self, capability: &Capability<Time>, mark: Option<Mark>, fan: usize) {
        let weight = self.outputs.seal();
        let records = if weight.is_some() { vec![()] } else { Vec::new() };
        let mut batch = Batch { records, weight: weight.unwrap_or(0), mark, fan, ..Batch::default() };
        if !batch.is_nothing() {
            self.output.activate().session_with_builder(capability).give_container(&mut batch);
        }
    }
}

struct Task<T, O: 'static> {
    mailbox: Rc<Mailbox>,
    uid: Arc<str>,
    /// Under which it takes its turns.
    number: usize,
    meter: Rc<Meter>,
    activator: Activator,
    input: AlignedInput<T>,
    /// By input.
    inlets: Vec<Inlet>,
    event_time: EventTime,
    outlet: Rc<Outlet>,
    sides: Option<Sides>,
    fiber: Fiber<Command<T>, O>,
    /// The batch that is being processed.
    current: Option<Current>,
    /// A mark that has not been sent yet: of several in a row those behind need only one.
    held: Option<(Capabilities, Mark)>,
    /// For what is emitted because of the time.
    own: Option<Capabilities>,
    /// How much news of checkpoints the code has seen.
    reviewed: u64,
    alarm: Alarm,
    /// The alarm for which an activation is arranged.
    woken_at: Option<Instant>,
}

struct Current {
    capabilities: Capabilities,
    /// Input and channel.
    port: usize,
    from: usize,
    weight: usize,
    /// What holds behind its records, until they are processed.
    mark: Option<Mark>,
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
            if (self.fiber.is_busy() || self.input.has_batch()) && !self.has_room() {
                return meter.waits_for_room();
            }
            if !self.fiber.is_busy() {
                let Some(command) = self.next() else { return };
                if matches!(command, Command::Checkpoint(_)) {
                    self.release(send);
                }
                self.fiber.begin(command);
            }
            let signal = self.fiber.resume();
            self.send_sides(send);
            match signal {
                Signal::Chunk(chunk) => self.send(chunk, send),
                Signal::Pause => {}
                Signal::Done => self.done(),
                Signal::Failed(error) => self.fail(error),
            }
            if mailbox.pace.is_over() {
                return self.activator.activate();
            }
        }
        // The code is dropped within the turn: what its destructors do counts too.
        self.close();
        drop(turn);
    }

    /// All outlets are asked, so that each wakes the operator.
    fn has_room(&self) -> bool {
        let sides = self.sides.as_ref().is_none_or(|sides| sides.outlet.has_room());
        self.outlet.has_room() && sides
    }

    fn next(&mut self) -> Option<Command<T>> {
        if self.reviewed < self.mailbox.news() || self.alarm.is_due() {
            self.reviewed = self.mailbox.news();
            return Some(Command::Review);
        }
        loop {
            match self.input.next()? {
                Due::Batch(capabilities, port, Batch { records, stamps, weight, from, mark, .. }) => {
                    self.meter.received(records.len(), weight);
                    self.current = Some(Current { capabilities, port, from, weight, mark });
                    if !records.is_empty() {
                        return Some(Command::Process(Records { records, stamps }));
                    }
                    if let Some(command) = self.take_mark() {
                        return Some(command);
                    }
                    self.finish();
                }
                Due::Checkpoint(barrier) => {
                    if let Some(own) = &mut self.own {
                        // What is emitted because of the time from now on comes behind the barrier.
                        own.downgrade(time::at(barrier.next_epoch, 0).max(own.time()));
                    }
                    return Some(Command::Checkpoint(barrier.checkpoint));
                }
            }
        }
    }

    /// What the mark of the current batch means, once.
    fn take_mark(&mut self) -> Option<Command<T>> {
        let current = self.current.as_mut()?;
        let advance = self.event_time.mark(current.port, current.from, current.mark.take()?);
        (advance != Advance::default()).then_some(Command::Mark(advance))
    }

    /// A command is carried out.
    fn done(&mut self) {
        match self.take_mark() {
            Some(command) => self.fiber.begin(command),
            None => self.finish(),
        }
    }

    fn finish(&mut self) {
        if let Some(Current { capabilities, port, from, weight, .. }) = self.current.take() {
            if let Some(inlet) = self.inlets.get(port) {
                inlet.processed(from, weight);
            }
            if self.alarm.0.emits.get() {
                self.own.get_or_insert(capabilities);
            }
        }
        self.arrange_alarm();
    }

    fn send(&mut self, chunk: Chunk<O>, send: &mut Send<'_, O>) {
        let Chunk { records, stamps, weight, mark } = chunk;
        let Some(capabilities) = self.capabilities().cloned() else {
            return self.fail(Error::internal("an operator emits something while nothing was asked of it"));
        };
        if !records.is_empty() {
            self.release(send);
            self.meter.sent(records.len(), weight);
            let fan = self.mailbox.workers as usize;
            let mut batch = Batch { records, stamps, weight, from: 0, mark: None, fan };
            send(&capabilities.results, &mut batch);
        }
        if let Some(mark) = mark {
            let held = self.held.take().map_or(mark, |(_, held)| held.then(mark));
            self.held = Some((capabilities, held));
        }
    }

    /// Sends what was emitted to the side, behind what was said before.
    fn send_sides(&mut self, send: &mut Send<'_, O>) {
        if !self.sides.as_ref().is_some_and(|sides| sides.outputs.has_any()) {
            return;
        }
        self.release(send);
        let current = self.current.as_ref().map(|current| &current.capabilities);
        if let (Some(sides), Some(capabilities)) = (&mut self.sides, current.or(self.own.as_ref()))
            && let Some(notices) = &capabilities.notices
        {
            sides.send(notices, None, self.mailbox.workers as usize);
        }
    }

    fn capabilities(&self) -> Option<&Capabilities> {
        self.current.as_ref().map(|current| &current.capabilities).or(self.own.as_ref())
    }

    /// Sends the mark that was held back.
    fn release(&mut self, send: &mut Send<'_, O>) {
        if let Some((capabilities, mark)) = self.held.take() {
            let fan = self.mailbox.workers as usize;
            send(&capabilities.results, &mut Batch { mark: Some(mark), fan, ..Batch::default() });
            if let (Some(sides), Some(notices)) = (&mut self.sides, &capabilities.notices) {
                sides.send(notices, Some(mark), fan);
            }
        }
    }

    /// Lets go of what is held for results because of the time, as far as the input has come.
    fn keep_up(&mut self, frontier: Option<Time>) {
        match (&mut self.own, frontier) {
            (Some(own), Some(frontier)) if self.alarm.0.emits.get() => {
                if self.input.is_idle() && !self.fiber.is_busy() && own.time() < frontier {
                    own.downgrade(frontier);
                }
            }
            _ => self.own = None,
        }
    }

    fn arrange_alarm(&mut self) {
        if let Some(time) = self.alarm.0.at.get().filter(|time| self.woken_at != Some(*time)) {
            self.woken_at = Some(time);
            self.activator.activate_after(time.saturating_duration_since(Instant::now()));
        }
    }

    fn fail(&self, error: Error) {
        self.mailbox.attempt.fail(error.with("operator", &self.uid).with("subtask", self.mailbox.worker));
    }

    /// The attempt is over: nothing is called any more, and nothing kept.
    fn close(&mut self) {
        self.fiber.close();
        (self.current, self.held, self.own) = (None, None, None);
        self.input.clear();
    }
}
