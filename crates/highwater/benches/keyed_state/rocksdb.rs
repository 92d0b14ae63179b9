//! The rows of RocksDB, beside bare calls of RocksDB through the same binding, with the same keys, options and files.

use std::path::Path;
use std::sync::Arc;

use highwater::checkpoint::{
    FsStreamFactory, IncrementalHandle, KeyedStateHandle, LocalFileSystem, SnapshotOpener, StateOpener, StoragePath,
    StreamHandle,
};
use highwater::rocksdb::rust_rocksdb::{ColumnFamily, ColumnFamilyDescriptor, DB, Options, ReadOptions, WriteOptions};
use highwater::rocksdb::{RocksDbSettings, RocksDbStoreFactory};
use highwater::state::ByteStoreContext;
use highwater::types::{JavaHash, MaxParallelism};
use highwater::{
    DefaultSerializer, KeyedBackend, ListState, ListStateDescriptor, MapState, MapStateDescriptor, ValueState,
    ValueStateDescriptor,
};
use highwater_rocksdb::Layers;
use tempfile::TempDir;

use crate::workload::{KEYS, Report, Side, Tables, nothing};

const OPS: usize = 300_000;
const FEW_OPS: usize = 60_000;
const STATE: &str = "state";
const DELIMITER: u8 = b',';

/// All rows; `managed`: with the default memory budget instead of none.
pub fn rows(report: &mut Report, managed: bool) {
    let mut settings = RocksDbSettings::default();
    settings.incremental = true;
    if !managed {
        settings.memory.managed = None;
    }
    let tables = &Tables::new(KEYS);
    let value = ["valueGet", "valueUpdate", "valueReadModifyWrite", "value modify in place", "valueAdd"];
    if report.wants_any(&value) {
        value_rows(report, tables, &settings);
    }
    if report.wants_any(&["listGet", "listAppend", "listAdd", "listUpdate100"]) {
        list_rows(report, tables, &settings);
    }
    if report.wants_any(&["mapGet", "mapContains", "mapIterate10", "mapUpdate", "mapAdd"]) {
        map_rows(report, tables, &settings);
    }
}

fn max_parallelism() -> MaxParallelism {
    MaxParallelism::new(128).unwrap()
}

/// The files of a filled and fully compacted database, of which every side opens hard links: both sides begin their
/// rounds with the same files.
struct Files {
    directory: TempDir,
    handle: Vec<KeyedStateHandle>,
    factory: RocksDbStoreFactory,
    layers: Layers,
}

impl Files {
    fn new(settings: &RocksDbSettings, fill: impl FnOnce(&KeyedBackend<i64>)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let factory = RocksDbStoreFactory::new(settings.clone()).unwrap();
        let layers = Layers::new(settings.clone()).unwrap();
        let mut files = Self { directory, handle: Vec::new(), factory, layers };
        let filled = files.backend();
        fill(&filled);
        let at = |name: &str| StoragePath::from_local(files.directory.path().join(name)).unwrap();
        ["checkpoint", "shared"]
            .iter()
            .for_each(|name| std::fs::create_dir(files.directory.path().join(name)).unwrap());
        let streams = FsStreamFactory::new(Arc::new(LocalFileSystem), at("checkpoint"))
            .with_shared_directory(at("shared"))
            .with_threshold(0);
        let handle = filled.checkpoint(1).unwrap().write(&streams).unwrap();
        let Some(KeyedStateHandle::Incremental(handle)) = handle else { unreachable!("checkpoints are incremental") };
        files.handle = vec![files.compact(*handle)];
        files
    }

