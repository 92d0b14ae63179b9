//! Arbitrary metadata, with every kind of handle a version can hold; written and read again, it is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use highwater_checkpoint::{
    Change, ChangelogBytesHandle, ChangelogFileHandle, ChangelogHandle, ChannelState, ChannelStateHandle,
    CheckpointMetadata, DistributionMode, IncrementalHandle, KeyGroupsFormat, KeyGroupsHandle, KeyGroupsStream,
    KeyedStateHandle, MasterState, MergedDirectories, MetadataVersion, OperatorState, OperatorStateHandle,
    StatePartitions, StateScope, StreamHandle, Subtask, SubtaskState,
};
use highwater_types::{KeyGroupRange, MaxParallelism, OperatorId};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use crate::flink::{committed, metadata_files};

fn number() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![0..1000_u64, 0..=i64::MAX as u64]
}

fn index() -> impl Strategy<Value = u32> + Clone {
    prop_oneof![0..100_u32, 0..=i32::MAX as u32]
}

/// Text with what modified UTF-8 writes differently.
fn text() -> impl Strategy<Value = String> + Clone {
    prop_oneof!["[a-z0-9:/-]{0,12}", "\\PC{0,6}", Just("a\0\u{e9}\u{20ac}\u{1f600}".to_owned())]
}

fn blob() -> impl Strategy<Value = Vec<u8>> + Clone {
    vec(any::<u8>(), 0..20)
}

fn range() -> impl Strategy<Value = KeyGroupRange> + Clone {
    (0..32_768_u16, 0..6_u16)
        .prop_map(|(start, more)| KeyGroupRange::new(start, start.saturating_add(more).min(32_767)).unwrap())
}

/// A range with an offset for each key group.
fn key_groups() -> impl Strategy<Value = (KeyGroupRange, Vec<u64>)> + Clone {
    range().prop_flat_map(|range| (Just(range), vec(number(), range.count())))
}

fn segment() -> impl Strategy<Value = StreamHandle> + Clone {
    prop_oneof![
        Just(StreamHandle::EmptySegment),
        (text(), number(), number(), any::<bool>(), text()).prop_map(|(path, start, size, shared, logical_file_id)| {
            let scope = if shared { StateScope::Shared } else { StateScope::Exclusive };
            StreamHandle::Segment { path, start, size, scope, logical_file_id }
        }),
    ]
}

fn inline() -> impl Strategy<Value = StreamHandle> + Clone {
    (text(), blob()).prop_map(|(name, bytes)| StreamHandle::Inline { name, bytes: bytes.into() })
}

fn stream() -> impl Strategy<Value = StreamHandle> + Clone {
    let leaf = prop_oneof![
        inline(),
        (text(), number()).prop_map(|(path, size)| StreamHandle::File { path, size }),
        (text(), number()).prop_map(|(path, size)| StreamHandle::RelativeFile { path, size }),
        segment(),
    ];
    leaf.prop_recursive(2, 3, 1, |inner| {
        (key_groups(), inner).prop_map(|((range, offsets), data)| {
            StreamHandle::KeyGroups(Box::new(KeyGroupsStream { range, offsets, data }))
        })
    })
}

fn key_groups_handle() -> impl Strategy<Value = KeyedStateHandle> + Clone {
    let format = prop_oneof![
        Just(KeyGroupsFormat::Canonical),
        Just(KeyGroupsFormat::Legacy),
        text().prop_map(|state_handle_id| KeyGroupsFormat::V2 { state_handle_id }),
    ];
    (format, key_groups(), stream()).prop_map(|(format, (range, offsets), data)| {
        KeyedStateHandle::KeyGroups(KeyGroupsHandle { format, range, offsets, data })
    })
}

