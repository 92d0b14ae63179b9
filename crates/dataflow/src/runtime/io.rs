//! The coordinator's own thread for files: it makes places for checkpoints, writes metadata, keeps and deletes. No
//! record ever waits for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, unbounded};
use highwater_checkpoint::{
    CheckpointKind, CheckpointLocation, CheckpointMetadata, CheckpointStorage, CheckpointStorageAccess,
    CompletedCheckpoint, CompletedCheckpointStore, DiscardExtent, JobId, MetadataVersion, StoragePath, StreamHandle,
    SubtaskState,
};
use highwater_types::{Error, Result};

use super::attempt::{Attempt, catch, lock};
use super::enumerators::EnumeratorStates;
use super::pace::Pace;
use crate::start::SharedLineage;

/// What one worker acknowledged, decoded.
pub(crate) type Acknowledgement = Arc<CheckpointMetadata>;

/// Work for the thread, done in order.
pub(crate) enum IoJob {
    Begin {
        checkpoint: u64,
        /// The directory that gets a savepoint.
        savepoint: Option<StoragePath>,
    },
    Write {
        checkpoint: u64,
        kind: CheckpointKind,
        acknowledgements: Vec<Acknowledgement>,
        enumerators: EnumeratorStates,
    },
    Discard {
        checkpoint: u64,
        payloads: Vec<Acknowledgement>,
        extent: DiscardExtent,
    },
    /// State of one subtask that was never acknowledged.
    DiscardState {
        checkpoint: u64,
        state: Box<SubtaskState>,
    },
}

const DISCARDING: &str = "removing what was given up";

impl IoJob {
    /// What it is, for the watchdog.
    fn name(&self) -> &'static str {
        match self {
            Self::Begin { .. } => "making room for a checkpoint",
            Self::Write { .. } => "writing metadata",
            Self::Discard { .. } | Self::DiscardState { .. } => DISCARDING,
        }
    }
}

/// What became of it.
pub(crate) enum IoDone {
    /// With the directory of a savepoint.
    Begun { checkpoint: u64, result: Result<Option<String>> },
    Written {
        checkpoint: u64,
        result: Result<Written>,
        /// Whether something may need it although it failed: then it has to stay.
        is_unclear: bool,
    },
}

/// A completed checkpoint.
pub(crate) struct Written {
    pub(crate) pointer: String,
    pub(crate) state_size: u64,
    pub(crate) checkpointed_size: u64,
}

/// The completed checkpoints of the job, over all attempts of this process.
pub(crate) type SharedStore = Arc<Mutex<CompletedCheckpointStore>>;

/// The thread of one attempt. Dropping it waits until all work is done.
pub(crate) struct IoThread {
    jobs: Option<Sender<IoJob>>,
    done: Receiver<IoDone>,
    thread: Option<JoinHandle<()>>,
}

impl IoThread {
    pub(crate) fn start(files: Files, attempt: Arc<Attempt>, pace: Arc<Pace>) -> Result<Self> {
        let (jobs, receiver) = unbounded::<IoJob>();
        let (sender, done) = unbounded();
        let mut state = Io { files, locations: BTreeMap::new(), half_discarded: Vec::new() };
        let run = move || {
            for job in receiver {
                let turn = pace.begin_named(job.name());
                state.run(job, &sender);
                attempt.wake();
                drop(turn);
                let _turn = pace.begin_named(DISCARDING);
                state.discard_again();
            }
            let _turn = pace.begin_named(DISCARDING);
            state.give_up();
        };
        let thread = thread::Builder::new()
            .name("checkpoint-io".to_owned())
            .spawn(run)
            .map_err(|error| Error::storage("the thread for checkpoint files could not be started").because(error))?;
        Ok(Self { jobs: Some(jobs), done, thread: Some(thread) })
    }

    pub(crate) fn submit(&self, job: IoJob) {
        if let Some(jobs) = &self.jobs
            && jobs.send(job).is_err()
        {
            tracing::error!("the thread for checkpoint files has ended");
        }
    }

    /// What was done since the last call.
    pub(crate) fn poll(&self) -> Option<IoDone> {
        self.done.try_recv().ok()
    }

    /// Waits for the next outcome; none once the thread has ended.
    pub(crate) fn wait(&self) -> Option<IoDone> {
        self.done.recv().ok()
    }

    /// Takes no more work.
    pub(crate) fn close(&mut self) {
        self.jobs = None;
    }
}

impl Drop for IoThread {
    fn drop(&mut self) {
        self.jobs = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread for checkpoint files panicked");
        }
    }
}

/// Where the files are.
#[derive(Clone)]
pub(crate) struct Files {
    pub(crate) job: JobId,
    pub(crate) storage: Arc<dyn CheckpointStorage>,
    pub(crate) access: Arc<dyn CheckpointStorageAccess>,
    pub(crate) store: SharedStore,
    pub(crate) lineage: SharedLineage,
}

