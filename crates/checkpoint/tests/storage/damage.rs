//! Missing, short, lengthened and hostile state files: a clear error, never other bytes.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use highwater_checkpoint::{LocalFileSystem, SnapshotOpener, StateOpener, StateScope, StreamHandle};
use highwater_types::ErrorKind;

use crate::support::{content, read_stream, scratch};

fn relative(path: &str, size: u64) -> StreamHandle {
    StreamHandle::RelativeFile { path: path.into(), size }
}

#[test]
fn a_file_must_have_the_size_its_handle_names() {
    let (guard, directory) = scratch();
    let opener = SnapshotOpener::new(Arc::new(LocalFileSystem), directory.clone());
    fs::write(guard.path().join("state"), b"12345").unwrap();
    fs::create_dir(guard.path().join("directory")).unwrap();

    assert_eq!(read_stream(&opener, &relative("state", 5)).unwrap(), b"12345");
    let absolute = StreamHandle::File { path: directory.join("state").to_string(), size: 5 };
    assert_eq!(read_stream(&opener, &absolute).unwrap(), b"12345");

    for wrong in [4, 6, u64::MAX] {
        let error = opener.open(&relative("state", wrong)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(error.value("file"), Some(directory.join("state").to_string().as_str()));
        assert_eq!(error.value("expected"), Some(wrong.to_string().as_str()));
        assert_eq!(error.value("found"), Some("5"));
    }
    for missing in ["gone", "directory"] {
        let error = opener.open(&relative(missing, 5)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("missing"), "{error}");
        assert!(error.value("file").unwrap().ends_with(missing), "{error}");
    }
}

#[test]
fn a_relative_handle_stays_in_its_directory() {
    let (guard, base) = scratch();
    fs::write(guard.path().join("secret"), b"12345").unwrap();
    let opener = SnapshotOpener::new(Arc::new(LocalFileSystem), base.join("chk-1"));
    for hostile in ["../secret", "a/../../secret", "..\\secret", "..", "", "."] {
        let error = opener.open(&relative(hostile, 5)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{hostile}");
        assert!(error.to_string().contains("leads out"), "{hostile}: {error}");
    }
}

#[test]
fn impossible_paths_and_foreign_file_systems_are_named() {
    let (_guard, base) = scratch();
    let opener = SnapshotOpener::new(Arc::new(LocalFileSystem), base);
    let open = |path: &str| opener.open(&StreamHandle::File { path: path.into(), size: 1 }).err().unwrap();
    assert_eq!(open("").kind(), ErrorKind::Corrupt);
    assert_eq!(open("foo:bar").value("file"), Some("foo:bar"));
    assert_eq!(open("s3://bucket/x").kind(), ErrorKind::Unsupported);
    assert_eq!(open("s3://bucket/x").value("scheme"), Some("s3"));
}

#[test]
fn a_snapshot_in_memory_has_no_files() {
    let error = SnapshotOpener::in_memory().open(&relative("state", 5)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.value("file"), Some("state"));
}

#[test]
fn a_segment_reads_like_a_file_of_its_own() {
    let (guard, directory) = scratch();
    let bytes = content("merged file");
    fs::write(guard.path().join("merged"), &bytes).unwrap();
    let opener = SnapshotOpener::new(Arc::new(LocalFileSystem), directory.clone());
    let segment = |start, size| StreamHandle::Segment {
        path: directory.join("merged").to_string(),
        start,
        size,
        scope: StateScope::Shared,
        logical_file_id: "a".into(),
    };
    assert_eq!(read_stream(&opener, &segment(10, 20)).unwrap(), bytes[10..30]);
    assert_eq!(read_stream(&opener, &segment(0, 300)).unwrap(), bytes);
    assert_eq!(read_stream(&opener, &segment(300, 0)).unwrap(), b"");
    assert_eq!(read_stream(&opener, &StreamHandle::EmptySegment).unwrap(), b"");

    let mut reader = opener.open(&segment(10, 20)).unwrap();
    let mut two = [0; 2];
    assert_eq!(reader.seek(SeekFrom::End(-2)).unwrap(), 18);
    reader.read_exact(&mut two).unwrap();
    assert_eq!(two, bytes[28..30]);
    assert_eq!(reader.read(&mut two).unwrap(), 0);
    assert_eq!(reader.seek(SeekFrom::Current(-20)).unwrap(), 0);
    reader.read_exact(&mut two).unwrap();
    assert_eq!(two, bytes[10..12]);
    assert!(reader.seek(SeekFrom::Current(-3)).is_err());
    reader.seek(SeekFrom::Start(1000)).unwrap();
    assert_eq!(reader.read(&mut two).unwrap(), 0);

    for (start, size) in [(290, 11), (301, 0), (u64::MAX, 1), (0, u64::MAX)] {
        let error = opener.open(&segment(start, size)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{start}+{size}: {error}");
    }
}
