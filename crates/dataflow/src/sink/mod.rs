//! Sinks: where records go, committed together with checkpoints.

mod files;

pub use files::{
    BasePathBucketAssigner, BucketAssigner, BucketContext, DateTimeBucketAssigner, DefaultRollingPolicy, FileSink,
    OnCheckpointRollingPolicy, PartFileInfo, RollingPolicy,
};

use std::fmt::Debug;
use std::time::Duration;

use highwater_state::OperatorStateBackend;
use highwater_types::Result;

/// A sink of records: the same value opens one [`SinkWriter`] for each subtask of each attempt.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use highwater_dataflow::{CollectionSource, ExecutionConfig, Job, Sink, SinkContext, SinkWriter};
/// use highwater_types::Result;
///
/// /// Gathers records in memory; whatever fails, they come at least once.
/// #[derive(Clone, Debug, Default)]
/// struct Gather(Arc<Mutex<Vec<i64>>>);
///
/// impl Sink<i64> for Gather {
///     fn open(&self, _: &SinkContext<'_>) -> Result<Box<dyn SinkWriter<i64>>> {
///         Ok(Box::new(self.clone()))
///     }
/// }
///
/// impl SinkWriter<i64> for Gather {
///     fn write(&mut self, record: i64) -> Result<()> {
///         self.0.lock().unwrap().push(record);
///         Ok(())
///     }
///
///     fn prepare(&mut self, _checkpoint: u64) -> Result<()> {
///         Ok(())
///     }
///
///     fn commit(&mut self, _checkpoint: u64) -> Result<()> {
///         Ok(())
///     }
/// }
///
/// let gathered = Gather::default();
/// let sink = gathered.clone();
/// let job = Job::new("gather", move |env| {
///     env.source("numbers", CollectionSource::new(vec![3, 1, 2])).sink("gather", sink.clone());
///     Ok(())
/// });
/// job.execute(&ExecutionConfig::new())?;
/// assert_eq!(*gathered.0.lock().unwrap(), [3, 1, 2]);
/// # Ok::<(), highwater_types::Error>(())
/// ```
pub trait Sink<T>: Debug + Send + Sync + 'static {
    /// Opens the writer of one subtask: registers its operator state, and finishes or removes what an earlier attempt
    /// left behind, as the restored state says.
    fn open(&self, context: &SinkContext<'_>) -> Result<Box<dyn SinkWriter<T>>>;

    /// Whether committed results depend on checkpoints, so that a job that cannot be resumed by a new process has to
    /// say so when it starts.
    fn is_exactly_once(&self) -> bool {
        false
    }
}

/// What a subtask of a sink is told when it opens.
#[derive(Debug)]
pub struct SinkContext<'a> {
    /// Id of the job, 32 hex digits.
    pub job_id: &'a str,
    /// Unique id of the operator.
    pub uid: &'a str,
    /// Number of this subtask, from 0.
    pub subtask: u32,
    /// Number of subtasks.
    pub parallelism: u32,
    /// A number that is different for every attempt of the job, across processes too.
    pub attempt: &'a str,
    /// Id of the checkpoint the job was restored from; none on a fresh start.
    pub restored_checkpoint: Option<u64>,
    /// Operator state of this subtask.
    pub state: &'a OperatorStateBackend,
}

/// The rest of a sink's preparation for a checkpoint, on a background thread.
pub type Durability = Box<dyn FnOnce() -> Result<()> + Send>;

/// One subtask of a sink. Lives on one worker thread.
///
/// For each checkpoint: [`prepare`](Self::prepare) and [`durability`](Self::durability) before the subtask acknowledges
/// it, [`commit`](Self::commit) once it is complete. A checkpoint that fails is never committed; what was prepared for
/// it travels on to the next.
pub trait SinkWriter<T> {
    /// Takes one record.
    fn write(&mut self, record: T) -> Result<()>;

    /// Called before the first record, and again when the time it returned has passed, if it returned one, also while no
    /// records come. Default: never again.
    fn on_processing_time(&mut self) -> Result<Option<Duration>> {
        Ok(None)
    }

    /// Told before [`prepare`](Self::prepare) for what is to be the last checkpoint, because the input is at its end or
    /// the job is being stopped: everything written has to be visible when that is committed. Records may still come if
    /// the checkpoint is given up. Default: nothing.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    /// Makes everything written so far durable but not yet visible, and puts what a restore needs to commit it into
    /// the operator state. An error here fails the checkpoint, not the job.
    fn prepare(&mut self, checkpoint_id: u64) -> Result<()>;

    /// What [`prepare`](Self::prepare) has left to be done off the worker's thread, while records flow on. The
    /// checkpoint is acknowledged when it has succeeded. It is dropped without a call if the checkpoint is given up in
    /// the meantime: the next one then has to do it too. Default: nothing.
    fn durability(&mut self) -> Option<Durability> {
        None
    }

    /// Makes everything prepared up to this checkpoint visible. Must be idempotent.
    fn commit(&mut self, checkpoint_id: u64) -> Result<()>;
}
