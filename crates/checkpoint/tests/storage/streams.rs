//! Checkpoint streams: what stays inline, what becomes a file, and what is left after a failure.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use highwater_checkpoint::{
    CancelToken, CheckpointStream, CheckpointStreamFactory, CrashFileSystem, FileSystem, FsStreamFactory,
    LocalFileSystem, MemoryStreamFactory, SnapshotOpener, StateScope, StoragePath, StreamHandle, error_from_io,
};
use highwater_types::ErrorKind;
use proptest::prelude::*;

use crate::support::{names, path, read_stream, scratch};

fn factory(directory: &StoragePath) -> FsStreamFactory {
    FsStreamFactory::new(Arc::new(LocalFileSystem), directory.clone())
}

fn write_in_pieces(stream: &mut dyn CheckpointStream, total: usize, piece: usize) {
    let bytes: Vec<u8> = (0..total).map(|i| (i % 251) as u8).collect();
    bytes.chunks(piece).for_each(|chunk| stream.write_all(chunk).unwrap());
}

#[test]
fn up_to_the_threshold_inline_above_it_a_file() {
    let (_guard, directory) = scratch();
    let streams = factory(&directory);
    for (size, expect_file) in [(1, false), (20_479, false), (20_480, false), (20_481, true), (100_000, true)] {
        let mut stream = streams.create_stream(StateScope::Exclusive).unwrap();
        write_in_pieces(stream.as_mut(), size, 1000);
        assert_eq!(stream.position(), size as u64);
        let handle = stream.finish().unwrap().unwrap();
        assert_eq!(handle.size(), size as u64);
        assert_eq!(matches!(handle, StreamHandle::RelativeFile { .. }), expect_file, "{size}: {handle:?}");
        let opener = SnapshotOpener::new(Arc::new(LocalFileSystem), directory.clone());
        let expected: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        assert_eq!(read_stream(&opener, &handle).unwrap(), expected);
    }
    assert_eq!(names(directory.to_local_path().unwrap()).len(), 2);
}

#[test]
fn one_block_as_large_as_the_buffer_goes_straight_to_a_file() {
    let (_guard, directory) = scratch();
    let mut stream = factory(&directory).create_stream(StateScope::Exclusive).unwrap();
    stream.write_all(&[1; 20_480]).unwrap();
    assert!(matches!(stream.finish().unwrap(), Some(StreamHandle::RelativeFile { size: 20_480, .. })));

    // A larger write buffer makes room for it.
    let streams = factory(&directory).with_write_buffer(20_481);
    let mut stream = streams.create_stream(StateScope::Exclusive).unwrap();
    stream.write_all(&[1; 20_480]).unwrap();
    assert!(matches!(stream.finish().unwrap(), Some(StreamHandle::Inline { .. })));
}

#[test]
fn nothing_written_is_no_handle_and_no_file() {
    let (_guard, directory) = scratch();
    for threshold in [0, 20_480] {
        let mut stream = factory(&directory).with_threshold(threshold).create_stream(StateScope::Exclusive).unwrap();
        stream.write_all(b"").unwrap();
        stream.flush().unwrap();
        assert_eq!(stream.finish().unwrap(), None);
    }
    assert!(names(directory.to_local_path().unwrap()).is_empty());
}

#[test]
fn without_threshold_and_buffer_single_bytes_still_work() {
    let (_guard, directory) = scratch();
    let streams = factory(&directory).with_threshold(0).with_write_buffer(0);
    let mut stream = streams.create_stream(StateScope::Exclusive).unwrap();
    stream.write_all(b"x").unwrap();
    stream.write_all(b"yz").unwrap();
    let handle = stream.finish().unwrap().unwrap();
    assert!(matches!(handle, StreamHandle::RelativeFile { size: 3, .. }));
    let opener = SnapshotOpener::new(Arc::new(LocalFileSystem), directory);
    assert_eq!(read_stream(&opener, &handle).unwrap(), b"xyz");
}

#[test]
fn a_flush_creates_a_file_only_above_the_threshold() {
    let (_guard, directory) = scratch();
    let streams = factory(&directory).with_threshold(4).with_write_buffer(100);
    let mut stream = streams.create_stream(StateScope::Exclusive).unwrap();
    stream.write_all(b"1234").unwrap();
    stream.flush().unwrap();
    assert!(names(directory.to_local_path().unwrap()).is_empty());
    stream.write_all(b"5").unwrap();
    stream.flush().unwrap();
    assert_eq!(names(directory.to_local_path().unwrap()).len(), 1);
    assert_eq!(stream.position(), 5);
}

