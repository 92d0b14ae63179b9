//! Strategies at work: in a source, with a generator for every split, and in the middle of a stream, with one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::generator::WatermarkOutput;
use super::idleness::WithIdleness;
use super::mark::Mark;
use super::strategy::WatermarkStrategy;

/// A strategy on a stream, whatever came before it (Flink's `TimestampsAndWatermarksOperator`).
pub(crate) struct StreamAssigner<T> {
    strategy: WatermarkStrategy<T>,
    generator: WithIdleness<T>,
    out: WatermarkOutput,
}

impl<T: 'static> StreamAssigner<T> {
    pub(crate) fn new(strategy: WatermarkStrategy<T>) -> Self {
        Self { generator: strategy.new_generator(), strategy, out: WatermarkOutput::default() }
    }

    /// The timestamp of a record.
    pub(crate) fn timestamp(&self, record: &T, previous: Option<i64>) -> i64 {
        self.strategy.timestamp(record, previous)
    }

    /// Shows the generator a record. What it says comes behind it.
    pub(crate) fn on_event(&mut self, record: &T, timestamp: i64) -> Option<Mark> {
        self.generator.on_event(record, timestamp, &mut self.out);
        self.out.take()
    }

    pub(crate) fn on_periodic_emit(&mut self, now: Duration) -> Option<Mark> {
        self.generator.on_periodic_emit(now, &mut self.out);
        self.out.take()
    }

    /// The input has ended.
    pub(crate) fn end(&mut self) -> Option<Mark> {
        self.out.emit_watermark(i64::MAX);
        self.out.take()
    }

    pub(crate) fn is_periodic(&self) -> bool {
        self.strategy.is_periodic()
    }
}

/// A strategy at a source, by split (Flink's `ProgressiveTimestampsAndWatermarks`): the source says what is true of all of
/// its splits that are not idle.
pub(crate) struct SplitAssigner<T> {
    strategy: WatermarkStrategy<T>,
    splits: BTreeMap<u64, Split<T>>,
    /// Stands for the splits as long as there are none: it becomes idle as one that has no records would.
    nothing: Split<T>,
    out: WatermarkOutput,
}

struct Split<T> {
    generator: WithIdleness<T>,
    out: WatermarkOutput,
}

impl<T: 'static> SplitAssigner<T> {
    pub(crate) fn new(strategy: WatermarkStrategy<T>) -> Self {
        let nothing = Split::new(&strategy);
        Self { strategy, splits: BTreeMap::new(), nothing, out: WatermarkOutput::default() }
    }

    /// The timestamp of a record.
    pub(crate) fn timestamp(&self, record: &T, previous: Option<i64>) -> i64 {
        self.strategy.timestamp(record, previous)
    }

    /// Shows the generator of a split a record.
    pub(crate) fn on_event(&mut self, split: u64, record: &T, timestamp: i64) -> Option<Mark> {
        let split = self.splits.entry(split).or_insert_with(|| Split::new(&self.strategy));
        split.generator.on_event(record, timestamp, &mut split.out);
        // Most generators say nothing here.
        split.out.take()?;
        self.combine()
    }

    pub(crate) fn on_periodic_emit(&mut self, now: Duration) -> Option<Mark> {
        match self.splits.is_empty() {
            true => self.nothing.generator.on_periodic_emit(now, &mut self.nothing.out),
            false => self.nothing = Split::new(&self.strategy),
        }
        for split in self.splits.values_mut() {
            split.generator.on_periodic_emit(now, &mut split.out);
            split.out.take();
        }
        self.combine()
    }

    /// All splits have been read to their end.
    pub(crate) fn remove_all_splits(&mut self) {
        self.splits.clear();
    }

    /// There is a split now, though it has had no record.
    pub(crate) fn add_split(&mut self, split: u64) {
        self.splits.entry(split).or_insert_with(|| Split::new(&self.strategy));
    }

    /// A split has been read to its end: nobody waits for it.
    pub(crate) fn remove_split(&mut self, split: u64) {
        self.splits.remove(&split);
    }

    /// The input has ended.
    pub(crate) fn end(&mut self) -> Option<Mark> {
        self.out.emit_watermark(i64::MAX);
        self.out.take()
    }

    pub(crate) fn is_periodic(&self) -> bool {
        self.strategy.is_periodic()
    }

    /// A source without splits has others wait for it, as its first ones may be on their way, unless it becomes idle.
    fn combine(&mut self) -> Option<Mark> {
        let active = self.splits.values().filter(|split| !split.out.is_idle());
        match active.map(|split| split.out.last()).min() {
            Some(watermark) => self.out.emit_watermark(watermark),
            None if !self.splits.is_empty() || self.nothing.out.is_idle() => self.out.mark_idle(),
            None => {}
        }
        self.out.take()
    }
}

