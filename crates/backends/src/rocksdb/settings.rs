//! From keys to what the stores are told: one function for each field, and one for the keys without a field.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use highwater_rocksdb::{
    Compression, ConfiguredOptions, MemorySettings, MetricsSettings, PredefinedOptions, RocksDbSettings,
};
use highwater_types::{Error, Result};

use super::memory::{managed_bytes, or_configured};
use super::{RocksDbMemoryConfiguration, options};
use crate::config::{ConfigOption, nearest};
use crate::settings::Ranged;
use crate::{ConfigValue, Configuration, MemorySize, PriorityQueueStateType};

/// All keys of RocksDB alone begin so.
const PREFIX: &str = "state.backend.rocksdb.";

pub(super) fn incremental(set: Option<bool>, configuration: &Configuration) -> Result<bool> {
    or_configured(set, configuration, &options::INCREMENTAL_CHECKPOINTS)
}

pub(super) fn transfer_threads(set: Option<i32>, configuration: &Configuration) -> Result<i32> {
    match set {
        Some(threads) => Ok(threads),
        None => configuration.at_least(&options::CHECKPOINT_TRANSFER_THREAD_NUM, 1),
    }
}

pub(super) fn write_batch_size(set: Option<u64>, configuration: &Configuration) -> Result<u64> {
    match set {
        Some(bytes) => Ok(bytes),
        None => Ok(configuration.get(&options::WRITE_BATCH_SIZE)?.bytes()),
    }
}

pub(super) fn predefined_options(
    set: Option<PredefinedOptions>,
    configuration: &Configuration,
) -> Result<PredefinedOptions> {
    if let Some(profile) = set {
        return Ok(profile);
    }
    let name = configuration.get(&options::PREDEFINED_OPTIONS)?;
    name.parse().map_err(|cause| {
        Error::configuration("Could not parse value")
            .with("key", options::PREDEFINED_OPTIONS.key())
            .with("value", name)
            .because(cause)
    })
}

pub(super) fn priority_queue(
    set: Option<PriorityQueueStateType>,
    configuration: &Configuration,
) -> Result<PriorityQueueStateType> {
    let kind = or_configured(set, configuration, &options::TIMER_SERVICE_FACTORY)?;
    check_priority_queue(kind).map_err(|error| error.with("key", options::TIMER_SERVICE_FACTORY.key()))?;
    Ok(kind)
}

/// Timers live where the state lives.
pub(super) fn check_priority_queue(kind: PriorityQueueStateType) -> Result<()> {
    match kind {
        PriorityQueueStateType::RocksDb => Ok(()),
        PriorityQueueStateType::Heap => {
            Err(Error::unsupported("the RocksDB backend has no timers on the heap: leave timers in ROCKSDB")
                .with("value", kind))
        }
    }
}

/// Settings from the keys that have no field in the backend, and from its memory; the caller fills in the rest.
pub(super) fn without_fields(
    configuration: &Configuration,
    memory: &RocksDbMemoryConfiguration,
) -> Result<RocksDbSettings> {
    let mut settings = RocksDbSettings::default();
    settings.configured_options = configured_options(configuration)?;
    settings.memory = memory_settings(configuration, memory)?;
    settings.metrics = metrics(configuration)?;
    settings.restore_overlap_fraction =
        configuration.ranged(&options::RESTORE_OVERLAP_FRACTION_THRESHOLD, 0.0..=1.0)?;
    Ok(settings)
}

