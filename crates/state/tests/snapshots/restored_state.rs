//! Restored state on the heap that the program did not take over, or could not.

use highwater_checkpoint::KeyedStateHandle;
use highwater_state::{CanonicalWriter, KeyedBackend, KeyedHeader, ValueStateDescriptor};
use highwater_types::{DefaultSerializer, ErrorKind};

use crate::allocator::held;
use crate::support::{append, max_parallelism, opener, snapshot, stream, streams, value_state};

/// Damaged state must not vanish from the next snapshot because a program ignored the error.
#[test]
fn after_damaged_state_no_snapshot_is_taken() {
    let max = max_parallelism(4);
    let states = vec![value_state("good"), value_state("damaged")];
    let header = KeyedHeader { compression: false, key_serializer: snapshot::<String>(), states };
    let mut writer = CanonicalWriter::new(stream(), &header, max.all(), max).unwrap();
    writer.start_key_group(1).unwrap();
    writer.entry(0, append(b"\x05key0\0"), append(&[0, 0, 0, 7])).unwrap();
    writer.entry(1, append(b"\x05key0\0"), append(&[0, 0, 7])).unwrap();
    let handle = KeyedStateHandle::KeyGroups(writer.finish().unwrap());

    let builder = KeyedBackend::<String>::builder(String::default_serializer(), max, max.all()).operator("counts");
    let backend = builder.restore(&[handle], &opener()).build().unwrap();
    let error = backend.value_state(&ValueStateDescriptor::<i32>::new("damaged")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!((error.value("state"), error.value("operator")), (Some("damaged"), Some("counts")));

    // The program goes on all the same.
    let good = backend.value_state(&ValueStateDescriptor::<i32>::new("good")).unwrap();
    backend.set_current_key("key0".to_owned()).unwrap();
    assert_eq!(good.value().unwrap(), Some(7));
    assert_eq!(backend.snapshot().unwrap_err().kind(), ErrorKind::Program);
}

/// A state that nobody registers stays serialized. It used to hold on to the whole key groups it was read from: one
/// small state kept as much memory as the snapshot had bytes.
#[test]
fn an_unregistered_state_keeps_its_own_bytes_only() {
    let max = max_parallelism(128);
    let builder = || KeyedBackend::<String>::builder(String::default_serializer(), max, max.all());
    let (large, small) = (ValueStateDescriptor::<String>::new("large"), ValueStateDescriptor::<i32>::new("small"));
    for compression in [false, true] {
        let backend = builder().snapshot_compression(compression).build().unwrap();
        let (texts, numbers) = (backend.value_state(&large).unwrap(), backend.value_state(&small).unwrap());
        for key in 0..2000 {
            backend.set_current_key(key.to_string()).unwrap();
            texts.update("x".repeat(1000)).unwrap();
            numbers.update(key).unwrap();
        }
        let handles: Vec<_> = backend.snapshot().unwrap().write(&streams()).unwrap().into_iter().collect();
        let held_with = |is_small_registered: bool| {
            let before = held();
            let backend = builder().restore(&handles, &opener()).build().unwrap();
            backend.value_state(&large).unwrap();
            if is_small_registered {
                backend.value_state(&small).unwrap();
            }
            held() - before
        };
        let (both, one) = (held_with(true), held_with(false));
        assert!(both > 2_000_000, "{both} bytes");
        assert!(one < both + 200_000, "{one} bytes with a state that is not registered, {both} without");
    }
}
