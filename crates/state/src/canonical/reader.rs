//! Reads a canonical stream.

use std::io::{Read, SeekFrom};

use bytes::Bytes;
use highwater_checkpoint::{KeyGroupsFormat, KeyGroupsHandle, StateOpener, StateReader};
use highwater_types::{ByteReader, Error, KeyGroup, KeyGroupRange, MaxParallelism, Result};
use snap::read::FrameDecoder;

use super::writer::{END_OF_KEY_GROUP, META_FOLLOWS};
use super::{KeyedHeader, StateMeta, decode_error, read_error, stream_name};

/// Reads the header and the key groups of one canonical stream (Flink's `FullSnapshotRestoreOperation`). Key groups may
/// be read in any order; only the bytes of the one asked for are read, and nothing is trusted that the bytes do not
/// bear out.
pub struct CanonicalReader {
    input: Box<dyn StateReader>,
    name: String,
    length: u64,
    header: KeyedHeader,
    /// Whether the handle says for sure that the stream is canonical.
    canonical: bool,
    range: KeyGroupRange,
    offsets: Vec<u64>,
    /// Where blocks begin, ascending: a block ends where the next begins, or with the stream.
    starts: Vec<u64>,
    prefix_bytes: usize,
}

impl CanonicalReader {
    /// Opens the stream and reads its header.
    ///
    /// # Errors
    /// `Corrupt` if the stream is missing or damaged or the handle's offsets do not fit it, `Unsupported` for a
    /// serializer Highwater does not know. All name the stream as `file`.
    pub fn open(opener: &dyn StateOpener, handle: &KeyGroupsHandle, max_parallelism: MaxParallelism) -> Result<Self> {
        let name = stream_name(&handle.data);
        Self::open_named(opener, handle, max_parallelism, name.clone()).map_err(|error| match error.value("file") {
            Some(_) => error,
            None => error.with("file", name),
        })
    }

    fn open_named(
        opener: &dyn StateOpener,
        handle: &KeyGroupsHandle,
        max_parallelism: MaxParallelism,
        name: String,
    ) -> Result<Self> {
        if handle.offsets.len() != handle.range.count() {
            return Err(Error::corrupt("a handle has not one offset for each key group")
                .with("expected", handle.range.count())
                .with("found", handle.offsets.len()));
        }
        let mut input = opener.open(&handle.data)?;
        let length = input.seek(SeekFrom::End(0)).map_err(read_error)?;
        let starts = block_starts(handle, length)?;
        let header_end = starts.first().copied().unwrap_or(length);
        let bytes = read_range(&mut *input, 0, header_end)?;
        let header = read_header(&bytes)?;
        let (canonical, range) = (handle.format == KeyGroupsFormat::Canonical, handle.range);
        let (offsets, prefix_bytes) = (handle.offsets.clone(), max_parallelism.prefix_bytes());
        Ok(Self { input, name, length, header, canonical, range, offsets, starts, prefix_bytes })
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &KeyedHeader {
        &self.header
    }

    /// Key groups of the stream.
    #[must_use]
    pub fn range(&self) -> KeyGroupRange {
        self.range
    }

    /// Path of the stream, or what else to call it in an error.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of key group in front of every key: 1 or 2.
    #[must_use]
    pub fn prefix_bytes(&self) -> usize {
        self.prefix_bytes
    }

    /// Reads and checks all entries of one key group; none if the stream has no entry of it.
    ///
    /// # Errors
    /// `Corrupt` with `file`, `key group` and `offset` if the block is not what it should be; `Storage` if it cannot be
    /// read; `Unsupported` for a heap backend's own format, which only a canonical savepoint leads out of.
    pub fn block(&mut self, group: KeyGroup) -> Result<Option<KeyGroupBlock>> {
        let index = group.checked_sub(self.range.start()).map(usize::from);
        let offset = index.and_then(|index| self.offsets.get(index).copied()).unwrap_or(0);
        if offset == 0 {
            return Ok(None);
        }
        self.read_block(group, offset)
            .map(Some)
            .map_err(|error| error.with("file", &self.name).with("key group", group))
    }

    fn read_block(&mut self, group: KeyGroup, offset: u64) -> Result<KeyGroupBlock> {
        let next = self.starts.partition_point(|start| *start <= offset);
        let end = self.starts.get(next).copied().unwrap_or(self.length);
        let stored = read_range(&mut *self.input, offset, end)?;
        let native = !self.canonical && stored.first_chunk() == Some(&u32::from(group).to_be_bytes());
        let place = Place { offset, compressed: self.header.compression };
        let entries = if place.compressed { decompress(&stored, offset) } else { Ok(stored) };
        let split = |entries| split(entries, group, self.prefix_bytes, &self.header.states, &place);
        match entries.and_then(split) {
            Err(_) if native => Err(native_format()),
            runs => Ok(KeyGroupBlock { group, runs: runs? }),
        }
    }
}

impl std::fmt::Debug for CanonicalReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CanonicalReader").field("name", &self.name).field("range", &self.range).finish_non_exhaustive()
    }
}

