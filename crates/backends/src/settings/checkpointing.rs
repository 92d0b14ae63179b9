//! When checkpoints are taken and how many are kept.

use highwater_checkpoint::{CoordinatorSettings, StoragePath};
use highwater_types::{Error, Result};

use super::Ranged;
use crate::config::{Configuration, config_enum};
use crate::{directory, options};

config_enum! {
    /// Guarantee of checkpoints (Flink's `CheckpointingMode`).
    pub enum CheckpointingMode {
        /// Every record counts once in the state, whatever fails.
        ExactlyOnce = "EXACTLY_ONCE",
        /// Records may count twice after a failure. Highwater does not have it.
        AtLeastOnce = "AT_LEAST_ONCE",
    }
}

config_enum! {
    /// What happens to the checkpoints of a job when it ends (Flink's `ExternalizedCheckpointRetention`). Each of them
    /// deletes the checkpoints of a job that has finished.
    pub enum ExternalizedRetention {
        /// They are deleted when the job is cancelled and kept when it fails.
        DeleteOnCancellation = "DELETE_ON_CANCELLATION",
        /// They are kept when the job is cancelled or fails.
        RetainOnCancellation = "RETAIN_ON_CANCELLATION",
        /// They never outlive the job.
        NoExternalizedCheckpoints = "NO_EXTERNALIZED_CHECKPOINTS",
    }
}

/// When checkpoints are taken and how many are kept. Every field has its option in [`options`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointSettings {
    /// When checkpoints are triggered and given up, and how many failures are borne.
    pub coordinator: CoordinatorSettings,
    /// How many completed checkpoints are kept while the job runs, at least 1; default 1.
    pub retained: u32,
    /// How many checkpoints that are not under way are remembered with all that is known of them; default 10.
    pub history: u32,
    /// What happens to the checkpoints when the job ends; none: they are kept, however it ends.
    pub retention: Option<ExternalizedRetention>,
    /// Default directory of savepoints; none: each savepoint needs a target.
    pub savepoint_directory: Option<StoragePath>,
    /// Whether key groups are compressed with snappy; default no.
    pub compression: bool,
}

impl CheckpointSettings {
    pub(super) fn from_configuration(configuration: &Configuration) -> Result<Self> {
        check_mode(configuration)?;
        if configuration.contains(&options::CHECKPOINTING_INTERVAL) {
            configuration.at_least(&options::CHECKPOINTING_INTERVAL, Some(CoordinatorSettings::MIN_DURATION))?;
        }
        let count = |option, min: i32| configuration.at_least(option, min).map(i32::unsigned_abs);
        Ok(Self {
            coordinator: CoordinatorSettings {
                interval: configuration.get(&options::CHECKPOINTING_INTERVAL)?,
                timeout: configuration.at_least(&options::CHECKPOINTING_TIMEOUT, CoordinatorSettings::MIN_DURATION)?,
                min_pause: configuration.get(&options::MIN_PAUSE_BETWEEN_CHECKPOINTS)?,
                max_concurrent: count(&options::MAX_CONCURRENT_CHECKPOINTS, 1)? as usize,
                tolerable_failures: count(&options::TOLERABLE_FAILURE_NUMBER, 0)?,
            },
            retained: count(&options::MAX_RETAINED_CHECKPOINTS, 1)?,
            history: count(&options::CHECKPOINTS_HISTORY, 0)?,
            retention: configuration.get(&options::EXTERNALIZED_CHECKPOINT_RETENTION)?,
            savepoint_directory: directory::merge(None, configuration, &options::SAVEPOINT_DIRECTORY)?,
            compression: configuration.get(&options::SNAPSHOT_COMPRESSION)?,
        })
    }
}

fn check_mode(configuration: &Configuration) -> Result<()> {
    if configuration.get(&options::CHECKPOINTING_MODE)? == CheckpointingMode::AtLeastOnce {
        return Err(Error::unsupported(
            "Highwater's checkpoints are exactly once: remove the key or set it to EXACTLY_ONCE",
        )
        .with("key", options::CHECKPOINTING_MODE.key())
        .with("value", CheckpointingMode::AtLeastOnce));
    }
    if configuration.get(&options::UNALIGNED_CHECKPOINTS)? {
        let (key, value) = configuration.find(options::UNALIGNED_CHECKPOINTS.info()).unwrap_or_default();
        return Err(Error::unsupported("Highwater's checkpoints are aligned: remove the key or set it to false")
            .with("key", key)
            .with("value", value));
    }
    Ok(())
}