#[test]
fn exclusive_handles_are_relative_and_shared_ones_absolute() {
    let (_guard, base) = scratch();
    let (exclusive, shared) = (base.join("chk-1"), base.join("shared"));
    LocalFileSystem.create_dir_all(&exclusive).unwrap();
    LocalFileSystem.create_dir_all(&shared).unwrap();
    let streams = factory(&exclusive).with_shared_directory(shared.clone()).with_threshold(0);
    for (scope, directory) in [(StateScope::Exclusive, &exclusive), (StateScope::Shared, &shared)] {
        let mut stream = streams.create_stream(scope).unwrap();
        stream.write_all(b"bytes").unwrap();
        let name = match stream.finish().unwrap().unwrap() {
            StreamHandle::RelativeFile { path, size: 5 } if scope == StateScope::Exclusive => path,
            StreamHandle::File { path, size: 5 } if scope == StateScope::Shared => {
                path.strip_prefix(&format!("{shared}/")).unwrap().to_owned()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(name.len(), 36, "a UUID: {name}");
        assert_eq!(names(directory.to_local_path().unwrap()), [name]);
    }
}

#[test]
fn inline_handles_have_unique_names() {
    let (_guard, directory) = scratch();
    let streams = factory(&directory);
    let memory = MemoryStreamFactory::new(100, CancelToken::new());
    let mut seen = BTreeSet::new();
    for factory in [&streams as &dyn CheckpointStreamFactory, &memory] {
        for _ in 0..100 {
            let mut stream = factory.create_stream(StateScope::Exclusive).unwrap();
            stream.write_all(b"same").unwrap();
            match stream.finish().unwrap().unwrap() {
                StreamHandle::Inline { name, .. } => assert!(seen.insert(name)),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_dropped_stream_deletes_its_file() {
    let (_guard, directory) = scratch();
    let mut stream = factory(&directory).create_stream(StateScope::Exclusive).unwrap();
    stream.write_all(&[0; 50_000]).unwrap();
    assert_eq!(names(directory.to_local_path().unwrap()).len(), 1);
    drop(stream);
    assert!(names(directory.to_local_path().unwrap()).is_empty());
}

#[test]
fn a_cancelled_checkpoint_writes_no_more() {
    let (_guard, directory) = scratch();
    let cancel = CancelToken::new();
    let streams = factory(&directory).with_cancel_token(cancel.clone());
    let mut writing = streams.create_stream(StateScope::Exclusive).unwrap();
    writing.write_all(&[0; 50_000]).unwrap();
    let mut written = streams.create_stream(StateScope::Exclusive).unwrap();
    written.write_all(&[0; 50_000]).unwrap();

    cancel.cancel();
    let late = writing.write_all(b"late").unwrap_err();
    assert_eq!(error_from_io(late).kind(), ErrorKind::Cancelled);
    assert_eq!(written.finish().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(streams.create_stream(StateScope::Exclusive).err().unwrap().kind(), ErrorKind::Cancelled);
    drop(writing);
    assert!(names(directory.to_local_path().unwrap()).is_empty());
}

#[test]
fn a_stream_that_lost_bytes_never_gives_a_handle() {
    let fs = CrashFileSystem::new();
    let directory = path("file:///d");
    fs.create_dir_all(&directory).unwrap();
    let streams = FsStreamFactory::new(Arc::new(fs.clone()), directory).with_threshold(4);
    let mut stream = streams.create_stream(StateScope::Exclusive).unwrap();
    stream.write_all(&[1; 5000]).unwrap();

    fs.fail(1..=1, std::io::ErrorKind::StorageFull);
    let error = error_from_io(stream.write_all(&[2; 5000]).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.to_string().contains("no space is left"), "{error}");
    assert!(error.value("file").unwrap().starts_with("file:/d/"), "{error}");

    assert!(stream.write_all(b"more").is_err());
    let error = stream.finish().unwrap_err();
    assert!(error.to_string().contains("already been closed and discarded"), "{error}");
    assert!(fs.files().is_empty(), "the partial file is gone");
}

#[test]
fn a_failure_while_finishing_deletes_the_file() {
    // Operations of finish: write the rest, sync.
    for operation in [1, 2] {
        let fs = CrashFileSystem::new();
        let directory = path("file:///d");
        fs.create_dir_all(&directory).unwrap();
        let streams = FsStreamFactory::new(Arc::new(fs.clone()), directory).with_threshold(4);
        let mut stream = streams.create_stream(StateScope::Exclusive).unwrap();
        stream.write_all(&[1; 5000]).unwrap();
        stream.write_all(b"rest").unwrap();
        fs.fail(operation..=operation, std::io::ErrorKind::StorageFull);
        let error = stream.finish().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage);
        assert!(error.value("file").unwrap().starts_with("file:/d/"), "{error}");
        assert!(fs.files().is_empty());
    }
}

#[test]
fn opening_is_tried_ten_times() {
    for (failures, succeeds) in [(9, true), (10, false)] {
        let fs = CrashFileSystem::new();
        let directory = path("file:///d");
        fs.create_dir_all(&directory).unwrap();
        let streams = FsStreamFactory::new(Arc::new(fs.clone()), directory).with_threshold(0);
        let mut stream = streams.create_stream(StateScope::Exclusive).unwrap();
        fs.fail(1..=failures, std::io::ErrorKind::ReadOnlyFilesystem);
        match stream.write_all(&[1; 5000]) {
            Ok(()) => assert!(succeeds),
            Err(error) => {
                let error = error_from_io(error);
                assert!(!succeeds, "{error}");
                assert!(error.to_string().contains("could not open an output stream"), "{error}");
                assert!(error.to_string().contains("read-only"), "{error}");
                assert_eq!(error.value("directory"), Some("file:/d"));
            }
        }
    }
}

#[test]
fn state_files_are_synced_before_their_handle_exists() {
    let fs = CrashFileSystem::new();
    let directory = path("file:///d");
    fs.create_dir_all(&directory).unwrap();
    let streams = FsStreamFactory::new(Arc::new(fs.clone()), directory.clone()).with_threshold(4);
    let mut stream = streams.create_stream(StateScope::Exclusive).unwrap();
    stream.write_all(&[9; 10_000]).unwrap();
    stream.finish().unwrap();
    fs.sync_dir(&directory).unwrap();
    fs.sync_dir(&path("file:///")).unwrap();
    let files = fs.image(highwater_checkpoint::Survival::SyncedOnly).files();
    assert_eq!(files.into_values().collect::<Vec<_>>(), [vec![9; 10_000]]);
}

#[test]
fn the_memory_limit_is_checked_by_the_write_that_crosses_it() {
    let streams = MemoryStreamFactory::new(10, CancelToken::new());
    let mut stream = streams.create_stream(StateScope::Exclusive).unwrap();
    stream.write_all(&[0; 10]).unwrap();
    assert_eq!(stream.finish().unwrap().unwrap().size(), 10);

    let mut stream = streams.create_stream(StateScope::Exclusive).unwrap();
    stream.write_all(&[0; 6]).unwrap();
    let error = error_from_io(stream.write_all(&[0; 5]).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Configuration);
    for words in ["larger than the maximum permitted", "Size=11, maxSize=10", "File System State backend"] {
        assert!(error.to_string().contains(words), "{error}");
    }
    // Smaller writes do not bring it back to life.
    assert!(stream.write_all(&[0; 1]).is_err());
    assert!(stream.finish().is_err());
}

#[test]
fn an_empty_memory_stream_has_no_handle() {
    let streams = MemoryStreamFactory::new(10, CancelToken::new());
    assert_eq!(streams.create_stream(StateScope::Shared).unwrap().finish().unwrap(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Against a plain vector: any sequence of writes and flushes gives back the same bytes, inline or not.
    #[test]
    fn streams_keep_every_byte(
        threshold in 0_usize..40,
        buffer in 0_usize..60,
        pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..50), any::<bool>()), 0..12),
    ) {
        let fs = CrashFileSystem::new();
        let directory = path("file:///d");
        fs.create_dir_all(&directory).unwrap();
        let streams = FsStreamFactory::new(Arc::new(fs.clone()), directory.clone())
            .with_threshold(threshold)
            .with_write_buffer(buffer);
        let mut stream = streams.create_stream(StateScope::Exclusive).unwrap();
        let mut model = Vec::new();
        for (piece, flush) in &pieces {
            stream.write_all(piece).unwrap();
            model.extend_from_slice(piece);
            if *flush {
                stream.flush().unwrap();
            }
            prop_assert_eq!(stream.position(), model.len() as u64);
        }
        match stream.finish().unwrap() {
            None => prop_assert!(model.is_empty()),
            Some(handle) => {
                let opener = SnapshotOpener::new(Arc::new(fs.clone()), directory);
                prop_assert_eq!(read_stream(&opener, &handle).unwrap(), model.clone());
                let inline = matches!(handle, StreamHandle::Inline { .. });
                prop_assert!(!inline || model.len() <= threshold);
                prop_assert_eq!(fs.files().len(), usize::from(!inline));
            }
        }
    }
}
