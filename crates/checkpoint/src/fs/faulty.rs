//! A file system in which something befalls what is done, for tests of what a job does then.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use highwater_types::Result;

use super::{DirEntry, FileLock, FileStat, FileSystem, FileWriter, Syncer, into_io};
use crate::{StateReader, StoragePath};

/// What is about to be done in a [`FaultyFileSystem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileStep {
    /// A file is opened for reading.
    Open,
    /// A piece of a file is read.
    Read,
    /// A file is created.
    Create,
    /// A piece of a file is written.
    Write,
    /// A file is made durable.
    Sync,
    /// A name is looked at, or the names of a directory.
    Look,
    /// A directory is created.
    CreateDirectory,
    /// A file is renamed: the path is its old name.
    Rename,
    /// A file or directory is removed.
    Remove,
    /// Names of a directory are made durable.
    SyncDirectory,
}

/// What befalls a step: it may fail, or take its time.
type Fault = dyn Fn(FileStep, &StoragePath) -> Result<()> + Send + Sync;

/// Another file system, in which something befalls each step (feature `testing`). Locks are left alone; nothing is linked.
///
/// ```
/// use highwater_checkpoint::{FaultyFileSystem, FileStep, FileSystem, LocalFileSystem, StoragePath};
/// use highwater_types::Error;
///
/// let fs = FaultyFileSystem::new(LocalFileSystem, |step, _| match step {
///     FileStep::Rename => Err(Error::storage("injected")),
///     _ => Ok(()),
/// });
/// let path = StoragePath::parse("/nonexistent/file")?;
/// assert_eq!(fs.stat(&path)?, None);
/// assert_eq!(fs.rename(&path, &path).unwrap_err().message(), "injected");
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone)]
pub struct FaultyFileSystem {
    fs: Arc<dyn FileSystem>,
    fault: Arc<Fault>,
}

impl FaultyFileSystem {
    /// Lets `fault` befall every step in `fs`.
    pub fn new(
        fs: impl FileSystem + 'static,
        fault: impl Fn(FileStep, &StoragePath) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { fs: Arc::new(fs), fault: Arc::new(fault) }
    }

    fn befall(&self, step: FileStep, path: &StoragePath) -> Result<()> {
        (self.fault)(step, path)
    }

    fn faulty<F>(&self, file: F, path: &StoragePath) -> FaultyFile<F> {
        FaultyFile { file, fs: self.clone(), path: path.clone() }
    }
}

impl fmt::Debug for FaultyFileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultyFileSystem").field(&self.fs).finish()
    }
}

impl FileSystem for FaultyFileSystem {
    fn create_new(&self, path: &StoragePath) -> Result<Box<dyn FileWriter>> {
        self.befall(FileStep::Create, path)?;
        Ok(Box::new(self.faulty(self.fs.create_new(path)?, path)))
    }

    fn open(&self, path: &StoragePath) -> Result<Box<dyn StateReader>> {
        self.befall(FileStep::Open, path)?;
        Ok(Box::new(self.faulty(self.fs.open(path)?, path)))
    }

    fn stat(&self, path: &StoragePath) -> Result<Option<FileStat>> {
        self.befall(FileStep::Look, path)?;
        self.fs.stat(path)
    }

    fn list(&self, dir: &StoragePath) -> Result<Vec<DirEntry>> {
        self.befall(FileStep::Look, dir)?;
        self.fs.list(dir)
    }

    fn create_dir_all(&self, dir: &StoragePath) -> Result<()> {
        self.befall(FileStep::CreateDirectory, dir)?;
        self.fs.create_dir_all(dir)
    }

    fn rename(&self, from: &StoragePath, to: &StoragePath) -> Result<()> {
        self.befall(FileStep::Rename, from)?;
        self.fs.rename(from, to)
    }

    fn remove_file(&self, path: &StoragePath) -> Result<()> {
        self.befall(FileStep::Remove, path)?;
        self.fs.remove_file(path)
    }

    fn remove_dir(&self, dir: &StoragePath) -> Result<()> {
        self.befall(FileStep::Remove, dir)?;
        self.fs.remove_dir(dir)
    }

    fn remove_dir_all(&self, dir: &StoragePath) -> Result<()> {
        self.befall(FileStep::Remove, dir)?;
        self.fs.remove_dir_all(dir)
    }

    fn sync_dir(&self, dir: &StoragePath) -> Result<()> {
        self.befall(FileStep::SyncDirectory, dir)?;
        self.fs.sync_dir(dir)
    }

    fn lock(&self, path: &StoragePath) -> Result<Box<dyn FileLock>> {
        self.fs.lock(path)
    }
}

struct FaultyFile<F> {
    file: F,
    fs: FaultyFileSystem,
    path: StoragePath,
}

impl<F> FaultyFile<F> {
    fn befall(&self, step: FileStep) -> io::Result<()> {
        self.fs.befall(step, &self.path).map_err(into_io)
    }
}

impl Read for FaultyFile<Box<dyn StateReader>> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.befall(FileStep::Read)?;
        self.file.read(buffer)
    }
}

impl Seek for FaultyFile<Box<dyn StateReader>> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Write for FaultyFile<Box<dyn FileWriter>> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.befall(FileStep::Write)?;
        self.file.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl FileWriter for FaultyFile<Box<dyn FileWriter>> {
    fn sync(&mut self) -> Result<()> {
        self.fs.befall(FileStep::Sync, &self.path)?;
        self.file.sync()
    }

    fn syncer(&self) -> Result<Syncer> {
        let (fs, path, syncer) = (self.fs.clone(), self.path.clone(), self.file.syncer()?);
        Ok(Box::new(move || {
            fs.befall(FileStep::Sync, &path)?;
            syncer()
        }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.file.close()
    }
}
