//! Stateless operators: map, filter, flat_map and the key selector.

use std::rc::Rc;
use std::sync::Arc;

use highwater_types::Result;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;

use super::Batches;
use crate::runtime::mailbox::Mailbox;

/// Runs each batch through a function that empties the first vector and appends to the second.
pub(crate) fn transform<'s, T: 'static, U: 'static>(
    stream: Batches<'s, T>,
    mailbox: &Rc<Mailbox>,
    name: Arc<str>,
    mut function: impl FnMut(&mut Vec<T>, &mut Vec<U>) -> Result<()> + 'static,
) -> Batches<'s, U> {
    let mailbox = Rc::clone(mailbox);
    stream.unary::<CapacityContainerBuilder<Vec<U>>, _, _, _>(Pipeline, &Arc::clone(&name), move |_, _| {
        let mut results = Vec::new();
        move |input, output| {
            input.for_each(|capability, batch| {
                if mailbox.attempt.is_cancelled() {
                    return;
                }
                let run = || function(batch, &mut results);
                mailbox.attempt.guard(&name, mailbox.worker, run);
                batch.clear();
                if !results.is_empty() {
                    output.session(&capability).give_container(&mut results);
                    results.clear();
                }
            });
        }
    })
}
