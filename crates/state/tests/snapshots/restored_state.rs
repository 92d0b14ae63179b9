//! Restored state that cannot be read must not vanish from the next snapshot because a program ignored the error.

use highwater_checkpoint::KeyedStateHandle;
use highwater_state::{CanonicalWriter, KeyedBackend, KeyedHeader, ValueStateDescriptor};
use highwater_types::{DefaultSerializer, ErrorKind};

use crate::support::{append, max_parallelism, opener, snapshot, stream, value_state};

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