/// All entries of one key group.
#[derive(Clone, Debug)]
pub struct KeyGroupBlock {
    group: KeyGroup,
    runs: Vec<Run>,
}

impl KeyGroupBlock {
    /// The key group.
    #[must_use]
    pub fn group(&self) -> KeyGroup {
        self.group
    }

    /// The entries, in runs of one state each. Flink writes one run for each state, but several are allowed.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The runs themselves.
    #[must_use]
    pub fn into_runs(self) -> Vec<Run> {
        self.runs
    }
}

/// Entries of one state in one key group.
#[derive(Clone, Debug)]
pub struct Run {
    /// The state: its place in [`KeyedHeader::states`].
    pub state_id: u16,
    /// The entries.
    pub entries: RunEntries,
}

/// Checked entries. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct RunEntries {
    /// `i32` length and key, `i32` length and value, again and again.
    bytes: Bytes,
    count: usize,
}

impl RunEntries {
    /// How many entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none; runs that were read have at least one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The same entries in memory of their own: as they were read, they hold on to the bytes of their whole key group.
    pub(crate) fn detached(&self) -> Self {
        Self { bytes: Bytes::copy_from_slice(&self.bytes), count: self.count }
    }

    /// The entries as key, which begins with the key group's one or two bytes, and value.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest: &[u8] = &self.bytes;
        std::iter::from_fn(move || {
            let (key, after) = next_field(rest)?;
            let (value, after) = next_field(after)?;
            rest = after;
            Some((key, value))
        })
    }
}

#[inline]
fn next_field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

/// Where a block lies, for errors.
struct Place {
    offset: u64,
    compressed: bool,
}

impl Place {
    /// A damaged byte, `position` bytes into the block.
    #[cold]
    fn corrupt(&self, message: &str, position: usize) -> Error {
        let error = Error::corrupt(message);
        if self.compressed {
            error.with("offset", self.offset).with("position in the uncompressed block", position)
        } else {
            error.with("offset", self.offset.saturating_add(position as u64))
        }
    }
}

/// Checks a block from the first state id to the end mark, clears the marks in it, and cuts it into runs.
fn split(
    mut block: Vec<u8>,
    group: KeyGroup,
    prefix_bytes: usize,
    states: &[StateMeta],
    place: &Place,
) -> Result<Vec<Run>> {
    let prefix = u32::from(group);
    let mut spans = Vec::new();
    let mut state_id = state_at(&block, 0, states, place)?;
    let (mut start, mut position, mut count) = (2, 2, 0);
    loop {
        let (key, value) = field_at(&block, position, prefix_bytes, place)
            .and_then(|key| field_at(&block, key.end, 0, place).map(|value| (key, value)))
            .map_err(|error| in_state(error, states, state_id))?;
        let marked = match block.get_mut(key.start) {
            Some(first) => {
                let marked = *first & META_FOLLOWS != 0;
                *first &= !META_FOLLOWS;
                marked
            }
            None => false,
        };
        let found = block.get(key.start..key.start + prefix_bytes).unwrap_or_default();
        let found = found.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
        if found != prefix {
            let error = place.corrupt("an entry belongs to another key group than the handle says", key.start);
            return Err(in_state(error.with("expected", prefix).with("found", found), states, state_id));
        }
        position = value.end;
        count += 1;
        if !marked {
            continue;
        }
        spans.push((state_id, start..position, count));
        state_id = state_at(&block, position, states, place)?;
        position += 2;
        if state_id == END_OF_KEY_GROUP {
            break;
        }
        (start, count) = (position, 0);
    }
    if position != block.len() {
        return Err(place.corrupt("bytes follow the end of a key group", position));
    }
    let block = Bytes::from(block);
    let run = |(state_id, span, count)| Run { state_id, entries: RunEntries { bytes: block.slice(span), count } };
    Ok(spans.into_iter().map(run).collect())
}

