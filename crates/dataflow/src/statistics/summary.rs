//! Numbers of which a summary is kept, not each of them.

use std::collections::BTreeMap;

/// Buckets of one power of two: quantiles are right to 3 %.
const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// What is known of any number of values in bounded memory (Flink's `StatsSummary`): how many, least, greatest, mean,
/// and quantiles, which are right to 3 %.
///
/// A quantile is the value that so large a part of all values does not exceed: 0.5 is the median.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    count: u64,
    min: u64,
    max: u64,
    sum: u128,
    /// How many values are in each bucket; at most 1,920.
    buckets: BTreeMap<u64, u64>,
}

impl Summary {
    /// Adds a value.
    pub fn record(&mut self, value: u64) {
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.count += 1;
        self.sum += u128::from(value);
        *self.buckets.entry(bucket(value)).or_default() += 1;
    }

    /// How many values there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The least of them, 0 if there were none.
    #[must_use]
    pub fn min(&self) -> u64 {
        self.min
    }

    /// The greatest of them, 0 if there were none.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Their mean, rounded down; 0 if there were none.
    #[must_use]
    pub fn mean(&self) -> u64 {
        u64::try_from(self.sum / u128::from(self.count.max(1))).unwrap_or(u64::MAX)
    }

    /// The value that a part of all values, from 0 to 1, does not exceed; 0 if there were none.
    #[must_use]
    pub fn quantile(&self, part: f64) -> u64 {
        // Casts from float to integer saturate.
        let rank = ((self.count as f64 * part).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (bucket, values) in &self.buckets {
            seen += values;
            if seen >= rank {
                return greatest(*bucket).clamp(self.min, self.max);
            }
        }
        self.max
    }
}

/// Small values have buckets of their own, larger ones share them: each power of two has 32.
fn bucket(value: u64) -> u64 {
    let power = value.checked_ilog2().unwrap_or(0);
    match power.checked_sub(STEP_BITS) {
        Some(shift) => (u64::from(shift) + 1) * STEPS + (value >> shift) - STEPS,
        None => value,
    }
}

/// The greatest value of a bucket.
fn greatest(bucket: u64) -> u64 {
    match (bucket / STEPS).checked_sub(1) {
        Some(shift) => {
            let least = (STEPS + bucket % STEPS) << shift;
            least + ((1 << shift) - 1)
        }
        None => bucket,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_bucket_that_is_hardly_larger() {
        let mut last = 0;
        for value in (0..10_000).chain((14..64).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1])) {
            let bucket = bucket(value);
            assert!(bucket >= last || value < 10_000, "buckets are in order");
            last = bucket;
            let greatest = greatest(bucket);
            assert!(value <= greatest && greatest - value <= value / 32, "{value} is told as {greatest}");
        }
        assert_eq!(greatest(bucket(u64::MAX)), u64::MAX);
    }

    #[test]
    fn a_summary_stays_small_and_knows_its_quantiles() {
        let mut summary = Summary::default();
        assert_eq!((summary.min(), summary.mean(), summary.quantile(0.5)), (0, 0, 0));
        (1..=100_000).for_each(|value| summary.record(value));
        assert_eq!((summary.count(), summary.min(), summary.max(), summary.mean()), (100_000, 1, 100_000, 50_000));
        for (part, exact) in [(0.0, 1), (0.5, 50_000), (0.99, 99_000), (1.0, 100_000)] {
            let told = summary.quantile(part);
            assert!(exact <= told && told <= exact + exact / 32, "{part}: {told}");
        }
        assert!(summary.buckets.len() < 500, "{} buckets", summary.buckets.len());
    }
}
