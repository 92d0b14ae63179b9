//! The file sink on real files: what is committed when, and what it refuses.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use highwater_dataflow::{FileSink, OnCheckpointRollingPolicy, Sink, SinkContext};
use highwater_state::OperatorStateBackend;
use highwater_types::ErrorKind;
use tempfile::TempDir;

use crate::harness::{JOB, SinkRun, Snapshot};

fn sink(dir: &TempDir) -> FileSink<String> {
    let lines = FileSink::new(dir.path(), |line: &String, out| out.extend_from_slice(line.as_bytes()));
    lines.rolling_policy(OnCheckpointRollingPolicy)
}

fn open(dir: &TempDir, attempt: &str, parallelism: u32, restore: Option<(u64, &Snapshot)>) -> SinkRun<String> {
    SinkRun::open(&sink(dir), attempt, parallelism, restore).unwrap()
}

/// Name and content of all files, committed ones and others.
fn files(dir: &Path) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let read =
        |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap());
    let all = fs::read_dir(dir).unwrap().map(|entry| read(entry.unwrap()));
    all.partition(|(name, _)| name.starts_with("part-"))
}

fn committed_lines(dir: &TempDir) -> Vec<String> {
    let (committed, _) = files(dir.path());
    let mut lines: Vec<String> = committed.values().flat_map(|text| text.lines()).map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

fn write(run: &mut SinkRun<String>, lines: &[&str]) {
    let subtasks = run.writers.len();
    for (i, line) in lines.iter().enumerate() {
        run.writers[i % subtasks].write((*line).to_owned()).unwrap();
    }
}

#[test]
fn lines_are_seen_when_their_checkpoint_is_complete_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = open(&dir, "1", 2, None);
    write(&mut run, &["a", "b", "c"]);
    run.prepare(1).unwrap();
    let (committed, pending) = files(dir.path());
    assert!(committed.is_empty());
    assert_eq!(pending.len(), 4, "two files with their marks: {pending:?}");
    assert!(pending.keys().all(|name| name.starts_with('.')), "{pending:?}");

    write(&mut run, &["behind the barrier"]);
    run.commit(1).unwrap();
    let (committed, _) = files(dir.path());
    assert_eq!(committed.keys().collect::<Vec<_>>(), ["part-00112233-out-0-1-1-1", "part-00112233-out-1-1-1-1"]);
    assert_eq!(committed.values().collect::<Vec<_>>(), ["a\nc\n", "b\n"]);
    run.commit(1).unwrap();
    assert_eq!(files(dir.path()).0, committed, "a commit told twice does nothing");
}

#[test]
fn a_failed_checkpoint_travels_on_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = open(&dir, "1", 1, None);
    write(&mut run, &["a"]);
    run.prepare(1).unwrap();
    write(&mut run, &["b"]);
    run.prepare(2).unwrap();
    write(&mut run, &["c"]);
    run.prepare(3).unwrap();
    run.commit(2).unwrap();
    assert_eq!(committed_lines(&dir), ["a", "b"]);
    run.commit(3).unwrap();
    assert_eq!(committed_lines(&dir), ["a", "b", "c"]);
}

#[test]
fn subtasks_without_records_make_no_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = open(&dir, "1", 3, None);
    write(&mut run, &["only one"]);
    for checkpoint in 1..4 {
        run.prepare(checkpoint).unwrap();
        run.commit(checkpoint).unwrap();
    }
    let (committed, pending) = files(dir.path());
    assert_eq!((committed.len(), pending.len()), (1, 0));
}

