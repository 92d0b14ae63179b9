//! Every option is read back from databases that were opened with it: RocksDB writes what is in force into its OPTIONS
//! file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed assumption in a test should stop the test"
)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use highwater_rocksdb::rust_rocksdb::{BlockBasedOptions, ColumnFamilyDescriptor, DB, Options, WriteOptions};
use highwater_rocksdb::{
    CompactionStyle, Compression, ConfiguredOptions, Layers, LogLevel, MemorySettings, PredefinedOptions,
    RocksDbOptionsFactory, RocksDbSettings,
};
use highwater_types::ErrorKind;
use tempfile::TempDir;

/// What is in force for the state `state` of a database: every option by its name.
struct InForce(HashMap<String, String>);

impl InForce {
    fn of(layers: &Layers) -> Self {
        let dir = TempDir::new().unwrap();
        let _db = open(layers, dir.path());
        Self::read(dir.path())
    }

    /// Reads the newest OPTIONS file of an open database: the sections of the database and of the state.
    fn read(dir: &Path) -> Self {
        let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let newest = names.filter(|name| name.starts_with("OPTIONS-")).max().unwrap();
        let text = std::fs::read_to_string(dir.join(newest)).unwrap();
        let mut options = HashMap::new();
        let mut wanted = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                wanted = line == "[DBOptions]" || line.ends_with("\"state\"]");
            } else if let Some((name, value)) = line.split_once('=').filter(|_| wanted) {
                options.insert(name.to_owned(), value.to_owned());
            }
        }
        Self(options)
    }

    #[track_caller]
    fn expect(&self, options: &[(&str, &str)]) {
        for (name, value) in options {
            assert_eq!(self.0.get(*name).map(String::as_str), Some(*value), "{name}");
        }
    }
}

fn open(layers: &Layers, dir: &Path) -> DB {
    let columns = ["default", "state"].map(|name| ColumnFamilyDescriptor::new(name, layers.column(name).unwrap()));
    let mut options = layers.database().unwrap();
    options.create_missing_column_families(true);
    DB::open_cf_descriptors(&options, dir, columns).unwrap()
}

fn unbounded() -> RocksDbSettings {
    let mut settings = RocksDbSettings::default();
    settings.memory.managed = None;
    settings
}

fn bounded(bytes: u64) -> RocksDbSettings {
    let mut settings = RocksDbSettings::default();
    settings.memory.fixed_per_slot = Some(bytes);
    settings
}

fn in_force(settings: RocksDbSettings) -> InForce {
    InForce::of(&Layers::new(settings).unwrap())
}

#[test]
fn an_untouched_database_has_the_defaults_of_flink() {
    in_force(unbounded()).expect(&[
        ("max_background_jobs", "2"),
        ("max_open_files", "-1"),
        ("info_log_level", "INFO_LEVEL"),
        ("max_log_file_size", "26214400"),
        ("keep_log_file_num", "4"),
        ("compaction_style", "kCompactionStyleLevel"),
        ("compression_per_level", "kSnappyCompression"),
        ("level_compaction_dynamic_level_bytes", "false"),
        ("target_file_size_base", "67108864"),
        ("max_bytes_for_level_base", "268435456"),
        ("write_buffer_size", "67108864"),
        ("max_write_buffer_number", "2"),
        ("min_write_buffer_number_to_merge", "1"),
        ("block_size", "4096"),
        ("metadata_block_size", "4096"),
        ("filter_policy", "nullptr"),
        ("cache_index_and_filter_blocks", "false"),
    ]);
}

#[test]
fn what_a_store_stands_on_is_forced() {
    in_force(unbounded()).expect(&[
        ("create_if_missing", "true"),
        ("use_fsync", "false"),
        ("stats_dump_period_sec", "0"),
        ("avoid_flush_during_shutdown", "true"),
        ("merge_operator", "{id=StringAppendTESTOperator;delimiter=,;}"),
        ("format_version", "5"),
        ("checksum", "kCRC32c"),
    ]);
}

