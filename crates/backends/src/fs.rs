//! `FsStateBackend`: state on the heap, checkpoints in a file system.

use std::fmt;
use std::sync::Arc;

use highwater_checkpoint::{CheckpointStorage, FileSystemCheckpointStorage, StoragePath};
use highwater_types::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::config::{Configuration, MemorySize};
use crate::directory::{self, OrNull};
use crate::settings::Ranged;
use crate::{KeyedStore, StateBackend, options};

/// Keeps working state on the heap and checkpoints in a file system.
///
/// State streams up to [`min_file_size_threshold`](Self::min_file_size_threshold) bytes travel inside the metadata
/// file, larger ones become files of their own.
///
/// The name for the loader is `filesystem` or `fs`; it then needs `execution.checkpointing.dir`.
///
/// ```
/// use highwater_backends::{Configuration, FsStateBackend, StateBackend};
///
/// let backend = FsStateBackend::new("file:///data/checkpoints/")?.with_file_state_size_threshold(1024)?;
/// assert_eq!(backend.checkpoint_path().to_string(), "file:/data/checkpoints");
///
/// let effective = backend.configure(&Configuration::new())?;
/// assert_eq!(
///     effective.to_string(),
///     "File State Backend (checkpoints: 'file:/data/checkpoints', savepoints: 'null', fileStateThreshold: 1024)"
/// );
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct FsStateBackend {
    checkpoint_directory: StoragePath,
    default_savepoint_directory: Option<StoragePath>,
    file_state_size_threshold: Option<u64>,
    write_buffer_size: Option<u64>,
    using_asynchronous_snapshots: Option<bool>,
    create_subdir: Option<bool>,
}

impl FsStateBackend {
    /// Threshold of a backend where nothing sets it: 20,480 bytes.
    pub const DEFAULT_FILE_STATE_THRESHOLD: u64 = 20 * 1024;
    /// Largest threshold: 1,048,576 bytes.
    pub const MAX_FILE_STATE_THRESHOLD: u64 = 1024 * 1024;
    /// Write buffer of a backend that is not configured yet: 4096 bytes.
    pub const DEFAULT_WRITE_BUFFER_SIZE: u64 = 4096;

    /// A backend with its checkpoints below a directory, a URI such as `file:///data/checkpoints`; every other field
    /// is unset.
    ///
    /// # Errors
    /// A configuration error for a path without a scheme, a root directory, or one that is not a URI.
    pub fn new(checkpoint_directory_uri: impl AsRef<str>) -> Result<Self> {
        Ok(Self::with_directory(directory::parse(checkpoint_directory_uri.as_ref())?))
    }

    /// The backend that a configuration alone describes.
    ///
    /// # Errors
    /// A configuration error that names `execution.checkpointing.dir` if it is not set; else as
    /// [`configure`](Self::configure).
    pub fn from_configuration(configuration: &Configuration) -> Result<Self> {
        let directory = directory::merge(None, configuration, &options::CHECKPOINTS_DIRECTORY)?.ok_or_else(|| {
            Error::configuration("checkpoints in a file system need a directory: set it with this key")
                .with("key", options::CHECKPOINTS_DIRECTORY.key())
                .with("older keys", options::CHECKPOINTS_DIRECTORY.info().older_keys().join(", "))
        })?;
        Self::with_directory(directory).configure(configuration)
    }

    fn with_directory(checkpoint_directory: StoragePath) -> Self {
        Self {
            checkpoint_directory,
            default_savepoint_directory: None,
            file_state_size_threshold: None,
            write_buffer_size: None,
            using_asynchronous_snapshots: None,
            create_subdir: None,
        }
    }

