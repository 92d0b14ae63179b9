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
use crate::watermark::{Mark, PeriodicTicks, SplitAssigner, WatermarkStrategy};

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
    /// None for a source without timestamps.
    pub(crate) strategy: Option<WatermarkStrategy<T>>,
    /// How often watermarks are asked for; none for never.
    pub(crate) watermark_interval: Option<Duration>,
    /// The numbers of the splits that the reader has from the beginning.
    pub(crate) split_ids: Vec<u64>,
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
        let event_time = parts.strategy.clone().map(|strategy| EventTime::new(strategy, &parts));
        let mut task = SourceTask {
            event_time,
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
    event_time: Option<EventTime<T>>,
}

/// What a source with timestamps has besides.
struct EventTime<T> {
    assigner: SplitAssigner<T>,
    ticks: PeriodicTicks,
    /// Whether the source has had to wait since it last ran.
    has_waited: bool,
}

impl<T: 'static> EventTime<T> {
    fn new<S>(strategy: WatermarkStrategy<T>, parts: &SourceParts<T, S>) -> Self {
        let mut assigner = SplitAssigner::new(strategy);
        parts.split_ids.iter().for_each(|split| assigner.add_split(*split));
        let interval = parts.watermark_interval.filter(|_| assigner.is_periodic());
        let ticks = PeriodicTicks::new(interval, Instant::now());
        Self { assigner, ticks, has_waited: false }
    }
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

impl<T: Serialize + 'static, S: StateValue> SourceTask<T, S> {
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
                let splits = splits.into_iter().map(read).collect::<Result<Vec<_>>>()?;
                if let Some(event_time) = &mut self.event_time {
                    splits.iter().for_each(|split| event_time.assigner.add_split(self.parts.reader.split_id(split)));
                }
                self.parts.reader.add_splits(splits)?;
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
            if !self.batch.is_empty() {
                self.send(send, now);
            }
            self.forget_splits(status);
            self.tick(send, now);
            self.give_large();
            let idle = status != SourceStatus::Ready;
            if self.flow.next_tick(end, idle, now) {
                self.downgrade();
            }
        }
        self.rest(status, send, now);
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
        let mut records = std::mem::take(&mut self.batch);
        let Some(EventTime { assigner, .. }) = &mut self.event_time else {
            return self.send_part(send, (records, Vec::new()), None, now);
        };
        let (mut stamps, mut cuts) = (Vec::with_capacity(records.len()), Vec::new());
        let split = self.parts.reader.polled_split();
        for record in &records {
            let stamp = assigner.timestamp(record, None);
            stamps.push(stamp);
            if let Some(mark) = assigner.on_event(split, record, stamp) {
                cuts.push((stamps.len(), mark));
            }
        }
        // A watermark comes right behind the record that caused it.
        let mut from = 0;
        for (to, mark) in cuts {
            let part = (records.drain(..to - from).collect(), stamps.drain(..to - from).collect());
            self.send_part(send, part, Some(mark), now);
            from = to;
        }
        self.send_part(send, (records, stamps), None, now);
    }

    fn send_part(
        &mut self,
        send: &mut Send<'_, T>,
        (records, stamps): (Vec<T>, Vec<i64>),
        mark: Option<Mark>,
        now: Instant,
    ) {
        let Some(capability) = &self.capability else { return };
        let sent = Sent::of(records.iter().map(weigh));
        if sent.records > 0 {
            self.parts.records.add(sent.records as u64);
            self.meter.received(sent.records, 0);
            self.meter.sent(sent.records, sent.bytes);
            self.flow.sent(sent, now);
        }
        let fan = self.mailbox.workers as usize;
        let mut batch = Batch { records, stamps, weight: sent.bytes, from: 0, mark, fan };
        if !batch.is_nothing() {
            send(capability, &mut batch);
        }
    }

    /// Nobody waits for the watermarks of splits that have been read.
    fn forget_splits(&mut self, status: SourceStatus) {
        let Some(EventTime { assigner, .. }) = &mut self.event_time else { return };
        match status {
            SourceStatus::NeedsSplit => assigner.remove_all_splits(),
            _ => self.parts.reader.take_finished_splits().into_iter().for_each(|split| assigner.remove_split(split)),
        }
    }

    /// Asks for watermarks, if it is time.
    fn tick(&mut self, send: &mut Send<'_, T>, now: Instant) {
        let mark = self.event_time.as_mut().and_then(|EventTime { assigner, ticks, has_waited }| {
            let running = ticks.tick(now, std::mem::take(has_waited))?;
            assigner.on_periodic_emit(running)
        });
        if mark.is_some() {
            self.send_part(send, Default::default(), mark, now);
        }
    }

    /// There will be no more records, and nobody has to wait for them.
    fn send_end(&mut self, send: &mut Send<'_, T>, now: Instant) {
        let mark = match &mut self.event_time {
            Some(event_time) => event_time.assigner.end(),
            None => Some(Mark::END),
        };
        self.send_part(send, Default::default(), mark, now);
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
    fn rest(&mut self, status: SourceStatus, send: &mut Send<'_, T>, now: Instant) {
        match status {
            SourceStatus::Ready if self.flow.allowance() > 0 && self.outlet.has_room() => self.activator.activate(),
            SourceStatus::Ready => {
                self.meter.waits_for_room();
                if let Some(event_time) = &mut self.event_time {
                    event_time.has_waited = true;
                }
            }
            SourceStatus::Idle(time) => self.rest_for(time, now),
            // The answer of the enumerator activates the source.
            SourceStatus::NeedsSplit if self.splits != Splits::NoMore => self.rest_for(Duration::MAX, now),
            SourceStatus::NeedsSplit => {
                self.is_finished = true;
                self.send_end(send, now);
                if self.flow.finish(now) {
                    self.downgrade();
                }
                self.mailbox.source_finished();
            }
        }
    }

    fn rest_for(&mut self, time: Duration, now: Instant) {
        let tick = self.event_time.as_ref().and_then(|event_time| event_time.ticks.pause(now));
        let due = now + time.min(self.flow.longest_rest()).min(tick.unwrap_or(Duration::MAX));
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
