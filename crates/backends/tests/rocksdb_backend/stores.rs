//! The stores that a backend makes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use highwater_backends::{
    BackendRegistry, Configuration, CustomStateBackend, KeyedStore, StateBackend, select_checkpoint_storage,
};
use tempfile::tempdir;

use crate::{Counting, FACTORY, INCREMENTAL, THREADS, configuration, context, embedded, registry};

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
