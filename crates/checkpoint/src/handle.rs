//! State handles: where the bytes of one piece of state lie. The handle kinds are those of Flink's metadata; whatever
//! is read from there can be written back.

use std::collections::BTreeMap;
use std::sync::Arc;

use highwater_types::{KeyGroup, KeyGroupRange};

use crate::StateScope;

/// Where one stream of bytes lies.
///
/// ```
/// use highwater_checkpoint::StreamHandle;
///
/// let handle = StreamHandle::RelativeFile { path: "8fa81e38-87b7-4503-9e21-56310ce4caeb".into(), size: 4315 };
/// assert_eq!(handle.size(), 4315);
/// ```
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
    /// A stream that names its key groups itself (`KeyGroupsStateHandle` in the place of a stream, tag 3). Old
    /// releases could nest handles so; none is known to have done it.
    KeyGroups(Box<KeyGroupsStream>),
    /// A piece of a file that several streams share (`SegmentFileStateHandle`, tag 15; file merging of Flink 1.20+).
    Segment {
        /// Absolute path of the file.
        path: String,
        /// First byte of the piece in the file.
        start: u64,
        /// Size of the piece in bytes.
        size: u64,
        /// Whom the file belongs to.
        scope: StateScope,
        /// Identity of the piece.
        logical_file_id: String,
    },
    /// A piece without bytes (`EmptySegmentFileStateHandle`, tag 16).
    EmptySegment,
}

impl StreamHandle {
    /// Size of the stream in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Inline { bytes, .. } => bytes.len() as u64,
            Self::File { size, .. } | Self::RelativeFile { size, .. } | Self::Segment { size, .. } => *size,
            Self::KeyGroups(nested) => nested.data.size(),
            Self::EmptySegment => 0,
        }
    }

    /// The stream itself, below any historic nesting: never a [`KeyGroups`](Self::KeyGroups).
    #[must_use]
    pub fn innermost(&self) -> &Self {
        match self {
            Self::KeyGroups(nested) => nested.data.innermost(),
            stream => stream,
        }
    }
}

/// A stream with positions of its key groups, in the place of a plain stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyGroupsStream {
    /// Key groups of the stream.
    pub range: KeyGroupRange,
    /// Absolute position of each key group in the stream, one per key group of `range`, in order.
    pub offsets: Vec<u64>,
    /// The stream.
    pub data: StreamHandle,
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
    /// Bytes written for this checkpoint alone. The legacy form (tag 5) does not tell; there it is the size of all
    /// files, as in Flink.
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

impl IncrementalHandle {
    /// Size of all files in bytes, shared ones included.
    #[must_use]
    pub fn size(&self) -> u64 {
        total(self.streams().map(StreamHandle::size))
    }

    fn streams(&self) -> impl Iterator<Item = &StreamHandle> {
        let files = self.shared.iter().chain(&self.private).map(|(_, stream)| stream);
        std::iter::once(&self.meta).chain(files)
    }
}

/// Keyed state of one subtask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyedStateHandle {
    /// A key-grouped stream.
    KeyGroups(KeyGroupsHandle),
    /// The files of a RocksDB database.
    Incremental(Box<IncrementalHandle>),
    /// A snapshot and the changes since then (changelog backend).
    Changelog(Box<ChangelogHandle>),
    /// Changes, inline.
    ChangelogBytes(ChangelogBytesHandle),
    /// Changes, in files.
    ChangelogFile(ChangelogFileHandle),
}

impl KeyedStateHandle {
    /// Key groups the handle covers.
    #[must_use]
    pub fn range(&self) -> KeyGroupRange {
        match self {
            Self::KeyGroups(handle) => handle.range,
            Self::Incremental(handle) => handle.range,
            Self::Changelog(handle) => handle.range,
            Self::ChangelogBytes(handle) => handle.range,
            Self::ChangelogFile(handle) => handle.range,
        }
    }

    /// Size of the state in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::KeyGroups(handle) => handle.data.size(),
            Self::Incremental(handle) => handle.size(),
            Self::Changelog(handle) => total(handle.materialized.iter().chain(&handle.delta).map(Self::size)),
            Self::ChangelogBytes(handle) => total(handle.changes.iter().map(|change| change.bytes.len() as u64)),
            Self::ChangelogFile(handle) => handle.size,
        }
    }

    /// Bytes written for this checkpoint alone: without what it shares with earlier ones.
    #[must_use]
    pub fn checkpointed_size(&self) -> u64 {
        match self {
            Self::Incremental(handle) => handle.checkpointed_size,
            _ => self.size(),
        }
    }

    /// Adds every stream below this handle to `streams`.
    pub(crate) fn collect_streams<'a>(&'a self, streams: &mut Vec<&'a StreamHandle>) {
        match self {
            Self::KeyGroups(handle) => streams.push(handle.data.innermost()),
            Self::Incremental(handle) => streams.extend(handle.streams().map(StreamHandle::innermost)),
            Self::Changelog(handle) => {
                handle.materialized.iter().chain(&handle.delta).for_each(|part| part.collect_streams(streams));
            }
            Self::ChangelogBytes(_) => {}
            Self::ChangelogFile(handle) => streams.extend(handle.streams.iter().map(|(_, s)| s.innermost())),
        }
    }
}