    /// Compacts what a snapshot refers to; returns a handle of the files that come out.
    fn compact(&self, handle: IncrementalHandle) -> KeyedStateHandle {
        let directory = self.directory.path().join("compacted");
        std::fs::create_dir(&directory).unwrap();
        for (name, file) in handle.shared.iter().chain(&handle.private) {
            self.opener().fetch_file(file, &directory.join(name)).unwrap();
        }
        let db = self.open(&directory);
        db.compact_range_cf(db.cf_handle(STATE).unwrap(), None::<&[u8]>, None::<&[u8]>);
        drop(db);
        let (shared, private) = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len()))
            .filter(|(name, _)| ["MANIFEST", "CURRENT", "OPTIONS", ".sst"].iter().any(|part| name.contains(part)))
            .map(|(name, size)| {
                let path = StoragePath::from_local(directory.join(&name)).unwrap().to_string();
                (name, StreamHandle::File { path, size })
            })
            .partition(|(name, _)| name.ends_with(".sst"));
        KeyedStateHandle::Incremental(Box::new(IncrementalHandle { shared, private, ..handle }))
    }

    fn opener(&self) -> SnapshotOpener {
        let directory = StoragePath::from_local(self.directory.path().join("checkpoint")).unwrap();
        SnapshotOpener::new(Arc::new(LocalFileSystem), directory)
    }

    /// A keyed backend over these files.
    fn backend(&self) -> KeyedBackend<i64> {
        let context = ByteStoreContext::new("bench", max_parallelism().all(), max_parallelism());
        KeyedBackend::builder(i64::default_serializer(), max_parallelism(), max_parallelism().all())
            .byte_store(&self.factory, context.with_directory(self.directory.path().join("local")))
            .restore(&self.handle, &self.opener())
            .build()
            .unwrap()
    }

    fn open(&self, directory: &Path) -> DB {
        let columns = [("default", Options::default()), (STATE, self.layers.column(STATE).unwrap())];
        let columns = columns.map(|(name, options)| ColumnFamilyDescriptor::new(name, options));
        DB::open_cf_descriptors(&self.layers.database().unwrap(), directory, columns).unwrap()
    }

    /// A bare database over these files.
    fn bare(&self) -> Bare {
        let directory = tempfile::tempdir_in(self.directory.path()).unwrap();
        for entry in std::fs::read_dir(self.directory.path().join("compacted")).unwrap() {
            let entry = entry.unwrap();
            let to = directory.path().join(entry.file_name());
            match entry.path().extension().is_some_and(|extension| extension == "sst") {
                true => std::fs::hard_link(entry.path(), to).unwrap(),
                false => std::fs::copy(entry.path(), to).map(drop).unwrap(),
            }
        }
        Bare::new(self.open(directory.path()), directory)
    }
}

/// A database, used as plainly as it can be.
struct Bare {
    db: &'static DB,
    column: &'static ColumnFamily,
    reads: ReadOptions,
    writes: WriteOptions,
    max_parallelism: MaxParallelism,
    key: Vec<u8>,
    value: Vec<u8>,
    _directory: TempDir,
}

impl Bare {
    fn new(db: DB, directory: TempDir) -> Self {
        let db: &'static DB = Box::leak(Box::new(db));
        let mut writes = WriteOptions::default();
        writes.disable_wal(true);
        Self {
            db,
            column: db.cf_handle(STATE).unwrap(),
            reads: ReadOptions::default(),
            writes,
            max_parallelism: max_parallelism(),
            key: Vec::new(),
            value: Vec::new(),
            _directory: directory,
        }
    }

    /// Composes key group, key and namespace, and what a map key adds.
    #[inline]
    fn at(&mut self, key: i64, map_key: Option<i64>) {
        self.key.clear();
        self.key.push(self.max_parallelism.key_group_of(key.java_hash()) as u8);
        self.key.extend_from_slice(&key.to_be_bytes());
        self.key.push(0);
        if let Some(map_key) = map_key {
            self.key.extend_from_slice(&map_key.to_be_bytes());
        }
    }

    #[inline]
    fn get<R>(&self, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        self.db.get_pinned_cf_opt(self.column, &self.key, &self.reads).unwrap().map(|value| read(&value))
    }

    #[inline]
    fn put(&self, value: &[u8]) {
        self.db.put_cf_opt(self.column, &self.key, value, &self.writes).unwrap();
    }

    #[inline]
    fn merge(&self, element: i64) {
        self.db.merge_cf_opt(self.column, &self.key, element.to_be_bytes(), &self.writes).unwrap();
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // SAFETY: made by `Box::leak`; nothing uses the reference or the column any more.
        drop(unsafe { Box::from_raw(std::ptr::from_ref(self.db).cast_mut()) });
    }
}

fn long(bytes: &[u8]) -> i64 {
    i64::from_be_bytes(bytes.try_into().unwrap())
}

/// A backend with its only state.
struct Ours<S> {
    backend: KeyedBackend<i64>,
    state: S,
}

impl<S> Ours<S> {
    fn new(files: &Files, register: impl FnOnce(&KeyedBackend<i64>) -> S) -> Self {
        let backend = files.backend();
        Self { state: register(&backend), backend }
    }

    #[inline]
    fn at(&self, key: i64) -> &S {
        self.backend.set_current_key(key).unwrap();
        &self.state
    }
}

fn value_state(backend: &KeyedBackend<i64>) -> ValueState<i64> {
    backend.value_state(&ValueStateDescriptor::new(STATE)).unwrap()
}