#[test]
fn a_restore_commits_what_the_checkpoint_lists_and_removes_the_rest() {
    for parallelism in [1, 2, 3, 5] {
        let dir = tempfile::tempdir().unwrap();
        let mut run = open(&dir, "1", 3, None);
        write(&mut run, &["a", "b", "c"]);
        run.prepare(1).unwrap();
        run.commit(1).unwrap();
        write(&mut run, &["d", "e", "f", "g"]);
        let snapshot = run.prepare(2).unwrap();
        write(&mut run, &["h", "i", "j"]);
        run.prepare(3).unwrap();
        write(&mut run, &["k", "l", "m"]);
        // One subtask hears that 2 is complete, then the attempt dies in the middle of 4.
        run.writers[1].commit(2).unwrap();
        run.writers[0].prepare(4).unwrap();
        drop(run);

        // Twice, as the first attempt after it may die at once.
        for attempt in ["2", "3"] {
            let restored = open(&dir, attempt, parallelism, Some((2, &snapshot)));
            assert_eq!(committed_lines(&dir), ["a", "b", "c", "d", "e", "f", "g"]);
            assert!(files(dir.path()).1.is_empty(), "nothing pending is left behind");
            drop(restored);
        }
    }
}

#[test]
fn a_restored_list_is_not_listed_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = open(&dir, "1", 1, None);
    write(&mut run, &["a"]);
    let first = run.prepare(1).unwrap();
    let mut run = open(&dir, "2", 2, Some((1, &first)));
    write(&mut run, &["b", "c"]);
    let second = run.prepare(2).unwrap();
    // What was committed may be moved away by then.
    for name in files(dir.path()).0.keys() {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let restored = open(&dir, "3", 1, Some((2, &second)));
    assert_eq!(committed_lines(&dir), ["b", "c"]);
    drop(restored);
}

#[test]
fn files_of_other_jobs_other_sinks_and_other_people_stay() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = [".part-ffeeddcc-out-0-9-1", ".part-00112233-other-0-9-1", ".part-notes", "readme.txt", ".hidden"];
    for name in foreign {
        fs::write(dir.path().join(name), "not yours\n").unwrap();
    }
    fs::write(dir.path().join(".part-00112233-out-0-9-1"), "left behind\n").unwrap();
    let mut run = open(&dir, "1", 2, None);
    write(&mut run, &["a"]);
    run.prepare(1).unwrap();
    run.commit(1).unwrap();
    let (_, others) = files(dir.path());
    let mut expected = foreign.to_vec();
    expected.sort_unstable();
    assert_eq!(others.keys().collect::<Vec<_>>(), expected);
}

#[test]
fn subtasks_that_open_late_leave_files_of_the_running_attempt_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut early = open(&dir, "same", 1, None);
    write(&mut early, &["a"]);
    early.prepare(1).unwrap();
    let late = open(&dir, "same", 1, None);
    early.commit(1).unwrap();
    assert_eq!(committed_lines(&dir), ["a"]);
    drop(late);
}

#[test]
fn a_fresh_start_into_a_directory_with_committed_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    // Files of other programs and of other sinks are none of its business.
    for name in ["part-00000-8f3c.snappy.parquet", "part-anybody", "part-00112233-other-0-1-1-1"] {
        fs::write(dir.path().join(name), "line\n").unwrap();
    }
    drop(open(&dir, "1", 1, None));
    fs::write(dir.path().join("part-ffeeddcc-out-0-1-1-1"), "line\n").unwrap();
    let error = SinkRun::open(&sink(&dir), "1", 1, None).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert_eq!(error.value("files"), Some("part-ffeeddcc-out-0-1-1-1"));
    assert!(error.message().contains("choose another directory"), "{error}");
}

#[test]
fn a_restore_from_before_what_was_committed_is_refused_and_names_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = open(&dir, "1", 1, None);
    let mut snapshots = Vec::new();
    for checkpoint in 1..=3 {
        write(&mut run, &["line"]);
        snapshots.push(run.prepare(checkpoint).unwrap());
        run.commit(checkpoint).unwrap();
    }
    drop(run);
    let before = files(dir.path());
    // Under another name of the job it is as wrong.
    for job in [JOB, "ffeeddccbbaa99887766554433221100"] {
        let error = SinkRun::open_as(&sink(&dir), job, "2", 1, Some((1, &snapshots[0]))).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Incompatible);
        assert_eq!(error.value("files"), Some("part-00112233-out-0-1-2-2, part-00112233-out-0-1-3-3"));
        assert_eq!(error.value("checkpoint"), Some("1"));
    }
    assert_eq!(files(dir.path()), before, "nothing was touched");
    SinkRun::open(&sink(&dir), "2", 1, Some((3, &snapshots[2]))).unwrap();
}

