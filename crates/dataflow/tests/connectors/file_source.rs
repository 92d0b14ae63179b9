//! Lines of files: each exactly once, whoever reads them, and an error that names the file when it is not what it was.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use highwater_dataflow::{FileSource, SourceStatus};
use highwater_types::ErrorKind;
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

use crate::harness::{SourceRun, SourceSnapshot};

fn directory_with(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(dir.path().join(name), content).unwrap();
    }
    dir
}

fn read_all(source: &FileSource, parallelism: u32, snapshot: Option<&SourceSnapshot>) -> Vec<String> {
    let mut lines = SourceRun::open(source, parallelism, snapshot).unwrap().drain().unwrap();
    lines.sort_unstable();
    lines
}

fn lines_of(dir: &Path) -> FileSource {
    FileSource::lines([dir])
}

#[test]
fn line_ends_are_no_part_of_lines_and_the_last_one_may_be_missing() {
    let dir = directory_with(&[("a", b"one\r\ntwo\n\nthree \r four"), ("b", b"\n"), ("empty", b"")]);
    assert_eq!(
        SourceRun::open(&lines_of(dir.path()), 1, None).unwrap().drain().unwrap(),
        ["one", "two", "", "three \r four", ""]
    );
}

#[test]
fn one_large_file_is_read_by_several_subtasks() {
    let text: String = (0..1_000).map(|i| format!("line {i}\n")).collect();
    let dir = directory_with(&[("large", text.as_bytes())]);
    let mut run = SourceRun::open(&lines_of(dir.path()).split_size(1_000), 3, None).unwrap();
    let mut shares = [0; 3];
    while shares.iter().sum::<usize>() < 1_000 {
        for (subtask, share) in shares.iter_mut().enumerate() {
            *share += run.poll(subtask, 10).unwrap().1.len();
        }
    }
    assert!(shares.iter().all(|&share| share > 200), "{shares:?}");
}

/// Splits were shared out beforehand: whoever had a slow worker had its share to itself, and the others stood still.
#[test]
fn a_slow_reader_holds_nobody_up() {
    let text: String = (0..1_000).map(|i| format!("line {i}\n")).collect();
    let dir = directory_with(&[("large", text.as_bytes())]);
    let mut run = SourceRun::open(&lines_of(dir.path()).split_size(1_000), 3, None).unwrap();
    let (_, begun) = run.poll(0, 1).unwrap();
    assert_eq!(begun.len(), 1, "the first reader is in the middle of a split");
    let others = run.drain_one(1).unwrap().len();
    assert!(others > 800, "{others} lines are read while the first reader does nothing");
    assert_eq!(begun.len() + others + run.drain().unwrap().len(), 1_000);
}

#[test]
fn one_large_file_goes_on_with_three_subtasks_from_the_middle_of_one() {
    let text: String = (0..3_000).map(|i| format!("line {i:04}\n")).collect();
    let dir = directory_with(&[("large", text.as_bytes())]);
    let source = lines_of(dir.path()).split_size(1_000);
    let mut alone = SourceRun::open(&source, 1, None).unwrap();
    let (_, mut lines) = alone.poll(0, 1_234).unwrap();
    let snapshot = alone.snapshot();

    let mut three = SourceRun::open(&source, 3, Some(&snapshot)).unwrap();
    lines.extend(three.drain().unwrap());
    lines.sort_unstable();
    assert_eq!(lines, text.lines().collect::<Vec<_>>());
}

#[test]
fn a_finished_source_stays_finished_and_reads_only_what_is_new() {
    let dir = directory_with(&[("a", b"1\n2\n"), ("b", b"3\n")]);
    let source = lines_of(dir.path());
    let mut run = SourceRun::open(&source, 2, None).unwrap();
    assert_eq!(run.drain().unwrap().len(), 3);
    let snapshot = run.snapshot();
    assert_eq!(run.poll(0, 10).unwrap(), (SourceStatus::NeedsSplit, vec![]));
    assert!(read_all(&source, 3, Some(&snapshot)).is_empty());

    fs::write(dir.path().join("c"), "4\n5\n").unwrap();
    let source = source.rest_time(Duration::ZERO);
    assert_eq!(read_all(&source, 3, Some(&snapshot)), ["4", "5"]);
}

