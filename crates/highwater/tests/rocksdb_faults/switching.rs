//! From backend to backend over restarts, and from one job's checkpoint to another job.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use highwater::{ErrorKind, JobOutcome, StartFrom};

use crate::place::{KEYS, Place, RECORDS, incremental};
use crate::support::occurrences;

/// Runs a while on a backend.
fn run_on(place: &mut Place, backend: &str, is_incremental: bool, workers: usize) {
    place.set("state.backend", backend);
    place.set("execution.checkpointing.incremental", if is_incremental { "true" } else { "false" });
    place.run_and_stop(place.config().workers(workers), 3);
    place.assert_tidy();
}

#[test]
fn full_checkpoints_go_from_rocksdb_to_the_heap_and_back() {
    let mut place = Place::new();
    run_on(&mut place, "rocksdb", false, 2);
    assert_eq!(place.shared(), BTreeSet::new(), "full checkpoints share nothing");
    run_on(&mut place, "hashmap", false, 3);
    run_on(&mut place, "rocksdb", false, 1);
    let result = place.run_to_end(&place.config());
    assert!(result.progress.restored_from.is_some());
}

#[test]
fn incremental_checkpoints_are_refused_by_the_heap_and_become_full_ones_by_a_run_on_rocksdb() {
    let mut place = Place::new();
    run_on(&mut place, "rocksdb", true, 2);
    assert!(!place.shared().is_empty());
    let before = place.shared();

    place.set("state.backend", "hashmap");
    let (error, handle) = place.run_in_vain(&place.config());
    assert_eq!((error.kind(), handle.progress().attempt), (ErrorKind::Unsupported, 1), "{error}");
    assert!(error.message().contains("restore it with the RocksDB backend"), "{error}");
    assert_eq!(error.value("operator"), Some("count"));
    assert_eq!(place.shared(), before);

    run_on(&mut place, "rocksdb", false, 3);
    assert_eq!(place.shared(), BTreeSet::new(), "shared files go with the last checkpoint that names them");
    run_on(&mut place, "hashmap", false, 2);
    run_on(&mut place, "rocksdb", true, 2);
    assert!(!place.shared().is_empty());
    place.run_to_end(&place.config().workers(3));
    place.assert_tidy();
}

/// A checkpoint of another job stays its user's: nothing of it is referred to, so that it can go.
#[test]
fn a_job_started_from_the_checkpoint_of_another_one_needs_nothing_of_it_afterwards() {
    for workers in [2, 3] {
        let (old, mut new) = (Place::new(), Place::new());
        new.sink = old.sink.clone();
        let pointer = old.run_and_stop(old.config(), 3).progress.last_checkpoint.unwrap().pointer;
        let of_old: Vec<_> = incremental(old.checkpoints().latest().unwrap().metadata());

        let from = new.config().workers(workers).start_from(StartFrom::Pointer(pointer));
        let result = new.run_and_stop(from, 1);
        assert!(result.progress.restored_from.is_some());
        let latest = new.checkpoints().latest().unwrap().clone();
        let own_base = new.job_directory();
        for file in latest.files() {
            let path: PathBuf = file.to_local_path().unwrap();
            assert!(path.starts_with(&own_base), "{file} is not the job's own");
        }
        let backends: BTreeSet<_> =
            incremental(latest.metadata()).into_iter().map(|handle| handle.backend_id).collect();
        assert!(
            of_old.iter().all(|handle| !backends.contains(&handle.backend_id)),
            "another database, another identity"
        );

        fs::remove_dir_all(old.directory.path()).unwrap();
        let result = new.job(None).execute(&new.config().workers(1)).unwrap();
        assert_eq!(result.outcome, JobOutcome::Finished);
        assert!(result.progress.restored_from.is_some());
        new.sink.assert_exactly_once(&occurrences(RECORDS, KEYS));
        new.assert_tidy();
    }
}
