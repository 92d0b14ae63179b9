//! Snapshots and restores of one heap backend on one thread, beside the plainest way to write the same bytes, and what
//! copy-on-write can hide: the slowest updates while a snapshot runs or right after one was frozen. Or those of RocksDB.
//!
//! `cargo bench -p highwater --bench snapshot [-- MILLIONS...]` (default: 1 5 20): the heap.
//! `cargo bench -p highwater --features rocksdb --bench snapshot -- rocksdb [MILLIONS...]` (default: 10): RocksDB.
//!
//! `i64` to `i64`, keys in order, values SplitMix64 (seed 7); between rounds a tenth of the entries is overwritten.
//! "write" is the asynchronous part into a file without waiting for the disk, which is what Flink does; "durable" the
//! same with the sync that Highwater always does. The baseline copies a bare `hashbrown` map into a file, 16 bytes an
//! entry, without hashing, key groups or format. Flink's columns are figures measured with Flink 2.1.3 on such a machine
//! (constants, not measured in this run).
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, unreachable_pub, reason = "a benchmark may stop")]

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "rocksdb")]
mod rocksdb;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use common::{SplitMix64, grouped, measure, median, resident};
use hashbrown::HashMap;
use highwater::checkpoint::{
    DirEntry, FileLock, FileStat, FileSystem, FileWriter, FsStreamFactory, KeyedStateHandle, LocalFileSystem,
    SnapshotOpener, StateReader, StoragePath,
};
use highwater::types::MaxParallelism;
use highwater::{
    DefaultSerializer, KeyedBackend, ListStateDescriptor, MapStateDescriptor, Result, ValueState, ValueStateDescriptor,
};

/// Local files whose syncs do nothing.
#[derive(Debug)]
struct WithoutSync;

struct UnsyncedFile(Box<dyn FileWriter>);

impl Write for UnsyncedFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl FileWriter for UnsyncedFile {
    fn sync(&mut self) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.0.close()
    }
}

impl FileSystem for WithoutSync {
    fn create_new(&self, path: &StoragePath) -> Result<Box<dyn FileWriter>> {
        Ok(Box::new(UnsyncedFile(LocalFileSystem.create_new(path)?)))
    }

    fn open(&self, path: &StoragePath) -> Result<Box<dyn StateReader>> {
        LocalFileSystem.open(path)
    }

    fn stat(&self, path: &StoragePath) -> Result<Option<FileStat>> {
        LocalFileSystem.stat(path)
    }

    fn list(&self, dir: &StoragePath) -> Result<Vec<DirEntry>> {
        LocalFileSystem.list(dir)
    }

    fn create_dir_all(&self, dir: &StoragePath) -> Result<()> {
        LocalFileSystem.create_dir_all(dir)
    }

    fn rename(&self, from: &StoragePath, to: &StoragePath) -> Result<()> {
        LocalFileSystem.rename(from, to)
    }

    fn remove_file(&self, path: &StoragePath) -> Result<()> {
        LocalFileSystem.remove_file(path)
    }

    fn remove_dir(&self, dir: &StoragePath) -> Result<()> {
        LocalFileSystem.remove_dir(dir)
    }

    fn remove_dir_all(&self, dir: &StoragePath) -> Result<()> {
        LocalFileSystem.remove_dir_all(dir)
    }

    fn sync_dir(&self, _: &StoragePath) -> Result<()> {
        Ok(())
    }

    fn lock(&self, path: &StoragePath) -> Result<Box<dyn FileLock>> {
        LocalFileSystem.lock(path)
    }
}

fn builder<'a>() -> highwater::KeyedBackendBuilder<'a, i64> {
    let max_parallelism = MaxParallelism::new(128).unwrap();
    KeyedBackend::builder(i64::default_serializer(), max_parallelism, max_parallelism.all())
}

fn streams(dir: &Path, sync: bool) -> FsStreamFactory {
    let fs: Arc<dyn FileSystem> = if sync { Arc::new(LocalFileSystem) } else { Arc::new(WithoutSync) };
    FsStreamFactory::new(fs, StoragePath::from_local(dir).unwrap())
}

/// Writes a snapshot; returns its handle and the milliseconds of the two parts.
fn snapshot(backend: &KeyedBackend<i64>, dir: &Path, sync: bool) -> (KeyedStateHandle, f64, f64) {
    let streams = streams(dir, sync);
    let start = Instant::now();
    let frozen = backend.snapshot().unwrap();
    let freeze = start.elapsed().as_secs_f64() * 1e3;
    let mut handle = None;
    let write = measure(|| handle = frozen.write(&streams).unwrap());
    (handle.unwrap(), freeze, write.wall / 1e6)
}

fn remove_files(dir: &Path) {
    std::fs::read_dir(dir).unwrap().for_each(|file| std::fs::remove_file(file.unwrap().path()).unwrap());
}