struct Io {
    files: Files,
    /// Checkpoints under way.
    locations: BTreeMap<u64, Box<dyn CheckpointLocation>>,
    /// Those that could not be removed. Mostly a file came in between, of a subtask that did not know yet; its thread is
    /// gone before this one ends.
    half_discarded: Vec<HalfDiscarded>,
}

/// An aborted checkpoint whose place is still there.
struct HalfDiscarded {
    checkpoint: u64,
    location: Box<dyn CheckpointLocation>,
    payloads: Vec<Acknowledgement>,
    error: Error,
}

impl Io {
    fn run(&mut self, job: IoJob, done: &Sender<IoDone>) {
        match job {
            IoJob::Begin { checkpoint, savepoint } => {
                let result = catch(|| self.begin(checkpoint, savepoint.as_ref()));
                let _ = done.send(IoDone::Begun { checkpoint, result });
            }
            IoJob::Write { checkpoint, kind, acknowledgements, enumerators } => {
                match catch(|| self.write(checkpoint, kind, &acknowledgements, enumerators)) {
                    Ok(completed) => {
                        let written = Written {
                            pointer: completed.pointer().to_owned(),
                            state_size: completed.metadata().state_size(),
                            checkpointed_size: completed.metadata().checkpointed_size(),
                        };
                        // The sinks need not wait for what is deleted now.
                        let _ = done.send(IoDone::Written { checkpoint, result: Ok(written), is_unclear: false });
                        if !kind.is_savepoint()
                            && let Err(error) = lock(&self.files.store).add(completed)
                        {
                            tracing::error!(checkpoint, %error, "a completed checkpoint could not be registered");
                        }
                    }
                    Err(error) => {
                        let is_unclear =
                            kind == CheckpointKind::FinalSavepoint && lock(&self.files.lineage).is_unclear();
                        let _ = done.send(IoDone::Written { checkpoint, result: Err(error), is_unclear });
                    }
                }
            }
            IoJob::Discard { checkpoint, payloads, extent } => self.discard(checkpoint, payloads, extent),
            IoJob::DiscardState { checkpoint, state } => {
                lock(&self.files.store).discard_handles(checkpoint, state.stream_handles());
            }
        }
    }

    fn begin(&mut self, checkpoint: u64, savepoint: Option<&StoragePath>) -> Result<Option<String>> {
        let Files { job, storage, access, .. } = &self.files;
        let (location, directory) = match savepoint {
            Some(target) => {
                let location = storage.begin_savepoint(*job, checkpoint, target)?;
                let directory = location.directory().map(ToString::to_string);
                let directory = directory.ok_or_else(|| Error::internal("a savepoint without a directory"))?;
                (location, Some(directory))
            }
            None => (access.begin(checkpoint)?, None),
        };
        self.locations.insert(checkpoint, location);
        Ok(directory)
    }

    fn write(
        &mut self,
        checkpoint: u64,
        kind: CheckpointKind,
        acknowledgements: &[Acknowledgement],
        enumerators: EnumeratorStates,
    ) -> Result<CompletedCheckpoint> {
        let location = self.locations.get(&checkpoint).ok_or_else(|| {
            Error::internal("a checkpoint is written that was never begun").with("checkpoint", checkpoint)
        })?;
        let metadata = merge(checkpoint, acknowledgements, enumerators);
        let completed = location.write_metadata(&metadata.write(MetadataVersion::V3)?)?;
        let completed = CompletedCheckpoint::new(metadata, &completed)?;
        if kind == CheckpointKind::FinalSavepoint {
            // Before the sinks commit what it covers: from then on the job must not fall back behind it.
            let own: Vec<u64> = lock(&self.files.store).checkpoints().map(|own| own.id()).collect();
            lock(&self.files.lineage).stop_with(completed.pointer(), checkpoint, &own)?;
        }
        self.locations.remove(&checkpoint);
        Ok(completed)
    }

    fn discard(&mut self, checkpoint: u64, payloads: Vec<Acknowledgement>, extent: DiscardExtent) {
        // Its place first: as long as there may be metadata in it, the files behind the handles are needed.
        if extent == DiscardExtent::Checkpoint
            && let Some(location) = self.locations.remove(&checkpoint)
            && let Err(error) = location.discard()
        {
            self.half_discarded.push(HalfDiscarded { checkpoint, location, payloads, error });
            return;
        }
        self.discard_handles(checkpoint, &payloads);
    }

    fn discard_handles(&self, checkpoint: u64, payloads: &[Acknowledgement]) {
        let handles = payloads.iter().flat_map(|payload| payload.stream_handles());
        lock(&self.files.store).discard_handles(checkpoint, handles);
    }

