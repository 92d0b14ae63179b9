//! Byte for byte: what Flink itself produced or accepted, and the rest of the grammar spelled out by hand.

use std::collections::BTreeMap;

use highwater_checkpoint::{
    Change, ChangelogBytesHandle, ChangelogFileHandle, ChangelogHandle, ChannelState, ChannelStateHandle,
    CheckpointMetadata, DistributionMode, IncrementalHandle, KeyGroupsFormat, KeyGroupsHandle, KeyGroupsStream,
    KeyedStateHandle, MasterState, MergedDirectories, MetadataVersion, OperatorState, OperatorStateHandle,
    StatePartitions, StateScope, StreamHandle, Subtask, SubtaskState,
};
use highwater_types::{ErrorKind, KeyGroupRange, MaxParallelism, OperatorId};

use MetadataVersion::{V3, V5, V6};

const ID: &str = "0102030405060708 1112131415161718";
/// Checkpoint 5, no master state.
const BODY: &str = "0000000000000005 00000000";
const EMPTY_SUBTASK: &str = "00000000 00000000 00 00 00000000 00000000";

/// Bytes from hex digits and quoted ASCII text.
fn unhex(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (i, part) in text.split('"').enumerate() {
        if i % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: String = part.split_whitespace().collect();
        assert_eq!(digits.len() % 2, 0, "{part}");
        bytes.extend((0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()));
    }
    bytes
}

fn header(version: MetadataVersion) -> String {
    format!("4960672d {:08x}", version.number())
}

fn operator() -> OperatorState {
    let id = OperatorId::from_bytes(unhex(ID).try_into().unwrap());
    OperatorState::new(id, 2, MaxParallelism::new(128).unwrap())
}

fn metadata(operator: OperatorState) -> CheckpointMetadata {
    CheckpointMetadata { operators: vec![operator], ..CheckpointMetadata::new(5) }
}

fn with_subtask(state: SubtaskState) -> CheckpointMetadata {
    let mut operator = operator();
    operator.subtasks.insert(0, state.into());
    metadata(operator)
}

/// The value and the bytes are two sides of one thing; from version 4 on properties follow the bytes.
#[track_caller]
fn check(version: MetadataVersion, value: &CheckpointMetadata, hex: &str) {
    let written = value.write(version).unwrap();
    let mut expected = unhex(hex);
    if version == V3 {
        assert_eq!(written, expected);
    } else {
        assert_eq!(written[..expected.len()], expected);
        assert_eq!(written.len(), expected.len() + 745, "the properties of a canonical savepoint follow");
        expected.extend_from_slice(&written[expected.len()..]);
    }
    let read = CheckpointMetadata::read(&expected).unwrap();
    assert_eq!(CheckpointMetadata { properties: None, ..read }, *value);
    assert_eq!(MetadataVersion::of(&expected).unwrap(), version);
}

/// One subtask of one operator with the given state, whose bytes are `hex`.
#[track_caller]
fn check_subtask(version: MetadataVersion, state: SubtaskState, hex: &str) {
    let names = if version >= V5 { "0000 0000" } else { "" };
    let hex = format!("{} {BODY} 00000001 {names} {ID} 00000002 00000080 00 00000001 00000000 {hex}", header(version));
    check(version, &with_subtask(state), &hex);
}

#[track_caller]
fn check_keyed(handle: KeyedStateHandle, hex: &str) {
    let state = SubtaskState { managed_keyed: Some(handle.clone()), ..SubtaskState::default() };
    check_subtask(V3, state, &format!("00000000 00000000 {hex} 00 00000000 00000000"));
    let state = SubtaskState { raw_keyed: Some(handle), ..SubtaskState::default() };
    check_subtask(V3, state, &format!("00000000 00000000 00 {hex} 00000000 00000000"));
}

#[track_caller]
fn check_operator_handle(handle: OperatorStateHandle, hex: &str) {
    let state = SubtaskState { managed_operator: Some(handle.clone()), ..SubtaskState::default() };
    check_subtask(V3, state, &format!("00000001 {hex} 00000000 00 00 00000000 00000000"));
    let state = SubtaskState { raw_operator: Some(handle), ..SubtaskState::default() };
    check_subtask(V3, state, &format!("00000000 00000001 {hex} 00 00 00000000 00000000"));
}

