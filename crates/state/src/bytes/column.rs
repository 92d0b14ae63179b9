//! One state in its column: where the current key and namespace lie, and how they are read and written.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashSet;
use std::rc::Rc;

use highwater_types::{Error, Key, Result, ResultExt, SerializerRef, TypeSerializer};

use super::{ByteStore, ColumnId, VisitEntry};
use crate::encoding::{KeyLayout, decode};
use crate::keyed::{KeyContext, Namespace, nested_use, no_namespace};

/// What all states of one backend share: the store, and the current key in serialized form.
pub(super) struct Shared<K> {
    pub(super) store: RefCell<Box<dyn ByteStore>>,
    pub(super) context: Rc<KeyContext<K>>,
    pub(super) key_serializer: SerializerRef<K>,
    key: RefCell<SerializedKey>,
}

/// The current key, serialized once per key change whatever the number of states that use it.
#[derive(Default)]
struct SerializedKey {
    version: u64,
    /// Key group and key.
    bytes: Vec<u8>,
    /// Length of the key alone.
    length: usize,
}

impl<K: Key> Shared<K> {
    pub(super) fn new(store: Box<dyn ByteStore>, context: Rc<KeyContext<K>>, key_serializer: SerializerRef<K>) -> Self {
        Self { store: RefCell::new(store), context, key_serializer, key: RefCell::default() }
    }

    pub(super) fn prefix_bytes(&self) -> usize {
        self.context.max_parallelism().prefix_bytes()
    }

    /// Appends key group and current key; returns the length of the key alone.
    fn push_current_key(&self, out: &mut Vec<u8>) -> Result<usize> {
        let current = self.context.current()?;
        let mut key = self.key.try_borrow_mut().map_err(|_| store_in_use())?;
        if key.version != self.context.version() {
            key.bytes.clear();
            key.version = 0;
            key.length = KeyLayout::push_key(
                self.prefix_bytes(),
                current.group,
                &current.key,
                &*self.key_serializer,
                &mut key.bytes,
            )?;
            key.version = self.context.version();
        }
        out.extend_from_slice(&key.bytes);
        Ok(key.length)
    }
}

/// One state in its column of the store.
pub(super) struct StateColumn<K, N> {
    pub(super) shared: Rc<Shared<K>>,
    pub(super) column: ColumnId,
    name: String,
    layout: KeyLayout,
    namespace_serializer: SerializerRef<N>,
    namespace: RefCell<Option<N>>,
    namespace_version: Cell<u64>,
    /// Borrowed as long as an access runs, user closures included: a nested access to the same state finds it taken.
    access: RefCell<Access>,
}

/// Buffers of one access, kept for the next.
#[derive(Default)]
pub(super) struct Access {
    /// Composed for these versions of key and namespace.
    versions: (u64, u64),
    /// Length of the key without map key.
    scope: usize,
    /// The composite key.
    pub(super) key: Vec<u8>,
    /// The value on its way in or out.
    pub(super) value: Vec<u8>,
}

impl Access {
    /// The part of the key that all entries of the current key and namespace have in common.
    pub(super) fn scope(&self) -> &[u8] {
        self.key.get(..self.scope).unwrap_or_default()
    }
}

impl<K: Key, N: Namespace> StateColumn<K, N> {
    pub(super) fn new(
        shared: Rc<Shared<K>>,
        column: ColumnId,
        name: &str,
        namespace_serializer: SerializerRef<N>,
    ) -> Self {
        let layout = KeyLayout::new(
            shared.context.max_parallelism(),
            shared.key_serializer.length(),
            namespace_serializer.length(),
        );
        Self {
            shared,
            column,
            name: name.to_owned(),
            layout,
            namespace_serializer,
            namespace: RefCell::new(None),
            namespace_version: Cell::new(0),
            access: RefCell::default(),
        }
    }

    pub(super) fn set_namespace(&self, namespace: N) -> Result<()> {
        let _no_access = self.access.try_borrow_mut().map_err(|_| nested_use(&self.name))?;
        self.namespace.replace(Some(namespace));
        self.namespace_version.set(self.namespace_version.get() + 1);
        Ok(())
    }

