//! The keyed process operator: one state backend, the user's function, and barriers.

use std::rc::Rc;
use std::sync::Arc;

use highwater_state::KeyedBackend;
use highwater_types::{Key, MaxParallelism, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::operator::Operator;

use super::Batches;
use super::input::AlignedInput;
use crate::graph::Collector;
use crate::runtime::attempt::catch;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::pool::Frozen;
use crate::runtime::time;

/// Batches of results are sent on when they have this many.
const BATCH: usize = 1_024;

/// Keys whose state is fetched into the cache together, before the first of their records is processed.
const AHEAD: usize = 32;

/// What a keyed operator does with one record.
pub(crate) trait KeyedFunction<K, T, O>: FnMut(&K, T, &mut Collector<O>) -> Result<()> + 'static {}
impl<K, T, O, F: FnMut(&K, T, &mut Collector<O>) -> Result<()> + 'static> KeyedFunction<K, T, O> for F {}

/// What a keyed operator is built from.
pub(crate) struct KeyedParts<K: Key, F> {
    pub(crate) uid: Arc<str>,
    /// Index of the operator in the mailbox.
    pub(crate) index: usize,
    pub(crate) max_parallelism: MaxParallelism,
    pub(crate) backend: KeyedBackend<K>,
    pub(crate) function: F,
}

/// Builds a keyed operator. Every worker receives the records of its own key groups.
pub(crate) fn keyed<'s, K, T, O, F>(
    stream: Batches<'s, (K, T)>,
    mailbox: &Rc<Mailbox>,
    parts: KeyedParts<K, F>,
) -> Batches<'s, O>
where
    K: Key + Serialize + DeserializeOwned,
    T: Send + Serialize + DeserializeOwned + 'static,
    O: 'static,
    F: KeyedFunction<K, T, O>,
{
    let mailbox = Rc::clone(mailbox);
    let name = Arc::clone(&parts.uid);
    let scope = stream.scope();
    let pact = Exchange::new(route::<K, T>(parts.max_parallelism, mailbox.workers));
    stream.unary_frontier::<CapacityContainerBuilder<Vec<O>>, _, _, _>(pact, &name, move |capability, info| {
        drop(capability);
        mailbox.add_activator(scope.activator_for(info.address));
        let mut aligned = AlignedInput::new(&mailbox);
        let mut task = KeyedTask { parts, mailbox, results: Collector::default(), told: Told::default() };
        move |(input, frontier), output| {
            if task.mailbox.attempt.is_cancelled() {
                aligned.clear();
                input.for_each(|_, batch| batch.clear());
                return;
            }
            task.tell();
            let frontier = time::least(frontier);
            loop {
                let due = aligned.advance(frontier);
                for (capability, mut batch) in due.batches {
                    task.process(&mut batch, &mut |results| output.session(&capability).give_container(results));
                }
                let Some(checkpoint) = due.checkpoint else { break };
                task.checkpoint(checkpoint);
            }
            input.for_each(|capability, batch| {
                if !aligned.hold_back(&capability, batch) {
                    task.process(batch, &mut |results| output.session(&capability).give_container(results));
                }
            });
        }
    })
}

/// The worker of each record, looked up by key group. Timely takes the result modulo the number of workers.
fn route<K: Key, T>(max_parallelism: MaxParallelism, workers: u32) -> impl FnMut(&(K, T)) -> u64 + 'static {
    let owner = |group| u64::from(max_parallelism.owner_of(group, workers));
    let owners: Box<[u64]> = max_parallelism.all().iter().map(owner).collect();
    move |(key, _)| {
        let group = max_parallelism.key_group_of(key.java_hash());
        owners.get(usize::from(group)).copied().unwrap_or(0)
    }
}

struct KeyedTask<K: Key, O, F> {
    parts: KeyedParts<K, F>,
    mailbox: Rc<Mailbox>,
    results: Collector<O>,
    told: Told,
}

/// What the backend knows of the outcome of checkpoints.
#[derive(Default)]
struct Told {
    completed: u64,
    /// How many aborted ones.
    aborted: usize,
}

impl<K: Key, O, F> KeyedTask<K, O, F> {
    /// Tells the backend what became of its checkpoints, before it takes the next one.
    fn tell(&mut self) {
        let completed = self.mailbox.completed();
        if completed > self.told.completed {
            self.told.completed = completed;
            self.parts.backend.checkpoint_completed(completed);
        }
        self.mailbox.aborted_from(&mut self.told.aborted, |checkpoint| {
            self.parts.backend.checkpoint_aborted(checkpoint);
        });
    }

    /// The synchronous part: freezes the state. Whoever it fails for declines the checkpoint and goes on.
    fn checkpoint(&mut self, checkpoint: u64) {
        if self.mailbox.attempt.is_cancelled() {
            return;
        }
        let frozen = catch(|| {
            let keyed = self.parts.backend.checkpoint(checkpoint)?;
            Ok(Frozen { operator: None, keyed: Some(keyed), durability: None })
        });
        self.mailbox.submit(checkpoint, self.parts.index, frozen);
    }

    fn process<T>(&mut self, batch: &mut Vec<(K, T)>, send: &mut dyn FnMut(&mut Vec<O>))
    where
        F: KeyedFunction<K, T, O>,
    {
        let Self { parts, mailbox, results, .. } = self;
        mailbox.attempt.guard(&parts.uid, mailbox.worker, || {
            let mut records = batch.drain(..);
            let mut ahead = Vec::with_capacity(AHEAD.min(records.len()));
            while records.len() > 0 {
                for (key, record) in records.by_ref().take(AHEAD) {
                    ahead.push((parts.backend.prepare_key(key)?, record));
                }
                for (key, record) in ahead.drain(..) {
                    parts.backend.set_prepared_key(key)?;
                    parts.backend.with_current_key(|key| (parts.function)(key, record, results))?;
                }
                if results.len() >= BATCH {
                    send(results.batch());
                }
            }
            Ok(())
        });
        if !results.is_empty() {
            send(results.batch());
        }
    }
}