fn incremental() -> impl Strategy<Value = KeyedStateHandle> + Clone {
    let files = || vec((text(), stream()), 0..3);
    (number(), text(), range(), number(), stream(), files(), files(), option::of(text())).prop_map(
        |(checkpoint_id, backend_id, range, checkpointed_size, meta, shared, private, state_handle_id)| {
            let mut handle = IncrementalHandle {
                checkpoint_id,
                backend_id,
                range,
                checkpointed_size,
                meta,
                shared,
                private,
                state_handle_id,
            };
            if handle.state_handle_id.is_none() {
                handle.checkpointed_size = handle.size();
            }
            KeyedStateHandle::Incremental(Box::new(handle))
        },
    )
}

fn changelog_bytes() -> impl Strategy<Value = KeyedStateHandle> + Clone {
    let change = (option::of(0..32_768_u16), blob()).prop_map(|(key_group, bytes)| Change { key_group, bytes });
    (range(), any::<i64>(), any::<i64>(), vec(change, 0..4), text()).prop_map(
        |(range, from, to, changes, state_handle_id)| {
            KeyedStateHandle::ChangelogBytes(ChangelogBytesHandle { range, from, to, changes, state_handle_id })
        },
    )
}

fn changelog_file() -> impl Strategy<Value = KeyedStateHandle> + Clone {
    let streams = vec((number(), stream()), 0..3);
    (range(), streams, number(), any::<i64>(), text(), option::of(text())).prop_map(
        |(range, streams, size, checkpointed_size, state_handle_id, storage)| {
            KeyedStateHandle::ChangelogFile(ChangelogFileHandle {
                range,
                streams,
                size,
                checkpointed_size,
                state_handle_id,
                storage,
            })
        },
    )
}

fn keyed() -> impl Strategy<Value = KeyedStateHandle> + Clone {
    let leaf = prop_oneof![key_groups_handle(), incremental(), changelog_bytes(), changelog_file()];
    leaf.prop_recursive(2, 6, 2, |inner| {
        let parts = || vec(inner.clone(), 0..3);
        (range(), any::<i64>(), parts(), parts(), any::<i64>(), option::of(any::<i64>()), text()).prop_map(
            |(range, checkpointed_size, materialized, delta, materialization_id, checkpoint_id, state_handle_id)| {
                KeyedStateHandle::Changelog(Box::new(ChangelogHandle {
                    range,
                    checkpointed_size,
                    materialized,
                    delta,
                    materialization_id,
                    checkpoint_id,
                    state_handle_id,
                }))
            },
        )
    })
}

fn operator_handle() -> impl Strategy<Value = OperatorStateHandle> + Clone {
    let mode = prop_oneof![
        Just(DistributionMode::SplitDistribute),
        Just(DistributionMode::Union),
        Just(DistributionMode::Broadcast),
    ];
    let partitions = (mode, vec(number(), 0..4)).prop_map(|(mode, offsets)| StatePartitions { mode, offsets });
    let states = btree_map(text(), partitions, 0..3);
    let directories = (text(), text(), any::<bool>()).prop_map(|(task_owned, shared, is_empty)| MergedDirectories {
        task_owned,
        shared,
        is_empty,
    });
    prop_oneof![
        (states.clone(), stream()).prop_map(|(states, data)| OperatorStateHandle::new(states, data)),
        (states, segment(), directories).prop_map(|(states, data, merged)| OperatorStateHandle {
            states,
            data,
            merged: Some(merged)
        }),
    ]
}

fn channel() -> impl Strategy<Value = ChannelState> + Clone {
    (index(), index(), vec(number(), 0..3), number()).prop_map(|(gate, channel, offsets, size)| ChannelState {
        gate,
        channel,
        offsets,
        size,
    })
}

fn channels(version: u32) -> BoxedStrategy<Vec<ChannelStateHandle>> {
    let single = (index(), channel(), stream()).prop_map(|(subtask, channel, data)| ChannelStateHandle::Single {
        subtask,
        channel,
        data,
    });
    let merged = (index(), number(), vec(channel(), 0..3), stream())
        .prop_map(|(subtask, size, channels, data)| ChannelStateHandle::Merged { subtask, size, channels, data });
    match version {
        6.. => vec(prop_oneof![single, merged], 0..2).boxed(),
        _ => vec(single, 0..2).boxed(),
    }
}

