//! Bytes at rest: storage paths, checkpoint streams, state handles, `_metadata`, retention and the coordinator's
//! decisions. Nothing here knows what the bytes mean.

mod coordinator;
mod handle;
mod stream;

pub use coordinator::{
    AbortReason, AttemptStart, CheckpointKind, Command, Coordinator, CoordinatorSettings, DiscardExtent, Event,
};
pub use handle::{
    Change, ChangelogBytesHandle, ChangelogFileHandle, ChangelogHandle, ChannelState, ChannelStateHandle,
    DistributionMode, IncrementalHandle, KeyGroupsFormat, KeyGroupsHandle, KeyGroupsStream, KeyedStateHandle,
    MergedDirectories, OperatorStateHandle, StatePartitions, StreamHandle,
};
pub use stream::{CheckpointStream, CheckpointStreamFactory, StateOpener, StateReader, StateScope};
