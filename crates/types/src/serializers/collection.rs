//! Lists, maps and sets.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use super::{first_capacity, write_count};
use crate::{ByteReader, DefaultSerializer, Length, Result, SerializerRef, SerializerSnapshot, TypeSerializer};

/// `ListSerializer`: `i32` count, then the elements.
///
/// ```
/// use highwater_types::{DefaultSerializer, ListSerializer, TypeSerializer};
///
/// let serializer = ListSerializer::new(i64::default_serializer());
/// let mut bytes = Vec::new();
/// serializer.serialize(&vec![7], &mut bytes)?;
/// assert_eq!(bytes, [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
/// # Ok::<(), highwater_types::Error>(())
/// ```
pub struct ListSerializer<T> {
    element: SerializerRef<T>,
}

clone_and_debug!(ListSerializer<T> { element });

impl<T> ListSerializer<T> {
    /// Lists of such elements.
    #[must_use]
    pub fn new(element: SerializerRef<T>) -> Self {
        Self { element }
    }

    /// The serializer of the elements.
    #[must_use]
    pub fn element(&self) -> &SerializerRef<T> {
        &self.element
    }
}

impl<T: 'static> TypeSerializer<Vec<T>> for ListSerializer<T> {
    fn length(&self) -> Length {
        Length::Variable
    }

    fn serialize(&self, value: &Vec<T>, out: &mut Vec<u8>) -> Result<()> {
        write_count(value.len(), out)?;
        value.iter().try_for_each(|element| self.element.serialize(element, out))
    }

    fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<Vec<T>> {
        let count = input.read_count(self.element.length().minimum())?;
        let mut elements = Vec::with_capacity(first_capacity::<T>(count));
        for _ in 0..count {
            elements.push(self.element.deserialize(input)?);
        }
        Ok(elements)
    }

    fn snapshot(&self) -> SerializerSnapshot {
        SerializerSnapshot::list(self.element.snapshot())
    }
}

impl<T: DefaultSerializer> DefaultSerializer for Vec<T> {
    fn default_serializer() -> SerializerRef<Self> {
        Arc::new(ListSerializer::new(T::default_serializer()))
    }
}

/// `MapSerializer`: `i32` count, then for each entry the key, a null flag and the value.
///
/// Serializes hash maps and ordered maps. The null flag is what holds the `None` of a `HashMap<K, Option<V>>`: such a
/// map is Flink's `Map<K, V>` with null values, not a map of `NullableSerializer` values. Reading a null into a map
/// whose values are not `Option` is an error.
pub struct MapSerializer<K, V> {
    key: SerializerRef<K>,
    value: SerializerRef<V>,
}

clone_and_debug!(MapSerializer<K, V> { key, value });

impl<K, V> MapSerializer<K, V> {
    /// Maps of such keys and values.
    #[must_use]
    pub fn new(key: SerializerRef<K>, value: SerializerRef<V>) -> Self {
        Self { key, value }
    }

    /// The serializer of the keys.
    #[must_use]
    pub fn key(&self) -> &SerializerRef<K> {
        &self.key
    }

    /// The serializer of the values.
    #[must_use]
    pub fn value(&self) -> &SerializerRef<V> {
        &self.value
    }
}

/// `SetSerializer`, which Flink has since 2.0: `i32` count, then for each element a null flag and the element.
///
/// Serializes hash sets and ordered sets. The null flag is what holds the `None` of a set of `Option`.
pub struct SetSerializer<T> {
    element: SerializerRef<T>,
}

clone_and_debug!(SetSerializer<T> { element });

impl<T> SetSerializer<T> {
    /// Sets of such elements.
    #[must_use]
    pub fn new(element: SerializerRef<T>) -> Self {
        Self { element }
    }

    /// The serializer of the elements.
    #[must_use]
    pub fn element(&self) -> &SerializerRef<T> {
        &self.element
    }
}

macro_rules! maps {
    ($([$($hasher:ident)?] $map:ty, where K: $($bound:path),+;)*) => {$(
        impl<K, V: 'static $(, $hasher: BuildHasher + Default + 'static)?> TypeSerializer<$map> for MapSerializer<K, V>
        where
            K: 'static $(+ $bound)+,
        {
            fn length(&self) -> Length {
                Length::Variable
            }

            fn serialize(&self, value: &$map, out: &mut Vec<u8>) -> Result<()> {
                write_count(value.len(), out)?;
                value.iter().try_for_each(|(key, value)| {
                    self.key.serialize(key, out)?;
                    self.value.serialize_flagged(value, out)
                })
            }

            fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<$map> {
                let count = input.read_count(self.key.length().minimum() + 1)?;
                let mut map = <$map>::default();
                for _ in 0..count {
                    let key = self.key.deserialize(input)?;
                    map.insert(key, self.value.deserialize_flagged(input)?);
                }
                Ok(map)
            }

            fn snapshot(&self) -> SerializerSnapshot {
                SerializerSnapshot::map(self.key.snapshot(), self.value.flagged_snapshot())
            }
        }

        impl<K, V: DefaultSerializer $(, $hasher: BuildHasher + Default + 'static)?> DefaultSerializer for $map
        where
            K: DefaultSerializer $(+ $bound)+,
        {
            fn default_serializer() -> SerializerRef<Self> {
                Arc::new(MapSerializer::new(K::default_serializer(), V::default_serializer()))
            }
        }
    )*};
}

maps! {
    [S] HashMap<K, V, S>, where K: Eq, Hash;
    [] BTreeMap<K, V>, where K: Ord;
}

macro_rules! sets {
    ($([$($hasher:ident)?] $set:ty, where T: $($bound:path),+;)*) => {$(
        impl<T $(, $hasher: BuildHasher + Default + 'static)?> TypeSerializer<$set> for SetSerializer<T>
        where
            T: 'static $(+ $bound)+,
        {
            fn length(&self) -> Length {
                Length::Variable
            }

            fn serialize(&self, value: &$set, out: &mut Vec<u8>) -> Result<()> {
                write_count(value.len(), out)?;
                value.iter().try_for_each(|element| self.element.serialize_flagged(element, out))
            }

            fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<$set> {
                let count = input.read_count(1)?;
                let mut set = <$set>::default();
                for _ in 0..count {
                    set.insert(self.element.deserialize_flagged(input)?);
                }
                Ok(set)
            }

            fn snapshot(&self) -> SerializerSnapshot {
                SerializerSnapshot::set(self.element.flagged_snapshot())
            }
        }

        impl<T $(, $hasher: BuildHasher + Default + 'static)?> DefaultSerializer for $set
        where
            T: DefaultSerializer $(+ $bound)+,
        {
            fn default_serializer() -> SerializerRef<Self> {
                Arc::new(SetSerializer::new(T::default_serializer()))
            }
        }
    )*};
}

sets! {
    [S] HashSet<T, S>, where T: Eq, Hash;
    [] BTreeSet<T>, where T: Ord;
}
