//! Streams in which nothing happens (Flink's `WatermarksWithIdleness`).

use std::time::Duration;

use super::generator::{WatermarkGenerator, WatermarkOutput};

/// A generator that says so when it has seen no record for a while. It looks at the clock at periodic ticks only.
pub(super) struct WithIdleness<T> {
    generator: Box<dyn WatermarkGenerator<T>>,
    timeout: Option<Duration>,
    /// Whether a record came since the last tick.
    is_seen: bool,
    /// The tick at which none had come.
    quiet_since: Option<Duration>,
    is_idle: bool,
}

impl<T: 'static> WithIdleness<T> {
    pub(super) fn new(generator: Box<dyn WatermarkGenerator<T>>, timeout: Option<Duration>) -> Self {
        Self { generator, timeout, is_seen: false, quiet_since: None, is_idle: false }
    }

    pub(super) fn on_event(&mut self, record: &T, timestamp: i64, out: &mut WatermarkOutput) {
        self.generator.on_event(record, timestamp, out);
        (self.is_seen, self.is_idle) = (true, false);
    }

    /// `now` is the time on a clock that stands still while the stream has to wait for others.
    pub(super) fn on_periodic_emit(&mut self, now: Duration, out: &mut WatermarkOutput) {
        if !self.is_quiet(now) {
            self.generator.on_periodic_emit(out);
        } else if !std::mem::replace(&mut self.is_idle, true) {
            out.mark_idle();
        }
    }

    fn is_quiet(&mut self, now: Duration) -> bool {
        let Some(timeout) = self.timeout else { return false };
        if std::mem::take(&mut self.is_seen) {
            self.quiet_since = None;
            return false;
        }
        match self.quiet_since {
            None => {
                self.quiet_since = Some(now);
                false
            }
            Some(since) => now.saturating_sub(since) > timeout,
        }
    }
}
