//! One enumerator decides who reads what: inputs that change while a job starts, runs and restarts, readers of unequal
//! speed, enumerators that fail.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "helpers of tests")]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use highwater_dataflow::{
    ExecutionConfig, FileSource, FixedSplits, Job, JobHandle, JobOutcome, JobResult, Source, SourceContext,
    SourceReader, SourceStatus, SplitEnumerator, SplitEnumeratorContext,
};
use highwater_types::{Error, ErrorKind, Result};
use support::{CommitSink, config, count, files, wait_until};

const PATIENCE: Duration = Duration::from_secs(120);

/// A job that counts the numbers in files.
fn counting(source: FileSource, sink: &CommitSink) -> Job {
    let sink = sink.clone();
    Job::new("splits", move |env| {
        let numbers = env.source("lines", source.clone()).flat_map(|line: String, out| {
            let number = line.parse().map_err(|_| Error::program("no line of the file").with("line", &line))?;
            out.collect(number);
            Ok(())
        });
        count(numbers, "count").sink("sink", sink.clone());
        Ok(())
    })
}

fn once(numbers: impl Iterator<Item = i64>) -> BTreeMap<i64, i64> {
    numbers.map(|number| (number, 1)).collect()
}

/// Every subtask measured the file for itself: borders depended on how long it was then, and lines came twice or never.
#[test]
fn a_file_that_grows_while_the_job_starts_gives_each_line_once() {
    for round in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("growing");
        fs::write(&path, "").unwrap();
        let (is_over, sink) = (AtomicBool::new(false), CommitSink::new());
        let read = thread::scope(|scope| {
            scope.spawn(|| {
                let mut file = OpenOptions::new().append(true).open(&path).unwrap();
                for block in (0..).step_by(50) {
                    let lines: String = (block..block + 50).map(|n| format!("{n:08}\n")).collect();
                    file.write_all(lines.as_bytes()).unwrap();
                    if is_over.load(Ordering::SeqCst) {
                        break;
                    }
                }
            });
            wait_until(|| fs::metadata(&path).unwrap().len() > 10_000);
            let job = counting(FileSource::lines([dir.path()]).split_size(700 + round), &sink);
            let result = job.execute(&config().workers(3));
            is_over.store(true, Ordering::SeqCst);
            let result = result.unwrap();
            assert_eq!((result.outcome, result.progress.attempt), (JobOutcome::Finished, 1));
            result.progress.records_in as i64
        });
        assert!(read > 1_000);
        sink.assert_exactly_once(&once(0..read));
    }
}

/// Parts of the old file and of the new one were mixed without a word.
#[test]
fn a_file_replaced_while_the_job_runs_ends_it_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("input");
    let text = |from: i64| (from..from + 20_000).map(|n| format!("{n:08}\n")).collect::<String>();
    fs::write(&path, text(0)).unwrap();
    fs::write(dir.path().join(".new"), text(1_000_000)).unwrap();
    let handle = JobHandle::new();
    let source = FileSource::lines([dir.path()]).split_size(900).rate(5_000.0);
    let job = counting(source, &CommitSink::new());
    let error = thread::scope(|scope| {
        scope.spawn(|| {
            wait_until(|| handle.progress().records_in > 500);
            fs::rename(dir.path().join(".new"), &path).unwrap();
        });
        job.execute(&config().workers(2).handle(&handle)).unwrap_err()
    });
    assert_eq!((error.kind(), error.value("file")), (ErrorKind::Incompatible, path.to_str()));
    assert_eq!(error.value("operator"), Some("lines"));
    assert_eq!(handle.progress().attempt, 1, "no restart can help");
}

/// Whoever reads the first split waits until all others are read.
#[derive(Clone, Debug, Default)]
struct Unequal {
    read: Arc<AtomicUsize>,
}

struct UnequalReader(Unequal, Option<i64>);

impl Source for Unequal {
    type Record = i64;
    type Split = i64;

    fn create_enumerator(&self, restored: Option<&[u8]>) -> Result<Box<dyn SplitEnumerator<i64>>> {
        FixedSplits::on_request(0..50, restored)
    }

