//! `MemoryStateBackend`: parameters, defaults, merge, text form, and the checkpoints it makes.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::Write;
use std::sync::Arc;

use highwater_backends::{Configuration, KeyedStore, MemoryStateBackend, StateBackend};
use highwater_checkpoint::{CheckpointStorage, JobId, StateScope, StoragePath};
use highwater_types::{ErrorKind, Result};
use tempfile::tempdir;

fn configuration<const N: usize>(entries: [(&str, &str); N]) -> Configuration {
    entries.into_iter().collect()
}

fn text(backend: &MemoryStateBackend, entries: impl IntoIterator<Item = (&'static str, &'static str)>) -> String {
    backend.configure(&entries.into_iter().collect()).unwrap().to_string()
}

/// Writes one stream of `size` bytes in checkpoint 1 of a job; none: the write or its end was refused.
fn write_stream(storage: &Arc<dyn CheckpointStorage>, size: usize) -> Result<u64> {
    let location = storage.open(JobId::from_name("memory"))?.begin(1)?;
    let mut stream = location.streams().create_stream(StateScope::Exclusive)?;
    stream.write_all(&vec![7; size]).map_err(|cause| highwater_types::Error::storage("refused").because(cause))?;
    Ok(stream.finish()?.map_or(0, |handle| handle.size()))
}

#[test]
fn an_unset_backend_answers_with_defaults() {
    let backend = MemoryStateBackend::new();
    assert_eq!(backend.name(), "MemoryStateBackend");
    assert_eq!(backend.checkpoint_path(), None);
    assert_eq!(backend.savepoint_path(), None);
    assert_eq!(backend.max_state_size(), 5_242_880);
    assert_eq!(MemoryStateBackend::DEFAULT_MAX_STATE_SIZE, 5_242_880);
    assert!(backend.is_using_asynchronous_snapshots());
    assert!(matches!(backend.keyed_store(), KeyedStore::Heap));
    assert!(!backend.use_managed_memory());
    assert!(backend.supports_no_claim_restore_mode());
    assert_eq!(
        backend.to_string(),
        "MemoryStateBackend (data in heap memory / checkpoints to JobManager) \
         (checkpoints: 'null', savepoints: 'null', maxStateSize: 5242880)"
    );
}

#[test]
fn flinks_names_of_the_getters_answer_the_same() {
    let backend = MemoryStateBackend::new().with_checkpoint_path("file:///c").unwrap().with_max_state_size(9).unwrap();
    assert_eq!(backend.get_checkpoint_path(), backend.checkpoint_path());
    assert_eq!(backend.get_savepoint_path(), backend.savepoint_path());
    assert_eq!(backend.get_max_state_size(), 9);
}

#[test]
fn the_asynchronous_flag_is_accepted_without_effect() {
    for flag in [None, Some(true), Some(false)] {
        assert!(MemoryStateBackend::new().with_asynchronous_snapshots(flag).is_using_asynchronous_snapshots());
    }
    assert!(MemoryStateBackend::new().with_asynchronous_snapshots(false).is_using_asynchronous_snapshots());
}

#[test]
fn the_state_size_has_a_range() {
    for (size, accepted) in [
        (i64::MIN, false),
        (-1, false),
        (0, false),
        (1, true),
        (2_147_483_647, true),
        (2_147_483_648, false),
        (i64::MAX, false),
    ] {
        match MemoryStateBackend::new().with_max_state_size(size) {
            Ok(backend) => assert!(accepted && i64::try_from(backend.max_state_size()) == Ok(size), "{size}"),
            Err(error) => {
                assert!(!accepted, "{size}: {error}");
                assert_eq!(error.kind(), ErrorKind::Configuration);
                assert!(error.message().contains("maxStateSize must be > 0"), "{error}");
                assert_eq!(error.value("found"), Some(size.to_string().as_str()));
            }
        }
    }
}

