//! The operator "words" of `tools/flink/RestoreJob.java`, kept by Highwater: its state, a plain model of it, and its
//! checkpoints.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use highwater_checkpoint::{
    CheckpointMetadata, FsStreamFactory, KeyedStateHandle, LocalFileSystem, MetadataVersion, OperatorState,
    SnapshotOpener, StoragePath, Subtask, SubtaskState,
};
use highwater_rocksdb::{RocksDbSettings, RocksDbStoreFactory};
use highwater_state::{
    ByteStoreContext, KeyedBackend, ListState, ListStateDescriptor, MapState, MapStateDescriptor, ReducingState,
    ReducingStateDescriptor, ValueState, ValueStateDescriptor,
};
use highwater_types::{DefaultSerializer, JavaHash, MaxParallelism, OperatorId};
use serde_json::{Value, json};

const UID: &str = "words";

fn max_parallelism() -> MaxParallelism {
    MaxParallelism::new(128).unwrap()
}

/// What one key must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Word {
    count: Option<i64>,
    places: Vec<String>,
    lengths: BTreeMap<String, i64>,
    sum: Option<i64>,
}

/// What all keys must hold; those without state are not in it.
pub(crate) type Model = BTreeMap<String, Word>;

/// A line of `RestoreJob` for every key.
pub(crate) fn lines(model: &Model, keys: usize) -> Vec<String> {
    let mut lines: Vec<_> = (0..keys)
        .map(|number| {
            let key = format!("key {number}");
            let word = model.get(&key).cloned().unwrap_or_default();
            let text = |number: Option<i64>| number.map_or(String::new(), |number| number.to_string());
            let lengths: Vec<_> = word.lengths.iter().map(|(name, length)| format!("{name}={length}")).collect();
            [key, text(word.count), word.places.join(","), lengths.join(","), text(word.sum)].join("\t")
        })
        .collect();
    lines.sort();
    lines
}

/// What `RestoreJob` does to each of its keys.
pub(crate) fn change_as_flink(model: &mut Model, keys: usize) {
    for number in 0..keys {
        let word = model.entry(format!("key {number}")).or_default();
        word.count = Some(word.count.unwrap_or(0) + 1);
        word.places.push("flink".to_owned());
        word.lengths.insert("flink".to_owned(), 5);
        word.sum = Some(word.sum.unwrap_or(0) + 1);
    }
}

/// The states as the descriptions that come with Flink's fixtures have them, for [`crate::model::exact`].
pub(crate) fn described(model: &Model) -> (Value, Vec<Value>) {
    let state = |name: &str, kind: &str, value_type: &str, value: &dyn Fn(&Word) -> Option<Value>| {
        let entries = model.iter().filter_map(|(key, word)| {
            let group = max_parallelism().key_group_of(key.java_hash());
            Some(json!({ "key": key, "keyGroup": group, "value": value(word)? }))
        });
        json!({
            "name": name, "kind": kind, "type": value_type, "mapKeyType": "String", "namespaceType": "VoidNamespace",
            "entries": entries.collect::<Vec<_>>(),
        })
    };
    let places = |word: &Word| (!word.places.is_empty()).then(|| json!(word.places));
    let lengths = |word: &Word| Some(json!(word.lengths.iter().collect::<Vec<_>>()));
    let states = vec![
        state("count", "value", "Long", &|word| word.count.map(Value::from)),
        state("places", "list", "String", &places),
        state("lengths", "map", "Long", &lengths),
        state("sum", "reducing", "Long", &|word| word.sum.map(Value::from)),
    ];
    (json!({ "keyType": "String", "maxParallelism": max_parallelism().get() }), states)
}

/// One subtask.
struct Words {
    backend: KeyedBackend<String>,
    count: ValueState<i64>,
    places: ListState<String>,
    lengths: MapState<String, i64>,
    sum: ReducingState<i64>,
}

impl Words {
    fn new(backend: KeyedBackend<String>) -> Self {
        Self {
            count: backend.value_state(&ValueStateDescriptor::new("count")).unwrap(),
            places: backend.list_state(&ListStateDescriptor::new("places")).unwrap(),
            lengths: backend.map_state(&MapStateDescriptor::new("lengths")).unwrap(),
            sum: backend.reducing_state(&ReducingStateDescriptor::new("sum", |sum, value| *sum += value)).unwrap(),
            backend,
        }
    }

    fn found(&self, key: &str) -> Word {
        self.backend.set_current_key(key.to_owned()).unwrap();
        Word {
            count: self.count.value().unwrap(),
            places: self.places.get().unwrap(),
            lengths: self.lengths.entries().unwrap().into_iter().collect(),
            sum: self.sum.get().unwrap(),
        }
    }
}

/// All subtasks of the operator.
pub(crate) struct Job {
    subtasks: Vec<Words>,
    /// What must be in them.
    pub(crate) model: Model,
    directory: PathBuf,
    // Outlives the backends, as their stores do not.
    _stores: RocksDbStoreFactory,
}