    fn create_reader(&self, _: &SourceContext<'_>) -> Result<Box<dyn SourceReader<Record = i64, Split = i64>>> {
        Ok(Box::new(UnequalReader(self.clone(), None)))
    }
}

impl SourceReader for UnequalReader {
    type Record = i64;
    type Split = i64;

    fn add_splits(&mut self, splits: Vec<i64>) -> Result<()> {
        assert!(self.1.is_none() && splits.len() == 1, "one split at a time");
        self.1 = splits.into_iter().next();
        Ok(())
    }

    fn poll(&mut self, _: usize, out: &mut Vec<i64>) -> Result<SourceStatus> {
        if self.1 == Some(0) && self.0.read.load(Ordering::SeqCst) < 49 {
            return Ok(SourceStatus::Idle(Duration::from_millis(1)));
        }
        if let Some(split) = self.1.take() {
            out.push(split);
            self.0.read.fetch_add(1, Ordering::SeqCst);
        }
        Ok(SourceStatus::NeedsSplit)
    }

    fn snapshot_state(&mut self) -> Result<Vec<i64>> {
        Ok(self.1.into_iter().collect())
    }
}

/// When every subtask had its share beforehand, whoever shared with a slow reader's splits waited for it. Here the job
/// would never end.
#[test]
fn a_reader_that_stands_still_does_not_hold_up_the_others() {
    let (source, sink) = (Unequal::default(), CommitSink::new());
    let (of_job, sink_of_job) = (source.clone(), sink.clone());
    let job = Job::new("unequal", move |env| {
        count(env.source("numbers", of_job.clone()), "count").sink("sink", sink_of_job.clone());
        Ok(())
    });
    let handle = JobHandle::new();
    let result = thread::scope(|scope| {
        let running = scope.spawn(|| job.execute(&config().workers(2).handle(&handle)));
        let begin = Instant::now();
        while !running.is_finished() && begin.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(2));
        }
        handle.stop();
        running.join().unwrap().unwrap()
    });
    assert_eq!(result.outcome, JobOutcome::Finished, "{} of 50 splits are read", source.read.load(Ordering::SeqCst));
    sink.assert_exactly_once(&once(0..50));
}

struct Watched {
    dir: tempfile::TempDir,
    sink: CommitSink,
    written: AtomicUsize,
}

impl Watched {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("input")).unwrap();
        Self { dir, sink: CommitSink::new(), written: AtomicUsize::new(0) }
    }

    /// Copies a file in, slowly: its lines are there one by one.
    fn add(&self) {
        let first = self.written.fetch_add(10, Ordering::SeqCst);
        let path = self.dir.path().join("input").join(first.to_string());
        let mut file = OpenOptions::new().create_new(true).append(true).open(path).unwrap();
        for number in first..first + 10 {
            file.write_all(format!("{number:04}").as_bytes()).unwrap();
            thread::sleep(Duration::from_millis(1));
            file.write_all(b"\n").unwrap();
        }
    }

    fn committed(&self) -> usize {
        self.sink.committed().len()
    }

    /// Runs the job on a watched directory while `act` acts, then stops it.
    fn run(&self, workers: usize, act: impl FnOnce(&JobHandle) + Send) -> JobResult {
        let source = FileSource::lines([self.dir.path().join("input")])
            .monitor_continuously(Duration::from_millis(3))
            .rest_time(Duration::from_millis(300));
        let handle = JobHandle::new();
        let config = config().workers(workers).state_backend(files(&self.dir.path().join("checkpoints")));
        thread::scope(|scope| {
            scope.spawn(|| {
                act(&handle);
                handle.stop();
            });
            counting(source, &self.sink).execute(&config.handle(&handle)).unwrap()
        })
    }
}