/// The state id at `position`, or the end mark, which cannot be the first.
fn state_at(block: &[u8], position: usize, states: &[StateMeta], place: &Place) -> Result<u16> {
    let Some(id) = block.get(position..).and_then(|rest| rest.first_chunk()) else {
        return Err(place.corrupt("a key group ends without its end mark", position));
    };
    let id = u16::from_be_bytes(*id);
    if usize::from(id) < states.len() || (id == END_OF_KEY_GROUP && position > 0) {
        return Ok(id);
    }
    Err(place
        .corrupt("an entry belongs to a state that is not in the header", position)
        .with("expected", format_args!("below {}", states.len()))
        .with("found", id))
}

/// The bytes of a key or value whose length is at `position`.
#[inline]
fn field_at(block: &[u8], position: usize, min_length: usize, place: &Place) -> Result<std::ops::Range<usize>> {
    let Some(length) = block.get(position..).and_then(|rest| rest.first_chunk()) else {
        return Err(place.corrupt("a key group ends without its end mark", position));
    };
    let (length, start) = (i32::from_be_bytes(*length), position + 4);
    match usize::try_from(length) {
        Ok(n) if n >= min_length && n <= block.len() - start => Ok(start..start + n),
        _ => Err(place
            .corrupt("the length of a key or value does not fit the key group's bytes", position)
            .with("expected", format_args!("{min_length} to {}", block.len() - start))
            .with("found", length)),
    }
}

#[cold]
fn in_state(error: Error, states: &[StateMeta], state_id: u16) -> Error {
    match states.get(usize::from(state_id)) {
        Some(state) => error.with("state", state.name()),
        None => error,
    }
}

/// Where blocks begin, ascending and checked against the stream's real length.
fn block_starts(handle: &KeyGroupsHandle, length: u64) -> Result<Vec<u64>> {
    let groups = handle.range.iter().zip(&handle.offsets);
    let mut starts = Vec::with_capacity(handle.offsets.len());
    for (group, offset) in groups.filter(|(_, offset)| **offset != 0) {
        if *offset >= length {
            return Err(Error::corrupt("a key group would begin behind the end of its stream")
                .with("key group", group)
                .with("expected", format_args!("below {length}"))
                .with("found", offset));
        }
        starts.push(*offset);
    }
    starts.sort_unstable();
    match starts.windows(2).find(|pair| pair.first() == pair.last()) {
        None => Ok(starts),
        Some(pair) => Err(Error::corrupt("two key groups would begin at the same place")
            .with("offset", pair.first().copied().unwrap_or_default())),
    }
}

/// Reads exactly the bytes from `start` to `end`, both within the stream.
fn read_range(input: &mut dyn StateReader, start: u64, end: u64) -> Result<Vec<u8>> {
    let length = usize::try_from(end - start).map_err(|_| {
        Error::unsupported("a key group is too large for this machine")
            .with("found", format_args!("{} bytes", end - start))
    })?;
    input.seek(SeekFrom::Start(start)).map_err(read_error)?;
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes).map_err(|error| read_error(error).with("offset", start))?;
    Ok(bytes)
}

fn read_header(bytes: &[u8]) -> Result<KeyedHeader> {
    let mut input = ByteReader::new(bytes);
    let header = KeyedHeader::read(&mut input)?;
    if !input.is_empty() {
        return Err(Error::corrupt("the first key group does not begin where the header ends")
            .with("expected", input.position())
            .with("found", bytes.len()));
    }
    Ok(header)
}

/// Undoes snappy framing. Every frame holds at most 64 KiB, about 20 times its own size, so that the result stays in
/// proportion to the bytes that are there.
fn decompress(stored: &[u8], offset: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(stored.len());
    FrameDecoder::new(stored).read_to_end(&mut bytes).map_err(|error| decode_error(error).with("offset", offset))?;
    Ok(bytes)
}

#[cold]
fn native_format() -> Error {
    Error::unsupported(
        "the keyed state is in the own format of Flink's HashMap backend, which Highwater does not read yet: take a \
         savepoint in canonical format (flink savepoint --type canonical)",
    )
}