#[test]
fn profiles_set_what_flink_2_sets() {
    let of = |predefined_options| {
        let mut settings = unbounded();
        settings.predefined_options = predefined_options;
        in_force(settings)
    };
    let common =
        [("max_background_jobs", "4"), ("max_open_files", "-1"), ("compaction_style", "kCompactionStyleLevel")];

    let flash = of(PredefinedOptions::FlashSsdOptimized);
    flash.expect(&common);
    flash.expect(&[("level_compaction_dynamic_level_bytes", "false"), ("filter_policy", "nullptr")]);

    let spinning = of(PredefinedOptions::SpinningDiskOptimized);
    spinning.expect(&common);
    spinning.expect(&[
        ("level_compaction_dynamic_level_bytes", "true"),
        ("target_file_size_base", "67108864"),
        ("filter_policy", "nullptr"),
    ]);

    let high_mem = of(PredefinedOptions::SpinningDiskOptimizedHighMem);
    high_mem.expect(&common);
    high_mem.expect(&[
        ("level_compaction_dynamic_level_bytes", "true"),
        ("target_file_size_base", "268435456"),
        ("max_bytes_for_level_base", "1073741824"),
        ("write_buffer_size", "67108864"),
        ("max_write_buffer_number", "4"),
        ("min_write_buffer_number_to_merge", "3"),
        ("block_size", "131072"),
        ("filter_policy", "bloomfilter"),
    ]);
}

#[test]
fn the_block_cache_of_a_profile_is_that_of_a_state() {
    let capacity = |settings: RocksDbSettings| {
        let dir = TempDir::new().unwrap();
        let db = open(&Layers::new(settings).unwrap(), dir.path());
        db.property_int_value_cf(&db.cf_handle("state").unwrap(), "rocksdb.block-cache-capacity").unwrap().unwrap()
    };
    assert_eq!(capacity(unbounded()), 8 << 20);
    let mut settings = unbounded();
    settings.configured_options.block_cache_size = Some(3 << 20);
    assert_eq!(capacity(settings.clone()), 3 << 20);
    settings.configured_options.block_cache_size = None;
    settings.predefined_options = PredefinedOptions::SpinningDiskOptimizedHighMem;
    assert_eq!(capacity(settings.clone()), 256 << 20);
    // A bounded budget has one cache of its own size.
    settings.memory.fixed_per_slot = Some(128 << 20);
    assert_eq!(capacity(settings), 111_848_106);
}

#[test]
fn every_configured_option_is_in_force_and_beats_the_profile() {
    let logs = TempDir::new().unwrap();
    let mut settings = unbounded();
    settings.predefined_options = PredefinedOptions::SpinningDiskOptimizedHighMem;
    settings.configured_options = ConfiguredOptions {
        background_jobs: Some(7),
        open_files: Some(300),
        log_level: Some(LogLevel::Warn),
        log_dir: Some(logs.path().to_owned()),
        log_max_file_size: Some(1 << 20),
        log_file_count: Some(3),
        compaction_style: Some(CompactionStyle::Universal),
        compression_per_level: Some(vec![Compression::None, Compression::Lz4, Compression::Zstd]),
        dynamic_level_size: Some(false),
        target_file_size_base: Some(5 << 20),
        max_level_size_base: Some(50 << 20),
        write_buffer_size: Some(6 << 20),
        write_buffer_count: Some(5),
        write_buffers_to_merge: Some(2),
        block_size: Some(16 << 10),
        metadata_block_size: Some(8 << 10),
        block_cache_size: Some(9 << 20),
        bloom_filter: Some(true),
        bloom_filter_bits_per_key: Some(14.0),
        bloom_filter_block_based: Some(true),
    };
    in_force(settings).expect(&[
        ("max_background_jobs", "7"),
        ("max_open_files", "300"),
        ("info_log_level", "WARN_LEVEL"),
        ("db_log_dir", logs.path().to_str().unwrap()),
        ("max_log_file_size", "1048576"),
        ("keep_log_file_num", "3"),
        ("compaction_style", "kCompactionStyleUniversal"),
        ("compression_per_level", "kNoCompression:kLZ4Compression:kZSTD"),
        ("level_compaction_dynamic_level_bytes", "false"),
        ("target_file_size_base", "5242880"),
        ("max_bytes_for_level_base", "52428800"),
        ("write_buffer_size", "6291456"),
        ("max_write_buffer_number", "5"),
        ("min_write_buffer_number_to_merge", "2"),
        ("block_size", "16384"),
        ("metadata_block_size", "8192"),
        ("filter_policy", "bloomfilter"),
    ]);
    assert!(std::fs::read_dir(logs.path()).unwrap().count() > 0, "no log in log.dir");
}

