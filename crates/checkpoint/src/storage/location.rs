//! Places of checkpoints being taken: in a directory, or in memory alone.

use std::fmt;
use std::sync::Arc;

use highwater_types::Result;

use super::commit::commit_metadata;
use super::layout;
use super::{CheckpointLocation, CheckpointStorageAccess, CompletedLocation, JobDirectory, NOT_EXTERNALLY_ADDRESSABLE};
use crate::fs::{FileLock, FileSystem};
use crate::{CancelToken, CheckpointStreamFactory, FsStreamFactory, MemoryStreamFactory, StoragePath};

/// What the streams of a checkpoint do with their bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum StreamSettings {
    /// Files, and inline handles up to `threshold` bytes.
    Files { threshold: usize, write_buffer: usize },
    /// Inline handles only, each of at most `max_state_size` bytes.
    Memory { max_state_size: u64 },
}

impl StreamSettings {
    pub(super) fn streams(
        self,
        job: Option<&JobDirectory>,
        checkpoint_id: u64,
        cancel: CancelToken,
    ) -> Arc<dyn CheckpointStreamFactory> {
        match (self, job) {
            (Self::Files { threshold, write_buffer }, Some(job)) => Arc::new(
                FsStreamFactory::new(Arc::clone(job.file_system()), job.checkpoint(checkpoint_id))
                    .with_shared_directory(job.shared())
                    .with_threshold(threshold)
                    .with_write_buffer(write_buffer)
                    .with_cancel_token(cancel),
            ),
            (Self::Files { threshold, .. }, None) => Arc::new(MemoryStreamFactory::new(threshold as u64, cancel)),
            (Self::Memory { max_state_size }, _) => Arc::new(MemoryStreamFactory::new(max_state_size, cancel)),
        }
    }
}

/// A job whose checkpoints lie in a directory.
#[derive(Debug)]
pub(super) struct DirectoryAccess {
    pub(super) job: JobDirectory,
    pub(super) settings: StreamSettings,
    /// Held as long as the job runs.
    pub(super) _lock: Box<dyn FileLock>,
}

impl CheckpointStorageAccess for DirectoryAccess {
    fn begin(&self, checkpoint_id: u64) -> Result<Box<dyn CheckpointLocation>> {
        let directory = self.job.create_checkpoint(checkpoint_id)?;
        let cancel = CancelToken::new();
        let streams = self.settings.streams(Some(&self.job), checkpoint_id, cancel.clone());
        let mut other_directories = vec![self.job.path().clone()];
        if let StreamSettings::Files { .. } = self.settings {
            other_directories.push(self.job.shared());
        }
        let fs = Arc::clone(self.job.file_system());
        Ok(Box::new(DirectoryLocation {
            checkpoint_id: Some(checkpoint_id),
            fs,
            directory,
            other_directories,
            streams,
            cancel,
        }))
    }

    fn directory(&self) -> Option<&JobDirectory> {
        Some(&self.job)
    }
}

/// A checkpoint or savepoint in a directory of its own.
pub(super) struct DirectoryLocation {
    pub(super) checkpoint_id: Option<u64>,
    pub(super) fs: Arc<dyn FileSystem>,
    pub(super) directory: StoragePath,
    /// Other directories that hold something of the checkpoint: its own name, shared files.
    pub(super) other_directories: Vec<StoragePath>,
    pub(super) streams: Arc<dyn CheckpointStreamFactory>,
    pub(super) cancel: CancelToken,
}

impl fmt::Debug for DirectoryLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DirectoryLocation({})", self.directory)
    }
}

impl CheckpointLocation for DirectoryLocation {
    fn checkpoint_id(&self) -> Option<u64> {
        self.checkpoint_id
    }

    fn directory(&self) -> Option<&StoragePath> {
        Some(&self.directory)
    }

    fn streams(&self) -> Arc<dyn CheckpointStreamFactory> {
        Arc::clone(&self.streams)
    }

    fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    fn write_metadata(&self, metadata: &[u8]) -> Result<CompletedLocation> {
        self.cancel.check()?;
        commit_metadata(self.fs.as_ref(), &self.directory, &self.other_directories, metadata)?;
        Ok(CompletedLocation { pointer: self.directory.to_string(), directory: Some(self.directory.clone()) })
    }

    fn discard(&self) -> Result<()> {
        self.cancel.cancel();
        let fs = self.fs.as_ref();
        let metadata = self.directory.join(layout::METADATA);
        if fs.stat(&metadata)?.is_some() {
            // Without its metadata it can no longer be taken for a complete checkpoint, whatever survives a crash.
            fs.remove_file(&metadata)?;
            fs.sync_dir(&self.directory)?;
        }
        fs.remove_dir_all(&self.directory)
    }
}

/// A job whose checkpoints live in the coordinator's memory alone.
#[derive(Debug)]
pub(super) struct MemoryAccess {
    pub(super) settings: StreamSettings,
}

impl CheckpointStorageAccess for MemoryAccess {
    fn begin(&self, checkpoint_id: u64) -> Result<Box<dyn CheckpointLocation>> {
        let cancel = CancelToken::new();
        let streams = self.settings.streams(None, checkpoint_id, cancel.clone());
        Ok(Box::new(MemoryLocation { checkpoint_id, streams, cancel }))
    }

    fn directory(&self) -> Option<&JobDirectory> {
        None
    }
}

struct MemoryLocation {
    checkpoint_id: u64,
    streams: Arc<dyn CheckpointStreamFactory>,
    cancel: CancelToken,
}

impl fmt::Debug for MemoryLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryLocation({})", self.checkpoint_id)
    }
}

impl CheckpointLocation for MemoryLocation {
    fn checkpoint_id(&self) -> Option<u64> {
        Some(self.checkpoint_id)
    }

    fn directory(&self) -> Option<&StoragePath> {
        None
    }

    fn streams(&self) -> Arc<dyn CheckpointStreamFactory> {
        Arc::clone(&self.streams)
    }

    fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    fn write_metadata(&self, _metadata: &[u8]) -> Result<CompletedLocation> {
        self.cancel.check()?;
        Ok(CompletedLocation { pointer: NOT_EXTERNALLY_ADDRESSABLE.to_owned(), directory: None })
    }

    fn discard(&self) -> Result<()> {
        self.cancel.cancel();
        Ok(())
    }
}
