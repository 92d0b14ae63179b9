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
use serde::Serialize;

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
///
/// ```
/// use highwater_dataflow::{ExecutionConfig, Job, Source, SourceContext, SourceReader, SourceStatus};
/// use highwater_state::{ListStateDescriptor, OperatorListState};
/// use highwater_types::Result;
///
/// /// Counts down, once, on the first subtask.
/// #[derive(Debug)]
/// struct Countdown(i64);
///
/// struct Reader {
///     next: i64,
///     state: OperatorListState<i64>,
/// }
///
/// impl Source for Countdown {
///     type Record = i64;
///
///     fn open(&self, context: &SourceContext<'_>) -> Result<Box<dyn SourceReader<Record = i64>>> {
///         // A union list, as any subtask of an earlier run may have been the one.
///         let state = context.state.union_list_state(&ListStateDescriptor::<i64>::new("next"))?;
///         let restored = state.get()?.into_iter().max();
///         let next = if context.subtask == 0 { restored.unwrap_or(self.0) } else { -1 };
///         Ok(Box::new(Reader { next, state }))
///     }
/// }
///
/// impl SourceReader for Reader {
///     type Record = i64;
///
///     fn poll(&mut self, limit: usize, out: &mut Vec<i64>) -> Result<SourceStatus> {
///         while self.next >= 0 && out.len() < limit {
///             out.push(self.next);
///             self.next -= 1;
///         }
///         Ok(if self.next < 0 { SourceStatus::Finished } else { SourceStatus::Ready })
///     }
///
///     fn snapshot(&mut self) -> Result<()> {
///         self.state.update([self.next])
///     }
/// }
///
/// let job = Job::new("countdown", |env| {
///     env.source("countdown", Countdown(10)).map(|n| println!("{n}"));
///     Ok(())
/// });
/// assert_eq!(job.execute(&ExecutionConfig::new().workers(2))?.progress.records_in, 11);
/// # Ok::<(), highwater_types::Error>(())
/// ```
pub trait Source: Debug + Send + Sync + 'static {
    /// What it reads.
    type Record: Serialize + 'static;

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
    /// Whether the state comes from a snapshot. If so, the state is the truth about positions. False for a source that
    /// is new in a job that was restored.
    pub restored: bool,
    /// Operator state of this subtask.
    pub state: &'a OperatorStateBackend,
}

/// One subtask of a source. Lives on one worker thread.
pub trait SourceReader {
    /// What it reads.
    type Record;

    /// Appends up to `limit` records to `out` without waiting for long. A reader that knows how large its records are
    /// ends a call after about a mebibyte; otherwise `limit`, which is 1 in the beginning, adapts to their size.
    fn poll(&mut self, limit: usize, out: &mut Vec<Self::Record>) -> Result<SourceStatus>;

    /// Puts the position into the operator state. Everything polled so far is before the barrier, everything later
    /// behind it.
    fn snapshot(&mut self) -> Result<()>;
}
