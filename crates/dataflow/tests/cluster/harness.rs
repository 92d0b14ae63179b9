//! Starts processes, does them harm, and looks at what they leave behind.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub(crate) use super::ports::free_port;
use super::process::{CONFIGURATION, DIRECTORY, HOSTS, INDEX, KEYS, RECORDS};
use super::support::occurrences;

/// No machine is so slow that it needs longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);

/// Short times, so that a test sees a loss soon. A loss that is none costs an attempt and nothing else.
pub(crate) const QUICK: &str = "heartbeat.interval=100 ms;heartbeat.timeout=3 s";

pub(crate) fn free_hosts(processes: usize) -> Vec<String> {
    (0..processes).map(|_| format!("127.0.0.1:{}", free_port())).collect()
}

/// A job in several processes.
pub(crate) struct Processes {
    pub(crate) directory: tempfile::TempDir,
    /// What each process is given as hosts.
    pub(crate) hosts: Vec<Vec<String>>,
    configuration: String,
    environment: Vec<(&'static str, String)>,
    children: Vec<Option<Child>>,
    starts: usize,
}

impl Processes {
    pub(crate) fn new(processes: usize) -> Self {
        let hosts = free_hosts(processes);
        Self::with_hosts(vec![hosts; processes])
    }

    pub(crate) fn with_hosts(hosts: Vec<Vec<String>>) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            children: hosts.iter().map(|_| None).collect(),
            hosts,
            configuration: QUICK.to_owned(),
            environment: Vec::new(),
            starts: 0,
        }
    }

    /// Lays `key=value` entries over the configuration of processes that are started from now on.
    pub(crate) fn configure(&mut self, entries: &str) {
        self.configuration = format!("{QUICK};{entries}");
    }

    /// Sets a variable for processes that are started from now on.
    pub(crate) fn set(&mut self, variable: &'static str, value: impl Into<String>) {
        self.environment.retain(|(known, _)| *known != variable);
        self.environment.push((variable, value.into()));
    }

    pub(crate) fn start(&mut self, index: usize) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "process::process", "--nocapture"]);
        command.env(INDEX, index.to_string()).env(HOSTS, self.hosts[index].join(","));
        command.env(DIRECTORY, self.directory.path()).env(CONFIGURATION, &self.configuration);
        command.envs(self.environment.iter().map(|(variable, value)| (variable, value)));
        let log = self.directory.path().join(format!("log-{index}-{}", self.starts));
        self.starts += 1;
        command.stdout(Stdio::null()).stderr(File::create(log).unwrap());
        self.children[index] = Some(command.spawn().unwrap());
    }

    pub(crate) fn start_all(&mut self) {
        (0..self.children.len()).for_each(|index| self.start(index));
    }

    pub(crate) fn signal(&self, index: usize, signal: &str) {
        let id = self.children[index].as_ref().unwrap().id().to_string();
        // One that has ended meanwhile is not there.
        let _ = Command::new("kill").args(["-s", signal, &id]).stderr(Stdio::null()).status().unwrap();
    }

    /// Kills a process and waits until it is gone.
    pub(crate) fn kill(&mut self, index: usize) {
        let mut child = self.children[index].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Whether a process has ended.
    pub(crate) fn ended(&mut self, index: usize) -> Option<ExitStatus> {
        self.children[index].as_mut().and_then(|child| child.try_wait().unwrap())
    }

    /// Waits for the end of a process.
    pub(crate) fn wait(&mut self, index: usize) -> i32 {
        self.until(&format!("the end of process {index}"), |processes| processes.ended(index).is_some());
        self.children[index].take().unwrap().wait().unwrap().code().unwrap_or(-1)
    }

    pub(crate) fn wait_all(&mut self) -> Vec<i32> {
        (0..self.children.len()).map(|index| self.wait(index)).collect()
    }

    pub(crate) fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what} has not come; logs:\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for this many more completed checkpoints, or for the end of process 0.
    pub(crate) fn until_checkpoints(&mut self, more: u64) {
        let newest = self.newest_checkpoint();
        self.until("a checkpoint", |processes| {
            processes.newest_checkpoint() >= newest + more || processes.ended(0).is_some()
        });
    }

    fn newest_checkpoint(&self) -> u64 {
        let jobs = std::fs::read_dir(self.directory.path().join("checkpoints")).into_iter().flatten();
        let checkpoints = jobs.flat_map(|job| std::fs::read_dir(job.unwrap().path()).into_iter().flatten());
        let complete = checkpoints.filter_map(|entry| {
            let path = entry.ok()?.path();
            let number = path.file_name()?.to_str()?.strip_prefix("chk-")?.parse().ok()?;
            path.join("_metadata").exists().then_some(number)
        });
        complete.max().unwrap_or(0)
    }

    /// What all processes have logged.
    pub(crate) fn logs(&self) -> String {
        let mut logs: Vec<_> = std::fs::read_dir(self.directory.path()).unwrap().map(|e| e.unwrap().path()).collect();
        logs.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("log-"));
        logs.sort();
        logs.iter().map(|log| format!("{}:\n{}", log.display(), std::fs::read_to_string(log).unwrap())).collect()
    }

    /// What the processes of an index have logged.
    pub(crate) fn log(&self, index: usize) -> String {
        self.logs().split("log-").filter(|log| log.starts_with(&format!("{index}-"))).collect()
    }

    /// No thread of timely has panicked, whatever was done to the connections.
    pub(crate) fn assert_calm(&self) {
        let logs = self.logs();
        for word in ["panicked", "MergeQueue", "timely communication error"] {
            assert!(!logs.contains(word), "{word}:\n{logs}");
        }
    }

    /// Every count of every key was committed exactly once.
    pub(crate) fn assert_exactly_once(&self) {
        let expected = occurrences(RECORDS, KEYS);
        let lines = self.lines();
        for (key, counts) in &lines {
            let all: Vec<i64> = (1..=expected.get(key).copied().unwrap_or(0)).collect();
            assert_eq!(*counts, all, "counts of key {key}");
        }
        assert_eq!(lines.len(), expected.len());
    }

    /// The counts of every key, sorted.
    pub(crate) fn lines(&self) -> BTreeMap<i64, Vec<i64>> {
        let mut counts: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for entry in std::fs::read_dir(self.directory.path().join("output")).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with("part-") {
                for line in std::fs::read_to_string(path).unwrap().lines() {
                    let (key, n) = line.split_once(' ').unwrap();
                    counts.entry(key.parse().unwrap()).or_default().push(n.parse().unwrap());
                }
            }
        }
        counts.values_mut().for_each(|counts| counts.sort_unstable());
        counts
    }

    pub(crate) fn touch(&self, file: &str) {
        File::create(self.directory.path().join(file)).unwrap();
    }

    pub(crate) fn remove(&self, file: &str) {
        std::fs::remove_file(self.directory.path().join(file)).unwrap();
    }

    pub(crate) fn checkpoints(&self) -> impl Iterator<Item = std::path::PathBuf> {
        fn below(directory: &Path) -> Vec<std::path::PathBuf> {
            let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
            entries.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
        }
        below(&self.directory.path().join("checkpoints")).into_iter()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
