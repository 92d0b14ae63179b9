//! Native snapshots that Flink wrote are restored at other parallelisms: the values that the states then hold are those
//! of Flink's job.

use std::collections::BTreeMap;
use std::path::Path;

use highwater_checkpoint::{KeyedStateHandle, SnapshotOpener};
use highwater_rocksdb::{RocksDbSettings, RocksDbStoreFactory};
use highwater_state::{ByteStoreContext, KeyedBackend, ListStateDescriptor, ValueStateDescriptor};
use highwater_types::{DefaultSerializer, JavaString, Key, MaxParallelism, VoidNamespace};
use serde_json::{Value, json};

use crate::support::{committed, databases, full, say, snapshots};

/// What the keys of one state hold; keys and values as the description has them.
type Held = BTreeMap<String, Value>;

/// The backend of one subtask.
fn restore<K: Key + DefaultSerializer>(
    stores: &RocksDbStoreFactory,
    handles: &[KeyedStateHandle],
    (subtask, parallelism): (u32, u32),
    max: MaxParallelism,
) -> KeyedBackend<K> {
    let range = max.range_of(subtask, parallelism).unwrap();
    let is_needed = |handle: &&KeyedStateHandle| handle.range().intersection(range).is_some();
    let needed: Vec<_> = handles.iter().filter(is_needed).cloned().collect();
    KeyedBackend::builder(K::default_serializer(), max, range)
        .byte_store(stores, ByteStoreContext::new(format!("restored-{subtask}"), range, max))
        .restore(&needed, &SnapshotOpener::in_memory())
        .build()
        .unwrap_or_else(|error| panic!("{error:#?}"))
}

/// What every key of `count`, a value state, holds in all subtasks.
fn counts(backend: &KeyedBackend<JavaString>, held: &mut Held) {
    let count = backend.value_state(&ValueStateDescriptor::<i64>::new("count")).unwrap();
    for key in backend.keys("count", &VoidNamespace).unwrap() {
        backend.set_current_key(key.clone()).unwrap();
        let value = json!(count.value().unwrap());
        assert!(held.insert(text(&key).to_string(), value).is_none(), "a key lies in two subtasks");
    }
}

/// What every key of `items`, a list state, holds.
fn items(backend: &KeyedBackend<i64>, held: &mut Held) {
    let items = backend.list_state(&ListStateDescriptor::<JavaString>::new("items")).unwrap();
    for key in backend.keys("items", &VoidNamespace).unwrap() {
        backend.set_current_key(key).unwrap();
        let values = items.get().unwrap().iter().map(text).collect();
        assert!(held.insert(key.to_string(), values).is_none(), "a key lies in two subtasks");
    }
}

/// A string as the description has it.
fn text(string: &JavaString) -> Value {
    String::try_from(string).map_or_else(|_| json!({ "utf16": string.as_utf16() }), Value::from)
}

/// What a state holds after a restore at `parallelism`.
fn held<K: Key + DefaultSerializer>(
    stores: &RocksDbStoreFactory,
    handles: &[KeyedStateHandle],
    parallelism: u32,
    max: MaxParallelism,
    read: fn(&KeyedBackend<K>, &mut Held),
) -> Held {
    let mut held = Held::new();
    for subtask in 0..parallelism {
        read(&restore(stores, handles, (subtask, parallelism), max), &mut held);
    }
    held
}

/// What an operator's state holds after a restore; none if this test does not read it.
fn held_by(
    stores: &RocksDbStoreFactory,
    operator: &Value,
    handles: &[KeyedStateHandle],
    parallelism: u32,
    max: MaxParallelism,
) -> Option<Held> {
    let nothing = |_: &mut Held| None;
    match (operator["uid"].as_str()?, operator["keyType"].as_str()?) {
        ("value-long", _) => Some(held(stores, handles, parallelism, max, counts)),
        ("list-string", _) => Some(held(stores, handles, parallelism, max, items)),
        // That they can be restored is worth something: every file is read then.
        (_, "String") => nothing(&mut held::<String>(stores, handles, parallelism, max, |_, _| ())),
        (_, "Long") => nothing(&mut held::<i64>(stores, handles, parallelism, max, |_, _| ())),
        (_, "Integer") => nothing(&mut held::<i32>(stores, handles, parallelism, max, |_, _| ())),
        (_, "Boolean") => nothing(&mut held::<bool>(stores, handles, parallelism, max, |_, _| ())),
        _ => None,
    }
}

/// Restores every native snapshot below a directory, and says for how many operators the values were compared. All
/// databases share one block cache, in which no file may be taken for another.
fn check_all(directory: &Path) -> usize {
    let local = tempfile::tempdir().unwrap();
    let mut settings = RocksDbSettings::default();
    settings.local_directories = vec![local.path().to_owned()];
    let stores = RocksDbStoreFactory::new(settings).unwrap();
    let mut compared = 0;
    for snapshot in snapshots(directory) {
        for operator in snapshot.expected["operators"].as_array().unwrap() {
            let id = operator["operatorId"].as_str().unwrap().parse().unwrap();
            let written = snapshot.metadata.operator(id).unwrap();
            let handles: Vec<_> = databases(written).map(|handle| snapshot.inline(handle)).collect();
            if handles.is_empty() {
                continue;
            }
            for parallelism in 1..=3 {
                let found = held_by(&stores, operator, &handles, parallelism, written.max_parallelism);
                let Some(found) = found else { continue };
                let expected = operator["keyedStates"][0]["entries"].as_array().unwrap().iter().map(entry).collect();
                assert_eq!(found, expected, "{} at parallelism {parallelism}", operator["uid"]);
                compared += 1;
            }
        }
    }
    compared
}

fn entry(entry: &Value) -> (String, Value) {
    (entry["key"].to_string(), entry["value"].clone())
}

#[test]
fn a_committed_snapshot_is_restored_at_any_parallelism() {
    assert_eq!(check_all(&committed()), 3);
}

#[test]
fn all_native_snapshots_are_restored_at_any_parallelism() {
    let Some(directory) = full() else {
        say("SKIPPED: the whole set of Flink's files is not here; set HIGHWATER_FIXTURES to its directory");
        return;
    };
    let compared = check_all(&directory);
    assert!(compared > 36, "only {compared} restores were compared");
}
