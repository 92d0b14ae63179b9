//! Which files of a database lie in the shared scope already.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use highwater_checkpoint::{IncrementalHandle, StreamHandle};
use uuid::Uuid;

/// Shared files by their name in the database.
pub(crate) type SharedFiles = Arc<HashMap<String, StreamHandle>>;

/// The shared files of the checkpoints of one database (as Flink's `RocksIncrementalSnapshotStrategy` keeps them). A new
/// checkpoint refers to files of a *completed* checkpoint only: nobody deletes those before another checkpoint is
/// complete that has them too.
#[derive(Debug)]
pub(crate) struct Uploads {
    backend_id: String,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The newest checkpoint that is known to be complete.
    completed: Option<u64>,
    /// By checkpoint, none older than the completed one.
    files: BTreeMap<u64, SharedFiles>,
}

impl Uploads {
    /// A database that shares nothing yet.
    pub(crate) fn new() -> Self {
        Self { backend_id: Uuid::new_v4().to_string(), known: Mutex::default() }
    }

    /// A database that goes on where a completed checkpoint left off.
    pub(crate) fn continuing(handle: &IncrementalHandle) -> Self {
        let files = Arc::new(handle.shared.iter().cloned().collect());
        let known =
            Known { completed: Some(handle.checkpoint_id), files: BTreeMap::from([(handle.checkpoint_id, files)]) };
        Self { backend_id: handle.backend_id.clone(), known: Mutex::new(known) }
    }

    /// Identity of the database: under it, names of files are unique.
    pub(crate) fn backend_id(&self) -> &str {
        &self.backend_id
    }

    /// The files that a new checkpoint may refer to.
    pub(crate) fn base(&self) -> SharedFiles {
        let known = self.lock();
        known.completed.and_then(|checkpoint| known.files.get(&checkpoint)).cloned().unwrap_or_default()
    }

    /// Takes down what a checkpoint consists of, which may become complete.
    pub(crate) fn uploaded(&self, checkpoint: u64, files: SharedFiles) {
        self.lock().files.insert(checkpoint, files);
    }

    /// From now on new checkpoints build on this one.
    pub(crate) fn completed(&self, checkpoint: u64) {
        let mut known = self.lock();
        if known.completed.is_none_or(|completed| completed < checkpoint) {
            known.completed = Some(checkpoint);
            known.files = known.files.split_off(&checkpoint);
        }
    }

    /// Forgets a checkpoint whose files go away.
    pub(crate) fn aborted(&self, checkpoint: u64) {
        self.lock().files.remove(&checkpoint);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Whole after every statement.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> SharedFiles {
        Arc::new(names.iter().map(|name| ((*name).to_owned(), StreamHandle::EmptySegment)).collect())
    }

    fn base(uploads: &Uploads) -> Vec<String> {
        let mut names: Vec<_> = uploads.base().keys().cloned().collect();
        names.sort();
        names
    }

    #[test]
    fn only_completed_checkpoints_are_built_on() {
        let uploads = Uploads::new();
        uploads.uploaded(1, files(&["1.sst"]));
        uploads.uploaded(2, files(&["1.sst", "2.sst"]));
        assert!(base(&uploads).is_empty(), "nothing is complete yet");
        uploads.completed(1);
        assert_eq!(base(&uploads), ["1.sst"]);
        uploads.aborted(2);
        uploads.completed(2);
        assert!(base(&uploads).is_empty(), "an aborted checkpoint's files are gone, whatever is said of it later");
        uploads.uploaded(3, files(&["3.sst"]));
        uploads.completed(3);
        uploads.completed(2);
        assert_eq!(base(&uploads), ["3.sst"], "what is told late changes nothing");
    }

    #[test]
    fn a_checkpoint_that_this_database_has_no_part_in_is_no_base() {
        let uploads = Uploads::new();
        uploads.uploaded(1, files(&["1.sst"]));
        uploads.completed(1);
        uploads.completed(2);
        assert!(base(&uploads).is_empty());
    }
}
