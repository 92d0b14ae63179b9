//! Places of savepoints.

use std::sync::Arc;

use highwater_types::{Error, Result};
use uuid::Uuid;

use super::CheckpointLocation;
use super::location::{DirectoryLocation, StreamSettings};
use crate::fs::{FileSystem, create_dir_durable, file_system_for};
use crate::{
    CancelToken, CheckpointStreamFactory, FsStreamFactory, JobId, MemoryStreamFactory, StoragePath,
    validate_checkpoint_dir,
};

/// How often a new directory name is tried.
const ATTEMPTS: usize = 10;

/// Creates the directory of a savepoint below `target`, on this file system where one is given.
pub(super) fn begin_savepoint(
    fs: Option<&Arc<dyn FileSystem>>,
    settings: StreamSettings,
    job: JobId,
    target: &StoragePath,
) -> Result<Box<dyn CheckpointLocation>> {
    validate_checkpoint_dir(target)?;
    let fs = match fs {
        Some(fs) => Arc::clone(fs),
        None => file_system_for(target)?,
    };
    create_dir_durable(fs.as_ref(), target)?;
    let directory = create_directory(fs.as_ref(), job, target)?;
    let cancel = CancelToken::new();
    let streams = savepoint_streams(Some(&fs), settings, &directory, cancel.clone())?;
    let other_directories = vec![target.clone()];
    Ok(Box::new(DirectoryLocation { checkpoint_id: None, fs, directory, other_directories, streams, cancel }))
}

/// The streams of a savepoint: all state lies in its own directory.
pub(super) fn savepoint_streams(
    fs: Option<&Arc<dyn FileSystem>>,
    settings: StreamSettings,
    directory: &StoragePath,
    cancel: CancelToken,
) -> Result<Arc<dyn CheckpointStreamFactory>> {
    Ok(match settings {
        StreamSettings::Files { threshold, write_buffer } => {
            let fs = fs.map_or_else(|| file_system_for(directory), |fs| Ok(Arc::clone(fs)))?;
            let streams = FsStreamFactory::new(fs, directory.clone());
            Arc::new(streams.with_threshold(threshold).with_write_buffer(write_buffer).with_cancel_token(cancel))
        }
        StreamSettings::Memory { max_state_size } => Arc::new(MemoryStreamFactory::new(max_state_size, cancel)),
    })
}

fn create_directory(fs: &dyn FileSystem, job: JobId, target: &StoragePath) -> Result<StoragePath> {
    let job: String = job.to_string().chars().take(6).collect();
    for _ in 0..ATTEMPTS {
        // The first twelve digits of a random UUID are all random.
        let random: String = Uuid::new_v4().simple().to_string().chars().take(12).collect();
        let directory = target.join(&format!("savepoint-{job}-{random}"));
        if fs.stat(&directory)?.is_none() {
            fs.create_dir_all(&directory)?;
            return Ok(directory);
        }
    }
    Err(Error::storage("Failed to create savepoint directory at the target").with("target", target))
}
