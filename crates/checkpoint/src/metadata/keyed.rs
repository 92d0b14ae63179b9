//! Keyed handles: a tag, then
//!
//! | tag | fields |
//! |---|---|
//! | 0 | none: no keyed state |
//! | 3, 7, 12 | range, one position per key group, stream; 12 also an id |
//! | 5, 11 | checkpoint, backend id, range; 11 also the size of the increment; header stream, shared files, private files; 11 also an id |
//! | 8, 14 | range, size of the increment, snapshot handles, change handles, snapshot number; 14 also the checkpoint; id |
//! | 9 | range, first and end sequence number, changes (key group or -1, length, bytes), id |
//! | 10, 13 | range, (position, stream) list, size, size of the increment, id; 13 also the storage's name |

use highwater_types::{ByteReader, KeyGroup, MaxParallelism, Result};

use super::primitives::{
    check_depth, corrupt, put_blob, put_count, put_i32, put_i64, put_key_groups, put_range, put_u64, put_utf,
    read_blob, read_list, read_offsets, read_range, read_u64,
};
use super::stream;
use crate::{
    Change, ChangelogBytesHandle, ChangelogFileHandle, ChangelogHandle, IncrementalHandle, KeyGroupsFormat,
    KeyGroupsHandle, KeyedStateHandle, StreamHandle,
};

const NULL: u8 = 0;
const KEY_GROUPS: u8 = 3;
const INCREMENTAL: u8 = 5;
const SAVEPOINT: u8 = 7;
const CHANGELOG: u8 = 8;
const CHANGELOG_BYTES: u8 = 9;
const CHANGELOG_FILE: u8 = 10;
const INCREMENTAL_V2: u8 = 11;
const KEY_GROUPS_V2: u8 = 12;
const CHANGELOG_FILE_V2: u8 = 13;
const CHANGELOG_V2: u8 = 14;

pub(super) fn read(reader: &mut ByteReader<'_>) -> Result<Option<KeyedStateHandle>> {
    read_nested(reader, 0)
}

fn read_nested(reader: &mut ByteReader<'_>, depth: usize) -> Result<Option<KeyedStateHandle>> {
    let offset = reader.position();
    check_depth(depth, offset)?;
    let tag = reader.read_u8()?;
    let handle = match tag {
        NULL => return Ok(None),
        KEY_GROUPS | SAVEPOINT | KEY_GROUPS_V2 => KeyedStateHandle::KeyGroups(read_key_groups(reader, tag)?),
        INCREMENTAL | INCREMENTAL_V2 => KeyedStateHandle::Incremental(Box::new(read_incremental(reader, tag)?)),
        CHANGELOG | CHANGELOG_V2 => KeyedStateHandle::Changelog(Box::new(read_changelog(reader, tag, depth)?)),
        CHANGELOG_BYTES => KeyedStateHandle::ChangelogBytes(read_changes(reader)?),
        CHANGELOG_FILE | CHANGELOG_FILE_V2 => KeyedStateHandle::ChangelogFile(read_change_files(reader, tag)?),
        _ => return Err(corrupt("not the tag of a keyed state handle", offset).with("found", tag)),
    };
    Ok(Some(handle))
}

fn read_key_groups(reader: &mut ByteReader<'_>, tag: u8) -> Result<KeyGroupsHandle> {
    let range = read_range(reader)?;
    let offsets = read_offsets(reader, range.count())?;
    let data = stream::read(reader)?;
    let format = match tag {
        SAVEPOINT => KeyGroupsFormat::Canonical,
        KEY_GROUPS_V2 => KeyGroupsFormat::V2 { state_handle_id: reader.read_utf()? },
        _ => KeyGroupsFormat::Legacy,
    };
    Ok(KeyGroupsHandle { format, range, offsets, data })
}

