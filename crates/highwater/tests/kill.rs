//! The main job is killed with SIGKILL at random moments and started again, with one, two and three workers in turn.
//! After every kill no file that was committed before may have changed or vanished, and every checkpoint has all its
//! files; in the end the committed lines are compared, one by one, with the truth, and nothing lies around.
//!
//! `HIGHWATER_KILLS=1000` for a long run; `HIGHWATER_SEED=…` repeats the input and the moments of a run.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed assumption should stop the test, in helpers too"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use highwater::checkpoint::{
    CheckpointStorage, CompletedCheckpointStore, FileSystemCheckpointStorage, JobId, StoragePath,
};
use support::{committed_files, example};

const KILLS: usize = 30;
/// What runs read that are killed. The input is four times as much as they can read on an idle machine.
const LINES_PER_SECOND: u64 = 1_000;
/// Every so often a run is left until it has completed a checkpoint, however long that takes.
const PATIENT: usize = 5;
const SIGKILL: i32 = 9;

#[test]
fn killed_at_any_moment_the_job_ends_with_exactly_the_right_lines() {
    Story::new("kill", &["fs"]).tell(kills());
}

#[test]
fn killed_jobs_go_on_with_another_state_backend() {
    Story::new("kill-backends", &["fs", "fjall", "memory", "ordered-map", "hashmap"]).tell(10);
}

#[cfg(feature = "rocksdb")]
mod on_rocksdb {
    use super::*;

    #[test]
    fn killed_at_any_moment_with_full_checkpoints() {
        Story::new("kill-full", &["rocksdb"]).incremental(&[false]).tell(kills());
    }

    #[test]
    fn killed_at_any_moment_with_incremental_checkpoints() {
        Story::new("kill-incremental", &["rocksdb"]).incremental(&[true]).tell(kills());
    }

    #[test]
    fn killed_at_any_moment_with_full_and_incremental_checkpoints_in_turn() {
        Story::new("kill-mixed", &["rocksdb"]).incremental(&[false, true]).tell(kills() / 3);
    }
}

#[cfg(not(feature = "rocksdb"))]
#[test]
fn rocksdb_is_left_out() {
    let _ = writeln!(std::io::stderr(), "SKIPPED: the killing tests of RocksDB need `--features rocksdb`");
}

fn kills() -> usize {
    std::env::var("HIGHWATER_KILLS").map_or(KILLS, |kills| kills.parse().unwrap())
}

/// One job from its first run to its end.
struct Story {
    directory: PathBuf,
    backends: &'static [&'static str],
    /// Whether checkpoints are incremental, one of these at random.
    incremental: &'static [bool],
    random: SplitMix64,
    /// How often each word was put into the input.
    truth: HashMap<String, u64>,
    /// Size and hash of every file that was ever seen committed.
    committed: BTreeMap<String, (usize, u64)>,
    /// Runs that began with a checkpoint.
    restored: usize,
    /// Size and hash of the files that checkpoints share, as they were first seen.
    shared: BTreeMap<PathBuf, (usize, u64)>,
}

