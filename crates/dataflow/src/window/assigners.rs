//! Flink's window assigners.

use std::time::Duration;

use highwater_types::{Error, GlobalWindow, Result, TimeWindow};

use super::assigner::{DefaultTrigger, Merge, WindowAssigner, require_timestamp};

/// Start of the window of this size that `timestamp` lies in, where one begins at `offset`.
fn window_start(timestamp: i64, offset: i64, size: i64) -> i64 {
    match timestamp.checked_sub(offset) {
        Some(distance) => timestamp.saturating_sub(distance.rem_euclid(size)),
        None => {
            let distance = i128::from(timestamp) - i128::from(offset);
            timestamp.saturating_sub(distance.rem_euclid(i128::from(size)) as i64)
        }
    }
}

/// Near the end of time windows end earlier; in Flink their end lies before their start.
fn window(start: i64, size: i64) -> TimeWindow {
    TimeWindow { start, end: start.saturating_add(size) }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[derive(Clone, Copy, Debug)]
struct Tumbling {
    size: i64,
    offset: i64,
}

#[derive(Clone, Copy, Debug)]
struct Sliding {
    size: i64,
    slide: i64,
    offset: i64,
}

impl Tumbling {
    fn assign(self, timestamp: i64, windows: &mut Vec<TimeWindow>) {
        windows.push(window(window_start(timestamp, self.offset, self.size), self.size));
    }

    fn check(self) -> Result<()> {
        match self.offset.checked_abs() {
            Some(offset) if offset < self.size => Ok(()),
            _ => Err(Error::program("tumbling windows need abs(offset) < size")
                .with("offset", format_args!("{} ms", self.offset))
                .with("size", format_args!("{} ms", self.size))),
        }
    }
}

/// More windows than this a record does not belong to, as in Flink.
const MOST_PANES: i64 = 10_000_000;

impl Sliding {
    /// The latest first.
    fn assign(self, timestamp: i64, windows: &mut Vec<TimeWindow>) {
        let before = timestamp.saturating_sub(self.size);
        let mut next = Some(window_start(timestamp, self.offset, self.slide));
        while let Some(start) = next.filter(|start| *start > before) {
            windows.push(window(start, self.size));
            next = start.checked_sub(self.slide);
        }
    }

    fn check(self) -> Result<()> {
        let offset = self.offset.checked_abs();
        let is_possible = offset.is_some_and(|offset| offset < self.slide) && self.size > 0;
        if is_possible && self.size / self.slide <= MOST_PANES {
            return Ok(());
        }
        Err(Error::program(
            "sliding windows need abs(offset) < slide, size > 0, and no more than 10,000,000 windows for one record",
        )
        .with("offset", format_args!("{} ms", self.offset))
        .with("slide", format_args!("{} ms", self.slide))
        .with("size", format_args!("{} ms", self.size)))
    }
}

macro_rules! time_windows {
    ($($(#[$doc:meta])* $name:ident, $inner:ident($($arguments:ident),+), $is_event_time:literal, $trigger:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        #[must_use]
        pub struct $name($inner);

        impl $name {
            /// Windows of this size (and this slide, if they slide), aligned to 1970 in UTC, in whole milliseconds.
            pub fn of($($arguments: Duration),+) -> Self {
                Self($inner { $($arguments: millis($arguments),)+ offset: 0 })
            }

            /// Moves the windows by so many milliseconds: days in UTC+8 need an offset of minus eight hours.
            pub fn offset_millis(mut self, offset: i64) -> Self {
                self.0.offset = offset;
                self
            }
        }

        impl<T> WindowAssigner<T> for $name {
            type Window = TimeWindow;

            fn assign_windows(
                &mut self,
                _: &T,
                timestamp: i64,
                processing_time: i64,
                windows: &mut Vec<TimeWindow>,
            ) -> Result<()> {
                let time = if $is_event_time { require_timestamp(timestamp)? } else { processing_time };
                self.0.assign(time, windows);
                Ok(())
            }

            fn is_event_time(&self) -> bool {
                $is_event_time
            }

            fn default_trigger(&self) -> DefaultTrigger {
                DefaultTrigger::$trigger
            }

            fn check(&self) -> Result<()> {
                self.0.check()
            }
        }
    )*};
}

time_windows! {
    /// Windows of equal size, one after the other, by event time.
    TumblingEventTimeWindows, Tumbling(size), true, EventTime;
    /// Windows of equal size, one after the other, by the clock.
    TumblingProcessingTimeWindows, Tumbling(size), false, ProcessingTime;
    /// Windows of equal size, one beginning with every slide, by event time. A record belongs to several if the slide is
    /// smaller than the size, and to one or none if it is larger.
    SlidingEventTimeWindows, Sliding(size, slide), true, EventTime;
    /// As [`SlidingEventTimeWindows`], by the clock.
    SlidingProcessingTimeWindows, Sliding(size, slide), false, ProcessingTime;
}

/// Windows that intersect or touch become one.
fn merge_touching(mut windows: Vec<TimeWindow>) -> Vec<Merge<TimeWindow>> {
    windows.sort_unstable();
    let mut merges: Vec<Merge<TimeWindow>> = Vec::new();
    for window in windows {
        match merges.last_mut().filter(|last| window.start <= last.into.end) {
            Some(last) => {
                last.into.end = last.into.end.max(window.end);
                last.windows.push(window);
            }
            None => merges.push(Merge { into: window, windows: vec![window] }),
        }
    }
    merges.retain(|merge| merge.windows.len() > 1);
    merges
}

fn check_gap(gap: i64) -> Result<()> {
    match gap {
        1.. => Ok(()),
        _ => Err(Error::program("session windows need a gap of more than 0").with("gap", format_args!("{gap} ms"))),
    }
}

macro_rules! sessions {
    ($($(#[$doc:meta])* $name:ident, $is_event_time:literal, $trigger:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        #[must_use]
        pub struct $name {
            gap: i64,
        }

        impl $name {
            /// A session ends when no record has come for this time, in whole milliseconds. Records exactly one gap apart
            /// belong to one session.
            pub fn with_gap(gap: Duration) -> Self {
                Self { gap: millis(gap) }
            }
        }

        impl<T> WindowAssigner<T> for $name {
            type Window = TimeWindow;

            fn assign_windows(
                &mut self,
                _: &T,
                timestamp: i64,
                processing_time: i64,
                windows: &mut Vec<TimeWindow>,
            ) -> Result<()> {
                let time = if $is_event_time { require_timestamp(timestamp)? } else { processing_time };
                windows.push(window(time, self.gap));
                Ok(())
            }

            fn is_event_time(&self) -> bool {
                $is_event_time
            }

            fn default_trigger(&self) -> DefaultTrigger {
                DefaultTrigger::$trigger
            }

            fn is_merging(&self) -> bool {
                true
            }

            fn merge_windows(&self, windows: Vec<TimeWindow>) -> Vec<Merge<TimeWindow>> {
                merge_touching(windows)
            }

            fn check(&self) -> Result<()> {
                check_gap(self.gap)
            }
        }
    )*};
}

sessions! {
    /// Records that follow one another closely enough, by event time.
    EventTimeSessionWindows, true, EventTime;
    /// Records that follow one another closely enough, by the clock.
    ProcessingTimeSessionWindows, false, ProcessingTime;
}

impl EventTimeSessionWindows {
    /// Every record says itself for how long a session lasts with it (Flink's `withDynamicGap`).
    pub fn with_dynamic_gap<T: 'static>(
        gap: impl FnMut(&T) -> Duration + 'static,
    ) -> DynamicEventTimeSessionWindows<T> {
        DynamicEventTimeSessionWindows { gap: Box::new(gap) }
    }
}

/// Records that follow one another closely enough, which each of them says, by event time.
#[must_use]
pub struct DynamicEventTimeSessionWindows<T> {
    gap: Box<dyn FnMut(&T) -> Duration>,
}

impl<T: 'static> WindowAssigner<T> for DynamicEventTimeSessionWindows<T> {
    type Window = TimeWindow;

    fn assign_windows(&mut self, record: &T, timestamp: i64, _: i64, windows: &mut Vec<TimeWindow>) -> Result<()> {
        let gap = millis((self.gap)(record));
        check_gap(gap)?;
        windows.push(window(require_timestamp(timestamp)?, gap));
        Ok(())
    }

    fn is_event_time(&self) -> bool {
        true
    }

    fn default_trigger(&self) -> DefaultTrigger {
        DefaultTrigger::EventTime
    }

    fn is_merging(&self) -> bool {
        true
    }

    fn merge_windows(&self, windows: Vec<TimeWindow>) -> Vec<Merge<TimeWindow>> {
        merge_touching(windows)
    }
}

impl<T> std::fmt::Debug for DynamicEventTimeSessionWindows<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DynamicEventTimeSessionWindows").finish_non_exhaustive()
    }
}

