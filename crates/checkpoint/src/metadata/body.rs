//! Header, master states, operators and subtasks of a `_metadata` file.
//!
//! * Master state: `0xc96b1696`, length, then in that many bytes: version, name, length, bytes.
//! * Operator: from version 5 name and uid; the 16 bytes of its id; parallelism; max parallelism; from version 3 the
//!   coordinator's stream; number of subtasks, -1 for a fully finished operator; the subtasks.
//! * Subtask: its index, then its state. A negative index `-i-1` says that subtask `i` had finished; no state follows.
//! * Subtask state: a count (0 or 1) and as many handles, for managed and for raw operator state; managed and raw keyed
//!   handle; from version 3 counted lists of input and output channel handles.
//!
//! Version 2 has obsolete fields: after the max parallelism a chain length, before each subtask's state a duration and
//! a count of legacy states, which must be 0.

use std::collections::{BTreeMap, HashSet};

use highwater_types::{ByteReader, Error, MaxParallelism, OperatorId, Result, ResultExt};

use super::channel::{self, Side, cannot_hold};
use super::primitives::{
    corrupt, put_blob, put_count, put_i32, put_u32, put_u64, put_utf, read_blob, read_list, read_u32, read_u64,
};
use super::version::MAGIC;
use super::{
    CheckpointMetadata, MasterState, MetadataVersion, OperatorState, Subtask, SubtaskState, keyed, operator,
    properties, stream,
};
use crate::{OperatorStateHandle, StreamHandle};

const MASTER_STATE_MAGIC: u32 = 0xc96b_1696;
const FULLY_FINISHED: i32 = -1;

/// Smallest encodings, for bounding counts.
const MASTER_STATE_BYTES: usize = 4 + 4 + 10;
const OPERATOR_BYTES: usize = 16 + 4 + 4 + 4;
const SUBTASK_BYTES: usize = 4;

pub(super) fn read(reader: &mut ByteReader<'_>, version: MetadataVersion) -> Result<CheckpointMetadata> {
    let mut metadata = CheckpointMetadata {
        checkpoint_id: read_u64(reader)?,
        master_states: read_list(reader, MASTER_STATE_BYTES, read_master_state)?,
        operators: read_list(reader, OPERATOR_BYTES, |reader| read_operator(reader, version))?,
        properties: None,
    };
    let mut ids = HashSet::new();
    if let Some(twice) = metadata.operators.iter().find(|operator| !ids.insert(operator.id)) {
        return Err(Error::corrupt("an operator is there twice").with("operator", twice.id));
    }
    if version >= MetadataVersion::V4 {
        metadata.properties = Some(properties::read(reader)?);
    }
    if !reader.is_empty() {
        return Err(corrupt(
            "bytes follow the end of the metadata: the file is damaged, or two were written into one",
            reader.position(),
        )
        .with("found", format_args!("{} bytes", reader.remaining())));
    }
    Ok(metadata)
}

fn read_master_state(reader: &mut ByteReader<'_>) -> Result<MasterState> {
    let offset = reader.position();
    let magic = reader.read_u32()?;
    if magic != MASTER_STATE_MAGIC {
        return Err(corrupt("not a master state", offset).with("found", format_args!("{magic:08x}")));
    }
    let mut content = ByteReader::new(read_blob(reader)?);
    let state = read_master_state_content(&mut content).with("within the master state at offset", offset)?;
    if !content.is_empty() {
        return Err(corrupt("bytes follow within a master state", offset).with("found", content.remaining()));
    }
    Ok(state)
}

fn read_master_state_content(content: &mut ByteReader<'_>) -> Result<MasterState> {
    Ok(MasterState { version: content.read_i32()?, name: content.read_utf()?, bytes: read_blob(content)?.to_vec() })
}

fn read_operator(reader: &mut ByteReader<'_>, version: MetadataVersion) -> Result<OperatorState> {
    let (name, uid) = match version >= MetadataVersion::V5 {
        true => (read_name(reader)?, read_name(reader)?),
        false => (None, None),
    };
    let id = OperatorId::from_bytes(reader.read_array()?);
    read_operator_body(reader, version, id).map(|state| OperatorState { name, uid, ..state }).with("operator", id)
}

/// A name; the empty one stands for none.
fn read_name(reader: &mut ByteReader<'_>) -> Result<Option<String>> {
    Ok(Some(reader.read_utf()?).filter(|name| !name.is_empty()))
}

