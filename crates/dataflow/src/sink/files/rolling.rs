//! When a part file is closed and another one begun (Flink's `RollingPolicy`).

use std::fmt::Debug;
use std::time::Duration;

/// Decides when a [`FileSink`](crate::FileSink) closes the part file of a bucket (Flink's `RollingPolicy`). A closed file
/// is committed with the next checkpoint; one that is not closed stays *in progress*.
///
/// ```
/// use highwater_dataflow::{DefaultRollingPolicy, FileSink, PartFileInfo, RollingPolicy};
///
/// /// Ends a file with each line that says so.
/// #[derive(Debug)]
/// struct AtMarkers;
///
/// impl RollingPolicy<String> for AtMarkers {
///     fn should_roll_on_checkpoint(&self, _: &PartFileInfo<'_>) -> bool {
///         false
///     }
///
///     fn should_roll_on_event(&self, _: &PartFileInfo<'_>, line: &String) -> bool {
///         line.starts_with("# begin")
///     }
///
///     fn should_roll_on_processing_time(&self, part: &PartFileInfo<'_>, now: i64) -> bool {
///         RollingPolicy::<String>::should_roll_on_processing_time(&DefaultRollingPolicy::new(), part, now)
///     }
/// }
///
/// let sink = FileSink::new("/data/out", |line: &String, out: &mut Vec<u8>| out.extend_from_slice(line.as_bytes()));
/// let sink = sink.rolling_policy(AtMarkers);
/// # drop(sink);
/// ```
pub trait RollingPolicy<T>: Debug + Send + Sync + 'static {
    /// Whether a checkpoint closes this file.
    fn should_roll_on_checkpoint(&self, part: &PartFileInfo<'_>) -> bool;

    /// Whether the file is closed before this record is written, which then begins another one.
    fn should_roll_on_event(&self, part: &PartFileInfo<'_>, record: &T) -> bool;

    /// Whether the file is closed because of the time, in milliseconds since 1970. Asked once in every
    /// [`bucket_check_interval`](crate::FileSink::bucket_check_interval).
    fn should_roll_on_processing_time(&self, part: &PartFileInfo<'_>, now: i64) -> bool;
}

/// What a [`RollingPolicy`] is told of an open part file (Flink's `PartFileInfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartFileInfo<'a> {
    /// The bucket it belongs to; empty for the output directory itself.
    pub bucket_id: &'a str,
    /// Bytes written to it.
    pub size: u64,
    /// When its first record came, in milliseconds since 1970.
    pub creation_time: i64,
    /// When its last record came, in milliseconds since 1970.
    pub last_update_time: i64,
}

/// Closes a file by age, inactivity and size, whatever checkpoints do (Flink's `DefaultRollingPolicy`, and as in Flink the
/// default for lines): many checkpoints make few files. What is not closed is not yet visible.
///
/// ```
/// use std::time::Duration;
/// use highwater_dataflow::DefaultRollingPolicy;
///
/// let policy = DefaultRollingPolicy::new()
///     .rollover_interval(Duration::from_secs(15 * 60))
///     .inactivity_interval(Duration::from_secs(5 * 60))
///     .max_part_size(1 << 30);
/// assert_ne!(policy, DefaultRollingPolicy::default());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultRollingPolicy {
    rollover_interval: Duration,
    inactivity_interval: Duration,
    max_part_size: u64,
}

impl DefaultRollingPolicy {
    /// Flink's defaults: 60 s, 60 s, 128 MiB.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            rollover_interval: Duration::from_secs(60),
            inactivity_interval: Duration::from_secs(60),
            max_part_size: 128 * 1024 * 1024,
        }
    }

    /// Age at which a file is closed (`rolloverInterval`). Seen with the next check of the time.
    #[must_use]
    pub const fn rollover_interval(mut self, interval: Duration) -> Self {
        self.rollover_interval = interval;
        self
    }

    /// Time without a record after which a file is closed (`inactivityInterval`). Seen with the next check of the time.
    #[must_use]
    pub const fn inactivity_interval(mut self, interval: Duration) -> Self {
        self.inactivity_interval = interval;
        self
    }

    /// Size in bytes (`maxPartSize`): a larger file is closed before the next record and with the next checkpoint.
    #[must_use]
    pub const fn max_part_size(mut self, bytes: u64) -> Self {
        self.max_part_size = bytes;
        self
    }
}

impl Default for DefaultRollingPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> RollingPolicy<T> for DefaultRollingPolicy {
    fn should_roll_on_checkpoint(&self, part: &PartFileInfo<'_>) -> bool {
        part.size > self.max_part_size
    }

    fn should_roll_on_event(&self, part: &PartFileInfo<'_>, _: &T) -> bool {
        part.size > self.max_part_size
    }

    fn should_roll_on_processing_time(&self, part: &PartFileInfo<'_>, now: i64) -> bool {
        is_over(part.creation_time, self.rollover_interval, now)
            || is_over(part.last_update_time, self.inactivity_interval, now)
    }
}

/// Whether so much time has passed. A clock that was put back makes time stand still.
fn is_over(since: i64, interval: Duration, now: i64) -> bool {
    u128::from(now.saturating_sub(since).max(0).unsigned_abs()) >= interval.as_millis()
}

/// Closes every file with each checkpoint and at no other time (Flink's `OnCheckpointRollingPolicy`): what a checkpoint
/// covers is visible when it is complete, at the price of a file for each subtask, bucket and checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnCheckpointRollingPolicy;

impl<T> RollingPolicy<T> for OnCheckpointRollingPolicy {
    fn should_roll_on_checkpoint(&self, _: &PartFileInfo<'_>) -> bool {
        true
    }

    fn should_roll_on_event(&self, _: &PartFileInfo<'_>, _: &T) -> bool {
        false
    }

    fn should_roll_on_processing_time(&self, _: &PartFileInfo<'_>, _: i64) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(size: u64, creation_time: i64, last_update_time: i64) -> PartFileInfo<'static> {
        PartFileInfo { bucket_id: "", size, creation_time, last_update_time }
    }

    #[test]
    fn the_default_is_flinks() {
        let policy: &dyn RollingPolicy<()> = &DefaultRollingPolicy::new();
        let full = 128 * 1024 * 1024;
        for (size, rolls) in [(full, false), (full + 1, true)] {
            assert_eq!(policy.should_roll_on_checkpoint(&part(size, 0, 0)), rolls);
            assert_eq!(policy.should_roll_on_event(&part(size, 0, 0), &()), rolls);
        }
        for (creation, update, now, rolls) in [
            (1_000, 1_000, 60_999, false),
            (1_000, 60_000, 61_000, true),
            (1_000, 1_000, 61_000, true),
            (1_000, 1_000, 0, false),
        ] {
            assert_eq!(policy.should_roll_on_processing_time(&part(0, creation, update), now), rolls, "{now}");
        }
    }

    #[test]
    fn intervals_and_size_are_set_one_by_one() {
        let by_age = DefaultRollingPolicy::new().rollover_interval(Duration::from_millis(10));
        let policy: &dyn RollingPolicy<()> = &by_age.inactivity_interval(Duration::from_millis(5)).max_part_size(3);
        assert!(policy.should_roll_on_event(&part(4, 0, 0), &()) && !policy.should_roll_on_event(&part(3, 0, 0), &()));
        assert!(policy.should_roll_on_processing_time(&part(0, 0, 9), 10));
        assert!(policy.should_roll_on_processing_time(&part(0, 0, 3), 8));
        assert!(!policy.should_roll_on_processing_time(&part(0, 0, 4), 8));
    }
}
