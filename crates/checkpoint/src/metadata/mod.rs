//! The `_metadata` of a checkpoint or savepoint: what it consists of, and its bytes as Flink writes them.
//!
//! A file is the magic number `0x4960672d`, the version, the checkpoint id, a counted list of master states, a counted
//! list of operators and, from version 4 on, the properties. The grammar of each part stands at the module that reads
//! and writes it. Nothing follows the last part.

mod body;
mod channel;
mod java_object;
mod keyed;
mod operator;
mod primitives;
mod properties;
mod stream;
mod version;

use std::collections::BTreeMap;

use highwater_types::{ByteReader, MaxParallelism, OperatorId, Result};

pub use version::MetadataVersion;

use crate::handle::total;
use crate::{ChannelStateHandle, KeyedStateHandle, OperatorStateHandle, StreamHandle};

/// What a checkpoint or savepoint consists of (`CheckpointMetadata`).
///
/// ```
/// use highwater_checkpoint::{CheckpointMetadata, MetadataVersion};
///
/// // An empty savepoint.
/// let bytes = CheckpointMetadata::new(5).write(MetadataVersion::V3)?;
/// assert_eq!(bytes.len(), 24);
/// let metadata = CheckpointMetadata::read(&bytes)?;
/// assert_eq!(metadata.checkpoint_id, 5);
/// assert!(metadata.operators.is_empty());
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointMetadata {
    /// Number of the checkpoint; a restored job counts on from here.
    pub checkpoint_id: u64,
    /// State of job-wide hooks, nearly always none.
    pub master_states: Vec<MasterState>,
    /// State by operator, in the order of the file. An operator occurs once.
    pub operators: Vec<OperatorState>,
    /// The checkpoint's properties as a Java object stream, kept as read (version 4 and later). Where there are none,
    /// those of a canonical savepoint are written.
    pub properties: Option<Vec<u8>>,
}

impl CheckpointMetadata {
    /// A checkpoint without state.
    #[must_use]
    pub fn new(checkpoint_id: u64) -> Self {
        Self { checkpoint_id, ..Self::default() }
    }

    /// Reads versions 2 to 6, with every kind of handle.
    ///
    /// # Errors
    /// [`Corrupt`](highwater_types::ErrorKind::Corrupt) with the offset, and the operator and subtask where known, also
    /// for a file that ends anywhere before its last byte or goes on behind it;
    /// [`Unsupported`](highwater_types::ErrorKind::Unsupported) for other versions. Names with unpaired surrogates,
    /// which Java permits, cannot be read.
    pub fn read(metadata: &[u8]) -> Result<Self> {
        let mut reader = ByteReader::new(metadata);
        let version = MetadataVersion::read_header(&mut reader)?;
        body::read(&mut reader, version)
    }

    /// Writes one of the versions 3 to 6.
    ///
    /// # Errors
    /// [`Unsupported`](highwater_types::ErrorKind::Unsupported) where the version cannot hold what is to be written:
    /// properties need 4, operator names and uids 5, merged channel state 6. Version 2 is not written.
    pub fn write(&self, version: MetadataVersion) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        body::write(&mut out, self, version)?;
        Ok(out)
    }

    /// The state of one operator.
    #[must_use]
    pub fn operator(&self, id: OperatorId) -> Option<&OperatorState> {
        self.operators.iter().find(|operator| operator.id == id)
    }

    /// Every stream this checkpoint refers to, at any depth: what must exist for it to be restored, and what may be
    /// deleted with it as far as no other checkpoint refers to it. A stream that several handles share comes as often
    /// as it is referred to. Historic nesting is resolved: no handle is a [`StreamHandle::KeyGroups`].
    pub fn stream_handles(&self) -> impl Iterator<Item = &StreamHandle> {
        let mut streams = Vec::new();
        self.operators.iter().for_each(|operator| operator.collect_streams(&mut streams));
        streams.into_iter()
    }

    /// Size of all state in bytes, as Flink counts it: shared files in full, the metadata itself not.
    #[must_use]
    pub fn state_size(&self) -> u64 {
        total(self.operators.iter().map(OperatorState::state_size))
    }

    /// Bytes of state written for this checkpoint alone, as far as the handles tell: without files that an incremental
    /// checkpoint shares with earlier ones.
    #[must_use]
    pub fn checkpointed_size(&self) -> u64 {
        total(self.operators.iter().map(OperatorState::checkpointed_size))
    }
}

/// State of a hook that belongs to the whole job (`MasterState`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterState {
    /// Name of the hook.
    pub name: String,
    /// Version of the hook's own format.
    pub version: i32,
    /// The state.
    pub bytes: Vec<u8>,
}

/// State of one operator (`OperatorState`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorState {
    /// Identity of the operator.
    pub id: OperatorId,
    /// Display name (version 5 and later).
    pub name: Option<String>,
    /// Uid as the user gave it (version 5 and later).
    pub uid: Option<String>,
    /// Parallelism at the time of the checkpoint.
    pub parallelism: u32,
    /// Number of key groups.
    pub max_parallelism: MaxParallelism,
    /// State of the operator's coordinator, always inline.
    pub coordinator: Option<StreamHandle>,
    /// Subtasks by index, below `parallelism`. A subtask without state may be left out.
    pub subtasks: BTreeMap<u32, Subtask>,
    /// Whether all subtasks had finished; then neither coordinator nor subtasks have state.
    pub fully_finished: bool,
}