fn read_incremental(reader: &mut ByteReader<'_>, tag: u8) -> Result<IncrementalHandle> {
    let checkpoint_id = read_u64(reader)?;
    let backend_id = reader.read_utf()?;
    let range = read_range(reader)?;
    let increment = if tag == INCREMENTAL_V2 { reader.read_i64()? } else { -1 };
    let mut handle = IncrementalHandle {
        checkpoint_id,
        backend_id,
        range,
        checkpointed_size: 0,
        meta: stream::read(reader)?,
        shared: read_files(reader)?,
        private: read_files(reader)?,
        state_handle_id: None,
    };
    // Flink takes the whole size where the increment is not known (-1).
    handle.checkpointed_size = u64::try_from(increment).unwrap_or_else(|_| handle.size());
    if tag == INCREMENTAL_V2 {
        handle.state_handle_id = Some(reader.read_utf()?);
    }
    Ok(handle)
}

fn read_files(reader: &mut ByteReader<'_>) -> Result<Vec<(String, StreamHandle)>> {
    read_list(reader, 3, |reader| Ok((reader.read_utf()?, stream::read(reader)?)))
}

fn read_changelog(reader: &mut ByteReader<'_>, tag: u8, depth: usize) -> Result<ChangelogHandle> {
    Ok(ChangelogHandle {
        range: read_range(reader)?,
        checkpointed_size: reader.read_i64()?,
        materialized: read_parts(reader, depth + 1)?,
        delta: read_parts(reader, depth + 1)?,
        materialization_id: reader.read_i64()?,
        checkpoint_id: if tag == CHANGELOG_V2 { Some(reader.read_i64()?) } else { None },
        state_handle_id: reader.read_utf()?,
    })
}

fn read_parts(reader: &mut ByteReader<'_>, depth: usize) -> Result<Vec<KeyedStateHandle>> {
    read_list(reader, 1, |reader| {
        let offset = reader.position();
        read_nested(reader, depth)?.ok_or_else(|| corrupt("a part of a changelog handle is missing", offset))
    })
}

fn read_changes(reader: &mut ByteReader<'_>) -> Result<ChangelogBytesHandle> {
    Ok(ChangelogBytesHandle {
        range: read_range(reader)?,
        from: reader.read_i64()?,
        to: reader.read_i64()?,
        changes: read_list(reader, 8, |reader| {
            Ok(Change { key_group: read_changed_group(reader)?, bytes: read_blob(reader)?.to_vec() })
        })?,
        state_handle_id: reader.read_utf()?,
    })
}

/// A key group, or -1 for a change of a state's description.
fn read_changed_group(reader: &mut ByteReader<'_>) -> Result<Option<KeyGroup>> {
    let offset = reader.position();
    match reader.read_i32()? {
        -1 => Ok(None),
        group => match KeyGroup::try_from(group) {
            Ok(group) if u32::from(group) < MaxParallelism::UPPER_BOUND => Ok(Some(group)),
            _ => Err(corrupt("not a key group", offset).with("found", group)),
        },
    }
}

fn read_change_files(reader: &mut ByteReader<'_>, tag: u8) -> Result<ChangelogFileHandle> {
    Ok(ChangelogFileHandle {
        range: read_range(reader)?,
        streams: read_list(reader, 9, |reader| Ok((read_u64(reader)?, stream::read(reader)?)))?,
        size: read_u64(reader)?,
        checkpointed_size: reader.read_i64()?,
        state_handle_id: reader.read_utf()?,
        storage: if tag == CHANGELOG_FILE_V2 { Some(reader.read_utf()?) } else { None },
    })
}

pub(super) fn write(out: &mut Vec<u8>, handle: Option<&KeyedStateHandle>) -> Result<()> {
    match handle {
        None => {
            out.push(NULL);
            Ok(())
        }
        Some(handle) => write_nested(out, handle, 0),
    }
}

