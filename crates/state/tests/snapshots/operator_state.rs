//! Operator state: what the handles do, the bytes Flink writes, restores at any parallelism, and what is refused.

use std::collections::BTreeMap;

use highwater_checkpoint::DistributionMode::{Broadcast, SplitDistribute, Union};
use highwater_checkpoint::{DistributionMode, MemoryStreamFactory, OperatorStateHandle, StatePartitions};
use highwater_state::{
    ListStateDescriptor, MapStateDescriptor, OperatorStateBackend, StateMeta, redistribute_operator_state,
};
use highwater_types::{Error, ErrorKind, Result};
use proptest::prelude::*;

use crate::support::{bytes_of, inline, opener, snapshot, streams};

fn list<T: highwater_types::DefaultSerializer>(name: &str) -> ListStateDescriptor<T> {
    ListStateDescriptor::new(name)
}

fn map(name: &str) -> MapStateDescriptor<String, i32> {
    MapStateDescriptor::new(name)
}

fn empty() -> OperatorStateBackend {
    OperatorStateBackend::builder().operator("op").build().unwrap()
}

fn restored(handles: Vec<OperatorStateHandle>) -> Result<OperatorStateBackend> {
    OperatorStateBackend::builder().operator("op").restore(handles, &opener()).build()
}

fn write(backend: &OperatorStateBackend) -> OperatorStateHandle {
    backend.snapshot().unwrap().write(&streams()).unwrap().unwrap()
}

fn partitions(mode: DistributionMode, offsets: &[u64]) -> StatePartitions {
    StatePartitions { mode, offsets: offsets.to_vec() }
}

#[test]
fn lists_behave_as_lists() {
    let backend = empty();
    let state = backend.list_state(&list::<i64>("l")).unwrap();
    assert!(state.get().unwrap().is_empty());
    state.add(1).unwrap();
    state.add_all([2, 3]).unwrap();
    state.add_all([]).unwrap();
    let clone = state.clone();
    clone.add(4).unwrap();
    assert_eq!((state.get().unwrap(), state.len().unwrap()), (vec![1, 2, 3, 4], 4));
    let mut seen = Vec::new();
    state.for_each(|element| seen.push(*element)).unwrap();
    assert_eq!(seen, [1, 2, 3, 4]);
    state.update([9]).unwrap();
    assert_eq!(clone.get().unwrap(), [9]);
    state.clear().unwrap();
    assert!(clone.is_empty().unwrap());
}

#[test]
fn broadcast_states_behave_as_maps() {
    let backend = empty();
    let state = backend.broadcast_state(&map("b")).unwrap();
    let view = state.read_only();
    assert_eq!(state.put("a".into(), 1).unwrap(), None);
    assert_eq!(state.put("a".into(), 2).unwrap(), Some(1));
    state.put_all([("b".into(), 3), ("c".into(), 4)]).unwrap();
    assert_eq!(view.get(&"a".into()).unwrap(), Some(2));
    assert_eq!(view.get(&"z".into()).unwrap(), None);
    assert!(view.contains(&"b".into()).unwrap() && !view.contains(&"z".into()).unwrap());
    assert_eq!(state.remove(&"b".into()).unwrap(), Some(3));
    let mut entries = view.entries().unwrap();
    entries.sort();
    assert_eq!(entries, [("a".to_owned(), 2), ("c".to_owned(), 4)]);
    let mut sum = 0;
    view.for_each(|_, value| sum += value).unwrap();
    assert_eq!((sum, view.len().unwrap()), (6, 2));
    state.clear().unwrap();
    assert!(view.is_empty().unwrap());
}

/// A closure that changes the state it is looking at is told so; nothing panics, nothing is half done.
#[test]
fn a_state_is_not_changed_while_it_is_read() {
    let backend = empty();
    let list = backend.list_state(&list::<i64>("l")).unwrap();
    let map = backend.broadcast_state(&map("b")).unwrap();
    list.add(1).unwrap();
    map.put("a".into(), 1).unwrap();
    let program_error = |result: Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::Program);
    list.for_each(|_| {
        program_error(list.add(2));
        program_error(list.clear());
        assert_eq!(list.get().unwrap(), [1]);
        map.put("b".into(), 2).unwrap();
        assert!(backend.snapshot().is_ok());
    })
    .unwrap();
    map.for_each(|_, _| program_error(map.put("c".into(), 3).map(drop))).unwrap();
    assert_eq!((list.len().unwrap(), map.len().unwrap()), (1, 2));
}

