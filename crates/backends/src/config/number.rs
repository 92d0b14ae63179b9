//! The shape that memory sizes and durations share: a whole number, then a unit.

use highwater_types::{Error, Result};

/// Splits `"64 MB"` into 64 and `"mb"`. Blanks are what Java's `trim` takes away: everything up to U+0020.
pub(super) fn split_number(text: &str, expectation: &'static str) -> Result<(u64, String)> {
    let text = trim(text);
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if digits.is_empty() {
        return Err(Error::configuration(expectation));
    }
    // Flink's numbers are signed 64-bit ones.
    let number = digits
        .parse::<i64>()
        .map_err(|_| Error::configuration("the number does not fit into 64 bits").with("found", digits))?;
    Ok((number.unsigned_abs(), trim(unit).to_lowercase()))
}

/// Java's `String.trim`.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}
