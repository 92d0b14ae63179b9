//! Every key of the RocksDB backend, with Flink's default.
//!
//! What Highwater does not do is refused when it is asked for: the descriptions of those keys say so. A key below
//! `state.backend.rocksdb.` that is not here is reported in the log with the nearest one, since Flink may have it in a
//! later release.

use std::time::Duration;

use highwater_rocksdb::{CompactionStyle, LogLevel};
use highwater_types::Result;

pub use super::metrics_options as metrics;
use crate::config::{ConfigOption, ConfigValue, MemorySize, OptionInfo, config_enum};
use crate::options::options;

config_enum! {
    /// Where timers are kept (Flink's `PriorityQueueStateType`).
    pub enum PriorityQueueStateType {
        /// On the heap. Highwater does not have it: timers belong to the store.
        Heap = "HEAP",
        /// In RocksDB.
        RocksDb = "ROCKSDB",
    }
}

macro_rules! named_values {
    ($($type:ty),*) => {$(
        impl ConfigValue for $type {
            fn parse(text: &str) -> Result<Self> {
                text.parse()
            }

            fn print(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}

named_values!(LogLevel, CompactionStyle);

options! {
    /// Whether checkpoints consist of RocksDB's own files, of which only new ones are uploaded. Backends on the heap
    /// ignore it.
    INCREMENTAL_CHECKPOINTS: bool = new("execution.checkpointing.incremental", "false"),
        older ["state.backend.incremental"];
    /// Local directories for databases, absolute paths or `file:` URIs with commas or colons between them. Not set: the
    /// machine's directory for temporary files.
    LOCAL_DIRECTORIES: Option<String> = optional("state.backend.rocksdb.localdir"),
        older ["state.backend.rocksdb.checkpointdir"];
    /// Where timers are kept: `ROCKSDB`. Highwater has no timers on the heap beside a RocksDB.
    TIMER_SERVICE_FACTORY: PriorityQueueStateType = new("state.backend.rocksdb.timer-service.factory", "ROCKSDB");
    /// Threads that upload or download the files of a checkpoint, at least 1.
    CHECKPOINT_TRANSFER_THREAD_NUM: i32 = new("state.backend.rocksdb.checkpoint.transfer.thread.num", "4");
    /// Name of a profile: `DEFAULT`, `SPINNING_DISK_OPTIMIZED`, `SPINNING_DISK_OPTIMIZED_HIGH_MEM` or
    /// `FLASH_SSD_OPTIMIZED`, in exactly these letters.
    PREDEFINED_OPTIONS: String = new("state.backend.rocksdb.predefined-options", "DEFAULT");
    /// Name of an options factory that the program registered.
    OPTIONS_FACTORY: Option<String> = optional("state.backend.rocksdb.options-factory");
    /// Size of a write batch that makes it be written; 0 leaves it to the number of records.
    WRITE_BATCH_SIZE: MemorySize = new("state.backend.rocksdb.write-batch-size", "2 mb");

    /// Whether all databases of the process share the managed memory.
    USE_MANAGED_MEMORY: bool = new("state.backend.rocksdb.memory.managed", "true");
    /// Memory of all databases of one worker, above 0; stronger than managed memory.
    FIX_PER_SLOT_MEMORY_SIZE: Option<MemorySize> = optional("state.backend.rocksdb.memory.fixed-per-slot");
    /// Memory of all databases of the process, above 0; only if managed memory is off.
    FIX_PER_TM_MEMORY_SIZE: Option<MemorySize> = optional("state.backend.rocksdb.memory.fixed-per-tm");
    /// Share of the memory that write buffers may take, between 0 and 1.
    WRITE_BUFFER_RATIO: f64 = new("state.backend.rocksdb.memory.write-buffer-ratio", "0.5");
    /// Share of the block cache that is kept for indexes and filters, between 0 and 1.
    HIGH_PRIORITY_POOL_RATIO: f64 = new("state.backend.rocksdb.memory.high-prio-pool-ratio", "0.1");
    /// Whether indexes and filters are cut into blocks, of which only the top must stay in memory.
    USE_PARTITIONED_INDEX_FILTERS: bool = new("state.backend.rocksdb.memory.partitioned-index-filters", "false");
    /// Managed memory of the process. Not set: a share of the total memory if that is set, else 512 mb, which is what
    /// a task manager has with the configuration file that Flink ships.
    MANAGED_MEMORY_SIZE: Option<MemorySize> = optional("taskmanager.memory.managed.size");
    /// Share of the total memory that is managed, above 0 and at most 1.
    MANAGED_MEMORY_FRACTION: f64 = new("taskmanager.memory.managed.fraction", "0.4");
    /// Total memory of the process, of which managed memory is a share.
    TOTAL_FLINK_MEMORY: Option<MemorySize> = optional("taskmanager.memory.flink.size");
    /// Threads for flushes and compactions of one database, at least 1.
    THREAD_NUM: i32 = new("state.backend.rocksdb.thread.num", "2");
    /// Files that a database may keep open; -1: all.
    FILES_OPEN: i32 = new("state.backend.rocksdb.files.open", "-1");
    /// What RocksDB writes into its own log.
    LOG_LEVEL: LogLevel = new("state.backend.rocksdb.log.level", "INFO_LEVEL");
    /// Directory of RocksDB's own log, absolute. Not set: that of the database.
    LOG_DIR: Option<String> = optional("state.backend.rocksdb.log.dir");
    /// Size of RocksDB's own log at which a new file begins; 0: one file.
    LOG_MAX_FILE_SIZE: MemorySize = new("state.backend.rocksdb.log.max-file-size", "25 mb");
    /// Files of RocksDB's own log that are kept, at least 1.
    LOG_FILE_NUM: i32 = new("state.backend.rocksdb.log.file-num", "4");
    /// How files are merged: `LEVEL` or `UNIVERSAL`. The other styles of RocksDB lose state, and are refused.
    COMPACTION_STYLE: CompactionStyle = new("state.backend.rocksdb.compaction.style", "LEVEL");
    /// Compression of each level, the last one for all further levels.
    COMPRESSION_PER_LEVEL: Vec<String> =
        new("state.backend.rocksdb.compression.per.level", "SNAPPY_COMPRESSION");
    /// Whether the sizes of levels follow the size of the last one.
    USE_DYNAMIC_LEVEL_SIZE: bool = new("state.backend.rocksdb.compaction.level.use-dynamic-size", "false");
    /// Size of a file of the first level, above 0.
    TARGET_FILE_SIZE_BASE: MemorySize = new("state.backend.rocksdb.compaction.level.target-file-size-base", "64 mb");
    /// Size of the first level, above 0.
    MAX_SIZE_LEVEL_BASE: MemorySize = new("state.backend.rocksdb.compaction.level.max-size-level-base", "256 mb");
    /// Size of a write buffer, above 0.
    WRITE_BUFFER_SIZE: MemorySize = new("state.backend.rocksdb.writebuffer.size", "64 mb");
    /// Write buffers of a state, at least 1.
    MAX_WRITE_BUFFER_NUMBER: i32 = new("state.backend.rocksdb.writebuffer.count", "2");
    /// Write buffers that are merged before they become a file, at least 1.
    MIN_WRITE_BUFFER_NUMBER_TO_MERGE: i32 = new("state.backend.rocksdb.writebuffer.number-to-merge", "1");
    /// Size of a block of a file before compression, above 0.
    BLOCK_SIZE: MemorySize = new("state.backend.rocksdb.block.blocksize", "4 kb");
    /// Size of a block of an index or filter that is cut into blocks, above 0.
    METADATA_BLOCK_SIZE: MemorySize = new("state.backend.rocksdb.block.metadata-blocksize", "4 kb");
    /// Size of the block cache of a state where memory has no budget, above 0.
    BLOCK_CACHE_SIZE: MemorySize = new("state.backend.rocksdb.block.cache-size", "8 mb");
    /// Whether files have a Bloom filter.
    USE_BLOOM_FILTER: bool = new("state.backend.rocksdb.use-bloom-filter", "false");
    /// Bits of the Bloom filter for each key, above 0.
    BLOOM_FILTER_BITS_PER_KEY: f64 = new("state.backend.rocksdb.bloom-filter.bits-per-key", "10.0");
    /// Share of a snapshot's key groups, 0 to 1, that a subtask must need for its database to be opened in place.
    RESTORE_OVERLAP_FRACTION_THRESHOLD: f64 =
        new("state.backend.rocksdb.restore-overlap-fraction-threshold", "0.0");
    /// Time between manual compactions of small files; 0: none. Only the default is accepted: RocksDB merges small files
    /// by itself.
    MANUAL_COMPACTION_MIN_INTERVAL: Duration = new("state.backend.rocksdb.manual-compaction.min-interval", "0 ms");

    /// Timers that are kept in memory for each key group. Highwater's timers have no such cache: only the default is
    /// accepted.
    TIMER_SERVICE_CACHE_SIZE: i32 = new("state.backend.rocksdb.timer-service.cache-size", "128");
    /// Whether Bloom filters are made for blocks instead of files. RocksDB has given that up and makes them for files.
    BLOOM_FILTER_BLOCK_BASED_MODE: bool = new("state.backend.rocksdb.bloom-filter.block-based-mode", "false");
    /// Entries after which the compaction filter for expired state asks for the time. Highwater has no state that
    /// expires: only the default is accepted.
    COMPACT_FILTER_QUERY_TIME_AFTER_NUM_ENTRIES: i64 =
        new("state.backend.rocksdb.compaction.filter.query-time-after-num-entries", "1000");
    /// Age at which files are compacted for the sake of expired state. Highwater has no state that expires: only the
    /// default is accepted.
    COMPACT_FILTER_PERIODIC_COMPACTION_TIME: Duration =
        new("state.backend.rocksdb.compaction.filter.periodic-compaction-time", "30 d");
    /// Whether files of several snapshots are taken over as they are, instead of entry by entry. Highwater always does
    /// (Flink's default is false): only the default is accepted.
    USE_INGEST_DB_RESTORE_MODE: bool = new("state.backend.rocksdb.use-ingest-db-restore-mode", "true");
    /// Whether files with nothing but key groups of other subtasks are deleted as a whole. Highwater always does
    /// (Flink's default is false): only the default is accepted.
    USE_DELETE_FILES_IN_RANGE_DURING_RESCALING: bool =
        new("state.backend.rocksdb.rescaling.use-delete-files-in-range", "true");
    /// Whether a database that was restored at another parallelism is compacted in the background, where it holds what
    /// belongs to others. Highwater always does (Flink's default is false): only the default is accepted.
    INCREMENTAL_RESTORE_ASYNC_COMPACT_AFTER_RESCALE: bool =
        new("state.backend.rocksdb.incremental-restore-async-compact-after-rescale", "true");
    /// Manual compactions at once. Only the default is accepted: RocksDB merges small files by itself.
    MANUAL_COMPACTION_MAX_PARALLEL: i32 =
        new("state.backend.rocksdb.manual-compaction.max-parallel-compactions", "5");
    /// Files up to this size are compacted manually. Only the default is accepted.
    MANUAL_COMPACTION_MAX_FILE_SIZE: MemorySize =
        new("state.backend.rocksdb.manual-compaction.max-file-size-to-compact", "50 kb");
    /// Fewest files of a manual compaction. Only the default is accepted.
    MANUAL_COMPACTION_MIN_FILES: i32 = new("state.backend.rocksdb.manual-compaction.min-files-to-compact", "5");
    /// Most files of a manual compaction. Only the default is accepted.
    MANUAL_COMPACTION_MAX_FILES: i32 = new("state.backend.rocksdb.manual-compaction.max-files-to-compact", "30");
    /// Size of a file that a manual compaction writes. Only the default is accepted.
    MANUAL_COMPACTION_MAX_OUTPUT_FILE_SIZE: MemorySize =
        new("state.backend.rocksdb.manual-compaction.max-output-file-size", "64 mb");
    /// Automatic compactions under way that hold up manual ones. Only the default is accepted.
    MANUAL_COMPACTION_MAX_AUTO_COMPACTIONS: i32 =
        new("state.backend.rocksdb.manual-compaction.max-auto-compactions", "30");
}
