//! Every key of RocksDB: it changes what the stores are told, or is refused by name. And the memory budget.

#![cfg(feature = "rocksdb")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;

use highwater_backends::{
    BackendRegistry, Configuration, MemorySize, OptionInfo, RocksDbMemoryConfiguration, RocksDbStateBackend, options,
};
use highwater_rocksdb::{BudgetSource, MemoryBudget, MemorySettings, RocksDbSettings};
use highwater_types::{Error, ErrorKind, Result};
use proptest::prelude::{Strategy, prop_assert, proptest};

const MIB: u64 = 1 << 20;
const MANAGED: &str = "state.backend.rocksdb.memory.managed";
const PER_SLOT: &str = "state.backend.rocksdb.memory.fixed-per-slot";
const PER_TM: &str = "state.backend.rocksdb.memory.fixed-per-tm";
const SIZE: &str = "taskmanager.memory.managed.size";
const FRACTION: &str = "taskmanager.memory.managed.fraction";
const TOTAL: &str = "taskmanager.memory.flink.size";
const SLOTS: &str = "taskmanager.numberOfTaskSlots";

/// Keys with another value than the default, and what else must be set for them to matter.
const HONOURED: &[(&str, &str, &[(&str, &str)])] = &[
    ("execution.checkpointing.incremental", "true", &[]),
    ("state.backend.rocksdb.localdir", "/a", &[]),
    ("state.backend.rocksdb.checkpoint.transfer.thread.num", "9", &[]),
    ("state.backend.rocksdb.predefined-options", "FLASH_SSD_OPTIMIZED", &[]),
    ("state.backend.rocksdb.write-batch-size", "1 mb", &[]),
    (MANAGED, "false", &[]),
    (PER_SLOT, "64 mb", &[]),
    (PER_TM, "64 mb", &[(MANAGED, "false")]),
    ("state.backend.rocksdb.memory.write-buffer-ratio", "0.3", &[]),
    ("state.backend.rocksdb.memory.high-prio-pool-ratio", "0.2", &[]),
    ("state.backend.rocksdb.memory.partitioned-index-filters", "true", &[]),
    (SIZE, "1 gb", &[]),
    (FRACTION, "0.5", &[(TOTAL, "1 gb")]),
    (TOTAL, "1 gb", &[]),
    (SLOTS, "2", &[]),
    ("state.backend.rocksdb.thread.num", "3", &[]),
    ("state.backend.rocksdb.files.open", "100", &[]),
    ("state.backend.rocksdb.log.level", "warn_level", &[]),
    ("state.backend.rocksdb.log.dir", "/logs", &[]),
    ("state.backend.rocksdb.log.max-file-size", "1 mb", &[]),
    ("state.backend.rocksdb.log.file-num", "2", &[]),
    ("state.backend.rocksdb.compaction.style", "UNIVERSAL", &[]),
    ("state.backend.rocksdb.compression.per.level", "NO_COMPRESSION;LZ4_COMPRESSION", &[]),
    ("state.backend.rocksdb.compaction.level.use-dynamic-size", "true", &[]),
    ("state.backend.rocksdb.compaction.level.target-file-size-base", "32 mb", &[]),
    ("state.backend.rocksdb.compaction.level.max-size-level-base", "128 mb", &[]),
    ("state.backend.rocksdb.writebuffer.size", "32 mb", &[]),
    ("state.backend.rocksdb.writebuffer.count", "3", &[]),
    ("state.backend.rocksdb.writebuffer.number-to-merge", "2", &[]),
    ("state.backend.rocksdb.block.blocksize", "8 kb", &[]),
    ("state.backend.rocksdb.block.metadata-blocksize", "8 kb", &[]),
    ("state.backend.rocksdb.block.cache-size", "16 mb", &[]),
    ("state.backend.rocksdb.use-bloom-filter", "true", &[]),
    ("state.backend.rocksdb.bloom-filter.bits-per-key", "12.5", &[]),
    ("state.backend.rocksdb.bloom-filter.block-based-mode", "true", &[]),
    ("state.backend.rocksdb.restore-overlap-fraction-threshold", "0.75", &[]),
];