impl Story {
    fn new(name: &str, backends: &'static [&'static str]) -> Self {
        let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var("HIGHWATER_SEED").map_or_else(|_| clock(), |seed| seed.parse().unwrap());
        let directory = tempfile::Builder::new().prefix(name).tempdir().unwrap().keep();
        println!("seed {seed}, files in {}", directory.display());
        fs::create_dir(directory.join("input")).unwrap();
        fs::create_dir(directory.join("working")).unwrap();
        let (truth, committed, shared) = Default::default();
        let random = SplitMix64(seed);
        Self { directory, backends, incremental: &[], random, truth, committed, restored: 0, shared }
    }

    #[cfg(feature = "rocksdb")]
    fn incremental(mut self, incremental: &'static [bool]) -> Self {
        self.incremental = incremental;
        self
    }

    fn tell(mut self, kills: usize) {
        let start = Instant::now();
        let moments: Vec<Duration> = (0..kills).map(|_| self.moment()).collect();
        // More than all runs together can read, so that none of them comes to an end by itself.
        let most = moments.iter().sum::<Duration>().as_secs_f64() + 0.2 * kills as f64;
        self.write_input(4 * most as u64 * LINES_PER_SECOND + 10_000);

        for (kill, moment) in moments.into_iter().enumerate() {
            let before = self.newest_checkpoint();
            let mut job = self.start(Some(LINES_PER_SECOND));
            let is_patient = kill % PATIENT == 0;
            while is_patient && self.newest_checkpoint() == before && job.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(moment);
            assert!(self.kill(&mut job), "the job ended before it was killed: {}", self.said());
        }
        // And some at full speed, around the end.
        let mut late_kills = 0;
        for _ in 0..5 {
            let mut job = self.start(None);
            std::thread::sleep(Duration::from_millis(self.random.below(400)));
            if !self.kill(&mut job) {
                break;
            }
            late_kills += 1;
        }
        self.finish();
        self.compare_with_truth();
        println!(
            "{kills} kills and {late_kills} at full speed, {} runs restored, {} files, {} shared by checkpoints, {} lines, \
             {:.1} s",
            self.restored,
            self.committed.len(),
            self.shared.len(),
            self.truth.values().sum::<u64>(),
            start.elapsed().as_secs_f64()
        );
        assert!(self.restored > 0, "no run began with a checkpoint");
        match self.incremental {
            [true] => assert!(!self.shared.is_empty(), "incremental checkpoints share files"),
            [] | [false] => assert!(self.shared.is_empty(), "only incremental checkpoints share files"),
            _ => {}
        }
        fs::remove_dir_all(&self.directory).unwrap();
    }

    /// Some moments lie in the start and the restore, most in the run.
    fn moment(&mut self) -> Duration {
        Duration::from_millis(match self.random.below(4) {
            0 => self.random.below(100),
            _ => 100 + self.random.below(700),
        })
    }

    /// One large file, some small ones, and one that is finished long before the others.
    fn write_input(&mut self, lines: u64) {
        for (name, lines) in [("large.txt", lines), ("a.txt", 500), ("b.txt", 700), ("c.txt", 900), ("tiny.txt", 1)] {
            let mut text = String::new();
            for _ in 0..lines {
                self.append_line(&mut text);
            }
            // The last line of a file need not end.
            text.truncate(text.trim_end().len());
            File::create(self.directory.join("input").join(name)).unwrap().write_all(text.as_bytes()).unwrap();
        }
        fs::write(self.directory.join("input/empty.txt"), "").unwrap();
    }

    fn append_line(&mut self, text: &mut String) {
        const GAPS: [&str; 4] = [" ", "  ", "\t", " \u{2003}"];
        for _ in 0..self.random.below(7) {
            // Few words are frequent, many are rare.
            let bound = 1 << self.random.below(13);
            let word = format!("{}{}", ["w", "größe", "語"][self.random.below(3) as usize], self.random.below(bound));
            text.push_str(&word);
            text.push_str(GAPS[self.random.below(4) as usize]);
            *self.truth.entry(word).or_default() += 1;
        }
        text.push_str(if self.random.below(10) == 0 { "\r\n" } else { "\n" });
    }

    fn start(&mut self, rate: Option<u64>) -> Child {
        let mut command = Command::new(example("word_count"));
        command
            // Files are closed before every checkpoint, over a few, and never: then each restore commits what was in progress.
            .args(["--rollover-interval", ["20ms", "200ms", "60s"][self.random.below(3) as usize]])
            .args(["--checkpoint-interval", "50ms", "--keep", "2", "--workers"])
            .arg((1 + self.random.below(3)).to_string())
            .args(["--state-backend", self.backends[self.random.below(self.backends.len() as u64) as usize]])
            .arg("--checkpoint-dir")
            .arg(format!("file://{}", self.directory.join("checkpoints").display()))
            .arg("--output")
            .arg(self.output())
            // What a killed process leaves behind goes with the test.
            .env("TMPDIR", self.directory.join("working"))
            .args(self.of_rocksdb())
            .args(rate.map(|rate| format!("--rate={rate}")))
            .arg(self.directory.join("input"))
            .stdout(Stdio::null())
            .stderr(File::create(self.directory.join("stderr")).unwrap());
        command.spawn().unwrap()
    }

    fn of_rocksdb(&mut self) -> Vec<String> {
        if self.incremental.is_empty() {
            return Vec::new();
        }
        let incremental = self.incremental[self.random.below(self.incremental.len() as u64) as usize];
        vec![format!("--incremental={incremental}"), format!("--db-storage-path={}", self.databases().display())]
    }

    /// Kills a run and looks at what it left. False if it had finished.
    fn kill(&mut self, job: &mut Child) -> bool {
        job.kill().unwrap();
        let status = job.wait().unwrap();
        self.look();
        if status.signal() == Some(SIGKILL) {
            return true;
        }
        assert!(status.success(), "{status}: {}", self.said());
        false
    }

    /// Runs to the end, and once more: a job that has finished changes nothing.
    fn finish(&mut self) {
        for _ in 0..2 {
            let status = self.start(None).wait().unwrap();
            assert!(status.success(), "{status}: {}", self.said());
            self.look();
        }
        assert!(self.said().contains("has finished"), "{}", self.said());
        let mut files = fs::read_dir(self.output()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(files.all(|name| name.to_str().unwrap().starts_with("part-")), "a pending file was left behind");
        assert_eq!(names(&self.databases()), BTreeSet::new(), "local files of crashed runs were left behind");
        let orphans: Vec<_> = self.checkpoints().orphans().map(ToString::to_string).collect();
        assert_eq!(orphans, [] as [String; 0], "files that no checkpoint names were left behind");
    }

    /// Everything complete in the directory of the job, as a new run would find it.
    fn checkpoints(&self) -> CompletedCheckpointStore {
        let base = StoragePath::from_local(self.directory.join("checkpoints")).unwrap();
        let job = FileSystemCheckpointStorage::new(base).unwrap().open(JobId::from_name("word count")).unwrap();
        CompletedCheckpointStore::recover(job, 2).unwrap()
    }

    /// Number of the newest completed checkpoint, while the job runs.
    fn newest_checkpoint(&self) -> Option<u64> {
        let names = names(&self.directory.join("checkpoints").join(JobId::from_name("word count").to_string()));
        let is_complete = |name: &&String| self.metadata_of(name).exists();
        names.iter().filter(is_complete).filter_map(|name| name.strip_prefix("chk-")?.parse().ok()).max()
    }

    fn metadata_of(&self, checkpoint: &str) -> PathBuf {
        let job = self.directory.join("checkpoints").join(JobId::from_name("word count").to_string());
        job.join(checkpoint).join("_metadata")
    }

    /// At every moment each checkpoint has all its files, files that checkpoints share do not change, and there are no
    /// databases but those of the last run.
    fn look_at_state(&mut self) {
        let store = self.checkpoints();
        assert!(store.unreadable().is_empty(), "{:?}; {}", store.unreadable(), self.said());
        let shared = store.checkpoints().flat_map(|checkpoint| checkpoint.files().iter());
        for file in shared.filter(|file| file.parent().is_some_and(|parent| parent.file_name() == Some("shared"))) {
            let path = file.to_local_path().unwrap();
            let now = fingerprint(&fs::read(&path).unwrap());
            let before = *self.shared.entry(path).or_insert(now);
            assert_eq!(now, before, "{file} has changed; {}", self.said());
        }
        let databases = names(&self.databases());
        assert!(databases.len() <= 3, "databases of earlier runs: {databases:?}; {}", self.said());
    }

    /// What was committed before is still there and still the same.
    fn look(&mut self) {
        let committed = committed_files(&self.output()).into_iter();
        let now: BTreeMap<_, _> = committed.map(|(name, text)| (name, fingerprint(text.as_bytes()))).collect();
        for (name, before) in &self.committed {
            assert_eq!(now.get(name), Some(before), "{name} has changed or vanished; {}", self.said());
        }
        self.committed = now;
        self.look_at_state();
        self.restored += usize::from(self.said().contains("restored from checkpoint"));
    }

    /// For every word each count from 1 to its occurrences, once.
    fn compare_with_truth(&self) {
        let mut counts: HashMap<String, Vec<u64>> = HashMap::new();
        for (name, text) in committed_files(&self.output()) {
            assert!(text.ends_with('\n'), "{name} ends within a line");
            for line in text.lines() {
                let (word, count) = line.split_once('\t').unwrap_or_else(|| panic!("{name} has a line {line:?}"));
                counts.entry(word.to_owned()).or_default().push(count.parse().unwrap());
            }
        }
        for (word, counts) in &mut counts {
            counts.sort_unstable();
            let wrong = counts.iter().zip(1..).find(|(found, expected)| *found != expected);
            assert_eq!(wrong, None, "a count of {word:?} is missing or came twice");
            assert_eq!(Some(counts.len() as u64), self.truth.get(word).copied(), "occurrences of {word:?}");
        }
        assert_eq!(counts.len(), self.truth.len(), "number of words");
    }

    fn output(&self) -> PathBuf {
        self.directory.join("output")
    }

    fn databases(&self) -> PathBuf {
        self.directory.join("databases")
    }

    fn said(&self) -> String {
        fs::read_to_string(self.directory.join("stderr")).unwrap()
    }
}

/// Size and hash.
fn fingerprint(bytes: &[u8]) -> (usize, u64) {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    (bytes.len(), hasher.finish())
}

/// The names in a directory; none if it is not there.
fn names(directory: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(directory) else { return BTreeSet::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Sebastiano Vigna's generator: small, good enough, and the same everywhere.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
