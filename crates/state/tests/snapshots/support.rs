//! Streams in memory, and short names for what the tests describe.

use highwater_checkpoint::{
    CancelToken, CheckpointStream, CheckpointStreamFactory, KeyGroupsHandle, MemoryStreamFactory, SnapshotOpener,
    StateScope, StreamHandle,
};
use highwater_state::{CanonicalReader, KeyGroupBlock, KeyedHeader, KeyedKind, StateMeta};
use highwater_types::{DefaultSerializer, MaxParallelism, Result, SerializerSnapshot, VoidNamespace};

/// One entry: state, key with its prefix, value.
pub(crate) type Entry = (u16, Vec<u8>, Vec<u8>);

pub(crate) fn streams() -> MemoryStreamFactory {
    MemoryStreamFactory::new(1 << 30, CancelToken::new())
}

pub(crate) fn stream() -> Box<dyn CheckpointStream> {
    streams().create_stream(StateScope::Exclusive).unwrap()
}

pub(crate) fn opener() -> SnapshotOpener {
    SnapshotOpener::in_memory()
}

pub(crate) fn inline(bytes: &[u8]) -> StreamHandle {
    StreamHandle::Inline { name: "test".into(), bytes: bytes.into() }
}

pub(crate) fn bytes_of(stream: &StreamHandle) -> &[u8] {
    match stream {
        StreamHandle::Inline { bytes, .. } => bytes,
        other => panic!("not inline: {other:?}"),
    }
}

/// Appends these bytes: what a serializer does.
pub(crate) fn append(bytes: &[u8]) -> impl FnOnce(&mut Vec<u8>) -> Result<()> {
    |out| {
        out.extend_from_slice(bytes);
        Ok(())
    }
}

pub(crate) fn snapshot<T: DefaultSerializer + 'static>() -> SerializerSnapshot {
    T::default_serializer().snapshot()
}

pub(crate) fn value_state(name: &str) -> StateMeta {
    StateMeta::key_value(name, KeyedKind::Value, snapshot::<VoidNamespace>(), snapshot::<i32>())
}

/// A header with this many states of `i32` values under `String` keys.
pub(crate) fn header(states: usize, compression: bool) -> KeyedHeader {
    let states = (0..states).map(|id| value_state(&format!("state-{id}"))).collect();
    KeyedHeader { compression, key_serializer: snapshot::<String>(), states }
}

pub(crate) fn max_parallelism(value: u32) -> MaxParallelism {
    MaxParallelism::new(value).unwrap()
}

pub(crate) fn open(handle: &KeyGroupsHandle, max: u32) -> Result<CanonicalReader> {
    CanonicalReader::open(&opener(), handle, max_parallelism(max))
}

pub(crate) fn entries(block: &KeyGroupBlock) -> Vec<Entry> {
    let mut entries = Vec::new();
    for run in block.runs() {
        let before = entries.len();
        entries.extend(run.entries.iter().map(|(key, value)| (run.state_id, key.to_vec(), value.to_vec())));
        assert_eq!(entries.len() - before, run.entries.len());
    }
    entries
}

/// Every block of a stream, by key group.
pub(crate) fn read_all(handle: &KeyGroupsHandle, max: u32) -> Result<Vec<Vec<Entry>>> {
    let mut reader = open(handle, max)?;
    handle.range.iter().map(|group| Ok(reader.block(group)?.as_ref().map(entries).unwrap_or_default())).collect()
}
