//! Value state, and what all states have in common.

use highwater_types::{ErrorKind, Result};

use super::Subject;
use super::subject::assert_fails;
use crate::{ListStateDescriptor, MapStateDescriptor, ReducingStateDescriptor, ValueStateDescriptor};

/// `value` is none at first and after `clear`, and otherwise what was written last.
pub fn value_is_what_was_written_last(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<String>()?;
    let state = backend.value_state(&ValueStateDescriptor::<i64>::new("value"))?;
    backend.set_current_key("a".to_owned())?;
    assert_eq!(state.value()?, None);
    state.clear()?;
    assert_eq!(state.value()?, None, "clearing what is not there is nothing");
    state.update(7)?;
    state.update(i64::MIN)?;
    assert_eq!(state.value()?, Some(i64::MIN));
    assert_eq!(state.with(|value| value.copied())?, Some(i64::MIN));
    state.clear()?;
    assert_eq!(state.value()?, None);
    assert_eq!(state.with(|value| value.copied())?, None);
    Ok(())
}

/// `modify` starts from the initial value, changes it in place and passes the closure's result on; a copy that was read
/// before stays as it was.
pub fn value_in_place_updates_are_kept(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let state = backend.value_state(&ValueStateDescriptor::<String>::new("value"))?;
    backend.set_current_key(1)?;
    let length = state.modify(
        || "new".to_owned(),
        |value| {
            value.push_str(" value");
            value.len()
        },
    )?;
    assert_eq!(length, 9);
    let copy = state.value()?;
    state.modify(String::new, |value| value.push('!'))?;
    assert_eq!(state.value()?.as_deref(), Some("new value!"));
    assert_eq!(copy.as_deref(), Some("new value"), "what was read is a copy");
    state.clear()?;
    state.modify(|| "again".to_owned(), |_| ())?;
    assert_eq!(state.value()?.as_deref(), Some("again"), "the initial value is written even if nobody changes it");
    Ok(())
}

/// Each key has its own value, whatever order keys come in.
pub fn value_belongs_to_its_key(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<String>()?;
    let state = backend.value_state(&ValueStateDescriptor::<String>::new("value"))?;
    let keys = ["", "a", "aa", "b", "\u{0}", "ä", "€", "😀", "a,b"];
    for key in keys {
        backend.set_current_key(key.to_owned())?;
        state.update(format!("value of {key}"))?;
    }
    for key in keys.iter().rev() {
        backend.set_current_key((*key).to_owned())?;
        assert_eq!(state.value()?, Some(format!("value of {key}")));
    }
    backend.set_current_key("a".to_owned())?;
    state.clear()?;
    for key in keys {
        backend.set_current_key(key.to_owned())?;
        assert_eq!(state.value()?.is_some(), key != "a", "clearing one key leaves {key:?} alone");
    }
    Ok(())
}

/// A value of a megabyte, a list of as much, and a map of such values.
pub fn large_values_are_kept(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let value = backend.value_state(&ValueStateDescriptor::<String>::new("value"))?;
    let list = backend.list_state(&ListStateDescriptor::<String>::new("list"))?;
    let map = backend.map_state(&MapStateDescriptor::<i64, String>::new("map"))?;
    let large = |seed: usize| "0123456789abcdef".repeat(1 << 16).split_off(seed);
    backend.set_current_key(1)?;
    value.update(large(0))?;
    for seed in 0..3 {
        list.add(large(seed))?;
        map.put(seed as i64, large(seed))?;
    }
    backend.set_current_key(2)?;
    assert_eq!((value.value()?, list.get()?, map.entries()?), (None, vec![], vec![]));
    backend.set_current_key(1)?;
    assert_eq!(value.value()?.map(|value| value.len()), Some(1 << 20));
    assert!(value.value()?.is_some_and(|value| value == large(0)));
    assert!(list.get()? == [large(0), large(1), large(2)]);
    let mut entries = map.entries()?;
    entries.sort();
    assert!(entries == [(0, large(0)), (1, large(1)), (2, large(2))]);
    Ok(())
}

