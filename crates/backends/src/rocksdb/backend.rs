//! `RocksDbStateBackend`: its fields, setters, getters and merge.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use highwater_checkpoint::CheckpointStorage;
use highwater_rocksdb::{PredefinedOptions, RocksDbOptionsFactory, RocksDbSettings, RocksDbStoreFactory};
use highwater_state::{ByteStore, ByteStoreContext, ByteStoreFactory};
use highwater_types::{Error, ErrorKind, Result};

use super::factories::OptionsFactory;
use super::stream_backend::StreamBackend;
use super::{RocksDbMemoryConfiguration, local_directories, options, settings};
use crate::{BackendRegistry, Configuration, FsStateBackend, KeyedStore, PriorityQueueStateType, StateBackend};

/// Keeps working state in RocksDB on local disks: one database for each subtask of an operator, one column family for
/// each state. Checkpoints go through another backend, the checkpoint stream backend, or wherever the job says.
///
/// What is not set here is taken from the configuration when the job starts, else from the defaults; its keys are in
/// [`options::rocksdb`](crate::options::rocksdb). The options of a database are laid over each other, weakest first:
/// RocksDB's defaults, those of Flink 2.x, the profile ([`set_predefined_options`](Self::set_predefined_options)), the
/// options that are configured one by one, and those of a factory ([`set_options`](Self::set_options)).
///
/// Memory is bounded: all databases of the process share one block cache and one write-buffer manager, by default
/// within [512 mb](RocksDbMemoryConfiguration::DEFAULT_MANAGED_MEMORY).
///
/// The name for the loader is `rocksdb`; the backend is then [`embedded`](Self::embedded).
///
/// ```
/// use highwater_backends::{Configuration, RocksDbStateBackend, StateBackend};
/// use highwater_rocksdb::PredefinedOptions;
///
/// let backend = RocksDbStateBackend::new("file:///data/checkpoints")?
///     .with_incremental_checkpoints(true)
///     .with_db_storage_paths(["/disk1/state", "file:///disk2/state"])?
///     .with_predefined_options(PredefinedOptions::FlashSsdOptimized);
///
/// let cluster = [("state.backend.rocksdb.checkpoint.transfer.thread.num", "8")].into_iter().collect();
/// let effective = backend.configure(&cluster)?;
/// assert_eq!(
///     effective.to_string(),
///     "RocksDBStateBackend{checkpointStreamBackend=File State Backend (checkpoints: 'file:/data/checkpoints', \
///      savepoints: 'null', fileStateThreshold: 20480), localRocksDbDirectories=[/disk1/state, /disk2/state], \
///      enableIncrementalCheckpointing=true, numberOfTransferThreads=8, writeBatchSize=2097152}"
/// );
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RocksDbStateBackend {
    pub(super) stream_backend: Option<StreamBackend>,
    pub(super) incremental: Option<bool>,
    pub(super) transfer_threads: Option<i32>,
    pub(super) write_batch_size: Option<u64>,
    pub(super) priority_queue: Option<PriorityQueueStateType>,
    pub(super) local_directories: Option<Vec<PathBuf>>,
    pub(super) predefined_options: Option<PredefinedOptions>,
    options_factory: Option<OptionsFactory>,
    pub(super) memory: RocksDbMemoryConfiguration,
    /// Only in an effective backend: what `configure` made of the fields and of the keys without a field.
    effective: Option<Effective>,
}

/// The stores of a job come from one factory, because they share one memory budget.
#[derive(Clone, Debug)]
struct Effective {
    settings: Arc<RocksDbSettings>,
    stores: Arc<RocksDbStoreFactory>,
}

/// [`RocksDbStateBackend`] by its name in Flink.
pub type RocksDBStateBackend = RocksDbStateBackend;

/// [`RocksDbStateBackend`] by its name in Flink since 1.13, where the storage of checkpoints is the job's. Make it with
/// [`embedded`](RocksDbStateBackend::embedded).
pub type EmbeddedRocksDBStateBackend = RocksDbStateBackend;

impl RocksDbStateBackend {
    /// Threads that upload or download files where nothing sets them: 4, as in Flink 2.x.
    pub const DEFAULT_TRANSFER_THREADS: usize = 4;
    /// Size of a write batch where nothing sets it: 2,097,152 bytes.
    pub const DEFAULT_WRITE_BATCH_SIZE: u64 = 2 * 1024 * 1024;

