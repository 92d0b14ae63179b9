//! The backend through which RocksDB writes checkpoints.

use std::any::Any;
use std::sync::Arc;

use highwater_types::{Error, Result};

use crate::{BackendRegistry, Configuration, FsStateBackend, MemoryStateBackend, StateBackend};

/// Backends of Flink's are known by type, so that they can be serialized.
#[derive(Clone, Debug)]
pub(super) enum StreamBackend {
    Fs(FsStateBackend),
    Memory(MemoryStateBackend),
    Other(Arc<dyn StateBackend>),
}

impl StreamBackend {
    /// Only what brings a storage for checkpoints will do, as in Flink since 1.13.
    pub(super) fn new(backend: impl StateBackend) -> Result<Self> {
        if backend.checkpoint_storage()?.is_none() {
            return Err(Error::configuration(
                "RocksDB can only checkpoint to state backends that have a checkpoint storage: take an FsStateBackend or \
                 a MemoryStateBackend, or use RocksDbStateBackend::embedded and leave the storage to the job",
            )
            .with("found", backend.name()));
        }
        let any: &dyn Any = &backend;
        if let Some(fs) = any.downcast_ref::<FsStateBackend>() {
            return Ok(Self::Fs(fs.clone()));
        }
        if let Some(memory) = any.downcast_ref::<MemoryStateBackend>() {
            return Ok(Self::Memory(memory.clone()));
        }
        Ok(Self::Other(Arc::new(backend)))
    }

    pub(super) fn get(&self) -> &dyn StateBackend {
        match self {
            Self::Fs(backend) => backend,
            Self::Memory(backend) => backend,
            Self::Other(backend) => backend,
        }
    }

    pub(super) fn configure(&self, configuration: &Configuration, registry: &BackendRegistry) -> Result<Self> {
        match self {
            Self::Fs(backend) => backend.configure(configuration).map(Self::Fs),
            Self::Memory(backend) => backend.configure(configuration).map(Self::Memory),
            Self::Other(backend) => backend.configure_with(configuration, registry).map(Self::Other),
        }
    }
}
