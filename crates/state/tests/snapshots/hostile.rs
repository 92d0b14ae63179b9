//! Damage of every kind to streams: an error or a value, never a panic, and never an allocation that the bytes do not
//! bear out.

use std::collections::BTreeMap;

use highwater_checkpoint::{KeyGroupsHandle, OperatorStateHandle, StreamHandle};
use highwater_state::{CanonicalWriter, ListStateDescriptor, MapStateDescriptor, OperatorStateBackend};
use highwater_types::{ErrorKind, Result};

use crate::allocator::largest_during;
use crate::support::{append, bytes_of, header, inline, max_parallelism, opener, read_all, stream, streams};

/// Snappy works in buffers of 64 KiB and a little more, whatever the input.
const FIXED: usize = 80 * 1024;

/// Reads every damaged form of `bytes`: cut at every length, every bit flipped, lengths set to extremes. Returns how
/// many of the flips were noticed.
fn damage(bytes: &[u8], read: impl Fn(&[u8]) -> Result<()>) -> usize {
    let read = |bytes: &[u8]| {
        let (result, largest) = largest_during(|| read(bytes));
        assert!(largest <= FIXED.max(bytes.len() * 25), "{largest} bytes at once for a stream of {}", bytes.len());
        if let Err(error) = &result {
            let known = [ErrorKind::Corrupt, ErrorKind::Unsupported, ErrorKind::Incompatible];
            assert!(known.contains(&error.kind()), "{error:?}");
        }
        result
    };
    read(bytes).unwrap();
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_err(), "cut to {length} of {} bytes", bytes.len());
    }
    let mut noticed = 0;
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << bit;
            noticed += usize::from(read(&flipped).is_err());
        }
        for extreme in [i32::MAX, i32::MIN, -1] {
            let mut bytes = bytes.to_vec();
            bytes.iter_mut().skip(at).zip(extreme.to_be_bytes()).for_each(|(byte, new)| *byte = new);
            let _ = read(&bytes);
        }
    }
    noticed
}

fn keyed(compression: bool) -> KeyGroupsHandle {
    let max = max_parallelism(4);
    let mut writer = CanonicalWriter::new(stream(), &header(2, compression), max.all(), max).unwrap();
    for group in [0, 2, 3] {
        writer.start_key_group(group).unwrap();
        for (state, value) in [(0, 3), (0, 0), (1, 40)] {
            writer.entry(state, append(b"\x03ab\0"), append(&vec![7; value])).unwrap();
        }
    }
    writer.finish().unwrap()
}

#[test]
fn damaged_canonical_streams() {
    for compression in [false, true] {
        let handle = keyed(compression);
        let bytes = bytes_of(&handle.data).to_vec();
        let first = *handle.offsets.iter().find(|offset| **offset != 0).unwrap();
        let noticed =
            damage(&bytes, |bytes| read_all(&KeyGroupsHandle { data: inline(bytes), ..handle.clone() }, 4).map(drop));
        // Names, keys and values have no checksum of their own; the rest has to fit together.
        assert!(noticed > 4 * first as usize, "{noticed} of {}", bytes.len() * 8);
    }
}

fn backend_with_state() -> OperatorStateBackend {
    let backend = OperatorStateBackend::builder().build().unwrap();
    let list = backend.list_state(&ListStateDescriptor::<String>::new("list")).unwrap();
    list.add_all(["a", "bc", "def"].map(str::to_owned)).unwrap();
    let map = backend.broadcast_state(&MapStateDescriptor::<String, i64>::new("map")).unwrap();
    map.put("k".into(), 1).unwrap();
    backend
}

fn read_operator_state(handle: OperatorStateHandle) -> Result<()> {
    let carried = OperatorStateBackend::builder().restore(vec![handle.clone()], &opener()).build()?;
    carried.snapshot()?.write(&streams())?;
    let backend = OperatorStateBackend::builder().restore(vec![handle], &opener()).build()?;
    backend.broadcast_state(&MapStateDescriptor::<String, i64>::new("map"))?.entries()?;
    backend.list_state(&ListStateDescriptor::<String>::new("list"))?.get().map(drop)
}

#[test]
fn damaged_operator_streams() {
    let handle = backend_with_state().snapshot().unwrap().write(&streams()).unwrap().unwrap();
    let bytes = bytes_of(&handle.data).to_vec();
    let read = |bytes: &[u8]| read_operator_state(OperatorStateHandle { data: inline(bytes), ..handle.clone() });
    let noticed = damage(&bytes, read);
    assert!(noticed > bytes.len() * 4, "{noticed} of {}", bytes.len() * 8);
}

/// Any offsets over a sound stream.
#[test]
fn damaged_offsets_of_operator_state() {
    let handle = backend_with_state().snapshot().unwrap().write(&streams()).unwrap().unwrap();
    let length = handle.data.size();
    let mut read = 0;
    for offset in (0..length + 3).chain([u64::MAX, i64::MAX as u64]) {
        for name in ["list", "map"] {
            let mut states: BTreeMap<_, _> = handle.states.clone();
            states.get_mut(name).unwrap().offsets[0] = offset;
            let damaged = OperatorStateHandle { states, ..handle.clone() };
            let sound = damaged.states == handle.states;
            match read_operator_state(damaged) {
                Ok(()) => read += 1,
                Err(error) => {
                    // Incompatible where a string would be null.
                    let known = [ErrorKind::Corrupt, ErrorKind::Incompatible];
                    assert!(known.contains(&error.kind()), "{name} at {offset}: {error}");
                    assert!(!sound, "{name} at {offset}: {error}");
                }
            }
        }
    }
    // Bytes do not say what they are: a few other places look like a string or a count.
    assert!((2..20).contains(&read), "{read} of {} places", 2 * length);
}

/// A stream that says nothing at all.
#[test]
fn streams_of_nothing() {
    for bytes in [&[][..], &[0], &[0; 4], &[0xff; 64], &[0; 64]] {
        let keyed = KeyGroupsHandle { data: inline(bytes), ..keyed(false) };
        assert!(read_all(&keyed, 4).is_err());
        let handle = OperatorStateHandle::new(BTreeMap::new(), inline(bytes));
        let backend = OperatorStateBackend::builder().restore(vec![handle], &opener()).build();
        assert_eq!(backend.is_ok(), bytes.is_empty(), "{bytes:?}");
    }
    let nothing = OperatorStateHandle::new(BTreeMap::new(), StreamHandle::EmptySegment);
    let backend = OperatorStateBackend::builder().restore(vec![nothing], &opener()).build().unwrap();
    assert!(backend.unregistered().is_empty());
}
