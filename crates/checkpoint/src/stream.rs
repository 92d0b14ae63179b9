//! Checkpoint streams: how the asynchronous part of a snapshot writes bytes without knowing where they go, and how a
//! restore reads them.

use std::io::{Read, Seek, Write};

use highwater_types::Result;

use crate::StreamHandle;

/// Whom the bytes of a stream belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateScope {
    /// One checkpoint alone; deleted with it.
    Exclusive,
    /// Possibly several checkpoints; deleted by the shared-state registry.
    Shared,
}

/// A stream of state bytes on their way to storage. Dropping it without [`finish`](Self::finish) deletes what was
/// written. After a failed write it never gives a handle; [`error_from_io`](crate::error_from_io) tells what happened.
pub trait CheckpointStream: Write + Send {
    /// Bytes written so far.
    fn position(&self) -> u64;

    /// Closes the stream durably and returns its handle, or none if nothing was ever written.
    fn finish(self: Box<Self>) -> Result<Option<StreamHandle>>;
}

/// Opens checkpoint streams for one checkpoint.
pub trait CheckpointStreamFactory: Send + Sync {
    /// A new, empty stream.
    fn create_stream(&self, scope: StateScope) -> Result<Box<dyn CheckpointStream>>;
}

/// Bytes of a snapshot being read.
pub trait StateReader: Read + Seek + Send {}
impl<T: Read + Seek + Send> StateReader for T {}

/// Opens the bytes behind handles of one snapshot. A relative handle is resolved against the directory in which the
/// snapshot's `_metadata` was found.
pub trait StateOpener: Send + Sync {
    /// Opens a stream; a missing or short file is a [`Corrupt`](highwater_types::ErrorKind::Corrupt) error that names it.
    fn open(&self, handle: &StreamHandle) -> Result<Box<dyn StateReader>>;
}
