//! Working state in RocksDB: larger than memory, one column family per state, keys and values as Flink writes them.

mod columns;
mod database;
mod directories;
mod error;
mod factory;
mod frozen;
mod loading;
mod scan;
mod store;

pub use factory::RocksDbStoreFactory;
pub use store::RocksDbStore;
