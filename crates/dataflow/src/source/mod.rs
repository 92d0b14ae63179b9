//! Sources: what is to be read is planned once, by an enumerator beside the coordinator, and read by one reader on every
//! worker (Flink's FLIP-27).

mod enumerator;
mod files;
mod fixed;
mod generator;
mod rate;

pub use enumerator::{SplitAssignment, SplitEnumerator, SplitEnumeratorContext};
pub use files::FileSource;
pub use fixed::FixedSplits;
pub use generator::{CollectionSource, GeneratorSource};

use std::fmt::Debug;
use std::time::Duration;

use highwater_state::StateValue;
use highwater_types::{DefaultSerializer, Result};
use serde::Serialize;

/// What a source reader has to say after a call to [`SourceReader::poll`] (Flink's `InputStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceStatus {
    /// There may be more at once.
    Ready,
    /// There is nothing now; ask again after this time at the latest.
    Idle(Duration),
    /// All splits of this reader are read. The runtime asks the enumerator for the next one, or ends this subtask's part
    /// if there will be none.
    NeedsSplit,
}

/// A source of records (Flink's `Source`): makes one [`SplitEnumerator`] for each attempt, which decides what is read and
/// by whom, and one [`SourceReader`] for each subtask, which reads the splits that it is given.
///
/// The enumerator's state and the splits of all readers are in every checkpoint: a split is always in exactly one of
/// them. After a restore the enumerator goes on from its state, and the splits of the readers are dealt out evenly again,
/// whatever the parallelism is now. A source that knows all its splits beforehand needs no enumerator of its own:
/// [`FixedSplits`] is one.
///
/// ```
/// use highwater_dataflow::{
///     ExecutionConfig, FixedSplits, Job, Source, SourceContext, SourceReader, SourceStatus, SplitEnumerator,
/// };
/// use highwater_types::Result;
///
/// /// Counts down, once. Its only split is the number to come next.
/// #[derive(Debug)]
/// struct Countdown(i64);
///
/// #[derive(Default)]
/// struct Reader(Vec<i64>);
///
/// impl Source for Countdown {
///     type Record = i64;
///     type Split = i64;
///
///     fn create_enumerator(&self, restored: Option<&[u8]>) -> Result<Box<dyn SplitEnumerator<i64>>> {
///         FixedSplits::on_request([self.0], restored)
///     }
///
///     fn create_reader(&self, _: &SourceContext<'_>) -> Result<Box<dyn SourceReader<Record = i64, Split = i64>>> {
///         Ok(Box::new(Reader::default()))
///     }
/// }
///
/// impl SourceReader for Reader {
///     type Record = i64;
///     type Split = i64;
///
///     fn add_splits(&mut self, splits: Vec<i64>) -> Result<()> {
///         self.0.extend(splits);
///         Ok(())
///     }
///
///     fn poll(&mut self, limit: usize, out: &mut Vec<i64>) -> Result<SourceStatus> {
///         let Some(next) = self.0.pop() else { return Ok(SourceStatus::NeedsSplit) };
///         let rest = next - limit as i64;
///         out.extend((rest.max(-1) + 1..=next).rev());
///         self.0.extend((rest >= 0).then_some(rest));
///         Ok(SourceStatus::Ready)
///     }
///
///     fn snapshot_state(&mut self) -> Result<Vec<i64>> {
///         Ok(self.0.clone())
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
    /// A part of the input that one reader reads, and how far it was read (Flink's `SourceSplit`).
    type Split: StateValue + DefaultSerializer;

    /// Makes the enumerator (Flink's `createEnumerator`), or restores it (`restoreEnumerator`) from what its
    /// [`snapshot_state`](SplitEnumerator::snapshot_state) returned. Runs in the process of the coordinator, on the thread
    /// of the enumerators.
    fn create_enumerator(&self, restored: Option<&[u8]>) -> Result<Box<dyn SplitEnumerator<Self::Split>>>;

    /// Makes the reader of one subtask, on its worker. The splits it had in a snapshot come through
    /// [`SourceReader::add_splits`], as new ones do.
    fn create_reader(&self, context: &SourceContext<'_>) -> Result<BoxedReader<Self>>;
}

/// The readers of a source.
type BoxedReader<S> = Box<dyn SourceReader<Record = <S as Source>::Record, Split = <S as Source>::Split>>;

/// What a subtask of a source is told when it opens.
#[derive(Clone, Copy, Debug)]
pub struct SourceContext<'a> {
    /// Unique id of the operator, for error texts.
    pub uid: &'a str,
    /// Number of this subtask, from 0.
    pub subtask: u32,
    /// Number of subtasks.
    pub parallelism: u32,
}

/// One subtask of a source (Flink's `SourceReader`). Lives on one worker thread.
pub trait SourceReader {
    /// What it reads.
    type Record;
    /// What it is given to read.
    type Split;

    /// Takes more to read, at least one split, in addition to what it has.
    fn add_splits(&mut self, splits: Vec<Self::Split>) -> Result<()>;

    /// Tells that no split will come any more (Flink's `notifyNoMoreSplits`). The runtime does all that follows from it.
    fn no_more_splits(&mut self) {}

    /// Appends up to `limit` records to `out` without waiting for long. A reader that knows how large its records are
    /// ends a call after about a mebibyte; otherwise `limit`, which is 1 in the beginning, adapts to their size.
    fn poll(&mut self, limit: usize, out: &mut Vec<Self::Record>) -> Result<SourceStatus>;

    /// A number for a split. A source with a [`WatermarkStrategy`](crate::WatermarkStrategy) has a watermark generator for
    /// every number, and is only as far as the one furthest behind. Default: 0 for all, which have one generator then.
    fn split_id(&self, split: &Self::Split) -> u64 {
        let _ = split;
        0
    }

    /// The number of the split that all records of the last [`poll`](Self::poll) came from. Default: 0.
    fn polled_split(&self) -> u64 {
        0
    }

    /// The numbers of the splits that were read to their end since the last call: nobody waits for their watermarks any
    /// more. Default: none before all are read.
    fn take_finished_splits(&mut self) -> Vec<u64> {
        Vec::new()
    }

    /// The splits that are not read to their end, with their positions. Everything polled so far is before the barrier,
    /// everything later behind it.
    fn snapshot_state(&mut self) -> Result<Vec<Self::Split>>;
}
