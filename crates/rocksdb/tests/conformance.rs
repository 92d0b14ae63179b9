//! RocksDB keeps what every byte store promises, whatever its checkpoints consist of.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use highwater_rocksdb::{RocksDbSettings, RocksDbStoreFactory};
use highwater_state::conformance::Subject;

/// Stores whose checkpoints are their files.
fn incremental() -> RocksDbStoreFactory {
    let mut settings = RocksDbSettings::default();
    settings.incremental = true;
    RocksDbStoreFactory::new(settings).unwrap()
}

highwater_state::conformance_suite!(rocksdb, Subject::bytes(RocksDbStoreFactory::default()));
highwater_state::conformance_suite!(rocksdb_incremental, Subject::bytes(incremental()));
