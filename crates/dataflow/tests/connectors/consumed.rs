//! Committed files belong to the user, who may take them away at any moment: no later start and no automatic restart
//! minds. A file that was never committed is still missed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use highwater_backends::{FsStateBackend, RestartStrategy};
use highwater_dataflow::{
    ExecutionConfig, FileSink, GeneratorSource, Job, JobHandle, JobOutcome, JobResult, OnCheckpointRollingPolicy, Sink,
    SinkContext, SinkWriter,
};
use highwater_types::{ErrorKind, Result};
use tempfile::TempDir;

use crate::harness::SinkRun;

const DEADLINE: Duration = Duration::from_secs(120);

fn sink(directory: &Path) -> FileSink<u64> {
    let lines = FileSink::new(directory, |n: &u64, line| line.extend_from_slice(n.to_string().as_bytes()));
    lines.rolling_policy(OnCheckpointRollingPolicy)
}

/// Moves every committed file to the archive, as a consumer does. Returns how many there were.
fn consume(output: &Path, archive: &Path) -> usize {
    fs::create_dir_all(archive).unwrap();
    let Ok(entries) = fs::read_dir(output) else { return 0 };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let committed: Vec<String> = names.filter(|name| name.starts_with("part-")).collect();
    committed.iter().for_each(|name| fs::rename(output.join(name), archive.join(name)).unwrap());
    committed.len()
}

/// How often each number was written, over all directories.
fn numbers(directories: [&Path; 2]) -> BTreeMap<u64, u64> {
    let mut numbers = BTreeMap::new();
    for entry in directories.iter().flat_map(|directory| fs::read_dir(directory).unwrap()) {
        let entry = entry.unwrap();
        if entry.file_name().to_str().unwrap().starts_with("part-") {
            let text = fs::read_to_string(entry.path()).unwrap();
            text.lines().for_each(|line| *numbers.entry(line.parse().unwrap()).or_default() += 1);
        }
    }
    numbers
}

/// A file sink whose writers panic when there have been so many records after something was consumed.
#[derive(Clone, Debug)]
struct Fragile {
    inner: FileSink<u64>,
    has_consumed: Arc<AtomicBool>,
    records_left: Arc<AtomicU64>,
}

struct FragileWriter(Box<dyn SinkWriter<u64>>, Fragile);

impl Sink<u64> for Fragile {
    fn open(&self, context: &SinkContext<'_>) -> Result<Box<dyn SinkWriter<u64>>> {
        Ok(Box::new(FragileWriter(self.inner.open(context)?, self.clone())))
    }

    fn is_exactly_once(&self) -> bool {
        true
    }
}

impl SinkWriter<u64> for FragileWriter {
    fn write(&mut self, record: u64) -> Result<()> {
        let Self(inner, fragile) = self;
        let take = |left: u64| left.checked_sub(1);
        let is_last = fragile.has_consumed.load(Ordering::SeqCst)
            && fragile.records_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) == Ok(1);
        assert!(!is_last, "injected failure");
        inner.write(record)
    }

    fn finish(&mut self) -> Result<()> {
        self.0.finish()
    }

    fn prepare(&mut self, checkpoint_id: u64) -> Result<()> {
        self.0.prepare(checkpoint_id)
    }

    fn durability(&mut self) -> Option<highwater_dataflow::Durability> {
        self.0.durability()
    }

    fn commit(&mut self, checkpoint_id: u64) -> Result<()> {
        self.0.commit(checkpoint_id)
    }
}

/// A job that counts, with a consumer beside it.
struct Place(TempDir);

impl Place {
    fn output(&self) -> std::path::PathBuf {
        self.0.path().join("output")
    }

    fn archive(&self) -> std::path::PathBuf {
        self.0.path().join("archive")
    }

    fn config(&self, handle: &JobHandle) -> ExecutionConfig {
        let backend = FsStateBackend::new(format!("file://{}/checkpoints", self.0.path().display())).unwrap();
        ExecutionConfig::new()
            .workers(2)
            .state_backend(backend)
            .checkpoint_interval(Duration::from_millis(20))
            .restart_strategy(&RestartStrategy::FixedDelay { attempts: 1, delay: Duration::from_millis(1) })
            .handle(handle)
    }

