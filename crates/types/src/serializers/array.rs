//! Java's primitive arrays.

use std::sync::Arc;

use super::{first_capacity, write_count};
use crate::snapshot::base;
use crate::{ByteReader, DefaultSerializer, Length, Result, SerializerRef, SerializerSnapshot, TypeSerializer};

/// `BytePrimitiveArraySerializer`: `i32` length, then the bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct BytesSerializer;

impl TypeSerializer<Vec<u8>> for BytesSerializer {
    fn length(&self) -> Length {
        Length::Variable
    }

    fn serialize(&self, value: &Vec<u8>, out: &mut Vec<u8>) -> Result<()> {
        write_count(value.len(), out)?;
        out.extend_from_slice(value);
        Ok(())
    }

    fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<Vec<u8>> {
        let length = input.read_count(1)?;
        input.read_bytes(length).map(<[u8]>::to_vec)
    }

    fn snapshot(&self) -> SerializerSnapshot {
        SerializerSnapshot::simple(base!("array.", "BytePrimitiveArraySerializer"))
    }
}

/// `u8` has no serializer of its own, so this stands beside the lists without touching them.
impl DefaultSerializer for Vec<u8> {
    fn default_serializer() -> SerializerRef<Self> {
        Arc::new(BytesSerializer)
    }
}

/// Element of a Java primitive array: `bool`, `i16`, `i32`, `i64`, `f32`, `f64`.
pub trait PrimitiveElement: DefaultSerializer + sealed::Sealed {}

mod sealed {
    pub trait Sealed {
        const SNAPSHOT_CLASS: &'static str;
    }
}

macro_rules! elements {
    ($($type:ty: $class:literal),* $(,)?) => {$(
        impl PrimitiveElement for $type {}
        impl sealed::Sealed for $type {
            const SNAPSHOT_CLASS: &'static str = base!("array.", $class);
        }
    )*};
}

elements! {
    bool: "BooleanPrimitiveArraySerializer",
    i16: "ShortPrimitiveArraySerializer",
    i32: "IntPrimitiveArraySerializer",
    i64: "LongPrimitiveArraySerializer",
    f32: "FloatPrimitiveArraySerializer",
    f64: "DoublePrimitiveArraySerializer",
}

/// `LongPrimitiveArraySerializer` and its like, for a `Vec<i64>` that is a `long[]` in Flink and not a `List<Long>`.
///
/// ```
/// use highwater_types::{PrimitiveArraySerializer, TypeSerializer};
///
/// let serializer = PrimitiveArraySerializer::<i64>::new();
/// assert_eq!(serializer.snapshot().to_string(), "LongArray");
/// ```
pub struct PrimitiveArraySerializer<T> {
    element: SerializerRef<T>,
}

clone_and_debug!(PrimitiveArraySerializer<T> { element });

impl<T: PrimitiveElement> PrimitiveArraySerializer<T> {
    /// The serializer of arrays of this type.
    #[must_use]
    pub fn new() -> Self {
        Self { element: T::default_serializer() }
    }
}

impl<T: PrimitiveElement> Default for PrimitiveArraySerializer<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: PrimitiveElement> TypeSerializer<Vec<T>> for PrimitiveArraySerializer<T> {
    fn length(&self) -> Length {
        Length::Variable
    }

    fn serialize(&self, value: &Vec<T>, out: &mut Vec<u8>) -> Result<()> {
        write_count(value.len(), out)?;
        value.iter().try_for_each(|element| self.element.serialize(element, out))
    }

    fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<Vec<T>> {
        let count = input.read_count(size_of::<T>())?;
        let mut elements = Vec::with_capacity(first_capacity::<T>(count));
        for _ in 0..count {
            elements.push(self.element.deserialize(input)?);
        }
        Ok(elements)
    }

    fn snapshot(&self) -> SerializerSnapshot {
        SerializerSnapshot::simple(T::SNAPSHOT_CLASS)
    }
}
