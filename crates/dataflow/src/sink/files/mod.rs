//! Files that are committed together with checkpoints.

mod bucket;
mod commit;
mod name;
mod output;
mod part;
mod recover;
mod rolling;
mod uncommitted;
mod unsynced;
mod writer;

use std::fmt::{self, Debug};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use bucket::{BasePathBucketAssigner, BucketAssigner, BucketContext, DateTimeBucketAssigner};
pub use rolling::{DefaultRollingPolicy, OnCheckpointRollingPolicy, PartFileInfo, RollingPolicy};

use highwater_checkpoint::{FileSystem, LocalFileSystem, StoragePath, create_dir_durable};
use highwater_state::{Clock, ListStateDescriptor, SystemClock};
use highwater_types::{Error, Result};

use self::name::Namer;
use self::recover::{Territory, recover};
use self::uncommitted::UncommittedElement;
use self::writer::LineWriter;
use super::{Sink, SinkContext, SinkWriter};

/// Flink's default.
const DEFAULT_CHECK_INTERVAL: Duration = Duration::from_secs(60);

type Format<T> = Arc<dyn Fn(&T, &mut Vec<u8>) + Send + Sync>;

/// An exactly-once sink of lines in files (Flink's `FileSink` with a row format).
///
/// Each subtask writes *part files*, one at a time for each [bucket](BucketAssigner). A file is first *in progress*, under
/// a hidden name, `.part-*`. When the [rolling policy](RollingPolicy) closes it, it is *pending*, and when a checkpoint
/// that covers it is complete, it is *committed* by a rename to `part-*`. A checkpoint covers files in progress too, up
/// to the length they have: that much is synced, in the background, but not visible yet. The last checkpoint of a job,
/// at its end or when it is stopped, commits everything.
///
/// Together the committed files hold exactly the records of the completed checkpoints, except for what is still in
/// progress, in whatever way the job failed in between, and however often its parallelism changed. Subtasks without
/// records make no files.
///
/// After a restore from checkpoint *n*, at any parallelism, everything that *n* lists is committed: pending files as they
/// are, files in progress up to the length that *n* lists. That part is copied, so that a process that was only thought
/// to be dead cannot write into it: a restore reads and writes at most one part file for each subtask and active bucket.
/// Every other uncommitted file of this sink of this job is deleted. The state is the union list state `uncommitted`.
///
/// # Another directory, or another job
///
/// A sink changes the files of its own job in its own directory, and no others. What a restored snapshot lists elsewhere,
/// or of another job, may still be written: somebody may have started this job from the savepoint of one that runs on.
/// It is therefore copied, as far as it is not committed when the sink opens, and its lines appear in this sink's output
/// with its own next checkpoint. So a job that is moved to another directory, or under another name, loses no line and
/// writes none twice: each is in the old output or in the new one. What is left uncommitted in the old one can be removed
/// when the old job is not needed any more. (Flink's `FileSink` commits what a snapshot lists in place, and cuts the files
/// in progress of a job that still runs.) If the old directory cannot be reached, its uncommitted lines are missing, and
/// the sink says so in the log.
///
/// A bucket that has no file in progress takes no memory. Each file in progress takes one file handle and up to 64 KiB
/// of lines that wait to be written, or one line if that is longer.
///
/// # Committed files are the user's
///
/// The sink never changes a committed file, and never needs it again. It may be moved, changed or deleted at any moment,
/// as may the whole directory when the job was stopped: no later start and no restart minds. While it runs, take files and
/// not directories: files in progress lie among them.
///
/// A checkpoint still lists the files that were committed because of it, so a restore has to tell one that was taken
/// away from one that was lost before its commit. For that each uncommitted file has an empty *mark* in the output
/// directory, `.part-*.uncommitted`, which goes, durably, before the file becomes visible. A restore finds
///
/// - the file under one of its names: it is, or becomes, committed;
/// - neither name, and the mark: the file is lost, and the restore fails with an error that names it;
/// - neither name, and no mark: the file was committed and taken away.
///
/// Not told from the last: a file that was lost together with its mark, as when the whole directory is deleted before a
/// commit; and one that was lost in the milliseconds of its commit, between the removal of the mark and the rename, if
/// the process died there too. What is read before the commit is durable, milliseconds after the rename, may appear a
/// second time after a power failure.
///
/// **Refused.** A restore from a checkpoint older than what was committed, as lines would come twice; and a fresh start
/// into a directory that holds committed files of a sink with this uid, or has [`remove_output`](Self::remove_output) to
/// begin with. Files that were taken away are not seen.
///
/// **Limits.** All subtasks must reach the same directory, and two running jobs of one name must not share it: a start
/// takes the other's files for those of a dead attempt. With a [`BucketAssigner`], every sub-directory counts as a
/// bucket unless its name begins with a dot: archive elsewhere.
///
/// ```
/// use highwater_dataflow::{CollectionSource, ExecutionConfig, FileSink, Job};
///
/// # let scratch = tempfile::tempdir()?;
/// # let output = scratch.path().join("output");
/// let lines = FileSink::new(&output, |n: &i64, line| line.extend_from_slice(n.to_string().as_bytes()));
/// let job = Job::new("doubles", move |env| {
///     env.source("numbers", CollectionSource::new(vec![1_i64, 2, 3])).map(|n| 2 * n).sink("lines", lines.clone());
///     Ok(())
/// });
/// job.execute(&ExecutionConfig::new())?;
///
/// let file = std::fs::read_dir(&output)?.next().unwrap()?;
/// assert!(file.file_name().to_str().unwrap().starts_with("part-"));
/// assert_eq!(std::fs::read_to_string(file.path())?, "2\n4\n6\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FileSink<T> {
    directory: PathBuf,
    format: Format<T>,
    policy: Arc<dyn RollingPolicy<T>>,
    buckets: Arc<dyn BucketAssigner<T>>,
    check_interval: Duration,
    clock: Arc<dyn Clock>,
    fs: Arc<dyn FileSystem>,
}

