//! The machine loses power after any operation of a run of the sink, and again after any operation of the recovery:
//! the committed lines are those of the completed checkpoints, and no committed file changes or vanishes, whatever the
//! user takes away in between. A file that is lost before its commit began is missed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::Arc;

use highwater_checkpoint::{CrashFileSystem, FileSystem, StoragePath, Survival, io_error_kind};
use highwater_dataflow::{DefaultRollingPolicy, FileSink, OnCheckpointRollingPolicy};
use highwater_types::{ErrorKind as Kind, Result};

use crate::harness::{SinkRun, Snapshot};

const DIRECTORY: &str = "/out/lines";
/// The first line of this part is larger than any buffer.
const LARGE: &str = "four";
const SURVIVALS: [Survival; 6] = [
    Survival::SyncedOnly,
    Survival::Everything,
    Survival::Random(1),
    Survival::Random(2),
    Survival::Random(3),
    Survival::Random(4),
];

/// When files are closed, and where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Style {
    /// With every checkpoint.
    #[default]
    OnCheckpoint,
    /// At a small size, so that some files are in progress over one or more checkpoints.
    InProgress,
    /// The same in three directories.
    Buckets,
}

const STYLES: [Style; 3] = [Style::OnCheckpoint, Style::InProgress, Style::Buckets];

fn sink_on(disk: &CrashFileSystem, style: Style) -> FileSink<String> {
    let format = |line: &String, out: &mut Vec<u8>| out.extend_from_slice(line.as_bytes());
    let sink = FileSink::new(DIRECTORY, format).file_system(Arc::new(disk.clone()));
    let small = DefaultRollingPolicy::new().max_part_size(60);
    match style {
        Style::OnCheckpoint => sink.rolling_policy(OnCheckpointRollingPolicy),
        Style::InProgress => sink.rolling_policy(small),
        Style::Buckets => sink.rolling_policy(small).bucket_assigner(|line: &String| {
            let number: usize = line.split(' ').nth(1).unwrap().parse().unwrap();
            ["", "some", "some/more"][number % 3].to_owned()
        }),
    }
}

/// What the outside world knows of a job, whatever happens to its machine.
#[derive(Clone, Default)]
struct Story {
    style: Style,
    /// Lines given to the sink since the last complete checkpoint.
    written: Vec<String>,
    /// Lines before it.
    complete: Vec<String>,
    /// The newest complete checkpoint.
    checkpoint: Option<(u64, Snapshot)>,
    /// The newest checkpoint whose commit has begun.
    commit_begun: u64,
    /// Files whose commit was reported as done, and that are still there.
    promised: BTreeMap<String, Vec<u8>>,
    /// Lines of the files that the user has taken away.
    taken: Vec<String>,
}

impl Story {
    fn new(style: Style) -> Self {
        Self { style, ..Self::default() }
    }

    fn write(&mut self, run: &mut SinkRun<String>, tag: &str, lines: usize) -> Result<()> {
        let subtasks = run.writers.len();
        for line in 0..lines {
            let text = format!("{tag} {line} {}", "x".repeat(if tag == LARGE && line == 0 { 70_000 } else { 0 }));
            self.written.push(text.clone());
            run.writers[line % subtasks].write(text)?;
        }
        Ok(())
    }

    fn checkpoint(&mut self, run: &mut SinkRun<String>, id: u64) -> Result<()> {
        let snapshot = run.prepare(id)?;
        self.completed(id, snapshot);
        Ok(())
    }

    fn last_checkpoint(&mut self, run: &mut SinkRun<String>, id: u64) -> Result<()> {
        let snapshot = run.prepare_last(id)?;
        self.completed(id, snapshot);
        Ok(())
    }

    fn completed(&mut self, id: u64, snapshot: Snapshot) {
        self.complete.append(&mut self.written);
        self.checkpoint = Some((id, snapshot));
    }

    fn commit(&mut self, run: &mut SinkRun<String>, disk: &CrashFileSystem, id: u64) -> Result<()> {
        self.commit_begun = id;
        run.commit(id)?;
        self.promised.extend(committed(disk));
        Ok(())
    }

    /// The user takes every file that can be seen, or every second one, to another disk.
    fn take(&mut self, disk: &CrashFileSystem, every: usize) {
        for (path, bytes) in committed(disk).into_iter().step_by(every) {
            self.taken.extend(str::from_utf8(&bytes).unwrap().lines().map(str::to_owned));
            self.promised.remove(&path);
            let path = StoragePath::parse(&path).unwrap();
            disk.remove_file(&path).unwrap();
            disk.sync_dir(&path.parent().unwrap()).unwrap();
        }
    }

    fn open(&self, disk: &CrashFileSystem, attempt: &str, parallelism: u32) -> Result<SinkRun<String>> {
        let restore = self.checkpoint.as_ref().map(|(id, snapshot)| (*id, snapshot));
        SinkRun::open(&sink_on(disk, self.style), attempt, parallelism, restore)
    }

