//! Files that are committed together with checkpoints.

mod commit;
mod name;
mod recover;
mod uncommitted;
mod unsynced;

use std::fmt::{self, Debug};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use highwater_checkpoint::{FileSystem, FileWriter, LocalFileSystem, StoragePath, create_dir_durable};
use highwater_state::{ListStateDescriptor, OperatorListState};
use highwater_types::{Error, Result};

use self::commit::{By, commit_all};
use self::name::{Namer, mark_name};
use self::recover::recover;
use self::uncommitted::{Uncommitted, UncommittedElement};
use self::unsynced::Unsynced;
use super::{Durability, Sink, SinkContext, SinkWriter};

/// Bytes gathered before a write.
const BUFFER_BYTES: usize = 64 * 1024;
const DEFAULT_ROLL_BYTES: u64 = 128 * 1024 * 1024;

type Format<T> = Arc<dyn Fn(&T, &mut Vec<u8>) + Send + Sync>;

/// An exactly-once sink of lines in files (Flink's `FileSink` with a row format).
///
/// Each subtask writes *pending* files, whose names begin with `.part-`. A checkpoint closes them, and syncs them in the
/// background; when it is complete they are *committed* by a rename to `part-*`. Together the committed files hold
/// exactly the records of the completed checkpoints, in whatever way the job failed in between, and however often its
/// parallelism changed. Subtasks without records make no files.
///
/// After a restore from checkpoint *n* everything that *n* lists is committed, and every other pending file of this
/// sink of this job is deleted. The state is the union list state `uncommitted`.
///
/// # Committed files are the user's
///
/// The sink never changes a committed file, and never needs it again. It may be moved, changed or deleted at any moment,
/// as may the whole directory when the job does not run and has no pending files: no later start and no restart minds.
///
/// A checkpoint still lists the files that were committed because of it, so a restore has to tell one that was taken
/// away from one that was lost before its commit. For that each pending file has an empty *mark* beside it,
/// `.part-*.uncommitted`, which goes, durably, before the file becomes visible. A restore finds
///
/// - the file under one of its names: it is, or becomes, committed;
/// - neither name, and the mark: the file is lost, and the restore fails with an error that names it;
/// - neither name, and no mark: the file was committed and taken away.
///
/// Not told from the last: a pending file that was lost together with its mark, as when the whole directory is deleted
/// between a checkpoint and its commit; and one that was lost in the milliseconds of its commit, between the removal of
/// the mark and the rename, if the process died there too. What is read before the commit is durable, milliseconds after
/// the rename, may appear a second time after a power failure.
///
/// **Refused.** A restore from a checkpoint older than what was committed, as lines would come twice; and a fresh start
/// into a directory that holds committed files of a sink with this uid. Files that were taken away are not seen.
///
/// **Limits.** All subtasks must reach the same directory.
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
        let state = context.state.union_list_state(&ListStateDescriptor::<UncommittedElement>::new("uncommitted"))?;
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
    prepared: Vec<Uncommitted>,
    state: OperatorListState<UncommittedElement>,
}

struct OpenFile {
    name: String,
    writer: Box<dyn FileWriter>,
    length: u64,
}

struct ClosedFile {
    name: String,
    length: u64,
}

/// Creates a file, and the mark that is there until its commit begins.
fn create_marked(fs: &dyn FileSystem, directory: &StoragePath, name: &str) -> Result<Box<dyn FileWriter>> {
    let mark = directory.join(&mark_name(name));
    fs.create_new(&mark)?.close()?;
    fs.create_new(&directory.join(name)).inspect_err(|_| drop(fs.remove_file(&mark)))
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
                let name = self.namer.next_name();
                let writer = create_marked(&*self.fs, &self.directory, &name)?;
                none.insert(OpenFile { name, writer, length: 0 })
            }
        };
        if let Err(error) = file.writer.write_all(&self.buffer) {
            // Part of the buffer may be in the file: it must not come twice.
            self.unsynced.fail();
            return Err(Error::storage("cannot write to an output file: check the space that is left")
                .with("file", self.directory.join(&file.name))
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
        if let Some(OpenFile { name, writer, length }) = self.current.take() {
            self.unsynced.add(writer);
            self.closed.push(ClosedFile { name, length });
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
        self.prepared.extend(closed.map(|file| Uncommitted {
            directory: self.directory.clone(),
            path: file.name,
            checkpoint: checkpoint_id,
            length: file.length,
        }));
        // Replaces what was restored: that is committed.
        self.state.update(self.prepared.iter().map(Uncommitted::to_element))
    }

    fn durability(&mut self) -> Option<Durability> {
        let unsynced = self.unsynced.clone();
        Some(Box::new(move || unsynced.sync()))
    }

    fn commit(&mut self, checkpoint_id: u64) -> Result<()> {
        // Prepared in the order of checkpoints.
        let due = self.prepared.partition_point(|file| file.checkpoint <= checkpoint_id);
        let (now, _later) = self.prepared.split_at(due);
        commit_all(&*self.fs, By::Writer, now)?;
        self.prepared.drain(..due);
        Ok(())
    }
}
