//! The canonical stream: the bytes Flink writes, any content there and back, and what is refused.

use highwater_checkpoint::{
    CancelToken, CheckpointStreamFactory, KeyGroupsFormat, KeyGroupsHandle, MemoryStreamFactory, StateScope,
};
use highwater_state::{CanonicalWriter, KeyedHeader};
use highwater_types::{Error, ErrorKind, KeyGroupRange, Result};
use proptest::prelude::*;

use crate::support::{
    Entry, append, bytes_of, entries, header, inline, max_parallelism, open, read_all, snapshot, stream, value_state,
};

fn utf(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

/// A snapshot of a simple serializer, as it stands in a header.
fn proxy(class: &str) -> Vec<u8> {
    [&2_i32.to_be_bytes()[..], &utf(class), &3_i32.to_be_bytes()].concat()
}

/// A stream that Flink wrote and restored: `String` keys, one value state "v" of `Integer`, max parallelism 4, the one
/// entry "key0" (key group 1) = 7.
fn example() -> Vec<u8> {
    let base = "org.apache.flink.api.common.typeutils.base";
    [
        &[0, 0, 0, 6, 0][..],
        &proxy(&format!("{base}.StringSerializer$StringSerializerSnapshot")),
        &[0, 1, 0, 1, b'v', 0, 0, 0, 0],
        &[0, 0, 0, 1],
        &utf("KEYED_STATE_TYPE"),
        &utf("VALUE"),
        &[0, 0, 0, 2],
        &utf("VALUE_SERIALIZER"),
        &proxy(&format!("{base}.IntSerializer$IntSerializerSnapshot")),
        &utf("NAMESPACE_SERIALIZER"),
        &proxy("org.apache.flink.runtime.state.VoidNamespaceSerializer$VoidNamespaceSerializerSnapshot"),
        &[0, 0],
        &[0, 0, 0, 7, 0x81, 5, b'k', b'e', b'y', b'0', 0],
        &[0, 0, 0, 4, 0, 0, 0, 7],
        &[0xff, 0xff],
    ]
    .concat()
}

fn example_handle(bytes: &[u8]) -> KeyGroupsHandle {
    KeyGroupsHandle {
        format: KeyGroupsFormat::Canonical,
        range: max_parallelism(4).all(),
        offsets: vec![0, 365, 0, 0],
        data: inline(bytes),
    }
}

#[test]
fn a_stream_that_flink_restores_is_written_byte_for_byte() {
    let header =
        KeyedHeader { compression: false, key_serializer: snapshot::<String>(), states: vec![value_state("v")] };
    let mut writer = CanonicalWriter::new(stream(), &header, max_parallelism(4).all(), max_parallelism(4)).unwrap();
    writer.start_key_group(0).unwrap();
    writer.start_key_group(1).unwrap();
    writer.entry(0, append(b"\x05key0\0"), append(&[0, 0, 0, 7])).unwrap();
    let handle = writer.finish().unwrap();
    assert_eq!(handle.offsets, [0, 365, 0, 0]);
    assert_eq!(handle.format, KeyGroupsFormat::Canonical);
    assert_eq!(bytes_of(&handle.data).len(), 388);
    assert_eq!(bytes_of(&handle.data), example());
}

#[test]
fn a_stream_of_flink_is_read() {
    let mut reader = open(&example_handle(&example()), 4).unwrap();
    assert_eq!(reader.header().states, [value_state("v")]);
    assert_eq!(reader.header().key_serializer.to_string(), "String");
    assert!(!reader.header().compression);
    let block = reader.block(1).unwrap().unwrap();
    assert_eq!(entries(&block), [(0, b"\x01\x05key0\0".to_vec(), vec![0, 0, 0, 7])]);
    assert!(reader.block(0).unwrap().is_none());
    assert!(reader.block(3).unwrap().is_none());
}

#[test]
fn a_stream_without_entries_has_a_handle() {
    for compression in [false, true] {
        let range = KeyGroupRange::new(3, 7).unwrap();
        let writer = CanonicalWriter::new(stream(), &header(2, compression), range, max_parallelism(128)).unwrap();
        let handle = writer.finish().unwrap();
        assert_eq!((handle.range, handle.offsets.as_slice()), (range, &[0; 5][..]));
        let mut reader = open(&handle, 128).unwrap();
        assert_eq!(reader.header(), &header(2, compression));
        assert!(range.iter().all(|group| reader.block(group).unwrap().is_none()));
    }
}

/// What a test writes: for each key group, in the order of writing, entries of state, key behind the prefix, value.
#[derive(Clone, Debug)]
struct Content {
    max: u32,
    states: usize,
    compression: bool,
    range: KeyGroupRange,
    groups: Vec<(u16, Vec<Entry>)>,
}

impl Content {
    fn write(&self) -> Result<KeyGroupsHandle> {
        let max = max_parallelism(self.max);
        let mut writer = CanonicalWriter::new(stream(), &header(self.states, self.compression), self.range, max)?;
        for (group, entries) in &self.groups {
            writer.start_key_group(*group)?;
            for (index, (state, key, value)) in entries.iter().enumerate() {
                if index % 2 == 0 {
                    writer.entry(*state, append(key), append(value))?;
                } else {
                    writer.raw_entry(*state, &self.prefixed(*group, key), value)?;
                }
            }
        }
        writer.finish()
    }

    fn prefixed(&self, group: u16, key: &[u8]) -> Vec<u8> {
        let prefix = group.to_be_bytes();
        [&prefix[if self.max <= 128 { 1 } else { 0 }..], key].concat()
    }

    fn expected(&self, group: u16) -> Vec<Entry> {
        let written = self.groups.iter().find(|(g, _)| *g == group).map(|(_, entries)| entries.clone());
        let prefixed = |(state, key, value): Entry| (state, self.prefixed(group, &key), value);
        written.unwrap_or_default().into_iter().map(prefixed).collect()
    }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..20),
        2 => (any::<u8>(), 0_usize..3000).prop_map(|(byte, n)| vec![byte; n]),
        1 => (60_000_usize..140_000).prop_map(|n| (0..n).map(|i| (i * 7) as u8).collect()),
    ]
}

