//! Who gets what: the published examples, and that nothing is lost and nothing doubled.

use std::collections::BTreeMap;

use highwater_checkpoint::DistributionMode::{self, Broadcast, SplitDistribute, Union};
use highwater_checkpoint::{
    KeyGroupsFormat, KeyGroupsHandle, KeyedStateHandle, OperatorStateHandle, StatePartitions, StreamHandle,
};
use highwater_state::{redistribute_keyed_state, redistribute_operator_state};
use highwater_types::{ErrorKind, KeyGroupRange};
use proptest::prelude::*;

use crate::support::max_parallelism;

type Subtask = Vec<OperatorStateHandle>;

fn file(name: &str) -> StreamHandle {
    StreamHandle::RelativeFile { path: name.into(), size: 1000 }
}

fn handle(file_name: &str, states: &[(&str, DistributionMode, &[u64])]) -> OperatorStateHandle {
    let partitions = |&(name, mode, offsets): &(&str, _, &[u64])| {
        (name.to_owned(), StatePartitions { mode, offsets: offsets.to_vec() })
    };
    OperatorStateHandle::new(states.iter().map(partitions).collect(), file(file_name))
}

/// The elements of a state that a subtask gets, as (file, offset).
fn elements(subtask: &[OperatorStateHandle], name: &str) -> Vec<(String, u64)> {
    let mut elements = Vec::new();
    for handle in subtask {
        let StreamHandle::RelativeFile { path, .. } = &handle.data else { panic!("{handle:?}") };
        let offsets = handle.states.get(name).map(|partitions| partitions.offsets.clone()).unwrap_or_default();
        elements.extend(offsets.into_iter().map(|offset| (path.clone(), offset)));
    }
    elements
}

#[test]
fn a_split_list_is_dealt_out_in_runs() {
    let old = vec![
        vec![handle("a", &[("l", SplitDistribute, &[1, 2, 3])])],
        vec![handle("b", &[("l", SplitDistribute, &[4, 5])])],
    ];
    let at = |n: u32| -> Vec<Vec<u64>> {
        let new = redistribute_operator_state(&old, n).unwrap();
        new.iter().map(|subtask| elements(subtask, "l").into_iter().map(|(_, offset)| offset).collect()).collect()
    };
    assert_eq!(at(1), [vec![1, 2, 3, 4, 5]]);
    assert_eq!(at(2), [vec![1, 2, 3], vec![4, 5]]);
    assert_eq!(at(3), [vec![1, 2], vec![3, 4], vec![5]]);
    assert_eq!(at(4), [vec![1, 2], vec![3], vec![4], vec![5]]);
    assert_eq!(at(7), [vec![1], vec![2], vec![3], vec![4], vec![5], vec![], vec![]]);
}

/// The next state begins behind the subtasks that got one more of the state before.
#[test]
fn extra_elements_go_round() {
    let states: &[(&str, _, &[u64])] = &[
        ("a", SplitDistribute, &[1, 2, 3, 4]),
        ("b", SplitDistribute, &[5, 6, 7, 8, 9]),
        ("c", SplitDistribute, &[10]),
    ];
    let new = redistribute_operator_state(&[vec![handle("f", states)]], 3).unwrap();
    let counts = |name| new.iter().map(|subtask| elements(subtask, name).len()).collect::<Vec<_>>();
    assert_eq!(counts("a"), [2, 1, 1]);
    assert_eq!(counts("b"), [1, 2, 2]);
    assert_eq!(counts("c"), [1, 0, 0]);
    // The runs begin at the first subtask of the turn, not at subtask 0.
    assert_eq!(elements(&new[1], "b"), [("f".to_owned(), 5), ("f".to_owned(), 6)]);
    assert_eq!(elements(&new[0], "b"), [("f".to_owned(), 9)]);
}

#[test]
fn unchanged_parallelism_unites_unions_and_touches_nothing_else() {
    let states = |base: u64| [base, base + 1, base + 2];
    let subtask = |name: &str, base| {
        let [l, u, b] = states(base);
        vec![handle(name, &[("l", SplitDistribute, &[l]), ("u", Union, &[u]), ("b", Broadcast, &[b])])]
    };
    let old = [subtask("x", 10), subtask("y", 20)];
    let new = redistribute_operator_state(&old, 2).unwrap();
    for (i, (name, base)) in [("x", 10), ("y", 20)].into_iter().enumerate() {
        assert_eq!(elements(&new[i], "l"), [(name.to_owned(), base)]);
        assert_eq!(elements(&new[i], "b"), [(name.to_owned(), base + 2)]);
        assert_eq!(elements(&new[i], "u"), [("x".to_owned(), 11), ("y".to_owned(), 21)]);
    }
    // Without a union each subtask gets exactly what it wrote.
    let old = [
        vec![handle("x", &[("l", SplitDistribute, &[1, 2])])],
        vec![],
        vec![handle("y", &[("l", SplitDistribute, &[])])],
    ];
    assert_eq!(redistribute_operator_state(&old, 3).unwrap(), old);
}