/// A closure given to one state reads and writes others, of every kind.
pub fn closures_may_use_other_states(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let value = backend.value_state(&ValueStateDescriptor::<i64>::new("value"))?;
    let list = backend.list_state(&ListStateDescriptor::<i64>::new("list"))?;
    let map = backend.map_state(&MapStateDescriptor::<i64, i64>::new("map"))?;
    let sum = backend.reducing_state(&ReducingStateDescriptor::<i64>::new("sum", |sum, value| *sum += value))?;
    backend.set_current_key(1)?;

    value.modify(|| 1, |value| list.add(*value))??;
    value.with(|value| list.add_all(value.copied().into_iter().chain([2, 3]).collect()))??;
    let mut result = Ok(());
    list.for_each(|element| result = map.put(*element, 10 * element).and_then(|()| sum.add(*element)))?;
    result?;
    assert_eq!((list.get()?, sum.get()?), (vec![1, 1, 2, 3], Some(7)));

    let mut result = Ok(());
    map.retain(|key, value| {
        result = list.add(*value);
        *key > 1
    })?;
    result?;
    let mut result = Ok(());
    map.for_each(|key, value| result = list.add(key + value))?;
    result?;
    let mut elements = list.get()?.split_off(4);
    elements.sort_unstable();
    assert_eq!(elements, [10, 20, 22, 30, 33]);

    let mut result = Ok(());
    list.retain(|element| {
        result = value.update(*element);
        *element > 30
    })?;
    result?;
    map.modify(5, || 0, |entry| sum.add(*entry))??;
    assert_eq!((list.get()?, value.value()?.is_some(), sum.get()?), (vec![33], true, Some(7)));
    Ok(())
}

/// A closure given to a state that uses the same state gets a program error, and nothing is lost.
pub fn closures_must_not_use_the_same_state(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let value = backend.value_state(&ValueStateDescriptor::<i64>::new("value"))?;
    let list = backend.list_state(&ListStateDescriptor::<i64>::new("list"))?;
    let map = backend.map_state(&MapStateDescriptor::<i64, i64>::new("map"))?;
    backend.set_current_key(1)?;
    value.update(1)?;
    list.update(vec![1, 2])?;
    map.put(1, 1)?;

    let nested = value.modify(|| 0, |_| value.update(5))?;
    assert_fails(ErrorKind::Program, "update in modify", nested);
    let nested = value.with(|_| value.clear())?;
    assert_fails(ErrorKind::Program, "clear in with", nested);
    let mut nested = Ok(());
    list.for_each(|_| nested = list.add(5))?;
    assert_fails(ErrorKind::Program, "add in for_each of a list", nested);
    let mut nested = Ok(());
    map.for_each(|key, _| nested = map.remove(key))?;
    assert_fails(ErrorKind::Program, "remove in for_each of a map", nested);
    let mut nested = Ok(());
    map.retain(|key, _| {
        nested = map.put(key + 1, 5);
        true
    })?;
    assert_fails(ErrorKind::Program, "put in retain", nested);

    assert_eq!((value.value()?, list.get()?, map.entries()?), (Some(1), vec![1, 2], vec![(1, 1)]));
    Ok(())
}

/// While a closure runs, the current key cannot change; afterwards it can.
pub fn the_key_stays_while_a_closure_runs(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let value = backend.value_state(&ValueStateDescriptor::<i64>::new("value"))?;
    backend.set_current_key(1)?;
    let changed = value.modify(
        || 0,
        |value| {
            *value += 1;
            backend.set_current_key(2)
        },
    )?;
    assert_fails(ErrorKind::Program, "changing the key in a closure", changed);
    assert_eq!(value.value()?, Some(1));
    backend.set_current_key(2)?;
    assert_eq!(value.value()?, None);
    Ok(())
}
