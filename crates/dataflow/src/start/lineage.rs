//! The note of which snapshots the job's own checkpoints continue from.
//!
//! A pointer that is given with a start belongs to the first one, as in Flink it belongs to the submission: a restart of
//! the same command line has to go on from the checkpoints that were taken since. So each start that begins elsewhere
//! opens a branch: every checkpoint from the branch's first id on descends from it, up to the next branch. The note
//! also names snapshots that the job has to know of at every start: those it owns, and those it must not delete.
//!
//! It is a file `_lineage.<n>` in the job's directory, which Flink never looks at; a new one is complete before the old
//! one goes.

use std::io::{Read, Write};

use highwater_checkpoint::{FileSystem, JobDirectory, StoragePath, error_from_io};
use highwater_types::{Error, Result, ResultExt};
use serde::{Deserialize, Serialize};

const PREFIX: &str = "_lineage.";
const TEMPORARY: &str = "._lineage.inprogress";

/// Where a run of the job's own checkpoints comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Branch {
    /// Least id of its checkpoints.
    pub(crate) first: u64,
    /// The snapshot that was pointed to, as [`normal_pointer`] writes it; none: the job began with nothing.
    pub(crate) origin: Option<String>,
    /// The savepoint with which the job was stopped before the branch: what it resumes from as long as the branch has
    /// no checkpoint.
    pub(crate) savepoint: Option<String>,
}

/// A snapshot that was given to the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claimed {
    pub(crate) pointer: String,
    /// Least id of the checkpoints that continue from it.
    pub(crate) first: u64,
}

/// What is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// Oldest first.
    branches: Vec<Branch>,
    claimed: Vec<Claimed>,
    /// Pointers to snapshots of the user that need files of the job's directory.
    of_user: Vec<String>,
}

/// The note of one job. A job without a directory forgets it with its process, as it does its checkpoints.
#[derive(Debug)]
pub(crate) struct Lineage {
    directory: Option<JobDirectory>,
    /// Number of the file on disk.
    number: u64,
    note: Note,
    /// Whether a note that could not be written may be on disk after all, until the next one is written.
    is_unclear: bool,
}

impl Lineage {
    /// Reads the note.
    ///
    /// # Errors
    /// `Corrupt` if it cannot be understood: without it nobody knows whether a pointer is to be followed.
    pub(crate) fn read(directory: Option<&JobDirectory>) -> Result<Self> {
        let mut lineage = Self { directory: directory.cloned(), number: 0, note: Note::default(), is_unclear: false };
        let Some(directory) = directory else { return Ok(lineage) };
        let Some(number) = notes(directory)?.into_iter().max() else { return Ok(lineage) };
        let path = note(directory, number);
        let mut text = String::new();
        directory.file_system().open(&path)?.read_to_string(&mut text).map_err(error_from_io).with("file", &path)?;
        lineage.number = number;
        lineage.note = serde_json::from_str(&text).map_err(|error| {
            Error::corrupt(
                "the note of what this job's checkpoints continue from is damaged. Remove it, and say what to start \
                 from: without the note a pointer is followed, and no checkpoint goes on from it",
            )
            .with("file", &path)
            .because(error)
        })?;
        Ok(lineage)
    }

    /// Where it is kept.
    pub(crate) fn directory(&self) -> Option<&JobDirectory> {
        self.directory.as_ref()
    }

