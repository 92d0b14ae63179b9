//! Checkpoint storage: where the checkpoints of a job live, and how one becomes complete.

mod commit;
mod directory;
#[cfg(feature = "testing")]
mod faulty;
mod file_system;
mod job_manager;
mod layout;
mod location;
mod resolve;
mod savepoint;

use std::fmt::Debug;
use std::sync::Arc;

use highwater_types::Result;

use crate::{CancelToken, CheckpointStreamFactory, JobId, StoragePath};

pub use directory::{CheckpointEntry, JobDirectory};
#[cfg(feature = "testing")]
pub use faulty::{FaultyStorage, StorageStep, StorageWrite};
pub use file_system::FileSystemCheckpointStorage;
pub use job_manager::JobManagerCheckpointStorage;
pub(crate) use layout::{METADATA, SHARED, is_own_file, is_state_file, is_temporary, temporary_metadata};
pub use resolve::{ResolvedSnapshot, resolve_pointer};

/// The pointer of a checkpoint that lives in the coordinator's memory alone, as Flink prints it.
pub const NOT_EXTERNALLY_ADDRESSABLE: &str = "<checkpoint-not-externally-addressable>";

/// Where checkpoints live (Flink's `CheckpointStorage`): settings only, nothing is touched before
/// [`open`](Self::open). The two kinds are [`FileSystemCheckpointStorage`] and [`JobManagerCheckpointStorage`].
///
/// ```
/// use highwater_checkpoint::{
///     CheckpointMetadata, CheckpointStorage, FileSystemCheckpointStorage, JobId, MetadataVersion, StoragePath,
/// };
///
/// # let scratch = tempfile::tempdir().unwrap();
/// let storage = FileSystemCheckpointStorage::new(StoragePath::from_local(scratch.path())?)?;
/// let job = storage.open(JobId::from_name("word count"))?;
///
/// let location = job.begin(1)?;
/// let streams = location.streams(); // goes to the subtasks, which write their state and answer with handles
/// # drop(streams);
/// let metadata = CheckpointMetadata::new(1).write(MetadataVersion::V3)?;
/// let completed = location.write_metadata(&metadata)?;
///
/// let snapshot = storage.resolve(&completed.pointer)?;
/// assert_eq!(snapshot.metadata()?.checkpoint_id, 1);
/// # Ok::<(), highwater_types::Error>(())
/// ```
pub trait CheckpointStorage: Debug + Send + Sync {
    /// Opens the storage for one job on the coordinator: creates the directories and takes the job's lock, which is
    /// held as long as the result lives. Check the place before the job starts: this is where a directory that is
    /// read-only, full, or used by another process shows.
    fn open(&self, job: JobId) -> Result<Arc<dyn CheckpointStorageAccess>>;

    /// Streams of one checkpoint for a process other than the coordinator's. Creates nothing; takes no lock.
    fn streams(&self, job: JobId, checkpoint_id: u64, cancel: CancelToken) -> Result<Arc<dyn CheckpointStreamFactory>>;

    /// Makes room for a savepoint: a new directory `savepoint-<6 digits of the job id>-<12 random digits>` below `target`,
    /// which takes state of both scopes. Savepoints are the user's: no store of checkpoints ever deletes one.
    fn begin_savepoint(&self, job: JobId, target: &StoragePath) -> Result<Box<dyn CheckpointLocation>>;

    /// Streams of a savepoint in this [directory](CheckpointLocation::directory), for the subtasks that write it. Creates
    /// nothing; takes no lock.
    fn savepoint_streams(
        &self,
        directory: &StoragePath,
        cancel: CancelToken,
    ) -> Result<Arc<dyn CheckpointStreamFactory>>;

    /// Finds the snapshot behind a pointer: a directory that holds `_metadata`, or the metadata file itself, with or
    /// without a scheme.
    fn resolve(&self, pointer: &str) -> Result<ResolvedSnapshot>;

    /// Whether a checkpoint outlives the process that took it, so that a new one can resume from it.
    fn survives_process(&self) -> bool;
}

/// The storage of one running job, on its coordinator (Flink's `CheckpointStorageCoordinatorView`).
pub trait CheckpointStorageAccess: Debug + Send + Sync {
    /// Makes room for a new checkpoint. Its id must be greater than any [on disk](JobDirectory::checkpoints).
    fn begin(&self, checkpoint_id: u64) -> Result<Box<dyn CheckpointLocation>>;

    /// The job's directory, unless checkpoints live in memory alone.
    fn directory(&self) -> Option<&JobDirectory>;
}

/// The place of one checkpoint or savepoint being taken (Flink's `CheckpointStorageLocation`).
///
/// It becomes a checkpoint with [`write_metadata`](Self::write_metadata), or goes away with
/// [`discard`](Self::discard); dropping it does neither.
pub trait CheckpointLocation: Debug + Send + Sync {
    /// Id of the checkpoint; none of a savepoint, whose directory is there before it has one.
    fn checkpoint_id(&self) -> Option<u64>;

    /// The directory that its metadata will lie in; none in memory.
    fn directory(&self) -> Option<&StoragePath>;

    /// The streams into which subtasks write their state.
    fn streams(&self) -> Arc<dyn CheckpointStreamFactory>;

    /// The token all streams of this checkpoint obey.
    fn cancel_token(&self) -> &CancelToken;

    /// Completes the checkpoint: after success it is durable with every file it names, under its final name. After a
    /// failure nothing of that name exists (a text says so where even that is unclear), and the checkpoint has to be
    /// discarded.
    fn write_metadata(&self, metadata: &[u8]) -> Result<CompletedLocation>;

    /// Cancels all writing and removes what this checkpoint alone has on disk. Files it wrote with shared scope are the
    /// caller's to remove, by the handles that were acknowledged.
    fn discard(&self) -> Result<()>;
}

/// Where a complete checkpoint lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedLocation {
    /// Text by which the checkpoint is restored: its directory, or [`NOT_EXTERNALLY_ADDRESSABLE`].
    pub pointer: String,
    /// Directory of `_metadata`, against which relative handles are resolved.
    pub directory: Option<StoragePath>,
}
