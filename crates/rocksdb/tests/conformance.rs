//! RocksDB keeps what every byte store promises.

use highwater_rocksdb::RocksDbStoreFactory;
use highwater_state::conformance::Subject;

highwater_state::conformance_suite!(rocksdb, Subject::bytes(RocksDbStoreFactory::default()));
