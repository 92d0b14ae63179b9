//! Makes stores.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use highwater_state::{ByteStore, ByteStoreContext, ByteStoreFactory, FileRestore};
use highwater_types::{Result, ResultExt};

use crate::database::Database;
use crate::directories::{InstanceDirectory, LocalDirectories};
use crate::native::{self, Uploads};
use crate::store::RocksDbStore;
use crate::{Layers, RocksDbSettings};

/// Makes the RocksDB stores of one job, all with the same settings and within one memory budget.
///
/// A store's files are in a directory of its own, `job_<job>_op_<operator>_uuid_<random>` as in Flink, in one of the
/// [local directories](RocksDbSettings::local_directories), else in the directory of the [`ByteStoreContext`], else in
/// the machine's directory for temporary files. Stores take the local directories in turn, beginning with a random one.
/// Directories that cannot be used are skipped with a warning. Before the first store of a job is made, directories that
/// crashed runs of the job left there are removed; those of processes that are alive are not touched.
///
/// ```
/// use highwater_rocksdb::{RocksDbSettings, RocksDbStoreFactory};
/// use highwater_state::{ByteStoreContext, ByteStoreFactory};
/// use highwater_types::{KeyGroupRange, MaxParallelism};
///
/// let mut settings = RocksDbSettings::default();
/// settings.memory.fixed_per_slot = Some(64 << 20);
/// let factory = RocksDbStoreFactory::new(settings)?;
///
/// let max_parallelism = MaxParallelism::new(128)?;
/// let context = ByteStoreContext::new("counter-0", max_parallelism.range_of(0, 1)?, max_parallelism).with_job("words");
/// let mut store = factory.create(&context)?;
/// let counts = store.column("counts")?;
/// store.put(counts, b"\x05\x04the", &7_i64.to_be_bytes())?;
/// assert!(store.get(counts, b"\x05\x04the", &mut |value| Ok(assert_eq!(value, 7_i64.to_be_bytes())))?);
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Debug)]
pub struct RocksDbStoreFactory {
    settings: RocksDbSettings,
    used: Mutex<Used>,
}

/// What is found out when the first store is made: until then a factory is configuration only.
#[derive(Debug, Default)]
struct Used {
    layers: Option<Layers>,
    /// Per job and directory of a context.
    places: HashMap<(String, Option<PathBuf>), Arc<LocalDirectories>>,
}

impl RocksDbStoreFactory {
    /// A factory of stores with these settings. Takes no memory and touches no file.
    ///
    /// # Errors
    /// Those of [`RocksDbSettings::validate`].
    pub fn new(settings: RocksDbSettings) -> Result<Self> {
        settings.validate()?;
        Ok(Self { settings, used: Mutex::default() })
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &RocksDbSettings {
        &self.settings
    }

    /// What databases are opened with, and a new directory for the files of one store.
    pub(crate) fn prepare(&self, context: &ByteStoreContext) -> Result<(Layers, InstanceDirectory)> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let layers = match &used.layers {
            Some(layers) => layers.clone(),
            None => used.layers.insert(Layers::new(self.settings.clone())?).clone(),
        };
        let places = self.places(&mut used, context)?;
        drop(used);
        let directory = places.create(&context.job, &context.operator);
        if directory.is_err() {
            // The next attempt of the job looks at all of them again.
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.places.remove(&self.place(context));
        }
        Ok((layers, directory?))
    }

    /// Under which key the directories of a context are known.
    fn place(&self, context: &ByteStoreContext) -> (String, Option<PathBuf>) {
        let own = context.directory.clone().filter(|_| self.settings.local_directories.is_empty());
        (context.job.clone(), own)
    }

    /// The directories to choose from.
    fn places(&self, used: &mut Used, context: &ByteStoreContext) -> Result<Arc<LocalDirectories>> {
        let configured = &self.settings.local_directories;
        let key = self.place(context);
        if let Some(found) = used.places.get(&key) {
            return Ok(Arc::clone(found));
        }
        let found = Arc::new(match &key.1 {
            Some(own) => LocalDirectories::probe(std::slice::from_ref(own))?,
            None if configured.is_empty() => LocalDirectories::probe(&[std::env::temp_dir()])?,
            None => LocalDirectories::probe(configured)?,
        });
        found.remove_abandoned(&context.job);
        used.places.insert(key, Arc::clone(&found));
        Ok(found)
    }
}

impl Default for RocksDbStoreFactory {
    /// A factory with the default settings.
    fn default() -> Self {
        Self { settings: RocksDbSettings::default(), used: Mutex::default() }
    }
}

impl ByteStoreFactory for RocksDbStoreFactory {
    fn create(&self, context: &ByteStoreContext) -> Result<Box<dyn ByteStore>> {
        let open = || {
            let (layers, directory) = self.prepare(context)?;
            Ok(RocksDbStore::new(Database::open(directory, layers, &[])?, Uploads::new()))
        };
        Ok(Box::new(open().with("store", &context.operator)?))
    }

    fn restore(&self, context: &ByteStoreContext, from: &FileRestore<'_>) -> Result<Box<dyn ByteStore>> {
        let restore = || {
            let (layers, directory) = self.prepare(context)?;
            let (database, uploads) = native::restore(directory, &layers, context, from)?;
            Ok(RocksDbStore::new(database, uploads))
        };
        Ok(Box::new(restore().with("store", &context.operator)?))
    }
}
