//! Completed checkpoints: which are kept, and the removal of what nobody needs any more.

mod checkpoint;
mod cleanup;
mod orphans;
mod ownership;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use highwater_types::{Error, Result};
use tracing::warn;

use crate::{
    CheckpointEntry, CheckpointStorageAccess, JobDirectory, SnapshotOpener, StateOpener, StoragePath, StreamHandle,
};

pub use checkpoint::{CompletedCheckpoint, UnreadableCheckpoint};
use cleanup::Doomed;
use orphans::Orphans;
use ownership::Taken;

/// The newest completed checkpoints of a job (Flink's `CompletedCheckpointStore`).
///
/// It begins with [`recover`](Self::recover), which registers everything complete in the job's own directory before
/// anything may be deleted. From then on it keeps the newest *n*; an older one goes with whatever it alone needs. A file
/// that a kept checkpoint references is never deleted; neither is anything outside the job's directory that was not
/// [claimed](Self::claim), anything below `taskowned`, a snapshot that is [left to the user](Self::leave_to_user), or a
/// file whose name is not of the kind Highwater gives. A failed deletion is logged and tried again later.
///
/// ```
/// use highwater_checkpoint::{
///     CheckpointMetadata, CheckpointStorage, CompletedCheckpoint, CompletedCheckpointStore, JobId,
///     JobManagerCheckpointStorage,
/// };
///
/// let job = JobManagerCheckpointStorage::new().open(JobId::from_name("demo"))?;
/// let mut store = CompletedCheckpointStore::recover(job.clone(), 2)?;
/// for _ in 0..3 {
///     let id = store.next_checkpoint_id();
///     let completed = job.begin(id)?.write_metadata(b"")?;
///     store.add(CompletedCheckpoint::new(CheckpointMetadata::new(id), &completed)?)?;
/// }
/// assert_eq!(store.checkpoints().map(|c| c.id()).collect::<Vec<_>>(), [2, 3]);
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Debug)]
pub struct CompletedCheckpointStore {
    access: Arc<dyn CheckpointStorageAccess>,
    max_retained: usize,
    /// Those in the job's own directory, and claimed ones.
    kept: BTreeMap<Age, Arc<CompletedCheckpoint>>,
    /// Snapshots elsewhere that need files of the job's directory, and are the user's.
    of_users: Vec<CompletedCheckpoint>,
    /// Files that somebody may need who cannot be asked.
    untouchable: BTreeSet<StoragePath>,
    taken: Taken,
    unreadable: Vec<UnreadableCheckpoint>,
    /// No longer kept, but not yet wholly deleted.
    doomed: Vec<Doomed>,
    orphans: Orphans,
    highest_id: u64,
}

/// The order in which checkpoints go: by id, and a claimed snapshot before the first checkpoint that continues from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Age {
    id: u64,
    is_own: bool,
}

impl Age {
    /// A checkpoint in the job's own directory.
    fn own(id: u64) -> Self {
        Self { id, is_own: true }
    }

    /// A claimed snapshot, from which checkpoints continue from this id on.
    fn claimed(first: u64) -> Self {
        Self { id: first, is_own: false }
    }
}

impl CompletedCheckpointStore {
    /// Registers all complete checkpoints of the job's directory and remembers what a crash left there. `max_retained`
    /// is how many are kept while the job runs, at least 1 (`execution.checkpointing.num-retained`).
    ///
    /// A checkpoint whose metadata cannot be read is no reason to fail here; it is kept on disk with all it may
    /// reference, and listed by [`unreadable`](Self::unreadable).
    ///
    /// # Errors
    /// [`Storage`](highwater_types::ErrorKind::Storage) when the directory cannot be listed.
    pub fn recover(access: Arc<dyn CheckpointStorageAccess>, max_retained: usize) -> Result<Self> {
        let mut store = Self {
            access,
            max_retained: max_retained.max(1),
            kept: BTreeMap::new(),
            of_users: Vec::new(),
            untouchable: BTreeSet::new(),
            taken: Taken::default(),
            unreadable: Vec::new(),
            doomed: Vec::new(),
            orphans: Orphans::default(),
            highest_id: 0,
        };
        let Some(job) = store.access.directory().cloned() else { return Ok(store) };
        let on_disk = job.checkpoints()?;
        for entry in on_disk.iter().filter(|entry| entry.complete) {
            match CompletedCheckpoint::load(&job, entry.id) {
                Ok(checkpoint) => drop(store.kept.insert(Age::own(entry.id), Arc::new(checkpoint))),
                Err(error) => {
                    let pointer = job.checkpoint(entry.id).to_string();
                    warn!(pointer, %error, "a checkpoint cannot be read; nothing it may reference will be deleted");
                    store.unreadable.push(UnreadableCheckpoint { id: entry.id, pointer, error });
                }
            }
        }
        store.highest_id = on_disk.last().map_or(0, |entry| entry.id);
        store.orphans = store.find_orphans(&job, &on_disk)?;
        Ok(store)
    }

