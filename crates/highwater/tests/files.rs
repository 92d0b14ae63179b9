//! Jobs from files to files: exactly once over failures, stops and rescales, and refusals that name what is wrong.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption should stop the test, in helpers too")]

mod support;

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use highwater::{
    Collector, ErrorKind, ExecutionConfig, FileSink, FileSource, FsStateBackend, Job, JobHandle, JobOutcome, JobResult,
    MemoryStateBackend, Progress, RestartStrategy, Result, StartFrom, ValueStateDescriptor,
};
use support::committed_files;
use tempfile::TempDir;

const LARGE: usize = 20_000;

/// Where something goes wrong, once, on one subtask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nowhere,
    Read,
    Open,
    Process,
    Write,
}

/// A job that counts words from files to files.
struct Scene {
    dir: TempDir,
    /// Lines per second.
    rate: f64,
    fails: Place,
    /// Calls of the place that fails, over all attempts. The failure comes with the last of them.
    calls_left: Arc<AtomicU64>,
}

impl Scene {
    /// One large file, and one that is finished long before it.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let large: String = (0..LARGE).map(|i| format!("word{} of {}\n", i % 997, i % 13)).collect();
        fs::create_dir(dir.path().join("input")).unwrap();
        fs::write(dir.path().join("input/large"), large).unwrap();
        fs::write(dir.path().join("input/tiny"), "tiny of all\n").unwrap();
        Self { dir, rate: 1e9, fails: Place::Nowhere, calls_left: Arc::default() }
    }

    fn failing(place: Place, after: u64) -> Self {
        Self { fails: place, calls_left: Arc::new(AtomicU64::new(after)), rate: 40_000.0, ..Self::new() }
    }

    /// Takes minutes, so that it is stopped before its end.
    fn slow() -> Self {
        Self { rate: 100.0, ..Self::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn on_files(&self) -> ExecutionConfig {
        let uri = format!("file://{}", self.path("checkpoints").display());
        frequent().state_backend(FsStateBackend::new(&uri).unwrap())
    }

    fn job(&self) -> Job {
        let source = FileSource::lines([self.path("input")]).split_size(10_000).rate(self.rate);
        let (place, calls) = (self.fails, Arc::clone(&self.calls_left));
        let fail = move |here: Place| {
            let was_last = |left: u64| left.checked_sub(1);
            let is_now = here == place && calls.fetch_update(Ordering::SeqCst, Ordering::SeqCst, was_last) == Ok(1);
            assert!(!is_now, "injected failure in {here:?}");
        };
        let at_sink = fail.clone();
        let sink = FileSink::new(self.path("output"), move |(word, count): &(String, i64), line| {
            at_sink(Place::Write);
            line.extend_from_slice(format!("{word}\t{count}").as_bytes());
        });
        Job::new("files", move |env| {
            let (at_read, at_open, at_process) = (fail.clone(), fail.clone(), fail.clone());
            env.source("lines", source.clone())
                .flat_map(move |line: String, out: &mut Collector<String>| {
                    at_read(Place::Read);
                    out.extend(line.split(' ').map(str::to_owned));
                    Ok(())
                })
                .key_by(|word: &String| word.clone())
                .process("count", move |open| {
                    at_open(Place::Open);
                    let count = open.value_state(&ValueStateDescriptor::<i64>::new("count"))?;
                    Ok(move |word: &String, _: String, out: &mut Collector<(String, i64)>| {
                        at_process(Place::Process);
                        let n = count.value()?.unwrap_or(0) + 1;
                        count.update(n)?;
                        out.collect((word.clone(), n));
                        Ok(())
                    })
                })
                .sink("counts", sink.clone());
            Ok(())
        })
    }

    fn run(&self, config: &ExecutionConfig) -> Result<JobResult> {
        self.job().execute(config)
    }

    /// Stops the job when it has taken this many checkpoints.
    fn run_and_stop(&self, config: ExecutionConfig, checkpoints: u64) -> JobResult {
        let handle = JobHandle::new();
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                let deadline = Instant::now() + Duration::from_secs(120);
                let has_come_far =
                    |progress: Progress| progress.completed_checkpoints >= checkpoints && progress.records_out >= 100;
                while !has_come_far(handle.progress()) && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(2));
                }
                handle.stop();
            });
            self.run(&config.handle(&handle)).unwrap()
        });
        assert_eq!(result.outcome, JobOutcome::Stopped);
        assert!(result.progress.records_in < LARGE as u64, "it was stopped in the middle");
        result
    }

    fn assert_exactly_once(&self) {
        let mut truth: HashMap<String, usize> = HashMap::new();
        for name in ["large", "tiny"] {
            let text = fs::read_to_string(self.path("input").join(name)).unwrap();
            text.split_whitespace().for_each(|word| *truth.entry(word.to_owned()).or_default() += 1);
        }
        let mut counts: HashMap<String, Vec<usize>> = HashMap::new();
        for (_, text) in committed_files(&self.path("output")) {
            for (word, count) in text.lines().map(|line| line.split_once('\t').unwrap()) {
                counts.entry(word.to_owned()).or_default().push(count.parse().unwrap());
            }
        }
        for (word, counts) in &mut counts {
            counts.sort_unstable();
            assert_eq!(*counts, (1..=truth.get(word).copied().unwrap_or(0)).collect::<Vec<_>>(), "counts of {word}");
        }
        assert_eq!(counts.len(), truth.len());
    }
}

