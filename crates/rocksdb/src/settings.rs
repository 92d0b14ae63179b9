//! What a RocksDB backend is told: every setting with its effective value.

use std::path::PathBuf;
use std::sync::Arc;

use highwater_types::{Error, Result};

use crate::{ConfiguredOptions, MemorySettings, MetricsSettings, PredefinedOptions, RocksDbOptionsFactory};

/// Effective settings of the RocksDB stores of one job: plain values, no file is touched.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RocksDbSettings {
    /// Local directories for databases (`state.backend.rocksdb.localdir`); empty: the machine's directory for temporary
    /// files. Every new database takes the next one.
    pub local_directories: Vec<PathBuf>,
    /// Whether checkpoints consist of the database's own files, of which only new ones are uploaded
    /// (`execution.checkpointing.incremental`). Otherwise they are canonical streams.
    pub incremental: bool,
    /// Threads that upload or download files, at least 1 (`state.backend.rocksdb.checkpoint.transfer.thread.num`).
    pub transfer_threads: usize,
    /// Bytes of a write batch that make it be written, 0 for no limit (`state.backend.rocksdb.write-batch-size`).
    pub write_batch_size: u64,
    /// Profile (`state.backend.rocksdb.predefined-options`).
    pub predefined_options: PredefinedOptions,
    /// Options set one by one, stronger than the profile.
    pub configured_options: ConfiguredOptions,
    /// The program's own options, applied last.
    pub options_factory: Option<Arc<dyn RocksDbOptionsFactory>>,
    /// The memory budget.
    pub memory: MemorySettings,
    /// What is measured.
    pub metrics: MetricsSettings,
    /// Share of a snapshot's key groups, 0 to 1, that a restored database must need for it to be opened in place
    /// (`state.backend.rocksdb.restore-overlap-fraction-threshold`).
    pub restore_overlap_fraction: f64,
}

impl Default for RocksDbSettings {
    /// Flink's defaults: full checkpoints, 4 transfer threads, write batches of 2 MiB, 512 MiB of managed memory.
    fn default() -> Self {
        Self {
            local_directories: Vec::new(),
            incremental: false,
            transfer_threads: 4,
            write_batch_size: 2 << 20,
            predefined_options: PredefinedOptions::Default,
            configured_options: ConfiguredOptions::default(),
            options_factory: None,
            memory: MemorySettings::default(),
            metrics: MetricsSettings::default(),
            restore_overlap_fraction: 0.0,
        }
    }
}

impl RocksDbSettings {
    /// Configured options over those of the profile over Flink's defaults; the options factory comes after them.
    #[must_use]
    pub fn effective_options(&self) -> ConfiguredOptions {
        let profile = self.predefined_options.options();
        self.configured_options.clone().over(&profile).over(&ConfiguredOptions::defaults())
    }

    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// A configuration error that names key, value and range.
    pub fn validate(&self) -> Result<()> {
        if self.transfer_threads == 0 {
            return Err(Error::configuration("the number of threads that transfer files must be greater than zero")
                .with("key", "state.backend.rocksdb.checkpoint.transfer.thread.num")
                .with("found", self.transfer_threads));
        }
        if !(0.0..=1.0).contains(&self.restore_overlap_fraction) {
            return Err(Error::configuration("this fraction is out of range")
                .with("key", "state.backend.rocksdb.restore-overlap-fraction-threshold")
                .with("found", self.restore_overlap_fraction)
                .with("expected", "0 to 1"));
        }
        self.configured_options.validate()?;
        self.memory.validate()
    }
}
