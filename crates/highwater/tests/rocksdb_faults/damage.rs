//! Checkpoints that are damaged while the job is down.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use highwater::ErrorKind;
use highwater::checkpoint::{CheckpointMetadata, JobId, KeyedStateHandle, MetadataVersion, StreamHandle, Subtask};

use crate::place::{NAME, Place, incremental, listing, replace};

/// Local paths of the files that a checkpoint names, by what they are in the database.
fn files(metadata: &CheckpointMetadata) -> Vec<(String, PathBuf)> {
    let local = |stream: &StreamHandle| match stream {
        StreamHandle::File { path, .. } => Some(PathBuf::from(path.trim_start_matches("file:"))),
        _ => None,
    };
    let handles = incremental(metadata);
    let all = handles.iter().flat_map(|handle| handle.shared.iter().chain(&handle.private));
    all.filter_map(|(name, stream)| Some((name.clone(), local(stream)?))).collect()
}

/// The retained checkpoints, oldest first: pointer and files.
fn retained(place: &Place) -> Vec<(String, Vec<(String, PathBuf)>)> {
    let store = place.checkpoints();
    store.checkpoints().map(|checkpoint| (checkpoint.pointer().to_owned(), files(checkpoint.metadata()))).collect()
}

fn flip(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    flip_bit(&mut bytes);
    replace(file, &bytes);
}

/// Near the front, where tables have their entries.
fn flip_bit(bytes: &mut [u8]) {
    let at = bytes.len() / 8;
    bytes[at] ^= 0x10;
}

/// What crashed runs leave: a checkpoint that was being written, a file that nobody names, a database.
fn leave_remains(place: &Place) {
    let begun = place.job_directory().join("chk-999");
    fs::create_dir(&begun).unwrap();
    fs::write(begun.join("6ec84a8c-23a8-4d32-8a13-2c1b1f2b9d10"), b"half a state").unwrap();
    fs::write(place.job_directory().join("shared/7ec84a8c-23a8-4d32-8a13-2c1b1f2b9d10"), b"upload").unwrap();
    let job = JobId::from_name(NAME);
    let database = place.path("databases").join(format!("job_{job}_op_count_uuid_1"));
    fs::create_dir_all(&database).unwrap();
    fs::write(database.join(".lock"), b"").unwrap();
    fs::write(database.join("000007.sst"), b"entries").unwrap();
}

/// It was found out after the start had cleared away what crashed runs left: the one thing to do with a damaged
/// directory is to leave it alone.
#[test]
fn a_missing_file_of_the_newest_checkpoint_is_reported_before_anything_is_touched() {
    let place = Place::new();
    place.run_and_stop(place.config(), 4);
    leave_remains(&place);
    let checkpoints = retained(&place);
    assert_eq!(checkpoints.len(), 3);
    let (newest, older) = (&checkpoints[2], &checkpoints[1]);
    let of_older: BTreeSet<_> = checkpoints[..2].iter().flat_map(|(_, files)| files).map(|(_, path)| path).collect();
    let is_shared_with_older = |path: &PathBuf| of_older.contains(path);

    let private = newest.1.iter().find(|(name, _)| name.starts_with("MANIFEST")).unwrap();
    let own = newest.1.iter().find(|(name, path)| name.ends_with(".sst") && !is_shared_with_older(path));
    for (name, path) in [Some(private), own].into_iter().flatten() {
        let bytes = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        let before = (listing(&place.path("checkpoints")), listing(&place.path("databases")));
        for workers in [2, 3] {
            let (error, handle) = place.run_in_vain(&place.config().workers(workers));
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {error}");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{name}: {error}");
            assert_eq!(error.value("pointer"), Some(newest.0.as_str()));
            assert_eq!(error.value("newest readable"), Some(older.0.as_str()), "{error}");
            assert_eq!(handle.progress().attempt, 0, "no attempt was made");
            let after = (listing(&place.path("checkpoints")), listing(&place.path("databases")));
            assert_eq!(after, before, "{name}: something was touched");
        }
        fs::write(path, bytes).unwrap();
    }
    // With its file back, the job goes on where it was, and what crashed runs left is cleared away.
    let result = place.run_to_end(&place.config());
    assert_eq!(result.progress.restored_from.unwrap().pointer, newest.0);
    place.assert_tidy();
}

#[test]
fn a_missing_file_that_only_an_older_checkpoint_needs_blocks_deletion_and_nothing_else() {
    let place = Place::new();
    place.run_and_stop(place.config(), 4);
    let checkpoints = retained(&place);
    let of_newest: BTreeSet<_> = checkpoints[2].1.iter().map(|(_, path)| path).collect();
    let (_, lost) = checkpoints[0].1.iter().find(|(_, path)| !of_newest.contains(path)).unwrap();
    let damaged = checkpoints.iter().filter(|(_, files)| files.iter().any(|(_, path)| path == lost));
    let damaged: Vec<_> = damaged.map(|(pointer, _)| pointer.clone()).collect();
    fs::remove_file(lost).unwrap();
    let before = place.shared();
    let result = place.run_to_end(&place.config());
    assert_eq!(result.progress.restored_from.unwrap().pointer, checkpoints[2].0);
    assert!(place.shared().is_superset(&before), "a file was deleted that the damaged checkpoint may need");
    let unreadable: Vec<_> = place.checkpoints().unreadable().iter().map(|lost| lost.pointer.clone()).collect();
    assert_eq!(unreadable, damaged);
}

