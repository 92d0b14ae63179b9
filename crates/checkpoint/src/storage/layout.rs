//! Names in a job's directory. They are Flink's, so that Flink's tools find their way.

use uuid::Uuid;

/// Name of the metadata file; its presence makes a checkpoint complete.
pub(crate) const METADATA: &str = "_metadata";
/// Files that several checkpoints may reference.
pub(crate) const SHARED: &str = "shared";
/// Files the coordinator must never delete.
pub(crate) const TASK_OWNED: &str = "taskowned";
/// The file that is locked while a process runs the job.
pub(crate) const LOCK: &str = ".lock";

const CHECKPOINT_PREFIX: &str = "chk-";
const TEMPORARY_PREFIX: &str = "._metadata.inprogress.";

pub(crate) fn checkpoint_dir(id: u64) -> String {
    format!("{CHECKPOINT_PREFIX}{id}")
}

/// The id of a checkpoint directory, if this is exactly the name one has.
pub(crate) fn checkpoint_id(name: &str) -> Option<u64> {
    let id = name.strip_prefix(CHECKPOINT_PREFIX)?.parse().ok()?;
    // Ids are positive 64-bit integers in Flink. Printing again refuses signs and leading zeros.
    (id <= i64::MAX as u64 && checkpoint_dir(id) == name).then_some(id)
}

/// A new temporary name for a metadata file.
pub(crate) fn temporary_metadata() -> String {
    format!("{TEMPORARY_PREFIX}{}", Uuid::new_v4())
}

/// Whether only Highwater (or Flink) gives this name to a file of a checkpoint: a state file, `_metadata`, or its
/// temporary name.
pub(crate) fn is_own_file(name: &str) -> bool {
    name == METADATA || is_state_file(name) || is_temporary(name)
}

/// Whether this is the name of a state file: a random UUID in its 8-4-4-4-12 form.
pub(crate) fn is_state_file(name: &str) -> bool {
    Uuid::try_parse(name).is_ok_and(|uuid| uuid.to_string() == name)
}

/// Whether this is a metadata file that was never completed.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.strip_prefix(TEMPORARY_PREFIX).is_some_and(is_state_file)
}