fn subtask(version: u32) -> impl Strategy<Value = Subtask> {
    let operator = || option::weighted(0.3, operator_handle());
    let keyed = || option::weighted(0.4, keyed());
    let state = (operator(), operator(), keyed(), keyed(), channels(version), channels(version)).prop_map(
        |(managed_operator, raw_operator, managed_keyed, raw_keyed, input_channels, output_channels)| SubtaskState {
            managed_operator,
            raw_operator,
            managed_keyed,
            raw_keyed,
            input_channels,
            output_channels,
        },
    );
    prop_oneof![1 => Just(Subtask::Finished), 5 => state.prop_map(Subtask::from)]
}

fn operator(version: u32) -> impl Strategy<Value = OperatorState> {
    let name = move || {
        let name = option::of(text().prop_filter("an empty name is no name", |name| !name.is_empty()));
        if version >= 5 { name.boxed() } else { Just(None).boxed() }
    };
    let parallelism = (1..=32_768_u32).prop_flat_map(|max| (0..=max, Just(max)));
    (any::<[u8; 16]>(), name(), name(), parallelism, option::of(inline()), option::weighted(0.9, subtasks(version)))
        .prop_map(|(id, name, uid, (parallelism, max), coordinator, subtasks)| OperatorState {
            id: OperatorId::from_bytes(id),
            name,
            uid,
            parallelism,
            max_parallelism: MaxParallelism::new(max).unwrap(),
            coordinator: coordinator.filter(|_| subtasks.is_some()),
            fully_finished: subtasks.is_none(),
            subtasks: subtasks.unwrap_or_default().into_iter().filter(|(index, _)| *index < parallelism).collect(),
        })
}

fn subtasks(version: u32) -> impl Strategy<Value = BTreeMap<u32, Subtask>> {
    let index = prop_oneof![0..4_u32, 0..32_768_u32];
    btree_map(index, subtask(version), 0..4)
}

/// Those that Flink wrote: of savepoints and of checkpoints.
fn properties() -> impl Strategy<Value = Option<Vec<u8>>> {
    let files = metadata_files(&committed());
    let read = |file: &PathBuf| CheckpointMetadata::read(&fs::read(file).unwrap()).unwrap().properties;
    let found: BTreeSet<_> = files.iter().filter_map(read).collect();
    prop::sample::select(found.into_iter().map(Some).collect::<Vec<_>>())
}

/// Metadata that this version can hold.
pub(crate) fn metadata(version: u32) -> impl Strategy<Value = CheckpointMetadata> {
    let master = (text(), any::<i32>(), blob()).prop_map(|(name, version, bytes)| MasterState { name, version, bytes });
    let properties = if version >= 4 { properties().boxed() } else { Just(None).boxed() };
    (number(), vec(master, 0..2), vec(operator(version), 0..3), properties).prop_map(
        |(checkpoint_id, master_states, operators, properties)| CheckpointMetadata {
            checkpoint_id,
            master_states,
            operators,
            properties,
        },
    )
}

pub(crate) const VERSIONS: [(u32, MetadataVersion); 4] =
    [(3, MetadataVersion::V3), (4, MetadataVersion::V4), (5, MetadataVersion::V5), (6, MetadataVersion::V6)];

proptest! {
    #[test]
    fn what_is_written_is_read(
        (version, metadata) in prop::sample::select(&VERSIONS[..])
            .prop_flat_map(|(number, version)| (Just(version), metadata(number)))
    ) {
        let bytes = metadata.write(version).unwrap();
        prop_assert_eq!(MetadataVersion::of(&bytes).unwrap(), version);
        prop_assert_eq!(CheckpointMetadata::read(&bytes).unwrap(), metadata);
    }
}
