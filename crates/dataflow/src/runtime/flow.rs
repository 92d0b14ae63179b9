//! Flow control of one source subtask. Timely's channels have no bound of their own: a source that stays a bounded
//! number of ticks ahead of the end of the dataflow is what keeps memory flat.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::time::{self, Time};

/// Ticks with records that may be on their way at once.
const WINDOW: usize = 8;
/// Bounds of the number of records in a tick. The actual number adapts to how fast the dataflow takes them.
const TICK_RECORDS: std::ops::RangeInclusive<usize> = 16..=32_768;
/// Records of the first tick.
const FIRST_TICK_RECORDS: usize = 256;
/// Longest time a tick with records stays open.
const TICK_LENGTH: Duration = Duration::from_millis(5);
/// Longest rest of an idle source while nobody else seems to be at work.
const LONGEST_REST: Duration = Duration::from_millis(50);
/// How far ahead of the end's frontier a source moves at least, in ticks.
const LEAP: u64 = WINDOW as u64 / 2;
/// The same for a source that has nothing to send at the moment.
const IDLE_LEAP: u64 = WINDOW as u64 * 8;
/// Where records take longer than this from source to sink, ticks become smaller: a barrier waits behind them.
const SLOW: Duration = Duration::from_millis(100);
/// Where they take less than this and the window is full, ticks become larger.
const FAST: Duration = Duration::from_millis(50);

/// How far the source may run ahead, and at which time it sends.
#[derive(Debug)]
pub(crate) struct FlowControl {
    now: Time,
    /// Records sent at `now`.
    sent: usize,
    tick_began: Instant,
    tick_records: usize,
    /// Earlier times with records that have not all reached the end, oldest first, and when they were closed.
    outstanding: VecDeque<(Time, Instant)>,
    /// When the time last changed, and the frontier of the end as it was then.
    moved: (Instant, Option<Time>),
    /// Whether the frontier has moved since without reaching this source: others are at work.
    others_move: bool,
}

impl FlowControl {
    pub(crate) fn new(epoch: u64, clock: Instant) -> Self {
        Self {
            now: time::at(epoch, 0),
            sent: 0,
            tick_began: clock,
            tick_records: FIRST_TICK_RECORDS,
            outstanding: VecDeque::with_capacity(WINDOW),
            moved: (clock, None),
            others_move: false,
        }
    }

    /// The time at which the source sends.
    pub(crate) fn now(&self) -> Time {
        self.now
    }

    /// Forgets the times that are through: those below the frontier of the dataflow's end.
    pub(crate) fn release(&mut self, end: Option<Time>, clock: Instant) {
        self.others_move |= end > self.moved.1 && end.is_some_and(|end| end < self.now);
        while let Some((time, closed)) = self.outstanding.front().copied() {
            if end.is_some_and(|end| end <= time) {
                break;
            }
            let full = self.outstanding.len() >= WINDOW;
            self.outstanding.pop_front();
            self.adapt(clock.saturating_duration_since(closed), full);
        }
    }

    fn adapt(&mut self, delay: Duration, full: bool) {
        let wanted = match delay {
            slow if slow > SLOW => self.tick_records / 2,
            fast if fast < FAST && full => self.tick_records * 2,
            _ => self.tick_records,
        };
        self.tick_records = wanted.clamp(*TICK_RECORDS.start(), *TICK_RECORDS.end());
    }

    /// How many records may be sent now; 0 while the window is full.
    pub(crate) fn allowance(&self) -> usize {
        match () {
            () if self.outstanding.len() >= WINDOW => 0,
            // An epoch that has run out of ticks goes on in its last one.
            () if self.now == self.last_of_epoch() => self.tick_records,
            () => self.tick_records.saturating_sub(self.sent),
        }
    }

    /// Takes note of records sent at the current time.
    pub(crate) fn sent(&mut self, records: usize, clock: Instant) {
        if self.sent == 0 {
            self.tick_began = clock;
        }
        self.sent += records;
    }

    /// Closes the tick when it is full or old, or the source has nothing to add. Returns whether the time has changed.
    ///
    /// The frontier of the end waits for the slowest source. One that has little to send therefore leaps ahead of it:
    /// it must not hold up the others. It does so now and then only, for each leap moves the frontier, which wakes all
    /// sources: idle ones would keep each other awake.
    pub(crate) fn next_tick(&mut self, end: Option<Time>, idle: bool, clock: Instant) -> bool {
        let leap = self.ahead_of(end, if idle { IDLE_LEAP } else { LEAP });
        if self.sent == 0 {
            let has_rested = clock.saturating_duration_since(self.moved.0) >= TICK_LENGTH;
            return has_rested && self.leap_to(leap, end, clock);
        }
        let old = clock.saturating_duration_since(self.tick_began) >= TICK_LENGTH;
        if idle || old || self.sent >= self.tick_records {
            let next = self.now.saturating_add(1).min(self.last_of_epoch());
            return self.leap_to(leap.max(next), end, clock);
        }
        false
    }

