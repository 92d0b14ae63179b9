//! `HashMapStateBackend`: state on the heap, checkpoints wherever the job says.

use std::fmt;
use std::sync::Arc;

use highwater_types::Result;
use serde::{Deserialize, Serialize};

use crate::{Configuration, KeyedStore, StateBackend};

/// Keeps working state on the heap and leaves open where checkpoints go (Flink 1.13 and later).
///
/// With a [`JobManagerCheckpointStorage`](highwater_checkpoint::JobManagerCheckpointStorage) it is what
/// [`MemoryStateBackend`](crate::MemoryStateBackend) is, with a
/// [`FileSystemCheckpointStorage`](highwater_checkpoint::FileSystemCheckpointStorage) what
/// [`FsStateBackend`](crate::FsStateBackend) is. [`select_checkpoint_storage`](crate::select_checkpoint_storage) finds
/// the storage. The name for the loader is `hashmap`; it is also what a job without a backend gets.
///
/// ```
/// use highwater_backends::{HashMapStateBackend, StateBackend};
///
/// assert!(HashMapStateBackend::new().checkpoint_storage()?.is_none());
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HashMapStateBackend {}

impl HashMapStateBackend {
    /// It has no fields.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }
}

impl StateBackend for HashMapStateBackend {
    fn name(&self) -> &str {
        "HashMapStateBackend"
    }

    fn configure(&self, _: &Configuration) -> Result<Arc<dyn StateBackend>> {
        Ok(Arc::new(*self))
    }

    fn keyed_store(&self) -> KeyedStore {
        KeyedStore::Heap
    }
}

impl fmt::Display for HashMapStateBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashMapStateBackend")
    }
}
