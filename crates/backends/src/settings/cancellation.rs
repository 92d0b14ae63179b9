//! How patient the cancellation of a job is.

use std::time::Duration;

use highwater_types::Result;

use super::Ranged;
use crate::config::Configuration;
use crate::options;

/// How long user code may go on after its job was cancelled or has failed (`task.cancellation.*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CancellationSettings {
    /// Time between two reports of code that does not return; default 30 s.
    pub interval: Duration,
    /// Time after which the process ends, the only cure for code that never returns; default 180 s. None (0 in the
    /// configuration): it never does.
    pub timeout: Option<Duration>,
}

impl CancellationSettings {
    pub(super) fn from_configuration(configuration: &Configuration) -> Result<Self> {
        let timeout = configuration.get(&options::TASK_CANCELLATION_TIMEOUT)?;
        Ok(Self {
            interval: configuration
                .ranged(&options::TASK_CANCELLATION_INTERVAL, Duration::from_millis(1)..=Duration::MAX)?,
            timeout: Some(timeout).filter(|timeout| !timeout.is_zero()),
        })
    }
}