fn content() -> impl Strategy<Value = Content> {
    let max = prop_oneof![Just(1_u32), 2_u32..=128, Just(128), Just(129), 129_u32..=4096, Just(32768)];
    (max, 1_usize..5, any::<bool>())
        .prop_flat_map(|(max, states, compression)| {
            let top = (max - 1) as u16;
            let range = (0..=top, 0..=top).prop_map(|(a, b)| KeyGroupRange::new(a.min(b), a.max(b)).unwrap());
            (Just((max, states, compression)), range)
        })
        .prop_flat_map(|((max, states, compression), range)| {
            let entry = (0..states as u16, bytes(), bytes());
            let group = (range.start()..=range.end(), prop::collection::vec(entry, 0..12));
            (Just((max, states, compression, range)), prop::collection::vec(group, 0..6))
        })
        .prop_map(|((max, states, compression, range), mut groups)| {
            let mut seen = std::collections::HashSet::new();
            groups.retain(|(group, _)| seen.insert(*group));
            Content { max, states, compression, range, groups }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_written_is_read(content in content()) {
        let handle = content.write().unwrap();
        prop_assert_eq!(handle.offsets.len(), content.range.count());
        let mut reader = open(&handle, content.max).unwrap();
        prop_assert_eq!(reader.header(), &header(content.states, content.compression));
        // Any order of reading.
        for group in content.groups.iter().map(|(group, _)| *group).rev().chain([content.range.start()]) {
            let block = reader.block(group).unwrap();
            let expected = content.expected(group);
            let index = usize::from(group - content.range.start());
            prop_assert_eq!(block.is_some(), !expected.is_empty());
            prop_assert_eq!(handle.offsets[index] != 0, !expected.is_empty());
            prop_assert_eq!(block.as_ref().map(entries).unwrap_or_default(), expected);
        }
        let total: usize = read_all(&handle, content.max).unwrap().iter().map(Vec::len).sum();
        prop_assert_eq!(total, content.groups.iter().map(|(_, entries)| entries.len()).sum::<usize>());
    }
}

#[test]
fn many_entries_cross_every_buffer() {
    for compression in [false, true] {
        let entry = |i: u32| ((i % 3) as u16, i.to_be_bytes().repeat(3), i.to_le_bytes().repeat(i as usize % 9));
        let groups = (0..4).map(|group| (group, (0..30_000).map(entry).collect())).collect();
        let range = max_parallelism(4).all();
        let content = Content { max: 4, states: 3, compression, range, groups };
        let handle = content.write().unwrap();
        let read = read_all(&handle, 4).unwrap();
        for group in range.iter() {
            assert!(read[usize::from(group)] == content.expected(group), "key group {group}, compressed {compression}");
        }
    }
}

/// Entries of one state after another make one run, whatever their number.
#[test]
fn runs_follow_the_states() {
    let entries = [0, 0, 1, 1, 1, 0].map(|state| (state, vec![9], vec![])).to_vec();
    let range = max_parallelism(2).all();
    let content = Content { max: 2, states: 2, compression: false, range, groups: vec![(1, entries)] };
    let mut reader = open(&content.write().unwrap(), 2).unwrap();
    let block = reader.block(1).unwrap().unwrap();
    let runs: Vec<_> = block.runs().iter().map(|run| (run.state_id, run.entries.len())).collect();
    assert_eq!(runs, [(0, 2), (1, 3), (0, 1)]);
    assert_eq!(block.group(), 1);
    assert!(block.into_runs().iter().all(|run| !run.entries.is_empty()));
}

#[test]
fn the_writer_refuses_what_would_not_be_a_snapshot() {
    let range = KeyGroupRange::new(2, 3).unwrap();
    let new = || CanonicalWriter::new(stream(), &header(2, false), range, max_parallelism(128)).unwrap();
    let nothing = |_: &mut Vec<u8>| Ok(());
    let kind = |result: Result<()>| result.unwrap_err().kind();

    assert_eq!(kind(new().entry(0, nothing, nothing)), ErrorKind::Internal, "no key group");
    assert_eq!(kind(new().start_key_group(4)), ErrorKind::Internal, "foreign key group");
    let mut writer = new();
    writer.start_key_group(2).unwrap();
    assert_eq!(kind(writer.entry(2, nothing, nothing)), ErrorKind::Internal, "no such state");
    let mut writer = new();
    writer.start_key_group(2).unwrap();
    assert_eq!(kind(writer.raw_entry(0, &[3, 0], &[])), ErrorKind::Internal, "key of another group");
    assert_eq!(kind(writer.raw_entry(0, &[], &[])), ErrorKind::Internal, "key without a group");
    let mut writer = new();
    writer.start_key_group(2).unwrap();
    writer.entry(0, nothing, nothing).unwrap();
    writer.start_key_group(3).unwrap();
    assert_eq!(kind(writer.start_key_group(2)), ErrorKind::Internal, "twice");
    let wide = CanonicalWriter::new(stream(), &header(1, false), range, max_parallelism(3));
    assert_eq!(wide.unwrap_err().kind(), ErrorKind::Internal, "key group 3 of 3");
}

#[test]
fn an_entry_that_cannot_be_serialized_ends_the_snapshot() {
    let max = max_parallelism(128);
    let mut writer = CanonicalWriter::new(stream(), &header(1, false), max.all(), max).unwrap();
    writer.start_key_group(0).unwrap();
    writer.entry(0, |_| Ok(()), |_| Ok(())).unwrap();
    let failed = writer.entry(0, |_| Ok(()), |_| Err(Error::program("no such value")));
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Program);
    assert!(writer.finish().is_err());
}

#[test]
fn handles_that_do_not_fit_their_stream_are_corrupt() {
    let good = example_handle(&example());
    let error = |change: &dyn Fn(&mut KeyGroupsHandle)| {
        let mut handle = good.clone();
        change(&mut handle);
        let error = read_all(&handle, 4).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!(error.value("file"), Some("test (inline in _metadata)"), "{error}");
        error
    };
    let e = error(&|h| h.offsets.truncate(3));
    assert_eq!((e.value("expected"), e.value("found")), (Some("4"), Some("3")));
    let e = error(&|h| h.offsets[1] = 388);
    assert_eq!((e.value("expected"), e.value("found")), (Some("below 388"), Some("388")));
    error(&|h| h.offsets[1] = u64::MAX);
    error(&|h| h.offsets[1] = 366);
    error(&|h| h.offsets[1] = 364);
    error(&|h| h.offsets[2] = 365);
    // The block is that of key group 1.
    let e = error(&|h| h.offsets = vec![0, 0, 365, 0]);
    assert_eq!((e.value("expected"), e.value("found")), (Some("2"), Some("1")));
    assert_eq!((e.value("key group"), e.value("state")), (Some("2"), Some("v")));
    assert_eq!(e.value("offset"), Some("371"));
    // A stream with a stray byte between the header and the first key group.
    let e = error(&|h| {
        let mut bytes = example();
        bytes.insert(365, 0);
        (h.offsets[1], h.data) = (366, inline(&bytes));
    });
    assert!(e.message().contains("does not begin where the header ends"), "{e}");
    assert_eq!((e.value("expected"), e.value("found")), (Some("365"), Some("366")));
    // Two key groups that share a block would each read a part.
    error(&|h| h.offsets = vec![0, 365, 370, 0]);
}

/// Every rule of a block, broken one at a time at its place in the example.
#[test]
fn damaged_blocks_say_what_is_wrong() {
    let check = |at: usize, new: &[u8], message: &str, offset: u64| {
        let mut bytes = example();
        bytes.splice(at..at + new.len(), new.iter().copied());
        let error = read_all(&example_handle(&bytes), 4).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains(message), "{error}");
        assert_eq!(error.value("offset"), Some(offset.to_string().as_str()), "{error}");
        assert_eq!(error.value("key group"), Some("1"));
    };
    check(365, &[0, 1], "not in the header", 365);
    check(365, &[0xff, 0xff], "not in the header", 365);
    check(367, &[0, 0, 0, 0], "length of a key or value", 367);
    check(367, &[0, 0, 0, 100], "length of a key or value", 367);
    check(367, &[0xff, 0xff, 0xff, 0xff], "length of a key or value", 367);
    check(371, &[0x83], "another key group", 371);
    check(371, &[0x01], "without its end mark", 386);
    check(378, &[0x7f, 0xff, 0xff, 0xff], "length of a key or value", 378);
    check(378, &[0x80, 0, 0, 0], "length of a key or value", 378);
    check(386, &[0, 1], "not in the header", 386);
    check(386, &[0, 0], "without its end mark", 388);
    let mut longer = example();
    longer.push(0);
    let error = read_all(&example_handle(&longer), 4).unwrap_err();
    assert!(error.message().contains("bytes follow the end"), "{error}");
    assert_eq!(error.value("offset"), Some("388"));
}

