//! What wins: the application, the configuration or the default.

use std::path::{Path, PathBuf};

use highwater_backends::{KeyedStore, MemorySize, PriorityQueueStateType, RocksDbStateBackend, StateBackend};
use highwater_rocksdb::PredefinedOptions;
use highwater_types::ErrorKind;
use tempfile::tempdir;

use crate::{
    BATCH, Counting, INCREMENTAL, LOCAL, PROFILE, THREADS, TIMERS, configuration, configured, context, embedded,
    settings,
};

#[test]
fn the_checkpoint_backend_is_configured_too() {
    let backend = RocksDbStateBackend::new("file:///cp").unwrap();
    let keys = [("state.savepoints.dir", "file:///sp"), ("state.backend.fs.memory-threshold", "1 kb")];
    assert_eq!(
        configured(&backend, keys).checkpoint_backend().unwrap().to_string(),
        "File State Backend (checkpoints: 'file:/cp', savepoints: 'file:/sp', fileStateThreshold: 1024)"
    );
    let error = backend.configure(&configuration([("state.backend.fs.memory-threshold", "2 mb")])).unwrap_err();
    assert_eq!(error.value("key"), Some("state.backend.fs.memory-threshold"));
}

#[test]
fn local_directories_of_the_configuration() {
    for (text, expected) in [
        ("/a", &["/a"] as &[_]),
        ("/a,/b", &["/a", "/b"]),
        ("/a:/b", &["/a", "/b"]),
        ("file:///a", &["/a"]),
        ("file:///a:/b, file:/c", &["/a", "/b", "/c"]),
    ] {
        for key in [LOCAL, "state.backend.rocksdb.checkpointdir"] {
            let expected: Vec<_> = expected.iter().map(PathBuf::from).collect();
            let backend = configured(&embedded(), [(key, text)]);
            assert_eq!(backend.db_storage_paths().unwrap(), expected, "{text}");
            assert_eq!(backend.settings().unwrap().local_directories, expected);
        }
    }
    for (text, token) in [
        ("a", "Relative"),
        ("/a,b", "Relative"),
        ("", "Relative"),
        ("hdfs:///a", "non-local scheme"),
        ("/a,,/b", "Rel"),
    ] {
        let error = embedded().configure(&configuration([(LOCAL, text)])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.message().contains("Invalid configuration for RocksDB state backend's local storage"), "{error}");
        assert_eq!((error.value("key"), error.value("value")), (Some(LOCAL), Some(text)));
        assert!(error.to_string().contains(token), "{text:?}: {error}");
    }
    let set = embedded().with_db_storage_paths(["/app"]).unwrap();
    assert_eq!(settings(&set, [(LOCAL, "/conf")]).local_directories, [Path::new("/app")]);
    assert!(settings(&embedded(), []).local_directories.is_empty());
}

#[test]
fn the_application_beats_the_configuration_beats_the_default() {
    let keys = [(INCREMENTAL, "true"), (THREADS, "8"), (BATCH, "1 kb"), (PROFILE, "FLASH_SSD_OPTIMIZED")];
    let unset = settings(&embedded(), []);
    assert!(!unset.incremental);
    assert_eq!((unset.transfer_threads, unset.write_batch_size), (4, 2_097_152));
    assert_eq!(unset.predefined_options, PredefinedOptions::Default);

    let conf = settings(&embedded(), keys);
    assert!(conf.incremental);
    assert_eq!((conf.transfer_threads, conf.write_batch_size), (8, 1024));
    assert_eq!(conf.predefined_options, PredefinedOptions::FlashSsdOptimized);
    assert!(settings(&embedded(), [("state.backend.incremental", "true")]).incremental);

    let mut backend = embedded().with_incremental_checkpoints(false);
    backend.set_number_of_transfer_threads(2).unwrap().set_write_batch_size(0).unwrap();
    backend.set_predefined_options(PredefinedOptions::Default);
    let set = settings(&backend, keys);
    assert!(!set.incremental);
    assert_eq!((set.transfer_threads, set.write_batch_size), (2, 0));
    assert_eq!(set.predefined_options, PredefinedOptions::Default);
    assert!(settings(&backend.with_incremental_checkpoints(None), keys).incremental);
}