#[test]
fn a_watched_directory_is_read_until_the_job_is_stopped_over_failures_stops_and_rescales() {
    let watched = Watched::new();
    let everything = |watched: &Watched| {
        wait_until(|| watched.committed() == watched.written.load(Ordering::SeqCst));
    };
    let first = watched.run(2, |handle| {
        (0..5).for_each(|_| watched.add());
        everything(&watched);
        // A failure of the sink when it gets the next line.
        let _ = watched.sink.clone().failing_on(0, handle);
        (0..5).for_each(|_| watched.add());
        everything(&watched);
    });
    assert_eq!((first.outcome, first.progress.attempt), (JobOutcome::Stopped, 2));

    // Read files are archived; the state of the enumerator goes on at another parallelism.
    fs::remove_file(watched.dir.path().join("input/0")).unwrap();
    watched.add();
    let second = watched.run(3, |_| {
        everything(&watched);
        watched.add();
        // Stopped in the middle: what is found and not read is in the state.
    });
    assert_eq!(second.outcome, JobOutcome::Stopped);
    let third = watched.run(1, |_| everything(&watched));
    assert_eq!(third.outcome, JobOutcome::Stopped);
    watched.sink.assert_exactly_once(&once(0..watched.written.load(Ordering::SeqCst) as i64));
}

/// All of a directory was listed in one call, so that no checkpoint began before its end: a large one outlasted
/// `execution.checkpointing.timeout`, again after each restart. This one becomes deeper until a checkpoint is complete.
#[test]
fn checkpoints_complete_while_a_directory_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("1"), "1\n").unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    let (handle, begin) = (JobHandle::new(), Instant::now());
    let is_complete = Arc::new(AtomicBool::new(false));
    let (of_job, seen_by_filter) = (handle.clone(), Arc::clone(&is_complete));
    let source = FileSource::lines([dir.path()]).filter(move |path| {
        if of_job.progress().completed_checkpoints > 0 {
            seen_by_filter.store(true, Ordering::SeqCst);
        } else if path.is_dir() && begin.elapsed() < PATIENCE / 2 {
            fs::create_dir(path.join("d")).unwrap();
            thread::sleep(Duration::from_millis(50));
        }
        true
    });
    let sink = CommitSink::new();
    counting(source, &sink).execute(&config().workers(2).handle(&handle)).unwrap();
    assert!(is_complete.load(Ordering::SeqCst), "no checkpoint was complete before the listing");
    sink.assert_exactly_once(&once(1..2));
}

/// Numbers, and an enumerator that fails in some way.
#[derive(Clone, Debug)]
struct Fragile {
    fails: Failure,
    left: Arc<AtomicU32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Discover,
    DiscoverPanics,
    Request,
    Snapshot,
}

struct FragileEnumerator(Fragile, Box<dyn SplitEnumerator<i64>>);

#[derive(Default)]
struct Numbers(Vec<i64>);

impl Fragile {
    fn failing(fails: Failure, times: u32) -> Self {
        Self { fails, left: Arc::new(AtomicU32::new(times)) }
    }

    fn fail(&self, place: Failure) -> Result<()> {
        let next = |left: u32| left.checked_sub(1);
        match place == self.fails && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).is_ok() {
            true => Err(Error::program("injected failure of an enumerator")),
            false => Ok(()),
        }
    }
}

impl Source for Fragile {
    type Record = i64;
    type Split = i64;

    fn create_enumerator(&self, restored: Option<&[u8]>) -> Result<Box<dyn SplitEnumerator<i64>>> {
        Ok(Box::new(FragileEnumerator(self.clone(), FixedSplits::on_request(0..2_000, restored)?)))
    }

    fn create_reader(&self, _: &SourceContext<'_>) -> Result<Box<dyn SourceReader<Record = i64, Split = i64>>> {
        Ok(Box::new(Numbers::default()))
    }
}

impl SplitEnumerator<i64> for FragileEnumerator {
    fn discover(&mut self, _: &mut SplitEnumeratorContext<i64>) -> Result<Option<Duration>> {
        assert!(self.0.fail(Failure::DiscoverPanics).is_ok(), "injected panic of an enumerator");
        self.0.fail(Failure::Discover).map(|()| None)
    }

