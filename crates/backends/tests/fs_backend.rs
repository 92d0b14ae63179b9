//! `FsStateBackend`: parameters, defaults, merge, text form, and the checkpoints it makes.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::Write;
use std::sync::Arc;

use highwater_backends::{Configuration, FsStateBackend, KeyedStore, StateBackend};
use highwater_checkpoint::{CheckpointStorage, JobId, StateScope, StoragePath, StreamHandle};
use highwater_types::ErrorKind;
use tempfile::tempdir;

const THRESHOLD: &str = "execution.checkpointing.data-inline-threshold";
const WRITE_BUFFER: &str = "execution.checkpointing.write-buffer-size";

fn backend() -> FsStateBackend {
    FsStateBackend::new("file:///data/cp").unwrap()
}

fn configuration<const N: usize>(entries: [(&str, &str); N]) -> Configuration {
    entries.into_iter().collect()
}

#[test]
fn an_unset_backend_answers_with_defaults() {
    let backend = backend();
    assert_eq!(backend.name(), "FsStateBackend");
    assert_eq!(backend.checkpoint_path().to_string(), "file:/data/cp");
    assert_eq!(backend.base_path(), backend.checkpoint_path());
    assert_eq!(backend.savepoint_path(), None);
    assert_eq!(backend.min_file_size_threshold(), 20_480);
    assert_eq!(backend.write_buffer_size(), 4096);
    assert!(backend.is_using_asynchronous_snapshots());
    assert!(backend.clone().with_asynchronous_snapshots(false).is_using_asynchronous_snapshots());
    assert!(matches!(backend.keyed_store(), KeyedStore::Heap));
    assert!(!backend.use_managed_memory());
    assert!(backend.supports_no_claim_restore_mode());
}

#[test]
fn flinks_names_of_the_getters_answer_the_same() {
    let backend = backend().with_default_savepoint_directory("file:///s").unwrap();
    assert_eq!(backend.get_checkpoint_path(), backend.checkpoint_path());
    assert_eq!(backend.get_base_path(), backend.checkpoint_path());
    assert_eq!(backend.get_savepoint_path().map(StoragePath::to_string).as_deref(), Some("file:/s"));
    assert_eq!(backend.get_min_file_size_threshold(), 20_480);
    assert_eq!(backend.get_write_buffer_size(), 4096);
}

/// Raw threshold before configure, effective one after.
#[test]
fn the_text_form() {
    let form = |s: &str, t: i32| {
        format!("File State Backend (checkpoints: 'file:/data/cp', savepoints: '{s}', fileStateThreshold: {t})")
    };
    let configured = |backend: &FsStateBackend| backend.configure(&Configuration::new()).unwrap().to_string();
    assert_eq!(backend().to_string(), form("null", -1));
    assert_eq!(configured(&backend()), form("null", 20_480));
    let set = backend()
        .with_default_savepoint_directory("file:///s/")
        .unwrap()
        .with_file_state_size_threshold(1024)
        .unwrap()
        .with_write_buffer_size(9)
        .unwrap();
    assert_eq!(set.to_string(), form("file:/s", 1024));
    assert_eq!(configured(&set), form("file:/s", 1024));
}

#[test]
fn the_threshold_has_a_range() {
    for (bytes, accepted) in [
        (i64::MIN, false),
        (-2, false),
        (-1, true),
        (0, true),
        (20_480, true),
        (1_048_576, true),
        (1_048_577, false),
        (i64::MAX, false),
    ] {
        match backend().with_file_state_size_threshold(bytes) {
            Ok(backend) => {
                assert!(accepted, "{bytes}");
                let expected = if bytes == -1 { 20_480 } else { bytes };
                assert_eq!(i64::try_from(backend.min_file_size_threshold()), Ok(expected));
            }
            Err(error) => {
                assert!(!accepted, "{bytes}: {error}");
                assert_eq!(error.kind(), ErrorKind::Configuration);
                assert!(
                    error.message().contains("[-1, 1048576]") && error.message().contains("deployment's"),
                    "{error}"
                );
                assert_eq!(error.value("found"), Some(bytes.to_string().as_str()));
            }
        }
    }
}

#[test]
fn the_write_buffer_has_a_range() {
    for (bytes, accepted) in
        [(-2, false), (-1, true), (0, true), (1, true), (2_147_483_647, true), (2_147_483_648, false)]
    {
        match backend().with_write_buffer_size(bytes) {
            Ok(backend) => {
                assert!(accepted, "{bytes}");
                let expected = if bytes == -1 { 4096 } else { bytes };
                assert_eq!(i64::try_from(backend.write_buffer_size()), Ok(expected));
            }
            Err(error) => {
                assert!(!accepted, "{bytes}: {error}");
                assert!(error.message().contains("not less than '-1'"), "{error}");
            }
        }
    }
}

