//! The coordinator's own threads for files: they make places for checkpoints, write metadata, keep and delete. No record
//! ever waits for them. One is for checkpoints; the other for savepoints, whose target is the user's, who may have chosen
//! one that hangs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
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
    },
    /// Answers that a savepoint has begun in this directory, in order with the checkpoints.
    BeginSavepoint {
        checkpoint: u64,
        directory: String,
    },
    /// Makes a directory for a savepoint that is asked for.
    MakeRoom {
        request: u64,
        target: StoragePath,
    },
    /// The savepoint that the room was made for begins.
    TakeRoom {
        request: u64,
        checkpoint: u64,
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
            Self::Begin { .. } | Self::BeginSavepoint { .. } => "making room for a checkpoint",
            Self::MakeRoom { .. } | Self::TakeRoom { .. } => "making room for a savepoint",
            Self::Write { .. } => "writing metadata",
            Self::Discard { .. } | Self::DiscardState { .. } => DISCARDING,
        }
    }
}

/// What became of it.
pub(crate) enum IoDone {
    /// With the directory that was made.
    Room { request: u64, result: Result<String> },
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

/// A thread of one attempt. Dropping it waits until all work is done.
pub(crate) struct IoThread {
    jobs: Option<Sender<IoJob>>,
    done: Receiver<IoDone>,
    thread: Option<JoinHandle<()>>,
    last_word: Arc<Mutex<LastWord>>,
}

/// Whether the job is to resume from the savepoint that is being written. Said once: by the thread, when it notes the
/// savepoint, or by whoever waits for it no longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum LastWord {
    #[default]
    None,
    Noted,
    Abandoned,
}

/// What a wait comes to.
pub(crate) enum Waited {
    Done(IoDone),
    /// The thread has ended.
    Ended,
    TimedOut,
}

impl IoThread {
    pub(crate) fn start(name: &str, files: Files, attempt: Arc<Attempt>, pace: Arc<Pace>) -> Result<Self> {
        let (jobs, receiver) = unbounded::<IoJob>();
        let (sender, done) = unbounded();
        let last_word = Arc::default();
        let mut state = Io::new(files, Arc::clone(&last_word));
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
            .name(name.to_owned())
            .spawn(run)
            .map_err(|error| Error::storage("the thread for checkpoint files could not be started").because(error))?;
        Ok(Self { jobs: Some(jobs), done, thread: Some(thread), last_word })
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

    /// As [`wait`](Self::wait), but not for ever.
    pub(crate) fn wait_until(&self, deadline: Instant) -> Waited {
        match self.done.recv_deadline(deadline) {
            Ok(done) => Waited::Done(done),
            Err(RecvTimeoutError::Disconnected) => Waited::Ended,
            Err(RecvTimeoutError::Timeout) => Waited::TimedOut,
        }
    }

    /// Leaves the thread, which hangs, to itself. From now on it has no say in what the job resumes from. True if it has
    /// had it: then the outcome is about to arrive.
    pub(crate) fn abandon(&mut self) -> bool {
        let mut last_word = lock(&self.last_word);
        let is_noted = *last_word == LastWord::Noted;
        if !is_noted {
            *last_word = LastWord::Abandoned;
        }
        self.jobs = None;
        // Not joined.
        self.thread = None;
        is_noted
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
    last_word: Arc<Mutex<LastWord>>,
    /// Directories of savepoints that have not begun, by request.
    rooms: BTreeMap<u64, Box<dyn CheckpointLocation>>,
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
    fn new(files: Files, last_word: Arc<Mutex<LastWord>>) -> Self {
        Self { files, last_word, rooms: BTreeMap::new(), locations: BTreeMap::new(), half_discarded: Vec::new() }
    }

    fn run(&mut self, job: IoJob, done: &Sender<IoDone>) {
        match job {
            IoJob::Begin { checkpoint } => {
                let result = catch(|| self.begin(checkpoint)).map(|()| None);
                let _ = done.send(IoDone::Begun { checkpoint, result });
            }
            IoJob::BeginSavepoint { checkpoint, directory } => {
                let _ = done.send(IoDone::Begun { checkpoint, result: Ok(Some(directory)) });
            }
            IoJob::MakeRoom { request, target } => {
                let result = catch(|| self.make_room(request, &target));
                let _ = done.send(IoDone::Room { request, result });
            }
            IoJob::TakeRoom { request, checkpoint } => {
                let room = self.rooms.remove(&request);
                self.locations.extend(room.map(|room| (checkpoint, room)));
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

    fn begin(&mut self, checkpoint: u64) -> Result<()> {
        let location = self.files.access.begin(checkpoint)?;
        self.locations.insert(checkpoint, location);
        Ok(())
    }

    fn make_room(&mut self, request: u64, target: &StoragePath) -> Result<String> {
        let location = self.files.storage.begin_savepoint(self.files.job, target)?;
        let directory = location.directory().map(ToString::to_string);
        self.rooms.insert(request, location);
        directory.ok_or_else(|| Error::internal("a savepoint without a directory"))
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
            let mut last_word = lock(&self.last_word);
            if *last_word == LastWord::Abandoned {
                return Err(Error::cancelled("nobody waits for the savepoint any more"));
            }
            lock(&self.files.lineage).stop_with(completed.pointer(), checkpoint, &own)?;
            *last_word = LastWord::Noted;
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
        for room in std::mem::take(&mut self.rooms).into_values() {
            if let Err(error) = room.discard() {
                tracing::warn!(?room, %error, "the directory of a savepoint that did not begin could not be removed");
            }
        }
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
        fn checkpoint_id(&self) -> Option<u64> {
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
        let mut io = Io { locations, ..Io::new(place, Arc::default()) };
        io.discard(1, vec![Arc::new(metadata)], DiscardExtent::Checkpoint);
        assert_eq!(files(), 1);
        io.discard_again();
        assert_eq!(files(), 1);
    }
}