/// The block of the example as Flink would compress it: stored, in one chunk.
#[test]
fn compressed_blocks_are_read_and_their_damage_is_found() {
    let max = max_parallelism(4);
    let content = Content {
        max: 4,
        states: 1,
        compression: true,
        range: max.all(),
        groups: vec![(2, vec![(0, vec![7; 500], vec![8; 70_000])])],
    };
    let handle = content.write().unwrap();
    let offset = handle.offsets[2] as usize;
    let stored = bytes_of(&handle.data);
    assert_eq!(&stored[offset..offset + 10], b"\xff\x06\0\0sNaPpY");
    assert!(stored.len() - offset < 10_000, "not compressed: {}", stored.len() - offset);
    let mut damaged = handle.clone();
    let mut bytes = stored.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    damaged.data = inline(&bytes);
    let error = read_all(&damaged, 4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.value("offset"), Some(offset.to_string().as_str()));
    // A block may name itself a snappy stream again in the middle.
    bytes = stored.to_vec();
    let chunk = offset + 10;
    let length = u32::from_le_bytes([bytes[chunk + 1], bytes[chunk + 2], bytes[chunk + 3], 0]) as usize;
    bytes.splice(chunk + 4 + length..chunk + 4 + length, *b"\xff\x06\0\0sNaPpY");
    damaged.data = inline(&bytes);
    assert_eq!(read_all(&damaged, 4).unwrap(), read_all(&handle, 4).unwrap());
}

