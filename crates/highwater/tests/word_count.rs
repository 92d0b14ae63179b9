//! The program `word_count` as its user meets it: interrupts, fresh starts, exit codes, two at a time.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption should stop the test, in helpers too")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::{committed_files, example};
use tempfile::TempDir;

/// A directory with some text, checkpoints and results.
struct Place(TempDir);

/// Of which a slow run has read all after two and a half minutes.
const LINES: usize = 30_000;

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text: String = (0..LINES).map(|i| format!("line {} of many\n", i % 100)).collect();
        fs::write(dir.path().join("text"), text).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(example("word_count"));
        let checkpoints = format!("--checkpoint-dir=file://{}", self.path("checkpoints").display());
        command
            .args([&checkpoints, "--checkpoint-interval=20ms", "--rollover-interval=20ms"])
            .arg("--output")
            .arg(self.path("output"));
        command.args(arguments).arg(self.path("text")).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        told(self.command(arguments).output().unwrap())
    }

    /// Starts a slow run, and waits until so many files are committed.
    fn start_slow(&self, files: usize) -> Child {
        let child = self.command(&["--rate=200", "--workers=2"]).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        while committed_files(&self.path("output")).len() < files {
            assert!(Instant::now() < deadline, "nothing was committed");
            std::thread::sleep(Duration::from_millis(5));
        }
        child
    }

    /// Asks a job that runs here.
    fn ctl(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        self.run(&[&["--ctl"], arguments].concat())
    }

    fn lines(&self) -> BTreeMap<String, usize> {
        let mut lines = BTreeMap::new();
        for (_, text) in committed_files(&self.path("output")) {
            text.lines().for_each(|line| *lines.entry(line.to_owned()).or_default() += 1);
        }
        lines
    }

    fn assert_complete(&self) {
        let lines = self.lines();
        assert_eq!(lines.len(), 4 * LINES, "four words in every line, each with a count of its own");
        assert!(lines.values().all(|&times| times == 1));
        assert!(lines.contains_key(&format!("many\t{LINES}")) && lines.contains_key("99\t300"));
    }
}

