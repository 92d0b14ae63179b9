//! Checkpoints and savepoints on request, and jobs that end with one. Before, a program could ask for a stop and nothing
//! else.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "helpers of tests")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use highwater_backends::{Configuration, ExternalizedRetention, HashMapStateBackend, MemoryStateBackend};
use highwater_checkpoint::{JobId, StateOpener, StreamHandle, resolve_pointer};
use highwater_dataflow::{
    CheckpointStatistics, ExecutionConfig, Job, JobHandle, JobOutcome, JobResult, Pending, Sink, SinkContext,
    SinkWriter, StartFrom,
};
use highwater_types::{Error, ErrorKind, Result};
use support::{CommitSink, Counted, config, counting, files, is_filler, occurrences, wait_until};

const RECORDS: u64 = 60_000;
const KEYS: u64 = 101;
const NAME: &str = "saved";
/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(120);

fn job(sink: impl Sink<Counted> + Clone, rate: Option<f64>) -> Job {
    counting(NAME, (RECORDS, KEYS), sink, rate)
}

fn on(directory: &Path) -> ExecutionConfig {
    let backend = files(directory).with_file_state_size_threshold(0).unwrap();
    config().state_backend(backend).workers(2).retained_checkpoints(2)
}

/// A job that runs beside the test.
struct Running {
    handle: JobHandle,
    thread: JoinHandle<Result<JobResult>>,
}

/// Starts a job that goes on until it is told to end, and waits until it has completed a checkpoint.
fn start(sink: &(impl Sink<Counted> + Clone), config: ExecutionConfig) -> Running {
    let handle = JobHandle::new();
    let (job, config) = (job(sink.clone(), Some(10_000.0)), config.handle(&handle));
    let running = Running { handle, thread: thread::spawn(move || job.execute(&config)) };
    running.wait_for(|handle| handle.progress().completed_checkpoints > 0);
    running
}

impl Running {
    fn wait_for(&self, is_there: impl Fn(&JobHandle) -> bool) {
        wait_until(|| is_there(&self.handle));
    }

    fn goes_on(&self) {
        let before = self.handle.progress();
        self.wait_for(|handle| {
            let now = handle.progress();
            now.records_in > before.records_in && now.completed_checkpoints > before.completed_checkpoints
        });
        assert_eq!(self.handle.progress().attempt, 1, "{:?}", self.handle.progress().last_failure);
    }

    fn end(self) -> JobResult {
        self.thread.join().unwrap().unwrap()
    }

    fn cancel(self) {
        let answer = self.handle.cancel().wait(LONG).unwrap();
        assert_eq!((answer.unwrap(), self.end().outcome), (JobOutcome::Cancelled, JobOutcome::Cancelled));
    }
}

fn answer(mut pending: Pending<CheckpointStatistics>) -> Result<CheckpointStatistics> {
    pending.wait(LONG).unwrap_or_else(|| panic!("no answer came"))
}

fn local(pointer: &str) -> PathBuf {
    PathBuf::from(pointer.strip_prefix("file:").unwrap())
}

/// Asserts that the newest count of every key is the number of its occurrences.
fn assert_counted_to_the_end(sink: &CommitSink) {
    let mut counts = BTreeMap::new();
    for (key, count) in sink.committed().into_iter().filter(|(key, _)| !is_filler(*key)) {
        let newest: &mut i64 = counts.entry(key).or_default();
        *newest = count.max(*newest);
    }
    assert_eq!(counts, occurrences(RECORDS, KEYS));
}