impl Job {
    /// Starts without state, or from a snapshot that holds `model`. Databases and checkpoints lie below `directory`.
    pub(crate) fn start(directory: &Path, parallelism: u32, from: Option<(&Path, Model)>) -> Self {
        let mut settings = RocksDbSettings::default();
        settings.incremental = true;
        settings.local_directories = vec![directory.join("local")];
        let stores = RocksDbStoreFactory::new(settings).unwrap();
        let (snapshot, model) = from.unzip();
        let (handles, opener) = snapshot.map_or_else(|| (Vec::new(), SnapshotOpener::in_memory()), open);
        let subtasks = (0..parallelism).map(|subtask| {
            let range = max_parallelism().range_of(subtask, parallelism).unwrap();
            let context = ByteStoreContext::new(format!("{UID}-{subtask}"), range, max_parallelism());
            let backend = KeyedBackend::builder(String::default_serializer(), max_parallelism(), range)
                .byte_store(&stores, context)
                .restore(&handles, &opener);
            Words::new(backend.build().unwrap_or_else(|error| panic!("{error:#?}")))
        });
        let subtasks = subtasks.collect();
        Self { subtasks, model: model.unwrap_or_default(), directory: directory.to_owned(), _stores: stores }
    }

    /// Changes all states of the keys with these numbers: each is written, appended to and, at times, cleared.
    pub(crate) fn change(&mut self, keys: impl Iterator<Item = usize>, round: i64) {
        for number in keys {
            let key = format!("key {number}");
            let words = self.subtask(&key);
            words.backend.set_current_key(key.clone()).unwrap();
            let mut word = self.model.get(&key).cloned().unwrap_or_default();
            let value = number as i64 * 1000 + round;
            words.count.update(value).unwrap();
            word.count = Some(value);
            words.sum.add(value).unwrap();
            word.sum = Some(word.sum.unwrap_or(0) + value);
            if number % 7 == round as usize % 7 {
                words.places.clear().unwrap();
                word.places.clear();
            } else {
                words.places.add(format!("place {round}")).unwrap();
                word.places.push(format!("place {round}"));
            }
            for name in [format!("l{round}"), format!("ü{}", number % 3)] {
                words.lengths.put(name.clone(), value).unwrap();
                word.lengths.insert(name, value);
            }
            if number % 5 == 0 {
                words.lengths.remove(&format!("l{}", round - 1)).unwrap();
                word.lengths.remove(&format!("l{}", round - 1));
            }
            self.model.insert(key, word);
        }
    }

    fn subtask(&self, key: &String) -> &Words {
        let group = max_parallelism().key_group_of(key.java_hash());
        self.subtasks.iter().find(|words| words.backend.key_groups().contains(group)).unwrap()
    }

    /// What the states hold is what the model holds, for these keys and in all.
    pub(crate) fn check(&self) {
        for (key, word) in &self.model {
            assert_eq!(self.subtask(key).found(key), *word, "{key}");
        }
        let entries =
            |state| self.subtasks.iter().map(|words| words.backend.entry_count(state).unwrap()).sum::<usize>();
        assert_eq!(entries("count"), self.model.values().filter(|word| word.count.is_some()).count());
        assert_eq!(entries("places"), self.model.values().filter(|word| !word.places.is_empty()).count());
    }

    /// Takes a checkpoint of the databases' files, completes it, and returns its directory.
    pub(crate) fn checkpoint(&self, id: u64) -> PathBuf {
        let chk = self.directory.join(format!("chk-{id}"));
        let shared = self.directory.join("shared");
        fs::create_dir_all(&chk).unwrap();
        fs::create_dir_all(&shared).unwrap();
        let path = |directory: &Path| StoragePath::from_local(directory).unwrap();
        let streams = FsStreamFactory::new(Arc::new(LocalFileSystem), path(&chk)).with_shared_directory(path(&shared));
        let mut operator = OperatorState::new(OperatorId::from_uid(UID), self.subtasks.len() as u32, max_parallelism());
        for (index, words) in (0..).zip(&self.subtasks) {
            let handle = words.backend.checkpoint(id).unwrap().write(&streams).unwrap();
            assert!(matches!(handle, Some(KeyedStateHandle::Incremental(_))), "{handle:?}");
            let state = SubtaskState { managed_keyed: handle, ..SubtaskState::default() };
            operator.subtasks.insert(index, Subtask::from(state));
        }
        let mut metadata = CheckpointMetadata::new(id);
        metadata.operators.push(operator);
        fs::write(chk.join("_metadata"), metadata.write(MetadataVersion::default()).unwrap()).unwrap();
        self.subtasks.iter().for_each(|words| words.backend.checkpoint_completed(id));
        chk
    }
}

/// The handles of the operator in a snapshot.
fn open(directory: &Path) -> (Vec<KeyedStateHandle>, SnapshotOpener) {
    let metadata = CheckpointMetadata::read(&fs::read(directory.join("_metadata")).unwrap()).unwrap();
    let operator = metadata.operator(OperatorId::from_uid(UID)).unwrap();
    let handles = operator.subtask_states().filter_map(|(_, state)| state.managed_keyed.clone()).collect();
    let path = StoragePath::from_local(directory).unwrap();
    (handles, SnapshotOpener::new(Arc::new(LocalFileSystem), path))
}
