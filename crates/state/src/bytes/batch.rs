//! Several writes at once.

use highwater_types::Result;

use super::{ByteStore, ColumnId};

/// Writes that go to a [`ByteStore`] together, in order. The bytes of all of them lie in one buffer, which is kept when
/// the batch is [cleared](Self::clear).
///
/// ```
/// use highwater_state::{ByteStore, ReferenceStore, WriteBatch};
///
/// let mut store = ReferenceStore::new();
/// let column = store.column("map")?;
/// let mut batch = WriteBatch::new();
/// batch.put(column, b"a", b"1");
/// batch.put(column, b"b", b"2");
/// batch.delete(column, b"a");
/// store.write(&batch)?;
/// assert!(!store.get(column, b"a", &mut |_| Ok(()))?);
/// assert!(store.get(column, b"b", &mut |_| Ok(()))?);
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    bytes: Vec<u8>,
    operations: Vec<Operation>,
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    kind: Kind,
    column: ColumnId,
    key_length: usize,
    value_length: usize,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Put,
    Append,
    Delete,
}

/// One write of a [`WriteBatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write<'a> {
    /// As [`ByteStore::put`].
    Put {
        /// The column.
        column: ColumnId,
        /// The key.
        key: &'a [u8],
        /// Its new value.
        value: &'a [u8],
    },
    /// As [`ByteStore::append`].
    Append {
        /// The column.
        column: ColumnId,
        /// The key.
        key: &'a [u8],
        /// What is appended to its value.
        elements: &'a [u8],
    },
    /// As [`ByteStore::delete`].
    Delete {
        /// The column.
        column: ColumnId,
        /// The key.
        key: &'a [u8],
    },
}

impl WriteBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a [`put`](ByteStore::put).
    pub fn put(&mut self, column: ColumnId, key: &[u8], value: &[u8]) {
        self.push(Kind::Put, column, key, value);
    }

    /// Adds an [`append`](ByteStore::append).
    pub fn append(&mut self, column: ColumnId, key: &[u8], elements: &[u8]) {
        self.push(Kind::Append, column, key, elements);
    }

    /// Adds a [`delete`](ByteStore::delete).
    pub fn delete(&mut self, column: ColumnId, key: &[u8]) {
        self.push(Kind::Delete, column, key, &[]);
    }

    /// How many writes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Size of all keys and values in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets all writes.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.operations.clear();
    }

    /// The writes in order.
    pub fn iter(&self) -> impl Iterator<Item = Write<'_>> {
        let mut rest = self.bytes.as_slice();
        let mut take = move |length| {
            let (bytes, after) = rest.split_at(length);
            rest = after;
            bytes
        };
        self.operations.iter().map(move |operation| {
            let (column, key, value) = (operation.column, take(operation.key_length), take(operation.value_length));
            match operation.kind {
                Kind::Put => Write::Put { column, key, value },
                Kind::Append => Write::Append { column, key, elements: value },
                Kind::Delete => Write::Delete { column, key },
            }
        })
    }

    /// Applies the writes one after the other.
    pub(super) fn apply<S: ByteStore + ?Sized>(&self, store: &mut S) -> Result<()> {
        self.iter().try_for_each(|write| match write {
            Write::Put { column, key, value } => store.put(column, key, value),
            Write::Append { column, key, elements } => store.append(column, key, elements),
            Write::Delete { column, key } => store.delete(column, key),
        })
    }

    fn push(&mut self, kind: Kind, column: ColumnId, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.operations.push(Operation { kind, column, key_length: key.len(), value_length: value.len() });
    }
}
