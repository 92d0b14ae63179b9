//! The sink operator: writes records, prepares with each barrier, commits with each completed checkpoint.

use std::rc::Rc;
use std::sync::Arc;

use highwater_state::OperatorStateBackend;
use highwater_types::Result;
use timely::dataflow::operators::probe::{Handle as Probe, Probe as _};

use super::edge::Batches;
use super::task::{Alarm, Command, operator_with_alarm};
use crate::graph::Collector;
use crate::progress::Counter;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::pool::Frozen;
use crate::runtime::time::Time;
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
) -> Result<()> {
    let (stream, pact, inlet) = stream.local();
    let uid = Arc::clone(&parts.uid);
    mailbox.add_sink();
    let alarm = Alarm::now();
    let mut task = SinkTask { parts, mailbox: Rc::clone(mailbox), alarm: alarm.clone(), committed: 0 };
    let code = move |command, out: &mut Collector<()>| match command {
        Command::Process(records) => task.write(records.into_records(), out),
        Command::Mark(_) => Ok(()),
        Command::Checkpoint(checkpoint) => {
            task.checkpoint(checkpoint);
            Ok(())
        }
        Command::Review => task.review(),
    };
    let end = operator_with_alarm(stream, (pact, inlet), mailbox, &uid, alarm, code)?;
    end.into_stream().probe_with(probe);
    Ok(())
}

struct SinkTask<T> {
    parts: SinkParts<T>,
    mailbox: Rc<Mailbox>,
    /// When the writer wants to be called because of the time.
    alarm: Alarm,
    /// The newest checkpoint this sink has committed.
    committed: u64,
}

impl<T> SinkTask<T> {
    fn write(&mut self, records: Vec<T>, out: &Collector<()>) -> Result<()> {
        let mut written = 0;
        for record in records {
            if out.breathe()? {
                self.parts.records.add(std::mem::take(&mut written));
                // A batch may take long; what is complete is not kept waiting.
                self.review()?;
            }
            self.parts.writer.write(record)?;
            written += 1;
        }
        self.parts.records.add(written);
        Ok(())
    }

    fn checkpoint(&mut self, checkpoint: u64) {
        if !self.mailbox.is_wanted(checkpoint) {
            return;
        }
        self.mailbox.timer.reached(checkpoint, self.parts.index);
        let frozen = self.freeze(checkpoint);
        self.mailbox.submit(checkpoint, self.parts.index, frozen);
    }

    fn freeze(&mut self, checkpoint: u64) -> Result<Frozen> {
        if self.mailbox.is_final(checkpoint) {
            self.parts.writer.finish()?;
        }
        self.parts.writer.prepare(checkpoint)?;
        let operator = Some(self.parts.state.snapshot()?);
        Ok(Frozen { operator, keyed: None, durability: self.parts.writer.durability() })
    }

    /// Commits what is complete, and calls the writer if its time has come.
    fn review(&mut self) -> Result<()> {
        self.commit()?;
        if self.alarm.is_due() {
            self.alarm.set(self.parts.writer.on_processing_time()?);
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        let completed = self.mailbox.completed();
        if completed > self.committed {
            self.committed = completed;
            self.parts.writer.commit(completed)?;
            self.mailbox.sink_committed(completed);
        }
        Ok(())
    }
}
