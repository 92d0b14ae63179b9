//! Which checkpoints are kept, and that nothing anybody needs is deleted.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use highwater_checkpoint::{
    CheckpointMetadata, CheckpointStorage, CompletedCheckpoint, CompletedCheckpointStore, CompletedLocation,
    CrashFileSystem, FileSystem, JobId, LocalFileSystem, MetadataVersion, StateScope, StoragePath, StreamHandle,
    Survival,
};
use highwater_types::ErrorKind;

use crate::support::{Job, metadata_of, names, path, scratch, storage_on, write_stream};

fn start(base: &StoragePath, max_retained: usize) -> Job {
    let fs: Arc<dyn FileSystem> = Arc::new(LocalFileSystem);
    Job::start(&storage_on(&fs, base), max_retained).unwrap()
}

fn job_directory(job: &Job) -> PathBuf {
    job.access.directory().unwrap().path().to_local_path().unwrap()
}

/// Every file below a directory.
fn files_below(directory: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for name in names(directory) {
        let path = directory.join(name);
        match path.is_dir() {
            true => files.extend(files_below(&path)),
            false => drop(files.insert(path.to_str().unwrap().to_owned())),
        }
    }
    files
}

#[test]
fn the_newest_are_kept_with_exactly_what_they_need() {
    for max_retained in [1, 2, 3] {
        let (_guard, base) = scratch();
        let mut job = start(&base, max_retained);
        for n in 1..=6_u64 {
            assert_eq!(job.checkpoint(|_| {}).unwrap(), n);
            let oldest = n.saturating_sub(max_retained as u64 - 1).max(1);
            assert_eq!(job.kept(), (oldest..=n).collect::<Vec<_>>());
            assert_eq!(files_below(&job_directory(&job)), job.needed_files());
            job.verify();
        }
        let chk = format!("chk-{}", 6 - max_retained);
        assert!(!names(job_directory(&job)).contains(&chk), "directories go too");
    }
}

#[test]
fn zero_still_keeps_the_newest() {
    let (_guard, base) = scratch();
    let mut job = start(&base, 0);
    job.checkpoint(|_| {}).unwrap();
    assert_eq!(job.kept(), [1]);
}

#[test]
fn a_new_process_registers_everything_before_it_deletes() {
    let (_guard, base) = scratch();
    let mut job = start(&base, 3);
    job.checkpoints(3);
    drop(job);

    let mut job = start(&base, 1);
    assert_eq!(job.kept(), [1, 2, 3]);
    job.verify();
    assert_eq!(job.store.remove_orphans(), 0);
    assert_eq!(job.checkpoint(|_| {}).unwrap(), 4);
    assert_eq!(job.kept(), [4]);
    job.verify();
    assert_eq!(files_below(&job_directory(&job)), job.needed_files());
}

#[test]
fn ids_go_on_above_everything_on_disk() {
    let (_guard, base) = scratch();
    let mut job = start(&base, 1);
    job.checkpoint(|_| {}).unwrap();
    job.access.begin(41).unwrap();
    drop(job);
    let mut job = start(&base, 1);
    assert_eq!(job.store.latest().unwrap().id(), 1);
    assert_eq!(job.store.next_checkpoint_id(), 42);
    // Removing the left-over does not bring the id back.
    assert_eq!(job.store.remove_orphans(), 1);
    assert_eq!(job.store.next_checkpoint_id(), 42);
    assert_eq!(job.checkpoint(|_| {}).unwrap(), 42);
}

