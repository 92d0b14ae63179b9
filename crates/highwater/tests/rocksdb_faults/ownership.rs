//! Incremental checkpoints and whose files they build on; savepoints beside them.

use std::sync::Arc;

use highwater::checkpoint::{CompletedCheckpoint, KeyedStateHandle, resolve_pointer};
use highwater::rocksdb::{RocksDbOptionsFactory, rust_rocksdb::Options};
use highwater::{BackendRegistry, ClaimMode, Configuration, ExecutionConfig, FsStateBackend, JobHandle, StartFrom};

use crate::place::{KEYS, Place, RECORDS};
use crate::support::{occurrences, wait_until};

/// A quick compaction would replace the files of the snapshot before the first checkpoint could name them.
#[derive(Debug)]
struct NoCompaction;

impl RocksDbOptionsFactory for NoCompaction {
    fn name(&self) -> &str {
        "no compaction"
    }

    fn column_options(&self, _: &str, options: &mut Options) {
        options.set_disable_auto_compactions(true);
    }
}

fn without_compaction(config: ExecutionConfig) -> ExecutionConfig {
    let mut registry = BackendRegistry::new();
    registry.register_rocksdb_options_factory("none", |_: &Configuration| Ok(Arc::new(NoCompaction) as _)).unwrap();
    config.backends(registry)
}

/// How many files of a checkpoint lie below the directory of another place.
fn files_of(pointer: &str, other: &Place) -> usize {
    let checkpoint = CompletedCheckpoint::from_snapshot(&resolve_pointer(pointer).unwrap()).unwrap();
    let elsewhere = other.directory.path().to_str().unwrap();
    checkpoint.files().iter().filter(|file| file.path().starts_with(elsewhere)).count()
}

#[test]
fn only_a_mode_that_says_so_builds_on_the_files_of_the_snapshot() {
    for mode in [ClaimMode::NoClaim, ClaimMode::Claim, ClaimMode::Legacy] {
        let mut old = Place::new();
        old.set("state.backend.rocksdb.options-factory", "none");
        let snapshot = old.run_and_stop(without_compaction(old.config()), 2).progress.last_checkpoint.unwrap().pointer;
        let mut new = Place::new();
        new.sink = old.sink.clone();
        new.set("state.backend.rocksdb.options-factory", "none");
        let command = || -> ExecutionConfig {
            without_compaction(new.config())
                .retained_checkpoints(100)
                .start_from(StartFrom::Pointer(snapshot.clone()))
                .claim_mode(mode)
        };
        let stopped = new.run_and_stop(command(), 1);
        assert_eq!(stopped.progress.restored_from.unwrap().pointer, snapshot);
        let own = std::fs::read_dir(new.job_directory()).unwrap().map(|entry| entry.unwrap().path());
        let own: Vec<_> = own.filter(|path| path.join("_metadata").exists()).collect();
        let built_on: usize = own.iter().map(|path| files_of(path.to_str().unwrap(), &old)).sum();
        match mode {
            ClaimMode::NoClaim => assert_eq!(built_on, 0, "every checkpoint stands for itself"),
            _ => assert!(built_on > 0, "{mode}"),
        }
        if mode == ClaimMode::NoClaim {
            std::fs::remove_dir_all(old.job_directory()).unwrap();
        }
        new.run_to_end(&command().retained_checkpoints(1));
    }
}