/// Keys with a value that Highwater does not have, and the only one that it has.
const REFUSED: &[(&str, &str, &str)] = &[
    ("state.backend.rocksdb.timer-service.factory", "HEAP", "ROCKSDB"),
    ("state.backend.rocksdb.timer-service.cache-size", "256", "128"),
    ("state.backend.rocksdb.compaction.filter.query-time-after-num-entries", "10", "1000"),
    ("state.backend.rocksdb.compaction.filter.periodic-compaction-time", "1 d", "720 h"),
    ("state.backend.rocksdb.use-ingest-db-restore-mode", "false", "true"),
    ("state.backend.rocksdb.rescaling.use-delete-files-in-range", "false", "TRUE"),
    ("state.backend.rocksdb.incremental-restore-async-compact-after-rescale", "false", "true"),
    ("state.backend.rocksdb.manual-compaction.min-interval", "1 min", "0"),
    ("state.backend.rocksdb.manual-compaction.max-parallel-compactions", "2", "5"),
    ("state.backend.rocksdb.manual-compaction.max-file-size-to-compact", "1 mb", "51200"),
    ("state.backend.rocksdb.manual-compaction.min-files-to-compact", "2", "5"),
    ("state.backend.rocksdb.manual-compaction.max-files-to-compact", "2", "30"),
    ("state.backend.rocksdb.manual-compaction.max-output-file-size", "1 mb", "64mb"),
    ("state.backend.rocksdb.manual-compaction.max-auto-compactions", "2", "30"),
];

/// Keys that have tests of their own.
const ELSEWHERE: &[&str] = &["state.backend.rocksdb.options-factory"];

fn settings<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<RocksDbSettings> {
    let effective = RocksDbStateBackend::embedded().configure(&entries.into_iter().collect())?;
    Ok(effective.settings().unwrap().clone())
}

fn text(settings: &RocksDbSettings) -> String {
    format!("{settings:?}")
}

