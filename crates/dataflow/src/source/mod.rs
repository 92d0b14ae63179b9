//! Sources: where records come from, with positions that can be replayed.

mod files;
mod generator;
mod rate;

pub use files::FileSource;
pub use generator::{CollectionSource, GeneratorSource};

use std::fmt::Debug;
use std::time::Duration;

use highwater_state::OperatorStateBackend;
use highwater_types::Result;

/// What a source reader has to say after a call to [`SourceReader::poll`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceStatus {
    /// There may be more at once.
    Ready,
    /// There is nothing now; ask again after this time at the latest.
    Idle(Duration),
    /// There will never be more. The reader is still asked for snapshots until the job ends.
    Finished,
}

/// A source of records: the same value opens one [`SourceReader`] for each subtask of each attempt.
pub trait Source: Debug + Send + Sync + 'static {
    /// What it reads.
    type Record: 'static;

    /// Opens the reader of one subtask. Registers its operator state with the context's backend and takes its
    /// position from there; a fresh start finds the state empty.
    fn open(&self, context: &SourceContext<'_>) -> Result<Box<dyn SourceReader<Record = Self::Record>>>;
}

/// What a subtask of a source is told when it opens.
#[derive(Debug)]
pub struct SourceContext<'a> {
    /// Unique id of the operator, for error texts.
    pub uid: &'a str,
    /// Number of this subtask, from 0.
    pub subtask: u32,
    /// Number of subtasks.
    pub parallelism: u32,
    /// Whether the state comes from a snapshot. If so, the state is the truth about positions.
    pub restored: bool,
    /// Operator state of this subtask.
    pub state: &'a OperatorStateBackend,
}

/// One subtask of a source. Lives on one worker thread.
pub trait SourceReader {
    /// What it reads.
    type Record;

    /// Appends up to `limit` records to `out` without waiting for long.
    fn poll(&mut self, limit: usize, out: &mut Vec<Self::Record>) -> Result<SourceStatus>;

    /// Puts the position into the operator state. Everything polled so far is before the barrier, everything later
    /// behind it.
    fn snapshot(&mut self) -> Result<()>;
}
