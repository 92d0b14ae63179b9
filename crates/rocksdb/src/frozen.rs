//! Frozen views: RocksDB snapshots that keep their database open.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use highwater_state::{ColumnId, FrozenBytes, VisitEntry};
use highwater_types::{Error, Result};
use rust_rocksdb::{ReadOptions, SnapshotWithThreadMode};

use crate::columns::Columns;
use crate::database::{Database, Db};
use crate::error::failed;
use crate::pages::Page;
use crate::scan::reads_in_order;

/// All pages of a view together take about this much memory, bytes; more if it has more columns than that is pages of
/// the least size, or larger entries.
const PAGES: usize = 8 << 20;
/// Bytes of a page: at most, and at least, however many columns there are.
const PAGE: (usize, usize) = (1 << 20, 64 << 10);

/// All columns as they were at one moment. Taking it needs microseconds, whatever the size of the state: RocksDB notes a
/// sequence number, flushes nothing and writes nothing.
///
/// A reader of the view may wait for a slow storage between two entries. So nothing is lent to it but copies: an iterator
/// would pin the write buffers of the moment it was made, flushed or not, and they would stay on the account that all
/// writers of the process share. A sequence number pins no memory.
pub(crate) struct FrozenRocksDb {
    // In this order: what was made from the database, then the database.
    /// The page of each column where the scan of the key group before ended.
    pages: Vec<Mutex<Option<Page>>>,
    snapshot: SnapshotWithThreadMode<'static, Db>,
    columns: Columns,
    database: Arc<Database>,
}

impl FrozenRocksDb {
    pub(crate) fn new(database: &Arc<Database>, columns: &Columns) -> Self {
        // SAFETY: the snapshot is dropped before the database that is kept beside it.
        let snapshot = unsafe { database.detached() }.snapshot();
        Self {
            pages: (0..columns.len()).map(|_| Mutex::default()).collect(),
            snapshot,
            columns: columns.clone(),
            database: Arc::clone(database),
        }
    }

    /// Reading at the snapshot: what a checkpoint passes by must not drive out of the cache what the job works with.
    fn reads(&self) -> ReadOptions {
        let mut reads = reads_in_order();
        reads.set_snapshot(&self.snapshot);
        reads.fill_cache(false);
        reads
    }

    fn page_size(&self) -> usize {
        let (most, least) = PAGE;
        (PAGES / self.columns.len().max(1)).clamp(least, most)
    }

    /// Fills a page with what there is from a key on.
    fn read(&self, page: &mut Page, column: ColumnId, start: &[u8]) -> Result<()> {
        let (size, mut reads) = (self.page_size(), self.reads());
        reads.set_readahead_size(size / 2);
        let mut iterator = self.database.db().raw_iterator_cf_opt(self.columns.get(column)?.handle(), reads);
        page.read(&mut iterator, start, size).map_err(|cause| self.failed("read entries", column, cause))
    }

    /// Visits the entries of a prefix from a key on, page by page. `page` is a page of this column.
    fn scan_pages(
        &self,
        page: &mut Page,
        column: ColumnId,
        prefix: &[u8],
        from: &[u8],
        visit: &mut VisitEntry<'_>,
    ) -> Result<()> {
        let mut next = prefix.max(from).to_vec();
        loop {
            if !page.covers(&next) {
                self.read(page, column, &next)?;
            }
            match page.visit(prefix, &next, visit)? {
                ControlFlow::Continue(Some(key)) => next = key.to_vec(),
                ControlFlow::Continue(None) | ControlFlow::Break(()) => return Ok(()),
            }
        }
    }

    #[cold]
    fn failed(&self, doing: &str, column: ColumnId, cause: rust_rocksdb::Error) -> Error {
        failed(doing, self.database.path(), cause).with("state", self.columns.name(column))
    }
}

impl FrozenBytes for FrozenRocksDb {
    fn get(&self, column: ColumnId, key: &[u8], read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        let found = self
            .database
            .db()
            .get_cf_opt(self.columns.get(column)?.handle(), key, &self.reads())
            .map_err(|cause| self.failed("read a value", column, cause))?;
        found.map_or(Ok(false), |value| read(&value).map(|()| true))
    }

    fn scan(&self, column: ColumnId, prefix: &[u8], from: &[u8], visit: &mut VisitEntry<'_>) -> Result<()> {
        match self.pages.get(column.index()).map(Mutex::try_lock) {
            Some(Ok(mut kept)) => {
                // While the caller's closure runs there is no page: a panic in it leaves none behind.
                let mut page = kept.take().unwrap_or_default();
                self.scan_pages(&mut page, column, prefix, from, visit)?;
                *kept = Some(page);
                Ok(())
            }
            // Another thread, or the caller of this closure, is using it.
            _ => self.scan_pages(&mut Page::default(), column, prefix, from, visit),
        }
    }
}
