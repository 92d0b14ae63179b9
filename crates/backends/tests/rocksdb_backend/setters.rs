//! Constructors, setters and getters, and what they refuse.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use highwater_backends::{
    CheckpointStreamBackend, CustomStateBackend, EmbeddedRocksDBStateBackend, FsStateBackend, HashMapStateBackend,
    KeyedStore, MemoryStateBackend, PriorityQueueStateType, RocksDBStateBackend, RocksDbStateBackend, StateBackend,
};
use highwater_checkpoint::StoragePath;
use highwater_rocksdb::PredefinedOptions;
use highwater_types::ErrorKind;

use crate::{BATCH, INCREMENTAL, LOCAL, PROFILE, THREADS, TIMERS, configuration, configured, embedded, settings};

#[test]
fn an_unset_backend_answers_with_defaults() {
    let backend = RocksDbStateBackend::new("file:///data/cp").unwrap();
    assert_eq!(backend.name(), "RocksDBStateBackend");
    assert!(backend.use_managed_memory());
    assert!(backend.supports_no_claim_restore_mode());
    assert!(!backend.is_incremental_checkpoints_enabled());
    assert_eq!(backend.db_storage_paths(), None);
    assert_eq!(backend.predefined_options(), PredefinedOptions::Default);
    assert_eq!(backend.get_options(), None);
    assert_eq!(backend.number_of_transfer_threads(), 4);
    assert_eq!(backend.write_batch_size(), 2_097_152);
    assert_eq!(backend.priority_queue_state_type(), PriorityQueueStateType::RocksDb);
    assert!(backend.memory_configuration().is_using_managed_memory());
    assert_eq!(backend.settings().unwrap().transfer_threads, 4);
    assert!(matches!(backend.keyed_store(), KeyedStore::Bytes(_)));
}

#[test]
fn flinks_names_are_the_same() {
    let mut backend: RocksDBStateBackend = RocksDBStateBackend::new("file:///data/cp").unwrap();
    backend.set_db_storage_paths(["/a", "/b"]).unwrap();
    backend.set_number_of_transfering_threads(3).unwrap();
    assert_eq!(backend.get_number_of_transfering_threads(), 3);
    backend.set_number_of_transferring_threads(7).unwrap();
    assert_eq!(backend.get_number_of_transferring_threads(), 7);
    assert_eq!(backend.get_number_of_transfer_threads(), 7);
    backend.set_write_batch_size(9).unwrap();
    assert_eq!(backend.get_write_batch_size(), 9);
    backend.set_predefined_options(PredefinedOptions::FlashSsdOptimized).set_options("mine");
    assert_eq!(backend.get_predefined_options(), PredefinedOptions::FlashSsdOptimized);
    assert_eq!(backend.get_options(), Some("mine"));
    assert_eq!(backend.get_db_storage_paths().unwrap(), [Path::new("/a"), Path::new("/b")]);
    assert_eq!(backend.get_priority_queue_state_type(), PriorityQueueStateType::RocksDb);
    assert!(backend.get_memory_configuration().is_using_managed_memory());
    assert_eq!(backend.get_checkpoint_backend().unwrap().name(), "FsStateBackend");
    let embedded: EmbeddedRocksDBStateBackend = EmbeddedRocksDBStateBackend::embedded();
    assert_eq!(embedded.name(), "EmbeddedRocksDBStateBackend");
    assert!(embedded.get_checkpoint_backend().is_none());
}

/// Whoever comes from PyFlink reads `rocks.get_checkpoint_backend().get_checkpoint_path()`: there was nothing that the
/// backend given back could be asked.
#[test]
fn the_checkpoint_backend_answers_all_that_flinks_does() {
    let printed = |path: Option<&StoragePath>| path.map(ToString::to_string);
    let rocks = RocksDbStateBackend::new("file:///data/cp/").unwrap();
    let fs = rocks.get_checkpoint_backend().unwrap();
    assert_eq!(printed(fs.get_checkpoint_path()).as_deref(), Some("file:/data/cp"));
    assert_eq!(fs.get_base_path(), fs.get_checkpoint_path());
    assert_eq!((fs.get_min_file_size_threshold(), fs.get_write_buffer_size()), (Some(20_480), Some(4096)));
    assert_eq!((fs.get_savepoint_path(), fs.get_max_state_size()), (None, None));
    assert!(fs.is_using_asynchronous_snapshots());

    let keys = [("state.savepoints.dir", "file:///sp"), ("state.backend.fs.memory-threshold", "1 kb")];
    let effective = configured(&rocks, keys);
    let fs = effective.get_checkpoint_backend().unwrap();
    assert_eq!(printed(fs.get_savepoint_path()).as_deref(), Some("file:/sp"));
    assert_eq!((fs.get_min_file_size_threshold(), fs.get_write_buffer_size()), (Some(1024), Some(4096)));

    let memory = MemoryStateBackend::new().with_checkpoint_path("file:///m").unwrap();
    let memory = memory.with_savepoint_path("file:///s").unwrap().with_max_state_size(7).unwrap();
    // Also behind the pointer in which the loader returns a backend.
    let shared: Arc<dyn StateBackend> = Arc::new(memory.clone());
    for rocks in [
        RocksDbStateBackend::with_checkpoint_backend(memory).unwrap(),
        RocksDbStateBackend::with_checkpoint_backend(shared).unwrap(),
    ] {
        let memory = rocks.get_checkpoint_backend().unwrap();
        assert!(matches!(memory, CheckpointStreamBackend::Memory(_)));
        assert_eq!(printed(memory.get_checkpoint_path()).as_deref(), Some("file:/m"));
        assert_eq!(printed(memory.get_savepoint_path()).as_deref(), Some("file:/s"));
        assert_eq!(memory.get_max_state_size(), Some(7));
        assert_eq!((memory.get_base_path(), memory.get_min_file_size_threshold()), (None, None));
        assert_eq!(memory.get_write_buffer_size(), None);
        serde_json::to_value(&rocks).unwrap();
    }

    let custom = CustomStateBackend::new(FsStateBackend::new("file:///cp").unwrap());
    let rocks = RocksDbStateBackend::with_checkpoint_backend(custom).unwrap();
    let other = rocks.get_checkpoint_backend().unwrap();
    assert_eq!(other.get_checkpoint_path(), None);
    let custom: &CustomStateBackend<FsStateBackend> = other.downcast_ref().unwrap();
    assert_eq!(printed(Some(custom.get_ref().get_checkpoint_path())).as_deref(), Some("file:/cp"));
}