/// The options that are set; the others are left to the profile.
fn configured_options(configuration: &Configuration) -> Result<ConfiguredOptions> {
    let set = ConfiguredOptions {
        background_jobs: count(configuration, &options::THREAD_NUM)?,
        open_files: configuration.get_set(&options::FILES_OPEN)?,
        log_level: configuration.get_set(&options::LOG_LEVEL)?,
        log_dir: configuration.get(&options::LOG_DIR)?.map(PathBuf::from),
        log_max_file_size: configuration.get_set(&options::LOG_MAX_FILE_SIZE)?.map(MemorySize::bytes),
        log_file_count: count(configuration, &options::LOG_FILE_NUM)?,
        compaction_style: configuration.get_set(&options::COMPACTION_STYLE)?,
        compression_per_level: compression(configuration)?,
        dynamic_level_size: configuration.get_set(&options::USE_DYNAMIC_LEVEL_SIZE)?,
        target_file_size_base: size(configuration, &options::TARGET_FILE_SIZE_BASE)?,
        max_level_size_base: size(configuration, &options::MAX_SIZE_LEVEL_BASE)?,
        write_buffer_size: size(configuration, &options::WRITE_BUFFER_SIZE)?,
        write_buffer_count: count(configuration, &options::MAX_WRITE_BUFFER_NUMBER)?,
        write_buffers_to_merge: count(configuration, &options::MIN_WRITE_BUFFER_NUMBER_TO_MERGE)?,
        block_size: size(configuration, &options::BLOCK_SIZE)?,
        metadata_block_size: size(configuration, &options::METADATA_BLOCK_SIZE)?,
        block_cache_size: size(configuration, &options::BLOCK_CACHE_SIZE)?,
        bloom_filter: configuration.get_set(&options::USE_BLOOM_FILTER)?,
        bloom_filter_bits_per_key: configuration.get_set(&options::BLOOM_FILTER_BITS_PER_KEY)?,
        bloom_filter_block_based: configuration.get_set(&options::BLOOM_FILTER_BLOCK_BASED_MODE)?,
    };
    set.validate()?;
    Ok(set)
}

/// A whole number above 0, if set.
fn count(configuration: &Configuration, option: &ConfigOption<i32>) -> Result<Option<u32>> {
    if !configuration.contains(option) {
        return Ok(None);
    }
    configuration.at_least(option, 1).map(|number| Some(number.unsigned_abs()))
}

/// A size above 0, if set.
fn size(configuration: &Configuration, option: &ConfigOption<MemorySize>) -> Result<Option<u64>> {
    if !configuration.contains(option) {
        return Ok(None);
    }
    configuration.at_least(option, MemorySize::from_bytes(1)).map(|size| Some(size.bytes()))
}

fn compression(configuration: &Configuration) -> Result<Option<Vec<Compression>>> {
    let Some(names) = configuration.get_set(&options::COMPRESSION_PER_LEVEL)? else { return Ok(None) };
    let levels = names.iter().map(|name| name.trim().parse()).collect::<Result<_>>();
    levels.map(Some).map_err(|error: Error| error.with("key", options::COMPRESSION_PER_LEVEL.key()))
}

fn memory_settings(configuration: &Configuration, memory: &RocksDbMemoryConfiguration) -> Result<MemorySettings> {
    let slots = configuration.at_least(&crate::options::NUM_TASK_SLOTS, 1)?;
    let slots = usize::try_from(slots).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN);
    let managed = match memory.is_using_managed_memory() && !memory.is_using_fixed_memory_per_slot() {
        true => Some(managed_bytes(configuration)? / slots.get() as u64),
        false => None,
    };
    let settings = MemorySettings {
        managed,
        fixed_per_slot: memory.fixed_memory_per_slot().map(MemorySize::bytes),
        fixed_per_process: memory.fixed_memory_per_task_manager().map(MemorySize::bytes),
        slots,
        write_buffer_ratio: memory.write_buffer_ratio(),
        high_priority_pool_ratio: memory.high_priority_pool_ratio(),
        partitioned_index_filters: memory.is_using_partitioned_index_filters(),
    };
    settings.validate()?;
    Ok(settings)
}

fn metrics(configuration: &Configuration) -> Result<MetricsSettings> {
    let mut settings = MetricsSettings::default();
    for option in options::metrics::NATIVE_METRICS {
        if configuration.get(option)? {
            let name = option.key().strip_prefix(options::metrics::PREFIX).unwrap_or(option.key());
            settings.enabled.insert(name.parse()?);
        }
    }
    settings.column_family_as_variable = configuration.get(&options::metrics::COLUMN_FAMILY_AS_VARIABLE)?;
    Ok(settings)
}

/// The part of a configuration that is about RocksDB and its memory.
pub(super) fn own_keys(configuration: &Configuration) -> Configuration {
    let slots = [crate::options::NUM_TASK_SLOTS.info()];
    let own = options::ALL.iter().chain(options::metrics::ALL).chain(&slots);
    own.filter_map(|option| configuration.find(option)).collect()
}

