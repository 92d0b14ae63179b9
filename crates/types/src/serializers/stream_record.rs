//! Records with their timestamps.

use crate::{ByteReader, DefaultSerializer, Error, Length, Result, SerializerRef, SerializerSnapshot, TypeSerializer};

/// A record and its timestamp, if it has one (Flink's `StreamRecord`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamRecord<T> {
    /// The record.
    pub value: T,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
}

/// `StreamElementSerializer`, of records: 0 and the timestamp or 1, then the value.
///
/// ```
/// use highwater_types::{DefaultSerializer, StreamRecord};
///
/// let serializer = StreamRecord::<i16>::default_serializer();
/// let mut bytes = Vec::new();
/// serializer.serialize(&StreamRecord { value: 7, timestamp: Some(5) }, &mut bytes)?;
/// assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 7]);
/// # Ok::<(), highwater_types::Error>(())
/// ```
pub struct StreamElementSerializer<T> {
    value: SerializerRef<T>,
}

clone_and_debug!(StreamElementSerializer<T> { value });

const WITH_TIMESTAMP: u8 = 0;
const WITHOUT_TIMESTAMP: u8 = 1;

impl<T: 'static> StreamElementSerializer<T> {
    /// Records of such values.
    #[must_use]
    pub fn new(value: SerializerRef<T>) -> Self {
        Self { value }
    }
}

impl<T: 'static> TypeSerializer<StreamRecord<T>> for StreamElementSerializer<T> {
    fn length(&self) -> Length {
        Length::Variable
    }

    fn serialize(&self, record: &StreamRecord<T>, out: &mut Vec<u8>) -> Result<()> {
        match record.timestamp {
            Some(timestamp) => {
                out.push(WITH_TIMESTAMP);
                out.extend_from_slice(&timestamp.to_be_bytes());
            }
            None => out.push(WITHOUT_TIMESTAMP),
        }
        self.value.serialize(&record.value, out)
    }

    fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<StreamRecord<T>> {
        let offset = input.position();
        let timestamp = match input.read_u8()? {
            WITH_TIMESTAMP => Some(input.read_i64()?),
            WITHOUT_TIMESTAMP => None,
            found => {
                return Err(Error::corrupt("an element of a stream that is no record")
                    .with("offset", offset)
                    .with("expected", "0 or 1")
                    .with("found", found));
            }
        };
        Ok(StreamRecord { value: self.value.deserialize(input)?, timestamp })
    }

    fn snapshot(&self) -> SerializerSnapshot {
        SerializerSnapshot::stream_element(self.value.snapshot())
    }
}

impl<T: DefaultSerializer> DefaultSerializer for StreamRecord<T> {
    fn default_serializer() -> SerializerRef<Self> {
        std::sync::Arc::new(StreamElementSerializer::new(T::default_serializer()))
    }
}
