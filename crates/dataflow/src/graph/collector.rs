//! Where operators put their results.

use std::fmt::{self, Debug};
use std::rc::Rc;

use highwater_types::Result;
use serde::Serialize;

use super::weight::weigh;
use crate::operator::{Exit, Signal, cancelled};

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
    /// Bytes that may still be added.
    room: usize,
    /// None for a collector without a job.
    exit: Option<Rc<Exit<T>>>,
}

impl<T> Default for Collector<T> {
    fn default() -> Self {
        Self { chunk: Vec::new(), room: CHUNK_BYTES, exit: None }
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

    /// Sends what there is.
    pub(crate) fn flush(&mut self) {
        if !self.chunk.is_empty() {
            self.send(0);
        }
    }

    /// `last` is the weight of the last record, which the room may not reflect.
    #[cold]
    #[inline(never)]
    fn send(&mut self, last: usize) {
        if let Some(exit) = &self.exit {
            let weight = (CHUNK_BYTES - self.room).max(last);
            exit.leave(Signal::Chunk(std::mem::take(&mut self.chunk), weight));
        }
        self.room = CHUNK_BYTES;
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
