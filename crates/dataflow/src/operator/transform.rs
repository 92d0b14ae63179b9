//! Stateless operators: map, filter, flat_map and the key selector, and the end of a stream that leads nowhere.

use std::rc::Rc;
use std::sync::Arc;

use highwater_types::Result;
use timely::dataflow::operators::probe::{Handle as Probe, Probe as _};

use super::edge::Batches;
use super::task::{Command, operator};
use crate::graph::Collector;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::time::Time;

/// Runs each record through a function. The results have its timestamp.
pub(crate) fn transform<'s, T: 'static, U: 'static>(
    stream: Batches<'s, T>,
    mailbox: &Rc<Mailbox>,
    name: &Arc<str>,
    mut function: impl FnMut(T, &mut Collector<U>) -> Result<()> + 'static,
) -> Result<Batches<'s, U>> {
    let (stream, pact, inlet) = stream.local();
    operator(stream, (pact, inlet), mailbox, name, move |command, out| {
        match command {
            Command::Process(records) if records.are_stamped() => {
                out.expect(records.len());
                for (record, stamp) in records {
                    out.breathe()?;
                    out.set_timestamp(stamp);
                    function(record, out)?;
                }
            }
            Command::Process(records) => {
                out.expect(records.len());
                out.set_timestamp(i64::MIN);
                for record in records.into_records() {
                    out.breathe()?;
                    function(record, out)?;
                }
            }
            Command::Mark(advance) => advance.forward.into_iter().for_each(|mark| out.mark(mark)),
            Command::Checkpoint(_) | Command::Review => {}
        }
        Ok(())
    })
}

/// Drops the records of a stream that leads nowhere, and lets the probe watch it: sources must not run ahead of it.
pub(crate) fn end<T: 'static>(stream: Batches<'_, T>, mailbox: &Rc<Mailbox>, probe: &Probe<Time>) -> Result<()> {
    let end = transform::<_, ()>(stream, mailbox, &"end".into(), |_, _| Ok(()))?;
    end.into_stream().probe_with(probe);
    Ok(())
}
