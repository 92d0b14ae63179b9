//! Snapshots of keyed state: frozen in the synchronous part, written in the asynchronous part.

use highwater_checkpoint::{CheckpointStreamFactory, KeyedStateHandle, StateScope};
use highwater_types::{KeyGroup, KeyGroupRange, MaxParallelism, Result};

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
    /// In the order of the header.
    pub(crate) states: Vec<Box<dyn FrozenState>>,
}

impl KeyedSnapshot {
    /// The asynchronous part: serializes the frozen state in Flink's canonical format and returns its handle, or none
    /// if no state was ever registered.
    pub fn write(self, streams: &dyn CheckpointStreamFactory) -> Result<Option<KeyedStateHandle>> {
        if self.states.is_empty() {
            return Ok(None);
        }
        let stream = streams.create_stream(StateScope::Exclusive)?;
        let mut out = CanonicalWriter::new(stream, &self.header, self.range, self.max_parallelism)?;
        let mut states = self.states;
        for group in self.range.iter() {
            out.start_key_group(group)?;
            for (state_id, state) in (0..).zip(&mut states) {
                state.write_key_group(group, state_id, &mut out)?;
            }
        }
        drop(states);
        Ok(Some(KeyedStateHandle::KeyGroups(out.finish()?)))
    }
}

impl std::fmt::Debug for KeyedSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedSnapshot")
            .field("range", &self.range)
            .field("states", &self.states.len())
            .finish_non_exhaustive()
    }
}
