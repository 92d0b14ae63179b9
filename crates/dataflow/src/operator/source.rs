//! The source operator: polls a reader, begins epochs, keeps a bounded distance from the end of the dataflow.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater_state::OperatorStateBackend;
use highwater_types::Result;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Scope;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator;
use timely::dataflow::operators::probe::Handle as Probe;
use timely::scheduling::Activator;

use super::Batches;
use crate::progress::Counter;
use crate::runtime::flow::FlowControl;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::pool::Frozen;
use crate::runtime::time::Time;
use crate::source::{SourceReader, SourceStatus};

/// Most records of one call of the reader: one batch.
const BATCH: usize = 1_024;
/// A source lets the other operators of its worker run after this time.
const SLICE: Duration = Duration::from_millis(1);

/// What a source operator is built from.
pub(crate) struct SourceParts<T> {
    pub(crate) uid: Arc<str>,
    /// Index of the operator in the mailbox.
    pub(crate) index: usize,
    pub(crate) reader: Box<dyn SourceReader<Record = T>>,
    pub(crate) state: OperatorStateBackend,
    pub(crate) records: Counter,
}

/// Builds a source operator.
pub(crate) fn source<'s, T: 'static>(
    scope: Scope<'s, Time>,
    mailbox: &Rc<Mailbox>,
    probe: &Probe<Time>,
    parts: SourceParts<T>,
) -> Batches<'s, T> {
    let (mailbox, probe) = (Rc::clone(mailbox), probe.clone());
    let name = Arc::clone(&parts.uid);
    operator::source::<_, CapacityContainerBuilder<Vec<T>>, _, _>(scope, &name, |capability, info| {
        let activator = scope.activator_for(Rc::clone(&info.address));
        mailbox.add_source(scope.activator_for(info.address));
        let mut task = SourceTask {
            parts,
            mailbox,
            probe,
            activator,
            flow: FlowControl::new(0, Instant::now()),
            capability: Some(capability),
            handled: 0,
            is_finished: false,
            alarm: None,
            batch: Vec::new(),
        };
        move |output| {
            task.activate(&mut |capability, batch| output.session(capability).give_container(batch));
        }
    })
}

struct SourceTask<T> {
    parts: SourceParts<T>,
    mailbox: Rc<Mailbox>,
    probe: Probe<Time>,
    activator: Activator,
    flow: FlowControl,
    capability: Option<Capability<Time>>,
    /// The newest checkpoint this source has taken.
    handled: u64,
    is_finished: bool,
    /// When the source is activated next by the clock.
    alarm: Option<Instant>,
    batch: Vec<T>,
}

/// Takes a batch away.
type Send<'a, T> = dyn FnMut(&Capability<Time>, &mut Vec<T>) + 'a;

impl<T> SourceTask<T> {
    fn activate(&mut self, send: &mut Send<'_, T>) {
        if self.mailbox.is_ending() || self.mailbox.attempt.is_cancelled() {
            self.capability = None;
            return;
        }
        let attempt = Arc::clone(&self.mailbox.attempt);
        let uid = Arc::clone(&self.parts.uid);
        let subtask = self.mailbox.worker;
        self.take_checkpoints();
        attempt.guard(&uid, subtask, || self.run(send));
    }

    /// The barrier: the position of this moment is the checkpoint's, the next record belongs to the next epoch.
    fn take_checkpoints(&mut self) {
        while let Some(barrier) = self.mailbox.next_barrier(self.handled) {
            self.handled = barrier.checkpoint;
            let parts = &mut self.parts;
            let frozen = crate::runtime::attempt::catch(|| {
                parts.reader.snapshot()?;
                Ok(Frozen { operator: Some(parts.state.snapshot()?), keyed: None, durability: None })
            });
            self.begin_epoch(barrier.next_epoch);
            self.mailbox.submit(barrier.checkpoint, self.parts.index, frozen);
        }
        self.begin_epoch(self.mailbox.newest_epoch());
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
        if self.is_finished || self.mailbox.is_quiet() {
            return Ok(());
        }
        let begin = Instant::now();
        let end = self.probe.with_frontier(|frontier| frontier.as_option().copied());
        self.flow.release(end, begin);
        let mut status = SourceStatus::Ready;
        let mut now = begin;
        while status == SourceStatus::Ready && now.saturating_duration_since(begin) < SLICE {
            let limit = self.flow.allowance().min(BATCH);
            if limit == 0 {
                break;
            }
            status = self.parts.reader.poll(limit, &mut self.batch)?;
            now = Instant::now();
            self.send(send, now);
            let idle = status != SourceStatus::Ready;
            if self.flow.next_tick(end, idle, now) {
                self.downgrade();
            }
        }
        self.rest(status, now);
        Ok(())
    }

    fn send(&mut self, send: &mut Send<'_, T>, now: Instant) {
        if let (Some(capability), false) = (&self.capability, self.batch.is_empty()) {
            self.parts.records.add(self.batch.len() as u64);
            self.flow.sent(self.batch.len(), now);
            send(capability, &mut self.batch);
            self.batch.clear();
        }
    }

    /// Arranges the next activation. A source that runs too far ahead sleeps until the end of the dataflow moves.
    fn rest(&mut self, status: SourceStatus, now: Instant) {
        match status {
            SourceStatus::Ready if self.flow.allowance() > 0 => self.activator.activate(),
            SourceStatus::Ready => {}
            SourceStatus::Idle(time) => {
                let due = now + time.min(self.flow.longest_rest());
                if self.alarm.is_none_or(|alarm| alarm <= now || alarm > due) {
                    self.alarm = Some(due);
                    self.activator.activate_after(due.saturating_duration_since(now));
                }
            }
            SourceStatus::Finished => {
                self.is_finished = true;
                if self.flow.finish(now) {
                    self.downgrade();
                }
                self.mailbox.source_finished();
            }
        }
    }

    fn downgrade(&mut self) {
        if let Some(capability) = &mut self.capability {
            // The time of the flow control only grows.
            capability.downgrade(&self.flow.now());
        }
    }
}
