//! The type serializer: how one value becomes bytes and how its type is described in a snapshot.

use std::fmt::Debug;
use std::sync::Arc;

use crate::{ByteReader, Result, SerializerSnapshot};

/// Declared size of a serialized value, as Flink's `TypeSerializer.getLength()`.
///
/// Composite keys depend on it: where key and namespace are both [`Length::Variable`], their lengths are written too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Always this many bytes. (`VoidNamespace` declares 0 and writes one byte, as in Flink.)
    Fixed(usize),
    /// Depends on the value (`-1` in Java).
    Variable,
}

/// Writes and reads values of one type with Flink's encoding, and names itself in snapshots.
///
/// Serializers are shared between threads and hold configuration only.
pub trait TypeSerializer<T>: Debug + Send + Sync + 'static {
    /// Declared size.
    fn length(&self) -> Length;

    /// Appends the value's bytes. Fails for values that Flink's format cannot hold (too long, not in the Basic
    /// Multilingual Plane, ...); `out` may then hold a part.
    fn serialize(&self, value: &T, out: &mut Vec<u8>) -> Result<()>;

    /// Reads one value, exactly as many bytes as [`serialize`](Self::serialize) wrote.
    fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<T>;

    /// What a snapshot stores to recognise this serializer.
    fn snapshot(&self) -> SerializerSnapshot;

    /// The value that stands for Java's `null`; none for most types. Only the serializer of [`Option`] has one: `None`.
    ///
    /// Maps keep a null flag of their own before each value. A value for which [`is_null`](Self::is_null) holds is that
    /// flag alone; everything else follows the flag as [`serialize`](Self::serialize) writes it.
    fn null(&self) -> Option<T> {
        None
    }

    /// Whether the value stands for Java's `null`.
    fn is_null(&self, value: &T) -> bool {
        let _ = value;
        false
    }
}

/// A shared serializer.
pub type SerializerRef<T> = Arc<dyn TypeSerializer<T>>;

/// Types with an obvious Flink serializer: `i64` is `LongSerializer`, `String` is `StringSerializer` and so on.
///
/// Unsigned integers have none on purpose: Flink has no type for them.
pub trait DefaultSerializer: Sized {
    /// The serializer Flink would choose for the corresponding Java type.
    fn default_serializer() -> SerializerRef<Self>;
}