    /// Runs until something was consumed and, if asked for, the job has failed after it; then lets it end or stops it.
    fn run(&self, count: u64, failing: bool, stopping: bool) -> JobResult {
        let fragile = Fragile {
            inner: sink(&self.output()),
            has_consumed: Arc::default(),
            records_left: Arc::new(AtomicU64::new(if failing { 50 } else { 0 })),
        };
        let has_consumed = Arc::clone(&fragile.has_consumed);
        let job = Job::new("consumed", move |env| {
            env.source("numbers", GeneratorSource::new(|index| index).count(count).rate(5_000.0))
                .sink("numbers out", fragile.clone());
            Ok(())
        });
        let (handle, is_over) = (JobHandle::new(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let start = Instant::now();
                while !is_over.load(Ordering::SeqCst) && start.elapsed() < DEADLINE {
                    if consume(&self.output(), &self.archive()) > 0 {
                        has_consumed.store(true, Ordering::SeqCst);
                        if stopping {
                            handle.stop();
                        }
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            let result = job.execute(&self.config(&handle));
            is_over.store(true, Ordering::SeqCst);
            result.unwrap()
        })
    }
}

#[test]
fn a_restart_within_the_process_does_not_mind() {
    let place = Place(tempfile::tempdir().unwrap());
    // Seconds, so that something is consumed before the end.
    let result = place.run(20_000, true, false);
    assert_eq!((result.outcome, result.progress.attempt), (JobOutcome::Finished, 2));
    assert!(result.progress.restored_from.is_some(), "{:?}", result.progress);
    consume(&place.output(), &place.archive());
    let numbers = numbers([&place.output(), &place.archive()]);
    assert!(numbers.keys().copied().eq(0..20_000) && numbers.values().all(|&times| times == 1));
}

#[test]
fn the_next_start_does_not_mind() {
    let place = Place(tempfile::tempdir().unwrap());
    let mut read = 0;
    for _ in 0..2 {
        let result = place.run(1_000_000, false, true);
        assert_eq!(result.outcome, JobOutcome::Stopped);
        read += result.progress.records_in;
        // All that the last checkpoint lists.
        consume(&place.output(), &place.archive());
    }
    let left = fs::read_dir(place.output()).unwrap().count();
    assert_eq!(left, 0, "nothing of the sink lies around, hidden or not");
    let numbers = numbers([&place.output(), &place.archive()]);
    // One subtask may have come further than the other.
    assert!(numbers.len() as u64 == read && numbers.values().all(|&times| times == 1));
}

/// The files of two subtasks that a checkpoint lists, before and after their commit.
fn two_files(dir: &TempDir) -> (SinkRun<u64>, crate::harness::Snapshot) {
    let mut run = SinkRun::open(&sink(dir.path()), "1", 2, None).unwrap();
    (0..4).for_each(|n| run.writers[n as usize % 2].write(n).unwrap());
    let snapshot = run.prepare(1).unwrap();
    (run, snapshot)
}

#[test]
fn any_of_the_files_may_be_taken_at_any_parallelism() {
    for parallelism in 1..4 {
        for taken in [&["part-00112233-out-0-1-1-1"][..], &["part-00112233-out-0-1-1-1", "part-00112233-out-1-1-1-1"]] {
            let dir = tempfile::tempdir().unwrap();
            let (mut run, snapshot) = two_files(&dir);
            run.commit(1).unwrap();
            taken.iter().for_each(|name| fs::remove_file(dir.path().join(name)).unwrap());
            for attempt in ["2", "3"] {
                SinkRun::open(&sink(dir.path()), attempt, parallelism, Some((1, &snapshot))).unwrap();
            }
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2 - taken.len());
        }
    }
}

#[test]
fn the_whole_directory_may_be_taken_when_all_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut run, snapshot) = two_files(&dir);
    run.commit(1).unwrap();
    fs::rename(dir.path(), dir.path().with_extension("archived")).unwrap();
    SinkRun::open(&sink(dir.path()), "2", 2, Some((1, &snapshot))).unwrap();
    // A job that moved on to another directory does not need the old one.
    fs::remove_dir_all(dir.path()).unwrap();
    let new = tempfile::tempdir().unwrap();
    SinkRun::open(&sink(new.path()), "2", 1, Some((1, &snapshot))).unwrap();
    fs::remove_dir_all(dir.path().with_extension("archived")).unwrap();
}

#[test]
fn a_pending_file_that_was_never_committed_is_missed_at_every_later_start() {
    for parallelism in 1..4 {
        let dir = tempfile::tempdir().unwrap();
        let (mut run, snapshot) = two_files(&dir);
        // One subtask hears that 1 is complete.
        run.writers[0].commit(1).unwrap();
        fs::remove_file(dir.path().join("part-00112233-out-0-1-1-1")).unwrap();
        fs::remove_file(dir.path().join(".part-00112233-out-1-1-1")).unwrap();
        drop(run);
        for attempt in ["2", "3"] {
            let error = SinkRun::open(&sink(dir.path()), attempt, parallelism, Some((1, &snapshot))).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.value("file").unwrap().ends_with("/.part-00112233-out-1-1-1"), "{error}");
        }
    }
}

#[test]
fn a_writer_misses_its_pending_file_and_so_does_the_start_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut run, snapshot) = two_files(&dir);
    fs::remove_file(dir.path().join(".part-00112233-out-1-1-1")).unwrap();
    let error = run.commit(1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.value("file").unwrap().ends_with("/.part-00112233-out-1-1-1"), "{error}");
    let error = SinkRun::open(&sink(dir.path()), "2", 2, Some((1, &snapshot))).err().unwrap();
    assert!(error.value("file").unwrap().ends_with("/.part-00112233-out-1-1-1"), "{error}");
    // Put back, it is committed.
    fs::write(dir.path().join(".part-00112233-out-1-1-1"), "1\n3\n").unwrap();
    SinkRun::open(&sink(dir.path()), "3", 2, Some((1, &snapshot))).unwrap();
    assert_eq!(numbers([dir.path(), dir.path()]).into_keys().collect::<Vec<_>>(), [0, 1, 2, 3]);
}
