//! What a crash leaves behind in a job's directory.

use std::collections::BTreeSet;

use highwater_types::Result;
use tracing::warn;

use super::UnreadableCheckpoint;
use super::cleanup::remove_if_empty;
use crate::fs::FileSystem;
use crate::storage::{is_own_file, is_state_file, is_temporary};
use crate::{CheckpointEntry, JobDirectory, StoragePath};

/// Left-overs found at the start, before any new checkpoint began; so they can be removed at any time.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    pub(super) files: Vec<StoragePath>,
    /// Directories of checkpoints that were never completed.
    pub(super) directories: Vec<StoragePath>,
}

impl Orphans {
    pub(super) fn find(
        job: &JobDirectory,
        on_disk: &[CheckpointEntry],
        unreadable: &[UnreadableCheckpoint],
        is_kept: &dyn Fn(&StoragePath) -> bool,
    ) -> Result<Self> {
        let mut orphans = Self::default();
        for entry in on_disk.iter().filter(|entry| unreadable.iter().all(|lost| lost.id != entry.id)) {
            let directory = job.checkpoint(entry.id);
            let is_left_over = |name: &str| match entry.complete {
                true => is_state_file(name) || is_temporary(name),
                false => is_own_file(name),
            };
            let left_over = files(job, &directory, is_left_over)?;
            orphans.files.extend(left_over.into_iter().filter(|file| !is_kept(file)));
            if !entry.complete {
                orphans.directories.push(directory);
            }
        }
        // A checkpoint that cannot be read may reference any of them.
        if unreadable.is_empty() {
            let shared = files(job, &job.shared(), is_state_file)?;
            orphans.files.extend(shared.into_iter().filter(|file| !is_kept(file)));
        }
        Ok(orphans)
    }

    /// These files turned out to be needed.
    pub(super) fn keep(&mut self, needed: &BTreeSet<StoragePath>) {
        self.files.retain(|file| !needed.contains(file));
    }

    /// Removes what it can, and returns how many files and directories are gone.
    pub(super) fn remove(&mut self, fs: &dyn FileSystem) -> usize {
        let before = self.files.len() + self.directories.len();
        self.files.retain(|file| !succeeded(fs.remove_file(file)));
        self.directories.retain(|directory| !succeeded(remove_if_empty(fs, directory)));
        before - self.files.len() - self.directories.len()
    }
}

/// The files of a directory whose names are accepted.
fn files(job: &JobDirectory, directory: &StoragePath, accept: impl Fn(&str) -> bool) -> Result<Vec<StoragePath>> {
    let entries = job.file_system().list(directory)?.into_iter();
    Ok(entries.filter(|entry| !entry.is_dir && accept(&entry.name)).map(|entry| directory.join(&entry.name)).collect())
}

fn succeeded(outcome: Result<()>) -> bool {
    if let Err(error) = &outcome {
        warn!(%error, "could not remove what a crash left behind; trying again at the next start");
    }
    outcome.is_ok()
}
