//! Names of the sink's files. They never repeat, and tell to whom a file belongs.

use std::fmt::Write;

use highwater_types::{Error, Result};

use crate::sink::SinkContext;

/// Digits of the job id in a name.
const JOB_DIGITS: usize = 8;
/// Longest uid, escaped, in bytes.
const UID_BYTES: usize = 150;

/// What follows the name of an uncommitted file in the name of its mark.
const MARK: &str = ".uncommitted";
/// What follows it, before a number, in the name of what was cut out of it. No dash: the parts of a name are counted.
const CUT: &str = ".cut";

/// Names a subtask's files: `.part-<job>-<uid>-<subtask>-<attempt>-<sequence>` until they are committed, then the same
/// without the dot and with `-<checkpoint>` behind it. Uid and attempt are [escaped](escape). A uid may hold dashes, the
/// parts behind it do not: their number tells where it ends. The sequence runs over all buckets.
#[derive(Debug)]
pub(super) struct Namer {
    /// `.part-<job>-<uid>-<subtask>-<attempt>-`
    subtask: String,
    /// `-<attempt>-`, escaped.
    attempt: String,
    sink: SinkNames,
    next: u64,
}

impl Namer {
    /// # Errors
    /// As [`SinkNames::new`].
    pub(super) fn new(context: &SinkContext<'_>) -> Result<Self> {
        let (sink, attempt) = (SinkNames::new(context.job_id, context.uid)?, escape(context.attempt, false));
        Ok(Self { subtask: format!(".{}{}-{attempt}-", sink.prefix, context.subtask), attempt, sink, next: 0 })
    }

    /// The name of a new file.
    pub(super) fn next_name(&mut self) -> String {
        self.next += 1;
        format!("{}{}", self.subtask, self.next)
    }

    /// Whether this is an uncommitted file of this sink of this job, whole or cut, or the mark of one, of an attempt that
    /// is over.
    pub(super) fn is_left_behind(&self, name: &str) -> bool {
        self.sink.uncommitted(name).is_some_and(|tail| tail.attempt != self.attempt)
    }

    /// Whether this is an uncommitted file of this sink of this job.
    pub(super) fn is_of_this_job(&self, name: &str) -> bool {
        self.sink.uncommitted(name).is_some()
    }

    /// The checkpoint with which a file was committed, if it is a file of a sink with this uid, of whatever job.
    pub(super) fn committed_checkpoint(&self, name: &str) -> Option<u64> {
        let (_job, rest) = name.strip_prefix("part-")?.split_once('-')?;
        Tail::parse(rest.strip_prefix(&self.sink.uid)?.strip_prefix('-')?)?.checkpoint
    }
}

/// What the names of all files of one sink of one job have in common.
#[derive(Debug)]
pub(super) struct SinkNames {
    /// `part-<job>-<uid>-`
    prefix: String,
    /// Escaped.
    uid: String,
}

impl SinkNames {
    /// # Errors
    /// `Configuration` for a uid that leaves no room for the rest of a name: file systems take 255 bytes.
    pub(super) fn new(job_id: &str, uid: &str) -> Result<Self> {
        let job = job_id.get(..JOB_DIGITS).unwrap_or(job_id);
        let escaped = escape(uid, true);
        if escaped.len() > UID_BYTES {
            return Err(Error::configuration(
                "the uid of a file sink is too long for the names of its files: shorten it",
            )
            .with("operator", uid)
            .with("expected", format_args!("at most {UID_BYTES} bytes")));
        }
        Ok(Self { prefix: format!("part-{job}-{escaped}-"), uid: escaped })
    }

    /// Whether this is a committed file of the sink.
    pub(super) fn is_committed(&self, name: &str) -> bool {
        name.strip_prefix(&self.prefix).and_then(Tail::parse).is_some_and(|tail| tail.checkpoint.is_some())
    }

    /// Whether this is a file of the sink, committed or not, or the mark of one.
    pub(super) fn is_file(&self, name: &str) -> bool {
        self.is_committed(name) || self.uncommitted(name).is_some()
    }

    fn uncommitted<'a>(&self, name: &'a str) -> Option<Tail<'a>> {
        let is_number = |text: &str| text.parse::<u64>().is_ok();
        let uncut = || name.rsplit_once(CUT).filter(|(_, checkpoint)| is_number(checkpoint)).map(|(file, _)| file);
        let file = name.strip_suffix(MARK).or_else(uncut).unwrap_or(name);
        Tail::parse(file.strip_prefix('.')?.strip_prefix(&self.prefix)?).filter(|tail| tail.checkpoint.is_none())
    }
}

/// `<subtask>-<attempt>-<sequence>`, and `-<checkpoint>`
struct Tail<'a> {
    attempt: &'a str,
    checkpoint: Option<u64>,
}

