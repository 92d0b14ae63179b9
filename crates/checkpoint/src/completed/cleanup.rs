//! Deleting a checkpoint that is no longer kept.

use std::collections::BTreeSet;

use highwater_types::Result;
use tracing::warn;

use super::CompletedCheckpoint;
use super::ownership::Taken;
use crate::fs::FileSystem;
use crate::opener::file_of;
use crate::storage::{is_state_file, is_temporary};
use crate::{JobDirectory, StoragePath, StreamHandle};

/// What is left to delete of a checkpoint.
#[derive(Debug)]
pub(super) struct Doomed {
    /// Its `chk-n`, or the directory of a claimed snapshot.
    directory: StoragePath,
    /// Files it references.
    files: BTreeSet<StoragePath>,
    extent: Extent,
    /// Whether everything in its directory that is named like a file of a checkpoint belongs to it.
    is_alone: bool,
}

/// How much of a checkpoint goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Extent {
    /// Files alone; it never became a checkpoint.
    Files,
    /// All of it, and its metadata is still in place, in this file.
    Complete(StoragePath),
    /// All of it, and its metadata is durably gone.
    Forgotten,
}

impl Doomed {
    /// A whole checkpoint of this job; none if it lies elsewhere, or in memory alone.
    pub(super) fn checkpoint(job: &JobDirectory, checkpoint: &CompletedCheckpoint) -> Option<Self> {
        checkpoint.directory().filter(|directory| **directory == job.checkpoint(checkpoint.id()))?;
        Self::claimed(checkpoint).map(|doomed| Self { is_alone: true, ..doomed })
    }

    /// A snapshot that was given to the job, wherever it lies.
    pub(super) fn claimed(checkpoint: &CompletedCheckpoint) -> Option<Self> {
        let directory = checkpoint.directory()?.clone();
        let extent = Extent::Complete(checkpoint.metadata_file()?.clone());
        Some(Self { directory, files: checkpoint.files().clone(), extent, is_alone: false })
    }

    /// Handles of a checkpoint that was never completed.
    pub(super) fn handles<'a>(directory: StoragePath, handles: impl IntoIterator<Item = &'a StreamHandle>) -> Self {
        let files = handles.into_iter().filter_map(|handle| file_of(&directory, handle).ok().flatten()).collect();
        Self { directory, files, extent: Extent::Files, is_alone: false }
    }

    /// Takes the metadata away, durably, before anything it references: from then on a crash leaves an orphan, and never
    /// a checkpoint with holes. (The next start finds those in the job's own directory; what is left of a claimed snapshot
    /// stays, for in a directory of somebody else's nobody can tell it from a checkpoint that is being made.)
    fn forget(&mut self, fs: &dyn FileSystem) -> Result<()> {
        if let Extent::Complete(metadata) = &self.extent {
            if fs.stat(&self.directory)?.is_some() {
                fs.remove_file(metadata)?;
                fs.sync_dir(&self.directory)?;
            }
            self.extent = Extent::Forgotten;
        }
        Ok(())
    }

    /// Deletes the files that `is_needed` does not claim. After an error it can be called again.
    fn delete(
        &mut self,
        job: &JobDirectory,
        (taken, shared_is_safe): (&Taken, bool),
        is_needed: impl Fn(&StoragePath) -> bool,
    ) -> Result<()> {
        let fs = job.file_system().as_ref();
        if self.extent == Extent::Forgotten && self.is_alone {
            let entries = fs.list(&self.directory)?.into_iter().filter(|entry| !entry.is_dir);
            self.files.extend(entries.map(|entry| self.directory.join(&entry.name)));
        }
        for file in &self.files {
            let is_ours = self.is_own(job, file, shared_is_safe) || (shared_is_safe && is_taken(taken, file));
            if is_ours && !is_needed(file) {
                fs.remove_file(file)?;
            }
        }
        match self.extent {
            Extent::Forgotten => remove_if_empty(fs, &self.directory),
            _ => Ok(()),
        }
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

/// Whether a file was claimed with a snapshot. Files that have no name of ours are never deleted.
fn is_taken(taken: &Taken, file: &StoragePath) -> bool {
    taken.holds(file) && file.file_name().is_some_and(is_state_file)
}

/// Deletes what is doomed as far as no kept checkpoint needs it; returns what is left for the next time.
///
/// All metadata goes first: a doomed checkpoint may reference the files of another, and is whole until it is forgotten.
pub(super) fn clean_up(
    job: &JobDirectory,
    mut doomed: Vec<Doomed>,
    is_kept: &dyn Fn(&StoragePath) -> bool,
    taken: &Taken,
    shared_is_safe: bool,
) -> Vec<Doomed> {
    let fs = job.file_system().as_ref();
    for doomed in &mut doomed {
        succeeded(doomed.forget(fs));
    }
    let (complete, rest): (Vec<_>, Vec<_>) =
        doomed.into_iter().partition(|doomed| matches!(doomed.extent, Extent::Complete(_)));
    let is_needed = |file: &StoragePath| is_kept(file) || complete.iter().any(|doomed| doomed.files.contains(file));
    let failed = |doomed: &mut Doomed| !succeeded(doomed.delete(job, (taken, shared_is_safe), is_needed));
    let mut left: Vec<Doomed> = rest.into_iter().filter_map(|mut d| failed(&mut d).then_some(d)).collect();
    left.extend(complete);
    left
}

fn succeeded(outcome: Result<()>) -> bool {
    if let Err(error) = &outcome {
        warn!(%error, "could not delete files of an old checkpoint; trying again with the next one");
    }
    outcome.is_ok()
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
