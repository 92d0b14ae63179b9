//! Which windows a record belongs to.

use highwater_types::{Error, Result};

use super::Window;

/// Assigns records to windows (Flink's `WindowAssigner`). Every subtask has one of its own.
///
/// ```
/// use highwater_dataflow::{DefaultTrigger, WindowAssigner};
/// use highwater_types::{Result, TimeWindow};
///
/// /// From one multiple of 1,000 milliseconds to the next, which belongs to both.
/// struct Overlapping;
///
/// impl<T> WindowAssigner<T> for Overlapping {
///     type Window = TimeWindow;
///
///     fn assign_windows(&mut self, _: &T, timestamp: i64, _: i64, windows: &mut Vec<TimeWindow>) -> Result<()> {
///         let start = timestamp.div_euclid(1_000) * 1_000;
///         windows.push(TimeWindow { start, end: start + 1_001 });
///         windows.extend((timestamp == start).then_some(TimeWindow { start: start - 1_000, end: start + 1 }));
///         Ok(())
///     }
///
///     fn is_event_time(&self) -> bool {
///         true
///     }
///
///     fn default_trigger(&self) -> DefaultTrigger {
///         DefaultTrigger::EventTime
///     }
/// }
/// ```
pub trait WindowAssigner<T>: 'static {
    /// The windows.
    type Window: Window;

    /// Appends the windows of a record with this timestamp (`MIN` if it has none) at this processing time.
    ///
    /// # Errors
    /// An error fails the attempt.
    fn assign_windows(
        &mut self,
        record: &T,
        timestamp: i64,
        processing_time: i64,
        windows: &mut Vec<Self::Window>,
    ) -> Result<()>;

    /// Whether windows end by event time. If not, records are never late.
    fn is_event_time(&self) -> bool;

    /// What decides when a window is emitted, unless the program says something else.
    fn default_trigger(&self) -> DefaultTrigger;

    /// Whether windows of a key merge: then [`merge_windows`](Self::merge_windows) is asked whenever one is added.
    fn is_merging(&self) -> bool {
        false
    }

    /// Which of these windows of one key become one (Flink's `MergingWindowAssigner`).
    fn merge_windows(&self, windows: Vec<Self::Window>) -> Vec<Merge<Self::Window>> {
        let _ = windows;
        Vec::new()
    }

    /// Checks the parameters, when the job is defined.
    ///
    /// # Errors
    /// `Program` for what makes no sense.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// The trigger of an assigner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultTrigger {
    /// [`EventTimeTrigger`](super::EventTimeTrigger).
    EventTime,
    /// [`ProcessingTimeTrigger`](super::ProcessingTimeTrigger).
    ProcessingTime,
    /// [`NeverTrigger`](super::NeverTrigger).
    Never,
}

/// Windows that become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merge<W> {
    /// What they become.
    pub into: W,
    /// The windows; their contents are put together in this order.
    pub windows: Vec<W>,
}

/// The timestamp of a record in windows of event time.
///
/// # Errors
/// `Program` if it has none.
pub(super) fn require_timestamp(timestamp: i64) -> Result<i64> {
    match timestamp {
        i64::MIN => Err(Error::program(
            "a record without a timestamp belongs to no window of event time. Were timestamps assigned? Use \
             `source_with_watermarks` or `assign_timestamps_and_watermarks`, or windows of processing time",
        )),
        timestamp => Ok(timestamp),
    }
}
