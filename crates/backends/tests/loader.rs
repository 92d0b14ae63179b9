//! Backends by name, the effective backend of a job, and which checkpoint storage it gets.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;

use highwater_backends::{
    BackendRegistry, Configuration, FsStateBackend, HashMapStateBackend, MemoryStateBackend, StateBackend,
    select_checkpoint_storage,
};
use highwater_checkpoint::{CheckpointStorage, FileSystemCheckpointStorage, JobManagerCheckpointStorage, StoragePath};
use highwater_types::{Error, ErrorKind};

const DIRECTORY: (&str, &str) = ("state.checkpoints.dir", "file:///data/cp");

fn configuration<const N: usize>(entries: [(&str, &str); N]) -> Configuration {
    entries.into_iter().collect()
}

fn load<const N: usize>(entries: [(&str, &str); N]) -> Result<Arc<dyn StateBackend>, Error> {
    BackendRegistry::new().load(&configuration(entries))
}

#[test]
fn built_in_names_in_any_case_under_both_keys() {
    for (name, expected) in [
        ("hashmap", "HashMapStateBackend"),
        ("HashMap", "HashMapStateBackend"),
        ("filesystem", "FsStateBackend"),
        ("FILESYSTEM", "FsStateBackend"),
        ("fs", "FsStateBackend"),
        ("jobmanager", "MemoryStateBackend"),
        ("JobManager", "MemoryStateBackend"),
        ("memory", "MemoryStateBackend"),
        ("org.apache.flink.runtime.state.hashmap.HashMapStateBackendFactory", "HashMapStateBackend"),
        ("org.apache.flink.runtime.state.filesystem.FsStateBackendFactory", "FsStateBackend"),
        ("org.apache.flink.runtime.state.memory.MemoryStateBackendFactory", "MemoryStateBackend"),
    ] {
        for key in ["state.backend", "state.backend.type"] {
            assert_eq!(load([(key, name), DIRECTORY]).unwrap().name(), expected, "{key}: {name}");
        }
    }
    assert_eq!(BackendRegistry::new().names().collect::<Vec<_>>(), names());
}

/// The names of what is compiled in.
fn names() -> Vec<&'static str> {
    let rocksdb = cfg!(feature = "rocksdb").then_some("rocksdb");
    ["filesystem", "fs", "hashmap", "jobmanager", "memory"].into_iter().chain(rocksdb).collect()
}