    /// Begins an access: the composite key is that of the current key and namespace, without map key.
    #[inline]
    pub(super) fn access(&self) -> Result<RefMut<'_, Access>> {
        let mut access = self.access.try_borrow_mut().map_err(|_| nested_use(&self.name))?;
        let versions = (self.shared.context.version(), self.namespace_version.get());
        if access.versions == versions {
            let scope = access.scope;
            access.key.truncate(scope);
        } else {
            self.compose(&mut access).with("state", &self.name)?;
            access.versions = versions;
        }
        Ok(access)
    }

    /// Begins an access to namespaces that are named one by one; the buffer for a key is not to be used.
    pub(super) fn access_namespaces(&self) -> Result<RefMut<'_, Access>> {
        self.access.try_borrow_mut().map_err(|_| nested_use(&self.name))
    }

    fn compose(&self, access: &mut Access) -> Result<()> {
        // Stays so if anything fails; no key has version 0.
        access.versions = (0, 0);
        access.key.clear();
        let namespace = self.namespace.borrow();
        let namespace = namespace.as_ref().ok_or_else(no_namespace)?;
        self.push_scope(namespace, &mut access.key)?;
        access.scope = access.key.len();
        Ok(())
    }

    /// The composite key of the current key and any namespace, without map key.
    pub(super) fn scope_of(&self, namespace: &N) -> Result<Vec<u8>> {
        let mut key = Vec::new();
        self.push_scope(namespace, &mut key).with("state", &self.name)?;
        Ok(key)
    }

    /// The composite keys of the sources of a merge, in order and each once, without the target.
    pub(super) fn scopes_of_sources(&self, target: &N, sources: &[N]) -> Result<Vec<Vec<u8>>> {
        let mut seen = HashSet::from([target]);
        sources.iter().filter(|source| seen.insert(*source)).map(|source| self.scope_of(source)).collect()
    }

    fn push_scope(&self, namespace: &N, out: &mut Vec<u8>) -> Result<()> {
        let length = self.shared.push_current_key(out)?;
        self.layout.push_namespace(length, namespace, &*self.namespace_serializer, out)
    }

    /// Reads what lies under `key`, in place.
    #[inline]
    pub(super) fn read<R>(&self, key: &[u8], mut read: impl FnMut(&[u8]) -> Result<R>) -> Result<Option<R>> {
        let mut result = None;
        let store = self.shared.store.try_borrow().map_err(|_| store_in_use())?;
        store
            .get(self.column, key, &mut |bytes| {
                result = Some(read(bytes)?);
                Ok(())
            })
            .with("state", &self.name)?;
        Ok(result)
    }

    /// Reads and decodes the value under `key`.
    #[inline]
    pub(super) fn read_value<V: 'static>(&self, key: &[u8], serializer: &dyn TypeSerializer<V>) -> Result<Option<V>> {
        self.read(key, |bytes| decode(bytes, serializer))
    }

    /// As [`ByteStore::scan`] in this column.
    pub(super) fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut VisitEntry<'_>) -> Result<()> {
        let store = self.shared.store.try_borrow().map_err(|_| store_in_use())?;
        store.scan(self.column, prefix, from, visit).with("state", &self.name)
    }

    /// Writes with the store borrowed for just that long.
    #[inline]
    pub(super) fn write(&self, write: impl FnOnce(&mut dyn ByteStore, ColumnId) -> Result<()>) -> Result<()> {
        let mut store = self.shared.store.try_borrow_mut().map_err(|_| store_in_use())?;
        write(&mut **store, self.column).with("state", &self.name)
    }

    /// Encodes a value and puts it under the key of the access.
    #[inline]
    pub(super) fn put_value<V: 'static>(
        &self,
        access: &mut Access,
        value: &V,
        serializer: &dyn TypeSerializer<V>,
    ) -> Result<()> {
        access.value.clear();
        serializer.serialize(value, &mut access.value).with("state", &self.name)?;
        self.put(access)
    }

    /// Puts the encoded value of the access under its key.
    #[inline]
    pub(super) fn put(&self, access: &Access) -> Result<()> {
        self.check_sizes(access)?;
        self.write(|store, column| store.put(column, &access.key, &access.value))
    }

    pub(super) fn delete(&self, key: &[u8]) -> Result<()> {
        self.write(|store, column| store.delete(column, key))
    }

    /// Flink's formats give every key and value a signed 32-bit length.
    #[inline]
    pub(super) fn check_sizes(&self, access: &Access) -> Result<()> {
        let limit = i32::MAX as usize;
        if access.key.len() > limit || access.value.len() > limit { Err(self.too_large(access)) } else { Ok(()) }
    }

    /// The name, for errors.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    #[cold]
    fn too_large(&self, access: &Access) -> Error {
        Error::program("a key or value is larger than Flink's formats can hold: spread it over several keys")
            .with("state", &self.name)
            .with("key size", access.key.len())
            .with("value size", access.value.len())
            .with("expected", format_args!("at most {} bytes", i32::MAX))
    }
}

#[cold]
fn store_in_use() -> Error {
    Error::program("a serializer must not use keyed state")
}
