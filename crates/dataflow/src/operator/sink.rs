//! The sink operator: writes records, prepares with each barrier, commits with each completed checkpoint.

use std::rc::Rc;
use std::sync::Arc;

use highwater_state::OperatorStateBackend;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::probe::{Handle as Probe, Probe as _};

use super::Batches;
use super::input::AlignedInput;
use crate::progress::Counter;
use crate::runtime::attempt::catch;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::pool::Frozen;
use crate::runtime::time::{self, Time};
use crate::sink::SinkWriter;

/// What a sink operator is built from.
pub(crate) struct SinkParts<T> {
    pub(crate) uid: Arc<str>,
    /// Index of the operator in the mailbox.
    pub(crate) index: usize,
    pub(crate) writer: Box<dyn SinkWriter<T>>,
    pub(crate) state: OperatorStateBackend,
    pub(crate) records: Counter,
}

/// Builds a sink operator and lets the probe watch it.
pub(crate) fn sink<T: 'static>(
    stream: Batches<'_, T>,
    mailbox: &Rc<Mailbox>,
    probe: &Probe<Time>,
    parts: SinkParts<T>,
) {
    let mailbox = Rc::clone(mailbox);
    let name = Arc::clone(&parts.uid);
    let scope = stream.scope();
    mailbox.add_sink();
    let end = stream.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(
        Pipeline,
        &name,
        move |capability, info| {
            drop(capability);
            mailbox.add_activator(scope.activator_for(info.address));
            let mut aligned = AlignedInput::new(&mailbox);
            let mut task = SinkTask { parts, mailbox, committed: 0 };
            move |(input, frontier), _| {
                if task.mailbox.attempt.is_cancelled() {
                    aligned.clear();
                    input.for_each(|_, batch| batch.clear());
                    return;
                }
                task.commit();
                let frontier = time::least(frontier);
                loop {
                    let due = aligned.advance(frontier);
                    for (_, mut batch) in due.batches {
                        task.write(&mut batch);
                    }
                    let Some(checkpoint) = due.checkpoint else { break };
                    task.checkpoint(checkpoint);
                }
                input.for_each(|capability, batch| {
                    if !aligned.hold_back(&capability, batch) {
                        task.write(batch);
                    }
                });
            }
        },
    );
    end.probe_with(probe);
}

struct SinkTask<T> {
    parts: SinkParts<T>,
    mailbox: Rc<Mailbox>,
    /// The newest checkpoint this sink has committed.
    committed: u64,
}

impl<T> SinkTask<T> {
    fn write(&mut self, batch: &mut Vec<T>) {
        let Self { parts, mailbox, .. } = self;
        if mailbox.attempt.is_cancelled() {
            batch.clear();
            return;
        }
        let records = batch.len() as u64;
        mailbox
            .attempt
            .guard(&parts.uid, mailbox.worker, || batch.drain(..).try_for_each(|record| parts.writer.write(record)));
        parts.records.add(records);
    }

    fn checkpoint(&mut self, checkpoint: u64) {
        if self.mailbox.attempt.is_cancelled() {
            return;
        }
        let parts = &mut self.parts;
        let frozen = catch(|| {
            parts.writer.prepare(checkpoint)?;
            let operator = Some(parts.state.snapshot()?);
            Ok(Frozen { operator, keyed: None, durability: parts.writer.durability() })
        });
        self.mailbox.submit(checkpoint, self.parts.index, frozen);
    }

    fn commit(&mut self) {
        let completed = self.mailbox.completed();
        if completed <= self.committed {
            return;
        }
        self.committed = completed;
        let Self { parts, mailbox, .. } = self;
        if mailbox.attempt.guard(&parts.uid, mailbox.worker, || parts.writer.commit(completed)).is_some() {
            mailbox.sink_committed(completed);
        }
    }
}
