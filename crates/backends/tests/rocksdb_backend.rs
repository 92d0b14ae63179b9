//! `RocksDbStateBackend`: constructors, setters and getters, merge, text form, serialized form, and the stores it makes.

#![cfg(feature = "rocksdb")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use highwater_backends::{
    BackendRegistry, CheckpointStreamBackend, Configuration, CustomStateBackend, EmbeddedRocksDBStateBackend,
    FsStateBackend, HashMapStateBackend, KeyedStore, MemorySize, MemoryStateBackend, PriorityQueueStateType,
    RocksDBStateBackend, RocksDbStateBackend, StateBackend, select_checkpoint_storage,
};
use highwater_checkpoint::StoragePath;
use highwater_rocksdb::rust_rocksdb::Options;
use highwater_rocksdb::{PredefinedOptions, RocksDbOptionsFactory, RocksDbSettings};
use highwater_state::ByteStoreContext;
use highwater_types::{Error, ErrorKind, KeyGroupRange, MaxParallelism, Result};
use tempfile::tempdir;

const INCREMENTAL: &str = "execution.checkpointing.incremental";
const THREADS: &str = "state.backend.rocksdb.checkpoint.transfer.thread.num";
const BATCH: &str = "state.backend.rocksdb.write-batch-size";
const PROFILE: &str = "state.backend.rocksdb.predefined-options";
const LOCAL: &str = "state.backend.rocksdb.localdir";
const FACTORY: &str = "state.backend.rocksdb.options-factory";
const TIMERS: &str = "state.backend.rocksdb.timer-service.factory";

fn configuration<const N: usize>(entries: [(&str, &str); N]) -> Configuration {
    entries.into_iter().collect()
}

fn embedded() -> RocksDbStateBackend {
    RocksDbStateBackend::embedded()
}

fn configured<const N: usize>(backend: &RocksDbStateBackend, entries: [(&str, &str); N]) -> RocksDbStateBackend {
    backend.configure(&configuration(entries)).unwrap()
}

fn settings<const N: usize>(backend: &RocksDbStateBackend, entries: [(&str, &str); N]) -> RocksDbSettings {
    configured(backend, entries).settings().unwrap().clone()
}

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

/// Says how often it was asked, and what it was made from.
#[derive(Clone, Debug)]
struct Counting {
    name: String,
    asked: Arc<AtomicUsize>,
}

impl Counting {
    fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), asked: Arc::default() }
    }
}

impl RocksDbOptionsFactory for Counting {
    fn name(&self) -> &str {
        &self.name
    }

    fn database_options(&self, _: &mut Options) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }
}

fn registry() -> BackendRegistry {
    let mut registry = BackendRegistry::new();
    registry
        .register_rocksdb_options_factory("plain", |_: &Configuration| Ok(Arc::new(Counting::new("plain")) as _))
        .unwrap()
        .register_rocksdb_options_factory("configurable", |configuration: &Configuration| {
            let suffix =
                configuration.raw("my.own.key").ok_or_else(|| Error::configuration("my.own.key is missing"))?;
            Ok(Arc::new(Counting::new(format!("configurable {suffix}"))) as _)
        })
        .unwrap();
    registry
}

fn factory_of(backend: &RocksDbStateBackend, entries: &[(&str, &str)]) -> Result<Option<String>> {
    let registry = registry();
    let effective =
        registry.effective_backend(Some(backend), &entries.iter().copied().collect(), &Configuration::new())?;
    // Behind the trait object only the debug form tells.
    let text = format!("{effective:?}");
    let name = text.split("Counting { name: \"").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
    Ok(name)
}

