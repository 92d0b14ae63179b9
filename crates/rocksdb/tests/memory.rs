//! A run with a small memory budget and much more state stays near its budget, and is not held up by it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed assumption in a test should stop the test"
)]

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use highwater_rocksdb::rust_rocksdb::{ColumnFamilyDescriptor, DB, WriteBatch, WriteOptions};
use highwater_rocksdb::{Layers, RocksDbSettings};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
const VALUE: usize = 200;

fn layers(budget: u64) -> Layers {
    let mut settings = RocksDbSettings::default();
    settings.memory.fixed_per_slot = Some(budget);
    Layers::new(settings).unwrap()
}

fn open(layers: &Layers, dir: &Path) -> DB {
    let columns = ["default", "one", "two"].map(|name| ColumnFamilyDescriptor::new(name, layers.column(name).unwrap()));
    let mut options = layers.database().unwrap();
    options.create_missing_column_families(true);
    DB::open_cf_descriptors(&options, dir, columns).unwrap()
}

fn without_log() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

/// Memory of this process that is in RAM, bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Held by each test: they measure the memory of the whole process.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A small generator of numbers, so that values do not compress.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn value(&mut self) -> [u8; VALUE] {
        let mut value = [0; VALUE];
        value.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.next().to_le_bytes()));
        value
    }
}

/// Writes `state` bytes at random keys into two states of two databases that share `budget`, reads back, and returns
/// the largest growth of resident memory.
fn peak_growth(budget: u64, state: u64, reads: u64, print: bool) -> u64 {
    let layers = layers(budget);
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let before = resident();
    let dbs = [open(&layers, dirs[0].path()), open(&layers, dirs[1].path())];
    let write = without_log();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (started, mut printed, mut peak) = (Instant::now(), Instant::now(), 0);
    let mut watch = |what: &str, done: u64| {
        let growth = resident().saturating_sub(before);
        peak = peak.max(growth);
        if print && printed.elapsed() > Duration::from_secs(5) {
            printed = Instant::now();
            let used = layers.memory().usage().unwrap();
            println!(
                "{:4} s, {done:9} {what}: resident +{:4} MiB, cache {:3}, write buffers {:3}",
                started.elapsed().as_secs(),
                growth / MIB,
                used.cache_used / MIB,
                used.write_buffers_used / MIB,
            );
        }
        peak
    };
    let entries = state / (VALUE as u64 + 8);
    let column = |i: u64| dbs[(i % 2) as usize].cf_handle(["one", "two"][(i / 2 % 2) as usize]).unwrap();
    for i in 0..entries / 100 {
        let mut batch = WriteBatch::default();
        (0..100).for_each(|_| batch.put_cf(column(i), (random.next() % entries).to_be_bytes(), random.value()));
        dbs[(i % 2) as usize].write_opt(&batch, &write).unwrap();
        if i % 100 == 0 {
            watch("puts", i * 100);
        }
    }
    let mut found = 0;
    for i in 0..reads {
        let key = (random.next() % entries).to_be_bytes();
        found += u64::from(dbs[(i % 2) as usize].get_pinned_cf(column(i), key).unwrap().is_some());
        if i % 1000 == 0 {
            watch("gets", i);
        }
    }
    assert!(reads == 0 || found > reads / 10, "{found} of {reads} found");
    watch("end", reads)
}

#[test]
fn a_budget_of_16_mib_holds_160_mib_of_state() {
    let _alone = alone();
    let growth = peak_growth(16 * MIB, 160 * MIB, 2_000, false);
    assert!(growth < 48 * MIB, "resident memory grew by {} MiB", growth / MIB);
}

#[test]
#[ignore = "minutes and 10 GB of disk; shows memory over time: cargo test --release -p highwater-rocksdb --test memory -- --ignored --nocapture"]
fn a_budget_of_64_mib_holds_4_gib_of_state() {
    let _alone = alone();
    let growth = peak_growth(64 * MIB, 4096 * MIB, 300_000, true);
    println!("largest growth: {} MiB", growth / MIB);
    assert!(growth < 96 * MIB, "resident memory grew by {} MiB", growth / MIB);
}

/// Writers wait while the write buffers are full. What fills them may belong to a database that nobody writes to any
/// more, the more so as one thread writes to all databases of a worker.
#[test]
fn an_idle_database_that_holds_all_memory_does_not_stop_the_others() {
    let _alone = alone();
    let layers = layers(6 * MIB);
    let capacity = layers.memory().usage().unwrap().write_buffer_capacity;
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let (idle, busy) = (open(&layers, dirs[0].path()), open(&layers, dirs[1].path()));
    let write = without_log();
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let too_much = vec![7; usize::try_from(capacity).unwrap() + 1_000_000];
        idle.put_cf_opt(idle.cf_handle("one").unwrap(), b"k", too_much, &write).unwrap();
        for i in 0..60_000_u64 {
            busy.put_cf_opt(busy.cf_handle("one").unwrap(), i.to_be_bytes(), [7; 100], &write).unwrap();
        }
        done.send(()).unwrap();
        drop(idle);
    });
    finished.recv_timeout(Duration::from_secs(120)).expect("the writer waits for memory that an idle database holds");
}
