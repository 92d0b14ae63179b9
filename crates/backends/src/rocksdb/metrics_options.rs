//! The keys of RocksDB's own metrics, all off by default. Those of the statistics make every access a little slower.

use crate::config::{ConfigOption, OptionInfo};
use crate::options::options;

/// All keys here begin so; the rest is the name of the metric.
pub(super) const PREFIX: &str = "state.backend.rocksdb.metrics.";

options! {
    /// Write buffers that wait to be flushed.
    NUM_IMMUTABLE_MEM_TABLE: bool = new("state.backend.rocksdb.metrics.num-immutable-mem-table", "false");
    /// Whether a flush is pending.
    MEM_TABLE_FLUSH_PENDING: bool = new("state.backend.rocksdb.metrics.mem-table-flush-pending", "false");
    /// Whether a compaction is pending.
    COMPACTION_PENDING: bool = new("state.backend.rocksdb.metrics.compaction-pending", "false");
    /// Errors of flushes and compactions.
    BACKGROUND_ERRORS: bool = new("state.backend.rocksdb.metrics.background-errors", "false");
    /// Bytes of the active write buffer.
    CUR_SIZE_ACTIVE_MEM_TABLE: bool = new("state.backend.rocksdb.metrics.cur-size-active-mem-table", "false");
    /// Bytes of the active write buffer and those that wait to be flushed.
    CUR_SIZE_ALL_MEM_TABLES: bool = new("state.backend.rocksdb.metrics.cur-size-all-mem-tables", "false");
    /// Bytes of all write buffers, pinned ones too.
    SIZE_ALL_MEM_TABLES: bool = new("state.backend.rocksdb.metrics.size-all-mem-tables", "false");
    /// Entries of the active write buffer.
    NUM_ENTRIES_ACTIVE_MEM_TABLE: bool = new("state.backend.rocksdb.metrics.num-entries-active-mem-table", "false");
    /// Entries of the write buffers that wait to be flushed.
    NUM_ENTRIES_IMM_MEM_TABLES: bool = new("state.backend.rocksdb.metrics.num-entries-imm-mem-tables", "false");
    /// Deletions in the active write buffer.
    NUM_DELETES_ACTIVE_MEM_TABLE: bool = new("state.backend.rocksdb.metrics.num-deletes-active-mem-table", "false");
    /// Deletions in the write buffers that wait to be flushed.
    NUM_DELETES_IMM_MEM_TABLES: bool = new("state.backend.rocksdb.metrics.num-deletes-imm-mem-tables", "false");
    /// Estimate of the number of keys.
    ESTIMATE_NUM_KEYS: bool = new("state.backend.rocksdb.metrics.estimate-num-keys", "false");
    /// Estimate of the bytes that readers of files take outside of the block cache.
    ESTIMATE_TABLE_READERS_MEM: bool = new("state.backend.rocksdb.metrics.estimate-table-readers-mem", "false");
    /// Snapshots that are held.
    NUM_SNAPSHOTS: bool = new("state.backend.rocksdb.metrics.num-snapshots", "false");
    /// Versions of the set of files that are held.
    NUM_LIVE_VERSIONS: bool = new("state.backend.rocksdb.metrics.num-live-versions", "false");
    /// Estimate of the bytes of live data.
    ESTIMATE_LIVE_DATA_SIZE: bool = new("state.backend.rocksdb.metrics.estimate-live-data-size", "false");
    /// Bytes of all files, of every version that is held.
    TOTAL_SST_FILES_SIZE: bool = new("state.backend.rocksdb.metrics.total-sst-files-size", "false");
    /// Bytes of the files of the current version.
    LIVE_SST_FILES_SIZE: bool = new("state.backend.rocksdb.metrics.live-sst-files-size", "false");
    /// Files at each level.
    NUM_FILES_AT_LEVEL: bool = new("state.backend.rocksdb.metrics.num-files-at-level", "false");
    /// Estimate of the bytes that compactions must rewrite.
    ESTIMATE_PENDING_COMPACTION_BYTES: bool = new("state.backend.rocksdb.metrics.estimate-pending-compaction-bytes", "false");
    /// Compactions under way.
    NUM_RUNNING_COMPACTIONS: bool = new("state.backend.rocksdb.metrics.num-running-compactions", "false");
    /// Flushes under way.
    NUM_RUNNING_FLUSHES: bool = new("state.backend.rocksdb.metrics.num-running-flushes", "false");
    /// Bytes a second to which writes are slowed down; 0: they are not.
    ACTUAL_DELAYED_WRITE_RATE: bool = new("state.backend.rocksdb.metrics.actual-delayed-write-rate", "false");
    /// Whether writes are stopped.
    IS_WRITE_STOPPED: bool = new("state.backend.rocksdb.metrics.is-write-stopped", "false");
    /// Capacity of the block cache in bytes.
    BLOCK_CACHE_CAPACITY: bool = new("state.backend.rocksdb.metrics.block-cache-capacity", "false");
    /// Bytes in the block cache.
    BLOCK_CACHE_USAGE: bool = new("state.backend.rocksdb.metrics.block-cache-usage", "false");
    /// Bytes in the block cache that cannot leave it.
    BLOCK_CACHE_PINNED_USAGE: bool = new("state.backend.rocksdb.metrics.block-cache-pinned-usage", "false");
    /// Blocks found in the cache (statistics).
    BLOCK_CACHE_HIT: bool = new("state.backend.rocksdb.metrics.block-cache-hit", "false");
    /// Blocks not found in the cache (statistics).
    BLOCK_CACHE_MISS: bool = new("state.backend.rocksdb.metrics.block-cache-miss", "false");
    /// Reads of files that Bloom filters saved (statistics).
    BLOOM_FILTER_USEFUL: bool = new("state.backend.rocksdb.metrics.bloom-filter-useful", "false");
    /// Reads of files that Bloom filters let pass (statistics).
    BLOOM_FILTER_FULL_POSITIVE: bool = new("state.backend.rocksdb.metrics.bloom-filter-full-positive", "false");
    /// Reads of files that Bloom filters let pass and that found the key (statistics).
    BLOOM_FILTER_FULL_TRUE_POSITIVE: bool = new("state.backend.rocksdb.metrics.bloom-filter-full-true-positive", "false");
    /// Bytes of values that were read (statistics).
    BYTES_READ: bool = new("state.backend.rocksdb.metrics.bytes-read", "false");
    /// Bytes of entries that iterators passed (statistics).
    ITER_BYTES_READ: bool = new("state.backend.rocksdb.metrics.iter-bytes-read", "false");
    /// Bytes that were written by the program (statistics).
    BYTES_WRITTEN: bool = new("state.backend.rocksdb.metrics.bytes-written", "false");
    /// Bytes that compactions read (statistics).
    COMPACTION_READ_BYTES: bool = new("state.backend.rocksdb.metrics.compaction-read-bytes", "false");
    /// Bytes that compactions wrote (statistics).
    COMPACTION_WRITE_BYTES: bool = new("state.backend.rocksdb.metrics.compaction-write-bytes", "false");
    /// Microseconds for which writes were held up (statistics).
    STALL_MICROS: bool = new("state.backend.rocksdb.metrics.stall-micros", "false");
    /// Whether the state is a label of each metric instead of a part of its name.
    COLUMN_FAMILY_AS_VARIABLE: bool = new("state.backend.rocksdb.metrics.column-family-as-variable", "false");
}

