//! Flow control of one source subtask: how far it may be ahead of the end of the dataflow, in ticks, records and bytes.
//!
//! A barrier waits behind everything that is under way. That is why what is under way is measured in time: it begins with
//! one record, grows while records reach the end quickly, and shrinks when they do not. (Memory is bounded besides by the
//! windows of the edges, `operator/edge`, which count what operators send too.)

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::time::{self, Time};

/// Most ticks with records that are on their way at once.
const WINDOW: usize = 8;
/// Bounds of the number of records on their way. The actual number adapts to how fast the dataflow takes them.
const RECORDS: std::ops::RangeInclusive<usize> = 1..=WINDOW * 32_768;
/// Most bytes on their way, but for a record that is larger.
const BYTES: usize = 8 * 1024 * 1024;
/// From this size a record is large: only one source of a process may have such records on their way.
const LARGE: usize = 2 * 1024 * 1024;
/// Longest time a tick with records stays open.
const TICK_LENGTH: Duration = Duration::from_millis(5);
/// Longest rest of an idle source while nobody else seems to be at work.
const LONGEST_REST: Duration = Duration::from_millis(50);
/// How far ahead of the end's frontier a source moves at least, in ticks.
const LEAP: u64 = WINDOW as u64 / 2;
/// The same for a source that has nothing to send at the moment.
const IDLE_LEAP: u64 = WINDOW as u64 * 8;
/// Where records take longer than this from source to sink, there are too many on their way.
const SLOW: Duration = Duration::from_millis(100);
/// So few records that a shorter way would leave workers without work: they may take longer.
const FEW: usize = 2 * WINDOW;
/// How long few records may take.
const SLOW_FEW: Duration = Duration::from_millis(500);

/// Records that were sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    /// Bytes of the largest one.
    pub(crate) largest: usize,
}

impl Sent {
    /// Adds up the bytes of records.
    pub(crate) fn of(weights: impl Iterator<Item = usize>) -> Self {
        weights.fold(Self::default(), |sent, bytes| Self {
            records: sent.records + 1,
            bytes: sent.bytes + bytes,
            largest: sent.largest.max(bytes),
        })
    }

    fn add(&mut self, more: Self) {
        self.records += more.records;
        self.bytes += more.bytes;
        self.largest = self.largest.max(more.largest);
    }
}

/// An earlier time with records that have not all reached the end.
#[derive(Debug)]
struct Tick {
    time: Time,
    closed: Instant,
    sent: Sent,
}

/// How far the source may run ahead, and at which time it sends.
#[derive(Debug)]
pub(crate) struct FlowControl {
    now: Time,
    /// What was sent at `now`.
    sent: Sent,
    tick_began: Instant,
    /// How many records may be on their way.
    window: usize,
    /// When the window last changed. What was sent before says nothing about it.
    adapted: Time,
    /// Bytes of a record, judged by the last ones.
    expected: usize,
    /// Oldest first.
    outstanding: VecDeque<Tick>,
    /// Bytes of all these.
    under_way: usize,
    /// When the time last changed, and the frontier of the end as it was then.
    moved: (Instant, Option<Time>),
    /// Whether the frontier has moved since without reaching this source: others are at work.
    others_move: bool,
}

