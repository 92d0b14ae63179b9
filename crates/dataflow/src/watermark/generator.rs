//! What makes watermarks of records.

use super::mark::{Mark, Status};

/// Makes watermarks of the records it sees (Flink's `WatermarkGenerator`). It has no part in checkpoints: after a restore
/// it begins anew.
///
/// ```
/// use highwater_dataflow::{WatermarkGenerator, WatermarkOutput, WatermarkStrategy};
///
/// /// Every record with a flag says that nothing older will come.
/// struct Punctuated;
///
/// impl WatermarkGenerator<(i64, bool)> for Punctuated {
///     fn on_event(&mut self, (_, is_last): &(i64, bool), timestamp: i64, out: &mut WatermarkOutput) {
///         if *is_last {
///             out.emit_watermark(timestamp);
///         }
///     }
/// }
///
/// let strategy = WatermarkStrategy::generator(|| Punctuated).timestamps(|(at, _), _| *at);
/// # let _ = strategy;
/// ```
pub trait WatermarkGenerator<T>: 'static {
    /// Called for every record, behind which a watermark that is emitted here comes.
    fn on_event(&mut self, record: &T, timestamp: i64, out: &mut WatermarkOutput);

    /// Called every [`auto_watermark_interval`](crate::ExecutionConfig::auto_watermark_interval). By default it does
    /// nothing.
    fn on_periodic_emit(&mut self, out: &mut WatermarkOutput) {
        let _ = out;
    }
}

/// Takes the watermarks of a generator (Flink's `WatermarkOutput`).
#[derive(Debug)]
pub struct WatermarkOutput {
    last: i64,
    is_idle: bool,
    said: Mark,
}

impl Default for WatermarkOutput {
    fn default() -> Self {
        Self { last: i64::MIN, is_idle: false, said: Mark::status(Status::Unchanged) }
    }
}

impl WatermarkOutput {
    /// Says that no more records with this timestamp or a smaller one will come. One that is not larger than the last
    /// changes nothing; one that is ends idleness.
    pub fn emit_watermark(&mut self, timestamp: i64) {
        if timestamp > self.last {
            self.last = timestamp;
            self.mark_active();
            self.say(Mark::watermark(timestamp));
        }
    }

    /// Says that nobody needs to wait for this stream, until [`mark_active`](Self::mark_active) or a larger watermark.
    pub fn mark_idle(&mut self) {
        if !std::mem::replace(&mut self.is_idle, true) {
            self.say(Mark::status(Status::Idle));
        }
    }

    /// Says that this stream is to be waited for again.
    pub fn mark_active(&mut self) {
        if std::mem::replace(&mut self.is_idle, false) {
            self.say(Mark::status(Status::Active));
        }
    }

    fn say(&mut self, mark: Mark) {
        self.said = self.said.then(mark);
    }

    /// What was said since the last call.
    pub(crate) fn take(&mut self) -> Option<Mark> {
        let said = std::mem::replace(&mut self.said, Mark::status(Status::Unchanged));
        (!said.says_nothing()).then_some(said)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.is_idle
    }

    pub(super) fn last(&self) -> i64 {
        self.last
    }
}

/// Timestamps are out of order by no more than this (Flink's `BoundedOutOfOrdernessWatermarks`).
pub(super) struct BoundedOutOfOrderness {
    largest: i64,
    bound: i64,
}

impl BoundedOutOfOrderness {
    pub(super) fn new(bound: i64) -> Self {
        Self { largest: i64::MIN.saturating_add(bound).saturating_add(1), bound }
    }
}

impl<T> WatermarkGenerator<T> for BoundedOutOfOrderness {
    fn on_event(&mut self, _: &T, timestamp: i64, _: &mut WatermarkOutput) {
        self.largest = self.largest.max(timestamp);
    }

    fn on_periodic_emit(&mut self, out: &mut WatermarkOutput) {
        // The largest timestamp itself may come once more.
        out.emit_watermark(self.largest.saturating_sub(self.bound).saturating_sub(1));
    }
}

/// Says nothing until the end.
pub(super) struct NoWatermarks;

impl<T> WatermarkGenerator<T> for NoWatermarks {
    fn on_event(&mut self, _: &T, _: i64, _: &mut WatermarkOutput) {}
}
