//! Flink's type serializers for Rust types.

/// `Clone` and `Debug` that ask nothing of the type parameters, which the derives would.
macro_rules! clone_and_debug {
    ($name:ident<$($parameter:ident),+> { $($field:ident),+ }) => {
        impl<$($parameter),+> Clone for $name<$($parameter),+> {
            fn clone(&self) -> Self {
                Self { $($field: self.$field.clone()),+ }
            }
        }

        impl<$($parameter),+> std::fmt::Debug for $name<$($parameter),+> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))$(.field(stringify!($field), &self.$field))+.finish()
            }
        }
    };
}

mod array;
mod buffer_entry;
mod collection;
mod namespace;
mod nullable;
mod primitive;
mod serde;
mod stream_record;
mod string;
mod tuple;
mod union;

pub use array::{BytesSerializer, PrimitiveArraySerializer, PrimitiveElement};
pub use buffer_entry::{BufferEntry, BufferEntrySerializer};
pub use collection::{ListSerializer, MapSerializer, SetSerializer};
pub use namespace::{
    GlobalWindow, GlobalWindowSerializer, TimeWindow, TimeWindowSerializer, VoidNamespace, VoidNamespaceSerializer,
    VoidSerializer,
};
pub use nullable::NullableSerializer;
pub use primitive::{
    BooleanSerializer, ByteSerializer, CharSerializer, DoubleSerializer, FloatSerializer, IntSerializer,
    LongSerializer, ShortSerializer,
};
pub use serde::{Serde, SerdeSerializer};
pub use stream_record::{StreamElementSerializer, StreamRecord};
pub use string::StringSerializer;
pub use tuple::TupleSerializer;
pub use union::{TaggedUnion, UnionSerializer};

use crate::{Error, Result};

/// Appends the number of elements that follow, as `i32`.
fn write_count(count: usize, out: &mut Vec<u8>) -> Result<()> {
    let Ok(short) = i32::try_from(count) else {
        return Err(Error::program("a value is too large for Flink's format: split it")
            .with("expected", format_args!("at most {} elements", i32::MAX))
            .with("found", count));
    };
    out.extend_from_slice(&short.to_be_bytes());
    Ok(())
}

/// Elements to reserve room for at first: a count from outside may promise more than a damaged file holds.
fn first_capacity<T>(count: usize) -> usize {
    const FIRST_BYTES: usize = 1 << 16;
    count.min(1 + FIRST_BYTES / size_of::<T>().max(1))
}