#[test]
fn a_name_serves_one_state() {
    let backend = empty();
    backend.list_state(&list::<i64>("s")).unwrap();
    let check = |result: Result<()>| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Program);
        assert_eq!((error.value("operator"), error.value("state")), (Some("op"), Some("s")));
    };
    check(backend.list_state(&list::<i64>("s")).map(drop));
    check(backend.union_list_state(&list::<i64>("s")).map(drop));
    check(backend.broadcast_state(&map("s")).map(drop));
    backend.broadcast_state(&map("t")).unwrap();
    assert!(backend.list_state(&list::<i64>("t")).is_err());
}

#[test]
fn no_state_has_no_handle() {
    assert_eq!(empty().snapshot().unwrap().write(&streams()).unwrap(), None);
    let backend = empty();
    backend.list_state(&list::<i64>("l")).unwrap();
    let handle = write(&backend);
    assert_eq!(handle.states["l"], partitions(SplitDistribute, &[]));
}

/// The header Flink writes for one union state "s" of `Integer`.
#[test]
fn the_header_is_flinks_byte_for_byte() {
    let backend = empty();
    backend.union_list_state(&list::<i32>("s")).unwrap();
    let utf = |text: &str| [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
    let expected = [
        &[0, 0, 0, 5, 0, 1, 0, 1, b's', 0, 0, 0, 1, 0, 0, 0, 1][..],
        &utf("OPERATOR_STATE_DISTRIBUTION_MODE"),
        &utf("UNION"),
        &[0, 0, 0, 1],
        &utf("VALUE_SERIALIZER"),
        &[0, 0, 0, 2],
        &utf("org.apache.flink.api.common.typeutils.base.IntSerializer$IntSerializerSnapshot"),
        &[0, 0, 0, 3, 0, 0],
    ]
    .concat();
    assert_eq!(expected.len(), 170);
    assert_eq!(bytes_of(&write(&backend).data), expected);
}

/// Elements as a real operator wrote them: union "x1", a list of three, a broadcast of two.
#[test]
fn the_data_is_flinks_byte_for_byte() {
    let backend = empty();
    backend.list_state(&list::<String>("list")).unwrap().add_all(["x1", "x2", "x3"].map(str::to_owned)).unwrap();
    backend.union_list_state(&list::<String>("union")).unwrap().add("u1".into()).unwrap();
    let broadcast = backend.broadcast_state(&map("broadcast")).unwrap();
    broadcast.put("bk2".into(), 8).unwrap();
    let handle = write(&backend);
    let bytes = bytes_of(&handle.data);
    let at = |name: &str| handle.states[name].offsets.iter().map(|o| *o as usize).collect::<Vec<_>>();
    let [first, second, third] = at("list")[..] else { panic!("{:?}", handle.states) };
    assert_eq!((second - first, third - second), (3, 3));
    assert_eq!(bytes[first..third + 3], *b"\x03x1\x03x2\x03x3");
    assert_eq!(bytes[at("union")[0]..at("union")[0] + 3], *b"\x03u1");
    let broadcast = at("broadcast")[0];
    assert_eq!(bytes[broadcast..broadcast + 12], *b"\0\0\0\x01\x04bk2\0\0\0\x08");
    assert_eq!(handle.states["list"].mode, SplitDistribute);
    assert_eq!(handle.states["union"].mode, Union);
    assert_eq!(handle.states["broadcast"].mode, Broadcast);
}

/// The synchronous part copies: what happens later is not in the snapshot, which another thread may write.
#[test]
fn a_snapshot_is_a_copy() {
    let backend = empty();
    let list_state = backend.list_state(&list::<String>("l")).unwrap();
    let map_state = backend.broadcast_state(&map("b")).unwrap();
    list_state.add("before".into()).unwrap();
    map_state.put("before".into(), 1).unwrap();
    let snapshot = backend.snapshot().unwrap();
    list_state.add("after".into()).unwrap();
    map_state.clear().unwrap();
    let handle = std::thread::spawn(move || snapshot.write(&streams())).join().unwrap().unwrap().unwrap();
    let backend = restored(vec![handle]).unwrap();
    assert_eq!(backend.list_state(&list::<String>("l")).unwrap().get().unwrap(), ["before"]);
    assert_eq!(backend.broadcast_state(&map("b")).unwrap().entries().unwrap(), [("before".to_owned(), 1)]);
}

#[test]
fn another_mode_or_type_is_refused_and_changes_nothing() {
    let backend = empty();
    backend.list_state(&list::<i64>("l")).unwrap().add(7).unwrap();
    backend.broadcast_state(&map("b")).unwrap();
    let backend = restored(vec![write(&backend)]).unwrap();
    assert_eq!(backend.unregistered(), ["b", "l"]);
    let check = |result: Result<()>, sentence: &str| {
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.value("operator")), (ErrorKind::Incompatible, Some("op")));
        assert!(error.message().contains(sentence), "{error}");
    };
    check(
        backend.union_list_state(&list::<i64>("l")).map(drop),
        "Incompatible state assignment modes. Was [SPLIT_DISTRIBUTE], registered with [UNION]",
    );
    check(backend.broadcast_state(&map("l")).map(drop), "Was [SPLIT_DISTRIBUTE], registered with [BROADCAST]");
    check(backend.list_state(&list::<i64>("b")).map(drop), "Was [BROADCAST], registered with [SPLIT_DISTRIBUTE]");
    check(backend.list_state(&list::<String>("l")).map(drop), "must not be incompatible");
    // A refusal leaves the state where it was.
    assert_eq!(backend.list_state(&list::<i64>("l")).unwrap().get().unwrap(), [7]);
    assert_eq!(backend.unregistered(), ["b"]);
}