fn told(output: Output) -> (Option<i32>, String, String) {
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn interrupt(child: &Child) {
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
}

#[test]
fn an_interrupt_ends_the_job_after_a_checkpoint_and_the_same_command_goes_on() {
    let place = Place::new();
    let child = place.start_slow(1);
    interrupt(&child);
    let (code, _, stderr) = told(child.wait_with_output().unwrap());
    assert_eq!(code, Some(130), "{stderr}");
    assert!(stderr.contains("stopped after a checkpoint"), "{stderr}");
    let before = place.lines().len();
    assert!(0 < before && before < 4 * LINES, "{before} lines; {stderr}");
    let names: Vec<String> = committed_files(&place.path("output")).into_iter().map(|(name, _)| name).collect();

    let (code, stdout, stderr) = place.run(&["--workers=3"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("restored from checkpoint"), "{stderr}");
    assert!(stdout.contains(&format!("{} occurrences of 103 words", "120,000")), "{stdout}");
    place.assert_complete();
    let now: Vec<String> = committed_files(&place.path("output")).into_iter().map(|(name, _)| name).collect();
    assert!(names.iter().all(|name| now.contains(name)));
}

#[test]
fn a_finished_job_says_so_and_fresh_runs_it_again_touching_only_its_own_files() {
    let place = Place::new();
    assert_eq!(place.run(&["--workers=2", "--rollover-interval=60s"]).0, Some(0));
    place.assert_complete();
    fs::write(place.path("output/notes.txt"), "mine").unwrap();
    // Spark's names begin like ours.
    let parquet = place.path("output/part-00000-8f3c1b6e-c000.snappy.parquet");
    fs::write(&parquet, b"PAR1\xff\xfe").unwrap();
    fs::write(place.path("checkpoints/notes.txt"), "mine").unwrap();

    let (code, _, stderr) = place.run(&[]);
    assert_eq!(code, Some(0));
    assert!(stderr.contains("has finished in an earlier run"), "{stderr}");

    let (code, _, stderr) = place.run(&["--restore=none"]);
    assert_eq!(code, Some(1), "the results are still there");
    assert!(stderr.contains("output directory holds committed files"), "{stderr}");

    let (code, _, stderr) = place.run(&["--fresh"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("clearing the checkpoints in") && stderr.contains("started afresh"), "{stderr}");
    assert!(stderr.contains("cleared 2 files in"), "{stderr}");
    assert_eq!(fs::read(&parquet).unwrap(), b"PAR1\xff\xfe");
    fs::remove_file(&parquet).unwrap();
    place.assert_complete();
    for notes in ["output/notes.txt", "checkpoints/notes.txt"] {
        assert_eq!(fs::read_to_string(place.path(notes)).unwrap(), "mine");
    }
}

#[test]
fn results_may_be_taken_away_while_the_job_runs_and_in_between() {
    let place = Place::new();
    let taken = place.path("taken");
    fs::create_dir(&taken).unwrap();
    let take = || {
        for (name, _) in committed_files(&place.path("output")) {
            fs::rename(place.path("output").join(&name), taken.join(&name)).unwrap();
        }
    };
    for workers in ["--workers=2", "--workers=1", "--workers=3"] {
        let mut child = place.start_slow(1);
        take();
        child.kill().unwrap();
        child.wait().unwrap();
        take();
        let child = place.command(&["--rate=200", workers]).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while committed_files(&place.path("output")).is_empty() {
            assert!(Instant::now() < deadline, "nothing was committed");
            std::thread::sleep(Duration::from_millis(5));
        }
        interrupt(&child);
        let (code, _, stderr) = told(child.wait_with_output().unwrap());
        assert_eq!(code, Some(130), "{stderr}");
        take();
    }
    let (code, _, stderr) = place.run(&[]);
    assert_eq!(code, Some(0), "{stderr}");
    take();
    for entry in fs::read_dir(&taken).unwrap() {
        let path = entry.unwrap().path();
        fs::rename(&path, place.path("output").join(path.file_name().unwrap())).unwrap();
    }
    place.assert_complete();
}

#[test]
fn two_processes_on_one_directory_are_refused_and_the_first_goes_on() {
    let place = Place::new();
    let first = place.start_slow(1);
    for arguments in [&["--workers=1"][..], &["--fresh"]] {
        let (code, _, stderr) = place.run(arguments);
        assert_eq!(code, Some(1));
        assert!(stderr.contains("another process uses this directory"), "{stderr}");
        assert!(stderr.contains(&format!("held by process: {}", first.id())), "{stderr}");
    }
    interrupt(&first);
    let (code, _, stderr) = told(first.wait_with_output().unwrap());
    assert_eq!(code, Some(130), "{stderr}");
    assert_eq!(place.run(&[]).0, Some(0));
    place.assert_complete();
}

#[test]
fn a_pointer_older_than_what_is_committed_is_refused_and_names_the_files() {
    let place = Place::new();
    let child = place.start_slow(20);
    interrupt(&child);
    let (code, _, stderr) = told(child.wait_with_output().unwrap());
    assert_eq!(code, Some(130), "{stderr}");
    // Kept as by a copy: the job itself keeps the newest three.
    let job = fs::read_dir(place.path("checkpoints")).unwrap().next().unwrap().unwrap().path();
    let ids = fs::read_dir(job).unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        let id: u64 = path.file_name()?.to_str()?.strip_prefix("chk-")?.parse().ok()?;
        Some((id, path))
    });
    let (_, oldest) = ids.min().unwrap();
    let before = place.lines();
    let (code, _, stderr) = place.run(&["--restore", oldest.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("committed after the checkpoint") && stderr.contains("files: part-"), "{stderr}");
    assert_eq!(place.lines(), before);
    assert_eq!(place.run(&[]).0, Some(0), "and the latest still goes on");
    place.assert_complete();
}

#[test]
fn every_backend_counts_the_same() {
    for backend in ["fs", "memory", "hashmap", "ordered-map", "fjall"] {
        let place = Place::new();
        let (code, _, stderr) = place.run(&["--state-backend", backend, "--workers=2"]);
        assert_eq!(code, Some(0), "{backend}: {stderr}");
        place.assert_complete();
    }
}

#[test]
fn mistakes_end_with_2_and_name_the_value() {
    let place = Place::new();
    for (arguments, named) in [
        (&["--state-backend=rocks"][..], "rocks"),
        (&["--workers=0"], "workers: 0"),
        (&["--rate=0"], "rate"),
        (&["--checkpoint-interval=soon"], "soon"),
        (&["--checkpoint-dir=file://var/x"], "file:///var/x"),
        (&["/no/such/input"], "/no/such/input"),
        (&["--restore=/no/such/checkpoint"], "/no/such/checkpoint"),
        (&["--keep=0"], "0"),
        (&["--nonsense"], "--nonsense"),
    ] {
        let (code, _, stderr) = place.run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(named), "{arguments:?}: {stderr}");
        assert!(!place.path("output").exists() || committed_files(&place.path("output")).is_empty());
    }
}

#[test]
fn text_that_is_not_utf8_ends_the_job_with_file_and_offset() {
    let place = Place::new();
    fs::write(place.path("text"), b"fine\nna\xefve\n").unwrap();
    let (code, _, stderr) = place.run(&[]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("not UTF-8") && stderr.contains("text, offset: 7"), "{stderr}");
}

#[cfg(feature = "http")]
#[test]
fn what_the_job_does_can_be_asked_for_over_http_from_this_machine() {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpStream;

    let place = Place::new();
    let (code, _, stderr) = place.run(&["--rest-port=0", "--rest-address=0.0.0.0"]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("rest.bind-address") && stderr.contains("allow-remote"), "{stderr}");

    let mut child = place.command(&["--rate=200", "--rest-port=0"]).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.ends_with("/jobs\n") {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "{said}");
    }
    let address = said.rsplit("http://").next().unwrap().trim_end().trim_end_matches("/jobs");
    let ask = || {
        let mut connection = TcpStream::connect(address).unwrap();
        connection.write_all(b"GET /jobs HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    };
    // The endpoint is there before the job is.
    while !ask().contains("\"status\"") {
        assert!(child.try_wait().unwrap().is_none(), "the job ended");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A pointer on the command line was followed again after every crash: what had been counted since was counted twice.
#[test]
fn a_killed_job_that_began_with_a_pointer_goes_on_with_the_same_command() {
    let place = Place::new();
    let child = place.start_slow(1);
    interrupt(&child);
    let (_, _, stderr) = told(child.wait_with_output().unwrap());
    assert!(stderr.contains("stopped after a checkpoint"), "{stderr}");
    let (code, stdout, stderr) = place.ctl(&["checkpoint"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "it does not run: {stderr}");

    // The checkpoint with which it stopped, in another place.
    let job = fs::read_dir(place.path("checkpoints")).unwrap().next().unwrap().unwrap().path();
    let checkpoints = fs::read_dir(&job).unwrap().map(|entry| entry.unwrap().path());
    let is_checkpoint = |path: &PathBuf| path.join("_metadata").exists();
    let id = |path: &PathBuf| path.to_str().unwrap().rsplit('-').next().unwrap().parse::<u64>().unwrap();
    let newest = checkpoints.filter(is_checkpoint).max_by_key(id).unwrap();
    let moved = place.path("moved");
    fs::rename(&newest, &moved).unwrap();
    fs::remove_dir_all(place.path("checkpoints")).unwrap();
    let restore = format!("--restore={}", moved.display());

    for _ in 0..2 {
        let before = place.lines().len();
        let mut child = place.command(&[&restore, "--rate=200"]).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        while place.lines().len() == before {
            assert!(Instant::now() < deadline, "nothing was committed");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (code, _, stderr) = place.run(&[&restore]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("/chk-"), "it goes on from a checkpoint of its own: {stderr}");
    place.assert_complete();
    assert!(moved.join("_metadata").exists());
}

#[test]
fn a_running_job_is_asked_from_another_process() {
    let place = Place::new();
    let child = place.start_slow(1);
    let (code, stdout, stderr) = place.ctl(&["checkpoint"]);
    assert!(code == Some(0) && stdout.contains("/chk-"), "{stdout}{stderr}");
    let target = format!("--target={}", place.path("savepoints").display());
    let (code, stdout, stderr) = place.ctl(&["savepoint", &target]);
    assert_eq!(code, Some(0), "{stderr}");
    let savepoint = PathBuf::from(stdout.trim().strip_prefix("file:").unwrap());
    assert!(savepoint.starts_with(place.path("savepoints")) && savepoint.join("_metadata").exists(), "{stdout}");
    let (code, _, stderr) = place.ctl(&["savepoint"]);
    assert!(code == Some(1) && stderr.contains("execution.checkpointing.savepoint-dir"), "{stderr}");
    let (code, _, stderr) = place.ctl(&["explode"]);
    assert!(code == Some(2) && stderr.contains("explode"), "{stderr}");

    let (code, stdout, stderr) = place.ctl(&["stop-with-savepoint", &target]);
    assert_eq!(code, Some(0), "{stderr}");
    let (code, _, stderr) = told(child.wait_with_output().unwrap());
    assert_eq!(code, Some(130), "{stderr}");
    let (code, _, stderr) = place.run(&[]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains(stdout.trim()), "it goes on from the savepoint: {stderr}");
    place.assert_complete();
}
