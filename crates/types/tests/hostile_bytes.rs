//! Damaged and hostile bytes: always an error or a value, never a panic, an endless loop or a huge allocation.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::Arc;

use highwater_types::{
    ByteReader, DefaultSerializer, Error, ErrorKind, JavaString, PrimitiveArraySerializer, Result, Serde,
    SerializerRef, SerializerSnapshot,
};
use proptest::prelude::*;

/// Counts the bytes each thread holds, to see what a reader allocates.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // The thread-local may be gone while a thread ends.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        PEAK.with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is that of `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that `work` holds at its peak beyond what was held before.
fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let result = work();
    (result, (PEAK.get() - before) as usize)
}

/// Reading allocates no more than this, plus a fixed multiple of the bytes given.
const SMALL: usize = 1 << 18;

fn reads_safely<T>(bytes: &[u8], read: impl FnOnce(&mut ByteReader<'_>) -> Result<T>) -> Result<T> {
    let mut reader = ByteReader::new(bytes);
    let (result, peak) = peak_of(|| read(&mut reader));
    assert!(peak <= SMALL + 64 * bytes.len(), "{peak} bytes for an input of {}", bytes.len());
    if let Err(error) = &result {
        let expected = [ErrorKind::Corrupt, ErrorKind::Incompatible, ErrorKind::Unsupported];
        assert!(expected.contains(&error.kind()), "{error:?}");
    }
    result
}

/// Every cut, every flipped bit, and every count replaced by a large one.
fn damaged(bytes: &[u8]) -> Vec<Vec<u8>> {
    let cuts = (0..bytes.len()).map(|length| bytes[..length].to_vec());
    let flips = (0..bytes.len() * 8).map(|bit| {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        damaged
    });
    let counts = (0..bytes.len().saturating_sub(3)).flat_map(|at| {
        [i32::MAX, -1, i32::MIN, 1 << 20].map(|count| {
            let mut damaged = bytes.to_vec();
            damaged[at..at + 4].copy_from_slice(&count.to_be_bytes());
            damaged
        })
    });
    cuts.chain(flips).chain(counts).collect()
}

fn withstands<T: Debug + 'static>(serializer: SerializerRef<T>, value: &T) {
    let mut bytes = Vec::new();
    serializer.serialize(value, &mut bytes).unwrap();
    for damaged in damaged(&bytes) {
        if let Ok(read) = reads_safely(&damaged, |reader| serializer.deserialize(reader)) {
            // Whatever was read is a value like any other.
            serializer.serialize(&read, &mut Vec::new()).unwrap();
        }
    }
}

#[test]
fn damaged_values() {
    let words = vec!["".to_owned(), "ascii".to_owned(), "é€😀".to_owned()];
    withstands(DefaultSerializer::default_serializer(), &words);
    withstands(DefaultSerializer::default_serializer(), &vec![JavaString::from("é€😀")]);
    withstands(DefaultSerializer::default_serializer(), &b"raw bytes".to_vec());
    withstands(DefaultSerializer::default_serializer(), &vec![vec![1_i64, 2], vec![], vec![3]]);
    withstands(Arc::new(PrimitiveArraySerializer::new()), &vec![1_i64, 2, 3]);
    withstands(DefaultSerializer::default_serializer(), &vec![(), ()]);
    let map = BTreeMap::from([("a".to_owned(), Some(vec![1_i32])), ("b".to_owned(), None)]);
    withstands(DefaultSerializer::default_serializer(), &map);
    withstands(DefaultSerializer::default_serializer(), &BTreeSet::from([Some('x'), None]));
    withstands(DefaultSerializer::default_serializer(), &(1_i8, true, 2.5_f64, Some(3_i16), "end".to_owned()));
    let served = Serde((HashMap::from([("key".to_owned(), vec![1.5_f32, 2.5])]), Some("text".to_owned()), [7_u8; 3]));
    withstands(DefaultSerializer::default_serializer(), &served);
}

