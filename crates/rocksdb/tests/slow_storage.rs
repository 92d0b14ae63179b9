//! Full checkpoints to a storage that hangs: the job goes on.
//!
//! A frozen view used to keep iterators between the writes to the storage. An iterator pins the write buffers of the
//! moment it was made, and they stay on the account of the memory budget even when they have been flushed: writers
//! waited for memory that nothing but the checkpoint's thread could give back, which was waiting for the storage. One
//! update took 23 s of a checkpoint of 34 s.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed assumption in a test should stop the test"
)]

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use highwater_checkpoint::{
    CancelToken, CheckpointStream, CheckpointStreamFactory, KeyedStateHandle, MemoryStreamFactory, SnapshotOpener,
    StateScope, StreamHandle,
};
use highwater_rocksdb::{RocksDbSettings, RocksDbStoreFactory};
use highwater_state::{ByteStoreContext, KeyedBackend, ValueState, ValueStateDescriptor};
use highwater_types::{DefaultSerializer, MaxParallelism, Result};

const MIB: u64 = 1 << 20;
/// Bytes of a value; with them, a key takes about this much in each of the two states.
const VALUE: usize = 200;
/// Long enough for any machine; then the storage answers, and the test fails.
const DEADLINE: Duration = Duration::from_secs(120);

/// A storage that stops in the middle of a write until it is told to go on.
#[derive(Clone)]
struct Hanging {
    inner: MemoryStreamFactory,
    gate: Arc<Gate>,
    /// Bytes that are written at once.
    at_once: u64,
}

#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_reached: bool,
    is_open: bool,
}

impl Gate {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    /// Waits for a condition; tells whether it came true.
    fn wait(&self, time: Duration, until: impl Fn(&State) -> bool) -> bool {
        let state = self.state.lock().unwrap();
        !self.changed.wait_timeout_while(state, time, |state| !until(state)).unwrap().1.timed_out()
    }
}

struct HangingStream {
    inner: Box<dyn CheckpointStream>,
    of: Hanging,
}

impl CheckpointStreamFactory for Hanging {
    fn create_stream(&self, scope: StateScope) -> Result<Box<dyn CheckpointStream>> {
        Ok(Box::new(HangingStream { inner: self.inner.create_stream(scope)?, of: self.clone() }))
    }

    fn discard(&self, handle: &StreamHandle) {
        self.inner.discard(handle);
    }
}

impl Write for HangingStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.inner.position() >= self.of.at_once {
            self.of.gate.change(|state| state.is_reached = true);
            self.of.gate.wait(DEADLINE * 2, |state| state.is_open);
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl CheckpointStream for HangingStream {
    fn position(&self) -> u64 {
        self.inner.position()
    }

    fn finish(self: Box<Self>) -> Result<Option<StreamHandle>> {
        self.inner.finish()
    }
}

/// Two states of one subtask in RocksDB.
struct Subtask {
    backend: KeyedBackend<i64>,
    states: [ValueState<String>; 2],
}

impl Subtask {
    fn start(budget: u64, from: Option<&KeyedStateHandle>) -> Self {
        let mut settings = RocksDbSettings::default();
        settings.memory.fixed_per_slot = Some(budget);
        let factory = RocksDbStoreFactory::new(settings).unwrap();
        let all = MaxParallelism::new(128).unwrap();
        let opener = SnapshotOpener::in_memory();
        let handles: Vec<_> = from.into_iter().cloned().collect();
        let backend = KeyedBackend::<i64>::builder(i64::default_serializer(), all, all.all())
            .byte_store(&factory, ByteStoreContext::new("counter-0", all.all(), all))
            .restore(&handles, &opener)
            .build()
            .unwrap();
        let states = ["one", "two"].map(|name| backend.value_state(&ValueStateDescriptor::new(name)).unwrap());
        Self { backend, states }
    }

