//! A program's own RocksDB options.

use std::fmt::Debug;

use rust_rocksdb::{BlockBasedOptions, Options};

/// A program's own RocksDB options (Flink's `RocksDBOptionsFactory`, `state.backend.rocksdb.options-factory`), applied
/// after profile and configured options, so that it has the last word over both.
///
/// Only what a store stands on is set again afterwards: the append operator of list state, the file format that
/// Flink's RocksDB can read, no flush on closing, checks of files, no write buffers that stay in memory after a flush, and,
/// with a bounded memory budget, the shared block cache and write buffers.
///
/// These are refused by their names when the first store is made, because state would be lost or snapshots be wrong:
/// another comparator, compaction filters, the compaction styles FIFO and NONE, blob files, in-place updates, tables that
/// are not block-based or have an index of the program's own, other paths or another environment for the files, a row cache, a
/// compaction service, and files to be ingested behind others. Everything else is yours.
///
/// ```
/// use highwater_rocksdb::RocksDbOptionsFactory;
/// use highwater_rocksdb::rust_rocksdb::{BlockBasedOptions, Options};
///
/// /// Many readers of a slow disk.
/// #[derive(Debug)]
/// struct SlowDisk;
///
/// impl RocksDbOptionsFactory for SlowDisk {
///     fn name(&self) -> &str {
///         "slow-disk"
///     }
///
///     fn column_options(&self, state: &str, options: &mut Options) {
///         // One state is small and read all the time.
///         if state == "rates" {
///             options.set_optimize_filters_for_hits(true);
///         }
///     }
///
///     fn table_options(&self, _state: &str, table: &mut BlockBasedOptions) {
///         table.set_bloom_filter(12.0, false);
///     }
/// }
/// ```
pub trait RocksDbOptionsFactory: Debug + Send + Sync {
    /// The name it is registered by and that messages show.
    fn name(&self) -> &str;

    /// Changes the options of a database (Flink's `createDBOptions`).
    fn database_options(&self, options: &mut Options) {
        let _ = options;
    }

    /// Changes the options of the column family that holds a state (Flink's `createColumnOptions`). The options hold
    /// the table options already: setting a table factory here replaces them as a whole.
    fn column_options(&self, state: &str, options: &mut Options) {
        let _ = (state, options);
    }

    /// Changes how a state's files are laid out: blocks, indexes and filters. Runs before
    /// [`column_options`](Self::column_options).
    fn table_options(&self, state: &str, table: &mut BlockBasedOptions) {
        let _ = (state, table);
    }
}
