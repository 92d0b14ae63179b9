//! Snapshots of keyed state: frozen in the synchronous part, written in the asynchronous part.

use highwater_checkpoint::{CheckpointStreamFactory, IncrementalHandle, KeyedStateHandle, StateScope, StreamHandle};
use highwater_types::{Error, KeyGroup, KeyGroupRange, MaxParallelism, Result};
use uuid::Uuid;

use crate::bytes::{FrozenFiles, NativeFiles};
use crate::canonical::{CanonicalWriter, KeyedHeader};

/// One state of a snapshot as it was when it was frozen.
pub(crate) trait FrozenState: Send {
    /// Writes all entries of one key group with [`CanonicalWriter::entry`]. Called once per key group, ascending; what
    /// was written may be let go.
    fn write_key_group(&mut self, group: KeyGroup, state_id: u16, out: &mut CanonicalWriter) -> Result<()>;
}

/// The frozen state of one keyed backend: the result of the synchronous part, ready for the asynchronous part on any
/// thread.
pub struct KeyedSnapshot {
    pub(crate) range: KeyGroupRange,
    pub(crate) max_parallelism: MaxParallelism,
    pub(crate) header: KeyedHeader,
    pub(crate) content: Content,
}

/// What was frozen.
pub(crate) enum Content {
    /// The entries of every state, in the order of the header.
    Entries(Vec<Box<dyn FrozenState>>),
    /// The files of the store.
    Files { checkpoint: u64, files: Box<dyn FrozenFiles> },
}

impl KeyedSnapshot {
    /// The asynchronous part: writes what was frozen and returns its handle, or none if no state was ever registered.
    /// The frozen state becomes Flink's canonical format; frozen files stay files, and only new ones are written.
    pub fn write(self, streams: &dyn CheckpointStreamFactory) -> Result<Option<KeyedStateHandle>> {
        let Self { range, max_parallelism, header, content } = self;
        if header.states.is_empty() {
            return Ok(None);
        }
        match content {
            Content::Entries(states) => write_entries(range, max_parallelism, &header, states, streams).map(Some),
            Content::Files { checkpoint, files } => write_files(range, &header, checkpoint, files, streams).map(Some),
        }
    }
}

fn write_entries(
    range: KeyGroupRange,
    max_parallelism: MaxParallelism,
    header: &KeyedHeader,
    mut states: Vec<Box<dyn FrozenState>>,
    streams: &dyn CheckpointStreamFactory,
) -> Result<KeyedStateHandle> {
    let stream = streams.create_stream(StateScope::Exclusive)?;
    let mut out = CanonicalWriter::new(stream, header, range, max_parallelism)?;
    for group in range.iter() {
        out.start_key_group(group)?;
        for (state_id, state) in (0..).zip(&mut states) {
            state.write_key_group(group, state_id, &mut out)?;
        }
    }
    drop(states);
    Ok(KeyedStateHandle::KeyGroups(out.finish()?))
}

/// The header comes first: it goes with the checkpoint's directory if anything fails, while the files have to be
/// discarded one by one, which they see to themselves.
fn write_files(
    range: KeyGroupRange,
    header: &KeyedHeader,
    checkpoint_id: u64,
    files: Box<dyn FrozenFiles>,
    streams: &dyn CheckpointStreamFactory,
) -> Result<KeyedStateHandle> {
    let meta = write_header(header, streams)?;
    let NativeFiles { backend_id, uploaded, shared, private } = files.upload(streams)?;
    Ok(KeyedStateHandle::Incremental(Box::new(IncrementalHandle {
        checkpoint_id,
        backend_id,
        range,
        checkpointed_size: uploaded.saturating_add(meta.size()),
        meta,
        shared,
        private,
        state_handle_id: Some(Uuid::new_v4().to_string()),
    })))
}

fn write_header(header: &KeyedHeader, streams: &dyn CheckpointStreamFactory) -> Result<StreamHandle> {
    let mut bytes = Vec::new();
    header.write(&mut bytes)?;
    let mut stream = streams.create_stream(StateScope::Exclusive)?;
    stream.write_all(&bytes).map_err(highwater_checkpoint::error_from_io)?;
    stream.finish()?.ok_or_else(|| Error::internal("the header of a snapshot is empty"))
}

impl std::fmt::Debug for KeyedSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedSnapshot")
            .field("range", &self.range)
            .field("states", &self.header.states.len())
            .finish_non_exhaustive()
    }
}
