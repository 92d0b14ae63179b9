//! Map state over a byte store: one entry per map key, so that a large map is read and written in parts.

use std::ops::ControlFlow;

use highwater_types::{Key, Result, ResultExt, SerializerRef};

use super::WriteBatch;
use super::column::{Access, StateColumn};
use crate::encoding::{decode, decode_flagged};
use crate::keyed::{MapOps, Namespace, StateValue};

/// Most entries of a page of an iteration, as in Flink's `RocksDBMapState`.
const PAGE_ENTRIES: usize = 128;
/// A page ends behind this many bytes of keys and values, however few entries they are.
const PAGE_BYTES: usize = 1 << 20;
/// Bytes that a page has room for from the start.
const PAGE_START: usize = 1 << 10;

/// Map values come behind a flag that tells whether they are null: `01` alone for null, `00` before any other. For an
/// `Option` the flag is where `None` goes; for other types a null, written by a Java job, is an error.
pub(super) struct ByteMapState<K, N, UK, UV> {
    pub(super) column: StateColumn<K, N>,
    pub(super) key: SerializerRef<UK>,
    pub(super) value: SerializerRef<UV>,
}

impl<K: Key, N: Namespace, UK: StateValue, UV: StateValue> ByteMapState<K, N, UK, UV> {
    /// Completes the key of the access with a map key.
    #[inline]
    fn push_key(&self, access: &mut Access, key: &UK) -> Result<()> {
        self.key.serialize(key, &mut access.key).with("state", self.column.name())
    }

    #[inline]
    fn put_value(&self, access: &mut Access, value: &UV) -> Result<()> {
        access.value.clear();
        self.value.serialize_flagged(value, &mut access.value).with("state", self.column.name())?;
        self.column.put(access)
    }

    #[inline]
    fn read(&self, key: &[u8]) -> Result<Option<UV>> {
        self.column.read(key, |bytes| decode_flagged(bytes, &*self.value))
    }

    /// Gathers the entries of the current key and namespace page by page. The store is not borrowed while `visit` runs,
    /// which may use other states, and write to this one through the batch: it is applied at the end of each page.
    fn for_each_page(&self, visit: &mut dyn FnMut(&Page<'_>, &mut WriteBatch) -> Result<()>) -> Result<()> {
        let access = self.column.access()?;
        let _same_key = self.column.shared.context.current()?;
        let (mut page, mut batch) = (Page::new(access.scope()), WriteBatch::new());
        loop {
            page.fill(&self.column)?;
            visit(&page, &mut batch)?;
            if !batch.is_empty() {
                self.column.write(|store, _| store.write(&batch))?;
                batch.clear();
            }
            // Most maps have one page: they cost one scan.
            if !page.is_full() {
                return Ok(());
            }
        }
    }

    fn decode(&self, page: &Page<'_>, visit: &mut dyn FnMut(&[u8], &[u8], UK, UV) -> Result<()>) -> Result<()> {
        page.iter()
            .try_for_each(|(key, value)| {
                let map_key = decode(key.get(page.scope.len()..).unwrap_or_default(), &*self.key)?;
                visit(key, value, map_key, decode_flagged(value, &*self.value)?)
            })
            .with("state", self.column.name())
    }
}

/// Some entries of a map in serialized form.
struct Page<'a> {
    bytes: Vec<u8>,
    /// Lengths of key and value.
    entries: Vec<(usize, usize)>,
    /// The key without map key.
    scope: &'a [u8],
}

impl<'a> Page<'a> {
    fn new(scope: &'a [u8]) -> Self {
        Self { bytes: Vec::with_capacity(PAGE_START), entries: Vec::with_capacity(PAGE_START / 64), scope }
    }