/// A copy of a checkpoint, whose files lie in the job's directory, is for a while not where it was, or damaged. It was
/// forgotten and its files deleted, or no start succeeded any more.
#[test]
fn a_copy_that_cannot_be_looked_at_is_neither_forgotten_nor_in_the_way() {
    let place = Place::new();
    let config = || place.config().retained_checkpoints(1);
    let run = |config: ExecutionConfig| {
        let handle = JobHandle::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                wait_until(|| handle.progress().completed_checkpoints >= 3);
                handle.stop();
            });
            place.job(Some(5_000.0)).execute(&config.handle(&handle)).unwrap();
        });
    };
    let original = place.run_and_stop(config(), 2).progress.last_checkpoint.unwrap().pointer;
    let (disk, elsewhere) = (place.path("backup/disk"), place.path("backup/elsewhere"));
    let copy = disk.join("copy");
    std::fs::create_dir_all(&copy).unwrap();
    for entry in std::fs::read_dir(original.strip_prefix("file:").unwrap()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let pointer = copy.to_str().unwrap().to_owned();
    let checkpoint = CompletedCheckpoint::from_snapshot(&resolve_pointer(&pointer).unwrap()).unwrap();
    let needed: Vec<_> = checkpoint.files().iter().map(|file| file.to_local_path().unwrap()).collect();
    let are_there = || needed.iter().filter(|file| file.starts_with(place.job_directory())).all(|file| file.exists());
    assert!(needed.iter().any(|file| file.starts_with(place.job_directory())) && are_there());
    run(config().start_from(StartFrom::Pointer(pointer)));

    std::fs::rename(&copy, &elsewhere).unwrap();
    run(config());
    std::fs::rename(&elsewhere, &copy).unwrap();
    assert!(are_there(), "while it was away");

    let metadata = std::fs::read(copy.join("_metadata")).unwrap();
    std::fs::write(copy.join("_metadata"), b"damaged").unwrap();
    run(config());
    std::fs::write(copy.join("_metadata"), metadata).unwrap();
    assert!(are_there(), "while it was damaged");
    run(config());
    assert!(are_there(), "in later runs");

    // The user is done with it: its place is there, and it is not.
    std::fs::write(disk.join("another file"), b"").unwrap();
    std::fs::remove_dir_all(&copy).unwrap();
    run(config());
    place.assert_tidy();
}

/// With incremental checkpoints on, a savepoint has all state in the format of every backend, and the next checkpoint
/// builds on the one before it as if there had been none.
#[test]
fn a_savepoint_is_canonical_and_leaves_increments_alone() {
    let mut place = Place::new();
    place.set("state.backend.rocksdb.options-factory", "none");
    let place = place;
    let handle = JobHandle::new();
    let target = place.path("savepoints");
    let (savepoint, next) = std::thread::scope(|scope| {
        let running =
            scope.spawn(|| place.job(Some(5_000.0)).execute(&without_compaction(place.config()).handle(&handle)));
        wait_until(|| handle.progress().completed_checkpoints > 3);
        let long = std::time::Duration::from_secs(120);
        let savepoint = handle.trigger_savepoint(target.to_str()).wait(long).unwrap().unwrap();
        let next = handle.trigger_checkpoint().wait(long).unwrap().unwrap();
        handle.stop();
        running.join().unwrap().unwrap();
        (savepoint, next)
    });
    let metadata = resolve_pointer(&savepoint.pointer).unwrap().metadata().unwrap();
    let states = metadata.operators.iter().flat_map(|operator| operator.subtask_states());
    let keyed: Vec<_> = states.filter_map(|(_, state)| state.managed_keyed.as_ref()).collect();
    assert_eq!(keyed.len(), 2);
    assert!(keyed.iter().all(|handle| matches!(handle, KeyedStateHandle::KeyGroups(_))));
    assert_eq!(files_of(&savepoint.pointer, &place), {
        let checkpoint = CompletedCheckpoint::from_snapshot(&resolve_pointer(&savepoint.pointer).unwrap()).unwrap();
        let directory = checkpoint.directory().unwrap().clone();
        checkpoint.files().iter().filter(|file| file.parent().as_ref() == Some(&directory)).count()
    });
    assert!(next.checkpointed_size < next.state_size, "{next:?}");

    // On the heap, with another number of workers.
    let heap = Place::new();
    let backend = FsStateBackend::new(format!("file://{}", heap.path("checkpoints").display())).unwrap();
    let config = ExecutionConfig::new().workers(3).state_backend(backend);
    let result = heap.job(None).execute(&config.start_from(StartFrom::Pointer(savepoint.pointer.clone()))).unwrap();
    assert_eq!(result.progress.restored_from.unwrap().pointer, savepoint.pointer);
    let mut newest = std::collections::BTreeMap::new();
    for (key, count) in heap.sink.committed() {
        let known: &mut i64 = newest.entry(key).or_default();
        *known = count.max(*known);
    }
    assert_eq!(newest, occurrences(RECORDS, KEYS));
}
