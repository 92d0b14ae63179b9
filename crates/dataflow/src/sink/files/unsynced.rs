//! Files that are written but not yet durable.

use std::sync::{Arc, Mutex, PoisonError};

use highwater_checkpoint::{FileSystem, FileWriter, StoragePath};
use highwater_types::{Error, Result};

/// Gathers the closed files of one subtask until a background thread has made them durable. Shared between both.
///
/// A checkpoint that was given up leaves its files to the next. A failure is final: what a failed sync has left of a
/// file is unknown, so that no later checkpoint of this attempt may rely on it.
#[derive(Clone)]
pub(super) struct Unsynced {
    fs: Arc<dyn FileSystem>,
    directory: StoragePath,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    files: Vec<Box<dyn FileWriter>>,
    /// Whether the directory has new names.
    has_new_names: bool,
    has_failed: bool,
}

impl Unsynced {
    pub(super) fn new(fs: Arc<dyn FileSystem>, directory: StoragePath) -> Self {
        Self { fs, directory, shared: Arc::default() }
    }

    /// Adds a file that is written to its end.
    pub(super) fn add(&self, file: Box<dyn FileWriter>) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.files.push(file);
        shared.has_new_names = true;
    }

    /// Notes that a file could not be written to its end.
    pub(super) fn fail(&self) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).has_failed = true;
    }

    /// Makes all files and their names durable. Waits for another thread that does the same.
    pub(super) fn sync(&self) -> Result<()> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        check(&shared)?;
        let outcome = self.sync_all(&mut shared);
        shared.has_failed = outcome.is_err();
        outcome
    }

    fn sync_all(&self, shared: &mut Shared) -> Result<()> {
        for mut file in shared.files.drain(..) {
            file.sync()?;
            file.close()?;
        }
        if shared.has_new_names {
            self.fs.sync_dir(&self.directory)?;
            shared.has_new_names = false;
        }
        Ok(())
    }

    /// Fails once anything has failed. Does not wait for a thread that is syncing: it will report for itself.
    pub(super) fn check(&self) -> Result<()> {
        match self.shared.try_lock() {
            Ok(shared) => check(&shared),
            Err(_) => Ok(()),
        }
    }
}

fn check(shared: &Shared) -> Result<()> {
    match shared.has_failed {
        false => Ok(()),
        true => Err(Error::storage("an output file could not be made durable: the sink begins anew from a checkpoint")),
    }
}