/// Refuses what Highwater does not do, and reports keys that nobody knows.
pub(super) fn check_keys(configuration: &Configuration) -> Result<()> {
    only_default(configuration, &options::TIMER_SERVICE_CACHE_SIZE, "timers have no cache of their own")?;
    let expiring = "there is no state that expires";
    only_default(configuration, &options::COMPACT_FILTER_QUERY_TIME_AFTER_NUM_ENTRIES, expiring)?;
    only_default(configuration, &options::COMPACT_FILTER_PERIODIC_COMPACTION_TIME, expiring)?;
    let always = "it is always done";
    only_default(configuration, &options::USE_INGEST_DB_RESTORE_MODE, always)?;
    only_default(configuration, &options::USE_DELETE_FILES_IN_RANGE_DURING_RESCALING, always)?;
    only_default(configuration, &options::INCREMENTAL_RESTORE_ASYNC_COMPACT_AFTER_RESCALE, always)?;
    let automatic = "RocksDB merges small files by itself";
    only_default(configuration, &options::MANUAL_COMPACTION_MIN_INTERVAL, automatic)?;
    only_default(configuration, &options::MANUAL_COMPACTION_MAX_PARALLEL, automatic)?;
    only_default(configuration, &options::MANUAL_COMPACTION_MAX_FILE_SIZE, automatic)?;
    only_default(configuration, &options::MANUAL_COMPACTION_MIN_FILES, automatic)?;
    only_default(configuration, &options::MANUAL_COMPACTION_MAX_FILES, automatic)?;
    only_default(configuration, &options::MANUAL_COMPACTION_MAX_OUTPUT_FILE_SIZE, automatic)?;
    only_default(configuration, &options::MANUAL_COMPACTION_MAX_AUTO_COMPACTIONS, automatic)?;
    report_unknown_keys(configuration);
    Ok(())
}

fn only_default<T: ConfigValue + PartialEq>(
    configuration: &Configuration,
    option: &ConfigOption<T>,
    reason: &str,
) -> Result<()> {
    let (Some((key, text)), Some(default)) = (configuration.find(option.info()), option.info().default_text()) else {
        return Ok(());
    };
    if configuration.get(option)? == T::parse(default)? {
        return Ok(());
    }
    Err(Error::unsupported(format!("Highwater does not have this option: {reason}; remove the key"))
        .with("key", key)
        .with("value", text)
        .with("allowed", default))
}

/// Flink ignores keys that it does not know, and so does Highwater; but a slip of the pen should be heard.
fn report_unknown_keys(configuration: &Configuration) {
    for (key, nearest) in unknown_keys(configuration) {
        match nearest {
            Some(nearest) => tracing::warn!("the key '{key}' is unknown and has no effect: did you mean '{nearest}'?"),
            None => tracing::warn!("the key '{key}' is unknown and has no effect"),
        }
    }
}

/// Keys of RocksDB that no option has, each with the nearest one.
fn unknown_keys(configuration: &Configuration) -> Vec<(&str, Option<&'static str>)> {
    let known: Vec<_> = options::ALL.iter().chain(options::metrics::ALL).flat_map(|option| option.keys()).collect();
    let keys = configuration.iter().map(|(key, _)| key);
    keys.filter(|key| key.starts_with(PREFIX) && !known.contains(key))
        .map(|key| (key, nearest_key(key, &known)))
        .collect()
}

/// The prefix that all share does not count as likeness.
fn nearest_key(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let own = known.iter().filter_map(|key| key.strip_prefix(PREFIX));
    let found = nearest(key.strip_prefix(PREFIX)?, own)?;
    known.iter().copied().find(|key| key.strip_prefix(PREFIX) == Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_found_with_the_nearest() {
        let configuration: Configuration = [
            ("state.backend.rocksdb.localdirs", "/a"),
            ("state.backend.rocksdb.thread.num", "3"),
            ("state.backend.rocksdb.metrics.block-cache-usag", "true"),
            ("state.backend.rocksdb.zzzzzzzzz", "1"),
            ("state.backend.rocks", "1"),
        ]
        .into_iter()
        .collect();
        assert_eq!(
            unknown_keys(&configuration),
            [
                ("state.backend.rocksdb.localdirs", Some("state.backend.rocksdb.localdir")),
                (
                    "state.backend.rocksdb.metrics.block-cache-usag",
                    Some("state.backend.rocksdb.metrics.block-cache-usage")
                ),
                ("state.backend.rocksdb.zzzzzzzzz", None),
            ]
        );
    }
}
