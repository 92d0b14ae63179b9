//! Pages: a column that is read from its beginning to its end, with nothing of RocksDB held in between.

use std::ops::ControlFlow;

use highwater_state::VisitEntry;
use rust_rocksdb::DBRawIteratorWithThreadMode;

use crate::database::Db;

/// Consecutive entries of a column, copied out of RocksDB: all that there are from one key on and below another.
#[derive(Debug)]
pub(crate) struct Page {
    /// The first key that could be in it.
    start: Vec<u8>,
    /// The first key that could be in the next page; none behind the last page of the column.
    end: Option<Vec<u8>>,
    /// Keys and values, one behind the other.
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

/// Where an entry ends in the bytes; it begins where the one before ends.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: usize,
    value: usize,
}

impl Default for Page {
    /// A page that covers no key.
    fn default() -> Self {
        Self { start: Vec::new(), end: Some(Vec::new()), bytes: Vec::new(), entries: Vec::new() }
    }
}

impl Page {
    /// Reads what an iterator finds from `start` on, at least one entry, until it is more than `size` bytes.
    pub(crate) fn read(
        &mut self,
        iterator: &mut DBRawIteratorWithThreadMode<'_, Db>,
        start: &[u8],
        size: usize,
    ) -> Result<(), rust_rocksdb::Error> {
        self.bytes.clear();
        // After an entry of any size the page is one of the usual size again.
        self.bytes.shrink_to(2 * size);
        self.entries.clear();
        self.end = None;
        self.start.clear();
        self.start.extend_from_slice(start);
        iterator.seek(start);
        while let Some((key, value)) = iterator.item() {
            if self.bytes.len() >= size {
                self.end = Some(key.to_vec());
                return Ok(());
            }
            self.bytes.extend_from_slice(key);
            let key = self.bytes.len();
            self.bytes.extend_from_slice(value);
            self.entries.push(Entry { key, value: self.bytes.len() });
            iterator.next();
        }
        // An iterator that met an error looks like one that is at its end.
        iterator.status()
    }

    /// Whether a key, if it is in the column, is in this page.
    pub(crate) fn covers(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && self.end.as_deref().is_none_or(|end| key < end)
    }

    /// Visits the entries of a prefix from a key on. Breaks if `visit` does, and gives the key at which the next page
    /// begins if the prefix may go on there.
    pub(crate) fn visit(
        &self,
        prefix: &[u8],
        from: &[u8],
        visit: &mut VisitEntry<'_>,
    ) -> highwater_types::Result<ControlFlow<(), Option<&[u8]>>> {
        let first = self.first_from(from);
        for index in first..self.entries.len() {
            let (key, value) = self.entry(index);
            if !key.starts_with(prefix) {
                return Ok(ControlFlow::Continue(None));
            }
            if visit(key, value)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(self.end.as_deref().filter(|end| end.starts_with(prefix))))
    }

    /// The first entry whose key is not below this one.
    fn first_from(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.entry(middle).0 < key {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    fn entry(&self, index: usize) -> (&[u8], &[u8]) {
        let end_of = |index: usize| self.entries.get(index).map_or(0, |entry| entry.value);
        let start = index.checked_sub(1).map_or(0, end_of);
        let key_end = self.entries.get(index).map_or(start, |entry| entry.key);
        let slice = |from, to| self.bytes.get(from..to).unwrap_or_default();
        (slice(start, key_end), slice(key_end, end_of(index)))
    }
}
