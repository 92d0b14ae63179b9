//! How far the event time of an operator has come, by what its inputs say.

use crate::watermark::{Advance, Combined, Mark, Valve};

/// The inputs of an operator, seen as what they say of event time.
pub(crate) enum EventTime {
    /// One input with its channels.
    One(Valve),
    /// Inputs that are arms of a union: each is a channel.
    Arms(Valve),
    /// Two inputs, each with its channels.
    Two([Valve; 2], Combined),
}

impl EventTime {
    /// Of one input with one channel.
    #[cfg(feature = "testing")]
    pub(crate) fn single() -> Self {
        Self::One(Valve::new(1))
    }

    /// Of two inputs with one channel each.
    #[cfg(feature = "testing")]
    pub(crate) fn pair() -> Self {
        Self::Two([Valve::new(1), Valve::new(1)], Combined::default())
    }

    /// Of a union of so many.
    #[cfg(feature = "testing")]
    pub(crate) fn arms(arms: usize) -> Self {
        Self::Arms(Valve::new(arms))
    }

    /// Goes on from this watermark: what is not larger is not said again.
    pub(crate) fn resume_at(&mut self, watermark: i64) {
        match self {
            Self::One(valve) | Self::Arms(valve) => valve.resume_at(watermark),
            Self::Two(_, combined) => combined.resume_at(watermark),
        }
    }

    /// Takes in what a channel of an input says.
    pub(crate) fn mark(&mut self, input: usize, channel: usize, mark: Mark) -> Advance {
        match self {
            Self::One(valve) => Advance::of(valve.mark(channel, mark)),
            Self::Arms(valve) => Advance::of(valve.mark(input, mark)),
            Self::Two(valves, combined) => match valves.get_mut(input).map(|valve| valve.mark(channel, mark)) {
                Some(said) if !said.says_nothing() => combined.mark(input, said),
                _ => Advance::default(),
            },
        }
    }
}
