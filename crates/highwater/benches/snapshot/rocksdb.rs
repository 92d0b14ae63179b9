//! Incremental checkpoints of RocksDB beside full ones and canonical streams, and restores at the same and at another
//! parallelism. Everything is synced to disk as in a job; Flink does not do that.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use highwater::checkpoint::{FsStreamFactory, KeyedStateHandle, LocalFileSystem, SnapshotOpener, StoragePath};
use highwater::rocksdb::{RocksDbSettings, RocksDbStoreFactory};
use highwater::state::{ByteStoreContext, KeyedSnapshot, redistribute_keyed_state};
use highwater::types::{JavaHash, MaxParallelism};
use highwater::{DefaultSerializer, KeyedBackend, ValueState, ValueStateDescriptor};

use crate::common::{SplitMix64, grouped, median};

const INCREMENTS: u64 = 5;
const RESTORES: usize = 3;

pub fn run(millions: &[usize]) {
    for millions in millions {
        println!("\n{millions}M entries in RocksDB");
        let place = Place::new();
        let entries = millions * 1_000_000;
        checkpoints(&place, entries);
        let place = Place::new();
        restores(&place, entries);
    }
}

/// Where databases and checkpoints lie.
struct Place {
    directory: tempfile::TempDir,
    factory: RocksDbStoreFactory,
    max_parallelism: MaxParallelism,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        ["checkpoint", "shared"].iter().for_each(|name| fs::create_dir(directory.path().join(name)).unwrap());
        let mut settings = RocksDbSettings::default();
        settings.incremental = true;
        settings.local_directories = vec![directory.path().join("local")];
        let factory = RocksDbStoreFactory::new(settings).unwrap();
        Self { directory, factory, max_parallelism: MaxParallelism::new(128).unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn backend(&self, index: u32, parallelism: u32, handles: &[KeyedStateHandle]) -> Subtask {
        let range = self.max_parallelism.range_of(index, parallelism).unwrap();
        let opener = SnapshotOpener::new(Arc::new(LocalFileSystem), storage_path(&self.path("checkpoint")));
        let context = ByteStoreContext::new(format!("bench-{index}"), range, self.max_parallelism);
        let part = redistribute_keyed_state(handles, range);
        let backend = KeyedBackend::builder(i64::default_serializer(), self.max_parallelism, range)
            .byte_store(&self.factory, context)
            .restore(&part, &opener)
            .recovery(true)
            .build()
            .unwrap();
        let state = backend.value_state(&ValueStateDescriptor::new("value")).unwrap();
        Subtask { backend, state }
    }

    /// The asynchronous part; returns its milliseconds too.
    fn write(&self, snapshot: KeyedSnapshot) -> (KeyedStateHandle, f64) {
        let streams = FsStreamFactory::new(Arc::new(LocalFileSystem), storage_path(&self.path("checkpoint")))
            .with_shared_directory(storage_path(&self.path("shared")));
        let start = Instant::now();
        (snapshot.write(&streams).unwrap().unwrap(), millis(start))
    }
}

fn storage_path(path: &Path) -> StoragePath {
    StoragePath::from_local(path).unwrap()
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

struct Subtask {
    backend: KeyedBackend<i64>,
    state: ValueState<i64>,
}

impl Subtask {
    /// Puts the keys of its key groups.
    fn fill(&self, entries: usize) {
        let mut random = SplitMix64(7);
        let (max_parallelism, range) = (self.backend.max_parallelism(), self.backend.key_groups());
        for key in 0..entries as i64 {
            let value = random.next() as i64;
            if range.contains(max_parallelism.key_group_of(key.java_hash())) {
                self.put(key, value);
            }
        }
    }

    fn put(&self, key: i64, value: i64) {
        self.backend.set_current_key(key).unwrap();
        self.state.update(value).unwrap();
    }
}

/// One subtask with all key groups: a full checkpoint, increments of a hundredth, and a canonical stream.
fn checkpoints(place: &Place, entries: usize) {
    let subtask = place.backend(0, 1, &[]);
    subtask.fill(entries);
    let report = |name: &str, freezes: Vec<f64>, writes: Vec<f64>, bytes: Vec<f64>| {
        println!(
            "  {name:<28} freeze {:>7.1} ms (worst {:>7.1})   write {:>8.1} ms   {:>6.1} MB",
            median(freezes.iter().copied()),
            freezes.iter().copied().fold(0.0, f64::max),
            median(writes),
            median(bytes) / 1e6,
        );
    };
    let (mut freezes, mut writes, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=INCREMENTS {
        let start = Instant::now();
        let frozen = subtask.backend.checkpoint(round + 1).unwrap();
        let freeze = millis(start);
        let (handle, write) = place.write(frozen);
        let KeyedStateHandle::Incremental(handle) = handle else { unreachable!("checkpoints are incremental") };
        subtask.backend.checkpoint_completed(round + 1);
        if round == 0 {
            report("native, all files", vec![freeze], vec![write], vec![handle.checkpointed_size as f64]);
        } else {
            freezes.push(freeze);
            writes.push(write);
            bytes.push(handle.checkpointed_size as f64);
        }
        let mut random = SplitMix64(1000 + round);
        (0..entries / 100).for_each(|_| subtask.put(random.below(entries as u64) as i64, random.next() as i64));
    }
    report("native, 1 % changed", freezes, writes, bytes);
    let start = Instant::now();
    let frozen = subtask.backend.snapshot().unwrap();
    let freeze = millis(start);
    let (handle, write) = place.write(frozen);
    report("canonical stream", vec![freeze], vec![write], vec![handle.size() as f64]);
}

/// Two subtasks, restored as two and as three, each on a thread as in a job.
fn restores(place: &Place, entries: usize) {
    let fill = |index| {
        let subtask = place.backend(index, 2, &[]);
        subtask.fill(entries);
        place.write(subtask.backend.checkpoint(1).unwrap()).0
    };
    let handles = on_threads(2, fill);
    let bytes: u64 = handles.iter().map(KeyedStateHandle::size).sum();
    let restore = |parallelism: u32| {
        let one = |_| {
            let start = Instant::now();
            let ready = on_threads(parallelism, |index| {
                let subtask = place.backend(index, parallelism, &handles);
                let range = subtask.backend.key_groups();
                let is_own = |key: &i64| range.contains(place.max_parallelism.key_group_of(key.java_hash()));
                subtask.backend.set_current_key((0..).find(is_own).unwrap()).unwrap();
                assert!(subtask.state.value().unwrap().is_some());
                millis(start)
            });
            ready.into_iter().fold(0.0, f64::max)
        };
        median((0..RESTORES).map(one).collect::<Vec<_>>())
    };
    let (same, other) = (restore(2), restore(3));
    for (name, millis) in [("restore 2 -> 2", same), ("restore 2 -> 3", other)] {
        println!(
            "  {name:<28} {millis:>7.1} ms   {} entries/s   {} MB/s",
            grouped(entries as f64 / millis * 1e3),
            grouped(bytes as f64 / millis / 1e3),
        );
    }
    println!("  another parallelism takes {:.2} times as long", other / same);
}

fn on_threads<T: Send>(count: u32, work: impl Fn(u32) -> T + Sync) -> Vec<T> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|index| scope.spawn(move || work(index))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
