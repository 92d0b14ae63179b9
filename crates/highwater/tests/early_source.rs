//! Two sources are read to their end within milliseconds, a third goes on. The job is killed with SIGKILL again and
//! again when checkpoints were completed behind that end, and started again with one, two and three workers in turn:
//! nothing of the two is read or counted twice, and nothing is lost.
//!
//! The job runs in processes of its own: this test program, with the variable [`DIRECTORY`].
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed assumption should stop the test, in helpers too"
)]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use highwater::checkpoint::JobId;
use highwater::{
    CollectionSource, Collector, DataStream, ExecutionConfig, FileSink, FileSource, FsStateBackend, GeneratorSource,
    Job, JobOutcome, JobResult, OnCheckpointRollingPolicy, Source, StreamEnvironment, ValueStateDescriptor,
};
use support::committed_files;
use tempfile::TempDir;

/// Tells a process that it is the job, and where its files are.
const DIRECTORY: &str = "HIGHWATER_TEST_DIRECTORY";
const WORKERS: &str = "HIGHWATER_TEST_WORKERS";
/// Records of the long source per second; without it, no limit.
const RATE: &str = "HIGHWATER_TEST_RATE";

const TEST: &str = "a_source_that_ended_long_before_a_kill_is_not_read_again";
const JOB: &str = "early sources";
const KILLS: usize = 6;
const SIGKILL: i32 = 9;
const PATIENCE: Duration = Duration::from_secs(120);

/// Input files and their lines.
const LINES: [(&str, usize); 3] = [("a.txt", 150), ("b.txt", 250), ("empty.txt", 0)];
const LATE_LINES: usize = 100;
const NUMBERS: u64 = 300;
/// More than all runs that are killed can read: five minutes.
const LONG: u64 = 60_000;
const LONG_PER_SECOND: &str = "200";

#[test]
fn a_source_that_ended_long_before_a_kill_is_not_read_again() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return run(Path::new(&directory));
    }
    let place = Place::new();
    for kill in 0..KILLS {
        let mut process = place.start(kill % 3 + 1, Some(LONG_PER_SECOND));
        let ended = process.wait_until(|| place.early_sources_are_committed());
        assert!(ended.is_none(), "kill {kill}: the job ended by itself: {}", place.said());
        // Of two more checkpoints the second began behind that end.
        let newest = place.newest_checkpoint();
        let ended = process.wait_until(|| place.newest_checkpoint() >= newest + 2);
        assert!(ended.is_none(), "kill {kill}: the job ended by itself: {}", place.said());
        // The kills fall into different moments of the next one.
        thread::sleep(Duration::from_millis(5 * kill as u64));
        assert_eq!(process.kill().signal(), Some(SIGKILL), "{}", place.said());
        place.assert_early_sources_came_once(0);
    }

    // The early source is over, but neither closed nor forgotten: a new file continues its counts.
    place.write_lines("late.txt", LATE_LINES);
    let status = place.start(2, None).wait_until(|| false).unwrap();
    assert!(status.success(), "{status}: {}", place.said());
    place.assert_early_sources_came_once(LATE_LINES);
    assert_same(&place.committed("long"), counted((0..LONG).map(long_word)), "counts of the long source");
}

/// The job, until it ends or is killed.
fn run(directory: &Path) {
    let checkpoints = format!("file://{}", directory.join("checkpoints").display());
    let config = ExecutionConfig::new()
        .workers(std::env::var(WORKERS).unwrap().parse().unwrap())
        .state_backend(FsStateBackend::new(&checkpoints).unwrap())
        .checkpoint_interval(Duration::from_millis(20));
    let JobResult { outcome, progress, .. } = job(directory).execute(&config).unwrap();
    // Nobody but the last run comes to this.
    assert_eq!(outcome, JobOutcome::Finished);
    assert_eq!(progress.attempt, 1, "{:?}", progress.last_failure);
    assert!(progress.restored_from.is_some(), "the last run began afresh");
}

fn job(directory: &Path) -> Job {
    let directory = directory.to_owned();
    let rate = std::env::var(RATE).ok().map(|rate| rate.parse().unwrap());
    Job::new(JOB, move |env| {
        let lines = FileSource::lines([directory.join("input")]).split_size(200);
        count(logged(env, "lines", lines, &directory), "lines", &directory);
        let numbers = CollectionSource::new((0..NUMBERS).map(number_word).collect::<Vec<_>>());
        count(logged(env, "numbers", numbers, &directory), "numbers", &directory);
        let mut long = GeneratorSource::new(long_word).count(LONG);
        if let Some(rate) = rate {
            long = long.rate(rate);
        }
        count(env.source("long", long), "long", &directory);
        Ok(())
    })
}

/// A source whose records are written down as they are read, whatever becomes of them.
fn logged<'s>(
    env: &StreamEnvironment<'s>,
    name: &str,
    source: impl Source<Record = String>,
    directory: &Path,
) -> DataStream<'s, String> {
    let mut log = OpenOptions::new().create(true).append(true).open(directory.join(name)).unwrap();
    env.source(name, source).map(move |word| {
        log.write_all(format!("{word}\n").as_bytes()).unwrap();
        word
    })
}

