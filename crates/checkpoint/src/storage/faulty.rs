//! A storage in which something befalls what is written, for tests of what a job does then.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use highwater_types::Result;

use super::{CheckpointLocation, CheckpointStorage, CheckpointStorageAccess, ResolvedSnapshot};
use crate::{CancelToken, CheckpointStream, CheckpointStreamFactory, JobId, StateScope, StoragePath, StreamHandle};

/// A write in a [`FaultyStorage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageWrite {
    /// Id of the checkpoint.
    pub checkpoint: u64,
    /// What is written, and how far it is.
    pub step: StorageStep,
    /// How many writes the storage saw before this one.
    pub number: u64,
}

/// What is written to a [`FaultyStorage`], and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageStep {
    /// A stream is about to be made.
    Stream,
    /// A local file is about to be added.
    File,
    /// A local file was added. If this fails, the storage takes it back, as one that loses its answer does.
    FileAdded,
}

/// What befalls a write: it may fail, or take its time.
type Fault = dyn Fn(StorageWrite) -> Result<()> + Send + Sync;

/// Another storage, in which something befalls the writes of the subtasks into checkpoints (feature `testing`).
/// Savepoints, metadata and reads are left alone.
///
/// ```
/// use highwater_checkpoint::{
///     CancelToken, CheckpointStorage, FaultyStorage, JobId, JobManagerCheckpointStorage, StateScope,
/// };
/// use highwater_types::Error;
///
/// let storage = FaultyStorage::new(JobManagerCheckpointStorage::new(), |write| match write.checkpoint {
///     2 => Err(Error::storage("injected: no space left")),
///     _ => Ok(()),
/// });
/// let stream = |checkpoint| {
///     let streams = storage.streams(JobId::from_name("word count"), checkpoint, CancelToken::new())?;
///     streams.create_stream(StateScope::Exclusive)
/// };
/// assert!(stream(1).is_ok());
/// assert!(stream(2).is_err());
/// ```
pub struct FaultyStorage {
    storage: Box<dyn CheckpointStorage>,
    faults: Faults,
}

#[derive(Clone)]
struct Faults {
    fault: Arc<Fault>,
    writes: Arc<AtomicU64>,
}

impl FaultyStorage {
    /// Lets `fault` befall every write to `storage`.
    pub fn new(
        storage: impl CheckpointStorage + 'static,
        fault: impl Fn(StorageWrite) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        let faults = Faults { fault: Arc::new(fault), writes: Arc::default() };
        Self { storage: Box::new(storage), faults }
    }
}

impl fmt::Debug for FaultyStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultyStorage").field(&self.storage).finish()
    }
}

impl CheckpointStorage for FaultyStorage {
    fn open(&self, job: JobId) -> Result<Arc<dyn CheckpointStorageAccess>> {
        self.storage.open(job)
    }

    fn streams(&self, job: JobId, checkpoint_id: u64, cancel: CancelToken) -> Result<Arc<dyn CheckpointStreamFactory>> {
        let streams = self.storage.streams(job, checkpoint_id, cancel)?;
        Ok(Arc::new(FaultyStreams { streams, checkpoint: checkpoint_id, faults: self.faults.clone() }))
    }

    fn savepoint_streams(
        &self,
        directory: &StoragePath,
        cancel: CancelToken,
    ) -> Result<Arc<dyn CheckpointStreamFactory>> {
        self.storage.savepoint_streams(directory, cancel)
    }

    fn begin_savepoint(&self, job: JobId, target: &StoragePath) -> Result<Box<dyn CheckpointLocation>> {
        self.storage.begin_savepoint(job, target)
    }

    fn resolve(&self, pointer: &str) -> Result<ResolvedSnapshot> {
        self.storage.resolve(pointer)
    }

    fn survives_process(&self) -> bool {
        self.storage.survives_process()
    }
}

struct FaultyStreams {
    streams: Arc<dyn CheckpointStreamFactory>,
    checkpoint: u64,
    faults: Faults,
}

impl FaultyStreams {
    fn befall(&self, step: StorageStep, number: u64) -> Result<()> {
        (self.faults.fault)(StorageWrite { checkpoint: self.checkpoint, step, number })
    }

    fn next_number(&self) -> u64 {
        self.faults.writes.fetch_add(1, Ordering::SeqCst)
    }
}

impl CheckpointStreamFactory for FaultyStreams {
    fn create_stream(&self, scope: StateScope) -> Result<Box<dyn CheckpointStream>> {
        self.befall(StorageStep::Stream, self.next_number())?;
        self.streams.create_stream(scope)
    }

    fn add_file(&self, file: &Path, scope: StateScope) -> Result<StreamHandle> {
        let number = self.next_number();
        self.befall(StorageStep::File, number)?;
        let handle = self.streams.add_file(file, scope)?;
        self.befall(StorageStep::FileAdded, number).inspect_err(|_| self.streams.discard(&handle))?;
        Ok(handle)
    }

    fn discard(&self, handle: &StreamHandle) {
        self.streams.discard(handle);
    }
}
