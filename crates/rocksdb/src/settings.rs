//! What a RocksDB backend is told: every setting with its effective value.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

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
    /// How often the compaction of a database that was restored at another parallelism cleans what belongs to others.
    pub async_compact_after_rescale: bool,
    /// Time between manual compactions of small files; zero: never.
    pub manual_compaction_interval: Duration,
}
