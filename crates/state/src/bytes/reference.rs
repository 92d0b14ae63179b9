//! The reference store: a plain ordered map.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use highwater_types::{Error, Result};

use super::{ByteStore, ByteStoreContext, ByteStoreFactory, ColumnId, FrozenBytes, VisitEntry};
use crate::LIST_DELIMITER;

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// The reference of all byte stores: a [`BTreeMap`] per column, nothing clever. Tests compare other stores with it; for
/// work the heap tables are faster. The first write to a column after a freeze copies that column.
///
/// ```
/// use highwater_state::{ByteStore, ReferenceStore};
///
/// let mut store = ReferenceStore::new();
/// let column = store.column("count")?;
/// store.put(column, b"key", &7_i64.to_be_bytes())?;
/// assert!(store.get(column, b"key", &mut |value| Ok(assert_eq!(value, 7_i64.to_be_bytes())))?);
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct ReferenceStore {
    columns: Vec<Column>,
}

#[derive(Clone)]
struct Column {
    name: String,
    entries: Arc<Entries>,
}

impl ReferenceStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn entries(&self, column: ColumnId) -> Result<&Entries> {
        self.columns.get(column.index()).map(|column| &*column.entries).ok_or_else(|| unknown(column))
    }

    fn entries_mut(&mut self, column: ColumnId) -> Result<&mut Entries> {
        let found = self.columns.get_mut(column.index()).ok_or_else(|| unknown(column))?;
        Ok(Arc::make_mut(&mut found.entries))
    }
}

impl fmt::Debug for ReferenceStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.columns.iter().map(|column| (&column.name, column.entries.len()));
        f.write_str("ReferenceStore ")?;
        f.debug_map().entries(columns).finish()
    }
}

impl ByteStore for ReferenceStore {
    fn column(&mut self, name: &str) -> Result<ColumnId> {
        let known = self.columns.iter().position(|column| column.name == name);
        let index = known.unwrap_or(self.columns.len());
        if known.is_none() {
            self.columns.push(Column { name: name.to_owned(), entries: Arc::default() });
        }
        let number = u32::try_from(index).map_err(|_| Error::program("more columns than a store can number"))?;
        Ok(ColumnId::new(number))
    }

    fn get(&self, column: ColumnId, key: &[u8], read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        get(self.entries(column)?, key, read)
    }

    fn put(&mut self, column: ColumnId, key: &[u8], value: &[u8]) -> Result<()> {
        self.entries_mut(column)?.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn delete(&mut self, column: ColumnId, key: &[u8]) -> Result<()> {
        self.entries_mut(column)?.remove(key);
        Ok(())
    }

    fn append(&mut self, column: ColumnId, key: &[u8], elements: &[u8]) -> Result<()> {
        let entries = self.entries_mut(column)?;
        match entries.get_mut(key) {
            Some(value) => {
                value.push(LIST_DELIMITER);
                value.extend_from_slice(elements);
            }
            None => {
                entries.insert(key.to_vec(), elements.to_vec());
            }
        }
        Ok(())
    }

    fn scan(&self, column: ColumnId, prefix: &[u8], from: &[u8], visit: &mut VisitEntry<'_>) -> Result<()> {
        scan(self.entries(column)?, prefix, from, visit)
    }

    fn delete_range(&mut self, column: ColumnId, start: &[u8], end: &[u8]) -> Result<()> {
        self.entries_mut(column)?.retain(|key, _| !(start <= key.as_slice() && key.as_slice() < end));
        Ok(())
    }

    fn freeze(&mut self) -> Result<Box<dyn FrozenBytes>> {
        Ok(Box::new(FrozenReference(self.columns.iter().map(|column| Arc::clone(&column.entries)).collect())))
    }
}

/// The columns as they were.
struct FrozenReference(Vec<Arc<Entries>>);

impl FrozenReference {
    fn entries(&self, column: ColumnId) -> Result<&Entries> {
        self.0.get(column.index()).map(|entries| &**entries).ok_or_else(|| unknown(column))
    }
}

impl FrozenBytes for FrozenReference {
    fn get(&self, column: ColumnId, key: &[u8], read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        get(self.entries(column)?, key, read)
    }

    fn scan(&self, column: ColumnId, prefix: &[u8], from: &[u8], visit: &mut VisitEntry<'_>) -> Result<()> {
        scan(self.entries(column)?, prefix, from, visit)
    }
}

fn get(entries: &Entries, key: &[u8], read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
    match entries.get(key) {
        Some(value) => read(value).map(|()| true),
        None => Ok(false),
    }
}

fn scan(entries: &Entries, prefix: &[u8], from: &[u8], visit: &mut VisitEntry<'_>) -> Result<()> {
    let start = prefix.max(from);
    let range = entries.range::<[u8], _>((Bound::Included(start), Bound::Unbounded));
    for (key, value) in range.take_while(|(key, _)| key.starts_with(prefix)) {
        if let ControlFlow::Break(()) = visit(key, value)? {
            break;
        }
    }
    Ok(())
}

#[cold]
fn unknown(column: ColumnId) -> Error {
    Error::internal("the store has no such column").with("column", column.get())
}

/// Makes [`ReferenceStore`]s.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReferenceStoreFactory;

impl ByteStoreFactory for ReferenceStoreFactory {
    fn create(&self, _context: &ByteStoreContext) -> Result<Box<dyn ByteStore>> {
        Ok(Box::new(ReferenceStore::new()))
    }
}
