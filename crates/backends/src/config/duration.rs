//! Durations as Flink writes them: `10 min`, `500 ms`, `PT5S`; a bare number is milliseconds.

use std::time::Duration;

use highwater_types::{Error, Result};

use super::number::{split_number, trim};

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Units, smallest first: every label, the label to print, and the nanoseconds.
const UNITS: [(&[&str], &str, u128); 7] = [
    (&["ns", "nano", "nanos", "nanosecond", "nanoseconds"], "ns", 1),
    (&["us", "µs", "μs", "micro", "micros", "microsecond", "microseconds"], "µs", 1_000),
    (&["ms", "milli", "millis", "millisecond", "milliseconds"], "ms", 1_000_000),
    (&["s", "sec", "secs", "second", "seconds"], "s", NANOS_PER_SECOND),
    (&["m", "min", "minute", "minutes"], "min", 60 * NANOS_PER_SECOND),
    (&["h", "hour", "hours"], "h", 3_600 * NANOS_PER_SECOND),
    (&["d", "day", "days"], "d", 86_400 * NANOS_PER_SECOND),
];

const EXPECTATION: &str = "a duration starts with a whole number, such as 10 min or 500 ms, or is written like PT5S";

/// Reads a duration as Flink's `TimeUtils.parseDuration` does.
///
/// A whole number and one of the units `ns`, `us`, `ms`, `s`/`sec`, `min`, `h`, `d` or their long forms in any case,
/// blanks allowed around both; without a unit the number is milliseconds. Since Flink 2.x also ISO-8601, such as
/// `PT5S` or `P1DT2H`. Negative durations are errors.
///
/// ```
/// use std::time::Duration;
/// use highwater_backends::parse_duration;
///
/// assert_eq!(parse_duration("200ms")?, Duration::from_millis(200));
/// assert_eq!(parse_duration("10 min")?, Duration::from_secs(600));
/// assert_eq!(parse_duration("1500")?, Duration::from_millis(1500));
/// assert_eq!(parse_duration("PT1.5S")?, Duration::from_millis(1500));
/// assert!(parse_duration("-1 s").is_err());
/// # Ok::<(), highwater_types::Error>(())
/// ```
pub fn parse_duration(text: &str) -> Result<Duration> {
    let trimmed = trim(text);
    if trimmed.starts_with(|c: char| !c.is_ascii_digit())
        && let Some(nanos) = iso_nanos(&trimmed.to_ascii_uppercase())
    {
        let nanos = u128::try_from(nanos).map_err(|_| Error::configuration("a duration is not negative"))?;
        return from_nanos(nanos);
    }
    let (number, unit) = split_number(text, EXPECTATION)?;
    let scale = match UNITS.iter().find(|(labels, ..)| labels.contains(&unit.as_str())) {
        Some((.., nanos)) => *nanos,
        None if unit.is_empty() => 1_000_000,
        None => {
            return Err(Error::configuration(
                "a duration has one of the units ns, us, ms, s, min, h, d or none for ms",
            )
            .with("found", unit));
        }
    };
    from_nanos(u128::from(number) * scale)
}

/// Writes a duration in the largest unit that needs no fraction; [`parse_duration`] and Flink read it back.
///
/// ```
/// use std::time::Duration;
/// use highwater_backends::format_duration;
///
/// assert_eq!(format_duration(Duration::from_secs(600)), "10 min");
/// assert_eq!(format_duration(Duration::from_millis(1500)), "1500 ms");
/// ```
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (label, scale) = UNITS
        .iter()
        .rev()
        .find(|(.., scale)| nanos != 0 && nanos.is_multiple_of(*scale) && nanos / scale <= i64::MAX as u128)
        .map_or(("ms", 1_000_000), |(_, label, scale)| (*label, *scale));
    format!("{} {label}", nanos / scale)
}

/// As many seconds as Java's `Duration` holds: 2⁶³ − 1.
fn from_nanos(nanos: u128) -> Result<Duration> {
    let seconds = i64::try_from(nanos / NANOS_PER_SECOND)
        .map_err(|_| Error::configuration("a duration has at most 9223372036854775807 seconds"))?;
    Ok(Duration::new(seconds.unsigned_abs(), (nanos % NANOS_PER_SECOND) as u32))
}

/// Nanoseconds of an upper-case ISO-8601 duration in the form of Java's `Duration.parse`: an optional sign, `P`, days,
/// then `T` with hours, minutes and seconds; each number may have a sign, seconds a fraction. None if it is not one.
fn iso_nanos(text: &str) -> Option<i128> {
    let (negative, text) = sign(text);
    let text = text.strip_prefix('P')?;
    let (date, time) = match text.split_once('T') {
        Some((date, time)) if !time.is_empty() => (date, time),
        Some(_) => return None,
        None if !text.is_empty() => (text, ""),
        None => return None,
    };
    let (days, date) = component(date, 'D')?;
    let (hours, time) = component(time, 'H')?;
    let (minutes, time) = component(time, 'M')?;
    let (seconds, time) = seconds(time)?;
    if !date.is_empty() || !time.is_empty() {
        return None;
    }
    let total =
        [(days, 86_400), (hours, 3_600), (minutes, 60)].into_iter().try_fold(seconds, |sum, (count, scale)| {
            sum.checked_add(count.checked_mul(scale * NANOS_PER_SECOND as i128)?)
        })?;
    Some(if negative { -total } else { total })
}

/// Takes a sign from the front; true for minus.
fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// Takes `<number><label>` from the front: 0 if the label does not occur, none if what stands before it is no number.
fn component(text: &str, label: char) -> Option<(i128, &str)> {
    match text.split_once(label) {
        None => Some((0, text)),
        Some((number, rest)) => Some((i128::from(number.parse::<i64>().ok()?), rest)),
    }
}

/// Takes `<number>[.<up to nine digits>]S` from the front, in nanoseconds.
fn seconds(text: &str) -> Option<(i128, &str)> {
    let Some((number, rest)) = text.split_once('S') else { return Some((0, text)) };
    let (whole, fraction) = number.split_once(['.', ',']).unwrap_or((number, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (negative, digits) = sign(whole);
    let whole = i128::from(digits.parse::<i64>().ok()?.checked_abs().filter(|_| !digits.starts_with(['+', '-']))?);
    let nanos = whole * NANOS_PER_SECOND as i128 + format!("{fraction:0<9}").parse::<i128>().ok()?;
    Some((if negative { -nanos } else { nanos }, rest))
}