/// Everything a subtask may hold.
#[derive(Clone, Debug, Default, PartialEq)]
struct Content {
    split: Vec<String>,
    union: Vec<i64>,
    broadcast: BTreeMap<String, i32>,
}

impl Content {
    fn fill(&self, backend: &OperatorStateBackend) {
        backend.list_state(&list::<String>("split")).unwrap().add_all(self.split.clone()).unwrap();
        backend.union_list_state(&list::<i64>("union")).unwrap().add_all(self.union.clone()).unwrap();
        backend.broadcast_state(&map("broadcast")).unwrap().put_all(self.broadcast.clone()).unwrap();
    }

    fn of(backend: &OperatorStateBackend) -> Self {
        Self {
            split: backend.list_state(&list::<String>("split")).unwrap().get().unwrap(),
            union: backend.union_list_state(&list::<i64>("union")).unwrap().get().unwrap(),
            broadcast: backend.broadcast_state(&map("broadcast")).unwrap().entries().unwrap().into_iter().collect(),
        }
    }
}

fn content() -> impl Strategy<Value = Content> {
    let text = prop_oneof!["[a-z€]{0,5}", Just("x".repeat(70_000))];
    let broadcast = prop::collection::btree_map("[a-z]{0,3}", any::<i32>(), 0..5);
    (prop::collection::vec(text, 0..6), prop::collection::vec(any::<i64>(), 0..6), broadcast)
        .prop_map(|(split, union, broadcast)| Content { split, union, broadcast })
}