    /// Sets the default directory of savepoints, a URI. Unset: `execution.checkpointing.savepoint-dir`, else none.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_default_savepoint_directory(mut self, uri: impl AsRef<str>) -> Result<Self> {
        self.default_savepoint_directory = Some(directory::parse(uri.as_ref())?);
        Ok(self)
    }

    /// Sets the size in bytes up to which a state stream is kept inside the metadata file, 0 to 1,048,576; −1 unsets
    /// it. Unset: `execution.checkpointing.data-inline-threshold`, else 20,480.
    ///
    /// # Errors
    /// A configuration error if it is out of range.
    pub fn with_file_state_size_threshold(mut self, bytes: i64) -> Result<Self> {
        self.file_state_size_threshold = or_unset(bytes, Self::MAX_FILE_STATE_THRESHOLD).ok_or_else(|| {
            Error::configuration(
                "the threshold for file state size must be in [-1, 1048576], where -1 means to use the value from the \
                 deployment's configuration",
            )
            .with("found", bytes)
        })?;
        Ok(self)
    }

    /// Sets the size in bytes of the buffer before checkpoint files, 0 to 2,147,483,647; −1 unsets it. Unset:
    /// `execution.checkpointing.write-buffer-size`, else 4096. At least the threshold is taken in any case.
    ///
    /// # Errors
    /// A configuration error if it is out of range.
    pub fn with_write_buffer_size(mut self, bytes: i64) -> Result<Self> {
        self.write_buffer_size = or_unset(bytes, i32::MAX as u64).ok_or_else(|| {
            Error::configuration("the write buffer size must be not less than '-1' and at most 2147483647")
                .with("found", bytes)
        })?;
        Ok(self)
    }

    /// Accepted for Flink's sake, without effect: snapshots are always written in the background.
    #[must_use]
    pub fn with_asynchronous_snapshots(mut self, flag: impl Into<Option<bool>>) -> Self {
        self.using_asynchronous_snapshots = flag.into();
        self
    }

    /// A new backend with every field set: this one's value, else the configuration's, else the default. The write
    /// buffer is at least the threshold.
    ///
    /// [`StateBackend::configure`] is the same behind the trait.
    ///
    /// # Errors
    /// A configuration error with key and value, if a value that is needed cannot be parsed, is out of range (where
    /// Flink warns and takes another value) or is no directory for checkpoints.
    ///
    /// ```
    /// use highwater_backends::{Configuration, FsStateBackend};
    ///
    /// let backend = FsStateBackend::new("file:///data/checkpoints")?;
    /// assert_eq!((backend.min_file_size_threshold(), backend.write_buffer_size()), (20_480, 4096));
    ///
    /// let effective = backend.configure(&Configuration::new())?;
    /// assert_eq!((effective.min_file_size_threshold(), effective.write_buffer_size()), (20_480, 20_480));
    /// # Ok::<(), highwater_types::Error>(())
    /// ```
    pub fn configure(&self, configuration: &Configuration) -> Result<Self> {
        let threshold = match self.file_state_size_threshold {
            Some(bytes) => bytes,
            None => {
                let range = MemorySize::default()..=MemorySize::from_bytes(Self::MAX_FILE_STATE_THRESHOLD);
                configuration.ranged(&options::FS_SMALL_FILE_THRESHOLD, range)?.bytes()
            }
        };
        let write_buffer = match self.write_buffer_size {
            Some(bytes) => bytes,
            None => u64::from(configuration.at_least(&options::FS_WRITE_BUFFER_SIZE, 0)?.unsigned_abs()),
        };
        let savepoints = self.default_savepoint_directory.as_ref();
        let directory = Some(&self.checkpoint_directory);
        Ok(Self {
            checkpoint_directory: directory::merge(directory, configuration, &options::CHECKPOINTS_DIRECTORY)?
                .unwrap_or_else(|| self.checkpoint_directory.clone()),
            default_savepoint_directory: directory::merge(savepoints, configuration, &options::SAVEPOINT_DIRECTORY)?,
            file_state_size_threshold: Some(threshold),
            write_buffer_size: Some(write_buffer.max(threshold)),
            using_asynchronous_snapshots: self.using_asynchronous_snapshots,
            create_subdir: Some(directory::create_subdir(self.create_subdir, configuration)?),
        })
    }

    /// Base directory of checkpoints; each job has its own directory below it.
    #[must_use]
    pub fn checkpoint_path(&self) -> &StoragePath {
        &self.checkpoint_directory
    }

    /// Same as [`checkpoint_path`](Self::checkpoint_path) (deprecated in Flink).
    #[must_use]
    pub fn base_path(&self) -> &StoragePath {
        &self.checkpoint_directory
    }

    /// Default directory of savepoints, if set.
    #[must_use]
    pub fn savepoint_path(&self) -> Option<&StoragePath> {
        self.default_savepoint_directory.as_ref()
    }

    /// Size in bytes up to which a state stream is kept inside the metadata file; the default if unset.
    #[must_use]
    pub fn min_file_size_threshold(&self) -> u64 {
        self.file_state_size_threshold.unwrap_or(Self::DEFAULT_FILE_STATE_THRESHOLD)
    }

    /// Size in bytes of the buffer before checkpoint files; 4096 if unset.
    #[must_use]
    pub fn write_buffer_size(&self) -> u64 {
        self.write_buffer_size.unwrap_or(Self::DEFAULT_WRITE_BUFFER_SIZE)
    }

    /// Always true, whatever was set.
    #[must_use]
    pub fn is_using_asynchronous_snapshots(&self) -> bool {
        true
    }

    /// [`checkpoint_path`](Self::checkpoint_path) by its name in Flink.
    #[must_use]
    pub fn get_checkpoint_path(&self) -> &StoragePath {
        self.checkpoint_path()
    }

    /// [`base_path`](Self::base_path) by its name in Flink.
    #[must_use]
    pub fn get_base_path(&self) -> &StoragePath {
        self.base_path()
    }

    /// [`savepoint_path`](Self::savepoint_path) by its name in Flink.
    #[must_use]
    pub fn get_savepoint_path(&self) -> Option<&StoragePath> {
        self.savepoint_path()
    }

    /// [`min_file_size_threshold`](Self::min_file_size_threshold) by its name in Flink.
    #[must_use]
    pub fn get_min_file_size_threshold(&self) -> u64 {
        self.min_file_size_threshold()
    }

    /// [`write_buffer_size`](Self::write_buffer_size) by its name in Flink.
    #[must_use]
    pub fn get_write_buffer_size(&self) -> u64 {
        self.write_buffer_size()
    }
}

