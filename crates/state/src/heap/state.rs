//! One state on the heap: a table per key group, addressed by the current key and namespace.

use std::any::Any;
use std::cell::{Ref, RefCell, RefMut};
use std::collections::HashSet;
use std::hash::BuildHasher;
use std::ops::Deref;
use std::rc::Rc;

use foldhash::fast::RandomState;
use highwater_types::{Error, Key, KeyGroup, KeyGroupRange, Result, ResultExt, SerializerRef, VoidNamespace};

use super::table::{Frozen, Table};
use crate::canonical::{CanonicalWriter, RunEntries};
use crate::encoding::KeyLayout;
use crate::keyed::{FrozenState, KeyContext, Namespace, nested_use, no_namespace};

/// An entry of the table of one key group.
#[derive(Clone)]
pub(super) struct Entry<K, N, C> {
    key: K,
    namespace: N,
    cell: C,
}

impl<K: Key, N: Namespace, C> Entry<K, N, C> {
    #[inline]
    fn is(&self, key: &K, namespace: &N) -> bool {
        self.key == *key && self.namespace == *namespace
    }

    fn hash(&self, hasher: &RandomState) -> u64 {
        hash_of(hasher, hasher.hash_one(&self.key), &self.namespace)
    }
}

/// Hash of a table entry from that of its key. A namespace without content (the void one) costs nothing.
#[inline]
fn hash_of<N: Namespace>(hasher: &RandomState, key_hash: u64, namespace: &N) -> u64 {
    if size_of::<N>() == 0 { key_hash } else { hasher.hash_one((key_hash, namespace)) }
}

/// The namespace of an access.
enum Scope<'a, N> {
    Void(&'a N),
    Set(Ref<'a, N>),
}

impl<N> Deref for Scope<'_, N> {
    type Target = N;

    #[inline]
    fn deref(&self) -> &N {
        match self {
            Self::Void(namespace) => namespace,
            Self::Set(namespace) => namespace,
        }
    }
}

/// How the cells of one kind of state go into the canonical stream and come back.
pub(super) trait CellFormat<C>: Clone + Send + 'static {
    /// Whether every cell is one entry of the stream.
    const ONE_ENTRY_EACH: bool = true;

    /// Writes the entries of one cell; `scope` appends key and namespace.
    fn write(
        &self,
        state_id: u16,
        scope: impl Fn(&mut Vec<u8>) -> Result<()>,
        cell: &C,
        out: &mut CanonicalWriter,
    ) -> Result<()>;

    /// Reads one entry: into the cell that is there already, or as a new one.
    fn read(&self, map_key: &[u8], value: &[u8], cell: Option<&mut C>) -> Result<Option<C>>;
}

/// What is the same for the live state and its frozen views.
#[derive(Clone)]
struct Layout<K, N, F> {
    keys: KeyLayout,
    key: SerializerRef<K>,
    namespace: SerializerRef<N>,
    cells: F,
}

/// One registered state.
pub(super) struct HeapState<K, N, C, F> {
    context: Rc<KeyContext<K>>,
    name: String,
    layout: Layout<K, N, F>,
    /// The void namespace is never looked up here.
    namespace: RefCell<Option<N>>,
    /// One table per key group of the backend. Borrowed as long as an access runs, user closures included: a nested
    /// access to the same state finds it taken.
    tables: RefCell<Vec<Table<Entry<K, N, C>>>>,
}

