//! Key groups: the unit in which keyed state is spread over subtasks.

use std::fmt;

use crate::{Error, Result};

/// Number of one key group, `0 <= group < max parallelism <= 32768`.
pub type KeyGroup = u16;

/// Flink's spreading hash (`MathUtils.murmurHash`): murmur3 of one 32-bit number, made non-negative.
///
/// ```
/// assert_eq!(highwater_types::murmur(42), 1_134_849_565);
/// ```
#[must_use]
#[inline]
pub const fn murmur(code: i32) -> u32 {
    let mut hash = (code as u32).wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    hash ^= 4; // the length of the input in bytes
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^= hash >> 16;
    // Java's absolute value; the smallest number has none and becomes 0.
    (hash as i32).unsigned_abs() & 0x7fff_ffff
}

/// The number of key groups of an operator, 1 to 32768 (`pipeline.max-parallelism`). Fixed for the life of its state.
///
/// ```
/// use highwater_types::{JavaHash, MaxParallelism};
///
/// let max = MaxParallelism::default_for(3)?;
/// assert_eq!(max.get(), 128);
/// let group = max.key_group_of("hello".java_hash());
/// assert_eq!(group, 35);
/// assert_eq!(max.owner_of(group, 3), 0);
/// assert!(max.range_of(0, 3)?.contains(group));
/// # Ok::<(), highwater_types::Error>(())
/// ```
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
    #[inline]
    pub fn get(self) -> u32 {
        u32::from(self.0)
    }

    /// Bytes of the key-group prefix of serialized keys: 1 up to 128 key groups, else 2.
    #[must_use]
    pub fn prefix_bytes(self) -> usize {
        if self.0 <= 128 { 1 } else { 2 }
    }

    /// What Flink chooses for an operator of this parallelism where nothing is configured: one and a half times as
    /// many, rounded up to a power of two, 128 to 32768 (`KeyGroupRangeAssignment.computeDefaultMaxParallelism`).
    ///
    /// # Errors
    /// `Configuration` if the parallelism is not within 1 to 32768.
    pub fn default_for(parallelism: u32) -> Result<Self> {
        if !(1..=Self::UPPER_BOUND).contains(&parallelism) {
            return Err(Error::configuration("parallelism is not within bounds 1 to 32768").with("found", parallelism));
        }
        Self::new((parallelism + parallelism / 2).next_power_of_two().clamp(128, Self::UPPER_BOUND))
    }

    /// The key group of a key with this Java hash code.
    #[must_use]
    #[inline]
    pub fn key_group_of(self, hash: i32) -> KeyGroup {
        let max = self.get();
        let group = if max.is_power_of_two() { murmur(hash) & (max - 1) } else { murmur(hash) % max };
        group as KeyGroup
    }

    /// The key groups of one of `parallelism` subtasks.
    ///
    /// # Errors
    /// `Configuration` if the parallelism is 0 or above the number of key groups, `Program` if there is no such subtask.
    pub fn range_of(self, subtask: u32, parallelism: u32) -> Result<KeyGroupRange> {
        let max = self.get();
        if parallelism == 0 {
            return Err(Error::configuration("parallelism must be at least 1").with("found", parallelism));
        }
        if parallelism > max {
            return Err(Error::configuration(
                "max parallelism must not be smaller than parallelism: lower the parallelism, or start without old \
                 state at a higher max parallelism",
            )
            .with("max parallelism", max)
            .with("parallelism", parallelism));
        }
        if subtask >= parallelism {
            return Err(Error::program("there is no such subtask")
                .with("subtask", subtask)
                .with("parallelism", parallelism));
        }
        // Both products stay below 2^30.
        let start = (subtask * max).div_ceil(parallelism);
        let end = ((subtask + 1) * max - 1) / parallelism;
        KeyGroupRange::new(start as KeyGroup, end as KeyGroup)
    }

    /// Index of the subtask that owns a key group, for a parallelism that [`range_of`](Self::range_of) accepts.
    #[must_use]
    #[inline]
    pub fn owner_of(self, group: KeyGroup, parallelism: u32) -> u32 {
        // 64 bits: a parallelism that nobody checked must not overflow.
        (u64::from(group) * u64::from(parallelism) / u64::from(self.get())) as u32
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
    #[inline]
    pub fn start(self) -> KeyGroup {
        self.start
    }

    /// Last key group.
    #[must_use]
    #[inline]
    pub fn end(self) -> KeyGroup {
        self.end
    }

    /// How many key groups.
    #[must_use]
    #[inline]
    pub fn count(self) -> usize {
        usize::from(self.end - self.start) + 1
    }

    /// Whether the range holds this key group.
    #[must_use]
    #[inline]
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ErrorKind;

    fn max(value: u32) -> MaxParallelism {
        MaxParallelism::new(value).unwrap()
    }

    #[test]
    fn bounds_are_checked() {
        for wrong in [0, 32769, 65536 + 1, u32::MAX] {
            assert_eq!(MaxParallelism::new(wrong).unwrap_err().kind(), ErrorKind::Configuration);
            assert_eq!(MaxParallelism::default_for(wrong).unwrap_err().kind(), ErrorKind::Configuration);
        }
        assert_eq!(max(10).range_of(0, 0).unwrap_err().kind(), ErrorKind::Configuration);
        assert_eq!(max(10).range_of(3, 3).unwrap_err().kind(), ErrorKind::Program);
        let error = max(10).range_of(0, 11).unwrap_err();
        assert!(error.message().contains("must not be smaller than parallelism"), "{error}");
    }

    #[test]
    fn defaults_at_the_edges() {
        for (parallelism, expected) in
            [(1, 128), (85, 128), (86, 256), (171, 256), (172, 512), (21846, 32768), (32768, 32768)]
        {
            assert_eq!(MaxParallelism::default_for(parallelism).unwrap().get(), expected, "{parallelism}");
        }
    }

    #[test]
    fn murmur_is_never_negative() {
        // 0x8000_0000 before the absolute value is rare; the whole range cannot be walked here, the formula can.
        assert_eq!(i32::MIN.unsigned_abs() & 0x7fff_ffff, 0);
        assert_eq!(murmur(i32::MIN), 1_718_298_732);
        assert_eq!(murmur(-42), 189_366_624);
    }

    #[test]
    fn owners_of_ten_groups() {
        let owners: Vec<_> = max(10).all().iter().map(|group| max(10).owner_of(group, 3)).collect();
        assert_eq!(owners, [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]);
    }

    proptest! {
        #[test]
        fn ranges_cover_every_group_once_and_agree_with_owners(m in 1u32..=32768, p in 1u32..=200) {
            prop_assume!(p <= m);
            let mut next = 0;
            for subtask in 0..p {
                let range = max(m).range_of(subtask, p).unwrap();
                prop_assert_eq!(u32::from(range.start()), next);
                prop_assert_eq!(max(m).owner_of(range.start(), p), subtask);
                prop_assert_eq!(max(m).owner_of(range.end(), p), subtask);
                next = u32::from(range.end()) + 1;
            }
            prop_assert_eq!(next, m);
        }

        #[test]
        fn key_group_is_the_remainder(m in 1u32..=32768, hash in any::<i32>()) {
            prop_assert_eq!(u32::from(max(m).key_group_of(hash)), murmur(hash) % m);
        }

        #[test]
        fn intersection_is_that_of_sets(a in 0u16..300, b in 0u16..300, c in 0u16..300, d in 0u16..300) {
            let range = |x: u16, y: u16| KeyGroupRange::new(x.min(y), x.max(y)).unwrap();
            let (left, right) = (range(a, b), range(c, d));
            let model: Vec<_> = left.iter().filter(|group| right.contains(*group)).collect();
            let found: Vec<_> = left.intersection(right).into_iter().flat_map(KeyGroupRange::iter).collect();
            prop_assert_eq!(found, model);
        }
    }
}
