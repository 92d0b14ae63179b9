//! How an operator subtask gets its byte store.

use std::fmt::Debug;
use std::path::PathBuf;

use highwater_types::{Error, KeyGroupRange, MaxParallelism, Result};

use super::{ByteStore, FileRestore};

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

    /// A store that holds what native snapshots hold of its key groups. The snapshots come from
    /// [`ByteStore::freeze_files`] of a store of the same kind, or from Flink's RocksDB.
    ///
    /// # Errors
    /// `Unsupported` by default; `Corrupt` for files that are damaged or not what their handle says. Nothing is left
    /// behind then.
    fn restore(&self, context: &ByteStoreContext, from: &FileRestore<'_>) -> Result<Box<dyn ByteStore>> {
        let _ = context;
        Err(not_native(from.handles.len()))
    }
}

/// The error for a store that cannot read the files of a native snapshot.
#[cold]
pub(crate) fn not_native(handles: usize) -> Error {
    Error::unsupported(
        "the snapshot consists of RocksDB's files: restore it with the RocksDB backend, or take a canonical savepoint",
    )
    .with("expected", "a key-grouped stream")
    .with("found", format_args!("{handles} incremental handles"))
}

/// Whom a byte store is for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ByteStoreContext {
    /// Identifies the job over all its runs; usable as part of a file name. Empty outside of a job.
    pub job: String,
    /// Identifies the operator subtask within the process; usable as part of a file name.
    pub operator: String,
    /// Key groups whose state the store will hold.
    pub range: KeyGroupRange,
    /// Number of key groups of the operator. Keys begin with their key group, big-endian, in
    /// [`prefix_bytes`](MaxParallelism::prefix_bytes) bytes.
    pub max_parallelism: MaxParallelism,
    /// Where the subtask may keep files; none leaves it to the settings of the factory. The store makes a directory of
    /// its own below it (which may not be there yet either), and removes that again.
    pub directory: Option<PathBuf>,
}

impl ByteStoreContext {
    /// A context without a directory.
    #[must_use]
    pub fn new(operator: impl Into<String>, range: KeyGroupRange, max_parallelism: MaxParallelism) -> Self {
        Self { job: String::new(), operator: operator.into(), range, max_parallelism, directory: None }
    }

    /// As part of this job.
    #[must_use]
    pub fn with_job(mut self, job: impl Into<String>) -> Self {
        self.job = job.into();
        self
    }

    /// With a directory for files.
    #[must_use]
    pub fn with_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }
}
