//! Tuples.

use std::sync::Arc;

use crate::{ByteReader, DefaultSerializer, Length, Result, SerializerRef, SerializerSnapshot, TypeSerializer};

/// `TupleSerializer` of Flink's `Tuple1` to `Tuple12`: the fields in order and nothing between them.
///
/// ```
/// use highwater_types::{DefaultSerializer, TupleSerializer, TypeSerializer};
///
/// let serializer = TupleSerializer::new((String::default_serializer(), i32::default_serializer()));
/// let mut bytes = Vec::new();
/// serializer.serialize(&("a".to_owned(), 1), &mut bytes)?;
/// assert_eq!(bytes, [2, b'a', 0, 0, 0, 1]);
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TupleSerializer<F> {
    fields: F,
}

impl<F> TupleSerializer<F> {
    /// Tuples of such fields: a tuple of serializers.
    #[must_use]
    pub fn new(fields: F) -> Self {
        Self { fields }
    }
}

/// Fixed if all fields are.
fn sum(lengths: impl IntoIterator<Item = Length>) -> Length {
    lengths.into_iter().fold(Length::Fixed(0), |sum, length| match (sum, length) {
        (Length::Fixed(a), Length::Fixed(b)) => Length::Fixed(a + b),
        _ => Length::Variable,
    })
}

macro_rules! tuples {
    ($(($($index:tt $field:ident),+))*) => {$(
        impl<$($field: 'static),+> TypeSerializer<($($field,)+)> for TupleSerializer<($(SerializerRef<$field>,)+)> {
            fn length(&self) -> Length {
                sum([$(self.fields.$index.length()),+])
            }

            fn serialize(&self, value: &($($field,)+), out: &mut Vec<u8>) -> Result<()> {
                $(self.fields.$index.serialize(&value.$index, out)?;)+
                Ok(())
            }

            fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<($($field,)+)> {
                Ok(($(self.fields.$index.deserialize(input)?,)+))
            }

            fn snapshot(&self) -> SerializerSnapshot {
                SerializerSnapshot::tuple(vec![$(self.fields.$index.snapshot()),+])
            }
        }

        impl<$($field: DefaultSerializer),+> DefaultSerializer for ($($field,)+) {
            fn default_serializer() -> SerializerRef<Self> {
                Arc::new(TupleSerializer::new(($($field::default_serializer(),)+)))
            }
        }
    )*};
}

tuples! {
    (0 A)
    (0 A, 1 B)
    (0 A, 1 B, 2 C)
    (0 A, 1 B, 2 C, 3 D)
    (0 A, 1 B, 2 C, 3 D, 4 E)
    (0 A, 1 B, 2 C, 3 D, 4 E, 5 F)
    (0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G)
    (0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H)
    (0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H, 8 I)
    (0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H, 8 I, 9 J)
    (0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H, 8 I, 9 J, 10 K)
    (0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H, 8 I, 9 J, 10 K, 11 L)
}
