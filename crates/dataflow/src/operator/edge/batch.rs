//! Batches of records, as timely carries them.

use std::io::Write;

use serde::Serialize;
use serde::de::DeserializeOwned;
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::dataflow::channels::ContainerBytes;

use crate::watermark::{Mark, Status};

/// Records on their way, and what holds behind them.
#[derive(Clone, Debug)]
pub(crate) struct Batch<T> {
    pub(crate) records: Vec<T>,
    /// The timestamp of each record, `MIN` for none. Empty if none has one, so that who knows no event time pays nothing.
    pub(crate) stamps: Vec<i64>,
    /// About how many bytes of memory the records take.
    pub(crate) weight: usize,
    /// The channel: the worker that sent them, 0 within a worker.
    pub(crate) from: usize,
    /// Holds after the records.
    pub(crate) mark: Option<Mark>,
    /// How many receivers the mark is for: timely counts what is under way, before and behind an exchange.
    pub(crate) fan: usize,
}

impl<T> Batch<T> {
    /// The same with other records.
    pub(crate) fn map<U>(self, change: impl FnOnce(Vec<T>) -> Vec<U>) -> Batch<U> {
        let Self { records, stamps, weight, from, mark, fan } = self;
        Batch { records: change(records), stamps, weight, from, mark, fan }
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.records.is_empty() && self.mark.is_none()
    }
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self { records: Vec::new(), stamps: Vec::new(), weight: 0, from: 0, mark: None, fan: 0 }
    }
}

impl<T> Accountable for Batch<T> {
    fn record_count(&self) -> i64 {
        (self.records.len() + self.mark.map_or(0, |_| self.fan)) as i64
    }
}

/// Bytes of a pair of numbers in the form that another process reads.
pub(super) const PAIR: usize = 16;
/// Pairs before the stamps: weight and channel, the number of stamps and the fan, status and watermark of the mark.
const PAIRS: usize = 3;

impl<T: Serialize + DeserializeOwned> ContainerBytes for Batch<T> {
    fn from_bytes(mut bytes: Bytes) -> Self {
        let (weight, from) = numbers(&bytes.extract_to(PAIR));
        let (stamps, fan) = numbers(&bytes.extract_to(PAIR));
        let (status, watermark) = numbers(&bytes.extract_to(PAIR));
        let stamps = bytes.extract_to(stamps * size_of::<i64>());
        let stamps = stamps.as_chunks().0.iter().map(|stamp| i64::from_le_bytes(*stamp)).collect();
        let mark = status_of(status).map(|status| Mark { watermark: watermark as u64 as i64, status });
        Self { records: Vec::from_bytes(bytes), stamps, weight, from, mark, fan }
    }

    fn length_in_bytes(&self) -> usize {
        PAIRS * PAIR + self.stamps.len() * size_of::<i64>() + self.records.length_in_bytes()
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        let mark = self.mark.unwrap_or(Mark::status(Status::Unchanged));
        write_numbers(writer, self.weight, self.from);
        write_numbers(writer, self.stamps.len(), self.fan);
        write_numbers(writer, self.mark.map_or(NO_MARK, |mark| mark.status as usize), mark.watermark as u64 as usize);
        for stamp in &self.stamps {
            let _ = writer.write_all(&stamp.to_le_bytes());
        }
        self.records.into_bytes(writer);
    }
}

const NO_MARK: usize = usize::MAX;

fn status_of(number: usize) -> Option<Status> {
    [Status::Unchanged, Status::Active, Status::Idle].into_iter().find(|status| *status as usize == number)
}

/// Two numbers of a header.
pub(super) fn numbers(bytes: &[u8]) -> (usize, usize) {
    let number = |chunk: Option<&[u8; 8]>| chunk.map_or(0, |chunk| u64::from_le_bytes(*chunk) as usize);
    let mut chunks = bytes.as_chunks::<8>().0.iter();
    (number(chunks.next()), number(chunks.next()))
}

pub(super) fn write_numbers(writer: &mut impl Write, first: usize, second: usize) {
    for number in [first as u64, second as u64] {
        // Timely's writers are memory: they have no errors, and no way to report one.
        let _ = writer.write_all(&number.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use timely::bytes::arc::BytesMut;

    use super::*;

    #[test]
    fn stamps_and_marks_survive_the_way_between_processes() {
        let marks = [
            None,
            Some(Mark::watermark(-7)),
            Some(Mark::watermark(i64::MAX)),
            Some(Mark::status(Status::Idle)),
            Some(Mark { watermark: 5, status: Status::Active }),
        ];
        for mark in marks {
            for stamps in [Vec::new(), vec![i64::MIN, 3]] {
                let records = vec!["to be".to_owned(), "or not".to_owned()];
                let batch = Batch { records, stamps, weight: 70, from: 3, mark, fan: 4 };
                let mut written = Vec::new();
                batch.into_bytes(&mut written);
                assert_eq!(written.len(), batch.length_in_bytes());
                let read = Batch::<String>::from_bytes(BytesMut::from(written).freeze());
                assert_eq!((read.records, read.stamps, read.mark), (batch.records, batch.stamps, batch.mark));
                assert_eq!((read.weight, read.from, read.fan), (70, 3, 4));
            }
        }
    }
}