fn frequent() -> ExecutionConfig {
    let restart = RestartStrategy::FixedDelay { attempts: 3, delay: Duration::from_millis(1) };
    ExecutionConfig::new().workers(3).checkpoint_interval(Duration::from_millis(10)).restart_strategy(&restart)
}

#[test]
fn a_failure_anywhere_leaves_no_trace_in_the_files() {
    // Counted over three workers; the file `tiny` is finished by then.
    for (place, after) in [(Place::Read, 15_000), (Place::Open, 2), (Place::Process, 25_000), (Place::Write, 30_000)] {
        for on_files in [true, false] {
            let scene = Scene::failing(place, after);
            let config = if on_files { scene.on_files() } else { frequent().state_backend(MemoryStateBackend::new()) };
            let result = scene.run(&config).unwrap();
            assert_eq!(result.outcome, JobOutcome::Finished);
            assert_eq!(result.progress.attempt, 2, "{place:?} failed once: {:?}", result.progress.last_failure);
            scene.assert_exactly_once();
        }
    }
}

#[test]
fn one_large_file_goes_from_one_worker_to_three_in_the_middle_and_back() {
    let scene = Scene::slow();
    scene.run_and_stop(scene.on_files().workers(1), 3);
    let three = scene.run_and_stop(scene.on_files().workers(3), 3);
    assert!(three.progress.restored_from.is_some());
    let at_full_speed = Scene { rate: 1e9, ..scene };
    assert_eq!(at_full_speed.run(&at_full_speed.on_files().workers(2)).unwrap().outcome, JobOutcome::Finished);
    at_full_speed.assert_exactly_once();
}

#[test]
fn input_that_changed_since_the_checkpoint_is_refused_at_once_and_named() {
    for (content, word) in
        [(None, "missing"), (Some("word0"), "shorter"), (Some(&*"other\n".repeat(100_000)), "replaced")]
    {
        let scene = Scene::slow();
        scene.run_and_stop(scene.on_files(), 2);
        let input = scene.path("input/large").canonicalize().unwrap();
        match content {
            Some(content) => fs::write(&input, content).unwrap(),
            None => fs::remove_file(&input).unwrap(),
        }
        let error = scene.run(&scene.on_files()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible);
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!((error.value("file"), error.value("operator")), (input.to_str(), Some("lines")));
    }
}

#[test]
fn a_snapshot_older_than_the_results_is_refused_and_so_is_a_fresh_start_into_them() {
    let scene = Scene::slow();
    let keeps = scene.on_files().retained_checkpoints(5);
    scene.run_and_stop(keeps.clone(), 4);
    let job = scene.path("checkpoints").join(scene.job().id().to_string());
    let ids = fs::read_dir(&job).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_prefix("chk-")?.parse::<u64>().ok()
    });
    let oldest = job.join(format!("chk-{}", ids.min().unwrap()));
    let before = committed_files(&scene.path("output"));

    let pointer = StartFrom::Pointer(oldest.to_str().unwrap().to_owned());
    let error = scene.run(&keeps.clone().start_from(pointer)).unwrap_err();
    assert_eq!((error.kind(), error.value("operator")), (ErrorKind::Incompatible, Some("counts")));
    assert!(error.value("files").unwrap().starts_with("part-"));
    let error = scene.run(&keeps.clone().start_from(StartFrom::Fresh)).unwrap_err();
    assert!(error.message().contains("fresh start"), "{error}");
    let mut now = committed_files(&scene.path("output"));
    now.retain(|file| before.contains(file));
    assert_eq!(now.len(), before.len(), "no committed file has changed");

    assert_eq!(Scene { rate: 1e9, ..scene }.run(&keeps).unwrap().outcome, JobOutcome::Finished);
}
