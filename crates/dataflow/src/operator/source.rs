//! The source operator: gives a reader its splits and polls it, begins epochs, keeps a bounded distance from the end of
//! the dataflow.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater_state::{OperatorListState, OperatorStateBackend, StateValue};
use highwater_types::{ByteReader, Result, SerializerRef};
use serde::Serialize;
use timely::container::NoopBuilder;
use timely::dataflow::Scope;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator;
use timely::dataflow::operators::probe::Handle as Probe;
use timely::scheduling::Activator;

use super::edge::{Batch, Batches, Outlet};
use crate::graph::weigh;
use crate::progress::Counter;
use crate::runtime::flow::{FlowControl, Sent};
use crate::runtime::mailbox::Mailbox;
use crate::runtime::message::Assignment;
use crate::runtime::pool::Frozen;
use crate::runtime::splits::SplitInbox;
use crate::runtime::time::Time;
use crate::source::{SourceReader, SourceStatus};
use crate::statistics::Meter;

/// Most records of one call of the reader: one batch.
const BATCH: usize = 1_024;
/// A source lets the other operators of its worker run after this time.
const SLICE: Duration = Duration::from_millis(1);
/// How soon a source asks again that waits for another one's large records.
const LARGE_WAIT: Duration = Duration::from_millis(1);

/// What a source operator is built from.
pub(crate) struct SourceParts<T, S> {
    pub(crate) uid: Arc<str>,
    /// Index of the operator in the mailbox.
    pub(crate) index: usize,
    pub(crate) reader: Box<dyn SourceReader<Record = T, Split = S>>,
    pub(crate) state: OperatorStateBackend,
    /// The state of the reader.
    pub(crate) splits: OperatorListState<S>,
    /// For splits on their way.
    pub(crate) serializer: SerializerRef<S>,
    pub(crate) records: Counter,
}

/// Builds a source operator.
pub(crate) fn source<'s, T: Serialize + 'static, S: StateValue>(
    scope: Scope<'s, Time>,
    mailbox: &Rc<Mailbox>,
    probe: &Probe<Time>,
    parts: SourceParts<T, S>,
) -> Batches<'s, T> {
    let (mailbox, probe) = (Rc::clone(mailbox), probe.clone());
    let name = Arc::clone(&parts.uid);
    let outlet = Rc::new(Outlet::default());
    let of_task = Rc::clone(&outlet);
    let stream = operator::source::<_, NoopBuilder<Batch<T>>, _, _>(scope, &name, |capability, info| {
        let activator = scope.activator_for(Rc::clone(&info.address));
        of_task.set_activator(scope.activator_for(Rc::clone(&info.address)));
        let inbox = mailbox.add_source(parts.index, scope.activator_for(info.address));
        let number = mailbox.pace.register(Arc::clone(&parts.uid));
        let meter = mailbox.meters.meter(&parts.uid, mailbox.worker);
        let mut task = SourceTask {
            number,
            meter,
            large: (number as u64 + 1) << 32 | u64::from(mailbox.worker),
            was_large: false,
            parts,
            mailbox,
            probe,
            activator,
            outlet: of_task,
            flow: FlowControl::new(0, Instant::now()),
            capability: Some(capability),
            handled: 0,
            inbox,
            splits: Splits::Given,
            is_finished: false,
            alarm: None,
            batch: Vec::new(),
        };
        move |output| {
            task.activate(&mut |capability, batch| output.session_with_builder(capability).give_container(batch));
        }
    });
    Batches::new(stream, outlet)
}

struct SourceTask<T, S> {
    parts: SourceParts<T, S>,
    /// Under which it takes its turns.
    number: usize,
    meter: Rc<Meter>,
    /// Under which it asks to have large records under way.
    large: u64,
    /// Whether it had any since it last asked.
    was_large: bool,
    mailbox: Rc<Mailbox>,
    probe: Probe<Time>,
    activator: Activator,
    outlet: Rc<Outlet>,
    flow: FlowControl,
    capability: Option<Capability<Time>>,
    /// The newest checkpoint this source has taken.
    handled: u64,
    inbox: Rc<SplitInbox>,
    splits: Splits,
    is_finished: bool,
    /// When the source is activated next by the clock.
    alarm: Option<Instant>,
    batch: Vec<T>,
}

/// Whether the reader has work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Splits {
    Given,
    /// It has nothing left, and the enumerator knows.
    Requested,
    /// It will get no more.
    NoMore,
}

/// Takes a batch away.
type Send<'a, T> = dyn FnMut(&Capability<Time>, &mut Batch<T>) + 'a;

impl<T: Serialize, S: StateValue> SourceTask<T, S> {
    fn activate(&mut self, send: &mut Send<'_, T>) {
        if self.mailbox.is_ending() || self.mailbox.attempt.is_cancelled() {
            self.capability = None;
            return;
        }
        let mailbox = Rc::clone(&self.mailbox);
        let uid = Arc::clone(&self.parts.uid);
        let _turn = mailbox.pace.begin(self.number);
        let meter = Rc::clone(&self.meter);
        let _metered = meter.turn();
        // After an error or a panic the attempt is cancelled: the reader is not called again.
        mailbox.attempt.guard(&uid, mailbox.worker, || {
            self.take_checkpoints()?;
            self.run(send)
        });
    }

