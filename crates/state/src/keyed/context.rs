//! The current key, shared by all states of one keyed backend.

use std::cell::{Cell, Ref, RefCell};
use std::fmt::Debug;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use highwater_types::{Error, Key, KeyGroup, KeyGroupRange, MaxParallelism, Result};

/// A key with everything that is derived from it once per record; see
/// [`KeyedBackend::prepare_key`](super::KeyedBackend::prepare_key).
#[derive(Debug)]
pub struct PreparedKey<K> {
    pub(crate) key: K,
    pub(crate) group: KeyGroup,
    /// Hash for the heap tables. Independent of the key-group hash, whose low bits are the same for all keys of a group.
    pub(crate) hash: u64,
}

/// Holder of the current key.
#[derive(Debug)]
pub(crate) struct KeyContext<K> {
    current: RefCell<Option<PreparedKey<K>>>,
    /// Counts key changes, so that byte states know when their serialized key is stale.
    version: Cell<u64>,
    max_parallelism: MaxParallelism,
    range: KeyGroupRange,
    hasher: RandomState,
}

impl<K: Key> KeyContext<K> {
    pub(crate) fn new(max_parallelism: MaxParallelism, range: KeyGroupRange) -> Self {
        Self {
            current: RefCell::new(None),
            version: Cell::new(0),
            max_parallelism,
            range,
            hasher: RandomState::default(),
        }
    }

    #[inline]
    pub(crate) fn prepare(&self, key: K) -> Result<PreparedKey<K>> {
        let group = self.max_parallelism.key_group_of(key.java_hash());
        if !self.range.contains(group) {
            return Err(self.foreign(&key, group));
        }
        let hash = self.hasher.hash_one(&key);
        Ok(PreparedKey { key, group, hash })
    }

    #[inline]
    pub(crate) fn set(&self, prepared: PreparedKey<K>) -> Result<()> {
        // Handles give out borrows of the key only for the length of one call.
        let mut current = self.current.try_borrow_mut().map_err(|_| busy())?;
        *current = Some(prepared);
        self.version.set(self.version.get() + 1);
        Ok(())
    }

    #[inline]
    pub(crate) fn current(&self) -> Result<Ref<'_, PreparedKey<K>>> {
        Ref::filter_map(self.current.borrow(), Option::as_ref).map_err(|_| no_key())
    }

    pub(crate) fn clear(&self) -> Result<()> {
        *self.current.try_borrow_mut().map_err(|_| busy())? = None;
        self.version.set(self.version.get() + 1);
        Ok(())
    }

    /// Changes whenever the current key does.
    pub(crate) fn version(&self) -> u64 {
        self.version.get()
    }

    pub(crate) fn max_parallelism(&self) -> MaxParallelism {
        self.max_parallelism
    }

    pub(crate) fn range(&self) -> KeyGroupRange {
        self.range
    }

    pub(crate) fn hasher(&self) -> &RandomState {
        &self.hasher
    }

    /// Checks a key that a snapshot keeps in `group`: where its hash leads elsewhere, nobody would ever find it.
    #[inline]
    pub(crate) fn check_group(&self, key: &K, group: KeyGroup) -> Result<()> {
        let of_key = self.max_parallelism.key_group_of(key.java_hash());
        if of_key == group { Ok(()) } else { Err(misplaced(key, of_key, group)) }
    }

    #[cold]
    fn foreign(&self, key: &K, group: KeyGroup) -> Error {
        Error::program(
            "the key belongs to a key group of another subtask: records must be exchanged by the same key and hash that \
             the state uses",
        )
        .with("key", format_args!("{key:?}"))
        .with("key group", group)
        .with("expected", self.range)
    }
}

#[cold]
fn misplaced(key: &impl Debug, of_key: KeyGroup, group: KeyGroup) -> Error {
    Error::incompatible(
        "a key of the snapshot lies in another key group than its Java hash leads to, where it would never be found: \
         give the key type the `java_hash` (and the job the max parallelism) it had when the snapshot was written",
    )
    .with("key", format_args!("{key:?}"))
    .with("key group", group)
    .with("expected", format_args!("key group {of_key}, by the key's hash"))
    .with("found", format_args!("key group {group}"))
}

#[cold]
fn no_key() -> Error {
    Error::program("no current key is set: keyed state can only be used while a record of a keyed stream is processed")
}

#[cold]
fn busy() -> Error {
    Error::program("the current key cannot change while a state is being read or updated")
}