fn value_rows(report: &mut Report, tables: &Tables, settings: &RocksDbSettings) {
    let files = &Files::new(settings, |backend| {
        let state = value_state(backend);
        for i in 0..KEYS {
            backend.set_current_key(i as i64).unwrap();
            state.update(tables.value(i)).unwrap();
        }
    });
    let ours = || Ours::new(files, value_state);
    let bare = || files.bare();

    let mut sum = (0_i64, 0_i64);
    report.row(
        "valueGet",
        OPS,
        Some(239.0),
        Side::new(
            ours(),
            |ours, i| sum.0 = sum.0.wrapping_add(ours.at(tables.key(i)).value().unwrap().unwrap()),
            nothing,
        ),
        Side::new(
            bare(),
            |bare, i| {
                bare.at(tables.key(i), None);
                sum.1 = sum.1.wrapping_add(bare.get(long).unwrap());
            },
            nothing,
        ),
    );
    assert_eq!(sum.0, sum.1, "both sides read the same");

    report.row(
        "valueUpdate",
        OPS,
        Some(605.0),
        Side::new(ours(), |side, i| side.at(tables.key(i)).update(tables.value(i)).unwrap(), |side| *side = ours()),
        Side::new(
            bare(),
            |side, i| {
                side.at(tables.key(i), None);
                side.put(&tables.value(i).to_be_bytes());
            },
            |side| *side = bare(),
        ),
    );
    let count = |side: &mut Bare, i: usize| {
        side.at(tables.key(i), None);
        let value = side.get(long).unwrap();
        side.put(&value.wrapping_add(1).to_be_bytes());
    };
    report.row(
        "valueReadModifyWrite",
        OPS,
        Some(168.0),
        Side::new(
            ours(),
            |side, i| {
                let state = side.at(tables.key(i));
                state.update(state.value().unwrap().unwrap().wrapping_add(1)).unwrap();
            },
            |side| *side = ours(),
        ),
        Side::new(bare(), count, |side| *side = bare()),
    );
    report.row(
        "value modify in place",
        OPS,
        Some(168.0),
        Side::new(
            ours(),
            |side, i| side.at(tables.key(i)).modify(|| 0, |value| *value = value.wrapping_add(1)).unwrap(),
            |side| *side = ours(),
        ),
        Side::new(bare(), count, |side| *side = bare()),
    );
    report.row(
        "valueAdd",
        OPS,
        Some(593.0),
        Side::new(
            ours(),
            |side, i| side.at(tables.new_keys[i]).update(tables.value(i)).unwrap(),
            |side| *side = ours(),
        ),
        Side::new(
            bare(),
            |side, i| {
                side.at(tables.new_keys[i], None);
                side.put(&tables.value(i).to_be_bytes());
            },
            |side| *side = bare(),
        ),
    );
}

fn list_state(backend: &KeyedBackend<i64>) -> ListState<i64> {
    backend.list_state(&ListStateDescriptor::new(STATE)).unwrap()
}

fn list_rows(report: &mut Report, tables: &Tables, settings: &RocksDbSettings) {
    let files = &Files::new(settings, |backend| {
        let state = list_state(backend);
        for i in 0..KEYS {
            backend.set_current_key(i as i64).unwrap();
            state.update(vec![tables.value(i)]).unwrap();
        }
    });
    let ours = || Ours::new(files, list_state);
    let bare = || files.bare();

    let mut sum = (0_i64, 0_i64);
    report.row(
        "listGet",
        OPS,
        Some(225.0),
        Side::new(
            ours(),
            |ours, i| {
                ours.at(tables.key(i)).for_each(|element| sum.0 = sum.0.wrapping_add(*element)).unwrap();
            },
            nothing,
        ),
        Side::new(
            bare(),
            |bare, i| {
                bare.at(tables.key(i), None);
                bare.get(|list| list.chunks(9).for_each(|element| sum.1 = sum.1.wrapping_add(long(&element[..8]))));
            },
            nothing,
        ),
    );
    assert_eq!(sum.0, sum.1, "both sides read the same");

    report.row(
        "listAppend",
        OPS,
        Some(570.0),
        Side::new(ours(), |side, i| side.at(tables.key(i)).add(tables.value(i)).unwrap(), |side| *side = ours()),
        Side::new(
            bare(),
            |side, i| {
                side.at(tables.key(i), None);
                side.merge(tables.value(i));
            },
            |side| *side = bare(),
        ),
    );
    report.row(
        "listAdd",
        OPS,
        Some(574.0),
        Side::new(ours(), |side, i| side.at(tables.new_keys[i]).add(tables.value(i)).unwrap(), |side| *side = ours()),
        Side::new(
            bare(),
            |side, i| {
                side.at(tables.new_keys[i], None);
                side.merge(tables.value(i));
            },
            |side| *side = bare(),
        ),
    );
    let hundred = |i: usize| (0..100).map(move |j| tables.value(i).wrapping_add(j));
    report.row(
        "listUpdate100",
        FEW_OPS,
        Some(443.0),
        Side::new(
            ours(),
            |side, i| side.at(tables.key(i) % 50_000).update(hundred(i).collect()).unwrap(),
            |side| *side = ours(),
        ),
        Side::new(
            bare(),
            |side, i| {
                side.at(tables.key(i) % 50_000, None);
                side.value.clear();
                for element in hundred(i) {
                    side.value.extend_from_slice(&element.to_be_bytes());
                    side.value.push(DELIMITER);
                }
                side.value.pop();
                side.put(&side.value);
            },
            |side| *side = bare(),
        ),
    );
}