    /// The kept checkpoints of the job's own, by ascending id. Right after recovery these may be more than will be kept.
    pub fn checkpoints(&self) -> impl DoubleEndedIterator<Item = &Arc<CompletedCheckpoint>> {
        self.kept.iter().filter(|(age, _)| age.is_own).map(|(_, checkpoint)| checkpoint)
    }

    /// The newest kept checkpoint of the job's own.
    #[must_use]
    pub fn latest(&self) -> Option<&Arc<CompletedCheckpoint>> {
        self.checkpoints().next_back()
    }

    /// The checkpoint to resume from: the newest, or none if there never was one. It may be the
    /// [user's](CompletedCheckpoint::is_users).
    ///
    /// # Errors
    /// [`Corrupt`](highwater_types::ErrorKind::Corrupt) when a newer one cannot be read: sinks may have committed what
    /// it stands for, so going back behind it must be the user's own choice.
    pub fn latest_to_restore(&self) -> Result<Option<&Arc<CompletedCheckpoint>>> {
        let latest = self.latest();
        let newer = self.unreadable.iter().rev().find(|lost| latest.is_none_or(|latest| latest.id() < lost.id));
        let Some(lost) = newer else { return Ok(latest) };
        let error = Error::corrupt(
            "the newest checkpoint cannot be read. Repair it, or move its directory away to resume from an older one",
        )
        .with("pointer", &lost.pointer)
        .because(lost.error.to_string());
        Err(match latest {
            Some(older) => error.with("newest readable", older.pointer()),
            None => error.with("newest readable", "none"),
        })
    }

    /// Checkpoints found by recovery whose metadata cannot be read, by ascending id.
    #[must_use]
    pub fn unreadable(&self) -> &[UnreadableCheckpoint] {
        &self.unreadable
    }

    /// An id above every checkpoint that was ever seen, complete or not.
    #[must_use]
    pub fn next_checkpoint_id(&self) -> u64 {
        self.highest_id.saturating_add(1)
    }

    /// Opens the handles of one of its checkpoints.
    #[must_use]
    pub fn opener(&self, checkpoint: &CompletedCheckpoint) -> Arc<dyn StateOpener> {
        match (self.access.directory(), checkpoint.directory()) {
            (Some(job), Some(directory)) => {
                Arc::new(SnapshotOpener::new(Arc::clone(job.file_system()), directory.clone()))
            }
            _ => Arc::new(SnapshotOpener::in_memory()),
        }
    }

    /// Adds a checkpoint that was just completed, and deletes those that are now one too many. Returns their ids.
    ///
    /// # Errors
    /// [`Internal`](highwater_types::ErrorKind::Internal) when its id is not above all others. Failed deletions are no
    /// errors.
    pub fn add(&mut self, checkpoint: CompletedCheckpoint) -> Result<Vec<u64>> {
        if let Some(latest) = self.latest().filter(|latest| latest.id() >= checkpoint.id()) {
            return Err(Error::internal("checkpoint ids must increase")
                .with("expected above", latest.id())
                .with("found", checkpoint.id()));
        }
        self.highest_id = self.highest_id.max(checkpoint.id());
        self.kept.insert(Age::own(checkpoint.id()), Arc::new(checkpoint));
        let subsumed = self.take_oldest(self.max_retained);
        let ids = subsumed.iter().map(|(_, checkpoint)| checkpoint.id()).collect();
        self.delete(&subsumed);
        Ok(ids)
    }

    /// Deletes every checkpoint that is the job's, for a job that ends and does not want to keep them.
    pub fn discard_all(&mut self) {
        let all = self.take_oldest(0);
        self.delete(&all);
    }

