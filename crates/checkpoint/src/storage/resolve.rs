//! From a pointer to the snapshot behind it.

use std::io::Read;
use std::sync::Arc;

use highwater_types::{Error, Result, ResultExt};

use super::{NOT_EXTERNALLY_ADDRESSABLE, layout};
use crate::fs::{FileSystem, error_from_io, file_system_for};
use crate::{CheckpointMetadata, SnapshotOpener, StoragePath};

/// A snapshot that was found: the bytes of its metadata and the place against which its handles are resolved.
#[derive(Clone, Debug)]
pub struct ResolvedSnapshot {
    fs: Arc<dyn FileSystem>,
    /// Directory the metadata was found in; relative handles are resolved against it.
    pub directory: StoragePath,
    /// The metadata file.
    pub metadata_file: StoragePath,
    /// Its bytes.
    pub metadata_bytes: Vec<u8>,
}

impl ResolvedSnapshot {
    /// Text by which the snapshot is found again: its directory, or the metadata file where that has another name
    /// than `_metadata`.
    #[must_use]
    pub fn pointer(&self) -> String {
        match self.metadata_file.file_name() {
            Some(layout::METADATA) => self.directory.to_string(),
            _ => self.metadata_file.to_string(),
        }
    }

    /// Reads the metadata.
    ///
    /// # Errors
    /// As [`CheckpointMetadata::read`], with the file.
    pub fn metadata(&self) -> Result<CheckpointMetadata> {
        CheckpointMetadata::read(&self.metadata_bytes).with("file", &self.metadata_file)
    }

    /// Opens the snapshot's handles.
    #[must_use]
    pub fn opener(&self) -> SnapshotOpener {
        SnapshotOpener::new(Arc::clone(&self.fs), self.directory.clone())
    }
}

/// Finds the snapshot behind a pointer: a directory that holds `_metadata`, or a metadata file of any name. A pointer
/// without a scheme is a local path, relative to the current directory.
///
/// # Errors
/// [`Configuration`](highwater_types::ErrorKind::Configuration) when the pointer is empty, not a path, names nothing
/// or a directory without metadata; [`Unsupported`](highwater_types::ErrorKind::Unsupported) when its file system is
/// not accessible; [`Storage`](highwater_types::ErrorKind::Storage) when reading fails.
///
/// ```
/// let error = highwater_checkpoint::resolve_pointer("file:///nonexistent/chk-7").unwrap_err();
/// assert_eq!(error.value("scheme"), Some("file"));
/// ```
pub fn resolve_pointer(pointer: &str) -> Result<ResolvedSnapshot> {
    resolve_with(None, pointer)
}

/// As [`resolve_pointer`], on this file system where one is given.
pub(super) fn resolve_with(fs: Option<&Arc<dyn FileSystem>>, pointer: &str) -> Result<ResolvedSnapshot> {
    let path = parse(pointer)?;
    let fs = match fs {
        Some(fs) => Arc::clone(fs),
        None => file_system_for(&path).map_err(|error| inaccessible(pointer, error))?,
    };
    let found = fs.stat(&path).map_err(|error| inaccessible(pointer, error))?;
    let Some(found) = found else {
        return Err(Error::configuration("cannot find a checkpoint or savepoint: nothing exists at this pointer")
            .with("pointer", &path)
            .with("scheme", path.scheme().unwrap_or("file")));
    };
    let (directory, metadata_file) = match found.is_dir {
        true => (path.clone(), path.join(layout::METADATA)),
        false => (path.parent().unwrap_or_else(|| path.clone()), path),
    };
    if found.is_dir && fs.stat(&metadata_file)?.is_none_or(|stat| stat.is_dir) {
        return Err(Error::configuration(
            "the directory holds no complete checkpoint or savepoint, for '_metadata' is missing. If the metadata file \
             has another name, let the pointer name the file instead of the directory",
        )
        .with("directory", directory));
    }
    let mut metadata_bytes = Vec::new();
    fs.open(&metadata_file)?.read_to_end(&mut metadata_bytes).map_err(error_from_io).with("file", &metadata_file)?;
    Ok(ResolvedSnapshot { fs, directory, metadata_file, metadata_bytes })
}

fn parse(pointer: &str) -> Result<StoragePath> {
    if pointer.is_empty() {
        return Err(Error::configuration("empty checkpoint pointer: name a checkpoint directory or its metadata file"));
    }
    if pointer == NOT_EXTERNALLY_ADDRESSABLE {
        return Err(Error::configuration(
            "this checkpoint lived in the memory of the process that took it: give the memory backend a checkpoint \
             directory to resume in a new process",
        )
        .with("pointer", pointer));
    }
    StoragePath::parse(pointer).and_then(|path| path.qualified()).map_err(|error| {
        Error::configuration(
            "the checkpoint pointer is not a valid file URI: either it is mistyped, or the snapshot was made by another \
             state backend",
        )
        .with("pointer", format!("'{pointer}'"))
        .because(error)
    })
}

fn inaccessible(pointer: &str, error: Error) -> Error {
    Error::new(error.kind(), "Cannot access file system of the checkpoint pointer")
        .with("pointer", pointer)
        .because(error)
}