    fn handle_split_request(&mut self, subtask: u32, context: &mut SplitEnumeratorContext<i64>) -> Result<()> {
        self.0.fail(Failure::Request)?;
        self.1.handle_split_request(subtask, context)
    }

    fn snapshot_state(&mut self) -> Result<Vec<u8>> {
        self.0.fail(Failure::Snapshot)?;
        self.1.snapshot_state()
    }
}

/// Each split is one number.
impl SourceReader for Numbers {
    type Record = i64;
    type Split = i64;

    fn add_splits(&mut self, splits: Vec<i64>) -> Result<()> {
        self.0.extend(splits);
        Ok(())
    }

    fn poll(&mut self, limit: usize, out: &mut Vec<i64>) -> Result<SourceStatus> {
        let read = self.0.len().min(limit);
        out.extend(self.0.drain(..read));
        Ok(if self.0.is_empty() { SourceStatus::NeedsSplit } else { SourceStatus::Ready })
    }

    fn snapshot_state(&mut self) -> Result<Vec<i64>> {
        Ok(self.0.clone())
    }
}

fn run_fragile(source: &Fragile, config: &ExecutionConfig, sink: &CommitSink) -> Result<JobResult> {
    let (source, sink) = (source.clone(), sink.clone());
    let job = Job::new("fragile", move |env| {
        count(env.source("numbers", source.clone()), "count").sink("sink", sink.clone());
        Ok(())
    });
    job.execute(config)
}

#[test]
fn a_failure_of_an_enumerator_is_one_of_the_attempt_and_names_the_operator() {
    for place in [Failure::Discover, Failure::DiscoverPanics, Failure::Request] {
        let sink = CommitSink::new();
        let result = run_fragile(&Fragile::failing(place, 1), &config().workers(2), &sink).unwrap();
        assert_eq!((result.outcome, result.progress.attempt), (JobOutcome::Finished, 2), "{place:?}");
        sink.assert_exactly_once(&once(0..2_000));

        let error = run_fragile(&Fragile::failing(place, u32::MAX), &config(), &CommitSink::new()).unwrap_err();
        assert_eq!((error.kind(), error.value("operator")), (ErrorKind::Program, Some("numbers")));
    }
}

#[test]
fn a_snapshot_of_an_enumerator_that_fails_costs_a_checkpoint_and_no_split() {
    let sink = CommitSink::new();
    let config = config().workers(2).tolerable_checkpoint_failures(10);
    let result = run_fragile(&Fragile::failing(Failure::Snapshot, 2), &config, &sink).unwrap();
    assert_eq!((result.outcome, result.progress.attempt), (JobOutcome::Finished, 1));
    assert_eq!(result.progress.failed_checkpoints, 2);
    sink.assert_exactly_once(&once(0..2_000));
}

/// A split is in the state of its reader or in that of the enumerator, wherever the barrier is: failures between
/// hundreds of assignments lose and double nothing, and aborted checkpoints neither.
#[test]
fn splits_are_neither_lost_nor_doubled_by_failures_at_any_moment() {
    for failing in 0..3 {
        let (handle, sink) = (JobHandle::new(), CommitSink::new());
        let sink = sink.slow(Duration::from_micros(50)).failing_on(failing, &handle);
        let source = Fragile::failing(Failure::Snapshot, 0);
        let config = config().workers(3).checkpoint_interval(Duration::from_millis(10)).handle(&handle);
        let result = run_fragile(&source, &config, &sink).unwrap();
        assert_eq!((result.outcome, result.progress.attempt), (JobOutcome::Finished, 2));
        sink.assert_exactly_once(&once(0..2_000));
    }
}

#[test]
fn an_input_that_does_not_exist_is_named_with_its_operator_and_no_restart_is_tried() {
    let source = FileSource::lines([Path::new("no/such/file")]);
    let handle = JobHandle::new();
    let error = counting(source, &CommitSink::new()).execute(&config().handle(&handle)).unwrap_err();
    assert_eq!((error.kind(), error.value("operator")), (ErrorKind::Configuration, Some("lines")));
    assert_eq!((error.value("file"), handle.progress().attempt), (Some("no/such/file"), 1));
}