/// Every field: application over configuration over default, old keys and new.
#[test]
fn configure_merges() {
    let form = |c: &str, s: &str, n: u32| {
        format!(
            "MemoryStateBackend (data in heap memory / checkpoints to JobManager) \
             (checkpoints: '{c}', savepoints: '{s}', maxStateSize: {n})"
        )
    };
    let unset = MemoryStateBackend::new();
    let set = MemoryStateBackend::new()
        .with_checkpoint_path("file:///app/c/")
        .unwrap()
        .with_savepoint_path("hdfs://nn:8020/app//s")
        .unwrap()
        .with_max_state_size(77)
        .unwrap();
    let old = [("state.checkpoints.dir", "file:///conf/c"), ("state.savepoints.dir", "file:///conf/s")];
    let new = [
        ("execution.checkpointing.dir", "file:///conf/c2"),
        ("execution.checkpointing.savepoint-dir", "hdfs:///conf/s2"),
        ("highwater.memory.max-state-size", "1 kb"),
    ];
    let oldest = [("state.backend.fs.checkpointdir", "file:/c"), ("savepoints.state.backend.fs.dir", "file:/s")];

    assert_eq!(text(&unset, []), form("null", "null", 5_242_880));
    assert_eq!(text(&unset, old), form("file:/conf/c", "file:/conf/s", 5_242_880));
    assert_eq!(text(&unset, new), form("file:/conf/c2", "hdfs:/conf/s2", 1024));
    assert_eq!(text(&unset, oldest), form("file:/c", "file:/s", 5_242_880));
    assert_eq!(text(&unset, old.into_iter().chain(new)), form("file:/conf/c2", "hdfs:/conf/s2", 1024));
    assert_eq!(text(&set, []), form("file:/app/c", "hdfs://nn:8020/app/s", 77));
    assert_eq!(text(&set, old.into_iter().chain(new)), form("file:/app/c", "hdfs://nn:8020/app/s", 77));
    assert_eq!(unset, MemoryStateBackend::new(), "configure leaves the backend as it was");
}

#[test]
fn configuring_twice_changes_nothing_more() {
    let first = MemoryStateBackend::new().configure(&configuration([("state.checkpoints.dir", "file:///a")])).unwrap();
    let second = first.configure(&configuration([("state.checkpoints.dir", "file:///b")])).unwrap();
    assert_eq!(first.to_string(), second.to_string());
}

#[test]
fn a_backend_can_be_made_of_a_configuration_alone() {
    let backend =
        MemoryStateBackend::from_configuration(&configuration([("state.checkpoints.dir", "file:///a")])).unwrap();
    assert_eq!(backend.checkpoint_path().map(StoragePath::to_string).as_deref(), Some("file:/a"));
}

#[test]
fn bad_paths_are_refused_by_the_setters_and_by_configure() {
    for (path, token) in [
        ("/data/x", "scheme"),
        ("data/x", "scheme"),
        ("C:/x", "scheme"),
        ("file:///", "root directory"),
        ("file:/", "root directory"),
        ("hdfs://nn", "root directory"),
        ("hdfs://nn/", "root directory"),
        ("s3://bucket/", "root directory"),
        ("file:///..", "above the root"),
        ("file://var/checkpoints/", "Did you forget a slash?"),
    ] {
        let by_setter = MemoryStateBackend::new().with_checkpoint_path(path).unwrap_err();
        let by_other_setter = MemoryStateBackend::new().with_savepoint_path(path).unwrap_err();
        let by_key = ["state.checkpoints.dir", "execution.checkpointing.savepoint-dir"]
            .map(|key| MemoryStateBackend::new().configure(&configuration([(key, path)])).unwrap_err());
        for error in by_key.into_iter().chain([by_setter, by_other_setter]) {
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.to_string().contains(token), "{path}: {error}");
        }
    }
    for path in ["", " file:///x", "hdfs:", "foo:bar"] {
        assert_eq!(
            MemoryStateBackend::new().with_checkpoint_path(path).unwrap_err().kind(),
            ErrorKind::Configuration,
            "{path:?}"
        );
        let error = MemoryStateBackend::new().configure(&configuration([("state.checkpoints.dir", path)])).unwrap_err();
        assert!(error.message().contains("Cannot parse value for"), "{error}");
        assert_eq!(error.value("key"), Some("state.checkpoints.dir"));
        assert_eq!(error.value("value"), Some(path));
    }
}

