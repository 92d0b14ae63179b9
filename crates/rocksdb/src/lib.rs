//! Working state in RocksDB: larger than memory, one column family per state, keys and values as Flink writes them.

mod columns;
mod configured;
mod database;
mod directories;
mod error;
mod factory;
mod frozen;
mod layers;
mod loading;
mod memory;
mod metrics;
mod names;
mod native;
mod native_options;
mod options_factory;
mod predefined;
mod scan;
mod settings;
mod store;

pub use configured::ConfiguredOptions;
pub use factory::RocksDbStoreFactory;
pub use layers::Layers;
pub use memory::{BudgetSource, MemoryBudget, MemoryCondition, MemorySettings, MemoryUsage, SharedMemory};
pub use metrics::{MetricsReporter, MetricsSettings, RocksDbMetric};
pub use names::{CompactionStyle, Compression, LogLevel};
pub use options_factory::RocksDbOptionsFactory;
pub use predefined::PredefinedOptions;
/// The binding, whose types an options factory changes.
pub use rust_rocksdb;
pub use settings::RocksDbSettings;
pub use store::RocksDbStore;
