//! One of two types.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{ByteReader, DefaultSerializer, Error, Length, Result, SerializerRef, SerializerSnapshot, TypeSerializer};

/// A record of the first or of the second of two streams (Flink's `TaggedUnion`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TaggedUnion<A, B> {
    /// Of the first.
    One(A),
    /// Of the second.
    Two(B),
}

/// `CoGroupedStreams.UnionSerializer`: 1 or 2, then the value.
///
/// ```
/// use highwater_types::{DefaultSerializer, TaggedUnion};
///
/// let mut bytes = Vec::new();
/// TaggedUnion::<i16, bool>::default_serializer().serialize(&TaggedUnion::Two(true), &mut bytes)?;
/// assert_eq!(bytes, [2, 1]);
/// # Ok::<(), highwater_types::Error>(())
/// ```
pub struct UnionSerializer<A, B> {
    one: SerializerRef<A>,
    two: SerializerRef<B>,
}

clone_and_debug!(UnionSerializer<A, B> { one, two });

const ONE: u8 = 1;
const TWO: u8 = 2;

impl<A: 'static, B: 'static> UnionSerializer<A, B> {
    /// Of such values.
    #[must_use]
    pub fn new(one: SerializerRef<A>, two: SerializerRef<B>) -> Self {
        Self { one, two }
    }
}

impl<A: 'static, B: 'static> TypeSerializer<TaggedUnion<A, B>> for UnionSerializer<A, B> {
    fn length(&self) -> Length {
        Length::Variable
    }

    fn serialize(&self, value: &TaggedUnion<A, B>, out: &mut Vec<u8>) -> Result<()> {
        match value {
            TaggedUnion::One(value) => {
                out.push(ONE);
                self.one.serialize(value, out)
            }
            TaggedUnion::Two(value) => {
                out.push(TWO);
                self.two.serialize(value, out)
            }
        }
    }

    fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<TaggedUnion<A, B>> {
        let offset = input.position();
        match input.read_u8()? {
            ONE => self.one.deserialize(input).map(TaggedUnion::One),
            TWO => self.two.deserialize(input).map(TaggedUnion::Two),
            found => Err(Error::corrupt("a record that is of neither of two streams")
                .with("offset", offset)
                .with("expected", "1 or 2")
                .with("found", found)),
        }
    }

    fn snapshot(&self) -> SerializerSnapshot {
        SerializerSnapshot::tagged_union(self.one.snapshot(), self.two.snapshot())
    }
}

impl<A: DefaultSerializer, B: DefaultSerializer> DefaultSerializer for TaggedUnion<A, B> {
    fn default_serializer() -> SerializerRef<Self> {
        Arc::new(UnionSerializer::new(A::default_serializer(), B::default_serializer()))
    }
}