#[test]
fn a_savepoint_is_whole_and_can_be_moved_and_restored_on_another_backend() {
    let (directory, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sink = CommitSink::new();
    let running = start(&sink, on(directory.path()));
    let savepoint = answer(running.handle.trigger_savepoint(Some(target.path().to_str().unwrap()))).unwrap();
    running.goes_on();

    let place = local(&savepoint.pointer);
    assert_eq!(place.parent(), Some(target.path()));
    let name = place.file_name().unwrap().to_str().unwrap();
    let id = JobId::from_name(NAME).to_string();
    let random = name.strip_prefix(&format!("savepoint-{}-", &id[..6])).unwrap();
    assert!(random.len() == 12 && random.chars().all(|c| c.is_ascii_hexdigit()), "{name}");
    let metadata = resolve_pointer(&savepoint.pointer).unwrap().metadata().unwrap();
    assert_eq!(metadata.checkpoint_id, savepoint.id);
    assert_eq!((metadata.state_size(), metadata.checkpointed_size()), (savepoint.state_size, savepoint.state_size));
    let is_inside =
        |handle: &StreamHandle| matches!(handle, StreamHandle::RelativeFile { .. } | StreamHandle::Inline { .. });
    assert!(metadata.stream_handles().all(is_inside));
    assert!(savepoint.state_size > 0 && savepoint.duration > Duration::ZERO);

    let progress = running.handle.progress();
    assert!(progress.last_checkpoint.unwrap().pointer.contains("/chk-"), "it is none of the job's checkpoints");
    running.cancel();
    assert!(place.join("_metadata").exists());

    let moved = target.path().join("moved");
    std::fs::rename(&place, &moved).unwrap();
    let restored = CommitSink::new();
    let from = StartFrom::Pointer(moved.to_str().unwrap().to_owned());
    let memory = config().state_backend(MemoryStateBackend::new()).workers(3).start_from(from);
    assert_eq!(job(restored.clone(), None).execute(&memory).unwrap().outcome, JobOutcome::Finished);
    assert_counted_to_the_end(&restored);
    // The job itself goes on from its checkpoints, not from the savepoint.
    let result = job(sink.clone(), None).execute(&on(directory.path())).unwrap();
    assert!(result.progress.restored_from.unwrap().pointer.contains("/chk-"));
    sink.assert_exactly_once(&occurrences(RECORDS, KEYS));
}

#[test]
fn savepoints_and_checkpoints_on_request_do_not_disturb_each_other() {
    let (directory, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sink = CommitSink::new();
    let running = start(&sink, on(directory.path()).retained_checkpoints(1));
    let target = target.path().to_str().unwrap();
    let mut savepoints = Vec::new();
    for _ in 0..5 {
        savepoints.push(running.handle.trigger_savepoint(Some(target)));
        let checkpoint = answer(running.handle.trigger_checkpoint()).unwrap();
        assert!(checkpoint.pointer.ends_with(&format!("/chk-{}", checkpoint.id)));
        savepoints.push(running.handle.trigger_savepoint(Some(target)));
    }
    let pointers: Vec<String> = savepoints.into_iter().map(|pending| answer(pending).unwrap().pointer).collect();
    running.goes_on();
    assert_eq!(running.handle.progress().failed_checkpoints, 0);
    let policy = ExternalizedRetention::NoExternalizedCheckpoints;
    running.cancel();
    let last = job(sink.clone(), None).execute(&on(directory.path()).checkpoint_retention(policy)).unwrap();
    assert_eq!(last.outcome, JobOutcome::Finished);
    sink.assert_exactly_once(&occurrences(RECORDS, KEYS));
    for pointer in pointers {
        let snapshot = resolve_pointer(&pointer).unwrap();
        let opener = snapshot.opener();
        snapshot.metadata().unwrap().stream_handles().for_each(|handle| drop(opener.open(handle).unwrap()));
    }
}

#[test]
fn a_job_stopped_with_a_savepoint_has_committed_it_and_goes_on_from_it() {
    let (directory, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sink = CommitSink::new();
    // Whatever the policy says of checkpoints.
    let config = || on(directory.path()).checkpoint_retention(ExternalizedRetention::RetainOnCancellation);
    let running = start(&sink, config());
    let savepoint = answer(running.handle.stop_with_savepoint(Some(target.path().to_str().unwrap()), false)).unwrap();
    let result = running.end();
    assert_eq!(result.outcome, JobOutcome::Stopped);
    assert_eq!(sink.committed().len() as u64, result.progress.records_in, "what it covers is committed");
    assert_ne!(result.progress.last_checkpoint.unwrap().id, savepoint.id);
    let job_directory = directory.path().join(JobId::from_name(NAME).to_string());
    let left = std::fs::read_dir(&job_directory).unwrap();
    assert_eq!(left.filter(|e| e.as_ref().unwrap().file_name().to_str().unwrap().starts_with("chk-")).count(), 0);

    // Whoever moves it has to say where it is.
    let moved = target.path().join("moved");
    std::fs::rename(local(&savepoint.pointer), &moved).unwrap();
    let error = job(sink.clone(), None).execute(&config()).unwrap_err();
    assert_eq!(error.value("savepoint"), Some(savepoint.pointer.as_str()), "{error}");
    std::fs::rename(&moved, local(&savepoint.pointer)).unwrap();

    // A crash before the next checkpoint.
    let handle = JobHandle::new();
    handle.cancel();
    job(sink.clone(), None).execute(&config().handle(&handle)).unwrap();
    let result = job(sink.clone(), None).execute(&config()).unwrap();
    assert_eq!(result.progress.restored_from.unwrap().pointer, savepoint.pointer);
    assert_eq!(result.outcome, JobOutcome::Finished);
    sink.assert_exactly_once(&occurrences(RECORDS, KEYS));
    assert!(local(&savepoint.pointer).join("_metadata").exists(), "it stays the user's");
}

#[test]
fn a_drained_job_has_finished() {
    let (directory, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sink = CommitSink::new();
    let running = start(&sink, on(directory.path()));
    let savepoint = answer(running.handle.stop_with_savepoint(Some(target.path().to_str().unwrap()), true)).unwrap();
    assert_eq!(running.end().outcome, JobOutcome::Finished);
    let again = job(sink.clone(), None).execute(&on(directory.path())).unwrap();
    assert_eq!(again.outcome, JobOutcome::AlreadyFinished);
    // To go on all the same is the user's choice.
    let from = StartFrom::Pointer(savepoint.pointer);
    let result = job(sink.clone(), None).execute(&on(directory.path()).start_from(from)).unwrap();
    assert_eq!(result.outcome, JobOutcome::Finished);
    sink.assert_exactly_once(&occurrences(RECORDS, KEYS));
}

#[test]
fn a_savepoint_needs_a_target() {
    let (directory, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let uri = format!("file://{}", target.path().display());
    let running = start(&CommitSink::new(), on(directory.path()));
    for pending in [running.handle.trigger_savepoint(None), running.handle.stop_with_savepoint(None, false)] {
        let error = answer(pending).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert_eq!(error.value("key"), Some("execution.checkpointing.savepoint-dir"), "{error}");
    }
    running.goes_on();
    running.cancel();

    // By its key, and by the backend, which comes first.
    let key = |uri: &str| -> Configuration { [("state.savepoints.dir", uri)].into_iter().collect() };
    let by_key = config().workers(2).configuration(&key(&uri)).state_backend(HashMapStateBackend::new());
    let backend = files(directory.path()).with_default_savepoint_directory(&uri).unwrap();
    let by_backend = config().workers(2).configuration(&key("file:///nowhere")).state_backend(backend);
    for config in [by_key, by_backend] {
        let running = start(&CommitSink::new(), config);
        let savepoint = answer(running.handle.trigger_savepoint(None)).unwrap();
        assert_eq!(local(&savepoint.pointer).parent(), Some(target.path()));
        running.cancel();
    }
}

/// A savepoint that cannot be written is no reason to end the job, nor is one that was to end it.
#[test]
fn the_job_goes_on_when_a_savepoint_fails() {
    let (directory, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = target.path().join("a file");
    std::fs::write(&file, "in the way").unwrap();
    let sink = CommitSink::new();
    let running = start(&sink, on(directory.path()));
    for target in [file.to_str().unwrap(), "s3://bucket/savepoints", ""] {
        let error = answer(running.handle.trigger_savepoint(Some(target))).unwrap_err();
        assert!(!error.to_string().is_empty());
        answer(running.handle.stop_with_savepoint(Some(target), false)).unwrap_err();
        running.goes_on();
    }
    running.cancel();
    job(sink.clone(), None).execute(&on(directory.path())).unwrap();
    sink.assert_exactly_once(&occurrences(RECORDS, KEYS));
}

#[test]
fn without_a_running_job_the_answer_is_an_error() {
    let handle = JobHandle::new();
    assert!(answer(handle.trigger_checkpoint()).is_err());
    let config = config().handle(&handle);
    job(CommitSink::new(), None).execute(&config).unwrap();
    let error = answer(handle.trigger_savepoint(Some("file:///nowhere"))).unwrap_err();
    assert_eq!(error.value("status"), Some("Ended"), "{error}");
}

/// Whoever waits when the job is cancelled does not wait for ever.
#[test]
fn nobody_waits_for_a_job_that_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let running = start(&CommitSink::new(), on(directory.path()));
    let handle = running.handle.clone();
    let asking = thread::spawn(move || {
        let asked = Instant::now();
        while answer(handle.trigger_checkpoint()).is_ok() {
            assert!(asked.elapsed() < LONG);
        }
    });
    thread::sleep(Duration::from_millis(20));
    running.cancel();
    asking.join().unwrap();
}

/// A sink that fails once when it is to commit.
#[derive(Clone, Debug)]
struct FailsToCommit {
    sink: CommitSink,
    is_armed: Arc<AtomicBool>,
}

impl Sink<Counted> for FailsToCommit {
    fn open(&self, context: &SinkContext<'_>) -> Result<Box<dyn SinkWriter<Counted>>> {
        Ok(Box::new(Writer { writer: self.sink.open(context)?, is_armed: Arc::clone(&self.is_armed) }))
    }

    fn is_exactly_once(&self) -> bool {
        true
    }
}

struct Writer {
    writer: Box<dyn SinkWriter<Counted>>,
    is_armed: Arc<AtomicBool>,
}

impl SinkWriter<Counted> for Writer {
    fn write(&mut self, record: Counted) -> Result<()> {
        self.writer.write(record)
    }

    fn prepare(&mut self, checkpoint_id: u64) -> Result<()> {
        self.writer.prepare(checkpoint_id)
    }

    fn commit(&mut self, checkpoint_id: u64) -> Result<()> {
        if self.is_armed.swap(false, Ordering::SeqCst) {
            return Err(Error::storage("injected failure of a commit"));
        }
        self.writer.commit(checkpoint_id)
    }
}

/// The savepoint is complete, and some sinks may have committed it: whatever happens then, the job must not fall back to
/// an older checkpoint.
#[test]
fn a_job_that_fails_after_its_last_savepoint_goes_on_from_it() {
    let (directory, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sink = FailsToCommit { sink: CommitSink::new(), is_armed: Arc::new(AtomicBool::new(false)) };
    // One checkpoint in the beginning, and none afterwards.
    let running = start(&sink, on(directory.path()).checkpoint_interval(Duration::from_secs(1)));
    answer(running.handle.trigger_checkpoint()).unwrap();
    let before = running.handle.progress().records_in;
    running.wait_for(|handle| handle.progress().records_in > before);
    sink.is_armed.store(true, Ordering::SeqCst);
    let error = answer(running.handle.stop_with_savepoint(Some(target.path().to_str().unwrap()), false)).unwrap_err();
    // A periodic checkpoint may have come in between, and met the failure.
    if let Some(savepoint) = error.value("savepoint") {
        running.wait_for(|handle| handle.progress().attempt == 2);
        running.wait_for(|handle| handle.progress().restored_from.is_some());
        assert_eq!(running.handle.progress().restored_from.unwrap().pointer, savepoint);
    }
    running.cancel();
    job(sink.clone(), None).execute(&on(directory.path())).unwrap();
    sink.sink.assert_exactly_once(&occurrences(RECORDS, KEYS));
}
