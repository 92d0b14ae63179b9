//! Checkpoints that are given up while their files are on the way, one at a time and several at once.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use highwater::checkpoint::{
    CheckpointMetadata, FaultyStorage, LocalFileSystem, SnapshotOpener, StoragePath, StorageStep,
};
use highwater::{Durability, Error, Job, JobHandle, RestartStrategy, Result, Sink, SinkContext, SinkWriter};

use crate::place::{KEYS, NAME, Place, RECORDS};
use crate::support::{CommitSink, Counted, NumbersUntil, count, wait_until};

/// A storage in which something befalls files, before they are there and after: told the checkpoint and a number.
fn faulty(
    place: &Place,
    before: impl Fn(u64, u64) -> Result<()> + Send + Sync + 'static,
    after: impl Fn(u64, u64) -> Result<()> + Send + Sync + 'static,
) -> FaultyStorage {
    FaultyStorage::new(place.storage(), move |write| match write.step {
        StorageStep::Stream => Ok(()),
        StorageStep::File => before(write.checkpoint, write.number),
        StorageStep::FileAdded => after(write.checkpoint, write.number),
    })
}

fn fine(_: u64, _: u64) -> Result<()> {
    Ok(())
}

fn mixed(seed: u64) -> u64 {
    let z = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Every third checkpoint takes far longer than it may. Where the time goes to waste decides who has to clean up: the
/// upload itself, which sees that nobody waits for it, or whoever gets what it has finished too late.
#[test]
fn nothing_is_left_of_a_checkpoint_that_expires_while_its_files_are_on_the_way() {
    for waits_after_the_last in [false, true] {
        let mut place = Place::new();
        // Long enough for the others on a busy machine; those that take too long take longer on any.
        place.set("execution.checkpointing.timeout", "2 s");
        place.set("execution.checkpointing.tolerable-failed-checkpoints", "1000");
        place.set("state.backend.rocksdb.checkpoint.transfer.thread.num", "1");
        let slow = move |checkpoint: u64, _: u64| {
            if checkpoint % 3 == 2 {
                thread::sleep(Duration::from_millis(2_100));
            }
            Ok(())
        };
        let storage = match waits_after_the_last {
            false => faulty(&place, slow, fine),
            true => faulty(&place, fine, slow),
        };
        let config = place.config_on(storage);
        let result = place.run_and_stop(config, 4);
        assert!(result.progress.failed_checkpoints > 0, "no checkpoint expired");
        assert_eq!(result.progress.attempt, 1);
        place.assert_tidy();
        place.set("execution.checkpointing.timeout", "10 min");
        let config = place.config_on(place.storage());
        place.run_to_end(&config);
        place.assert_tidy();
    }
}

/// A sink whose part of some checkpoints fails when the other operators have long delivered theirs.
#[derive(Clone, Debug)]
struct Unsteady {
    sink: CommitSink,
    /// In the background, or while it prepares.
    in_background: bool,
    failures: Arc<AtomicU32>,
}

struct UnsteadyWriter {
    writer: Box<dyn SinkWriter<Counted>>,
    of: Unsteady,
    checkpoint: u64,
}

impl Unsteady {
    fn fail(&self) -> Result<()> {
        thread::sleep(Duration::from_millis(40));
        self.failures.fetch_add(1, Ordering::SeqCst);
        Err(Error::storage("injected: the results could not be made durable"))
    }
}

impl Sink<Counted> for Unsteady {
    fn open(&self, context: &SinkContext<'_>) -> Result<Box<dyn SinkWriter<Counted>>> {
        Ok(Box::new(UnsteadyWriter { writer: self.sink.open(context)?, of: self.clone(), checkpoint: 0 }))
    }
}

impl SinkWriter<Counted> for UnsteadyWriter {
    fn write(&mut self, record: Counted) -> Result<()> {
        self.writer.write(record)
    }

    fn prepare(&mut self, checkpoint: u64) -> Result<()> {
        self.checkpoint = checkpoint;
        self.writer.prepare(checkpoint)?;
        match checkpoint.is_multiple_of(2) && !self.of.in_background {
            true => self.of.fail(),
            false => Ok(()),
        }
    }

    fn durability(&mut self) -> Option<Durability> {
        let of = self.of.clone();
        let is_due = self.checkpoint.is_multiple_of(2) && of.in_background;
        is_due.then(|| -> Durability { Box::new(move || of.fail()) })
    }

    fn commit(&mut self, checkpoint: u64) -> Result<()> {
        self.writer.commit(checkpoint)
    }
}

#[test]
fn nothing_is_left_of_a_checkpoint_that_another_operator_declines_after_the_upload() {
    for in_background in [false, true] {
        let mut place = Place::new();
        place.set("execution.checkpointing.tolerable-failed-checkpoints", "1000");
        let sink = Unsteady { sink: place.sink.clone(), in_background, failures: Arc::default() };
        let of_job = sink.clone();
        let job = Job::new(NAME, move |env| {
            let numbers = NumbersUntil::part_or_rest(RECORDS, KEYS, Some(5_000.0));
            count(env.source("numbers", numbers), "count").sink("sink", of_job.clone());
            Ok(())
        });
        let handle = JobHandle::new();
        thread::scope(|scope| {
            scope.spawn(|| place.stop_when_tidy(&handle, 4));
            job.execute(&place.config().handle(&handle)).unwrap();
        });
        assert!(sink.failures.load(Ordering::SeqCst) > 0 && handle.progress().failed_checkpoints > 0);
        assert_eq!(handle.progress().attempt, 1);
        place.assert_tidy();
        place.run_to_end(&place.config());
        place.assert_tidy();
    }
}

/// What a worker has to say may be too long for a message, which shows when all its files have been uploaded. They used
/// to stay until the next start.
#[test]
fn nothing_is_left_of_a_checkpoint_whose_acknowledgement_is_too_long() {
    let mut place = Place::new();
    place.set("pekko.framesize", "100 b");
    place.set("execution.checkpointing.tolerable-failed-checkpoints", "3");
    let config = place.config().restart_strategy(&RestartStrategy::None);
    let error = place.job(Some(20_000.0)).execute(&config).unwrap_err();
    assert!(error.to_string().contains("pekko.framesize"), "{error}");
    assert_eq!(place.shared().len(), 0, "{:?}", place.shared());
    place.assert_tidy();
}

/// Looks at the checkpoints of a running job: as long as its metadata is there, a checkpoint has all its files.
fn look(job: &Path) -> usize {
    let mut seen = 0;
    let Ok(entries) = fs::read_dir(job) else { return 0 };
    for entry in entries {
        let directory = entry.unwrap().path();
        let metadata = directory.join("_metadata");
        let Ok(bytes) = fs::read(&metadata) else { continue };
        let snapshot = CheckpointMetadata::read(&bytes).unwrap();
        let at = StoragePath::from_local(&directory).unwrap();
        let opener = SnapshotOpener::new(Arc::new(LocalFileSystem), at);
        for stream in snapshot.stream_handles() {
            let Err(error) = opener.check(stream) else { continue };
            // Of a checkpoint that goes the metadata goes first.
            assert!(!metadata.exists(), "{} has lost a file: {error}", directory.display());
        }
        seen += 1;
    }
    seen
}

/// Two checkpoints at once, uploads that fail, hang and come too late, attempts that fail, another parallelism after
/// each stop: at every moment each checkpoint there is has all its files, and at every stop there are no others.
#[test]
fn with_two_checkpoints_at_once_no_file_is_lost_and_none_is_left() {
    let seed = std::env::var("HIGHWATER_SEED").map_or(0x5eed, |seed| seed.parse().unwrap());
    println!("seed {seed}");
    let mut place = Place::new();
    place.set("execution.checkpointing.max-concurrent-checkpoints", "2");
    place.set("execution.checkpointing.timeout", "1 s");
    place.set("execution.checkpointing.tolerable-failed-checkpoints", "100000");
    let mut failed = 0;
    let seen = AtomicU64::new(0);
    for round in 0..6_u64 {
        // Every third checkpoint has bad luck with some of its files; the others are merely slow.
        let fault = move |salt: u64| {
            move |checkpoint: u64, number: u64| {
                let fate = mixed(seed ^ (round << 48) ^ (checkpoint << 24));
                match mixed(fate ^ (number << 1) ^ salt) % 40 {
                    0 if fate.is_multiple_of(3) => return Err(Error::storage("injected: the storage does not answer")),
                    1 if fate.is_multiple_of(3) => thread::sleep(Duration::from_millis(1_100)),
                    2..10 => thread::sleep(Duration::from_millis(mixed(number) % 12)),
                    _ => {}
                }
                Ok(())
            }
        };
        let storage = faulty(&place, fault(0), fault(1));
        let restart = RestartStrategy::FixedDelay { attempts: 100, delay: Duration::from_millis(1) };
        let config = place.config_on(storage).workers(1 + (round as usize) % 3);
        let config = config.retained_checkpoints(1 + (round as u32) % 2).restart_strategy(&restart);
        let config = config.checkpoint_interval(Duration::from_millis(10));
        let handle = JobHandle::new();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let looking = scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    seen.fetch_add(look(&place.job_directory()) as u64, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(1));
                }
            });
            scope.spawn(|| {
                wait_until(|| handle.progress().completed_checkpoints >= 5);
                let _ = place.sink.clone().failing_on(0, &handle);
                wait_until(|| handle.progress().attempt >= 2);
                let before = handle.progress().completed_checkpoints;
                wait_until(|| handle.progress().completed_checkpoints >= before + 5);
                handle.stop();
            });
            let result = place.job(Some(3_000.0)).execute(&config.handle(&handle));
            is_over.store(true, Ordering::SeqCst);
            result.unwrap();
            looking.join().unwrap();
        });
        failed += handle.progress().failed_checkpoints;
        place.assert_tidy();
    }
    println!("{failed} checkpoints failed, {} looks", seen.load(Ordering::SeqCst));
    assert!(failed > 0 && seen.load(Ordering::SeqCst) > 0);
    let config = place.config_on(place.storage());
    place.run_to_end(&config);
    place.assert_tidy();
}