/// A stream in the place of the only stream of a canonical handle.
#[track_caller]
fn check_stream(stream: StreamHandle, hex: &str) {
    let keyed =
        KeyGroupsHandle { format: KeyGroupsFormat::Canonical, range: range(3, 4), offsets: vec![100, 0], data: stream };
    check_keyed(
        KeyedStateHandle::KeyGroups(keyed),
        &format!("07 00000003 00000002 0000000000000064 0000000000000000 {hex}"),
    );
}

fn range(start: u16, end: u16) -> KeyGroupRange {
    KeyGroupRange::new(start, end).unwrap()
}

fn inline(name: &str, bytes: &[u8]) -> StreamHandle {
    StreamHandle::Inline { name: name.into(), bytes: bytes.into() }
}

#[test]
fn an_empty_savepoint() {
    check(V3, &CheckpointMetadata::new(5), &format!("{} {BODY} 00000000", header(V3)));
}

#[test]
fn a_master_state() {
    let state = MasterState { name: "m".into(), version: 3, bytes: vec![1, 2] };
    let value = CheckpointMetadata { master_states: vec![state], ..CheckpointMetadata::new(5) };
    let hex = "4960672d 00000003 0000000000000005 00000001 c96b1696 0000000d 00000003 00016d 00000002 0102 00000000";
    check(V3, &value, hex);
}

#[test]
fn an_operator_with_an_empty_subtask() {
    check_subtask(V3, SubtaskState::default(), EMPTY_SUBTASK);
}

#[test]
fn a_finished_subtask_beside_an_empty_one() {
    let mut operator = operator();
    operator.subtasks.insert(0, Subtask::Finished);
    operator.subtasks.insert(1, SubtaskState::default().into());
    let hex =
        format!("{} {BODY} 00000001 {ID} 00000002 00000080 00 00000002 ffffffff 00000001 {EMPTY_SUBTASK}", header(V3));
    check(V3, &metadata(operator), &hex);
}

#[test]
fn a_fully_finished_operator() {
    let operator = OperatorState { fully_finished: true, ..operator() };
    let hex = format!("{} {BODY} 00000001 {ID} 00000002 00000080 00 ffffffff", header(V3));
    check(V3, &metadata(operator), &hex);
}

#[test]
fn coordinator_state() {
    let operator = OperatorState { coordinator: Some(inline("c", &[9])), ..operator() };
    let hex = format!("{} {BODY} 00000001 {ID} 00000002 00000080 01 000163 00000001 09 00000000", header(V3));
    check(V3, &metadata(operator), &hex);
}

#[test]
fn name_and_uid() {
    let operator = OperatorState { name: Some("nm".into()), uid: Some("u".into()), ..operator() };
    let hex = format!("{} {BODY} 00000001 0002 6e6d 0001 75 {ID} 00000002 00000080 00 00000000", header(V5));
    check(V5, &metadata(operator), &hex);
}

#[test]
fn version_2_is_read() {
    let state = SubtaskState {
        managed_keyed: Some(KeyedStateHandle::KeyGroups(KeyGroupsHandle {
            format: KeyGroupsFormat::Legacy,
            range: range(3, 4),
            offsets: vec![100, 0],
            data: inline("h", &[0xaa]),
        })),
        ..SubtaskState::default()
    };
    let hex = format!(
        "4960672d 00000002 {BODY} 00000001 {ID} 00000002 00000080 00000001 00000001 00000000 \
         ffffffffffffffff 00000000 00000000 00000000 \
         03 00000003 00000002 0000000000000064 0000000000000000 01 000168 00000001 aa 00"
    );
    let bytes = unhex(&hex);
    assert_eq!(MetadataVersion::of(&bytes).unwrap(), MetadataVersion::V2);
    assert_eq!(CheckpointMetadata::read(&bytes).unwrap(), with_subtask(state));

    let old = hex.replace("ffffffffffffffff 00000000", "ffffffffffffffff 00000001");
    let error = CheckpointMetadata::read(&unhex(&old)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "state of a Flink before 1.3: {error}");
}

