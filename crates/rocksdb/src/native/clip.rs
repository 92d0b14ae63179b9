//! Making a database hold certain key groups only.

use std::collections::BTreeSet;

use highwater_types::{Error, KeyGroupRange, MaxParallelism, Result};
use rust_rocksdb::{BottommostLevelCompaction, CompactOptions, WriteOptions};

use crate::database::Db;
use crate::error::failed;

/// A range of keys, the end excluded.
type Bounds = (Vec<u8>, Vec<u8>);

/// The keys of key groups: both ends as prefixes.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeySpace {
    max_parallelism: MaxParallelism,
}

impl KeySpace {
    pub(super) fn new(max_parallelism: MaxParallelism) -> Self {
        Self { max_parallelism }
    }

    /// The first key that any key group from `group` on can have.
    fn prefix(self, group: u32) -> Vec<u8> {
        let bytes = group.to_be_bytes();
        bytes.iter().skip(bytes.len() - self.max_parallelism.prefix_bytes()).copied().collect()
    }

    /// The keys of a range.
    fn bounds(self, range: KeyGroupRange) -> Bounds {
        (self.prefix(range.start().into()), self.prefix(u32::from(range.end()) + 1))
    }

    /// All keys below and above a range.
    fn outside(self, range: KeyGroupRange) -> Vec<Bounds> {
        let (start, end) = self.bounds(range);
        let last = self.prefix(self.max_parallelism.get());
        let sides = [(self.prefix(0), start), (end, last)];
        sides.into_iter().filter(|(start, end)| start < end).collect()
    }

    /// Removes what is outside of a range from all column families: whole files at once, and the rest by a mark that
    /// hides it until a compaction comes by. Nothing is rewritten here. Everything has to be in files.
    pub(super) fn clip(self, db: &Db, range: KeyGroupRange) -> Result<()> {
        let mut writes = WriteOptions::default();
        writes.disable_wal(true);
        let files = db.live_files().map_err(|cause| cannot(db, cause))?;
        let families: BTreeSet<&str> = files.iter().map(|file| file.column_family_name.as_str()).collect();
        for (start, end) in self.outside(range) {
            for family in &families {
                let Some(family) = db.cf_handle(family) else { continue };
                db.delete_file_in_range_cf(&family, &start, &end).map_err(|cause| cannot(db, cause))?;
                db.delete_range_cf_opt(&family, &start, &end, &writes).map_err(|cause| cannot(db, cause))?;
                // Only a hint: done in the background, if at all.
                db.suggest_compact_range_cf(&family, Some(&start), Some(&end)).map_err(|cause| cannot(db, cause))?;
            }
        }
        Ok(())
    }

    /// Makes sure that no file reaches out of a range: files that do are rewritten. They are there if the database was
    /// clipped once and has not been compacted since.
    pub(super) fn purge(self, db: &Db, columns: &[String], range: KeyGroupRange) -> Result<()> {
        if self.is_within(db, range)? {
            return Ok(());
        }
        self.clip(db, range)?;
        self.compact_outside(db, columns, range);
        match self.is_within(db, range)? {
            true => Ok(()),
            false => Err(Error::internal("a compaction left entries of other key groups behind")
                .with("directory", db.path().display())
                .with("key groups", range)),
        }
    }

    /// Rewrites the files that reach out of a range.
    fn compact_outside(self, db: &Db, columns: &[String], range: KeyGroupRange) {
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        options.set_exclusive_manual_compaction(false);
        for (start, end) in self.outside(range) {
            for column in columns {
                let Some(family) = db.cf_handle(column) else { continue };
                db.compact_range_cf_opt(&family, Some(&start), Some(&end), &options);
            }
        }
    }

    /// Whether all files of the database lie within a range.
    fn is_within(self, db: &Db, range: KeyGroupRange) -> Result<bool> {
        let (start, end) = self.bounds(range);
        let files = db.live_files().map_err(|cause| cannot(db, cause))?;
        let is_within = |first: &[u8], last: &[u8]| first >= start.as_slice() && last < end.as_slice();
        Ok(files.iter().all(|file| match (&file.start_key, &file.end_key) {
            (Some(first), Some(last)) => is_within(first, last),
            _ => false,
        }))
    }
}

#[cold]
fn cannot(db: &Db, cause: rust_rocksdb::Error) -> Error {
    failed("remove the key groups of other subtasks", db.path(), cause)
}
