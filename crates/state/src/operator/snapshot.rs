//! Snapshots of operator state: copied in the synchronous part, written in the asynchronous part.

use std::collections::BTreeMap;
use std::fmt;

use highwater_checkpoint::{
    CheckpointStream, CheckpointStreamFactory, OperatorStateHandle, StatePartitions, StateScope, StreamHandle,
    error_from_io,
};
use highwater_types::{Error, Result};

use super::FrozenOperatorState;
use super::stream::VERSION;
use crate::canonical::{StateKind, StateMeta};

/// Elements are gathered up to this size before they go to the stream.
const BUFFER_BYTES: usize = 64 * 1024;

/// A copy of all operator state of one subtask: the result of the synchronous part, ready for the asynchronous part on
/// any thread.
pub struct OperatorSnapshot {
    pub(super) operator: String,
    pub(super) states: Vec<Box<dyn FrozenOperatorState>>,
}

impl OperatorSnapshot {
    /// The asynchronous part: serializes the state in Flink's format (version 5, uncompressed) and returns its handle,
    /// with the place of every element, or none if no state was ever registered or restored.
    ///
    /// # Errors
    /// `Storage` if the stream refuses; whatever an element cannot be serialized for. All name the operator.
    pub fn write(self, streams: &dyn CheckpointStreamFactory) -> Result<Option<OperatorStateHandle>> {
        if self.states.is_empty() {
            return Ok(None);
        }
        self.write_states(streams).map(Some).map_err(|error| error.with("operator", &self.operator))
    }

    fn write_states(&self, streams: &dyn CheckpointStreamFactory) -> Result<OperatorStateHandle> {
        let stream = streams.create_stream(StateScope::Exclusive)?;
        let mut out = ElementWriter { stream, buffer: self.header()?, offsets: Vec::new() };
        let mut places = BTreeMap::new();
        for state in &self.states {
            let meta = state.meta();
            state.write(&mut out).map_err(|error| error.with("state", meta.name()))?;
            let offsets = std::mem::take(&mut out.offsets);
            let mode = meta.distribution().ok_or_else(|| Error::internal("keyed state among operator state"))?;
            places.insert(meta.name().to_owned(), StatePartitions { mode, offsets });
        }
        Ok(OperatorStateHandle::new(places, out.finish()?))
    }

    fn header(&self) -> Result<Vec<u8>> {
        let metas = self.states.iter().map(|state| state.meta());
        let (broadcasts, lists): (Vec<_>, Vec<_>) = metas.partition(|meta| meta.kind() == StateKind::Broadcast);
        let mut header = VERSION.to_be_bytes().to_vec();
        StateMeta::write_all(lists.into_iter(), &mut header)?;
        StateMeta::write_all(broadcasts.into_iter(), &mut header)?;
        Ok(header)
    }
}

impl fmt::Debug for OperatorSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.states.iter().map(|state| state.meta().name()).collect();
        f.debug_struct("OperatorSnapshot").field("operator", &self.operator).field("states", &names).finish()
    }
}

/// Writes elements and notes where each begins.
pub(super) struct ElementWriter {
    stream: Box<dyn CheckpointStream>,
    buffer: Vec<u8>,
    offsets: Vec<u64>,
}

impl ElementWriter {
    /// One element.
    pub(super) fn element(&mut self, append: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        self.offsets.push(self.position());
        append(&mut self.buffer)?;
        if self.buffer.len() >= BUFFER_BYTES { self.pass_on() } else { Ok(()) }
    }

    /// Serialized elements that begin at `starts` in `bytes`.
    pub(super) fn elements(&mut self, bytes: &[u8], starts: impl Iterator<Item = usize>) -> Result<()> {
        let base = self.position();
        self.offsets.extend(starts.map(|start| base + start as u64));
        self.pass_on()?;
        self.stream.write_all(bytes).map_err(error_from_io)
    }

    fn position(&self) -> u64 {
        self.stream.position() + self.buffer.len() as u64
    }

    fn pass_on(&mut self) -> Result<()> {
        self.stream.write_all(&self.buffer).map_err(error_from_io)?;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<StreamHandle> {
        self.pass_on()?;
        self.stream.finish()?.ok_or_else(|| Error::internal("a checkpoint stream lost the header it was given"))
    }
}