    /// Tries once more to remove what could not be removed.
    fn discard_again(&mut self) {
        for mut half in std::mem::take(&mut self.half_discarded) {
            match half.location.discard() {
                Ok(()) => self.discard_handles(half.checkpoint, &half.payloads),
                Err(error) => {
                    half.error = error;
                    self.half_discarded.push(half);
                }
            }
        }
    }

    /// Nobody writes any more: what still cannot be removed stays.
    fn give_up(&mut self) {
        self.discard_again();
        for HalfDiscarded { checkpoint, error, .. } in &self.half_discarded {
            tracing::warn!(checkpoint, %error, "an aborted checkpoint could not be removed; the next start removes it");
        }
    }
}

/// One checkpoint of what all workers acknowledged and what the enumerators hold. Every worker names every operator. The
/// format wants the state of an operator's coordinator in the metadata itself, however large it is.
fn merge(checkpoint: u64, acknowledgements: &[Acknowledgement], enumerators: EnumeratorStates) -> CheckpointMetadata {
    let mut merged = CheckpointMetadata::new(checkpoint);
    for operator in acknowledgements.iter().flat_map(|acknowledgement| &acknowledgement.operators) {
        match merged.operators.iter_mut().find(|known| known.id == operator.id) {
            Some(known) => known.subtasks.extend(operator.subtasks.clone()),
            None => merged.operators.push(operator.clone()),
        }
    }
    for (id, state) in enumerators {
        if let Some(operator) = merged.operators.iter_mut().find(|operator| operator.id == id) {
            let name = format!("enumerator-{id}-{checkpoint}");
            operator.coordinator = Some(StreamHandle::Inline { name, bytes: state.into() });
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use highwater_checkpoint::{
        CancelToken, CheckpointStreamFactory, CompletedLocation, FileSystemCheckpointStorage, OperatorState,
        OperatorStateHandle, StateScope,
    };
    use highwater_types::{MaxParallelism, OperatorId};

    use super::*;

    /// A place that cannot be removed, so that metadata may remain in it.
    #[derive(Debug)]
    struct Stuck(Box<dyn CheckpointLocation>);

    impl CheckpointLocation for Stuck {
        fn checkpoint_id(&self) -> u64 {
            self.0.checkpoint_id()
        }

        fn directory(&self) -> Option<&StoragePath> {
            self.0.directory()
        }

        fn streams(&self) -> Arc<dyn CheckpointStreamFactory> {
            self.0.streams()
        }

        fn cancel_token(&self) -> &CancelToken {
            self.0.cancel_token()
        }

        fn write_metadata(&self, metadata: &[u8]) -> Result<CompletedLocation> {
            self.0.write_metadata(metadata)
        }

        fn discard(&self) -> Result<()> {
            Err(Error::storage("injected failure"))
        }
    }

    #[test]
    fn state_files_stay_as_long_as_metadata_may_name_them() {
        let directory = tempfile::tempdir().unwrap();
        let storage = FileSystemCheckpointStorage::new(StoragePath::from_local(directory.path()).unwrap()).unwrap();
        let job = JobId::from_name("stuck");
        let access = storage.open(job).unwrap();
        let store = CompletedCheckpointStore::recover(Arc::clone(&access), 1).unwrap();
        let location = access.begin(1).unwrap();
        let mut stream = location.streams().create_stream(StateScope::Exclusive).unwrap();
        std::io::Write::write_all(&mut stream, &[7; 100_000]).unwrap();
        let data = stream.finish().unwrap().unwrap();
        let mut operator = OperatorState::new(OperatorId::from_uid("a"), 1, MaxParallelism::new(128).unwrap());
        let handle = OperatorStateHandle::new(BTreeMap::new(), data);
        operator.subtasks.insert(0, SubtaskState { managed_operator: Some(handle), ..SubtaskState::default() }.into());
        let mut metadata = CheckpointMetadata::new(1);
        metadata.operators.push(operator);
        let files =
            || std::fs::read_dir(access.directory().unwrap().checkpoint(1).to_local_path().unwrap()).unwrap().count();
        assert_eq!(files(), 1);

        let locations = BTreeMap::from([(1, Box::new(Stuck(location)) as Box<dyn CheckpointLocation>)]);
        let store = Arc::new(Mutex::new(store));
        let lineage = Arc::new(Mutex::new(crate::start::Lineage::read(access.directory()).unwrap()));
        let place = Files { job, storage: Arc::new(storage), access: Arc::clone(&access), store, lineage };
        let mut io = Io { files: place, locations, half_discarded: Vec::new() };
        io.discard(1, vec![Arc::new(metadata)], DiscardExtent::Checkpoint);
        assert_eq!(files(), 1);
        io.discard_again();
        assert_eq!(files(), 1);
    }
}