impl<'a> Tail<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split('-');
        let (subtask, attempt, sequence) = (parts.next()?, parts.next()?, parts.next()?);
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let checkpoint = parts.next().map(|part| part.parse().ok().filter(|_| is_number(part)));
        let is_known = is_number(subtask) && is_number(sequence) && !attempt.is_empty() && parts.next().is_none();
        match checkpoint {
            Some(None) => None,
            checkpoint => is_known.then_some(Self { attempt, checkpoint: checkpoint.flatten() }),
        }
    }
}

/// The name of the mark of an uncommitted file.
pub(super) fn mark_name(file: &str) -> String {
    format!("{file}{MARK}")
}

/// Whether a name is that of an uncommitted file of any sink.
pub(super) fn is_uncommitted(name: &str) -> bool {
    name.starts_with(".part-") && !name.ends_with(MARK)
}

/// The name of what a checkpoint lists of a file in progress, cut out of it.
pub(super) fn cut_name(file: &str, checkpoint: u64) -> String {
    format!("{file}{CUT}{checkpoint}")
}

/// The name under which a file is committed with a checkpoint.
pub(super) fn committed_name(file: &str, checkpoint: u64) -> String {
    format!("{}-{checkpoint}", file.strip_prefix('.').unwrap_or(file))
}

/// Letters, digits, `_` and `.` stay, and dashes if asked for; every other byte becomes `%` and two hex digits. What
/// remains has no slash, and is told apart from every other text.
fn escape(text: &str, keep_dashes: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.' || (byte == b'-' && keep_dashes) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "%{byte:02x}");
        }
    }
    escaped
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed assumption should stop the test, in helpers too")]
mod tests {
    use super::*;

    fn namer(uid: &str, attempt: &str) -> Namer {
        let state = highwater_state::OperatorStateBackend::builder().build().unwrap();
        let (job_id, subtask, parallelism) = ("0123456789abcdef0123456789abcdef", 3, 4);
        let restored_checkpoint = None;
        Namer::new(&SinkContext { job_id, uid, subtask, parallelism, attempt, restored_checkpoint, state: &state })
            .unwrap()
    }

    #[test]
    fn names_are_new_each_time_and_known_again() {
        let mut mine = namer("word-count/out", "a-1");
        let (first, second) = (mine.next_name(), mine.next_name());
        assert_eq!(first, ".part-01234567-word-count%2fout-3-a%2d1-1");
        assert_ne!(first, second);
        assert_eq!(committed_name(&first, 7), "part-01234567-word-count%2fout-3-a%2d1-1-7");
        assert_eq!(mine.committed_checkpoint(&committed_name(&first, 7)), Some(7));
        assert!(is_uncommitted(&first) && !is_uncommitted(&committed_name(&first, 7)));
        assert!(!is_uncommitted(&mark_name(&first)));
    }

    #[test]
    fn only_files_of_this_sink_and_of_other_attempts_are_left_behind() {
        let mut now = namer("out", "2");
        let before = namer("out", "1").next_name();
        for left_behind in [&before, &mark_name(&before), &cut_name(&before, 7)] {
            assert!(now.is_left_behind(left_behind), "{left_behind}");
        }
        let current = now.next_name();
        assert!(!now.is_left_behind(&current), "another subtask of this attempt may be writing it");
        assert!(!now.is_left_behind(&mark_name(&current)));
        assert!(!now.is_left_behind(&namer("out-2", "1").next_name()), "another sink");
        assert!(!now.is_left_behind(&namer("ou", "1").next_name()), "another sink");
        assert!(!now.is_left_behind(".part-89abcdef-out-3-1-1"), "another job");
        for foreign in [
            ".part-01234567-out-notes",
            ".part-01234567-out-3-1-1-7-9",
            ".part-01234567-out-x-1-1",
            ".part-01234567-out-3-1-1.parquet",
            ".part-01234567-out-3-1-1.cut",
            "part-01234567-out-3-1-1",
        ] {
            assert!(!now.is_left_behind(foreign), "{foreign}");
        }
    }

    #[test]
    fn the_checkpoint_of_a_committed_file_is_found_for_this_uid_only() {
        let now = namer("out", "2");
        assert_eq!(now.committed_checkpoint("part-89abcdef-out-0-1-12-41"), Some(41));
        for other in [
            "part-89abcdef-out2-0-1-12-41",
            "part-89abcdef-out-0-1-12",
            "part-1",
            ".part-89abcdef-out-0-1-12-41",
            "part-x-out-0-1-12-x",
        ] {
            assert_eq!(now.committed_checkpoint(other), None, "{other}");
        }
    }
}
