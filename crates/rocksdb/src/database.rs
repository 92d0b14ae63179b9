//! An open database, shared by its store and all frozen views.

use std::path::Path;
use std::sync::Arc;

use highwater_types::{Error, Result};
use rust_rocksdb::event_listener::{BackgroundErrorStatus, DBBackgroundErrorReason, EventListener};
use rust_rocksdb::{BoundColumnFamily, ColumnFamilyDescriptor, DBWithThreadMode, MultiThreaded, Options};

use crate::columns::{Column, Columns, column_name, family_name};
use crate::directories::InstanceDirectory;
use crate::error::failed_to_open;
use crate::{Layers, MetricsReporter};

/// RocksDB as it is used here: columns are made while others are read.
pub(crate) type Db = DBWithThreadMode<MultiThreaded>;

/// RocksDB's own column family. A state of this name lives in it, which Flink refuses.
const DEFAULT_COLUMN: &str = "default";

/// An open database and the directory it lives in, which is removed when the last user is gone.
pub(crate) struct Database {
    // In this order: closed, then freed, then removed.
    db: Db,
    metrics: MetricsReporter,
    layers: Layers,
    directory: InstanceDirectory,
}

impl Database {
    /// Opens the database in `directory`, which is made if it is not there. `families` are the column families that it
    /// has.
    pub(crate) fn open(directory: InstanceDirectory, layers: Layers, families: &[String]) -> Result<Arc<Self>> {
        let path = directory.database();
        Self::try_open(directory, layers, families)?.map_err(|cause| failed_to_open("open a database", &path, cause))
    }

    /// As [`open`](Self::open), with RocksDB's own error for what it finds in the files.
    pub(crate) fn try_open(
        directory: InstanceDirectory,
        layers: Layers,
        families: &[String],
    ) -> Result<std::result::Result<Arc<Self>, rust_rocksdb::Error>> {
        let labels = [("job", directory.job().to_owned()), ("operator", directory.operator().to_owned())];
        let mut metrics = MetricsReporter::new(&layers.settings().metrics, labels);
        let mut options = layers.database()?;
        metrics.prepare(&mut options);
        fail_at_once(&mut options);
        let opened = Db::open_cf_descriptors(&options, directory.database(), descriptors(&layers, families, true)?);
        Ok(opened.map(|db| Arc::new(Self { db, metrics, layers, directory })))
    }

    /// The column family of this name, made if it is not there.
    pub(crate) fn family(&self, family: &str) -> Result<Arc<BoundColumnFamily<'_>>> {
        if let Some(handle) = self.db.cf_handle(family) {
            return Ok(handle);
        }
        self.db
            .create_cf(family, &self.layers.column(&column_name(family))?)
            .map_err(|cause| failed_to_open("make a column family", self.path(), cause))?;
        self.db.cf_handle(family).ok_or_else(lost)
    }

    /// The column of this name, made if it is not there.
    pub(crate) fn column(self: &Arc<Self>, name: &str) -> Result<Column> {
        let family = family_name(name);
        self.family(&family)?;
        Column::find(self, &family).ok_or_else(lost)
    }

    /// Publishes the metrics that are switched on.
    pub(crate) fn report(&self, columns: &Columns) {
        if !self.metrics.is_empty() {
            self.metrics.report(&self.db, columns.iter().map(|(name, column)| (name, Arc::clone(column.handle()))));
        }
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
    pub(crate) fn layers(&self) -> &Layers {
        &self.layers
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

/// Without this, RocksDB waits for a disk that is full to become empty, and a write waits with it for ever. An attempt
/// of a job is to end with the error instead.
fn fail_at_once(options: &mut Options) {
    struct NoRecovery;

    impl EventListener for NoRecovery {
        fn on_error_recovery_begin(&self, _: DBBackgroundErrorReason, _: &BackgroundErrorStatus, recover: &mut bool) {
            *recover = false;
        }
    }

    options.add_event_listener(NoRecovery);
    options.set_max_bgerror_resume_count(0);
}

/// Opens a database whose files stay what they are: it does not compact by itself.
pub(crate) fn open_still(
    layers: &Layers,
    path: &Path,
    families: &[String],
) -> Result<std::result::Result<Db, rust_rocksdb::Error>> {
    Ok(Db::open_cf_descriptors(&layers.database()?, path, descriptors(layers, families, false)?))
}

/// Opens a database of which nothing is changed.
pub(crate) fn open_read_only(
    layers: &Layers,
    path: &Path,
    families: &[String],
) -> Result<std::result::Result<Db, rust_rocksdb::Error>> {
    Ok(Db::open_cf_descriptors_read_only(&layers.database()?, path, descriptors(layers, families, false)?, false))
}

/// The column families of a database with their options. RocksDB's own is always there.
fn descriptors(layers: &Layers, families: &[String], compacting: bool) -> Result<Vec<ColumnFamilyDescriptor>> {
    let options = |family: &str| -> Result<Options> {
        let mut options = layers.column(&column_name(family))?;
        if !compacting {
            options.set_disable_auto_compactions(true);
        }
        Ok(options)
    };
    let others = families.iter().map(String::as_str).filter(|family| *family != DEFAULT_COLUMN);
    [DEFAULT_COLUMN]
        .into_iter()
        .chain(others)
        .map(|family| Ok(ColumnFamilyDescriptor::new(family, options(family)?)))
        .collect()
}

#[cold]
fn lost() -> Error {
    Error::internal("RocksDB lost a column family that it made")
}
