//! The watermark of an input with several channels (Flink's `StatusWatermarkValve`).

use super::mark::{Mark, Status};

/// Combines the marks of the channels of one input: the minimum of those that are active and have caught up, and only
/// what is larger than before.
#[derive(Debug)]
pub(crate) struct Valve {
    channels: Vec<Channel>,
    last: i64,
    is_idle: bool,
}

#[derive(Clone, Debug)]
struct Channel {
    watermark: i64,
    is_idle: bool,
    /// Whether it counts: one that comes back behind the others does not until it has caught up.
    is_aligned: bool,
}

impl Valve {
    pub(crate) fn new(channels: usize) -> Self {
        let channel = Channel { watermark: i64::MIN, is_idle: false, is_aligned: true };
        Self { channels: vec![channel; channels], last: i64::MIN, is_idle: false }
    }

    /// Goes on from this watermark: what is not larger is not said again.
    pub(crate) fn resume_at(&mut self, watermark: i64) {
        self.last = watermark;
    }

    /// Takes in what a channel says. The answer is what the input says.
    pub(crate) fn mark(&mut self, channel: usize, mark: Mark) -> Mark {
        let mut said = Mark::status(Status::Unchanged);
        if mark.status == Status::Active {
            said = said.then(self.active(channel));
        }
        if mark.watermark > i64::MIN {
            said = said.then(self.watermark(channel, mark.watermark));
        }
        if mark.status == Status::Idle {
            said = said.then(self.idle(channel));
        }
        said
    }

    fn active(&mut self, channel: usize) -> Mark {
        let last = self.last;
        match self.channels.get_mut(channel) {
            Some(channel) if channel.is_idle => {
                channel.is_idle = false;
                channel.is_aligned = channel.watermark >= last;
            }
            _ => return Mark::status(Status::Unchanged),
        }
        let status = if std::mem::take(&mut self.is_idle) { Status::Active } else { Status::Unchanged };
        Mark::status(status)
    }

    fn watermark(&mut self, channel: usize, watermark: i64) -> Mark {
        let last = self.last;
        match self.channels.get_mut(channel) {
            Some(channel) if !channel.is_idle && watermark > channel.watermark => {
                channel.watermark = watermark;
                channel.is_aligned |= watermark >= last;
                self.advance(self.minimum())
            }
            _ => Mark::status(Status::Unchanged),
        }
    }

    /// When the last channel becomes idle, what the furthest of them has said holds for all: nobody is left to wait for.
    /// (Flink says so only if the last one had held up the others, so that the order of becoming idle matters.)
    fn idle(&mut self, channel: usize) -> Mark {
        match self.channels.get_mut(channel) {
            Some(channel) if !channel.is_idle => (channel.is_idle, channel.is_aligned) = (true, false),
            _ => return Mark::status(Status::Unchanged),
        }
        if self.channels.iter().any(|channel| !channel.is_idle) {
            return self.advance(self.minimum());
        }
        self.is_idle = true;
        let furthest = self.channels.iter().map(|channel| channel.watermark).max();
        self.advance(furthest).then(Mark::status(Status::Idle))
    }

    fn minimum(&self) -> Option<i64> {
        self.channels.iter().filter(|channel| channel.is_aligned).map(|channel| channel.watermark).min()
    }

    fn advance(&mut self, to: Option<i64>) -> Mark {
        match to.filter(|watermark| *watermark > self.last) {
            Some(watermark) => {
                self.last = watermark;
                Mark::watermark(watermark)
            }
            None => Mark::status(Status::Unchanged),
        }
    }
}

#[cfg(test)]
mod tests {
    use Status::{Active, Idle};

    use super::*;

    /// What a channel says, and what is expected of the valve: a watermark (0 for none) and a status.
    type Step = (usize, Mark, i64, Status);

    fn w(channel: usize, watermark: i64, expected: i64) -> Step {
        (channel, Mark::watermark(watermark), expected, Status::Unchanged)
    }

    fn s(channel: usize, status: Status, expected: i64, said: Status) -> Step {
        (channel, Mark::status(status), expected, said)
    }

    fn check(channels: usize, steps: &[Step]) {
        let mut valve = Valve::new(channels);
        for (number, (channel, mark, watermark, status)) in steps.iter().enumerate() {
            let watermark = if *watermark == 0 { i64::MIN } else { *watermark };
            let expected = Mark { watermark, status: *status };
            assert_eq!(valve.mark(*channel, *mark), expected, "step {number} of {steps:?}");
        }
    }

    const NO: Status = Status::Unchanged;

    #[test]
    fn the_minimum_of_all_channels_grows() {
        check(2, &[w(0, 10, 0), w(1, 5, 5), w(1, 20, 10), w(0, 7, 0), w(0, 15, 15)]);
        check(2, &[w(0, i64::MAX, 0), w(1, 5, 5), w(1, i64::MAX, i64::MAX)]);
    }

    #[test]
    fn a_channel_that_never_said_anything_holds_up_all() {
        check(3, &[w(0, 100, 0), w(1, 100, 0)]);
    }

    #[test]
    fn a_channel_that_comes_back_counts_when_it_has_caught_up() {
        check(
            2,
            &[
                w(0, 10, 0),
                s(1, Idle, 10, NO),
                w(0, 20, 20),
                s(1, Active, 0, NO),
                w(1, 15, 0),
                w(0, 30, 30),
                w(1, 25, 0),
                w(1, 35, 0),
                w(0, 40, 35),
            ],
        );
    }

    #[test]
    fn what_an_idle_channel_says_is_not_heard() {
        check(2, &[w(0, 10, 0), s(1, Idle, 10, NO), w(1, 50, 0), s(1, Active, 0, NO), w(0, 60, 60)]);
    }

    #[test]
    fn when_all_are_idle_the_furthest_counts_whatever_the_order() {
        check(2, &[w(0, 10, 0), w(1, 5, 5), s(0, Idle, 0, NO), s(1, Idle, 10, Idle)]);
        check(2, &[w(0, 10, 0), w(1, 5, 5), s(1, Idle, 10, NO), s(0, Idle, 0, Idle)]);
        check(
            3,
            &[
                w(0, 10, 0),
                w(1, 5, 0),
                w(2, 7, 5),
                s(0, Idle, 0, NO),
                s(1, Idle, 7, NO),
                s(2, Idle, 10, Idle),
                s(1, Active, 0, Active),
                w(1, 8, 0),
                w(1, 11, 11),
            ],
        );
    }

    #[test]
    fn a_status_that_is_no_news_changes_nothing() {
        check(2, &[s(0, Active, 0, NO), s(0, Idle, 0, NO), s(0, Idle, 0, NO), s(1, Idle, 0, Idle), s(1, Idle, 0, NO)]);
    }

    #[test]
    fn a_mark_with_both_becomes_active_before_and_idle_after() {
        let both = |status| Mark { watermark: 7, status };
        check(1, &[(0, both(Idle), 7, Idle), (0, Mark { watermark: 9, status: Active }, 9, Active)]);
    }

    #[test]
    fn what_was_said_before_is_not_said_again() {
        let mut valve = Valve::new(1);
        valve.resume_at(9);
        assert!(valve.mark(0, Mark::watermark(9)).says_nothing());
        assert_eq!(valve.mark(0, Mark::watermark(10)), Mark::watermark(10));
    }
}