/// The options that are a metric each.
pub(super) static NATIVE_METRICS: &[&ConfigOption<bool>] = &[
    &NUM_IMMUTABLE_MEM_TABLE,
    &MEM_TABLE_FLUSH_PENDING,
    &COMPACTION_PENDING,
    &BACKGROUND_ERRORS,
    &CUR_SIZE_ACTIVE_MEM_TABLE,
    &CUR_SIZE_ALL_MEM_TABLES,
    &SIZE_ALL_MEM_TABLES,
    &NUM_ENTRIES_ACTIVE_MEM_TABLE,
    &NUM_ENTRIES_IMM_MEM_TABLES,
    &NUM_DELETES_ACTIVE_MEM_TABLE,
    &NUM_DELETES_IMM_MEM_TABLES,
    &ESTIMATE_NUM_KEYS,
    &ESTIMATE_TABLE_READERS_MEM,
    &NUM_SNAPSHOTS,
    &NUM_LIVE_VERSIONS,
    &ESTIMATE_LIVE_DATA_SIZE,
    &TOTAL_SST_FILES_SIZE,
    &LIVE_SST_FILES_SIZE,
    &NUM_FILES_AT_LEVEL,
    &ESTIMATE_PENDING_COMPACTION_BYTES,
    &NUM_RUNNING_COMPACTIONS,
    &NUM_RUNNING_FLUSHES,
    &ACTUAL_DELAYED_WRITE_RATE,
    &IS_WRITE_STOPPED,
    &BLOCK_CACHE_CAPACITY,
    &BLOCK_CACHE_USAGE,
    &BLOCK_CACHE_PINNED_USAGE,
    &BLOCK_CACHE_HIT,
    &BLOCK_CACHE_MISS,
    &BLOOM_FILTER_USEFUL,
    &BLOOM_FILTER_FULL_POSITIVE,
    &BLOOM_FILTER_FULL_TRUE_POSITIVE,
    &BYTES_READ,
    &ITER_BYTES_READ,
    &BYTES_WRITTEN,
    &COMPACTION_READ_BYTES,
    &COMPACTION_WRITE_BYTES,
    &STALL_MICROS,
];
