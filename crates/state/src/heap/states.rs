//! The five kinds of state over heap tables.

use std::marker::PhantomData;
use std::sync::Arc;

use foldhash::fast::RandomState;
use highwater_types::{Key, Result, SerializerRef};

use super::cell::ValueCell;
use super::list::ListCell;
use super::map::Map;
use super::state::{CellFormat, HeapState};
use crate::canonical::CanonicalWriter;
use crate::descriptor::{AggregateFunction, ReduceRef};
use crate::encoding::{LIST_DELIMITER, decode, decode_flagged, for_each_element};
use crate::keyed::{AggregatingOps, ListOps, MapOps, Namespace, ReducingOps, StateValue, ValueOps};

/// Cells of one value each, serialized as it is: value, reducing and aggregating state.
pub(super) struct ValueFormat<V, C> {
    pub(super) serializer: SerializerRef<V>,
    cell: PhantomData<fn() -> C>,
}

impl<V, C> ValueFormat<V, C> {
    pub(super) fn new(serializer: SerializerRef<V>) -> Self {
        Self { serializer, cell: PhantomData }
    }
}

impl<V, C> Clone for ValueFormat<V, C> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.serializer))
    }
}

impl<V: StateValue, C: ValueCell<V>> CellFormat<C> for ValueFormat<V, C> {
    #[inline]
    fn write(
        &self,
        state_id: u16,
        scope: impl Fn(&mut Vec<u8>) -> Result<()>,
        cell: &C,
        out: &mut CanonicalWriter,
    ) -> Result<()> {
        out.entry(state_id, scope, |out| self.serializer.serialize(cell.get(), out))
    }

    #[inline]
    fn read(&self, _: &[u8], value: &[u8], cell: Option<&mut C>) -> Result<Option<C>> {
        let value = decode(value, &*self.serializer)?;
        match cell {
            Some(cell) => cell.set(value),
            None => return Ok(Some(C::new(value))),
        }
        Ok(None)
    }
}

/// Value state.
impl<K: Key, N: Namespace, V: StateValue, C: ValueCell<V>> ValueOps<V, N> for HeapState<K, N, C, ValueFormat<V, C>> {
    fn set_namespace(&self, namespace: N) -> Result<()> {
        self.set_namespace(namespace)
    }

    fn get(&self) -> Result<Option<V>> {
        self.read(|cell| cell.map(|cell| cell.get().clone()))
    }

    fn with(&self, read: &mut dyn FnMut(Option<&V>)) -> Result<()> {
        self.lend(|cell| read(cell.map(C::get)))
    }

    fn put(&self, value: V) -> Result<()> {
        self.upsert(value, C::set, C::new)
    }

    fn modify(&self, initial: &mut dyn FnMut() -> V, change: &mut dyn FnMut(&mut V)) -> Result<()> {
        self.upsert(
            change,
            |cell, change| change(cell.get_mut()),
            |change| {
                let mut value = initial();
                change(&mut value);
                C::new(value)
            },
        )
    }

    fn clear(&self) -> Result<()> {
        self.clear()
    }
}

/// Cells of one value each, into which inputs are folded.
pub(super) struct FoldFormat<V, C, F> {
    value: ValueFormat<V, C>,
    fold: F,
}

impl<V, C, F> FoldFormat<V, C, F> {
    pub(super) fn new(serializer: SerializerRef<V>, fold: F) -> Self {
        Self { value: ValueFormat::new(serializer), fold }
    }
}

impl<V, C, F: Clone> Clone for FoldFormat<V, C, F> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), fold: self.fold.clone() }
    }
}

impl<V: StateValue, C: ValueCell<V>, F: Clone + Send + 'static> CellFormat<C> for FoldFormat<V, C, F> {
    #[inline]
    fn write(
        &self,
        state_id: u16,
        scope: impl Fn(&mut Vec<u8>) -> Result<()>,
        cell: &C,
        out: &mut CanonicalWriter,
    ) -> Result<()> {
        self.value.write(state_id, scope, cell, out)
    }

    #[inline]
    fn read(&self, map_key: &[u8], value: &[u8], cell: Option<&mut C>) -> Result<Option<C>> {
        self.value.read(map_key, value, cell)
    }
}

/// Reducing state.
impl<K: Key, N: Namespace, V: StateValue, C: ValueCell<V>> ReducingOps<V, N>
    for HeapState<K, N, C, FoldFormat<V, C, ReduceRef<V>>>
{
    fn set_namespace(&self, namespace: N) -> Result<()> {
        self.set_namespace(namespace)
    }

    fn get(&self) -> Result<Option<V>> {
        self.read(|cell| cell.map(|cell| cell.get().clone()))
    }

    fn add(&self, value: V) -> Result<()> {
        self.upsert(value, |cell, value| (self.cells().fold)(cell.get_mut(), value), C::new)
    }

    fn clear(&self) -> Result<()> {
        self.clear()
    }

    fn merge_namespaces(&self, target: N, sources: &[N]) -> Result<()> {
        self.merge(&target, sources, |left, right| (self.cells().fold)(left.get_mut(), right.get().clone()))
    }
}

