//! Operator-state handles: a tag, then
//!
//! | tag | fields |
//! |---|---|
//! | 0 | none: no operator state |
//! | 4 | states (name, mode, positions), stream |
//! | 17 | states, task-owned directory, shared directory, whether it is empty, file segment |

use std::collections::BTreeMap;

use highwater_types::{ByteReader, Error, Result};

use super::primitives::{corrupt, put_count, put_offset_list, put_utf, read_offset_list};
use super::stream;
use crate::{DistributionMode, MergedDirectories, OperatorStateHandle, StatePartitions, StreamHandle};

const NULL: u8 = 0;
const PARTITIONABLE: u8 = 4;
const MERGED: u8 = 17;

/// Smallest encoding of one state: an empty name, the mode and no positions.
const STATE_BYTES: usize = 2 + 1 + 4;

pub(super) fn read(reader: &mut ByteReader<'_>) -> Result<Option<OperatorStateHandle>> {
    let offset = reader.position();
    let tag = reader.read_u8()?;
    match tag {
        NULL => Ok(None),
        PARTITIONABLE => Ok(Some(OperatorStateHandle::new(read_states(reader)?, stream::read(reader)?))),
        MERGED => read_merged(reader).map(Some),
        _ => Err(corrupt("not the tag of an operator state handle", offset).with("found", tag)),
    }
}

fn read_merged(reader: &mut ByteReader<'_>) -> Result<OperatorStateHandle> {
    let states = read_states(reader)?;
    let directories =
        MergedDirectories { task_owned: reader.read_utf()?, shared: reader.read_utf()?, is_empty: reader.read_bool()? };
    let offset = reader.position();
    let data = stream::read(reader)?;
    if !is_segment(&data) {
        return Err(corrupt("a merged operator state handle is not over a file segment", offset));
    }
    Ok(OperatorStateHandle { states, data, merged: Some(directories) })
}

fn read_states(reader: &mut ByteReader<'_>) -> Result<BTreeMap<String, StatePartitions>> {
    let mut states = BTreeMap::new();
    for _ in 0..reader.read_count(STATE_BYTES)? {
        let offset = reader.position();
        let name = reader.read_utf()?;
        let partitions = StatePartitions { mode: read_mode(reader)?, offsets: read_offset_list(reader)? };
        if states.insert(name.clone(), partitions).is_some() {
            return Err(corrupt("an operator state is there twice", offset).with("state", name));
        }
    }
    Ok(states)
}

fn read_mode(reader: &mut ByteReader<'_>) -> Result<DistributionMode> {
    let offset = reader.position();
    match reader.read_u8()? {
        0 => Ok(DistributionMode::SplitDistribute),
        1 => Ok(DistributionMode::Union),
        2 => Ok(DistributionMode::Broadcast),
        mode => Err(corrupt("not a distribution mode (0 to 2)", offset).with("found", mode)),
    }
}

pub(super) fn write(out: &mut Vec<u8>, handle: &OperatorStateHandle) -> Result<()> {
    out.push(if handle.merged.is_some() { MERGED } else { PARTITIONABLE });
    put_count(out, handle.states.len())?;
    for (name, partitions) in &handle.states {
        put_utf(out, name)?;
        out.push(match partitions.mode {
            DistributionMode::SplitDistribute => 0,
            DistributionMode::Union => 1,
            DistributionMode::Broadcast => 2,
        });
        put_offset_list(out, &partitions.offsets)?;
    }
    if let Some(directories) = &handle.merged {
        if !is_segment(&handle.data) {
            return Err(Error::program("a merged operator state handle must be over a file segment"));
        }
        put_utf(out, &directories.task_owned)?;
        put_utf(out, &directories.shared)?;
        out.push(u8::from(directories.is_empty));
    }
    stream::write(out, &handle.data)
}

fn is_segment(stream: &StreamHandle) -> bool {
    matches!(stream, StreamHandle::Segment { .. } | StreamHandle::EmptySegment)
}
