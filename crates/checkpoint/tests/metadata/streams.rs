//! What a checkpoint refers to, and how large it is.

use std::collections::BTreeMap;
use std::fs;

use highwater_checkpoint::{
    CheckpointMetadata, KeyGroupsStream, KeyedStateHandle, OperatorState, OperatorStateHandle, StreamHandle,
    SubtaskState,
};
use highwater_types::{KeyGroupRange, MaxParallelism, OperatorId};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::arbitrary;
use crate::flink::committed;

/// An increment refers to files beside it, to shared files and to inline bytes, and all of them are found.
#[test]
fn every_stream_of_an_increment_is_found() {
    let file = committed().join("1.20.5/rocksdb-incremental-checkpoint/chk-3/_metadata");
    let metadata = CheckpointMetadata::read(&fs::read(file).unwrap()).unwrap();
    let mut expected = 0;
    let mut size = 0;
    for (_, state) in metadata.operators.iter().flat_map(|operator| operator.subtask_states()) {
        if let Some(handle) = &state.managed_operator {
            expected += 1;
            size += handle.data.size();
        }
        let Some(KeyedStateHandle::Incremental(handle)) = &state.managed_keyed else { continue };
        assert!(handle.checkpointed_size <= handle.size());
        expected += 1 + handle.shared.len() + handle.private.len();
        size += handle.size();
    }
    assert!(expected > 40);
    assert_eq!(metadata.stream_handles().count(), expected);
    assert_eq!(metadata.state_size(), size);
    let files = |wanted: fn(&StreamHandle) -> bool| metadata.stream_handles().filter(|stream| wanted(stream)).count();
    assert!(files(|stream| matches!(stream, StreamHandle::Inline { .. })) > 0);
    assert!(files(|stream| matches!(stream, StreamHandle::File { .. })) > 0);
    assert!(files(|stream| matches!(stream, StreamHandle::RelativeFile { .. })) > 0);
}

#[test]
fn historic_nesting_is_resolved() {
    let range = KeyGroupRange::new(0, 0).unwrap();
    let file = StreamHandle::RelativeFile { path: "f".into(), size: 7 };
    let nest = |data| StreamHandle::KeyGroups(Box::new(KeyGroupsStream { range, offsets: vec![0], data }));
    let nested = nest(nest(file.clone()));
    assert_eq!(nested.size(), 7);
    assert_eq!(*nested.innermost(), file);
}

/// Each stream handle in the debug text of a value is found, whatever kind of handle it is in.
#[test]
fn every_stream_of_any_value_is_found() {
    let mut runner = TestRunner::deterministic();
    for _ in 0..300 {
        let metadata = arbitrary::metadata(6).new_tree(&mut runner).unwrap().current();
        let text = format!("{metadata:?}");
        let kinds = ["Inline {", " File {", "RelativeFile {", "Segment {"];
        let mentioned: usize = kinds.iter().map(|kind| text.matches(kind).count()).sum();
        let with_fields = |stream: &&StreamHandle| !matches!(stream, StreamHandle::EmptySegment);
        assert_eq!(metadata.stream_handles().filter(with_fields).count(), mentioned, "{text}");
        assert!(metadata.stream_handles().all(|stream| !matches!(stream, StreamHandle::KeyGroups(_))));
    }
}

/// Sizes come from a file and may be anything.
#[test]
fn a_sum_of_sizes_stays_at_its_largest_value() {
    let mut operator = OperatorState::new(OperatorId::from_uid("a"), 3, MaxParallelism::new(3).unwrap());
    for index in 0..3 {
        let data = StreamHandle::RelativeFile { path: "f".into(), size: i64::MAX as u64 };
        let managed_operator = Some(OperatorStateHandle::new(BTreeMap::new(), data));
        operator.subtasks.insert(index, SubtaskState { managed_operator, ..SubtaskState::default() }.into());
    }
    let metadata = CheckpointMetadata { operators: vec![operator], ..CheckpointMetadata::new(1) };
    assert_eq!(metadata.state_size(), u64::MAX);
}
