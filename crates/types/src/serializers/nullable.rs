//! Values that may be absent.

use crate::{ByteReader, DefaultSerializer, Length, Result, SerializerRef, SerializerSnapshot, TypeSerializer};

/// `NullableSerializer`: a null flag (1 is null), then the value.
///
/// Flink can pad nulls to the size of a value of fixed size, so that the whole has a fixed size too; the padding is
/// stored in the snapshot and must be the same on restore. Rust's `Option` has no padding by default, as in Flink.
pub struct NullableSerializer<T> {
    value: SerializerRef<T>,
    padding: usize,
}

clone_and_debug!(NullableSerializer<T> { value, padding });

impl<T: 'static> NullableSerializer<T> {
    /// Without padding: a null takes one byte.
    #[must_use]
    pub fn new(value: SerializerRef<T>) -> Self {
        Self { value, padding: 0 }
    }

    /// With padding, if the value has a fixed size (`padNullValueIfFixedLen`).
    #[must_use]
    pub fn padded(value: SerializerRef<T>) -> Self {
        let padding = match value.length() {
            Length::Fixed(length) => length,
            Length::Variable => 0,
        };
        Self { value, padding }
    }
}

impl<T: 'static> TypeSerializer<Option<T>> for NullableSerializer<T> {
    fn length(&self) -> Length {
        if self.padding == 0 { Length::Variable } else { Length::Fixed(1 + self.padding) }
    }

    fn serialize(&self, value: &Option<T>, out: &mut Vec<u8>) -> Result<()> {
        self.serialize_flagged(value, out)?;
        if value.is_none() {
            out.resize(out.len() + self.padding, 0);
        }
        Ok(())
    }

    fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<Option<T>> {
        let value = self.deserialize_flagged(input)?;
        if value.is_none() {
            input.read_bytes(self.padding)?;
        }
        Ok(value)
    }

    fn snapshot(&self) -> SerializerSnapshot {
        SerializerSnapshot::nullable(self.value.snapshot(), self.padding as u32)
    }

    fn serialize_flagged(&self, value: &Option<T>, out: &mut Vec<u8>) -> Result<()> {
        out.push(u8::from(value.is_none()));
        value.as_ref().map_or(Ok(()), |value| self.value.serialize(value, out))
    }

    fn deserialize_flagged(&self, input: &mut ByteReader<'_>) -> Result<Option<T>> {
        if input.read_bool()? { Ok(None) } else { self.value.deserialize(input).map(Some) }
    }

    fn flagged_snapshot(&self) -> SerializerSnapshot {
        self.value.snapshot()
    }
}

impl<T: DefaultSerializer> DefaultSerializer for Option<T> {
    fn default_serializer() -> SerializerRef<Self> {
        T::nullable_serializer()
    }
}
