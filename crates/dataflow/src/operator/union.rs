//! Several streams as one.

use std::rc::Rc;
use std::sync::Arc;

use highwater_types::Result;
use serde::Serialize;

use super::edge::Batches;
use super::event_time::EventTime;
use super::task::{Alarm, Command, OperatorBuilder};
use crate::graph::Collector;
use crate::runtime::mailbox::Mailbox;
use crate::watermark::Valve;

/// All records of several streams; its event time is that of the one that is furthest behind.
pub(crate) fn union<'s, T: Serialize + 'static>(
    first: Batches<'s, T>,
    others: Vec<Batches<'s, T>>,
    mailbox: &Rc<Mailbox>,
    name: &Arc<str>,
) -> Result<Batches<'s, T>> {
    let arms = 1 + others.len();
    let mut builder = OperatorBuilder::new(first.scope(), mailbox, name);
    for arm in [first].into_iter().chain(others) {
        let (stream, pact, inlet) = arm.local();
        builder.add_input(stream, (pact, inlet), |records| records);
    }
    let event_time = EventTime::Arms(Valve::new(arms));
    let code = |command, out: &mut Collector<T>| {
        match command {
            Command::Process(records) => {
                out.expect(records.len());
                for (record, stamp) in records {
                    out.breathe()?;
                    out.set_timestamp(stamp);
                    out.collect(record);
                }
            }
            Command::Mark(advance) => advance.forward.into_iter().for_each(|mark| out.mark(mark)),
            Command::Checkpoint(_) | Command::Review => {}
        }
        Ok(())
    };
    builder.build(event_time, Alarm::default(), None, code).map(|(results, _)| results)
}
