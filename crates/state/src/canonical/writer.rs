//! Writes a canonical stream.

use std::io::{self, Write};

use highwater_checkpoint::{CheckpointStream, KeyGroupsFormat, KeyGroupsHandle, error_from_io};
use highwater_types::{Error, KeyGroup, KeyGroupRange, MaxParallelism, Result};
use snap::write::FrameEncoder;

use super::KeyedHeader;

/// This bit in a key's first byte says that two more bytes follow the entry: the next state, or the end.
pub(super) const META_FOLLOWS: u8 = 0x80;
/// Stands in the place of a state id where a key group ends.
pub(super) const END_OF_KEY_GROUP: u16 = 0xffff;

/// Entries are gathered up to this size before they go to the stream.
const BUFFER_BYTES: usize = 64 * 1024;

/// Writes the entries of a keyed backend as one canonical stream (Flink's `FullSnapshotAsyncWriter`): key group by key
/// group, within a key group in runs of one state each.
///
/// ```
/// use highwater_checkpoint::{CancelToken, CheckpointStreamFactory, MemoryStreamFactory, SnapshotOpener, StateScope};
/// use highwater_state::{CanonicalReader, CanonicalWriter, KeyedHeader, KeyedKind, StateMeta};
/// use highwater_types::{DefaultSerializer, MaxParallelism, VoidNamespace};
///
/// let count = StateMeta::key_value(
///     "count",
///     KeyedKind::Value,
///     VoidNamespace::default_serializer().snapshot(),
///     i64::default_serializer().snapshot(),
/// );
/// let key_serializer = i32::default_serializer().snapshot();
/// let header = KeyedHeader { compression: false, key_serializer, states: vec![count] };
/// let max_parallelism = MaxParallelism::new(4)?;
///
/// let streams = MemoryStreamFactory::new(1 << 20, CancelToken::new());
/// let stream = streams.create_stream(StateScope::Exclusive)?;
/// let mut writer = CanonicalWriter::new(stream, &header, max_parallelism.all(), max_parallelism)?;
/// writer.start_key_group(2)?;
/// writer.entry(
///     0,
///     |key| Ok(key.extend_from_slice(&[0, 0, 0, 42, /* void namespace */ 0])),
///     |value| Ok(value.extend_from_slice(&7_i64.to_be_bytes())),
/// )?;
/// let handle = writer.finish()?;
///
/// let mut reader = CanonicalReader::open(&SnapshotOpener::in_memory(), &handle, max_parallelism)?;
/// assert_eq!(reader.header(), &header);
/// assert!(reader.block(1)?.is_none());
/// let block = reader.block(2)?.unwrap();
/// let entries: Vec<_> = block.runs()[0].entries.iter().collect();
/// assert_eq!(entries, [(&[2, 0, 0, 0, 42, 0][..], &[0, 0, 0, 0, 0, 0, 0, 7][..])]);
/// # Ok::<(), highwater_types::Error>(())
/// ```
pub struct CanonicalWriter {
    sink: Sink,
    compression: bool,
    states: u16,
    range: KeyGroupRange,
    offsets: Vec<u64>,
    /// The key group being written, as the prefix of its keys.
    prefix: [u8; 2],
    prefix_bytes: usize,
    group: Option<KeyGroup>,
    /// State of the entries being written; none while the key group has no entry.
    run: Option<u16>,
    /// What has not gone to the stream yet; the last entry is always here, because what follows decides its first bit.
    buffer: Vec<u8>,
    /// Where in `buffer` the last entry begins.
    last: usize,
}

impl CanonicalWriter {
    /// A writer that has written the header. `range` are the key groups of the stream, `max_parallelism` decides
    /// whether keys begin with one byte of key group (up to 128) or with two.
    ///
    /// # Errors
    /// Whatever the header cannot be written for; `Storage` if the stream refuses.
    pub fn new(
        mut stream: Box<dyn CheckpointStream>,
        header: &KeyedHeader,
        range: KeyGroupRange,
        max_parallelism: MaxParallelism,
    ) -> Result<Self> {
        if u32::from(range.end()) >= max_parallelism.get() {
            return Err(Error::internal("a snapshot of key groups that do not exist")
                .with("expected", format_args!("below {max_parallelism}"))
                .with("found", range));
        }
        let mut buffer = Vec::with_capacity(BUFFER_BYTES + BUFFER_BYTES / 4);
        header.write(&mut buffer)?;
        stream.write_all(&buffer).map_err(error_from_io)?;
        buffer.clear();
        Ok(Self {
            sink: Sink::Plain(stream),
            compression: header.compression,
            states: u16::try_from(header.states.len()).unwrap_or(u16::MAX),
            range,
            offsets: vec![0; range.count()],
            prefix: [0; 2],
            prefix_bytes: max_parallelism.prefix_bytes(),
            group: None,
            run: None,
            buffer,
            last: 0,
        })
    }

