//! Incremental checkpoints: what is uploaded, what is shared, what comes back, and what damage does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use highwater_checkpoint::{CancelToken, IncrementalHandle, KeyedStateHandle, StreamHandle};
use highwater_rocksdb::rust_rocksdb::Options;
use highwater_rocksdb::{RocksDbOptionsFactory, RocksDbStoreFactory};
use highwater_types::ErrorKind;

use crate::world::World;

fn incremental(handle: &KeyedStateHandle) -> &IncrementalHandle {
    match handle {
        KeyedStateHandle::Incremental(handle) => handle,
        other => panic!("{other:?} is not incremental"),
    }
}

/// The files of checkpoints by path.
fn shared_files(handles: &[KeyedStateHandle]) -> BTreeSet<String> {
    let path = |stream: &StreamHandle| match stream {
        StreamHandle::File { path, .. } => path.clone(),
        other => panic!("{other:?} is no file"),
    };
    handles.iter().flat_map(|handle| &incremental(handle).shared).map(|(_, stream)| path(stream)).collect()
}

fn count_files(directory: &Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

#[test]
fn state_comes_back_whatever_the_parallelism_again_and_again() {
    for (max_parallelism, seed) in [(128, 1), (300, 3), (4, 4)] {
        let mut world = World::new(max_parallelism, seed);
        world.start(2, &[], true);
        let mut parallelism = 2;
        for round in 0..14 {
            world.change(400, 300);
            let handles = world.checkpoint();
            // What comes after the checkpoint is not in it.
            let (expected, random) = (world.expected.clone(), world.random);
            world.change(50, 300);
            (world.expected, world.random) = (expected, random);
            if round % 2 == 1 {
                parallelism = 1 + world.random(4.min(u64::from(max_parallelism))) as u32;
            }
            let own = world.random(2) == 0;
            world.start(parallelism, &handles, own);
            world.compare();
        }
    }
}

#[test]
fn only_new_files_are_uploaded_and_only_completed_ones_shared() {
    let mut world = World::new(128, 7);
    world.start(1, &[], true);
    world.change(2_000, 1_000);
    let first = world.checkpoint();
    world.change(10, 1_000);
    let second = world.checkpoint_unconfirmed();
    let (first_files, second_files) = (shared_files(&first), shared_files(&second));
    assert!(second_files.is_superset(&first_files) && second_files.len() > first_files.len());
    let (first, second) = (incremental(&first[0]), incremental(&second[0]));
    assert_eq!(first.backend_id, second.backend_id);
    assert!(second.checkpointed_size < first.checkpointed_size);
    assert!(second.checkpointed_size < second.size() && first.checkpointed_size <= first.size());

    // The second one was not confirmed: what it uploaded is uploaded again.
    let third = world.checkpoint();
    let third_files = shared_files(&third);
    let again = &third_files - &first_files;
    assert!(again.is_disjoint(&second_files) && !again.is_empty(), "{again:?}");
}

#[test]
fn a_restored_job_shares_with_its_own_checkpoints_only_and_not_after_a_rescale() {
    let mut world = World::new(128, 11);
    world.start(2, &[], true);
    world.change(1_000, 500);
    let first = world.checkpoint();
    let files = shared_files(&first);

    world.start(2, &first, true);
    let own = world.checkpoint_unconfirmed();
    assert!(shared_files(&own).is_superset(&files));
    assert_eq!(incremental(&own[0]).backend_id, incremental(&first[0]).backend_id);

    world.start(2, &first, false);
    let foreign = world.checkpoint_unconfirmed();
    assert!(shared_files(&foreign).is_disjoint(&files), "a snapshot of somebody else may vanish");
    assert_ne!(incremental(&foreign[0]).backend_id, incremental(&first[0]).backend_id);

    world.start(1, &first, true);
    let merged = world.checkpoint();
    assert!(shared_files(&merged).is_disjoint(&files), "file names of two databases meet");
    world.start(3, &merged, true);
    world.compare();
}

/// An option that lets RocksDB write on in the files it is opened with.
#[derive(Debug)]
struct ReuseManifest;

impl RocksDbOptionsFactory for ReuseManifest {
    fn name(&self) -> &str {
        "reuse-manifest"
    }

    fn database_options(&self, options: &mut Options) {
        options.set_reuse_manifest_on_open(true);
    }
}

/// Databases and checkpoints share tables by hard link: whatever happens in one must not be seen in the other.
#[test]
fn a_restored_database_changes_no_file_of_its_checkpoint() {
    let mut world = World::new(128, 31);
    let mut settings = world.factory.settings().clone();
    settings.options_factory = Some(Arc::new(ReuseManifest));
    world.factory = RocksDbStoreFactory::new(settings).unwrap();
    world.start(2, &[], true);
    world.change(2_000, 500);
    let handles = world.checkpoint();
    let contents = |world: &World| -> BTreeMap<_, _> {
        let files = std::fs::read_dir(world.path("shared")).unwrap().map(|entry| entry.unwrap().path());
        files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    };
    let before = contents(&world);
    for parallelism in [2, 1, 3] {
        world.start(parallelism, &handles, true);
        world.compare();
        let (expected, random) = (world.expected.clone(), world.random);
        world.change(1_000, 500);
        world.checkpoint_unconfirmed();
        world.change(1_000, 500);
        (world.expected, world.random) = (expected, random);
        world.subtasks.clear();
        let after = contents(&world);
        assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)));
    }
}