/// Aggregating state.
impl<K, N, C, F> AggregatingOps<F::Input, F::Output, N> for HeapState<K, N, C, FoldFormat<F::Accumulator, C, Arc<F>>>
where
    K: Key,
    N: Namespace,
    F: AggregateFunction<Accumulator: StateValue>,
    C: ValueCell<F::Accumulator>,
{
    fn set_namespace(&self, namespace: N) -> Result<()> {
        self.set_namespace(namespace)
    }

    fn get(&self) -> Result<Option<F::Output>> {
        self.lend(|cell| cell.map(|cell| self.cells().fold.result(cell.get())))
    }

    fn add(&self, input: F::Input) -> Result<()> {
        let function = &self.cells().fold;
        self.upsert(
            input,
            |cell, input| function.add(cell.get_mut(), input),
            |input| {
                let mut accumulator = function.create_accumulator();
                function.add(&mut accumulator, input);
                C::new(accumulator)
            },
        )
    }

    fn clear(&self) -> Result<()> {
        self.clear()
    }

    fn merge_namespaces(&self, target: N, sources: &[N]) -> Result<()> {
        self.merge(&target, sources, |left, right| self.cells().fold.merge(left.get_mut(), right.get().clone()))
    }
}

/// Lists, their elements joined by a delimiter.
pub(super) struct ListFormat<T>(pub(super) SerializerRef<T>);

impl<T> Clone for ListFormat<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: StateValue, C: ListCell<T>> CellFormat<C> for ListFormat<T> {
    fn write(
        &self,
        state_id: u16,
        scope: impl Fn(&mut Vec<u8>) -> Result<()>,
        list: &C,
        out: &mut CanonicalWriter,
    ) -> Result<()> {
        out.entry(state_id, scope, |out| {
            let mut first = true;
            list.iter().try_for_each(|element| {
                if !std::mem::take(&mut first) {
                    out.push(LIST_DELIMITER);
                }
                self.0.serialize(element, out)
            })
        })
    }

    fn read(&self, _: &[u8], value: &[u8], list: Option<&mut C>) -> Result<Option<C>> {
        let mut elements = Vec::new();
        for_each_element(value, &*self.0, |element| {
            elements.push(element);
            Ok(())
        })?;
        match list {
            Some(list) => *list = C::from_vec(elements),
            None => return Ok(Some(C::from_vec(elements))),
        }
        Ok(None)
    }
}

/// List state.
impl<K: Key, N: Namespace, T: StateValue, C: ListCell<T>> ListOps<T, N> for HeapState<K, N, C, ListFormat<T>> {
    fn set_namespace(&self, namespace: N) -> Result<()> {
        self.set_namespace(namespace)
    }

    fn get(&self) -> Result<Vec<T>> {
        self.read(|list| list.map(|list| list.iter().cloned().collect()).unwrap_or_default())
    }

    fn for_each(&self, visit: &mut dyn FnMut(&T)) -> Result<()> {
        self.lend(|list| list.into_iter().flat_map(C::iter).for_each(visit))
    }

    fn add(&self, element: T) -> Result<()> {
        self.upsert(element, C::push, C::one)
    }

    fn add_all(&self, elements: Vec<T>) -> Result<()> {
        if elements.is_empty() {
            // Even so, there has to be a current key.
            return self.read(|_| ());
        }
        let found = |list: &mut C, elements: Vec<T>| elements.into_iter().for_each(|element| list.push(element));
        self.upsert(elements, found, C::from_vec)
    }

    fn update(&self, elements: Vec<T>) -> Result<()> {
        if elements.is_empty() {
            return self.clear();
        }
        self.upsert(elements, |list, elements| *list = C::from_vec(elements), C::from_vec)
    }

    fn retain(&self, keep: &mut dyn FnMut(&mut T) -> bool) -> Result<()> {
        self.change(|list| {
            list.retain(keep);
            !list.is_empty()
        })
    }

    fn clear(&self) -> Result<()> {
        self.clear()
    }

    fn merge_namespaces(&self, target: N, sources: &[N]) -> Result<()> {
        self.merge(&target, sources, |left, right| right.iter().cloned().for_each(|element| left.push(element)))
    }
}

/// Maps, one entry of the stream for each of theirs.
pub(super) struct MapFormat<UK, UV> {
    pub(super) key: SerializerRef<UK>,
    pub(super) value: SerializerRef<UV>,
    pub(super) hasher: RandomState,
}

impl<UK, UV> Clone for MapFormat<UK, UV> {
    fn clone(&self) -> Self {
        Self { key: Arc::clone(&self.key), value: Arc::clone(&self.value), hasher: self.hasher.clone() }
    }
}

impl<UK: MapKey, UV: StateValue> CellFormat<Map<UK, UV>> for MapFormat<UK, UV> {
    const ONE_ENTRY_EACH: bool = false;

