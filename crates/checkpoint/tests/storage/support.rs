//! A small job to take checkpoints of: every state file's content follows from its name.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::sync::Arc;

use highwater_checkpoint::{
    CheckpointLocation, CheckpointMetadata, CheckpointStorage, CheckpointStorageAccess, CheckpointStreamFactory,
    CompletedCheckpoint, CompletedCheckpointStore, FileSystem, FileSystemCheckpointStorage, IncrementalHandle, JobId,
    KeyedStateHandle, MetadataVersion, OperatorState, ResolvedSnapshot, StateOpener, StateScope, StoragePath,
    StreamHandle, SubtaskState,
};
use highwater_types::{MaxParallelism, OperatorId, Result};

pub(crate) const JOB: &str = "the job under test";

pub(crate) fn path(text: &str) -> StoragePath {
    StoragePath::parse(text).unwrap()
}

/// A temporary directory and its storage path.
pub(crate) fn scratch() -> (tempfile::TempDir, StoragePath) {
    let directory = tempfile::tempdir().unwrap();
    let path = StoragePath::from_local(directory.path()).unwrap();
    (directory, path)
}

/// Storage whose state files begin at 9 bytes.
pub(crate) fn storage_on(fs: &Arc<dyn FileSystem>, base: &StoragePath) -> FileSystemCheckpointStorage {
    FileSystemCheckpointStorage::new(base.clone()).unwrap().with_inline_threshold(8).with_file_system(Arc::clone(fs))
}

pub(crate) fn content(name: &str) -> Vec<u8> {
    match name.starts_with("inline") {
        true => name.as_bytes()[name.len().saturating_sub(8)..].to_vec(),
        false => name.bytes().cycle().take(300).collect(),
    }
}

pub(crate) fn write_stream(
    streams: &dyn CheckpointStreamFactory,
    scope: StateScope,
    name: &str,
) -> Result<StreamHandle> {
    let mut stream = streams.create_stream(scope)?;
    for piece in content(name).chunks(7) {
        stream.write_all(piece).map_err(highwater_checkpoint::error_from_io)?;
    }
    Ok(stream.finish()?.unwrap())
}

pub(crate) fn read_stream(opener: &dyn StateOpener, handle: &StreamHandle) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    opener.open(handle)?.read_to_end(&mut bytes).map_err(highwater_checkpoint::error_from_io)?;
    Ok(bytes)
}

/// A running job: storage, the store of its completed checkpoints, and the shared file it wrote last.
pub(crate) struct Job {
    pub(crate) access: Arc<dyn CheckpointStorageAccess>,
    pub(crate) store: CompletedCheckpointStore,
    last_shared: Option<(String, StreamHandle)>,
}

impl Job {
    pub(crate) fn start(storage: &dyn CheckpointStorage, max_retained: usize) -> Result<Self> {
        let access = storage.open(JobId::from_name(JOB))?;
        let store = CompletedCheckpointStore::recover(Arc::clone(&access), max_retained)?;
        let last_shared = store.latest_to_restore()?.map(|latest| shared_files(latest).last().unwrap().clone());
        Ok(Self { access, store, last_shared })
    }

    /// A job that builds on a snapshot elsewhere.
    pub(crate) fn continuing(
        storage: &dyn CheckpointStorage,
        max_retained: usize,
        from: &ResolvedSnapshot,
    ) -> Result<Self> {
        let last_shared = shared_files(&CompletedCheckpoint::from_snapshot(from)?).last().cloned();
        Ok(Self { last_shared, ..Self::start(storage, max_retained)? })
    }

    /// Writes the state of a checkpoint: one inline stream, one exclusive file, one shared file, and the shared file of
    /// the checkpoint before.
    pub(crate) fn write_state(&self, location: &dyn CheckpointLocation) -> Result<CheckpointMetadata> {
        let id = location.checkpoint_id().unwrap();
        let streams = location.streams();
        let write = |scope, name: String| Ok((name.clone(), write_stream(streams.as_ref(), scope, &name)?));
        let mut shared: Vec<_> = self.last_shared.iter().cloned().collect();
        shared.push(write(StateScope::Shared, format!("shared of {id}"))?);
        let private = vec![
            write(StateScope::Exclusive, format!("exclusive of {id}"))?,
            write(StateScope::Exclusive, format!("inline {id}"))?,
        ];
        Ok(metadata_of(id, write(StateScope::Exclusive, format!("meta of {id}"))?.1, shared, private))
    }

