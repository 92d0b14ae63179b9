//! What a job reads from its configuration, checked in one pass before anything starts.

mod cancellation;
mod checkpointing;
mod cluster;
mod range;
mod recovery;
mod restart;

pub use cancellation::CancellationSettings;
pub use checkpointing::{CheckpointSettings, CheckpointingMode, ExternalizedRetention};
pub use cluster::ClusterSettings;
pub(crate) use range::Ranged;
pub use recovery::{ClaimMode, RecoverySettings};
pub use restart::RestartStrategy;

use std::time::Duration;

use highwater_types::{MaxParallelism, Result};

use crate::config::{Configuration, MemorySize};
use crate::options;

/// Everything the runtime of a job reads from a configuration.
///
/// ```
/// use std::time::Duration;
/// use highwater_backends::{Configuration, JobSettings, RestartStrategy};
///
/// let configuration = Configuration::from_yaml(
///     "
/// execution.checkpointing:
///   interval: 200 ms
///   num-retained: 3
/// restart-strategy: { type: fixed-delay, fixed-delay: { attempts: 5 } }
/// ",
/// )?;
/// let settings = JobSettings::from_configuration(&configuration)?;
/// assert_eq!(settings.checkpointing.coordinator.interval, Some(Duration::from_millis(200)));
/// assert_eq!(settings.checkpointing.retained, 3);
/// assert_eq!(settings.restart, RestartStrategy::FixedDelay { attempts: 5, delay: Duration::from_secs(1) });
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct JobSettings {
    /// When checkpoints are taken and how many are kept.
    pub checkpointing: CheckpointSettings,
    /// What the job starts from.
    pub recovery: RecoverySettings,
    /// What follows a failure.
    pub restart: RestartStrategy,
    /// How long user code may go on after its job was cancelled or has failed.
    pub cancellation: CancellationSettings,
    /// How several processes find and watch each other.
    pub cluster: ClusterSettings,
    /// Number of key groups of operators that do not set it (`pipeline.max-parallelism`); none: derived.
    pub max_parallelism: Option<MaxParallelism>,
    /// How often watermark generators are asked for watermarks (`pipeline.auto-watermark-interval`, default 200 ms); none:
    /// never.
    pub watermark_interval: Option<Duration>,
    /// Largest sum of inline state in one task's acknowledgement (`pekko.framesize`, default 10,485,760 bytes).
    pub acknowledgement_limit: MemorySize,
}

impl JobSettings {
    /// Reads and checks all of them.
    ///
    /// # Errors
    /// A configuration error with key, value and the range allowed for the first setting that is out of range or
    /// cannot be parsed, or for an unknown key below `highwater.`; an unsupported error with the cure for a mode that
    /// Highwater does not have.
    pub fn from_configuration(configuration: &Configuration) -> Result<Self> {
        configuration.check_own_keys()?;
        let checkpointing = CheckpointSettings::from_configuration(configuration)?;
        Ok(Self {
            restart: RestartStrategy::from_configuration(configuration, checkpointing.coordinator.interval.is_some())?,
            checkpointing,
            cancellation: CancellationSettings::from_configuration(configuration)?,
            recovery: RecoverySettings::from_configuration(configuration)?,
            cluster: ClusterSettings::from_configuration(configuration)?,
            max_parallelism: max_parallelism(configuration)?,
            watermark_interval: Some(configuration.get(&options::AUTO_WATERMARK_INTERVAL)?)
                .filter(|interval| !interval.is_zero()),
            acknowledgement_limit: configuration
                .ranged(&options::FRAMESIZE, MemorySize::from_bytes(1)..=MemorySize::MAX)?,
        })
    }
}

fn max_parallelism(configuration: &Configuration) -> Result<Option<MaxParallelism>> {
    match configuration.get(&options::MAX_PARALLELISM)? {
        -1 => Ok(None),
        _ => {
            let value = configuration.ranged(&options::MAX_PARALLELISM, 1..=MaxParallelism::UPPER_BOUND as i32)?;
            MaxParallelism::new(value.unsigned_abs()).map(Some)
        }
    }
}
