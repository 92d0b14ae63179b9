//! Damaged files: truncated anywhere, bits flipped anywhere, or no metadata at all. The answer is an error or a value,
//! soon, and without allocating much more than the file is large.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::path::Path;

use highwater_checkpoint::{CheckpointMetadata, MetadataVersion};
use highwater_types::ErrorKind;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::arbitrary::{self, VERSIONS};
use crate::flink::{committed, full, metadata_files};

/// The system's allocator, counting what the current thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // The last allocations of a thread come after its locals are gone.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call goes to the system's allocator unchanged; counting neither allocates nor touches the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Memory a value may take per byte of the file (handles are larger in memory than in the file, and lists double as
/// they grow), and what an error takes.
const PER_BYTE: usize = 150;
const FIXED: usize = 8 << 10;

/// Reads, and checks what it took.
fn read(bytes: &[u8]) -> highwater_types::Result<CheckpointMetadata> {
    let before = HELD.get();
    PEAK.set(before);
    let result = CheckpointMetadata::read(bytes);
    let peak = usize::try_from(PEAK.get() - before).unwrap();
    assert!(peak <= FIXED + PER_BYTE * bytes.len(), "{} bytes of metadata took {peak} bytes", bytes.len());
    if let Err(error) = &result {
        assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{error}");
    }
    result
}

/// Some metadata of each version, in which every kind of handle occurs.
fn samples() -> Vec<(MetadataVersion, Vec<u8>)> {
    let mut runner = TestRunner::deterministic();
    let mut samples = Vec::new();
    for (number, version) in VERSIONS {
        for _ in 0..12 {
            let metadata = arbitrary::metadata(number).new_tree(&mut runner).unwrap().current();
            samples.push((version, metadata.write(version).unwrap()));
        }
    }
    samples
}

fn files_in(directory: &Path) -> Vec<Vec<u8>> {
    metadata_files(directory).iter().map(|file| fs::read(file).unwrap()).collect()
}

#[test]
fn truncation_at_every_length_is_an_error() {
    for (_, bytes) in samples() {
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length]).unwrap_err().kind(), ErrorKind::Corrupt, "at {length}");
        }
    }
}

/// The properties come last in Flink's files (of the whole set only the ends are cut). They used to be kept as they were found, so that a file could end
/// anywhere in them, or go on behind them.
#[test]
fn files_of_flink_that_were_cut_or_went_on_are_refused() {
    let ends = full().into_iter().flat_map(|directory| files_in(&directory)).map(|bytes| (bytes.len() - 1000, bytes));
    for (from, bytes) in files_in(&committed()).into_iter().map(|bytes| (0, bytes)).chain(ends) {
        CheckpointMetadata::read(&bytes).unwrap();
        for length in from..bytes.len() {
            assert_eq!(read(&bytes[..length]).unwrap_err().kind(), ErrorKind::Corrupt, "at {length}");
        }
        for garbage in [&b"\0"[..], b"\x78", b"\xac\xed\x00\x05", &bytes] {
            assert_eq!(read(&[&bytes, garbage].concat()).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}

/// A class that is its own superclass, and chains of classes and objects without end.
#[test]
fn hostile_properties_are_survived() {
    let head = CheckpointMetadata::new(1).write(MetadataVersion::V4).unwrap();
    let head = &head[..head.len() - 745];
    let class = |above: &[u8]| [b"\x72\0\x01c\0\0\0\0\0\0\0\0\x02\0\0\x78", above].concat();
    let own_superclass = [b"\x73", &class(b"\x71\0\x7e\0\0")[..]].concat();
    let with_itself = b"\x73\x72\0\x01c\0\0\0\0\0\0\0\0\x02\0\x01L\0\x01f\x74\0\0\x78\x70".repeat(1000);
    for properties in [&own_superclass[..], &[b"\x73", &class(b"").repeat(100_000)[..]].concat(), &with_itself] {
        let error = read(&[head, b"\xac\xed\0\x05", properties].concat()).unwrap_err();
        assert!(error.to_string().contains("properties"), "{error}");
    }
}

#[test]
fn every_flipped_bit_is_survived() {
    for (_, mut bytes) in samples() {
        for bit in 0..8 * bytes.len() {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ = read(&bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
    for mut bytes in files_in(&committed()) {
        for at in 0..bytes.len() {
            bytes[at] ^= 1 << (at % 8);
            let _ = read(&bytes);
            bytes[at] ^= 1 << (at % 8);
        }
    }
}

/// Counts and lengths are where one flipped bit hurts most.
#[test]
fn every_field_at_its_extremes_is_survived() {
    for (_, bytes) in samples() {
        for at in 0..bytes.len().saturating_sub(8) {
            for extreme in [i32::MAX, i32::MIN, -1, 0x7fff, 1 << 24] {
                let mut damaged = bytes.clone();
                damaged[at..at + 4].copy_from_slice(&extreme.to_be_bytes());
                let _ = read(&damaged);
            }
        }
    }
}

/// A file that announces two billion of something and ends.
#[test]
fn a_large_count_takes_no_memory() {
    let empty = CheckpointMetadata::new(1).write(MetadataVersion::V3).unwrap();
    for counts_from in [16, 20] {
        let mut bytes = empty.clone();
        bytes[counts_from..counts_from + 4].copy_from_slice(&i32::MAX.to_be_bytes());
        bytes.resize(4096, 0xff);
        let error = read(&bytes).unwrap_err();
        assert_eq!(error.value("offset"), Some(counts_from.to_string().as_str()), "{error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(version in 2..=6_u8, rest in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&rest);
        let _ = read(&[&[0x49, 0x60, 0x67, 0x2d, 0, 0, 0, version], &rest[..]].concat());
        // A believable beginning: checkpoint 1, no master state, one operator.
        let beginning = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
        let _ = read(&[&[0x49, 0x60, 0x67, 0x2d, 0, 0, 0, version], &beginning[..], &rest[..]].concat());
    }
}
