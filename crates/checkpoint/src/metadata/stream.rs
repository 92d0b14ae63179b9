//! Stream handles: a tag, then
//!
//! | tag | fields |
//! |---|---|
//! | 0 | none: no stream |
//! | 1 | name, length, bytes |
//! | 2 | size, path |
//! | 3 | first key group, number of key groups, one position each, stream |
//! | 6 | relative path, size |
//! | 15 | start, size, scope (0 exclusive, 1 shared), path, id of the piece |
//! | 16 | none: a piece without bytes |

use highwater_types::{ByteReader, Result};

use super::primitives::{
    check_depth, corrupt, put_blob, put_i32, put_key_groups, put_u64, put_utf, read_blob, read_offsets, read_range,
    read_u64,
};
use crate::{KeyGroupsStream, StateScope, StreamHandle};

const NULL: u8 = 0;
const INLINE: u8 = 1;
const FILE: u8 = 2;
const KEY_GROUPS: u8 = 3;
const RELATIVE_FILE: u8 = 6;
const SEGMENT: u8 = 15;
const EMPTY_SEGMENT: u8 = 16;

/// A stream that may be absent.
pub(super) fn read_optional(reader: &mut ByteReader<'_>) -> Result<Option<StreamHandle>> {
    read_nested(reader, 0)
}

/// A stream that must be there.
pub(super) fn read(reader: &mut ByteReader<'_>) -> Result<StreamHandle> {
    required(reader, 0)
}

fn required(reader: &mut ByteReader<'_>, depth: usize) -> Result<StreamHandle> {
    let offset = reader.position();
    read_nested(reader, depth)?.ok_or_else(|| corrupt("a handle has no stream", offset))
}

fn read_nested(reader: &mut ByteReader<'_>, depth: usize) -> Result<Option<StreamHandle>> {
    let offset = reader.position();
    check_depth(depth, offset)?;
    Ok(Some(match reader.read_u8()? {
        NULL => return Ok(None),
        INLINE => StreamHandle::Inline { name: reader.read_utf()?, bytes: read_blob(reader)?.into() },
        FILE => {
            let size = read_u64(reader)?;
            StreamHandle::File { path: reader.read_utf()?, size }
        }
        KEY_GROUPS => {
            let range = read_range(reader)?;
            let offsets = read_offsets(reader, range.count())?;
            let data = required(reader, depth + 1)?;
            StreamHandle::KeyGroups(Box::new(KeyGroupsStream { range, offsets, data }))
        }
        RELATIVE_FILE => StreamHandle::RelativeFile { path: reader.read_utf()?, size: read_u64(reader)? },
        SEGMENT => {
            let (start, size) = (read_u64(reader)?, read_u64(reader)?);
            let scope = read_scope(reader)?;
            StreamHandle::Segment { path: reader.read_utf()?, start, size, scope, logical_file_id: reader.read_utf()? }
        }
        EMPTY_SEGMENT => StreamHandle::EmptySegment,
        tag => return Err(corrupt("not the tag of a stream handle", offset).with("found", tag)),
    }))
}

fn read_scope(reader: &mut ByteReader<'_>) -> Result<StateScope> {
    let offset = reader.position();
    match reader.read_i32()? {
        0 => Ok(StateScope::Exclusive),
        1 => Ok(StateScope::Shared),
        other => Err(corrupt("not the scope of a file segment (0 or 1)", offset).with("found", other)),
    }
}

pub(super) fn write_optional(out: &mut Vec<u8>, stream: Option<&StreamHandle>) -> Result<()> {
    match stream {
        None => {
            out.push(NULL);
            Ok(())
        }
        Some(stream) => write(out, stream),
    }
}

pub(super) fn write(out: &mut Vec<u8>, stream: &StreamHandle) -> Result<()> {
    write_nested(out, stream, 0)
}

fn write_nested(out: &mut Vec<u8>, stream: &StreamHandle, depth: usize) -> Result<()> {
    check_depth(depth, out.len())?;
    match stream {
        StreamHandle::Inline { name, bytes } => {
            out.push(INLINE);
            put_utf(out, name)?;
            put_blob(out, bytes)
        }
        StreamHandle::File { path, size } => {
            out.push(FILE);
            put_u64(out, *size)?;
            put_utf(out, path)
        }
        StreamHandle::RelativeFile { path, size } => {
            out.push(RELATIVE_FILE);
            put_utf(out, path)?;
            put_u64(out, *size)
        }
        StreamHandle::KeyGroups(nested) => {
            out.push(KEY_GROUPS);
            put_key_groups(out, nested.range, &nested.offsets)?;
            write_nested(out, &nested.data, depth + 1)
        }
        StreamHandle::Segment { path, start, size, scope, logical_file_id } => {
            out.push(SEGMENT);
            put_u64(out, *start)?;
            put_u64(out, *size)?;
            put_i32(out, i32::from(*scope == StateScope::Shared));
            put_utf(out, path)?;
            put_utf(out, logical_file_id)
        }
        StreamHandle::EmptySegment => {
            out.push(EMPTY_SEGMENT);
            Ok(())
        }
    }
}
