//! Flink's profiles for kinds of disks.

use std::fmt;
use std::str::FromStr;

use highwater_types::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{CompactionStyle, ConfiguredOptions};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// A profile of RocksDB options for a kind of disk (Flink's `PredefinedOptions`,
/// `state.backend.rocksdb.predefined-options`), with the values of Flink 2.x.
///
/// A profile is weaker than options set one by one ([`ConfiguredOptions`]) and stronger than their defaults. What a
/// profile sets is what [`options`](Self::options) returns. With a bounded memory budget the block cache of a profile
/// gives way to the shared one.
///
/// ```
/// use highwater_rocksdb::PredefinedOptions;
///
/// let profile: PredefinedOptions = "FLASH_SSD_OPTIMIZED".parse()?;
/// assert_eq!(profile, PredefinedOptions::FlashSsdOptimized);
/// assert_eq!(profile.to_string(), "FLASH_SSD_OPTIMIZED");
/// assert_eq!(profile.options().background_jobs, Some(4));
/// // Names are matched as they are written, as in Flink.
/// assert!("flash_ssd_optimized".parse::<PredefinedOptions>().is_err());
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PredefinedOptions {
    /// Sets nothing: every option has the default of its key.
    #[default]
    Default = 0,
    /// For spinning disks: level compaction with dynamic level sizes, 4 background jobs, all files kept open.
    SpinningDiskOptimized = 1,
    /// For spinning disks and plenty of memory: [`SpinningDiskOptimized`](Self::SpinningDiskOptimized) with larger
    /// files (256 MiB, levels from 1 GiB), up to 4 write buffers of 64 MiB merged by threes, blocks of 128 KiB in a
    /// cache of 256 MiB per state, and Bloom filters of 10 bits per key.
    SpinningDiskOptimizedHighMem = 2,
    /// For flash: 4 background jobs, all files kept open.
    FlashSsdOptimized = 3,
}

impl PredefinedOptions {
    /// All profiles in the order of their numbers.
    pub const ALL: [Self; 4] =
        [Self::Default, Self::SpinningDiskOptimized, Self::SpinningDiskOptimizedHighMem, Self::FlashSsdOptimized];

    /// The name in Flink's configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "DEFAULT",
            Self::SpinningDiskOptimized => "SPINNING_DISK_OPTIMIZED",
            Self::SpinningDiskOptimizedHighMem => "SPINNING_DISK_OPTIMIZED_HIGH_MEM",
            Self::FlashSsdOptimized => "FLASH_SSD_OPTIMIZED",
        }
    }

    /// The number PyFlink gives it, 0 to 3.
    #[must_use]
    pub const fn ordinal(self) -> usize {
        self as usize
    }

    /// The profile of a number from 0 to 3.
    #[must_use]
    pub fn from_ordinal(ordinal: usize) -> Option<Self> {
        Self::ALL.get(ordinal).copied()
    }

    /// What this profile sets.
    #[must_use]
    pub fn options(self) -> ConfiguredOptions {
        let jobs = ConfiguredOptions { background_jobs: Some(4), open_files: Some(-1), ..ConfiguredOptions::default() };
        match self {
            Self::Default => ConfiguredOptions::default(),
            Self::FlashSsdOptimized => jobs,
            Self::SpinningDiskOptimized => ConfiguredOptions {
                compaction_style: Some(CompactionStyle::Level),
                dynamic_level_size: Some(true),
                ..jobs
            },
            Self::SpinningDiskOptimizedHighMem => ConfiguredOptions {
                dynamic_level_size: Some(true),
                target_file_size_base: Some(256 * MIB),
                max_level_size_base: Some(1024 * MIB),
                write_buffer_size: Some(64 * MIB),
                write_buffer_count: Some(4),
                write_buffers_to_merge: Some(3),
                block_size: Some(128 * KIB),
                block_cache_size: Some(256 * MIB),
                bloom_filter: Some(true),
                bloom_filter_bits_per_key: Some(10.0),
                bloom_filter_block_based: Some(false),
                ..jobs
            },
        }
    }
}

impl fmt::Display for PredefinedOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for PredefinedOptions {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == text).ok_or_else(|| {
            Error::configuration("there is no such profile of RocksDB options; names are written in upper case")
                .with("found", text)
                .with("expected", crate::names::list(Self::ALL))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_go_both_ways() {
        for (ordinal, profile) in PredefinedOptions::ALL.into_iter().enumerate() {
            assert_eq!(profile.ordinal(), ordinal);
            assert_eq!(PredefinedOptions::from_ordinal(ordinal), Some(profile));
            assert_eq!(profile.to_string().parse::<PredefinedOptions>().unwrap(), profile);
            let json = serde_json::to_string(&profile).unwrap();
            assert_eq!(json, format!("\"{profile}\""));
            assert_eq!(serde_json::from_str::<PredefinedOptions>(&json).unwrap(), profile);
        }
        assert_eq!(PredefinedOptions::from_ordinal(4), None);
    }

    #[test]
    fn an_unknown_name_lists_what_exists() {
        for wrong in ["default", "", "DEFAULT ", "SSD"] {
            let error = wrong.parse::<PredefinedOptions>().unwrap_err();
            assert_eq!(error.value("found"), Some(wrong));
            assert_eq!(
                error.value("expected"),
                Some("DEFAULT, SPINNING_DISK_OPTIMIZED, SPINNING_DISK_OPTIMIZED_HIGH_MEM, FLASH_SSD_OPTIMIZED")
            );
        }
    }
}
