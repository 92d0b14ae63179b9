//! Whose a snapshot is that a job starts from. Before, a job knew only its own checkpoints and foreign ones: a pointer
//! to one of its own was restored with the promise never to delete it, and subsumed a moment later; nothing could be
//! claimed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use highwater_checkpoint::{
    CheckpointStorage, CompletedCheckpointStore, FileSystem, FileSystemCheckpointStorage, JobId, LocalFileSystem,
    ResolvedSnapshot, StoragePath, resolve_pointer,
};

use crate::support::{JOB, Job, names, scratch, storage_on};

fn storage(base: &StoragePath) -> FileSystemCheckpointStorage {
    let fs: Arc<dyn FileSystem> = Arc::new(LocalFileSystem);
    storage_on(&fs, base)
}

fn start(base: &StoragePath, max_retained: usize) -> Job {
    Job::start(&storage(base), max_retained).unwrap()
}

fn directory(base: &StoragePath) -> PathBuf {
    base.join(&JobId::from_name(JOB).to_string()).to_local_path().unwrap()
}

fn checkpoint(base: &StoragePath, id: u64) -> ResolvedSnapshot {
    resolve_pointer(directory(base).join(format!("chk-{id}")).to_str().unwrap()).unwrap()
}

/// The files of a snapshot, with its metadata.
fn files_of(snapshot: &ResolvedSnapshot) -> BTreeSet<PathBuf> {
    let checkpoint = highwater_checkpoint::CompletedCheckpoint::from_snapshot(snapshot).unwrap();
    let files = checkpoint.files().iter().chain([&snapshot.metadata_file]);
    files.map(|file| file.to_local_path().unwrap()).collect()
}

fn all_exist(files: &BTreeSet<PathBuf>) -> bool {
    files.iter().all(|file| file.exists())
}

#[test]
fn a_checkpoint_that_is_left_to_the_user_survives_retention_and_the_next_start() {
    let (_guard, base) = scratch();
    let mut job = start(&base, 2);
    job.checkpoints(2);
    let users = checkpoint(&base, 1);
    let files = files_of(&users);
    assert!(job.store.leave_to_user(&users).unwrap());
    assert!(job.store.checkpoints().next().unwrap().is_users());
    job.checkpoints(4);
    assert_eq!(job.kept(), [1, 5, 6], "it is not one of the two that are kept");
    assert!(all_exist(&files), "with the shared files that nobody else needs");
    job.store.discard_all();
    assert!(all_exist(&files));
    drop(job);

    // The next start has to be told again: before it removes or deletes anything.
    let mut job = start(&base, 1);
    assert!(job.store.leave_to_user(&users).unwrap());
    job.store.remove_orphans();
    job.checkpoints(3);
    job.store.sweep().unwrap();
    assert!(all_exist(&files));
    job.verify();

    // Claimed, it goes like any other.
    job.store.claim(&users, 7).unwrap();
    job.checkpoints(1);
    assert!(!directory(&base).join("chk-1").exists());
    assert_eq!(job.kept().len(), 1);
}

