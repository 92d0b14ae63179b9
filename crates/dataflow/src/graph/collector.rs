//! Where operators put their results.

use std::fmt::{self, Debug};
use std::rc::Rc;

use highwater_types::Result;
use serde::Serialize;

use super::weight::weigh;
use crate::operator::{Chunk, Exit, Signal, cancelled};
use crate::watermark::Mark;

/// Results are sent on when there are this many.
const CHUNK_RECORDS: usize = 1_024;
/// Or when they take this many bytes of memory.
const CHUNK_BYTES: usize = 64 * 1024;

/// Takes the results of a user function (Flink's `Collector`).
///
/// In a job, results leave in chunks of at most 1,024 records and about 64 KiB (or one record that is larger), and where
/// there is no room for a chunk, [`collect`](Self::collect) returns when there is: one call of a function may have any
/// number of results.
///
/// ```
/// use highwater_dataflow::Collector;
///
/// let mut out = Collector::default();
/// out.collect("to be");
/// out.extend(["or", "not"]);
/// assert_eq!(out.into_vec(), ["to be", "or", "not"]);
/// ```
pub struct Collector<T> {
    chunk: Vec<T>,
    /// Timestamps of the first records of the chunk. The others have the current one.
    stamps: Vec<i64>,
    /// The timestamp of what is emitted next, `MIN` for none.
    timestamp: i64,
    /// Bytes that may still be added.
    room: usize,
    /// None for a collector without a job.
    exit: Option<Rc<Exit<T>>>,
}

impl<T> Default for Collector<T> {
    fn default() -> Self {
        Self { chunk: Vec::new(), stamps: Vec::new(), timestamp: i64::MIN, room: CHUNK_BYTES, exit: None }
    }
}

impl<T: Serialize> Collector<T> {
    /// Emits one record. In a job that fails or is cancelled it may not return: the function is unwound from here.
    #[inline]
    pub fn collect(&mut self, record: T) {
        let weight = weigh(&record);
        if weight > self.room {
            // What is too large for a chunk goes alone.
            self.flush();
        }
        self.chunk.push(record);
        self.room = self.room.saturating_sub(weight);
        if self.chunk.len() >= CHUNK_RECORDS || self.room == 0 {
            self.send(weight);
        }
    }
}

impl<T> Collector<T> {
    /// What was emitted and has not left, for tests of user functions.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.chunk
    }

    pub(crate) fn with_exit(exit: &Rc<Exit<T>>) -> Self {
        Self { exit: Some(Rc::clone(exit)), ..Self::default() }
    }

    pub(crate) fn restore(&mut self, exit: &Rc<Exit<T>>) {
        self.exit.get_or_insert_with(|| Rc::clone(exit));
    }

    /// Prepares for this many results.
    pub(crate) fn expect(&mut self, records: usize) {
        self.chunk.reserve(records.min(CHUNK_RECORDS.saturating_sub(self.chunk.len())));
    }

    /// Gives everything that is emitted from now on this timestamp, `MIN` for none.
    #[inline]
    pub(crate) fn set_timestamp(&mut self, timestamp: i64) {
        if timestamp != self.timestamp {
            self.stamps.resize(self.chunk.len(), self.timestamp);
            self.timestamp = timestamp;
        }
    }

    /// What was emitted and has not left, with the timestamps: none if no record has one.
    pub(crate) fn take(&mut self) -> (Vec<T>, Vec<i64>) {
        if self.timestamp != i64::MIN || !self.stamps.is_empty() {
            self.stamps.resize(self.chunk.len(), self.timestamp);
        }
        self.room = CHUNK_BYTES;
        (std::mem::take(&mut self.chunk), std::mem::take(&mut self.stamps))
    }

    /// Sends what there is.
    pub(crate) fn flush(&mut self) {
        if !self.chunk.is_empty() {
            self.send(0);
        }
    }

    /// Sends a mark behind everything that was emitted.
    pub(crate) fn mark(&mut self, mark: Mark) {
        self.send_with(0, Some(mark));
    }

    /// `last` is the weight of the last record, which the room may not reflect.
    #[cold]
    #[inline(never)]
    fn send(&mut self, last: usize) {
        self.send_with(last, None);
    }

    fn send_with(&mut self, last: usize, mark: Option<Mark>) {
        let weight = if self.chunk.is_empty() { 0 } else { (CHUNK_BYTES - self.room).max(last) };
        match self.exit.clone() {
            Some(exit) => {
                let (records, stamps) = self.take();
                exit.leave(Signal::Chunk(Chunk { records, stamps, weight, mark }));
            }
            None => self.room = CHUNK_BYTES,
        }
    }

    /// To be called before each record: gives the thread back if the operator's time is up. Returns whether it did.
    ///
    /// # Errors
    /// The attempt is over: no other record may be processed.
    #[inline]
    pub(crate) fn breathe(&self) -> Result<bool> {
        match &self.exit {
            Some(exit) if exit.is_time_up() => match exit.leave(Signal::Pause) {
                true => Ok(true),
                false => Err(cancelled()),
            },
            _ => Ok(false),
        }
    }
}

impl<T: Debug> Debug for Collector<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").field("chunk", &self.chunk).finish_non_exhaustive()
    }
}

impl<T: Serialize> Extend<T> for Collector<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, records: I) {
        records.into_iter().for_each(|record| self.collect(record));
    }
}
