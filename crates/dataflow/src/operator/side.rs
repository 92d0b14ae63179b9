//! Side outputs as streams of their own.

use std::rc::Rc;
use std::sync::Arc;

use highwater_types::Result;
use serde::Serialize;

use super::edge::Batches;
use super::task::{Command, operator};
use crate::function::SideOutput;
use crate::graph::Collector;
use crate::runtime::mailbox::Mailbox;

/// The records of a side output, of which an operator of this worker gives notice.
pub(crate) fn side<'s, X: Serialize + 'static>(
    notices: Batches<'s, ()>,
    mailbox: &Rc<Mailbox>,
    name: &Arc<str>,
    output: SideOutput<X>,
) -> Result<Batches<'s, X>> {
    let (notices, pact, inlet) = notices.local();
    operator(notices, (pact, inlet), mailbox, name, move |command, out: &mut Collector<X>| {
        match command {
            Command::Process(notices) => {
                for (record, stamp) in notices.into_records().into_iter().flat_map(|()| output.unseal()) {
                    out.breathe()?;
                    out.set_timestamp(stamp);
                    out.collect(record);
                }
            }
            Command::Mark(advance) => advance.forward.into_iter().for_each(|mark| out.mark(mark)),
            Command::Checkpoint(_) | Command::Review => {}
        }
        Ok(())
    })
}