fn map_state(backend: &KeyedBackend<i64>) -> MapState<i64, f64> {
    backend.map_state(&MapStateDescriptor::new(STATE)).unwrap()
}

/// A map value: the flag for what is not null, then the number.
fn flagged(value: f64) -> [u8; 9] {
    let mut bytes = [0; 9];
    bytes[1..].copy_from_slice(&value.to_be_bytes());
    bytes
}

fn double(bytes: &[u8]) -> f64 {
    f64::from_be_bytes(bytes[1..].try_into().unwrap())
}

fn map_rows(report: &mut Report, tables: &Tables, settings: &RocksDbSettings) {
    let files = &Files::new(settings, |backend| {
        let state = map_state(backend);
        for i in 0..KEYS {
            backend.set_current_key(i as i64).unwrap();
            (0..10).for_each(|j| state.put(j, j as f64).unwrap());
        }
    });
    let ours = || Ours::new(files, map_state);
    let bare = || files.bare();

    let mut sum = (0.0, 0.0);
    report.row(
        "mapGet",
        OPS,
        Some(147.0),
        Side::new(
            ours(),
            |ours, i| sum.0 += ours.at(tables.key(i)).get(&(tables.value(i) & 7)).unwrap().unwrap(),
            nothing,
        ),
        Side::new(
            bare(),
            |bare, i| {
                bare.at(tables.key(i), Some(tables.value(i) & 7));
                sum.1 += bare.get(double).unwrap();
            },
            nothing,
        ),
    );
    assert_eq!(sum.0, sum.1, "both sides read the same");

    let mut hits = (0, 0);
    report.row(
        "mapContains",
        OPS,
        Some(141.0),
        Side::new(
            ours(),
            |ours, i| {
                hits.0 += usize::from(ours.at(tables.key(i)).contains(&((tables.value(i) & 7) << 1)).unwrap());
            },
            nothing,
        ),
        Side::new(
            bare(),
            |bare, i| {
                bare.at(tables.key(i), Some((tables.value(i) & 7) << 1));
                hits.1 += usize::from(bare.get(|_| ()).is_some());
            },
            nothing,
        ),
    );
    assert_eq!(hits.0, hits.1, "both sides find the same");

    let mut sum = (0.0, 0.0);
    report.row(
        "mapIterate10",
        FEW_OPS,
        Some(97.0),
        Side::new(
            ours(),
            |ours, i| {
                ours.at(tables.key(i)).for_each(|key, value| sum.0 += *key as f64 + value).unwrap();
            },
            nothing,
        ),
        Side::new(
            bare(),
            |bare, i| {
                bare.at(tables.key(i), None);
                let mut iterator = bare.db.raw_iterator_cf(bare.column);
                iterator.seek(&bare.key);
                while let Some((key, value)) = iterator.item().filter(|(key, _)| key.starts_with(&bare.key)) {
                    sum.1 += long(&key[bare.key.len()..]) as f64 + double(value);
                    iterator.next();
                }
                iterator.status().unwrap();
            },
            nothing,
        ),
    );
    assert_eq!(sum.0, sum.1, "both sides read the same");

    report.row(
        "mapUpdate",
        OPS,
        Some(579.0),
        Side::new(
            ours(),
            |side, i| side.at(tables.key(i)).put(tables.value(i) & 7, 1.5).unwrap(),
            |side| *side = ours(),
        ),
        Side::new(
            bare(),
            |side, i| {
                side.at(tables.key(i), Some(tables.value(i) & 7));
                side.put(&flagged(1.5));
            },
            |side| *side = bare(),
        ),
    );
    report.row(
        "mapAdd",
        OPS,
        None,
        Side::new(
            ours(),
            |side, i| side.at(tables.new_keys[i]).put(tables.value(i) & 7, 2.5).unwrap(),
            |side| *side = ours(),
        ),
        Side::new(
            bare(),
            |side, i| {
                side.at(tables.new_keys[i], Some(tables.value(i) & 7));
                side.put(&flagged(2.5));
            },
            |side| *side = bare(),
        ),
    );
}
