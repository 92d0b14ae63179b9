//! A database frozen as hard links, and the upload of what is new in it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use highwater_checkpoint::{CheckpointStreamFactory, StateScope, StreamHandle};
use highwater_state::{FrozenFiles, NativeFiles};
use highwater_types::{Error, Result};
use rust_rocksdb::checkpoint::Checkpoint;

use super::is_table;
use super::transfer::transfer;
use super::uploads::{SharedFiles, Uploads};
use crate::database::Database;
use crate::error::failed;

/// Writes what is in memory into files, and gives all files of the database a second name beside it, so that they stay
/// when it lets go of them.
pub(crate) fn freeze(
    database: &Arc<Database>,
    uploads: &Arc<Uploads>,
    checkpoint: u64,
) -> Result<Box<dyn FrozenFiles>> {
    let directory = database.directory().path().join(format!("chk-{checkpoint}"));
    remove(&directory).map_err(|error| unusable(&directory, error))?;
    let links = Links { directory, database: Arc::clone(database) };
    let cannot = |cause| failed("freeze its files", database.path(), cause);
    Checkpoint::new(database.db()).map_err(cannot)?.create_checkpoint(&links.directory).map_err(cannot)?;
    let (uploads, base) = (Arc::clone(uploads), uploads.begin(checkpoint));
    Ok(Box::new(Frozen { links, uploads, base, checkpoint }))
}

/// The linked files, removed when they are not needed any more.
struct Links {
    directory: PathBuf,
    /// The directory goes with the last user of the database.
    database: Arc<Database>,
}

impl Drop for Links {
    fn drop(&mut self) {
        if let Err(cause) = remove(&self.directory) {
            tracing::warn!(directory = %self.directory.display(), %cause, "linked files stay until the store goes");
        }
    }
}

struct Frozen {
    links: Links,
    uploads: Arc<Uploads>,
    base: SharedFiles,
    checkpoint: u64,
}

/// A file of the frozen database on its way.
struct File {
    name: String,
    /// Where it lies already.
    known: Option<StreamHandle>,
}

impl FrozenFiles for Frozen {
    fn upload(self: Box<Self>, streams: &dyn CheckpointStreamFactory) -> Result<NativeFiles> {
        let files = self.files()?;
        let threads = self.links.database.layers().settings().transfer_threads;
        let (handles, failure) = transfer(threads, &files, |file| match &file.known {
            Some(handle) => Ok(handle.clone()),
            None => streams.add_file(&self.links.directory.join(&file.name), StateScope::Shared),
        });
        if let Some(error) = failure {
            self.discard(&handles, streams);
            return Err(error.with("directory", self.links.database.path().display()));
        }
        let is_new = files.iter().map(|file| file.known.is_none());
        let uploaded = handles.iter().zip(is_new).filter(|(_, is_new)| *is_new).map(|(handle, _)| handle.size()).sum();
        let named = files.into_iter().map(|file| file.name).zip(handles);
        let (shared, private): (Vec<_>, Vec<_>) = named.partition(|(name, _)| is_table(name));
        self.uploads.uploaded(self.checkpoint, Arc::new(shared.iter().cloned().collect::<HashMap<_, _>>()));
        Ok(NativeFiles { backend_id: self.uploads.backend_id().to_owned(), uploaded, shared, private })
    }
}

impl Frozen {
    /// All files in the order of their names.
    fn files(&self) -> Result<Vec<File>> {
        let directory = &self.links.directory;
        let names = || -> io::Result<Vec<String>> {
            let entries = fs::read_dir(directory)?;
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
        };
        let mut names = names().map_err(|error| unusable(directory, error))?;
        // No write-ahead log is ever written, but RocksDB links an empty one.
        names.retain(|name| !name.ends_with(".log"));
        names.sort_unstable();
        Ok(names.into_iter().map(|name| File { known: self.base.get(&name).cloned(), name }).collect())
    }

    /// Deletes what was uploaded for nothing; what was there before stays.
    fn discard(&self, handles: &[StreamHandle], streams: &dyn CheckpointStreamFactory) {
        handles.iter().filter(|handle| !self.base.values().any(|known| known == *handle)).for_each(|handle| {
            streams.discard(handle);
        });
    }
}

/// Removes a directory; a missing one is nothing.
fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cold]
fn unusable(directory: &Path, error: io::Error) -> Error {
    Error::storage("the local directory of a snapshot cannot be used")
        .with("directory", directory.display())
        .because(error)
}
