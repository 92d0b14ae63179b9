//! The text form and the serialized form.

use highwater_backends::{
    CustomStateBackend, FsStateBackend, MemoryStateBackend, PriorityQueueStateType, RocksDbStateBackend,
};
use highwater_rocksdb::PredefinedOptions;

use crate::{Counting, INCREMENTAL, configured, embedded, factory_of, settings};

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
