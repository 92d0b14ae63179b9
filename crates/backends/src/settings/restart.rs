//! What follows a failure.

use std::time::Duration;

use highwater_types::{Error, Result};

use super::Ranged;
use crate::config::{Configuration, unknown_name};
use crate::options;

/// What a job does after a failure, with Flink's names and defaults (`restart-strategy.*`).
#[derive(Clone, Debug, PartialEq)]
pub enum RestartStrategy {
    /// The job fails (`none`, `off`, `disable`).
    None,
    /// The job restarts after a fixed time (`fixed-delay`).
    FixedDelay {
        /// Restarts before the job fails; default 1.
        attempts: u32,
        /// Time before each restart; default 1 s.
        delay: Duration,
    },
    /// The job restarts after a time that grows with each failure (`exponential-delay`).
    ExponentialDelay {
        /// Time before the first restart; default 1 s.
        initial_backoff: Duration,
        /// Longest time before a restart; default 1 min.
        max_backoff: Duration,
        /// Factor from one delay to the next; default 1.5.
        backoff_multiplier: f64,
        /// Time without a failure after which the delay is the initial one again; default 1 h.
        reset_backoff_threshold: Duration,
        /// Random part of each delay, as a share of it; default 0.1.
        jitter_factor: f64,
        /// Restarts without a reset before the job fails; none, the default: any number.
        attempts_before_reset: Option<u32>,
    },
}

/// The names of a strategy, each in Flink's two spellings.
const NAMES: [&str; 3] = ["none", "fixed-delay", "exponential-delay"];

impl RestartStrategy {
    /// Reads the strategy. Without one configured the job restarts with exponential delay if it takes checkpoints, and
    /// not at all if it does not: it would start from the beginning (Flink 2.x).
    pub(super) fn from_configuration(configuration: &Configuration, checkpointing: bool) -> Result<Self> {
        let Some((key, name)) = configuration.find(options::RESTART_STRATEGY.info()) else {
            return if checkpointing { exponential_delay(configuration) } else { Ok(Self::None) };
        };
        match name.to_ascii_lowercase().as_str() {
            "none" | "off" | "disable" => Ok(Self::None),
            "fixed-delay" | "fixeddelay" => fixed_delay(configuration),
            "exponential-delay" | "exponentialdelay" => exponential_delay(configuration),
            "failure-rate" | "failurerate" => Err(Error::unsupported(
                "Highwater has no restart strategy by failure rate: use exponential-delay with its \
                 attempts-before-reset-backoff",
            )
            .with("key", key)),
            _ => Err(unknown_name("there is no restart strategy of this name", name, &NAMES).with("key", key)),
        }
    }
}

fn fixed_delay(configuration: &Configuration) -> Result<RestartStrategy> {
    Ok(RestartStrategy::FixedDelay {
        attempts: configuration.at_least(&options::FIXED_DELAY_ATTEMPTS, 0)?.unsigned_abs(),
        delay: configuration.get(&options::FIXED_DELAY_DELAY)?,
    })
}

fn exponential_delay(configuration: &Configuration) -> Result<RestartStrategy> {
    let shortest = Duration::from_millis(1);
    let initial_backoff = configuration.at_least(&options::EXPONENTIAL_DELAY_INITIAL_BACKOFF, shortest)?;
    let attempts = match configuration.get(&options::EXPONENTIAL_DELAY_ATTEMPTS)? {
        None => None,
        Some(_) => configuration.at_least(&options::EXPONENTIAL_DELAY_ATTEMPTS, Some(1))?,
    };
    Ok(RestartStrategy::ExponentialDelay {
        initial_backoff,
        max_backoff: configuration.at_least(&options::EXPONENTIAL_DELAY_MAX_BACKOFF, initial_backoff)?,
        backoff_multiplier: configuration.ranged(&options::EXPONENTIAL_DELAY_BACKOFF_MULTIPLIER, 1.0..=f64::MAX)?,
        reset_backoff_threshold: configuration.at_least(&options::EXPONENTIAL_DELAY_RESET_THRESHOLD, shortest)?,
        jitter_factor: configuration.ranged(&options::EXPONENTIAL_DELAY_JITTER_FACTOR, 0.0..=1.0)?,
        attempts_before_reset: attempts.map(i32::unsigned_abs),
    })
}
