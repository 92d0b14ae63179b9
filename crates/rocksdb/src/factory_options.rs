//! What an options factory may set, option by option.
//!
//! Snapshots, restores, rescaling, scans and the memory budget stand on some options. Each option of RocksDB is one of:
//!
//! - **refused** by its name, because state would be lost or a snapshot be wrong: [`REFUSED`] says why;
//! - **forced** to one value, because no other makes sense here ([`force_database`], [`force_columns`], and
//!   `cpp/options.cc` for what is not in RocksDB's C API);
//! - **free**: everything else. `tests/native/options.rs` sets each of them, takes full and incremental checkpoints, and
//!   restores them at other parallelisms.
//!
//! There is no write-ahead log, so options of it have no effect.

use highwater_types::{Error, Result};
use rust_rocksdb::Options;

use crate::SharedMemory;
use crate::native_options::{refused_columns, refused_database};

/// Options that a store cannot live with: their names, and what would go wrong.
const REFUSED: &[(&str, &str)] = &[
    ("env", "the files of a database are linked, copied and removed on the machine's own file system"),
    ("db_paths", "the files of a database must be in its own directory: give the backend local directories instead"),
    ("cf_paths", "the files of a database must be in its own directory: give the backend local directories instead"),
    ("compaction_service", "the files of a database must be written by the process that has it open"),
    ("allow_ingest_behind", "key groups of other subtasks could not be removed after a rescale"),
    ("cf_allow_ingest_behind", "key groups of other subtasks could not be removed after a rescale"),
    ("row_cache", "RocksDB cannot remove ranges of keys with it, which a rescale does"),
    ("comparator", "keys must be in the order of their bytes: key groups and map entries are ranges of keys"),
    ("compaction_filter", "it changes what snapshots hold that are being written"),
    ("compaction_filter_factory", "it changes what snapshots hold that are being written"),
    ("compaction_style=kCompactionStyleFIFO", "it deletes the oldest state when there is much: use LEVEL or UNIVERSAL"),
    (
        "compaction_style=kCompactionStyleNone",
        "files are never merged, so that writes stop for ever, and key groups of other subtasks could not be removed \
         after a rescale: use LEVEL or UNIVERSAL",
    ),
    ("enable_blob_files", "a database that is restored at another parallelism would lose its blob files"),
    ("inplace_update_support", "RocksDB has no snapshots with it, so that checkpoints would be wrong"),
    ("disallow_memtable_writes", "nothing could be written"),
    ("table_factory", "only files of the block-based format are checked, shared and taken over by other databases"),
    ("user_defined_index_factory", "the files could not be read without the program's own index"),
];

/// Looks for an option of a database that a store cannot live with.
pub(crate) fn check_database(options: &Options) -> Result<()> {
    refused_database(options).map_or(Ok(()), |name| Err(refuse(name)))
}

/// The same of a column family.
pub(crate) fn check_columns(options: &Options) -> Result<()> {
    refused_columns(options).map_or(Ok(()), |name| Err(refuse(name)))
}

#[cold]
fn refuse(name: &'static str) -> Error {
    let reason = REFUSED.iter().find(|(refused, _)| *refused == name).map_or("state would be lost", |(_, why)| why);
    Error::unsupported(format!("the options factory sets an option of RocksDB that Highwater does not have: {reason}"))
        .with("option", name)
}

/// Sets what a database must have.
pub(crate) fn force_database(options: &mut Options) {
    options.create_if_missing(true);
    // A restored database is there already.
    options.set_error_if_exists(false);
    options.set_use_fsync(false);
    options.set_stats_dump_period_sec(0);
    // What is not flushed is in no checkpoint; a store that is closed has nothing to lose.
    options.set_avoid_flush_during_shutdown(true);
    // A damaged or missing file must be an error: not be passed over, and not make RocksDB go back to an older state.
    options.set_paranoid_checks(true);
    options.set_best_efforts_recovery(false);
    // A column family that is no state: its keys belong to no key group.
    options.set_persist_stats_to_disk(false);
    // There is no log. Though empty, it would stay in another directory when the database's own is removed; and what
    // counts on a log would refuse to do without.
    options.set_wal_dir("");
    options.set_recycle_log_file_num(0);
    options.set_track_and_verify_wals(false);
    options.set_track_and_verify_wals_in_manifest(false);
}

/// Sets what a column family must have.
pub(crate) fn force_columns(options: &mut Options, memory: &SharedMemory) {
    // Write buffers that stay in memory after a flush never leave the account, on which writers wait for room.
    options.set_max_write_buffer_size_to_maintain(0);
    options.set_experimental_mempurge_threshold(0.0);
    if memory.pool().is_some() {
        // No more memory at once than the budget lets a state have.
        let most = memory.arena_block_size(options.get_write_buffer_size() as u64);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        options.set_arena_block_size(match options.get_arena_block_size() {
            0 => most,
            wanted => wanted.min(most),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_that_is_refused_has_a_reason() {
        let source = include_str!("../cpp/options.cc");
        let names = source.lines().filter(|line| line.trim_start().starts_with("if (")).filter_map(|line| {
            let (_, name) = line.split_once("return \"")?;
            name.strip_suffix("\";")
        });
        let names: Vec<_> = names.collect();
        assert_eq!(names.len(), REFUSED.len());
        assert!(names.iter().all(|name| REFUSED.iter().any(|(refused, _)| refused == name)), "{names:?}");
    }
}