#[test]
fn a_configured_state_size_is_checked() {
    for (value, token) in
        [("0", "1 bytes to 2147483647 bytes"), ("2 gb", "2147483647"), ("-1", "Could not parse value")]
    {
        let error = MemoryStateBackend::new()
            .configure(&configuration([("highwater.memory.max-state-size", value)]))
            .unwrap_err();
        assert!(error.to_string().contains(token), "{error}");
        assert_eq!(error.value("key"), Some("highwater.memory.max-state-size"));
        assert_eq!(error.value("value"), Some(value));
    }
}

#[test]
fn checkpoints_are_limited_to_the_state_size() {
    let storage = MemoryStateBackend::new().with_max_state_size(100).unwrap().checkpoint_storage().unwrap().unwrap();
    assert!(!storage.survives_process());
    assert_eq!(write_stream(&storage, 100).unwrap(), 100);
    let error = write_stream(&storage, 101).unwrap_err();
    assert!(error.to_string().contains("100"), "{error}");
}

#[test]
fn with_a_path_metadata_files_are_written_below_the_job_or_without() {
    for (subdir, below_job) in [("true", true), ("false", false)] {
        let directory = tempdir().unwrap();
        let base = format!("file://{}", directory.path().display());
        let backend = MemoryStateBackend::new()
            .with_checkpoint_path(&base)
            .unwrap()
            .configure(&configuration([("state.checkpoints.create-subdir", subdir)]))
            .unwrap();
        let storage = backend.checkpoint_storage().unwrap().unwrap();
        assert!(storage.survives_process());
        let job = JobId::from_name("memory");
        let location = storage.open(job).unwrap().begin(3).unwrap();
        location.write_metadata(b"metadata").unwrap();
        let job_directory =
            if below_job { directory.path().join(job.to_string()) } else { directory.path().to_path_buf() };
        assert_eq!(std::fs::read(job_directory.join("chk-3/_metadata")).unwrap(), b"metadata");
    }
}

#[test]
fn serialized_and_back_unset_fields_stay_unset() {
    let unset = MemoryStateBackend::new();
    let json = serde_json::to_value(&unset).unwrap();
    assert!(json.as_object().unwrap().values().all(serde_json::Value::is_null), "{json}");
    assert_eq!(serde_json::from_value::<MemoryStateBackend>(json).unwrap(), unset);
    assert_eq!(serde_json::from_str::<MemoryStateBackend>("{}").unwrap(), unset);

    let set = MemoryStateBackend::new()
        .with_checkpoint_path("file:///data/a b")
        .unwrap()
        .with_savepoint_path("s3://bucket/%41")
        .unwrap()
        .with_max_state_size(i64::from(i32::MAX))
        .unwrap()
        .with_asynchronous_snapshots(false);
    let json = serde_json::to_string(&set).unwrap();
    assert_eq!(serde_json::from_str::<MemoryStateBackend>(&json).unwrap(), set);

    let configuration = configuration([("state.checkpoints.create-subdir", "false")]);
    let effective = MemoryStateBackend::from_configuration(&configuration).unwrap();
    let json = serde_json::to_string(&effective).unwrap();
    assert_eq!(serde_json::from_str::<MemoryStateBackend>(&json).unwrap(), effective);
}

#[test]
fn a_serialized_backend_is_checked_when_it_is_read() {
    for (json, token) in [
        (r#"{"max_state_size": 0}"#, "maxStateSize must be > 0"),
        (r#"{"checkpoint_path": "/x"}"#, "scheme"),
        (r#"{"savepoint_path": "file:///"}"#, "root"),
        (r#"{"max_size": 1}"#, "unknown field"),
    ] {
        let error = serde_json::from_str::<MemoryStateBackend>(json).unwrap_err();
        assert!(error.to_string().contains(token), "{error}");
    }
}