#[test]
fn files_of_the_state_are_read_on_even_if_nobody_names_them() {
    let dir = directory_with(&[("a", b"1\n2\n3\n")]);
    let mut run = SourceRun::open(&lines_of(dir.path()), 1, None).unwrap();
    run.poll(0, 1).unwrap();
    let snapshot = run.snapshot();
    let other = directory_with(&[("z", b"26\n")]);
    assert_eq!(read_all(&lines_of(other.path()).rest_time(Duration::ZERO), 2, Some(&snapshot)), ["2", "26", "3"]);
}

#[test]
fn what_is_appended_after_the_first_sight_is_not_read_but_a_line_is_never_cut() {
    let dir = directory_with(&[("a", b"1\n2\nhalf a li"), ("b", b"whole\n"), ("c", b"no end")]);
    let source = lines_of(dir.path());
    let mut run = SourceRun::open(&source, 1, None).unwrap();
    fs::write(dir.path().join("a"), "1\n2\nhalf a line\n4\n").unwrap();
    fs::write(dir.path().join("b"), "whole\nlate\n").unwrap();
    let (_, first) = run.poll(0, 1).unwrap();
    assert_eq!(first, ["1"]);
    let snapshot = run.snapshot();
    assert_eq!(run.drain().unwrap(), ["2", "half a line", "whole", "no end"]);
    assert_eq!(read_all(&source, 2, Some(&snapshot)), ["2", "half a line", "no end", "whole"]);
}

#[test]
fn a_file_named_twice_is_read_once() {
    let dir = directory_with(&[("a", b"1\n")]);
    let twice = FileSource::lines([dir.path().join("a"), dir.path().join("../").join(dir.path().file_name().unwrap())]);
    assert_eq!(read_all(&twice, 2, None), ["1"]);
}

/// What was checked at a restore only: a file replaced by `mv` during a run gave half of each.
#[test]
fn a_missing_shortened_or_replaced_file_is_named_whenever_it_is_opened() {
    let before = b"1\n2\n3\n4\n";
    for (change, word) in
        [(None, "missing"), (Some(&b"1\n2\n"[..]), "shorter"), (Some(&b"1\nX\n3\n4\n"[..]), "replaced")]
    {
        let dir = directory_with(&[("a", before), ("b", b"other\n")]);
        let path = dir.path().canonicalize().unwrap().join("a");
        let source = lines_of(dir.path()).split_size(4);
        let mut run = SourceRun::open(&source, 1, None).unwrap();
        run.poll(0, 1).unwrap();
        let snapshot = run.snapshot();
        match change {
            Some(content) => {
                fs::write(dir.path().join("new"), content).unwrap();
                fs::rename(dir.path().join("new"), &path).unwrap();
            }
            None => fs::remove_file(&path).unwrap(),
        }
        let mut errors = vec![run.drain().unwrap_err()];
        for parallelism in [1, 2, 3] {
            errors.push(SourceRun::open(&source, parallelism, Some(&snapshot)).unwrap().drain().unwrap_err());
        }
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Incompatible);
            assert!(error.to_string().contains(word), "{error}");
            assert_eq!(error.value("file"), path.to_str());
        }
    }
}

/// Every file of the state had to be there, read or not.
#[test]
fn a_file_that_was_read_to_its_end_may_be_archived() {
    let dir = directory_with(&[("a", b"1\n2\n"), ("b", b"3\n4\n")]);
    let source = FileSource::lines([dir.path().join("a"), dir.path().join("b")]);
    let mut run = SourceRun::open(&source, 1, None).unwrap();
    let mut read = Vec::new();
    while read.len() < 3 {
        read.append(&mut run.poll(0, 1).unwrap().1);
    }
    let snapshot = run.snapshot();
    fs::remove_file(dir.path().join("a")).unwrap();
    assert_eq!(read_all(&source, 2, Some(&snapshot)), ["4"]);
    assert_eq!(run.drain().unwrap(), ["4"]);
    let end = run.snapshot();
    fs::remove_file(dir.path().join("b")).unwrap();
    assert!(read_all(&source, 2, Some(&end)).is_empty());
    assert!(SourceRun::open(&source, 2, None).is_err(), "they are missed by who begins afresh");
}