impl FlowControl {
    pub(crate) fn new(epoch: u64, clock: Instant) -> Self {
        Self {
            now: time::at(epoch, 0),
            sent: Sent::default(),
            tick_began: clock,
            window: *RECORDS.start(),
            adapted: 0,
            // Nothing is known: it may be large.
            expected: usize::MAX,
            outstanding: VecDeque::with_capacity(WINDOW),
            under_way: 0,
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
        while let Some(tick) = self.outstanding.front() {
            if end.is_some_and(|end| end <= tick.time) {
                break;
            }
            let full = self.outstanding.len() >= self.ticks();
            if let Some(tick) = self.outstanding.pop_front() {
                self.under_way -= tick.sent.bytes;
                if tick.time >= self.adapted {
                    self.adapt(clock.saturating_duration_since(tick.closed), full);
                }
            }
        }
    }

    /// Doubles or halves the window, at most once per journey of a tick.
    fn adapt(&mut self, delay: Duration, full: bool) {
        let wanted = match () {
            () if delay > slow(self.window) => self.window / 2,
            () if full && delay * 2 <= slow(self.window * 2) => self.window * 2,
            () => return,
        };
        self.window = wanted.clamp(*RECORDS.start(), *RECORDS.end());
        self.adapted = self.now;
    }

    /// How many ticks may be on their way.
    fn ticks(&self) -> usize {
        self.window.min(WINDOW)
    }

    fn tick_records(&self) -> usize {
        (self.window / WINDOW).max(1)
    }

    /// How many records may be sent now; 0 while the window is full.
    pub(crate) fn allowance(&self) -> usize {
        let records = match () {
            () if self.outstanding.len() >= self.ticks() => return 0,
            () if self.is_out_of_ticks() => self.tick_records(),
            () => self.tick_records().saturating_sub(self.sent.records),
        };
        match self.under_way + self.sent.bytes {
            0 if self.expects_large() => records.min(1),
            _ if self.expects_large() => 0,
            bytes => records.min(BYTES.saturating_sub(bytes) / self.expected.max(1)),
        }
    }

    /// Whether the next record may be large.
    pub(crate) fn expects_large(&self) -> bool {
        self.expected >= LARGE
    }

    /// Whether a large record is on its way.
    pub(crate) fn has_large(&self) -> bool {
        self.sent.largest >= LARGE || self.outstanding.iter().any(|tick| tick.sent.largest >= LARGE)
    }

    /// Takes note of records sent at the current time.
    pub(crate) fn sent(&mut self, sent: Sent, clock: Instant) {
        if self.sent.records == 0 {
            self.tick_began = clock;
        }
        // Nothing would ever release it.
        if !self.is_out_of_ticks() {
            self.sent.add(sent);
        }
        // After a large record others are likely; the memory of it fades over some calls.
        let remembered = if self.expected == usize::MAX { 0 } else { self.expected / 4 * 3 };
        self.expected = sent.largest.max(remembered);
    }

    /// Closes the tick when it is full or old, or the source has nothing to add. Returns whether the time has changed.
    ///
    /// The frontier of the end waits for the slowest source. One that has little to send therefore leaps ahead of it:
    /// it must not hold up the others. It does so now and then only, for each leap moves the frontier, which wakes all
    /// sources: idle ones would keep each other awake.
    pub(crate) fn next_tick(&mut self, end: Option<Time>, idle: bool, clock: Instant) -> bool {
        let leap = self.ahead_of(end, if idle { IDLE_LEAP } else { LEAP });
        if self.sent.records == 0 {
            let has_rested = clock.saturating_duration_since(self.moved.0) >= TICK_LENGTH;
            return has_rested && self.leap_to(leap, end, clock);
        }
        let old = clock.saturating_duration_since(self.tick_began) >= TICK_LENGTH;
        // A tick that nothing can be added to is full, and would otherwise never be through.
        if idle || old || self.sent.bytes >= BYTES / WINDOW || self.allowance() == 0 {
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

    /// Whether the epoch goes on in its last tick, in which nothing is counted: it is through with the epoch only, and
    /// without checkpoints there is no other.
    fn is_out_of_ticks(&self) -> bool {
        self.now == self.last_of_epoch()
    }

    fn last_of_epoch(&self) -> Time {
        time::at(time::epoch_of(self.now), time::LAST_TICK)
    }

    fn move_to(&mut self, next: Time, clock: Instant) -> bool {
        if next <= self.now {
            return false;
        }
        let sent = std::mem::take(&mut self.sent);
        if sent.records > 0 {
            self.under_way += sent.bytes;
            self.outstanding.push_back(Tick { time: self.now, closed: clock, sent });
        }
        self.now = next;
        true
    }
}

/// How long this many records may take from source to sink.
fn slow(window: usize) -> Duration {
    if window <= FEW { SLOW_FEW } else { SLOW }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends all that may be sent, of records of this size. Returns how many these are.
    fn fill(flow: &mut FlowControl, bytes: usize, clock: Instant) -> usize {
        let mut sent = 0;
        while flow.allowance() > 0 {
            let records = flow.allowance().min(1_024);
            flow.sent(Sent::of(std::iter::repeat_n(bytes, records)), clock);
            sent += records;
            flow.next_tick(Some(time::at(1, 0)), false, clock);
        }
        sent
    }

    #[test]
    fn a_stuck_end_bounds_what_is_under_way_across_epochs() {
        let clock = Instant::now();
        let mut flow = FlowControl::new(1, clock);
        assert_eq!(fill(&mut flow, 8, clock), 1, "one record to begin with");
        assert!(flow.begin_epoch(2, clock));
        flow.release(Some(time::at(1, 0)), clock);
        assert_eq!(flow.allowance(), 0);
        flow.release(None, clock);
        assert_eq!(fill(&mut flow, 8, clock), 2);
    }

    /// The bytes of the last tick were added up and never released: after 8 MB the source stood still for ever.
    #[test]
    fn an_epoch_without_ticks_goes_on() {
        let clock = Instant::now();
        for bytes in [1_000, LARGE] {
            let mut flow = FlowControl::new(1, clock);
            flow.next_tick(Some(time::at(1, time::LAST_TICK - 1)), true, clock + TICK_LENGTH);
            assert_eq!(flow.now(), time::at(1, time::LAST_TICK));
            for _ in 0..20 * BYTES / bytes {
                assert!(flow.allowance() > 0);
                flow.sent(Sent::of(std::iter::once(bytes)), clock);
                flow.next_tick(Some(flow.now()), false, clock);
            }
            assert!(flow.begin_epoch(2, clock));
            assert!(flow.allowance() > 0, "what was not counted is not under way");
        }
    }

    #[test]
    fn the_window_doubles_with_every_quick_journey_and_shrinks_to_one_record_when_they_are_slow() {
        let mut clock = Instant::now();
        let mut flow = FlowControl::new(1, clock);
        for doublings in 0..=18 {
            assert_eq!(flow.window, 1 << doublings);
            fill(&mut flow, 8, clock);
            flow.release(None, clock);
        }
        assert_eq!(flow.window, *RECORDS.end());
        for _ in 0..20 {
            fill(&mut flow, 8, clock);
            clock += SLOW_FEW * 2;
            flow.release(None, clock);
        }
        assert_eq!(flow.window, 1);
    }

    #[test]
    fn what_is_under_way_is_worth_half_a_second() {
        for (each, expected) in [(Duration::from_millis(50), 4..=8), (Duration::from_secs(1), 1..=1)] {
            let mut clock = Instant::now();
            let mut flow = FlowControl::new(1, clock);
            for _ in 0..30 {
                let sent = fill(&mut flow, 8, clock);
                clock += each * u32::try_from(sent).unwrap();
                flow.release(None, clock);
            }
            assert!(expected.contains(&flow.window), "{each:?} per record: {} under way", flow.window);
        }
    }

    #[test]
    fn large_records_go_one_by_one_and_are_remembered_for_a_while() {
        let clock = Instant::now();
        let mut flow = FlowControl::new(1, clock);
        assert!(flow.expects_large(), "nothing is known");
        for _ in 0..12 {
            fill(&mut flow, 8, clock);
            flow.release(None, clock);
        }
        assert!(!flow.expects_large());
        let mebibyte = 1024 * 1024;
        assert!(fill(&mut flow, mebibyte, clock) <= 1_024);
        flow.release(None, clock);
        assert!((1..=9).contains(&fill(&mut flow, mebibyte, clock)), "few of a mebibyte");
        flow.release(None, clock);
        flow.sent(Sent::of(std::iter::once(64 * mebibyte)), clock);
        assert!(flow.has_large());
        assert_eq!(flow.allowance(), 0, "a large record is under way");
        flow.next_tick(None, false, clock);
        flow.release(None, clock);
        assert!(!flow.has_large());
        assert_eq!(flow.allowance(), 1, "the next one may be large too");
        for _ in 0..20 {
            fill(&mut flow, 8, clock);
            flow.release(None, clock);
        }
        assert!(!flow.expects_large());
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
