//! What is set about the stores of a RocksDB backend, by the application or by a configuration.

use std::path::PathBuf;
use std::sync::Arc;

use highwater_rocksdb::{PredefinedOptions, RocksDbOptionsFactory, RocksDbSettings};
use highwater_types::Result;

use super::factories::OptionsFactory;
use super::{RocksDbMemoryConfiguration, local_directories, options, settings};
use crate::options::NUM_TASK_SLOTS;
use crate::{BackendRegistry, Configuration, PriorityQueueStateType};

/// Every value has one place: a field, or else its key. What the stores are told is made from here and from nowhere else,
/// so that a backend can be configured again, and be changed after it was configured.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    pub(super) incremental: Option<bool>,
    pub(super) transfer_threads: Option<i32>,
    pub(super) write_batch_size: Option<u64>,
    pub(super) priority_queue: Option<PriorityQueueStateType>,
    pub(super) local_directories: Option<Vec<PathBuf>>,
    pub(super) predefined_options: Option<PredefinedOptions>,
    pub(super) options_factory: Option<OptionsFactory>,
    pub(super) memory: RocksDbMemoryConfiguration,
    /// The keys of RocksDB that the configurations had, the first one's before those of later ones. Of most keys this is
    /// the only place.
    pub(super) keys: Configuration,
}

impl Values {
    /// These, with every field set: this one's value, else the configured one, else the default.
    pub(super) fn configure(&self, configuration: &Configuration, registry: &BackendRegistry) -> Result<Self> {
        let mut keys = settings::own_keys(configuration).overlaid_with(&self.keys);
        // How many workers the process has is no setting but a fact: the job says it last.
        if let Some((key, workers)) = configuration.find(NUM_TASK_SLOTS.info()) {
            keys.set_raw(key, workers);
        }
        Ok(Self {
            incremental: Some(settings::incremental(self.incremental, &keys)?),
            transfer_threads: Some(settings::transfer_threads(self.transfer_threads, &keys)?),
            write_batch_size: Some(settings::write_batch_size(self.write_batch_size, &keys)?),
            priority_queue: Some(settings::priority_queue(self.priority_queue, &keys)?),
            local_directories: match &self.local_directories {
                Some(directories) => Some(directories.clone()),
                None => local_directories::from_configuration(&keys)?,
            },
            predefined_options: Some(settings::predefined_options(self.predefined_options, &keys)?),
            options_factory: self.find_options_factory(configuration, registry)?.map(OptionsFactory::Given),
            memory: self.memory.configure(&keys)?,
            keys,
        })
    }

    /// A factory sees the whole configuration, which may have keys of its own.
    fn find_options_factory(
        &self,
        configuration: &Configuration,
        registry: &BackendRegistry,
    ) -> Result<Option<Arc<dyn RocksDbOptionsFactory>>> {
        let factories = registry.options_factories();
        match &self.options_factory {
            Some(OptionsFactory::Given(factory)) => Ok(Some(Arc::clone(factory))),
            Some(OptionsFactory::Named(name)) => factories.create(name, configuration),
            None => match configuration.find(options::OPTIONS_FACTORY.info()) {
                Some((key, name)) => factories.create(name, configuration).map_err(|error| error.with("key", key)),
                None => Ok(None),
            },
        }
    }

    /// What the stores are told, with the default for what is unset.
    pub(super) fn settings(&self) -> Result<RocksDbSettings> {
        let resolved = self.configure(&Configuration::new(), &BackendRegistry::new())?;
        let mut settings = settings::without_fields(&resolved.keys, &resolved.memory)?;
        settings.local_directories = resolved.local_directories.clone().unwrap_or_default();
        settings.incremental = resolved.is_incremental();
        settings.transfer_threads = resolved.transfer_threads();
        settings.write_batch_size = resolved.write_batch_size();
        settings.predefined_options = resolved.predefined_options.unwrap_or_default();
        if let Some(OptionsFactory::Given(factory)) = resolved.options_factory {
            settings.options_factory = Some(factory);
        }
        Ok(settings)
    }

    pub(super) fn is_incremental(&self) -> bool {
        self.incremental.unwrap_or(false)
    }

    pub(super) fn transfer_threads(&self) -> usize {
        let set = self.transfer_threads.and_then(|threads| usize::try_from(threads).ok());
        set.unwrap_or(super::RocksDbStateBackend::DEFAULT_TRANSFER_THREADS)
    }

    pub(super) fn write_batch_size(&self) -> u64 {
        self.write_batch_size.unwrap_or(super::RocksDbStateBackend::DEFAULT_WRITE_BATCH_SIZE)
    }
}