/// A count that its bytes could just hold, if every element took the least: the first bad element ends it.
#[test]
fn counts_that_promise_much() {
    let mut bytes = (1_i32 << 20).to_be_bytes().to_vec();
    bytes.resize((1 << 20) + 4, 0x01);
    bytes[4] = 0xff;
    bytes[5] = 0xff;
    bytes[6] = 0xff;
    type Large = ([i64; 32], Vec<String>);
    reads_safely(&bytes, |reader| Vec::<Serde<Large>>::default_serializer().deserialize(reader)).unwrap_err();
    let error = reads_safely(&bytes, |reader| Vec::<String>::default_serializer().deserialize(reader)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

/// Where a count cannot be true, it is named, whatever follows.
#[test]
fn counts_that_cannot_be_true() {
    fn error_of<T: DefaultSerializer>(bytes: &[u8]) -> Error {
        reads_safely(bytes, |reader| T::default_serializer().deserialize(reader)).err().unwrap()
    }
    for count in [-1, 2, i32::MAX] {
        let bytes = [&count.to_be_bytes()[..], &[0; 12]].concat();
        let [list, map, raw] = [
            error_of::<Vec<i64>>(&bytes),
            error_of::<BTreeMap<i64, i64>>(&bytes[..13]),
            error_of::<Vec<u8>>(&bytes[..5]),
        ];
        for error in [list, map, raw] {
            assert_eq!((error.kind(), error.value("offset")), (ErrorKind::Corrupt, Some("0")), "{error}");
            assert_eq!(error.value("found"), Some(count.to_string().as_str()));
        }
    }
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Chain {
    next: Option<Box<Chain>>,
}

/// A type that contains itself does not let its bytes exhaust the stack.
#[test]
fn values_nested_without_end() {
    let link = [&[0x81, 0xa4][..], b"next"].concat();
    let chain = |links: usize| {
        let message = [link.repeat(links), vec![0xc0]].concat();
        [&(message.len() as i32).to_be_bytes()[..], &message].concat()
    };
    let read = |bytes: &[u8]| {
        let result = reads_safely(bytes, |reader| Serde::<Chain>::default_serializer().deserialize(reader));
        result.map(|_| ()).map_err(|error| error.kind())
    };
    assert_eq!(read(&chain(100)), Ok(()));
    assert_eq!(read(&chain(100_000)), Err(ErrorKind::Corrupt));

    // What could not be read back is not written either.
    let write = |links: usize| {
        let chain = (0..links).fold(Chain { next: None }, |chain, _| Chain { next: Some(Box::new(chain)) });
        let mut bytes = Vec::new();
        let written = Serde::<Chain>::default_serializer().serialize(&Serde(chain), &mut bytes);
        written.map(|()| bytes).map_err(|error| error.kind())
    };
    assert_eq!(read(&write(1000).unwrap()), Ok(()));
    let readable = (1000..1050).filter_map(|links| write(links).ok()).map(|bytes| read(&bytes)).collect::<Vec<_>>();
    assert!(readable.iter().all(Result::is_ok), "{readable:?}");
    assert_eq!(write(1050), Err(ErrorKind::Program));
}

fn read_snapshot(bytes: &[u8]) -> Result<SerializerSnapshot> {
    reads_safely(bytes, SerializerSnapshot::read_proxy)
}

/// What was read is written back as it was, also if it was damaged before.
fn is_error_or_itself(bytes: &[u8]) {
    let mut reader = ByteReader::new(bytes);
    let Ok(snapshot) = reads_safely(bytes, |_| SerializerSnapshot::read_proxy(&mut reader)) else { return };
    let mut again = Vec::new();
    snapshot.write_proxy(&mut again).unwrap();
    assert_eq!(again, bytes[..reader.position()], "{snapshot}");
    // Printing and comparing must hold out too.
    let _ = snapshot.compatibility(&i64::default_serializer().snapshot());
    let _ = snapshot.compatibility(&snapshot.clone());
}

/// The snapshots of the vectors, POJO and row among them, and of types they lack.
fn snapshots() -> Vec<Vec<u8>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/vectors/serializers.json");
    let vectors: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let hex =
        |text: &str| (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect();
    let flink: Vec<Vec<u8>> =
        vectors["types"].as_array().unwrap().iter().filter_map(|v| v["versionedSnapshot"].as_str()).map(hex).collect();
    assert!(flink.len() > 20);
    let proxied = flink.into_iter().map(|bytes| [&[0, 0, 0, 2][..], &bytes].concat());
    let own = [
        HashMap::<String, Option<(i64, Serde<bool>)>>::default_serializer().snapshot(),
        SerializerSnapshot::ttl(BTreeSet::<Option<i32>>::default_serializer().snapshot()),
        SerializerSnapshot::timer(i64::default_serializer().snapshot(), SerializerSnapshot::custom("own")),
        SerializerSnapshot::nullable(i64::default_serializer().snapshot(), 8),
    ];
    let own = own.into_iter().map(|snapshot| {
        let mut bytes = Vec::new();
        snapshot.write_proxy(&mut bytes).unwrap();
        bytes
    });
    proxied.chain(own).collect()
}

#[test]
fn damaged_snapshots() {
    for bytes in snapshots() {
        assert!(read_snapshot(&bytes).is_ok());
        for length in 0..bytes.len() {
            assert!(read_snapshot(&bytes[..length]).is_err(), "cut at {length}");
        }
        damaged(&bytes).iter().for_each(|damaged| is_error_or_itself(damaged));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn snapshots_with_several_bytes_changed(which: prop::sample::Index, changes: [(prop::sample::Index, u8); 3]) {
        let all = snapshots();
        let mut bytes = which.get(&all).clone();
        for (at, value) in changes {
            *at.get_mut(&mut bytes) = value;
        }
        is_error_or_itself(&bytes);
    }

    #[test]
    fn bytes_of_chance(bytes: Vec<u8>) {
        is_error_or_itself(&bytes);
        let _ = reads_safely(&bytes, |reader| String::default_serializer().deserialize(reader));
        let _ = reads_safely(&bytes, |reader| Vec::<Option<String>>::default_serializer().deserialize(reader));
        let _ = reads_safely(&bytes, |reader| Serde::<BTreeMap<String, Vec<u8>>>::default_serializer().deserialize(reader));
    }
}

#[test]
fn nesting_has_an_end() {
    let nested = |depth: usize| {
        let list = (0..depth).fold(i64::default_serializer().snapshot(), |inner, _| SerializerSnapshot::list(inner));
        let mut bytes = Vec::new();
        list.write_proxy(&mut bytes).unwrap();
        bytes
    };
    assert!(read_snapshot(&nested(60)).is_ok());
    let error = read_snapshot(&nested(70)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(read_snapshot(&nested(20_000)).is_err());
}

fn error_of(bytes: &[u8]) -> Error {
    read_snapshot(bytes).unwrap_err()
}

#[test]
fn what_is_not_known_is_named() {
    let mut bytes = vec![0, 0, 0, 2];
    highwater_types::write_utf("com.example.MySnapshot", &mut bytes).unwrap();
    bytes.extend([0, 0, 0, 9]);
    let error = error_of(&bytes);
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.value("class"), Some("com.example.MySnapshot"));
    assert_eq!(error.value("offset"), Some("4"));

    let mut bytes = Vec::new();
    i64::default_serializer().snapshot().write_proxy(&mut bytes).unwrap();
    let last = bytes.len() - 1;
    bytes[last] = 4;
    let error = error_of(&bytes);
    assert_eq!((error.kind(), error.value("version")), (ErrorKind::Unsupported, Some("4")));

    let error = error_of(&[0, 0, 0, 1, 0, 0]);
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("1.16"), "{error}");
    assert_eq!(error_of(&[0, 0, 0, 3, 0, 0]).kind(), ErrorKind::Corrupt);
}
