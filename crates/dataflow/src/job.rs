//! Jobs: a name and a program.

use std::fmt;
use std::sync::Arc;

use highwater_checkpoint::JobId;
use highwater_types::{Error, Result};

use crate::execution::execute;
use crate::graph::{Build, OperatorKind, OperatorPlan, StreamEnvironment};
use crate::progress::Progress;
use crate::runtime::attempt::catch;
use crate::{ExecutionConfig, JobStatus};

/// Builds the job on one worker.
pub(crate) type Program = Arc<dyn Fn(&mut StreamEnvironment<'_>) -> Result<()> + Send + Sync>;

/// A stateful stream job: a name, from which its identity derives, and a program that builds its dataflow.
///
/// ```
/// use highwater_dataflow::{Collector, CollectionSource, ExecutionConfig, Job, JobOutcome};
/// use highwater_state::ValueStateDescriptor;
/// # use highwater_dataflow::{Sink, SinkContext, SinkWriter};
/// # use highwater_types::Result;
/// # #[derive(Debug)]
/// # struct Print;
/// # impl Sink<(String, i64)> for Print {
/// #     fn open(&self, _: &SinkContext<'_>) -> Result<Box<dyn SinkWriter<(String, i64)>>> { Ok(Box::new(Print)) }
/// # }
/// # impl SinkWriter<(String, i64)> for Print {
/// #     fn write(&mut self, (word, count): (String, i64)) -> Result<()> { println!("{word} {count}"); Ok(()) }
/// #     fn prepare(&mut self, _: u64) -> Result<()> { Ok(()) }
/// #     fn commit(&mut self, _: u64) -> Result<()> { Ok(()) }
/// # }
///
/// let job = Job::new("word count", |env| {
///     env.source("words", CollectionSource::new(["to", "be", "or", "not", "to", "be"].map(String::from)))
///         .key_by(|word: &String| word.clone())
///         .process("count", |open| {
///             let count = open.value_state(&ValueStateDescriptor::<i64>::new("count"))?;
///             Ok(move |word: &String, _: String, out: &mut Collector<(String, i64)>| {
///                 let n = count.modify(|| 0, |n| { *n += 1; *n })?;
///                 out.collect((word.clone(), n));
///                 Ok(())
///             })
///         })
///         .sink("print", Print);
///     Ok(())
/// });
///
/// let result = job.execute(&ExecutionConfig::new().workers(2))?;
/// assert_eq!(result.outcome, JobOutcome::Finished);
/// assert_eq!((result.progress.records_in, result.progress.records_out), (6, 6));
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone)]
pub struct Job {
    name: String,
    program: Program,
}

/// How a job ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobOutcome {
    /// All input was read, and everything is committed.
    Finished,
    /// It was asked to stop, took a last checkpoint, and can be resumed. If it was waiting to begin or to restart, there
    /// is no last one: it resumes from the newest.
    Stopped,
    /// It was ended at once. It can be resumed from its newest checkpoint, unless
    /// [`checkpoint_retention`](ExecutionConfig::checkpoint_retention) says that none is kept.
    Cancelled,
    /// It had finished in an earlier run, and did nothing now. To run it again, start it fresh or from another pointer.
    AlreadyFinished,
}

/// The result of a job.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct JobResult {
    /// How it ended.
    pub outcome: JobOutcome,
    /// Totals of this process.
    pub progress: Progress,
}

impl Job {
    /// A job of this name.
    ///
    /// The program runs once to learn which operators there are, then on every worker of every attempt, and must build
    /// the same dataflow each time. What differs between workers belongs into sources and processes, which are told
    /// their subtask.
    pub fn new(
        name: impl Into<String>,
        program: impl Fn(&mut StreamEnvironment<'_>) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), program: Arc::new(program) }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The identity: one job has one directory below the checkpoint base.
    #[must_use]
    pub fn id(&self) -> JobId {
        JobId::from_name(&self.name)
    }

    /// Runs the job to its end on this thread and worker threads of its own.
    ///
    /// # Errors
    /// Whatever the settings, the snapshot or the program have wrong; the failure that the restart strategy did not
    /// forgive. A [`JobHandle`](crate::JobHandle) that another execution uses at the moment.
    pub fn execute(&self, config: &ExecutionConfig) -> Result<JobResult> {
        let handle = &config.handle;
        let _running = handle.begin()?;
        let resolved = config.resolve()?;
        let plan = self.plan(resolved.parallelism)?;
        let outcome = execute(self, config, resolved, plan)?;
        handle.update(|progress| (progress.status, progress.outcome) = (JobStatus::Ended, Some(outcome)));
        Ok(JobResult { outcome, progress: handle.progress() })
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    /// Builds the job without a dataflow, to learn and check its operators.
    fn plan(&self, parallelism: u32) -> Result<Vec<OperatorPlan>> {
        if self.name.trim().is_empty() {
            return Err(Error::configuration("a job needs a name: its checkpoints are found by it"));
        }
        let build = Build::new(None, parallelism);
        let built = catch(|| (self.program)(&mut StreamEnvironment::new(build.clone())));
        let plan = build.finish()?;
        built?;
        if !plan.iter().any(|operator| operator.kind == OperatorKind::Source) {
            return Err(Error::program("a job needs at least one source").with("job", &self.name));
        }
        Ok(plan)
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("name", &self.name).field("id", &self.id()).finish_non_exhaustive()
    }
}
