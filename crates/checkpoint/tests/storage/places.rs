//! Directory layout, and the places of checkpoints being taken.

use std::fs;
use std::sync::Arc;

use highwater_checkpoint::{
    CancelToken, CheckpointEntry, CheckpointStorage, FileSystem, FileSystemCheckpointStorage, JobId,
    JobManagerCheckpointStorage, LocalFileSystem, MetadataVersion, NOT_EXTERNALLY_ADDRESSABLE, SnapshotOpener,
    StateScope, StreamHandle,
};
use highwater_types::ErrorKind;

use crate::support::{Job, content, names, path, read_stream, scratch, storage_on, write_stream};

fn local() -> Arc<dyn FileSystem> {
    Arc::new(LocalFileSystem)
}

#[test]
fn the_layout_is_flinks() {
    let (guard, base) = scratch();
    let mut job = Job::start(&storage_on(&local(), &base.join("not/yet/there")), 1).unwrap();
    job.checkpoint(|_| {}).unwrap();

    let below = guard.path().join("not/yet/there");
    let id = names(&below).pop().unwrap();
    assert_eq!(id, JobId::from_name(crate::support::JOB).to_string());
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    assert_eq!(names(below.join(&id)), [".lock", "chk-1", "shared", "taskowned"]);
    assert!(names(below.join(&id).join("taskowned")).is_empty());
    assert_eq!(names(below.join(&id).join("shared")).len(), 1);
    let checkpoint = names(below.join(&id).join("chk-1"));
    assert_eq!(checkpoint.iter().filter(|name| *name == "_metadata").count(), 1);
    assert_eq!(checkpoint.len(), 3, "metadata, the exclusive file and the one of the header: {checkpoint:?}");
    job.verify();
}

#[test]
fn without_sub_directory_the_base_is_the_jobs() {
    let (guard, base) = scratch();
    let storage = FileSystemCheckpointStorage::new(base.clone()).unwrap().with_create_subdir(false);
    let job = storage.open(JobId::from_name("job")).unwrap();
    job.begin(1).unwrap();
    assert_eq!(names(guard.path()), [".lock", "chk-1", "shared", "taskowned"]);
}

#[test]
fn a_checkpoint_is_complete_when_its_metadata_is_in_place() {
    let (guard, base) = scratch();
    let storage = FileSystemCheckpointStorage::new(base).unwrap().with_create_subdir(false);
    let access = storage.open(JobId::from_name("job")).unwrap();
    let job = access.directory().unwrap();
    let location = access.begin(7).unwrap();
    assert_eq!(location.checkpoint_id(), Some(7));
    assert_eq!(job.checkpoints().unwrap(), [CheckpointEntry { id: 7, complete: false }]);

    let completed = location.write_metadata(b"bytes").unwrap();
    assert_eq!(completed.pointer, job.checkpoint(7).to_string());
    assert_eq!(completed.directory, Some(job.checkpoint(7)));
    assert_eq!(names(guard.path().join("chk-7")), ["_metadata"]);
    assert_eq!(fs::read(guard.path().join("chk-7/_metadata")).unwrap(), b"bytes");
    assert_eq!(job.checkpoints().unwrap(), [CheckpointEntry { id: 7, complete: true }]);

    // Once is enough.
    let error = location.write_metadata(b"other").unwrap_err();
    assert!(error.to_string().contains("already exists"), "{error}");
    assert_eq!(names(guard.path().join("chk-7")), ["_metadata"]);
    assert_eq!(fs::read(guard.path().join("chk-7/_metadata")).unwrap(), b"bytes");
}

#[test]
fn only_exact_names_are_checkpoints() {
    let (guard, base) = scratch();
    let storage = FileSystemCheckpointStorage::new(base).unwrap().with_create_subdir(false);
    let access = storage.open(JobId::from_name("job")).unwrap();
    for name in ["chk-10", "chk-9", "chk-", "chk-01", "chk--1", "chk-+1", "chk-x", "chk-99999999999999999999", "CHK-3"]
    {
        fs::create_dir(guard.path().join(name)).unwrap();
    }
    fs::write(guard.path().join("chk-11"), b"a file").unwrap();
    fs::create_dir(guard.path().join("chk-9/_metadata")).unwrap();
    let ids: Vec<_> = access.directory().unwrap().checkpoints().unwrap();
    assert_eq!(ids, [CheckpointEntry { id: 9, complete: false }, CheckpointEntry { id: 10, complete: false }]);
}

