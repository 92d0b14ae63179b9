//! How a stream gets its timestamps and watermarks.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use highwater_types::{Error, Result};

use super::generator::{BoundedOutOfOrderness, NoWatermarks, WatermarkGenerator};
use super::idleness::WithIdleness;

/// Gives a record its timestamp, from itself and the one that it has already.
type Timestamps<T> = Rc<dyn Fn(&T, Option<i64>) -> i64>;

/// How the records of a stream get timestamps, and what is said about those that are still to come (Flink's
/// `WatermarkStrategy`). All times are milliseconds since 1970.
///
/// ```
/// use std::time::Duration;
/// use highwater_dataflow::WatermarkStrategy;
///
/// struct Click { at: i64 }
///
/// let strategy = WatermarkStrategy::bounded_out_of_orderness(Duration::from_secs(5))
///     .timestamps(|click: &Click, _| click.at)
///     .idleness(Duration::from_secs(30));
/// # let _ = strategy;
/// ```
#[must_use]
pub struct WatermarkStrategy<T> {
    generator: Rc<dyn Fn() -> Box<dyn WatermarkGenerator<T>>>,
    timestamps: Option<Timestamps<T>>,
    idleness: Option<Duration>,
    is_periodic: bool,
}

impl<T: 'static> WatermarkStrategy<T> {
    /// Timestamps never fall (Flink's `forMonotonousTimestamps`). The watermark is the largest timestamp less one
    /// millisecond, as records with that same timestamp may follow.
    pub fn monotonous() -> Self {
        Self::bounded_out_of_orderness(Duration::ZERO)
    }

    /// No record comes with a timestamp that is smaller than the largest before it by more than `bound` (Flink's
    /// `forBoundedOutOfOrderness`). The watermark is the largest timestamp less the bound and one millisecond.
    pub fn bounded_out_of_orderness(bound: Duration) -> Self {
        let bound = i64::try_from(bound.as_millis()).unwrap_or(i64::MAX);
        Self::of(Rc::new(move || Box::new(BoundedOutOfOrderness::new(bound))))
    }

    /// There are no watermarks before the end of the input (Flink's `noWatermarks`).
    pub fn none() -> Self {
        Self { is_periodic: false, ..Self::of(Rc::new(|| Box::new(NoWatermarks))) }
    }

    /// Watermarks are made by a generator of one's own: `make` makes one for every split of a source, or subtask of a
    /// stream.
    pub fn generator<G: WatermarkGenerator<T>>(make: impl Fn() -> G + 'static) -> Self {
        Self::of(Rc::new(move || Box::new(make())))
    }

    fn of(generator: Rc<dyn Fn() -> Box<dyn WatermarkGenerator<T>>>) -> Self {
        Self { generator, timestamps: None, idleness: None, is_periodic: true }
    }

    /// Takes the timestamp of a record from this function, which is given the record and the timestamp that it has
    /// already, if any (Flink's `withTimestampAssigner`). By default a record keeps that.
    pub fn timestamps(mut self, of: impl Fn(&T, Option<i64>) -> i64 + 'static) -> Self {
        self.timestamps = Some(Rc::new(of));
        self
    }

    /// Lets a split or stream that has had no record for this long count as idle: nobody waits for its watermark then
    /// (Flink's `withIdleness`). Looked at every
    /// [`auto_watermark_interval`](crate::ExecutionConfig::auto_watermark_interval), so that it takes up to three
    /// intervals longer. Must be more than 0.
    pub fn idleness(mut self, timeout: Duration) -> Self {
        self.idleness = Some(timeout);
        self
    }

    /// # Errors
    /// `Configuration` for an idle timeout of 0.
    pub(crate) fn check(&self) -> Result<()> {
        match self.idleness {
            Some(Duration::ZERO) => {
                Err(Error::configuration("the idle timeout of a watermark strategy must be more than 0"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn new_generator(&self) -> WithIdleness<T> {
        WithIdleness::new((self.generator)(), self.idleness)
    }

    pub(super) fn timestamp(&self, record: &T, previous: Option<i64>) -> i64 {
        match &self.timestamps {
            Some(of) => of(record, previous),
            None => previous.unwrap_or(i64::MIN),
        }
    }

    /// Whether anything happens at periodic ticks.
    pub(super) fn is_periodic(&self) -> bool {
        self.is_periodic || self.idleness.is_some()
    }
}

impl<T> Clone for WatermarkStrategy<T> {
    fn clone(&self) -> Self {
        Self { generator: Rc::clone(&self.generator), timestamps: self.timestamps.clone(), ..*self }
    }
}

impl<T> fmt::Debug for WatermarkStrategy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatermarkStrategy").field("idleness", &self.idleness).finish_non_exhaustive()
    }
}