#[test]
fn a_checkpoint_is_known_by_another_name() {
    let (guard, base) = scratch();
    let mut job = start(&base, 1);
    job.checkpoints(1);
    std::os::unix::fs::symlink(directory(&base), guard.path().join("alias")).unwrap();
    let users = resolve_pointer(guard.path().join("alias/chk-1").to_str().unwrap()).unwrap();
    let before = names(directory(&base).join("chk-1"));
    assert!(job.store.leave_to_user(&users).unwrap());
    assert_eq!(names(directory(&base).join("chk-1")), before, "finding out leaves nothing behind");
    job.checkpoints(2);
    assert!(all_exist(&files_of(&users)));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in names(from) {
        fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

/// The shared files of a copy lie where those of the original do.
#[test]
fn a_copy_of_a_checkpoint_keeps_its_shared_files() {
    let (guard, base) = scratch();
    let mut job = start(&base, 1);
    job.checkpoints(2);
    let copied = guard.path().join("copy");
    copy(&directory(&base).join("chk-2"), &copied);
    let users = resolve_pointer(copied.to_str().unwrap()).unwrap();
    assert!(job.store.leave_to_user(&users).unwrap());
    job.checkpoints(3);
    assert!(!directory(&base).join("chk-2").exists(), "the original is the job's");
    assert!(all_exist(&files_of(&users)));
    drop(job);
    let mut job = start(&base, 1);
    assert!(job.store.orphans().count() > 0, "without the memory of the copy they would be orphans");
    assert!(job.store.leave_to_user(&users).unwrap());
    job.store.remove_orphans();
    assert!(all_exist(&files_of(&users)));
}

/// The original is gone, and the copy is given to the job: its shared files are not swept before they are read.
#[test]
fn a_claimed_copy_of_a_checkpoint_keeps_its_shared_files() {
    let (guard, base) = scratch();
    let mut job = start(&base, 1);
    job.checkpoints(2);
    drop(job);
    let moved = guard.path().join("moved");
    copy(&directory(&base).join("chk-2"), &moved);
    fs::remove_dir_all(directory(&base).join("chk-2")).unwrap();
    let snapshot = resolve_pointer(moved.to_str().unwrap()).unwrap();
    let mut job = start(&base, 1);
    assert!(job.store.orphans().count() > 0, "without the claim they would be orphans");
    job.store.claim(&snapshot, 3).unwrap();
    job.store.remove_orphans();
    assert!(all_exist(&files_of(&snapshot)));
}

/// It is on a disk that is not mounted, or damaged: its files were taken for orphans.
#[test]
fn of_a_snapshot_that_cannot_be_looked_at_everything_stays() {
    let (guard, base) = scratch();
    let mut job = start(&base, 1);
    job.checkpoints(2);
    let away = guard.path().join("away");
    copy(&directory(&base).join("chk-2"), &away);
    let files = files_of(&resolve_pointer(away.to_str().unwrap()).unwrap());
    drop(job);
    fs::remove_dir_all(directory(&base).join("chk-2")).unwrap();

    let mut job = start(&base, 1);
    assert!(job.store.orphans().count() > 0);
    job.store.keep_what_is_there().unwrap();
    job.store.remove_orphans();
    job.checkpoints(3);
    job.store.sweep().unwrap();
    assert!(all_exist(&files));
    job.verify();
    // What has come since goes by the rules: one checkpoint is kept.
    assert_eq!(names(directory(&base)).iter().filter(|name| name.starts_with("chk-")).count(), 1);
}

/// A copy of a claimed checkpoint needs the files that came with it.
#[test]
fn a_copy_of_what_was_claimed_keeps_its_shared_files() {
    let (guard, base) = scratch();
    let (old, new) = (base.join("old"), base.join("new"));
    start(&old, 1).checkpoints(2);
    let snapshot = checkpoint(&old, 2);
    let copied = guard.path().join("copy");
    copy(&directory(&old).join("chk-2"), &copied);
    let users = resolve_pointer(copied.to_str().unwrap()).unwrap();
    let mut job = start(&new, 1);
    job.store.claim(&snapshot, 1).unwrap();
    assert!(job.store.leave_to_user(&users).unwrap(), "it lies elsewhere, but its files do not");
    job.checkpoints(2);
    assert!(!directory(&old).join("chk-2").join("_metadata").exists());
    let shared: Vec<_> =
        files_of(&users).into_iter().filter(|file| file.starts_with(directory(&old).join("shared"))).collect();
    assert!(!shared.is_empty() && shared.iter().all(|file| file.exists()));
}

#[test]
fn a_snapshot_that_has_nothing_to_do_with_the_job_needs_no_memory() {
    let (_guard, base) = scratch();
    start(&base.join("old"), 1).checkpoints(1);
    let mut job = start(&base.join("new"), 1);
    assert!(!job.store.leave_to_user(&checkpoint(&base.join("old"), 1)).unwrap());
}

#[test]
fn a_claimed_snapshot_goes_when_it_is_subsumed_and_its_directory_stays() {
    let (_guard, base) = scratch();
    let (old, new) = (base.join("old"), base.join("new"));
    start(&old, 1).checkpoints(3);
    let snapshot = checkpoint(&old, 3);
    fs::write(directory(&old).join("notes.txt"), b"mine").unwrap();
    let mut job = start(&new, 2);
    job.checkpoints(1);
    job.store.claim(&snapshot, 4).unwrap();
    let add = |job: &mut Job| {
        let location = job.access.begin(job.store.next_checkpoint_id().max(4)).unwrap();
        let metadata = job.write_state(location.as_ref()).unwrap();
        let bytes = metadata.write(highwater_checkpoint::MetadataVersion::V3).unwrap();
        let completed = location.write_metadata(&bytes).unwrap();
        job.store.add(highwater_checkpoint::CompletedCheckpoint::new(metadata, &completed).unwrap()).unwrap()
    };
    assert_eq!(add(&mut job), [1], "what the job had before is older");
    assert!(all_exist(&files_of(&snapshot)), "it counts as one of the two that are kept");
    assert_eq!(add(&mut job), [3]);
    assert_eq!(names(directory(&old)), [".lock", "notes.txt", "shared", "taskowned"]);
    assert!(names(directory(&old).join("shared")).is_empty());
    job.verify();
}

/// Checkpoints that build on a claimed snapshot keep its files after it is gone, over a restart too.
#[test]
fn files_that_are_built_on_go_with_the_last_checkpoint_that_needs_them() {
    let (_guard, base) = scratch();
    let (old, new) = (base.join("old"), base.join("new"));
    let mut job = start(&old, 1);
    job.checkpoints(2);
    let snapshot = checkpoint(&old, 2);
    drop(job);
    // The first checkpoint of the new job names the shared file of the snapshot.
    let mut job = Job::continuing(&storage(&new), 1, &snapshot).unwrap();
    job.store.claim(&snapshot, 1).unwrap();
    job.checkpoints(1);
    assert!(!directory(&old).join("chk-2").exists());
    job.verify();
    assert_eq!(names(directory(&old).join("shared")).len(), 1, "one of two is built on");
    drop(job);
    let mut job = start(&new, 1);
    job.store.take_shared_files(&snapshot.directory);
    job.verify();
    job.checkpoints(2);
    assert!(names(directory(&old).join("shared")).is_empty());
    job.verify();
}

#[test]
fn files_that_other_checkpoints_beside_a_claimed_one_need_stay() {
    let (_guard, base) = scratch();
    let (old, new) = (base.join("old"), base.join("new"));
    start(&old, 3).checkpoints(3);
    let (left, snapshot) = (checkpoint(&old, 2), checkpoint(&old, 3));
    let mut job = start(&new, 1);
    job.store.claim(&snapshot, 1).unwrap();
    job.checkpoints(1);
    assert!(!directory(&old).join("chk-3").exists());
    assert!(all_exist(&files_of(&left)));
    let access = storage(&old).open(JobId::from_name(JOB)).unwrap();
    assert_eq!(CompletedCheckpointStore::recover(access, 3).unwrap().unreadable().len(), 0);
}

#[test]
fn a_metadata_file_of_another_name_can_be_claimed() {
    let (_guard, base) = scratch();
    let (old, new) = (base.join("old"), base.join("new"));
    start(&old, 1).checkpoints(1);
    let place = directory(&old).join("chk-1");
    fs::rename(place.join("_metadata"), place.join("saved")).unwrap();
    let snapshot = resolve_pointer(place.join("saved").to_str().unwrap()).unwrap();
    let mut job = start(&new, 1);
    job.store.claim(&snapshot, 1).unwrap();
    job.checkpoints(1);
    assert!(!place.exists());
}