/// Snapshots every subtask, redistributes, and restores; `between` touches the restored backends before they are read.
fn rescale(old: &[OperatorStateBackend], parallelism: u32) -> Vec<OperatorStateBackend> {
    let handles: Vec<_> = old.iter().map(|backend| vec![write(backend)]).collect();
    let new = redistribute_operator_state(&handles, parallelism).unwrap();
    new.into_iter().map(|handles| restored(handles).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn state_survives_restores_registered_or_not(
        contents in prop::collection::vec(content(), 1..4),
        through in prop::collection::vec(1_u32..5, 0..3),
        parallelism in 1_u32..5,
    ) {
        let mut backends: Vec<_> = contents.iter().map(|content| {
            let backend = empty();
            content.fill(&backend);
            backend
        }).collect();
        // Restored and snapshotted again, any number of times, by programs that register nothing.
        let mut scaled = false;
        let mut unions = 1;
        for p in through.into_iter().chain([parallelism]) {
            scaled |= backends.len() != p as usize;
            backends = rescale(&backends, p);
            unions *= p as usize;
        }
        // A union state doubles with every restore unless the program clears it, as in Flink: only the last counts.
        let copies = unions / parallelism as usize;
        let found: Vec<_> = backends.iter().map(Content::of).collect();
        let split: Vec<_> = contents.iter().flat_map(|content| content.split.clone()).collect();
        let union: Vec<_> = contents.iter().flat_map(|content| content.union.clone()).collect();
        let (mut left, mut right) = (split, found.iter().flat_map(|content| content.split.clone()).collect::<Vec<_>>());
        left.sort();
        right.sort();
        prop_assert_eq!(left, right);
        for (i, subtask) in found.iter().enumerate() {
            prop_assert_eq!(subtask.union.clone(), union.repeat(copies));
            prop_assert!(contents.iter().any(|content| content.broadcast == subtask.broadcast));
            if !scaled {
                prop_assert_eq!(&subtask.split, &contents[i].split);
                prop_assert_eq!(&subtask.broadcast, &contents[i].broadcast);
            }
        }
    }
}

/// What nobody registers goes into the next snapshot with its bytes as they are.
#[test]
fn unregistered_state_is_carried_along() {
    let backend = empty();
    Content { split: vec!["a".into(), "b".into()], union: vec![1], broadcast: BTreeMap::from([("k".into(), 2)]) }
        .fill(&backend);
    let first = write(&backend);
    let second = write(&restored(vec![first.clone()]).unwrap());
    assert_eq!(bytes_of(&first.data), bytes_of(&second.data));
    assert_eq!(first.states, second.states);
    // Beside what is registered.
    let backend = restored(vec![second]).unwrap();
    backend.list_state(&list::<String>("split")).unwrap().add("c".into()).unwrap();
    backend.list_state(&list::<i64>("new")).unwrap();
    let backend = restored(vec![write(&backend)]).unwrap();
    assert_eq!(backend.unregistered(), ["broadcast", "new", "split", "union"]);
    let found = Content::of(&backend);
    assert_eq!((found.split.join(""), found.union), ("abc".to_owned(), vec![1]));
    assert_eq!(found.broadcast, BTreeMap::from([("k".into(), 2)]));
}

/// A stream as Flink 1.18 and later write it with compression: header, then snappy frames made by `data`.
#[test]
fn an_unregistered_union_list_does_not_grow_with_every_restore() {
    let origin = empty();
    origin.union_list_state(&list::<i64>("union")).unwrap().add_all([1, 2, 3]).unwrap();
    let mut handles = vec![vec![write(&origin)]];
    for parallelism in [3, 2, 3] {
        let shares = redistribute_operator_state(&handles, parallelism).unwrap();
        let subtask = |(index, share)| {
            let opener = opener();
            let backend = OperatorStateBackend::builder().subtask(index).restore(share, &opener).build().unwrap();
            backend.snapshot().unwrap().write(&streams()).unwrap().into_iter().collect()
        };
        handles = (0..).zip(shares).map(subtask).collect();
    }
    let shares = redistribute_operator_state(&handles, 2).unwrap();
    for share in shares {
        let state = restored(share).unwrap().union_list_state(&list::<i64>("union")).unwrap();
        assert_eq!(state.get().unwrap(), [1, 2, 3]);
    }
}

fn compressed(data: impl Fn(&mut Vec<u8>) -> Vec<u64>) -> OperatorStateHandle {
    let mut bytes = vec![0, 0, 0, 6, 1, 0, 1];
    StateMeta::operator_list("l", SplitDistribute, snapshot::<String>()).write(&mut bytes).unwrap();
    bytes.extend_from_slice(&[0, 0]);
    let offsets = data(&mut bytes);
    let states = BTreeMap::from([("l".to_owned(), partitions(SplitDistribute, &offsets))]);
    OperatorStateHandle::new(states, inline(&bytes))
}

const IDENTIFIER: &[u8] = b"\xff\x06\0\0sNaPpY";

/// One stored chunk with its checksum, as snappy's framing has it.
fn chunk(data: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(data).unwrap();
    encoder.into_inner().unwrap()[IDENTIFIER.len()..].to_vec()
}

#[test]
fn compressed_elements_in_chunks_of_their_own_are_read() {
    let handle = compressed(|bytes| {
        bytes.extend_from_slice(IDENTIFIER);
        let one = |bytes: &mut Vec<u8>, element: &[u8]| {
            let offset = bytes.len() as u64;
            bytes.extend(chunk(element));
            offset
        };
        [one(bytes, b"\x03x1"), one(bytes, b"\x03x2"), one(bytes, b"\x03x3")].to_vec()
    });
    let backend = restored(vec![handle.clone()]).unwrap();
    assert_eq!(backend.list_state(&list::<String>("l")).unwrap().get().unwrap(), ["x1", "x2", "x3"]);
    // Carried along they come out uncompressed.
    let carried = write(&restored(vec![handle.clone()]).unwrap());
    assert_eq!(bytes_of(&carried.data)[..4], [0, 0, 0, 5]);
    let backend = restored(vec![carried]).unwrap();
    assert_eq!(backend.list_state(&list::<String>("l")).unwrap().get().unwrap(), ["x1", "x2", "x3"]);
    // A part of the elements, as after a redistribution.
    let mut part = handle.clone();
    part.states.get_mut("l").unwrap().offsets.remove(0);
    let backend = restored(vec![part]).unwrap();
    assert_eq!(backend.list_state(&list::<String>("l")).unwrap().get().unwrap(), ["x2", "x3"]);
    // A place inside a chunk is none of an element.
    let mut wrong = handle;
    wrong.states.get_mut("l").unwrap().offsets[0] += 1;
    assert_eq!(restored(vec![wrong]).unwrap_err().kind(), ErrorKind::Corrupt);
}

/// Flink 1.18 gave all elements of a state one place: readable in one piece, not in parts.
#[test]
fn compressed_elements_that_share_a_chunk_are_read_together_or_not_at_all() {
    let handle = |offsets: usize| {
        compressed(|bytes| {
            bytes.extend_from_slice(IDENTIFIER);
            let offset = bytes.len() as u64;
            bytes.extend(chunk(b"\x03x1\x03x2\x03x3"));
            bytes.extend_from_slice(IDENTIFIER);
            vec![offset; offsets]
        })
    };
    let backend = restored(vec![handle(3)]).unwrap();
    assert_eq!(backend.list_state(&list::<String>("l")).unwrap().get().unwrap(), ["x1", "x2", "x3"]);
    for part in [1, 2] {
        let error = restored(vec![handle(part)]).unwrap().list_state(&list::<String>("l")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains("FLINK-34063"), "{error}");
    }
    let error = restored(vec![handle(3)]).unwrap().snapshot().unwrap().write(&streams()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

#[test]
fn streams_that_do_not_fit_their_handle_are_refused() {
    let backend = empty();
    backend.list_state(&list::<String>("l")).unwrap().add_all(["x1".to_owned(), "x2".to_owned()]).unwrap();
    let good = write(&backend);
    let error = |change: &dyn Fn(&mut OperatorStateHandle)| -> Error {
        let mut handle = good.clone();
        change(&mut handle);
        let backend = restored(vec![handle]);
        let result = backend.and_then(|backend| backend.list_state(&list::<String>("l")));
        let error = result.unwrap_err();
        assert!(error.value("file").is_some() && error.value("operator") == Some("op"), "{error}");
        error
    };
    let bytes = bytes_of(&good.data).to_vec();
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        move |handle: &mut OperatorStateHandle| handle.data = inline(&bytes)
    };
    let corrupt = |error: Error, sentence: &str| {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.message().contains(sentence), "{error}");
    };
    assert_eq!(error(&with(3, 4)).kind(), ErrorKind::Unsupported);
    corrupt(error(&with(3, 7)), "does not begin like operator state");
    let e = error(&|handle| drop(handle.states.insert("x".into(), partitions(Union, &[]))));
    corrupt(e, "Found state without corresponding meta info");
    let e = error(&|handle| handle.states.get_mut("l").unwrap().mode = Union);
    corrupt(e, "disagree on how a state is spread");
    for wrong in [0, 5, bytes.len() as u64 + 1, u64::MAX] {
        corrupt(error(&|handle| handle.states.get_mut("l").unwrap().offsets[0] = wrong), "no element at this place");
    }
    // An element that would reach into the next one, and one that would begin inside another.
    corrupt(error(&|handle| handle.states.get_mut("l").unwrap().offsets[1] -= 1), "longer than the bytes that follow");
    corrupt(error(&|handle| handle.states.get_mut("l").unwrap().offsets[1] += 1), "longer than the bytes that follow");
    let end = bytes.len() - 3;
    assert_eq!(error(&with(end, 0x7f)).kind(), ErrorKind::Corrupt);
}

#[test]
fn a_stream_that_refuses_fails_the_snapshot() {
    let backend = empty();
    backend.list_state(&list::<String>("l")).unwrap().add_all(vec!["x".repeat(1000); 1000]).unwrap();
    let small = MemoryStreamFactory::new(1000, highwater_checkpoint::CancelToken::new());
    let error = backend.snapshot().unwrap().write(&small).unwrap_err();
    assert_eq!((error.kind(), error.value("operator")), (ErrorKind::Configuration, Some("op")));
}