/// In Flink the getter stores the default, which then beats the configuration.
#[test]
fn asking_for_the_profile_does_not_set_it() {
    let backend = embedded();
    assert_eq!(backend.get_predefined_options(), PredefinedOptions::Default);
    let effective = settings(&backend, [(PROFILE, "SPINNING_DISK_OPTIMIZED_HIGH_MEM")]);
    assert_eq!(effective.predefined_options, PredefinedOptions::SpinningDiskOptimizedHighMem);
}

#[test]
fn configure_leaves_the_backend_as_it_is() {
    let backend = RocksDbStateBackend::new("file:///cp").unwrap();
    let before = serde_json::to_value(&backend).unwrap();
    configured(&backend, [(INCREMENTAL, "true"), (THREADS, "8"), (LOCAL, "/a")]);
    assert_eq!(serde_json::to_value(&backend).unwrap(), before);
    assert!(!backend.settings().unwrap().incremental);
}

/// What is set after `configure` used to change the getters, while stores went on to be made as before.
#[test]
fn setters_hold_for_stores_after_configure_too() {
    type Change = fn(&mut RocksDbStateBackend);
    let changes: &[(Change, &str)] = &[
        (
            |b| {
                b.set_db_storage_paths(["/changed"]).unwrap();
            },
            "/changed",
        ),
        (
            |b| {
                b.set_predefined_options(PredefinedOptions::FlashSsdOptimized);
            },
            "FlashSsdOptimized",
        ),
        (
            |b| {
                b.set_number_of_transfer_threads(77).unwrap();
            },
            "transfer_threads: 77",
        ),
        (
            |b| {
                b.set_write_batch_size(777).unwrap();
            },
            "write_batch_size: 777",
        ),
        (|b| *b = b.clone().with_incremental_checkpoints(true), "incremental: true"),
        (|b| *b = b.clone().with_options_factory(Counting::new("changed")), "Counting { name: \"changed\""),
        (
            |b| {
                let memory = b.memory_configuration_mut();
                memory.set_fixed_memory_per_slot(MemorySize::from_bytes(7_777_777)).unwrap();
            },
            "fixed_per_slot: Some(7777777)",
        ),
        (
            |b| {
                b.memory_configuration_mut().set_write_buffer_ratio(0.77).unwrap();
            },
            "write_buffer_ratio: 0.77",
        ),
        (
            |b| {
                b.memory_configuration_mut().set_high_priority_pool_ratio(0.07).unwrap();
            },
            "high_priority_pool_ratio: 0.07",
        ),
        (
            |b| {
                b.memory_configuration_mut().set_use_partitioned_index_filters(true);
            },
            "partitioned_index_filters: true",
        ),
        (
            |b| {
                b.memory_configuration_mut().set_use_managed_memory(false);
            },
            "managed: None",
        ),
    ];
    for (change, expected) in changes {
        let mut backend = configured(&embedded(), [("state.backend.rocksdb.thread.num", "7")]);
        let before = backend.keyed_store();
        assert!(!format!("{:?}", backend.settings().unwrap()).contains(expected), "{expected} is there already");
        change(&mut backend);
        let stores = format!("{:?}", backend.keyed_store());
        assert!(stores.contains(expected), "{expected} does not reach the stores: {stores}");
        assert!(stores.contains("background_jobs: Some(7)"), "what was configured is kept: {stores}");
        assert!(!format!("{before:?}").contains(expected), "stores that are there stay as they are");
        assert!(format!("{:?}", configured(&backend, []).keyed_store()).contains(expected));
    }

    let scratch = tempdir().unwrap();
    let mut backend = configured(&embedded(), []);
    backend.set_db_storage_paths([scratch.path()]).unwrap();
    let KeyedStore::Bytes(stores) = backend.keyed_store() else { panic!("RocksDB is a byte store") };
    let _store = stores.create(&context()).unwrap();
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1, "a store is where it was said last");
}

#[test]
fn timers_are_in_rocksdb() {
    let error = embedded().set_priority_queue_state_type(PriorityQueueStateType::Heap).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let error = embedded().configure(&configuration([(TIMERS, "heap")])).unwrap_err();
    assert_eq!((error.kind(), error.value("key")), (ErrorKind::Unsupported, Some(TIMERS)));
    let mut backend = embedded();
    backend.set_priority_queue_state_type(PriorityQueueStateType::RocksDb).unwrap();
    // The application's word holds.
    configured(&backend, [(TIMERS, "HEAP")]);
}