impl OperatorState {
    /// An operator without state.
    #[must_use]
    pub fn new(id: OperatorId, parallelism: u32, max_parallelism: MaxParallelism) -> Self {
        Self {
            id,
            name: None,
            uid: None,
            parallelism,
            max_parallelism,
            coordinator: None,
            subtasks: BTreeMap::new(),
            fully_finished: false,
        }
    }

    /// The state of one subtask; none if it is not listed or had finished.
    #[must_use]
    pub fn subtask(&self, index: u32) -> Option<&SubtaskState> {
        match self.subtasks.get(&index)? {
            Subtask::State(state) => Some(state),
            Subtask::Finished => None,
        }
    }

    /// The states of all subtasks that have one, with their index, ascending.
    pub fn subtask_states(&self) -> impl Iterator<Item = (u32, &SubtaskState)> {
        self.subtasks.iter().filter_map(|(index, subtask)| match subtask {
            Subtask::State(state) => Some((*index, &**state)),
            Subtask::Finished => None,
        })
    }

    /// Whether the operator holds anything that a restore would have to find a place for.
    #[must_use]
    pub fn has_state(&self) -> bool {
        self.coordinator.is_some() || self.subtask_states().any(|(_, state)| !state.is_empty())
    }

    /// Size of the state in bytes.
    #[must_use]
    pub fn state_size(&self) -> u64 {
        let coordinator = self.coordinator.iter().map(StreamHandle::size);
        total(coordinator.chain(self.subtask_states().map(|(_, state)| state.state_size())))
    }

    /// Bytes of it written for this checkpoint alone, as [`CheckpointMetadata::checkpointed_size`].
    #[must_use]
    pub fn checkpointed_size(&self) -> u64 {
        let shared = |state: &SubtaskState| -> u64 {
            total(state.keyed_handles().map(|handle| handle.size().saturating_sub(handle.checkpointed_size())))
        };
        self.state_size().saturating_sub(total(self.subtask_states().map(|(_, state)| shared(state))))
    }

    fn collect_streams<'a>(&'a self, streams: &mut Vec<&'a StreamHandle>) {
        streams.extend(self.coordinator.as_ref().map(StreamHandle::innermost));
        self.subtask_states().for_each(|(_, state)| state.collect_streams(streams));
    }
}

/// One subtask of an operator in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subtask {
    /// It ran and acknowledged this state.
    State(Box<SubtaskState>),
    /// It had finished before the checkpoint and left no state.
    Finished,
}

impl From<SubtaskState> for Subtask {
    fn from(state: SubtaskState) -> Self {
        Self::State(Box::new(state))
    }
}

/// State of one subtask of one operator (`OperatorSubtaskState`): at most one handle of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubtaskState {
    /// Operator state registered by name.
    pub managed_operator: Option<OperatorStateHandle>,
    /// Operator state written as a plain stream.
    pub raw_operator: Option<OperatorStateHandle>,
    /// Keyed state of the backend.
    pub managed_keyed: Option<KeyedStateHandle>,
    /// Keyed state written beside the backend (heap timers of a RocksDB job).
    pub raw_keyed: Option<KeyedStateHandle>,
    /// In-flight records of the inputs (unaligned checkpoints).
    pub input_channels: Vec<ChannelStateHandle>,
    /// In-flight records of the outputs (unaligned checkpoints).
    pub output_channels: Vec<ChannelStateHandle>,
}

impl SubtaskState {
    /// Whether there is no state at all. A merged handle that only keeps directories alive is no state.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let operator_state = |handle: &OperatorStateHandle| !handle.merged.as_ref().is_some_and(|m| m.is_empty);
        !self.operator_handles().any(operator_state)
            && self.keyed_handles().next().is_none()
            && self.channel_handles().next().is_none()
    }

    /// Size of the state in bytes.
    #[must_use]
    pub fn state_size(&self) -> u64 {
        let operator = self.operator_handles().map(|handle| handle.data.size());
        let keyed = self.keyed_handles().map(KeyedStateHandle::size);
        total(operator.chain(keyed).chain(self.channel_handles().map(ChannelStateHandle::size)))
    }

    /// The streams of all handles.
    pub fn stream_handles(&self) -> impl Iterator<Item = &StreamHandle> {
        let mut streams = Vec::new();
        self.collect_streams(&mut streams);
        streams.into_iter()
    }

    fn operator_handles(&self) -> impl Iterator<Item = &OperatorStateHandle> {
        self.managed_operator.iter().chain(&self.raw_operator)
    }

    fn keyed_handles(&self) -> impl Iterator<Item = &KeyedStateHandle> {
        self.managed_keyed.iter().chain(&self.raw_keyed)
    }

    fn channel_handles(&self) -> impl Iterator<Item = &ChannelStateHandle> {
        self.input_channels.iter().chain(&self.output_channels)
    }

    fn collect_streams<'a>(&'a self, streams: &mut Vec<&'a StreamHandle>) {
        streams.extend(self.operator_handles().map(|handle| handle.data.innermost()));
        self.keyed_handles().for_each(|handle| handle.collect_streams(streams));
        streams.extend(self.channel_handles().map(|handle| handle.data().innermost()));
    }
}
