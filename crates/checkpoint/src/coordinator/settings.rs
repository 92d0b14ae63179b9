//! What a user may set about checkpointing.

use std::time::Duration;

use highwater_types::{Error, Result};

/// How often checkpoints are taken, and how much trouble with them a job bears. The durations are at least
/// [`MIN_DURATION`](Self::MIN_DURATION), where not said otherwise.
///
/// ```
/// use std::time::Duration;
/// use highwater_checkpoint::CoordinatorSettings;
///
/// let settings = CoordinatorSettings { interval: Some(Duration::from_secs(1)), ..CoordinatorSettings::default() };
/// settings.validate()?;
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorSettings {
    /// Time from the start of one checkpoint to the start of the next; none: only on request
    /// (`execution.checkpointing.interval`, default none).
    pub interval: Option<Duration>,
    /// Least time from the completion of one checkpoint to the start of the next periodic one; may be 0, and counts at
    /// most 365 days (`execution.checkpointing.min-pause`, default 0).
    pub min_pause: Duration,
    /// After this time a checkpoint that is not yet acknowledged by all is given up
    /// (`execution.checkpointing.timeout`, default 10 minutes).
    pub timeout: Duration,
    /// Checkpoints that may be under way at once, at least 1
    /// (`execution.checkpointing.max-concurrent-checkpoints`, default 1).
    pub max_concurrent: usize,
    /// Consecutive failed checkpoints a job bears; one more fails it
    /// (`execution.checkpointing.tolerable-failed-checkpoints`, default 0).
    pub tolerable_failures: u32,
}

impl Default for CoordinatorSettings {
    fn default() -> Self {
        Self {
            interval: None,
            min_pause: Duration::ZERO,
            timeout: Duration::from_secs(10 * 60),
            max_concurrent: 1,
            tolerable_failures: 0,
        }
    }
}

impl CoordinatorSettings {
    /// Least interval and timeout: 10 ms.
    pub const MIN_DURATION: Duration = Duration::from_millis(10);

    const MAX_PAUSE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    /// Checks every range.
    ///
    /// # Errors
    /// [`Configuration`](highwater_types::ErrorKind::Configuration), naming the key and the range.
    pub fn validate(&self) -> Result<()> {
        if let Some(interval) = self.interval {
            at_least_10_ms("execution.checkpointing.interval", interval)?;
        }
        at_least_10_ms("execution.checkpointing.timeout", self.timeout)?;
        if self.max_concurrent < 1 {
            return Err(Error::configuration("the number of concurrent checkpoints must be at least 1")
                .with("key", "execution.checkpointing.max-concurrent-checkpoints")
                .with("found", self.max_concurrent));
        }
        Ok(())
    }

    /// The pause as it counts.
    pub(super) fn pause(&self) -> Duration {
        self.min_pause.min(Self::MAX_PAUSE)
    }

    /// Time between the starts of two periodic checkpoints: never below the pause.
    pub(super) fn effective_interval(&self) -> Option<Duration> {
        self.interval.map(|interval| interval.max(self.pause()))
    }

    /// Wait before a failed final checkpoint is tried again.
    pub(super) fn retry_pause(&self) -> Duration {
        self.effective_interval().unwrap_or_else(|| self.pause().max(Duration::from_secs(1)))
    }
}

fn at_least_10_ms(key: &str, duration: Duration) -> Result<()> {
    if duration >= CoordinatorSettings::MIN_DURATION {
        return Ok(());
    }
    Err(Error::configuration("the duration must be larger than or equal to 10 ms")
        .with("key", key)
        .with("found", format_args!("{duration:?}")))
}
