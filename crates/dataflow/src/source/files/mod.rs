//! Lines of text files.

mod enumerator;
mod identity;
mod lines;
mod listing;
mod place;
mod reader;
mod round;
mod split;
mod state;

use std::fmt::{self, Debug};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater_types::{Error, Result};

use self::enumerator::FileEnumerator;
use self::lines::LineFormat;
use self::reader::FileReader;
use self::split::{SplitElement, SplitSize};
use super::generator::checked_rate;
use super::rate::RateLimiter;
use super::{Source, SourceContext, SourceReader, SplitEnumerator};

const DEFAULT_MAX_LINE_BYTES: usize = 64 * 1024 * 1024;
const DEFAULT_REST_TIME: Duration = Duration::from_secs(5);

type Accept = Arc<dyn Fn(&Path) -> bool + Send + Sync>;

/// A source of the lines of text files (Flink's `FileSource` with its `TextLineInputFormat`), each line once.
///
/// One enumerator lists and measures the files and cuts them into splits, so that several subtasks read one large file;
/// each reader asks for the next split when it has read the one before, so a slow one holds nobody up. A split that is
/// being read is in the state of its reader, with its position; files that nobody reads yet are in the state of the
/// enumerator. Of what was read the enumerator keeps 16 bytes per file, a fingerprint of its path.
///
/// **What is read.** Files named by the caller, and directories down to the bottom without names that begin with `.` or
/// `_` (as in Flink), without links to directories, and without what a [`filter`](Self::filter) refuses. A file is read
/// up to the length it had when it was first seen; only the line that crosses this length is read to its end.
///
/// - *Bounded*, the default: the input is what is there when the job starts for the first time; a start that fails before
///   all files are listed and measured is continued by the next one. When the job is restored,
///   the files of the state are read on, named or not, and files that it does not know are added, once they have not been
///   written to for the [`rest_time`](Self::rest_time).
/// - *Continuous*, with [`monitor_continuously`](Self::monitor_continuously): new files are added while the job runs.
///
/// **What must stay.** A file that is read to its end may be moved or deleted, with its directory, too. Until then it may be appended to, but not
/// changed: whenever a split is opened, the open file must have the first and last 4096 bytes that were measured, and must
/// be the same file (inode), or a copy that has kept its time of modification. A file that is missing, shorter, replaced,
/// or was written to without becoming longer is an error that names it, and no restart is tried. With several processes
/// all must see the same files under the same paths: on a shared file system, or as copies that keep their times.
///
/// **Limits.** Lines end with `\n` or `\r\n`, are UTF-8, and are at most 64 MiB long.
///
/// ```
/// use highwater_dataflow::{ExecutionConfig, FileSource, Job};
///
/// # let scratch = tempfile::tempdir()?;
/// # let directory = scratch.path();
/// std::fs::write(directory.join("a.log"), "one\ntwo\n")?;
/// std::fs::write(directory.join("b.log"), "three\n")?;
/// std::fs::write(directory.join("notes.txt"), "not this\n")?;
///
/// let logs = FileSource::lines([directory])
///     .filter(|path| path.is_dir() || path.extension().is_some_and(|extension| extension == "log"))
///     .rate(10_000.0);
/// let job = Job::new("logs", move |env| {
///     env.source("logs", logs.clone()).map(|line: String| println!("{line}"));
///     Ok(())
/// });
/// assert_eq!(job.execute(&ExecutionConfig::new().workers(2))?.progress.records_in, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct FileSource {
    inputs: Vec<PathBuf>,
    accept: Accept,
    split_size: SplitSize,
    lines: LineFormat,
    rate: Option<f64>,
    discovery_interval: Option<Duration>,
    rest_time: Duration,
}

impl FileSource {
    /// The lines of these files, and of the files below these directories. Relative paths are taken from the current
    /// directory at the time the job starts.
    #[must_use]
    pub fn lines<P: Into<PathBuf>>(inputs: impl IntoIterator<Item = P>) -> Self {
        Self {
            inputs: inputs.into_iter().map(Into::into).collect(),
            accept: Arc::new(|_| true),
            split_size: SplitSize::default(),
            lines: LineFormat { lossy: false, max_length: DEFAULT_MAX_LINE_BYTES },
            rate: None,
            discovery_interval: None,
            rest_time: DEFAULT_REST_TIME,
        }
    }

