//! From a pointer to a snapshot, and every way this fails.

use std::fs;
use std::sync::Arc;

use highwater_checkpoint::{
    CheckpointStorage, FileSystem, JobManagerCheckpointStorage, LocalFileSystem, NOT_EXTERNALLY_ADDRESSABLE,
    resolve_pointer,
};
use highwater_types::ErrorKind;

use crate::support::{Job, content, incremental, read_stream, scratch, storage_on};

#[test]
fn a_pointer_names_the_directory_or_the_metadata_file() {
    let (_guard, base) = scratch();
    let fs: Arc<dyn FileSystem> = Arc::new(LocalFileSystem);
    let storage = storage_on(&fs, &base);
    let mut job = Job::start(&storage, 1).unwrap();
    job.checkpoint(|_| {}).unwrap();
    let pointer = job.store.latest().unwrap().pointer().to_owned();
    let local = job.access.directory().unwrap().checkpoint(1).to_local_path().unwrap();
    let local = local.to_str().unwrap();

    let metadata_file = format!("{pointer}/_metadata");
    for text in [&pointer, &metadata_file, local, &format!("{local}/_metadata"), &format!("file://{local}/")] {
        for snapshot in [storage.resolve(text).unwrap(), resolve_pointer(text).unwrap()] {
            assert_eq!(snapshot.pointer(), pointer, "{text}");
            let metadata = snapshot.metadata().unwrap();
            for (name, stream) in &incremental(&metadata).private {
                assert_eq!(read_stream(&snapshot.opener(), stream).unwrap(), content(name));
            }
        }
    }

    // The metadata file may have any name; its handles are resolved beside it all the same.
    fs::copy(format!("{local}/_metadata"), format!("{local}/backup")).unwrap();
    let snapshot = resolve_pointer(&format!("{pointer}/backup")).unwrap();
    assert_eq!(snapshot.pointer(), format!("{pointer}/backup"));
    let metadata = snapshot.metadata().unwrap();
    let (name, stream) = &incremental(&metadata).private[0];
    assert_eq!(read_stream(&snapshot.opener(), stream).unwrap(), content(name));
}

#[test]
fn relative_pointers_are_taken_from_the_current_directory() {
    let directory = tempfile::tempdir_in(".").unwrap();
    fs::write(directory.path().join("_metadata"), b"any").unwrap();
    let name = directory.path().file_name().unwrap().to_str().unwrap();
    let snapshot = resolve_pointer(name).unwrap();
    assert!(snapshot.pointer().starts_with("file:/"), "{}", snapshot.pointer());
    assert!(snapshot.pointer().ends_with(name));
    assert_eq!(snapshot.metadata_bytes, b"any");
}

#[test]
fn every_failure_names_the_pointer_and_the_cure() {
    let (guard, base) = scratch();
    fs::create_dir(guard.path().join("chk-1")).unwrap();
    fs::create_dir_all(guard.path().join("chk-2/_metadata")).unwrap();
    let missing = base.join("chk-3").to_string();
    let rows: &[(&str, ErrorKind, &[&str])] = &[
        ("", ErrorKind::Configuration, &["empty checkpoint pointer"]),
        ("foo:bar", ErrorKind::Configuration, &["not a valid file URI", "another state backend", "'foo:bar'"]),
        (NOT_EXTERNALLY_ADDRESSABLE, ErrorKind::Configuration, &["lived in the memory", "checkpoint directory"]),
        ("hdfs://nn/cp", ErrorKind::Unsupported, &["Cannot access file system", "hdfs://nn/cp"]),
        ("file://host/cp", ErrorKind::Configuration, &["Cannot access file system", "Did you forget a slash?"]),
        (&missing, ErrorKind::Configuration, &["nothing exists", &missing, "scheme: file"]),
        (&base.join("chk-1").to_string(), ErrorKind::Configuration, &["'_metadata' is missing", "name the file"]),
        (&base.join("chk-2").to_string(), ErrorKind::Configuration, &["'_metadata' is missing"]),
    ];
    for (pointer, kind, words) in rows {
        let error = resolve_pointer(pointer).unwrap_err();
        assert_eq!(error.kind(), *kind, "{pointer}: {error}");
        for word in *words {
            assert!(error.to_string().contains(word), "{pointer}: {error}");
        }
        assert_eq!(JobManagerCheckpointStorage::new().resolve(pointer).unwrap_err().to_string(), error.to_string());
    }
}

#[test]
fn foreign_metadata_is_an_error_with_its_file() {
    let (guard, base) = scratch();
    fs::write(guard.path().join("_metadata"), b"neither ours nor Flink's").unwrap();
    let error = resolve_pointer(&base.to_string()).unwrap().metadata().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.value("file"), Some(base.join("_metadata").to_string().as_str()));
}
