//! A second job from a snapshot of one that runs on. Its start once committed, cut and removed the files of the first,
//! whose next commit then failed for good.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use highwater_backends::FsStateBackend;
use highwater_dataflow::{
    DefaultRollingPolicy, ExecutionConfig, FileSink, GeneratorSource, Job, JobHandle, JobOutcome, StartFrom,
};
use tempfile::TempDir;

use crate::harness::{SinkRun, Snapshot};

const DEADLINE: Duration = Duration::from_secs(120);
const OTHER_JOB: &str = "ffeeddccbbaa99887766554433221100";

/// A sink with a bucket for each first letter, that closes a file at 30 bytes.
fn lines_to(directory: &Path) -> FileSink<String> {
    let lines = FileSink::new(directory, |line: &String, out| out.extend_from_slice(line.as_bytes()));
    let policy = DefaultRollingPolicy::new().max_part_size(30);
    lines.rolling_policy(policy).bucket_assigner(|line: &String| line.chars().take(1).collect())
}

fn write(run: &mut SinkRun<String>, lines: &[&str]) {
    let subtasks = run.writers.len();
    (0..).zip(lines).for_each(|(at, line)| run.writers[at % subtasks].write((*line).to_owned()).unwrap());
}

/// Every file below a directory, by its path there.
fn files(directory: &Path) -> BTreeMap<String, String> {
    let (mut found, mut waiting) = (BTreeMap::new(), vec![directory.to_owned()]);
    while let Some(place) = waiting.pop() {
        for entry in fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                waiting.push(entry);
            } else if let Ok(text) = fs::read_to_string(&entry) {
                found.insert(entry.strip_prefix(directory).unwrap().display().to_string(), text);
            }
        }
    }
    found
}

fn is_committed(path: &str) -> bool {
    path.rsplit('/').next().unwrap().starts_with("part-")
}

/// The lines that can be seen.
fn committed(directory: &Path) -> Vec<String> {
    let seen = files(directory).into_iter().filter(|(path, _)| is_committed(path));
    let mut lines: Vec<String> =
        seen.flat_map(|(_, text)| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.sort_unstable();
    lines
}

/// A run with pending files and files in progress of two subtasks, as snapshot 1 lists them. It goes on.
fn running(directory: &Path) -> (SinkRun<String>, Snapshot) {
    let mut run = SinkRun::open(&lines_to(directory), "1", 2, None).unwrap();
    write(&mut run, &["a long line, so that it is closed", "b long line, so that it is closed", "a", "b"]);
    write(&mut run, &["a2", "c2"]);
    let snapshot = run.prepare(1).unwrap();
    write(&mut run, &["a3", "c3"]);
    (run, snapshot)
}

const LISTED: [&str; 6] =
    ["a", "a long line, so that it is closed", "a2", "b", "b long line, so that it is closed", "c2"];

#[test]
fn a_job_from_a_snapshot_of_another_leaves_the_files_of_that_alone() {
    for (parallelism, job) in [(1, None), (2, None), (3, Some(OTHER_JOB))] {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (mut run, snapshot) = running(first.path());
        // What no snapshot lists yet.
        run.prepare(2).unwrap();
        write(&mut run, &["a4", "d4"]);
        let before = files(first.path());
        let open = |attempt| {
            let (sink, restore) = (lines_to(second.path()), Some((1, &snapshot)));
            match job {
                Some(job) => SinkRun::open_as(&sink, job, attempt, parallelism, restore).unwrap(),
                None => SinkRun::open(&sink, attempt, parallelism, restore).unwrap(),
            }
        };
        // The first attempt dies before its first checkpoint.
        let mut fork = open("fork-1");
        write(&mut fork, &["a lost"]);
        drop(fork);
        let mut fork = open("fork-2");
        assert!(committed(second.path()).is_empty(), "it is seen with a checkpoint of this job");
        write(&mut fork, &["a5", "c5"]);
        let own = fork.prepare_last(2).unwrap();
        assert_eq!(files(first.path()), before, "nothing was touched");
        fork.commit(2).unwrap();
        let mut expected: Vec<&str> = LISTED.to_vec();
        expected.extend(["a5", "c5"]);
        expected.sort_unstable();
        assert_eq!(committed(second.path()), expected);
        assert_eq!(files(second.path()).keys().filter(|path| !is_committed(path)).count(), 0, "nothing is left behind");
        // From here on it does not need the other.
        fs::remove_dir_all(second.path().join("a")).unwrap();
        drop(SinkRun::open(&lines_to(second.path()), "fork-3", 1, Some((2, &own))).unwrap());

        run.prepare_last(3).unwrap();
        run.commit(3).unwrap();
        let mut expected = LISTED.to_vec();
        expected.extend(["a3", "c3", "a4", "d4"]);
        expected.sort_unstable();
        assert_eq!(committed(first.path()), expected, "the first job goes on as if nothing had been");
    }
}

#[test]
fn what_the_other_job_has_committed_is_not_copied() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut run, snapshot) = running(first.path());
    // Closed files are committed, those in progress with a later checkpoint. Somebody takes some of them.
    run.commit(1).unwrap();
    run.prepare_last(2).unwrap();
    run.writers[0].commit(2).unwrap();
    let in_a = files(first.path()).into_keys().filter(|path| path.starts_with("a/part-"));
    in_a.for_each(|path| fs::remove_file(first.path().join(path)).unwrap());
    let mut fork = SinkRun::open(&lines_to(second.path()), "fork", 2, Some((1, &snapshot))).unwrap();
    fork.prepare_last(2).unwrap();
    fork.commit(2).unwrap();
    assert_eq!(committed(second.path()), ["b", "c2"], "what the other subtask still has in progress");
}