    /// Looks for new files again and again (Flink's `monitorContinuously`): the source never ends, the job runs until it
    /// is stopped. Each new file is read once, when it has rested. The interval is the time between two listings, above
    /// zero; default: one listing, when the job starts or is restored.
    ///
    /// Empty files are left until there is something in them. What is appended to a file after it has rested is not read,
    /// **nor is another file that takes the place of one that was read**, as long as each listing shows some file of that
    /// name: nothing tells that it is new, and there is no error. So give each new file a name of its own.
    ///
    /// The state holds 16 bytes for each file that was read and is still there; when a listing no longer shows the file,
    /// it is forgotten, and one that comes back under its name is a new file. (Flink keeps all paths for ever.) So the
    /// state is bounded by the number of files in the directory, and moving files away when they are read keeps it small.
    /// Nothing is forgotten while the input directory, or a file system mounted below it, is missing or is another one by
    /// its inode: it may be one that is not mounted. Of the directories that were under one path, the files of the last
    /// three are remembered.
    ///
    /// A file or a directory below an input that cannot be read, or whose name is not UTF-8, is left out with a warning
    /// and tried again at each listing. In a bounded source it is an error, as is an input that is named itself.
    #[must_use]
    pub fn monitor_continuously(mut self, discovery_interval: Duration) -> Self {
        self.discovery_interval = Some(discovery_interval);
        self
    }

    /// A file that is found while the job runs, or when it is restored, is taken when it has not been written to for this
    /// long, by the clock of this machine: until then somebody may be copying it here. A file with a time of modification
    /// in the future has to stand still for this long. Default: 5 seconds.
    #[must_use]
    pub fn rest_time(mut self, time: Duration) -> Self {
        self.rest_time = time;
        self
    }

    /// Takes from directories only entries that `accept` likes: files to read, and directories to enter. Default: all.
    #[must_use]
    pub fn filter(mut self, accept: impl Fn(&Path) -> bool + Send + Sync + 'static) -> Self {
        self.accept = Arc::new(accept);
        self
    }

    /// Size of a split in bytes, at least 1. Default: a sixteenth of the file, but at least 64 KiB and at most 16 MiB.
    #[must_use]
    pub fn split_size(mut self, bytes: u64) -> Self {
        self.split_size = SplitSize::Fixed(bytes);
        self
    }

    /// Longest line in bytes, at least 1; a longer one is an error. Default: 64 MiB.
    #[must_use]
    pub fn max_line_length(mut self, bytes: usize) -> Self {
        self.lines.max_length = bytes;
        self
    }

    /// Puts U+FFFD in the place of bytes that are not UTF-8. Default: they are an error that names file and offset.
    #[must_use]
    pub fn lossy(mut self) -> Self {
        self.lines.lossy = true;
        self
    }

    /// At most this many lines per second over all subtasks, each of which has an equal share. Default: as fast as the
    /// job takes them.
    #[must_use]
    pub fn rate(mut self, lines_per_second: f64) -> Self {
        self.rate = Some(lines_per_second);
        self
    }

    fn check(&self) -> Result<()> {
        if self.split_size == SplitSize::Fixed(0) || self.lines.max_length == 0 {
            return Err(Error::configuration(
                "split size and maximum line length of a file source must be at least 1 byte",
            )
            .with("split_size", self.split_size.of(0))
            .with("max_line_length", self.lines.max_length));
        }
        if self.discovery_interval.is_some_and(|interval| interval.is_zero()) {
            return Err(Error::configuration("the discovery interval of a file source must be longer than nothing"));
        }
        checked_rate(self.rate).map(drop)
    }
}

impl Debug for FileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSource")
            .field("inputs", &self.inputs)
            .field("split_size", &self.split_size)
            .field("lines", &self.lines)
            .field("rate", &self.rate)
            .field("discovery_interval", &self.discovery_interval)
            .field("rest_time", &self.rest_time)
            .finish_non_exhaustive()
    }
}

impl Source for FileSource {
    type Record = String;
    type Split = SplitElement;

    fn create_enumerator(&self, restored: Option<&[u8]>) -> Result<Box<dyn SplitEnumerator<SplitElement>>> {
        self.check()?;
        Ok(Box::new(FileEnumerator::new(self, restored)?))
    }

    fn create_reader(
        &self,
        context: &SourceContext<'_>,
    ) -> Result<Box<dyn SourceReader<Record = String, Split = SplitElement>>> {
        self.check()?;
        let limiter = self.rate.map(|rate| RateLimiter::share(rate, context.parallelism, Instant::now()));
        Ok(Box::new(FileReader::new(self.lines, limiter)))
    }
}