#[test]
fn stream_handles() {
    check_stream(inline("h", &[0xaa]), "01 0001 68 00000001 aa");
    check_stream(StreamHandle::File { path: "file:/s".into(), size: 9 }, r#"02 0000000000000009 0007 "file:/s""#);
    check_stream(StreamHandle::RelativeFile { path: "f".into(), size: 7 }, "06 0001 66 0000000000000007");
    let segment =
        |scope| StreamHandle::Segment { path: "file:/m".into(), start: 5, size: 9, scope, logical_file_id: "l".into() };
    check_stream(
        segment(StateScope::Exclusive),
        r#"0f 0000000000000005 0000000000000009 00000000 0007 "file:/m" 0001 "l""#,
    );
    check_stream(
        segment(StateScope::Shared),
        r#"0f 0000000000000005 0000000000000009 00000001 0007 "file:/m" 0001 "l""#,
    );
    check_stream(StreamHandle::EmptySegment, "10");
    let nested = KeyGroupsStream { range: range(7, 7), offsets: vec![1], data: inline("h", &[0xaa]) };
    check_stream(
        StreamHandle::KeyGroups(Box::new(nested)),
        "03 00000007 00000001 0000000000000001 01 0001 68 00000001 aa",
    );
}

#[test]
fn key_group_handles_with_and_without_id() {
    let handle = |format| {
        KeyedStateHandle::KeyGroups(KeyGroupsHandle {
            format,
            range: range(3, 4),
            offsets: vec![100, 0],
            data: StreamHandle::RelativeFile { path: "f".into(), size: 7 },
        })
    };
    let body = "00000003 00000002 0000000000000064 0000000000000000 06 0001 66 0000000000000007";
    check_keyed(handle(KeyGroupsFormat::Legacy), &format!("03 {body}"));
    check_keyed(handle(KeyGroupsFormat::Canonical), &format!("07 {body}"));
    let with_id = KeyGroupsFormat::V2 { state_handle_id: "sid".into() };
    check_keyed(handle(with_id), &format!("0c {body} 0003 736964"));
}

#[test]
fn incremental_handles() {
    let handle = IncrementalHandle {
        checkpoint_id: 5,
        backend_id: "00000000-0000-0001-0000-000000000002".into(),
        range: range(3, 4),
        checkpointed_size: 42,
        meta: inline("m", &[1]),
        shared: vec![("000008.sst".into(), StreamHandle::File { path: "file:/s".into(), size: 9 })],
        private: vec![],
        state_handle_id: Some("sid".into()),
    };
    let head = r#"0000000000000005 0024 "00000000-0000-0001-0000-000000000002" 00000003 00000002"#;
    let files = r#"01 0001 6d 00000001 01 00000001 000a "000008.sst" 02 0000000000000009 0007 "file:/s" 00000000"#;
    check_keyed(
        KeyedStateHandle::Incremental(Box::new(handle.clone())),
        &format!(r#"0b {head} 000000000000002a {files} 0003 "sid""#),
    );
    // The legacy form knows neither an id nor the size of the increment.
    let legacy = IncrementalHandle { state_handle_id: None, checkpointed_size: 10, ..handle };
    check_keyed(KeyedStateHandle::Incremental(Box::new(legacy)), &format!("05 {head} {files}"));
}

#[test]
fn changelog_handles() {
    let changes = KeyedStateHandle::ChangelogBytes(ChangelogBytesHandle {
        range: range(3, 4),
        from: 1,
        to: 3,
        changes: vec![
            Change { key_group: None, bytes: vec![0xaa] },
            Change { key_group: Some(4), bytes: vec![0xbb, 0xcc] },
        ],
        state_handle_id: "i".into(),
    });
    let changes_hex = "09 00000003 00000002 0000000000000001 0000000000000003 00000002 \
                       ffffffff 00000001 aa 00000004 00000002 bbcc 0001 69";
    check_keyed(changes.clone(), changes_hex);

    let file = |storage| {
        KeyedStateHandle::ChangelogFile(ChangelogFileHandle {
            range: range(3, 4),
            streams: vec![(8, StreamHandle::RelativeFile { path: "f".into(), size: 7 })],
            size: 7,
            checkpointed_size: -1,
            state_handle_id: "i".into(),
            storage,
        })
    };
    let file_hex = "00000003 00000002 00000001 0000000000000008 06 0001 66 0000000000000007 \
                    0000000000000007 ffffffffffffffff 0001 69";
    check_keyed(file(None), &format!("0a {file_hex}"));
    check_keyed(file(Some("filesystem".into())), &format!(r#"0d {file_hex} 000a "filesystem""#));

    let snapshot = KeyedStateHandle::KeyGroups(KeyGroupsHandle {
        format: KeyGroupsFormat::Canonical,
        range: range(3, 4),
        offsets: vec![100, 0],
        data: StreamHandle::EmptySegment,
    });
    let whole = |checkpoint_id| {
        KeyedStateHandle::Changelog(Box::new(ChangelogHandle {
            range: range(3, 4),
            checkpointed_size: 6,
            materialized: vec![snapshot.clone()],
            delta: vec![changes.clone()],
            materialization_id: 2,
            checkpoint_id,
            state_handle_id: "s".into(),
        }))
    };
    let whole_hex = format!(
        "00000003 00000002 0000000000000006 \
         00000001 07 00000003 00000002 0000000000000064 0000000000000000 10 \
         00000001 {changes_hex} 0000000000000002"
    );
    check_keyed(whole(None), &format!("08 {whole_hex} 0001 73"));
    check_keyed(whole(Some(5)), &format!("0e {whole_hex} 0000000000000005 0001 73"));
}

#[test]
fn operator_state_handles() {
    let partitions = |mode| StatePartitions { mode, offsets: vec![10, 20] };
    let data = StreamHandle::File { path: "file:/x/f".into(), size: 7 };
    for (mode, byte) in [
        (DistributionMode::SplitDistribute, "00"),
        (DistributionMode::Union, "01"),
        (DistributionMode::Broadcast, "02"),
    ] {
        let states = BTreeMap::from([("s".to_owned(), partitions(mode))]);
        let hex = format!(
            r#"04 00000001 0001 73 {byte} 00000002 000000000000000a 0000000000000014 02 0000000000000007 0009 "file:/x/f""#
        );
        check_operator_handle(OperatorStateHandle::new(states, data.clone()), &hex);
    }
    // What Flink writes for an operator without operator state when it merges files.
    let empty = OperatorStateHandle {
        states: BTreeMap::new(),
        data: StreamHandle::EmptySegment,
        merged: Some(MergedDirectories { task_owned: "t".into(), shared: "s".into(), is_empty: true }),
    };
    assert!(SubtaskState { managed_operator: Some(empty.clone()), ..SubtaskState::default() }.is_empty());
    check_operator_handle(empty, "11 00000000 0001 74 0001 73 01 10");
}

#[test]
fn channel_state_handles() {
    let channel = ChannelState { gate: 1, channel: 2, offsets: vec![4], size: 9 };
    let data = StreamHandle::RelativeFile { path: "f".into(), size: 7 };
    let single = ChannelStateHandle::Single { subtask: 3, channel: channel.clone(), data: data.clone() };
    let state = SubtaskState {
        input_channels: vec![single.clone()],
        output_channels: vec![single.clone()],
        ..SubtaskState::default()
    };
    let single_hex = "00000003 00000001 00000002 00000001 0000000000000004 0000000000000009 \
                      06 0001 66 0000000000000007";
    let none = "00000000 00000000 00 00";
    check_subtask(V3, state.clone(), &format!("{none} 00000001 {single_hex} 00000001 {single_hex}"));
    check_subtask(V6, state, &format!("{none} 00000001 01 {single_hex} 00000001 02 {single_hex}"));

    let merged = ChannelStateHandle::Merged { subtask: 3, size: 9, channels: vec![channel], data };
    let state = SubtaskState {
        input_channels: vec![merged.clone(), single.clone()],
        output_channels: vec![merged],
        ..SubtaskState::default()
    };
    let merged_hex = "00000003 0000000000000009 06 0001 66 0000000000000007 00000020 \
                      00000001 00000001 00000002 0000000000000009 00000001 0000000000000004";
    check_subtask(V6, state, &format!("{none} 00000002 03 {merged_hex} 01 {single_hex} 00000001 04 {merged_hex}"));
}
