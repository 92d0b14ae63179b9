//! Broadcast states of an operator.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::rc::Rc;

use foldhash::fast::RandomState;
use highwater_types::{ByteReader, Error, Result, SerializerRef};

use super::snapshot::ElementWriter;
use super::{FrozenOperatorState, RegisteredState, in_use};
use crate::StateValue;
use crate::canonical::StateMeta;

pub(super) type Map<K, V> = HashMap<K, V, RandomState>;

/// A map of which every subtask keeps a copy (Flink's `BroadcastState`), got from
/// [`broadcast_state`](super::OperatorStateBackend::broadcast_state). It is for the program to change all copies alike,
/// from a stream that every subtask receives whole.
///
/// The handle is cheap to clone and belongs to one thread. The map cannot be changed while it is being visited: that is
/// a [`Program`](highwater_types::ErrorKind::Program) error.
pub struct BroadcastState<K, V> {
    inner: Rc<Inner<K, V>>,
}

/// A [`BroadcastState`] that cannot be changed (`ReadOnlyBroadcastState`): the view for the side that is not broadcast.
pub struct ReadOnlyBroadcastState<K, V> {
    inner: Rc<Inner<K, V>>,
}

pub(super) struct Serializers<K, V> {
    pub(super) key: SerializerRef<K>,
    pub(super) value: SerializerRef<V>,
}

struct Inner<K, V> {
    meta: StateMeta,
    serializers: Rc<Serializers<K, V>>,
    entries: RefCell<Map<K, V>>,
}

macro_rules! reads {
    ($name:ident) => {
        impl<K: StateValue + Eq + Hash, V: StateValue> $name<K, V> {
            /// A copy of the value under `key`.
            pub fn get(&self, key: &K) -> Result<Option<V>> {
                self.inner.read(|entries| entries.get(key).cloned())
            }

            /// Whether there is a value under `key`.
            pub fn contains(&self, key: &K) -> Result<bool> {
                self.inner.read(|entries| entries.contains_key(key))
            }

            /// Copies of all entries, in no particular order.
            pub fn entries(&self) -> Result<Vec<(K, V)>> {
                self.inner.read(|entries| entries.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
            }

            /// Visits all entries without copying them, in no particular order.
            pub fn for_each(&self, mut visit: impl FnMut(&K, &V)) -> Result<()> {
                self.inner.read(|entries| entries.iter().for_each(|(key, value)| visit(key, value)))
            }

            /// How many entries.
            pub fn len(&self) -> Result<usize> {
                self.inner.read(Map::len)
            }

            /// Whether there is no entry.
            pub fn is_empty(&self) -> Result<bool> {
                self.inner.read(Map::is_empty)
            }
        }

        impl<K, V> Clone for $name<K, V> {
            fn clone(&self) -> Self {
                Self { inner: Rc::clone(&self.inner) }
            }
        }

        impl<K, V> fmt::Debug for $name<K, V> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("name", &self.inner.meta.name()).finish_non_exhaustive()
            }
        }
    };
}

reads!(BroadcastState);
reads!(ReadOnlyBroadcastState);

impl<K: StateValue + Eq + Hash, V: StateValue> BroadcastState<K, V> {
    pub(super) fn new(meta: StateMeta, serializers: Serializers<K, V>, entries: Map<K, V>) -> Self {
        Self { inner: Rc::new(Inner { meta, serializers: Rc::new(serializers), entries: RefCell::new(entries) }) }
    }

    pub(super) fn registered(&self) -> Rc<dyn RegisteredState> {
        Rc::<Inner<K, V>>::clone(&self.inner)
    }

    /// Sets the value under `key` and returns the one before.
    pub fn put(&self, key: K, value: V) -> Result<Option<V>> {
        self.inner.change(|entries| entries.insert(key, value))
    }

    /// Sets several values.
    pub fn put_all(&self, new: impl IntoIterator<Item = (K, V)>) -> Result<()> {
        let new: Vec<_> = new.into_iter().collect();
        self.inner.change(|entries| entries.extend(new))
    }

    /// Removes the value under `key` and returns it.
    pub fn remove(&self, key: &K) -> Result<Option<V>> {
        self.inner.change(|entries| entries.remove(key))
    }

    /// Removes all entries.
    pub fn clear(&self) -> Result<()> {
        self.inner.change(std::mem::take).map(drop)
    }

    /// A view that cannot change the state.
    #[must_use]
    pub fn read_only(&self) -> ReadOnlyBroadcastState<K, V> {
        ReadOnlyBroadcastState { inner: Rc::clone(&self.inner) }
    }
}

impl<K, V> Inner<K, V> {
    fn read<R>(&self, read: impl FnOnce(&Map<K, V>) -> R) -> Result<R> {
        self.entries.try_borrow().map(|entries| read(&entries)).map_err(|_| in_use(&self.meta))
    }

    fn change<R>(&self, change: impl FnOnce(&mut Map<K, V>) -> R) -> Result<R> {
        self.entries.try_borrow_mut().map(|mut entries| change(&mut entries)).map_err(|_| in_use(&self.meta))
    }
}

impl<K: StateValue, V: StateValue> RegisteredState for Inner<K, V> {
    fn freeze(&self) -> Result<Box<dyn FrozenOperatorState>> {
        let entries = self.read(|entries| entries.iter().map(|(key, value)| (key.clone(), value.clone())).collect())?;
        Ok(Box::new(FrozenBroadcast { meta: self.meta.clone(), serializers: self.serializers.copy(), entries }))
    }
}

impl<K: 'static, V: 'static> Serializers<K, V> {
    fn copy(&self) -> Self {
        Self { key: SerializerRef::clone(&self.key), value: SerializerRef::clone(&self.value) }
    }

    /// `i32` number of entries, then key and value of each.
    fn serialize(&self, entries: &[(K, V)], out: &mut Vec<u8>) -> Result<()> {
        let count = i32::try_from(entries.len()).map_err(|_| {
            Error::unsupported("a broadcast state has more entries than Flink's format can count")
                .with("expected", i32::MAX)
                .with("found", entries.len())
        })?;
        out.extend_from_slice(&count.to_be_bytes());
        entries.iter().try_for_each(|(key, value)| {
            self.key.serialize(key, out)?;
            self.value.serialize(value, out)
        })
    }

    /// Reads what [`serialize`](Self::serialize) wrote, into `entries`.
    pub(super) fn deserialize(&self, input: &mut ByteReader<'_>, entries: &mut Map<K, V>) -> Result<()>
    where
        K: Eq + Hash,
    {
        // An entry may take no byte at all, but no entry is read before its bytes were there.
        for _ in 0..input.read_count(1)? {
            let key = self.key.deserialize(input)?;
            entries.insert(key, self.value.deserialize(input)?);
        }
        Ok(())
    }
}

struct FrozenBroadcast<K, V> {
    meta: StateMeta,
    serializers: Serializers<K, V>,
    entries: Vec<(K, V)>,
}

impl<K: StateValue, V: StateValue> FrozenOperatorState for FrozenBroadcast<K, V> {
    fn meta(&self) -> &StateMeta {
        &self.meta
    }

    fn write(&self, out: &mut ElementWriter) -> Result<()> {
        out.element(|buffer| self.serializers.serialize(&self.entries, buffer))
    }
}
