//! Buckets: one sub-directory each, by a function of the record or by the time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use highwater_checkpoint::JobId;
use highwater_dataflow::{DateTimeBucketAssigner, DefaultRollingPolicy, FileSink, OnCheckpointRollingPolicy};
use highwater_state::ManualClock;
use highwater_types::ErrorKind;
use tempfile::TempDir;

use crate::harness::{JOB, SinkRun, Snapshot};

/// Lines like `de berlin` go to the bucket `de`, those that begin with a blank to the output directory.
fn sink(dir: &TempDir) -> FileSink<String> {
    let lines = FileSink::new(dir.path(), |line: &String, out| out.extend_from_slice(line.as_bytes()));
    lines.bucket_assigner(|line: &String| line.split(' ').next().unwrap_or_default().to_owned())
}

fn open(
    sink: &FileSink<String>,
    attempt: &str,
    parallelism: u32,
    restore: Option<(u64, &Snapshot)>,
) -> SinkRun<String> {
    SinkRun::open(sink, attempt, parallelism, restore).unwrap()
}

fn write(run: &mut SinkRun<String>, lines: &[&str]) {
    let subtasks = run.writers.len();
    lines.iter().enumerate().for_each(|(i, line)| run.writers[i % subtasks].write((*line).to_owned()).unwrap());
}

/// Every file by its path below the directory.
fn files(dir: &Path) -> BTreeMap<String, String> {
    let (mut found, mut waiting) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(place) = waiting.pop() {
        for entry in fs::read_dir(place).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    found
}

fn names(dir: &TempDir) -> Vec<String> {
    files(dir.path()).into_keys().collect()
}

#[test]
fn every_bucket_has_its_directory_and_no_name_comes_twice() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(&dir).rolling_policy(OnCheckpointRollingPolicy);
    let mut run = open(&sink, "1", 1, None);
    write(&mut run, &["de berlin", "fr/idf paris", " nowhere", "de bonn"]);
    run.prepare(1).unwrap();
    run.commit(1).unwrap();
    write(&mut run, &["de köln"]);
    run.prepare(2).unwrap();
    run.commit(2).unwrap();
    let expected = [
        ("de/part-00112233-out-0-1-1-1", "de berlin\nde bonn\n"),
        ("de/part-00112233-out-0-1-4-2", "de köln\n"),
        ("fr/idf/part-00112233-out-0-1-2-1", "fr/idf paris\n"),
        ("part-00112233-out-0-1-3-1", " nowhere\n"),
    ];
    assert_eq!(files(dir.path()), expected.map(|(name, text)| (name.to_owned(), text.to_owned())).into());
}

#[test]
fn by_the_hour_in_flinks_format() {
    let dir = tempfile::tempdir().unwrap();
    // 2024-02-29T23:59:59Z
    let clock = Arc::new(ManualClock::new(1_709_251_199_000));
    let utc = DateTimeBucketAssigner::with_format_and_zone(DateTimeBucketAssigner::DEFAULT_FORMAT, "UTC").unwrap();
    let mut run = open(&sink(&dir).bucket_assigner(utc).clock(clock.clone()), "1", 1, None);
    write(&mut run, &["before"]);
    clock.advance(1_000);
    write(&mut run, &["after"]);
    run.prepare_last(1).unwrap();
    run.commit(1).unwrap();
    assert_eq!(names(&dir), ["2024-02-29--23/part-00112233-out-0-1-1-1", "2024-03-01--00/part-00112233-out-0-1-2-1"]);
}

#[test]
fn ids_that_lead_out_of_the_directory_fail_the_job() {
    let dir = tempfile::tempdir().unwrap();
    let output = TempDir::new_in(dir.path()).unwrap();
    let mut run = open(&sink(&output), "1", 1, None);
    for id in ["..", "../other", "/etc", "a//b", "a/../../b", ".hidden", "a/"] {
        let error = run.writers[0].write(format!("{id} line")).unwrap_err();
        assert_eq!((error.kind(), error.value("bucket")), (ErrorKind::Program, Some(&*format!("'{id}'"))));
    }
    run.prepare_last(1).unwrap();
    assert_eq!(files(dir.path()).len(), 0);
}

/// Open files below a directory.
#[cfg(target_os = "linux")]
fn handles(dir: &TempDir) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    links.filter(|path| path.starts_with(dir.path())).count()
}

#[cfg(target_os = "linux")]
#[test]
fn buckets_that_rest_are_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(0));
    let policy = DefaultRollingPolicy::new().inactivity_interval(Duration::from_secs(10));
    let mut run = open(&sink(&dir).rolling_policy(policy).clock(clock.clone()), "1", 1, None);
    for hundred in 0..5 {
        (0..100).for_each(|i| write(&mut run, &[&format!("{} {}", 100 * hundred + i, "x".repeat(70_000))]));
        assert!(handles(&dir) >= 100);
        clock.advance(10_000);
        run.look_at_clock();
        assert!(handles(&dir) <= 64, "{} files are open", handles(&dir));
    }
    run.prepare(1).unwrap();
    assert_eq!(handles(&dir), 0);
    run.commit(1).unwrap();
    assert_eq!(names(&dir).len(), 500);
}

/// A run that dies in the middle of its third checkpoint, with files of all kinds in many buckets.
fn crashed(dir: &TempDir) -> Snapshot {
    let mut run = open(&sink(dir).rolling_policy(DefaultRollingPolicy::new().max_part_size(20)), "1", 2, None);
    write(&mut run, &["de berlin", "fr paris", "de bonn and more than enough", "fr lyon"]);
    run.prepare(1).unwrap();
    run.commit(1).unwrap();
    write(&mut run, &["de hamm", " nowhere", "it/lazio rome", "fr nancy and more than enough"]);
    let snapshot = run.prepare(2).unwrap();
    write(&mut run, &["de ulm", "fr nice", "es sevilla", "it/lazio latina"]);
    run.prepare_only(3).unwrap();
    snapshot
}

