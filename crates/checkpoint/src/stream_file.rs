//! Checkpoint streams into a file system: small ones stay in memory and travel inside `_metadata`, larger ones become
//! files.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use highwater_types::{Error, Result};
use tracing::warn;
use uuid::Uuid;

use crate::fs::{FileSystem, FileWriter, file_error, into_io};
use crate::opener::file_of;
use crate::stream::{copy_into_stream, local_error};
use crate::{CancelToken, CheckpointStream, CheckpointStreamFactory, StateScope, StoragePath, StreamHandle};

/// Streams of at most this many bytes stay inline unless told otherwise: 20 KiB
/// (`execution.checkpointing.data-inline-threshold`, older `state.backend.fs.memory-threshold`).
pub const DEFAULT_INLINE_THRESHOLD: usize = 20 * 1024;

/// Largest inline threshold Flink accepts: 1 MiB.
pub const MAX_INLINE_THRESHOLD: usize = 1024 * 1024;

/// Write buffer of a stream unless told otherwise: 4,096 bytes, raised to the threshold where that is larger
/// (`execution.checkpointing.write-buffer-size`, older `state.backend.fs.write-buffer-size`).
pub const DEFAULT_WRITE_BUFFER: usize = 4096;

/// How often a new file name is tried before a stream gives up.
const OPEN_ATTEMPTS: usize = 10;

/// Streams of one checkpoint or savepoint directory (Flink's `FsCheckpointStreamFactory`).
///
/// A stream of at most *threshold* bytes becomes an inline handle and never touches the disk. A larger one becomes a
/// file of random name, synced before its handle exists: a relative handle for
/// [`Exclusive`](StateScope::Exclusive) state, an absolute one for [`Shared`](StateScope::Shared). The directories must
/// exist; syncing them is the business of whoever completes the checkpoint.
///
/// ```
/// use highwater_checkpoint::{
///     CheckpointStreamFactory, FsStreamFactory, LocalFileSystem, StateScope, StoragePath, StreamHandle,
/// };
/// use std::io::Write;
/// use std::sync::Arc;
///
/// # let scratch = tempfile::tempdir().unwrap();
/// let directory = StoragePath::from_local(scratch.path())?;
/// let streams = FsStreamFactory::new(Arc::new(LocalFileSystem), directory).with_threshold(4);
///
/// let mut small = streams.create_stream(StateScope::Exclusive)?;
/// small.write_all(b"abc").unwrap();
/// assert!(matches!(small.finish()?, Some(StreamHandle::Inline { .. })));
///
/// let mut large = streams.create_stream(StateScope::Exclusive)?;
/// large.write_all(&[7; 10_000]).unwrap();
/// assert!(matches!(large.finish()?, Some(StreamHandle::RelativeFile { size: 10_000, .. })));
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FsStreamFactory {
    fs: Arc<dyn FileSystem>,
    exclusive: StoragePath,
    shared: StoragePath,
    threshold: usize,
    write_buffer: usize,
    cancel: CancelToken,
}

impl FsStreamFactory {
    /// Streams into one directory, as a savepoint has it, with Flink's defaults for threshold and write buffer.
    #[must_use]
    pub fn new(fs: Arc<dyn FileSystem>, directory: StoragePath) -> Self {
        Self {
            fs,
            shared: directory.clone(),
            exclusive: directory,
            threshold: DEFAULT_INLINE_THRESHOLD,
            write_buffer: DEFAULT_WRITE_BUFFER,
            cancel: CancelToken::new(),
        }
    }

    /// Another directory for shared state (default: the same).
    #[must_use]
    pub fn with_shared_directory(mut self, directory: StoragePath) -> Self {
        self.shared = directory;
        self
    }

    /// Largest inline stream in bytes (default 20 KiB).
    #[must_use]
    pub fn with_threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// Write buffer in bytes (default 4,096); the larger of this, the threshold and 1 takes effect.
    #[must_use]
    pub fn with_write_buffer(mut self, bytes: usize) -> Self {
        self.write_buffer = bytes;
        self
    }

    /// The token that ends all writing for this checkpoint.
    #[must_use]
    pub fn with_cancel_token(mut self, cancel: CancelToken) -> Self {
        self.cancel = cancel;
        self
    }

    fn directory(&self, scope: StateScope) -> &StoragePath {
        match scope {
            StateScope::Exclusive => &self.exclusive,
            StateScope::Shared => &self.shared,
        }
    }
}

impl CheckpointStreamFactory for FsStreamFactory {
    fn create_stream(&self, scope: StateScope) -> Result<Box<dyn CheckpointStream>> {
        self.cancel.check()?;
        let capacity = self.write_buffer.max(self.threshold).max(1);
        let factory = self.clone();
        Ok(Box::new(FileStream { factory, scope, capacity, buffer: Vec::new(), file: None, flushed: 0, broken: false }))
    }

    /// A large file on the disk of the checkpoints gets another name there instead of a copy.
    fn add_file(&self, file: &Path, scope: StateScope) -> Result<StreamHandle> {
        self.cancel.check()?;
        let size = file.metadata().map_err(|error| local_error(file, error))?.len();
        if size > self.threshold as u64 {
            let name = Uuid::new_v4().to_string();
            let path = self.directory(scope).join(&name);
            if self.fs.link_from(file, &path)? {
                return Ok(file_handle(scope, name, &path, size));
            }
        }
        copy_into_stream(self, file, scope)
    }

