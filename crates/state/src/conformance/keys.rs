//! The current key, and looking at all keys.

use std::collections::BTreeSet;

use highwater_types::{DefaultSerializer, ErrorKind, JavaHash, Result, TimeWindow, VoidNamespace};

use super::Subject;
use super::folding::Mean;
use super::subject::{Place, assert_fails};
use crate::{
    AggregatingStateDescriptor, ListStateDescriptor, MapStateDescriptor, ReducingStateDescriptor, ValueStateDescriptor,
};

/// Without a current key every access is a program error, not a silent miss.
pub fn a_current_key_must_be_set(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let value = backend.value_state(&ValueStateDescriptor::<i64>::new("value"))?;
    let list = backend.list_state(&ListStateDescriptor::<i64>::new("list"))?;
    let map = backend.map_state(&MapStateDescriptor::<i64, i64>::new("map"))?;
    let sum = backend.reducing_state(&ReducingStateDescriptor::<i64>::new("sum", |sum, value| *sum += value))?;
    let mean = backend.aggregating_state(&AggregatingStateDescriptor::new("mean", Mean))?;
    let all_fail = || {
        let program = |what, result: Result<()>| drop(assert_fails(ErrorKind::Program, what, result));
        program("value", value.value().map(drop));
        program("value with", value.with(|_| ()));
        program("value update", value.update(1));
        program("value modify", value.modify(|| 0, |_| ()));
        program("value clear", value.clear());
        program("list get", list.get().map(drop));
        program("list for_each", list.for_each(|_| ()));
        program("list add", list.add(1));
        program("list add_all", list.add_all(vec![1]));
        program("list add_all of nothing", list.add_all(vec![]));
        program("list update", list.update(vec![1]));
        program("list retain", list.retain(|_| true));
        program("list clear", list.clear());
        program("list merge", list.merge_namespaces(VoidNamespace, &[VoidNamespace]));
        program("map get", map.get(&1).map(drop));
        program("map contains", map.contains(&1).map(drop));
        program("map put", map.put(1, 1));
        program("map put_all", map.put_all(vec![(1, 1)]));
        program("map modify", map.modify(1, || 0, |_| ()));
        program("map remove", map.remove(&1));
        program("map for_each", map.for_each(|_, _| ()));
        program("map retain", map.retain(|_, _| true));
        program("map is_empty", map.is_empty().map(drop));
        program("map clear", map.clear());
        program("sum get", sum.get().map(drop));
        program("sum add", sum.add(1));
        program("sum clear", sum.clear());
        program("mean get", mean.get().map(drop));
        program("mean add", mean.add(1));
        program("mean clear", mean.clear());
    };
    all_fail();
    backend.set_current_key(1)?;
    value.update(1)?;
    backend.clear_current_key()?;
    all_fail();
    backend.set_current_key(1)?;
    assert_eq!((value.value()?, list.get()?, map.is_empty()?), (Some(1), vec![], true));
    Ok(())
}

/// A key whose key group belongs to another subtask is refused, and nothing is written for it.
pub fn keys_of_other_subtasks_are_refused(subject: &Subject) -> Result<()> {
    let place = Place::of(128, 1, 3)?;
    let backend = subject.backend::<String>(place, &[])?;
    let value = backend.value_state(&ValueStateDescriptor::<i64>::new("value"))?;
    let mut own = 0;
    for key in (0..300).map(|number| number.to_string()) {
        if place.range.contains(place.max_parallelism.key_group_of(key.java_hash())) {
            backend.set_current_key(key)?;
            value.update(1)?;
            own += 1;
        } else {
            assert_fails(ErrorKind::Program, "a key of another subtask", backend.set_current_key(key));
        }
    }
    assert!(own > 50, "the test has keys on both sides");
    assert_eq!(backend.entry_count("value")?, own);
    Ok(())
}

/// `keys` has every key of a namespace once, also those of maps; an unknown state has none.
pub fn keys_are_listed_once(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<String>()?;
    let list = backend.list_state(&ListStateDescriptor::<i64>::new("list"))?;
    let map = backend.map_state_in(TimeWindow::default_serializer(), &MapStateDescriptor::<String, i64>::new("map"))?;
    let windows = [TimeWindow { start: 0, end: 5 }, TimeWindow { start: 5, end: 10 }];
    let mut expected = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
    let [in_list, in_first, in_second] = &mut expected;
    for number in 0..500 {
        let key = "k".repeat(number % 3) + &number.to_string();
        backend.set_current_key(key.clone())?;
        if number % 2 == 0 {
            list.add_all(vec![1, 2, 3])?;
            in_list.insert(key.clone());
        }
        for (window, set) in windows.iter().zip([&mut *in_first, &mut *in_second]).take(number % 3) {
            map.set_namespace(*window)?;
            map.put_all((0..10).map(|entry| (entry.to_string(), entry)).collect())?;
            set.insert(key.clone());
        }
    }
    let found =
        [backend.keys("list", &VoidNamespace)?, backend.keys("map", &windows[0])?, backend.keys("map", &windows[1])?];
    for (found, expected) in found.into_iter().zip(expected) {
        assert_eq!(found.len(), expected.len());
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
    }
    assert_eq!(backend.keys("map", &TimeWindow { start: 0, end: 10 })?, [] as [String; 0]);
    assert_eq!(backend.keys("unknown", &VoidNamespace)?, [] as [String; 0]);
    assert_fails(ErrorKind::Program, "another type of namespace", backend.keys("map", &VoidNamespace));
    Ok(())
}

