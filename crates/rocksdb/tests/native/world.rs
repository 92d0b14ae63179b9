//! A job without a runtime, and a plain model of what its states hold.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use highwater_checkpoint::{
    CancelToken, FsStreamFactory, KeyedStateHandle, LocalFileSystem, SnapshotOpener, StoragePath,
};
use highwater_rocksdb::{RocksDbSettings, RocksDbStoreFactory};
use highwater_state::{
    ByteStoreContext, KeyedBackend, ListState, ListStateDescriptor, MapState, MapStateDescriptor, ValueState,
    ValueStateDescriptor, redistribute_keyed_state,
};
use highwater_types::{DefaultSerializer, JavaHash, MaxParallelism, Result};
use tempfile::TempDir;

/// One subtask of an operator with three states.
pub(crate) struct Subtask {
    pub(crate) backend: KeyedBackend<i64>,
    pub(crate) count: ValueState<i64>,
    pub(crate) list: ListState<i64>,
    pub(crate) map: MapState<i64, String>,
}

/// What the states of one key hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) count: Option<i64>,
    pub(crate) list: Vec<i64>,
    pub(crate) map: BTreeMap<i64, String>,
}

/// A job without a runtime: checkpoints in a directory, databases in another.
pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) factory: RocksDbStoreFactory,
    pub(crate) max_parallelism: MaxParallelism,
    pub(crate) subtasks: Vec<Subtask>,
    pub(crate) expected: BTreeMap<i64, Expected>,
    pub(crate) random: u64,
    pub(crate) checkpoints: u64,
}

impl World {
    /// With incremental checkpoints.
    pub(crate) fn new(max_parallelism: u32, seed: u64) -> Self {
        Self::with(max_parallelism, seed, |settings| settings.incremental = true)
    }

    /// With other settings.
    pub(crate) fn with(max_parallelism: u32, seed: u64, change: impl FnOnce(&mut RocksDbSettings)) -> Self {
        let directory = TempDir::new().unwrap();
        for child in ["shared", "chk", "local"] {
            std::fs::create_dir(directory.path().join(child)).unwrap();
        }
        let mut settings = RocksDbSettings::default();
        change(&mut settings);
        settings.local_directories = vec![directory.path().join("local")];
        let factory = RocksDbStoreFactory::new(settings).unwrap();
        let max_parallelism = MaxParallelism::new(max_parallelism).unwrap();
        let (subtasks, expected) = Default::default();
        Self { directory, factory, max_parallelism, subtasks, expected, random: seed, checkpoints: 0 }
    }

    pub(crate) fn random(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }

    pub(crate) fn path(&self, child: &str) -> PathBuf {
        self.directory.path().join(child)
    }

    pub(crate) fn streams(&self) -> FsStreamFactory {
        let at = |child: &str| StoragePath::from_local(self.path(child)).unwrap();
        FsStreamFactory::new(Arc::new(LocalFileSystem), at("chk"))
            .with_shared_directory(at("shared"))
            .with_threshold(0)
            .with_cancel_token(CancelToken::new())
    }

    pub(crate) fn opener(&self) -> SnapshotOpener {
        SnapshotOpener::new(Arc::new(LocalFileSystem), StoragePath::from_local(self.path("chk")).unwrap())
    }

    /// Starts the subtasks, each from its part of the snapshot.
    pub(crate) fn try_start(&self, parallelism: u32, handles: &[KeyedStateHandle], own: bool) -> Result<Vec<Subtask>> {
        let opener = self.opener();
        let open = |index| {
            let range = self.max_parallelism.range_of(index, parallelism)?;
            let context = ByteStoreContext::new(format!("op-{index}"), range, self.max_parallelism).with_job("job");
            let part = redistribute_keyed_state(handles, range);
            let backend = KeyedBackend::<i64>::builder(i64::default_serializer(), self.max_parallelism, range)
                .byte_store(&self.factory, context)
                .restore(&part, &opener)
                .recovery(own)
                .build()?;
            Ok(Subtask {
                count: backend.value_state(&ValueStateDescriptor::new("count"))?,
                list: backend.list_state(&ListStateDescriptor::new("list"))?,
                map: backend.map_state(&MapStateDescriptor::new("map"))?,
                backend,
            })
        };
        (0..parallelism).map(open).collect()
    }

    pub(crate) fn start(&mut self, parallelism: u32, handles: &[KeyedStateHandle], own: bool) {
        self.subtasks = self.try_start(parallelism, handles, own).unwrap();
    }

    pub(crate) fn at(&self, key: i64) -> &Subtask {
        let group = self.max_parallelism.key_group_of(key.java_hash());
        let index = self.max_parallelism.owner_of(group, self.subtasks.len() as u32);
        let subtask = &self.subtasks[index as usize];
        subtask.backend.set_current_key(key).unwrap();
        subtask
    }

    /// Changes some keys, here and in the model.
    pub(crate) fn change(&mut self, times: usize, keys: u64) {
        for _ in 0..times {
            let key = self.random(keys) as i64;
            let value = self.random(1_000) as i64;
            let what = self.random(10);
            let mut expected = self.expected.remove(&key).unwrap_or_default();
            let at = self.at(key);
            match what {
                0..3 => {
                    at.count.update(value).unwrap();
                    expected.count = Some(value);
                }
                3..6 => {
                    at.list.add(value).unwrap();
                    expected.list.push(value);
                }
                6..8 => {
                    at.map.put(value % 8, format!("value {value}")).unwrap();
                    expected.map.insert(value % 8, format!("value {value}"));
                }
                8 => {
                    at.map.remove(&(value % 8)).unwrap();
                    expected.map.remove(&(value % 8));
                    at.count.clear().unwrap();
                    expected.count = None;
                }
                _ => {
                    at.list.clear().unwrap();
                    expected.list.clear();
                }
            }
            self.expected.insert(key, expected);
        }
    }

    pub(crate) fn compare(&self) {
        for (key, expected) in &self.expected {
            let at = self.at(*key);
            let mut map = BTreeMap::new();
            at.map.for_each(|key, value| drop(map.insert(*key, value.clone()))).unwrap();
            let found = Expected { count: at.count.value().unwrap(), list: at.list.get().unwrap(), map };
            assert_eq!(found, *expected, "key {key}");
        }
        let counted = self.expected.values().filter(|expected| expected.count.is_some()).count();
        let found: usize = self.subtasks.iter().map(|s| s.backend.entry_count("count").unwrap()).sum();
        assert_eq!(found, counted, "nothing but what was written");
    }

    /// A checkpoint that becomes complete.
    pub(crate) fn checkpoint(&mut self) -> Vec<KeyedStateHandle> {
        let handles = self.checkpoint_unconfirmed();
        self.subtasks.iter().for_each(|subtask| subtask.backend.checkpoint_completed(self.checkpoints));
        handles
    }

    pub(crate) fn checkpoint_unconfirmed(&mut self) -> Vec<KeyedStateHandle> {
        self.checkpoints += 1;
        let streams = self.streams();
        let write = |subtask: &Subtask| subtask.backend.checkpoint(self.checkpoints).unwrap().write(&streams).unwrap();
        self.subtasks.iter().filter_map(write).collect()
    }
}