    /// Whether the job never began anywhere but with nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.note.branches.is_empty()
    }

    pub(crate) fn last(&self) -> Option<&Branch> {
        self.note.branches.last()
    }

    /// The branch that a checkpoint belongs to.
    pub(crate) fn of(&self, checkpoint: u64) -> Option<&Branch> {
        self.note.branches.iter().rev().find(|branch| branch.first <= checkpoint)
    }

    pub(crate) fn claimed(&self) -> &[Claimed] {
        &self.note.claimed
    }

    /// Snapshots of the user that need files of the job's directory.
    pub(crate) fn of_user(&self) -> &[String] {
        &self.note.of_user
    }

    /// To be written with the next branch: what was claimed for branches that never got to a checkpoint is given back,
    /// and so is the snapshot that is pointed to now, of which this start says anew whose it is.
    pub(crate) fn give_back(&mut self, newest: Option<u64>, pointed_to: Option<&str>) {
        let is_used = |old: &Claimed| newest.is_some_and(|newest| newest >= old.first);
        self.note.claimed.retain(|old| is_used(old) && Some(&*old.pointer) != pointed_to);
    }

    /// To be written with the next branch: a snapshot is the job's from this branch on.
    pub(crate) fn claim(&mut self, pointer: &str, first: u64) {
        self.forget(|other| other == pointer);
        self.note.claimed.push(Claimed { pointer: pointer.to_owned(), first });
    }

    /// To be written with the next branch: a snapshot is the user's.
    pub(crate) fn leave_to_user(&mut self, pointer: &str) {
        self.forget(|other| other == pointer);
        self.note.of_user.push(pointer.to_owned());
    }

    /// Forgets snapshots of the user that are gone.
    pub(crate) fn forget(&mut self, is_gone: impl Fn(&str) -> bool) {
        self.note.of_user.retain(|pointer| !is_gone(pointer));
    }

    /// Opens a branch. Those that never got to a checkpoint make way for it; of those before, the ones are kept that
    /// still have one of the `checkpoints`.
    pub(crate) fn begin(&mut self, branch: Branch, checkpoints: &[u64]) -> Result<()> {
        // What could not be written must not be remembered either: a savepoint that it names would be missed.
        let mut note = self.note.clone();
        let branches = &mut note.branches;
        let end = branch.first;
        branches.retain(|old| old.first < end);
        branches.push(branch);
        let ends: Vec<u64> = branches.iter().skip(1).map(|next| next.first).chain([u64::MAX]).collect();
        let is_needed =
            |first: u64, end: u64| end == u64::MAX || checkpoints.iter().any(|id| (first..end).contains(id));
        let mut ends = ends.into_iter();
        branches.retain(|branch| ends.next().is_some_and(|end| is_needed(branch.first, end)));
        self.write(&note)?;
        self.note = note;
        Ok(())
    }

    /// Whether the last note may be on disk, although writing it failed.
    pub(crate) fn is_unclear(&self) -> bool {
        self.is_unclear
    }

    /// The job stops with a savepoint, from which it resumes: nothing falls back behind it.
    pub(crate) fn stop_with(&mut self, savepoint: &str, id: u64, checkpoints: &[u64]) -> Result<()> {
        let origin = self.of(id).and_then(|branch| branch.origin.clone());
        let (first, savepoint) = (id.saturating_add(1), Some(savepoint.to_owned()));
        self.begin(Branch { first, origin, savepoint }, checkpoints)
    }

    /// The savepoint with which the job was stopped, and its id, unless `newest` has come after it.
    pub(crate) fn savepoint(&self, newest: Option<u64>) -> Option<(u64, &str)> {
        let last = self.last().filter(|last| newest.is_none_or(|newest| newest < last.first))?;
        Some((last.first.saturating_sub(1), last.savepoint.as_deref()?))
    }

    /// Writes a note in place of the old one, or leaves that in force.
    fn write(&mut self, text: &Note) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let fs = directory.file_system().as_ref();
        let old = notes(directory)?;
        // Also above one that was not taken back.
        let number = old.iter().copied().max().unwrap_or(0).max(self.number) + 1;
        let new = note(directory, number);
        let temporary = directory.path().join(TEMPORARY);
        fs.remove_file(&temporary)?;
        let text = serde_json::to_string_pretty(text)
            .map_err(|error| Error::internal("the note of a job's lineage cannot be written").because(error))?;
        write_file(fs, &temporary, &text)?;
        if let Err(error) = fs.rename(&temporary, &new).and_then(|()| fs.sync_dir(directory.path())) {
            self.is_unclear = fs.remove_file(&new).and_then(|()| fs.sync_dir(directory.path())).is_err();
            return Err(error);
        }
        (self.number, self.is_unclear) = (number, false);
        // The greatest number counts. What stays goes with the next note.
        if let Err(error) = old.into_iter().try_for_each(|number| fs.remove_file(&note(directory, number))) {
            tracing::warn!(%error, "an old note of the job's lineage could not be removed");
        }
        Ok(())
    }
}

fn write_file(fs: &dyn FileSystem, path: &StoragePath, text: &str) -> Result<()> {
    let mut file = fs.create_new(path)?;
    file.write_all(text.as_bytes()).map_err(error_from_io).with("file", path)?;
    file.sync()?;
    file.close()
}

fn note(directory: &JobDirectory, number: u64) -> StoragePath {
    directory.path().join(&format!("{PREFIX}{number}"))
}

/// Numbers of the notes on disk: mostly one, two after a crash between writing one and removing the other.
fn notes(directory: &JobDirectory) -> Result<Vec<u64>> {
    let entries = directory.file_system().list(directory.path())?;
    Ok(entries.iter().filter_map(|entry| entry.name.strip_prefix(PREFIX)?.parse().ok()).collect())
}

