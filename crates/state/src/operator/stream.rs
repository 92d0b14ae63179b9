//! Reads the stream behind an operator-state handle.

use std::collections::BTreeSet;
use std::io::{Cursor, Read, SeekFrom};
use std::sync::Arc;

use highwater_checkpoint::{OperatorStateHandle, StateOpener};
use highwater_types::{ByteReader, Error, Result, TypeSerializer};
use snap::read::FrameDecoder;

use crate::canonical::{StateKind, StateMeta, decode_error, read_error, stream_name};

/// Version of the stream that Highwater writes; every Flink since 1.8 reads it.
pub(super) const VERSION: i32 = 5;
/// Version with a compression flag (Flink 1.18 and later).
const VERSION_WITH_COMPRESSION: i32 = 6;
/// Type of the snappy chunk that begins a stream.
const STREAM_IDENTIFIER: u8 = 0xff;
/// Bytes of the type and the length of a snappy chunk.
const CHUNK_HEADER_BYTES: usize = 4;
/// Most bytes in one snappy chunk, uncompressed.
const CHUNK_BYTES: usize = 1 << 16;

/// An operator-state stream in memory, uncompressed.
#[derive(Debug)]
pub(super) struct OperatorStream {
    name: String,
    bytes: Vec<u8>,
    /// Where the data begins in `bytes`.
    data: usize,
    /// For a compressed stream, where its chunks begin: in the file and in `bytes`. Its end is the last.
    chunks: Option<Vec<(u64, usize)>>,
    /// Every place of an element that the handle knows, in `bytes`.
    known: BTreeSet<usize>,
}

/// The elements of one state in one stream.
#[derive(Clone, Debug)]
pub(super) struct Elements {
    stream: Arc<OperatorStream>,
    /// Where they begin.
    positions: Vec<usize>,
}

/// Reads a handle's stream: the states it describes, and those of their elements that the handle lists.
pub(super) fn read(opener: &dyn StateOpener, handle: &OperatorStateHandle) -> Result<Vec<(StateMeta, Elements)>> {
    let name = stream_name(&handle.data);
    read_named(opener, handle, &name).map_err(|error| match error.value("file") {
        Some(_) => error,
        None => error.with("file", name),
    })
}

fn read_named(
    opener: &dyn StateOpener,
    handle: &OperatorStateHandle,
    name: &str,
) -> Result<Vec<(StateMeta, Elements)>> {
    let mut input = opener.open(&handle.data)?;
    input.seek(SeekFrom::Start(0)).map_err(read_error)?;
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(read_error)?;
    let mut header = ByteReader::new(&bytes);
    let compressed = read_version(&mut header)?;
    let lists = read_metas(&mut header, |kind| matches!(kind, StateKind::OperatorList(_)))?;
    let broadcasts = read_metas(&mut header, |kind| kind == StateKind::Broadcast)?;
    let data = header.position();
    let mut stream = OperatorStream { name: name.to_owned(), bytes, data, chunks: None, known: BTreeSet::new() };
    if compressed {
        stream.decompress()?;
    }
    locate(stream, handle, lists.into_iter().chain(broadcasts).collect())
}

/// Finds the elements of each state, and that the handle lists no state beyond those described.
fn locate(
    mut stream: OperatorStream,
    handle: &OperatorStateHandle,
    metas: Vec<StateMeta>,
) -> Result<Vec<(StateMeta, Elements)>> {
    if let Some(name) = handle.states.keys().find(|name| metas.iter().all(|meta| meta.name() != *name)) {
        return Err(Error::corrupt("Found state without corresponding meta info").with("state", name));
    }
    let mut located = Vec::with_capacity(metas.len());
    for meta in metas {
        let partitions = handle.states.get(meta.name());
        if let Some(partitions) = partitions.filter(|partitions| meta.distribution() != Some(partitions.mode)) {
            return Err(Error::corrupt("the handle and its stream disagree on how a state is spread")
                .with("state", meta.name())
                .with("expected", meta.kind())
                .with("found", StateKind::OperatorList(partitions.mode)));
        }
        let offsets = partitions.map(|partitions| partitions.offsets.as_slice()).unwrap_or_default();
        let positions = offsets.iter().map(|offset| stream.position_of(*offset)).collect::<Result<Vec<_>>>();
        let positions = positions.map_err(|error| error.with("state", meta.name()))?;
        stream.known.extend(&positions);
        located.push((meta, positions));
    }
    let stream = Arc::new(stream);
    let elements = |(meta, positions)| (meta, Elements { stream: Arc::clone(&stream), positions });
    Ok(located.into_iter().map(elements).collect())
}

