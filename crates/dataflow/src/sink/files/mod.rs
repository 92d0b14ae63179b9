//! Files that are committed together with checkpoints.

mod commit;
mod name;
mod unsynced;

use std::fmt::{self, Debug};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use highwater_checkpoint::{FileSystem, FileWriter, LocalFileSystem, StoragePath, create_dir_durable};
use highwater_state::{ListStateDescriptor, OperatorListState};
use highwater_types::{Error, Result};

use self::commit::{Pending, PendingElement, commit_all, recover};
use self::name::Namer;
use self::unsynced::Unsynced;
use super::{Durability, Sink, SinkContext, SinkWriter};

/// Bytes gathered before a write.
const BUFFER_BYTES: usize = 64 * 1024;
const DEFAULT_ROLL_BYTES: u64 = 128 * 1024 * 1024;

type Format<T> = Arc<dyn Fn(&T, &mut Vec<u8>) + Send + Sync>;

/// An exactly-once sink of lines in files (Flink's `FileSink` with a row format).
///
/// Each subtask writes *pending* files, whose names begin with `.part-`. A checkpoint closes them, and syncs them in the
/// background; when it is complete they are *committed* by a rename to `part-*`. A committed file never changes and never vanishes. Together
/// they hold exactly the records of the completed checkpoints, in whatever way the job failed in between, and however
/// often its parallelism changed. Subtasks without records make no files.
///
/// After a restore from checkpoint *n* everything that *n* lists is committed, and every other pending file of this
/// sink of this job is deleted. The state is the union list state `pending`.
///
/// **Refused.** A restore from a checkpoint older than what was committed, as lines would come twice; and a fresh start
/// into a directory that holds committed files.
///
/// **Limits.** All subtasks must reach the same directory. Files stay where they are: to move them away while the job
/// runs is fine once they are committed, but the two refusals above cannot see them any more.
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
    roll_bytes: u64,
    fs: Arc<dyn FileSystem>,
}

impl<T> FileSink<T> {
    /// A sink into this directory, which is created if it is missing. `format` appends the text of one record to the
    /// line, without the line end.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, format: impl Fn(&T, &mut Vec<u8>) + Send + Sync + 'static) -> Self {
        Self {
            directory: directory.into(),
            format: Arc::new(format),
            roll_bytes: DEFAULT_ROLL_BYTES,
            fs: Arc::new(LocalFileSystem),
        }
    }

    /// Begins a new file when one has reached this size in bytes. Default: 128 MiB. Every checkpoint begins a new one
    /// anyway.
    #[must_use]
    pub fn roll_at(mut self, bytes: u64) -> Self {
        self.roll_bytes = bytes;
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
            roll_bytes: self.roll_bytes,
            fs: Arc::clone(&self.fs),
        }
    }
}

impl<T> Debug for FileSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSink")
            .field("directory", &self.directory)
            .field("roll_bytes", &self.roll_bytes)
            .field("fs", &self.fs)
            .finish_non_exhaustive()
    }
}

impl<T: 'static> Sink<T> for FileSink<T> {
    fn open(&self, context: &SinkContext<'_>) -> Result<Box<dyn SinkWriter<T>>> {
        let namer = Namer::new(context)?;
        let directory = StoragePath::from_local(&self.directory)?;
        create_dir_durable(&*self.fs, &directory)?;
        let state = context.state.union_list_state(&ListStateDescriptor::<PendingElement>::new("pending"))?;
        recover(&*self.fs, &directory, &namer, context, state.get()?)
            .map_err(|error| error.with("operator", context.uid))?;
        Ok(Box::new(LineWriter {
            unsynced: Unsynced::new(Arc::clone(&self.fs), directory.clone()),
            directory,
            namer,
            format: Arc::clone(&self.format),
            roll_bytes: self.roll_bytes,
            fs: Arc::clone(&self.fs),
            buffer: Vec::with_capacity(BUFFER_BYTES),
            current: None,
            closed: Vec::new(),
            prepared: Vec::new(),
            state,
        }))
    }

    fn is_exactly_once(&self) -> bool {
        true
    }
}

struct LineWriter<T> {
    directory: StoragePath,
    namer: Namer,
    format: Format<T>,
    roll_bytes: u64,
    fs: Arc<dyn FileSystem>,
    /// Lines that are not yet in a file.
    buffer: Vec<u8>,
    current: Option<OpenFile>,
    /// Files that are whole, and belong to the next checkpoint.
    closed: Vec<ClosedFile>,
    unsynced: Unsynced,
    /// Files that belong to a checkpoint and are not yet committed.
    prepared: Vec<Pending>,
    state: OperatorListState<PendingElement>,
}

struct OpenFile {
    path: StoragePath,
    writer: Box<dyn FileWriter>,
    length: u64,
}

struct ClosedFile {
    path: StoragePath,
    length: u64,
}

impl<T> LineWriter<T> {
    /// Moves the buffer into the current file, which begins with its first bytes: there are no empty files.
    fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let file = match &mut self.current {
            Some(file) => file,
            none => {
                let path = self.directory.join(&self.namer.next_pending());
                let writer = self.fs.create_new(&path)?;
                none.insert(OpenFile { path, writer, length: 0 })
            }
        };
        if let Err(error) = file.writer.write_all(&self.buffer) {
            // Part of the buffer may be in the file: it must not come twice.
            self.unsynced.fail();
            return Err(Error::storage("cannot write to an output file: check the space that is left")
                .with("file", &file.path)
                .because(error));
        }
        file.length += self.buffer.len() as u64;
        self.buffer.clear();
        if file.length < self.roll_bytes {
            return Ok(());
        }
        // At once, or long intervals between checkpoints would leave many files open.
        self.close_file();
        self.unsynced.sync()
    }

    fn close_file(&mut self) {
        if let Some(OpenFile { path, writer, length }) = self.current.take() {
            self.unsynced.add(writer);
            self.closed.push(ClosedFile { path, length });
        }
    }
}

impl<T> SinkWriter<T> for LineWriter<T> {
    fn write(&mut self, record: T) -> Result<()> {
        (self.format)(&record, &mut self.buffer);
        self.buffer.push(b'\n');
        if self.buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        self.unsynced.check()?;
        self.flush()
    }

    fn prepare(&mut self, checkpoint_id: u64) -> Result<()> {
        self.unsynced.check()?;
        self.flush()?;
        self.close_file();
        let closed = self.closed.drain(..);
        self.prepared.extend(closed.map(|file| Pending {
            path: file.path,
            checkpoint: checkpoint_id,
            length: file.length,
        }));
        // Replaces what was restored: that is committed.
        self.state.update(self.prepared.iter().map(Pending::to_element))
    }

    fn durability(&mut self) -> Option<Durability> {
        let unsynced = self.unsynced.clone();
        Some(Box::new(move || unsynced.sync()))
    }

    fn commit(&mut self, checkpoint_id: u64) -> Result<()> {
        // Prepared in the order of checkpoints.
        let due = self.prepared.partition_point(|pending| pending.checkpoint <= checkpoint_id);
        let (now, _later) = self.prepared.split_at(due);
        commit_all(&*self.fs, now)?;
        self.prepared.drain(..due);
        Ok(())
    }
}