    /// A backend that checkpoints to a directory, a URI such as `file:///data/checkpoints`, through an
    /// [`FsStateBackend`]; every other field is unset.
    ///
    /// # Errors
    /// A configuration error for a path without a scheme, a root directory, or one that is not a URI.
    pub fn new(checkpoint_data_uri: impl AsRef<str>) -> Result<Self> {
        Ok(Self::build(Some(StreamBackend::Fs(FsStateBackend::new(checkpoint_data_uri)?))))
    }

    /// A backend that checkpoints through another one; every other field is unset.
    ///
    /// # Errors
    /// A configuration error for a backend without a storage for checkpoints, such as
    /// [`HashMapStateBackend`](crate::HashMapStateBackend).
    pub fn with_checkpoint_backend(checkpoint_stream_backend: impl StateBackend) -> Result<Self> {
        Ok(Self::build(Some(StreamBackend::new(checkpoint_stream_backend)?)))
    }

    /// A backend that leaves open where checkpoints go, as Flink's `EmbeddedRocksDBStateBackend` does:
    /// [`select_checkpoint_storage`](crate::select_checkpoint_storage) finds the storage. Every field is unset.
    #[must_use]
    pub fn embedded() -> Self {
        Self::build(None)
    }

    fn build(stream_backend: Option<StreamBackend>) -> Self {
        Self {
            stream_backend,
            incremental: None,
            transfer_threads: None,
            write_batch_size: None,
            priority_queue: None,
            local_directories: None,
            predefined_options: None,
            options_factory: None,
            memory: RocksDbMemoryConfiguration::new(),
            effective: None,
        }
    }

    /// Sets whether checkpoints consist of RocksDB's own files, of which only new ones are uploaded; none unsets it.
    /// Unset: `execution.checkpointing.incremental`, else false.
    #[must_use]
    pub fn with_incremental_checkpoints(mut self, incremental: impl Into<Option<bool>>) -> Self {
        self.incremental = incremental.into();
        self
    }

    /// [`set_db_storage_paths`](Self::set_db_storage_paths) for building.
    ///
    /// # Errors
    /// As there.
    pub fn with_db_storage_paths<I>(mut self, paths: I) -> Result<Self>
    where
        I: IntoIterator,
        I::Item: AsRef<Path>,
    {
        self.set_db_storage_paths(paths)?;
        Ok(self)
    }

    /// [`set_predefined_options`](Self::set_predefined_options) for building.
    #[must_use]
    pub fn with_predefined_options(mut self, profile: PredefinedOptions) -> Self {
        self.set_predefined_options(profile);
        self
    }

    /// [`set_options`](Self::set_options) for building.
    #[must_use]
    pub fn with_options(mut self, name: impl Into<String>) -> Self {
        self.set_options(name);
        self
    }

    /// Sets the factory of the last word on options itself; it needs no registration.
    #[must_use]
    pub fn with_options_factory(mut self, factory: impl RocksDbOptionsFactory + 'static) -> Self {
        self.options_factory = Some(OptionsFactory::Given(Arc::new(factory)));
        self
    }

    /// [`set_number_of_transfer_threads`](Self::set_number_of_transfer_threads) for building.
    ///
    /// # Errors
    /// As there.
    pub fn with_number_of_transfer_threads(mut self, threads: i64) -> Result<Self> {
        self.set_number_of_transfer_threads(threads)?;
        Ok(self)
    }

    /// [`set_write_batch_size`](Self::set_write_batch_size) for building.
    ///
    /// # Errors
    /// As there.
    pub fn with_write_batch_size(mut self, bytes: i64) -> Result<Self> {
        self.set_write_batch_size(bytes)?;
        Ok(self)
    }

    /// Sets how much memory the databases may take.
    #[must_use]
    pub fn with_memory_configuration(mut self, memory: RocksDbMemoryConfiguration) -> Self {
        self.memory = memory;
        self
    }

    /// Sets the local directories of databases: absolute paths or `file:` URIs, made if they are not there. Each new
    /// database takes the next one. Unset: `state.backend.rocksdb.localdir`, else the machine's directory for temporary
    /// files.
    ///
    /// # Errors
    /// A configuration error for no paths at all ([`reset_db_storage_paths`](Self::reset_db_storage_paths) restores the
    /// default), a relative path, or one of another scheme.
    pub fn set_db_storage_paths<I>(&mut self, paths: I) -> Result<&mut Self>
    where
        I: IntoIterator,
        I::Item: AsRef<Path>,
    {
        self.local_directories = Some(local_directories::from_application(paths)?);
        Ok(self)
    }

