//! `MemoryStateBackend`: state on the heap, checkpoints in the memory of the coordinator.

use std::fmt;
use std::sync::Arc;

use highwater_checkpoint::{CheckpointStorage, JobManagerCheckpointStorage, StoragePath};
use highwater_types::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::config::{Configuration, MemorySize};
use crate::directory::{self, OrNull};
use crate::settings::Ranged;
use crate::{KeyedStore, StateBackend, options};

/// Keeps working state on the heap and checkpoints in the memory of the coordinator.
///
/// For development and small state: each stream of a checkpoint holds at most [`max_state_size`](Self::max_state_size)
/// bytes. Checkpoints serve restarts in the same process. With a checkpoint path the metadata file, which then holds
/// all bytes, is written there and serves new processes too.
///
/// The name for the loader is `jobmanager` or `memory`.
///
/// ```
/// use highwater_backends::{Configuration, MemoryStateBackend, StateBackend};
///
/// let backend = MemoryStateBackend::new().with_checkpoint_path("file:///data/cp/")?.with_max_state_size(1 << 20)?;
/// assert_eq!(backend.max_state_size(), 1_048_576);
///
/// let effective = backend.configure(&[("state.savepoints.dir", "file:///data/sp")].into_iter().collect())?;
/// assert_eq!(
///     effective.to_string(),
///     "MemoryStateBackend (data in heap memory / checkpoints to JobManager) \
///      (checkpoints: 'file:/data/cp', savepoints: 'file:/data/sp', maxStateSize: 1048576)"
/// );
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct MemoryStateBackend {
    checkpoint_path: Option<StoragePath>,
    savepoint_path: Option<StoragePath>,
    max_state_size: Option<u64>,
    using_asynchronous_snapshots: Option<bool>,
    create_subdir: Option<bool>,
}

impl MemoryStateBackend {
    /// Default of [`max_state_size`](Self::max_state_size): 5,242,880 bytes.
    pub const DEFAULT_MAX_STATE_SIZE: u64 = 5 * 1024 * 1024;
    /// Largest [`max_state_size`](Self::max_state_size): 2,147,483,647 bytes.
    pub const LARGEST_MAX_STATE_SIZE: u64 = i32::MAX as u64;

    /// A backend with every field unset.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The backend that a configuration alone describes.
    ///
    /// # Errors
    /// As [`configure`](Self::configure).
    pub fn from_configuration(configuration: &Configuration) -> Result<Self> {
        Self::new().configure(configuration)
    }

    /// Sets the directory for metadata files, a URI. Unset: `execution.checkpointing.dir`, else none.
    ///
    /// # Errors
    /// A configuration error for a path without a scheme, a root directory, or one that is not a URI.
    pub fn with_checkpoint_path(mut self, path: impl AsRef<str>) -> Result<Self> {
        self.checkpoint_path = Some(directory::parse(path.as_ref())?);
        Ok(self)
    }

    /// Sets the default directory of savepoints, a URI. Unset: `execution.checkpointing.savepoint-dir`, else none.
    ///
    /// # Errors
    /// As [`with_checkpoint_path`](Self::with_checkpoint_path).
    pub fn with_savepoint_path(mut self, path: impl AsRef<str>) -> Result<Self> {
        self.savepoint_path = Some(directory::parse(path.as_ref())?);
        Ok(self)
    }

    /// Sets the largest size in bytes of one stream of a checkpoint, 1 to 2,147,483,647. Unset:
    /// `highwater.memory.max-state-size`, else 5,242,880.
    ///
    /// # Errors
    /// A configuration error if it is out of range.
    pub fn with_max_state_size(mut self, bytes: i64) -> Result<Self> {
        let size = u64::try_from(bytes).ok().filter(|size| (1..=Self::LARGEST_MAX_STATE_SIZE).contains(size));
        self.max_state_size = Some(size.ok_or_else(|| {
            Error::configuration("maxStateSize must be > 0 and at most 2147483647 bytes").with("found", bytes)
        })?);
        Ok(self)
    }

    /// Accepted for Flink's sake, without effect: snapshots are always written in the background.
    #[must_use]
    pub fn with_asynchronous_snapshots(mut self, flag: impl Into<Option<bool>>) -> Self {
        self.using_asynchronous_snapshots = flag.into();
        self
    }