impl<K: Key, N: Namespace, C: Clone + Send + Sync + 'static, F: CellFormat<C>> HeapState<K, N, C, F> {
    pub(super) fn new(
        context: Rc<KeyContext<K>>,
        name: &str,
        key: SerializerRef<K>,
        namespace: SerializerRef<N>,
        cells: F,
    ) -> Self {
        let keys = KeyLayout::new(context.max_parallelism(), key.length(), namespace.length());
        let tables = context.range().iter().map(|_| Table::default()).collect();
        Self {
            context,
            name: name.to_owned(),
            layout: Layout { keys, key, namespace, cells },
            namespace: RefCell::new(None),
            tables: RefCell::new(tables),
        }
    }

    pub(super) fn cells(&self) -> &F {
        &self.layout.cells
    }

    pub(super) fn set_namespace(&self, namespace: N) -> Result<()> {
        // Whoever has borrowed the namespace has borrowed the tables too, or runs no foreign code meanwhile.
        let _no_access = self.tables_mut()?;
        self.namespace.replace(Some(namespace));
        Ok(())
    }

    #[inline]
    fn namespace(&self) -> Result<Scope<'_, N>> {
        // Known when the program is compiled: the common case costs nothing.
        match (&VoidNamespace as &dyn Any).downcast_ref() {
            Some(void) => Ok(Scope::Void(void)),
            None => match Ref::filter_map(self.namespace.borrow(), Option::as_ref) {
                Ok(namespace) => Ok(Scope::Set(namespace)),
                Err(_) => Err(no_namespace()),
            },
        }
    }

    #[inline]
    fn tables(&self) -> Result<Ref<'_, Vec<Table<Entry<K, N, C>>>>> {
        self.tables.try_borrow().map_err(|_| nested_use(&self.name))
    }

    #[inline]
    fn tables_mut(&self) -> Result<RefMut<'_, Vec<Table<Entry<K, N, C>>>>> {
        self.tables.try_borrow_mut().map_err(|_| nested_use(&self.name))
    }

    #[inline]
    fn index(&self, group: KeyGroup) -> usize {
        usize::from(group - self.context.range().start())
    }

    /// Reads the cell of the current key and namespace.
    #[inline]
    pub(super) fn read<R>(&self, read: impl FnOnce(Option<&C>) -> R) -> Result<R> {
        let current = self.context.current()?;
        let namespace = self.namespace()?;
        let tables = self.tables()?;
        let hash = hash_of(self.context.hasher(), current.hash, &*namespace);
        let table = tables.get(self.index(current.group)).ok_or_else(no_table)?;
        Ok(read(table.find(hash, |entry| entry.is(&current.key, &namespace)).map(|entry| &entry.cell)))
    }

    /// As [`read`](Self::read) for user closures, which must not use the same state.
    #[inline]
    pub(super) fn lend<R>(&self, read: impl FnOnce(Option<&C>) -> R) -> Result<R> {
        let current = self.context.current()?;
        let namespace = self.namespace()?;
        let tables = self.tables_mut()?;
        let hash = hash_of(self.context.hasher(), current.hash, &*namespace);
        let table = tables.get(self.index(current.group)).ok_or_else(no_table)?;
        Ok(read(table.find(hash, |entry| entry.is(&current.key, &namespace)).map(|entry| &entry.cell)))
    }

    /// Changes the cell of the current key and namespace with `found`, or puts what `absent` returns there.
    #[inline]
    pub(super) fn upsert<A>(
        &self,
        argument: A,
        found: impl FnOnce(&mut C, A),
        absent: impl FnOnce(A) -> C,
    ) -> Result<()> {
        let current = self.context.current()?;
        let namespace = self.namespace()?;
        let mut tables = self.tables_mut()?;
        let hasher = self.context.hasher();
        let hash = hash_of(hasher, current.hash, &*namespace);
        let table = tables.get_mut(self.index(current.group)).ok_or_else(no_table)?;
        if let Some(entry) = table.find_mut(hash, |entry| entry.is(&current.key, &namespace)) {
            found(&mut entry.cell, argument);
        } else {
            let cell = absent(argument);
            let entry = Entry { key: current.key.clone(), namespace: namespace.clone(), cell };
            table.insert(hash, entry, &|entry| entry.hash(hasher));
        }
        Ok(())
    }

    /// Changes the cell of the current key and namespace, if there is one, and removes it if `keep` says no.
    pub(super) fn change(&self, keep: impl FnOnce(&mut C) -> bool) -> Result<()> {
        let current = self.context.current()?;
        let namespace = self.namespace()?;
        let mut tables = self.tables_mut()?;
        let hash = hash_of(self.context.hasher(), current.hash, &*namespace);
        let table = tables.get_mut(self.index(current.group)).ok_or_else(no_table)?;
        let eq = |entry: &Entry<K, N, C>| entry.is(&current.key, &namespace);
        if table.find_mut(hash, eq).is_some_and(|entry| !keep(&mut entry.cell)) {
            drop(table.remove(hash, eq));
        }
        Ok(())
    }

    /// Removes the cell of the current key and namespace.
    #[inline]
    pub(super) fn clear(&self) -> Result<()> {
        let current = self.context.current()?;
        let namespace = self.namespace()?;
        let mut tables = self.tables_mut()?;
        let hash = hash_of(self.context.hasher(), current.hash, &*namespace);
        let table = tables.get_mut(self.index(current.group)).ok_or_else(no_table)?;
        drop(table.remove(hash, |entry| entry.is(&current.key, &namespace)));
        Ok(())
    }

    /// Merges the cells of the `sources` namespaces of the current key, in order, and then into that of `target`, which
    /// stays on the left.
    pub(super) fn merge(&self, target: &N, sources: &[N], merge: impl Fn(&mut C, C)) -> Result<()> {
        // Held to the end: the function can neither use the state nor change the key while cells are out of the table.
        let current = self.context.current()?;
        let mut tables = self.tables_mut()?;
        let hasher = self.context.hasher();
        let table = tables.get_mut(self.index(current.group)).ok_or_else(no_table)?;
        let mut take = |namespace: &N| {
            let hash = hash_of(hasher, current.hash, namespace);
            table.remove(hash, |entry| entry.is(&current.key, namespace)).map(|entry| entry.cell)
        };
        let fold = |left: Option<C>, right: C| match left {
            Some(mut left) => {
                merge(&mut left, right);
                left
            }
            None => right,
        };
        let mut merged = None;
        for source in sources.iter().filter(|source| *source != target) {
            if let Some(cell) = take(source) {
                merged = Some(fold(merged, cell));
            }
        }
        let Some(merged) = merged else { return Ok(()) };
        let cell = fold(take(target), merged);
        let entry = Entry { key: current.key.clone(), namespace: target.clone(), cell };
        table.insert(hash_of(hasher, current.hash, target), entry, &|entry| entry.hash(hasher));
        Ok(())
    }
}