#[test]
fn an_id_on_disk_is_not_taken_twice() {
    let (_guard, base) = scratch();
    let access = FileSystemCheckpointStorage::new(base).unwrap().open(JobId::from_name("job")).unwrap();
    access.begin(1).unwrap();
    let error = access.begin(1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.value("directory").unwrap().ends_with("chk-1"), "{error}");
}

#[test]
fn a_discarded_checkpoint_leaves_nothing_and_writes_nothing() {
    let (_guard, base) = scratch();
    let job = Job::start(&storage_on(&local(), &base), 1).unwrap();
    let location = job.access.begin(1).unwrap();
    let metadata = job.write_state(location.as_ref()).unwrap();
    location.discard().unwrap();
    assert!(job.access.directory().unwrap().checkpoints().unwrap().is_empty());
    assert!(location.cancel_token().is_cancelled());
    let late = location.write_metadata(&metadata.write(MetadataVersion::V3).unwrap());
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(location.streams().create_stream(StateScope::Exclusive).err().unwrap().kind(), ErrorKind::Cancelled);
    location.discard().unwrap();
}

#[test]
fn another_process_writes_into_the_same_place() {
    let (_guard, base) = scratch();
    let storage = storage_on(&local(), &base);
    let job = JobId::from_name("job");
    let access = storage.open(job).unwrap();
    access.begin(3).unwrap();
    let streams = storage.streams(job, 3, CancelToken::new()).unwrap();
    let handle = write_stream(streams.as_ref(), StateScope::Exclusive, "from elsewhere").unwrap();
    let opener = access.directory().unwrap().opener(3);
    assert_eq!(read_stream(opener.as_ref(), &handle).unwrap(), content("from elsewhere"));
}

#[test]
fn memory_storage_without_directory_touches_no_disk() {
    let storage = JobManagerCheckpointStorage::new();
    assert!(!storage.survives_process());
    let mut job = Job::start(&storage, 1).unwrap();
    job.checkpoint(|_| {}).unwrap();
    job.checkpoint(|_| {}).unwrap();
    assert_eq!(job.kept(), [2]);
    job.verify();
    assert_eq!(job.store.latest().unwrap().pointer(), NOT_EXTERNALLY_ADDRESSABLE);
    assert!(job.access.directory().is_none());
}

#[test]
fn memory_storage_with_directory_keeps_all_bytes_in_the_metadata_file() {
    let (guard, base) = scratch();
    let storage = JobManagerCheckpointStorage::new().with_directory(base).unwrap().with_create_subdir(false);
    assert!(storage.survives_process());
    let mut job = Job::start(&storage, 1).unwrap();
    job.checkpoint(|_| {}).unwrap();
    job.checkpoint(|_| {}).unwrap();
    assert_eq!(names(guard.path()), [".lock", "chk-2"]);
    assert_eq!(names(guard.path().join("chk-2")), ["_metadata"]);
    let pointer = job.store.latest().unwrap().pointer().to_owned();
    drop(job);

    // A new process finds it, by itself and by its pointer.
    let job = Job::start(&storage, 1).unwrap();
    assert_eq!(job.kept(), [2]);
    job.verify();
    assert_eq!(storage.resolve(&pointer).unwrap().metadata().unwrap().checkpoint_id, 2);
}

#[test]
fn memory_storage_checks_its_limit() {
    assert_eq!(JobManagerCheckpointStorage::new().with_max_state_size(0).unwrap_err().kind(), ErrorKind::Configuration);
    let storage = JobManagerCheckpointStorage::new().with_max_state_size(299).unwrap();
    let streams = storage.open(JobId::from_name("job")).unwrap().begin(1).unwrap().streams();
    let error = write_stream(streams.as_ref(), StateScope::Exclusive, "300 bytes").unwrap_err();
    assert!(error.to_string().contains("maxSize=299"), "{error}");
}