/// Application threshold and buffer, the keys set, and what takes effect.
#[test]
fn configure_merges_threshold_and_write_buffer() {
    type Row = (i64, i64, &'static [(&'static str, &'static str)], u64, u64);
    let rows: &[Row] = &[
        (-1, -1, &[], 20_480, 20_480),
        (-1, -1, &[(THRESHOLD, "1 kb")], 1024, 4096),
        (-1, -1, &[("state.backend.fs.memory-threshold", "1 kb")], 1024, 4096),
        (-1, -1, &[("state.storage.fs.memory-threshold", "1 kb")], 1024, 4096),
        (-1, -1, &[(THRESHOLD, "0")], 0, 4096),
        (-1, -1, &[(THRESHOLD, "1 mb")], 1_048_576, 1_048_576),
        (-1, -1, &[(WRITE_BUFFER, "100000")], 20_480, 100_000),
        (-1, -1, &[("state.backend.fs.write-buffer-size", "100000")], 20_480, 100_000),
        (-1, -1, &[("state.storage.fs.write-buffer-size", "0"), (THRESHOLD, "0")], 0, 0),
        (512, -1, &[(THRESHOLD, "1 kb")], 512, 4096),
        (512, 600, &[(WRITE_BUFFER, "100000")], 512, 600),
        (512, 0, &[], 512, 512),
        (0, 0, &[], 0, 0),
        (-1, 50_000, &[], 20_480, 50_000),
        // Values of the configuration that the application overrides are not read.
        (512, 600, &[(THRESHOLD, "2 mb"), (WRITE_BUFFER, "8kb")], 512, 600),
    ];
    for (threshold, buffer, keys, expected_threshold, expected_buffer) in rows {
        let application =
            backend().with_file_state_size_threshold(*threshold).unwrap().with_write_buffer_size(*buffer).unwrap();
        let configuration: Configuration = keys.iter().copied().collect();
        let effective = application.configure(&configuration).unwrap();
        assert_eq!(effective.min_file_size_threshold(), *expected_threshold, "{threshold} {keys:?}");
        assert_eq!(effective.write_buffer_size(), *expected_buffer, "{threshold} {buffer} {keys:?}");
        let by_trait = StateBackend::configure(&application, &configuration).unwrap();
        assert_eq!(by_trait.to_string(), effective.to_string());
    }
}

#[test]
fn a_configured_value_out_of_range_is_an_error_with_key_value_and_range() {
    for (key, value, allowed) in [
        (THRESHOLD, "2mb", "0 bytes to 1 mb"),
        ("state.backend.fs.memory-threshold", "1048577", "0 bytes to 1 mb"),
        (WRITE_BUFFER, "-5", "larger than or equal to 0"),
        ("state.backend.fs.write-buffer-size", "-1", "larger than or equal to 0"),
    ] {
        let error = backend().configure(&configuration([(key, value)])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert_eq!((error.value("key"), error.value("value")), (Some(key), Some(value)), "{error}");
        assert!(error.value("allowed").unwrap().contains(allowed), "{error}");
    }
}

#[test]
fn a_configured_value_that_cannot_be_parsed_is_an_error_with_key_and_value() {
    for (key, value) in [
        (THRESHOLD, "-1"),
        (THRESHOLD, "abc"),
        (THRESHOLD, ""),
        (WRITE_BUFFER, "8kb"),
        (WRITE_BUFFER, "2147483648"),
        ("state.checkpoints.create-subdir", "yes"),
    ] {
        let error = backend().configure(&configuration([(key, value)])).unwrap_err();
        assert_eq!(error.message(), "Could not parse value", "{error}");
        assert_eq!((error.value("key"), error.value("value")), (Some(key), Some(value)));
    }
}

#[test]
fn directories_are_merged() {
    let keys = configuration([("state.checkpoints.dir", "file:///conf/c"), ("state.savepoints.dir", "file:///conf/s")]);
    let form = |c, s| format!("File State Backend (checkpoints: '{c}', savepoints: '{s}', fileStateThreshold: 20480)");
    assert_eq!(backend().configure(&keys).unwrap().to_string(), form("file:/data/cp", "file:/conf/s"));
    let set = backend().with_default_savepoint_directory("s3://b/app").unwrap();
    assert_eq!(set.configure(&keys).unwrap().to_string(), form("file:/data/cp", "s3://b/app"));
    assert_eq!(FsStateBackend::from_configuration(&keys).unwrap().to_string(), form("file:/conf/c", "file:/conf/s"));
}

#[test]
fn bad_directories_are_refused() {
    for (path, token) in [
        ("/data/x", "scheme"),
        ("file:///", "root directory"),
        ("file://var/checkpoints/", "Write 'file:///var/checkpoints'"),
        ("", "empty path string"),
        (" file:///x", "URI syntax"),
        ("hdfs:", "URI syntax"),
    ] {
        let errors = [
            FsStateBackend::new(path).unwrap_err(),
            backend().with_default_savepoint_directory(path).unwrap_err(),
            FsStateBackend::from_configuration(&configuration([("state.checkpoints.dir", path)])).unwrap_err(),
            backend().configure(&configuration([("state.savepoints.dir", path)])).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.to_string().contains(token), "{path:?}: {error}");
        }
    }
}

#[test]
fn without_a_directory_the_error_names_the_key() {
    let error = FsStateBackend::from_configuration(&Configuration::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(error.value("key"), Some("execution.checkpointing.dir"));
    assert!(error.to_string().contains("state.checkpoints.dir"), "{error}");
}

fn write(storage: &Arc<dyn CheckpointStorage>, size: usize) -> StreamHandle {
    let location = storage.open(JobId::from_name("fs")).unwrap().begin(1).unwrap();
    let mut stream = location.streams().create_stream(StateScope::Exclusive).unwrap();
    for byte in 0..size {
        stream.write_all(&[byte as u8]).unwrap();
    }
    stream.finish().unwrap().unwrap()
}

#[test]
fn the_threshold_decides_what_becomes_a_file() {
    for (threshold, size, inline) in
        [("20 kb", 20_480, true), ("20 kb", 20_481, false), ("100", 100, true), ("100", 101, false), ("0", 1, false)]
    {
        let directory = tempdir().unwrap();
        let backend = FsStateBackend::new(format!("file://{}", directory.path().display()))
            .unwrap()
            .configure(&configuration([(THRESHOLD, threshold), (WRITE_BUFFER, "0")]))
            .unwrap();
        let storage = backend.checkpoint_storage().unwrap().unwrap();
        assert!(storage.survives_process());
        let handle = write(&storage, size);
        assert_eq!(matches!(handle, StreamHandle::Inline { .. }), inline, "{threshold} {size}: {handle:?}");
    }
}

#[test]
fn the_jobs_directory_can_be_left_out() {
    for (subdir, below_job) in [("true", true), ("false", false)] {
        let directory = tempdir().unwrap();
        let configuration = [
            ("state.checkpoints.dir".to_owned(), format!("file://{}", directory.path().display())),
            ("execution.checkpointing.create-subdir".to_owned(), subdir.to_owned()),
        ];
        let backend = FsStateBackend::from_configuration(&configuration.into_iter().collect()).unwrap();
        let job = JobId::from_name("fs");
        backend.checkpoint_storage().unwrap().unwrap().open(job).unwrap();
        assert_eq!(directory.path().join(job.to_string()).join("shared").exists(), below_job);
        assert_eq!(directory.path().join("shared").exists(), !below_job);
    }
}

#[test]
fn serialized_and_back_unset_fields_stay_unset() {
    let unset = backend();
    let json = serde_json::to_value(&unset).unwrap();
    let set: Vec<_> = json.as_object().unwrap().iter().filter(|(_, value)| !value.is_null()).collect();
    assert_eq!(set.len(), 1, "{json}");
    assert_eq!(serde_json::from_value::<FsStateBackend>(json).unwrap(), unset);

    let set = backend()
        .with_default_savepoint_directory("hdfs://nn:1/s")
        .unwrap()
        .with_file_state_size_threshold(0)
        .unwrap()
        .with_write_buffer_size(0)
        .unwrap()
        .with_asynchronous_snapshots(true);
    let json = serde_json::to_string(&set).unwrap();
    assert_eq!(serde_json::from_str::<FsStateBackend>(&json).unwrap(), set);
}

#[test]
fn a_serialized_backend_is_checked_when_it_is_read() {
    for (json, token) in [
        ("{}", "checkpoint_directory_uri"),
        (r#"{"checkpoint_directory_uri": "/x"}"#, "scheme"),
        (r#"{"checkpoint_directory_uri": "file:///x", "file_state_size_threshold": 9999999}"#, "1048576"),
        (r#"{"checkpoint_directory_uri": "file:///x", "write_buffer_size": -2}"#, "-1"),
        (r#"{"checkpoint_directory_uri": "file:///x", "buffer": 1}"#, "unknown field"),
    ] {
        let error = serde_json::from_str::<FsStateBackend>(json).unwrap_err();
        assert!(error.to_string().contains(token), "{error}");
    }
}
