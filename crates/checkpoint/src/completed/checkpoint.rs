//! One completed checkpoint.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use highwater_types::{Error, Result, ResultExt};

use crate::fs::error_from_io;
use crate::opener::file_of;
use crate::storage::METADATA;
use crate::{CheckpointMetadata, CompletedLocation, JobDirectory, ResolvedSnapshot, SnapshotOpener, StoragePath};

/// A checkpoint that can be restored.
#[derive(Clone, Debug)]
pub struct CompletedCheckpoint {
    metadata: CheckpointMetadata,
    pointer: String,
    directory: Option<StoragePath>,
    /// The file that makes it complete; `_metadata` in its directory, unless a user gave it another name.
    metadata_file: Option<StoragePath>,
    /// Every file it references, wherever it lies.
    files: BTreeSet<StoragePath>,
    is_users: bool,
}

/// A checkpoint on disk that cannot be read, or misses a file.
#[derive(Debug)]
pub struct UnreadableCheckpoint {
    /// Its id, from the name of its directory.
    pub id: u64,
    /// Its directory.
    pub pointer: String,
    /// What is wrong with it.
    pub error: Error,
}

impl CompletedCheckpoint {
    /// The checkpoint with this metadata at this place.
    ///
    /// # Errors
    /// [`Corrupt`](highwater_types::ErrorKind::Corrupt) when a handle names an impossible file.
    pub fn new(metadata: CheckpointMetadata, location: &CompletedLocation) -> Result<Self> {
        let metadata_file = location.directory.as_ref().map(|directory| directory.join(METADATA));
        Self::build(metadata, location.pointer.clone(), location.directory.clone(), metadata_file)
    }

    /// The checkpoint or savepoint behind a pointer.
    ///
    /// # Errors
    /// As [`CheckpointMetadata::read`] and [`new`](Self::new).
    pub fn from_snapshot(snapshot: &ResolvedSnapshot) -> Result<Self> {
        let (directory, file) = (snapshot.directory.clone(), snapshot.metadata_file.clone());
        Self::build(snapshot.metadata()?, snapshot.pointer(), Some(directory), Some(file))
    }

    fn build(
        metadata: CheckpointMetadata,
        pointer: String,
        directory: Option<StoragePath>,
        metadata_file: Option<StoragePath>,
    ) -> Result<Self> {
        let mut files = BTreeSet::new();
        if let Some(directory) = &directory {
            for handle in metadata.stream_handles() {
                files.extend(file_of(directory, handle)?);
            }
        }
        Ok(Self { metadata, pointer, directory, metadata_file, files, is_users: false })
    }

    /// Reads a complete checkpoint of a job's directory and looks whether all its files are there.
    pub(super) fn load(job: &JobDirectory, id: u64) -> Result<Self> {
        let directory = job.checkpoint(id);
        let file = directory.join(METADATA);
        let mut bytes = Vec::new();
        job.file_system().open(&file)?.read_to_end(&mut bytes).map_err(error_from_io).with("file", &file)?;
        let metadata = CheckpointMetadata::read(&bytes).with("file", &file)?;
        if metadata.checkpoint_id != id {
            return Err(Error::corrupt("the metadata belongs to another checkpoint than its directory")
                .with("file", file)
                .with("expected", id)
                .with("found", metadata.checkpoint_id));
        }
        let opener = SnapshotOpener::new(Arc::clone(job.file_system()), directory.clone());
        metadata.stream_handles().try_for_each(|handle| opener.check(handle))?;
        Self::new(metadata, &CompletedLocation { pointer: directory.to_string(), directory: Some(directory) })
    }

    /// Id of the checkpoint.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.metadata.checkpoint_id
    }

    /// What it consists of.
    #[must_use]
    pub fn metadata(&self) -> &CheckpointMetadata {
        &self.metadata
    }

    /// Text by which it is restored.
    #[must_use]
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// Directory of its metadata, unless it lives in memory alone.
    #[must_use]
    pub fn directory(&self) -> Option<&StoragePath> {
        self.directory.as_ref()
    }

    /// Whether it is the user's, though it lies in the job's directory: the job neither deletes it nor builds on it.
    #[must_use]
    pub fn is_users(&self) -> bool {
        self.is_users
    }

    /// The same, with another owner.
    pub(super) fn owned_by_user(&self, is_users: bool) -> Self {
        Self { is_users, ..self.clone() }
    }

    /// The file that makes it complete.
    pub(super) fn metadata_file(&self) -> Option<&StoragePath> {
        self.metadata_file.as_ref()
    }

    /// Every file its handles reference, wherever it lies; `_metadata` is not among them.
    #[must_use]
    pub fn files(&self) -> &BTreeSet<StoragePath> {
        &self.files
    }
}