#[test]
fn a_directory_under_another_name_is_no_danger() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let (run, snapshot) = running(&real);
    drop(run);
    for attempt in ["2", "3"] {
        drop(SinkRun::open(&lines_to(&link), attempt, 2, Some((1, &snapshot))).unwrap());
    }
    let mut again = SinkRun::open(&lines_to(&link), "4", 2, Some((1, &snapshot))).unwrap();
    let last = again.prepare_last(2).unwrap();
    again.commit(2).unwrap();
    assert_eq!(committed(&real), LISTED);
    drop(SinkRun::open(&lines_to(&link), "5", 2, Some((2, &last))).unwrap());
    assert!(files(&real).keys().all(|path| is_committed(path)), "{:?}", files(&real));
}

/// Where a job has its checkpoints and its output.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn output(&self) -> PathBuf {
        self.0.path().join("output")
    }

    fn config(&self, handle: &JobHandle) -> ExecutionConfig {
        self.config_on("checkpoints", handle)
    }

    fn config_on(&self, checkpoints: &str, handle: &JobHandle) -> ExecutionConfig {
        let backend = FsStateBackend::new(format!("file://{}/{checkpoints}", self.0.path().display())).unwrap();
        let config = ExecutionConfig::new().workers(2).state_backend(backend).handle(handle);
        config.checkpoint_interval(Duration::from_millis(20))
    }

    /// A job that counts to `COUNT`. Its files are closed at 200 bytes.
    fn job(&self, rate: Option<f64>) -> Job {
        let lines = FileSink::new(self.output(), |n: &u64, line| line.extend_from_slice(n.to_string().as_bytes()));
        let sink = lines.rolling_policy(DefaultRollingPolicy::new().max_part_size(200));
        Job::new("production", move |env| {
            let numbers = GeneratorSource::new(|index| index).count(COUNT);
            let numbers = match rate {
                Some(rate) => numbers.rate(rate),
                None => numbers,
            };
            env.source("numbers", numbers).sink("out", sink.clone());
            Ok(())
        })
    }

    /// What can be seen; each number once.
    fn numbers(&self) -> BTreeSet<u64> {
        let lines = committed(&self.output());
        let numbers: BTreeSet<u64> = lines.iter().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers.len(), lines.len(), "lines came twice");
        numbers
    }
}

const COUNT: u64 = 50_000;

fn wait_until(is_there: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_there() {
        assert!(start.elapsed() < DEADLINE);
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn production_runs_on_while_a_second_job_starts_from_its_savepoint() {
    let (production, fork) = (Place::new(), Place::new());
    let handle = JobHandle::new();
    let (job, config) = (production.job(Some(100.0)), production.config(&handle));
    let running = thread::spawn(move || job.execute(&config));
    wait_until(|| handle.progress().completed_checkpoints > 3);
    let savepoint = handle.trigger_savepoint(Some(production.0.path().to_str().unwrap())).wait(DEADLINE);
    let savepoint = savepoint.unwrap().unwrap().pointer;

    let config = fork.config(&JobHandle::new()).start_from(StartFrom::Pointer(savepoint));
    assert_eq!(fork.job(None).execute(&config).unwrap().outcome, JobOutcome::Finished);
    assert!(handle.progress().records_in < COUNT / 2 && fork.numbers().len() as u64 > COUNT / 2);

    let before = handle.progress();
    wait_until(|| handle.progress().completed_checkpoints > before.completed_checkpoints + 3);
    handle.stop();
    let result = running.join().unwrap().unwrap();
    assert_eq!((result.outcome, result.progress.attempt), (JobOutcome::Stopped, 1), "{:?}", result.progress);
    assert_eq!(production.numbers().len() as u64, result.progress.records_in);
    // What production committed while the fork started is only there.
    let all: BTreeSet<u64> = fork.numbers().union(&production.numbers()).copied().collect();
    assert!(all.into_iter().eq(0..COUNT));
}

/// Its user starts a job again from its savepoint, into the same directory, with old or new checkpoints.
#[test]
fn a_job_goes_on_in_its_directory_from_the_savepoint_it_ended_with_or_was_cancelled_behind() {
    for (is_stop, checkpoints) in [(true, "checkpoints"), (true, "other"), (false, "checkpoints"), (false, "other")] {
        let (place, handle) = (Place::new(), JobHandle::new());
        let (job, config) = (place.job(Some(5_000.0)), place.config(&handle));
        // Nothing is committed behind a plain savepoint, or it could not be restored.
        let interval = Duration::from_millis(if is_stop { 20 } else { 10_000_000 });
        let running = thread::spawn(move || job.execute(&config.checkpoint_interval(interval)));
        wait_until(|| handle.progress().records_out > 500);
        let target = place.0.path().to_str().unwrap();
        let savepoint = match is_stop {
            true => handle.stop_with_savepoint(Some(target), false),
            false => handle.trigger_savepoint(Some(target)),
        };
        let pointer = { savepoint }.wait(DEADLINE).unwrap().unwrap().pointer;
        if !is_stop {
            handle.cancel().wait(DEADLINE).unwrap().unwrap();
        }
        running.join().unwrap().unwrap();
        assert_eq!(place.numbers().is_empty(), !is_stop);

        let config = place.config_on(checkpoints, &JobHandle::new()).start_from(StartFrom::Pointer(pointer));
        assert_eq!(place.job(None).execute(&config).unwrap().outcome, JobOutcome::Finished);
        assert!(place.numbers().into_iter().eq(0..COUNT));
        assert!(files(&place.output()).keys().all(|path| is_committed(path)), "nothing is left behind");
    }
}
