//! The backend through which RocksDB writes checkpoints.

use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use highwater_checkpoint::StoragePath;
use highwater_types::{Error, Result};

use crate::{BackendRegistry, Configuration, FsStateBackend, MemoryStateBackend, StateBackend};

/// The backend through which a [`RocksDbStateBackend`](super::RocksDbStateBackend) writes checkpoints, as
/// [`checkpoint_backend`](super::RocksDbStateBackend::checkpoint_backend) gives it back: one of Flink's by its type,
/// any other as what it is.
///
/// It derefs to [`StateBackend`], and has the getters of both of Flink's, so that it need not be matched to be asked:
/// they answer none where the backend has no such thing.
///
/// ```
/// use highwater_backends::{CheckpointStreamBackend, RocksDbStateBackend};
///
/// let rocks = RocksDbStateBackend::new("file:///data/checkpoints/")?;
/// let backend = rocks.get_checkpoint_backend().expect("this constructor makes one");
/// assert_eq!(backend.get_checkpoint_path().map(ToString::to_string).as_deref(), Some("file:/data/checkpoints"));
/// assert_eq!(backend.get_min_file_size_threshold(), Some(20_480));
/// assert_eq!(backend.get_max_state_size(), None);
/// assert!(matches!(backend, CheckpointStreamBackend::Fs(_)));
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CheckpointStreamBackend {
    /// Checkpoints in a file system.
    Fs(FsStateBackend),
    /// Checkpoints in the memory of the coordinator.
    Memory(MemoryStateBackend),
    /// Any other backend that has a storage for checkpoints.
    Other(Arc<dyn StateBackend>),
}

impl CheckpointStreamBackend {
    /// Only what brings a storage for checkpoints will do, as in Flink since 1.13.
    pub(super) fn new(backend: impl StateBackend) -> Result<Self> {
        if backend.checkpoint_storage()?.is_none() {
            return Err(Error::configuration(
                "RocksDB can only checkpoint to state backends that have a checkpoint storage: take an FsStateBackend or \
                 a MemoryStateBackend, or use RocksDbStateBackend::embedded and leave the storage to the job",
            )
            .with("found", backend.name()));
        }
        Ok(Self::by_type(&backend).unwrap_or_else(|| Self::Other(Arc::new(backend))))
    }

    fn by_type(backend: &dyn StateBackend) -> Option<Self> {
        let any = innermost(backend);
        let fs = any.downcast_ref().cloned().map(Self::Fs);
        fs.or_else(|| any.downcast_ref().cloned().map(Self::Memory))
    }

    pub(super) fn configure(&self, configuration: &Configuration, registry: &BackendRegistry) -> Result<Self> {
        match self {
            Self::Fs(backend) => backend.configure(configuration).map(Self::Fs),
            Self::Memory(backend) => backend.configure(configuration).map(Self::Memory),
            Self::Other(backend) => backend.configure_with(configuration, registry).map(Self::Other),
        }
    }

    /// The backend by its type, if it is of that type.
    #[must_use]
    pub fn downcast_ref<B: StateBackend>(&self) -> Option<&B> {
        innermost(&**self).downcast_ref()
    }

    /// Directory of checkpoints, if there is one ([`FsStateBackend::checkpoint_path`],
    /// [`MemoryStateBackend::checkpoint_path`]).
    #[must_use]
    pub fn get_checkpoint_path(&self) -> Option<&StoragePath> {
        match self {
            Self::Fs(backend) => Some(backend.checkpoint_path()),
            Self::Memory(backend) => backend.checkpoint_path(),
            Self::Other(_) => None,
        }
    }

    /// Default directory of savepoints, if set ([`FsStateBackend::savepoint_path`],
    /// [`MemoryStateBackend::savepoint_path`]).
    #[must_use]
    pub fn get_savepoint_path(&self) -> Option<&StoragePath> {
        match self {
            Self::Fs(backend) => backend.savepoint_path(),
            Self::Memory(backend) => backend.savepoint_path(),
            Self::Other(_) => None,
        }
    }

    /// Base directory of checkpoints in a file system ([`FsStateBackend::base_path`]).
    #[must_use]
    pub fn get_base_path(&self) -> Option<&StoragePath> {
        self.downcast_ref().map(FsStateBackend::base_path)
    }

    /// Size in bytes up to which state is kept inside the metadata ([`FsStateBackend::min_file_size_threshold`]).
    #[must_use]
    pub fn get_min_file_size_threshold(&self) -> Option<u64> {
        self.downcast_ref().map(FsStateBackend::min_file_size_threshold)
    }

    /// Size in bytes of the buffer before files ([`FsStateBackend::write_buffer_size`]).
    #[must_use]
    pub fn get_write_buffer_size(&self) -> Option<u64> {
        self.downcast_ref().map(FsStateBackend::write_buffer_size)
    }

    /// Largest size in bytes of one stream in memory ([`MemoryStateBackend::max_state_size`]).
    #[must_use]
    pub fn get_max_state_size(&self) -> Option<u64> {
        self.downcast_ref().map(MemoryStateBackend::max_state_size)
    }

    /// Always true, whatever was set.
    #[must_use]
    pub fn is_using_asynchronous_snapshots(&self) -> bool {
        true
    }
}

/// The backend itself, also behind the shared pointer in which the loader returns it.
fn innermost(backend: &dyn StateBackend) -> &dyn Any {
    let any: &dyn Any = backend;
    match any.downcast_ref::<Arc<dyn StateBackend>>() {
        Some(shared) => innermost(&**shared),
        None => any,
    }
}

impl Deref for CheckpointStreamBackend {
    type Target = dyn StateBackend;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Fs(backend) => backend,
            Self::Memory(backend) => backend,
            Self::Other(backend) => &**backend,
        }
    }
}

impl fmt::Display for CheckpointStreamBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}