    /// Takes so many checkpoints.
    pub(crate) fn checkpoints(&mut self, count: usize) {
        for _ in 0..count {
            self.checkpoint(|_| {}).unwrap();
        }
    }

    /// Takes a whole checkpoint, calls `written` when it is durable, and subsumes older ones.
    pub(crate) fn checkpoint(&mut self, written: impl FnOnce(u64)) -> Result<u64> {
        let id = self.store.next_checkpoint_id();
        let location = self.access.begin(id)?;
        let metadata = self.write_state(location.as_ref())?;
        let completed = location.write_metadata(&metadata.write(MetadataVersion::V3)?)?;
        written(id);
        let checkpoint = CompletedCheckpoint::new(metadata, &completed)?;
        self.last_shared = shared_files(&checkpoint).last().cloned();
        self.store.add(checkpoint)?;
        Ok(id)
    }

    pub(crate) fn kept(&self) -> Vec<u64> {
        self.store.checkpoints().map(|checkpoint| checkpoint.id()).collect()
    }

    /// Reads every stream of every kept checkpoint and compares each byte.
    pub(crate) fn verify(&self) {
        for checkpoint in self.store.checkpoints() {
            let opener = self.store.opener(checkpoint);
            let handle = incremental(checkpoint.metadata());
            for (name, stream) in handle.shared.iter().chain(&handle.private) {
                let found = read_stream(opener.as_ref(), stream);
                assert_eq!(found.unwrap(), content(name), "{name} of checkpoint {}", checkpoint.id());
            }
            let meta = read_stream(opener.as_ref(), &handle.meta);
            assert_eq!(meta.unwrap(), content(&format!("meta of {}", checkpoint.id())));
        }
    }

    /// Every file the kept checkpoints need, with the lock: what should be left in the job's directory.
    pub(crate) fn needed_files(&self) -> BTreeSet<String> {
        let job = self.access.directory().unwrap();
        let mut files = BTreeSet::from([job.path().join(".lock").path().to_owned()]);
        for checkpoint in self.store.checkpoints() {
            files.insert(job.checkpoint(checkpoint.id()).join("_metadata").path().to_owned());
            files.extend(checkpoint.files().iter().map(|file| file.path().to_owned()));
        }
        files
    }
}

pub(crate) fn incremental(metadata: &CheckpointMetadata) -> &IncrementalHandle {
    match &metadata.operators[0].subtask(0).unwrap().managed_keyed {
        Some(KeyedStateHandle::Incremental(handle)) => handle,
        other => panic!("not the state of the job under test: {other:?}"),
    }
}

fn shared_files(checkpoint: &CompletedCheckpoint) -> &[(String, StreamHandle)] {
    &incremental(checkpoint.metadata()).shared
}

pub(crate) fn metadata_of(
    id: u64,
    meta: StreamHandle,
    shared: Vec<(String, StreamHandle)>,
    private: Vec<(String, StreamHandle)>,
) -> CheckpointMetadata {
    let max_parallelism = MaxParallelism::new(128).unwrap();
    let handle = IncrementalHandle {
        checkpoint_id: id,
        backend_id: "0d1e8c5e-3f5c-4d3a-9d0c-7f3f0f1f2a3b".into(),
        range: max_parallelism.all(),
        checkpointed_size: 300,
        meta,
        shared,
        private,
        state_handle_id: Some(format!("handle-{id}")),
    };
    let mut operator = OperatorState::new(OperatorId::from_uid("counter"), 1, max_parallelism);
    let state = SubtaskState {
        managed_keyed: Some(KeyedStateHandle::Incremental(Box::new(handle))),
        ..SubtaskState::default()
    };
    operator.subtasks.insert(0, state.into());
    CheckpointMetadata { operators: vec![operator], ..CheckpointMetadata::new(id) }
}

/// Names of the files and directories directly in a local directory, in order.
pub(crate) fn names(directory: impl AsRef<std::path::Path>) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
