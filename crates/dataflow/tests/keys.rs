//! Every key that the loader accepts takes effect in a job, or is refused by its name. Some were parsed and then ignored.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "helpers of tests")]

mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use highwater_backends::{
    BackendRegistry, Configuration, HashMapStateBackend, JobSettings, OptionInfo, RestartStrategy, StateBackend,
    options, select_checkpoint_storage,
};
use highwater_checkpoint::{CheckpointMetadata, JobId, resolve_pointer};
use highwater_dataflow::{
    Durability, ExecutionConfig, GeneratorSource, Job, JobHandle, JobOutcome, JobResult, Sink, SinkContext, SinkWriter,
    StartFrom, TumblingEventTimeWindows, WatermarkStrategy,
};
use highwater_types::{Error, ErrorKind, Result};
use support::{CommitSink, Counted, count, counting, numbers, wait_until};
use tempfile::TempDir;

const RECORDS: u64 = 2_000;
const KEYS: u64 = 101;
const NAME: &str = "keys";
const LONG: Duration = Duration::from_secs(120);

/// A directory for checkpoints, and settings by their keys alone.
struct Place {
    directory: TempDir,
    entries: Vec<(String, String)>,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let uri = format!("file://{}", directory.path().display());
        Self { directory, entries: vec![("execution.checkpointing.dir".into(), uri)] }
    }

    fn with(mut self, key: &str, value: &str) -> Self {
        self.entries.push((key.to_owned(), value.to_owned()));
        self
    }

    fn configuration(&self) -> Configuration {
        self.entries.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }

    fn config(&self) -> ExecutionConfig {
        ExecutionConfig::from_configuration(&self.configuration())
    }

    fn run(&self) -> Result<JobResult> {
        job(CommitSink::new(), None).execute(&self.config())
    }

    /// Runs to the end, and reads the last checkpoint.
    fn metadata(&self) -> Result<CheckpointMetadata> {
        let pointer = self.run()?.progress.last_checkpoint.unwrap().pointer;
        resolve_pointer(&pointer)?.metadata()
    }

    fn job_directory(&self) -> PathBuf {
        self.directory.path().join(JobId::from_name(NAME).to_string())
    }

    /// Names of the checkpoints.
    fn checkpoints(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.job_directory()) else { return Vec::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("chk-")).collect()
    }

    /// Runs until so many checkpoints are complete, then stops.
    fn stop_after(&self, checkpoints: u64) -> JobResult {
        let handle = JobHandle::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                wait_until(|| handle.progress().completed_checkpoints >= checkpoints);
                handle.stop();
            });
            endless().execute(&self.config().handle(&handle)).unwrap()
        })
    }
}

fn job(sink: impl Sink<Counted> + Clone, rate: Option<f64>) -> Job {
    Job::new(NAME, move |env| {
        count(env.source("numbers", numbers(RECORDS, KEYS, rate)), "count").sink("sink", sink.clone());
        Ok(())
    })
}

/// How many windows are closed in a job whose input has no end, until it is seen enough.
fn closed_windows(key: &str, value: &str, is_enough: impl Fn(&CommitSink, &JobHandle) -> bool + Sync) -> usize {
    let (sink, handle) = (CommitSink::new(), JobHandle::new());
    let of_job = sink.clone();
    let job = Job::new(NAME, move |env| {
        let times = WatermarkStrategy::monotonous().timestamps(|number: &i64, _| *number);
        env.source_with_watermarks("numbers", GeneratorSource::new(|index| index as i64).rate(2_000.0), times)
            .key_by(|_: &i64| 0_i64)
            .window(TumblingEventTimeWindows::of(Duration::from_millis(10)))
            .process(
                "windows",
                |_| Ok(()),
                |(), context, _, out| {
                    out.collect((0, context.window().start));
                    Ok(())
                },
            )
            .sink("sink", of_job.clone());
        Ok(())
    });
    let place = Place::new().with("execution.checkpointing.interval", "10 ms").with(key, value);
    thread::scope(|scope| {
        scope.spawn(|| {
            wait_until(|| is_enough(&sink, &handle));
            handle.stop();
        });
        job.execute(&place.config().handle(&handle)).unwrap();
    });
    sink.committed().len()
}

