//! The type serializer: how one value becomes bytes and how its type is described in a snapshot.

use std::fmt::Debug;
use std::sync::Arc;

use crate::serializers::NullableSerializer;
use crate::{ByteReader, Error, Result, SerializerSnapshot};

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

impl Length {
    /// Bytes that every value takes at least.
    pub(crate) fn minimum(self) -> usize {
        match self {
            Self::Fixed(length) => length.max(1),
            Self::Variable => 1,
        }
    }
}

/// Writes and reads values of one type with Flink's encoding, and names itself in snapshots.
///
/// Serializers are shared between threads and hold configuration only.
///
/// A serializer for a type of your own stands on those that exist; returning their snapshot keeps the state readable
/// for Flink:
///
/// ```
/// use std::sync::Arc;
///
/// use highwater_types::{
///     ByteReader, DefaultSerializer, Length, LongSerializer, Result, SerializerRef, SerializerSnapshot, TypeSerializer,
/// };
///
/// /// Euro cents; a `Long` in Flink.
/// #[derive(Debug, PartialEq)]
/// struct Cents(i64);
///
/// #[derive(Debug)]
/// struct CentsSerializer;
///
/// impl TypeSerializer<Cents> for CentsSerializer {
///     fn length(&self) -> Length {
///         LongSerializer.length()
///     }
///
///     fn serialize(&self, value: &Cents, out: &mut Vec<u8>) -> Result<()> {
///         LongSerializer.serialize(&value.0, out)
///     }
///
///     fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<Cents> {
///         LongSerializer.deserialize(input).map(Cents)
///     }
///
///     fn snapshot(&self) -> SerializerSnapshot {
///         LongSerializer.snapshot()
///     }
/// }
///
/// impl DefaultSerializer for Cents {
///     fn default_serializer() -> SerializerRef<Self> {
///         Arc::new(CentsSerializer)
///     }
/// }
///
/// // Lists, maps, tuples and options of it follow.
/// let serializer = Vec::<Cents>::default_serializer();
/// let mut bytes = Vec::new();
/// serializer.serialize(&vec![Cents(250)], &mut bytes)?;
/// assert_eq!(serializer.deserialize(&mut ByteReader::new(&bytes))?, [Cents(250)]);
/// assert_eq!(serializer.snapshot().to_string(), "List<Long>");
/// # Ok::<(), highwater_types::Error>(())
/// ```
pub trait TypeSerializer<T>: Debug + Send + Sync + 'static {
    /// Declared size.
    fn length(&self) -> Length;

    /// Appends the value's bytes, at least one. Fails for values that Flink's format cannot hold (too long, not in the
    /// Basic Multilingual Plane, ...); `out` may then hold a part.
    fn serialize(&self, value: &T, out: &mut Vec<u8>) -> Result<()>;

    /// Reads one value, exactly as many bytes as [`serialize`](Self::serialize) wrote.
    fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<T>;

    /// What a snapshot stores to recognise this serializer.
    fn snapshot(&self) -> SerializerSnapshot;

    /// Appends the value behind a null flag, as the values of maps and the elements of sets are stored: `00` and the
    /// value, or `01` alone for a null. Only serializers of `Option` have reason to change this.
    fn serialize_flagged(&self, value: &T, out: &mut Vec<u8>) -> Result<()> {
        out.push(0);
        self.serialize(value, out)
    }

    /// Reads what [`serialize_flagged`](Self::serialize_flagged) wrote. A null is an
    /// [`Incompatible`](crate::ErrorKind::Incompatible) error for types that have none.
    fn deserialize_flagged(&self, input: &mut ByteReader<'_>) -> Result<T> {
        match input.read_bool()? {
            false => self.deserialize(input),
            true => Err(unexpected_null(input.position() - 1)),
        }
    }

    /// The snapshot of what stands behind the null flag: `Long` for an `Option<i64>`, because the container's own flag
    /// takes the place of the `Option`.
    fn flagged_snapshot(&self) -> SerializerSnapshot {
        self.snapshot()
    }
}

#[cold]
pub(crate) fn unexpected_null(offset: usize) -> Error {
    Error::incompatible("the stored value is null: use Option for this type").with("offset", offset)
}

/// A shared serializer.
pub type SerializerRef<T> = Arc<dyn TypeSerializer<T>>;

/// Types with an obvious Flink serializer: `i64` is `LongSerializer`, `String` is `StringSerializer` and so on.
///
/// | Rust | Flink |
/// |---|---|
/// | `bool`, `i8`, `i16`, `i32`, `i64`, `f32`, `f64` | `Boolean`, `Byte`, `Short`, `Integer`, `Long`, `Float`, `Double` |
/// | `char` | `Character` (Basic Multilingual Plane only) |
/// | `String`, [`JavaString`](crate::JavaString) | `String` |
/// | `Vec<u8>` | `byte[]` |
/// | `Vec<T>` | `List<T>` |
/// | `HashMap<K, V>`, `BTreeMap<K, V>` | `Map<K, V>`; with `Option<V>` values a map that may hold nulls |
/// | `HashSet<T>`, `BTreeSet<T>` | `Set<T>` (Flink 2.0 and later) |
/// | tuples of 1 to 12 | `Tuple1` to `Tuple12` |
/// | `Option<String>` | `String`, which may be null in Flink |
/// | `Option<T>` | `T` in a `NullableSerializer` without padding |
/// | [`VoidNamespace`](crate::VoidNamespace), [`TimeWindow`](crate::TimeWindow) | the same |
/// | `()` | `Void` |
/// | [`Serde<T>`](crate::Serde) | none: Flink cannot read it |
///
/// Unsigned integers have none on purpose: Flink has no type for them.
pub trait DefaultSerializer: Sized + 'static {
    /// The serializer Flink would choose for the corresponding Java type.
    fn default_serializer() -> SerializerRef<Self>;

    /// The serializer of `Option<Self>`: as Flink's `NullableSerializer.wrapIfNullIsNotSupported`, a serializer that
    /// can write null itself is used as it is, every other is wrapped in
    /// [`NullableSerializer`](crate::NullableSerializer).
    fn nullable_serializer() -> SerializerRef<Option<Self>> {
        Arc::new(NullableSerializer::new(Self::default_serializer()))
    }
}