#[test]
fn broadcast_copies_are_handed_out_in_turn() {
    let old = [vec![handle("x", &[("b", Broadcast, &[1])])], vec![handle("y", &[("b", Broadcast, &[2])])]];
    let new = redistribute_operator_state(&old, 5).unwrap();
    let files: Vec<_> = new.iter().map(|subtask| elements(subtask, "b")[0].0.clone()).collect();
    assert_eq!(files, ["x", "y", "x", "y", "x"]);
    let new = redistribute_operator_state(&old, 1).unwrap();
    assert_eq!(elements(&new[0], "b"), [("x".to_owned(), 1)]);
}

#[test]
fn what_cannot_be_distributed_is_an_error() {
    let old = [vec![handle("x", &[("s", SplitDistribute, &[1])])], vec![handle("y", &[("s", Union, &[2])])]];
    let error = redistribute_operator_state(&old, 2).unwrap_err();
    assert_eq!((error.kind(), error.value("state")), (ErrorKind::Corrupt, Some("s")));
    assert_eq!(redistribute_operator_state(&[], 0).unwrap_err().kind(), ErrorKind::Configuration);
    assert_eq!(redistribute_operator_state(&[], 3).unwrap(), [vec![], vec![], vec![]] as [Subtask; 3]);
}

/// Any number of old subtasks, each with up to two handles, and states of fixed modes by name.
fn old_subtasks() -> impl Strategy<Value = Vec<Subtask>> {
    let offsets = || prop::collection::vec(0_u64..1000, 0..9);
    let one = (prop::option::of(offsets()), prop::option::of(offsets()), prop::option::of(offsets()), any::<bool>());
    let subtask = prop::collection::vec(one, 0..3);
    prop::collection::vec(subtask, 1..7).prop_map(|subtasks| {
        let states = |(a, b, u, broadcast): (Option<Vec<u64>>, Option<Vec<u64>>, Option<Vec<u64>>, bool)| {
            let mut states = BTreeMap::new();
            let mut put = |name: &str, mode, offsets: Option<Vec<u64>>| {
                offsets.map(|offsets| states.insert(name.to_owned(), StatePartitions { mode, offsets }))
            };
            put("a", SplitDistribute, a);
            put("b", SplitDistribute, b);
            put("u", Union, u);
            put("broadcast", Broadcast, broadcast.then(|| vec![7]));
            states
        };
        let numbered = subtasks.into_iter().enumerate();
        let handles = |(i, handles): (usize, Vec<_>)| -> Subtask {
            let handle = |(j, parts)| OperatorStateHandle::new(states(parts), file(&format!("{i}-{j}")));
            handles.into_iter().enumerate().map(handle).collect()
        };
        numbered.map(handles).collect()
    })
}

proptest! {
    #[test]
    fn nothing_is_lost_and_nothing_doubled(old in old_subtasks(), parallelism in 1_u32..9) {
        let new = redistribute_operator_state(&old, parallelism).unwrap();
        prop_assert_eq!(new.len(), parallelism as usize);
        let all = |subtasks: &[Subtask], name| subtasks.iter().flat_map(|s| elements(s, name)).collect::<Vec<_>>();
        for name in ["a", "b"] {
            let (mut before, mut after) = (all(&old, name), all(&new, name));
            before.sort();
            after.sort();
            prop_assert_eq!(before, after);
        }
        if old.len() != new.len() {
            let totals: Vec<_> = new.iter().map(|s| elements(s, "a").len() + elements(s, "b").len()).collect();
            let (least, most) = (totals.iter().min().unwrap(), totals.iter().max().unwrap());
            prop_assert!(most - least <= 1, "uneven: {totals:?}");
        } else {
            for (before, after) in old.iter().zip(&new) {
                prop_assert_eq!(elements(before, "a"), elements(after, "a"));
                prop_assert_eq!(elements(before, "broadcast"), elements(after, "broadcast"));
            }
        }
        let copies = all(&old, "broadcast");
        for subtask in &new {
            prop_assert_eq!(elements(subtask, "u"), all(&old, "u"));
            if old.len() != new.len() && !copies.is_empty() {
                prop_assert_eq!(elements(subtask, "broadcast").len(), 1);
            }
        }
        // Every handle leads to a stream of its own once.
        for subtask in &new {
            let mut files: Vec<_> = subtask.iter().map(|handle| format!("{:?}", handle.data)).collect();
            files.dedup();
            prop_assert_eq!(files.len(), subtask.len());
        }
    }

    #[test]
    fn every_key_group_finds_its_one_reader(old in 1_u32..12, new in 1_u32..12) {
        let max = max_parallelism(37);
        let ranges = |p| (0..p).map(move |i| max.range_of(i, p).unwrap());
        let handle = |range: KeyGroupRange| KeyedStateHandle::KeyGroups(KeyGroupsHandle {
            format: KeyGroupsFormat::Canonical,
            range,
            offsets: vec![0; range.count()],
            data: file(&range.to_string()),
        });
        let handles: Vec<_> = ranges(old).map(handle).collect();
        for range in ranges(new) {
            let given = redistribute_keyed_state(&handles, range);
            for group in range.iter() {
                prop_assert_eq!(given.iter().filter(|handle| handle.range().contains(group)).count(), 1);
            }
            prop_assert!(given.iter().all(|handle| handle.range().intersection(range).is_some()));
        }
    }
}
