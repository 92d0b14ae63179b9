//! What is written but not yet durable.

use std::collections::BTreeSet;
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use highwater_checkpoint::{FileSystem, FileWriter, StoragePath, Syncer};
use highwater_types::{Error, Result};

/// Gathers what one subtask has written until a background thread has made it durable. Shared between both; neither
/// waits for the other.
///
/// A checkpoint that was given up leaves its work to the next. A failure is final: what a failed sync has left of a file
/// is unknown, so that no later checkpoint of this attempt may rely on it.
#[derive(Clone)]
pub(super) struct Unsynced {
    fs: Arc<dyn FileSystem>,
    work: Arc<Mutex<Work>>,
    /// Held by the thread that syncs. Poisoned if it panicked.
    turn: Arc<Mutex<()>>,
}

#[derive(Default)]
struct Work {
    /// Files that are written to their end.
    closed: Vec<Box<dyn FileWriter>>,
    /// Of files that go on.
    open: Vec<Syncer>,
    /// Directories with new names.
    directories: BTreeSet<StoragePath>,
    has_failed: bool,
}

impl Unsynced {
    pub(super) fn new(fs: Arc<dyn FileSystem>) -> Self {
        Self { fs, work: Arc::default(), turn: Arc::default() }
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds directories that have new names.
    pub(super) fn add_names_in(&self, directories: impl IntoIterator<Item = StoragePath>) {
        self.work().directories.extend(directories);
    }

    /// Adds a file that is written to its end. Returns how many of them wait.
    pub(super) fn add_closed(&self, file: Box<dyn FileWriter>) -> usize {
        let mut work = self.work();
        work.closed.push(file);
        work.closed.len()
    }

    /// Adds what has been written so far to a file that goes on.
    pub(super) fn add_open(&self, syncer: Syncer) {
        self.work().open.push(syncer);
    }

    /// Notes that a file could not be written to its end.
    pub(super) fn fail(&self) {
        self.work().has_failed = true;
    }

    /// Makes everything durable. Waits for another thread that does the same: it may do it for a checkpoint that was
    /// given up.
    pub(super) fn sync(&self) -> Result<()> {
        let Ok(_turn) = self.turn.lock() else { return Err(failed()) };
        let mut work = self.work();
        work.check()?;
        let (closed, open, directories) = (take(&mut work.closed), take(&mut work.open), take(&mut work.directories));
        drop(work);
        self.sync_all(closed, open, directories).inspect_err(|_| self.fail())
    }

    fn sync_all(
        &self,
        closed: Vec<Box<dyn FileWriter>>,
        open: Vec<Syncer>,
        directories: BTreeSet<StoragePath>,
    ) -> Result<()> {
        for mut file in closed {
            file.sync()?;
            file.close()?;
        }
        open.into_iter().try_for_each(|sync| sync())?;
        directories.iter().try_for_each(|directory| self.fs.sync_dir(directory))
    }

    /// Fails once anything has failed.
    pub(super) fn check(&self) -> Result<()> {
        self.work().check()
    }
}

impl Work {
    fn check(&self) -> Result<()> {
        if self.has_failed { Err(failed()) } else { Ok(()) }
    }
}

fn failed() -> Error {
    Error::storage("an output file could not be made durable: the sink begins anew from a checkpoint")
}