#[test]
fn options_factories_are_found_by_name() {
    let none: &[(&str, &str)] = &[];
    assert_eq!(factory_of(&embedded(), none).unwrap(), None);
    assert_eq!(factory_of(&embedded().with_options("plain"), none).unwrap().as_deref(), Some("plain"));
    assert_eq!(factory_of(&embedded(), &[(FACTORY, "plain")]).unwrap().as_deref(), Some("plain"));
    // The application's word holds, and a configurable factory sees the configuration either way.
    let keys = [(FACTORY, "plain"), ("my.own.key", "7")];
    let found = factory_of(&embedded().with_options("configurable"), &keys).unwrap();
    assert_eq!(found.as_deref(), Some("configurable 7"));
    let keys = [(FACTORY, "configurable"), ("my.own.key", "8")];
    assert_eq!(factory_of(&embedded(), &keys).unwrap().as_deref(), Some("configurable 8"));
    let given = embedded().with_options_factory(Counting::new("given"));
    assert_eq!(given.get_options(), Some("given"));
    assert_eq!(factory_of(&given, &keys).unwrap().as_deref(), Some("given"));
    // Flink's own factory applies the keys one by one, which is done in any case.
    let default = "org.apache.flink.contrib.streaming.state.DefaultConfigurableOptionsFactory";
    assert_eq!(factory_of(&embedded(), &[(FACTORY, default)]).unwrap(), None);
}

#[test]
fn an_unknown_options_factory_lists_what_exists() {
    for (backend, entries) in
        [(embedded().with_options("plan"), &[] as &[_]), (embedded(), &[(FACTORY, "plan")] as &[_])]
    {
        let error = factory_of(&backend, entries).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.message().contains("Cannot find configured options factory"), "{error}");
        assert_eq!(error.value("known"), Some("configurable, plain"));
        assert_eq!(error.value("did you mean"), Some("plain"));
        assert_eq!(error.value("key"), (!entries.is_empty()).then_some(FACTORY));
    }
    let error = factory_of(&embedded().with_options("configurable"), &[]).unwrap_err();
    assert_eq!((error.kind(), error.value("name")), (ErrorKind::Configuration, Some("configurable")));
    assert!(error.to_string().contains("my.own.key is missing"), "{error}");
    // Without a registry nothing is known by name; the store of such a backend says so.
    let unresolved = embedded().with_options("plain");
    assert!(unresolved.configure(&Configuration::new()).is_err());
    let KeyedStore::Bytes(stores) = unresolved.keyed_store() else { panic!("RocksDB is a byte store") };
    let error = stores.create(&context()).map(drop).unwrap_err();
    assert!(error.to_string().contains("Cannot find configured options factory"), "{error}");
}

#[test]
fn a_name_is_registered_once() {
    let mut registry = registry();
    let any = |_: &Configuration| Ok(Arc::new(Counting::new("any")) as _);
    for name in ["plain", "", " ", "org.apache.flink.contrib.streaming.state.DefaultConfigurableOptionsFactory"] {
        let error = registry.register_rocksdb_options_factory(name, any).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Program);
    }
}

#[test]
fn the_text_form() {
    let backend = RocksDbStateBackend::new("file:///cp").unwrap();
    let stream = |threshold: &str| {
        format!("File State Backend (checkpoints: 'file:/cp', savepoints: 'null', fileStateThreshold: {threshold})")
    };
    let form = |stream: String, rest: &str| format!("RocksDBStateBackend{{checkpointStreamBackend={stream}, {rest}}}");
    let defaults = "localRocksDbDirectories=null, enableIncrementalCheckpointing=false, numberOfTransferThreads=4, \
                    writeBatchSize=2097152";
    assert_eq!(backend.to_string(), form(stream("-1"), defaults));
    assert_eq!(configured(&backend, []).to_string(), form(stream("20480"), defaults));
    let set = backend
        .with_incremental_checkpoints(true)
        .with_db_storage_paths(["/a", "/b"])
        .unwrap()
        .with_number_of_transfer_threads(1)
        .unwrap()
        .with_write_batch_size(0)
        .unwrap();
    let all = "localRocksDbDirectories=[/a, /b], enableIncrementalCheckpointing=true, numberOfTransferThreads=1, \
               writeBatchSize=0";
    assert_eq!(set.to_string(), form(stream("-1"), all));
    assert_eq!(embedded().to_string(), format!("EmbeddedRocksDBStateBackend{{{defaults}}}"));
}