#[test]
fn the_builders_set_what_the_setters_set() {
    let built = embedded()
        .with_db_storage_paths(["/a"])
        .unwrap()
        .with_number_of_transfer_threads(3)
        .unwrap()
        .with_write_batch_size(5)
        .unwrap()
        .with_predefined_options(PredefinedOptions::SpinningDiskOptimized)
        .with_options("mine");
    let mut set = embedded();
    set.set_db_storage_paths(["/a"]).unwrap();
    set.set_number_of_transfer_threads(3).unwrap();
    set.set_write_batch_size(5).unwrap();
    set.set_predefined_options(PredefinedOptions::SpinningDiskOptimized).set_options("mine");
    assert_eq!(serde_json::to_value(&built).unwrap(), serde_json::to_value(&set).unwrap());
}

#[test]
fn the_checkpoint_directory_is_checked() {
    for (path, token) in [
        ("/data/x", "scheme"),
        ("file:///", "root directory"),
        ("file://var/checkpoints/", "Write 'file:///var/checkpoints'"),
        ("", "empty path string"),
        ("hdfs:", "URI syntax"),
    ] {
        let error = RocksDbStateBackend::new(path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(token), "{path:?}: {error}");
    }
}

#[test]
fn checkpoints_go_through_any_backend_that_has_a_storage() {
    let fs = FsStateBackend::new("file:///cp").unwrap();
    let nested = RocksDbStateBackend::with_checkpoint_backend(fs.clone()).unwrap();
    for (backend, inner, survives) in [
        (RocksDbStateBackend::with_checkpoint_backend(fs.clone()), "FsStateBackend", true),
        (RocksDbStateBackend::with_checkpoint_backend(MemoryStateBackend::new()), "MemoryStateBackend", false),
        (RocksDbStateBackend::with_checkpoint_backend(CustomStateBackend::new(fs.clone())), "FsStateBackend", true),
        (RocksDbStateBackend::with_checkpoint_backend(nested), "RocksDBStateBackend", true),
    ] {
        for backend in [backend.as_ref().unwrap().clone(), configured(&backend.unwrap(), [])] {
            assert_eq!(backend.checkpoint_backend().unwrap().name(), inner);
            assert_eq!(backend.checkpoint_storage().unwrap().unwrap().survives_process(), survives);
        }
    }
    for refused in [
        RocksDbStateBackend::with_checkpoint_backend(HashMapStateBackend::new()),
        RocksDbStateBackend::with_checkpoint_backend(embedded()),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.message().contains("can only checkpoint to state backends that have a checkpoint storage"));
        assert!(error.value("found").is_some());
    }
}