/// −1 is unset; other values up to `max` are taken; none is an error.
fn or_unset(bytes: i64, max: u64) -> Option<Option<u64>> {
    match u64::try_from(bytes) {
        Ok(bytes) => (bytes <= max).then_some(Some(bytes)),
        Err(_) => (bytes == -1).then_some(None),
    }
}

impl StateBackend for FsStateBackend {
    fn name(&self) -> &str {
        "FsStateBackend"
    }

    fn configure(&self, configuration: &Configuration) -> Result<Arc<dyn StateBackend>> {
        Ok(Arc::new(Self::configure(self, configuration)?))
    }

    fn keyed_store(&self) -> KeyedStore {
        KeyedStore::Heap
    }

    fn checkpoint_storage(&self) -> Result<Option<Arc<dyn CheckpointStorage>>> {
        let storage = FileSystemCheckpointStorage::new(self.checkpoint_directory.clone())?
            .with_inline_threshold(in_memory(self.min_file_size_threshold())?)
            .with_write_buffer(in_memory(self.write_buffer_size())?)
            .with_create_subdir(self.create_subdir.unwrap_or(true));
        Ok(Some(Arc::new(storage)))
    }

    fn savepoint_directory(&self) -> Option<&StoragePath> {
        self.savepoint_path()
    }
}

/// A size that this machine can address.
fn in_memory(bytes: u64) -> Result<usize> {
    usize::try_from(bytes).map_err(|_| Error::configuration("this machine has no memory for a buffer of this size"))
}

impl fmt::Display for FsStateBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let savepoints = OrNull(self.default_savepoint_directory.as_ref());
        let threshold = self.file_state_size_threshold.map_or(-1, u64::cast_signed);
        let checkpoints = &self.checkpoint_directory;
        write!(f, "File State Backend (checkpoints: '{checkpoints}', savepoints: '{savepoints}', ")?;
        write!(f, "fileStateThreshold: {threshold})")
    }
}

/// The serialized form; reading it checks as the setters do.
#[derive(Serialize, Deserialize)]
#[serde(rename = "FsStateBackend", deny_unknown_fields)]
struct Fields {
    checkpoint_directory_uri: String,
    default_savepoint_directory_uri: Option<String>,
    file_state_size_threshold: Option<i64>,
    write_buffer_size: Option<i64>,
    using_asynchronous_snapshots: Option<bool>,
    create_subdir: Option<bool>,
}

impl From<FsStateBackend> for Fields {
    fn from(backend: FsStateBackend) -> Self {
        Self {
            checkpoint_directory_uri: backend.checkpoint_directory.into(),
            default_savepoint_directory_uri: backend.default_savepoint_directory.map(Into::into),
            file_state_size_threshold: backend.file_state_size_threshold.map(u64::cast_signed),
            write_buffer_size: backend.write_buffer_size.map(u64::cast_signed),
            using_asynchronous_snapshots: backend.using_asynchronous_snapshots,
            create_subdir: backend.create_subdir,
        }
    }
}

impl TryFrom<Fields> for FsStateBackend {
    type Error = Error;

    fn try_from(fields: Fields) -> Result<Self> {
        let mut backend = Self::new(fields.checkpoint_directory_uri)?
            .with_file_state_size_threshold(fields.file_state_size_threshold.unwrap_or(-1))?
            .with_write_buffer_size(fields.write_buffer_size.unwrap_or(-1))?
            .with_asynchronous_snapshots(fields.using_asynchronous_snapshots);
        backend.create_subdir = fields.create_subdir;
        match fields.default_savepoint_directory_uri {
            Some(uri) => backend.with_default_savepoint_directory(uri),
            None => Ok(backend),
        }
    }
}
