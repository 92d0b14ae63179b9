//! Names, and descriptors that do not fit restored state.

use highwater_checkpoint::KeyedStateHandle;
use highwater_types::{DefaultSerializer, ErrorKind, Result, TimeWindow};

use super::Subject;
use super::subject::{Place, assert_fails, take};
use crate::{KeyedBackend, ListStateDescriptor, MapStateDescriptor, ValueStateDescriptor};

/// A second registration of a name is an error, whatever the kind; the first one goes on.
pub fn a_name_is_used_once(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let value = backend.value_state(&ValueStateDescriptor::<i64>::new("state"))?;
    let same = backend.value_state(&ValueStateDescriptor::<i64>::new("state"));
    let error = assert_fails(ErrorKind::Program, "the same name and kind", same);
    assert_eq!(error.as_ref().and_then(|error| error.value("state")), Some("state"));
    let other = backend.list_state(&ListStateDescriptor::<i64>::new("state"));
    assert_fails(ErrorKind::Program, "the same name, another kind", other);
    backend.value_state(&ValueStateDescriptor::<i64>::new(""))?;
    backend.set_current_key(1)?;
    value.update(1)?;
    assert_eq!(value.value()?, Some(1));
    Ok(())
}

/// A snapshot with a value and a map, in the void namespace.
fn handles(subject: &Subject) -> Result<Vec<KeyedStateHandle>> {
    let backend = subject.empty::<i64>()?;
    let value = backend.value_state(&ValueStateDescriptor::<i64>::new("value"))?;
    let map = backend.map_state(&MapStateDescriptor::<i64, i64>::new("map"))?;
    for key in 0..10 {
        backend.set_current_key(key)?;
        value.update(key)?;
        map.put(key, key)?;
    }
    take(&backend)
}

fn restored(subject: &Subject) -> Result<KeyedBackend<i64>> {
    subject.backend(Place::all(128)?, &handles(subject)?)
}

/// The error must say what was expected and found, and which state it is; afterwards the state can be registered as it
/// is.
fn assert_incompatible<T>(backend: &KeyedBackend<i64>, state: &str, result: Result<T>) -> Result<()> {
    let error = assert_fails(ErrorKind::Incompatible, "another description of restored state", result);
    let values = error.iter().flat_map(|error| error.values()).collect::<Vec<_>>();
    assert!(values.contains(&("state", state)), "the error names the state: {error:?}");
    assert!(values.iter().any(|(name, _)| *name == "expected"), "the error says what it expected: {error:?}");
    assert!(values.iter().any(|(name, _)| *name == "found"), "the error says what it found: {error:?}");
    let value = backend.value_state(&ValueStateDescriptor::<i64>::new("value"))?;
    let map = backend.map_state(&MapStateDescriptor::<i64, i64>::new("map"))?;
    backend.set_current_key(3)?;
    assert_eq!((value.value()?, map.entries()?), (Some(3), vec![(3, 3)]));
    Ok(())
}

/// A value does not become a list.
pub fn another_kind_is_refused_on_restore(subject: &Subject) -> Result<()> {
    let backend = restored(subject)?;
    let list = backend.list_state(&ListStateDescriptor::<i64>::new("value"));
    let text = list.as_ref().err().map(ToString::to_string).unwrap_or_default();
    assert!(text.contains("Was [VALUE], registered with [LIST]"), "{text}");
    assert_incompatible(&backend, "value", list)
}

/// A value or its namespace does not change its type.
pub fn another_value_type_is_refused_on_restore(subject: &Subject) -> Result<()> {
    let backend = restored(subject)?;
    assert_incompatible(&backend, "value", backend.value_state(&ValueStateDescriptor::<String>::new("value")))?;
    let backend = restored(subject)?;
    assert_incompatible(&backend, "map", backend.map_state(&MapStateDescriptor::<i64, String>::new("map")))?;
    let backend = restored(subject)?;
    let windows = TimeWindow::default_serializer();
    let scoped = backend.value_state_in(windows, &ValueStateDescriptor::<i64>::new("value"));
    assert_incompatible(&backend, "value", scoped)
}

/// The key of a map does not change its type.
pub fn another_map_key_type_is_refused_on_restore(subject: &Subject) -> Result<()> {
    let backend = restored(subject)?;
    assert_incompatible(&backend, "map", backend.map_state(&MapStateDescriptor::<String, i64>::new("map")))
}

/// The key of the backend does not change its type: the restore itself fails.
pub fn another_key_type_is_refused_on_restore(subject: &Subject) -> Result<()> {
    let handles = handles(subject)?;
    let result = subject.backend::<String>(Place::all(128)?, &handles);
    assert_fails(ErrorKind::Incompatible, "another key type", result);
    Ok(())
}