    /// Sets a key in both states; returns the longest time that a call took.
    fn update(&self, key: i64, value: &str) -> Duration {
        self.backend.set_current_key(key).unwrap();
        let timed = |state: &ValueState<String>| {
            let started = Instant::now();
            state.update(value.to_owned()).unwrap();
            started.elapsed()
        };
        self.states.iter().map(timed).max().unwrap()
    }
}

impl Subtask {
    /// Writes `bytes` bytes over `count` keys as fast as it goes, and then more slowly until `at_least` is over; returns
    /// the longest time that an update took.
    fn write(&self, keys: Keys, count: i64, bytes: u64, at_least: Duration) -> Duration {
        let started = Instant::now();
        let (mut longest, mut update, at_full_speed) = (Duration::ZERO, 0, (bytes / (2 * VALUE as u64)) as i64);
        while update < at_full_speed || started.elapsed() < at_least {
            if update > at_full_speed {
                thread::sleep(Duration::from_micros(100));
            }
            let key = match keys {
                Keys::Hot => 7,
                Keys::Uniform => update % count,
            };
            longest = longest.max(self.update(key, &value('2', update)));
            update += 1;
        }
        longest
    }
}

/// Which keys are written while the checkpoint is under way.
#[derive(Clone, Copy, Debug)]
enum Keys {
    /// One of them again and again.
    Hot,
    /// All of them in turn.
    Uniform,
}

/// A value that does not compress, so that files are as large as what is in them.
fn value(of: char, seed: i64) -> String {
    let mut random = seed.unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let letters = std::iter::repeat_with(|| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        char::from(b'a' + (random % 26) as u8)
    });
    [of].into_iter().chain(letters).take(VALUE).collect()
}

/// Makes state of `state` bytes and a checkpoint whose storage hangs behind its first `at_once` bytes, and writes
/// `writes` bytes while it hangs as fast as it goes, and then more slowly until `at_least` is over. What comes of the checkpoint must be the state as it was at its
/// beginning. Returns the longest time that an update took.
fn run(budget: u64, state: u64, keys: Keys, at_once: u64, writes: u64, at_least: Duration) -> Duration {
    let subtask = Subtask::start(budget, None);
    let count = (state / (2 * VALUE as u64)) as i64;
    for key in 0..count {
        subtask.update(key, &value('1', key));
    }
    let snapshot = subtask.backend.checkpoint(1).unwrap();
    let gate = Arc::new(Gate::default());
    let streams =
        Hanging { inner: MemoryStreamFactory::new(u64::MAX, CancelToken::new()), gate: Arc::clone(&gate), at_once };
    let checkpoint = thread::spawn(move || snapshot.write(&streams).unwrap().unwrap());
    assert!(gate.wait(DEADLINE, |state| state.is_reached), "the checkpoint is larger than what is written at once");
    let watchdog = thread::spawn({
        let gate = Arc::clone(&gate);
        move || {
            gate.wait(at_least + DEADLINE, |state| state.is_open);
            gate.change(|state| state.is_open = true);
        }
    });

    let longest = subtask.write(keys, count, writes, at_least);
    let is_open = gate.state.lock().unwrap().is_open;
    assert!(!is_open, "{keys:?} keys, {} MiB: an update waited for the storage, {longest:?}", budget / MIB);
    gate.change(|state| state.is_open = true);
    watchdog.join().unwrap();

    let handle = checkpoint.join().unwrap();
    let restored = Subtask::start(budget, Some(&handle));
    for name in ["one", "two"] {
        assert_eq!(restored.backend.entry_count(name).unwrap() as i64, count);
    }
    for key in 0..count {
        restored.backend.set_current_key(key).unwrap();
        for state in &restored.states {
            assert_eq!(state.value().unwrap(), Some(value('1', key)), "key {key}");
        }
    }
    longest
}

#[test]
fn a_job_goes_on_while_the_storage_of_a_full_checkpoint_hangs() {
    for keys in [Keys::Hot, Keys::Uniform] {
        // Before the first entry, and in the middle of the key groups.
        for at_once in [0, 5 * MIB] {
            run(16 * MIB, 12 * MIB, keys, at_once, 48 * MIB, Duration::ZERO);
        }
    }
}

#[test]
#[ignore = "minutes; prints the longest wait of an update: cargo test --release -p highwater-rocksdb --test slow_storage -- --ignored --nocapture"]
fn the_longest_wait_while_the_storage_hangs_for_a_minute() {
    for budget in [16, 32, 64, 128] {
        for keys in [Keys::Hot, Keys::Uniform] {
            let without = {
                let subtask = Subtask::start(budget * MIB, None);
                let count = (2 * budget * MIB / (2 * VALUE as u64)) as i64;
                for key in 0..count {
                    subtask.update(key, &value('1', key));
                }
                subtask.write(keys, count, 4 * budget * MIB, Duration::ZERO)
            };
            let longest =
                run(budget * MIB, 2 * budget * MIB, keys, budget * MIB, 4 * budget * MIB, Duration::from_secs(60));
            println!(
                "budget {budget:3} MiB, {keys:?} keys: the longest of all updates took {longest:?}, and without a \
                 checkpoint {without:?}"
            );
            assert!(longest < Duration::from_millis(200), "{longest:?}");
        }
    }
}