/// Whether the data is compressed.
fn read_version(header: &mut ByteReader<'_>) -> Result<bool> {
    match header.read_i32()? {
        VERSION => Ok(false),
        VERSION_WITH_COMPRESSION => header.read_bool(),
        version @ 1..VERSION => Err(Error::unsupported(
            "the operator state was written before Flink 1.8: restore it in Flink 1.8 to 1.16 and take a new savepoint \
             there",
        )
        .with("expected", "version 5 or 6")
        .with("found", format_args!("version {version}"))),
        version => Err(Error::corrupt("the stream does not begin like operator state")
            .with("expected", "version 5 or 6")
            .with("found", format_args!("version {version}"))),
    }
}

fn read_metas(header: &mut ByteReader<'_>, fits: impl Fn(StateKind) -> bool) -> Result<Vec<StateMeta>> {
    let metas = StateMeta::read_all(header)?;
    match metas.iter().find(|meta| !fits(meta.kind())) {
        None => Ok(metas),
        Some(meta) => Err(Error::corrupt("a state of this kind does not belong here")
            .with("state", meta.name())
            .with("found", meta.kind())),
    }
}

impl OperatorStream {
    /// Replaces the compressed data by what it says, and notes where its chunks were. A chunk holds at most 64 KiB,
    /// about 20 times its own size, so that the result stays in proportion to the bytes that are there.
    fn decompress(&mut self) -> Result<()> {
        let stored = std::mem::take(&mut self.bytes);
        let mut decoder = FrameDecoder::new(Cursor::new(stored.as_slice()));
        decoder.get_mut().set_position(self.data as u64);
        let (mut plain, mut chunks) = (Vec::with_capacity(stored.len()), Vec::new());
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let begin = skip_identifiers(&stored, decoder.get_ref().position());
            chunks.push((begin, plain.len()));
            // The decoder hands out what it has of one chunk: with room for the largest, a whole one.
            match decoder.read(&mut chunk).map_err(|error| decode_error(error).with("offset", begin))? {
                0 => break,
                n => plain.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            }
        }
        (self.bytes, self.data, self.chunks) = (plain, 0, Some(chunks));
        Ok(())
    }

    /// Where the element at this offset of the file begins in `bytes`.
    fn position_of(&self, offset: u64) -> Result<usize> {
        let position = match &self.chunks {
            None => usize::try_from(offset).ok().filter(|at| (self.data..=self.bytes.len()).contains(at)),
            Some(chunks) => {
                let chunk = chunks.binary_search_by_key(&offset, |(begin, _)| *begin).ok();
                chunk.and_then(|index| chunks.get(index)).map(|(_, position)| *position)
            }
        };
        position.ok_or_else(|| Error::corrupt("there is no element at this place of the stream").with("offset", offset))
    }

    /// Where an element at this place ends at the latest: where another is known to begin.
    fn limit(&self, position: usize) -> usize {
        self.known.range(position + 1..).next().copied().unwrap_or(self.bytes.len())
    }

    /// Whether an element of a compressed stream may end here: writers end a chunk with each.
    fn ends_chunk(&self, position: usize) -> bool {
        self.chunks.as_ref().is_none_or(|chunks| chunks.binary_search_by_key(&position, |(_, at)| *at).is_ok())
    }

    /// The place in the file, for errors.
    fn offset_of(&self, position: usize) -> u64 {
        match &self.chunks {
            None => position as u64,
            Some(chunks) => {
                let chunk = chunks.partition_point(|(_, at)| *at <= position).checked_sub(1);
                chunk.and_then(|index| chunks.get(index)).map_or(0, |(begin, _)| *begin)
            }
        }
    }
}

