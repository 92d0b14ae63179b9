//! The one door to files: everything checkpoints and exactly-once sinks do to storage goes through [`FileSystem`].

#[cfg(feature = "testing")]
mod crash;
#[cfg(feature = "testing")]
mod faulty;
mod local;

use std::error::Error as StdError;
use std::fmt::Debug;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use highwater_types::{Error, Result};
use tracing::debug;

use crate::path::unsupported_scheme;
use crate::{StateReader, StoragePath};

#[cfg(feature = "testing")]
pub use crash::{CrashFileSystem, Survival};
#[cfg(feature = "testing")]
pub use faulty::{FaultyFileSystem, FileStep};
pub use local::LocalFileSystem;

/// What checkpoints and exactly-once sinks need of a file system or object store.
///
/// Files are written once, from start to end, and never changed. Three rules make a commit safe against a crash:
/// bytes survive after [`FileWriter::sync`]; a created, renamed or removed name survives after [`sync_dir`] of the
/// directory that holds it; a rename shows either the old or the new name, never none. A store that is durable at
/// once answers the syncs with success.
///
/// Errors are of kind [`Storage`](highwater_types::ErrorKind::Storage), name the path, and carry the [`io::Error`];
/// see [`io_error_kind`].
///
/// [`sync_dir`]: Self::sync_dir
///
/// ```
/// use highwater_checkpoint::{FileSystem, LocalFileSystem, StoragePath};
/// use std::io::{Read, Write};
///
/// # let scratch = tempfile::tempdir().unwrap();
/// let fs = LocalFileSystem;
/// let dir = StoragePath::from_local(scratch.path())?.join("a/b");
/// fs.create_dir_all(&dir)?;
///
/// let mut file = fs.create_new(&dir.join(".pending"))?;
/// file.write_all(b"seven").unwrap();
/// file.sync()?;
/// file.close()?;
/// fs.rename(&dir.join(".pending"), &dir.join("done"))?;
/// fs.sync_dir(&dir)?;
///
/// let mut text = String::new();
/// fs.open(&dir.join("done"))?.read_to_string(&mut text).unwrap();
/// assert_eq!(text, "seven");
/// assert_eq!(fs.stat(&dir.join(".pending"))?, None);
/// # Ok::<(), highwater_types::Error>(())
/// ```
pub trait FileSystem: Debug + Send + Sync {
    /// Creates a file for writing; an existing one is an error, never overwritten.
    fn create_new(&self, path: &StoragePath) -> Result<Box<dyn FileWriter>>;

    /// Opens a file for reading.
    fn open(&self, path: &StoragePath) -> Result<Box<dyn StateReader>>;

    /// Looks at a file or directory; none if there is nothing of that name.
    fn stat(&self, path: &StoragePath) -> Result<Option<FileStat>>;

    /// The entries of a directory, in order of their names; a missing directory has none.
    fn list(&self, dir: &StoragePath) -> Result<Vec<DirEntry>>;

    /// Creates a directory and whatever is missing above it.
    fn create_dir_all(&self, dir: &StoragePath) -> Result<()>;

    /// Renames a file. The new name appears in one step; if it exists already, nothing is renamed and that is an
    /// error. Two uncoordinated writers of one target may race past the check: hold the [`lock`](Self::lock).
    fn rename(&self, from: &StoragePath, to: &StoragePath) -> Result<()>;

    /// Removes a file; a missing one is no error.
    fn remove_file(&self, path: &StoragePath) -> Result<()>;

    /// Removes an empty directory; a missing one is no error, one that holds anything is.
    fn remove_dir(&self, dir: &StoragePath) -> Result<()>;

    /// Removes a directory with all it holds; a missing one is no error.
    fn remove_dir_all(&self, dir: &StoragePath) -> Result<()>;

    /// Makes created, renamed and removed names of a directory durable.
    fn sync_dir(&self, dir: &StoragePath) -> Result<()>;

    /// Gives a local file that will never change a second, durable name here, if both are on one disk. False if that
    /// cannot be: then the file has to be copied. The name itself is made durable by [`sync_dir`](Self::sync_dir).
    fn link_from(&self, local: &Path, path: &StoragePath) -> Result<bool> {
        let _ = (local, path);
        Ok(false)
    }

    /// Gives a file that will never change a second, local name, if both are on one disk. False if that cannot be.
    fn link_to(&self, path: &StoragePath, local: &Path) -> Result<bool> {
        let _ = (path, local);
        Ok(false)
    }

    /// Takes the exclusive lock of a file, which is created if it is missing, and holds it until the guard is dropped
    /// or the process ends. Held by someone else: an error at once that names the holder's process id where known.
    fn lock(&self, path: &StoragePath) -> Result<Box<dyn FileLock>>;
}

/// A new file being written. Dropping it without [`close`](Self::close) leaves whatever was written so far behind.
pub trait FileWriter: Write + Send {
    /// Makes all bytes written so far durable.
    fn sync(&mut self) -> Result<()>;

