//! Bulk loads: entries of a snapshot that is being restored, through write batches.

use std::sync::Arc;

use highwater_types::Result;
use rust_rocksdb::{BoundColumnFamily, WriteBatch, WriteOptions};

use crate::database::Database;
use crate::error::failed;

/// Entries of a write batch without a limit in bytes, as in Flink's `RocksDBWriteBatchWrapper`.
const BATCH_ENTRIES: usize = 500;

/// Gathers entries in write batches.
pub(crate) struct Loader {
    batch: WriteBatch,
    /// Bytes that make a batch be written; 0: entries alone are counted.
    batch_size: u64,
    writes: WriteOptions,
}

impl Loader {
    pub(crate) fn new(batch_size: u64) -> Self {
        let mut writes = WriteOptions::default();
        writes.disable_wal(true);
        Self { batch: WriteBatch::default(), batch_size, writes }
    }

    pub(crate) fn load(
        &mut self,
        database: &Database,
        column: &Arc<BoundColumnFamily<'static>>,
        entries: &mut dyn Iterator<Item = (&[u8], &[u8])>,
    ) -> Result<()> {
        for (key, value) in entries {
            self.batch.put_cf(column, key, value);
            if self.is_full() {
                self.finish(database)?;
            }
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self, database: &Database) -> Result<()> {
        database
            .db()
            .write_opt(&self.batch, &self.writes)
            .map_err(|cause| failed("load entries", database.path(), cause))?;
        self.batch.clear();
        Ok(())
    }

    fn is_full(&self) -> bool {
        match self.batch_size {
            0 => self.batch.len() >= BATCH_ENTRIES,
            limit => self.batch.size_in_bytes() as u64 >= limit,
        }
    }
}
