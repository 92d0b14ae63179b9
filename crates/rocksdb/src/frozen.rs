//! Frozen views: RocksDB snapshots that keep their database open.

use std::sync::{Arc, Mutex};

use highwater_state::{ColumnId, FrozenBytes, VisitEntry};
use highwater_types::{Error, Result};
use rust_rocksdb::{DBRawIteratorWithThreadMode, ReadOptions, SnapshotWithThreadMode};

use crate::columns::Columns;
use crate::database::{Database, Db};
use crate::error::failed;
use crate::scan::{end_of_prefix, visit_prefix};

/// A checkpoint reads a column from its beginning to its end, in pieces of this many bytes.
const READAHEAD: usize = 512 << 10;

/// All columns as they were at one moment. Taking it needs microseconds, whatever the size of the state: RocksDB notes a
/// sequence number, flushes nothing and writes nothing.
pub(crate) struct FrozenRocksDb {
    // In this order: what was made from the database, then the database.
    /// One iterator per column, which goes on where the scan of the key group before ended.
    cursors: Vec<Mutex<Option<Cursor>>>,
    reads: ReadOptions,
    snapshot: SnapshotWithThreadMode<'static, Db>,
    columns: Columns,
    database: Arc<Database>,
}

/// An iterator over all keys of a column.
struct Cursor {
    iterator: DBRawIteratorWithThreadMode<'static, Db>,
    /// The iterator stands on the first key that is not below this one, if that is known.
    stands_at: Option<Vec<u8>>,
}

impl FrozenRocksDb {
    pub(crate) fn new(database: &Arc<Database>, columns: &Columns) -> Self {
        // SAFETY: the snapshot is dropped before the database that is kept beside it.
        let snapshot = unsafe { database.detached() }.snapshot();
        Self {
            cursors: (0..columns.len()).map(|_| Mutex::default()).collect(),
            reads: reads_of(&snapshot),
            snapshot,
            columns: columns.clone(),
            database: Arc::clone(database),
        }
    }

    fn cursor(&self, column: ColumnId) -> Result<Cursor> {
        let mut reads = reads_of(&self.snapshot);
        reads.set_readahead_size(READAHEAD);
        // SAFETY: cursors are kept in `cursors`, or on the stack of a method; they are dropped before the database.
        let db = unsafe { self.database.detached() };
        Ok(Cursor { iterator: db.raw_iterator_cf_opt(self.columns.get(column)?.handle(), reads), stands_at: None })
    }

    fn scan_with(
        &self,
        cursor: &mut Cursor,
        column: ColumnId,
        prefix: &[u8],
        from: &[u8],
        visit: &mut VisitEntry<'_>,
    ) -> Result<()> {
        let start = prefix.max(from);
        if cursor.stands_at.take().as_deref() != Some(start) {
            cursor.iterator.seek(start);
        }
        let failed = |cause| self.failed("read entries", column, cause);
        if visit_prefix(&mut cursor.iterator, prefix, visit, failed)?.is_continue() {
            cursor.stands_at = end_of_prefix(prefix);
        }
        Ok(())
    }

    #[cold]
    fn failed(&self, doing: &str, column: ColumnId, cause: rust_rocksdb::Error) -> Error {
        failed(doing, self.database.path(), cause).with("state", self.columns.name(column))
    }
}

/// Reading at a snapshot: what a checkpoint passes by must not drive out of the cache what the job works with.
fn reads_of(snapshot: &SnapshotWithThreadMode<'_, Db>) -> ReadOptions {
    let mut reads = ReadOptions::default();
    reads.set_snapshot(snapshot);
    reads.fill_cache(false);
    // An iterator keeps what was in the write buffers when it was made, and writers wait while those are full.
    reads.set_auto_refresh_iterator_with_snapshot(true);
    reads
}

impl FrozenBytes for FrozenRocksDb {
    fn get(&self, column: ColumnId, key: &[u8], read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        let found = self
            .database
            .db()
            .get_pinned_cf_opt(self.columns.get(column)?.handle(), key, &self.reads)
            .map_err(|cause| self.failed("read a value", column, cause))?;
        found.map_or(Ok(false), |value| read(&value).map(|()| true))
    }

    fn scan(&self, column: ColumnId, prefix: &[u8], from: &[u8], visit: &mut VisitEntry<'_>) -> Result<()> {
        // Behind the last key of the prefix there is nothing to seek, and the iterator must not be taken back to it.
        if from > prefix && !from.starts_with(prefix) {
            return Ok(());
        }
        match self.cursors.get(column.index()).map(Mutex::try_lock) {
            Some(Ok(mut kept)) => {
                // While the caller's closure runs there is no cursor: a panic in it leaves none behind.
                let mut cursor = kept.take().map_or_else(|| self.cursor(column), Ok)?;
                self.scan_with(&mut cursor, column, prefix, from, visit)?;
                *kept = Some(cursor);
                Ok(())
            }
            // Another thread, or the caller of this closure, is using it.
            _ => self.scan_with(&mut self.cursor(column)?, column, prefix, from, visit),
        }
    }
}
