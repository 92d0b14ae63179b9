//! Which files of a database lie in the shared scope already.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use highwater_checkpoint::{IncrementalHandle, StreamHandle};
use uuid::Uuid;

/// Shared files by their name in the database.
pub(crate) type SharedFiles = Arc<HashMap<String, StreamHandle>>;

/// The shared files of the checkpoints of one database (as Flink's `RocksIncrementalSnapshotStrategy` keeps them).
///
/// A new checkpoint refers to files of a *completed* checkpoint only, its base. They are deleted when a later checkpoint
/// is complete and does not have them. So of the base, only those files may be referred to that every checkpoint
/// between the two has as well, whose outcome is open; and what such a checkpoint has for sure is what it took from its
/// own base. (Names are never used twice and a table that is gone stays gone: what the new checkpoint still has, the
/// earlier ones had.)
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
    /// Checkpoints behind the completed one whose outcome is open, and what they may refer to.
    open: BTreeMap<u64, SharedFiles>,
}

impl Uploads {
    /// A database that shares nothing yet.
    pub(crate) fn new() -> Self {
        Self { backend_id: Uuid::new_v4().to_string(), known: Mutex::default() }
    }

    /// A database that goes on where a completed checkpoint left off. Files that are named relative to its directory, as
    /// in a native savepoint of Flink, mean nothing in another one: they are written again.
    pub(crate) fn continuing(handle: &IncrementalHandle) -> Self {
        let is_shared = |handle: &StreamHandle| !matches!(handle, StreamHandle::RelativeFile { .. });
        let files = Arc::new(handle.shared.iter().filter(|(_, handle)| is_shared(handle)).cloned().collect());
        let known = Known {
            completed: Some(handle.checkpoint_id),
            files: BTreeMap::from([(handle.checkpoint_id, files)]),
            open: BTreeMap::new(),
        };
        Self { backend_id: handle.backend_id.clone(), known: Mutex::new(known) }
    }

    /// Identity of the database: under it, names of files are unique.
    pub(crate) fn backend_id(&self) -> &str {
        &self.backend_id
    }

    /// Begins a checkpoint; returns the files that it may refer to.
    pub(crate) fn begin(&self, checkpoint: u64) -> SharedFiles {
        let mut known = self.lock();
        let base = known.base();
        known.open.insert(checkpoint, Arc::clone(&base));
        base
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
            known.open = known.open.split_off(&(checkpoint.saturating_add(1)));
        }
    }

    /// Forgets a checkpoint whose files go away.
    pub(crate) fn aborted(&self, checkpoint: u64) {
        let mut known = self.lock();
        known.files.remove(&checkpoint);
        known.open.remove(&checkpoint);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Whole after every statement.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn base(&self) -> SharedFiles {
        let completed = self.completed.and_then(|checkpoint| self.files.get(&checkpoint)).cloned().unwrap_or_default();
        let is_kept = |name: &String, handle: &StreamHandle| self.open.values().all(|of| of.get(name) == Some(handle));
        match completed.iter().all(|(name, handle)| is_kept(name, handle)) {
            true => completed,
            false => {
                let kept = completed.iter().filter(|(name, handle)| is_kept(name, handle));
                Arc::new(kept.map(|(name, handle)| (name.clone(), handle.clone())).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> StreamHandle {
        StreamHandle::File { path: format!("file:/shared/{name}"), size: 1 }
    }

    fn files(names: &[(&str, &str)]) -> SharedFiles {
        Arc::new(names.iter().map(|(name, path)| ((*name).to_owned(), named(path))).collect())
    }

    fn names(files: &SharedFiles) -> Vec<&str> {
        let mut names: Vec<_> = files.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn only_completed_checkpoints_are_built_on() {
        let uploads = Uploads::new();
        uploads.begin(1);
        uploads.uploaded(1, files(&[("1.sst", "a")]));
        assert!(uploads.begin(2).is_empty(), "nothing is complete yet");
        uploads.uploaded(2, files(&[("1.sst", "b"), ("2.sst", "c")]));
        uploads.aborted(2);
        uploads.completed(1);
        assert_eq!(names(&uploads.begin(3)), ["1.sst"]);
        uploads.aborted(3);
        uploads.completed(3);
        assert!(uploads.begin(4).is_empty(), "an aborted checkpoint's files are gone, whatever is said of it later");
        uploads.uploaded(4, files(&[("3.sst", "d")]));
        uploads.completed(4);
        uploads.completed(3);
        assert_eq!(names(&uploads.begin(5)), ["3.sst"], "what is told late changes nothing");
    }

    #[test]
    fn a_checkpoint_that_this_database_has_no_part_in_is_no_base() {
        let uploads = Uploads::new();
        uploads.begin(1);
        uploads.uploaded(1, files(&[("1.sst", "a")]));
        uploads.completed(1);
        uploads.completed(2);
        assert!(uploads.begin(3).is_empty());
    }

    #[test]
    fn files_of_a_savepoint_are_not_referred_to_from_elsewhere() {
        let relative = StreamHandle::RelativeFile { path: "a".into(), size: 1 };
        let handle = IncrementalHandle {
            checkpoint_id: 7,
            backend_id: "of the savepoint".into(),
            range: highwater_types::MaxParallelism::new(128).unwrap().all(),
            checkpointed_size: 0,
            meta: named("meta"),
            shared: vec![("1.sst".into(), relative), ("2.sst".into(), named("b"))],
            private: Vec::new(),
            state_handle_id: None,
        };
        assert_eq!(names(&Uploads::continuing(&handle).begin(8)), ["2.sst"]);
    }

    /// Checkpoints 1 and 2 were under way together and each uploaded the same table. When 2 is complete, 1 goes, and
    /// with it the copy of 1: checkpoint 3, which began in between, must not refer to it.
    #[test]
    fn a_file_that_goes_with_the_next_checkpoint_is_not_referred_to() {
        let uploads = Uploads::new();
        uploads.begin(1);
        uploads.uploaded(1, files(&[("1.sst", "a")]));
        uploads.completed(1);
        uploads.begin(2);
        uploads.begin(3);
        uploads.uploaded(2, files(&[("1.sst", "a"), ("2.sst", "of checkpoint 2")]));
        uploads.uploaded(3, files(&[("1.sst", "a"), ("2.sst", "of checkpoint 3")]));
        uploads.completed(2);
        assert_eq!(names(&uploads.begin(4)), ["1.sst"], "3 is still open, and has another copy of 2.sst");
        uploads.completed(3);
        uploads.aborted(4);
        let base = uploads.begin(5);
        assert_eq!(names(&base), ["1.sst", "2.sst"]);
        assert_eq!(base.get("2.sst"), Some(&named("of checkpoint 3")));
    }
}
