//! Keyed state read back from a snapshot, until somebody registers it.

use std::collections::BTreeMap;
use std::io::Read;

use highwater_checkpoint::{
    CancelToken, IncrementalHandle, KeyGroupsHandle, KeyedStateHandle, StateOpener, StreamHandle,
};
use highwater_types::{
    ByteReader, Compatibility, Error, Key, KeyGroup, KeyGroupRange, MaxParallelism, Result, ResultExt,
    SerializerSnapshot,
};

use super::FrozenState;
use crate::bytes::{ByteBackend, ByteStore, ByteStoreContext, ByteStoreFactory, FileRestore, not_native};
use crate::canonical::{
    CanonicalReader, CanonicalWriter, KeyedHeader, Run, RunEntries, StateMeta, read_error, stream_name,
};

/// The states of a snapshot by name.
#[derive(Default)]
pub(crate) struct RestoredStates {
    states: BTreeMap<String, RestoredState>,
    /// What ends the restore.
    cancel: CancelToken,
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

/// The handles a backend starts from, sorted by kind.
pub(crate) struct Sources<'a> {
    opener: &'a dyn StateOpener,
    streams: Vec<&'a KeyGroupsHandle>,
    files: Vec<IncrementalHandle>,
    is_own: bool,
    /// What the backend is to hold.
    key: &'a SerializerSnapshot,
    max_parallelism: MaxParallelism,
    range: KeyGroupRange,
}

impl<'a> Sources<'a> {
    /// Those of the handles that have something of `range`.
    pub(crate) fn new(
        (handles, opener, is_own): (&'a [KeyedStateHandle], &'a dyn StateOpener, bool),
        key: &'a SerializerSnapshot,
        max_parallelism: MaxParallelism,
        range: KeyGroupRange,
    ) -> Result<Self> {
        check_ranges(handles, max_parallelism, range)?;
        let (mut streams, mut files) = (Vec::new(), Vec::new());
        for handle in handles.iter().filter(|handle| handle.range().intersection(range).is_some()) {
            match handle {
                KeyedStateHandle::KeyGroups(handle) => streams.push(handle),
                KeyedStateHandle::Incremental(handle) => files.push((**handle).clone()),
                _ => {
                    return Err(Error::unsupported(
                        "the snapshot holds a changelog: take a canonical savepoint of the job to restore it here",
                    ));
                }
            }
        }
        Ok(Self { opener, streams, files, is_own, key, max_parallelism, range })
    }

    /// A store with the state of native snapshots, empty if there are none.
    fn store(
        &self,
        factory: &dyn ByteStoreFactory,
        context: &ByteStoreContext,
        columns: &[String],
    ) -> Result<Box<dyn ByteStore>> {
        match self.files.as_slice() {
            [] => factory.create(context),
            handles => {
                factory.restore(context, &FileRestore { handles, columns, opener: self.opener, is_own: self.is_own })
            }
        }
    }

    /// Reads the streams block by block: `add` gets the entries of one state and key group at a time.
    fn read_streams(
        &self,
        restored: &mut RestoredStates,
        mut add: impl FnMut(&mut RestoredStates, &StateMeta, KeyGroup, RunEntries) -> Result<()>,
    ) -> Result<()> {
        for handle in &self.streams {
            let Some(groups) = handle.range.intersection(self.range) else { continue };
            let mut reader = CanonicalReader::open(self.opener, handle, self.max_parallelism)?;
            let header = reader.header().clone();
            restored.describe(&header, self.key).with("file", reader.name())?;
            for group in groups.iter() {
                let Some(block) = reader.block(group)? else { continue };
                for Run { state_id, entries } in block.into_runs() {
                    let meta = header.states.get(usize::from(state_id)).ok_or_else(no_such_state)?;
                    add(restored, meta, group, entries).with("file", reader.name())?;
                }
            }
        }
        Ok(())
    }
}

impl RestoredStates {
    fn cancelled_by(sources: &Sources<'_>) -> Self {
        Self { states: BTreeMap::new(), cancel: sources.opener.cancel_token() }
    }

