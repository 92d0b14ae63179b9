//! How an operator subtask gets its byte store.

use std::fmt::Debug;
use std::path::PathBuf;

use highwater_types::{KeyGroupRange, MaxParallelism, Result};

use super::ByteStore;

/// Makes byte stores. It is shared between threads and holds configuration only.
///
/// ```
/// use highwater_state::{ByteStore, ByteStoreContext, ByteStoreFactory, ReferenceStore};
/// use highwater_types::Result;
///
/// #[derive(Debug)]
/// struct InMemory;
///
/// impl ByteStoreFactory for InMemory {
///     fn create(&self, _: &ByteStoreContext) -> Result<Box<dyn ByteStore>> {
///         Ok(Box::new(ReferenceStore::new()))
///     }
/// }
/// ```
pub trait ByteStoreFactory: Debug + Send + Sync + 'static {
    /// A new, empty store for one operator subtask, on the thread that will own it.
    fn create(&self, context: &ByteStoreContext) -> Result<Box<dyn ByteStore>>;
}

/// Whom a byte store is for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ByteStoreContext {
    /// Identifies the operator subtask within the process; usable as part of a file name.
    pub operator: String,
    /// Key groups whose state the store will hold.
    pub range: KeyGroupRange,
    /// Number of key groups of the operator. Keys begin with their key group, big-endian, in
    /// [`prefix_bytes`](MaxParallelism::prefix_bytes) bytes.
    pub max_parallelism: MaxParallelism,
    /// Where the subtask may keep files, if it may. The store makes the directory below it that it needs, and removes it.
    pub directory: Option<PathBuf>,
}

impl ByteStoreContext {
    /// A context without a directory.
    #[must_use]
    pub fn new(operator: impl Into<String>, range: KeyGroupRange, max_parallelism: MaxParallelism) -> Self {
        Self { operator: operator.into(), range, max_parallelism, directory: None }
    }

    /// With a directory for files.
    #[must_use]
    pub fn with_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }
}