struct Flink {
    freeze: f64,
    entries_per_second: f64,
    restore: f64,
}

fn sizes(millions: usize) {
    let entries = millions * 1_000_000;
    let flink = match millions {
        1 => Some(Flink { freeze: 6.8, entries_per_second: 6.1e6, restore: 1_589.0 }),
        5 => Some(Flink { freeze: 7.4, entries_per_second: 5.6e6, restore: 8_084.0 }),
        20 => Some(Flink { freeze: 116.9, entries_per_second: 5.1e6, restore: 32_491.0 }),
        _ => None,
    };
    let scratch = tempfile::tempdir().unwrap();
    let backend = builder().build().unwrap();
    let state = backend.value_state(&ValueStateDescriptor::<i64>::new("value")).unwrap();
    let mut random = SplitMix64(7);
    for key in 0..entries as i64 {
        backend.set_current_key(key).unwrap();
        state.update(random.next() as i64).unwrap();
    }

    let rounds: u64 = if millions >= 20 { 3 } else { 5 };
    let (mut freezes, mut writes, mut durables, mut bytes, mut last) = (vec![], vec![], vec![], 0, None);
    for round in 0..rounds {
        remove_files(scratch.path());
        let (_, freeze, write) = snapshot(&backend, scratch.path(), false);
        freezes.push(freeze);
        writes.push(write);
        remove_files(scratch.path());
        let (handle, freeze, durable) = snapshot(&backend, scratch.path(), true);
        freezes.push(freeze);
        durables.push(durable);
        bytes = handle.size();
        last = Some(handle);
        let mut random = SplitMix64(1000 + round);
        for _ in 0..entries / 10 {
            backend.set_current_key(random.below(entries as u64) as i64).unwrap();
            state.update(random.next() as i64).unwrap();
        }
    }
    let write = median(writes);
    let rate = entries as f64 / write * 1e3;
    println!("\n{millions}M entries, {} MB", grouped(bytes as f64 / 1e6));
    let times = |flink: f64, ours: f64| format!("{:.1} times Flink's", flink / ours);
    let versus = |text: Option<String>| text.unwrap_or_default();
    println!(
        "  freeze     {:>9.3} ms   (worst {:.3} ms; Flink {} ms)",
        median(freezes.iter().copied()),
        freezes.iter().copied().fold(0.0, f64::max),
        versus(flink.as_ref().map(|flink| flink.freeze.to_string())),
    );
    println!(
        "  write      {write:>9.0} ms   {} MB/s, {:.1} M entries/s   {}",
        grouped(bytes as f64 / write / 1e3),
        rate / 1e6,
        versus(flink.as_ref().map(|flink| times(rate, flink.entries_per_second))),
    );
    println!("  durable    {:>9.0} ms", median(durables));
    under_load(&backend, &state, entries);
    drop((state, backend));

    let handle = last.unwrap();
    let opener = SnapshotOpener::new(Arc::new(LocalFileSystem), StoragePath::from_local(scratch.path()).unwrap());
    let restores = (0..3).map(|_| {
        let spent = measure(|| {
            let restored = builder().restore(std::slice::from_ref(&handle), &opener).build().unwrap();
            let state = restored.value_state(&ValueStateDescriptor::<i64>::new("value")).unwrap();
            restored.set_current_key(1).unwrap();
            assert!(state.value().unwrap().is_some());
            std::mem::forget((restored, state));
        });
        spent.wall / 1e6
    });
    let restore = median(restores.collect::<Vec<_>>());
    println!(
        "  restore    {restore:>9.0} ms   {:.1} M entries/s   {}",
        entries as f64 / restore / 1e3,
        versus(flink.as_ref().map(|flink| times(flink.restore, restore))),
    );
    baseline(entries, scratch.path(), write);
}

/// Random updates on this thread while another writes a snapshot, three times: after the first, memory for the copies is
/// there to be used again, as in a job that takes checkpoints.
fn under_load(backend: &KeyedBackend<i64>, state: &ValueState<i64>, entries: usize) {
    const BATCH: usize = 1_000;
    let mut random = SplitMix64(99);
    let mut update = |count: usize| {
        for _ in 0..count {
            backend.set_current_key(random.below(entries as u64) as i64).unwrap();
            state.update(1).unwrap();
        }
    };
    let normal = measure(|| update(2_000_000)).wall / 2e6;
    let before = resident();
    let (mut rates, mut worst) = (Vec::new(), f64::MAX);
    for _ in 0..3 {
        let scratch = tempfile::tempdir().unwrap();
        let streams = streams(scratch.path(), false);
        let frozen = backend.snapshot().unwrap();
        let writer = std::thread::spawn(move || frozen.write(&streams).unwrap());
        let (start, mut windows, mut done) = (Instant::now(), Vec::<usize>::new(), 0_usize);
        while !writer.is_finished() {
            update(BATCH);
            done += BATCH;
            let window = (start.elapsed().as_millis() / 10) as usize;
            windows.resize(windows.len().max(window + 1), 0);
            windows[window] += BATCH;
        }
        rates.push(normal * done as f64 / start.elapsed().as_nanos() as f64 * 100.0);
        // The last window is cut short by the end of the writing.
        windows.pop();
        let fewest = windows.iter().min().map_or(0.0, |count| *count as f64);
        worst = worst.min(fewest * normal / 1e7 * 100.0);
        writer.join().unwrap();
    }
    let after = resident();
    println!(
        "  updates    {normal:>9.0} ns   while writing at {:.0}, {:.0}, {:.0} % of that rate (worst 10 ms: {worst:.0} %)",
        rates[0], rates[1], rates[2],
    );
    println!(
        "  memory     {:>9} MB   before, at most {} MB while writing",
        grouped(before.0 as f64 / 1e6),
        grouped(after.1 as f64 / 1e6),
    );
}