#[test]
fn local_directories_of_the_application() {
    for (given, expected) in [
        (&["/a"] as &[_], &["/a"] as &[_]),
        (&["/a", "/b"], &["/a", "/b"]),
        (&["/a/../b"], &["/a/../b"]),
        (&["file:///a", "FILE:///a/", "file:/a/b/"], &["/a", "/a", "/a/b"]),
        (&["file://host/a"], &["/a"]),
    ] {
        let backend = embedded().with_db_storage_paths(given).unwrap();
        let expected: Vec<_> = expected.iter().map(PathBuf::from).collect();
        assert_eq!(backend.db_storage_paths().unwrap(), expected);
        assert_eq!(settings(&backend, []).local_directories, expected);
    }
    for (given, token) in [
        (&["hdfs:///a"] as &[_], "non-local scheme"),
        (&["/a", "s3://x/y"], "non-local scheme"),
        (&["a/b"], "Relative paths are not supported"),
        (&["file:a"], "Relative paths are not supported"),
        (&[""], "Relative paths are not supported"),
        (&["file://host"], "Relative paths are not supported"),
    ] {
        let error = embedded().with_db_storage_paths(given).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.message().contains(token), "{given:?}: {error}");
        if let Some(last) = given.last() {
            assert!(error.to_string().contains(last), "{given:?}: {error}");
        }
    }
    let mut backend = embedded().with_db_storage_paths(["/a"]).unwrap();
    backend.reset_db_storage_paths();
    assert_eq!(backend.db_storage_paths(), None);
    // No paths are no error and no empty list, but the default: as in the module of PyFlink.
    backend.set_db_storage_paths(["/a"]).unwrap();
    backend.set_db_storage_paths([] as [&str; 0]).unwrap();
    assert_eq!(backend.db_storage_paths(), None);
    assert_eq!(settings(&backend, [(LOCAL, "/conf")]).local_directories, [Path::new("/conf")]);
    // What is refused changes nothing.
    backend.set_db_storage_paths(["/a"]).unwrap();
    backend.set_db_storage_paths(["b"]).unwrap_err();
    assert_eq!(backend.db_storage_paths().unwrap(), [Path::new("/a")]);
}

#[test]
fn numbers_out_of_range_are_refused_in_both_places() {
    for threads in [0, -1, i64::MIN, i64::from(i32::MAX) + 1] {
        let error = embedded().with_number_of_transfer_threads(threads).unwrap_err();
        assert!(error.message().contains("number of threads") && error.message().contains("greater than zero"));
        assert_eq!(error.value("found"), Some(threads.to_string().as_str()));
    }
    let error = embedded().with_write_batch_size(-1).unwrap_err();
    assert!(error.message().contains("no negative"), "{error}");
    for (key, value) in [
        (THREADS, "0"),
        (THREADS, "-1"),
        ("state.backend.rocksdb.restore-overlap-fraction-threshold", "1.1"),
        ("state.backend.rocksdb.restore-overlap-fraction-threshold", "-0.1"),
        ("state.backend.rocksdb.restore-overlap-fraction-threshold", "NaN"),
        ("state.backend.rocksdb.thread.num", "0"),
        ("state.backend.rocksdb.log.file-num", "-3"),
        ("state.backend.rocksdb.compaction.level.target-file-size-base", "0"),
        ("state.backend.rocksdb.compaction.level.max-size-level-base", "0 mb"),
        ("state.backend.rocksdb.writebuffer.size", "0"),
        ("state.backend.rocksdb.writebuffer.count", "0"),
        ("state.backend.rocksdb.writebuffer.number-to-merge", "-1"),
        ("state.backend.rocksdb.block.blocksize", "0"),
        ("state.backend.rocksdb.block.metadata-blocksize", "0"),
        ("state.backend.rocksdb.block.cache-size", "0"),
        ("state.backend.rocksdb.memory.fixed-per-slot", "0"),
        ("state.backend.rocksdb.memory.fixed-per-tm", "0"),
        ("state.backend.rocksdb.memory.write-buffer-ratio", "0"),
        ("state.backend.rocksdb.memory.write-buffer-ratio", "1.0"),
        ("state.backend.rocksdb.memory.high-prio-pool-ratio", "NaN"),
        ("taskmanager.memory.managed.size", "0"),
        ("taskmanager.numberOfTaskSlots", "0"),
    ] {
        let off = ("state.backend.rocksdb.memory.managed", "false");
        let entries = [(key, value)].into_iter().chain((key.ends_with("-tm")).then_some(off));
        let error = embedded().configure(&entries.collect()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert_eq!(error.value("key"), Some(key), "{error}");
        let parsed: Option<f64> = error.value("value").and_then(|found| found.parse().ok());
        assert!(error.value("value") == Some(value) || parsed.is_some(), "{error}");
        assert!(error.value("allowed").is_some(), "{error}");
    }
    for (key, value) in [
        (THREADS, "many"),
        (BATCH, "-1"),
        (INCREMENTAL, "yes"),
        (TIMERS, "DISK"),
        ("state.backend.rocksdb.compaction.style", "SPIRAL"),
        ("state.backend.rocksdb.log.level", "LOUD"),
    ] {
        let error = embedded().configure(&configuration([(key, value)])).unwrap_err();
        assert_eq!(error.message(), "Could not parse value", "{error}");
        assert_eq!((error.value("key"), error.value("value")), (Some(key), Some(value)));
    }
}

#[test]
fn profiles_are_named_exactly() {
    for name in ["default", "foo", "", "FLASH_SSD", "Flash_Ssd_Optimized"] {
        let error = embedded().configure(&configuration([(PROFILE, name)])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert_eq!((error.value("key"), error.value("value")), (Some(PROFILE), Some(name)));
        assert!(error.to_string().contains("SPINNING_DISK_OPTIMIZED_HIGH_MEM"), "{error}");
    }
}
