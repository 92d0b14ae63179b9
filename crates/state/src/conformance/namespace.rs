//! Namespaces and their merging.

use highwater_types::{DefaultSerializer, ErrorKind, Result, SerializerRef, TimeWindow};

use super::Subject;
use super::folding::Mean;
use super::subject::assert_fails;
use crate::{
    AggregatingStateDescriptor, ListStateDescriptor, MapStateDescriptor, ReducingStateDescriptor, ValueStateDescriptor,
};

fn windows() -> SerializerRef<TimeWindow> {
    TimeWindow::default_serializer()
}

fn texts() -> SerializerRef<String> {
    String::default_serializer()
}

fn window(start: i64) -> TimeWindow {
    TimeWindow { start, end: start + 1000 }
}

/// States of every kind keep namespaces apart.
pub fn namespaces_are_independent(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<String>()?;
    let value = backend.value_state_in(windows(), &ValueStateDescriptor::<i64>::new("value"))?;
    let list = backend.list_state_in(windows(), &ListStateDescriptor::<i64>::new("list"))?;
    let map = backend.map_state_in(windows(), &MapStateDescriptor::<i64, i64>::new("map"))?;
    let sum = backend
        .reducing_state_in(windows(), &ReducingStateDescriptor::<i64>::new("sum", |sum, value| *sum += value))?;
    let mean = backend.aggregating_state_in(windows(), &AggregatingStateDescriptor::new("mean", Mean))?;
    let set = |namespace: TimeWindow| {
        value.set_namespace(namespace)?;
        list.set_namespace(namespace)?;
        map.set_namespace(namespace)?;
        sum.set_namespace(namespace)?;
        mean.set_namespace(namespace)
    };
    let starts = [-1000, 0, 1000, i64::MAX - 1000];
    for key in ["a", "b"] {
        backend.set_current_key(key.to_owned())?;
        for start in starts {
            set(window(start))?;
            value.update(start)?;
            list.add_all(vec![start, 1])?;
            map.put(start, 2)?;
            sum.add(start)?;
            mean.add(start)?;
        }
    }
    set(window(0))?;
    value.clear()?;
    list.clear()?;
    map.clear()?;
    sum.clear()?;
    mean.clear()?;
    for (key, start) in ["a", "b"].iter().flat_map(|key| starts.map(|start| (*key, start))) {
        backend.set_current_key(key.to_owned())?;
        set(window(start))?;
        let cleared = key == "b" && start == 0;
        let found = (value.value()?, list.get()?, map.entries()?, sum.get()?, mean.get()?);
        let expected = match cleared {
            true => (None, vec![], vec![], None, None),
            false => (Some(start), vec![start, 1], vec![(start, 2)], Some(start), Some(start)),
        };
        assert_eq!(found, expected, "key {key}, window {start}");
    }
    Ok(())
}

/// Keys and namespaces of variable size do not flow into one another.
pub fn namespaces_of_variable_size_are_not_confused(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<String>()?;
    let value = backend.value_state_in(texts(), &ValueStateDescriptor::<String>::new("value"))?;
    let map = backend.map_state_in(texts(), &MapStateDescriptor::<String, String>::new("map"))?;
    let parts = ["", "a", "aa", "aaa", "\u{1}", "\u{2}a", "\u{3}aa"];
    let mut sorted = parts;
    sorted.sort_unstable();
    let cases = || parts.iter().flat_map(|key| parts.iter().map(move |namespace| (*key, *namespace)));
    let text = str::to_owned;
    for (key, namespace) in cases() {
        backend.set_current_key(text(key))?;
        value.set_namespace(text(namespace))?;
        map.set_namespace(text(namespace))?;
        value.update(format!("{key}/{namespace}"))?;
        for map_key in parts {
            map.put(text(map_key), format!("{key}/{namespace}/{map_key}"))?;
        }
    }
    for (key, namespace) in cases() {
        backend.set_current_key(text(key))?;
        value.set_namespace(text(namespace))?;
        map.set_namespace(text(namespace))?;
        assert_eq!(value.value()?, Some(format!("{key}/{namespace}")));
        let mut entries = map.entries()?;
        entries.sort();
        assert_eq!(entries, sorted.map(|map_key| (text(map_key), format!("{key}/{namespace}/{map_key}"))));
    }
    assert_eq!(backend.entry_count("map")?, parts.len() * parts.len());
    let mut keys = backend.keys("map", &text("aa"))?;
    keys.sort();
    assert_eq!(keys, sorted);
    Ok(())
}

/// A namespace set on a handle holds for its clones and for all keys, until the next.
pub fn handles_share_the_namespace_of_their_clones(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let value = backend.value_state_in(windows(), &ValueStateDescriptor::<i64>::new("value"))?;
    let clone = value.clone();
    backend.set_current_key(1)?;
    value.set_namespace(window(1))?;
    clone.update(11)?;
    backend.set_current_key(2)?;
    value.update(12)?;
    clone.set_namespace(window(2))?;
    value.update(22)?;
    clone.set_namespace(window(1))?;
    assert_eq!(value.value()?, Some(12));
    backend.set_current_key(1)?;
    assert_eq!(value.value()?, Some(11));
    Ok(())
}

