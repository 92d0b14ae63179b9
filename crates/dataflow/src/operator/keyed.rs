//! The keyed process operator: one state backend, the user's function, and barriers.

use std::rc::Rc;
use std::sync::Arc;

use highwater_state::KeyedBackend;
use highwater_types::{Key, MaxParallelism, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::edge::Batches;
use super::task::{Command, operator};
use crate::graph::Collector;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::pool::Frozen;

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
) -> Result<Batches<'s, O>>
where
    K: Key + Serialize + DeserializeOwned,
    T: Send + Serialize + DeserializeOwned + 'static,
    O: 'static,
    F: KeyedFunction<K, T, O>,
{
    let (stream, pact, inlet) = stream.exchanged(owner::<K, T>(parts.max_parallelism, mailbox.workers));
    let uid = Arc::clone(&parts.uid);
    let mut task = KeyedTask { parts, mailbox: Rc::clone(mailbox), told: Told::default() };
    operator(stream, (pact, inlet), mailbox, &uid, move |command, out| {
        match command {
            Command::Process(records) => return task.process(records, out),
            Command::Checkpoint(checkpoint) => {
                task.tell();
                task.checkpoint(checkpoint);
            }
            Command::Review => task.tell(),
        }
        Ok(())
    })
}

/// The worker of each record, looked up by key group.
fn owner<K: Key, T>(max_parallelism: MaxParallelism, workers: u32) -> impl FnMut(&(K, T)) -> usize + 'static {
    let owner = |group| max_parallelism.owner_of(group, workers) as usize;
    let owners: Box<[usize]> = max_parallelism.all().iter().map(owner).collect();
    move |(key, _)| {
        let group = max_parallelism.key_group_of(key.java_hash());
        owners.get(usize::from(group)).copied().unwrap_or(0)
    }
}

struct KeyedTask<K: Key, F> {
    parts: KeyedParts<K, F>,
    mailbox: Rc<Mailbox>,
    told: Told,
}

/// What the backend knows of the outcome of checkpoints.
#[derive(Default)]
struct Told {
    completed: u64,
    /// How many aborted ones.
    aborted: usize,
}

impl<K: Key, F> KeyedTask<K, F> {
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
        if !self.mailbox.is_wanted(checkpoint) {
            return;
        }
        self.mailbox.timer.reached(checkpoint, self.parts.index);
        let keyed = match self.mailbox.is_savepoint(checkpoint) {
            true => self.parts.backend.snapshot(),
            false => self.parts.backend.checkpoint(checkpoint),
        };
        let frozen = keyed.map(|keyed| Frozen { operator: None, keyed: Some(keyed), durability: None });
        self.mailbox.submit(checkpoint, self.parts.index, frozen);
    }

    /// While the function is left in the middle of a record, nothing else touches the backend: its state may be borrowed.
    fn process<T, O>(&mut self, records: Vec<(K, T)>, out: &mut Collector<O>) -> Result<()>
    where
        F: KeyedFunction<K, T, O>,
    {
        let parts = &mut self.parts;
        let mut records = records.into_iter();
        let mut ahead = Vec::with_capacity(AHEAD.min(records.len()));
        while records.len() > 0 {
            for (key, record) in records.by_ref().take(AHEAD) {
                ahead.push((parts.backend.prepare_key(key)?, record));
            }
            for (key, record) in ahead.drain(..) {
                out.breathe()?;
                parts.backend.set_prepared_key(key)?;
                parts.backend.with_current_key(|key| (parts.function)(key, record, out))?;
            }
        }
        Ok(())
    }
}