/// Entries are counted by key and namespace; a list or map counts once.
pub fn entries_are_counted_by_key_and_namespace(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let value = backend.value_state(&ValueStateDescriptor::<i64>::new("value"))?;
    let list = backend.list_state(&ListStateDescriptor::<i64>::new("list"))?;
    let map = backend.map_state_in(String::default_serializer(), &MapStateDescriptor::<i64, i64>::new("map"))?;
    for key in 0..100 {
        backend.set_current_key(key)?;
        value.update(key)?;
        list.add_all((0..key % 3).collect())?;
        for namespace in 0..key % 4 {
            map.set_namespace("n".repeat(namespace as usize))?;
            map.put_all((0..key % 7).map(|entry| (entry, entry)).collect())?;
        }
    }
    let maps = (0..100).filter(|key| key % 7 > 0).map(|key| (key % 4) as usize).sum::<usize>();
    let lists = (0..100).filter(|key| key % 3 > 0).count();
    let counts = (backend.entry_count("value")?, backend.entry_count("list")?, backend.entry_count("map")?);
    assert_eq!(counts, (100, lists, maps));
    assert_eq!(backend.entry_count("unknown")?, 0);
    Ok(())
}

/// `apply_to_all_keys` visits the keys there were at the start, each once and as the current key, though the closure
/// removes and adds; its error ends it.
pub fn apply_to_all_keys_may_change_what_it_visits(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let value = backend.value_state(&ValueStateDescriptor::<i64>::new("value"))?;
    let other = backend.value_state(&ValueStateDescriptor::<i64>::new("other"))?;
    for key in 0..500 {
        backend.set_current_key(key)?;
        value.update(key)?;
    }
    backend.set_current_key(7)?;
    let mut visited = BTreeSet::new();
    backend.apply_to_all_keys("value", &VoidNamespace, |key| {
        assert!(visited.insert(*key), "{key} was visited twice");
        assert_eq!(value.value()?, Some(*key));
        if key % 2 == 0 {
            value.clear()?;
        }
        other.update(-key)?;
        backend.set_current_key(key + 10_000)?;
        value.update(0)
    })?;
    assert_eq!(visited, (0..500).collect());
    assert_eq!((backend.current_key(), value.value()?, other.value()?), (Some(7), Some(7), Some(-7)));
    assert_eq!((backend.entry_count("value")?, backend.entry_count("other")?), (750, 500));

    let mut calls = 0;
    let result = backend.apply_to_all_keys("other", &VoidNamespace, |_| {
        calls += 1;
        Err(highwater_types::Error::program("stop"))
    });
    assert_fails(ErrorKind::Program, "an error of the closure", result);
    assert_eq!(calls, 1);
    Ok(())
}

/// Twenty thousand keys at every size of the key-group prefix, and at the borders between them.
pub fn many_keys_and_both_prefixes_work(subject: &Subject) -> Result<()> {
    for (max_parallelism, keys) in
        [(1, 100), (2, 100), (127, 1000), (128, 20_000), (129, 1000), (4096, 20_000), (32768, 1000)]
    {
        let backend = subject.backend::<i64>(Place::all(max_parallelism)?, &[])?;
        let value = backend.value_state(&ValueStateDescriptor::<i64>::new("value"))?;
        for key in 0..keys {
            backend.set_current_key(key)?;
            value.update(key * 3)?;
        }
        for key in (0..keys).rev() {
            backend.set_current_key(key)?;
            assert_eq!(value.value()?, Some(key * 3), "max parallelism {max_parallelism}");
        }
        assert_eq!(backend.entry_count("value")?, keys as usize);
        let found: BTreeSet<i64> = backend.keys("value", &VoidNamespace)?.into_iter().collect();
        assert!(found.into_iter().eq(0..keys), "max parallelism {max_parallelism}");
    }
    Ok(())
}