    /// How long an idle source may rest before it looks whether it holds up others.
    pub(crate) fn longest_rest(&self) -> Duration {
        if self.others_move { TICK_LENGTH } else { LONGEST_REST }
    }

    fn leap_to(&mut self, next: Time, end: Option<Time>, clock: Instant) -> bool {
        let has_moved = self.move_to(next, clock);
        if has_moved {
            (self.moved, self.others_move) = ((clock, end), false);
        }
        has_moved
    }

    fn ahead_of(&self, end: Option<Time>, ticks: u64) -> Time {
        match end {
            Some(end) if time::epoch_of(end) == time::epoch_of(self.now) => {
                time::at(time::epoch_of(end), time::tick_of(end).saturating_add(ticks))
            }
            _ => self.now,
        }
    }

    /// Moves behind the last tick of the epoch that anybody can wait for: this source sends nothing more.
    pub(crate) fn finish(&mut self, clock: Instant) -> bool {
        self.move_to(self.last_of_epoch(), clock)
    }

    /// Begins an epoch. Its records count into the same window.
    pub(crate) fn begin_epoch(&mut self, epoch: u64, clock: Instant) -> bool {
        self.move_to(time::at(epoch, 0), clock)
    }

    fn last_of_epoch(&self) -> Time {
        time::at(time::epoch_of(self.now), time::LAST_TICK)
    }

    fn move_to(&mut self, next: Time, clock: Instant) -> bool {
        if next <= self.now {
            return false;
        }
        if self.sent > 0 {
            self.outstanding.push_back((self.now, clock));
        }
        self.now = next;
        self.sent = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(flow: &mut FlowControl, clock: Instant) -> usize {
        let mut sent = 0;
        while flow.allowance() > 0 {
            let records = flow.allowance();
            flow.sent(records, clock);
            sent += records;
            flow.next_tick(Some(time::at(1, 0)), false, clock);
        }
        sent
    }

    #[test]
    fn a_stuck_end_bounds_what_is_under_way_across_epochs() {
        let clock = Instant::now();
        let mut flow = FlowControl::new(1, clock);
        assert_eq!(fill(&mut flow, clock), WINDOW * FIRST_TICK_RECORDS);
        assert!(flow.begin_epoch(2, clock));
        flow.release(Some(time::at(1, 0)), clock);
        assert_eq!(flow.allowance(), 0);
        flow.release(None, clock);
        assert!(flow.allowance() > 0);
    }

    #[test]
    fn ticks_grow_while_the_dataflow_is_fast_and_shrink_when_it_is_slow() {
        let mut clock = Instant::now();
        let mut flow = FlowControl::new(1, clock);
        for _ in 0..40 {
            fill(&mut flow, clock);
            flow.release(None, clock);
        }
        assert_eq!(flow.tick_records, *TICK_RECORDS.end());
        for _ in 0..40 {
            fill(&mut flow, clock);
            clock += SLOW * 2;
            flow.release(None, clock);
        }
        assert_eq!(flow.tick_records, *TICK_RECORDS.start());
    }

    #[test]
    fn a_source_without_records_leaps_ahead_of_the_end() {
        let clock = Instant::now();
        let mut flow = FlowControl::new(1, clock);
        assert!(!flow.next_tick(Some(time::at(1, 100)), true, clock), "not all the time");
        let clock = clock + TICK_LENGTH;
        assert!(flow.next_tick(Some(time::at(1, 100)), true, clock));
        assert_eq!(flow.now(), time::at(1, 100 + IDLE_LEAP));
        let clock = clock + TICK_LENGTH;
        assert!(!flow.next_tick(Some(time::at(1, 100)), true, clock));
        assert!(!flow.next_tick(Some(time::at(0, 500)), true, clock), "the end is in an earlier epoch");
        assert_eq!(flow.longest_rest(), LONGEST_REST);
        flow.release(Some(time::at(1, 101)), clock);
        assert_eq!(flow.longest_rest(), TICK_LENGTH, "somebody else is at work");
        assert!(flow.finish(clock));
        assert_eq!(flow.now(), time::at(1, time::LAST_TICK));
    }
}
