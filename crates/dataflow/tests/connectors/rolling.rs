//! Part files are closed by the rolling policy, not by every checkpoint. What a checkpoint covers of a file in progress
//! is exact, whatever comes behind it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater_backends::FsStateBackend;
use highwater_dataflow::{
    DefaultRollingPolicy, ExecutionConfig, FileSink, GeneratorSource, Job, JobHandle, JobOutcome, PartFileInfo,
    RollingPolicy,
};
use highwater_state::ManualClock;
use highwater_types::ErrorKind;
use tempfile::TempDir;

use crate::harness::{SinkRun, Snapshot};

const DEADLINE: Duration = Duration::from_secs(120);

fn lines_to(directory: &Path) -> FileSink<String> {
    FileSink::new(directory, |line: &String, out| out.extend_from_slice(line.as_bytes()))
}

/// A directory with a sink whose clock stands still.
struct Place {
    dir: TempDir,
    clock: Arc<ManualClock>,
    sink: FileSink<String>,
}

impl Place {
    fn new(policy: impl RollingPolicy<String>) -> Self {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::new(1_000_000)));
        let sink = lines_to(dir.path()).rolling_policy(policy).clock(clock.clone());
        Self { dir, clock, sink }
    }

    fn open(&self, attempt: &str, parallelism: u32, restore: Option<(u64, &Snapshot)>) -> SinkRun<String> {
        SinkRun::open(&self.sink, attempt, parallelism, restore).unwrap()
    }

    /// Names and lines of the committed files.
    fn committed(&self) -> Vec<(String, Vec<String>)> {
        let names = self.names().into_iter().filter(|name| name.starts_with("part-"));
        let lines = |name: &str| fs::read_to_string(self.dir.path().join(name)).unwrap();
        names.map(|name| (name.clone(), lines(&name).lines().map(str::to_owned).collect())).collect()
    }

    fn lines(&self) -> BTreeSet<String> {
        self.committed().into_iter().flat_map(|(_, lines)| lines).collect()
    }

    fn names(&self) -> BTreeSet<String> {
        fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn checkpoint(&self, run: &mut SinkRun<String>, id: u64) -> Snapshot {
        let snapshot = run.prepare(id).unwrap();
        run.commit(id).unwrap();
        snapshot
    }
}

fn write(run: &mut SinkRun<String>, lines: impl IntoIterator<Item = String>) {
    let subtasks = run.writers.len();
    lines.into_iter().enumerate().for_each(|(i, line)| run.writers[i % subtasks].write(line).unwrap());
}

fn numbered(tag: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |i| format!("{tag} {i}"))
}

#[test]
fn many_checkpoints_make_few_files() {
    let place = Place::new(DefaultRollingPolicy::new());
    let mut run = place.open("1", 2, None);
    for checkpoint in 1..=100 {
        write(&mut run, numbered(&checkpoint.to_string(), 4));
        place.checkpoint(&mut run, checkpoint);
        assert_eq!(place.names().len(), 4, "a file in progress for each subtask, and its mark");
    }
    assert!(place.committed().is_empty());
    run.prepare_last(101).unwrap();
    run.commit(101).unwrap();
    let committed = place.committed();
    assert_eq!(committed.iter().map(|(_, lines)| lines.len()).collect::<Vec<_>>(), [200, 200]);
    assert_eq!(place.names().len(), 2, "nothing else remains");
}

#[test]
fn a_file_is_closed_when_it_rests_and_when_it_is_old() {
    let policy = DefaultRollingPolicy::new().rollover_interval(Duration::from_secs(100));
    let place = Place::new(policy.inactivity_interval(Duration::from_secs(30)));
    let mut run = place.open("1", 1, None);
    write(&mut run, numbered("rests", 1));
    assert_eq!(run.look_at_clock(), Some(Duration::from_secs(60)), "Flink's bucket check interval");
    place.clock.advance(29_999);
    run.look_at_clock();
    place.checkpoint(&mut run, 1);
    assert!(place.committed().is_empty());
    place.clock.advance(1);
    run.look_at_clock();
    assert!(place.committed().is_empty(), "closed, but not yet covered by a checkpoint");
    place.checkpoint(&mut run, 2);
    assert_eq!(place.lines(), numbered("rests", 1).collect());

    // Never at rest for long.
    let mut expected: BTreeSet<String> = numbered("rests", 1).collect();
    for i in 0..10 {
        write(&mut run, [format!("busy {i}")]);
        expected.insert(format!("busy {i}"));
        place.clock.advance(10_000);
        run.look_at_clock();
        place.checkpoint(&mut run, 3 + i);
        assert_eq!(place.committed().len(), if i < 9 { 1 } else { 2 });
    }
    assert_eq!(place.lines(), expected);
}