#[test]
fn serialized_and_back_unset_fields_stay_unset() {
    for backend in [
        embedded(),
        RocksDbStateBackend::new("file:///cp").unwrap(),
        RocksDbStateBackend::with_checkpoint_backend(MemoryStateBackend::new()).unwrap(),
    ] {
        let json = serde_json::to_value(&backend).unwrap();
        let fields = json.as_object().unwrap();
        let unset = fields.iter().filter(|(name, _)| !["checkpoint_stream_backend", "memory"].contains(&name.as_str()));
        assert!(unset.clone().count() > 5 && unset.clone().all(|(_, value)| value.is_null()), "{json}");
        assert!(fields["memory"].as_object().unwrap().values().all(serde_json::Value::is_null), "{json}");
        let back: RocksDbStateBackend = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&back).unwrap(), json);
        assert_eq!(back.to_string(), backend.to_string());
        assert!(settings(&back, [(INCREMENTAL, "true")]).incremental, "an unset flag must stay open");
    }
}

#[test]
fn serialized_and_back_set_fields_stay_set() {
    let mut backend = RocksDbStateBackend::new("file:///cp")
        .unwrap()
        .with_incremental_checkpoints(false)
        .with_db_storage_paths(["/a"])
        .unwrap()
        .with_number_of_transfer_threads(2)
        .unwrap()
        .with_write_batch_size(0)
        .unwrap()
        .with_predefined_options(PredefinedOptions::SpinningDiskOptimized)
        .with_options_factory(Counting::new("plain"));
    backend.set_priority_queue_state_type(PriorityQueueStateType::RocksDb).unwrap();
    let memory = backend.memory_configuration_mut();
    memory.set_use_managed_memory(false).set_use_partitioned_index_filters(true);
    memory.set_fixed_memory_per_slot(highwater_backends::MemorySize::from_mebibytes(64)).unwrap();
    memory.set_write_buffer_ratio(0.4).unwrap().set_high_priority_pool_ratio(0.2).unwrap();
    let json = serde_json::to_string(&backend).unwrap();
    let back: RocksDbStateBackend = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&back).unwrap(), json);
    assert_eq!(back.memory_configuration(), backend.memory_configuration());
    assert_eq!(back.to_string(), backend.to_string());
    assert_eq!(back.predefined_options(), PredefinedOptions::SpinningDiskOptimized);
    // A factory is serialized by its name, and found again by it.
    assert_eq!(factory_of(&back, &[]).unwrap().as_deref(), Some("plain"));
}

#[test]
fn a_serialized_backend_is_checked_when_it_is_read() {
    let json = serde_json::to_value(RocksDbStateBackend::embedded()).unwrap();
    for (field, value, token) in [
        ("number_of_transfer_threads", serde_json::json!(0), "greater than zero"),
        ("write_batch_size", serde_json::json!(-1), "no negative"),
        ("local_directories", serde_json::json!(["a"]), "Relative"),
        ("predefined_options", serde_json::json!("foo"), "foo"),
        ("priority_queue_state_type", serde_json::json!("HEAP"), "timers"),
        ("memory", serde_json::json!({"fixed_per_slot": 0}), "larger than 0"),
        ("memory", serde_json::json!({"write_buffer_ratio": 1.5}), "between 0 and 1"),
        ("extra", serde_json::json!(1), "unknown field"),
    ] {
        let mut json = json.clone();
        json[field] = value;
        let error = serde_json::from_value::<RocksDbStateBackend>(json).unwrap_err();
        assert!(error.to_string().contains(token), "{field}: {error}");
    }
    let custom = CustomStateBackend::new(FsStateBackend::new("file:///cp").unwrap());
    let custom = RocksDbStateBackend::with_checkpoint_backend(custom).unwrap();
    let error = serde_json::to_string(&custom).unwrap_err();
    assert!(error.to_string().contains("cannot be serialized"), "{error}");
}

