//! Working state in RocksDB: larger than memory, checkpointed incrementally, with Flink's options.
//!
//! Each operator subtask has a database of its own, a [`RocksDbStore`]: one column family per state, keys and values
//! byte for byte those of Flink's RocksDB backend, list state appended by RocksDB's own merge operator, no write-ahead
//! log. Nothing of it survives a crash, and nothing has to: state comes back from checkpoints. A
//! [`RocksDbStoreFactory`] makes the stores of a job in its local directories and removes what crashed runs left there.
//!
//! A checkpoint is either a canonical stream, read from a RocksDB snapshot that costs no I/O to take, or the database's
//! own files, of which only new ones are uploaded ([`RocksDbSettings::incremental`]). Both come back at any parallelism,
//! and the files of Flink's RocksDB are read as well.
//!
//! All databases of a process share one block cache and one account of write buffers ([`MemorySettings`]). Options come
//! in layers, the later the stronger: defaults, a profile ([`PredefinedOptions`]), single options
//! ([`ConfiguredOptions`]), the program's own [`RocksDbOptionsFactory`], and what Highwater needs to be so.
//!
//! ```
//! use highwater_rocksdb::{PredefinedOptions, RocksDbSettings, RocksDbStoreFactory};
//! use highwater_state::{ByteStoreContext, KeyedBackend, ListStateDescriptor, ValueStateDescriptor};
//! use highwater_types::{DefaultSerializer, MaxParallelism};
//!
//! let mut settings = RocksDbSettings::default();
//! settings.predefined_options = PredefinedOptions::FlashSsdOptimized;
//! settings.memory.managed = Some(64 << 20);
//! let factory = RocksDbStoreFactory::new(settings)?;
//!
//! let max_parallelism = MaxParallelism::new(128)?;
//! let context = ByteStoreContext::new("counter-0", max_parallelism.all(), max_parallelism).with_job("words");
//! let backend = KeyedBackend::<String>::builder(String::default_serializer(), max_parallelism, max_parallelism.all())
//!     .byte_store(&factory, context)
//!     .build()?;
//! let count = backend.value_state(&ValueStateDescriptor::<i64>::new("count"))?;
//! let lines = backend.list_state(&ListStateDescriptor::<i32>::new("lines"))?;
//! for (line, word) in [(1, "to"), (1, "be"), (2, "or"), (2, "not"), (3, "to"), (3, "be")] {
//!     backend.set_current_key(word.to_owned())?;
//!     count.modify(|| 0, |count| *count += 1)?;
//!     lines.add(line)?;
//! }
//! assert_eq!(count.value()?, Some(2));
//! assert_eq!(lines.get()?, [1, 3]);
//! # Ok::<(), highwater_types::Error>(())
//! ```
//!
//! RocksDB is C++ and is compiled with this crate, which takes long once; `tools/setup` keeps the result.

mod columns;
mod configured;
mod database;
mod directories;
mod error;
mod factory;
mod factory_options;
mod frozen;
mod layers;
mod loading;
mod memory;
mod metrics;
mod names;
mod native;
mod native_options;
mod options_factory;
mod pages;
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
