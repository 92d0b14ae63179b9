//! `RocksDbStateBackend`: state in RocksDB, checkpoints wherever another backend or the job says.

mod backend;
mod factories;
mod fields;
mod local_directories;
mod memory;
pub mod metrics_options;
pub mod options;
mod settings;
mod stream_backend;
mod values;

pub use backend::{EmbeddedRocksDBStateBackend, RocksDBStateBackend, RocksDbStateBackend};
pub use factories::ConfigurableRocksDbOptionsFactory;
pub(crate) use factories::OptionsFactories;
pub use memory::RocksDbMemoryConfiguration;
pub use options::PriorityQueueStateType;
pub use stream_backend::CheckpointStreamBackend;