#[test]
fn every_style_level_and_compression_is_known_to_rocksdb() {
    for (style, name) in
        [(CompactionStyle::Level, "kCompactionStyleLevel"), (CompactionStyle::Universal, "kCompactionStyleUniversal")]
    {
        let mut settings = unbounded();
        settings.configured_options.compaction_style = Some(style);
        in_force(settings).expect(&[("compaction_style", name)]);
    }
    for style in [CompactionStyle::Fifo, CompactionStyle::None] {
        let mut settings = unbounded();
        settings.configured_options.compaction_style = Some(style);
        let error = Layers::new(settings).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(error.value("key"), Some("state.backend.rocksdb.compaction.style"));
        assert_eq!(error.value("expected"), Some("LEVEL, UNIVERSAL"));
    }
    for level in LogLevel::ALL {
        let mut settings = unbounded();
        settings.configured_options.log_level = Some(*level);
        in_force(settings).expect(&[("info_log_level", level.name())]);
    }
    for compression in Compression::SUPPORTED {
        let mut settings = unbounded();
        settings.configured_options.compression_per_level = Some(vec![*compression]);
        let dir = TempDir::new().unwrap();
        let db = open(&Layers::new(settings).unwrap(), dir.path());
        db.put_cf(&db.cf_handle("state").unwrap(), b"k", vec![7; 10_000]).unwrap();
        db.flush_cf(&db.cf_handle("state").unwrap()).unwrap();
        assert_eq!(db.get_cf(&db.cf_handle("state").unwrap(), b"k").unwrap().unwrap(), vec![7; 10_000]);
    }
    let mut settings = unbounded();
    settings.configured_options.compression_per_level = Some(vec![Compression::Bzip2]);
    let error = Layers::new(settings).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.value("expected").unwrap().contains("ZSTD_COMPRESSION"));
}

#[test]
fn the_log_lies_in_the_database_unless_it_has_a_directory() {
    let dir = TempDir::new().unwrap();
    let _db = open(&Layers::new(unbounded()).unwrap(), dir.path());
    assert!(dir.path().join("LOG").is_file());
}

/// Has the last word, and tries to take what it may not.
#[derive(Debug)]
struct Greedy;

impl RocksDbOptionsFactory for Greedy {
    fn name(&self) -> &'static str {
        "greedy"
    }

    fn database_options(&self, options: &mut Options) {
        options.set_max_background_jobs(9);
        options.set_avoid_flush_during_shutdown(false);
        options.set_use_fsync(true);
    }

    fn column_options(&self, state: &str, options: &mut Options) {
        if state == "state" {
            options.set_write_buffer_size(1 << 20);
        }
        options.set_uint64add_merge_operator();
    }

    fn table_options(&self, _state: &str, table: &mut BlockBasedOptions) {
        table.set_block_size(32 << 10);
        table.set_format_version(6);
        table.set_cache_index_and_filter_blocks(false);
        table.disable_cache();
    }
}

#[test]
fn a_factory_beats_everything_but_what_is_forced() {
    let mut settings = bounded(32 << 20);
    settings.configured_options.background_jobs = Some(3);
    settings.configured_options.write_buffer_size = Some(2 << 20);
    settings.configured_options.block_size = Some(8 << 10);
    settings.options_factory = Some(Arc::new(Greedy));
    in_force(settings).expect(&[
        ("max_background_jobs", "9"),
        ("write_buffer_size", "1048576"),
        ("block_size", "32768"),
        ("avoid_flush_during_shutdown", "true"),
        ("use_fsync", "false"),
        ("merge_operator", "{id=StringAppendTESTOperator;delimiter=,;}"),
        ("format_version", "5"),
        ("no_block_cache", "false"),
        ("cache_index_and_filter_blocks", "true"),
    ]);
}

#[test]
fn bounded_memory_is_shared_and_holds_indexes_and_filters() {
    let settings = bounded(24 << 20);
    let layers = Layers::new(settings.clone()).unwrap();
    let in_force = InForce::of(&layers);
    in_force.expect(&[
        ("cache_index_and_filter_blocks", "true"),
        ("cache_index_and_filter_blocks_with_high_priority", "true"),
        ("pin_l0_filter_and_index_blocks_in_cache", "true"),
        ("index_type", "kBinarySearch"),
        ("partition_filters", "false"),
    ]);
    // Two databases of separately made settings, as of two operators.
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let also = Layers::new(settings).unwrap();
    let dbs = [open(&layers, one.path()), open(&also, other.path())];
    let mut write = WriteOptions::default();
    write.disable_wal(true);
    let before = layers.memory().usage().unwrap();
    assert_eq!(before, also.memory().usage().unwrap());
    for db in &dbs {
        for i in 0..20_000_u32 {
            db.put_cf_opt(&db.cf_handle("state").unwrap(), i.to_be_bytes(), [7; 100], &write).unwrap();
        }
    }
    let after = layers.memory().usage().unwrap();
    assert!(after.write_buffers_used >= before.write_buffers_used + 2 * 20_000 * 100, "{before:?} {after:?}");
    assert!(after.cache_used >= after.write_buffers_used, "write buffers are charged to the cache: {after:?}");
}