/// Goes on until somebody ends it.
fn endless() -> Job {
    counting(NAME, (RECORDS, KEYS), CommitSink::new(), Some(500.0))
}

/// A sink of which one part of a checkpoint goes wrong.
#[derive(Clone, Debug, Default)]
struct Odd {
    /// So many preparations still fail.
    failures: Arc<AtomicU64>,
    /// The background part of the first checkpoint waits until so many have been prepared.
    waits_for: u64,
    prepared: Arc<(Mutex<u64>, Condvar)>,
    /// Every record fails.
    is_broken: bool,
    /// Records take this long.
    delay: Duration,
}

impl Sink<Counted> for Odd {
    fn open(&self, _: &SinkContext<'_>) -> Result<Box<dyn SinkWriter<Counted>>> {
        Ok(Box::new(self.clone()))
    }
}

impl SinkWriter<Counted> for Odd {
    fn write(&mut self, _: Counted) -> Result<()> {
        thread::sleep(self.delay);
        match self.is_broken {
            true => Err(Error::storage("injected failure of every record")),
            false => Ok(()),
        }
    }

    fn prepare(&mut self, _: u64) -> Result<()> {
        *self.prepared.0.lock().unwrap() += 1;
        self.prepared.1.notify_all();
        match self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Err(Error::storage("injected failure of a checkpoint")),
            Err(_) => Ok(()),
        }
    }

    fn durability(&mut self) -> Option<Durability> {
        let (prepared, waits_for) = (Arc::clone(&self.prepared), std::mem::take(&mut self.waits_for));
        Some(Box::new(move || {
            let is_missing = |prepared: &mut u64| *prepared < waits_for;
            let guard = prepared.0.lock().unwrap();
            let waited = prepared.1.wait_timeout_while(guard, LONG, is_missing).unwrap();
            match waited.1.timed_out() {
                true => Err(Error::storage("the second checkpoint did not begin")),
                false => Ok(()),
            }
        }))
    }

    fn commit(&mut self, _: u64) -> Result<()> {
        Ok(())
    }
}

fn refused(place: &Place, key: &str) {
    let error = place.run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert_eq!(error.value("key"), Some(key), "{error}");
}

/// How often a job is begun in which every record fails, and how long that takes.
fn attempts(place: &Place) -> (u64, Duration) {
    let handle = JobHandle::new();
    let begun = Instant::now();
    job(Odd { is_broken: true, ..Odd::default() }, None).execute(&place.config().handle(&handle)).unwrap_err();
    (handle.progress().attempt, begun.elapsed())
}

/// What the restart rule is told; what it makes of it, its own tests show.
fn restart(pairs: &[(&str, &str)]) -> RestartStrategy {
    let exponential = [("restart-strategy.type", "exponential-delay")];
    JobSettings::from_configuration(&exponential.iter().chain(pairs).copied().collect()).unwrap().restart
}

const INTERVAL: &str = "execution.checkpointing.interval";