    fn discard(&self, handle: &StreamHandle) {
        if let Ok(Some(path)) = file_of(&self.exclusive, handle) {
            remove_partial(self, &path);
        }
    }
}

struct FileStream {
    factory: FsStreamFactory,
    scope: StateScope,
    /// Most bytes the buffer may hold, at least the threshold and at least 1.
    capacity: usize,
    buffer: Vec<u8>,
    file: Option<OpenFile>,
    /// Bytes that went to the file.
    flushed: u64,
    /// A failed write lost bytes: the stream must never give a handle.
    broken: bool,
}

struct OpenFile {
    writer: Box<dyn FileWriter>,
    name: String,
    path: StoragePath,
}

impl FileStream {
    fn check_usable(&self) -> Result<()> {
        self.factory.cancel.check()?;
        match self.broken {
            true => Err(Error::storage("the checkpoint stream has already been closed and discarded after a failure")
                .with("directory", self.factory.directory(self.scope))),
            false => Ok(()),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() >= self.capacity {
            self.flush_buffer()?;
            return self.write_to_file(bytes);
        }
        let free = self.capacity - self.buffer.len();
        if bytes.len() <= free {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        let (head, tail) = bytes.split_at(free);
        self.buffer.extend_from_slice(head);
        self.flush_buffer()?;
        self.buffer.extend_from_slice(tail);
        Ok(())
    }

    fn flush_buffer(&mut self) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let outcome = self.write_to_file(&buffer);
        buffer.clear();
        self.buffer = buffer;
        outcome
    }

    fn write_to_file(&mut self, bytes: &[u8]) -> Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(open_file(&self.factory, self.scope)?),
        };
        file.writer.write_all(bytes).map_err(|error| file_error("write a state file", &file.path, error))?;
        self.flushed += bytes.len() as u64;
        Ok(())
    }

    fn finish_inline(&self) -> Option<StreamHandle> {
        if self.buffer.is_empty() {
            return None;
        }
        // Named as the file would have been: unique, and what Flink does.
        let name = self.factory.directory(self.scope).join(&Uuid::new_v4().to_string()).to_string();
        Some(StreamHandle::Inline { name, bytes: self.buffer.as_slice().into() })
    }

    fn finish_file(&mut self) -> Result<StreamHandle> {
        self.flush_buffer()?;
        let size = self.flushed;
        if let Some(file) = &mut self.file {
            file.writer.sync()?;
        }
        let OpenFile { writer, name, path } =
            self.file.take().ok_or_else(|| Error::internal("a checkpoint stream lost its file"))?;
        if let Err(error) = writer.close() {
            remove_partial(&self.factory, &path);
            return Err(error);
        }
        Ok(file_handle(self.scope, name, &path, size))
    }
}

fn file_handle(scope: StateScope, name: String, path: &StoragePath, size: u64) -> StreamHandle {
    match scope {
        StateScope::Exclusive => StreamHandle::RelativeFile { path: name, size },
        StateScope::Shared => StreamHandle::File { path: path.to_string(), size },
    }
}

fn open_file(factory: &FsStreamFactory, scope: StateScope) -> Result<OpenFile> {
    let directory = factory.directory(scope);
    let mut last = None;
    for _ in 0..OPEN_ATTEMPTS {
        let name = Uuid::new_v4().to_string();
        let path = directory.join(&name);
        match factory.fs.create_new(&path) {
            Ok(writer) => return Ok(OpenFile { writer, name, path }),
            Err(error) => last = Some(error),
        }
    }
    let error = Error::storage("could not open an output stream for the state backend").with("directory", directory);
    Err(match last {
        Some(cause) => error.because(cause),
        None => error,
    })
}

fn remove_partial(factory: &FsStreamFactory, path: &StoragePath) {
    if let Err(error) = factory.fs.remove_file(path) {
        warn!(%error, "could not remove a partial state file; it stays behind until orphans are removed");
    }
}

impl Write for FileStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check_usable().and_then(|()| self.append(bytes)).map_err(|error| {
            self.broken = true;
            into_io(error)
        })?;
        Ok(bytes.len())
    }

    /// Writes to the file only if there is one already or the bytes no longer fit inline.
    fn flush(&mut self) -> io::Result<()> {
        if self.file.is_none() && self.buffer.len() <= self.factory.threshold {
            return Ok(());
        }
        self.check_usable().and_then(|()| self.flush_buffer()).map_err(|error| {
            self.broken = true;
            into_io(error)
        })
    }
}

impl CheckpointStream for FileStream {
    fn position(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    fn finish(mut self: Box<Self>) -> Result<Option<StreamHandle>> {
        self.check_usable()?;
        match self.file.is_none() && self.buffer.len() <= self.factory.threshold {
            true => Ok(self.finish_inline()),
            false => self.finish_file().map(Some),
        }
    }
}

impl Drop for FileStream {
    /// A file that is still here belongs to no handle.
    fn drop(&mut self) {
        if let Some(OpenFile { writer, path, .. }) = self.file.take() {
            drop(writer);
            remove_partial(&self.factory, &path);
        }
    }
}
