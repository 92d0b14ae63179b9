//! `CustomStateBackend`: a backend of the user's own.

use std::fmt;
use std::sync::Arc;

use highwater_checkpoint::{CheckpointStorage, StoragePath};
use highwater_types::Result;
use serde::{Deserialize, Serialize};

use crate::{BackendRegistry, Configuration, KeyedStore, StateBackend};

/// A backend of the user's own: passes everything through to the one it wraps.
///
/// Wrapping is not needed, any [`StateBackend`] will do; the wrapper tells in a signature that the backend is none of
/// Flink's. It serializes as the wrapped backend does.
///
/// The example `custom_backend` of the crate `highwater` is a tutorial: a whole backend over the store
/// [fjall](https://docs.rs/fjall), from its bytes to a job that runs on it.
///
/// ```
/// use highwater_backends::{CustomStateBackend, HashMapStateBackend, StateBackend};
///
/// let backend = CustomStateBackend::new(HashMapStateBackend::new());
/// assert_eq!(backend.to_string(), "HashMapStateBackend");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CustomStateBackend<B> {
    backend: B,
}

impl<B: StateBackend> CustomStateBackend<B> {
    /// Wraps a backend.
    #[must_use]
    pub fn new(backend: B) -> Self {
        Self { backend }
    }

    /// The wrapped backend.
    #[must_use]
    pub fn get_ref(&self) -> &B {
        &self.backend
    }

    /// The wrapped backend.
    #[must_use]
    pub fn into_inner(self) -> B {
        self.backend
    }
}

impl<B: StateBackend> StateBackend for CustomStateBackend<B> {
    fn name(&self) -> &str {
        self.backend.name()
    }

    fn configure(&self, configuration: &Configuration) -> Result<Arc<dyn StateBackend>> {
        Ok(Arc::new(CustomStateBackend::new(self.backend.configure(configuration)?)))
    }

    fn configure_with(
        &self,
        configuration: &Configuration,
        registry: &BackendRegistry,
    ) -> Result<Arc<dyn StateBackend>> {
        Ok(Arc::new(CustomStateBackend::new(self.backend.configure_with(configuration, registry)?)))
    }

    fn keyed_store(&self) -> KeyedStore {
        self.backend.keyed_store()
    }

    fn checkpoint_storage(&self) -> Result<Option<Arc<dyn CheckpointStorage>>> {
        self.backend.checkpoint_storage()
    }

    fn savepoint_directory(&self) -> Option<&StoragePath> {
        self.backend.savepoint_directory()
    }

    fn use_managed_memory(&self) -> bool {
        self.backend.use_managed_memory()
    }

    fn supports_no_claim_restore_mode(&self) -> bool {
        self.backend.supports_no_claim_restore_mode()
    }
}

impl<B: StateBackend> fmt::Display for CustomStateBackend<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.backend, f)
    }
}
