//! Batches of records, as timely carries them.

use std::io::Write;

use serde::Serialize;
use serde::de::DeserializeOwned;
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::dataflow::channels::ContainerBytes;

/// Records on their way.
#[derive(Clone, Debug)]
pub(crate) struct Batch<T> {
    pub(crate) records: Vec<T>,
    /// About how many bytes of memory they take.
    pub(crate) weight: usize,
    /// The worker that sent them.
    pub(crate) from: usize,
}

impl<T> Batch<T> {
    pub(crate) fn new(records: Vec<T>, weight: usize) -> Self {
        Self { records, weight, from: 0 }
    }
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self::new(Vec::new(), 0)
    }
}

impl<T> Accountable for Batch<T> {
    fn record_count(&self) -> i64 {
        self.records.len() as i64
    }
}

/// Bytes of a header in the form that another process reads: two numbers.
pub(super) const HEADER: usize = 16;

impl<T: Serialize + DeserializeOwned> ContainerBytes for Batch<T> {
    fn from_bytes(mut bytes: Bytes) -> Self {
        let header = bytes.extract_to(HEADER);
        let (weight, from) = numbers(&header);
        Self { records: Vec::from_bytes(bytes), weight, from }
    }

    fn length_in_bytes(&self) -> usize {
        HEADER + self.records.length_in_bytes()
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        write_numbers(writer, self.weight, self.from);
        self.records.into_bytes(writer);
    }
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
