//! Files that Flink wrote, compared with what Flink's own reader says about them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use highwater_checkpoint::{
    CheckpointMetadata, DistributionMode, KeyGroupsFormat, KeyedStateHandle, MetadataVersion, OperatorState,
    OperatorStateHandle, StreamHandle, SubtaskState,
};
use serde_json::{Map, Value, json};

/// The set that is committed.
pub(crate) fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/flink")
}

/// The whole set, where it is at hand.
pub(crate) fn full() -> Option<PathBuf> {
    let given = std::env::var_os("HIGHWATER_FIXTURES").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures");
    given.or_else(|| beside.is_dir().then_some(beside))
}

/// Every `_metadata` below a directory.
pub(crate) fn metadata_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(metadata_files(&path));
        } else if path.file_name().is_some_and(|name| name == "_metadata") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// What Flink's reader says about a `_metadata`.
fn decoded_by_flink(file: &Path) -> Value {
    let snapshot = file.parent().unwrap();
    let variant = snapshot.parent().unwrap();
    let numbered = format!("metadata-{}.json", snapshot.file_name().unwrap().to_str().unwrap());
    let path = [variant.join(numbered), variant.join("metadata.json")].into_iter().find(|path| path.exists());
    serde_json::from_str(&fs::read_to_string(path.unwrap()).unwrap()).unwrap()
}

fn check_file(file: &Path) {
    let bytes = fs::read(file).unwrap();
    let metadata = CheckpointMetadata::read(&bytes).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let version = MetadataVersion::of(&bytes).unwrap();
    let expected = decoded_by_flink(file);
    assert_eq!(expected["fileSize"], bytes.len(), "{}", file.display());
    assert_eq!(expected["metadataVersion"], version.number(), "{}", file.display());
    assert_eq!(expected["checkpointId"], metadata.checkpoint_id, "{}", file.display());
    assert_eq!(expected["masterStates"], json!([]));
    assert!(metadata.master_states.is_empty());
    let operators: Vec<_> = metadata.operators.iter().map(operator_json).collect();
    let expected: Vec<_> = expected["operatorStates"].as_array().unwrap().iter().map(comparable).collect();
    assert_eq!(operators, expected, "{}", file.display());

    let rewritten = metadata.write(version).unwrap();
    assert_eq!(CheckpointMetadata::read(&rewritten).unwrap(), metadata, "{}", file.display());
    assert_eq!(rewritten.len(), bytes.len(), "{}", file.display());
    // Flink orders the states of an operator by hash, we by name: only there may the bytes differ.
    let handles = metadata.operators.iter().flat_map(OperatorState::subtask_states);
    if handles.flat_map(|(_, state)| &state.managed_operator).all(|handle| handle.states.len() <= 1) {
        assert!(rewritten == bytes, "{}: written again, the bytes differ", file.display());
    }
}

/// Flink's description without what is not in the file (the uid before version 5) or needs a digest to compare; the
/// content itself is compared by writing it again.
fn comparable(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(key, _)| !["sha256", "data", "uid"].contains(&key.as_str()));
            Value::Object(kept.map(|(key, value)| (key.clone(), comparable(value))).collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(comparable).collect()),
        other => other.clone(),
    }
}

fn operator_json(operator: &OperatorState) -> Value {
    let subtasks: Vec<_> = operator.subtask_states().map(|(index, state)| subtask_json(index, state)).collect();
    assert_eq!(subtasks.len(), operator.subtasks.len(), "no fixture has finished subtasks");
    let mut value = json!({
        "operatorId": operator.id.to_string(),
        "parallelism": operator.parallelism,
        "maxParallelism": operator.max_parallelism.get(),
        "coordinatorState": operator.coordinator.as_ref().map(stream_json),
        "subtasks": subtasks,
    });
    for (key, name) in [("metadataOperatorName", &operator.name), ("metadataOperatorUid", &operator.uid)] {
        if let Some(name) = name {
            value[key] = json!(name);
        }
    }
    value
}

