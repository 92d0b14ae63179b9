//! Snapshots that a job starts from, and whose they are from then on (Flink's recovery claim mode).

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use highwater_types::{Result, ResultExt};
use tracing::warn;

use super::{Age, CompletedCheckpoint, CompletedCheckpointStore};
use crate::fs::{FileSystem, error_from_io};
use crate::opener::file_of;
use crate::storage::{METADATA, SHARED, temporary_metadata};
use crate::{CheckpointMetadata, JobDirectory, ResolvedSnapshot, StoragePath};

/// What the job owns outside its own directory.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Directories of shared files that came with claimed snapshots.
    shared: BTreeSet<StoragePath>,
    /// Files in them that other checkpoints of the job before still need: they were not claimed.
    others: BTreeSet<StoragePath>,
}

impl Taken {
    /// Whether a file came with a claimed snapshot, and with none but that.
    pub(super) fn holds(&self, file: &StoragePath) -> bool {
        file.parent().is_some_and(|parent| self.shared.contains(&parent)) && !self.others.contains(file)
    }

    /// Takes over the shared files that came with a snapshot, unless it cannot be told who else needs them.
    fn take(&mut self, fs: &dyn FileSystem, job: &StoragePath, snapshot: &StoragePath) {
        match files_of_others(fs, job, snapshot) {
            Ok(others) => {
                self.others.extend(others);
                self.shared.insert(job.join(SHARED));
            }
            Err(error) => {
                warn!(%snapshot, %error, "the files that a claimed snapshot shares stay: who needs them is unclear")
            }
        }
    }
}

/// The files of all other complete checkpoints in a directory of checkpoints.
fn files_of_others(fs: &dyn FileSystem, job: &StoragePath, but: &StoragePath) -> Result<Vec<StoragePath>> {
    let mut files = Vec::new();
    for entry in fs.list(job)?.into_iter().filter(|entry| entry.is_dir) {
        let directory = job.join(&entry.name);
        let file = directory.join(METADATA);
        if directory == *but || fs.stat(&file)?.is_none() {
            continue;
        }
        let mut bytes = Vec::new();
        fs.open(&file)?.read_to_end(&mut bytes).map_err(error_from_io).with("file", &file)?;
        let metadata = CheckpointMetadata::read(&bytes).with("file", &file)?;
        for handle in metadata.stream_handles() {
            files.extend(file_of(&directory, handle)?);
        }
    }
    Ok(files)
}

impl CompletedCheckpointStore {
    /// Gives a snapshot to the job (`CLAIM`): it counts as the retained checkpoint before `first`, the first id of the
    /// checkpoints that continue from it, and goes by the same rule, with the files that it alone needs. The directory
    /// around it stays, and so do files that other complete checkpoints in there still need.
    ///
    /// To be called before checkpoints are added. A job whose checkpoints live in memory alone cannot claim anything.
    ///
    /// # Errors
    /// As [`CompletedCheckpoint::from_snapshot`].
    pub fn claim(&mut self, snapshot: &ResolvedSnapshot, first: u64) -> Result<()> {
        let Some(job) = self.access.directory().cloned() else { return Ok(()) };
        if self.set_owner(&job, snapshot, false)? {
            return Ok(());
        }
        let checkpoint = CompletedCheckpoint::from_snapshot(snapshot)?;
        // A copy of one of the job's own checkpoints needs shared files that nobody else does.
        self.orphans.keep(checkpoint.files());
        self.kept.insert(Age::claimed(first), Arc::new(checkpoint));
        self.take_shared_files(&snapshot.directory);
        Ok(())
    }

    /// Takes over the shared files that came with a snapshot claimed earlier, which may be gone by now.
    pub fn take_shared_files(&mut self, snapshot: &StoragePath) {
        let (Some(job), Some(old_job)) = (self.access.directory(), snapshot.parent()) else { return };
        let shared = old_job.join(SHARED);
        let is_used =
            |kept: &CompletedCheckpoint| kept.files().iter().any(|file| file.parent().as_ref() == Some(&shared));
        if old_job != *job.path() && self.kept.values().any(|kept| is_used(kept)) {
            self.taken.take(job.file_system().as_ref(), &old_job, snapshot);
        }
    }

    /// Leaves a snapshot to the user (`NO_CLAIM`, `LEGACY`): neither it nor a file it references is ever deleted, also
    /// where it is one of the job's own checkpoints. Returns whether the job has to remember that: whether anything of
    /// the snapshot lies where the job deletes, in its directory or among what came with a claimed snapshot. So what was
    /// claimed has to be known before.
    ///
    /// # Errors
    /// As [`CompletedCheckpoint::from_snapshot`]; `Storage` where nothing can be written to the job's directory.
    pub fn leave_to_user(&mut self, snapshot: &ResolvedSnapshot) -> Result<bool> {
        let Some(job) = self.access.directory().cloned() else { return Ok(false) };
        if self.set_owner(&job, snapshot, true)? {
            return Ok(true);
        }
        let checkpoint = CompletedCheckpoint::from_snapshot(snapshot)?;
        let is_ours = checkpoint.files().iter().any(|file| file.is_below(job.path()) || self.taken.holds(file));
        if is_ours {
            self.orphans.keep(checkpoint.files());
            self.of_users.push(checkpoint);
        }
        Ok(is_ours)
    }

    /// For a snapshot that cannot be looked at now: whatever it may need stays. Nothing that is in the job's directory at
    /// this moment is deleted as long as this store lives. What comes later goes by the rules.
    ///
    /// # Errors
    /// `Storage` when the directory cannot be listed.
    pub fn keep_what_is_there(&mut self) -> Result<()> {
        let Some(job) = self.access.directory() else { return Ok(()) };
        let mut directories = vec![job.shared()];
        directories.extend(job.checkpoints()?.iter().map(|entry| job.checkpoint(entry.id)));
        for directory in directories {
            let files = job.file_system().list(&directory)?.into_iter().filter(|entry| !entry.is_dir);
            self.untouchable.extend(files.map(|entry| directory.join(&entry.name)));
        }
        self.untouchable.extend(self.kept.values().flat_map(|kept| kept.files().iter().cloned()));
        self.orphans.keep(&self.untouchable);
        Ok(())
    }

    /// Sets whose one of the job's own checkpoints is. False if the snapshot is none of them.
    fn set_owner(&mut self, job: &JobDirectory, snapshot: &ResolvedSnapshot, is_users: bool) -> Result<bool> {
        let Ok(metadata) = snapshot.metadata() else { return Ok(false) };
        let directory = job.checkpoint(metadata.checkpoint_id);
        let Some(own) = self.kept.values_mut().find(|own| own.directory() == Some(&directory)) else {
            return Ok(false);
        };
        let is_it = snapshot.directory == directory
            || (*own.metadata() == metadata && is_other_name(job, snapshot, &directory)?);
        if is_it {
            *own = Arc::new(own.owned_by_user(is_users));
        }
        Ok(is_it)
    }
}

/// Whether the snapshot's directory is another name of this one (through a symbolic link), and no copy: then a new
/// file shows in both.
///
/// The file has the name of one that a crash may leave and the next start removes.
fn is_other_name(job: &JobDirectory, snapshot: &ResolvedSnapshot, directory: &StoragePath) -> Result<bool> {
    let fs = job.file_system();
    let probe = temporary_metadata();
    let (here, there) = (directory.join(&probe), snapshot.directory.join(&probe));
    fs.create_new(&here)?.close()?;
    let is_seen = fs.stat(&there).map(|stat| stat.is_some());
    fs.remove_file(&here)?;
    is_seen
}