fn write_nested(out: &mut Vec<u8>, handle: &KeyedStateHandle, depth: usize) -> Result<()> {
    check_depth(depth, out.len())?;
    match handle {
        KeyedStateHandle::KeyGroups(handle) => write_key_groups(out, handle),
        KeyedStateHandle::Incremental(handle) => write_incremental(out, handle),
        KeyedStateHandle::Changelog(handle) => write_changelog(out, handle, depth),
        KeyedStateHandle::ChangelogBytes(handle) => write_changes(out, handle),
        KeyedStateHandle::ChangelogFile(handle) => write_change_files(out, handle),
    }
}

fn write_key_groups(out: &mut Vec<u8>, handle: &KeyGroupsHandle) -> Result<()> {
    out.push(match handle.format {
        KeyGroupsFormat::Canonical => SAVEPOINT,
        KeyGroupsFormat::Legacy => KEY_GROUPS,
        KeyGroupsFormat::V2 { .. } => KEY_GROUPS_V2,
    });
    put_key_groups(out, handle.range, &handle.offsets)?;
    stream::write(out, &handle.data)?;
    match &handle.format {
        KeyGroupsFormat::V2 { state_handle_id } => put_utf(out, state_handle_id),
        KeyGroupsFormat::Canonical | KeyGroupsFormat::Legacy => Ok(()),
    }
}

fn write_incremental(out: &mut Vec<u8>, handle: &IncrementalHandle) -> Result<()> {
    out.push(if handle.state_handle_id.is_some() { INCREMENTAL_V2 } else { INCREMENTAL });
    put_u64(out, handle.checkpoint_id)?;
    put_utf(out, &handle.backend_id)?;
    put_range(out, handle.range);
    if handle.state_handle_id.is_some() {
        put_u64(out, handle.checkpointed_size)?;
    }
    stream::write(out, &handle.meta)?;
    write_files(out, &handle.shared)?;
    write_files(out, &handle.private)?;
    handle.state_handle_id.as_ref().map_or(Ok(()), |id| put_utf(out, id))
}

fn write_files(out: &mut Vec<u8>, files: &[(String, StreamHandle)]) -> Result<()> {
    put_count(out, files.len())?;
    files.iter().try_for_each(|(name, file)| {
        put_utf(out, name)?;
        stream::write(out, file)
    })
}

fn write_changelog(out: &mut Vec<u8>, handle: &ChangelogHandle, depth: usize) -> Result<()> {
    out.push(if handle.checkpoint_id.is_some() { CHANGELOG_V2 } else { CHANGELOG });
    put_range(out, handle.range);
    put_i64(out, handle.checkpointed_size);
    for parts in [&handle.materialized, &handle.delta] {
        put_count(out, parts.len())?;
        parts.iter().try_for_each(|part| write_nested(out, part, depth + 1))?;
    }
    put_i64(out, handle.materialization_id);
    if let Some(checkpoint_id) = handle.checkpoint_id {
        put_i64(out, checkpoint_id);
    }
    put_utf(out, &handle.state_handle_id)
}

fn write_changes(out: &mut Vec<u8>, handle: &ChangelogBytesHandle) -> Result<()> {
    out.push(CHANGELOG_BYTES);
    put_range(out, handle.range);
    put_i64(out, handle.from);
    put_i64(out, handle.to);
    put_count(out, handle.changes.len())?;
    for change in &handle.changes {
        put_i32(out, change.key_group.map_or(-1, i32::from));
        put_blob(out, &change.bytes)?;
    }
    put_utf(out, &handle.state_handle_id)
}

fn write_change_files(out: &mut Vec<u8>, handle: &ChangelogFileHandle) -> Result<()> {
    out.push(if handle.storage.is_some() { CHANGELOG_FILE_V2 } else { CHANGELOG_FILE });
    put_range(out, handle.range);
    put_count(out, handle.streams.len())?;
    for (position, data) in &handle.streams {
        put_u64(out, *position)?;
        stream::write(out, data)?;
    }
    put_u64(out, handle.size)?;
    put_i64(out, handle.checkpointed_size);
    put_utf(out, &handle.state_handle_id)?;
    handle.storage.as_ref().map_or(Ok(()), |storage| put_utf(out, storage))
}
