//! Java's strings: any sequence of UTF-16 code units.

use std::fmt;

use crate::{Error, Result};

/// A Java string: UTF-16 code units, unpaired surrogates allowed. For state of a Flink job whose strings are not all
/// valid Unicode; everywhere else use [`String`], which is smaller and faster.
///
/// Equality, order (`String.compareTo`) and hash code are Java's. Both types have the same serializer, so stored state
/// can be read as either.
///
/// ```
/// use highwater_types::JavaString;
///
/// let text = JavaString::from("water");
/// assert_eq!(String::try_from(&text)?, "water");
///
/// let half_an_emoji = JavaString::from_utf16(vec![0xd83d]);
/// assert!(String::try_from(&half_an_emoji).is_err());
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JavaString(Box<[u16]>);

impl JavaString {
    /// A string of these code units.
    #[must_use]
    pub fn from_utf16(units: Vec<u16>) -> Self {
        Self(units.into_boxed_slice())
    }

    /// The code units.
    #[must_use]
    pub fn as_utf16(&self) -> &[u16] {
        &self.0
    }
}

impl From<&str> for JavaString {
    fn from(text: &str) -> Self {
        Self(text.encode_utf16().collect())
    }
}

impl From<String> for JavaString {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl TryFrom<&JavaString> for String {
    type Error = Error;

    /// Fails for unpaired surrogates (`Incompatible`).
    fn try_from(text: &JavaString) -> Result<Self> {
        String::from_utf16(text.as_utf16()).map_err(|source| unpaired_surrogate().because(source))
    }
}

/// The one sentence for strings that Rust cannot hold.
#[cold]
pub(crate) fn unpaired_surrogate() -> Error {
    Error::incompatible("a string holds an unpaired surrogate, which Rust strings cannot: use JavaString")
}

impl fmt::Display for JavaString {
    /// The text; unpaired surrogates are shown as U+FFFD.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&String::from_utf16_lossy(&self.0))
    }
}

impl fmt::Debug for JavaString {
    /// A quoted text, with unpaired surrogates in Java's notation.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for part in char::decode_utf16(self.0.iter().copied()) {
            match part {
                Ok(character) => write!(f, "{}", character.escape_debug())?,
                Err(unpaired) => write!(f, "\\u{:04x}", unpaired.unpaired_surrogate())?,
            }
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_that_of_utf16() {
        // As code points U+FFFF is smaller; as Java's code units the surrogates are.
        assert!(JavaString::from("\u{10000}") < JavaString::from("\u{ffff}"));
        assert!(JavaString::from("a") < JavaString::from("aa"));
    }

    #[test]
    fn unpaired_surrogates_are_visible() {
        let text = JavaString::from_utf16(vec![0x61, 0xd83d, 0x22]);
        assert_eq!(format!("{text:?}"), r#""a\ud83d\"""#);
        assert_eq!(text.to_string(), "a\u{fffd}\"");
    }
}
