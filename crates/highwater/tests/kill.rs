//! The main job is killed with SIGKILL at random moments and started again, with one, two and three workers in turn.
//! After every kill no file that was committed before may have changed or vanished; in the end the committed lines are
//! compared, one by one, with the truth.
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

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use support::{committed_files, example};

const KILLS: usize = 30;
const LINES_PER_SECOND: u64 = 4_000;
const SIGKILL: i32 = 9;

#[test]
fn killed_at_any_moment_the_job_ends_with_exactly_the_right_lines() {
    let kills = std::env::var("HIGHWATER_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    Story::new("kill", &["fs"]).tell(kills);
}

#[test]
fn killed_jobs_go_on_with_another_state_backend() {
    Story::new("kill-backends", &["fs", "fjall", "memory", "ordered-map", "hashmap"]).tell(10);
}

/// One job from its first run to its end.
struct Story {
    directory: PathBuf,
    backends: &'static [&'static str],
    random: SplitMix64,
    /// How often each word was put into the input.
    truth: HashMap<String, u64>,
    /// Size and hash of every file that was ever seen committed.
    committed: BTreeMap<String, (usize, u64)>,
    /// Runs that began with a checkpoint.
    restored: usize,
}

impl Story {
    fn new(name: &str, backends: &'static [&'static str]) -> Self {
        let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var("HIGHWATER_SEED").map_or_else(|_| clock(), |seed| seed.parse().unwrap());
        let directory = tempfile::Builder::new().prefix(name).tempdir().unwrap().keep();
        println!("seed {seed}, files in {}", directory.display());
        fs::create_dir(directory.join("input")).unwrap();
        fs::create_dir(directory.join("working")).unwrap();
        let (truth, committed) = Default::default();
        Self { directory, backends, random: SplitMix64(seed), truth, committed, restored: 0 }
    }

    fn tell(mut self, kills: usize) {
        let start = Instant::now();
        let moments: Vec<Duration> = (0..kills).map(|_| self.moment()).collect();
        // More than all runs together can read, so that none of them comes to an end by itself.
        let most = moments.iter().sum::<Duration>().as_secs_f64() + 0.2 * kills as f64;
        self.write_input(most as u64 * LINES_PER_SECOND + 10_000);

        for moment in moments {
            let mut job = self.start(Some(LINES_PER_SECOND));
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
            "{kills} kills and {late_kills} at full speed, {} runs restored, {} files, {} lines, {:.1} s",
            self.restored,
            self.committed.len(),
            self.truth.values().sum::<u64>(),
            start.elapsed().as_secs_f64()
        );
        assert!(self.restored > 0, "no run began with a checkpoint");
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
            .args(["--checkpoint-interval", "50ms", "--keep", "2", "--workers"])
            .arg((1 + self.random.below(3)).to_string())
            .args(["--state-backend", self.backends[self.random.below(self.backends.len() as u64) as usize]])
            .arg("--checkpoint-dir")
            .arg(format!("file://{}", self.directory.join("checkpoints").display()))
            .arg("--output")
            .arg(self.output())
            // What a killed process leaves behind goes with the test.
            .env("TMPDIR", self.directory.join("working"))
            .args(rate.map(|rate| format!("--rate={rate}")))
            .arg(self.directory.join("input"))
            .stdout(Stdio::null())
            .stderr(File::create(self.directory.join("stderr")).unwrap());
        command.spawn().unwrap()
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
    }

    /// What was committed before is still there and still the same.
    fn look(&mut self) {
        let mut now = BTreeMap::new();
        for (name, text) in committed_files(&self.output()) {
            let mut hasher = DefaultHasher::new();
            hasher.write(text.as_bytes());
            now.insert(name, (text.len(), hasher.finish()));
        }
        for (name, before) in &self.committed {
            assert_eq!(now.get(name), Some(before), "{name} has changed or vanished; {}", self.said());
        }
        self.committed = now;
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

    fn said(&self) -> String {
        fs::read_to_string(self.directory.join("stderr")).unwrap()
    }
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