    /// Unsets the local directories (in Flink: `None` for the paths).
    pub fn reset_db_storage_paths(&mut self) -> &mut Self {
        self.local_directories = None;
        self
    }

    /// Sets the profile of options. Unset: `state.backend.rocksdb.predefined-options`, else `DEFAULT`.
    pub fn set_predefined_options(&mut self, profile: PredefinedOptions) -> &mut Self {
        self.predefined_options = Some(profile);
        self
    }

    /// Sets the factory that has the last word on options, by the name it is registered under
    /// ([`BackendRegistry::register_rocksdb_options_factory`]); whether it exists is seen when the job starts. Unset:
    /// `state.backend.rocksdb.options-factory`, else none.
    pub fn set_options(&mut self, name: impl Into<String>) -> &mut Self {
        self.options_factory = Some(OptionsFactory::Named(name.into()));
        self
    }

    /// Sets how many threads upload or download the files of a checkpoint. Unset:
    /// `state.backend.rocksdb.checkpoint.transfer.thread.num`, else 4.
    ///
    /// # Errors
    /// A configuration error for 0 or less, or more than 2,147,483,647.
    pub fn set_number_of_transfer_threads(&mut self, threads: i64) -> Result<&mut Self> {
        let number = i32::try_from(threads).ok().filter(|number| *number > 0);
        self.transfer_threads = Some(number.ok_or_else(|| {
            Error::configuration(
                "the number of threads that transfer files must be greater than zero and at most 2147483647",
            )
            .with("found", threads)
        })?);
        Ok(self)
    }

    /// [`set_number_of_transfer_threads`](Self::set_number_of_transfer_threads) by its name in Flink's documentation.
    ///
    /// # Errors
    /// As there.
    pub fn set_number_of_transferring_threads(&mut self, threads: i64) -> Result<&mut Self> {
        self.set_number_of_transfer_threads(threads)
    }

    /// [`set_number_of_transfer_threads`](Self::set_number_of_transfer_threads) as PyFlink spells it.
    ///
    /// # Errors
    /// As there.
    pub fn set_number_of_transfering_threads(&mut self, threads: i64) -> Result<&mut Self> {
        self.set_number_of_transfer_threads(threads)
    }

    /// Sets the size in bytes at which a batch of writes is written; 0: the number of records decides alone. Unset:
    /// `state.backend.rocksdb.write-batch-size`, else 2,097,152.
    ///
    /// # Errors
    /// A configuration error for a negative size.
    pub fn set_write_batch_size(&mut self, bytes: i64) -> Result<&mut Self> {
        self.write_batch_size = Some(u64::try_from(bytes).map_err(|_| {
            Error::configuration("the write batch size has to be no negative value").with("found", bytes)
        })?);
        Ok(self)
    }

    /// Sets where timers are kept. Unset: `state.backend.rocksdb.timer-service.factory`, else RocksDB.
    ///
    /// # Errors
    /// Unsupported for timers on the heap.
    pub fn set_priority_queue_state_type(&mut self, kind: PriorityQueueStateType) -> Result<&mut Self> {
        settings::check_priority_queue(kind)?;
        self.priority_queue = Some(kind);
        Ok(self)
    }

    /// How much memory the databases may take, to change it (in Flink: what `getMemoryConfiguration` returns).
    pub fn memory_configuration_mut(&mut self) -> &mut RocksDbMemoryConfiguration {
        &mut self.memory
    }

    /// A new backend with every field set: this one's value, else the configuration's, else the default. It knows no
    /// options factory by name: [`StateBackend::configure_with`] does.
    ///
    /// [`StateBackend::configure`] is the same behind the trait.
    ///
    /// # Errors
    /// A configuration error with key and value, if a value that is needed cannot be parsed, is out of range or
    /// contradicts another; an unsupported error that names the key for what Highwater does not have.
    pub fn configure(&self, configuration: &Configuration) -> Result<Self> {
        self.merge(configuration, &BackendRegistry::new())
    }