impl<T: 'static> FileSink<T> {
    /// A sink into this directory, which is created if it is missing. `format` appends the text of one record to the
    /// line, without the line end.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, format: impl Fn(&T, &mut Vec<u8>) + Send + Sync + 'static) -> Self {
        Self {
            directory: directory.into(),
            format: Arc::new(format),
            policy: Arc::new(DefaultRollingPolicy::new()),
            buckets: Arc::new(BasePathBucketAssigner),
            check_interval: DEFAULT_CHECK_INTERVAL,
            clock: Arc::new(SystemClock),
            fs: Arc::new(LocalFileSystem),
        }
    }

    /// When a part file is closed (Flink's `withRollingPolicy`). Default: [`DefaultRollingPolicy`].
    #[must_use]
    pub fn rolling_policy(mut self, policy: impl RollingPolicy<T>) -> Self {
        self.policy = Arc::new(policy);
        self
    }

    /// Which sub-directory a record goes to (Flink's `withBucketAssigner`). Default: [`BasePathBucketAssigner`].
    #[must_use]
    pub fn bucket_assigner(mut self, buckets: impl BucketAssigner<T>) -> Self {
        self.buckets = Arc::new(buckets);
        self
    }

    /// How often the rolling policy is asked because of the time (Flink's `withBucketCheckInterval`). Default: 60 s. A file
    /// closed by age or inactivity is therefore up to this much older.
    #[must_use]
    pub fn bucket_check_interval(mut self, interval: Duration) -> Self {
        self.check_interval = interval;
        self
    }

    /// Asks another clock than the machine's for the time, for tests.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Writes to another file system than the local one.
    #[must_use]
    pub fn file_system(mut self, fs: Arc<dyn FileSystem>) -> Self {
        self.fs = fs;
        self
    }
}

impl<T> Clone for FileSink<T> {
    fn clone(&self) -> Self {
        Self {
            directory: self.directory.clone(),
            format: Arc::clone(&self.format),
            policy: Arc::clone(&self.policy),
            buckets: Arc::clone(&self.buckets),
            check_interval: self.check_interval,
            clock: Arc::clone(&self.clock),
            fs: Arc::clone(&self.fs),
        }
    }
}

impl<T> Debug for FileSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSink")
            .field("directory", &self.directory)
            .field("policy", &self.policy)
            .field("check_interval", &self.check_interval)
            .field("fs", &self.fs)
            .finish_non_exhaustive()
    }
}

impl<T: 'static> Sink<T> for FileSink<T> {
    fn open(&self, context: &SinkContext<'_>) -> Result<Box<dyn SinkWriter<T>>> {
        let namer = Namer::new(context)?;
        let directory = StoragePath::from_local(&self.directory)?;
        create_dir_durable(&*self.fs, &directory)?;
        let state = context.state.union_list_state(&ListStateDescriptor::<UncommittedElement>::new("uncommitted"))?;
        let has_buckets = !self.buckets.is_base_path();
        let territory = Territory { fs: &*self.fs, directory: &directory, namer: &namer, has_buckets };
        let in_place = |error: Error| error.with("operator", context.uid);
        let foreign = recover(&territory, context, state.get()?).map_err(in_place)?;
        let mut writer = LineWriter::new(self, directory, namer, state);
        writer.adopt(&foreign).map_err(in_place)?;
        Ok(Box::new(writer))
    }

    fn is_exactly_once(&self) -> bool {
        true
    }
}