#[test]
fn the_high_priority_share_reaches_the_cache() {
    let mut settings = bounded(40 << 20);
    settings.memory.high_priority_pool_ratio = 0.25;
    let dir = TempDir::new().unwrap();
    let _db = open(&Layers::new(settings).unwrap(), dir.path());
    let log = std::fs::read_to_string(dir.path().join("LOG")).unwrap();
    assert!(log.contains("high_pri_pool_ratio: 0.250"), "RocksDB's log does not show the ratio");
}

#[test]
fn partitioned_filters_replace_a_filter_that_is_there() {
    let mut settings = bounded(16 << 20);
    settings.memory.partitioned_index_filters = true;
    settings.configured_options.bloom_filter = Some(true);
    settings.configured_options.bloom_filter_bits_per_key = Some(6.0);
    let partitioned = [("index_type", "kTwoLevelIndexSearch"), ("partition_filters", "true")];
    let with_filter = in_force(settings.clone());
    with_filter.expect(&partitioned);
    with_filter.expect(&[("filter_policy", "bloomfilter:10:false"), ("pin_top_level_index_and_filter", "true")]);
    settings.configured_options.bloom_filter = None;
    let without = in_force(settings);
    without.expect(&partitioned);
    without.expect(&[("filter_policy", "nullptr")]);
}

#[test]
fn a_small_budget_has_small_arenas() {
    in_force(bounded(64 << 20)).expect(&[("arena_block_size", "352256")]);
    in_force(unbounded()).expect(&[("arena_block_size", "1048576")]);
}

#[test]
fn lists_are_appended_with_a_comma() {
    let dir = TempDir::new().unwrap();
    let db = open(&Layers::new(RocksDbSettings::default()).unwrap(), dir.path());
    let state = db.cf_handle("state").unwrap();
    for element in ["a", "b", "c"] {
        db.merge_cf(&state, b"k", element).unwrap();
        db.flush_cf(&state).unwrap();
    }
    assert_eq!(db.get_cf(&state, b"k").unwrap().unwrap(), b"a,b,c");
}

#[test]
fn wrong_settings_are_refused_before_a_database_is_opened() {
    let mut settings = RocksDbSettings::default();
    settings.transfer_threads = 0;
    let key = |settings: RocksDbSettings| Layers::new(settings).unwrap_err().value("key").unwrap().to_owned();
    assert_eq!(key(settings), "state.backend.rocksdb.checkpoint.transfer.thread.num");
    let mut settings = RocksDbSettings::default();
    settings.restore_overlap_fraction = 1.5;
    assert_eq!(key(settings), "state.backend.rocksdb.restore-overlap-fraction-threshold");
    let mut settings = RocksDbSettings::default();
    settings.memory = MemorySettings { write_buffer_ratio: 1.0, ..MemorySettings::default() };
    assert_eq!(key(settings), "state.backend.rocksdb.memory.write-buffer-ratio");
}

#[test]
fn filters_have_the_bits_that_were_configured() {
    const KEYS: u32 = 10_000;
    let filter_bits_per_key = |bits: Option<f64>| {
        let mut settings = unbounded();
        settings.configured_options.bloom_filter = bits.map(|_| true);
        settings.configured_options.bloom_filter_bits_per_key = bits;
        let dir = TempDir::new().unwrap();
        let db = open(&Layers::new(settings).unwrap(), dir.path());
        let state = db.cf_handle("state").unwrap();
        (0..KEYS).for_each(|key| db.put_cf(&state, key.to_be_bytes(), b"").unwrap());
        db.flush_cf(&state).unwrap();
        let tables = db.property_value_cf(&state, "rocksdb.aggregated-table-properties").unwrap().unwrap();
        let bytes = tables.split(';').find_map(|part| part.trim().strip_prefix("filter block size=")).unwrap();
        f64::from(bytes.parse::<u32>().unwrap()) * 8.0 / f64::from(KEYS)
    };
    assert_eq!(filter_bits_per_key(None), 0.0);
    for bits in [6.0, 10.0, 20.0] {
        let found = filter_bits_per_key(Some(bits));
        assert!((found - bits).abs() < 0.5, "{found} bits per key instead of {bits}");
    }
}

#[test]
fn memory_that_is_too_small_is_a_condition_and_no_error() {
    assert!(Layers::new(bounded(64 << 20)).unwrap().conditions().is_empty());
    let conditions = Layers::new(bounded(2 << 20)).unwrap().conditions();
    let [condition] = conditions.as_slice() else { panic!("{conditions:?}") };
    assert!(condition.to_string().contains("state.backend.rocksdb.memory.write-buffer-ratio"), "{condition}");
}