#[test]
fn bad_directories_are_refused_before_anything_is_touched() {
    for bad in ["/data/x", "file:///", "file:///..", "file://var/x"] {
        assert_eq!(FileSystemCheckpointStorage::new(path(bad)).unwrap_err().kind(), ErrorKind::Configuration, "{bad}");
        let memory = JobManagerCheckpointStorage::new().with_directory(path(bad));
        assert_eq!(memory.unwrap_err().kind(), ErrorKind::Configuration, "{bad}");
    }
    // A scheme we cannot serve shows when the job starts.
    let storage = FileSystemCheckpointStorage::new(path("hdfs://nn/x")).unwrap();
    let error = storage.open(JobId::from_name("job")).unwrap_err();
    assert_eq!((error.kind(), error.value("scheme")), (ErrorKind::Unsupported, Some("hdfs")));
}

#[test]
fn a_moved_checkpoint_is_still_readable() {
    let (guard, base) = scratch();
    let storage = storage_on(&local(), &base).with_create_subdir(false);
    let access = storage.open(JobId::from_name("job")).unwrap();
    let location = access.begin(1).unwrap();
    let handle = write_stream(location.streams().as_ref(), StateScope::Exclusive, "exclusive").unwrap();
    assert!(matches!(handle, StreamHandle::RelativeFile { .. }));
    fs::rename(guard.path().join("chk-1"), guard.path().join("moved")).unwrap();
    let opener = SnapshotOpener::new(local(), base.join("moved"));
    assert_eq!(read_stream(&opener, &handle).unwrap(), content("exclusive"));
}

#[test]
fn a_savepoint_has_one_directory_for_everything() {
    let (guard, base) = scratch();
    let storage = storage_on(&local(), &base.join("cp"));
    let job = JobId::from_name("job");
    let location = storage.begin_savepoint(job, &base.join("sp")).unwrap();
    let streams = location.streams();
    let handles = [StateScope::Exclusive, StateScope::Shared].map(|scope| {
        let handle = write_stream(streams.as_ref(), scope, "saved").unwrap();
        assert_eq!(handle.size(), 300);
        handle
    });
    let completed = location.write_metadata(b"metadata").unwrap();
    assert!(!guard.path().join("cp").exists(), "a savepoint touches no checkpoint directory");

    let directory = names(guard.path().join("sp")).pop().unwrap();
    let random = directory.strip_prefix(&format!("savepoint-{}-", &job.to_string()[..6])).unwrap();
    assert!(random.len() == 12 && random.bytes().all(|b| b.is_ascii_hexdigit()), "{directory}");
    assert_eq!(names(guard.path().join("sp").join(&directory)).len(), 3);
    let snapshot = storage.resolve(&completed.pointer).unwrap();
    assert_eq!(snapshot.metadata_bytes, b"metadata");
    for handle in &handles {
        assert_eq!(read_stream(&snapshot.opener(), handle).unwrap(), content("saved"));
    }

    // The next one has a directory of its own; a discarded one leaves none.
    let second = storage.begin_savepoint(job, &base.join("sp")).unwrap();
    assert_eq!(names(guard.path().join("sp")).len(), 2);
    second.discard().unwrap();
    assert_eq!(names(guard.path().join("sp")), [directory]);
}

#[test]
fn a_savepoint_of_the_memory_storage_is_one_file() {
    let (guard, base) = scratch();
    let location = JobManagerCheckpointStorage::new().begin_savepoint(JobId::from_name("job"), &base).unwrap();
    let handle = write_stream(location.streams().as_ref(), StateScope::Exclusive, "saved").unwrap();
    assert!(matches!(handle, StreamHandle::Inline { .. }));
    location.write_metadata(b"metadata").unwrap();
    assert_eq!(names(guard.path().join(&names(guard.path())[0])), ["_metadata"]);
    let bad = JobManagerCheckpointStorage::new().begin_savepoint(JobId::from_name("job"), &path("file:///"));
    assert_eq!(bad.unwrap_err().kind(), ErrorKind::Configuration);
}