    fn write(
        &self,
        state_id: u16,
        scope: impl Fn(&mut Vec<u8>) -> Result<()>,
        map: &Map<UK, UV>,
        out: &mut CanonicalWriter,
    ) -> Result<()> {
        map.iter().try_for_each(|(key, value)| {
            let composite = |out: &mut Vec<u8>| {
                scope(out)?;
                self.key.serialize(key, out)
            };
            out.entry(state_id, composite, |out| self.value.serialize_flagged(value, out))
        })
    }

    fn read(&self, map_key: &[u8], value: &[u8], map: Option<&mut Map<UK, UV>>) -> Result<Option<Map<UK, UV>>> {
        let key = decode(map_key, &*self.key)?;
        let value = decode_flagged(value, &*self.value)?;
        let mut fresh = None;
        map.unwrap_or_else(|| fresh.insert(Map::new())).put(&self.hasher, key, value);
        Ok(fresh)
    }
}

/// What the keys of a map state must be.
pub trait MapKey: StateValue + Eq + std::hash::Hash {}
impl<T: StateValue + Eq + std::hash::Hash> MapKey for T {}

type ModifyMap<'a, UK, UV> = (UK, &'a mut dyn FnMut() -> UV, &'a mut dyn FnMut(&mut UV));

impl<UK: MapKey, UV: StateValue> MapFormat<UK, UV> {
    #[inline]
    fn put(&self, map: &mut Map<UK, UV>, (key, value): (UK, UV)) {
        map.put(&self.hasher, key, value);
    }

    fn put_all(&self, map: &mut Map<UK, UV>, entries: Vec<(UK, UV)>) {
        entries.into_iter().for_each(|entry| self.put(map, entry));
    }

    fn modify(&self, map: &mut Map<UK, UV>, (key, initial, change): ModifyMap<'_, UK, UV>) {
        match map.get_mut(&self.hasher, &key) {
            Some(value) => change(value),
            None => {
                let mut value = initial();
                change(&mut value);
                map.insert(&self.hasher, key, value);
            }
        }
    }
}

/// A new map after a first change.
#[inline]
fn changed<UK: MapKey, UV: StateValue, A>(change: impl FnOnce(&mut Map<UK, UV>, A), argument: A) -> Map<UK, UV> {
    let mut map = Map::new();
    change(&mut map, argument);
    map
}

/// Map state.
impl<K: Key, N: Namespace, UK: MapKey, UV: StateValue> MapOps<UK, UV, N>
    for HeapState<K, N, Map<UK, UV>, MapFormat<UK, UV>>
{
    fn set_namespace(&self, namespace: N) -> Result<()> {
        self.set_namespace(namespace)
    }

    fn get(&self, key: &UK) -> Result<Option<UV>> {
        self.read(|map| map.and_then(|map| map.get(&self.cells().hasher, key)).cloned())
    }

    fn contains(&self, key: &UK) -> Result<bool> {
        self.read(|map| map.is_some_and(|map| map.get(&self.cells().hasher, key).is_some()))
    }

    fn put(&self, key: UK, value: UV) -> Result<()> {
        let cells = self.cells();
        let one = |(key, value)| Map::one(&cells.hasher, key, value);
        self.upsert((key, value), |map, entry| cells.put(map, entry), one)
    }

    fn put_all(&self, entries: Vec<(UK, UV)>) -> Result<()> {
        if entries.is_empty() {
            return self.read(|_| ());
        }
        let cells = self.cells();
        let put = |map: &mut _, entries| cells.put_all(map, entries);
        self.upsert(entries, put, |entries| changed(put, entries))
    }

    fn modify(&self, key: UK, initial: &mut dyn FnMut() -> UV, change: &mut dyn FnMut(&mut UV)) -> Result<()> {
        let cells = self.cells();
        let argument: ModifyMap<'_, UK, UV> = (key, initial, change);
        self.upsert(
            argument,
            |map, argument| cells.modify(map, argument),
            |argument| changed(|map, argument| cells.modify(map, argument), argument),
        )
    }

    fn remove(&self, key: &UK) -> Result<()> {
        // A miss must not copy what is shared.
        if !self.contains(key)? {
            return Ok(());
        }
        self.change(|map| {
            map.remove(&self.cells().hasher, key);
            map.len() > 0
        })
    }

    fn for_each(&self, visit: &mut dyn FnMut(&UK, &UV)) -> Result<()> {
        self.lend(|map| map.into_iter().flat_map(Map::iter).for_each(|(key, value)| visit(key, value)))
    }

    fn retain(&self, keep: &mut dyn FnMut(&UK, &mut UV) -> bool) -> Result<()> {
        self.change(|map| {
            map.retain(&self.cells().hasher, keep);
            map.len() > 0
        })
    }

    fn is_empty(&self) -> Result<bool> {
        self.read(|map| map.is_none())
    }

    fn clear(&self) -> Result<()> {
        self.clear()
    }
}
