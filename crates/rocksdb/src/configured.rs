//! RocksDB options that are set one by one.

use std::path::PathBuf;

use highwater_types::{Error, Result};

use crate::{CompactionStyle, Compression, LogLevel};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// RocksDB options set one by one, each by its configuration key; `None` is "not set". Keys below stand without their
/// prefix `state.backend.rocksdb.`, sizes are bytes.
///
/// An option that is not set takes the value of the profile ([`PredefinedOptions`](crate::PredefinedOptions)), and if
/// that is silent too, its [default](Self::defaults), which is that of Flink 2.x.
///
/// ```
/// use highwater_rocksdb::{ConfiguredOptions, PredefinedOptions};
///
/// let configured = ConfiguredOptions { background_jobs: Some(3), ..ConfiguredOptions::default() };
/// let effective = configured.over(&PredefinedOptions::SpinningDiskOptimized.options()).over(&ConfiguredOptions::defaults());
/// assert_eq!(effective.background_jobs, Some(3)); // configured
/// assert_eq!(effective.dynamic_level_size, Some(true)); // profile
/// assert_eq!(effective.block_size, Some(4096)); // default
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfiguredOptions {
    /// `thread.num`: threads that flush and compact, per database, at least 1. Default 2.
    pub background_jobs: Option<u32>,
    /// `files.open`: most files a database keeps open, -1 for all. Default -1.
    pub open_files: Option<i32>,
    /// `log.level`: what goes into RocksDB's log. Default `INFO_LEVEL`.
    pub log_level: Option<LogLevel>,
    /// `log.dir`: an absolute directory for RocksDB's logs. Default: each log lies in its database's directory and
    /// goes with it.
    pub log_dir: Option<PathBuf>,
    /// `log.max-file-size`: size at which a log file is closed and a new one begun, 0 for never. Default 25 MiB.
    pub log_max_file_size: Option<u64>,
    /// `log.file-num`: log files to keep, at least 1. Default 4.
    pub log_file_count: Option<u32>,
    /// `compaction.style`: `LEVEL` or `UNIVERSAL`. Default `LEVEL`.
    pub compaction_style: Option<CompactionStyle>,
    /// `compression.per.level`: compression of each level from level 0; the last one is that of all further levels, so
    /// one is for all. Default `SNAPPY_COMPRESSION`.
    pub compression_per_level: Option<Vec<Compression>>,
    /// `compaction.level.use-dynamic-size`: levels are sized from the largest one up. Default false.
    pub dynamic_level_size: Option<bool>,
    /// `compaction.level.target-file-size-base`: size of a file of level 1, above 0. Default 64 MiB.
    pub target_file_size_base: Option<u64>,
    /// `compaction.level.max-size-level-base`: size of level 1, above 0. Default 256 MiB.
    pub max_level_size_base: Option<u64>,
    /// `writebuffer.size`: size of a write buffer (memtable), above 0; RocksDB takes at least 64 KiB. Default 64 MiB.
    pub write_buffer_size: Option<u64>,
    /// `writebuffer.count`: most write buffers of a state before writes wait, above 0; RocksDB takes at least 2.
    /// Default 2.
    pub write_buffer_count: Option<u32>,
    /// `writebuffer.number-to-merge`: write buffers that are merged into one file, above 0; RocksDB takes less than
    /// `writebuffer.count`. Default 1.
    pub write_buffers_to_merge: Option<u32>,
    /// `block.blocksize`: uncompressed size of a block, above 0. Default 4 KiB.
    pub block_size: Option<u64>,
    /// `block.metadata-blocksize`: size of a part of a partitioned index or filter, above 0. Default 4 KiB.
    pub metadata_block_size: Option<u64>,
    /// `block.cache-size`: block cache of each state, above 0; a bounded memory budget has one shared cache instead.
    /// Default 8 MiB.
    pub block_cache_size: Option<u64>,
    /// `use-bloom-filter`: new files get Bloom filters. Default false.
    pub bloom_filter: Option<bool>,
    /// `bloom-filter.bits-per-key`, above 0. Default 10.
    pub bloom_filter_bits_per_key: Option<f64>,
    /// `bloom-filter.block-based-mode`: one filter per block instead of one per file. RocksDB gave this up long ago
    /// and writes a filter per file in either case, as it does below Flink 2.x. Default false.
    pub bloom_filter_block_based: Option<bool>,
}

/// Runs a macro with the name of every option.
macro_rules! for_each_option {
    ($run:ident) => {
        $run!(
            background_jobs,
            open_files,
            log_level,
            log_dir,
            log_max_file_size,
            log_file_count,
            compaction_style,
            compression_per_level,
            dynamic_level_size,
            target_file_size_base,
            max_level_size_base,
            write_buffer_size,
            write_buffer_count,
            write_buffers_to_merge,
            block_size,
            metadata_block_size,
            block_cache_size,
            bloom_filter,
            bloom_filter_bits_per_key,
            bloom_filter_block_based,
        )
    };
}

impl ConfiguredOptions {
    /// The default of every key in Flink 2.x; only `log.dir` has none.
    #[must_use]
    pub fn defaults() -> Self {
        Self {
            background_jobs: Some(2),
            open_files: Some(-1),
            log_level: Some(LogLevel::Info),
            log_dir: None,
            log_max_file_size: Some(25 * MIB),
            log_file_count: Some(4),
            compaction_style: Some(CompactionStyle::Level),
            compression_per_level: Some(vec![Compression::Snappy]),
            dynamic_level_size: Some(false),
            target_file_size_base: Some(64 * MIB),
            max_level_size_base: Some(256 * MIB),
            write_buffer_size: Some(64 * MIB),
            write_buffer_count: Some(2),
            write_buffers_to_merge: Some(1),
            block_size: Some(4 * KIB),
            metadata_block_size: Some(4 * KIB),
            block_cache_size: Some(8 * MIB),
            bloom_filter: Some(false),
            bloom_filter_bits_per_key: Some(10.0),
            bloom_filter_block_based: Some(false),
        }
    }