/// Asserts that one option takes effect.
fn check(option: &OptionInfo) {
    let key = option.key();
    match key {
        "state.backend.type" => {
            let asked = Arc::new(AtomicU64::new(0));
            let (mut registry, counter) = (BackendRegistry::new(), Arc::clone(&asked));
            let mine = move |configuration: &Configuration| -> Result<Arc<dyn StateBackend>> {
                counter.fetch_add(1, Ordering::SeqCst);
                StateBackend::configure(&HashMapStateBackend::new(), configuration)
            };
            registry.register("mine", mine).unwrap();
            let config = Place::new().with(key, "mine").config().backends(registry);
            job(CommitSink::new(), None).execute(&config).unwrap();
            assert!(asked.load(Ordering::SeqCst) > 0);
        }
        "execution.checkpointing.storage" => {
            for (value, has_files) in [("filesystem", true), ("jobmanager", false)] {
                let place = Place::new().with(key, value);
                place.run().unwrap();
                assert_eq!(place.job_directory().join("shared").exists(), has_files, "{value}");
            }
        }
        "execution.checkpointing.dir" => {
            let place = Place::new();
            place.run().unwrap();
            assert_eq!(place.checkpoints().len(), 1);
        }
        "execution.checkpointing.savepoint-dir" => {
            let target = tempfile::tempdir().unwrap();
            let place = Place::new().with(key, &format!("file://{}", target.path().display())).with(INTERVAL, "10 ms");
            let handle = JobHandle::new();
            thread::scope(|scope| {
                let running = scope.spawn(|| endless().execute(&place.config().handle(&handle)));
                wait_until(|| handle.progress().completed_checkpoints > 0);
                let savepoint = handle.trigger_savepoint(None).wait(LONG).unwrap().unwrap();
                assert!(savepoint.pointer.starts_with(&format!("file:{}/savepoint-", target.path().display())));
                handle.stop();
                running.join().unwrap().unwrap();
            });
        }
        "execution.checkpointing.data-inline-threshold" => {
            for (value, has_files) in [("0 b", true), ("1 mb", false)] {
                let place = Place::new().with(key, value);
                place.run().unwrap();
                let checkpoint = place.job_directory().join(place.checkpoints().first().unwrap());
                assert_eq!(std::fs::read_dir(checkpoint).unwrap().count() > 1, has_files, "{value}");
            }
        }
        "execution.checkpointing.write-buffer-size" => {
            let place = Place::new().with(key, "77777");
            let storage = select_checkpoint_storage(&HashMapStateBackend::new(), None, &place.configuration()).unwrap();
            assert!(format!("{storage:?}").contains("write_buffer: 77777"), "{storage:?}");
            place.run().unwrap();
        }
        "execution.checkpointing.num-retained" => {
            for kept in [1, 3] {
                let place = Place::new().with(key, &kept.to_string()).with(INTERVAL, "10 ms");
                place.stop_after(5);
                assert_eq!(place.checkpoints().len(), kept);
            }
        }
        "execution.checkpointing.create-subdir" => {
            let place = Place::new().with(key, "false");
            place.run().unwrap();
            assert!(place.directory.path().join("chk-1/_metadata").exists());
        }
        "execution.checkpointing.snapshot-compression" => {
            let size = |value| Place::new().with(key, value).metadata().unwrap().state_size();
            assert_ne!(size("true"), size("false"));
        }
        "pekko.framesize" => {
            let place = Place::new().with("execution.checkpointing.storage", "jobmanager").with(key, "100 b");
            let error = place.with("restart-strategy.type", "none").run().unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
        "pipeline.max-parallelism" => {
            let metadata = Place::new().with(key, "7").metadata().unwrap();
            assert!(metadata.operators.iter().all(|operator| operator.max_parallelism.get() == 7));
        }
        "pipeline.auto-watermark-interval" => {
            assert!(closed_windows(key, "1 ms", |sink, _| !sink.committed().is_empty()) > 0);
            let has_had_time = |_: &CommitSink, handle: &JobHandle| handle.progress().completed_checkpoints >= 5;
            assert_eq!(closed_windows(key, "0 ms", has_had_time), 0);
        }
        "taskmanager.numberOfTaskSlots" => {
            let metadata = Place::new().with(key, "3").metadata().unwrap();
            assert!(metadata.operators.iter().all(|operator| operator.parallelism == 3));
            let error = Place::new().with(key, "0").run().unwrap_err();
            assert_eq!(error.value("key"), Some(key));
        }
        "execution.checkpointing.interval" => {
            assert!(Place::new().with(key, "10 ms").stop_after(3).progress.completed_checkpoints > 3);
            assert_eq!(Place::new().run().unwrap().progress.completed_checkpoints, 1, "the last one");
        }
        "execution.checkpointing.mode" => refused(&Place::new().with(key, "AT_LEAST_ONCE"), key),
        "execution.checkpointing.unaligned.enabled" => {
            refused(&Place::new().with(key, "true"), key);
            refused(
                &Place::new().with("execution.checkpointing.unaligned", "true"),
                "execution.checkpointing.unaligned",
            );
        }
        "execution.checkpointing.timeout" => {
            let place = Place::new().with(key, "10 ms").with(INTERVAL, "10 ms").with("restart-strategy.type", "none");
            let slow = Odd { delay: Duration::from_millis(500), ..Odd::default() };
            let error = job(slow, None).execute(&place.config()).unwrap_err();
            assert!(error.to_string().contains("expired"), "{error}");
        }
        "execution.checkpointing.min-pause" => {
            let place = Place::new().with(key, "1 h").with(INTERVAL, "10 ms");
            let result = job(CommitSink::new(), Some(10_000.0)).execute(&place.config()).unwrap();
            assert_eq!(result.progress.completed_checkpoints, 1, "the last one");
        }
        "execution.checkpointing.max-concurrent-checkpoints" => {
            let place = Place::new().with(key, "2").with(INTERVAL, "10 ms").with("restart-strategy.type", "none");
            let odd = Odd { waits_for: 2, ..Odd::default() };
            assert_eq!(job(odd, Some(2_000.0)).execute(&place.config()).unwrap().outcome, JobOutcome::Finished);
        }
        "execution.checkpointing.tolerable-failed-checkpoints" => {
            for (tolerated, is_borne) in [("2", true), ("1", false)] {
                let place = Place::new().with(key, tolerated).with("restart-strategy.type", "none");
                let place = place.with(INTERVAL, "10 ms");
                let odd = Odd { failures: Arc::new(AtomicU64::new(2)), ..Odd::default() };
                let result = job(odd, Some(10_000.0)).execute(&place.config());
                assert_eq!(result.is_ok(), is_borne, "{tolerated}: {result:?}");
            }
        }
        "execution.checkpointing.externalized-checkpoint-retention" => {
            let place = Place::new().with(key, "RETAIN_ON_CANCELLATION");
            place.run().unwrap();
            assert!(place.checkpoints().is_empty(), "of a finished job");
        }
        "execution.state-recovery.path" | "execution.state-recovery.claim-mode" => {
            for (mode, is_kept) in [("NO_CLAIM", true), ("CLAIM", false), ("LEGACY", true)] {
                let old = Place::new().with(INTERVAL, "10 ms");
                let pointer = old.stop_after(1).progress.last_checkpoint.unwrap().pointer;
                let place = Place::new().with("execution.state-recovery.path", &pointer);
                let result = place.with("execution.state-recovery.claim-mode", mode).run().unwrap();
                assert_eq!(result.progress.restored_from.unwrap().pointer, pointer);
                assert_eq!(!old.checkpoints().is_empty(), is_kept, "{mode}");
            }
        }
        "execution.state-recovery.ignore-unclaimed-state" => {
            let old = Place::new();
            let pointer = StartFrom::Pointer(old.run().unwrap().progress.last_checkpoint.unwrap().pointer);
            let renamed = Job::new(NAME, |env| {
                count(env.source("numbers", numbers(RECORDS, KEYS, None)), "renamed").sink("sink", CommitSink::new());
                Ok(())
            });
            let run = |value| renamed.execute(&Place::new().with(key, value).config().start_from(pointer.clone()));
            assert_eq!(run("false").unwrap_err().kind(), ErrorKind::Incompatible);
            assert_eq!(run("true").unwrap().outcome, JobOutcome::Finished);
        }
        "restart-strategy.type" => {
            assert_eq!(attempts(&Place::new().with(key, "none")).0, 1);
            assert_eq!(
                attempts(&Place::new().with(key, "fixed-delay").with("restart-strategy.fixed-delay.delay", "1 ms")).0,
                2
            );
            refused(&Place::new().with(key, "failure-rate"), key);
        }
        "restart-strategy.fixed-delay.attempts" => {
            let place = Place::new().with("restart-strategy.type", "fixed-delay").with(key, "3");
            assert_eq!(attempts(&place.with("restart-strategy.fixed-delay.delay", "1 ms")).0, 4);
        }
        "restart-strategy.fixed-delay.delay" => {
            let place = Place::new().with("restart-strategy.type", "fixed-delay").with(key, "300 ms");
            assert!(attempts(&place).1 >= Duration::from_millis(300));
        }
        "restart-strategy.exponential-delay.initial-backoff" => {
            let place = Place::new().with("restart-strategy.type", "exponential-delay").with(key, "300 ms");
            let place = place.with("restart-strategy.exponential-delay.attempts-before-reset-backoff", "1");
            let (attempts, time) = attempts(&place.with("restart-strategy.exponential-delay.jitter-factor", "0"));
            assert!(attempts == 2 && time >= Duration::from_millis(300), "{attempts} in {time:?}");
        }
        "restart-strategy.exponential-delay.attempts-before-reset-backoff" => {
            let place = Place::new().with("restart-strategy.type", "exponential-delay").with(key, "2");
            let place = place.with("restart-strategy.exponential-delay.initial-backoff", "1 ms");
            assert_eq!(attempts(&place).0, 3);
        }
        "restart-strategy.exponential-delay.max-backoff" => {
            let RestartStrategy::ExponentialDelay { max_backoff, .. } = restart(&[(key, "7 s")]) else { panic!() };
            assert_eq!(max_backoff, Duration::from_secs(7));
        }
        "restart-strategy.exponential-delay.backoff-multiplier" => {
            let RestartStrategy::ExponentialDelay { backoff_multiplier, .. } = restart(&[(key, "7")]) else { panic!() };
            assert!((backoff_multiplier - 7.0).abs() < 1e-9);
        }
        "restart-strategy.exponential-delay.reset-backoff-threshold" => {
            let RestartStrategy::ExponentialDelay { reset_backoff_threshold, .. } = restart(&[(key, "7 s")]) else {
                panic!()
            };
            assert_eq!(reset_backoff_threshold, Duration::from_secs(7));
        }
        "restart-strategy.exponential-delay.jitter-factor" => {
            let RestartStrategy::ExponentialDelay { jitter_factor, .. } = restart(&[(key, "0.7")]) else { panic!() };
            assert!((jitter_factor - 0.7).abs() < 1e-9);
        }
        "task.cancellation.interval" | "task.cancellation.timeout" => {
            // What they do to a stuck function, `stuck.rs` shows, whose process they end.
            let told = |value| {
                JobSettings::from_configuration(&[(key, value)].into_iter().collect()).map(|told| told.cancellation)
            };
            assert_ne!(told("7 s").unwrap(), told("8 s").unwrap());
        }
        "web.checkpoints.history" => {
            let place = Place::new().with(key, "2").with(INTERVAL, "10 ms");
            let handle = JobHandle::new();
            thread::scope(|scope| {
                scope.spawn(|| {
                    wait_until(|| handle.progress().completed_checkpoints >= 5);
                    handle.stop();
                });
                endless().execute(&place.config().handle(&handle)).unwrap();
            });
            assert_eq!(handle.checkpoints().checkpoints.len(), 2);
        }
        "heartbeat.interval" | "heartbeat.timeout" | "taskmanager.registration.timeout" | "slot.request.timeout" => {
            // What a cluster makes of them, the tests of clusters show.
            let told =
                |value| JobSettings::from_configuration(&[(key, value)].into_iter().collect()).map(|told| told.cluster);
            assert_ne!(told("40 s").unwrap(), told("45 s").unwrap());
        }
        "rest.port" | "rest.bind-address" | "highwater.rest.allow-remote" => {
            // What an endpoint makes of them, the tests of `rest` show; the job knows them.
            let option = options::ALL.iter().find(|option| option.key() == key).unwrap();
            let value = option.default_text().unwrap();
            assert!(JobSettings::from_configuration(&[(key, value)].into_iter().collect()).is_ok());
        }
        "highwater.memory.max-state-size" => {
            let place = Place::new().with("state.backend.type", "jobmanager").with("restart-strategy.type", "none");
            let error = place.with(key, "1 b").run().unwrap_err();
            assert!(error.to_string().contains("maximum permitted"), "{error}");
        }
        other => panic!("{other} has no test: show here that it takes effect, or that it is refused"),
    }
}

#[test]
fn every_key_takes_effect_or_is_refused_by_its_name() {
    let keys: BTreeSet<&str> = options::ALL.iter().map(|option| option.key()).collect();
    assert_eq!(keys.len(), options::ALL.len());
    thread::scope(|scope| {
        for options in options::ALL.chunks(options::ALL.len().div_ceil(4)) {
            scope.spawn(move || options.iter().for_each(|option| check(option)));
        }
    });
}
