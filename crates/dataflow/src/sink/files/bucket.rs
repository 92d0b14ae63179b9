//! Which bucket, a sub-directory of the output directory, a record belongs to (Flink's `BucketAssigner`).

use std::borrow::Cow;

use highwater_types::{Error, Result};
use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

/// Chooses the bucket of each record of a [`FileSink`](crate::FileSink) (Flink's `BucketAssigner`). A closure that makes a
/// string of a record is one.
///
/// A bucket id is the path of a directory below the output directory, like `2026-11-27--07` or `country=de/hour=7`; the
/// empty id is the output directory itself. A part of the path must not be empty or begin with a dot: an id that leads
/// elsewhere fails the job.
///
/// ```
/// use highwater_dataflow::FileSink;
///
/// let lines = FileSink::new("/data/out", |(country, line): &(String, String), out: &mut Vec<u8>| {
///     out.extend_from_slice(line.as_bytes());
/// });
/// let sink = lines.bucket_assigner(|(country, _): &(String, String)| format!("country={country}"));
/// # drop(sink);
/// ```
pub trait BucketAssigner<T>: Send + Sync + 'static {
    /// The id of the bucket of this record.
    fn bucket_id<'a>(&self, record: &'a T, context: &BucketContext) -> Cow<'a, str>;

    /// Whether every record belongs to the output directory itself, so that its sub-directories are none of the sink's
    /// business. Default: no.
    fn is_base_path(&self) -> bool {
        false
    }
}

/// What a [`BucketAssigner`] is told besides the record (Flink's `BucketAssigner.Context`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketContext {
    /// The time in milliseconds since 1970.
    pub current_processing_time: i64,
}

impl<T, F> BucketAssigner<T> for F
where
    F: Fn(&T) -> String + Send + Sync + 'static,
{
    fn bucket_id<'a>(&self, record: &'a T, _: &BucketContext) -> Cow<'a, str> {
        Cow::Owned(self(record))
    }
}

/// Writes everything into the output directory itself (Flink's `BasePathBucketAssigner`). The default, other than in
/// Flink, where lines go into directories by the hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BasePathBucketAssigner;

impl<T> BucketAssigner<T> for BasePathBucketAssigner {
    fn bucket_id<'a>(&self, _: &'a T, _: &BucketContext) -> Cow<'a, str> {
        Cow::Borrowed("")
    }

    fn is_base_path(&self) -> bool {
        true
    }
}

/// A bucket for each hour, or whatever the format tells apart, of the time at which records are written (Flink's
/// `DateTimeBucketAssigner`).
///
/// ```
/// use highwater_dataflow::{DateTimeBucketAssigner, FileSink};
///
/// let by_day = DateTimeBucketAssigner::with_format_and_zone("%Y/%m/%d", "Europe/Berlin")?;
/// let sink = FileSink::new("/data/out", |n: &i64, out: &mut Vec<u8>| out.extend_from_slice(n.to_string().as_bytes()));
/// let sink = sink.bucket_assigner(by_day);
/// # drop(sink);
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DateTimeBucketAssigner {
    format: String,
    zone: TimeZone,
}

impl DateTimeBucketAssigner {
    /// Flink's default `yyyy-MM-dd--HH`.
    pub const DEFAULT_FORMAT: &str = "%Y-%m-%d--%H";

    /// A bucket for each hour, in the zone of the machine (UTC if that is unknown).
    #[must_use]
    pub fn new() -> Self {
        Self { format: Self::DEFAULT_FORMAT.to_owned(), zone: TimeZone::system() }
    }

    /// Buckets by a format of [`strftime`](mod@jiff::fmt::strtime), in the zone of the machine.
    ///
    /// # Errors
    /// `Configuration` for a format that cannot be used, or whose text is no bucket id.
    pub fn with_format(format: &str) -> Result<Self> {
        Self { format: format.to_owned(), ..Self::new() }.checked()
    }

