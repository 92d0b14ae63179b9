//! An open database, shared by its store and all frozen views.

use std::path::Path;
use std::sync::Arc;

use highwater_types::{Error, Result};
use rust_rocksdb::{ColumnFamilyDescriptor, DBWithThreadMode, MultiThreaded, Options};

use crate::columns::{Column, family_name};
use crate::directories::InstanceDirectory;
use crate::error::failed_to_open;

/// RocksDB as it is used here: columns are made while others are read.
pub(crate) type Db = DBWithThreadMode<MultiThreaded>;

/// RocksDB's own column family. A state of this name lives in it, which Flink refuses.
const DEFAULT_COLUMN: &str = "default";

/// What databases are opened with.
#[derive(Clone, Debug)]
pub(crate) struct StoreOptions {
    pub(crate) write_batch_size: u64,
}

impl StoreOptions {
    fn database(&self) -> Result<Options> {
        let mut options = self.column("")?;
        options.create_if_missing(true);
        Ok(options)
    }

    fn column(&self, _state: &str) -> Result<Options> {
        let mut options = Options::default()
            .get_options_from_string("merge_operator=stringappendtest")
            .map_err(|cause| Error::internal("RocksDB has no merge operator stringappendtest").because(cause))?;
        let mut tables = rust_rocksdb::BlockBasedOptions::default();
        tables.set_format_version(5);
        tables.set_checksum_type(rust_rocksdb::ChecksumType::CRC32c);
        options.set_block_based_table_factory(&tables);
        Ok(options)
    }
}

/// An open database and the directory it lives in, which is removed when the last user is gone.
pub(crate) struct Database {
    // In this order: closed, then freed, then removed.
    db: Db,
    options: StoreOptions,
    directory: InstanceDirectory,
}

impl Database {
    /// Opens the database in `directory`, which is made if it is not there. `columns` are those it has.
    pub(crate) fn open(directory: InstanceDirectory, options: StoreOptions, columns: &[String]) -> Result<Arc<Self>> {
        let path = directory.database();
        let mut families = vec![ColumnFamilyDescriptor::new(DEFAULT_COLUMN, options.column(DEFAULT_COLUMN)?)];
        for column in columns.iter().filter(|column| *column != DEFAULT_COLUMN) {
            families.push(ColumnFamilyDescriptor::new(family_name(column), options.column(column)?));
        }
        let db = Db::open_cf_descriptors(&options.database()?, &path, families)
            .map_err(|cause| failed_to_open("open a database", &path, cause))?;
        Ok(Arc::new(Self { db, options, directory }))
    }

    /// The column of this name, made if it is not there.
    pub(crate) fn column(self: &Arc<Self>, name: &str) -> Result<Column> {
        if let Some(column) = Column::find(self, name) {
            return Ok(column);
        }
        self.db
            .create_cf(family_name(name), &self.options.column(name)?)
            .map_err(|cause| failed_to_open("make a column family", self.path(), cause))?;
        Column::find(self, name).ok_or_else(|| Error::internal("RocksDB lost a column family that it made"))
    }

    /// RocksDB itself.
    #[inline]
    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    /// Where its files are.
    pub(crate) fn path(&self) -> &Path {
        self.db.path()
    }

    /// The directory around it, for snapshots beside the database.
    pub(crate) fn directory(&self) -> &InstanceDirectory {
        &self.directory
    }

    /// What it was opened with.
    pub(crate) fn options(&self) -> &StoreOptions {
        &self.options
    }

    /// RocksDB without a lifetime, for what is kept beside the `Arc`.
    ///
    /// # Safety
    /// Everything made from the reference must be dropped before this `Arc` or a clone of it that is kept beside it.
    pub(crate) unsafe fn detached(self: &Arc<Self>) -> &'static Db {
        // SAFETY: an `Arc` does not move what it holds, and the caller keeps one as long as the reference is used.
        unsafe { &(*Arc::as_ptr(self)).db }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Compactions of files that are about to be removed are not worth waiting for.
        self.db.cancel_all_background_work(true);
    }
}
