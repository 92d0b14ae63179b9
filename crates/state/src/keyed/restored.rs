//! Keyed state read back from a snapshot, until somebody registers it.

use std::collections::BTreeMap;

use highwater_checkpoint::{KeyedStateHandle, StateOpener};
use highwater_types::{
    Compatibility, Error, Key, KeyGroup, KeyGroupRange, MaxParallelism, Result, ResultExt, SerializerSnapshot,
};

use super::FrozenState;
use crate::bytes::ByteBackend;
use crate::canonical::{CanonicalReader, CanonicalWriter, RunEntries, StateMeta};

/// The states of a snapshot by name.
#[derive(Default)]
pub(crate) struct RestoredStates {
    states: BTreeMap<String, RestoredState>,
}

struct RestoredState {
    meta: StateMeta,
    /// Serialized entries; none once a store has them.
    entries: Vec<(KeyGroup, RunEntries)>,
}

/// A restored state that nobody registered, on its way into the next snapshot.
pub(crate) struct CarriedState {
    pub(crate) meta: StateMeta,
    pub(crate) entries: CarriedEntries,
}

/// Its entries.
pub(crate) struct CarriedEntries(Vec<(KeyGroup, RunEntries)>);

impl FrozenState for CarriedEntries {
    fn write_key_group(&mut self, group: KeyGroup, state_id: u16, out: &mut CanonicalWriter) -> Result<()> {
        let runs = self.0.iter().filter(|(of, _)| *of == group);
        runs.flat_map(|(_, run)| run.iter()).try_for_each(|(key, value)| out.raw_entry(state_id, key, value))
    }
}

impl RestoredStates {
    /// Reads the key groups of `range` from all handles that have some.
    pub(crate) fn read(
        handles: &[KeyedStateHandle],
        opener: &dyn StateOpener,
        key: &SerializerSnapshot,
        max_parallelism: MaxParallelism,
        range: KeyGroupRange,
    ) -> Result<Self> {
        let mut restored = Self::default();
        for handle in handles {
            let KeyedStateHandle::KeyGroups(handle) = handle else {
                return Err(Error::unsupported(
                    "only key-grouped snapshots can be restored here: take a canonical savepoint of the job",
                ));
            };
            if let Some(groups) = handle.range.intersection(range) {
                let mut reader = CanonicalReader::open(opener, handle, max_parallelism)?;
                check_key(&reader.header().key_serializer, key).with("file", reader.name())?;
                restored.add(&mut reader, groups)?;
            }
        }
        Ok(restored)
    }

    fn add(&mut self, reader: &mut CanonicalReader, groups: KeyGroupRange) -> Result<()> {
        let metas = reader.header().states.clone();
        for meta in &metas {
            let known = self.states.entry(meta.name().to_owned());
            let known = known.or_insert_with(|| RestoredState { meta: meta.clone(), entries: Vec::new() });
            let same = known.meta.check_compatible(meta, "").with("file", reader.name())?;
            require_as_is(&same, meta.name())?;
        }
        for group in groups.iter() {
            let Some(block) = reader.block(group)? else { continue };
            for run in block.into_runs() {
                let state = metas.get(usize::from(run.state_id)).and_then(|meta| self.states.get_mut(meta.name()));
                state.ok_or_else(no_such_state)?.entries.push((group, run.entries));
            }
        }
        Ok(())
    }

    /// How a state was described.
    pub(crate) fn meta(&self, name: &str) -> Option<&StateMeta> {
        self.states.get(name).map(|state| &state.meta)
    }

    /// The entries of a state that is being registered: the snapshot has it no more.
    pub(crate) fn take_entries(&mut self, name: &str) -> Vec<(KeyGroup, RunEntries)> {
        self.states.remove(name).map(|state| state.entries).unwrap_or_default()
    }

    /// The states nobody registered. Their bytes are shared, not copied.
    pub(crate) fn carried(&self) -> impl Iterator<Item = CarriedState> {
        self.states
            .values()
            .map(|state| CarriedState { meta: state.meta.clone(), entries: CarriedEntries(state.entries.clone()) })
    }

    /// Moves all entries into a byte store, whose keys and values are those of the stream. The descriptions stay.
    pub(crate) fn load_into<K: Key>(&mut self, store: &ByteBackend<K>) -> Result<()> {
        if self.states.is_empty() {
            return Ok(());
        }
        for (name, state) in &mut self.states {
            let entries = std::mem::take(&mut state.entries);
            let mut all = entries.iter().flat_map(|(_, run)| run.iter());
            store.load(name, &mut all)?;
        }
        store.finish_load()
    }
}

/// No serializer that exists in Rust reads what only a migration could make readable.
pub(super) fn require_as_is(compatibility: &Compatibility, state: &str) -> Result<()> {
    match compatibility {
        Compatibility::AsIs => Ok(()),
        _ => Err(Error::unsupported(
            "the state would have to be migrated to its new serializer: register the earlier one",
        )
        .with("state", state)),
    }
}

/// The key serializer must be the same: there is no migration of keys.
fn check_key(restored: &SerializerSnapshot, new: &SerializerSnapshot) -> Result<()> {
    match restored.compatibility(new) {
        Compatibility::AsIs => Ok(()),
        Compatibility::AfterMigration => Err(key_differs(restored, new)),
        Compatibility::Incompatible(why) => Err(key_differs(restored, new).because(why)),
    }
}

fn key_differs(restored: &SerializerSnapshot, new: &SerializerSnapshot) -> Error {
    Error::incompatible("the new key serializer must be compatible with that of the snapshot: use the same key type")
        .with("expected", restored)
        .with("found", new)
}

#[cold]
fn no_such_state() -> Error {
    Error::internal("a run of a state that the header does not list")
}
