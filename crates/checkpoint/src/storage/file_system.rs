//! Checkpoints in files.

use std::sync::Arc;

use highwater_types::Result;

use super::location::{DirectoryAccess, StreamSettings};
use super::resolve::resolve_with;
use super::savepoint::{begin_savepoint, savepoint_streams};
use super::{CheckpointLocation, CheckpointStorage, CheckpointStorageAccess, JobDirectory, ResolvedSnapshot};
use crate::fs::{FileSystem, file_system_for};
use crate::{
    CancelToken, CheckpointStreamFactory, DEFAULT_INLINE_THRESHOLD, DEFAULT_WRITE_BUFFER, JobId, StoragePath,
    validate_checkpoint_dir,
};

/// Checkpoints in files below a base directory (Flink's `FileSystemCheckpointStorage`):
///
/// ```text
/// <base>/<job id, 32 hex>/
///     .lock           held by the process that runs the job
///     shared/         files that several checkpoints may reference
///     taskowned/      files the coordinator never deletes
///     chk-<n>/        one checkpoint: state files with random names, and _metadata, which is written last
/// ```
#[derive(Clone, Debug)]
pub struct FileSystemCheckpointStorage {
    base: StoragePath,
    fs: Option<Arc<dyn FileSystem>>,
    threshold: usize,
    write_buffer: usize,
    create_subdir: bool,
}

impl FileSystemCheckpointStorage {
    /// Storage below this directory, with Flink's defaults. Nothing is touched yet.
    ///
    /// # Errors
    /// As [`validate_checkpoint_dir`].
    pub fn new(base: StoragePath) -> Result<Self> {
        validate_checkpoint_dir(&base)?;
        Ok(Self {
            base,
            fs: None,
            threshold: DEFAULT_INLINE_THRESHOLD,
            write_buffer: DEFAULT_WRITE_BUFFER,
            create_subdir: true,
        })
    }

    /// Largest stream in bytes that travels inside `_metadata` (default 20 KiB). Flink's configuration allows up to
    /// [`MAX_INLINE_THRESHOLD`](crate::MAX_INLINE_THRESHOLD); whoever reads the configuration checks that.
    #[must_use]
    pub fn with_inline_threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// Write buffer of a stream in bytes (default 4,096); the larger of this and the threshold takes effect.
    #[must_use]
    pub fn with_write_buffer(mut self, bytes: usize) -> Self {
        self.write_buffer = bytes;
        self
    }

    /// Whether each job has a directory of its own below the base (default true,
    /// `execution.checkpointing.create-subdir`). Without it, a second job on the same base is refused by the lock.
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

    /// The base directory.
    #[must_use]
    pub fn base(&self) -> &StoragePath {
        &self.base
    }

    fn job(&self, job: JobId) -> Result<JobDirectory> {
        let fs = match &self.fs {
            Some(fs) => Arc::clone(fs),
            None => file_system_for(&self.base)?,
        };
        Ok(JobDirectory::new(fs, &self.base, job, self.create_subdir))
    }

    fn settings(&self) -> StreamSettings {
        StreamSettings::Files { threshold: self.threshold, write_buffer: self.write_buffer }
    }
}

impl CheckpointStorage for FileSystemCheckpointStorage {
    fn open(&self, job: JobId) -> Result<Arc<dyn CheckpointStorageAccess>> {
        let job = self.job(job)?;
        let lock = job.create_and_lock()?;
        job.create_common_directories()?;
        Ok(Arc::new(DirectoryAccess { job, settings: self.settings(), _lock: lock }))
    }

    fn streams(&self, job: JobId, checkpoint_id: u64, cancel: CancelToken) -> Result<Arc<dyn CheckpointStreamFactory>> {
        Ok(self.settings().streams(Some(&self.job(job)?), checkpoint_id, cancel))
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
        true
    }
}
