//! Makes stores.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use highwater_state::{ByteStore, ByteStoreContext, ByteStoreFactory};
use highwater_types::{Result, ResultExt};

use crate::database::StoreOptions;
use crate::directories::{InstanceDirectory, LocalDirectories};
use crate::store::RocksDbStore;

/// Makes the RocksDB stores of one job, all with the same settings and within one memory budget.
#[derive(Debug)]
pub struct RocksDbStoreFactory {
    options: StoreOptions,
    local_directories: Vec<PathBuf>,
    /// Per job and directory that a context names: found out when it is first needed.
    places: Mutex<HashMap<(String, Option<PathBuf>), Arc<LocalDirectories>>>,
}

impl RocksDbStoreFactory {
    /// An empty store in the next of the local directories.
    pub(crate) fn open(&self, context: &ByteStoreContext, columns: &[String]) -> Result<RocksDbStore> {
        RocksDbStore::open(self.instance_directory(context)?, self.options.clone(), columns)
            .with("operator", &context.operator)
    }

    /// A new directory for the files of one store.
    pub(crate) fn instance_directory(&self, context: &ByteStoreContext) -> Result<InstanceDirectory> {
        let places = self.places(context)?;
        InstanceDirectory::create(places.next(), &context.job, &context.operator).with("operator", &context.operator)
    }

    /// The directories to choose from: those of the settings, else the one of the context, else the machine's for
    /// temporary files. The first use removes what crashed runs of the job left there.
    fn places(&self, context: &ByteStoreContext) -> Result<Arc<LocalDirectories>> {
        let own = context.directory.as_ref().filter(|_| self.local_directories.is_empty()).cloned();
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (context.job.clone(), own);
        if let Some(found) = places.get(&key) {
            return Ok(Arc::clone(found));
        }
        let found = Arc::new(match &key.1 {
            Some(own) => LocalDirectories::probe(std::slice::from_ref(own))?,
            None if self.local_directories.is_empty() => LocalDirectories::probe(&[std::env::temp_dir()])?,
            None => LocalDirectories::probe(&self.local_directories)?,
        });
        found.remove_abandoned(&context.job);
        places.insert(key, Arc::clone(&found));
        Ok(found)
    }
}

impl ByteStoreFactory for RocksDbStoreFactory {
    fn create(&self, context: &ByteStoreContext) -> Result<Box<dyn ByteStore>> {
        Ok(Box::new(self.open(context, &[])?))
    }
}

impl Default for RocksDbStoreFactory {
    fn default() -> Self {
        Self {
            options: StoreOptions { write_batch_size: 2 << 20 },
            local_directories: Vec::new(),
            places: Mutex::default(),
        }
    }
}