#[test]
fn every_key_has_an_effect_or_is_refused() {
    let mut seen: BTreeSet<&str> = ELSEWHERE.iter().copied().collect();
    for (key, value, others) in HONOURED {
        let without = settings(others.iter().copied()).unwrap();
        let with = settings(others.iter().copied().chain([(*key, *value)])).unwrap();
        assert_ne!(text(&with), text(&without), "{key} has no effect");
        seen.insert(key);
    }
    for (key, value, only) in REFUSED {
        let error = settings([(*key, *value)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert_eq!(error.value("key"), Some(*key), "{error}");
        let default = settings([]).unwrap();
        assert_eq!(text(&settings([(*key, *only)]).unwrap()), text(&default), "{key}");
        seen.insert(key);
    }
    for option in options::rocksdb::metrics::ALL {
        let with = settings([(option.key(), "true")]).unwrap();
        let name = option.key().rsplit('.').next().unwrap();
        match name {
            "column-family-as-variable" => assert!(with.metrics.column_family_as_variable),
            _ => assert_eq!(with.metrics.enabled.iter().map(|metric| metric.name()).collect::<Vec<_>>(), [name]),
        }
        assert!(settings([(option.key(), "false")]).unwrap().metrics.enabled.is_empty());
        let error = settings([(option.key(), "on")]).unwrap_err();
        assert_eq!(error.value("key"), Some(option.key()));
    }
    let slots = [options::NUM_TASK_SLOTS.info()];
    let all: BTreeSet<&str> = options::rocksdb::ALL.iter().chain(&slots).map(|option| option.key()).collect();
    assert_eq!(seen, all, "a key was forgotten");
    assert_eq!(options::rocksdb::metrics::ALL.len(), 39);
}

/// A backend that comes configured, from the loader or a program, is configured again when a job starts. Keys without a
/// setter used to fall back to their defaults then: write buffers, threads, metrics, and managed memory.
#[test]
fn what_was_configured_stays_when_it_is_configured_again() {
    let metrics = options::rocksdb::metrics::ALL.iter().map(|option| (option.key(), "true", &[] as &[_]));
    let factory = ("my.own.key", "1", &[] as &[_]);
    let all: Vec<_> = HONOURED.iter().copied().chain(metrics).collect();
    for (key, value, others) in all.iter().copied().chain([factory]) {
        let first =
            RocksDbStateBackend::embedded().configure(&others.iter().copied().chain([(key, value)]).collect()).unwrap();
        let expected = text(first.settings().unwrap());
        let again = first.configure(&Configuration::new()).unwrap();
        assert_eq!(text(again.settings().unwrap()), expected, "{key}");
        // Through the registry, as a job does it.
        let registry = BackendRegistry::new();
        let nothing = Configuration::new();
        let effective = registry.effective_backend(Some(&again), &nothing, &nothing).unwrap();
        let mut stores = format!("{:?}", effective.keyed_store());
        assert!(stores.split_off(stores.find("RocksDbSettings").unwrap()).starts_with(&expected), "{key}");
        // And over a process's end.
        let stored: RocksDbStateBackend = serde_json::from_str(&serde_json::to_string(&again).unwrap()).unwrap();
        assert_eq!(text(stored.settings().unwrap()), expected, "{key}");
    }

    // All at once; what is configured later does not undo it.
    let contradicting = [PER_TM, PER_SLOT, MANAGED];
    let together: Vec<_> = all.iter().filter(|(key, ..)| !contradicting.contains(key)).collect();
    let first =
        RocksDbStateBackend::embedded().configure(&together.iter().map(|(key, value, _)| (*key, *value)).collect());
    let first = first.unwrap();
    let defaults = options::rocksdb::ALL.iter().chain(options::rocksdb::metrics::ALL);
    let defaults: Configuration = defaults.filter_map(|option| Some((option.key(), option.default_text()?))).collect();
    let again = first.configure(&defaults).unwrap();
    assert_eq!(text(again.settings().unwrap()), text(first.settings().unwrap()));
    // But the number of workers is that of the process in which the job runs.
    let again = first.configure(&[(SLOTS, "3")].into_iter().collect()).unwrap();
    assert_eq!((first.settings().unwrap().memory.slots.get(), again.settings().unwrap().memory.slots.get()), (2, 3));
    // A key that the first configuration had not is taken from the second.
    let first = RocksDbStateBackend::embedded().configure(&Configuration::new()).unwrap();
    let later = [("state.backend.rocksdb.thread.num", "3"), ("state.backend.rocksdb.metrics.bytes-read", "true")];
    let again = first.configure(&later.into_iter().collect()).unwrap();
    assert_eq!(again.settings().unwrap().configured_options.background_jobs, Some(3));
    assert_eq!(again.settings().unwrap().metrics.enabled.len(), 1);
}

#[test]
fn every_default_can_be_read_and_changes_nothing() {
    let default = settings([]).unwrap();
    for option in options::rocksdb::ALL.iter().chain(options::rocksdb::metrics::ALL) {
        assert!(!option.description().is_empty());
        let Some(text_of_default) = option.default_text() else { continue };
        let mut set = settings([(option.key(), text_of_default)]).unwrap();
        // An option that is set is stronger than the profile; its value is the default all the same.
        assert_eq!(set.effective_options(), default.effective_options(), "{}", option.key());
        set.configured_options = default.configured_options.clone();
        assert_eq!(text(&set), text(&default), "{}", option.key());
    }
}

#[test]
fn older_keys_are_read_and_overlaid_as_one() {
    let older = |option: &&&OptionInfo| !option.older_keys().is_empty();
    let with_older: Vec<_> = options::rocksdb::ALL.iter().filter(older).map(|option| option.key()).collect();
    assert_eq!(with_older, ["execution.checkpointing.incremental", "state.backend.rocksdb.localdir"]);
    let below: Configuration = [("execution.checkpointing.incremental", "false")].into_iter().collect();
    let above: Configuration = [("state.backend.incremental", "true")].into_iter().collect();
    let effective = RocksDbStateBackend::embedded().configure(&below.overlaid_with(&above)).unwrap();
    assert!(effective.is_incremental_checkpoints_enabled());
}

#[test]
fn a_configured_option_is_stronger_than_the_profile() {
    let profile = ("state.backend.rocksdb.predefined-options", "SPINNING_DISK_OPTIMIZED_HIGH_MEM");
    let alone = settings([profile]).unwrap().effective_options();
    assert_eq!((alone.write_buffer_count, alone.block_size), (Some(4), Some(128 * 1024)));
    let keys = [profile, ("state.backend.rocksdb.writebuffer.count", "2")];
    let both = settings(keys).unwrap().effective_options();
    assert_eq!((both.write_buffer_count, both.block_size), (Some(2), Some(128 * 1024)));
}

#[test]
fn compression_is_a_list_of_known_names() {
    let key = "state.backend.rocksdb.compression.per.level";
    for (value, count) in [("LZ4_COMPRESSION", 1), ("NO_COMPRESSION; ZSTD_COMPRESSION", 2), ("[lz4_compression]", 1)] {
        let set = settings([(key, value)]).unwrap().configured_options.compression_per_level.unwrap();
        assert_eq!(set.len(), count, "{value}");
    }
    for (value, kind) in [("GZIP", ErrorKind::Configuration), ("ZLIB_COMPRESSION", ErrorKind::Unsupported)] {
        let error = settings([(key, value)]).unwrap_err();
        assert_eq!((error.kind(), error.value("key")), (kind, Some(key)), "{error}");
        assert!(error.to_string().contains("SNAPPY_COMPRESSION"), "what exists is listed: {error}");
    }
}

fn budget(entries: &[(&str, &str)]) -> Option<MemoryBudget> {
    settings(entries.iter().copied()).unwrap().memory.budget()
}

/// Budgets of the process, by the keys set.
#[test]
fn the_budget_is_found_in_flinks_order() {
    use BudgetSource::{FixedPerProcess, FixedPerSlot, Managed};
    let rows: &[(&[(&str, &str)], Option<(u64, BudgetSource)>)] = &[
        (&[], Some((512 * MIB, Managed))),
        (&[(MANAGED, "false")], None),
        (&[(SIZE, "1 gb")], Some((1024 * MIB, Managed))),
        (&[(TOTAL, "1000 mb")], Some((400 * MIB, Managed))),
        (&[(TOTAL, "1000 mb"), (FRACTION, "1")], Some((1000 * MIB, Managed))),
        (&[(TOTAL, "1000 mb"), (SIZE, "7 mb")], Some((7 * MIB, Managed))),
        (&[(FRACTION, "0.1")], Some((512 * MIB, Managed))),
        // Managed memory is shared among the slots, fixed memory is what each has.
        (&[(SIZE, "1 gb"), (SLOTS, "4")], Some((1024 * MIB, Managed))),
        (&[(PER_SLOT, "64 mb")], Some((64 * MIB, FixedPerSlot))),
        (&[(PER_SLOT, "64 mb"), (SLOTS, "4")], Some((256 * MIB, FixedPerSlot))),
        (&[(PER_SLOT, "64 mb"), (SIZE, "1 gb")], Some((64 * MIB, FixedPerSlot))),
        (&[(PER_SLOT, "64 mb"), (MANAGED, "false")], Some((64 * MIB, FixedPerSlot))),
        (&[(PER_TM, "64 mb"), (MANAGED, "false"), (SLOTS, "4")], Some((64 * MIB, FixedPerProcess))),
    ];
    for (entries, expected) in rows {
        let expected = expected.map(|(bytes, source)| MemoryBudget { bytes, source });
        assert_eq!(budget(entries), expected, "{entries:?}");
    }
}

#[test]
fn contradictions_name_both_keys() {
    for (entries, first) in [
        (vec![(PER_TM, "64 mb")], MANAGED),
        (vec![(PER_TM, "64 mb"), (MANAGED, "true")], MANAGED),
        (vec![(PER_TM, "64 mb"), (PER_SLOT, "64 mb")], PER_SLOT),
        (vec![(PER_TM, "64 mb"), (PER_SLOT, "64 mb"), (MANAGED, "false")], PER_SLOT),
    ] {
        let error = settings(entries).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert_eq!((error.value("key"), error.value("other key")), (Some(first), Some(PER_TM)), "{error}");
    }
    let ratios = [
        ("state.backend.rocksdb.memory.write-buffer-ratio", "0.9"),
        ("state.backend.rocksdb.memory.high-prio-pool-ratio", "0.5"),
    ];
    let error = settings(ratios).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(ratios.iter().all(|(key, _)| error.to_string().contains(key)), "{error}");
}

fn with_memory(change: impl FnOnce(&mut RocksDbMemoryConfiguration) -> Result<(), Error>) -> RocksDbStateBackend {
    let mut backend = RocksDbStateBackend::embedded();
    change(backend.memory_configuration_mut()).unwrap();
    backend
}

fn memory(backend: &RocksDbStateBackend, entries: &[(&str, &str)]) -> MemorySettings {
    let effective = backend.configure(&entries.iter().copied().collect()).unwrap();
    effective.settings().unwrap().memory.clone()
}

#[test]
fn the_applications_memory_beats_the_configured_one() {
    let per_slot = with_memory(|memory| memory.set_fixed_memory_per_slot(MemorySize::from_mebibytes(32)).map(drop));
    assert_eq!(memory(&per_slot, &[(PER_SLOT, "64 mb")]).budget().unwrap().bytes, 32 * MIB);
    // The application decided; that the other key has no effect is no contradiction.
    assert_eq!(memory(&per_slot, &[(PER_TM, "64 mb")]).budget().unwrap().bytes, 32 * MIB);

    let managed = with_memory(|memory| {
        memory.set_use_managed_memory(true);
        Ok(())
    });
    let settings = memory(&managed, &[(MANAGED, "false"), (PER_TM, "64 mb")]);
    assert_eq!(settings.budget().unwrap(), MemoryBudget { bytes: 512 * MIB, source: BudgetSource::Managed });

    let off = with_memory(|memory| {
        memory.set_use_managed_memory(false);
        Ok(())
    });
    assert_eq!(memory(&off, &[(MANAGED, "true")]).budget(), None);
    assert_eq!(memory(&off, &[(PER_TM, "8 mb")]).budget().unwrap().source, BudgetSource::FixedPerProcess);

    let both = with_memory(|memory| {
        memory.set_fixed_memory_per_slot(MemorySize::from_mebibytes(1))?;
        memory.set_fixed_memory_per_task_manager(MemorySize::from_mebibytes(1)).map(drop)
    });
    assert!(both.configure(&Configuration::new()).is_err());

    let ratios = with_memory(|memory| {
        memory.set_write_buffer_ratio(0.25)?.set_high_priority_pool_ratio(0.3)?;
        memory.set_use_partitioned_index_filters(true);
        Ok(())
    });
    let keys = [
        ("state.backend.rocksdb.memory.write-buffer-ratio", "0.6"),
        ("state.backend.rocksdb.memory.high-prio-pool-ratio", "0.2"),
        ("state.backend.rocksdb.memory.partitioned-index-filters", "false"),
    ];
    let settings = memory(&ratios, &keys);
    assert_eq!((settings.write_buffer_ratio, settings.high_priority_pool_ratio), (0.25, 0.3));
    assert!(settings.partitioned_index_filters);
}

#[test]
fn the_setters_of_memory_check_their_ranges() {
    let mut memory = RocksDbMemoryConfiguration::new();
    for ratio in [0.0, 1.0, -0.5, 1.5, f64::NAN, f64::INFINITY] {
        for error in [
            memory.set_write_buffer_ratio(ratio).map(drop).unwrap_err(),
            memory.set_high_priority_pool_ratio(ratio).map(drop).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.message().contains("between 0 and 1"), "{error}");
        }
    }
    let nothing = MemorySize::from_bytes(0);
    assert!(memory.set_fixed_memory_per_slot(nothing).is_err());
    assert!(memory.set_fixed_memory_per_task_manager(nothing).is_err());
    assert_eq!(memory, RocksDbMemoryConfiguration::new());
    memory.set_fixed_memory_per_slot(MemorySize::from_bytes(1)).unwrap();
    memory.set_fixed_memory_per_slot(None).unwrap();
    assert_eq!(memory, RocksDbMemoryConfiguration::new());
}

#[test]
fn foreign_and_unknown_keys_do_no_harm() {
    let default = settings([]).unwrap();
    let keys = [("state.backend.rocksdb.localdirs", "/a"), ("s3.access-key", "x"), ("state.backend.forst.cache", "1")];
    assert_eq!(text(&settings(keys).unwrap()), text(&default));
    let configuration: Configuration = keys.into_iter().chain([("state.backend.type", "rocksdb")]).collect();
    BackendRegistry::new().load(&configuration).unwrap();
}

/// Keys below `state.backend.rocksdb.` with their defaults in Flink 2.x; three are what Highwater always does.
const DEFAULTS: &[(&str, Option<&str>)] = &[
    ("localdir", None),
    ("timer-service.factory", Some("ROCKSDB")),
    ("checkpoint.transfer.thread.num", Some("4")),
    ("predefined-options", Some("DEFAULT")),
    ("options-factory", None),
    ("write-batch-size", Some("2 mb")),
    ("memory.managed", Some("true")),
    ("memory.fixed-per-slot", None),
    ("memory.fixed-per-tm", None),
    ("memory.write-buffer-ratio", Some("0.5")),
    ("memory.high-prio-pool-ratio", Some("0.1")),
    ("memory.partitioned-index-filters", Some("false")),
    ("thread.num", Some("2")),
    ("files.open", Some("-1")),
    ("log.level", Some("INFO_LEVEL")),
    ("log.dir", None),
    ("log.max-file-size", Some("25 mb")),
    ("log.file-num", Some("4")),
    ("compaction.style", Some("LEVEL")),
    ("compression.per.level", Some("SNAPPY_COMPRESSION")),
    ("compaction.level.use-dynamic-size", Some("false")),
    ("compaction.level.target-file-size-base", Some("64 mb")),
    ("compaction.level.max-size-level-base", Some("256 mb")),
    ("writebuffer.size", Some("64 mb")),
    ("writebuffer.count", Some("2")),
    ("writebuffer.number-to-merge", Some("1")),
    ("block.blocksize", Some("4 kb")),
    ("block.metadata-blocksize", Some("4 kb")),
    ("block.cache-size", Some("8 mb")),
    ("use-bloom-filter", Some("false")),
    ("bloom-filter.bits-per-key", Some("10.0")),
    ("restore-overlap-fraction-threshold", Some("0.0")),
    ("manual-compaction.min-interval", Some("0 ms")),
    ("timer-service.cache-size", Some("128")),
    ("bloom-filter.block-based-mode", Some("false")),
    ("compaction.filter.query-time-after-num-entries", Some("1000")),
    ("compaction.filter.periodic-compaction-time", Some("30 d")),
    ("use-ingest-db-restore-mode", Some("true")),
    ("rescaling.use-delete-files-in-range", Some("true")),
    ("incremental-restore-async-compact-after-rescale", Some("true")),
    ("manual-compaction.max-parallel-compactions", Some("5")),
    ("manual-compaction.max-file-size-to-compact", Some("50 kb")),
    ("manual-compaction.min-files-to-compact", Some("5")),
    ("manual-compaction.max-files-to-compact", Some("30")),
    ("manual-compaction.max-output-file-size", Some("64 mb")),
    ("manual-compaction.max-auto-compactions", Some("30")),
];

#[test]
fn the_options_are_flinks() {
    let own = |option: &&OptionInfo| {
        let key = option.key().strip_prefix("state.backend.rocksdb.")?;
        Some((key, option.default_text()))
    };
    assert_eq!(options::rocksdb::ALL.iter().filter_map(own).collect::<Vec<_>>(), DEFAULTS);
    assert!(options::rocksdb::metrics::ALL.iter().all(|option| option.default_text() == Some("false")));
}

fn any_key() -> impl Strategy<Value = &'static str> {
    let all: Vec<_> = options::rocksdb::ALL.iter().chain(options::rocksdb::metrics::ALL).collect();
    proptest::sample::select(all.into_iter().flat_map(|option| option.keys()).collect::<Vec<_>>())
}

proptest! {
    /// Whatever stands behind a key: it is taken, or the error names the key.
    #[test]
    fn no_text_of_a_key_does_harm(key in any_key(), text in "[-0-9a-zA-Z/:;,.'\\[\\] ]{0,12}|[0-9]{1,20} ?(b|kb|tb)?|\\PC{0,8}") {
        if let Err(error) = settings([(key, text.as_str())]) {
            prop_assert!(error.to_string().contains(key), "{key}: '{text}': {error}");
        }
    }
}