#[cold]
fn no_table() -> Error {
    Error::internal("the current key belongs to a key group without a table")
}

/// What the backend does with a state whatever it holds.
pub(crate) trait AnyState<K> {
    /// Begins to fetch what an access to a key will read; `hash` is the key's own. Only of use without a namespace.
    fn prefetch(&self, group: KeyGroup, hash: u64);
    fn freeze(&self) -> Result<Box<dyn FrozenState>>;
    /// Reads back entries of one key group.
    fn load(&self, group: KeyGroup, entries: &RunEntries) -> Result<()>;
    /// How many keys and namespaces have something.
    fn entry_count(&self) -> Result<usize>;
    /// The keys that have something in a namespace, which must be of the state's own type.
    fn keys(&self, namespace: &dyn Any) -> Result<Vec<K>>;
}

impl<K: Key, N: Namespace, C, F> AnyState<K> for HeapState<K, N, C, F>
where
    C: Clone + Send + Sync + 'static,
    F: CellFormat<C>,
{
    #[inline]
    fn prefetch(&self, group: KeyGroup, hash: u64) {
        if size_of::<N>() == 0
            && let Ok(tables) = self.tables()
            && let Some(table) = tables.get(self.index(group))
        {
            table.prefetch(hash);
        }
    }

    fn freeze(&self) -> Result<Box<dyn FrozenState>> {
        let tables = self.tables_mut()?.iter_mut().map(Table::freeze).collect();
        let layout = self.layout.clone();
        Ok(Box::new(FrozenHeapState { range: self.context.range(), tables, layout, name: self.name.clone() }))
    }

    fn load(&self, group: KeyGroup, entries: &RunEntries) -> Result<()> {
        let mut tables = self.tables_mut()?;
        let hasher = self.context.hasher();
        let table = tables.get_mut(self.index(group)).ok_or_else(no_table)?;
        let Layout { keys, key, namespace, cells } = &self.layout;
        if F::ONE_ENTRY_EACH {
            table.reserve(entries.len());
        }
        for (composite, value) in entries.iter() {
            let split = keys.split(composite, &**key, &**namespace)?;
            self.context.check_group(&split.key, group)?;
            let hash = hash_of(hasher, hasher.hash_one(&split.key), &split.namespace);
            let found = table.find_mut(hash, |entry| entry.is(&split.key, &split.namespace));
            if let Some(cell) = cells.read(split.map_key, value, found.map(|entry| &mut entry.cell))? {
                let entry = Entry { key: split.key, namespace: split.namespace, cell };
                table.insert(hash, entry, &|entry| entry.hash(hasher));
            }
        }
        Ok(())
    }

    fn entry_count(&self) -> Result<usize> {
        Ok(self.tables()?.iter().map(Table::len).sum())
    }

    fn keys(&self, namespace: &dyn Any) -> Result<Vec<K>> {
        let namespace: &N = namespace.downcast_ref().ok_or_else(|| {
            Error::program("the namespace is not of the type the state was registered with").with("state", &self.name)
        })?;
        let tables = self.tables()?;
        let entries = tables.iter().flat_map(Table::iter).filter(|entry| entry.namespace == *namespace);
        Ok(entries.map(|entry| entry.key.clone()).collect::<HashSet<_>>().into_iter().collect())
    }
}

/// A state as it was when it was frozen.
struct FrozenHeapState<K, N, C, F> {
    range: KeyGroupRange,
    name: String,
    tables: Vec<Frozen<Entry<K, N, C>>>,
    layout: Layout<K, N, F>,
}

impl<K: Key, N: Namespace, C, F> FrozenState for FrozenHeapState<K, N, C, F>
where
    C: Clone + Send + Sync + 'static,
    F: CellFormat<C>,
{
    fn write_key_group(&mut self, group: KeyGroup, state_id: u16, out: &mut CanonicalWriter) -> Result<()> {
        let Layout { keys, key, namespace, cells } = &self.layout;
        let index = usize::from(group - self.range.start());
        let table = self.tables.get_mut(index).ok_or_else(no_table)?;
        table
            .drain(|entry| {
                let scope = |out: &mut Vec<u8>| {
                    let start = out.len();
                    key.serialize(&entry.key, out)?;
                    keys.push_namespace(out.len() - start, &entry.namespace, &**namespace, out)
                };
                cells.write(state_id, scope, &entry.cell, out)
            })
            .with("state", &self.name)
    }
}
