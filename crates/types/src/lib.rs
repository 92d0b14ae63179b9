//! One value and its bytes: Flink's type serializers, serializer snapshots, Java hashing and key groups.
//!
//! This is the lowest floor of Highwater. It knows nothing of state, files or jobs.

mod bytes;
mod error;
mod key_group;
mod serializer;
mod snapshot;

pub use bytes::ByteReader;
pub use error::{Error, ErrorKind, Result, ResultExt};
pub use key_group::{KeyGroup, KeyGroupRange, MaxParallelism};
pub use serializer::{DefaultSerializer, Length, SerializerRef, TypeSerializer};
pub use snapshot::{Compatibility, SerializerSnapshot};
