//! Key groups: the unit in which keyed state is spread over subtasks.

use std::fmt;

use crate::{Error, Result};

/// Number of one key group, `0 <= group < max parallelism <= 32768`.
pub type KeyGroup = u16;

/// The number of key groups of an operator, 1 to 32768. Fixed for the life of its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaxParallelism(u16);

impl MaxParallelism {
    /// Largest value: 32768 (`KeyGroupRangeAssignment.UPPER_BOUND_MAX_PARALLELISM`).
    pub const UPPER_BOUND: u32 = 1 << 15;

    /// Checks the bounds.
    pub fn new(value: u32) -> Result<Self> {
        match u16::try_from(value) {
            Ok(v) if (1..=Self::UPPER_BOUND).contains(&value) => Ok(Self(v)),
            _ => Err(Error::configuration("max parallelism is not within bounds 1 to 32768").with("found", value)),
        }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        u32::from(self.0)
    }

    /// Bytes of the key-group prefix of serialized keys: 1 up to 128 key groups, else 2.
    #[must_use]
    pub fn prefix_bytes(self) -> usize {
        if self.0 <= 128 { 1 } else { 2 }
    }

    /// Every key group.
    #[must_use]
    pub fn all(self) -> KeyGroupRange {
        KeyGroupRange { start: 0, end: self.0 - 1 }
    }
}

impl fmt::Display for MaxParallelism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A range of key groups, inclusive at both ends and never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyGroupRange {
    start: KeyGroup,
    end: KeyGroup,
}

impl KeyGroupRange {
    /// A range; `start` must not be above `end`.
    pub fn new(start: KeyGroup, end: KeyGroup) -> Result<Self> {
        if start > end || u32::from(end) >= MaxParallelism::UPPER_BOUND {
            return Err(Error::configuration("not a range of key groups").with("start", start).with("end", end));
        }
        Ok(Self { start, end })
    }

    /// First key group.
    #[must_use]
    pub fn start(self) -> KeyGroup {
        self.start
    }

    /// Last key group.
    #[must_use]
    pub fn end(self) -> KeyGroup {
        self.end
    }

    /// How many key groups.
    #[must_use]
    pub fn count(self) -> usize {
        usize::from(self.end - self.start) + 1
    }

    /// Whether the range holds this key group.
    #[must_use]
    pub fn contains(self, group: KeyGroup) -> bool {
        (self.start..=self.end).contains(&group)
    }

    /// The key groups in both ranges.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        (start <= end).then_some(Self { start, end })
    }

    /// All key groups, ascending.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = KeyGroup> + ExactSizeIterator {
        (0..self.count()).map(move |i| self.start + i as KeyGroup)
    }
}

impl fmt::Display for KeyGroupRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.start, self.end)
    }
}
