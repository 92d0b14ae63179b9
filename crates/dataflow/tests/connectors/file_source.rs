//! Lines of files: each exactly once, whoever reads them, and an error that names the file when it is not what it was.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use highwater_dataflow::{FileSource, SourceStatus};
use highwater_types::ErrorKind;
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

use crate::harness::{Snapshot, SourceRun};

fn directory_with(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(dir.path().join(name), content).unwrap();
    }
    dir
}

fn read_all(source: &FileSource, parallelism: u32, snapshot: Option<&Snapshot>) -> Vec<String> {
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
    let shares: Vec<usize> = (0..3).map(|subtask| run.drain_one(subtask).unwrap().len()).collect();
    assert_eq!(shares.iter().sum::<usize>(), 1_000);
    assert!(shares.iter().all(|&share| share > 200), "{shares:?}");
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
    let shares: Vec<Vec<String>> = (0..3).map(|subtask| three.drain_one(subtask).unwrap()).collect();
    assert!(shares.iter().all(|share| share.len() > 500), "what is left is dealt out evenly");
    lines.extend(shares.into_iter().flatten());
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
    assert_eq!(run.poll(0, 10).unwrap(), (SourceStatus::Finished, vec![]));
    assert!(read_all(&source, 3, Some(&snapshot)).is_empty());

    fs::write(dir.path().join("c"), "4\n5\n").unwrap();
    assert_eq!(read_all(&source, 3, Some(&snapshot)), ["4", "5"]);
}

#[test]
fn files_of_the_state_are_read_on_even_if_nobody_names_them() {
    let dir = directory_with(&[("a", b"1\n2\n3\n")]);
    let mut run = SourceRun::open(&lines_of(dir.path()), 1, None).unwrap();
    run.poll(0, 1).unwrap();
    let snapshot = run.snapshot();
    let other = directory_with(&[("z", b"26\n")]);
    assert_eq!(read_all(&lines_of(other.path()), 2, Some(&snapshot)), ["2", "26", "3"]);
}

#[test]
fn what_is_appended_after_the_first_sight_is_not_read() {
    let dir = directory_with(&[("a", b"1\n2\nhalf a li")]);
    let source = lines_of(dir.path());
    let mut run = SourceRun::open(&source, 1, None).unwrap();
    fs::write(dir.path().join("a"), "1\n2\nhalf a line\n4\n").unwrap();
    let (_, first) = run.poll(0, 1).unwrap();
    assert_eq!(first, ["1"]);
    let snapshot = run.snapshot();
    assert_eq!(run.drain().unwrap(), ["2", "half a li"]);
    assert_eq!(read_all(&source, 2, Some(&snapshot)), ["2", "half a li"]);
}

#[test]
fn a_file_named_twice_is_read_once() {
    let dir = directory_with(&[("a", b"1\n")]);
    let twice = FileSource::lines([dir.path().join("a"), dir.path().join("../").join(dir.path().file_name().unwrap())]);
    assert_eq!(read_all(&twice, 2, None), ["1"]);
}

#[test]
fn a_missing_shortened_or_replaced_file_is_named_after_a_restore() {
    for (change, word) in
        [(None, "missing"), (Some(&b"1\n2\n"[..]), "shorter"), (Some(&b"1\nX\n3\n4\n"[..]), "replaced")]
    {
        let dir = directory_with(&[("a", b"1\n2\n3\n4\n"), ("b", b"other\n")]);
        let source = lines_of(dir.path());
        let mut run = SourceRun::open(&source, 1, None).unwrap();
        run.poll(0, 2).unwrap();
        let snapshot = run.snapshot();
        let path = dir.path().canonicalize().unwrap().join("a");
        match change {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        for parallelism in [1, 2, 3] {
            let error = SourceRun::open(&source, parallelism, Some(&snapshot)).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Incompatible);
            assert!(error.to_string().contains(word), "{error}");
            assert_eq!(error.value("file"), path.to_str());
            assert_eq!(error.value("operator"), Some("lines"));
        }
    }
}

#[test]
fn a_change_behind_the_head_is_noticed_where_no_line_begins_any_more() {
    let text: String = (0..2_000).map(|i| format!("line {i:04}\n")).collect();
    let dir = directory_with(&[("a", text.as_bytes())]);
    let source = lines_of(dir.path());
    let mut run = SourceRun::open(&source, 1, None).unwrap();
    run.poll(0, 1_000).unwrap();
    let snapshot = run.snapshot();
    let (head, tail) = text.split_at(8_000);
    fs::write(dir.path().join("a"), format!("{head}moved{tail}")).unwrap();
    let mut restored = SourceRun::open(&source, 1, Some(&snapshot)).unwrap();
    let error = restored.poll(0, 10).unwrap_err();
    assert_eq!((error.kind(), error.value("offset")), (ErrorKind::Incompatible, Some("10000")));
}

#[test]
fn a_file_cut_short_while_it_is_read_is_an_error() {
    let text: String = (0..100_000).map(|i| format!("line {i}\n")).collect();
    let dir = directory_with(&[("a", text.as_bytes())]);
    let mut run = SourceRun::open(&lines_of(dir.path()), 1, None).unwrap();
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
