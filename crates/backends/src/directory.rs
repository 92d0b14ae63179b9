//! Checkpoint and savepoint directories of backends: from the application, else from the configuration.

use std::fmt;

use highwater_checkpoint::{StoragePath, validate_checkpoint_dir};
use highwater_types::{Error, Result};

use crate::config::{ConfigOption, Configuration};
use crate::options;

/// Reads and checks a directory that the application gives.
pub(crate) fn parse(text: &str) -> Result<StoragePath> {
    let path = StoragePath::parse(text)?;
    validate_checkpoint_dir(&path)?;
    Ok(path)
}

/// The application's directory, else the configured one, checked either way.
pub(crate) fn merge(
    application: Option<&StoragePath>,
    configuration: &Configuration,
    option: &ConfigOption<Option<String>>,
) -> Result<Option<StoragePath>> {
    let path = match (application, configuration.find(option.info())) {
        (Some(path), _) => path.clone(),
        (None, Some((key, text))) => StoragePath::parse(text).map_err(|cause| {
            Error::configuration("Cannot parse value for a directory")
                .with("key", key)
                .with("value", text)
                .because(cause)
        })?,
        (None, None) => return Ok(None),
    };
    validate_checkpoint_dir(&path)?;
    Ok(Some(path))
}

/// Whether a job has its own directory below the base directory.
pub(crate) fn create_subdir(set: Option<bool>, configuration: &Configuration) -> Result<bool> {
    match set {
        Some(set) => Ok(set),
        None => configuration.get(&options::CREATE_CHECKPOINT_SUBDIR),
    }
}

/// A directory in the text form of a backend: the printed path, or `null` as in Flink.
pub(crate) struct OrNull<'a>(pub(crate) Option<&'a StoragePath>);

impl fmt::Display for OrNull<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(path) => fmt::Display::fmt(path, f),
            None => f.write_str("null"),
        }
    }
}
