//! A map whose copies share structure by segments.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;

use super::segment::Segment;
use super::table::Table;

/// Entries above which a map gets a directory of segments.
const SMALL: usize = 448;

/// A map in a table entry. Cloning shares all entries; the first write after it copies one segment.
#[derive(Clone)]
pub(super) enum Map<UK, UV> {
    /// All entries in one segment.
    Small(Segment<(UK, UV)>),
    /// A table of segments.
    Large(Box<Table<(UK, UV)>>),
}

impl<UK: Clone + Eq + Hash, UV: Clone> Map<UK, UV> {
    pub(super) fn new() -> Self {
        Self::Small(Segment::default())
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Small(segment) => segment.len(),
            Self::Large(table) => table.len(),
        }
    }

    #[inline]
    pub(super) fn get(&self, hasher: &RandomState, key: &UK) -> Option<&UV> {
        let hash = hasher.hash_one(key);
        let eq = |entry: &(UK, UV)| entry.0 == *key;
        let entry = match self {
            Self::Small(segment) => segment.find(hash, eq),
            Self::Large(table) => table.find(hash, eq),
        };
        entry.map(|(_, value)| value)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, hasher: &RandomState, key: &UK) -> Option<&mut UV> {
        let hash = hasher.hash_one(key);
        let eq = |entry: &(UK, UV)| entry.0 == *key;
        let entry = match self {
            Self::Small(segment) => segment.find_mut(hash, eq),
            Self::Large(table) => table.find_mut(hash, eq),
        };
        entry.map(|(_, value)| value)
    }

    #[inline]
    pub(super) fn put(&mut self, hasher: &RandomState, key: UK, value: UV) {
        match self.get_mut(hasher, &key) {
            Some(old) => *old = value,
            None => drop(self.insert(hasher, key, value)),
        }
    }

    /// Adds an entry whose key is known to be absent.
    pub(super) fn insert(&mut self, hasher: &RandomState, key: UK, value: UV) -> Option<&mut UV> {
        if let Self::Small(segment) = self
            && segment.len() >= SMALL
        {
            *self = Self::Large(Box::new(into_table(segment, hasher)));
        }
        let hash = hasher.hash_one(&key);
        let rehash = |entry: &(UK, UV)| hasher.hash_one(&entry.0);
        let entry = match self {
            Self::Small(segment) => segment.insert(hash, (key, value), &rehash),
            Self::Large(table) => table.insert(hash, (key, value), &rehash),
        };
        entry.map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, hasher: &RandomState, key: &UK) {
        let hash = hasher.hash_one(key);
        let eq = |entry: &(UK, UV)| entry.0 == *key;
        drop(match self {
            Self::Small(segment) => segment.remove(hash, eq),
            Self::Large(table) => table.remove(hash, eq),
        });
    }

    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = (&UK, &UV)> {
        let (small, large) = match self {
            Self::Small(segment) => (Some(segment.iter()), None),
            Self::Large(table) => (None, Some(table.iter())),
        };
        small.into_iter().flatten().chain(large.into_iter().flatten()).map(|(key, value)| (key, value))
    }

    /// Lets every value be changed and keeps the entries for which `keep` is true.
    pub(super) fn retain(&mut self, hasher: &RandomState, mut keep: impl FnMut(&UK, &mut UV) -> bool) {
        let rehash = |entry: &(UK, UV)| hasher.hash_one(&entry.0);
        match self {
            Self::Small(segment) => segment.retain(|(key, value)| keep(key, value), &rehash),
            Self::Large(table) => table.retain(|(key, value)| keep(key, value), &rehash),
        }
    }
}

fn into_table<UK: Clone + Eq + Hash, UV: Clone>(segment: &Segment<(UK, UV)>, hasher: &RandomState) -> Table<(UK, UV)> {
    let mut table = Table::default();
    for (key, value) in segment.iter() {
        table.insert(hasher.hash_one(key), (key.clone(), value.clone()), &|entry: &(UK, UV)| hasher.hash_one(&entry.0));
    }
    table
}