    /// Begins a key group, which ends the one before. Key groups may come in any order, each at most once; those
    /// without an entry leave no trace in the stream.
    ///
    /// # Errors
    /// `Internal` for a key group outside the range or one already written; `Storage` if the stream refuses.
    pub fn start_key_group(&mut self, group: KeyGroup) -> Result<()> {
        self.end_key_group()?;
        if self.offset_of(group).is_none_or(|offset| *offset != 0) {
            return Err(Error::internal("a key group was written twice or does not belong to the snapshot")
                .with("key group", group)
                .with("expected", self.range));
        }
        self.group = Some(group);
        // One byte holds all groups up to 127.
        self.prefix = if self.prefix_bytes == 1 { [group as u8, 0] } else { group.to_be_bytes() };
        Ok(())
    }

    /// Appends an entry to the current key group. `key` appends everything behind the key-group prefix: the key, the
    /// namespace, a map's user key. `value` appends the value. Both are to leave alone what is there already.
    ///
    /// # Errors
    /// Those of the closures; `Unsupported` for a key or value above 2147483647 bytes; `Internal` outside a key group;
    /// `Storage` if the stream refuses. An error ends the snapshot: every later call fails too.
    #[inline]
    pub fn entry(
        &mut self,
        state_id: u16,
        key: impl FnOnce(&mut Vec<u8>) -> Result<()>,
        value: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        if self.run != Some(state_id) {
            self.start_run(state_id)?;
        }
        let start = self.buffer.len();
        let prefix = self.prefix;
        let appended = append_field(&mut self.buffer, |buffer| {
            match self.prefix_bytes {
                1 => buffer.extend_from_slice(&prefix[..1]),
                _ => buffer.extend_from_slice(&prefix),
            }
            key(buffer)
        })
        .and_then(|()| append_field(&mut self.buffer, value));
        self.complete_entry(start, appended)
    }

    /// Appends an entry that is serialized already; `key` begins with the key-group prefix, as the keys of a byte store
    /// and of [`RunEntries`](super::RunEntries) do.
    ///
    /// # Errors
    /// As [`entry`](Self::entry); `Internal` if the key is of another key group.
    #[inline]
    pub fn raw_entry(&mut self, state_id: u16, key: &[u8], value: &[u8]) -> Result<()> {
        if self.run != Some(state_id) {
            self.start_run(state_id)?;
        }
        if key.get(..self.prefix_bytes) != self.prefix.get(..self.prefix_bytes) {
            return Err(self.foreign_key(key));
        }
        let start = self.buffer.len();
        let appended = append_bytes(&mut self.buffer, key).and_then(|()| append_bytes(&mut self.buffer, value));
        self.complete_entry(start, appended)
    }

    /// Ends the stream and returns its handle: the canonical format, an offset for every key group of the range, 0 for
    /// those without entries. A stream without any entry still has its header, and a handle.
    ///
    /// # Errors
    /// `Storage` if the stream refuses.
    pub fn finish(mut self) -> Result<KeyGroupsHandle> {
        self.end_key_group()?;
        let data = self.sink.take()?.finish()?;
        let data = data.ok_or_else(|| Error::internal("a checkpoint stream lost the header it was given"))?;
        Ok(KeyGroupsHandle { format: KeyGroupsFormat::Canonical, range: self.range, offsets: self.offsets, data })
    }

    #[inline]
    fn complete_entry(&mut self, start: usize, appended: Result<()>) -> Result<()> {
        if let Err(error) = appended {
            self.sink = Sink::Failed;
            return Err(error);
        }
        self.last = start;
        if self.buffer.len() >= BUFFER_BYTES { self.pass_on() } else { Ok(()) }
    }

    /// Marks the end of one state's entries and names the next state, or names the first of the key group.
    #[cold]
    fn start_run(&mut self, state_id: u16) -> Result<()> {
        if state_id >= self.states {
            return Err(Error::internal("an entry of a state that is not in the header")
                .with("expected", format_args!("below {}", self.states))
                .with("found", state_id));
        }
        if self.run.is_some() {
            self.mark_last_entry()?;
        } else {
            self.start_block()?;
        }
        self.buffer.extend_from_slice(&state_id.to_be_bytes());
        self.run = Some(state_id);
        // No entry to keep back but these two bytes.
        self.last = self.buffer.len();
        Ok(())
    }

