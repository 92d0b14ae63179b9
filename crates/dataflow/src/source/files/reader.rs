//! The reader of one subtask: one split after the other.

use std::collections::VecDeque;
use std::time::Instant;

use highwater_types::Result;

use super::lines::{LineFormat, LineReader};
use super::split::{FileSplit, SplitElement};
use crate::source::rate::RateLimiter;
use crate::{SourceReader, SourceStatus};

/// Bytes of lines after which one poll ends, however many records were asked for.
const POLL_BYTES: u64 = 1024 * 1024;

pub(super) struct FileReader {
    format: LineFormat,
    waiting: VecDeque<FileSplit>,
    current: Option<LineReader>,
    limiter: Option<RateLimiter>,
    /// The split that was opened last.
    open: u64,
    /// Splits that were read since somebody asked.
    finished: Vec<u64>,
}

impl FileReader {
    pub(super) fn new(format: LineFormat, limiter: Option<RateLimiter>) -> Self {
        Self { format, waiting: VecDeque::new(), current: None, limiter, open: 0, finished: Vec::new() }
    }

    /// The split to read from, or none if all are finished.
    fn current(&mut self) -> Result<Option<&mut LineReader>> {
        if self.current.is_none() {
            // A split that cannot be opened stays in the list: the state must not lose it.
            let Some(split) = self.waiting.front() else { return Ok(None) };
            self.current = Some(LineReader::open(split.clone(), self.format)?);
            self.open = split.id();
            self.waiting.pop_front();
        }
        Ok(self.current.as_mut())
    }

    /// Appends up to `limit` lines of one split; fewer if they are long. True if there is nothing left.
    fn read(&mut self, limit: usize, out: &mut Vec<String>) -> Result<bool> {
        let (mut records, mut bytes) = (0, 0);
        while records < limit && bytes < POLL_BYTES {
            let Some(reader) = self.current()? else { return Ok(true) };
            if let Some(line) = reader.next_line()? {
                bytes += line.len() as u64;
                records += 1;
                out.push(line);
            } else {
                self.current = None;
                self.finished.push(self.open);
                if records > 0 {
                    break;
                }
            }
        }
        Ok(false)
    }
}

impl SourceReader for FileReader {
    type Record = String;
    type Split = SplitElement;

    fn add_splits(&mut self, splits: Vec<SplitElement>) -> Result<()> {
        for split in splits {
            self.waiting.push_back(split.try_into()?);
        }
        Ok(())
    }

    fn poll(&mut self, limit: usize, out: &mut Vec<String>) -> Result<SourceStatus> {
        let granted = match &mut self.limiter {
            Some(limiter) => limiter.take(limit, Instant::now()),
            None => limit,
        };
        let before = out.len();
        let finished = self.read(granted, out)?;
        if let Some(limiter) = &mut self.limiter {
            limiter.give_back(granted - (out.len() - before));
        }
        Ok(match &self.limiter {
            _ if finished => SourceStatus::NeedsSplit,
            Some(limiter) if granted < limit => SourceStatus::Idle(limiter.wait()),
            _ => SourceStatus::Ready,
        })
    }

    fn split_id(&self, split: &SplitElement) -> u64 {
        split.clone().try_into().map_or(0, |split: FileSplit| split.id())
    }

    fn polled_split(&self) -> u64 {
        self.open
    }

    fn take_finished_splits(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.finished)
    }

    fn snapshot_state(&mut self) -> Result<Vec<SplitElement>> {
        let current = self.current.as_ref().map(LineReader::split).filter(|split| !split.is_finished());
        Ok(current.into_iter().chain(&self.waiting).map(FileSplit::to_element).collect())
    }
}
