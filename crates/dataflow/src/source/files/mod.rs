//! Lines of text files.

mod lines;
mod listing;
mod split;

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use highwater_state::{ListStateDescriptor, OperatorListState};
use highwater_types::{Error, Result};

use self::lines::{LineFormat, LineReader};
use self::listing::FileIdentity;
use self::split::{FileSplit, KnownSplits, SplitElement, SplitSize};
use super::generator::checked_rate;
use super::rate::RateLimiter;
use super::{Source, SourceContext, SourceReader, SourceStatus};

const DEFAULT_MAX_LINE_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of lines after which one poll ends, however many records were asked for.
const POLL_BYTES: u64 = 1024 * 1024;

type Accept = Arc<dyn Fn(&Path) -> bool + Send + Sync>;

/// A bounded source of the lines of text files (Flink's `TextInputFormat`), each line once.
///
/// Files are cut into splits, so that several subtasks read one large file. A split and how far it was read is one element of the operator state `splits`, also when it is unread or finished. It is a union list state:
/// after a restore every subtask sees all splits, and what is left to read is dealt out evenly, whatever the
/// parallelism is now.
///
/// **What is read.** Files named by the caller, and directories down to the bottom without names that begin with `.` or
/// `_` (as in Flink), without links to directories, and without what a [`filter`](Self::filter) refuses. A file is read
/// up to the length it had when it was first seen, what is appended later is not. After a restore the state is the
/// truth: all its files are read on, named or not, and other files that are named now are added. A file of the state
/// that is missing, shorter, or begins with other bytes (the first 4096 are compared) is an error that names it.
///
/// **Limits.** Files must stand still while a job starts for the first time: every subtask looks for itself. Lines end
/// with `\n` or `\r\n`, are UTF-8, and are at most 64 MiB long.
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
        }
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
        checked_rate(self.rate).map(drop)
    }

    /// The splits of one subtask: its share of the snapshot, then its share of files the snapshot does not know.
    fn plan(&self, context: &SourceContext<'_>, elements: Vec<SplitElement>) -> Result<Vec<FileSplit>> {
        let known = KnownSplits::read(elements, self.split_size)?;
        let mut new = Vec::new();
        for path in listing::list(&self.inputs, &*self.accept)? {
            if !path.to_str().is_some_and(|path| known.contains(path)) {
                let file = FileIdentity::of(&path)?;
                new.extend(split::share_of_new(&file, self.split_size, context.subtask, context.parallelism));
            }
        }
        let mut splits = known.share(context.subtask, context.parallelism);
        verify_files(&splits)?;
        splits.append(&mut new);
        Ok(splits)
    }
}

/// Checks each file of a list of splits once.
fn verify_files(splits: &[FileSplit]) -> Result<()> {
    let mut files: Vec<&FileIdentity> = splits.iter().map(|split| &split.file).collect();
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    files.into_iter().try_for_each(FileIdentity::verify)
}

impl Debug for FileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSource")
            .field("inputs", &self.inputs)
            .field("split_size", &self.split_size)
            .field("lines", &self.lines)
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}

impl Source for FileSource {
    type Record = String;

    fn open(&self, context: &SourceContext<'_>) -> Result<Box<dyn SourceReader<Record = String>>> {
        self.check()?;
        let state = context.state.union_list_state(&ListStateDescriptor::<SplitElement>::new("splits"))?;
        let splits = self
            .plan(context, state.get()?)
            .map_err(|error| error.with("operator", context.uid).with("state", "splits"))?;
        let (finished, waiting): (Vec<_>, Vec<_>) = splits.into_iter().partition(FileSplit::is_finished);
        Ok(Box::new(FileReader {
            format: self.lines,
            waiting: waiting.into(),
            current: None,
            finished,
            limiter: self.rate.map(|rate| RateLimiter::share(rate, context.parallelism, Instant::now())),
            state,
        }))
    }
}

struct FileReader {
    format: LineFormat,
    waiting: VecDeque<FileSplit>,
    current: Option<LineReader>,
    finished: Vec<FileSplit>,
    limiter: Option<RateLimiter>,
    state: OperatorListState<SplitElement>,
}

impl FileReader {
    /// The split to read from, or none if all are finished.
    fn current(&mut self) -> Result<Option<&mut LineReader>> {
        if self.current.is_none() {
            // A split that cannot be opened stays in the list: the state must not lose it.
            let Some(split) = self.waiting.front() else { return Ok(None) };
            self.current = Some(LineReader::open(split.clone(), self.format)?);
            self.waiting.pop_front();
        }
        Ok(self.current.as_mut())
    }

    /// Appends up to `limit` lines; fewer if they are long. True if there is nothing left.
    fn read(&mut self, limit: usize, out: &mut Vec<String>) -> Result<bool> {
        let (mut records, mut bytes) = (0, 0);
        while records < limit && bytes < POLL_BYTES {
            let Some(reader) = self.current()? else { return Ok(true) };
            if let Some(line) = reader.next_line()? {
                bytes += line.len() as u64;
                records += 1;
                out.push(line);
            } else {
                self.finished.extend(self.current.take().map(LineReader::into_split));
            }
        }
        Ok(false)
    }
}

impl SourceReader for FileReader {
    type Record = String;

    fn poll(&mut self, limit: usize, out: &mut Vec<String>) -> Result<SourceStatus> {
        let granted = match &mut self.limiter {
            Some(limiter) => limiter.take(limit, Instant::now()),
            None => limit,
        };
        let before = out.len();
        let finished = self.read(granted, out)?;
        let Some(limiter) = &mut self.limiter else {
            return Ok(if finished { SourceStatus::Finished } else { SourceStatus::Ready });
        };
        limiter.give_back(granted - (out.len() - before));
        Ok(match finished {
            true => SourceStatus::Finished,
            false if granted < limit => SourceStatus::Idle(limiter.wait()),
            false => SourceStatus::Ready,
        })
    }

    fn snapshot(&mut self) -> Result<()> {
        let current = self.current.as_ref().map(LineReader::split);
        let splits = self.finished.iter().chain(current).chain(&self.waiting);
        self.state.update(splits.map(FileSplit::to_element))
    }
}
