//! How fast a source may be.

use std::time::{Duration, Instant};

/// Unused permits pile up for this long at most, so that a source that stood still does not rush afterwards.
const BURST: Duration = Duration::from_millis(200);

/// Deals out the permits of one subtask, evenly over time.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    per_second: f64,
    /// Permits that may be used now, with the fraction of the next one.
    permits: f64,
    updated: Instant,
}

impl RateLimiter {
    /// A limiter for one of `parallelism` subtasks that share `total` records per second.
    pub(crate) fn share(total: f64, parallelism: u32, now: Instant) -> Self {
        Self { per_second: total / f64::from(parallelism.max(1)), permits: 0.0, updated: now }
    }

    /// How many records may be read now, at most `limit`; they count as read.
    pub(crate) fn take(&mut self, limit: usize, now: Instant) -> usize {
        let earned = now.saturating_duration_since(self.updated).as_secs_f64() * self.per_second;
        let most = (BURST.as_secs_f64() * self.per_second).max(1.0);
        self.permits = (self.permits + earned).min(most);
        self.updated = now;
        // A cast from float to integer saturates.
        let granted = (self.permits as usize).min(limit);
        self.permits -= granted as f64;
        granted
    }

    /// Gives permits back that were taken and not used.
    pub(crate) fn give_back(&mut self, unused: usize) {
        self.permits += unused as f64;
    }

    /// Time until the next permit.
    pub(crate) fn wait(&self) -> Duration {
        let seconds = (1.0 - self.permits).max(0.0) / self.per_second;
        Duration::try_from_secs_f64(seconds).unwrap_or(BURST).clamp(Duration::from_micros(100), BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_over_any_cadence() {
        for step in [1u64, 7, 50, 150] {
            let start = Instant::now();
            let mut limiter = RateLimiter::share(3_000.0, 3, start);
            let taken: usize =
                (1..=6_000 / step).map(|i| limiter.take(usize::MAX, start + Duration::from_millis(i * step))).sum();
            assert!(
                (5_800..=6_000).contains(&taken),
                "{taken} records in six seconds at 1000/s, asked every {step} ms"
            );
        }
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let start = Instant::now();
        let mut limiter = RateLimiter::share(1_000.0, 1, start);
        assert_eq!(limiter.take(usize::MAX, start + Duration::from_secs(60)), 200);
        assert_eq!(limiter.take(usize::MAX, start + Duration::from_secs(60)), 0);
    }

    #[test]
    fn a_slow_rate_still_moves() {
        let start = Instant::now();
        let mut limiter = RateLimiter::share(0.5, 1, start);
        assert_eq!(limiter.take(10, start + Duration::from_secs(1)), 0);
        assert_eq!(limiter.take(10, start + Duration::from_secs(2)), 1);
        assert_eq!(limiter.take(10, start + Duration::from_secs(3)), 0);
    }

    #[test]
    fn permits_given_back_are_used_first() {
        let start = Instant::now();
        let mut limiter = RateLimiter::share(100.0, 1, start);
        assert_eq!(limiter.take(10, start + Duration::from_millis(100)), 10);
        limiter.give_back(4);
        assert_eq!(limiter.take(10, start + Duration::from_millis(100)), 4);
        assert!(limiter.wait() <= Duration::from_millis(10));
    }
}
