//! Flink's state backends as configuration: which store holds the working state of a job, where its checkpoints go,
//! and every key that says so.
//!
//! - [`MemoryStateBackend`], [`FsStateBackend`], [`HashMapStateBackend`] and, for a store of your own,
//!   [`CustomStateBackend`] are [`StateBackend`]s: values that an application builds with fields possibly unset.
//! - `RocksDbStateBackend`, with the feature `rocksdb`, keeps state that is larger than memory on local disks. Its keys
//!   are in `options::rocksdb`, its own options come from factories that the program registers by name.
//! - [`Configuration`] holds Flink's keys, old and new, from code, `config.yaml` or `flink-conf.yaml`; [`options`]
//!   lists what is read.
//! - [`BackendRegistry`] makes the effective backend of both, by name where the application gives none, and
//!   [`select_checkpoint_storage`] the storage where the backend has none.
//! - [`JobSettings`] is what the runtime of a job reads, checked in one pass.
//!
//! Nothing here holds state or touches a file system but to read configuration files: a backend hands out *what to
//! build* ([`KeyedStore`]), the `state` crate builds it.
//!
//! ```
//! use highwater_backends::{BackendRegistry, Configuration, FsStateBackend, select_checkpoint_storage};
//!
//! let configuration = Configuration::from_flink_conf(
//!     "
//! state.savepoints.dir: file:///data/savepoints
//! state.backend.fs.memory-threshold: 1 kb
//! ",
//! )?;
//! let application = FsStateBackend::new("file:///data/checkpoints")?;
//!
//! let registry = BackendRegistry::new();
//! let backend = registry.effective_backend(Some(&application), &configuration, &Configuration::new())?;
//! assert_eq!(
//!     backend.to_string(),
//!     "File State Backend (checkpoints: 'file:/data/checkpoints', savepoints: 'file:/data/savepoints', \
//!      fileStateThreshold: 1024)"
//! );
//! let storage = select_checkpoint_storage(&*backend, None, &configuration)?;
//! assert!(storage.survives_process());
//! # Ok::<(), highwater_types::Error>(())
//! ```
//!
//! # Where Highwater departs from Flink
//!
//! - Every configured value that is read is checked: an inline threshold above 1 mb, a negative write buffer, or 0
//!   retained checkpoints is an error that names key, value and range. Flink warns, or silently takes another value.
//! - Snapshots of the heap are always written in the background; the asynchronous flag is accepted without effect
//!   (as in Flink since 1.13).
//! - Text forms are those of Flink since 1.13 with the quote it forgets put back.
//! - `file://var/x` is refused at once, with the form that was meant (`file:///var/x`). Flink notices when the job
//!   starts.
//! - An overlay replaces an option whatever its name; Flink overlays plain keys ([`Configuration::overlaid_with`]).
//! - The size limit of a memory backend has a key, `highwater.memory.max-state-size`.
//! - An unknown key below `highwater.` is an error with the nearest name; one below `state.backend.rocksdb.` is a warning
//!   with the nearest name.
//! - Keys of RocksDB that Highwater does not have are refused by name when they ask for anything but the default, and
//!   memory that is fixed per task manager while something stronger is set is an error, where Flink says nothing.
//! - `state.backend.rocksdb.localdir` takes `file:` URIs; Flink cuts them at the colon.

mod backend;
mod config;
mod custom;
mod directory;
mod fs;
mod hash_map;
mod memory;
pub mod options;
mod registry;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod settings;
mod storage;

pub use backend::{KeyedStore, StateBackend};
pub use config::{ConfigOption, ConfigValue, Configuration, MemorySize, OptionInfo, format_duration, parse_duration};
pub use custom::CustomStateBackend;
pub use fs::FsStateBackend;
pub use hash_map::HashMapStateBackend;
pub use memory::MemoryStateBackend;
pub use registry::{BackendRegistry, StateBackendFactory};
#[cfg(feature = "rocksdb")]
pub use rocksdb::{
    CheckpointStreamBackend, ConfigurableRocksDbOptionsFactory, EmbeddedRocksDBStateBackend, PriorityQueueStateType,
    RocksDBStateBackend, RocksDbMemoryConfiguration, RocksDbStateBackend,
};
pub use settings::{
    CancellationSettings, CheckpointSettings, CheckpointingMode, ClaimMode, ClusterSettings, ExternalizedRetention,
    JobSettings, RecoverySettings, RestartStrategy,
};
pub use storage::select_checkpoint_storage;