const OF_TWO_CHECKPOINTS: [&str; 8] = [
    " nowhere",
    "de berlin",
    "de bonn and more than enough",
    "de hamm",
    "fr lyon",
    "fr nancy and more than enough",
    "fr paris",
    "it/lazio rome",
];

fn committed_lines(dir: &TempDir) -> Vec<String> {
    let committed =
        files(dir.path()).into_iter().filter(|(path, _)| path.rsplit('/').next().unwrap().starts_with("part-"));
    let mut lines: Vec<String> =
        committed.flat_map(|(_, text)| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_restore_commits_and_cleans_up_in_all_buckets() {
    for parallelism in 1..4 {
        let dir = tempfile::tempdir().unwrap();
        let snapshot = crashed(&dir);
        fs::create_dir(dir.path().join(".archive")).unwrap();
        let foreign =
            [".archive/.part-00112233-out-0-9-1", "de/notes.txt", "fr/.part-00112233-other-0-9-1", "fr/part-0.parquet"];
        foreign.iter().for_each(|name| fs::write(dir.path().join(name), "").unwrap());
        for attempt in ["2", "3"] {
            drop(open(&sink(&dir), attempt, parallelism, Some((2, &snapshot))));
            assert_eq!(committed_lines(&dir), OF_TWO_CHECKPOINTS);
            let others =
                names(&dir).into_iter().filter(|path| !path.contains("part-00112233-out-") || path.starts_with('.'));
            assert_eq!(others.collect::<Vec<_>>(), foreign, "nothing is left behind, and nothing of others is gone");
        }
    }
}

#[test]
fn a_job_that_gives_up_its_buckets_finds_what_it_wrote_there() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = crashed(&dir);
    let flat = FileSink::new(dir.path(), |line: &String, out| out.extend_from_slice(line.as_bytes()));
    drop(open(&flat, "2", 2, Some((2, &snapshot))));
    assert_eq!(committed_lines(&dir), OF_TWO_CHECKPOINTS);
}

#[test]
fn whole_buckets_may_be_taken_away_when_the_job_was_stopped() {
    let (dir, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut run = open(&sink(&dir), "1", 2, None);
    write(&mut run, &["de berlin", "fr/idf paris", "de bonn", "fr/idf saclay"]);
    let snapshot = run.prepare_last(1).unwrap();
    run.commit(1).unwrap();
    drop(run);
    for bucket in ["de", "fr"] {
        fs::rename(dir.path().join(bucket), archive.path().join(bucket)).unwrap();
    }
    let mut run = open(&sink(&dir), "2", 3, Some((1, &snapshot)));
    write(&mut run, &["de ulm"]);
    run.prepare_last(2).unwrap();
    run.commit(2).unwrap();
    assert_eq!((committed_lines(&dir).len(), committed_lines(&archive).len()), (1, 4));
}

#[test]
fn a_bucket_that_was_taken_away_with_a_file_in_progress_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = open(&sink(&dir), "1", 1, None);
    write(&mut run, &["de berlin"]);
    let snapshot = run.prepare(1).unwrap();
    drop(run);
    fs::remove_dir_all(dir.path().join("de")).unwrap();
    let error = SinkRun::open(&sink(&dir), "2", 1, Some((1, &snapshot))).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.value("file").unwrap().ends_with("/de/.part-00112233-out-0-1-1"), "{error}");
}

#[test]
fn what_was_committed_in_buckets_is_seen_by_a_fresh_start_and_an_older_restore() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = open(&sink(&dir).rolling_policy(OnCheckpointRollingPolicy), "1", 1, None);
    write(&mut run, &["de berlin"]);
    let first = run.prepare(1).unwrap();
    run.commit(1).unwrap();
    write(&mut run, &["fr/idf paris"]);
    run.prepare(2).unwrap();
    run.commit(2).unwrap();
    drop(run);
    let error = SinkRun::open(&sink(&dir), "2", 1, Some((1, &first))).err().unwrap();
    assert_eq!(error.value("files"), Some("part-00112233-out-0-1-2-2"));
    let error = SinkRun::open(&sink(&dir), "2", 1, None).err().unwrap();
    assert_eq!(error.value("files"), Some("part-00112233-out-0-1-1-1, part-00112233-out-0-1-2-2"));
}

#[test]
fn the_output_of_a_sink_is_listed_and_removed_by_its_names_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = crashed(&dir);
    let foreign = ["de/part-00000-8f3c.snappy.parquet", "fr/part-ffeeddcc-out-0-1-1-1", "part-00112233-other-0-1-1-1"];
    foreign.iter().for_each(|name| fs::write(dir.path().join(name), "").unwrap());
    let (sink, job) = (sink(&dir), JOB.parse::<JobId>().unwrap());
    let committed = sink.committed_files(job, "out").unwrap();
    assert!(committed.iter().all(|path| path.file_name().unwrap().starts_with("part-00112233-out-")), "{committed:?}");
    assert_eq!(committed.len(), 1, "{committed:?}");

    let before = names(&dir).len();
    assert_eq!(sink.remove_output(job, "out").unwrap(), before - foreign.len());
    assert_eq!(names(&dir), foreign);
    let buckets = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap()).filter(|e| e.path().is_dir());
    assert_eq!(buckets.count(), 2, "those that became empty are gone");
    assert_eq!(sink.remove_output(job, "out").unwrap(), 0);
    fs::remove_file(dir.path().join(foreign[1])).unwrap();
    drop(open(&sink, "2", 1, None));
    drop(snapshot);
}