    /// Takes out the oldest of the job's checkpoints, but for so many. Those of the user do not count.
    fn take_oldest(&mut self, but: usize) -> Vec<(Age, Arc<CompletedCheckpoint>)> {
        let owned = self.kept.iter().filter(|(_, checkpoint)| !checkpoint.is_users()).map(|(age, _)| *age);
        let owned: Vec<Age> = owned.collect();
        let excess = owned.len().saturating_sub(but);
        owned.into_iter().take(excess).filter_map(|age| self.kept.remove_entry(&age)).collect()
    }

    /// Deletes the files behind handles that no checkpoint took up: those of an acknowledgement that came too late, or
    /// of an aborted checkpoint, whose location has to be [discarded](crate::CheckpointLocation::discard) first.
    pub fn discard_handles<'a>(&mut self, checkpoint_id: u64, handles: impl IntoIterator<Item = &'a StreamHandle>) {
        let Some(job) = self.access.directory() else { return };
        self.doomed.push(Doomed::handles(job.checkpoint(checkpoint_id), handles));
        self.clean_up();
    }

    /// What a crash left in the job's directory: files no kept checkpoint references, and directories of checkpoints
    /// that were never completed.
    pub fn orphans(&self) -> impl Iterator<Item = &StoragePath> {
        self.orphans.files.iter().chain(&self.orphans.directories)
    }

    /// Removes the [orphans](Self::orphans) that recovery found, and returns how many are gone. Checkpoints that began
    /// since are never touched. What cannot be removed is logged and stays listed.
    pub fn remove_orphans(&mut self) -> usize {
        match self.access.directory() {
            Some(job) => self.orphans.remove(job.file_system().as_ref()),
            None => 0,
        }
    }

    /// Removes what an attempt of this run has left, as [`remove_orphans`](Self::remove_orphans) does for earlier runs,
    /// and returns how many files and directories are gone. To be called only while nobody writes: an acknowledgement
    /// that never arrived names files that nobody else knows of.
    ///
    /// As long as there is a complete checkpoint on disk that is not kept, because it could not be deleted, nothing is
    /// removed: it may reference anything.
    ///
    /// # Errors
    /// [`Storage`](highwater_types::ErrorKind::Storage) when the directory cannot be listed.
    pub fn sweep(&mut self) -> Result<usize> {
        let Some(job) = self.access.directory().cloned() else { return Ok(0) };
        let on_disk = job.checkpoints()?;
        let is_known = |id: u64| {
            self.kept.contains_key(&Age::own(id)) || self.unreadable.iter().any(|unreadable| unreadable.id == id)
        };
        if on_disk.iter().any(|entry| entry.complete && !is_known(entry.id)) {
            return Ok(0);
        }
        self.orphans = self.find_orphans(&job, &on_disk)?;
        Ok(self.remove_orphans())
    }

    fn find_orphans(&self, job: &JobDirectory, on_disk: &[CheckpointEntry]) -> Result<Orphans> {
        Orphans::find(job, on_disk, &self.unreadable, &|file| self.is_needed(file))
    }

    fn delete(&mut self, checkpoints: &[(Age, Arc<CompletedCheckpoint>)]) {
        if let Some(job) = self.access.directory() {
            let doomed = checkpoints.iter().filter_map(|(age, checkpoint)| match age.is_own {
                true => Doomed::checkpoint(job, checkpoint),
                false => Doomed::claimed(checkpoint),
            });
            self.doomed.extend(doomed);
        }
        self.clean_up();
    }

    /// Deletes what is doomed; what fails is tried again with the next deletion.
    fn clean_up(&mut self) {
        let doomed = std::mem::take(&mut self.doomed);
        let Some(job) = self.access.directory() else { return };
        let is_needed = |file: &StoragePath| self.is_needed(file);
        self.doomed = cleanup::clean_up(job, doomed, &is_needed, &self.taken, self.unreadable.is_empty());
    }

    /// Whether something that stays references the file, or may.
    fn is_needed(&self, file: &StoragePath) -> bool {
        self.kept.values().any(|checkpoint| checkpoint.files().contains(file))
            || self.of_users.iter().any(|checkpoint| checkpoint.files().contains(file))
            || self.untouchable.contains(file)
    }
}
