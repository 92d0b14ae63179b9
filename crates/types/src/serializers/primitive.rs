//! Numbers, booleans and characters.

use std::sync::Arc;

use crate::hash::{canonical_f32, canonical_f64};
use crate::snapshot::base;
use crate::{ByteReader, DefaultSerializer, Error, Length, Result, SerializerRef, SerializerSnapshot, TypeSerializer};

macro_rules! primitives {
    ($($(#[$doc:meta])* $serializer:ident ($class:literal): $type:ty, $read:ident, |$value:ident| $bytes:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $serializer;

        impl TypeSerializer<$type> for $serializer {
            #[inline]
            fn length(&self) -> Length {
                Length::Fixed(size_of::<$type>())
            }

            #[inline]
            fn serialize(&self, $value: &$type, out: &mut Vec<u8>) -> Result<()> {
                out.extend_from_slice(&$bytes);
                Ok(())
            }

            #[inline]
            fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<$type> {
                input.$read()
            }

            fn snapshot(&self) -> SerializerSnapshot {
                SerializerSnapshot::simple(base!($class))
            }
        }

        impl DefaultSerializer for $type {
            fn default_serializer() -> SerializerRef<Self> {
                Arc::new($serializer)
            }
        }
    )*};
}

primitives! {
    /// `BooleanSerializer`: one byte, 0 or 1.
    BooleanSerializer("BooleanSerializer"): bool, read_bool, |value| [u8::from(*value)];
    /// `ByteSerializer`: one byte.
    ByteSerializer("ByteSerializer"): i8, read_i8, |value| value.to_be_bytes();
    /// `ShortSerializer`: two bytes, big-endian.
    ShortSerializer("ShortSerializer"): i16, read_i16, |value| value.to_be_bytes();
    /// `IntSerializer`: four bytes, big-endian.
    IntSerializer("IntSerializer"): i32, read_i32, |value| value.to_be_bytes();
    /// `LongSerializer`: eight bytes, big-endian.
    LongSerializer("LongSerializer"): i64, read_i64, |value| value.to_be_bytes();
    /// `FloatSerializer`: four bytes, big-endian; every NaN is written as `7fc00000`.
    FloatSerializer("FloatSerializer"): f32, read_f32, |value| canonical_f32(*value).to_be_bytes();
    /// `DoubleSerializer`: eight bytes, big-endian; every NaN is written as `7ff8000000000000`.
    DoubleSerializer("DoubleSerializer"): f64, read_f64, |value| canonical_f64(*value).to_be_bytes();
}

/// `CharSerializer`: one UTF-16 code unit, two bytes.
///
/// It serializes `char` inside the Basic Multilingual Plane and, chosen explicitly, `u16` as any Java `Character`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CharSerializer;

fn char_snapshot() -> SerializerSnapshot {
    SerializerSnapshot::simple(base!("CharSerializer"))
}

impl TypeSerializer<char> for CharSerializer {
    fn length(&self) -> Length {
        Length::Fixed(2)
    }

    fn serialize(&self, value: &char, out: &mut Vec<u8>) -> Result<()> {
        let Ok(unit) = u16::try_from(*value) else {
            return Err(Error::program("a character is outside the Basic Multilingual Plane: use String")
                .with("found", format_args!("U+{:04X}", u32::from(*value))));
        };
        out.extend_from_slice(&unit.to_be_bytes());
        Ok(())
    }

    fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<char> {
        let offset = input.position();
        let unit = input.read_u16()?;
        char::from_u32(u32::from(unit)).ok_or_else(|| {
            Error::incompatible("a character is half a surrogate pair: use u16 with CharSerializer")
                .with("offset", offset)
                .with("found", format_args!("U+{unit:04X}"))
        })
    }

    fn snapshot(&self) -> SerializerSnapshot {
        char_snapshot()
    }
}

impl TypeSerializer<u16> for CharSerializer {
    fn length(&self) -> Length {
        Length::Fixed(2)
    }

    fn serialize(&self, value: &u16, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&value.to_be_bytes());
        Ok(())
    }

    fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<u16> {
        input.read_u16()
    }

    fn snapshot(&self) -> SerializerSnapshot {
        char_snapshot()
    }
}

impl DefaultSerializer for char {
    fn default_serializer() -> SerializerRef<Self> {
        Arc::new(CharSerializer)
    }
}
