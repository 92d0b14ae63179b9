//! The enumerator of a source: who reads what is decided here, once.

use std::time::Duration;

use highwater_checkpoint::CancelToken;
use highwater_types::Result;

/// Plans the work of one source and gives it to the readers (Flink's `SplitEnumerator`).
///
/// There is one for each attempt of a job, in the process of the coordinator, on a thread that it shares with the
/// enumerators of the job's other sources and with nobody else: it may read directories or ask a server, but as long as it
/// does, nobody gets a split and no checkpoint begins. An error or a panic fails the attempt.
///
/// A restore gives every reader its splits of the snapshot back, so there is no `addSplitsBack`: the job restarts as a
/// whole.
pub trait SplitEnumerator<S> {
    /// Looks for new splits. Called first, before any reader is known, and again after the time that it returns; never
    /// again if it returns none. One that has much to look at does so in slices, and returns zero between them: a request
    /// or a snapshot that waits is served before the next one. (Flink's `start`, and `callAsync` with a period.)
    fn discover(&mut self, _context: &mut SplitEnumeratorContext<S>) -> Result<Option<Duration>> {
        Ok(None)
    }

    /// A subtask is ready to take splits. It may have some, of a snapshot.
    fn add_reader(&mut self, _subtask: u32, _context: &mut SplitEnumeratorContext<S>) -> Result<()> {
        Ok(())
    }

    /// A subtask has read all its splits. It asks once: if there is none now, the enumerator remembers it and assigns one
    /// later, or signals that there will be none.
    fn handle_split_request(&mut self, subtask: u32, context: &mut SplitEnumeratorContext<S>) -> Result<()>;

    /// What a restored enumerator needs to go on: the splits that are not assigned, and what it knows of those that were.
    /// The bytes are part of `_metadata`, which is read whole: some megabytes are much.
    fn snapshot_state(&mut self) -> Result<Vec<u8>>;
}

/// What an enumerator may ask and order (Flink's `SplitEnumeratorContext`).
///
/// ```
/// use highwater_dataflow::{FixedSplits, SplitAssignment, SplitEnumeratorContext};
///
/// let mut context = SplitEnumeratorContext::new(2);
/// let mut enumerator = FixedSplits::on_request([7_i64], None)?;
/// enumerator.handle_split_request(1, &mut context)?;
/// assert_eq!(context.take_assignments(), [SplitAssignment::Splits { subtask: 1, splits: vec![7] }]);
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Debug)]
pub struct SplitEnumeratorContext<S> {
    parallelism: u32,
    cancel: CancelToken,
    assignments: Vec<SplitAssignment<S>>,
}

/// What an enumerator has decided.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SplitAssignment<S> {
    /// A subtask is to read these, too.
    Splits {
        /// Number of the subtask.
        subtask: u32,
        /// At least one.
        splits: Vec<S>,
    },
    /// A subtask will get no split any more.
    NoMore {
        /// Number of the subtask.
        subtask: u32,
    },
}

impl<S> SplitEnumeratorContext<S> {
    /// A context of its own, for tests of enumerators.
    #[must_use]
    pub fn new(parallelism: u32) -> Self {
        Self::cancelled_by(parallelism, CancelToken::new())
    }

    pub(crate) fn cancelled_by(parallelism: u32, cancel: CancelToken) -> Self {
        Self { parallelism, cancel, assignments: Vec::new() }
    }

    /// Number of subtasks (Flink's `currentParallelism`).
    #[must_use]
    pub fn parallelism(&self) -> u32 {
        self.parallelism
    }

    /// Whether the attempt is over. Work that takes long looks here now and then, and leaves.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Gives splits to a subtask (Flink's `assignSplits`). From now on they belong to its state, not to the enumerator's.
    pub fn assign_splits(&mut self, subtask: u32, splits: Vec<S>) {
        if !splits.is_empty() {
            self.assignments.push(SplitAssignment::Splits { subtask, splits });
        }
    }

    /// Tells a subtask that it will get no more splits (Flink's `signalNoMoreSplits`). When it has read those it has, its
    /// part is done.
    pub fn signal_no_more_splits(&mut self, subtask: u32) {
        self.assignments.push(SplitAssignment::NoMore { subtask });
    }

    /// What was decided since the last call, in order.
    #[must_use]
    pub fn take_assignments(&mut self) -> Vec<SplitAssignment<S>> {
        std::mem::take(&mut self.assignments)
    }
}
