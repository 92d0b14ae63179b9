//! A job on RocksDB whose checkpoints, local disk or uploads come to harm: it ends with the right counts, or says what
//! is wrong and touches nothing.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "a failed assumption should stop the test, in helpers too; not every module uses all of them"
)]

#[cfg(feature = "rocksdb")]
mod aborted;
#[cfg(feature = "rocksdb")]
mod damage;
#[cfg(feature = "rocksdb")]
mod local_disk;
#[cfg(feature = "rocksdb")]
mod ownership;
#[cfg(feature = "rocksdb")]
mod place;
#[cfg(feature = "rocksdb")]
mod restores;
#[cfg(feature = "rocksdb")]
#[path = "../../../dataflow/tests/support/mod.rs"]
mod support;
#[cfg(feature = "rocksdb")]
mod switching;

#[cfg(not(feature = "rocksdb"))]
#[test]
fn rocksdb_is_left_out() {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "SKIPPED: the tests of faults below RocksDB need `--features rocksdb`");
}
