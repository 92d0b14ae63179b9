//! Which checkpoint storage a job gets: the half of a backend that Flink 1.13 split off.

use std::sync::Arc;

use highwater_checkpoint::CheckpointStorage;
use highwater_types::{Error, Result};

use crate::config::{Configuration, unknown_name};
use crate::{FsStateBackend, MemoryStateBackend, StateBackend, options};

/// The checkpoint storage of a job (Flink's `CheckpointStorageLoader`), in this order:
///
/// 1. the backend's own, as [`MemoryStateBackend`] and [`FsStateBackend`] have it; a warning tells if another one is
///    set besides;
/// 2. the application's;
/// 3. the configured one: `execution.checkpointing.storage` is `filesystem` or `jobmanager`, in any case;
/// 4. a file system if a checkpoint directory is configured;
/// 5. the memory of the coordinator.
///
/// `backend` is an effective one ([`BackendRegistry::effective_backend`](crate::BackendRegistry::effective_backend)).
///
/// # Errors
/// A configuration error for an unknown name, with those known; for `filesystem` without a directory, naming the key;
/// and for values that cannot be parsed or are out of range.
///
/// ```
/// use highwater_backends::{Configuration, HashMapStateBackend, select_checkpoint_storage};
///
/// let backend = HashMapStateBackend::new();
/// let memory = select_checkpoint_storage(&backend, None, &Configuration::new())?;
/// assert!(!memory.survives_process());
///
/// let configuration = [("execution.checkpointing.dir", "file:///data/checkpoints")].into_iter().collect();
/// let files = select_checkpoint_storage(&backend, None, &configuration)?;
/// assert!(files.survives_process());
/// # Ok::<(), highwater_types::Error>(())
/// ```
pub fn select_checkpoint_storage(
    backend: &dyn StateBackend,
    application: Option<Arc<dyn CheckpointStorage>>,
    configuration: &Configuration,
) -> Result<Arc<dyn CheckpointStorage>> {
    let configured = configuration.find(options::CHECKPOINT_STORAGE.info());
    if let Some(storage) = backend.checkpoint_storage()? {
        if application.is_some() || configured.is_some() {
            tracing::warn!(%backend, "the state backend has its own checkpoint storage; the other one is not used");
        }
        return Ok(storage);
    }
    match (application, configured) {
        (Some(storage), _) => Ok(storage),
        (None, Some((key, name))) => match name.to_ascii_lowercase().as_str() {
            "filesystem" | "fs" => file_system(configuration),
            "jobmanager" | "memory" => job_manager(configuration),
            _ => Err(unknown_name("there is no checkpoint storage of this name", name, &["filesystem", "jobmanager"])
                .with("key", key)),
        },
        (None, None) if configuration.contains(&options::CHECKPOINTS_DIRECTORY) => file_system(configuration),
        (None, None) => job_manager(configuration),
    }
}

fn file_system(configuration: &Configuration) -> Result<Arc<dyn CheckpointStorage>> {
    own_storage(&FsStateBackend::from_configuration(configuration)?)
}

fn job_manager(configuration: &Configuration) -> Result<Arc<dyn CheckpointStorage>> {
    own_storage(&MemoryStateBackend::from_configuration(configuration)?)
}

fn own_storage(backend: &dyn StateBackend) -> Result<Arc<dyn CheckpointStorage>> {
    backend.checkpoint_storage()?.ok_or_else(|| Error::internal("this backend should have a checkpoint storage"))
}