    /// A new backend with every field set: this one's value, else the configuration's, else the default.
    ///
    /// [`StateBackend::configure`] is the same behind the trait.
    ///
    /// # Errors
    /// A configuration error with key and value, if a value that is needed cannot be parsed, is out of range or is no
    /// directory for checkpoints.
    pub fn configure(&self, configuration: &Configuration) -> Result<Self> {
        let max_state_size = match self.max_state_size {
            Some(size) => size,
            None => {
                let range = MemorySize::from_bytes(1)..=MemorySize::from_bytes(Self::LARGEST_MAX_STATE_SIZE);
                configuration.ranged(&options::MEMORY_MAX_STATE_SIZE, range)?.bytes()
            }
        };
        let path = self.checkpoint_path.as_ref();
        Ok(Self {
            checkpoint_path: directory::merge(path, configuration, &options::CHECKPOINTS_DIRECTORY)?,
            savepoint_path: directory::merge(
                self.savepoint_path.as_ref(),
                configuration,
                &options::SAVEPOINT_DIRECTORY,
            )?,
            max_state_size: Some(max_state_size),
            using_asynchronous_snapshots: self.using_asynchronous_snapshots,
            create_subdir: Some(directory::create_subdir(self.create_subdir, configuration)?),
        })
    }

    /// Directory of metadata files, if set.
    #[must_use]
    pub fn checkpoint_path(&self) -> Option<&StoragePath> {
        self.checkpoint_path.as_ref()
    }

    /// Default directory of savepoints, if set.
    #[must_use]
    pub fn savepoint_path(&self) -> Option<&StoragePath> {
        self.savepoint_path.as_ref()
    }

    /// Largest size in bytes of one stream of a checkpoint; the default if unset.
    #[must_use]
    pub fn max_state_size(&self) -> u64 {
        self.max_state_size.unwrap_or(Self::DEFAULT_MAX_STATE_SIZE)
    }

    /// Always true, whatever was set.
    #[must_use]
    pub fn is_using_asynchronous_snapshots(&self) -> bool {
        true
    }

    /// [`checkpoint_path`](Self::checkpoint_path) by its name in Flink.
    #[must_use]
    pub fn get_checkpoint_path(&self) -> Option<&StoragePath> {
        self.checkpoint_path()
    }

    /// [`savepoint_path`](Self::savepoint_path) by its name in Flink.
    #[must_use]
    pub fn get_savepoint_path(&self) -> Option<&StoragePath> {
        self.savepoint_path()
    }

    /// [`max_state_size`](Self::max_state_size) by its name in Flink.
    #[must_use]
    pub fn get_max_state_size(&self) -> u64 {
        self.max_state_size()
    }
}

impl StateBackend for MemoryStateBackend {
    fn name(&self) -> &str {
        "MemoryStateBackend"
    }

    fn configure(&self, configuration: &Configuration) -> Result<Arc<dyn StateBackend>> {
        Ok(Arc::new(Self::configure(self, configuration)?))
    }

    fn keyed_store(&self) -> KeyedStore {
        KeyedStore::Heap
    }

    fn checkpoint_storage(&self) -> Result<Option<Arc<dyn CheckpointStorage>>> {
        let mut storage = JobManagerCheckpointStorage::new()
            .with_max_state_size(self.max_state_size())?
            .with_create_subdir(self.create_subdir.unwrap_or(true));
        if let Some(path) = &self.checkpoint_path {
            storage = storage.with_directory(path.clone())?;
        }
        Ok(Some(Arc::new(storage)))
    }

    fn savepoint_directory(&self) -> Option<&StoragePath> {
        self.savepoint_path()
    }
}

impl fmt::Display for MemoryStateBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "MemoryStateBackend (data in heap memory / checkpoints to JobManager) \
             (checkpoints: '{}', savepoints: '{}', maxStateSize: {})",
            OrNull(self.checkpoint_path.as_ref()),
            OrNull(self.savepoint_path.as_ref()),
            self.max_state_size()
        )
    }
}

/// The serialized form; reading it checks as the setters do.
#[derive(Serialize, Deserialize)]
#[serde(rename = "MemoryStateBackend", deny_unknown_fields)]
struct Fields {
    checkpoint_path: Option<String>,
    savepoint_path: Option<String>,
    max_state_size: Option<i64>,
    using_asynchronous_snapshots: Option<bool>,
    create_subdir: Option<bool>,
}

impl From<MemoryStateBackend> for Fields {
    fn from(backend: MemoryStateBackend) -> Self {
        Self {
            checkpoint_path: backend.checkpoint_path.map(Into::into),
            savepoint_path: backend.savepoint_path.map(Into::into),
            max_state_size: backend.max_state_size.map(u64::cast_signed),
            using_asynchronous_snapshots: backend.using_asynchronous_snapshots,
            create_subdir: backend.create_subdir,
        }
    }
}

impl TryFrom<Fields> for MemoryStateBackend {
    type Error = Error;

    fn try_from(fields: Fields) -> Result<Self> {
        let mut backend = Self::new().with_asynchronous_snapshots(fields.using_asynchronous_snapshots);
        backend.create_subdir = fields.create_subdir;
        if let Some(path) = fields.checkpoint_path {
            backend = backend.with_checkpoint_path(path)?;
        }
        if let Some(path) = fields.savepoint_path {
            backend = backend.with_savepoint_path(path)?;
        }
        match fields.max_state_size {
            Some(size) => backend.with_max_state_size(size),
            None => Ok(backend),
        }
    }
}