#[test]
fn a_file_is_closed_at_its_size_before_the_next_record_and_with_a_checkpoint() {
    let place = Place::new(DefaultRollingPolicy::new().max_part_size(100_000));
    let mut run = place.open("1", 1, None);
    let lines: Vec<String> = (0..20_000).map(|i| format!("line {i:06}")).collect();
    write(&mut run, lines.iter().cloned());
    place.checkpoint(&mut run, 1);
    let committed = place.committed();
    assert_eq!(committed.iter().map(|(_, lines)| lines.len()).collect::<Vec<_>>(), [8_334, 8_334], "12 bytes each");
    write(&mut run, numbered(&"x".repeat(100_000), 1));
    assert_eq!(place.committed().len(), 2);
    place.checkpoint(&mut run, 2);
    assert_eq!(place.lines().len(), 20_001);
}

/// Closes a file before each record that says so.
#[derive(Debug)]
struct AtMarkers;

impl RollingPolicy<String> for AtMarkers {
    fn should_roll_on_checkpoint(&self, _: &PartFileInfo<'_>) -> bool {
        false
    }

    fn should_roll_on_event(&self, part: &PartFileInfo<'_>, line: &String) -> bool {
        assert_eq!((part.bucket_id, part.creation_time), ("", 1_000_000));
        assert!(part.size > 0);
        line == "begin"
    }

    fn should_roll_on_processing_time(&self, _: &PartFileInfo<'_>, _: i64) -> bool {
        false
    }
}

#[test]
fn a_policy_of_ones_own_sees_the_records() {
    let place = Place::new(AtMarkers);
    let mut run = place.open("1", 1, None);
    write(&mut run, ["begin", "a", "begin", "b", "c", "begin"].map(str::to_owned));
    place.checkpoint(&mut run, 1);
    let lines: Vec<_> = place.committed().into_iter().map(|(_, lines)| lines).collect();
    assert_eq!(lines, [vec!["begin", "a"], vec!["begin", "b", "c"]]);
}

/// A run of three subtasks with files in progress over two checkpoints, and lines behind the second. Some have reached
/// the file, others wait in the buffer.
fn in_progress(place: &Place) -> (SinkRun<String>, Snapshot, Snapshot) {
    let mut run = place.open("1", 3, None);
    write(&mut run, numbered("one", 7));
    let first = place.checkpoint(&mut run, 1);
    write(&mut run, numbered("two", 8));
    let second = place.checkpoint(&mut run, 2);
    write(&mut run, numbered(&"behind ".repeat(10_000), 2));
    write(&mut run, numbered("behind", 5));
    (run, first, second)
}

#[test]
fn a_restore_commits_files_in_progress_up_to_their_checkpoint_at_any_parallelism() {
    for parallelism in 1..=5 {
        let place = Place::new(DefaultRollingPolicy::new());
        let (run, _, second) = in_progress(&place);
        drop(run);
        let expected: BTreeSet<String> = numbered("one", 7).chain(numbered("two", 8)).collect();
        // Twice, as the first attempt after it may die at once.
        for attempt in ["2", "3"] {
            let mut restored = place.open(attempt, parallelism, Some((2, &second)));
            assert_eq!(place.lines(), expected);
            assert_eq!(place.names().len(), 3, "nothing is left behind: {:?}", place.names());
            write(&mut restored, numbered("lost", 9));
        }
        let mut restored = place.open("4", parallelism, Some((2, &second)));
        write(&mut restored, numbered("three", 9));
        restored.prepare_last(3).unwrap();
        restored.commit(3).unwrap();
        assert_eq!(place.lines(), expected.into_iter().chain(numbered("three", 9)).collect());
    }
}

#[test]
fn an_older_checkpoint_can_be_restored_as_long_as_nothing_was_committed_behind_it() {
    let place = Place::new(DefaultRollingPolicy::new());
    let (run, first, second) = in_progress(&place);
    drop(run);
    drop(place.open("2", 2, Some((1, &first))));
    assert_eq!(place.lines(), numbered("one", 7).collect());

    let place = Place::new(DefaultRollingPolicy::new());
    let (mut run, first, _) = in_progress(&place);
    run.prepare_last(3).unwrap();
    run.commit(3).unwrap();
    let error = SinkRun::open(&place.sink, "2", 2, Some((2, &second))).err().unwrap();
    assert_eq!((error.kind(), error.value("checkpoint")), (ErrorKind::Incompatible, Some("2")));
    // Taken away, the files are the user's business.
    place.committed().iter().for_each(|(name, _)| fs::remove_file(place.dir.path().join(name)).unwrap());
    drop(place.open("2", 2, Some((1, &first))));
    assert!(place.names().is_empty());
}

#[test]
fn a_checkpoint_that_was_given_up_leaves_its_share_to_the_next() {
    let place = Place::new(DefaultRollingPolicy::new().max_part_size(30));
    let mut run = place.open("1", 2, None);
    write(&mut run, numbered("one", 7));
    run.prepare_only(1).unwrap();
    write(&mut run, numbered("two", 3));
    let second = run.prepare(2).unwrap();
    write(&mut run, numbered("behind", 9));
    run.prepare_only(3).unwrap();
    drop(run);
    drop(place.open("2", 3, Some((2, &second))));
    assert_eq!(place.lines(), numbered("one", 7).chain(numbered("two", 3)).collect());
}

