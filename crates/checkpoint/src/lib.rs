//! Bytes at rest: storage paths, checkpoint streams, state handles, `_metadata`, retention and the coordinator's
//! decisions. Nothing here knows what the bytes mean.

mod handle;
mod stream;

pub use handle::{
    DistributionMode, IncrementalHandle, KeyGroupsFormat, KeyGroupsHandle, KeyedStateHandle, OperatorStateHandle,
    StatePartitions, StreamHandle,
};
pub use stream::{CheckpointStream, CheckpointStreamFactory, StateOpener, StateReader, StateScope};