    /// Everything that can be seen outside is as the completed checkpoints say.
    fn check(&self, disk: &CrashFileSystem) {
        let found = committed(disk);
        for (name, bytes) in &self.promised {
            assert_eq!(found.get(name), Some(bytes), "{name} changed or vanished");
        }
        let mut lines: Vec<&str> = found.values().flat_map(|bytes| str::from_utf8(bytes).unwrap().lines()).collect();
        lines.extend(self.taken.iter().map(String::as_str));
        let mut expected: Vec<&str> = self.complete.iter().map(String::as_str).collect();
        lines.sort_unstable();
        expected.sort_unstable();
        assert_eq!(lines, expected);
    }
}

fn committed(disk: &CrashFileSystem) -> BTreeMap<String, Vec<u8>> {
    disk.files().into_iter().filter(|(path, _)| path.rsplit('/').next().unwrap().starts_with("part-")).collect()
}

fn pending(disk: &CrashFileSystem) -> BTreeSet<String> {
    disk.files().into_keys().filter(|path| path.rsplit('/').next().unwrap().starts_with('.')).collect()
}

/// A run with all that can happen to checkpoints; it ends early when the disk is cut.
fn first_run(disk: &CrashFileSystem, story: &mut Story) -> Result<()> {
    let mut run = story.open(disk, "first", 2)?;
    story.write(&mut run, "one", 12)?;
    story.checkpoint(&mut run, 1)?;
    story.commit(&mut run, disk, 1)?;
    // Checkpoint 2 is given up before its files are durable; they travel on to 3.
    story.write(&mut run, "two", 11)?;
    run.prepare_only(2)?;
    story.write(&mut run, "three", 12)?;
    story.checkpoint(&mut run, 3)?;
    // Checkpoint 4 completes before the sinks hear of 3.
    story.write(&mut run, LARGE, 12)?;
    story.checkpoint(&mut run, 4)?;
    story.commit(&mut run, disk, 3)?;
    story.write(&mut run, "five", 3)?;
    story.commit(&mut run, disk, 4)?;
    story.checkpoint(&mut run, 5)?;
    story.write(&mut run, "six", 3)?;
    story.commit(&mut run, disk, 5)?;
    story.checkpoint(&mut run, 6)?;
    story.commit(&mut run, disk, 6)?;
    // Nothing is written between 6 and 7: 7 lists no files.
    story.checkpoint(&mut run, 7)?;
    story.write(&mut run, "eight", 3)?;
    run.prepare(8).map(drop)
}

/// Recovers and goes on for one more checkpoint; ends early when the disk is cut.
fn second_run(disk: &CrashFileSystem, story: &mut Story, attempt: &str, parallelism: u32) -> Result<()> {
    let mut run = story.open(disk, attempt, parallelism)?;
    story.check(disk);
    assert!(pending(disk).is_empty(), "left behind: {:?}", pending(disk));
    story.promised.extend(committed(disk));
    story.write(&mut run, attempt, 9)?;
    story.last_checkpoint(&mut run, 10)?;
    story.commit(&mut run, disk, 10)
}

/// What a crash of this disk leaves, and the story of it: lines behind the last complete checkpoint are lost, and the
/// user takes files away: none, all, or some.
fn crash(disk: &CrashFileSystem, story: &Story, survival: Survival, takes: u64) -> (CrashFileSystem, Story) {
    let image = disk.image(survival);
    let left = committed(&image);
    assert!(story.promised.keys().all(|name| left.contains_key(name)), "a commit that was done is undone");
    let mut story = Story { written: Vec::new(), ..story.clone() };
    match takes % 3 {
        0 => {}
        every => story.take(&image, every as usize),
    }
    (image, story)
}

#[test]
fn any_crash_with_a_file_for_each_checkpoint() {
    any_crash_of_a_run_and_any_crash_of_its_recovery(Style::OnCheckpoint);
}

#[test]
fn any_crash_with_files_in_progress() {
    any_crash_of_a_run_and_any_crash_of_its_recovery(Style::InProgress);
}

#[test]
fn any_crash_with_buckets() {
    any_crash_of_a_run_and_any_crash_of_its_recovery(Style::Buckets);
}

fn any_crash_of_a_run_and_any_crash_of_its_recovery(style: Style) {
    let whole = CrashFileSystem::new();
    first_run(&whole, &mut Story::new(style)).unwrap();
    let operations = whole.operations();
    assert!(operations > 60, "{:?}", whole.log());

    for cut in 0..=operations {
        let disk = CrashFileSystem::new();
        disk.cut_after(cut);
        let mut story = Story::new(style);
        assert_eq!(first_run(&disk, &mut story).is_ok(), cut == operations);
        for (i, survival) in SURVIVALS.into_iter().enumerate() {
            let parallelism = 1 + (cut as u32 + i as u32) % 3;
            recover_with_crashes(&disk, &story, survival, parallelism, cut + i as u64 / 2);
        }
    }
}

