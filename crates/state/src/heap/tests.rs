//! The copy-on-write structures against plain ones, with freezes in between.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use proptest::prelude::*;

use super::list::{List, ListCell, ShortList};
use super::map::Map;
use super::table::{Frozen, Table};

#[derive(Clone, Debug)]
enum Step {
    Put(u16, String),
    Remove(u16),
    Retain(u16),
    Freeze,
    Check(usize),
    Drop(usize),
}

fn steps(keys: u16) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        60 => (0..keys, "[a-z]{0,3}").prop_map(|(key, value)| Step::Put(key, value)),
        25 => (0..keys).prop_map(Step::Remove),
        1 => (1..7_u16).prop_map(Step::Retain),
        3 => Just(Step::Freeze),
        2 => any::<usize>().prop_map(Step::Check),
        2 => any::<usize>().prop_map(Step::Drop),
    ];
    prop::collection::vec(step, 0..3000)
}

type Entry = (u16, String);

fn drained(mut frozen: Frozen<Entry>) -> BTreeMap<u16, String> {
    let mut all = BTreeMap::new();
    let done: Result<(), Infallible> = frozen.drain(|(key, value)| {
        assert!(all.insert(*key, value.clone()).is_none(), "an entry twice");
        Ok(())
    });
    done.unwrap();
    all
}

/// A hasher whose hashes agree in the bits that choose the segment and the group, so that groups overflow.
fn hash(hasher: &RandomState, poor: bool, key: u16) -> u64 {
    let hash = hasher.hash_one(key);
    if poor { hash & 0x8000_0000_0e00_0003 } else { hash }
}