/// The directory of the file was archived with it, or the file had been named by a link: the restart failed for good.
#[cfg(unix)]
#[test]
fn a_file_that_was_read_may_be_archived_with_its_directory_or_behind_a_link() {
    let dir = directory_with(&[("linked", b"1\n")]);
    fs::create_dir(dir.path().join("day")).unwrap();
    fs::write(dir.path().join("day/a"), b"2\n").unwrap();
    std::os::unix::fs::symlink(dir.path().join("linked"), dir.path().join("link")).unwrap();
    let source = FileSource::lines([dir.path().join("day/a"), dir.path().join("link")]);
    let mut run = SourceRun::open(&source, 1, None).unwrap();
    assert_eq!(run.drain().unwrap().len(), 2);
    let end = run.snapshot();
    fs::remove_dir_all(dir.path().join("day")).unwrap();
    fs::remove_file(dir.path().join("linked")).unwrap();
    assert!(read_all(&source, 2, Some(&end)).is_empty());
    assert!(SourceRun::open(&source, 2, None).is_err(), "they are missed by who begins afresh");
}

/// Every subtask measured the file for itself, so that borders depended on how long it was at that moment.
#[test]
fn a_file_that_grows_while_subtasks_open_is_measured_once() {
    let dir = directory_with(&[("a", "line\n".repeat(1_000).as_bytes())]);
    let path = dir.path().join("a");
    let source = lines_of(dir.path()).split_size(100);
    let mut run = SourceRun::open(&source, 3, None).unwrap();
    let mut lines = 0;
    for round in 0..300 {
        // Three bytes at a time: lines are cut everywhere.
        let mut text = fs::read(&path).unwrap();
        text.extend_from_slice(b"line\nline\nline\n".get(round % 5..round % 5 + 3).unwrap());
        fs::write(&path, text).unwrap();
        let parallelism = if round <= 149 { 3 } else { 2 };
        lines += run.poll(round % parallelism, 3).unwrap().1.len();
        if round == 149 {
            let snapshot = run.snapshot();
            run = SourceRun::open(&source, 2, Some(&snapshot)).unwrap();
        }
    }
    assert_eq!(lines + run.drain().unwrap().len(), 1_000);
}

