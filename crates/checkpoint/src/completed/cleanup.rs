//! Deleting a checkpoint that is no longer kept.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use highwater_types::Result;
use tracing::warn;

use super::CompletedCheckpoint;
use crate::fs::FileSystem;
use crate::opener::file_of;
use crate::storage::{METADATA, is_state_file, is_temporary};
use crate::{JobDirectory, StoragePath, StreamHandle};

/// What is left to delete of a checkpoint.
#[derive(Debug)]
pub(super) struct Doomed {
    /// Its `chk-n`.
    directory: StoragePath,
    /// Files it references.
    files: BTreeSet<StoragePath>,
    /// Whether metadata and directory go too, or the files alone.
    whole: bool,
}

impl Doomed {
    /// A whole checkpoint of this job; none if it lies elsewhere, or in memory alone.
    pub(super) fn checkpoint(job: &JobDirectory, checkpoint: &CompletedCheckpoint) -> Option<Self> {
        let directory = checkpoint.directory().filter(|directory| **directory == job.checkpoint(checkpoint.id()))?;
        Some(Self { directory: directory.clone(), files: checkpoint.files().clone(), whole: true })
    }

    /// Handles of a checkpoint that was never completed.
    pub(super) fn handles<'a>(directory: StoragePath, handles: impl IntoIterator<Item = &'a StreamHandle>) -> Self {
        let files = handles.into_iter().filter_map(|handle| file_of(&directory, handle).ok().flatten()).collect();
        Self { directory, files, whole: false }
    }

    /// Deletes what no kept checkpoint references. After an error it can be called again.
    pub(super) fn delete(
        &mut self,
        job: &JobDirectory,
        kept: &VecDeque<Arc<CompletedCheckpoint>>,
        shared_is_safe: bool,
    ) -> Result<()> {
        let fs = job.file_system().as_ref();
        if self.whole {
            forget_metadata(fs, &self.directory)?;
            let entries = fs.list(&self.directory)?.into_iter().filter(|entry| !entry.is_dir);
            self.files.extend(entries.map(|entry| self.directory.join(&entry.name)));
        }
        let is_kept = |file: &StoragePath| kept.iter().any(|checkpoint| checkpoint.files().contains(file));
        for file in &self.files {
            if self.is_own(job, file, shared_is_safe) && !is_kept(file) {
                fs.remove_file(file)?;
            }
        }
        if self.whole { remove_if_empty(fs, &self.directory) } else { Ok(()) }
    }

    /// Whether a file has the name of a state file and lies where this checkpoint may have put it.
    fn is_own(&self, job: &JobDirectory, file: &StoragePath, shared_is_safe: bool) -> bool {
        let own_name = file.file_name().is_some_and(|name| is_state_file(name) || is_temporary(name));
        let parent = file.parent();
        let own_place =
            parent.as_ref() == Some(&self.directory) || (shared_is_safe && parent.as_ref() == Some(&job.shared()));
        own_name && own_place
    }
}

/// Takes the metadata away, durably, before anything it references: from then on a crash leaves an orphan, and never
/// a checkpoint with holes.
fn forget_metadata(fs: &dyn FileSystem, directory: &StoragePath) -> Result<()> {
    let metadata = directory.join(METADATA);
    if fs.stat(directory)?.is_none() {
        return Ok(());
    }
    fs.remove_file(&metadata)?;
    fs.sync_dir(directory)
}

/// Removes a directory, unless somebody else put something into it.
pub(super) fn remove_if_empty(fs: &dyn FileSystem, directory: &StoragePath) -> Result<()> {
    let left = fs.list(directory)?;
    if left.is_empty() {
        return fs.remove_dir(directory);
    }
    let names: Vec<String> = left.into_iter().map(|entry| entry.name).collect();
    warn!(%directory, ?names, "the directory of an old checkpoint holds files that are not its own; it stays");
    Ok(())
}
