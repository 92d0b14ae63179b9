//! Numbers, names and lists as `_metadata` holds them: big-endian, signed in the file, never negative in meaning.

use highwater_types::{ByteReader, Error, KeyGroupRange, MaxParallelism, Result, write_utf};

/// How deep handles may be nested; Flink itself nests two levels.
pub(super) const MAX_DEPTH: usize = 8;

/// Smallest encoding of an offset, for bounding counts.
const OFFSET_BYTES: usize = size_of::<i64>();

/// An error about the bytes at `offset`.
#[cold]
pub(super) fn corrupt(message: &str, offset: usize) -> Error {
    Error::corrupt(message).with("offset", offset)
}

/// An unsigned number stored as `i64`.
pub(super) fn read_u64(reader: &mut ByteReader<'_>) -> Result<u64> {
    let offset = reader.position();
    let value = reader.read_i64()?;
    u64::try_from(value).map_err(|_| corrupt("a number is negative that must not be", offset).with("found", value))
}

/// An unsigned number stored as `i32`.
pub(super) fn read_u32(reader: &mut ByteReader<'_>) -> Result<u32> {
    let offset = reader.position();
    let value = reader.read_i32()?;
    u32::try_from(value).map_err(|_| corrupt("a number is negative that must not be", offset).with("found", value))
}

/// First key group and **number** of key groups.
pub(super) fn read_range(reader: &mut ByteReader<'_>) -> Result<KeyGroupRange> {
    let offset = reader.position();
    let (start, count) = (reader.read_i32()?, reader.read_i32()?);
    let last = i64::from(start) + i64::from(count) - 1;
    match (u16::try_from(start), u16::try_from(last)) {
        (Ok(start), Ok(end)) if end >= start && u32::from(end) < MaxParallelism::UPPER_BOUND => {
            KeyGroupRange::new(start, end)
        }
        _ => Err(corrupt("not a range of key groups", offset).with("start", start).with("count", count)),
    }
}

/// `n` positions.
pub(super) fn read_offsets(reader: &mut ByteReader<'_>, n: usize) -> Result<Vec<u64>> {
    if n.saturating_mul(OFFSET_BYTES) > reader.remaining() {
        return Err(corrupt("more positions are announced than bytes follow", reader.position()).with("found", n));
    }
    let mut offsets = Vec::with_capacity(n);
    for _ in 0..n {
        offsets.push(read_u64(reader)?);
    }
    Ok(offsets)
}

/// A count and as many positions.
pub(super) fn read_offset_list(reader: &mut ByteReader<'_>) -> Result<Vec<u64>> {
    let n = reader.read_count(OFFSET_BYTES)?;
    read_offsets(reader, n)
}

/// A length and as many bytes.
pub(super) fn read_blob<'a>(reader: &mut ByteReader<'a>) -> Result<&'a [u8]> {
    let n = reader.read_count(1)?;
    reader.read_bytes(n)
}

/// A count and as many elements of at least `min_size` bytes. Grows with what was really read, since an element may
/// take far more memory than bytes.
pub(super) fn read_list<'a, T>(
    reader: &mut ByteReader<'a>,
    min_size: usize,
    mut element: impl FnMut(&mut ByteReader<'a>) -> Result<T>,
) -> Result<Vec<T>> {
    let n = reader.read_count(min_size)?;
    let mut list = Vec::new();
    for _ in 0..n {
        list.push(element(reader)?);
    }
    Ok(list)
}

/// The handle inside a handle may not be nested further.
pub(super) fn check_depth(depth: usize, offset: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(
            corrupt("handles are nested too deep", offset).with("expected", format_args!("at most {MAX_DEPTH}"))
        );
    }
    Ok(())
}

pub(super) fn put_i32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) -> Result<()> {
    put_i32(out, i32::try_from(value).map_err(|_| too_large(value))?);
    Ok(())
}

pub(super) fn put_u64(out: &mut Vec<u8>, value: u64) -> Result<()> {
    put_i64(out, i64::try_from(value).map_err(|_| too_large(value))?);
    Ok(())
}

pub(super) fn put_count(out: &mut Vec<u8>, count: usize) -> Result<()> {
    put_i32(out, i32::try_from(count).map_err(|_| too_large(count))?);
    Ok(())
}

pub(super) fn put_blob(out: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    put_count(out, bytes.len())?;
    out.extend_from_slice(bytes);
    Ok(())
}

pub(super) fn put_utf(out: &mut Vec<u8>, text: &str) -> Result<()> {
    write_utf(text, out)
}

pub(super) fn put_range(out: &mut Vec<u8>, range: KeyGroupRange) {
    put_i32(out, i32::from(range.start()));
    // At most 32768.
    put_i32(out, range.count() as i32);
}

pub(super) fn put_offsets(out: &mut Vec<u8>, offsets: &[u64]) -> Result<()> {
    offsets.iter().try_for_each(|&offset| put_u64(out, offset))
}

pub(super) fn put_offset_list(out: &mut Vec<u8>, offsets: &[u64]) -> Result<()> {
    put_count(out, offsets.len())?;
    put_offsets(out, offsets)
}

/// A range with one position for each of its key groups.
pub(super) fn put_key_groups(out: &mut Vec<u8>, range: KeyGroupRange, offsets: &[u64]) -> Result<()> {
    if offsets.len() != range.count() {
        return Err(Error::program("a key-group handle needs one position for each key group")
            .with("range", range)
            .with("expected", range.count())
            .with("found", offsets.len()));
    }
    put_range(out, range);
    put_offsets(out, offsets)
}

#[cold]
fn too_large(value: impl std::fmt::Display) -> Error {
    Error::unsupported("a number is too large for a checkpoint's metadata").with("found", value)
}