#[test]
fn ids_must_increase() {
    let (_guard, base) = scratch();
    let mut job = start(&base, 5);
    job.checkpoint(|_| {}).unwrap();
    let again = (*job.store.latest().unwrap().as_ref()).clone();
    assert_eq!(job.store.add(again).unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(job.kept(), [1]);
}

#[test]
fn left_overs_of_a_crash_are_removed_and_foreign_files_are_not() {
    let (_guard, base) = scratch();
    let mut job = start(&base, 1);
    job.checkpoint(|_| {}).unwrap();
    let unfinished = job.access.begin(2).unwrap();
    job.write_state(unfinished.as_ref()).unwrap();
    let below = job_directory(&job);
    let temporary = "._metadata.inprogress.9b1c7a52-8a05-4a3c-9c53-0f6a2b8a7d11";
    fs::write(below.join("chk-2").join(temporary), b"half").unwrap();
    fs::write(below.join("chk-1").join(temporary), b"half").unwrap();
    fs::create_dir(below.join("chk-3")).unwrap();
    fs::write(below.join("chk-3/notes.txt"), b"mine").unwrap();
    fs::create_dir(below.join("chk-4")).unwrap();
    let foreign = ["shared/README", "taskowned/2b7dd3b6-0ee5-4bd5-9d8f-2f9bd23ae2ef", "notes.txt", "chk-1/notes.txt"];
    foreign.iter().for_each(|name| fs::write(below.join(name), b"mine").unwrap());
    drop(job);

    let mut job = start(&base, 1);
    assert_eq!(job.kept(), [1]);
    assert!(job.store.orphans().count() >= 6);
    job.store.remove_orphans();
    job.verify();
    let mut expected = job.needed_files();
    expected.extend(foreign.iter().map(|name| below.join(name).to_str().unwrap().to_owned()));
    expected.insert(below.join("chk-3/notes.txt").to_str().unwrap().to_owned());
    assert_eq!(files_below(&below), expected);
    assert!(!below.join("chk-2").exists() && !below.join("chk-4").exists());

    // A subsumed checkpoint leaves foreign files, and so its directory, behind.
    job.checkpoint(|_| {}).unwrap();
    assert_eq!(names(below.join("chk-1")), ["notes.txt"]);
}

#[test]
fn checkpoints_that_began_after_the_start_are_no_orphans() {
    let (_guard, base) = scratch();
    let mut job = start(&base, 1);
    let location = job.access.begin(1).unwrap();
    let metadata = job.write_state(location.as_ref()).unwrap();
    assert_eq!(job.store.remove_orphans(), 0);
    let bytes = metadata.write(MetadataVersion::V3).unwrap();
    let completed = location.write_metadata(&bytes).unwrap();
    job.store.add(CompletedCheckpoint::new(metadata, &completed).unwrap()).unwrap();
    job.verify();
}

#[test]
fn an_unreadable_checkpoint_blocks_deletion_of_what_it_may_reference() {
    let (_guard, base) = scratch();
    let mut job = start(&base, 3);
    job.checkpoints(3);
    let below = job_directory(&job);
    drop(job);
    let metadata = below.join("chk-3/_metadata");
    let bytes = fs::read(&metadata).unwrap();
    fs::write(&metadata, &bytes[..bytes.len() / 2]).unwrap();
    let before = files_below(&below);

    let fs_: Arc<dyn FileSystem> = Arc::new(LocalFileSystem);
    let access = storage_on(&fs_, &base).open(JobId::from_name(crate::support::JOB)).unwrap();
    let mut store = CompletedCheckpointStore::recover(Arc::clone(&access), 1).unwrap();
    assert_eq!(store.checkpoints().map(|c| c.id()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(store.unreadable().len(), 1);
    assert_eq!((store.unreadable()[0].id, store.unreadable()[0].error.kind()), (3, ErrorKind::Corrupt));
    assert_eq!(store.next_checkpoint_id(), 4);
    let error = store.latest_to_restore().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.value("pointer").unwrap().ends_with("chk-3"), "{error}");
    assert!(error.value("newest readable").unwrap().ends_with("chk-2"), "{error}");

    assert_eq!(store.remove_orphans(), 0);
    assert_eq!(files_below(&below), before);

    // A new checkpoint subsumes the readable ones, and a claimed one; of these only what is theirs alone goes.
    let mut old = start(&base.join("old"), 1);
    old.checkpoints(1);
    let old_below = job_directory(&old);
    drop(old);
    let claimed = highwater_checkpoint::resolve_pointer(old_below.join("chk-1").to_str().unwrap()).unwrap();
    store.claim(&claimed, 4).unwrap();
    let old_shared = files_below(&old_below.join("shared"));
    assert!(!old_shared.is_empty());
    let location = access.begin(4).unwrap();
    let meta = write_stream(location.streams().as_ref(), StateScope::Exclusive, "meta of 4").unwrap();
    let metadata = metadata_of(4, meta, Vec::new(), Vec::new());
    let bytes = metadata.write(MetadataVersion::V3).unwrap();
    let completed = location.write_metadata(&bytes).unwrap();
    assert_eq!(store.add(CompletedCheckpoint::new(metadata, &completed).unwrap()).unwrap(), [1, 2, 1]);
    let after = files_below(&below);
    for kept in before.iter().filter(|file| file.contains("chk-3") || file.contains("shared")) {
        assert!(after.contains(kept), "{kept}");
    }
    assert!(!below.join("chk-1").exists() && !below.join("chk-2").exists());
    assert!(!old_below.join("chk-1").exists());
    assert_eq!(files_below(&old_below.join("shared")), old_shared, "the unreadable one may build on them");
    store.latest_to_restore().unwrap();
}

#[test]
fn metadata_in_the_wrong_directory_is_unreadable() {
    let (_guard, base) = scratch();
    let mut job = start(&base, 1);
    job.checkpoint(|_| {}).unwrap();
    let below = job_directory(&job);
    drop(job);
    fs::rename(below.join("chk-1"), below.join("chk-5")).unwrap();
    let fs_: Arc<dyn FileSystem> = Arc::new(LocalFileSystem);
    let access = storage_on(&fs_, &base).open(JobId::from_name(crate::support::JOB)).unwrap();
    let store = CompletedCheckpointStore::recover(access, 1).unwrap();
    assert_eq!(store.unreadable()[0].error.value("found"), Some("1"));
}

#[test]
fn late_handles_are_discarded_unless_a_kept_checkpoint_needs_them() {
    let (_guard, base) = scratch();
    let mut job = start(&base, 1);
    job.checkpoint(|_| {}).unwrap();
    let before = files_below(&job_directory(&job));
    let taken: Vec<StreamHandle> = job.store.latest().unwrap().metadata().stream_handles().cloned().collect();
    job.store.discard_handles(1, &taken);
    assert_eq!(files_below(&job_directory(&job)), before);

    let location = job.access.begin(2).unwrap();
    let late = job.write_state(location.as_ref()).unwrap();
    assert_ne!(files_below(&job_directory(&job)), before);
    job.store.discard_handles(2, late.stream_handles());
    assert_eq!(files_below(&job_directory(&job)), before);
    job.verify();
}

#[test]
fn hostile_handles_delete_nothing_of_others() {
    let (guard, base) = scratch();
    let mut job = start(&base.join("cp"), 1);
    let below = job_directory(&job);
    let uuid = "2b7dd3b6-0ee5-4bd5-9d8f-2f9bd23ae2ef";
    let places =
        [guard.path().join(uuid), below.join("taskowned").join(uuid), below.join(uuid), below.join("shared/x")];
    places.iter().for_each(|place| fs::write(place, b"mine").unwrap());
    let absolute = |place: &PathBuf| StreamHandle::File { path: format!("file:{}", place.display()), size: 4 };
    let mut hostile: Vec<StreamHandle> = places.iter().map(absolute).collect();
    hostile.push(absolute(&below.join(".lock")));
    hostile.push(StreamHandle::RelativeFile { path: format!("../{uuid}"), size: 4 });
    job.store.discard_handles(1, &hostile);
    assert!(places.iter().all(|place| place.exists()) && below.join(".lock").exists());

    // The same through a whole checkpoint that is subsumed.
    hostile.pop();
    let shared = hostile.into_iter().map(|handle| ("x".to_owned(), handle)).collect();
    let location = job.access.begin(1).unwrap();
    let meta = StreamHandle::Inline { name: "m".into(), bytes: b"m".as_slice().into() };
    let metadata = metadata_of(1, meta, shared, Vec::new());
    let bytes = metadata.write(MetadataVersion::V3).unwrap();
    let completed = location.write_metadata(&bytes).unwrap();
    job.store.add(CompletedCheckpoint::new(metadata, &completed).unwrap()).unwrap();
    job.checkpoint(|_| {}).unwrap();
    assert_eq!(job.kept(), [2]);
    assert!(places.iter().all(|place| place.exists()) && below.join(".lock").exists());
}

#[test]
fn a_checkpoint_elsewhere_is_never_deleted() {
    let (_guard, base) = scratch();
    let mut owner = start(&base.join("owner"), 1);
    owner.checkpoint(|_| {}).unwrap();
    let foreign = owner.store.latest().unwrap().as_ref().clone();
    let before = files_below(&job_directory(&owner));

    let mut job = start(&base.join("job"), 1);
    job.store.add(foreign).unwrap();
    job.checkpoint(|_| {}).unwrap();
    assert_eq!(job.kept(), [2]);
    assert_eq!(files_below(&job_directory(&owner)), before);
}

#[test]
fn a_failed_deletion_is_tried_again() {
    let fs = CrashFileSystem::new();
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let mut job = Job::start(&storage_on(&shared, &path("file:///cp")), 1).unwrap();
    job.checkpoint(|_| {}).unwrap();
    job.checkpoint(|_| fs.fail(1..=u64::MAX, std::io::ErrorKind::PermissionDenied)).unwrap();
    assert_eq!(job.kept(), [2]);
    fs.heal();
    assert!(fs.files().keys().any(|file| file.contains("chk-1")), "nothing could be deleted yet");
    job.checkpoint(|_| {}).unwrap();
    assert_eq!(fs.files().into_keys().collect::<BTreeSet<_>>(), job.needed_files());
    job.verify();
}

/// Two checkpoints go together, but the metadata of the second cannot be removed yet: it is still whole on disk, so the
/// shared file it has in common with the first has to stay.
#[test]
fn a_doomed_checkpoint_stays_whole_until_it_is_forgotten() {
    let fs = CrashFileSystem::new();
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let mut job = Job::start(&storage_on(&shared, &path("file:///cp")), 2).unwrap();
    job.checkpoints(2);
    // Operations: remove the metadata of 1, sync its directory, remove the metadata of 2.
    fs.fail(3..=3, std::io::ErrorKind::PermissionDenied);
    job.store.discard_all();
    fs.heal();

    let image: Arc<dyn FileSystem> = Arc::new(fs.image(Survival::Everything));
    let recovered = Job::start(&storage_on(&image, &path("file:///cp")), 2).unwrap();
    assert_eq!(recovered.kept(), [2]);
    recovered.verify();

    // With the next deletion all of it goes.
    job.store.discard_all();
    assert_eq!(fs.files().into_keys().collect::<BTreeSet<_>>(), job.needed_files());
}

/// Metadata cut short at any length, or with any single byte turned, is found and never deleted.
#[test]
fn damaged_metadata_is_unreadable_or_means_what_it_says() {
    let fs = CrashFileSystem::new();
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let storage = storage_on(&shared, &path("file:///cp"));
    let mut job = Job::start(&storage, 1).unwrap();
    job.checkpoints(1);
    let file = job.access.directory().unwrap().checkpoint(1).join("_metadata");
    let bytes = fs.files().remove(file.path()).unwrap();
    let recover_from = |damaged: &[u8]| {
        fs.remove_file(&file).unwrap();
        fs.create_new(&file).unwrap().write_all(damaged).unwrap();
        CompletedCheckpointStore::recover(Arc::clone(&job.access), 1).unwrap()
    };
    for length in 0..bytes.len() {
        let mut store = recover_from(&bytes[..length]);
        assert_eq!(store.unreadable().len(), 1, "cut to {length}");
        assert_eq!(store.remove_orphans(), 0, "cut to {length}");
        assert!(store.latest_to_restore().is_err());
    }
    for (position, flip) in (0..bytes.len()).flat_map(|p| [(p, 1), (p, 0x80), (p, 0xff)]) {
        let mut damaged = bytes.clone();
        damaged[position] ^= flip;
        let store = recover_from(&damaged);
        assert_eq!(store.unreadable().len() + store.checkpoints().count(), 1, "byte {position}");
    }
}

#[test]
fn everything_can_be_discarded_at_the_end() {
    let (_guard, base) = scratch();
    let mut job = start(&base, 2);
    job.checkpoints(3);
    job.store.discard_all();
    assert!(job.kept().is_empty());
    assert_eq!(names(job_directory(&job)), [".lock", "shared", "taskowned"]);
    assert!(names(job_directory(&job).join("shared")).is_empty());
    assert_eq!(job.store.next_checkpoint_id(), 4);
}

#[test]
fn handles_that_name_impossible_files_are_corrupt() {
    let meta = StreamHandle::RelativeFile { path: "../../etc/passwd".into(), size: 1 };
    let metadata: CheckpointMetadata = metadata_of(1, meta, Vec::new(), Vec::new());
    let location = CompletedLocation { pointer: "file:/cp/chk-1".into(), directory: Some(path("file:///cp/chk-1")) };
    assert_eq!(CompletedCheckpoint::new(metadata, &location).unwrap_err().kind(), ErrorKind::Corrupt);
}
