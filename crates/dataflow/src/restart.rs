//! What follows a failure: Flink's restart strategies as a function of failures and time.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use highwater_backends::RestartStrategy;
use highwater_types::{Error, ErrorKind};

/// Counts the failures of one job.
#[derive(Debug)]
pub(crate) struct Restarts {
    strategy: RestartStrategy,
    /// Failures since the last reset.
    failures: u32,
    /// Delay of the last restart, without its random part.
    delay: Duration,
    last_failure: Option<Duration>,
}

impl Restarts {
    pub(crate) fn new(strategy: RestartStrategy) -> Self {
        Self { strategy, failures: 0, delay: Duration::ZERO, last_failure: None }
    }

    /// How long to wait before the restart that follows a failure at `now`; none: the job has failed. `random` is
    /// between 0 and 1.
    pub(crate) fn next(&mut self, now: Duration, random: f64) -> Option<Duration> {
        match self.strategy {
            RestartStrategy::None => None,
            RestartStrategy::FixedDelay { attempts, delay } => {
                self.failures += 1;
                (self.failures <= attempts).then_some(delay)
            }
            RestartStrategy::ExponentialDelay {
                initial_backoff,
                max_backoff,
                backoff_multiplier,
                reset_backoff_threshold,
                jitter_factor,
                attempts_before_reset,
            } => {
                let quiet = self.last_failure.map(|last| now.saturating_sub(last));
                if quiet.is_none_or(|quiet| quiet >= reset_backoff_threshold.saturating_add(self.delay)) {
                    self.failures = 0;
                }
                self.last_failure = Some(now);
                self.failures += 1;
                if attempts_before_reset.is_some_and(|attempts| self.failures > attempts) {
                    return None;
                }
                self.delay = if self.failures == 1 { initial_backoff } else { scale(self.delay, backoff_multiplier) };
                self.delay = self.delay.min(max_backoff);
                Some(scale(self.delay, 1.0 + jitter_factor * (2.0 * random - 1.0)).min(max_backoff))
            }
        }
    }
}

fn scale(delay: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(delay.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

/// A random number from 0 to 1.
pub(crate) fn random() -> f64 {
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}

/// Name and text of the value that tells where an error comes from.
const OPENING: (&str, &str) = ("raised", "while the job was opened");

/// An error that came up while the program was built and its operators were opened.
pub(crate) fn while_opening(error: Error) -> Error {
    error.with(OPENING.0, OPENING.1)
}

/// Whether trying again can help: not where the program, its settings, or data that does not change are at fault. A
/// function of the user that fails on a record is given another chance, for what it calls may be down; a program that
/// registers a state twice will do so again. (A panic while opening may be an unwrapped error of something that is down.)
pub(crate) fn can_heal(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Configuration | ErrorKind::Incompatible | ErrorKind::Corrupt | ErrorKind::Unsupported => false,
        ErrorKind::Program => error.value(OPENING.0) != Some(OPENING.1) || error.value("panic").is_some(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn exponential(attempts_before_reset: Option<u32>) -> Restarts {
        Restarts::new(RestartStrategy::ExponentialDelay {
            initial_backoff: SECOND,
            max_backoff: SECOND * 3,
            backoff_multiplier: 2.0,
            reset_backoff_threshold: SECOND * 60,
            jitter_factor: 0.1,
            attempts_before_reset,
        })
    }

    #[test]
    fn a_fixed_delay_ends_after_its_attempts() {
        let mut restarts = Restarts::new(RestartStrategy::FixedDelay { attempts: 2, delay: SECOND });
        let delays: Vec<_> = (0..3).map(|i| restarts.next(SECOND * i, 0.5)).collect();
        assert_eq!(delays, [Some(SECOND), Some(SECOND), None]);
        assert_eq!(Restarts::new(RestartStrategy::None).next(SECOND, 0.5), None);
    }

    #[test]
    fn an_exponential_delay_grows_and_is_reset_by_a_quiet_time() {
        let mut restarts = exponential(None);
        let delays: Vec<_> = (0..4).filter_map(|i| restarts.next(SECOND * i, 0.5)).map(|d| d.as_secs()).collect();
        assert_eq!(delays, [1, 2, 3, 3]);
        assert_eq!(restarts.next(SECOND * 300, 0.5), Some(SECOND));
        assert_eq!(restarts.next(SECOND * 600, 0.0), Some(Duration::from_millis(900)));
    }

    #[test]
    fn an_exponential_delay_may_be_limited() {
        let mut restarts = exponential(Some(2));
        let ends: Vec<_> = (0..3).map(|i| restarts.next(SECOND * i, 0.5).is_none()).collect();
        assert_eq!(ends, [false, false, true]);
    }
}
