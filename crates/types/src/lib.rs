//! One value and its bytes: Flink's type serializers, serializer snapshots, Java hashing and key groups.
//!
//! This is the lowest floor of Highwater. It knows nothing of state, files or jobs.
//!
//! ```
//! use highwater_types::{ByteReader, DefaultSerializer, JavaHash, MaxParallelism};
//!
//! // A value becomes the bytes that Flink writes for it, and comes back.
//! let key = ("user-1".to_owned(), 7_i64);
//! let serializer = <(String, i64)>::default_serializer();
//! let mut bytes = Vec::new();
//! serializer.serialize(&key, &mut bytes)?;
//! assert_eq!(serializer.deserialize(&mut ByteReader::new(&bytes))?, key);
//!
//! // Snapshots describe the type.
//! assert_eq!(serializer.snapshot().to_string(), "Tuple<String, Long>");
//!
//! // And the key lives where Flink would look for it.
//! let max_parallelism = MaxParallelism::new(128)?;
//! let group = max_parallelism.key_group_of("user-1".java_hash());
//! assert_eq!(group, 121);
//! assert_eq!(max_parallelism.owner_of(group, 4), 3);
//! # Ok::<(), highwater_types::Error>(())
//! ```

mod bytes;
mod error;
mod hash;
mod java_string;
mod key_group;
mod operator_id;
mod serializer;
mod serializers;
mod snapshot;
mod utf;

pub use bytes::ByteReader;
pub use error::{Error, ErrorKind, Result, ResultExt};
pub use hash::{JavaHash, Key};
pub use java_string::JavaString;
pub use key_group::{KeyGroup, KeyGroupRange, MaxParallelism, murmur};
pub use operator_id::OperatorId;
pub use serializer::{DefaultSerializer, Length, SerializerRef, TypeSerializer};
pub use serializers::{
    BooleanSerializer, BufferEntry, BufferEntrySerializer, ByteSerializer, BytesSerializer, CharSerializer,
    DoubleSerializer, FloatSerializer, GlobalWindow, GlobalWindowSerializer, IntSerializer, ListSerializer,
    LongSerializer, MapSerializer, NullableSerializer, PrimitiveArraySerializer, PrimitiveElement, Serde,
    SerdeSerializer, SetSerializer, ShortSerializer, StreamElementSerializer, StreamRecord, StringSerializer,
    TaggedUnion, TimeWindow, TimeWindowSerializer, TupleSerializer, UnionSerializer, VoidNamespace,
    VoidNamespaceSerializer, VoidSerializer,
};
pub use snapshot::{Compatibility, SerializerSnapshot};
pub use utf::write_utf;
