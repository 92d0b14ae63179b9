//! The main job in three processes, which are killed, stopped for longer than the others wait, and cut off from each other
//! at random. In the end the committed lines are compared with the truth. And: the command lines in `deploy/` are those of
//! the program.
//!
//! `HIGHWATER_KILLS=…` sets how often harm is done; `HIGHWATER_SEED=…` repeats what is done.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "a failed assumption should stop the test, in helpers too"
)]

#[path = "../../dataflow/tests/support/ports.rs"]
mod ports;
#[path = "../../dataflow/tests/cluster/proxy.rs"]
mod proxy;
mod support;

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ports::free_port;
use proxy::Proxy;
use support::{committed_files, example};

const PROCESSES: usize = 3;
const LINES: usize = 6_000;
const DEADLINE: Duration = Duration::from_secs(240);
const SECRET: &str = "a secret of this test, and no other";

/// One job, and the harm that is done to it.
struct Story {
    directory: tempfile::TempDir,
    backend: &'static [&'static str],
    /// What each process is given as hosts.
    hosts: Vec<Vec<String>>,
    proxies: Vec<Proxy>,
    children: Vec<Child>,
    starts: usize,
    random: u64,
}

impl Story {
    fn new(backend: &'static [&'static str]) -> Self {
        let seed =
            std::env::var("HIGHWATER_SEED").map_or_else(|_| RandomState::new().hash_one(0), |s| s.parse().unwrap());
        println!("seed {seed}");
        let own: Vec<_> = (0..PROCESSES).map(|_| format!("127.0.0.1:{}", free_port())).collect();
        let mut hosts = vec![own.clone(); PROCESSES];
        let mut proxies = Vec::new();
        // Everybody is reached through a proxy of its own by everybody who calls it.
        for (from, seen) in hosts.iter_mut().enumerate() {
            for to in 0..from {
                let proxy = Proxy::to(&own[to]);
                seen[to].clone_from(&proxy.host);
                proxies.push(proxy);
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let story = Self { directory, backend, hosts, proxies, children: Vec::new(), starts: 0, random: seed };
        std::fs::create_dir(story.path("input")).unwrap();
        for file in 0..6 {
            let lines: Vec<_> = (0..LINES / 6).map(|line| format!("all w{} f{file}\n", line % 97)).collect();
            std::fs::write(story.path(&format!("input/{file}.txt")), lines.concat()).unwrap();
        }
        story
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % end
    }

    fn start(&mut self, index: usize) -> Child {
        let mut command = Command::new(example("word_count"));
        command.args(["--workers", "2", "--rate", "400", "--checkpoint-interval", "100ms"]);
        command.args(["--cluster-index", &index.to_string(), "--cluster-hosts", &self.hosts[index].join(",")]);
        command.args(["-D", "heartbeat.interval=100ms", "-D", "heartbeat.timeout=3s"]);
        command.args(["-D", "restart-strategy.type=fixed-delay", "-D", "restart-strategy.fixed-delay.attempts=100000"]);
        command.args(["-D", "restart-strategy.fixed-delay.delay=20ms"]);
        command.arg("--checkpoint-dir").arg(format!("file://{}", self.path("checkpoints").display()));
        command.arg("--db-storage-path").arg(self.path("working")).args(self.backend);
        command.arg("--output").arg(self.path("output")).arg(self.path("input"));
        command.env("HIGHWATER_CLUSTER_SECRET", SECRET).stdout(Stdio::null());
        self.starts += 1;
        command.stderr(File::create(self.path(&format!("log-{index}-{}", self.starts))).unwrap());
        command.spawn().unwrap()
    }

    fn tell(mut self) {
        let rounds = std::env::var("HIGHWATER_KILLS").map_or(6, |kills| kills.parse().unwrap());
        self.children = (0..PROCESSES).map(|index| self.start(index)).collect();
        let mut harmed = 0;
        for _ in 0..rounds {
            let newest = self.newest_checkpoint();
            self.until("a checkpoint", |story| story.newest_checkpoint() > newest || story.is_over());
            std::thread::sleep(Duration::from_millis(self.below(300)));
            if self.is_over() {
                break;
            }
            harmed += 1;
            self.harm();
        }
        assert!(harmed > 0, "nothing was done to the job:\n{}", self.logs());
        self.until("the end", |story| story.children.iter_mut().all(|child| child.try_wait().unwrap().is_some()));
        let codes: Vec<_> = self.children.iter_mut().map(|child| child.wait().unwrap().code()).collect();
        assert_eq!(codes, [Some(0); PROCESSES], "{}", self.logs());
        self.check();
    }

    fn harm(&mut self) {
        let index = self.below(PROCESSES as u64) as usize;
        match self.below(3) {
            0 => {
                self.children[index].kill().unwrap();
                self.children[index].wait().unwrap();
                std::thread::sleep(Duration::from_millis(self.below(500)));
                self.children[index] = self.start(index);
            }
            1 => {
                self.signal(index, "STOP");
                // Longer than the timeout.
                std::thread::sleep(Duration::from_millis(3_500 + self.below(1_000)));
                self.signal(index, "CONT");
            }
            _ => self.proxies[index].reset(),
        }
    }

    fn signal(&self, index: usize, signal: &str) {
        let id = self.children[index].id().to_string();
        Command::new("kill").args(["-s", signal, &id]).stderr(Stdio::null()).status().unwrap();
    }

    fn is_over(&mut self) -> bool {
        self.children[0].try_wait().unwrap().is_some()
    }

    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what} has not come:\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn newest_checkpoint(&self) -> u64 {
        let jobs = std::fs::read_dir(self.path("checkpoints")).into_iter().flatten();
        let checkpoints = jobs.flat_map(|job| std::fs::read_dir(job.unwrap().path()).into_iter().flatten());
        let complete = checkpoints.filter_map(|entry| {
            let path = entry.ok()?.path();
            let number = path.file_name()?.to_str()?.strip_prefix("chk-")?.parse().ok()?;
            path.join("_metadata").exists().then_some(number)
        });
        complete.max().unwrap_or(0)
    }

    fn logs(&self) -> String {
        let logs = std::fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let logs = logs.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("log-"));
        logs.map(|log| format!("{}:\n{}", log.display(), std::fs::read_to_string(&log).unwrap())).collect()
    }

    /// Every count of every word was committed exactly once.
    fn check(&self) {
        let mut truth: HashMap<String, i64> = HashMap::new();
        for file in 0..6 {
            for line in 0..LINES / 6 {
                for word in ["all".to_owned(), format!("w{}", line % 97), format!("f{file}")] {
                    *truth.entry(word).or_default() += 1;
                }
            }
        }
        let mut counts: HashMap<String, Vec<i64>> = HashMap::new();
        for (_, text) in committed_files(&self.path("output")) {
            for line in text.lines() {
                let (word, count) = line.split_once('\t').unwrap();
                counts.entry(word.to_owned()).or_default().push(count.parse().unwrap());
            }
        }
        assert_eq!(counts.len(), truth.len());
        for (word, mut counts) in counts {
            counts.sort_unstable();
            assert_eq!(counts, (1..=truth[&word]).collect::<Vec<_>>(), "counts of {word}\n{}", self.logs());
        }
        let logs = self.logs();
        for word in ["panicked", "MergeQueue", SECRET] {
            assert!(!logs.contains(word), "{word}:\n{logs}");
        }
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn three_processes_that_are_harmed_at_random_count_exactly_on_the_heap() {
    Story::new(&["--state-backend", "fs"]).tell();
}

#[cfg(feature = "rocksdb")]
#[test]
fn three_processes_that_are_harmed_at_random_count_exactly_on_rocksdb() {
    Story::new(&["--state-backend", "rocksdb", "--incremental", "true"]).tell();
}

/// What `deploy/` runs is known to the program: with every option that is in it, it gets as far as the missing secret.
#[test]
fn the_command_lines_of_the_deployment_are_those_of_the_program() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let unit = std::fs::read_to_string(deploy.join("systemd/word-count@.service")).unwrap();
    let systemd = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let manifest = std::fs::read_to_string(deploy.join("kubernetes/word-count.yaml")).unwrap();
    let kubernetes =
        manifest.lines().filter_map(|line| line.trim().strip_prefix("- --").map(|rest| format!("--{rest}")));
    let of_systemd = systemd.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>();
    for arguments in [of_systemd, kubernetes.collect()] {
        assert!(arguments.iter().any(|argument| argument.starts_with("--cluster-hosts")));
        let filled = arguments.iter().map(|argument| {
            let argument = argument.replace("%i", "1").replace("$(INDEX)", "1");
            argument.replace("${HOSTS}", "10.0.0.1:1,10.0.0.2:1").replace("${CREDENTIALS_DIRECTORY}", "/nowhere")
        });
        let output = Command::new(example("word_count")).args(filled).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("the secret of the cluster cannot be read"), "{said}");
        assert_eq!(output.status.code(), Some(2));
    }
}
