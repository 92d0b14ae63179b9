//! Restored state that could never be found again: keys in the wrong key group, and key groups that there are not.

use std::sync::Arc;

use highwater_checkpoint::KeyedStateHandle;
use highwater_types::{
    ByteReader, DefaultSerializer, ErrorKind, JavaHash, Length, Result, SerializerRef, SerializerSnapshot,
    TypeSerializer,
};

use super::Subject;
use super::subject::{Place, assert_fails, take, write};
use crate::{KeyedBackend, ListStateDescriptor, MapStateDescriptor, ValueStateDescriptor, redistribute_keyed_state};

/// A key whose bytes stay the same from one version of the program to the next, while its hash changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Account<const VERSION: i32>(i64);

impl<const VERSION: i32> JavaHash for Account<VERSION> {
    fn java_hash(&self) -> i32 {
        self.0.java_hash().wrapping_mul(VERSION)
    }
}

#[derive(Debug)]
struct AccountSerializer;

impl<const VERSION: i32> TypeSerializer<Account<VERSION>> for AccountSerializer {
    fn length(&self) -> Length {
        i64::default_serializer().length()
    }

    fn serialize(&self, value: &Account<VERSION>, out: &mut Vec<u8>) -> Result<()> {
        i64::default_serializer().serialize(&value.0, out)
    }

    fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<Account<VERSION>> {
        i64::default_serializer().deserialize(input).map(Account)
    }

    fn snapshot(&self) -> SerializerSnapshot {
        i64::default_serializer().snapshot()
    }
}

impl<const VERSION: i32> DefaultSerializer for Account<VERSION> {
    fn default_serializer() -> SerializerRef<Self> {
        Arc::new(AccountSerializer)
    }
}

/// A key type whose Java hash changed between two runs: nearly all of what was restored lay where nobody looked for it,
/// and nothing said so. Now the restore fails, on the heap when the state is registered, and says where the key lies. So it
/// does where a store takes over files, of which nobody decodes an entry.
pub fn keys_whose_hash_changed_are_refused(subject: &Subject) -> Result<()> {
    for (name, max_parallelism) in [("value", 128), ("list", 128), ("map", 128), ("value", 20_000)] {
        let place = Place::all(max_parallelism)?;
        let register = |backend: &KeyedBackend<Account<1>>| {
            Ok((
                (name == "value").then(|| backend.value_state(&ValueStateDescriptor::<i64>::new(name))).transpose()?,
                (name == "list").then(|| backend.list_state(&ListStateDescriptor::<i64>::new(name))).transpose()?,
                (name == "map").then(|| backend.map_state(&MapStateDescriptor::<i64, i64>::new(name))).transpose()?,
            ))
        };
        let backend = subject.backend::<Account<1>>(place, &[])?;
        let (value, list, map) = register(&backend)?;
        for key in 0..1000 {
            backend.set_current_key(Account(key))?;
            value.iter().try_for_each(|value| value.update(key))?;
            list.iter().try_for_each(|list| list.add(key))?;
            map.iter().try_for_each(|map| map.put_all(vec![(key, key), (key + 1, key)]))?;
        }
        for handles in [take(&backend)?, write(backend.checkpoint(1)?)?] {
            let same = subject.backend::<Account<1>>(place, &handles)?;
            register(&same)?;
            assert_eq!(same.entry_count(name)?, 1000);

            let changed = subject.backend::<Account<3>>(place, &handles).and_then(|backend| match name {
                "value" => backend.value_state(&ValueStateDescriptor::<i64>::new(name)).map(drop),
                "list" => backend.list_state(&ListStateDescriptor::<i64>::new(name)).map(drop),
                _ => backend.map_state(&MapStateDescriptor::<i64, i64>::new(name)).map(drop),
            });
            let error = assert_fails(ErrorKind::Incompatible, "a key with another hash", changed);
            let value = |name| error.as_ref().and_then(|error| error.value(name)).unwrap_or_default();
            assert_eq!((value("operator"), value("state")), ("conformance", name), "{error:?}");
            let lies_in = value("key group");
            assert_eq!(value("found"), format!("key group {lies_in}"), "{error:?}");
            let leads_to = value("expected");
            assert!(leads_to.starts_with("key group ") && leads_to != value("found"), "{error:?}");
            assert!(value("key").starts_with("Account("), "{error:?}");
        }
    }
    Ok(())
}

fn some_state(subject: &Subject, max_parallelism: u32, keys: i64) -> Result<Vec<KeyedStateHandle>> {
    let mut handles = Vec::new();
    for subtask in 0..2 {
        let place = Place::of(max_parallelism, subtask, 2)?;
        let backend = subject.backend::<i64>(place, &[])?;
        let value = backend.value_state(&ValueStateDescriptor::<i64>::new("value"))?;
        let own = |key: &i64| place.range.contains(place.max_parallelism.key_group_of(key.java_hash()));
        for key in (0..keys).filter(own) {
            backend.set_current_key(key)?;
            value.update(key)?;
        }
        handles.extend(take(&backend)?);
    }
    Ok(handles)
}

/// Another max parallelism than that of the snapshot used to restore to nothing without a word where no entry lay in the
/// backend's key groups, and to lose what lay beyond them.
pub fn another_max_parallelism_is_refused_on_restore(subject: &Subject) -> Result<()> {
    let refused = |what: &str, place, handles: &[KeyedStateHandle]| {
        let result = subject.backend::<i64>(place, handles);
        let error = assert_fails(ErrorKind::Incompatible, what, result);
        let text = error.as_ref().map(ToString::to_string).unwrap_or_default();
        assert!(text.contains("max parallelism"), "{what}: {text}");
        assert_eq!(error.as_ref().and_then(|error| error.value("operator")), Some("conformance"), "{what}: {text}");
    };
    for keys in [0, 1000] {
        let handles = some_state(subject, 64, keys)?;
        refused("fewer key groups", Place::all(32)?, &handles);
        refused("fewer key groups, one of two subtasks", Place::of(32, 0, 2)?, &handles);
        refused("more key groups, none of them in the snapshot", Place::of(128, 1, 2)?, &handles);
    }
    let handles = some_state(subject, 64, 1000)?;
    let result = subject
        .backend::<i64>(Place::of(128, 0, 2)?, &handles)
        .and_then(|backend| backend.value_state(&ValueStateDescriptor::<i64>::new("value")).map(drop));
    assert_fails(ErrorKind::Incompatible, "more key groups, half of the keys lie elsewhere", result);

    // As it should be: every subtask is given its share, which may be nothing.
    let (low, _) = handles.split_at(1);
    let place = Place::of(64, 1, 2)?;
    let nothing = redistribute_keyed_state(low, place.range);
    let backend = subject.backend::<i64>(place, &nothing)?;
    backend.value_state(&ValueStateDescriptor::<i64>::new("value"))?;
    assert_eq!(backend.entry_count("value")?, 0);
    Ok(())
}
