//! What an interval join keeps.

use std::sync::Arc;

use crate::{ByteReader, DefaultSerializer, Length, Result, SerializerRef, SerializerSnapshot, TypeSerializer};

/// A record that waits for partners (Flink's `IntervalJoinOperator.BufferEntry`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferEntry<T> {
    /// The record.
    pub element: T,
    /// Never set by an inner join, which is the only one there is.
    pub has_been_joined: bool,
}

/// `IntervalJoinOperator.BufferEntrySerializer`: the flag, then the record.
pub struct BufferEntrySerializer<T> {
    element: SerializerRef<T>,
}

clone_and_debug!(BufferEntrySerializer<T> { element });

impl<T: 'static> BufferEntrySerializer<T> {
    /// Of such records.
    #[must_use]
    pub fn new(element: SerializerRef<T>) -> Self {
        Self { element }
    }
}

impl<T: 'static> TypeSerializer<BufferEntry<T>> for BufferEntrySerializer<T> {
    fn length(&self) -> Length {
        Length::Variable
    }

    fn serialize(&self, entry: &BufferEntry<T>, out: &mut Vec<u8>) -> Result<()> {
        out.push(u8::from(entry.has_been_joined));
        self.element.serialize(&entry.element, out)
    }

    fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<BufferEntry<T>> {
        let has_been_joined = input.read_bool()?;
        Ok(BufferEntry { element: self.element.deserialize(input)?, has_been_joined })
    }

    fn snapshot(&self) -> SerializerSnapshot {
        SerializerSnapshot::buffer_entry(self.element.snapshot())
    }
}

impl<T: DefaultSerializer> DefaultSerializer for BufferEntry<T> {
    fn default_serializer() -> SerializerRef<Self> {
        Arc::new(BufferEntrySerializer::new(T::default_serializer()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_flag_and_a_record() {
        let serializer = BufferEntry::<i16>::default_serializer();
        let mut bytes = Vec::new();
        serializer.serialize(&BufferEntry { element: 7, has_been_joined: false }, &mut bytes).unwrap();
        assert_eq!(bytes, [0, 0, 7]);
        let read = serializer.deserialize(&mut ByteReader::new(&bytes)).unwrap();
        assert_eq!((read.element, read.has_been_joined), (7, false));
        assert!(serializer.deserialize(&mut ByteReader::new(&bytes[..2])).is_err());
    }
}