#[test]
fn a_final_checkpoint_that_was_given_up_lets_the_sink_go_on() {
    let place = Place::new(DefaultRollingPolicy::new());
    let mut run = place.open("1", 1, None);
    write(&mut run, numbered("one", 3));
    run.writers[0].finish().unwrap();
    run.prepare_only(1).unwrap();
    write(&mut run, numbered("two", 3));
    place.checkpoint(&mut run, 2);
    assert_eq!(place.lines(), numbered("one", 3).collect(), "closed by the first");
    run.prepare_last(3).unwrap();
    run.commit(3).unwrap();
    assert_eq!(place.lines(), numbered("one", 3).chain(numbered("two", 3)).collect());
}

#[test]
fn a_file_in_progress_that_is_gone_or_too_short_is_an_error_that_names_it() {
    for content in [None, Some("one 0\n")] {
        let place = Place::new(DefaultRollingPolicy::new());
        let (run, _, second) = in_progress(&place);
        drop(run);
        let path = place.dir.path().join(".part-00112233-out-1-1-1");
        match content {
            None => fs::remove_file(&path).unwrap(),
            Some(content) => fs::write(&path, content).unwrap(),
        }
        for parallelism in [3, 1] {
            let error = SinkRun::open(&place.sink, "2", parallelism, Some((2, &second))).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.value("file").unwrap().ends_with("/.part-00112233-out-1-1-1"), "{error}");
        }
    }
}

#[test]
fn what_still_writes_to_a_file_in_progress_cannot_reach_what_was_restored() {
    let place = Place::new(DefaultRollingPolicy::new());
    let (mut stale, _, second) = in_progress(&place);
    drop(place.open("2", 3, Some((2, &second))));
    let before = place.committed();
    // As a process does that was stopped for a while and thought to be dead.
    for writer in &mut stale.writers {
        let _ = writer.write("stale ".repeat(50_000));
        let _ = writer.prepare(3);
    }
    assert_eq!(place.committed(), before);
}

/// A job that counts to files.
fn counting(sink: FileSink<u64>, count: u64, rate: f64) -> Job {
    Job::new("counting", move |env| {
        let numbers = GeneratorSource::new(|index| index).count(count).rate(rate);
        env.source("numbers", numbers).sink("out", sink.clone());
        Ok(())
    })
}

fn config(dir: &TempDir) -> ExecutionConfig {
    let backend = FsStateBackend::new(format!("file://{}/checkpoints", dir.path().display())).unwrap();
    ExecutionConfig::new().workers(2).state_backend(backend).checkpoint_interval(Duration::from_millis(10))
}

fn numbers_to(dir: &TempDir) -> FileSink<u64> {
    FileSink::new(dir.path().join("out"), |n: &u64, line| line.extend_from_slice(n.to_string().as_bytes()))
}

fn parts(dir: &TempDir) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir.path().join("out")) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("part-")).collect()
}

#[test]
fn a_job_with_frequent_checkpoints_leaves_one_file_for_each_subtask() {
    let dir = tempfile::tempdir().unwrap();
    let long = Duration::from_secs(3_600);
    let policy = DefaultRollingPolicy::new().rollover_interval(long).inactivity_interval(long);
    let handle = JobHandle::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            while handle.progress().completed_checkpoints <= 5 && start.elapsed() < DEADLINE {
                std::thread::sleep(Duration::from_millis(1));
            }
            handle.stop();
        });
        // As long as it takes, however slow the machine is.
        let job = counting(numbers_to(&dir).rolling_policy(policy), u64::MAX, 4_000.0);
        let result = job.execute(&config(&dir).handle(&handle)).unwrap();
        assert_eq!(result.outcome, JobOutcome::Stopped);
        assert!(result.progress.completed_checkpoints > 5, "{:?}", result.progress);
    });
    assert_eq!(parts(&dir).len(), 2);
    assert_eq!(fs::read_dir(dir.path().join("out")).unwrap().count(), 2, "nothing hidden remains");
}

#[test]
fn a_running_job_shows_what_has_come_of_age() {
    let dir = tempfile::tempdir().unwrap();
    let soon = Duration::from_millis(20);
    let policy = DefaultRollingPolicy::new().rollover_interval(soon * 1_000).inactivity_interval(soon);
    let sink = numbers_to(&dir).rolling_policy(policy).bucket_check_interval(soon);
    let handle = JobHandle::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            while parts(&dir).is_empty() && start.elapsed() < DEADLINE {
                std::thread::sleep(Duration::from_millis(1));
            }
            let seen = parts(&dir).len();
            handle.stop();
            assert!(seen > 0, "nothing was committed");
        });
        // A record every half second.
        let job = counting(sink, 1_000, 2.0);
        assert_eq!(job.execute(&config(&dir).handle(&handle)).unwrap().outcome, JobOutcome::Stopped);
    });
}