fn count(words: DataStream<'_, String>, name: &str, directory: &Path) {
    let format = |(word, n): &(String, i64), line: &mut Vec<u8>| line.extend(format!("{word}\t{n}").bytes());
    words
        .key_by(|word: &String| word.clone())
        .process(&format!("count {name}"), |open| {
            let count = open.value_state(&ValueStateDescriptor::<i64>::new("count"))?;
            Ok(move |word: &String, _: String, out: &mut Collector<(String, i64)>| {
                let n = count.value()?.unwrap_or(0) + 1;
                count.update(n)?;
                out.collect((word.clone(), n));
                Ok(())
            })
        })
        .sink(
            &format!("sink {name}"),
            FileSink::new(output(directory, name), format).rolling_policy(OnCheckpointRollingPolicy),
        );
}

fn output(directory: &Path, name: &str) -> PathBuf {
    directory.join("output").join(name)
}

fn line_word(n: usize) -> String {
    format!("line{}", n % 11)
}

fn number_word(n: u64) -> String {
    format!("number{}", n % 7)
}

fn long_word(n: u64) -> String {
    format!("long{}", n % 50)
}

/// The directories of the job, as the process sees them that kills it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.path("input")).unwrap();
        LINES.iter().for_each(|(name, lines)| place.write_lines(name, *lines));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write_lines(&self, name: &str, lines: usize) {
        let text: String = (0..lines).map(|n| line_word(n) + "\n").collect();
        fs::write(self.path("input").join(name), text).unwrap();
    }

    fn start(&self, workers: usize, rate: Option<&str>) -> Process {
        let said = File::create(self.path("said")).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", TEST, "--nocapture"])
            .env(DIRECTORY, self.0.path())
            .env(WORKERS, workers.to_string())
            .env_remove(RATE)
            .envs(rate.map(|rate| (RATE, rate)))
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said);
        Process(command.spawn().unwrap())
    }

    /// Number of the newest completed checkpoint, 0 if there is none.
    fn newest_checkpoint(&self) -> u64 {
        let directory = self.path("checkpoints").join(JobId::from_name(JOB).to_string());
        let Ok(entries) = fs::read_dir(directory) else { return 0 };
        entries
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().join("_metadata").exists())
            .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("chk-")?.parse().ok())
            .max()
            .unwrap_or(0)
    }

    fn committed(&self, name: &str) -> Vec<String> {
        let files = committed_files(&output(self.0.path(), name));
        files.iter().flat_map(|(_, text)| text.lines()).map(str::to_owned).collect()
    }

    fn early_sources_are_committed(&self) -> bool {
        let lines: usize = LINES.iter().map(|(_, lines)| lines).sum();
        self.committed("lines").len() >= lines && self.committed("numbers").len() >= NUMBERS as usize
    }

    /// `late`: lines of the file that came later.
    fn assert_early_sources_came_once(&self, late: usize) {
        let lines = LINES.iter().map(|(_, lines)| *lines).chain([late]).flat_map(|lines| (0..lines).map(line_word));
        self.assert_came_once("lines", lines.collect());
        self.assert_came_once("numbers", (0..NUMBERS).map(number_word).collect());
    }

    fn assert_came_once(&self, name: &str, words: Vec<String>) {
        let read = fs::read_to_string(self.path(name)).unwrap();
        let read: Vec<_> = read.lines().map(str::to_owned).collect();
        assert_same(&read, words.clone(), &format!("records read from {name}"));
        assert_same(&self.committed(name), counted(words), &format!("counts of {name}"));
    }

    fn said(&self) -> String {
        fs::read_to_string(self.path("said")).unwrap()
    }
}

/// A run of the job. It does not outlive the test.
struct Process(Child);

impl Process {
    /// Waits until something has come, or the process has ended.
    fn wait_until(&mut self, has_come: impl Fn() -> bool) -> Option<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.0.try_wait().unwrap();
            if ended.is_some() || has_come() {
                return ended;
            }
            assert!(Instant::now() < deadline, "the job makes no progress");
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn kill(mut self) -> ExitStatus {
        self.0.kill().unwrap();
        self.0.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if the process has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What an undisturbed run writes: for every word each count from 1 to its occurrences.
fn counted(words: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut counts = BTreeMap::<String, i64>::new();
    let mut count = |word: String| {
        let n = counts.entry(word.clone()).or_default();
        *n += 1;
        format!("{word}\t{n}")
    };
    words.into_iter().map(&mut count).collect()
}

/// Both hold the same, in whatever order.
fn assert_same(found: &[String], expected: Vec<String>, what: &str) {
    let mut surplus = BTreeMap::<&str, i64>::new();
    found.iter().for_each(|item| *surplus.entry(item).or_default() += 1);
    expected.iter().for_each(|item| *surplus.entry(item).or_default() -= 1);
    surplus.retain(|_, times| *times != 0);
    let some: Vec<_> = surplus.iter().take(5).collect();
    assert!(some.is_empty(), "{what}: {} wrong, missing (-) or too often (+): {some:?}", surplus.len());
}