fn read_operator_body(reader: &mut ByteReader<'_>, version: MetadataVersion, id: OperatorId) -> Result<OperatorState> {
    let (parallelism, max_parallelism) = read_parallelism(reader)?;
    let mut state = OperatorState::new(id, parallelism, max_parallelism);
    if version == MetadataVersion::V2 {
        reader.read_i32()?;
    } else {
        state.coordinator = read_coordinator(reader)?;
    }
    let offset = reader.position();
    if version > MetadataVersion::V2 && reader.clone().read_i32()? == FULLY_FINISHED {
        reader.read_i32()?;
        if state.coordinator.is_some() {
            return Err(corrupt("a finished operator has coordinator state", offset));
        }
        state.fully_finished = true;
    } else {
        state.subtasks = read_subtasks(reader, version, parallelism)?;
    }
    Ok(state)
}

fn read_parallelism(reader: &mut ByteReader<'_>) -> Result<(u32, MaxParallelism)> {
    let offset = reader.position();
    let (parallelism, max) = (read_u32(reader)?, read_u32(reader)?);
    match MaxParallelism::new(max) {
        Ok(max) if parallelism <= max.get() => Ok((parallelism, max)),
        _ => Err(corrupt("not a parallelism within a max parallelism of at most 32768", offset)
            .with("parallelism", parallelism)
            .with("max parallelism", max)),
    }
}

fn read_coordinator(reader: &mut ByteReader<'_>) -> Result<Option<StreamHandle>> {
    let offset = reader.position();
    match stream::read_optional(reader)? {
        None => Ok(None),
        Some(state @ StreamHandle::Inline { .. }) => Ok(Some(state)),
        Some(_) => Err(corrupt("the state of an operator's coordinator is not inline", offset)),
    }
}

fn read_subtasks(
    reader: &mut ByteReader<'_>,
    version: MetadataVersion,
    parallelism: u32,
) -> Result<BTreeMap<u32, Subtask>> {
    let mut subtasks = BTreeMap::new();
    for _ in 0..reader.read_count(SUBTASK_BYTES)? {
        let offset = reader.position();
        let code = reader.read_i32()?;
        // -i-1 is the complement of i.
        let (index, finished) = if code < 0 { (!code as u32, true) } else { (code as u32, false) };
        if index >= parallelism || (finished && version == MetadataVersion::V2) {
            return Err(corrupt("not the index of a subtask", offset)
                .with("expected", format_args!("below {parallelism}"))
                .with("found", code));
        }
        let subtask = match finished {
            true => Subtask::Finished,
            false => Subtask::from(read_subtask_state(reader, version).with("subtask", index)?),
        };
        if subtasks.insert(index, subtask).is_some() {
            return Err(corrupt("a subtask is there twice", offset).with("subtask", index));
        }
    }
    Ok(subtasks)
}

fn read_subtask_state(reader: &mut ByteReader<'_>, version: MetadataVersion) -> Result<SubtaskState> {
    if version == MetadataVersion::V2 {
        reader.read_i64()?;
        if reader.read_i32()? != 0 {
            return Err(Error::unsupported(
                "the snapshot holds state of a Flink before 1.3; restore it in Flink 1.3 to 1.10 and take a new savepoint",
            ));
        }
    }
    let mut state = SubtaskState {
        managed_operator: read_operator_slot(reader)?,
        raw_operator: read_operator_slot(reader)?,
        managed_keyed: keyed::read(reader)?,
        raw_keyed: keyed::read(reader)?,
        ..SubtaskState::default()
    };
    if version > MetadataVersion::V2 {
        state.input_channels = channel::read_all(reader, version, Side::Input)?;
        state.output_channels = channel::read_all(reader, version, Side::Output)?;
    }
    Ok(state)
}

fn read_operator_slot(reader: &mut ByteReader<'_>) -> Result<Option<OperatorStateHandle>> {
    let offset = reader.position();
    match reader.read_i32()? {
        0 => Ok(None),
        1 => operator::read(reader),
        n => Err(corrupt("not a number of operator state handles (0 or 1)", offset).with("found", n)),
    }
}