    fn merge(&self, configuration: &Configuration, registry: &BackendRegistry) -> Result<Self> {
        settings::check_keys(configuration)?;
        let mut backend = Self {
            stream_backend: match &self.stream_backend {
                Some(backend) => Some(backend.configure(configuration, registry)?),
                None => None,
            },
            incremental: Some(settings::incremental(self.incremental, configuration)?),
            transfer_threads: Some(settings::transfer_threads(self.transfer_threads, configuration)?),
            write_batch_size: Some(settings::write_batch_size(self.write_batch_size, configuration)?),
            priority_queue: Some(settings::priority_queue(self.priority_queue, configuration)?),
            local_directories: match &self.local_directories {
                Some(directories) => Some(directories.clone()),
                None => local_directories::from_configuration(configuration)?,
            },
            predefined_options: Some(settings::predefined_options(self.predefined_options, configuration)?),
            options_factory: self.find_options_factory(configuration, registry)?.map(OptionsFactory::Given),
            memory: self.memory.configure(configuration)?,
            effective: None,
        };
        let mut effective = settings::without_fields(configuration, &backend.memory)?;
        effective.local_directories = backend.local_directories.clone().unwrap_or_default();
        effective.incremental = backend.is_incremental_checkpoints_enabled();
        effective.transfer_threads = backend.number_of_transfer_threads();
        effective.write_batch_size = backend.write_batch_size();
        effective.predefined_options = backend.predefined_options();
        if let Some(OptionsFactory::Given(factory)) = &backend.options_factory {
            effective.options_factory = Some(Arc::clone(factory));
        }
        backend.effective = Some(Effective {
            stores: Arc::new(RocksDbStoreFactory::new(effective.clone())?),
            settings: Arc::new(effective),
        });
        Ok(backend)
    }

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

    /// The checkpoint stream backend; none if the job decides where checkpoints go.
    #[must_use]
    pub fn checkpoint_backend(&self) -> Option<&dyn StateBackend> {
        self.stream_backend.as_ref().map(StreamBackend::get)
    }

    /// Whether checkpoints are incremental; false if unset.
    #[must_use]
    pub fn is_incremental_checkpoints_enabled(&self) -> bool {
        self.incremental.unwrap_or(false)
    }

    /// The local directories of databases, if set.
    #[must_use]
    pub fn db_storage_paths(&self) -> Option<&[PathBuf]> {
        self.local_directories.as_deref()
    }

    /// The profile of options; `DEFAULT` if unset.
    #[must_use]
    pub fn predefined_options(&self) -> PredefinedOptions {
        self.predefined_options.unwrap_or_default()
    }

    /// How many threads upload or download files; 4 if unset.
    #[must_use]
    pub fn number_of_transfer_threads(&self) -> usize {
        self.transfer_threads
            .and_then(|threads| usize::try_from(threads).ok())
            .unwrap_or(Self::DEFAULT_TRANSFER_THREADS)
    }

    /// Size in bytes at which a batch of writes is written; 2,097,152 if unset.
    #[must_use]
    pub fn write_batch_size(&self) -> u64 {
        self.write_batch_size.unwrap_or(Self::DEFAULT_WRITE_BATCH_SIZE)
    }

    /// Where timers are kept; RocksDB if unset.
    #[must_use]
    pub fn priority_queue_state_type(&self) -> PriorityQueueStateType {
        self.priority_queue.unwrap_or(PriorityQueueStateType::RocksDb)
    }

    /// How much memory the databases may take.
    #[must_use]
    pub fn memory_configuration(&self) -> &RocksDbMemoryConfiguration {
        &self.memory
    }

    /// What the stores of an effective backend are told; none before [`configure`](Self::configure).
    #[must_use]
    pub fn settings(&self) -> Option<&RocksDbSettings> {
        self.effective.as_ref().map(|effective| &*effective.settings)
    }

    /// The name of the options factory, if set.
    #[must_use]
    pub fn get_options(&self) -> Option<&str> {
        self.options_factory.as_ref().map(OptionsFactory::name)
    }

    /// [`checkpoint_backend`](Self::checkpoint_backend) by its name in Flink.
    #[must_use]
    pub fn get_checkpoint_backend(&self) -> Option<&dyn StateBackend> {
        self.checkpoint_backend()
    }

    /// [`db_storage_paths`](Self::db_storage_paths) by its name in Flink.
    #[must_use]
    pub fn get_db_storage_paths(&self) -> Option<&[PathBuf]> {
        self.db_storage_paths()
    }

