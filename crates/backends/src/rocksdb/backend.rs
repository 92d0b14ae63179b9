//! `RocksDbStateBackend`: its fields, setters, getters and merge.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use highwater_checkpoint::{CheckpointStorage, StoragePath};
use highwater_rocksdb::{PredefinedOptions, RocksDbOptionsFactory, RocksDbSettings, RocksDbStoreFactory};
use highwater_state::{ByteStore, ByteStoreContext, ByteStoreFactory};
use highwater_types::{Error, ErrorKind, Result};

use super::factories::OptionsFactory;
use super::values::Values;
use super::{CheckpointStreamBackend, RocksDbMemoryConfiguration, local_directories, settings};
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
    pub(super) stream_backend: Option<CheckpointStreamBackend>,
    values: Values,
    /// What makes the stores of a job, once it was asked for: one factory, because they share one memory budget. Gone when a
    /// value changes.
    stores: OnceLock<Arc<RocksDbStoreFactory>>,
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
        Ok(Self::build(Some(CheckpointStreamBackend::Fs(FsStateBackend::new(checkpoint_data_uri)?))))
    }

    /// A backend that checkpoints through another one; every other field is unset.
    ///
    /// # Errors
    /// A configuration error for a backend without a storage for checkpoints, such as
    /// [`HashMapStateBackend`](crate::HashMapStateBackend).
    pub fn with_checkpoint_backend(checkpoint_stream_backend: impl StateBackend) -> Result<Self> {
        Ok(Self::build(Some(CheckpointStreamBackend::new(checkpoint_stream_backend)?)))
    }

    /// A backend that leaves open where checkpoints go, as Flink's `EmbeddedRocksDBStateBackend` does:
    /// [`select_checkpoint_storage`](crate::select_checkpoint_storage) finds the storage. Every field is unset.
    #[must_use]
    pub fn embedded() -> Self {
        Self::build(None)
    }

    fn build(stream_backend: Option<CheckpointStreamBackend>) -> Self {
        Self { stream_backend, values: Values::default(), stores: OnceLock::new() }
    }

    /// The values.
    pub(super) fn values(&self) -> &Values {
        &self.values
    }

    /// The values, to change them: the stores are made anew.
    pub(super) fn values_mut(&mut self) -> &mut Values {
        self.stores = OnceLock::new();
        &mut self.values
    }

    /// Sets whether checkpoints consist of RocksDB's own files, of which only new ones are uploaded; none unsets it.
    /// Unset: `execution.checkpointing.incremental`, else false.
    #[must_use]
    pub fn with_incremental_checkpoints(mut self, incremental: impl Into<Option<bool>>) -> Self {
        self.values_mut().incremental = incremental.into();
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
        self.values_mut().options_factory = Some(OptionsFactory::Given(Arc::new(factory)));
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
        self.values_mut().memory = memory;
        self
    }

    /// Sets the local directories of databases: absolute paths or `file:` URIs, made if they are not there. Each new
    /// database takes the next one. No paths at all unset them, as in PyFlink. Unset: `state.backend.rocksdb.localdir`,
    /// else the machine's directory for temporary files.
    ///
    /// # Errors
    /// A configuration error for a relative path, or one of another scheme.
    pub fn set_db_storage_paths<I>(&mut self, paths: I) -> Result<&mut Self>
    where
        I: IntoIterator,
        I::Item: AsRef<Path>,
    {
        let directories = local_directories::from_application(paths)?;
        self.values_mut().local_directories = (!directories.is_empty()).then_some(directories);
        Ok(self)
    }

    /// Unsets the local directories (in Flink: `None` for the paths).
    pub fn reset_db_storage_paths(&mut self) -> &mut Self {
        self.values_mut().local_directories = None;
        self
    }

    /// Sets the profile of options. Unset: `state.backend.rocksdb.predefined-options`, else `DEFAULT`.
    pub fn set_predefined_options(&mut self, profile: PredefinedOptions) -> &mut Self {
        self.values_mut().predefined_options = Some(profile);
        self
    }

    /// Sets the factory that has the last word on options, by the name it is registered under
    /// ([`BackendRegistry::register_rocksdb_options_factory`]); whether it exists is seen when the job starts. Unset:
    /// `state.backend.rocksdb.options-factory`, else none.
    pub fn set_options(&mut self, name: impl Into<String>) -> &mut Self {
        self.values_mut().options_factory = Some(OptionsFactory::Named(name.into()));
        self
    }

    /// Sets how many threads upload or download the files of a checkpoint. Unset:
    /// `state.backend.rocksdb.checkpoint.transfer.thread.num`, else 4.
    ///
    /// # Errors
    /// A configuration error for 0 or less, or more than 2,147,483,647.
    pub fn set_number_of_transfer_threads(&mut self, threads: i64) -> Result<&mut Self> {
        let number = i32::try_from(threads).ok().filter(|number| *number > 0);
        self.values_mut().transfer_threads = Some(number.ok_or_else(|| {
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
        self.values_mut().write_batch_size = Some(u64::try_from(bytes).map_err(|_| {
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
        self.values_mut().priority_queue = Some(kind);
        Ok(self)
    }

    /// How much memory the databases may take, to change it (in Flink: what `getMemoryConfiguration` returns).
    pub fn memory_configuration_mut(&mut self) -> &mut RocksDbMemoryConfiguration {
        &mut self.values_mut().memory
    }

    /// A new backend with every value set: this one's, else the configuration's, else the default. What an earlier
    /// configuration set stays, keys without a setter too; and what is set later holds for stores that are made later. It
    /// knows no options factory by name: [`StateBackend::configure_with`] does.
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
        let stream_backend = self.stream_backend.as_ref().map(|backend| backend.configure(configuration, registry));
        let backend = Self {
            stream_backend: stream_backend.transpose()?,
            values: self.values.configure(configuration, registry)?,
            stores: OnceLock::new(),
        };
        backend.stores()?;
        Ok(backend)
    }

    fn stores(&self) -> Result<&Arc<RocksDbStoreFactory>> {
        if let Some(stores) = self.stores.get() {
            return Ok(stores);
        }
        let stores = Arc::new(RocksDbStoreFactory::new(self.values.settings()?)?);
        Ok(self.stores.get_or_init(|| stores))
    }

    /// The checkpoint stream backend; none if the job decides where checkpoints go.
    #[must_use]
    pub fn checkpoint_backend(&self) -> Option<&CheckpointStreamBackend> {
        self.stream_backend.as_ref()
    }

    /// Whether checkpoints are incremental; false if unset.
    #[must_use]
    pub fn is_incremental_checkpoints_enabled(&self) -> bool {
        self.values.is_incremental()
    }

    /// The local directories of databases, if set.
    #[must_use]
    pub fn db_storage_paths(&self) -> Option<&[PathBuf]> {
        self.values.local_directories.as_deref()
    }

    /// The profile of options; `DEFAULT` if unset.
    #[must_use]
    pub fn predefined_options(&self) -> PredefinedOptions {
        self.values.predefined_options.unwrap_or_default()
    }

    /// How many threads upload or download files; 4 if unset.
    #[must_use]
    pub fn number_of_transfer_threads(&self) -> usize {
        self.values.transfer_threads()
    }

    /// Size in bytes at which a batch of writes is written; 2,097,152 if unset.
    #[must_use]
    pub fn write_batch_size(&self) -> u64 {
        self.values.write_batch_size()
    }

    /// Where timers are kept; RocksDB if unset.
    #[must_use]
    pub fn priority_queue_state_type(&self) -> PriorityQueueStateType {
        self.values.priority_queue.unwrap_or(PriorityQueueStateType::RocksDb)
    }

    /// How much memory the databases may take.
    #[must_use]
    pub fn memory_configuration(&self) -> &RocksDbMemoryConfiguration {
        &self.values.memory
    }

    /// What the stores are told: every value that is set here or was configured, and defaults.
    ///
    /// # Errors
    /// As [`configure`](Self::configure); a configuration error for an options factory that is known by its name alone.
    pub fn settings(&self) -> Result<&RocksDbSettings> {
        Ok(self.stores()?.settings())
    }

    /// The name of the options factory, if set.
    #[must_use]
    pub fn get_options(&self) -> Option<&str> {
        self.values.options_factory.as_ref().map(OptionsFactory::name)
    }

    /// [`checkpoint_backend`](Self::checkpoint_backend) by its name in Flink.
    #[must_use]
    pub fn get_checkpoint_backend(&self) -> Option<&CheckpointStreamBackend> {
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
        match self.stores() {
            Ok(stores) => KeyedStore::Bytes(Arc::clone(stores) as Arc<dyn ByteStoreFactory>),
            Err(error) => KeyedStore::Bytes(Arc::new(Unusable { kind: error.kind(), cause: error.to_string() })),
        }
    }

    fn checkpoint_storage(&self) -> Result<Option<Arc<dyn CheckpointStorage>>> {
        match self.checkpoint_backend() {
            Some(backend) => backend.checkpoint_storage(),
            None => Ok(None),
        }
    }

    fn savepoint_directory(&self) -> Option<&StoragePath> {
        self.checkpoint_backend().and_then(|backend| backend.savepoint_directory())
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
        match &self.values.local_directories {
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