/// Damage that does not change the size shows when the file is read. The checkpoint before it would be whole, but sinks
/// have committed past it.
#[test]
fn a_damaged_file_of_the_newest_checkpoint_ends_the_job_and_names_the_older_one() {
    let place = Place::new();
    place.run_and_stop(place.config(), 4);
    let checkpoints = retained(&place);
    let (pointer, files) = &checkpoints[2];
    let tables: Vec<_> = files.iter().filter(|(name, _)| name.ends_with(".sst")).collect();
    let first = |prefix: &str| files.iter().find(|(name, _)| name.starts_with(prefix)).unwrap();
    let check = |what: &str, path: Option<&Path>| {
        for workers in [2, 3] {
            let (error, handle) = place.run_in_vain(&place.config().workers(workers));
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
            if let Some(path) = path {
                assert!(error.to_string().contains(path.to_str().unwrap()), "{what}: {error}");
            }
            assert_eq!(error.value("restored from"), Some(pointer.as_str()), "{what}: {error}");
            assert_eq!(error.value("older checkpoint"), Some(checkpoints[1].0.as_str()), "{what}: {error}");
            assert_eq!(error.value("operator"), Some("count"), "{what}: {error}");
            assert_eq!(
                handle.progress().attempt,
                1,
                "{what}: what is damaged stays damaged, however often it is tried"
            );
            assert!(listing(&place.path("databases")).is_empty(), "{what}: something half restored is left");
        }
    };
    for (name, path) in [tables[0], tables[tables.len() - 1], first("MANIFEST"), first("CURRENT")] {
        let bytes = fs::read(path).unwrap();
        flip(path);
        println!("damaged: {name}");
        check(name, name.ends_with(".sst").then_some(path));
        replace(path, &bytes);
    }
    // Tables of one length that were mixed up.
    let same_length = |(_, one): &&&(String, PathBuf), (_, other): &&&(String, PathBuf)| {
        one != other && one.metadata().unwrap().len() == other.metadata().unwrap().len()
    };
    let pairs = tables.iter().flat_map(|one| tables.iter().map(move |other| (one, other)));
    let pair = pairs.into_iter().find(|(one, other)| same_length(one, other));
    if let Some((one, other)) = pair {
        let (first, second) = (fs::read(&one.1).unwrap(), fs::read(&other.1).unwrap());
        replace(&one.1, &second);
        replace(&other.1, &first);
        check("swapped", None);
        replace(&one.1, &first);
        replace(&other.1, &second);
    }
    let result = place.run_to_end(&place.config().workers(3));
    assert_eq!(result.progress.restored_from.unwrap().pointer, *pointer);
    place.assert_tidy();
}

/// Small files travel within `_metadata`.
#[test]
fn damage_to_a_file_within_the_metadata_is_named() {
    let mut place = Place::new();
    place.set("execution.checkpointing.data-inline-threshold", "1 mb");
    place.run_and_stop(place.config(), 4);
    assert_eq!(place.shared(), BTreeSet::new());
    let newest = place.checkpoints().latest().unwrap().clone();
    let file = newest.directory().unwrap().join("_metadata").to_local_path().unwrap();
    let whole = fs::read(&file).unwrap();
    let mut damaged = newest.metadata().clone();
    let handles = incremental(&damaged);
    let names: Vec<_> = handles[0].shared.iter().chain(&handles[0].private).map(|(name, _)| name.clone()).collect();
    for name in names.iter().filter(|name| !name.starts_with("OPTIONS")) {
        flip_inline(&mut damaged, name);
        replace(&file, &damaged.write(MetadataVersion::V3).unwrap());
        let (error, handle) = place.run_in_vain(&place.config());
        assert_eq!((error.kind(), handle.progress().attempt), (ErrorKind::Corrupt, 1), "{name}: {error}");
        assert_eq!(error.value("restored from"), Some(newest.pointer()), "{name}: {error}");
        if name.ends_with(".sst") {
            assert_eq!(error.value("found"), Some(format!("{name}, stored within the metadata").as_str()), "{error}");
        }
        flip_inline(&mut damaged, name);
    }
    // The metadata itself.
    replace(&file, &whole[..whole.len() - 7]);
    let (error, _) = place.run_in_vain(&place.config());
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    replace(&file, &whole);
    place.run_to_end(&place.config());
}

/// Flips a bit of the inline files of this name.
fn flip_inline(metadata: &mut CheckpointMetadata, name: &str) {
    for subtask in metadata.operators.iter_mut().flat_map(|operator| operator.subtasks.values_mut()) {
        let Subtask::State(state) = subtask else { continue };
        let Some(KeyedStateHandle::Incremental(handle)) = &mut state.managed_keyed else { continue };
        for (of, stream) in handle.shared.iter_mut().chain(&mut handle.private) {
            if let (true, StreamHandle::Inline { bytes, .. }) = (of == name, stream) {
                let mut flipped = bytes.to_vec();
                flip_bit(&mut flipped);
                *bytes = flipped.into();
            }
        }
    }
}