#[test]
fn other_versions_and_formats_are_told_apart() {
    let with = |at: usize, new: &[u8]| {
        let mut bytes = example();
        bytes.splice(at..at + new.len(), new.iter().copied());
        example_handle(&bytes)
    };
    let error = read_all(&with(0, &[0, 0, 0, 5]), 4).unwrap_err();
    assert_eq!((error.kind(), error.value("found")), (ErrorKind::Unsupported, Some("version 5")));
    let error = read_all(&with(0, &[0, 0, 0, 7]), 4).unwrap_err();
    assert_eq!((error.kind(), error.value("found")), (ErrorKind::Corrupt, Some("version 7")));

    // The heap backend's own format begins with the key group as four bytes, then states with their counts.
    let mut native = with(365, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    native.format = KeyGroupsFormat::V2 { state_handle_id: "x".into() };
    let error = read_all(&native, 4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.message().contains("canonical"), "{error}");
    // With snapshot compression the key group stands before the first frame: no frame, but no damage either.
    let content = Content {
        max: 4,
        states: 1,
        compression: true,
        range: max_parallelism(4).all(),
        groups: vec![(1, vec![(0, vec![7], vec![8])])],
    };
    let mut handle = content.write().unwrap();
    let offset = handle.offsets[1] as usize;
    let mut bytes = bytes_of(&handle.data).to_vec();
    bytes.splice(offset..offset, [0, 0, 0, 1]);
    handle.data = inline(&bytes);
    assert_eq!(read_all(&handle, 4).unwrap_err().kind(), ErrorKind::Corrupt, "canonical by its tag");
    handle.format = KeyGroupsFormat::Legacy;
    let error = read_all(&handle, 4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.message().contains("canonical"), "{error}");
    // Under the same tag the canonical format is read.
    let mut canonical = example_handle(&example());
    canonical.format = KeyGroupsFormat::Legacy;
    assert_eq!(read_all(&canonical, 4).unwrap()[1].len(), 1);
}

#[test]
fn a_prefix_of_the_wrong_length_is_found() {
    let handle = example_handle(&example());
    let error = read_all(&KeyGroupsHandle { range: max_parallelism(4).all(), ..handle }, 256).unwrap_err();
    assert_eq!((error.kind(), error.value("expected")), (ErrorKind::Corrupt, Some("1")));
}

#[test]
fn an_error_of_the_stream_keeps_its_kind() {
    let write = |streams: &MemoryStreamFactory, cancel: Option<&CancelToken>| -> Result<KeyGroupsHandle> {
        let max = max_parallelism(1);
        let stream = streams.create_stream(StateScope::Exclusive)?;
        let mut writer = CanonicalWriter::new(stream, &header(1, false), max.all(), max)?;
        writer.start_key_group(0)?;
        cancel.map(CancelToken::cancel);
        for _ in 0..10 {
            writer.entry(0, append(&[]), append(&[0; 50_000]))?;
        }
        writer.finish()
    };
    let cancel = CancelToken::new();
    let cancelled = write(&MemoryStreamFactory::new(1 << 20, cancel.clone()), Some(&cancel));
    assert_eq!(cancelled.unwrap_err().kind(), ErrorKind::Cancelled);
    let full = write(&MemoryStreamFactory::new(100_000, CancelToken::new()), None);
    assert_eq!(full.unwrap_err().kind(), ErrorKind::Configuration);
}