    /// What makes durable, on another thread and while writing goes on, at least the bytes written so far. A file that
    /// stays open across checkpoints needs it. Default: `Unsupported`.
    fn syncer(&self) -> Result<Syncer> {
        Err(Error::unsupported("this file system makes a file durable only when it is closed"))
    }

    /// Ends the file. It is durable only if [`sync`](Self::sync) came before.
    fn close(self: Box<Self>) -> Result<()>;
}

/// A sync of a file that is still being written; see [`FileWriter::syncer`].
pub type Syncer = Box<dyn FnOnce() -> Result<()> + Send>;

/// Holds an exclusive lock until it is dropped.
pub trait FileLock: Debug + Send + Sync {}

/// What [`FileSystem::stat`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// Whether this is a directory.
    pub is_dir: bool,
    /// Size of a file in bytes; without meaning for a directory.
    pub size: u64,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Name within the directory.
    pub name: String,
    /// Whether it is a directory itself.
    pub is_dir: bool,
}

/// The file system a path lives on: local files for the scheme `file` and for paths without one.
///
/// # Errors
/// [`Unsupported`](highwater_types::ErrorKind::Unsupported), naming the scheme.
pub fn file_system_for(path: &StoragePath) -> Result<Arc<dyn FileSystem>> {
    match path.scheme() {
        None | Some("file") => Ok(Arc::new(LocalFileSystem)),
        Some(scheme) => Err(unsupported_scheme(scheme).with("path", path)),
    }
}

/// The kind of the I/O error that lies at the bottom of an error, if there is one.
///
/// ```
/// use highwater_checkpoint::{FileSystem, LocalFileSystem, StoragePath, io_error_kind};
///
/// let nowhere = StoragePath::parse("file:///nonexistent/file")?;
/// let error = LocalFileSystem.open(&nowhere).err().unwrap();
/// assert_eq!(io_error_kind(&error), Some(std::io::ErrorKind::NotFound));
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[must_use]
pub fn io_error_kind(error: &Error) -> Option<io::ErrorKind> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        cause = current.source();
    }
    None
}

/// The error behind a failed `write` to a checkpoint stream: streams wrap their own errors so that they fit through
/// [`io::Write`]. Any other I/O error becomes one of kind [`Storage`](highwater_types::ErrorKind::Storage).
///
/// ```
/// use highwater_checkpoint::{CancelToken, CheckpointStreamFactory, MemoryStreamFactory, StateScope, error_from_io};
/// use highwater_types::ErrorKind;
/// use std::io::Write;
///
/// let cancel = CancelToken::new();
/// let mut stream = MemoryStreamFactory::new(1024, cancel.clone()).create_stream(StateScope::Exclusive)?;
/// cancel.cancel();
/// let error = stream.write_all(b"late").unwrap_err();
/// assert_eq!(error_from_io(error).kind(), ErrorKind::Cancelled);
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[must_use]
pub fn error_from_io(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => Error::storage("reading or writing state failed").because(error),
    }
}

/// An error of ours on its way through [`io::Write`]; [`error_from_io`] takes it out again.
pub(crate) fn into_io(error: Error) -> io::Error {
    io::Error::new(io_error_kind(&error).unwrap_or(io::ErrorKind::Other), error)
}

/// The error of a file operation, with the cure where the kind tells it.
pub(crate) fn file_error(action: &str, path: &StoragePath, error: io::Error) -> Error {
    let cure = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": no space is left, free some or choose another directory"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            ": the file system is read-only, mount it writable or choose another directory"
        }
        io::ErrorKind::PermissionDenied => ": permission denied, check owner and mode of the file and its directory",
        _ => "",
    };
    Error::storage(format!("cannot {action}{cure}")).with("file", path).because(error)
}

/// Creates a directory, and whatever is missing above it, so that their names survive a crash: the parent of each is
/// synced, up to the root. A directory that exists already is synced as far as permissions allow.
///
/// # Errors
/// [`Storage`](highwater_types::ErrorKind::Storage), naming the directory.
pub fn create_dir_durable(fs: &dyn FileSystem, dir: &StoragePath) -> Result<()> {
    let ancestors: Vec<StoragePath> = std::iter::successors(Some(dir.clone()), StoragePath::parent).collect();
    let mut created = Vec::new();
    for ancestor in &ancestors {
        created.push(fs.stat(ancestor)?.is_none());
    }
    fs.create_dir_all(dir)?;
    for ((ancestor, created), parent) in ancestors.iter().zip(created).zip(ancestors.iter().skip(1)).rev() {
        match fs.sync_dir(parent) {
            // A directory that was there before us may lie below one that we may not open.
            Err(error) if !created => debug!(directory = %ancestor, %error, "could not sync the parent directory"),
            outcome => outcome?,
        }
    }
    Ok(())
}
