//! The directory of one job.

use std::sync::Arc;

use highwater_types::{Error, Result};

use super::layout;
use crate::fs::{FileLock, FileSystem, create_dir_durable};
use crate::{JobId, SnapshotOpener, StateOpener, StoragePath};

/// The directory that holds all checkpoints of a job: `<base>/<job id>`, or the base itself where sub-directories are
/// switched off.
#[derive(Clone, Debug)]
pub struct JobDirectory {
    fs: Arc<dyn FileSystem>,
    path: StoragePath,
}

/// A directory `chk-<id>` on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointEntry {
    /// Id of the checkpoint.
    pub id: u64,
    /// Whether its `_metadata` is in place. An incomplete one is being written, or was left by a crash.
    pub complete: bool,
}

impl JobDirectory {
    pub(crate) fn new(fs: Arc<dyn FileSystem>, base: &StoragePath, job: JobId, create_subdir: bool) -> Self {
        let path = if create_subdir { base.join(&job.to_string()) } else { base.clone() };
        Self { fs, path }
    }

    /// The file system it lies on.
    #[must_use]
    pub fn file_system(&self) -> &Arc<dyn FileSystem> {
        &self.fs
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &StoragePath {
        &self.path
    }

    /// `chk-<id>`: the files of one checkpoint.
    #[must_use]
    pub fn checkpoint(&self, id: u64) -> StoragePath {
        self.path.join(&layout::checkpoint_dir(id))
    }

    /// `shared`: files that several checkpoints may reference.
    #[must_use]
    pub fn shared(&self) -> StoragePath {
        self.path.join(layout::SHARED)
    }

    /// `taskowned`: files the coordinator never deletes.
    #[must_use]
    pub fn task_owned(&self) -> StoragePath {
        self.path.join(layout::TASK_OWNED)
    }

    /// All checkpoints on disk, complete or not, by ascending id. A new checkpoint takes an id above the last.
    pub fn checkpoints(&self) -> Result<Vec<CheckpointEntry>> {
        let mut entries = Vec::new();
        for entry in self.fs.list(&self.path)?.into_iter().filter(|entry| entry.is_dir) {
            if let Some(id) = layout::checkpoint_id(&entry.name) {
                let metadata = self.fs.stat(&self.checkpoint(id).join(layout::METADATA))?;
                entries.push(CheckpointEntry { id, complete: metadata.is_some_and(|stat| !stat.is_dir) });
            }
        }
        entries.sort_by_key(|entry| entry.id);
        Ok(entries)
    }

    /// Opens the handles of one of its checkpoints.
    #[must_use]
    pub fn opener(&self, id: u64) -> Arc<dyn StateOpener> {
        Arc::new(SnapshotOpener::new(Arc::clone(&self.fs), self.checkpoint(id)))
    }

    /// Creates the directory durably and takes its lock.
    pub(super) fn create_and_lock(&self) -> Result<Box<dyn FileLock>> {
        create_dir_durable(self.fs.as_ref(), &self.path)?;
        self.fs.lock(&self.path.join(layout::LOCK))
    }

    /// Creates the directories for files that are not one checkpoint's alone. Their names are made durable with the first
    /// checkpoint.
    pub(super) fn create_common_directories(&self) -> Result<()> {
        self.fs.create_dir_all(&self.shared())?;
        self.fs.create_dir_all(&self.task_owned())
    }

    /// Creates `chk-<id>`, which must be new.
    pub(super) fn create_checkpoint(&self, id: u64) -> Result<StoragePath> {
        let directory = self.checkpoint(id);
        if self.fs.stat(&directory)?.is_some() {
            return Err(Error::storage(
                "the directory of a new checkpoint exists already: continue above the highest id",
            )
            .with("directory", directory));
        }
        self.fs.create_dir_all(&directory)?;
        Ok(directory)
    }
}
