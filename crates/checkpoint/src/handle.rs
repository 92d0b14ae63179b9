//! State handles: where the bytes of one piece of state lie. The handle kinds are those of Flink's metadata.

use std::collections::BTreeMap;
use std::sync::Arc;

use highwater_types::KeyGroupRange;

/// Where one stream of bytes lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamHandle {
    /// The bytes themselves (`ByteStreamStateHandle`, tag 1); they travel inside `_metadata`.
    Inline {
        /// Identity of the stream, unique among all inline handles.
        name: String,
        /// The bytes.
        bytes: Arc<[u8]>,
    },
    /// A file by absolute path (`FileStateHandle`, tag 2), in Flink's printed form (`file:/data/x`).
    File {
        /// Path as printed by Flink.
        path: String,
        /// Size in bytes.
        size: u64,
    },
    /// A file beside `_metadata` (`RelativeFileStateHandle`, tag 6).
    RelativeFile {
        /// Path relative to the directory of `_metadata`.
        path: String,
        /// Size in bytes.
        size: u64,
    },
}

impl StreamHandle {
    /// Size of the stream in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Inline { bytes, .. } => bytes.len() as u64,
            Self::File { size, .. } | Self::RelativeFile { size, .. } => *size,
        }
    }
}

/// How the handle of a key-grouped stream is tagged; it decides which layouts the stream may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyGroupsFormat {
    /// Canonical stream (`KeyGroupsSavepointStateHandle`, tag 7): what Highwater writes.
    Canonical,
    /// Heap-native or canonical stream without an id (tag 3).
    Legacy,
    /// Heap-native or canonical stream with an id (tag 12).
    V2 {
        /// Unique id of the handle.
        state_handle_id: String,
    },
}

/// A stream of keyed state, addressed by key group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyGroupsHandle {
    /// How the handle is tagged.
    pub format: KeyGroupsFormat,
    /// Key groups of the stream.
    pub range: KeyGroupRange,
    /// Absolute position of each key group in the stream, one per key group of `range`, in order. In a canonical
    /// stream 0 means "this key group is empty".
    pub offsets: Vec<u64>,
    /// The stream.
    pub data: StreamHandle,
}

/// The files of one RocksDB database (`IncrementalRemoteKeyedStateHandle`, tags 5 and 11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncrementalHandle {
    /// Checkpoint the handle was written for.
    pub checkpoint_id: u64,
    /// Identity of the backend that wrote the chain of increments.
    pub backend_id: String,
    /// Key groups of the database.
    pub range: KeyGroupRange,
    /// Bytes written for this checkpoint alone.
    pub checkpointed_size: u64,
    /// Stream with the header that describes the states.
    pub meta: StreamHandle,
    /// Immutable files that several checkpoints may share: local name and place.
    pub shared: Vec<(String, StreamHandle)>,
    /// Files of this checkpoint alone: local name and place.
    pub private: Vec<(String, StreamHandle)>,
    /// Unique id of the handle; none in the legacy form (tag 5).
    pub state_handle_id: Option<String>,
}

/// Keyed state of one subtask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyedStateHandle {
    /// A key-grouped stream.
    KeyGroups(KeyGroupsHandle),
    /// The files of a RocksDB database.
    Incremental(Box<IncrementalHandle>),
}

/// How the elements of one operator state are spread over subtasks on restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DistributionMode {
    /// Elements are split among the subtasks (`SPLIT_DISTRIBUTE`).
    SplitDistribute,
    /// Every subtask receives all elements of all subtasks (`UNION`).
    Union,
    /// Every subtask receives one copy (`BROADCAST`).
    Broadcast,
}

/// Elements of one operator state inside a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatePartitions {
    /// How they are spread on restore.
    pub mode: DistributionMode,
    /// Absolute position of each element.
    pub offsets: Vec<u64>,
}

/// Operator state of one subtask (`OperatorStreamStateHandle`, tag 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorStateHandle {
    /// Elements by state name.
    pub states: BTreeMap<String, StatePartitions>,
    /// The stream.
    pub data: StreamHandle,
}
