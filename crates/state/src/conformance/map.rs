//! Map state.

use std::collections::BTreeMap;

use highwater_types::Result;

use super::Subject;
use crate::{KeyedBackend, MapStateDescriptor, ValueStateDescriptor};

/// Entries are put, read, replaced and removed one by one, and belong to their key.
pub fn map_entries_are_independent(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<String>()?;
    let state = backend.map_state(&MapStateDescriptor::<String, i64>::new("map"))?;
    let text = str::to_owned;
    backend.set_current_key(text("a"))?;
    assert_eq!((state.get(&text("x"))?, state.contains(&text("x"))?), (None, false));
    state.put(text("x"), 1)?;
    state.put(text(""), 2)?;
    state.put_all(vec![(text("y"), 3), (text("x"), 4), (text("xx"), 5)])?;
    state.put_all(vec![])?;
    backend.set_current_key(text("b"))?;
    assert_eq!((state.get(&text("x"))?, state.is_empty()?), (None, true));
    state.put(text("x"), 6)?;
    backend.set_current_key(text("a"))?;
    assert_eq!((state.get(&text("x"))?, state.contains(&text("xx"))?), (Some(4), true));
    state.remove(&text("x"))?;
    state.remove(&text("nothing"))?;
    let mut entries = state.entries()?;
    entries.sort();
    assert_eq!(entries, [(text(""), 2), (text("xx"), 5), (text("y"), 3)]);
    let (mut keys, mut values) = (state.keys()?, state.values()?);
    keys.sort();
    values.sort_unstable();
    assert_eq!((keys.concat(), values), (text("xxy"), vec![2, 3, 5]));
    backend.set_current_key(text("b"))?;
    assert_eq!(state.entries()?, [(text("x"), 6)]);
    Ok(())
}

/// `modify` changes one entry, `retain` all of them.
pub fn map_in_place_updates_are_kept(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let state = backend.map_state(&MapStateDescriptor::<i64, String>::new("map"))?;
    backend.set_current_key(1)?;
    let length = state.modify(
        7,
        || "seven".to_owned(),
        |value| {
            value.push('!');
            value.len()
        },
    )?;
    assert_eq!((length, state.get(&7)?.as_deref()), (6, Some("seven!")));
    state.modify(7, String::new, |value| value.push('?'))?;
    state.put_all((0..7).map(|number| (number, number.to_string())).collect())?;
    state.retain(|key, value| {
        if key % 2 == 0 {
            value.push('.');
        }
        *key != 4 && *key != 5
    })?;
    let entries: BTreeMap<i64, String> = state.entries()?.into_iter().collect();
    let expected = [(0, "0."), (1, "1"), (2, "2."), (3, "3"), (6, "6."), (7, "seven!?")];
    assert_eq!(entries, expected.map(|(key, value)| (key, value.to_owned())).into());
    Ok(())
}

/// An empty map and no map are the same, however it came to be.
pub fn map_without_entries_is_no_map(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let state = backend.map_state(&MapStateDescriptor::<i64, i64>::new("map"))?;
    let count = |backend: &KeyedBackend<i64>| backend.entry_count("map");
    backend.set_current_key(1)?;
    assert!(state.is_empty()?);
    state.put_all(vec![])?;
    state.clear()?;
    state.retain(|_, _| true)?;
    assert_eq!((state.is_empty()?, count(&backend)?), (true, 0));
    state.put(1, 1)?;
    assert_eq!((state.is_empty()?, count(&backend)?), (false, 1));
    state.remove(&1)?;
    assert_eq!((state.is_empty()?, count(&backend)?), (true, 0), "the last entry takes the map with it");
    state.put_all(vec![(1, 1), (2, 2)])?;
    state.retain(|_, _| false)?;
    assert_eq!((state.is_empty()?, count(&backend)?), (true, 0));
    state.put_all(vec![(1, 1), (2, 2)])?;
    state.clear()?;
    assert_eq!((state.is_empty()?, state.entries()?, count(&backend)?), (true, vec![], 0));
    assert_eq!(backend.keys("map", &highwater_types::VoidNamespace)?, [] as [i64; 0]);
    Ok(())
}

/// A map of optional values keeps the difference between a null value and none.
pub fn map_values_may_be_null(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let state = backend.map_state(&MapStateDescriptor::<String, Option<i64>>::new("map"))?;
    let text = str::to_owned;
    backend.set_current_key(1)?;
    state.put(text("null"), None)?;
    state.put(text("seven"), Some(7))?;
    assert_eq!(state.get(&text("null"))?, Some(None));
    assert_eq!(state.get(&text("seven"))?, Some(Some(7)));
    assert_eq!(state.get(&text("nothing"))?, None);
    assert!(state.contains(&text("null"))? && !state.contains(&text("nothing"))?);
    state.modify(text("null"), || Some(1), |value| *value = value.map(|value| value + 1))?;
    state.modify(text("seven"), || None, |value| *value = None)?;
    let entries: BTreeMap<_, _> = state.entries()?.into_iter().collect();
    assert_eq!(entries, [(text("null"), None), (text("seven"), None)].into());
    Ok(())
}

/// Iteration visits every entry of a large map exactly once, also when it changes the map or other states on the way;
/// neighbours stay untouched.
pub fn map_larger_than_a_page_is_visited_once(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let map = backend.map_state(&MapStateDescriptor::<i64, i64>::new("map"))?;
    let visited = backend.value_state(&ValueStateDescriptor::<i64>::new("visited"))?;
    let expected = |keys: std::ops::Range<i64>| keys.map(|key| (key, -key)).collect::<BTreeMap<_, _>>();
    for key in [1, 2, 3] {
        backend.set_current_key(key)?;
        map.put_all(expected(-1000..1000).into_iter().collect())?;
    }
    for key in [3, 1] {
        backend.set_current_key(key)?;
        assert_eq!(map.keys()?.len(), 2000, "the maps of neighbours do not flow into one another");
    }
    backend.set_current_key(2)?;
    let (mut seen, mut result) = (Vec::new(), Ok(()));
    map.for_each(|key, value| {
        seen.push((*key, *value));
        result = visited.modify(|| 0, |count| *count += 1);
    })?;
    result?;
    assert_eq!((seen.len(), visited.value()?), (2000, Some(2000)));
    assert_eq!(seen.into_iter().collect::<BTreeMap<_, _>>(), expected(-1000..1000));

    let mut count = 0;
    map.retain(|key, value| {
        count += 1;
        *value += 1;
        *key >= 0
    })?;
    assert_eq!(count, 2000);
    let changed = expected(0..1000).into_iter().map(|(key, value)| (key, value + 1)).collect();
    assert_eq!(map.entries()?.into_iter().collect::<BTreeMap<_, _>>(), changed);
    map.clear()?;
    assert!(map.is_empty()?);
    for key in [1, 3] {
        backend.set_current_key(key)?;
        assert_eq!(map.entries()?.into_iter().collect::<BTreeMap<_, _>>(), expected(-1000..1000));
    }
    assert_eq!(backend.entry_count("map")?, 2);
    Ok(())
}