    /// These options, and those of `weaker` where these are not set.
    #[must_use]
    pub fn over(self, weaker: &Self) -> Self {
        macro_rules! merge {
            ($($option:ident,)*) => {
                Self { $($option: self.$option.or_else(|| weaker.$option.clone())),* }
            };
        }
        for_each_option!(merge)
    }

    /// Checks the range of every option that is set.
    ///
    /// # Errors
    ///
    /// A configuration error that names key, value and range, or an unsupported one for a compression that Highwater's
    /// RocksDB lacks, and for a compaction style that loses state.
    pub fn validate(&self) -> Result<()> {
        at_least_one("thread.num", self.background_jobs)?;
        at_least_one("log.file-num", self.log_file_count)?;
        at_least_one("compaction.level.target-file-size-base", self.target_file_size_base)?;
        at_least_one("compaction.level.max-size-level-base", self.max_level_size_base)?;
        at_least_one("writebuffer.size", self.write_buffer_size)?;
        at_least_one("writebuffer.count", self.write_buffer_count)?;
        at_least_one("writebuffer.number-to-merge", self.write_buffers_to_merge)?;
        at_least_one("block.blocksize", self.block_size)?;
        at_least_one("block.metadata-blocksize", self.metadata_block_size)?;
        at_least_one("block.cache-size", self.block_cache_size)?;
        if let Some(open) = self.open_files.filter(|&open| open < -1) {
            return Err(out_of_range("files.open", open, "-1 for all, or 0 and more"));
        }
        if let Some(dir) = self.log_dir.as_ref().filter(|dir| !dir.is_absolute()) {
            return Err(out_of_range("log.dir", dir.display(), "an absolute path"));
        }
        // Not `<=`: a value that is no number is out of range as well.
        if let Some(bits) = self.bloom_filter_bits_per_key.filter(|&bits| !(bits > 0.0 && bits.is_finite())) {
            return Err(out_of_range("bloom-filter.bits-per-key", bits, "above 0"));
        }
        let of_key = |key: &str| format!("state.backend.rocksdb.{key}");
        if let Some(style) = self.compaction_style {
            style.to_rocksdb().map_err(|error| error.with("key", of_key("compaction.style")))?;
        }
        match self.compression_per_level.as_deref() {
            Some([]) => Err(out_of_range("compression.per.level", "", "one compression or more, from level 0")),
            levels => levels.unwrap_or_default().iter().try_for_each(|level| {
                level.to_rocksdb().map(|_| ()).map_err(|error| error.with("key", of_key("compression.per.level")))
            }),
        }
    }
}

fn at_least_one(key: &str, value: Option<impl Into<u64>>) -> Result<()> {
    match value.map(Into::into) {
        Some(0) => Err(out_of_range(key, 0, "larger than 0")),
        _ => Ok(()),
    }
}

fn out_of_range(key: &str, found: impl std::fmt::Display, expected: &str) -> Error {
    Error::configuration("this RocksDB option is out of range")
        .with("key", format_args!("state.backend.rocksdb.{key}"))
        .with("found", found)
        .with("expected", expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_within_its_range() {
        ConfiguredOptions::defaults().validate().unwrap();
        ConfiguredOptions::default().validate().unwrap();
    }

    #[test]
    fn values_out_of_range_name_their_key() {
        type Change = fn(&mut ConfiguredOptions);
        let wrong: [(&str, Change); 17] = [
            ("compaction.style", |o| o.compaction_style = Some(CompactionStyle::Fifo)),
            ("compaction.style", |o| o.compaction_style = Some(CompactionStyle::None)),
            ("thread.num", |o| o.background_jobs = Some(0)),
            ("files.open", |o| o.open_files = Some(-2)),
            ("log.dir", |o| o.log_dir = Some("logs".into())),
            ("log.file-num", |o| o.log_file_count = Some(0)),
            ("compression.per.level", |o| o.compression_per_level = Some(Vec::new())),
            ("compression.per.level", |o| o.compression_per_level = Some(vec![Compression::Zlib])),
            ("compaction.level.target-file-size-base", |o| o.target_file_size_base = Some(0)),
            ("compaction.level.max-size-level-base", |o| o.max_level_size_base = Some(0)),
            ("writebuffer.size", |o| o.write_buffer_size = Some(0)),
            ("writebuffer.count", |o| o.write_buffer_count = Some(0)),
            ("writebuffer.number-to-merge", |o| o.write_buffers_to_merge = Some(0)),
            ("block.blocksize", |o| o.block_size = Some(0)),
            ("block.metadata-blocksize", |o| o.metadata_block_size = Some(0)),
            ("block.cache-size", |o| o.block_cache_size = Some(0)),
            ("bloom-filter.bits-per-key", |o| o.bloom_filter_bits_per_key = Some(f64::NAN)),
        ];
        for (key, change) in wrong {
            let mut options = ConfiguredOptions::default();
            change(&mut options);
            let error = options.validate().unwrap_err();
            assert_eq!(error.value("key"), Some(format!("state.backend.rocksdb.{key}").as_str()), "{error}");
            assert!(error.value("expected").is_some());
        }
    }
}
