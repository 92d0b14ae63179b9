//! Writing `_metadata`, which makes a checkpoint complete.

use std::io::Write;

use highwater_types::{Error, Result};
use tracing::warn;

use super::layout;
use crate::StoragePath;
use crate::fs::{FileSystem, file_error};

/// Puts the metadata in place, last and durably.
///
/// The order is what a crash cannot break: first the metadata's bytes under a temporary name; then the names of the
/// state files (in `directory`) and of everything in `other_directories`; then the rename; then the new name. So
/// wherever `_metadata` is seen, all it names is on disk.
pub(super) fn commit_metadata(
    fs: &dyn FileSystem,
    directory: &StoragePath,
    other_directories: &[StoragePath],
    metadata: &[u8],
) -> Result<()> {
    let target = directory.join(layout::METADATA);
    if fs.stat(&target)?.is_some() {
        return Err(Error::storage("the metadata of this checkpoint already exists").with("file", target));
    }
    let temporary = directory.join(&layout::temporary_metadata());
    let prepared = write_file(fs, &temporary, metadata)
        .and_then(|()| other_directories.iter().chain([directory]).try_for_each(|dir| fs.sync_dir(dir)))
        .and_then(|()| fs.rename(&temporary, &target));
    if let Err(error) = prepared {
        clean_up(fs, &temporary);
        return Err(error);
    }
    fs.sync_dir(directory).map_err(|error| {
        clean_up(fs, &target);
        Error::storage("the metadata was written, but whether it would survive a crash is unclear: it was taken back")
            .with("file", &target)
            .because(error)
    })
}

fn write_file(fs: &dyn FileSystem, path: &StoragePath, bytes: &[u8]) -> Result<()> {
    let mut file = fs.create_new(path)?;
    file.write_all(bytes).map_err(|error| file_error("write metadata", path, error))?;
    file.sync()?;
    file.close()
}

fn clean_up(fs: &dyn FileSystem, path: &StoragePath) {
    if let Err(error) = fs.remove_file(path) {
        warn!(%error, "could not remove the metadata of a failed checkpoint; it stays until the checkpoint is discarded");
    }
}