#[test]
fn the_loader_makes_an_embedded_one_whose_storage_is_the_jobs() {
    for name in [
        "rocksdb",
        "RocksDB",
        "org.apache.flink.contrib.streaming.state.RocksDBStateBackendFactory",
        "org.apache.flink.contrib.streaming.state.EmbeddedRocksDBStateBackendFactory",
        "org.apache.flink.state.rocksdb.EmbeddedRocksDBStateBackendFactory",
    ] {
        let without = configuration([("state.backend", name), (INCREMENTAL, "true")]);
        let backend = BackendRegistry::new().load(&without).unwrap();
        assert_eq!(backend.name(), "EmbeddedRocksDBStateBackend");
        assert!(backend.to_string().contains("enableIncrementalCheckpointing=true"), "{backend}");
        assert!(!select_checkpoint_storage(&*backend, None, &without).unwrap().survives_process());
        let with = configuration([("state.backend", name), ("state.checkpoints.dir", "file:///cp")]);
        let backend = BackendRegistry::new().load(&with).unwrap();
        assert!(select_checkpoint_storage(&*backend, None, &with).unwrap().survives_process());
    }
    let error =
        BackendRegistry::new().load(&configuration([("state.backend.type", "rocksdb"), (THREADS, "0")])).unwrap_err();
    assert_eq!(error.value("key"), Some("state.backend.type"));
    assert!(error.to_string().contains(THREADS), "{error}");
    let names = registry().load(&configuration([("state.backend", "rocksdb"), (FACTORY, "plain")])).unwrap();
    assert!(format!("{names:?}").contains("\"plain\""));
}

fn context() -> ByteStoreContext {
    let max = MaxParallelism::new(128).unwrap();
    ByteStoreContext::new("op", KeyGroupRange::new(0, 127).unwrap(), max).with_job("job")
}

#[test]
fn the_stores_of_an_effective_backend_follow_its_settings() {
    let directory = tempdir().unwrap();
    let counting = Counting::new("given");
    let backend = embedded()
        .with_db_storage_paths([directory.path()])
        .unwrap()
        .with_options_factory(counting.clone())
        .with_incremental_checkpoints(true);
    // Configured or not, and behind a wrapper.
    let effective = StateBackend::configure(&backend, &Configuration::new()).unwrap();
    let wrapped = StateBackend::configure(&CustomStateBackend::new(backend.clone()), &Configuration::new()).unwrap();
    for (number, keyed) in [backend.keyed_store(), effective.keyed_store(), wrapped.keyed_store()].iter().enumerate() {
        let KeyedStore::Bytes(stores) = keyed else { panic!("RocksDB is a byte store") };
        let mut store = stores.create(&context()).unwrap();
        let column = store.column("counts").unwrap();
        store.put(column, b"\0key", b"value").unwrap();
        let mut found = Vec::new();
        assert!(
            store
                .get(column, b"\0key", &mut |value| {
                    found.extend_from_slice(value);
                    Ok(())
                })
                .unwrap()
        );
        assert_eq!(found, b"value");
        assert!(counting.asked.load(Ordering::Relaxed) > number, "the factory is asked for each database");
        let found: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(found.iter().any(|name| name.to_string_lossy().starts_with("job_job_op_op_uuid_")), "{found:?}");
    }
}

#[test]
fn all_stores_of_an_effective_backend_come_from_one_factory() {
    let effective = StateBackend::configure(&embedded(), &Configuration::new()).unwrap();
    let (KeyedStore::Bytes(one), KeyedStore::Bytes(other)) = (effective.keyed_store(), effective.keyed_store()) else {
        panic!("RocksDB is a byte store")
    };
    assert!(Arc::ptr_eq(&one, &other));
}
