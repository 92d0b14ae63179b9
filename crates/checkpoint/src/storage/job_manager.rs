//! Checkpoints in the coordinator's memory.

use std::sync::Arc;

use highwater_types::{Error, Result};

use super::location::{DirectoryAccess, MemoryAccess, StreamSettings};
use super::resolve::resolve_with;
use super::savepoint::{begin_savepoint, savepoint_streams};
use super::{CheckpointLocation, CheckpointStorage, CheckpointStorageAccess, JobDirectory, ResolvedSnapshot};
use crate::fs::{FileSystem, file_system_for};
use crate::{
    CancelToken, CheckpointStreamFactory, DEFAULT_MAX_STATE_SIZE, JobId, StoragePath, validate_checkpoint_dir,
};

/// Checkpoints in the coordinator's memory (Flink's `JobManagerCheckpointStorage`). All state travels inside the
/// acknowledgements. With a directory, `<base>/<job id>/chk-<n>/_metadata` holds it too, so that a new process can
/// resume; without one, checkpoints serve restarts in the same process only.
///
/// ```
/// use highwater_checkpoint::{CheckpointStorage, JobId, JobManagerCheckpointStorage, NOT_EXTERNALLY_ADDRESSABLE};
///
/// let storage = JobManagerCheckpointStorage::new();
/// assert!(!storage.survives_process());
/// let completed = storage.open(JobId::from_name("demo"))?.begin(1)?.write_metadata(b"")?;
/// assert_eq!(completed.pointer, NOT_EXTERNALLY_ADDRESSABLE);
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct JobManagerCheckpointStorage {
    base: Option<StoragePath>,
    fs: Option<Arc<dyn FileSystem>>,
    max_state_size: u64,
    create_subdir: bool,
}

impl Default for JobManagerCheckpointStorage {
    fn default() -> Self {
        Self { base: None, fs: None, max_state_size: DEFAULT_MAX_STATE_SIZE, create_subdir: true }
    }
}

impl JobManagerCheckpointStorage {
    /// Storage in memory alone, 5 MiB per stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Storage that also keeps metadata files below a directory.
    ///
    /// # Errors
    /// As [`validate_checkpoint_dir`].
    pub fn with_directory(mut self, base: StoragePath) -> Result<Self> {
        validate_checkpoint_dir(&base)?;
        self.base = Some(base);
        Ok(self)
    }

    /// Largest stream in bytes (default 5 MiB).
    ///
    /// # Errors
    /// [`Configuration`](highwater_types::ErrorKind::Configuration) for 0.
    pub fn with_max_state_size(mut self, bytes: u64) -> Result<Self> {
        if bytes == 0 {
            return Err(Error::configuration("maxStateSize must be > 0").with("found", bytes));
        }
        self.max_state_size = bytes;
        Ok(self)
    }

    /// Whether each job has a directory of its own below the base (default true).
    #[must_use]
    pub fn with_create_subdir(mut self, create_subdir: bool) -> Self {
        self.create_subdir = create_subdir;
        self
    }

    /// The file system to use (default: chosen by the scheme of the base directory).
    #[must_use]
    pub fn with_file_system(mut self, fs: Arc<dyn FileSystem>) -> Self {
        self.fs = Some(fs);
        self
    }

    /// The base directory, if there is one.
    #[must_use]
    pub fn base(&self) -> Option<&StoragePath> {
        self.base.as_ref()
    }

    fn settings(&self) -> StreamSettings {
        StreamSettings::Memory { max_state_size: self.max_state_size }
    }
}

impl CheckpointStorage for JobManagerCheckpointStorage {
    fn open(&self, job: JobId) -> Result<Arc<dyn CheckpointStorageAccess>> {
        let settings = self.settings();
        let Some(base) = &self.base else {
            return Ok(Arc::new(MemoryAccess { settings }));
        };
        let fs = match &self.fs {
            Some(fs) => Arc::clone(fs),
            None => file_system_for(base)?,
        };
        let job = JobDirectory::new(fs, base, job, self.create_subdir);
        let lock = job.create_and_lock()?;
        Ok(Arc::new(DirectoryAccess { job, settings, _lock: lock }))
    }

    fn streams(
        &self,
        _job: JobId,
        checkpoint_id: u64,
        cancel: CancelToken,
    ) -> Result<Arc<dyn CheckpointStreamFactory>> {
        Ok(self.settings().streams(None, checkpoint_id, cancel))
    }

    fn begin_savepoint(&self, job: JobId, target: &StoragePath) -> Result<Box<dyn CheckpointLocation>> {
        begin_savepoint(self.fs.as_ref(), self.settings(), job, target)
    }

    fn savepoint_streams(
        &self,
        directory: &StoragePath,
        cancel: CancelToken,
    ) -> Result<Arc<dyn CheckpointStreamFactory>> {
        savepoint_streams(self.fs.as_ref(), self.settings(), directory, cancel)
    }

    fn resolve(&self, pointer: &str) -> Result<ResolvedSnapshot> {
        resolve_with(self.fs.as_ref(), pointer)
    }

    fn survives_process(&self) -> bool {
        self.base.is_some()
    }
}