    /// Reads everything into memory, for the heap: typed tables take it when their state is registered.
    pub(crate) fn for_heap(sources: &Sources<'_>) -> Result<Self> {
        if !sources.files.is_empty() {
            return Err(not_native(sources.files.len()));
        }
        let mut restored = Self::cancelled_by(sources);
        sources.read_streams(&mut restored, |restored, state, group, entries| {
            let state = restored.states.get_mut(state.name()).ok_or_else(no_such_state)?;
            state.entries.push((group, entries.detached()));
            Ok(())
        })?;
        Ok(restored)
    }

    /// Brings everything into a new byte store, whose keys and values are those of the snapshots. No more than one block
    /// is in memory at a time.
    pub(crate) fn for_bytes<K: Key>(
        sources: &Sources<'_>,
        (factory, context): (&dyn ByteStoreFactory, &ByteStoreContext),
        backend: impl FnOnce(Box<dyn ByteStore>) -> ByteBackend<K>,
    ) -> Result<(Self, ByteBackend<K>)> {
        let mut restored = Self::cancelled_by(sources);
        for handle in &sources.files {
            let name = stream_name(&handle.meta);
            let header = read_meta(sources.opener, &handle.meta).with("file", &name)?;
            restored.describe(&header, sources.key).with("file", &name)?;
        }
        let columns: Vec<String> = restored.states.keys().cloned().collect();
        let backend = backend(sources.store(factory, context, &columns)?);
        restored.states.values().try_for_each(|state| backend.check_sample(&state.meta, sources.range))?;
        sources.read_streams(&mut restored, |restored, state, group, entries| {
            restored.cancel.check_restore()?;
            backend.load(state, group, &entries)
        })?;
        if !sources.streams.is_empty() {
            restored.states.keys().try_for_each(|state| backend.adopt(state))?;
            backend.finish_load()?;
        }
        Ok((restored, backend))
    }

    /// Takes in the states of one snapshot.
    fn describe(&mut self, header: &KeyedHeader, key: &SerializerSnapshot) -> Result<()> {
        check_key(&header.key_serializer, key)?;
        for meta in &header.states {
            let known = self.states.entry(meta.name().to_owned());
            let known = known.or_insert_with(|| RestoredState { meta: meta.clone(), entries: Vec::new() });
            let same = known.meta.check_compatible(meta, "")?;
            require_as_is(&same, meta.name())?;
        }
        Ok(())
    }

    /// How a state was described.
    pub(crate) fn meta(&self, name: &str) -> Option<&StateMeta> {
        self.states.get(name).map(|state| &state.meta)
    }

    /// What ends the restore, which goes on until all states are registered.
    pub(crate) fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
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
}

/// Handles do not tell how many key groups there were; but a wrong number shows in their ranges before it hides state:
/// what lies beyond the last key group, or in none of this backend's, would be left out as belonging to others.
fn check_ranges(handles: &[KeyedStateHandle], max_parallelism: MaxParallelism, range: KeyGroupRange) -> Result<()> {
    let ranges = || handles.iter().map(KeyedStateHandle::range);
    if let Some(beyond) = ranges().find(|range| u32::from(range.end()) >= max_parallelism.get()) {
        return Err(Error::incompatible(
            "the snapshot has key groups beyond the max parallelism: use the max parallelism it was written with",
        )
        .with("expected", format_args!("key groups below {max_parallelism}"))
        .with("found", beyond));
    }
    match ranges().next() {
        Some(first) if ranges().all(|found| found.intersection(range).is_none()) => Err(Error::incompatible(
            "none of the handles has a key group of this subtask: use the max parallelism the snapshot was written with, \
             and give a subtask the handles that `redistribute_keyed_state` picks for it",
        )
        .with("expected", range)
        .with("found", first)),
        _ => Ok(()),
    }
}

/// The description of the states of a native snapshot.
fn read_meta(opener: &dyn StateOpener, meta: &StreamHandle) -> Result<KeyedHeader> {
    let mut bytes = Vec::new();
    opener.open(meta)?.take(meta.size()).read_to_end(&mut bytes).map_err(read_error)?;
    let mut input = ByteReader::new(&bytes);
    let header = KeyedHeader::read(&mut input)?;
    match input.remaining() {
        0 => Ok(header),
        left => Err(Error::corrupt("something follows the description of the states").with("bytes", left)),
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