impl<T: 'static> Split<T> {
    fn new(strategy: &WatermarkStrategy<T>) -> Self {
        Self { generator: strategy.new_generator(), out: WatermarkOutput::default() }
    }
}

/// When generators are asked for watermarks, and the time that idleness is measured in.
#[derive(Debug)]
pub(crate) struct PeriodicTicks {
    interval: Option<Duration>,
    next: Instant,
    /// How long the stream has not had to wait for others.
    running: Duration,
    last: Instant,
}

impl PeriodicTicks {
    /// Without an interval there are none.
    pub(crate) fn new(interval: Option<Duration>, now: Instant) -> Self {
        Self { interval, next: interval.map_or(now, |interval| now + interval), running: Duration::ZERO, last: now }
    }

    /// Whether it is time for one; if so, the time on the clock for idleness. The clock stands still while the stream has
    /// to wait.
    pub(crate) fn tick(&mut self, now: Instant, has_to_wait: bool) -> Option<Duration> {
        if !has_to_wait {
            self.running += now.saturating_duration_since(self.last);
        }
        self.last = now;
        let interval = self.interval.filter(|_| now >= self.next)?;
        self.next = now + interval;
        Some(self.running)
    }

    /// How long until the next one.
    pub(crate) fn pause(&self, now: Instant) -> Option<Duration> {
        self.interval.map(|_| self.next.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watermark::Status;

    fn bounded(bound: u64) -> WatermarkStrategy<i64> {
        WatermarkStrategy::bounded_out_of_orderness(Duration::from_millis(bound)).timestamps(|at, _| *at)
    }

    fn events(assigner: &mut StreamAssigner<i64>, at: &[i64]) {
        for at in at {
            assert_eq!(assigner.on_event(at, *at), None);
        }
    }

    fn tick(assigner: &mut StreamAssigner<i64>, now: u64) -> Option<Mark> {
        assigner.on_periodic_emit(Duration::from_millis(now))
    }

    #[test]
    fn the_watermark_stays_behind_the_largest_timestamp() {
        let mut assigner = StreamAssigner::new(bounded(5));
        for (at, expected) in [(10, Some(4)), (7, None), (-3, None), (12, Some(6))] {
            events(&mut assigner, &[at]);
            assert_eq!(tick(&mut assigner, 0), expected.map(Mark::watermark), "after {at}");
        }
        let mut monotonous = StreamAssigner::new(WatermarkStrategy::monotonous().timestamps(|at: &i64, _| *at));
        assert_eq!(tick(&mut monotonous, 0), None);
        for (at, expected) in [(10, Some(9)), (10, None), (9, None), (11, Some(10))] {
            events(&mut monotonous, &[at]);
            assert_eq!(tick(&mut monotonous, 0), expected.map(Mark::watermark), "after {at}");
        }
        assert_eq!(monotonous.end(), Some(Mark::END));
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        for bound in [0, 5, i64::MAX as u64] {
            let mut assigner = StreamAssigner::new(bounded(bound));
            assert_eq!(tick(&mut assigner, 0), None);
            events(&mut assigner, &[i64::MIN]);
            assert_eq!(tick(&mut assigner, 0), None, "bound {bound}");
            events(&mut assigner, &[i64::MAX]);
            assert!(tick(&mut assigner, 0).is_some_and(|mark| mark.watermark < i64::MAX));
        }
    }

    #[test]
    fn idleness_is_seen_at_ticks_once_the_timeout_has_passed() {
        let idle = Some(Mark::status(Status::Idle));
        let mut assigner = StreamAssigner::new(bounded(0).idleness(Duration::from_millis(1_000)));
        events(&mut assigner, &[5]);
        for (now, expected) in
            [(200, Some(Mark::watermark(4))), (400, None), (600, None), (1400, None), (1401, idle), (1600, None)]
        {
            assert_eq!(tick(&mut assigner, now), expected, "at {now}");
        }
        events(&mut assigner, &[6]);
        let back = Some(Mark { watermark: 5, status: Status::Active });
        for (now, expected) in [(1800, back), (2000, None), (3001, idle)] {
            assert_eq!(tick(&mut assigner, now), expected, "at {now}");
        }
    }

    #[test]
    fn records_alone_do_not_end_idleness() {
        let mut assigner = StreamAssigner::new(bounded(0).idleness(Duration::from_millis(10)));
        events(&mut assigner, &[5]);
        for now in [1, 2, 20] {
            tick(&mut assigner, now);
        }
        events(&mut assigner, &[3]);
        assert_eq!(tick(&mut assigner, 21), None, "the stream is idle still: the watermark has not grown");
    }

    #[test]
    fn a_source_says_what_is_true_of_all_its_splits() {
        let mut source = SplitAssigner::new(bounded(0));
        let tick = |source: &mut SplitAssigner<i64>| source.on_periodic_emit(Duration::ZERO);
        for (split, at) in [(1, 50), (2, 20)] {
            assert_eq!(source.on_event(split, &at, at), None);
        }
        assert_eq!(tick(&mut source), Some(Mark::watermark(19)));
        source.remove_split(2);
        assert_eq!(tick(&mut source), Some(Mark::watermark(49)));
        source.on_event(3, &30, 30);
        assert_eq!(tick(&mut source), None);
        source.on_event(3, &80, 80);
        source.on_event(1, &80, 80);
        assert_eq!(tick(&mut source), Some(Mark::watermark(79)));
        source.add_split(4);
        source.on_event(1, &90, 90);
        source.on_event(3, &90, 90);
        assert_eq!(tick(&mut source), None, "a new split is waited for");
        [1, 3, 4].into_iter().for_each(|split| source.remove_split(split));
        assert_eq!(tick(&mut source), None, "others wait for the next split");
        assert_eq!(source.end(), Some(Mark::END));
    }

    /// On a busy machine the first splits came later than the first tick, others did not wait, and their records were
    /// late.
    #[test]
    fn a_source_without_splits_is_waited_for_as_long_as_one_without_records() {
        let mut source = SplitAssigner::new(bounded(0).idleness(Duration::from_millis(100)));
        let mut tick = |now| source.on_periodic_emit(Duration::from_millis(now));
        for now in [0, 10, 100] {
            assert_eq!(tick(now), None, "at {now}");
        }
        assert_eq!(tick(101), Some(Mark::status(Status::Idle)));
        assert_eq!(SplitAssigner::<i64>::new(bounded(0)).on_periodic_emit(Duration::MAX), None);
    }

    #[test]
    fn ticks_come_by_the_clock_and_waiting_is_not_idleness() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let mut ticks = PeriodicTicks::new(Some(Duration::from_millis(200)), begin);
        assert_eq!(ticks.tick(at(150), false), None);
        assert_eq!(ticks.pause(at(150)), Some(Duration::from_millis(50)));
        assert_eq!(ticks.tick(at(1_200), true), Some(Duration::from_millis(150)));
        assert_eq!(ticks.tick(at(1_500), false), Some(Duration::from_millis(450)));
        assert_eq!(PeriodicTicks::new(None, begin).tick(at(1_000), false), None);
    }
}
