//! A map whose copies share structure by segments.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::segment::Segment;
use super::table::Table;

/// Entries up to which a map is an array that is searched from the start, if they own nothing.
const FLAT: usize = 12;
/// Entries above which a map gets a directory of segments.
const SMALL: usize = 448;

/// A map in a table entry. Cloning shares all entries; the first write after it copies one segment.
#[derive(Clone)]
pub(super) enum Map<UK, UV> {
    /// A few entries that own nothing, in one allocation of just their size: most maps of a stream job are short, and a
    /// search through neighbouring memory needs no hash.
    Flat(Arc<[(UK, UV)]>),
    /// All entries in one segment.
    Small(Segment<(UK, UV)>),
    /// A table of segments.
    Large(Box<Table<(UK, UV)>>),
}

impl<UK: Clone + Eq + Hash, UV: Clone> Map<UK, UV> {
    /// Known when the program is compiled.
    const STARTS_FLAT: bool = !std::mem::needs_drop::<(UK, UV)>() && size_of::<(UK, UV)>() <= 64;

    pub(super) fn new() -> Self {
        if Self::STARTS_FLAT { Self::Flat(Arc::new([])) } else { Self::Small(Segment::default()) }
    }

    /// A map of one entry.
    #[inline]
    pub(super) fn one(hasher: &RandomState, key: UK, value: UV) -> Self {
        if Self::STARTS_FLAT {
            return Self::Flat(Arc::new([(key, value)]));
        }
        let mut map = Self::new();
        map.insert(hasher, key, value);
        map
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Flat(entries) => entries.len(),
            Self::Small(segment) => segment.len(),
            Self::Large(table) => table.len(),
        }
    }

    #[inline]
    pub(super) fn get(&self, hasher: &RandomState, key: &UK) -> Option<&UV> {
        let eq = |entry: &(UK, UV)| entry.0 == *key;
        let entry = match self {
            Self::Flat(entries) => entries.iter().find(|entry| eq(entry)),
            Self::Small(segment) => segment.find(hasher.hash_one(key), eq),
            Self::Large(table) => table.find(hasher.hash_one(key), eq),
        };
        entry.map(|(_, value)| value)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, hasher: &RandomState, key: &UK) -> Option<&mut UV> {
        let eq = |entry: &(UK, UV)| entry.0 == *key;
        let entry = match self {
            Self::Flat(entries) => match entries.iter().position(eq) {
                Some(position) => Arc::make_mut(entries).get_mut(position),
                None => None,
            },
            Self::Small(segment) => segment.find_mut(hasher.hash_one(key), eq),
            Self::Large(table) => table.find_mut(hasher.hash_one(key), eq),
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
        self.grow(hasher);
        let hash = hasher.hash_one(&key);
        let rehash = |entry: &(UK, UV)| hasher.hash_one(&entry.0);
        let entry = match self {
            Self::Flat(entries) => {
                *entries = entries.iter().cloned().chain([(key, value)]).collect();
                Arc::get_mut(entries).and_then(<[_]>::last_mut)
            }
            Self::Small(segment) => segment.insert(hash, (key, value), &rehash),
            Self::Large(table) => table.insert(hash, (key, value), &rehash),
        };
        entry.map(|(_, value)| value)
    }

    /// Takes the next form if this one is full.
    fn grow(&mut self, hasher: &RandomState) {
        let rehash = |entry: &(UK, UV)| hasher.hash_one(&entry.0);
        match self {
            Self::Flat(entries) if entries.len() >= FLAT => {
                let mut segment = Segment::with_capacity(2 * FLAT);
                for entry in entries.iter() {
                    segment.insert(rehash(entry), entry.clone(), &rehash);
                }
                *self = Self::Small(segment);
            }
            Self::Small(segment) if segment.len() >= SMALL => {
                let mut table = Table::default();
                for entry in segment.iter() {
                    table.insert(rehash(entry), entry.clone(), &rehash);
                }
                *self = Self::Large(Box::new(table));
            }
            _ => {}
        }
    }

    pub(super) fn remove(&mut self, hasher: &RandomState, key: &UK) {
        let eq = |entry: &(UK, UV)| entry.0 == *key;
        match self {
            Self::Flat(entries) => *entries = entries.iter().filter(|entry| !eq(entry)).cloned().collect(),
            Self::Small(segment) => drop(segment.remove(hasher.hash_one(key), eq)),
            Self::Large(table) => drop(table.remove(hasher.hash_one(key), eq)),
        }
    }

    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = (&UK, &UV)> {
        let (flat, small, large) = match self {
            Self::Flat(entries) => (&**entries, None, None),
            Self::Small(segment) => ([].as_slice(), Some(segment.iter()), None),
            Self::Large(table) => ([].as_slice(), None, Some(table.iter())),
        };
        let hashed = small.into_iter().flatten().chain(large.into_iter().flatten());
        flat.iter().chain(hashed).map(|(key, value)| (key, value))
    }

    /// Lets every value be changed and keeps the entries for which `keep` is true.
    pub(super) fn retain(&mut self, hasher: &RandomState, mut keep: impl FnMut(&UK, &mut UV) -> bool) {
        let rehash = |entry: &(UK, UV)| hasher.hash_one(&entry.0);
        match self {
            Self::Flat(entries) => {
                let kept = entries.iter().filter_map(|(key, value)| {
                    let mut value = value.clone();
                    keep(key, &mut value).then(|| (key.clone(), value))
                });
                *entries = kept.collect();
            }
            Self::Small(segment) => segment.retain(|(key, value)| keep(key, value), &rehash),
            Self::Large(table) => table.retain(|(key, value)| keep(key, value), &rehash),
        }
    }
}