/// A pointer as text that is the same for every way to write it: absolute, and the directory where the file is
/// `_metadata`. Nothing is looked up, for the snapshot may be gone.
///
/// # Errors
/// As [`StoragePath::parse`].
pub(crate) fn normal_pointer(pointer: &str) -> Result<String> {
    let path = StoragePath::parse(pointer)?.qualified()?;
    let directory = path.parent().filter(|_| path.file_name() == Some("_metadata"));
    Ok(directory.unwrap_or(path).to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use highwater_checkpoint::{
        CheckpointStorage, FaultyFileSystem, FileStep, FileSystemCheckpointStorage, JobId, LocalFileSystem,
    };

    use super::*;

    fn branch(first: u64, pointer: &str) -> Branch {
        Branch { first, origin: Some(pointer.to_owned()), savepoint: None }
    }

    #[test]
    fn branches_survive_the_process_and_useless_ones_go() {
        let scratch = tempfile::tempdir().unwrap();
        let base = StoragePath::from_local(scratch.path()).unwrap();
        let access = FileSystemCheckpointStorage::new(base).unwrap().open(JobId::from_name("a")).unwrap();
        let directory = access.directory().unwrap();
        let read = || Lineage::read(Some(directory)).unwrap();
        let mut lineage = read();
        assert!(lineage.is_empty());
        lineage.begin(branch(1, "file:/a"), &[]).unwrap();
        lineage.claim("file:/b", 8);
        lineage.leave_to_user("file:/mine");
        lineage.begin(branch(8, "file:/b"), &[7]).unwrap();
        assert_eq!(read().claimed(), [Claimed { pointer: "file:/b".to_owned(), first: 8 }]);
        lineage.give_back(Some(7), Some("file:/c\n\u{e9}"));
        lineage.begin(branch(8, "file:/c\n\u{e9}"), &[7]).unwrap();
        assert_eq!(read().note.branches, [branch(1, "file:/a"), branch(8, "file:/c\n\u{e9}")]);
        assert_eq!((read().of(7), read().of(0)), (Some(&branch(1, "file:/a")), None));
        assert!(read().claimed().is_empty(), "nothing continues from it");
        lineage.claim("file:/mine", 9);
        lineage.begin(branch(9, "file:/mine"), &[8]).unwrap();
        lineage.give_back(Some(9), Some("file:/d"));
        lineage.begin(branch(12, "file:/d"), &[]).unwrap();
        assert_eq!(read().note.branches, [branch(12, "file:/d")]);
        assert_eq!((read().claimed().len(), read().of_user().len()), (1, 0));
        lineage.give_back(Some(12), Some("file:/mine"));
        assert!(lineage.claimed().is_empty(), "whose it is now, is said anew");
        assert_eq!(notes(directory).unwrap(), [5]);

        // The newest complete one counts; what a crash left of another does no harm.
        write_file(directory.file_system().as_ref(), &directory.path().join(TEMPORARY), "[").unwrap();
        write_file(directory.file_system().as_ref(), &note(directory, 3), "{}").unwrap();
        let mut lineage = read();
        assert_eq!(lineage.last(), Some(&branch(12, "file:/d")));
        lineage.begin(branch(13, "file:/e"), &[]).unwrap();
        assert_eq!(notes(directory).unwrap(), [6]);

        write_file(directory.file_system().as_ref(), &note(directory, 7), "[{]").unwrap();
        let error = Lineage::read(Some(directory)).unwrap_err();
        assert!(error.value("file").unwrap().ends_with("_lineage.7"), "{error}");
    }

    /// The note in memory named a savepoint that was deleted, because the note could not be written: every later start
    /// looked for it in vain.
    #[test]
    fn a_note_that_cannot_be_written_changes_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let failing: Arc<Mutex<Vec<FileStep>>> = Arc::default();
        let of_fault = Arc::clone(&failing);
        let fs =
            FaultyFileSystem::new(LocalFileSystem, move |step, _| match of_fault.lock().unwrap().contains(&step) {
                true => Err(Error::storage("injected")),
                false => Ok(()),
            });
        let base = StoragePath::from_local(scratch.path()).unwrap();
        let storage = FileSystemCheckpointStorage::new(base).unwrap().with_file_system(Arc::new(fs));
        let access = storage.open(JobId::from_name("a")).unwrap();
        let directory = access.directory().unwrap();
        let on_disk = || Lineage::read(Some(directory)).unwrap().note;
        let mut lineage = Lineage::read(Some(directory)).unwrap();
        lineage.begin(branch(1, "file:/a"), &[]).unwrap();
        let before = on_disk();
        for (steps, is_unclear) in [
            (vec![FileStep::Create], false),
            (vec![FileStep::Rename], false),
            (vec![FileStep::SyncDirectory], true),
            (vec![FileStep::Rename, FileStep::SyncDirectory], true),
        ] {
            *failing.lock().unwrap() = steps.clone();
            lineage.stop_with("file:/savepoint", 7, &[]).unwrap_err();
            failing.lock().unwrap().clear();
            assert_eq!((lineage.savepoint(Some(7)), lineage.is_unclear()), (None, is_unclear), "{steps:?}");
            assert_eq!(on_disk(), before, "{steps:?}");
        }
        *failing.lock().unwrap() = vec![FileStep::Remove];
        lineage.begin(branch(8, "file:/b"), &[]).unwrap_err();
        failing.lock().unwrap().clear();
        lineage.stop_with("file:/savepoint", 9, &[]).unwrap();
        assert_eq!(lineage.savepoint(Some(9)), Some((9, "file:/savepoint")));
        assert_eq!((on_disk(), lineage.is_unclear()), (lineage.note.clone(), false));
    }

    #[test]
    fn a_pointer_is_the_same_in_every_way_to_write_it() {
        let same = ["/data/chk-1", "/data/chk-1/", "file:///data/chk-1/_metadata", "file:/data/x/../chk-1"];
        assert!(same.iter().all(|pointer| normal_pointer(pointer).unwrap() == "file:/data/chk-1"));
        assert_eq!(normal_pointer("/data/saved.bin").unwrap(), "file:/data/saved.bin");
    }
}