    /// Buckets by a format of [`strftime`](mod@jiff::fmt::strtime), in a zone by its name in the machine's time zone
    /// database, such as `UTC` or `Europe/Berlin`.
    ///
    /// # Errors
    /// `Configuration` for a format or a zone that cannot be used.
    pub fn with_format_and_zone(format: &str, zone: &str) -> Result<Self> {
        let zone = match zone {
            "UTC" => TimeZone::UTC,
            _ => TimeZone::get(zone).map_err(|error| {
                Error::configuration("a time zone of buckets is not known to this machine")
                    .with("zone", zone)
                    .because(error)
            })?,
        };
        Self { format: format.to_owned(), zone }.checked()
    }

    fn checked(self) -> Result<Self> {
        let error = || {
            Error::configuration("a format of buckets cannot be used: see jiff's strftime, as in %Y-%m-%d--%H")
                .with("format", &self.format)
        };
        let example = self.text(0).map_err(|cause| error().because(cause))?;
        check_bucket_id(&example).map_err(|cause| error().because(cause))?;
        Ok(self)
    }

    fn text(&self, millis: i64) -> std::result::Result<String, jiff::Error> {
        let time = Timestamp::from_millisecond(millis)?.to_zoned_datetime(self.zone.clone());
        strtime::format(&self.format, &time)
    }
}

impl Default for DateTimeBucketAssigner {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> BucketAssigner<T> for DateTimeBucketAssigner {
    fn bucket_id<'a>(&self, _: &'a T, context: &BucketContext) -> Cow<'a, str> {
        // The format was tried. What is left is a clock outside the years of the calendar: the sink refuses this id.
        Cow::Owned(self.text(context.current_processing_time).unwrap_or_else(|_| "..".to_owned()))
    }
}

/// Refuses ids that lead out of the output directory, or into a hidden directory.
pub(super) fn check_bucket_id(id: &str) -> Result<()> {
    let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', '\0']);
    if id.is_empty() || id.split('/').all(is_plain) {
        return Ok(());
    }
    Err(Error::program(
        "a bucket id has to be a path below the output directory: no part of it may be empty, begin with a dot, or hold a \
         backslash",
    )
    .with("bucket", format!("'{id}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(assigner: &dyn BucketAssigner<i64>, time: i64) -> String {
        assigner.bucket_id(&7, &BucketContext { current_processing_time: time }).into_owned()
    }

    #[test]
    fn by_date_and_time_in_a_zone() {
        let flinks = DateTimeBucketAssigner::with_format_and_zone(DateTimeBucketAssigner::DEFAULT_FORMAT, "UTC");
        // 2024-02-29T23:30:00Z
        let time = 1_709_249_400_000;
        assert_eq!(bucket(&flinks.unwrap(), time), "2024-02-29--23");
        let berlin = DateTimeBucketAssigner::with_format_and_zone("%Y/%m/%d", "Europe/Berlin").unwrap();
        assert_eq!(bucket(&berlin, time), "2024/03/01");
        assert!(check_bucket_id(&bucket(&DateTimeBucketAssigner::new(), i64::MAX)).is_err());
    }

    #[test]
    fn formats_and_zones_that_cannot_be_used_are_refused_and_named() {
        let error = DateTimeBucketAssigner::with_format_and_zone("%Y", "Atlantis/Poseidonis").unwrap_err();
        assert_eq!(error.value("zone"), Some("Atlantis/Poseidonis"));
        for format in ["%Y-%", "../%Y", "%Y//%m", "/%Y", ".%Y", "%Y/"] {
            let error = DateTimeBucketAssigner::with_format(format).unwrap_err();
            assert_eq!(error.value("format"), Some(format), "{error}");
        }
    }

    #[test]
    fn a_closure_or_the_output_directory_itself() {
        assert_eq!(bucket(&|n: &i64| format!("n={n}"), 0), "n=7");
        assert_eq!(bucket(&BasePathBucketAssigner, 0), "");
    }

    #[test]
    fn ids_that_lead_elsewhere_are_refused() {
        for id in ["", "a", "a/b", "country=de/hour=7", "2024-02-29--23", "größe"] {
            check_bucket_id(id).unwrap();
        }
        for id in ["..", "a/../b", "/a", "a/", "a//b", ".", "a/.b", "a\\b", "a\0"] {
            assert!(check_bucket_id(id).is_err(), "{id}");
        }
    }
}
