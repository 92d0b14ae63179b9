//! Files of the local (or mounted) file system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use highwater_types::{Error, Result};

use super::{DirEntry, FileLock, FileStat, FileSystem, FileWriter, Syncer, file_error};
use crate::{StateReader, StoragePath};

/// Bytes read ahead from a state file.
const READ_BUFFER: usize = 64 * 1024;

/// Local files behind [`FileSystem`], with real syncs of files and directories.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalFileSystem;

/// Runs one operation on the local form of a path and gives its error the path.
fn on<T>(path: &StoragePath, action: &str, run: impl FnOnce(&Path) -> io::Result<T>) -> Result<T> {
    run(&path.to_local_path()?).map_err(|error| file_error(action, path, error))
}

/// Turns "there is nothing of that name" into none.
fn if_exists<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives a file another name; false where the file system cannot, or the two are on different ones.
fn link(file: &Path, name: &Path) -> io::Result<bool> {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    match fs::hard_link(file, name) {
        Ok(()) => Ok(true),
        Err(e) if matches!(e.kind(), CrossesDevices | PermissionDenied | TooManyLinks | Unsupported) => Ok(false),
        Err(error) => Err(error),
    }
}

impl FileSystem for LocalFileSystem {
    fn create_new(&self, path: &StoragePath) -> Result<Box<dyn FileWriter>> {
        let file = on(path, "create a file", |p| OpenOptions::new().write(true).create_new(true).open(p))?;
        Ok(Box::new(LocalWriter { file, path: path.clone() }))
    }

    fn open(&self, path: &StoragePath) -> Result<Box<dyn StateReader>> {
        let file = on(path, "open a file", |p| File::open(p))?;
        Ok(Box::new(BufReader::with_capacity(READ_BUFFER, file)))
    }

    fn stat(&self, path: &StoragePath) -> Result<Option<FileStat>> {
        let metadata = on(path, "look at a file", |p| if_exists(fs::metadata(p)))?;
        Ok(metadata.map(|m| FileStat { is_dir: m.is_dir(), size: m.len() }))
    }

    fn list(&self, dir: &StoragePath) -> Result<Vec<DirEntry>> {
        on(dir, "list a directory", |p| {
            let Some(entries) = if_exists(fs::read_dir(p))? else { return Ok(Vec::new()) };
            let mut list = Vec::new();
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                list.push(DirEntry { name, is_dir: entry.file_type()?.is_dir() });
            }
            list.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(list)
        })
    }

    fn create_dir_all(&self, dir: &StoragePath) -> Result<()> {
        on(dir, "create a directory", |p| fs::create_dir_all(p))
    }

    fn rename(&self, from: &StoragePath, to: &StoragePath) -> Result<()> {
        let target = to.to_local_path()?;
        on(from, "rename a file", |p| {
            if if_exists(fs::symlink_metadata(&target))?.is_some() {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the new name already exists"));
            }
            fs::rename(p, &target)
        })
        .map_err(|error| error.with("new name", to))
    }

    fn link_from(&self, local: &Path, path: &StoragePath) -> Result<bool> {
        on(path, "link a file", |p| {
            let linked = link(local, p)?;
            if linked && let Err(error) = File::open(p).and_then(|file| file.sync_all()) {
                let _ = fs::remove_file(p);
                return Err(error);
            }
            Ok(linked)
        })
    }

    fn link_to(&self, path: &StoragePath, local: &Path) -> Result<bool> {
        on(path, "link a file", |p| link(p, local))
    }

    fn remove_file(&self, path: &StoragePath) -> Result<()> {
        on(path, "remove a file", |p| if_exists(fs::remove_file(p))).map(drop)
    }

    fn remove_dir(&self, dir: &StoragePath) -> Result<()> {
        on(dir, "remove an empty directory", |p| if_exists(fs::remove_dir(p))).map(drop)
    }

    fn remove_dir_all(&self, dir: &StoragePath) -> Result<()> {
        on(dir, "remove a directory", |p| if_exists(fs::remove_dir_all(p))).map(drop)
    }

    fn sync_dir(&self, dir: &StoragePath) -> Result<()> {
        // Only Unix can open and sync a directory; elsewhere names are the file system's own business.
        match cfg!(unix) {
            true => on(dir, "sync a directory", |p| File::open(p)?.sync_all()),
            false => Ok(()),
        }
    }

    fn lock(&self, path: &StoragePath) -> Result<Box<dyn FileLock>> {
        let open = |p: &Path| OpenOptions::new().read(true).write(true).create(true).truncate(false).open(p);
        let mut file = on(path, "open a lock file", open)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(already_locked(path, &mut file)),
            Err(TryLockError::Error(error)) => return Err(file_error("lock a file", path, error)),
        }
        // The id only helps people who meet the lock; without it the lock is as good.
        let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Box::new(LocalLock(file)))
    }
}

fn already_locked(path: &StoragePath, file: &mut File) -> Error {
    let mut holder = String::new();
    let _ = file.take(20).read_to_string(&mut holder);
    let directory = path.parent().unwrap_or_else(|| path.clone());
    let error = Error::storage(
        "another process uses this directory: wait for it to end or stop it, or choose another directory or job name",
    )
    .with("directory", directory);
    match holder.parse::<u32>() {
        Ok(pid) => error.with("held by process", pid),
        Err(_) => error,
    }
}

struct LocalWriter {
    file: File,
    path: StoragePath,
}

impl Write for LocalWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl FileWriter for LocalWriter {
    fn sync(&mut self) -> Result<()> {
        self.file.sync_all().map_err(|error| file_error("sync a file", &self.path, error))
    }

    fn syncer(&self) -> Result<Syncer> {
        let path = self.path.clone();
        let file = self.file.try_clone().map_err(|error| file_error("share a file", &path, error))?;
        Ok(Box::new(move || file.sync_all().map_err(|error| file_error("sync a file", &path, error))))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// The operating system releases the lock with the last copy of the open file, at the latest when the process ends.
#[derive(Debug)]
struct LocalLock(File);

impl FileLock for LocalLock {}

impl Drop for LocalLock {
    /// A child process being started may hold a copy of the open file for a moment, so closing it is not enough.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}
