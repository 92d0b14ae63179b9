//! Native snapshots: the files of a store instead of a stream of its entries.

use highwater_checkpoint::{CheckpointStreamFactory, IncrementalHandle, StateOpener, StreamHandle};
use highwater_types::Result;

/// The files of a [`ByteStore`](super::ByteStore) as they were when it was frozen, ready for the asynchronous part of a
/// checkpoint. Dropping it releases them.
pub trait FrozenFiles: Send {
    /// Writes the files that are not yet part of a completed checkpoint into streams and names all of them.
    ///
    /// # Errors
    /// Whatever a stream fails with. Files that were finished before are
    /// [discarded](CheckpointStreamFactory::discard): nobody else knows of them.
    fn upload(self: Box<Self>, streams: &dyn CheckpointStreamFactory) -> Result<NativeFiles>;
}

/// Where the files of a native snapshot lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeFiles {
    /// Identity of the store, under which file names are unique.
    pub backend_id: String,
    /// Bytes that were written for this snapshot alone.
    pub uploaded: u64,
    /// Immutable files that several checkpoints may share: local name and place.
    pub shared: Vec<(String, StreamHandle)>,
    /// Files of this snapshot alone: local name and place.
    pub private: Vec<(String, StreamHandle)>,
}

/// What a store has to be rebuilt from, for [`ByteStoreFactory::restore`](super::ByteStoreFactory::restore).
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct FileRestore<'a> {
    /// Snapshots whose key groups overlap those of the store. Their own ranges do not overlap; what they hold beyond the
    /// key groups of the store must not be seen in it.
    pub handles: &'a [IncrementalHandle],
    /// The columns of all snapshots.
    pub columns: &'a [String],
    /// Opens their streams.
    pub opener: &'a dyn StateOpener,
    /// Whether the snapshots belong to the job's own completed checkpoints, so that later checkpoints may go on naming
    /// their shared files.
    pub is_own: bool,
}