/// A snapshot and the changes since then (`ChangelogStateBackendHandle`, tags 8 and 14). Highwater carries it along,
/// but does not read the changes: take a canonical savepoint to move such a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangelogHandle {
    /// Key groups of the state.
    pub range: KeyGroupRange,
    /// Bytes written for this checkpoint alone, -1 if not known.
    pub checkpointed_size: i64,
    /// The snapshot.
    pub materialized: Vec<KeyedStateHandle>,
    /// The changes since the snapshot.
    pub delta: Vec<KeyedStateHandle>,
    /// Number of the snapshot.
    pub materialization_id: i64,
    /// Checkpoint the handle was written for; none in the first form (tag 8).
    pub checkpoint_id: Option<i64>,
    /// Unique id of the handle.
    pub state_handle_id: String,
}

/// Changes, inline (`InMemoryChangelogStateHandle`, tag 9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangelogBytesHandle {
    /// Key groups of the state.
    pub range: KeyGroupRange,
    /// First sequence number.
    pub from: i64,
    /// Sequence number after the last.
    pub to: i64,
    /// The changes in order.
    pub changes: Vec<Change>,
    /// Unique id of the handle.
    pub state_handle_id: String,
}

/// One change of a changelog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Key group that changed; none where the description of a state changed.
    pub key_group: Option<KeyGroup>,
    /// The change.
    pub bytes: Vec<u8>,
}

/// Changes, in files (`ChangelogStateHandleStreamImpl`, tags 10 and 13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangelogFileHandle {
    /// Key groups of the state.
    pub range: KeyGroupRange,
    /// Position of the changes in each stream, and the stream.
    pub streams: Vec<(u64, StreamHandle)>,
    /// Size of the changes in bytes.
    pub size: u64,
    /// Bytes written for this checkpoint alone, -1 if not known.
    pub checkpointed_size: i64,
    /// Unique id of the handle.
    pub state_handle_id: String,
    /// Name of the changelog storage; none in the first form (tag 10), which implies `filesystem`.
    pub storage: Option<String>,
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

/// Operator state of one subtask (`OperatorStreamStateHandle`, tag 4; over a merged file
/// `FileMergingOperatorStreamStateHandle`, tag 17).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorStateHandle {
    /// Elements by state name.
    pub states: BTreeMap<String, StatePartitions>,
    /// The stream.
    pub data: StreamHandle,
    /// Directories of the merged files `data` lies in; none for a stream of its own.
    pub merged: Option<MergedDirectories>,
}

impl OperatorStateHandle {
    /// A handle over a stream of its own.
    #[must_use]
    pub fn new(states: BTreeMap<String, StatePartitions>, data: StreamHandle) -> Self {
        Self { states, data, merged: None }
    }
}

/// Directories of merged files that an operator-state handle keeps alive (tag 17).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedDirectories {
    /// Directory of the task manager's own files.
    pub task_owned: String,
    /// Directory of files shared between checkpoints.
    pub shared: String,
    /// Whether the handle stands for "no state" and only keeps the directories.
    pub is_empty: bool,
}

/// In-flight records of one subtask at an unaligned checkpoint, of inputs or of outputs. Highwater carries them along
/// and never writes its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelStateHandle {
    /// One channel (`InputChannelStateHandle`, `ResultSubpartitionStateHandle`).
    Single {
        /// Index of the subtask that wrote the stream.
        subtask: u32,
        /// The channel and where its buffers lie.
        channel: ChannelState,
        /// The stream, often shared by many channels.
        data: StreamHandle,
    },
    /// Several channels of one subtask (`MergedInputChannelStateHandle`, `MergedResultSubpartitionStateHandle`;
    /// metadata version 6).
    Merged {
        /// Index of the subtask that wrote the stream.
        subtask: u32,
        /// Size of all buffers in bytes.
        size: u64,
        /// The channels and where their buffers lie.
        channels: Vec<ChannelState>,
        /// The stream.
        data: StreamHandle,
    },
}

impl ChannelStateHandle {
    /// Size of the buffers in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Single { channel, .. } => channel.size,
            Self::Merged { size, .. } => *size,
        }
    }

    /// The stream the buffers lie in.
    #[must_use]
    pub fn data(&self) -> &StreamHandle {
        match self {
            Self::Single { data, .. } | Self::Merged { data, .. } => data,
        }
    }
}

/// Buffers of one channel inside a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelState {
    /// Gate of an input, partition of an output.
    pub gate: u32,
    /// Channel of an input gate, subpartition of an output partition.
    pub channel: u32,
    /// Absolute position of each buffer.
    pub offsets: Vec<u64>,
    /// Size of the buffers in bytes.
    pub size: u64,
}

/// Sum that stays at its largest value: sizes come from files and may lie.
pub(crate) fn total(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}
