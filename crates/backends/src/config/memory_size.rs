//! Memory sizes as Flink writes them: `64 mb` is 67,108,864 bytes.

use std::fmt;
use std::str::FromStr;

use highwater_types::{Error, Result};

use super::number::split_number;

/// Units, smallest first: every label, the label to print, and the bytes. All are powers of 1024.
const UNITS: [(&[&str], &str, u64); 5] = [
    (&["b", "bytes"], "bytes", 1),
    (&["k", "kb", "kibibytes"], "kb", 1 << 10),
    (&["m", "mb", "mebibytes"], "mb", 1 << 20),
    (&["g", "gb", "gibibytes"], "gb", 1 << 30),
    (&["t", "tb", "tebibytes"], "tb", 1 << 40),
];

/// A number of bytes, 0 to 2⁶³ − 1 (Flink's `MemorySize`).
///
/// As text: a whole number and an optional unit `b`/`bytes`, `k`/`kb`/`kibibytes`, `m`/`mb`/`mebibytes`,
/// `g`/`gb`/`gibibytes` or `t`/`tb`/`tebibytes` in any case, blanks allowed around both. Every unit is a power of 1024;
/// without a unit the number is bytes. Fractions and signs are errors.
///
/// ```
/// use highwater_backends::MemorySize;
///
/// let size: MemorySize = "64 mb".parse()?;
/// assert_eq!(size.bytes(), 64 * 1024 * 1024);
/// assert_eq!(size.to_string(), "64 mb");
/// assert_eq!("4096".parse::<MemorySize>()?, MemorySize::from_bytes(4096));
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemorySize(u64);

impl MemorySize {
    /// Largest size: 2⁶³ − 1 bytes (`MemorySize.MAX_VALUE`).
    pub const MAX: Self = Self(i64::MAX as u64);

    /// A size in bytes; more than [`MemorySize::MAX`] counts as [`MemorySize::MAX`].
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        if bytes > Self::MAX.0 { Self::MAX } else { Self(bytes) }
    }

    /// A size in kibibytes (1024 bytes).
    #[must_use]
    pub const fn from_kibibytes(kibibytes: u64) -> Self {
        Self::from_bytes(kibibytes.saturating_mul(1 << 10))
    }

    /// A size in mebibytes (1,048,576 bytes).
    #[must_use]
    pub const fn from_mebibytes(mebibytes: u64) -> Self {
        Self::from_bytes(mebibytes.saturating_mul(1 << 20))
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for MemorySize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (number, unit) = split_number(text, "a memory size starts with a whole number, such as 64 mb")?;
        let scale = match UNITS.iter().find(|(labels, ..)| labels.contains(&unit.as_str())) {
            Some((.., bytes)) => *bytes,
            None if unit.is_empty() => 1,
            None => {
                return Err(Error::configuration(
                    "a memory size has one of the units b, kb, mb, gb, tb or none for bytes",
                )
                .with("found", unit));
            }
        };
        number
            .checked_mul(scale)
            .filter(|bytes| *bytes <= Self::MAX.0)
            .map(Self)
            .ok_or_else(|| Error::configuration("a memory size has at most 9223372036854775807 bytes"))
    }
}

impl fmt::Display for MemorySize {
    /// In the largest unit that needs no fraction: `20 kb`, `20481 bytes`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, _, bytes): &&(&[&str], &str, u64)| self.0 != 0 && self.0.is_multiple_of(*bytes);
        let (label, bytes) = UNITS.iter().rev().find(fits).map_or(("bytes", 1), |(_, label, bytes)| (*label, *bytes));
        write!(f, "{} {label}", self.0 / bytes)
    }
}
