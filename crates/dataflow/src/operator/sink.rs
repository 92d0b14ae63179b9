//! The sink operator: writes records, prepares with each barrier, commits with each completed checkpoint.

use std::rc::Rc;
use std::sync::Arc;

use highwater_state::OperatorStateBackend;
use highwater_types::Result;
use timely::dataflow::operators::probe::{Handle as Probe, Probe as _};

use super::edge::Batches;
use super::task::{Command, operator};
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
    let mut task = SinkTask { parts, mailbox: Rc::clone(mailbox), committed: 0 };
    let end = operator::<_, (), _>(stream, (pact, inlet), mailbox, &uid, move |command, out| match command {
        Command::Process(records) => task.write(records, out),
        Command::Checkpoint(checkpoint) => {
            task.checkpoint(checkpoint);
            Ok(())
        }
        Command::Review => task.commit(),
    })?;
    end.into_stream().probe_with(probe);
    Ok(())
}

struct SinkTask<T> {
    parts: SinkParts<T>,
    mailbox: Rc<Mailbox>,
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
                self.commit()?;
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
        let frozen = self.freeze(checkpoint);
        self.mailbox.submit(checkpoint, self.parts.index, frozen);
    }

    fn freeze(&mut self, checkpoint: u64) -> Result<Frozen> {
        self.parts.writer.prepare(checkpoint)?;
        let operator = Some(self.parts.state.snapshot()?);
        Ok(Frozen { operator, keyed: None, durability: self.parts.writer.durability() })
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
