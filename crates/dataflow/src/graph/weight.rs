//! How much memory a record takes: serde walks it, and nothing is written.

use std::fmt::{self, Display, Write};

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// What an allocation of its own costs beside its contents: pointer, length, capacity, and the allocator's share.
const ALLOCATION: usize = 32;

/// About how many bytes of memory a record takes. Where all parts have fixed sizes, the compiler makes it a constant; a
/// string costs an addition, a collection a walk over its elements.
#[inline]
pub(crate) fn weigh<T: Serialize>(record: &T) -> usize {
    let mut scale = Scale { bytes: size_of::<T>() };
    // A value that refuses to be serialized counts with what was seen of it.
    let _ = record.serialize(&mut scale);
    scale.bytes
}

/// Adds up what it is shown.
struct Scale {
    bytes: usize,
}

impl Scale {
    #[inline]
    fn add(&mut self, bytes: usize) -> fmt::Result {
        self.bytes += bytes;
        Ok(())
    }
}

/// Counts text that is written piece by piece.
impl Write for Scale {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text.len())
    }
}

macro_rules! fixed {
    ($($method:ident: $type:ty),* $(,)?) => {$(
        #[inline]
        fn $method(self, _: $type) -> fmt::Result {
            self.add(size_of::<$type>())
        }
    )*};
}

impl Serializer for &mut Scale {
    type Ok = ();
    type Error = fmt::Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fixed! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_u128: u128,
        serialize_f32: f32,
        serialize_f64: f64,
        serialize_char: char,
    }

    #[inline]
    fn serialize_str(self, text: &str) -> fmt::Result {
        self.add(text.len() + ALLOCATION)
    }

    #[inline]
    fn serialize_bytes(self, bytes: &[u8]) -> fmt::Result {
        self.add(bytes.len() + ALLOCATION)
    }

    fn collect_str<T: Display + ?Sized>(self, text: &T) -> fmt::Result {
        write!(self, "{text}")
    }

    #[inline]
    fn serialize_none(self) -> fmt::Result {
        Ok(())
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> fmt::Result {
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> fmt::Result {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> fmt::Result {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> fmt::Result {
        Ok(())
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> fmt::Result {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> fmt::Result {
        value.serialize(self)
    }

    #[inline]
    fn serialize_seq(self, _: Option<usize>) -> Result<Self, fmt::Error> {
        self.add(ALLOCATION)?;
        Ok(self)
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    #[inline]
    fn serialize_map(self, _: Option<usize>) -> Result<Self, fmt::Error> {
        self.add(ALLOCATION)?;
        Ok(self)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    #[inline]
    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    /// Types that have a short binary form should not be printed only to be counted.
    fn is_human_readable(&self) -> bool {
        false
    }
}

macro_rules! parts {
    ($($trait:ident: $($method:ident($($ignored:ty)?)),+;)*) => {$(
        impl $trait for &mut Scale {
            type Ok = ();
            type Error = fmt::Error;

            $(
                #[inline]
                fn $method<T: Serialize + ?Sized>(&mut self, $(_: $ignored,)? value: &T) -> fmt::Result {
                    value.serialize(&mut **self)
                }
            )+

            #[inline]
            fn end(self) -> fmt::Result {
                Ok(())
            }
        }
    )*};
}

parts! {
    SerializeSeq: serialize_element();
    SerializeTuple: serialize_element();
    SerializeTupleStruct: serialize_field();
    SerializeTupleVariant: serialize_field();
    SerializeMap: serialize_key(), serialize_value();
    SerializeStruct: serialize_field(&'static str);
    SerializeStructVariant: serialize_field(&'static str);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_lies_on_the_heap_is_weighed_wherever_it_hides() {
        let text = "x".repeat(1_000_000);
        assert!(weigh(&0_i64) < 64);
        for weight in [
            weigh(&text),
            weigh(&(7_i64, text.clone())),
            weigh(&Some(vec![text.clone()])),
            weigh(&BTreeMap::from([(1_u8, (text.clone(), 2_u8))])),
            weigh(&vec![0_u8; 1_000_000]),
        ] {
            assert!((1_000_000..1_001_000).contains(&weight), "{weight}");
        }
    }
}