    /// [`predefined_options`](Self::predefined_options) by its name in Flink.
    #[must_use]
    pub fn get_predefined_options(&self) -> PredefinedOptions {
        self.predefined_options()
    }

    /// [`number_of_transfer_threads`](Self::number_of_transfer_threads) by its name in Flink.
    #[must_use]
    pub fn get_number_of_transfer_threads(&self) -> usize {
        self.number_of_transfer_threads()
    }

    /// [`number_of_transfer_threads`](Self::number_of_transfer_threads) by its name in Flink's documentation.
    #[must_use]
    pub fn get_number_of_transferring_threads(&self) -> usize {
        self.number_of_transfer_threads()
    }

    /// [`number_of_transfer_threads`](Self::number_of_transfer_threads) as PyFlink spells it.
    #[must_use]
    pub fn get_number_of_transfering_threads(&self) -> usize {
        self.number_of_transfer_threads()
    }

    /// [`write_batch_size`](Self::write_batch_size) by its name in Flink.
    #[must_use]
    pub fn get_write_batch_size(&self) -> u64 {
        self.write_batch_size()
    }

    /// [`priority_queue_state_type`](Self::priority_queue_state_type) by its name in Flink.
    #[must_use]
    pub fn get_priority_queue_state_type(&self) -> PriorityQueueStateType {
        self.priority_queue_state_type()
    }

    /// [`memory_configuration`](Self::memory_configuration) by its name in Flink.
    #[must_use]
    pub fn get_memory_configuration(&self) -> &RocksDbMemoryConfiguration {
        self.memory_configuration()
    }
}

impl StateBackend for RocksDbStateBackend {
    fn name(&self) -> &str {
        match self.stream_backend {
            Some(_) => "RocksDBStateBackend",
            None => "EmbeddedRocksDBStateBackend",
        }
    }

    fn configure(&self, configuration: &Configuration) -> Result<Arc<dyn StateBackend>> {
        Ok(Arc::new(Self::configure(self, configuration)?))
    }

    fn configure_with(
        &self,
        configuration: &Configuration,
        registry: &BackendRegistry,
    ) -> Result<Arc<dyn StateBackend>> {
        Ok(Arc::new(self.merge(configuration, registry)?))
    }

    /// Of a backend that is not configured yet: with the default for what is unset.
    fn keyed_store(&self) -> KeyedStore {
        if let Some(effective) = &self.effective {
            return KeyedStore::Bytes(Arc::clone(&effective.stores) as Arc<dyn ByteStoreFactory>);
        }
        match Self::configure(self, &Configuration::new()) {
            Ok(configured) => configured.keyed_store(),
            Err(error) => KeyedStore::Bytes(Arc::new(Unusable { kind: error.kind(), cause: error.to_string() })),
        }
    }

    fn checkpoint_storage(&self) -> Result<Option<Arc<dyn CheckpointStorage>>> {
        match self.checkpoint_backend() {
            Some(backend) => backend.checkpoint_storage(),
            None => Ok(None),
        }
    }

    fn use_managed_memory(&self) -> bool {
        true
    }
}

impl fmt::Display for RocksDbStateBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{{", self.name())?;
        if let Some(backend) = self.checkpoint_backend() {
            write!(f, "checkpointStreamBackend={backend}, ")?;
        }
        f.write_str("localRocksDbDirectories=")?;
        match &self.local_directories {
            Some(directories) => {
                let names: Vec<_> = directories.iter().map(|directory| directory.display().to_string()).collect();
                write!(f, "[{}]", names.join(", "))?;
            }
            None => f.write_str("null")?,
        }
        write!(
            f,
            ", enableIncrementalCheckpointing={}, numberOfTransferThreads={}, writeBatchSize={}}}",
            self.is_incremental_checkpoints_enabled(),
            self.number_of_transfer_threads(),
            self.write_batch_size()
        )
    }
}

/// The stores of a backend that nobody configured and that cannot be: the error comes with the first one.
#[derive(Debug)]
struct Unusable {
    kind: ErrorKind,
    cause: String,
}

impl ByteStoreFactory for Unusable {
    fn create(&self, _: &ByteStoreContext) -> Result<Box<dyn ByteStore>> {
        Err(Error::new(self.kind, "the RocksDB backend cannot be configured").because(self.cause.clone()))
    }
}