/// Without a namespace there is nothing to read or write, and the error says so.
pub fn a_namespace_must_be_set(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let value = backend.value_state_in(windows(), &ValueStateDescriptor::<i64>::new("value"))?;
    backend.set_current_key(1)?;
    assert_fails(ErrorKind::Program, "reading without a namespace", value.value());
    assert_fails(ErrorKind::Program, "writing without a namespace", value.update(1));
    value.set_namespace(window(1))?;
    assert_eq!(value.value()?, None);
    Ok(())
}

/// The lists of the sources go behind that of the target, in order, and leave the sources; other keys and namespaces
/// stay as they are.
pub fn merging_lists_appends_the_sources_in_order(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<String>()?;
    let list = backend.list_state_in(windows(), &ListStateDescriptor::<String>::new("list"))?;
    for key in ["a", "b"] {
        backend.set_current_key(key.to_owned())?;
        for start in 0..5 {
            list.set_namespace(window(start))?;
            list.add_all(vec![format!("{key}{start}"), ",".to_owned()])?;
        }
    }
    list.merge_namespaces(window(9), &[window(4), window(8), window(2)])?;
    list.merge_namespaces(window(1), &[window(0), window(9)])?;
    let content = |key: &str, start| {
        backend.set_current_key(key.to_owned())?;
        list.set_namespace(window(start))?;
        list.get()
    };
    assert_eq!(content("b", 1)?.concat(), "b1,b0,b4,b2,");
    assert_eq!(content("b", 3)?.concat(), "b3,");
    for start in [0, 2, 4, 8, 9] {
        assert_eq!(content("b", start)?, [] as [String; 0], "window {start} was merged away");
    }
    for start in 0..5 {
        assert_eq!(content("a", start)?.concat(), format!("a{start},"), "another key");
    }
    assert_eq!(backend.entry_count("list")?, 7);
    Ok(())
}

/// Sources are folded in order, the target stays on the left; absent ones contribute nothing.
pub fn merging_values_keeps_the_target_on_the_left(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let descriptor = ReducingStateDescriptor::<String>::new("chain", |left, right| left.push_str(&right));
    let chain = backend.reducing_state_in(windows(), &descriptor)?;
    let mean = backend.aggregating_state_in(windows(), &AggregatingStateDescriptor::new("mean", Mean))?;
    backend.set_current_key(1)?;
    for start in 0..5 {
        chain.set_namespace(window(start))?;
        mean.set_namespace(window(start))?;
        chain.add(start.to_string())?;
        mean.add(start * 10)?;
    }
    chain.merge_namespaces(window(3), &[window(4), window(7), window(1)])?;
    chain.merge_namespaces(window(8), &[window(2), window(0)])?;
    mean.merge_namespaces(window(3), &[window(4), window(7), window(1)])?;
    mean.merge_namespaces(window(8), &[window(2), window(0)])?;
    let content = |start| {
        chain.set_namespace(window(start))?;
        mean.set_namespace(window(start))?;
        Ok((chain.get()?, mean.get()?))
    };
    let merged = |text: &str, mean| (Some(text.to_owned()), Some(mean));
    assert_eq!(content(3)?, merged("341", 26));
    assert_eq!(content(8)?, merged("20", 10));
    for start in [0, 1, 2, 4, 7] {
        assert_eq!(content(start)?, (None, None), "window {start} was merged away");
    }
    assert_eq!((backend.entry_count("chain")?, backend.entry_count("mean")?), (2, 2));
    Ok(())
}

/// No sources, only absent ones, or the target itself leave the target as it is, be it there or not.
pub fn merging_nothing_changes_nothing(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let list = backend.list_state_in(windows(), &ListStateDescriptor::<i64>::new("list"))?;
    let descriptor = ReducingStateDescriptor::<i64>::new("sum", |sum, value| *sum += value);
    let sum = backend.reducing_state_in(windows(), &descriptor)?;
    let mean = backend.aggregating_state_in(windows(), &AggregatingStateDescriptor::new("mean", Mean))?;
    backend.set_current_key(1)?;
    list.set_namespace(window(1))?;
    sum.set_namespace(window(1))?;
    mean.set_namespace(window(1))?;
    list.add(1)?;
    sum.add(1)?;
    mean.add(1)?;
    for (target, sources) in
        [(1, vec![]), (1, vec![window(2), window(3)]), (2, vec![]), (2, vec![window(3)]), (1, vec![window(1)])]
    {
        list.merge_namespaces(window(target), &sources)?;
        sum.merge_namespaces(window(target), &sources)?;
        mean.merge_namespaces(window(target), &sources)?;
    }
    assert_eq!((list.get()?, sum.get()?, mean.get()?), (vec![1], Some(1), Some(1)));
    for name in ["list", "sum", "mean"] {
        assert_eq!(backend.entry_count(name)?, 1, "{name}");
    }
    Ok(())
}