fn subtask_json(index: u32, state: &SubtaskState) -> Value {
    json!({
        "index": index,
        "managedOperatorState": state.managed_operator.iter().map(operator_handle_json).collect::<Vec<_>>(),
        "rawOperatorState": state.raw_operator.iter().map(operator_handle_json).collect::<Vec<_>>(),
        "managedKeyedState": state.managed_keyed.iter().map(keyed_json).collect::<Vec<_>>(),
        "rawKeyedState": state.raw_keyed.iter().map(keyed_json).collect::<Vec<_>>(),
        "inputChannelStates": state.input_channels.len(),
        "resultSubpartitionStates": state.output_channels.len(),
    })
}

fn operator_handle_json(handle: &OperatorStateHandle) -> Value {
    assert!(handle.merged.is_none(), "no fixture has merged files");
    let states: Map<_, _> = handle
        .states
        .iter()
        .map(|(name, partitions)| {
            let mode = match partitions.mode {
                DistributionMode::SplitDistribute => "SPLIT_DISTRIBUTE",
                DistributionMode::Union => "UNION",
                DistributionMode::Broadcast => "BROADCAST",
            };
            (name.clone(), json!({ "mode": mode, "offsets": partitions.offsets }))
        })
        .collect();
    json!({ "class": "OperatorStreamStateHandle", "states": states, "delegate": stream_json(&handle.data) })
}

fn keyed_json(handle: &KeyedStateHandle) -> Value {
    let range = json!([handle.range().start(), handle.range().end()]);
    match handle {
        KeyedStateHandle::KeyGroups(handle) => json!({
            "class": match handle.format {
                KeyGroupsFormat::Canonical => "KeyGroupsSavepointStateHandle",
                KeyGroupsFormat::Legacy | KeyGroupsFormat::V2 { .. } => "KeyGroupsStateHandle",
            },
            "keyGroupRange": range,
            "offsets": handle.offsets,
            "delegate": stream_json(&handle.data),
        }),
        KeyedStateHandle::Incremental(handle) => json!({
            "class": "IncrementalRemoteKeyedStateHandle",
            "keyGroupRange": range,
            "checkpointId": handle.checkpoint_id,
            "backendIdentifier": handle.backend_id,
            "metaState": stream_json(&handle.meta),
            "sharedState": files_json(&handle.shared),
            "privateState": files_json(&handle.private),
        }),
        other => panic!("no fixture has a changelog: {other:?}"),
    }
}

/// Files by name: Flink's description sorts them.
fn files_json(files: &[(String, StreamHandle)]) -> Value {
    let files: BTreeMap<_, _> = files.iter().map(|(name, handle)| (name, handle)).collect();
    files.iter().map(|(name, handle)| json!({ "name": name, "handle": stream_json(handle) })).collect()
}

fn stream_json(stream: &StreamHandle) -> Value {
    match stream {
        StreamHandle::Inline { name, bytes } => {
            json!({ "class": "ByteStreamStateHandle", "handleName": name, "size": bytes.len() })
        }
        StreamHandle::File { path, size } => json!({ "class": "FileStateHandle", "path": path, "size": size }),
        StreamHandle::RelativeFile { path, size } => {
            json!({ "class": "RelativeFileStateHandle", "relativePath": path, "size": size })
        }
        other => panic!("no fixture has this stream: {other:?}"),
    }
}

#[test]
fn the_committed_files_are_read_as_flink_reads_them() {
    let files = metadata_files(&committed());
    assert!(files.len() >= 7, "the fixtures are missing: {files:?}");
    files.iter().for_each(|file| check_file(file));
}

#[test]
fn all_files_are_read_as_flink_reads_them() {
    let Some(directory) = full() else {
        say("SKIPPED: the whole set of Flink's files is not here; set HIGHWATER_FIXTURES to its directory");
        return;
    };
    let files = metadata_files(&directory);
    assert!(files.len() > 25, "{} holds only {} files", directory.display(), files.len());
    files.iter().for_each(|file| check_file(file));
}

/// Loud: the test harness keeps what `eprintln!` says in a passing test to itself, but not this.
fn say(what: &str) {
    use std::io::Write as _;
    std::io::stderr().write_all(format!("{what}\n").as_bytes()).unwrap();
}