/// One window for all records of a key. Nothing is emitted without a trigger of the program's.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct GlobalWindows;

impl<T> WindowAssigner<T> for GlobalWindows {
    type Window = GlobalWindow;

    fn assign_windows(&mut self, _: &T, _: i64, _: i64, windows: &mut Vec<GlobalWindow>) -> Result<()> {
        windows.push(GlobalWindow);
        Ok(())
    }

    /// Nothing is late for it.
    fn is_event_time(&self) -> bool {
        false
    }

    fn default_trigger(&self) -> DefaultTrigger {
        DefaultTrigger::Never
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn starts(mut assigner: impl WindowAssigner<(), Window = TimeWindow>, timestamp: i64) -> Vec<i64> {
        let mut windows = Vec::new();
        assigner.assign_windows(&(), timestamp, 0, &mut windows).unwrap();
        windows.into_iter().map(|window| window.start).collect()
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn windows_are_aligned_below_zero_too() {
        for (timestamp, start) in [(0, 0), (999, 0), (-1, -1000), (-1000, -1000), (-1001, -2000)] {
            assert_eq!(starts(TumblingEventTimeWindows::of(ms(1000)), timestamp), [start]);
        }
        for (timestamp, offset, size, start) in [
            (7, 3, 10, 3),
            (1500, 300, 1000, 1300),
            (299, 300, 1000, -700),
            (-1, -300, 1000, -300),
            (-15000, 0, 7000, -21000),
        ] {
            assert_eq!(window_start(timestamp, offset, size), start);
        }
        let days = TumblingEventTimeWindows::of(ms(86_400_000)).offset_millis(-28_800_000);
        assert_eq!(starts(days, 1_234_567_890_123), [1_234_540_800_000]);
    }

    #[test]
    fn sliding_windows_overlap_or_leave_gaps() {
        assert_eq!(starts(SlidingEventTimeWindows::of(ms(10), ms(5)), 7), [5, 0]);
        assert_eq!(starts(SlidingEventTimeWindows::of(ms(10), ms(5)).offset_millis(2), 1), [-3, -8]);
        assert_eq!(starts(SlidingEventTimeWindows::of(ms(5), ms(10)), 3), [0]);
        assert!(starts(SlidingEventTimeWindows::of(ms(5), ms(10)), 7).is_empty());
        assert_eq!(starts(SlidingEventTimeWindows::of(ms(7), ms(3)), 8), [6, 3]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        fn check(assigner: impl WindowAssigner<()>) -> bool {
            assigner.check().is_ok()
        }
        assert!(!check(TumblingEventTimeWindows::of(ms(10)).offset_millis(10)));
        assert!(!check(TumblingEventTimeWindows::of(ms(10)).offset_millis(i64::MIN)));
        assert!(!check(TumblingProcessingTimeWindows::of(ms(0))));
        assert!(!check(SlidingEventTimeWindows::of(ms(10), ms(5)).offset_millis(-5)));
        assert!(!check(SlidingEventTimeWindows::of(ms(0), ms(5))));
        assert!(!check(SlidingEventTimeWindows::of(ms(5), ms(0))));
        assert!(!check(SlidingEventTimeWindows::of(ms(10_000_001), ms(1))));
        assert!(!check(EventTimeSessionWindows::with_gap(ms(0))));
        assert!(check(TumblingEventTimeWindows::of(ms(10)).offset_millis(-9)));
    }

    #[test]
    fn a_record_needs_a_timestamp() {
        let mut windows = Vec::new();
        let error = TumblingEventTimeWindows::of(ms(10)).assign_windows(&(), i64::MIN, 0, &mut windows).unwrap_err();
        assert!(error.message().contains("Were timestamps assigned?"), "{error}");
    }

    proptest! {
        #[test]
        fn a_record_lies_in_its_windows_at_the_ends_of_time_too(
            timestamp in prop_oneof![any::<i64>(), -50..50_i64, (i64::MAX - 50)..=i64::MAX, (i64::MIN + 1)..(i64::MIN + 50)],
            size in 1..30_i64,
            slide in 1..30_i64,
            offset in -29..30_i64,
        ) {
            let mut windows = Vec::new();
            let offset = offset % slide;
            Sliding { size, slide, offset }.assign(timestamp, &mut windows);
            for window in &windows {
                prop_assert!(window.start <= timestamp && timestamp <= window.end, "{window} {timestamp}");
                prop_assert!(timestamp < window.end || window.end == i64::MAX);
            }
            if timestamp > i64::MIN + 100 && timestamp < i64::MAX - 100 {
                let expected = (timestamp - size + 1..=timestamp).rev().filter(|start| (start - offset).rem_euclid(slide) == 0);
                prop_assert_eq!(windows.iter().map(|window| window.start).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            }
            windows.clear();
            Tumbling { size, offset: offset % size }.assign(timestamp, &mut windows);
            prop_assert!(windows.len() == 1 && windows[0].start <= timestamp && timestamp <= windows[0].end);
        }
    }
}