#[test]
fn nothing_is_left_of_an_upload_that_fails() {
    let mut world = World::new(128, 13);
    world.start(1, &[], true);
    world.change(1_000, 500);
    world.checkpoint();
    world.change(1_000, 500);
    let before = count_files(&world.path("shared"));
    let snapshot = world.subtasks[0].backend.checkpoint(2).unwrap();
    // The upload of the second file meets a directory that is gone.
    let cancel = CancelToken::new();
    let streams = world.streams().with_cancel_token(cancel.clone());
    cancel.cancel();
    assert!(snapshot.write(&streams).is_err());
    assert_eq!(count_files(&world.path("shared")), before);
    world.compare();
    let handles = world.checkpoint();
    world.start(1, &handles, true);
    world.compare();
}

#[test]
fn the_store_may_go_while_its_snapshot_is_written() {
    let mut world = World::new(128, 17);
    world.start(1, &[], true);
    world.change(1_000, 500);
    world.checkpoints += 1;
    let snapshot = world.subtasks[0].backend.checkpoint(1).unwrap();
    world.subtasks.clear();
    let handle = snapshot.write(&world.streams()).unwrap();
    world.start(1, handle.as_slice(), true);
    world.compare();
}

#[test]
fn local_files_are_removed_with_the_stores() {
    let mut world = World::new(128, 19);
    world.start(3, &[], true);
    world.change(500, 100);
    let handles = world.checkpoint();
    world.start(2, &handles, true);
    world.subtasks.clear();
    assert_eq!(count_files(&world.path("local")), 0);
}

/// Every damage to every file of a checkpoint is found before a single record is processed, and nothing is left behind.
#[test]
fn damaged_files_are_named() {
    let mut world = World::new(128, 23);
    world.start(2, &[], true);
    world.change(3_000, 800);
    let handles = world.checkpoint();
    world.subtasks.clear();
    let files = |handles: &[KeyedStateHandle]| -> Vec<(String, String)> {
        let all = handles.iter().map(incremental).flat_map(|handle| handle.shared.iter().chain(&handle.private));
        all.filter_map(|(name, stream)| match stream {
            StreamHandle::File { path, .. } => Some((name.clone(), path.trim_start_matches("file:").to_owned())),
            _ => None,
        })
        .collect()
    };
    let all = files(&handles);
    assert!(all.iter().any(|(name, _)| name.ends_with(".sst")) && all.iter().any(|(n, _)| n.starts_with("MANIFEST")));
    for (name, path) in &all {
        let whole = std::fs::read(path).unwrap();
        // A hard link to what a database has open must not change below it: damage goes into a new file.
        let replace = |bytes: &[u8]| {
            std::fs::remove_file(path).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        for parallelism in [2, 3] {
            let check = |what: &str| {
                // RocksDB does not need its file of options to open a database.
                if name.starts_with("OPTIONS") && what == "flipped" {
                    return;
                }
                let outcome = world.try_start(parallelism, &handles, true).map(drop);
                let Err(error) = outcome else { panic!("{name} {what} goes unnoticed") };
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{name} {what}: {error}");
                assert_eq!(count_files(&world.path("local")), 0, "{name} {what}");
            };
            replace(&whole[..whole.len() / 2]);
            check("cut");
            std::fs::remove_file(path).unwrap();
            check("missing");
            let lengths = if name.starts_with("MANIFEST") { record_lengths(&whole) } else { Vec::new() };
            for at in [0, whole.len() / 2, whole.len() - 2].into_iter().chain(lengths) {
                let mut flipped = whole.clone();
                flipped[at] ^= 0x10;
                std::fs::write(path, &flipped).unwrap();
                check("flipped");
                std::fs::remove_file(path).unwrap();
            }
            std::fs::write(path, &whole).unwrap();
        }
    }
    world.start(3, &handles, true);
    world.compare();
}

/// The properties of a table have no checksum that RocksDB looks at. Whatever else is flipped is found.
#[test]
fn a_flipped_bit_in_a_table_is_found_or_changes_nothing() {
    let mut world = World::new(128, 37);
    world.start(1, &[], true);
    world.change(60, 20);
    let handles = world.checkpoint();
    world.subtasks.clear();
    let (mut found, mut harmless) = (0, 0);
    for path in shared_files(&handles) {
        let path = path.trim_start_matches("file:");
        let whole = std::fs::read(path).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 50) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            std::fs::remove_file(path).unwrap();
            std::fs::write(path, &flipped).unwrap();
            match world.try_start(1, &handles, true) {
                Ok(subtasks) => {
                    world.subtasks = subtasks;
                    world.compare();
                    world.subtasks.clear();
                    harmless += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error}");
                    found += 1;
                }
            }
        }
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, &whole).unwrap();
    }
    assert!(found > harmless, "{found} found, {harmless} harmless");
}

