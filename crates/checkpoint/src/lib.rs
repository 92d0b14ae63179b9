//! Bytes at rest: storage paths, checkpoint streams, state handles, `_metadata`, retention and the coordinator's
//! decisions. Nothing here knows what the bytes mean.

mod cancel;
mod completed;
mod coordinator;
mod fs;
mod handle;
mod job_id;
mod metadata;
mod opener;
mod path;
mod storage;
mod stream;
mod stream_file;
mod stream_memory;

pub use cancel::CancelToken;
pub use completed::{CompletedCheckpoint, CompletedCheckpointStore, UnreadableCheckpoint};
pub use coordinator::{
    AbortReason, AttemptStart, CheckpointKind, Command, Coordinator, CoordinatorSettings, DiscardExtent, Event,
};
#[cfg(feature = "testing")]
pub use fs::{CrashFileSystem, FaultyFileSystem, FileStep, Survival};
pub use fs::{
    DirEntry, FileLock, FileStat, FileSystem, FileWriter, LocalFileSystem, Syncer, create_dir_durable, error_from_io,
    file_system_for, io_error_kind,
};
pub use handle::{
    Change, ChangelogBytesHandle, ChangelogFileHandle, ChangelogHandle, ChannelState, ChannelStateHandle,
    DistributionMode, IncrementalHandle, KeyGroupsFormat, KeyGroupsHandle, KeyGroupsStream, KeyedStateHandle,
    MergedDirectories, OperatorStateHandle, StatePartitions, StreamHandle,
};
pub use job_id::JobId;
pub use metadata::{CheckpointMetadata, MasterState, MetadataVersion, OperatorState, Subtask, SubtaskState};
pub use opener::SnapshotOpener;
pub use path::{StoragePath, validate_checkpoint_dir};
pub use storage::{
    CheckpointEntry, CheckpointLocation, CheckpointStorage, CheckpointStorageAccess, CompletedLocation,
    FileSystemCheckpointStorage, JobDirectory, JobManagerCheckpointStorage, NOT_EXTERNALLY_ADDRESSABLE,
    ResolvedSnapshot, resolve_pointer,
};
#[cfg(feature = "testing")]
pub use storage::{FaultyStorage, StorageStep, StorageWrite};
pub use stream::{CheckpointStream, CheckpointStreamFactory, StateOpener, StateReader, StateScope};
pub use stream_file::{DEFAULT_INLINE_THRESHOLD, DEFAULT_WRITE_BUFFER, FsStreamFactory, MAX_INLINE_THRESHOLD};
pub use stream_memory::{DEFAULT_MAX_STATE_SIZE, MemoryStreamFactory};