/// Steps over the chunks that mark the begin of a snappy stream, which may stand before any data chunk.
fn skip_identifiers(stored: &[u8], mut at: u64) -> u64 {
    let chunk_at = |at: u64| usize::try_from(at).ok().and_then(|at| stored.get(at..)).unwrap_or_default();
    while let Some([STREAM_IDENTIFIER, a, b, c]) = chunk_at(at).first_chunk::<CHUNK_HEADER_BYTES>() {
        at += CHUNK_HEADER_BYTES as u64 + u64::from(u32::from_le_bytes([*a, *b, *c, 0]));
    }
    at
}

impl Elements {
    /// Reads every element in order and gives it to `visit`.
    pub(super) fn read<T: 'static>(&self, serializer: &dyn TypeSerializer<T>, mut visit: impl FnMut(T)) -> Result<()> {
        self.read_each(|input| serializer.deserialize(input).map(&mut visit))
    }

    /// As [`read`](Self::read), for elements that are read by a closure.
    pub(super) fn read_each(&self, mut read: impl FnMut(&mut ByteReader<'_>) -> Result<()>) -> Result<()> {
        let compressed = self.stream.chunks.is_some();
        let (mut begun, mut end) = (None, 0);
        for (index, &position) in self.positions.iter().enumerate() {
            // Flink 1.18 gave all elements of a small compressed state one place: there they follow each other.
            let start = if compressed && begun == Some(position) { end } else { position };
            end = self.read_one(start, &mut read)?;
            begun = Some(position);
            let another = self.positions.get(index + 1) == Some(&position);
            if compressed && !another && !self.stream.ends_chunk(end) {
                return Err(self.shared_chunk(position));
            }
        }
        Ok(())
    }

    /// Reads the element at `start`, at most up to the next element that is known, and returns its end. Bytes may be left
    /// between the two: what [`raw`](Self::raw) once carried along.
    fn read_one(&self, start: usize, read: &mut impl FnMut(&mut ByteReader<'_>) -> Result<()>) -> Result<usize> {
        let limit = self.stream.limit(start);
        let mut input = ByteReader::new(self.stream.bytes.get(start..limit).unwrap_or_default());
        let end = read(&mut input).map(|()| start + input.position());
        end.map_err(|error| error.with("file", &self.stream.name).with("element at", self.stream.offset_of(start)))
    }

    /// The bytes that hold all elements, and where each begins in them, for carrying them along unread. The end of the
    /// last element is not known where the handle lists only a part of the stream: then bytes behind it come along,
    /// which no reader looks at.
    pub(super) fn raw(&self) -> Result<(&[u8], impl Iterator<Item = usize>)> {
        if self.stream.chunks.is_some() && self.positions.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(Error::unsupported(
                "compressed state of Flink 1.18 cannot be carried along: register it, or drop it from the snapshot",
            )
            .with("file", &self.stream.name));
        }
        let first = self.positions.iter().min().copied().unwrap_or(0);
        let last = self.positions.iter().max().copied().unwrap_or(0);
        let end = if self.positions.is_empty() { first } else { self.stream.limit(last) };
        let bytes = self.stream.bytes.get(first..end).unwrap_or_default();
        Ok((bytes, self.positions.iter().map(move |position| position - first)))
    }

    #[cold]
    fn shared_chunk(&self, position: usize) -> Error {
        Error::corrupt(
            "the elements of a compressed operator state cannot be told apart; Flink 1.18 wrote such files \
             (FLINK-34063): take the snapshot with a later release or without compression",
        )
        .with("file", &self.stream.name)
        .with("element at", self.stream.offset_of(position))
    }
}