#[test]
fn a_listed_file_that_is_gone_or_changed_is_an_error() {
    for change in [None, Some("cut")] {
        let dir = tempfile::tempdir().unwrap();
        let mut run = open(&dir, "1", 1, None);
        write(&mut run, &["a long line"]);
        let snapshot = run.prepare(1).unwrap();
        let path = dir.path().join(".part-00112233-out-0-1-1");
        match change {
            None => fs::remove_file(&path).unwrap(),
            Some(text) => fs::write(&path, text).unwrap(),
        }
        let error = SinkRun::open(&sink(&dir), "2", 1, Some((1, &snapshot))).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.value("file").unwrap().ends_with(".part-00112233-out-0-1-1"), "{error}");
    }
}

#[test]
fn what_the_user_does_to_a_committed_file_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = open(&dir, "1", 1, None);
    write(&mut run, &["a"]);
    let snapshot = run.prepare(1).unwrap();
    run.commit(1).unwrap();
    fs::write(dir.path().join("part-00112233-out-0-1-1-1"), "a\nand a note of mine\n").unwrap();
    drop(open(&dir, "2", 1, Some((1, &snapshot))));
    assert_eq!(committed_lines(&dir), ["a", "and a note of mine"]);
}

#[test]
fn a_crash_in_the_middle_of_a_rename_that_left_both_names_is_put_right() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = open(&dir, "1", 1, None);
    write(&mut run, &["a"]);
    let snapshot = run.prepare(1).unwrap();
    let (pending, committed) = (".part-00112233-out-0-1-1", "part-00112233-out-0-1-1-1");
    fs::hard_link(dir.path().join(pending), dir.path().join(committed)).unwrap();
    let restored = open(&dir, "2", 2, Some((1, &snapshot)));
    assert_eq!(committed_lines(&dir), ["a"]);
    assert!(files(dir.path()).1.is_empty());
    drop(restored);
}

#[test]
fn a_job_that_moves_to_another_directory_takes_along_what_is_not_committed() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut run = open(&old, "1", 2, None);
    write(&mut run, &["a", "b"]);
    let snapshot = run.prepare(1).unwrap();
    // One subtask hears that 1 is complete.
    run.writers[0].commit(1).unwrap();
    let mut moved = open(&new, "2", 2, Some((1, &snapshot)));
    write(&mut moved, &["c"]);
    moved.prepare(2).unwrap();
    moved.commit(2).unwrap();
    assert_eq!(
        (committed_lines(&old), committed_lines(&new)),
        (vec!["a".to_owned()], vec!["b".to_owned(), "c".to_owned()])
    );
}

#[test]
fn a_uid_too_long_for_file_names_is_refused_and_any_other_is_fine() {
    let dir = tempfile::tempdir().unwrap();
    let open = |uid: &str| {
        let state = OperatorStateBackend::builder().build().unwrap();
        let (job_id, attempt, restored_checkpoint) = (JOB, "1", None);
        let context =
            SinkContext { job_id, uid, subtask: 0, parallelism: 1, attempt, restored_checkpoint, state: &state };
        let mut writer = sink(&dir).open(&context)?;
        writer.write("line".to_owned())?;
        writer.prepare(1)
    };
    for uid in ["../../etc", "a b\\c", "größe", "."] {
        open(uid).unwrap();
    }
    assert_eq!(files(dir.path()).1.len(), 8, "all of them below the directory, each with its mark");
    let error = open(&"x".repeat(200)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

#[test]
fn the_sink_says_that_it_depends_on_checkpoints() {
    assert!(sink(&tempfile::tempdir().unwrap()).is_exactly_once());
}
