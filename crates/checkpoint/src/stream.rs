//! Checkpoint streams: how the asynchronous part of a snapshot writes bytes without knowing where they go, and how a
//! restore reads them.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use highwater_types::{Error, Result};

use crate::fs::error_from_io;
use crate::{CancelToken, StreamHandle};

/// Whom the bytes of a stream belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateScope {
    /// One checkpoint alone; deleted with it.
    Exclusive,
    /// Possibly several checkpoints; deleted by the shared-state registry.
    Shared,
}

/// A stream of state bytes on their way to storage. Dropping it without [`finish`](Self::finish) deletes what was
/// written. After a failed write it never gives a handle; [`error_from_io`](crate::error_from_io) tells what happened.
pub trait CheckpointStream: Write + Send {
    /// Bytes written so far.
    fn position(&self) -> u64;

    /// Closes the stream durably and returns its handle, or none if nothing was ever written.
    fn finish(self: Box<Self>) -> Result<Option<StreamHandle>>;
}

/// Opens checkpoint streams for one checkpoint.
pub trait CheckpointStreamFactory: Send + Sync {
    /// A new, empty stream.
    fn create_stream(&self, scope: StateScope) -> Result<Box<dyn CheckpointStream>>;

    /// Takes a local file that will never change into the checkpoint and returns its handle. The default copies it into
    /// a stream; a store on the same disk need not copy.
    ///
    /// # Errors
    /// `Storage` if the file cannot be read, or the stream not be written.
    fn add_file(&self, file: &Path, scope: StateScope) -> Result<StreamHandle> {
        copy_into_stream(self, file, scope)
    }

    /// Deletes what lies behind a handle of this factory that no checkpoint will take up. A failure is logged: the next
    /// start of the job removes what is left.
    fn discard(&self, handle: &StreamHandle);
}

/// Bytes of a snapshot being read.
pub trait StateReader: Read + Seek + Send {}
impl<T: Read + Seek + Send> StateReader for T {}

/// Opens the bytes behind handles of one snapshot. A relative handle is resolved against the directory in which the
/// snapshot's `_metadata` was found.
pub trait StateOpener: Send + Sync {
    /// Opens a stream; a missing or short file is a [`Corrupt`](highwater_types::ErrorKind::Corrupt) error that names it.
    fn open(&self, handle: &StreamHandle) -> Result<Box<dyn StateReader>>;

    /// Copies a stream to a new local file.
    ///
    /// # Errors
    /// As [`open`](Self::open); `Storage` if the file cannot be written.
    fn copy_file(&self, handle: &StreamHandle, to: &Path) -> Result<()> {
        copy_into_file(self.open(handle)?, handle, to)
    }

    /// Brings a stream to a new local file, which nobody will ever change. The default copies it; a store on the same
    /// disk need not.
    ///
    /// # Errors
    /// As [`copy_file`](Self::copy_file).
    fn fetch_file(&self, handle: &StreamHandle, to: &Path) -> Result<()> {
        self.copy_file(handle, to)
    }

    /// What ends the reading: who works on what was read looks at it too, from time to time. The default is never
    /// cancelled.
    fn cancel_token(&self) -> CancelToken {
        CancelToken::new()
    }
}

/// Copies a local file into a new stream.
pub(crate) fn copy_into_stream<F: CheckpointStreamFactory + ?Sized>(
    factory: &F,
    file: &Path,
    scope: StateScope,
) -> Result<StreamHandle> {
    let mut stream = factory.create_stream(scope)?;
    let mut source = File::open(file).map_err(|error| local_error(file, error))?;
    io::copy(&mut source, &mut stream).map_err(error_from_io)?;
    let empty = || StreamHandle::Inline { name: file.display().to_string(), bytes: [].into() };
    Ok(stream.finish()?.unwrap_or_else(empty))
}

/// Copies a stream into a new local file.
fn copy_into_file(mut stream: Box<dyn StateReader>, handle: &StreamHandle, to: &Path) -> Result<()> {
    let mut file = File::create_new(to).map_err(|error| local_error(to, error))?;
    let copied = io::copy(&mut stream, &mut file).map_err(|error| match error.downcast::<Error>() {
        Ok(of_stream) => of_stream,
        Err(error) => local_error(to, error),
    })?;
    match copied == handle.size() {
        true => Ok(()),
        false => Err(Error::corrupt("a state file has not the size its handle names: use another snapshot")
            .with("file", to.display())
            .with("expected", handle.size())
            .with("found", copied)),
    }
}

/// The error for a local file that is not part of a storage.
pub(crate) fn local_error(file: &Path, error: io::Error) -> Error {
    Error::storage("a local state file could not be read or written").with("file", file.display()).because(error)
}
