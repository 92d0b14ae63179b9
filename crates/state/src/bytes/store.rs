//! The byte store: what a backend must be able to do with ordered bytes so that every kind of state works on it.

use std::ops::ControlFlow;

use highwater_types::Result;

use super::{FrozenFiles, WriteBatch};

/// A column of a [`ByteStore`], handed out by [`ByteStore::column`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColumnId(u32);

impl ColumnId {
    /// The column with this number. Stores number their columns as they like.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number as an index, for stores that keep their columns in a vector.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Told about one entry of a scan, key and value; it may end the scan.
pub type VisitEntry<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>> + 'a;

/// Ordered bytes that hold the keyed state of one operator subtask.
///
/// Highwater composes keys and values exactly as Flink's RocksDB backend does and asks a store only to keep them. To
/// bring a store of your own to life, implement this trait and a [`ByteStoreFactory`](super::ByteStoreFactory), and
/// run the conformance suite (cargo feature `conformance`) on it. [`ReferenceStore`](super::ReferenceStore) is the
/// plain model of everything promised here.
///
/// # What a store must keep
///
/// - **Columns** are independent ordered maps from keys to values, one per state (RocksDB: a column family). Both keys
///   and values are any bytes, empty ones included.
/// - **Limits** of a store (the length of a key, say) are its own to check: beyond them it answers
///   [`Error::unsupported`](highwater_types::Error::unsupported) and neither panics nor cuts off.
/// - **Order** is that of the unsigned bytes, a prefix before what it begins (`[u8]`'s `Ord`). Scans deliver it.
/// - **A write is visible** to every later read of the same store at once. There is one writer on one thread: all
///   methods are called by the thread that owns the store, never two at a time, and never out of a closure that the
///   store itself is calling.
/// - **A frozen view** ([`freeze`](Self::freeze)) does not change, whatever is written later, outlives the store, and
///   is read by other threads while writing goes on.
/// - **Nothing has to survive a crash**: working state is rebuilt from a checkpoint. Write-ahead logs belong off. A store
///   starts empty and removes its files when it and its last frozen view are dropped.
/// - **Errors** end the attempt; the job goes back to its last checkpoint. After one the content is unspecified. Use
///   [`Error::storage`](highwater_types::Error::storage) with the file and the cause.
///
/// ```
/// use highwater_state::{ByteStore, ReferenceStore};
///
/// let mut store = ReferenceStore::new();
/// let column = store.column("words")?;
/// store.append(column, b"key", b"one")?;
/// store.append(column, b"key", b"two")?;
///
/// let frozen = store.freeze()?;
/// store.delete(column, b"key")?;
///
/// let mut seen = Vec::new();
/// assert!(!store.get(column, b"key", &mut |_| Ok(()))?);
/// assert!(frozen.get(column, b"key", &mut |value| Ok(seen.extend_from_slice(value)))?);
/// assert_eq!(seen, b"one,two");
/// # Ok::<(), highwater_types::Error>(())
/// ```
pub trait ByteStore {
    /// The column of this name, created empty if it is not there yet. Called once or a few times per state, never per
    /// record. Names are those of states: any string.
    fn column(&mut self, name: &str) -> Result<ColumnId>;