/// A bare map written entry by entry: no order, no format, no key groups.
fn baseline(entries: usize, dir: &Path, ours: f64) {
    let map: HashMap<i64, i64, foldhash::fast::RandomState> = (0..entries as i64).map(|key| (key, key)).collect();
    let writes = (0..3).map(|round| {
        let spent = measure(|| {
            let mut file =
                BufWriter::with_capacity(256 << 10, File::create(dir.join(format!("bare-{round}"))).unwrap());
            for (key, value) in &map {
                file.write_all(&key.to_be_bytes()).unwrap();
                file.write_all(&value.to_be_bytes()).unwrap();
            }
            file.flush().unwrap();
        });
        spent.wall / 1e6
    });
    let bare = median(writes.collect::<Vec<_>>());
    println!(
        "  bare write {bare:>9.0} ms   ours takes {:.2} times as long, for 26 bytes an entry instead of 16",
        ours / bare
    );
}

/// The slowest single updates right after a freeze, for values that own a lot.
fn hidden_costs() {
    println!("\none update right after a freeze (the frozen view still held), microseconds");
    let report =
        |name: &str, update: &mut dyn FnMut(&KeyedBackend<i64>, i64), backend: &KeyedBackend<i64>, keys: i64| {
            let mut micros = Vec::new();
            for round in 0..20 {
                let frozen = backend.snapshot().unwrap();
                for i in 0..200 {
                    let key = (i * 7 + round) % keys;
                    backend.set_current_key(key).unwrap();
                    let start = Instant::now();
                    update(backend, key);
                    micros.push(start.elapsed().as_nanos() as f64 / 1e3);
                }
                drop(frozen);
            }
            micros.sort_by(f64::total_cmp);
            let at = |share: f64| micros[((micros.len() - 1) as f64 * share) as usize];
            println!(
                "  {name:<32} median {:>8.1}   p99.9 {:>8.1}   max {:>8.1}",
                at(0.5),
                at(0.999),
                micros.last().unwrap()
            );
        };

    let backend = builder().build().unwrap();
    let list = backend.list_state(&ListStateDescriptor::<i64>::new("list")).unwrap();
    for key in 0..50 {
        backend.set_current_key(key).unwrap();
        list.update((0..100_000).collect()).unwrap();
    }
    report("append to 100k-element lists", &mut |_, _| list.add(1).unwrap(), &backend, 50);

    let backend = builder().build().unwrap();
    let map = backend.map_state(&MapStateDescriptor::<i64, i64>::new("map")).unwrap();
    for key in 0..50 {
        backend.set_current_key(key).unwrap();
        map.put_all((0..100_000).map(|i| (i, i)).collect()).unwrap();
    }
    report("put into 100k-entry maps", &mut |_, key| map.put(key * 31, 1).unwrap(), &backend, 50);

    let backend = builder().build().unwrap();
    let text = backend.value_state(&ValueStateDescriptor::<String>::new("text")).unwrap();
    for key in 0..200_000 {
        backend.set_current_key(key).unwrap();
        text.update("x".repeat(1_000)).unwrap();
    }
    let mut update = |_: &KeyedBackend<i64>, _| text.modify(String::new, |text| text.replace_range(0..1, "y")).unwrap();
    report("change one of 200k 1 kB strings", &mut update, &backend, 200_000);
}

fn main() {
    let mut millions: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    if std::env::args().any(|argument| argument == "rocksdb") {
        #[cfg(feature = "rocksdb")]
        rocksdb::run(if millions.is_empty() { &[10] } else { &millions });
        #[cfg(not(feature = "rocksdb"))]
        eprintln!("RocksDB is a feature: --features rocksdb");
        return;
    }
    if millions.is_empty() {
        millions = vec![1, 5, 20];
    }
    millions.into_iter().for_each(sizes);
    hidden_costs();
}
