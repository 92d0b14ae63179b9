//! The byte store on RocksDB.

use std::fmt;
use std::sync::Arc;

use highwater_state::{ByteStore, ColumnId, FrozenBytes, FrozenFiles, VisitEntry, Write, WriteBatch};
use highwater_types::{Error, Result};
use rust_rocksdb::{ReadOptions, WriteOptions};

use crate::columns::Columns;
use crate::database::Database;
use crate::error::failed;
use crate::frozen::FrozenRocksDb;

use crate::loading::Loader;
use crate::native::{self, Uploads};
use crate::scan::{end_of_prefix, reads_in_order, visit_prefix};

/// Keyed state of one operator subtask in a RocksDB database of its own: a column family per state, no write-ahead log,
/// list state appended by RocksDB's own merge operator. Made by
/// [`RocksDbStoreFactory`](crate::RocksDbStoreFactory), and used through [`ByteStore`].
pub struct RocksDbStore {
    // In this order: the database is closed when the last column and the last view of it are gone.
    columns: Columns,
    loader: Loader,
    batch: rust_rocksdb::WriteBatch,
    reads: ReadOptions,
    writes: WriteOptions,
    /// None if checkpoints are canonical streams.
    uploads: Option<Arc<Uploads>>,
    database: Arc<Database>,
}

impl RocksDbStore {
    /// A store over a database, which shares `uploads` with checkpoints. Columns that the database has already are found
    /// when they are asked for.
    pub(crate) fn new(database: Arc<Database>, uploads: Uploads) -> Self {
        let mut writes = WriteOptions::default();
        writes.disable_wal(true);
        let settings = database.layers().settings();
        Self {
            columns: Columns::default(),
            uploads: settings.incremental.then(|| Arc::new(uploads)),
            loader: Loader::new(settings.write_batch_size),
            batch: rust_rocksdb::WriteBatch::default(),
            reads: ReadOptions::default(),
            writes,
            database,
        }
    }

    /// An error, to which the caller adds the state.
    #[cold]
    fn failed(&self, doing: &str, cause: rust_rocksdb::Error) -> Error {
        failed(doing, self.database.path(), cause)
    }
}

impl fmt::Debug for RocksDbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<_> = self.columns.iter().map(|(name, _)| name).collect();
        f.debug_struct("RocksDbStore").field("path", &self.database.path()).field("columns", &columns).finish()
    }
}

impl ByteStore for RocksDbStore {
    fn column(&mut self, name: &str) -> Result<ColumnId> {
        match self.columns.find(name) {
            Some(column) => Ok(column),
            None => self.columns.push(name, self.database.column(name)?),
        }
    }

    fn get(&self, column: ColumnId, key: &[u8], read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        match self.database.db().get_pinned_cf_opt(self.columns.get(column)?.handle(), key, &self.reads) {
            Ok(Some(value)) => read(&value).map(|()| true),
            Ok(None) => Ok(false),
            Err(cause) => Err(self.failed("read a value", cause)),
        }
    }

    fn multi_get(
        &self,
        column: ColumnId,
        keys: &[&[u8]],
        read: &mut dyn FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let handle = self.columns.get(column)?.handle();
        let found = self
            .database
            .db()
            .batched_multi_get_pinned_batch_cf_opt(handle, keys, false, &self.reads)
            .map_err(|cause| self.failed("read values", cause))?;
        for position in 0..found.len() {
            match found.get(position) {
                Some(Ok(Some(value))) => read(position, value)?,
                Some(Err(cause)) => return Err(self.failed("read values", cause)),
                Some(Ok(None)) | None => {}
            }
        }
        Ok(())
    }

    fn put(&mut self, column: ColumnId, key: &[u8], value: &[u8]) -> Result<()> {
        self.database
            .db()
            .put_cf_opt(self.columns.get(column)?.handle(), key, value, &self.writes)
            .map_err(|cause| self.failed("write a value", cause))
    }

    fn delete(&mut self, column: ColumnId, key: &[u8]) -> Result<()> {
        self.database
            .db()
            .delete_cf_opt(self.columns.get(column)?.handle(), key, &self.writes)
            .map_err(|cause| self.failed("delete a value", cause))
    }

    fn append(&mut self, column: ColumnId, key: &[u8], elements: &[u8]) -> Result<()> {
        self.database
            .db()
            .merge_cf_opt(self.columns.get(column)?.handle(), key, elements, &self.writes)
            .map_err(|cause| self.failed("append to a value", cause))
    }

    fn write(&mut self, batch: &WriteBatch) -> Result<()> {
        self.batch.clear();
        for write in batch.iter() {
            match write {
                Write::Put { column, key, value } => self.batch.put_cf(self.columns.get(column)?.handle(), key, value),
                Write::Append { column, key, elements } => {
                    self.batch.merge_cf(self.columns.get(column)?.handle(), key, elements);
                }
                Write::Delete { column, key } => self.batch.delete_cf(self.columns.get(column)?.handle(), key),
            }
        }
        self.database.db().write_opt(&self.batch, &self.writes).map_err(|cause| self.failed("write a batch", cause))
    }

    fn scan(&self, column: ColumnId, prefix: &[u8], from: &[u8], visit: &mut VisitEntry<'_>) -> Result<()> {
        let mut reads = reads_in_order();
        if let Some(end) = end_of_prefix(prefix) {
            // Deleted entries behind the prefix are not looked at.
            reads.set_iterate_upper_bound(end);
        }
        let mut iterator = self.database.db().raw_iterator_cf_opt(self.columns.get(column)?.handle(), reads);
        iterator.seek(prefix.max(from));
        visit_prefix(&mut iterator, prefix, visit, |cause| self.failed("read entries", cause)).map(drop)
    }

    fn delete_range(&mut self, column: ColumnId, start: &[u8], end: &[u8]) -> Result<()> {
        if start >= end {
            return Ok(());
        }
        self.database
            .db()
            .delete_range_cf_opt(self.columns.get(column)?.handle(), start, end, &self.writes)
            .map_err(|cause| self.failed("delete a range", cause))
    }

    fn load(&mut self, column: ColumnId, entries: &mut dyn Iterator<Item = (&[u8], &[u8])>) -> Result<()> {
        let handle = self.columns.get(column)?.handle();
        self.loader.load(&self.database, handle, entries)
    }

    fn finish_load(&mut self) -> Result<()> {
        self.loader.finish(&self.database)
    }

    fn freeze(&mut self) -> Result<Box<dyn FrozenBytes>> {
        self.database.report(&self.columns);
        Ok(Box::new(FrozenRocksDb::new(&self.database, &self.columns)))
    }

    fn freeze_files(&mut self, checkpoint: u64) -> Result<Option<Box<dyn FrozenFiles>>> {
        let Some(uploads) = &self.uploads else { return Ok(None) };
        self.database.report(&self.columns);
        native::freeze(&self.database, uploads, checkpoint).map(Some)
    }

    fn checkpoint_completed(&mut self, checkpoint: u64) {
        if let Some(uploads) = &self.uploads {
            uploads.completed(checkpoint);
        }
    }

    fn checkpoint_aborted(&mut self, checkpoint: u64) {
        if let Some(uploads) = &self.uploads {
            uploads.aborted(checkpoint);
        }
    }

    fn approximate_size(&self, column: ColumnId) -> Option<u64> {
        let handle = self.columns.get(column).ok()?.handle();
        let property = |name| self.database.db().property_int_value_cf(handle, name).ok().flatten();
        let files = property("rocksdb.estimate-live-data-size")?;
        Some(files + property("rocksdb.cur-size-active-mem-table").unwrap_or(0))
    }
}