/// A file that is being copied in while a job restarts had as many lengths as the job had subtasks; whatever came later
/// was never read.
#[test]
fn a_file_that_is_copied_in_during_a_restart_is_read_whole_when_it_has_rested() {
    let dir = directory_with(&[("a", b"1\n2\n")]);
    let source = lines_of(dir.path()).rest_time(Duration::from_secs(100));
    let mut run = SourceRun::open(&source, 2, None).unwrap();
    assert_eq!(run.drain().unwrap().len(), 2);
    let snapshot = run.snapshot();

    let path = dir.path().join("b");
    fs::write(&path, "3\n4").unwrap();
    let mut restored = SourceRun::open(&source, 3, Some(&snapshot)).unwrap();
    assert!(restored.drain().unwrap().is_empty());
    assert!(restored.discover().unwrap().is_some(), "the source looks again");
    fs::write(&path, "3\n4\n5\n").unwrap();
    set_age(&path, Duration::from_secs(200));
    assert_eq!(restored.discover().unwrap(), None, "now it is complete");
    let mut lines = restored.drain().unwrap();
    lines.sort_unstable();
    assert_eq!(lines, ["3", "4", "5"]);
    assert_eq!(restored.poll(0, 10).unwrap(), (SourceStatus::NeedsSplit, vec![]));
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_does_not_double_a_file() {
    let dir = directory_with(&[("a", b"1\n")]);
    std::os::unix::fs::symlink(dir.path().join("a"), dir.path().join("link")).unwrap();
    assert_eq!(read_all(&lines_of(dir.path()), 2, None), ["1"]);
}

fn set_age(path: &Path, age: Duration) {
    let file = fs::OpenOptions::new().append(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

#[test]
fn a_change_behind_the_head_is_noticed_where_no_line_begins_any_more() {
    let text: String = (0..2_000).map(|i| format!("line {i:04}\n")).collect();
    let dir = directory_with(&[("a", text.as_bytes())]);
    let source = lines_of(dir.path());
    let mut run = SourceRun::open(&source, 1, None).unwrap();
    run.poll(0, 1_000).unwrap();
    let snapshot = run.snapshot();
    // As long as before, with the same ends and the time of then: only the borders of lines have moved.
    let (head, tail) = text.split_at(8_000);
    let (moved, end) = tail.split_at(5_000);
    let path = dir.path().join("a");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, format!("{head}moved{}{end}", &moved[..4_995])).unwrap();
    fs::OpenOptions::new().append(true).open(&path).unwrap().set_modified(modified).unwrap();
    let mut restored = SourceRun::open(&source, 1, Some(&snapshot)).unwrap();
    let error = restored.poll(0, 10).unwrap_err();
    assert_eq!((error.kind(), error.value("offset")), (ErrorKind::Incompatible, Some("10000")));
}

#[test]
fn a_file_cut_short_while_it_is_read_is_an_error() {
    let text: String = (0..100_000).map(|i| format!("line {i}\n")).collect();
    let dir = directory_with(&[("a", text.as_bytes())]);
    let mut run = SourceRun::open(&lines_of(dir.path()).split_size(u64::MAX), 1, None).unwrap();
    run.poll(0, 10).unwrap();
    fs::write(dir.path().join("a"), "line 0\n").unwrap();
    let error = run.drain().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.value("expected"), Some(format!("{} bytes", text.len()).as_str()));
}

#[test]
fn text_that_is_not_utf8_is_named_with_its_offset_or_replaced() {
    let dir = directory_with(&[("latin1", b"fine\ncaf\xe9 au lait\nfine\n")]);
    let path = dir.path().canonicalize().unwrap().join("latin1");
    let error = SourceRun::open(&lines_of(dir.path()), 1, None).unwrap().drain().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!((error.value("file"), error.value("offset")), (path.to_str(), Some("8")));
    let lossy = lines_of(dir.path()).lossy();
    assert_eq!(SourceRun::open(&lossy, 1, None).unwrap().drain().unwrap(), ["fine", "caf\u{fffd} au lait", "fine"]);
}

#[test]
fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
    let dir = directory_with(&[("a", b"1234567\n12345678\n")]);
    let mut run = SourceRun::open(&lines_of(dir.path()).max_line_length(8), 1, None).unwrap();
    assert_eq!(run.poll(0, 1).unwrap().1, ["1234567"]);
    let error = run.poll(0, 1).unwrap_err();
    assert_eq!((error.kind(), error.value("offset")), (ErrorKind::Corrupt, Some("8")));
}

#[test]
fn inputs_that_are_missing_or_settings_that_make_no_sense_are_refused() {
    let dir = directory_with(&[]);
    for (source, named) in [
        (FileSource::lines([dir.path().join("nowhere")]), "nowhere"),
        (lines_of(dir.path()).split_size(0), "split_size"),
        (lines_of(dir.path()).max_line_length(0), "max_line_length"),
        (lines_of(dir.path()).rate(0.0), "rate"),
        (lines_of(dir.path()).monitor_continuously(Duration::ZERO), "discovery interval"),
    ] {
        let error = SourceRun::open(&source, 1, None).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(named), "{error}");
    }
    assert!(read_all(&lines_of(dir.path()), 2, None).is_empty(), "an empty directory is fine");
}