    /// Gathers the entries behind those of the page before, of the beginning for the first.
    fn fill<K: Key, N: Namespace>(&mut self, column: &StateColumn<K, N>) -> Result<()> {
        let from = self.behind();
        self.bytes.clear();
        self.entries.clear();
        column.scan(self.scope, &from, &mut |key, value| {
            self.bytes.extend_from_slice(key);
            self.bytes.extend_from_slice(value);
            self.entries.push((key.len(), value.len()));
            Ok(if self.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
    }

    /// Whether there may be entries behind this page.
    fn is_full(&self) -> bool {
        self.entries.len() >= PAGE_ENTRIES || self.bytes.len() >= PAGE_BYTES
    }

    /// The first key that can be behind this page.
    fn behind(&self) -> Vec<u8> {
        self.iter().last().map_or_else(Vec::new, |(last, _)| [last, &[0]].concat())
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.entries.iter().map(move |(key_length, value_length)| {
            let (key, after) = rest.split_at(*key_length);
            let (value, after) = after.split_at(*value_length);
            rest = after;
            (key, value)
        })
    }
}

impl<K: Key, N: Namespace, UK: StateValue, UV: StateValue> MapOps<UK, UV, N> for ByteMapState<K, N, UK, UV> {
    fn set_namespace(&self, namespace: N) -> Result<()> {
        self.column.set_namespace(namespace)
    }

    fn get(&self, key: &UK) -> Result<Option<UV>> {
        let mut access = self.column.access()?;
        self.push_key(&mut access, key)?;
        self.read(&access.key)
    }

    fn contains(&self, key: &UK) -> Result<bool> {
        let mut access = self.column.access()?;
        self.push_key(&mut access, key)?;
        Ok(self.column.read(&access.key, |_| Ok(()))?.is_some())
    }

    fn put(&self, key: UK, value: UV) -> Result<()> {
        let mut access = self.column.access()?;
        self.push_key(&mut access, &key)?;
        self.put_value(&mut access, &value)
    }

    fn put_all(&self, entries: Vec<(UK, UV)>) -> Result<()> {
        let mut access = self.column.access()?;
        let mut batch = WriteBatch::new();
        for (key, value) in &entries {
            let scope = access.scope().len();
            access.key.truncate(scope);
            self.push_key(&mut access, key)?;
            access.value.clear();
            self.value.serialize_flagged(value, &mut access.value).with("state", self.column.name())?;
            self.column.check_sizes(&access)?;
            batch.put(self.column.column, &access.key, &access.value);
        }
        self.column.write(|store, _| store.write(&batch))
    }

    fn modify(&self, key: UK, initial: &mut dyn FnMut() -> UV, change: &mut dyn FnMut(&mut UV)) -> Result<()> {
        let mut access = self.column.access()?;
        let _same_key = self.column.shared.context.current()?;
        self.push_key(&mut access, &key)?;
        let mut value = self.read(&access.key)?.unwrap_or_else(initial);
        change(&mut value);
        self.put_value(&mut access, &value)
    }

    fn remove(&self, key: &UK) -> Result<()> {
        let mut access = self.column.access()?;
        self.push_key(&mut access, key)?;
        self.column.delete(&access.key)
    }

    fn for_each(&self, visit: &mut dyn FnMut(&UK, &UV)) -> Result<()> {
        self.for_each_page(&mut |page, _| {
            self.decode(page, &mut |_, _, key, value| {
                visit(&key, &value);
                Ok(())
            })
        })
    }

    fn retain(&self, keep: &mut dyn FnMut(&UK, &mut UV) -> bool) -> Result<()> {
        let mut encoded = Vec::new();
        self.for_each_page(&mut |page, batch| {
            self.decode(page, &mut |old_key, old_value, key, mut value| {
                if !keep(&key, &mut value) {
                    batch.delete(self.column.column, old_key);
                    return Ok(());
                }
                encoded.clear();
                self.value.serialize_flagged(&value, &mut encoded)?;
                if encoded != old_value {
                    batch.put(self.column.column, old_key, &encoded);
                }
                Ok(())
            })
        })
    }

    fn is_empty(&self) -> Result<bool> {
        let access = self.column.access()?;
        let mut empty = true;
        self.column.scan(access.scope(), &[], &mut |_, _| {
            empty = false;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(empty)
    }

    fn clear(&self) -> Result<()> {
        self.for_each_page(&mut |page, batch| {
            page.iter().for_each(|(key, _)| batch.delete(self.column.column, key));
            Ok(())
        })
    }
}