    /// The first entry of a key group: only now is it known to have a place in the stream.
    fn start_block(&mut self) -> Result<()> {
        let group = self.group.ok_or_else(|| Error::internal("an entry outside of any key group"))?;
        let position = self.sink.position()?;
        if self.compression {
            self.sink.frame()?;
        }
        match self.offset_of(group) {
            Some(offset) => *offset = position,
            None => return Err(Error::internal("a key group outside of the snapshot").with("key group", group)),
        }
        Ok(())
    }

    fn end_key_group(&mut self) -> Result<()> {
        self.group = None;
        if self.run.take().is_none() {
            return Ok(());
        }
        self.mark_last_entry()?;
        self.buffer.extend_from_slice(&END_OF_KEY_GROUP.to_be_bytes());
        self.sink.write_all(&self.buffer).map_err(error_from_io)?;
        self.buffer.clear();
        self.sink.unframe()
    }

    fn mark_last_entry(&mut self) -> Result<()> {
        match self.buffer.get_mut(self.last + 4) {
            Some(byte) => {
                *byte |= META_FOLLOWS;
                Ok(())
            }
            None => Err(Error::internal("a state was begun without an entry").with("found", self.last)),
        }
    }

    /// Hands everything before the last entry to the stream.
    #[cold]
    fn pass_on(&mut self) -> Result<()> {
        let done = self.buffer.get(..self.last).unwrap_or_default();
        self.sink.write_all(done).map_err(error_from_io)?;
        self.buffer.drain(..self.last);
        self.last = 0;
        Ok(())
    }

    fn offset_of(&mut self, group: KeyGroup) -> Option<&mut u64> {
        let index = group.checked_sub(self.range.start())?;
        self.offsets.get_mut(usize::from(index))
    }

    #[cold]
    fn foreign_key(&self, key: &[u8]) -> Error {
        Error::internal("an entry of another key group")
            .with("expected", format_args!("{:02x?}", self.prefix.get(..self.prefix_bytes).unwrap_or_default()))
            .with("found", format_args!("{:02x?}", key.get(..self.prefix_bytes).unwrap_or(key)))
    }
}

impl std::fmt::Debug for CanonicalWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CanonicalWriter")
            .field("range", &self.range)
            .field("group", &self.group)
            .field("state", &self.run)
            .finish_non_exhaustive()
    }
}

/// Appends a length and what `append` appends, of which it is the length.
#[inline]
fn append_field(buffer: &mut Vec<u8>, append: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    append(buffer)?;
    let length = i32::try_from(buffer.len().saturating_sub(start + 4)).map_err(|_| too_large(buffer.len() - start))?;
    match buffer.get_mut(start..).and_then(|field| field.first_chunk_mut::<4>()) {
        Some(place) => {
            *place = length.to_be_bytes();
            Ok(())
        }
        None => Err(Error::internal("a serializer removed bytes that were not its own")),
    }
}

#[inline]
fn append_bytes(buffer: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    let length = i32::try_from(bytes.len()).map_err(|_| too_large(bytes.len()))?;
    buffer.extend_from_slice(&length.to_be_bytes());
    buffer.extend_from_slice(bytes);
    Ok(())
}

#[cold]
fn too_large(length: usize) -> Error {
    Error::unsupported("one key or value is too large for a snapshot: split it over several map or list entries")
        .with("expected", format_args!("at most {} bytes", i32::MAX))
        .with("found", format_args!("{length} bytes"))
}

/// Where bytes go: to the stream, or through a compressor that holds the stream for the length of one key group.
enum Sink {
    Plain(Box<dyn CheckpointStream>),
    Framed(Box<FrameEncoder<Box<dyn CheckpointStream>>>),
    /// An operation failed half-way; the snapshot is lost.
    Failed,
}

impl Sink {
    /// Position of the stream; only asked between key groups.
    fn position(&self) -> Result<u64> {
        match self {
            Self::Plain(stream) => Ok(stream.position()),
            _ => Err(failed()),
        }
    }

    /// Starts compressing.
    fn frame(&mut self) -> Result<()> {
        *self = Self::Framed(Box::new(FrameEncoder::new(self.take()?)));
        Ok(())
    }

    /// Stops compressing, if it did.
    fn unframe(&mut self) -> Result<()> {
        *self = match std::mem::replace(self, Self::Failed) {
            Self::Framed(encoder) => {
                Self::Plain(encoder.into_inner().map_err(|error| error_from_io(error.into_error()))?)
            }
            other => other,
        };
        Ok(())
    }

    fn take(&mut self) -> Result<Box<dyn CheckpointStream>> {
        match std::mem::replace(self, Self::Failed) {
            Self::Plain(stream) => Ok(stream),
            _ => Err(failed()),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Framed(encoder) => encoder.write_all(bytes),
            Self::Failed => Err(io::Error::other(failed())),
        }
    }
}

#[cold]
fn failed() -> Error {
    Error::internal("a snapshot went on after it had failed")
}