fn recover_with_crashes(crashed: &CrashFileSystem, story: &Story, survival: Survival, parallelism: u32, takes: u64) {
    let (disk, mut recovered) = crash(crashed, story, survival, takes);
    let before = disk.operations();
    second_run(&disk, &mut recovered, "second", parallelism).unwrap_or_else(|e| panic!("{e:?}\n{:#?}", crashed.log()));
    recovered.check(&disk);

    if matches!(survival, Survival::Random(2..)) {
        return;
    }
    for cut in 0..disk.operations() - before {
        let (disk, mut recovering) = crash(crashed, story, survival, takes);
        disk.cut_after(cut);
        second_run(&disk, &mut recovering, "second", parallelism).unwrap_err();
        let (disk, mut recovered) = crash(&disk, &recovering, survival, takes + cut);
        second_run(&disk, &mut recovered, "third", parallelism % 3 + 1).unwrap_or_else(|e| panic!("{e:?}"));
        recovered.check(&disk);
    }
}

#[test]
fn a_file_that_is_lost_before_its_commit_is_missed_after_any_crash() {
    STYLES.into_iter().for_each(missed_after_any_crash);
}

fn missed_after_any_crash(style: Style) {
    let whole = CrashFileSystem::new();
    first_run(&whole, &mut Story::new(style)).unwrap();
    let mut lost = 0;
    for cut in 0..=whole.operations() {
        let disk = CrashFileSystem::new();
        disk.cut_after(cut);
        let mut story = Story::new(style);
        let _ = first_run(&disk, &mut story);
        for survival in SURVIVALS {
            let (image, story) = crash(&disk, &story, survival, 0);
            for path in not_yet_committed(&image, &story) {
                let damaged = image.image(Survival::Everything);
                damaged.remove_file(&StoragePath::parse(&path).unwrap()).unwrap();
                for attempt in ["second", "third"] {
                    let error = story.open(&damaged, attempt, 1 + cut as u32 % 3).err().unwrap();
                    assert_eq!((error.kind(), error.value("file")), (Kind::Corrupt, Some(&*path)), "{error}");
                }
                lost += 1;
            }
        }
    }
    assert!(lost > 100, "{lost}");
}

/// The files that the complete checkpoint lists and whose commit was never begun: those that a recovery commits.
fn not_yet_committed(image: &CrashFileSystem, story: &Story) -> Vec<String> {
    let recovered = image.image(Survival::Everything);
    story.open(&recovered, "second", 1).unwrap();
    let before = committed(image);
    let new = committed(&recovered).into_keys().filter(|path| !before.contains_key(path));
    new.filter_map(|path| {
        let (file, checkpoint) = path.rsplit_once('-').unwrap();
        let is_sure = checkpoint.parse::<u64>().unwrap() > story.commit_begun;
        is_sure.then(|| format!("file:{}", file.replace("/part-", "/.part-")))
    })
    .collect()
}

#[test]
fn a_full_disk_fails_the_checkpoint_and_loses_nothing() {
    STYLES.into_iter().for_each(full_disk);
}

fn full_disk(style: Style) {
    let whole = CrashFileSystem::new();
    first_run(&whole, &mut Story::new(style)).unwrap();
    for failing in 1..=whole.operations() {
        let disk = CrashFileSystem::new();
        let mut story = Story::new(style);
        disk.fail(failing..=failing, ErrorKind::StorageFull);
        let outcome = first_run(&disk, &mut story);
        disk.heal();
        if let Err(error) = outcome {
            assert_eq!(io_error_kind(&error), Some(ErrorKind::StorageFull), "{error}");
            assert!(error.value("file").is_some(), "{error}");
        }
        story.written.clear();
        second_run(&disk, &mut story, "second", 2).unwrap();
        story.check(&disk);
    }
}

/// Runs on over checkpoints that fail, until a record is refused.
fn stubborn_run(disk: &CrashFileSystem, story: &mut Story) -> Result<()> {
    let mut run = story.open(disk, "first", 2)?;
    for checkpoint in 1..6 {
        story.write(&mut run, if checkpoint == 2 { LARGE } else { "small" }, 8)?;
        if story.checkpoint(&mut run, checkpoint).is_ok() {
            story.commit(&mut run, disk, checkpoint)?;
        }
    }
    Ok(())
}

#[test]
fn a_checkpoint_behind_one_that_failed_is_right_or_fails_too() {
    STYLES.into_iter().for_each(behind_one_that_failed);
}

fn behind_one_that_failed(style: Style) {
    let whole = CrashFileSystem::new();
    stubborn_run(&whole, &mut Story::new(style)).unwrap();
    let (mut went_on, mut gave_up) = (0, 0);
    for failing in 1..=whole.operations() {
        let disk = CrashFileSystem::new();
        disk.fail(failing..=failing, ErrorKind::StorageFull);
        let mut story = Story::new(style);
        match stubborn_run(&disk, &mut story) {
            Ok(()) if story.written.is_empty() => went_on += 1,
            _ => gave_up += 1,
        }
        for survival in SURVIVALS {
            let (disk, mut recovered) = crash(&disk, &story, survival, failing);
            second_run(&disk, &mut recovered, "second", 2).unwrap();
            recovered.check(&disk);
        }
    }
    assert!(went_on > 0 && gave_up > 0, "{went_on} runs went on, {gave_up} gave up");
}