    /// Lends the value under `key` to `read`, and tells whether there is one; `read` is not called if not.
    ///
    /// This is the hot path: lend the bytes where they lie (RocksDB: pinned) rather than copying them. An error of
    /// `read` is passed on.
    fn get(&self, column: ColumnId, key: &[u8], read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool>;

    /// Lends the values under several keys to `read`, each with the position of its key in `keys`, in any order;
    /// missing keys are skipped.
    ///
    /// The default asks for one after the other.
    fn multi_get(
        &self,
        column: ColumnId,
        keys: &[&[u8]],
        read: &mut dyn FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        for (position, key) in keys.iter().enumerate() {
            self.get(column, key, &mut |value| read(position, value))?;
        }
        Ok(())
    }

    /// Sets the value under `key`.
    fn put(&mut self, column: ColumnId, key: &[u8], value: &[u8]) -> Result<()>;

    /// Removes `key`; a missing one is nothing.
    fn delete(&mut self, column: ColumnId, key: &[u8]) -> Result<()>;

    /// Appends `elements` to the value under `key`: the old value, [`LIST_DELIMITER`](crate::LIST_DELIMITER), `elements`; without an old value
    /// just `elements`. An empty old value is a value.
    ///
    /// List state appends without reading; a store should not read either (RocksDB: `merge` with its own
    /// `stringappendtest` operator).
    fn append(&mut self, column: ColumnId, key: &[u8], elements: &[u8]) -> Result<()>;

    /// Applies all operations of the batch, in its order.
    ///
    /// The default applies one after the other. Readers are on the same thread, so nobody sees half a batch.
    fn write(&mut self, batch: &WriteBatch) -> Result<()> {
        batch.apply(self)
    }

    /// Visits, in order, all entries whose key begins with `prefix` and is not below `from`, until `visit` breaks or
    /// fails; its error is passed on.
    ///
    /// An empty `prefix` is every key, an empty `from` every key of the prefix. `from` may lie before or behind the
    /// prefix as well: the scan begins at the greater of the two. Iteration of map state comes in pages:
    /// a scan that begins right behind the last key of the page before.
    fn scan(&self, column: ColumnId, prefix: &[u8], from: &[u8], visit: &mut VisitEntry<'_>) -> Result<()>;

    /// Removes all entries with `start <= key < end`: none if `start` is not below `end`. Used for whole key groups and
    /// states, not per record.
    fn delete_range(&mut self, column: ColumnId, start: &[u8], end: &[u8]) -> Result<()>;

    /// Adds many entries, while a snapshot is being restored. Their keys are neither in the column nor in an earlier
    /// load; they are often, but not always, in order, within one load and across loads.
    ///
    /// [`finish_load`](Self::finish_load) follows the last load, and nothing else is called in between but
    /// [`column`](Self::column). The default puts one after the other.
    fn load(&mut self, column: ColumnId, entries: &mut dyn Iterator<Item = (&[u8], &[u8])>) -> Result<()> {
        for (key, value) in entries {
            self.put(column, key, value)?;
        }
        Ok(())
    }

    /// Makes visible what [`load`](Self::load) may have gathered. The default has nothing to do.
    fn finish_load(&mut self) -> Result<()> {
        Ok(())
    }

    /// A view of all columns as they are now. This is the synchronous part of a checkpoint: the job stands still, so
    /// copy nothing that grows with the state.
    fn freeze(&mut self) -> Result<Box<dyn FrozenBytes>>;

    /// The files of the store as they are now, for checkpoint `checkpoint`; none if its snapshots are to be canonical
    /// streams, as by default. This is the synchronous part of an incremental checkpoint.
    ///
    /// A store that answers has to be able to come back:
    /// [`ByteStoreFactory::restore`](super::ByteStoreFactory::restore).
    fn freeze_files(&mut self, checkpoint: u64) -> Result<Option<Box<dyn FrozenFiles>>> {
        let _ = checkpoint;
        Ok(None)
    }

    /// Tells that a checkpoint is complete (Flink's `notifyCheckpointComplete`): its shared files stay as long as a later
    /// checkpoint names them. Some completions are never told.
    fn checkpoint_completed(&mut self, checkpoint: u64) {
        let _ = checkpoint;
    }

    /// Tells that a checkpoint was given up (`notifyCheckpointAborted`): its files are gone, or will be.
    fn checkpoint_aborted(&mut self, checkpoint: u64) {
        let _ = checkpoint;
    }

    /// About how many bytes a column takes, if the store can tell without looking at every entry.
    fn approximate_size(&self, column: ColumnId) -> Option<u64> {
        let _ = column;
        None
    }
}

/// A [`ByteStore`] as it was when it was frozen; other threads read it, several at a time.
///
/// Whoever is told of an entry may be writing to a storage that hangs, for minutes. Meanwhile, and between two calls, a
/// view must hold nothing that the store's writers wait for: lend copies of a few entries at a time.
pub trait FrozenBytes: Send + Sync {
    /// As [`ByteStore::get`].
    fn get(&self, column: ColumnId, key: &[u8], read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool>;

    /// As [`ByteStore::scan`]. A checkpoint scans every column once for every key group, ascending.
    fn scan(&self, column: ColumnId, prefix: &[u8], from: &[u8], visit: &mut VisitEntry<'_>) -> Result<()>;
}