/// Where the high bytes of the lengths of a manifest's records are. A record that seems to be longer than the file is
/// taken for one that was cut short by a crash: once, RocksDB stopped there without a word, and the tables that came
/// later were gone.
fn record_lengths(manifest: &[u8]) -> Vec<usize> {
    const HEADER: usize = 7;
    let (mut found, mut at) = (Vec::new(), 0);
    while at + HEADER <= manifest.len() {
        found.push(at + 5);
        at += HEADER + usize::from(u16::from_le_bytes([manifest[at + 4], manifest[at + 5]]));
    }
    assert_eq!(at, manifest.len(), "a manifest of one block");
    found
}

#[test]
fn tables_that_changed_places_are_noticed() {
    let mut world = World::new(128, 29);
    world.start(2, &[], true);
    world.change(3_000, 800);
    let mut handles = world.checkpoint();
    world.subtasks.clear();
    let KeyedStateHandle::Incremental(handle) = &mut handles[0] else { panic!("not incremental") };
    let (first, second) = (handle.shared[0].1.clone(), handle.shared[1].1.clone());
    handle.shared[0].1 = second;
    handle.shared[1].1 = first;
    for parallelism in [2, 3] {
        let error = world.try_start(parallelism, &handles, true).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

/// Tables of Flink 1.13 and before have no version in their last bytes. They were called damaged, and "use another
/// snapshot" is no help where all of them are like that.
#[test]
fn tables_in_a_format_of_long_ago_are_unsupported_and_not_damaged() {
    let mut world = World::new(128, 43);
    world.start(2, &[], true);
    world.change(3_000, 800);
    let handles = world.checkpoint();
    world.subtasks.clear();
    let files = shared_files(&handles);
    let local = files.iter().map(|path| path.trim_start_matches("file:"));
    let path = local.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    let whole = std::fs::read(path).unwrap();
    // Handles name sizes, which come first.
    let ending_with = |tail: &[u8]| [&whole[..whole.len() - tail.len()], tail].concat();
    let of_flink = include_bytes!("../../../../tests/fixtures/rocksdb/flink-1.13.6.sst");
    for (bytes, found) in [
        (ending_with(of_flink), "format version 0"),
        (ending_with(&0x8242_2296_63bf_9564_u64.to_le_bytes()), "a plain table"),
    ] {
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, bytes).unwrap();
        for parallelism in [2, 3, 1] {
            let error = world.try_start(parallelism, &handles, true).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{found}: {error}");
            assert_eq!(error.value("found"), Some(found), "{error}");
            assert!(error.value("file").unwrap().ends_with(path) && error.to_string().contains("savepoint"), "{error}");
        }
    }
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, &whole).unwrap();
    world.start(3, &handles, true);
    world.compare();
}

/// Blob files are refused by name when they are switched on; nor may a database that has some be taken over.
#[test]
fn a_snapshot_with_blob_files_is_refused() {
    let mut world = World::new(128, 47);
    world.start(1, &[], true);
    world.change(100, 50);
    let mut handles = world.checkpoint();
    world.subtasks.clear();
    let KeyedStateHandle::Incremental(handle) = &mut handles[0] else { panic!("not incremental") };
    let some_file = handle.shared[0].1.clone();
    handle.private.push(("000099.blob".to_owned(), some_file));
    let error = world.try_start(1, &handles, true).map(drop).unwrap_err();
    assert_eq!((error.kind(), error.value("found")), (ErrorKind::Unsupported, Some("a blob file")), "{error}");
}