#[cfg(not(feature = "rocksdb"))]
#[test]
fn rocksdb_needs_its_feature() {
    for name in [
        "rocksdb",
        "ROCKSDB",
        "org.apache.flink.contrib.streaming.state.RocksDBStateBackendFactory",
        "org.apache.flink.contrib.streaming.state.EmbeddedRocksDBStateBackendFactory",
        "org.apache.flink.state.rocksdb.EmbeddedRocksDBStateBackendFactory",
    ] {
        let error = load([("state.backend", name)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.message().contains("cargo feature `rocksdb`"), "{error}");
        assert_eq!((error.value("key"), error.value("name")), (Some("state.backend"), Some(name)));
    }
}

#[test]
fn what_is_loaded_is_configured() {
    let fs = load([("state.backend", "filesystem"), DIRECTORY, ("state.backend.fs.memory-threshold", "1 kb")]);
    assert_eq!(
        fs.unwrap().to_string(),
        "File State Backend (checkpoints: 'file:/data/cp', savepoints: 'null', fileStateThreshold: 1024)"
    );
    let memory = load([("state.backend", "jobmanager"), DIRECTORY, ("state.savepoints.dir", "file:///data/sp")]);
    assert_eq!(
        memory.unwrap().to_string(),
        "MemoryStateBackend (data in heap memory / checkpoints to JobManager) \
         (checkpoints: 'file:/data/cp', savepoints: 'file:/data/sp', maxStateSize: 5242880)"
    );
}

#[test]
fn an_unknown_name_lists_what_exists_and_the_nearest() {
    for (name, nearest) in [
        ("filesytem", Some("filesystem")),
        ("hash-map", Some("hashmap")),
        ("forst", None),
        ("", None),
        ("org.example.MyFactory", None),
    ] {
        let error = load([("state.backend", name)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert_eq!(error.value("name"), Some(format!("'{name}'").as_str()));
        assert_eq!(error.value("key"), Some("state.backend"));
        assert_eq!(error.value("known"), Some(names().join(", ").as_str()));
        assert_eq!(error.value("did you mean"), nearest, "{name}");
    }
}

#[test]
fn the_backends_own_error_is_the_cause() {
    let error = load([("state.backend.type", "filesystem")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(error.value("key"), Some("state.backend.type"));
    let cause = std::error::Error::source(&error).unwrap().downcast_ref::<Error>().unwrap();
    assert_eq!(cause.value("key"), Some("execution.checkpointing.dir"));

    let error = load([("state.backend", "jobmanager"), ("state.checkpoints.dir", "/no/scheme")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("scheme"), "{error}");
}

#[test]
fn without_a_name_the_backend_is_hashmap_and_the_storage_follows_the_directory() {
    for (entries, survives) in [(vec![], false), (vec![DIRECTORY], true)] {
        let configuration: Configuration = entries.into_iter().collect();
        let backend = BackendRegistry::new().load(&configuration).unwrap();
        assert_eq!(backend.name(), "HashMapStateBackend");
        assert_eq!(backend.to_string(), "HashMapStateBackend");
        let storage = select_checkpoint_storage(&*backend, None, &configuration).unwrap();
        assert_eq!(storage.survives_process(), survives);
    }
}

#[test]
fn a_program_registers_its_own_by_name() {
    let mut registry = BackendRegistry::default();
    let factory = |configuration: &Configuration| HashMapStateBackend::new().configure(configuration);
    registry.register("Fjall", factory).unwrap().register("other", factory).unwrap();
    assert!(registry.load(&configuration([("state.backend", "FJALL")])).is_ok());
    assert!(registry.names().any(|name| name == "fjall"));
    assert!(format!("{registry:?}").contains("fjall"));

    for taken in ["fjall", "HashMap", "memory"] {
        let error = registry.register(taken, factory).unwrap_err();
        assert_eq!((error.kind(), error.value("name")), (ErrorKind::Program, Some(taken)));
    }
    assert_eq!(registry.register(" ", factory).unwrap_err().kind(), ErrorKind::Program);

    let failing = |_: &Configuration| Err(Error::storage("no disk"));
    registry.register("failing", failing).unwrap();
    let error = registry.create("failing", &Configuration::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.to_string().contains("no disk"), "{error}");
}

#[test]
fn the_application_comes_before_the_configuration_before_the_default() {
    let registry = BackendRegistry::new();
    let cluster = configuration([("state.backend", "jobmanager"), DIRECTORY]);
    let job = configuration([("state.backend.type", "filesystem"), ("state.checkpoints.dir", "file:///job")]);
    let application = MemoryStateBackend::new().with_max_state_size(7).unwrap();
    let effective = |application: Option<&dyn StateBackend>, cluster: &Configuration, job: &Configuration| {
        registry.effective_backend(application, cluster, job).unwrap().to_string()
    };
    let none = Configuration::new();

    let own = effective(Some(&application), &cluster, &job);
    assert!(own.contains("'file:/data/cp'") && own.contains("maxStateSize: 7"), "the cluster's keys alone: {own}");
    assert!(effective(None, &cluster, &none).starts_with("MemoryStateBackend"));
    assert!(effective(None, &cluster, &job).contains("File State Backend (checkpoints: 'file:/job'"));
    assert_eq!(effective(None, &none, &none), "HashMapStateBackend");
}

#[test]
fn an_unknown_own_key_stops_every_way_to_a_backend() {
    let registry = BackendRegistry::new();
    let bad = configuration([("highwater.memory.max-stat-size", "1")]);
    let none = Configuration::new();
    let errors = [
        registry.load(&bad).unwrap_err(),
        registry.create("memory", &bad).unwrap_err(),
        registry.effective_backend(Some(&MemoryStateBackend::new()), &bad, &none).unwrap_err(),
        registry.effective_backend(None, &none, &bad).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.value("did you mean"), Some("highwater.memory.max-state-size"), "{error}");
    }
}

fn base(storage: &Arc<dyn CheckpointStorage>) -> String {
    format!("{storage:?}")
}

#[test]
fn the_order_of_storages() {
    let hashmap = HashMapStateBackend::new();
    let own: Arc<dyn CheckpointStorage> =
        Arc::new(FileSystemCheckpointStorage::new(StoragePath::parse("file:///application").unwrap()).unwrap());
    let memory: Arc<dyn CheckpointStorage> = Arc::new(JobManagerCheckpointStorage::new());
    let select = |backend: &dyn StateBackend, application: Option<&Arc<dyn CheckpointStorage>>, entries: &[_]| {
        select_checkpoint_storage(backend, application.cloned(), &entries.iter().copied().collect()).unwrap()
    };
    let storage_key = "execution.checkpointing.storage";

    // The backend's own wins over everything.
    let fs = FsStateBackend::new("file:///backend").unwrap();
    assert!(base(&select(&fs, Some(&own), &[(storage_key, "jobmanager")])).contains("/backend"));
    assert!(
        !select(&MemoryStateBackend::new(), Some(&own), &[(storage_key, "filesystem"), DIRECTORY]).survives_process()
    );
    // Then the application's.
    assert!(base(&select(&hashmap, Some(&own), &[(storage_key, "jobmanager")])).contains("/application"));
    assert!(!select(&hashmap, Some(&memory), &[DIRECTORY]).survives_process());
    // Then the configured one, in any case and under its old key.
    for key in [storage_key, "state.checkpoint-storage"] {
        assert!(base(&select(&hashmap, None, &[(key, "FileSystem"), DIRECTORY])).contains("/data/cp"));
        assert!(!select(&hashmap, None, &[(key, "JobManager")]).survives_process());
    }
    // The memory of the coordinator with a directory for metadata files.
    assert!(select(&hashmap, None, &[(storage_key, "jobmanager"), DIRECTORY]).survives_process());
    // Then what the directory says.
    assert!(base(&select(&hashmap, None, &[DIRECTORY])).contains("/data/cp"));
    assert!(!select(&hashmap, None, &[]).survives_process());
}

#[test]
fn storages_that_cannot_be() {
    let select = |entries: &[(&str, &str)]| {
        let configuration = entries.iter().copied().collect();
        select_checkpoint_storage(&HashMapStateBackend::new(), None, &configuration).unwrap_err()
    };
    let error = select(&[("execution.checkpointing.storage", "filesystem")]);
    assert_eq!(error.value("key"), Some("execution.checkpointing.dir"));
    let error = select(&[("state.checkpoint-storage", "filesistem")]);
    assert_eq!(error.value("key"), Some("state.checkpoint-storage"));
    assert_eq!(error.value("did you mean"), Some("filesystem"));
    let error = select(&[("state.checkpoints.dir", "file:///")]);
    assert!(error.to_string().contains("root"), "{error}");
    let error = select(&[DIRECTORY, ("state.backend.fs.memory-threshold", "1 gb")]);
    assert_eq!(error.value("allowed"), Some("0 bytes to 1 mb"));
}
