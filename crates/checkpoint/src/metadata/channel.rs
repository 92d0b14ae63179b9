//! Channel-state handles of unaligned checkpoints. From version 6 on a byte says what follows: 1 or 2, one channel of
//! an input or an output; 3 or 4, several of them.
//!
//! One channel: subtask, gate, channel, positions, size, stream. Several: subtask, size, stream, and a length-prefixed
//! list of (gate, channel, size, positions).

use highwater_types::{ByteReader, Error, Result};

use super::MetadataVersion;
use super::primitives::{
    corrupt, put_blob, put_count, put_offset_list, put_u32, put_u64, read_blob, read_list, read_offset_list, read_u32,
    read_u64,
};
use super::stream;
use crate::{ChannelState, ChannelStateHandle};

/// Smallest encoding of one channel in a merged handle.
const CHANNEL_BYTES: usize = 4 + 4 + 8 + 4;

/// Which side of a subtask the channels are on.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Input,
    Output,
}

impl Side {
    fn single(self) -> u8 {
        match self {
            Self::Input => 1,
            Self::Output => 2,
        }
    }

    fn merged(self) -> u8 {
        match self {
            Self::Input => 3,
            Self::Output => 4,
        }
    }
}

pub(super) fn read_all(
    reader: &mut ByteReader<'_>,
    version: MetadataVersion,
    side: Side,
) -> Result<Vec<ChannelStateHandle>> {
    read_list(reader, 1, |reader| {
        if version < MetadataVersion::V6 {
            return read_single(reader);
        }
        let offset = reader.position();
        match reader.read_u8()? {
            kind if kind == side.single() => read_single(reader),
            kind if kind == side.merged() => read_merged(reader),
            kind => Err(corrupt("not the kind of a channel state handle on this side", offset).with("found", kind)),
        }
    })
}

fn read_single(reader: &mut ByteReader<'_>) -> Result<ChannelStateHandle> {
    Ok(ChannelStateHandle::Single {
        subtask: read_u32(reader)?,
        channel: ChannelState {
            gate: read_u32(reader)?,
            channel: read_u32(reader)?,
            offsets: read_offset_list(reader)?,
            size: read_u64(reader)?,
        },
        data: stream::read(reader)?,
    })
}

fn read_merged(reader: &mut ByteReader<'_>) -> Result<ChannelStateHandle> {
    let (subtask, size) = (read_u32(reader)?, read_u64(reader)?);
    let data = stream::read(reader)?;
    let offset = reader.position();
    let mut list = ByteReader::new(read_blob(reader)?);
    let channels = read_list(&mut list, CHANNEL_BYTES, |reader| {
        let (gate, channel, size) = (read_u32(reader)?, read_u32(reader)?, read_u64(reader)?);
        Ok(ChannelState { gate, channel, offsets: read_offset_list(reader)?, size })
    })
    .map_err(|error| error.with("within the list at offset", offset))?;
    if !list.is_empty() {
        return Err(corrupt("bytes follow the last channel of a merged handle", offset).with("found", list.remaining()));
    }
    Ok(ChannelStateHandle::Merged { subtask, size, channels, data })
}

pub(super) fn write_all(
    out: &mut Vec<u8>,
    version: MetadataVersion,
    side: Side,
    handles: &[ChannelStateHandle],
) -> Result<()> {
    put_count(out, handles.len())?;
    handles.iter().try_for_each(|handle| match handle {
        ChannelStateHandle::Single { subtask, channel, data } => {
            if version >= MetadataVersion::V6 {
                out.push(side.single());
            }
            put_u32(out, *subtask)?;
            put_u32(out, channel.gate)?;
            put_u32(out, channel.channel)?;
            put_offset_list(out, &channel.offsets)?;
            put_u64(out, channel.size)?;
            stream::write(out, data)
        }
        ChannelStateHandle::Merged { subtask, size, channels, data } => {
            if version < MetadataVersion::V6 {
                return Err(cannot_hold(version, "merged channel state", MetadataVersion::V6));
            }
            out.push(side.merged());
            put_u32(out, *subtask)?;
            put_u64(out, *size)?;
            stream::write(out, data)?;
            put_blob(out, &merged_list(channels)?)
        }
    })
}

fn merged_list(channels: &[ChannelState]) -> Result<Vec<u8>> {
    let mut list = Vec::new();
    put_count(&mut list, channels.len())?;
    for channel in channels {
        put_u32(&mut list, channel.gate)?;
        put_u32(&mut list, channel.channel)?;
        put_u64(&mut list, channel.size)?;
        put_offset_list(&mut list, &channel.offsets)?;
    }
    Ok(list)
}

/// What was to be written does not exist in this version.
pub(super) fn cannot_hold(version: MetadataVersion, what: &str, needed: MetadataVersion) -> Error {
    Error::unsupported(format!(
        "metadata version {version} cannot hold {what}; write version {needed} or later, or leave it out"
    ))
}