fn run(steps: Vec<Step>, poor: bool) {
    let hasher = RandomState::default();
    let rehash = |entry: &Entry| hash(&hasher, poor, entry.0);
    let mut table = Table::<Entry>::default();
    let mut model = BTreeMap::new();
    let mut frozen: Vec<(Frozen<Entry>, BTreeMap<u16, String>)> = Vec::new();
    for step in steps {
        match step {
            Step::Put(key, value) => {
                let at = hash(&hasher, poor, key);
                match table.find_mut(at, |entry| entry.0 == key) {
                    Some(entry) => entry.1.clone_from(&value),
                    None => drop(table.insert(at, (key, value.clone()), &rehash)),
                }
                model.insert(key, value);
            }
            Step::Remove(key) => {
                let removed = table.remove(hash(&hasher, poor, key), |entry| entry.0 == key);
                assert_eq!(removed.map(|entry| entry.1), model.remove(&key));
            }
            Step::Retain(divisor) => {
                table.retain(
                    |entry| {
                        entry.1.push('!');
                        entry.0 % divisor != 0
                    },
                    &rehash,
                );
                model.retain(|key, value| {
                    value.push('!');
                    key % divisor != 0
                });
            }
            Step::Freeze => frozen.push((table.freeze(), model.clone())),
            Step::Check(index) if !frozen.is_empty() => {
                let (view, expected) = frozen.swap_remove(index % frozen.len());
                assert_eq!(drained(view), expected);
            }
            Step::Drop(index) if !frozen.is_empty() => drop(frozen.swap_remove(index % frozen.len())),
            Step::Check(_) | Step::Drop(_) => {}
        }
        assert_eq!(table.len(), model.len());
    }
    for (key, value) in &model {
        let found = table.find(hash(&hasher, poor, *key), |entry| entry.0 == *key);
        assert_eq!(found.map(|entry| &entry.1), Some(value));
    }
    let all: BTreeMap<_, _> = table.iter().cloned().collect();
    assert_eq!(all, model);
    for (view, expected) in frozen {
        assert_eq!(drained(view), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_table_is_a_map_and_its_frozen_views_stand_still(steps in steps(4000)) {
        run(steps, false);
    }

    #[test]
    fn a_table_with_few_keys(steps in steps(12)) {
        run(steps, false);
    }

    #[test]
    fn a_table_with_colliding_hashes(steps in steps(300)) {
        run(steps, true);
    }

    #[test]
    fn a_map_is_a_map_and_its_clones_stand_still(steps in prop_oneof![steps(1500), steps(20)]) {
        run_map(steps.clone(), |value| value.to_owned());
        run_map(steps, |value| value.len());
    }

    #[test]
    fn a_list_is_a_list_and_its_clones_stand_still(
        first in prop_oneof![0_usize..6, 0_usize..700],
        pushes in prop::collection::vec(0_u32..1000, 0..900),
        divisor in 1_u32..5,
    ) {
        run_list::<List<u32>>(first, &pushes, divisor);
        run_list::<ShortList<u32>>(first, &pushes, divisor);
    }
}

fn run_map<V: Clone + PartialEq + std::fmt::Debug>(steps: Vec<Step>, of: impl Fn(&str) -> V) {
    let hasher = RandomState::default();
    let mut map = Map::<u16, V>::new();
    let mut model = HashMap::new();
    let mut clones: Vec<(Map<u16, V>, HashMap<u16, V>)> = Vec::new();
    for step in steps {
        match step {
            Step::Put(key, value) => {
                let value = of(&value);
                map.put(&hasher, key, value.clone());
                model.insert(key, value);
            }
            Step::Remove(key) => {
                map.remove(&hasher, &key);
                model.remove(&key);
            }
            Step::Retain(divisor) => {
                map.retain(&hasher, |key, _| key % divisor != 0);
                model.retain(|key, _| key % divisor != 0);
            }
            Step::Freeze => clones.push((map.clone(), model.clone())),
            // A clone lives on by itself: the original may go, or be written further.
            Step::Check(index) if !clones.is_empty() => {
                let index = index % clones.len();
                std::mem::swap(&mut map, &mut clones[index].0);
                std::mem::swap(&mut model, &mut clones[index].1);
            }
            Step::Drop(index) if !clones.is_empty() => drop(clones.swap_remove(index % clones.len())),
            Step::Check(_) | Step::Drop(_) => {}
        }
        assert_eq!(map.len(), model.len());
    }
    for (map, model) in clones.into_iter().chain([(map, model)]) {
        for (key, value) in &model {
            assert_eq!(map.get(&hasher, key), Some(value));
        }
        assert_eq!(map.iter().map(|(key, value)| (*key, value.clone())).collect::<HashMap<_, _>>(), model);
    }
}

fn run_list<C: ListCell<u32>>(first: usize, pushes: &[u32], divisor: u32) {
    let start: Vec<u32> = (0..first as u32).collect();
    let (mut list, mut model) = (C::from_vec(start.clone()), start);
    let mut clones = Vec::new();
    for (i, push) in pushes.iter().enumerate() {
        if i % 97 < 5 {
            clones.push((list.clone(), model.clone()));
        }
        if i % 301 == 300 {
            list.retain(|element| {
                *element += 1;
                *element % divisor != 0
            });
            model.retain_mut(|element| {
                *element += 1;
                *element % divisor != 0
            });
        }
        list.push(*push);
        model.push(*push);
    }
    for (list, model) in clones.into_iter().chain([(list, model)]) {
        assert_eq!(list.is_empty(), model.is_empty());
        assert_eq!(list.iter().copied().collect::<Vec<_>>(), model);
    }
}

/// Writes go on while another thread reads frozen views: what AddressSanitizer looks at.
#[test]
fn frozen_views_are_read_on_another_thread_while_the_table_is_written() {
    let hasher = RandomState::default();
    let hash = |key: u64| hasher.hash_one(key);
    let mut table = Table::<(u64, String)>::default();
    let (send, receive) = std::sync::mpsc::sync_channel::<(Frozen<(u64, String)>, u64)>(2);
    let reader = std::thread::spawn(move || {
        for (mut view, round) in receive {
            let mut count = 0;
            let done: Result<(), Infallible> = view.drain(|(key, value)| {
                assert_eq!(value, &format!("{}", if key % 3 == round % 3 { round } else { last_round(*key, round) }));
                count += 1;
                Ok(())
            });
            done.unwrap();
            assert_eq!(count, 5000);
        }
    });
    for key in 0..5000 {
        table.insert(hash(key), (key, last_round(key, 0).to_string()), &|entry| hash(entry.0));
    }
    for round in 0..60 {
        for key in (0..5000).filter(|key| key % 3 == round % 3) {
            if let Some(entry) = table.find_mut(hash(key), |entry| entry.0 == key) {
                entry.1 = round.to_string();
            }
        }
        send.send((table.freeze(), round)).unwrap();
    }
    drop(send);
    reader.join().unwrap();
}

/// The last round at or before `round` that wrote `key`; 0 if none did.
fn last_round(key: u64, round: u64) -> u64 {
    (0..=round).rev().find(|round| key % 3 == round % 3).unwrap_or(0)
}