#[test]
fn a_filter_decides_what_is_read_and_entered() {
    let dir = directory_with(&[("a.md", b"md\n"), ("b.bin", b"bin\n")]);
    fs::create_dir(dir.path().join("target")).unwrap();
    fs::write(dir.path().join("target/c.md"), "target\n").unwrap();
    let source = lines_of(dir.path())
        .filter(|path| !path.ends_with("target") && path.extension().is_none_or(|extension| extension == "md"));
    assert_eq!(read_all(&source, 2, None), ["md"]);
}

/// What happens to a run of the source.
#[derive(Clone, Debug)]
enum Step {
    Poll(Index, usize),
    Snapshot,
    /// The attempt dies; the next one has another parallelism.
    Crash(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(
        prop_oneof![
            6 => (any::<Index>(), 0usize..20).prop_map(|(subtask, limit)| Step::Poll(subtask, limit)),
            2 => Just(Step::Snapshot),
            1 => (1u32..6).prop_map(Step::Crash),
        ],
        0..60,
    )
}

/// Lines that are all different, so that each is recognised: file, number and filling.
fn texts() -> impl Strategy<Value = Vec<String>> {
    let line = ("[a-zé ]{0,30}", prop::sample::select(vec!["\n", "\r\n"]));
    let file = (prop::collection::vec(line, 0..40), any::<bool>());
    prop::collection::vec(file, 0..4).prop_map(|files| {
        let files = files.into_iter().enumerate();
        files.map(|(file, (lines, closed))| text(file, &lines, closed)).collect()
    })
}

fn text(file: usize, lines: &[(String, &str)], closed: bool) -> String {
    let lines = lines.iter().enumerate().map(|(i, (filling, end))| format!("{file}.{i}{filling}{end}"));
    let mut text: String = lines.collect();
    if !closed {
        text.truncate(text.trim_end_matches(['\r', '\n']).len());
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_line_exactly_once_and_in_order_within_a_split(
        texts in texts(), split_size in 1u64..200, parallelism in 1u32..5, steps in steps(), last in 1u32..5,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..texts.len()).map(|i| dir.path().join(format!("{i}"))).collect();
        paths.iter().zip(&texts).for_each(|(path, text)| fs::write(path, text).unwrap());
        let source = FileSource::lines(paths).split_size(split_size);

        // Lines that count: those before the last barrier, and those since then that a crash takes back.
        let (mut lines, mut at_barrier): (Vec<String>, usize) = (Vec::new(), 0);
        let mut snapshot = None;
        let mut run = SourceRun::open(&source, parallelism, None).unwrap();
        let mut subtasks = parallelism as usize;
        for step in steps {
            match step {
                Step::Poll(subtask, limit) => lines.extend(run.poll(subtask.index(subtasks), limit).unwrap().1),
                Step::Snapshot => {
                    snapshot = Some(run.snapshot());
                    at_barrier = lines.len();
                }
                Step::Crash(parallelism) => {
                    lines.truncate(at_barrier);
                    run = SourceRun::open(&source, parallelism, snapshot.as_ref()).unwrap();
                    subtasks = parallelism as usize;
                }
            }
        }
        lines.truncate(at_barrier);
        lines.extend(SourceRun::open(&source, last, snapshot.as_ref()).unwrap().drain().unwrap());

        // Where each line begins tells its split.
        let mut splits: HashMap<String, (usize, u64, usize)> = HashMap::new();
        for (file, text) in texts.iter().enumerate() {
            for line in text.lines() {
                let begin = line.as_ptr() as usize - text.as_ptr() as usize;
                splits.insert(line.to_owned(), (file, begin as u64 / split_size, begin));
            }
        }
        prop_assert_eq!(lines.len(), splits.len());
        let mut latest: HashMap<(usize, u64), usize> = HashMap::new();
        for line in &lines {
            let (file, split, begin) = splits.remove(line).unwrap_or_else(|| panic!("{line:?} came twice or never was"));
            let before = latest.insert((file, split), begin);
            prop_assert!(before < Some(begin), "{line:?} came before one that stands before it");
        }
    }
}