pub(super) fn write(out: &mut Vec<u8>, metadata: &CheckpointMetadata, version: MetadataVersion) -> Result<()> {
    if version == MetadataVersion::V2 {
        return Err(Error::unsupported(
            "metadata version 2 is read, not written; write version 3, which Flink 1.11 and later read",
        ));
    }
    out.extend_from_slice(&MAGIC.to_be_bytes());
    put_u32(out, version.number())?;
    put_u64(out, metadata.checkpoint_id)?;
    put_count(out, metadata.master_states.len())?;
    metadata.master_states.iter().try_for_each(|state| write_master_state(out, state))?;
    put_count(out, metadata.operators.len())?;
    for operator in &metadata.operators {
        write_operator(out, operator, version).with("operator", operator.id)?;
    }
    match (&metadata.properties, version >= MetadataVersion::V4) {
        (None, true) => out.extend_from_slice(properties::CANONICAL_SAVEPOINT),
        (Some(properties), true) => {
            properties::check(properties)?;
            out.extend_from_slice(properties);
        }
        (Some(_), false) => return Err(cannot_hold(version, "a checkpoint's properties", MetadataVersion::V4)),
        (None, false) => {}
    }
    Ok(())
}

fn write_master_state(out: &mut Vec<u8>, state: &MasterState) -> Result<()> {
    let mut content = Vec::new();
    put_i32(&mut content, state.version);
    put_utf(&mut content, &state.name)?;
    put_blob(&mut content, &state.bytes)?;
    out.extend_from_slice(&MASTER_STATE_MAGIC.to_be_bytes());
    put_blob(out, &content)
}

fn write_operator(out: &mut Vec<u8>, state: &OperatorState, version: MetadataVersion) -> Result<()> {
    check_writable(state)?;
    if version >= MetadataVersion::V5 {
        put_utf(out, state.name.as_deref().unwrap_or_default())?;
        put_utf(out, state.uid.as_deref().unwrap_or_default())?;
    } else if state.name.is_some() || state.uid.is_some() {
        return Err(cannot_hold(version, "operator names and uids", MetadataVersion::V5));
    }
    out.extend_from_slice(state.id.as_bytes());
    put_u32(out, state.parallelism)?;
    put_u32(out, state.max_parallelism.get())?;
    stream::write_optional(out, state.coordinator.as_ref())?;
    if state.fully_finished {
        put_i32(out, FULLY_FINISHED);
        return Ok(());
    }
    put_count(out, state.subtasks.len())?;
    for (&index, subtask) in &state.subtasks {
        // Below the parallelism, which is at most 32768.
        let index = index as i32;
        match subtask {
            Subtask::Finished => put_i32(out, !index),
            Subtask::State(subtask) => {
                put_i32(out, index);
                write_subtask_state(out, subtask, version).with("subtask", index)?;
            }
        }
    }
    Ok(())
}

/// What could be written but not read again.
fn check_writable(state: &OperatorState) -> Result<()> {
    if state.parallelism > state.max_parallelism.get() {
        return Err(Error::program("an operator's parallelism is above its max parallelism")
            .with("expected", format_args!("at most {}", state.max_parallelism))
            .with("found", state.parallelism));
    }
    if let Some((&index, _)) = state.subtasks.last_key_value().filter(|(index, _)| **index >= state.parallelism) {
        return Err(Error::program("a subtask's index is not below its operator's parallelism")
            .with("expected", format_args!("below {}", state.parallelism))
            .with("found", index));
    }
    if state.coordinator.as_ref().is_some_and(|stream| !matches!(stream, StreamHandle::Inline { .. })) {
        return Err(Error::program("the state of an operator's coordinator must be inline"));
    }
    if state.fully_finished && !(state.coordinator.is_none() && state.subtasks.is_empty()) {
        return Err(Error::program("a fully finished operator has neither coordinator nor subtask state"));
    }
    Ok(())
}

fn write_subtask_state(out: &mut Vec<u8>, state: &SubtaskState, version: MetadataVersion) -> Result<()> {
    write_operator_slot(out, state.managed_operator.as_ref())?;
    write_operator_slot(out, state.raw_operator.as_ref())?;
    keyed::write(out, state.managed_keyed.as_ref())?;
    keyed::write(out, state.raw_keyed.as_ref())?;
    channel::write_all(out, version, Side::Input, &state.input_channels)?;
    channel::write_all(out, version, Side::Output, &state.output_channels)
}

fn write_operator_slot(out: &mut Vec<u8>, handle: Option<&OperatorStateHandle>) -> Result<()> {
    put_count(out, usize::from(handle.is_some()))?;
    handle.map_or(Ok(()), |handle| operator::write(out, handle))
}
