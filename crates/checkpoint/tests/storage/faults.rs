//! A directory that is read-only or full: the checkpoint fails with a clear error, the ones before stay whole.

use std::io;
use std::sync::Arc;

use highwater_checkpoint::{CrashFileSystem, FileSystem, LocalFileSystem, io_error_kind};
use highwater_types::ErrorKind;

use crate::support::{Job, path, scratch, storage_on};

/// Every single operation of a checkpoint fails once, for each reason.
#[test]
fn any_failing_operation_fails_one_checkpoint_and_loses_nothing() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::PermissionDenied] {
        for operation in 1.. {
            let fs = CrashFileSystem::new();
            let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
            let mut job = Job::start(&storage_on(&shared, &path("file:///cp")), 1).unwrap();
            job.checkpoint(|_| {}).unwrap();

            let before = fs.operations();
            fs.fail(operation..=operation, kind);
            let outcome = job.checkpoint(|_| {});
            let reached = fs.operations() - before >= operation;
            fs.heal();
            match outcome {
                // Opening a file is tried again, deleting comes later.
                Ok(id) => assert_eq!(job.kept(), [id]),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
                    assert_eq!(io_error_kind(&error), Some(kind), "{error}");
                    assert_eq!(job.kept(), [1]);
                    let on_disk = job.access.directory().unwrap().checkpoints().unwrap();
                    assert!(on_disk.iter().all(|entry| entry.complete == (entry.id == 1)), "{on_disk:?}");
                }
            }
            job.verify();
            drop(job);

            // The next process finds everything and cleans up after the failure.
            let mut job = Job::start(&storage_on(&shared, &path("file:///cp")), 1).unwrap();
            job.store.remove_orphans();
            job.verify();
            job.checkpoint(|_| {}).unwrap();
            job.verify();
            assert_eq!(fs.files().into_keys().collect::<std::collections::BTreeSet<_>>(), job.needed_files());
            if !reached {
                assert!(operation > 20, "a checkpoint has more operations than {operation}");
                break;
            }
        }
    }
}

#[test]
fn a_full_disk_fails_every_checkpoint_until_there_is_space() {
    let fs = CrashFileSystem::new();
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let mut job = Job::start(&storage_on(&shared, &path("file:///cp")), 1).unwrap();
    job.checkpoint(|_| {}).unwrap();
    fs.fail(1..=u64::MAX, io::ErrorKind::StorageFull);
    for _ in 0..3 {
        let error = job.checkpoint(|_| {}).unwrap_err();
        assert!(error.to_string().contains("no space is left, free some"), "{error}");
    }
    fs.heal();
    job.checkpoint(|_| {}).unwrap();
    assert_eq!(job.kept(), [2]);
    job.verify();
}

#[test]
fn an_aborted_checkpoint_is_discarded_on_a_full_disk_too() {
    let fs = CrashFileSystem::new();
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let job = Job::start(&storage_on(&shared, &path("file:///cp")), 1).unwrap();
    let location = job.access.begin(1).unwrap();
    job.write_state(location.as_ref()).unwrap();
    // A full disk refuses writing, not removing.
    fs.fail(1..=2, io::ErrorKind::StorageFull);
    assert!(location.write_metadata(b"metadata").is_err());
    fs.heal();
    location.discard().unwrap();
    assert!(fs.files().keys().all(|file| !file.contains("chk-1")), "{:?}", fs.files().keys());
}

/// Where permissions bind: not for the superuser, who may write anywhere.
#[cfg(unix)]
#[test]
fn a_directory_without_write_permission_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let (guard, base) = scratch();
    let locked = guard.path().join("locked");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(locked.join("probe"), b"").is_ok() {
        say("SKIPPED: this user may write into a read-only directory (superuser?)");
        return;
    }
    let fs: Arc<dyn FileSystem> = Arc::new(LocalFileSystem);
    let error = Job::start(&storage_on(&fs, &base.join("locked/cp")), 1).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.to_string().contains("permission denied, check owner and mode"), "{error}");
    assert!(error.value("file").unwrap().contains("/locked/cp"), "{error}");
}

#[test]
fn a_base_below_a_file_is_named() {
    let (guard, base) = scratch();
    std::fs::write(guard.path().join("file"), b"not a directory").unwrap();
    let fs: Arc<dyn FileSystem> = Arc::new(LocalFileSystem);
    let error = Job::start(&storage_on(&fs, &base.join("file/cp")), 1).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.value("file").unwrap().contains("/file/cp"), "{error}");
}

/// Loud: the test harness keeps what `eprintln!` says in a passing test to itself, but not this.
fn say(what: &str) {
    use std::io::Write as _;
    std::io::stderr().write_all(format!("{what}\n").as_bytes()).unwrap();
}