    /// The barrier: the position of this moment is the checkpoint's, the next record belongs to the next epoch.
    fn take_checkpoints(&mut self) -> Result<()> {
        while let Some(barrier) = self.mailbox.next_barrier(self.handled) {
            self.handled = barrier.checkpoint;
            while let Some(assignment) = self.inbox.take_before(barrier.next_epoch) {
                self.take(assignment)?;
            }
            self.mailbox.timer.reached(barrier.checkpoint, self.parts.index);
            let frozen = self.freeze();
            self.begin_epoch(barrier.next_epoch);
            self.mailbox.submit(barrier.checkpoint, self.parts.index, frozen);
        }
        self.begin_epoch(self.mailbox.newest_epoch());
        while let Some(assignment) = self.inbox.take() {
            self.take(assignment)?;
        }
        Ok(())
    }

    fn take(&mut self, assignment: Assignment) -> Result<()> {
        match assignment {
            Assignment::Splits(splits) => {
                let serializer = &self.parts.serializer;
                let read = |bytes: Vec<u8>| serializer.deserialize(&mut ByteReader::new(&bytes));
                self.parts.reader.add_splits(splits.into_iter().map(read).collect::<Result<_>>()?)?;
                self.splits = Splits::Given;
            }
            Assignment::NoMore => {
                self.parts.reader.no_more_splits();
                self.splits = Splits::NoMore;
            }
        }
        Ok(())
    }

    fn freeze(&mut self) -> Result<Frozen> {
        self.parts.splits.update(self.parts.reader.snapshot_state()?)?;
        Ok(Frozen { operator: Some(self.parts.state.snapshot()?), keyed: None, durability: None })
    }

    fn begin_epoch(&mut self, epoch: u64) {
        if self.flow.begin_epoch(epoch, Instant::now()) {
            if self.is_finished {
                self.flow.finish(Instant::now());
            }
            self.downgrade();
        }
    }

    fn run(&mut self, send: &mut Send<'_, T>) -> Result<()> {
        let begin = Instant::now();
        let end = self.probe.with_frontier(|frontier| frontier.as_option().copied());
        self.flow.release(end, begin);
        self.give_large();
        if self.is_finished || self.mailbox.is_quiet() {
            return Ok(());
        }
        let mut status = SourceStatus::Ready;
        let mut now = begin;
        while status == SourceStatus::Ready && now.saturating_duration_since(begin) < SLICE {
            let limit = self.flow.allowance().min(BATCH);
            if limit == 0 || !self.outlet.has_room() {
                break;
            }
            status = match self.wait_for_others() {
                Some(wait) => SourceStatus::Idle(wait),
                None => self.poll(limit)?,
            };
            now = Instant::now();
            self.send(send, now);
            self.give_large();
            let idle = status != SourceStatus::Ready;
            if self.flow.next_tick(end, idle, now) {
                self.downgrade();
            }
        }
        self.rest(status, now);
        Ok(())
    }

    fn poll(&mut self, limit: usize) -> Result<SourceStatus> {
        if self.splits == Splits::Requested {
            return Ok(SourceStatus::NeedsSplit);
        }
        let status = self.parts.reader.poll(limit, &mut self.batch)?;
        if (status, self.splits) == (SourceStatus::NeedsSplit, Splits::Given) {
            self.splits = Splits::Requested;
            self.mailbox.request_split(self.parts.index);
        }
        Ok(status)
    }

    fn send(&mut self, send: &mut Send<'_, T>, now: Instant) {
        if let (Some(capability), false) = (&self.capability, self.batch.is_empty()) {
            let sent = Sent::of(self.batch.iter().map(weigh));
            self.parts.records.add(sent.records as u64);
            self.meter.received(sent.records, 0);
            self.meter.sent(sent.records, sent.bytes);
            self.flow.sent(sent, now);
            send(capability, &mut Batch::new(std::mem::take(&mut self.batch), sent.bytes));
        }
    }

    /// How long to wait until this source may have large records under way, if it expects some. Whoever has had some lets
    /// others ask first.
    fn wait_for_others(&mut self) -> Option<Duration> {
        if !self.flow.expects_large() {
            return None;
        }
        if std::mem::take(&mut self.was_large) {
            return Some(LARGE_WAIT * 2);
        }
        (!self.mailbox.attempt.take_large(self.large)).then_some(LARGE_WAIT)
    }

    /// Lets other sources have large records under way, when this one has none.
    fn give_large(&mut self) {
        if !self.flow.has_large() {
            self.was_large |= self.mailbox.attempt.give_large(self.large) && self.flow.expects_large();
        }
    }

    /// Arranges the next activation. A source that runs too far ahead sleeps until the end of the dataflow moves, or the
    /// next operator has room.
    fn rest(&mut self, status: SourceStatus, now: Instant) {
        match status {
            SourceStatus::Ready if self.flow.allowance() > 0 && self.outlet.has_room() => self.activator.activate(),
            SourceStatus::Ready => self.meter.waits_for_room(),
            SourceStatus::Idle(time) => self.rest_for(time, now),
            // The answer of the enumerator activates the source.
            SourceStatus::NeedsSplit if self.splits != Splits::NoMore => self.rest_for(Duration::MAX, now),
            SourceStatus::NeedsSplit => {
                self.is_finished = true;
                if self.flow.finish(now) {
                    self.downgrade();
                }
                self.mailbox.source_finished();
            }
        }
    }

    fn rest_for(&mut self, time: Duration, now: Instant) {
        let due = now + time.min(self.flow.longest_rest());
        if self.alarm.is_none_or(|alarm| alarm <= now || alarm > due) {
            self.alarm = Some(due);
            self.activator.activate_after(due.saturating_duration_since(now));
        }
    }

    fn downgrade(&mut self) {
        if let Some(capability) = &mut self.capability {
            // The time of the flow control only grows.
            capability.downgrade(&self.flow.now());
        }
    }
}
