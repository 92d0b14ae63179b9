//! What cannot be written is refused with the way around; what cannot be read names the reason.

use std::collections::BTreeMap;

use highwater_checkpoint::{
    ChannelStateHandle, CheckpointMetadata, DistributionMode, KeyGroupsFormat, KeyGroupsHandle, KeyedStateHandle,
    MetadataVersion, OperatorState, OperatorStateHandle, StatePartitions, StreamHandle, Subtask, SubtaskState,
};
use highwater_types::{ErrorKind, KeyGroupRange, MaxParallelism, OperatorId};

use MetadataVersion::{V2, V3, V4, V5, V6};

fn operator() -> OperatorState {
    OperatorState::new(OperatorId::from_uid("counter"), 2, MaxParallelism::new(128).unwrap())
}

fn metadata(operator: OperatorState) -> CheckpointMetadata {
    CheckpointMetadata { operators: vec![operator], ..CheckpointMetadata::new(1) }
}

fn with_state(state: SubtaskState) -> CheckpointMetadata {
    metadata(OperatorState { subtasks: BTreeMap::from([(0, state.into())]), ..operator() })
}

#[track_caller]
fn refused(metadata: &CheckpointMetadata, version: MetadataVersion, kind: ErrorKind, words: &str) {
    let error = metadata.write(version).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn an_older_version_refuses_what_it_cannot_hold() {
    let empty = CheckpointMetadata::new(1);
    refused(&empty, V2, ErrorKind::Unsupported, "write version 3");

    let properties = CheckpointMetadata::read(&empty.write(V4).unwrap()).unwrap();
    refused(&properties, V3, ErrorKind::Unsupported, "write version 4");
    properties.write(V4).unwrap();

    for named in [
        metadata(OperatorState { name: Some("Count".into()), ..operator() }),
        metadata(OperatorState { uid: Some("counter".into()), ..operator() }),
    ] {
        refused(&named, V4, ErrorKind::Unsupported, "write version 5");
        named.write(V5).unwrap();
    }

    let data = StreamHandle::RelativeFile { path: "f".into(), size: 7 };
    let merged = ChannelStateHandle::Merged { subtask: 0, size: 0, channels: vec![], data };
    let in_flight = with_state(SubtaskState { input_channels: vec![merged], ..SubtaskState::default() });
    refused(&in_flight, V5, ErrorKind::Unsupported, "write version 6");
    in_flight.write(V6).unwrap();
}

/// Whatever Java object the caller has, it must be one that the reader walks to its end.
#[test]
fn properties_that_could_not_be_read_again_are_refused() {
    let whole = CheckpointMetadata::read(&CheckpointMetadata::new(1).write(V4).unwrap()).unwrap().properties.unwrap();
    let longer = [&whole[..], &[0x70]].concat();
    // The first letter of `org.apache.flink...`.
    let mut renamed = whole.clone();
    renamed[8] = b'x';
    for properties in [&whole[..4], &whole[..744], &longer, &renamed, b""] {
        let metadata = CheckpointMetadata { properties: Some(properties.to_vec()), ..CheckpointMetadata::new(1) };
        refused(&metadata, V4, ErrorKind::Program, "the properties given to a checkpoint");
    }
}

#[test]
fn a_value_that_could_not_be_read_again_is_refused() {
    let too_parallel = metadata(OperatorState { parallelism: 129, ..operator() });
    refused(&too_parallel, V3, ErrorKind::Program, "max parallelism");

    let subtasks = BTreeMap::from([(2, Subtask::Finished)]);
    refused(&metadata(OperatorState { subtasks: subtasks.clone(), ..operator() }), V3, ErrorKind::Program, "below 2");

    let finished = OperatorState { fully_finished: true, parallelism: 3, subtasks, ..operator() };
    refused(&metadata(finished), V3, ErrorKind::Program, "finished");

    let file = StreamHandle::RelativeFile { path: "f".into(), size: 7 };
    refused(&metadata(OperatorState { coordinator: Some(file), ..operator() }), V3, ErrorKind::Program, "inline");

    let handle = KeyGroupsHandle {
        format: KeyGroupsFormat::Canonical,
        range: KeyGroupRange::new(0, 1).unwrap(),
        offsets: vec![0],
        data: StreamHandle::EmptySegment,
    };
    let keyed = Some(KeyedStateHandle::KeyGroups(handle));
    let error = with_state(SubtaskState { managed_keyed: keyed, ..SubtaskState::default() }).write(V3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Program);
    assert_eq!(error.value("subtask"), Some("0"));
    assert_eq!(error.value("operator"), Some(OperatorId::from_uid("counter").to_string().as_str()));

    let long = StreamHandle::RelativeFile { path: "f".repeat(65_536), size: 7 };
    let input = ChannelStateHandle::Merged { subtask: 0, size: 0, channels: vec![], data: long };
    assert!(with_state(SubtaskState { input_channels: vec![input], ..SubtaskState::default() }).write(V6).is_err());

    let huge = CheckpointMetadata::new(u64::MAX);
    refused(&huge, V3, ErrorKind::Unsupported, "too large");
}

#[track_caller]
fn unreadable(bytes: &[u8], kind: ErrorKind, words: &str) {
    let error = CheckpointMetadata::read(bytes).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn a_foreign_file_is_named_as_such() {
    unreadable(b"", ErrorKind::Corrupt, "too early");
    unreadable(b"PK\x03\x04 a zip file", ErrorKind::Corrupt, "not a checkpoint's metadata");
    for explanation in ["very old Flink", "no savepoint at all", "damaged"] {
        unreadable(b"\x7fELF\x02\x01\x01\0", ErrorKind::Corrupt, explanation);
    }
}

#[test]
fn an_unknown_version_is_named() {
    let mut bytes = CheckpointMetadata::new(1).write(V3).unwrap();
    for version in [0_i32, 1, 7, -1, i32::MAX] {
        bytes[4..8].copy_from_slice(&version.to_be_bytes());
        let words = format!("Unrecognized checkpoint version number: {version}");
        unreadable(&bytes, ErrorKind::Unsupported, &words);
    }
}

#[test]
fn bytes_after_the_end_are_damage() {
    for version in [V3, V4, V5, V6] {
        let bytes = metadata(operator()).write(version).unwrap();
        for garbage in [&b"\0"[..], b"\x70", &bytes] {
            unreadable(&[&bytes, garbage].concat(), ErrorKind::Corrupt, "follow the end");
        }
    }
}

#[test]
fn properties_have_to_be_there() {
    let bytes = CheckpointMetadata::new(1).write(V4).unwrap();
    unreadable(&bytes[..bytes.len() - 745], ErrorKind::Corrupt, "properties");
}

#[test]
fn an_operator_or_subtask_twice_is_damage() {
    let twice = CheckpointMetadata { operators: vec![operator(), operator()], ..CheckpointMetadata::new(1) };
    unreadable(&twice.write(V3).unwrap(), ErrorKind::Corrupt, "twice");

    let subtasks = BTreeMap::from([(0, Subtask::Finished), (1, Subtask::Finished)]);
    let mut bytes = metadata(OperatorState { subtasks, ..operator() }).write(V3).unwrap();
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&(-1_i32).to_be_bytes());
    unreadable(&bytes, ErrorKind::Corrupt, "twice");
}

/// Numbers that are well formed and yet cannot be.
#[test]
fn impossible_numbers_are_damage() {
    let subtasks = BTreeMap::from([(1, SubtaskState::default().into())]);
    let coordinator = Some(StreamHandle::Inline { name: "c".into(), bytes: [9].into() });
    let bytes = metadata(OperatorState { subtasks, coordinator, ..operator() }).write(V3).unwrap();
    CheckpointMetadata::read(&bytes).unwrap();
    // Checkpoint id, two counts, operator id; then the fields of the operator.
    let parallelism = 8 + 8 + 4 + 4 + 16;
    let coordinator = parallelism + 8;
    let subtasks = coordinator + 1 + 3 + 4 + 1;
    for (at, value, words) in [
        (8, -1, "negative"),
        (parallelism, 129, "not a parallelism"),
        (parallelism, -1, "negative"),
        (parallelism + 4, 0, "not a parallelism"),
        (parallelism + 4, 32_769, "not a parallelism"),
        (subtasks, -1, "a finished operator has coordinator state"),
        (subtasks, -2, "a count does not fit"),
        (subtasks + 4, 2, "not the index of a subtask"),
        (subtasks + 4, -3, "not the index of a subtask"),
        (subtasks + 8, 2, "not a number of operator state handles"),
    ] {
        let mut damaged = bytes.clone();
        damaged[at..at + 4].copy_from_slice(&i32::to_be_bytes(value));
        unreadable(&damaged, ErrorKind::Corrupt, words);
    }
    let mut file_as_coordinator = bytes.clone();
    file_as_coordinator.splice(coordinator..subtasks, [6, 0, 1, b'f', 0, 0, 0, 0, 0, 0, 0, 7]);
    unreadable(&file_as_coordinator, ErrorKind::Corrupt, "not inline");
}

#[test]
fn impossible_ranges_of_key_groups_are_damage() {
    let handle = KeyGroupsHandle {
        format: KeyGroupsFormat::Canonical,
        range: KeyGroupRange::new(32_767, 32_767).unwrap(),
        offsets: vec![0],
        data: StreamHandle::EmptySegment,
    };
    let managed_keyed = Some(KeyedStateHandle::KeyGroups(handle));
    let bytes = with_state(SubtaskState { managed_keyed, ..SubtaskState::default() }).write(V3).unwrap();
    CheckpointMetadata::read(&bytes).unwrap();
    let range = bytes.windows(8).position(|window| window == [0, 0, 0x7f, 0xff, 0, 0, 0, 1]).unwrap();
    for (at, value) in
        [(range, 32_768), (range, -1), (range + 4, 0), (range + 4, -1), (range + 4, 2), (range + 4, i32::MAX)]
    {
        let mut damaged = bytes.clone();
        damaged[at..at + 4].copy_from_slice(&i32::to_be_bytes(value));
        unreadable(&damaged, ErrorKind::Corrupt, "not a range of key groups");
    }
}

#[test]
fn an_operator_state_twice_is_damage() {
    let partitions = StatePartitions { mode: DistributionMode::Union, offsets: vec![] };
    let states = BTreeMap::from([("first".to_owned(), partitions.clone()), ("other".to_owned(), partitions)]);
    let managed_operator = Some(OperatorStateHandle::new(states, StreamHandle::EmptySegment));
    let mut bytes = with_state(SubtaskState { managed_operator, ..SubtaskState::default() }).write(V3).unwrap();
    let other = bytes.windows(5).position(|window| window == b"other").unwrap();
    bytes[other..other + 5].copy_from_slice(b"first");
    unreadable(&bytes, ErrorKind::Corrupt, "twice");
}

#[test]
fn nesting_has_an_end() {
    // A changelog in a changelog in a changelog ...
    let mut bytes =
        metadata(OperatorState { subtasks: BTreeMap::from([(0, SubtaskState::default().into())]), ..operator() })
            .write(V3)
            .unwrap();
    bytes.truncate(bytes.len() - 10);
    for _ in 0..100_000 {
        bytes.extend_from_slice(&[8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
    unreadable(&bytes, ErrorKind::Corrupt, "nested too deep");
}

#[test]
fn damage_names_offset_operator_and_subtask() {
    let subtasks = BTreeMap::from([(1, SubtaskState::default().into())]);
    let mut bytes = metadata(OperatorState { subtasks, ..operator() }).write(V3).unwrap();
    let managed_keyed = bytes.len() - 10;
    bytes[managed_keyed] = 0x7f;
    let error = CheckpointMetadata::read(&bytes).unwrap_err();
    assert_eq!(error.value("offset"), Some(managed_keyed.to_string().as_str()));
    assert_eq!(error.value("found"), Some("127"));
    assert_eq!(error.value("subtask"), Some("1"));
    assert_eq!(error.value("operator"), Some(OperatorId::from_uid("counter").to_string().as_str()));
}
