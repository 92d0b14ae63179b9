//! Types of the program, written through serde.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use rmp_serde::decode;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::write_count;
use crate::{
    ByteReader, DefaultSerializer, Error, JavaHash, Length, Result, SerializerRef, SerializerSnapshot, TypeSerializer,
};

/// A value written through serde. **Flink cannot read it**: a savepoint that holds such state restores in Highwater
/// only. For state that may move to Flink use the types of [`DefaultSerializer`].
///
/// Values are MessagePack maps with field names, so the type can change: added fields need `#[serde(default)]`, removed
/// ones are skipped. The snapshot stores the type's path; if the type moves, name it with
/// [`SerdeSerializer::named`] and tell its earlier names with [`SerdeSerializer::accepting`].
///
/// ```
/// use highwater_types::{ByteReader, DefaultSerializer, Serde};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Session {
///     user: String,
///     clicks: u64,
/// }
///
/// let serializer = Serde::<Session>::default_serializer();
/// let session = Serde(Session { user: "ada".to_owned(), clicks: 3 });
/// let mut bytes = Vec::new();
/// serializer.serialize(&session, &mut bytes)?;
/// assert_eq!(serializer.deserialize(&mut ByteReader::new(&bytes))?, session);
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serde<T>(
    /// The value.
    pub T,
);

impl<T: JavaHash> JavaHash for Serde<T> {
    #[inline]
    fn java_hash(&self) -> i32 {
        self.0.java_hash()
    }
}

impl<T: Serialize + DeserializeOwned + 'static> DefaultSerializer for Serde<T> {
    fn default_serializer() -> SerializerRef<Self> {
        Arc::new(SerdeSerializer::new())
    }
}

/// Serializer of any serde type; see [`Serde`] for what it promises, first of all that **Flink cannot read it**.
///
/// Bytes: `i32` length, then that much MessagePack.
///
/// ```
/// use highwater_types::{Compatibility, SerdeSerializer, TypeSerializer};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Session {
///     clicks: u64,
/// }
///
/// let before = SerdeSerializer::<Session>::named("Session");
/// let after = SerdeSerializer::<Session>::named("shop.Session").accepting(["Session"]);
/// let (old, new) = (TypeSerializer::<Session>::snapshot(&before), TypeSerializer::<Session>::snapshot(&after));
/// assert_eq!(old.compatibility(&new), Compatibility::AsIs);
/// ```
pub struct SerdeSerializer<T> {
    name: String,
    earlier_names: Vec<String>,
    marker: PhantomData<fn() -> T>,
}

impl<T> SerdeSerializer<T> {
    /// Named after the type's path.
    #[must_use]
    pub fn new() -> Self {
        Self::named(type_name::<T>())
    }

    /// Under a name of your choice, which stays when the type moves to another module.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), earlier_names: Vec::new(), marker: PhantomData }
    }

    /// Takes state that was written under these names too. The fields must still fit.
    #[must_use]
    pub fn accepting<N: Into<String>>(mut self, earlier_names: impl IntoIterator<Item = N>) -> Self {
        self.earlier_names.extend(earlier_names.into_iter().map(Into::into));
        self
    }

    fn own_snapshot(&self) -> SerializerSnapshot {
        SerializerSnapshot::serde(&self.name).accepting(self.earlier_names.iter().cloned())
    }
}

impl<T> Default for SerdeSerializer<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for SerdeSerializer<T> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), earlier_names: self.earlier_names.clone(), marker: PhantomData }
    }
}

impl<T> fmt::Debug for SerdeSerializer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SerdeSerializer({})", self.name)
    }
}

impl<T: Serialize + DeserializeOwned + 'static> TypeSerializer<T> for SerdeSerializer<T> {
    fn length(&self) -> Length {
        Length::Variable
    }

    fn serialize(&self, value: &T, out: &mut Vec<u8>) -> Result<()> {
        write(value, out).map_err(|error| error.with("type", &self.name))
    }

    fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<T> {
        read(input).map_err(|error| error.with("type", &self.name))
    }

    fn snapshot(&self) -> SerializerSnapshot {
        self.own_snapshot()
    }
}

impl<T: Serialize + DeserializeOwned + 'static> TypeSerializer<Serde<T>> for SerdeSerializer<T> {
    fn length(&self) -> Length {
        Length::Variable
    }

    fn serialize(&self, value: &Serde<T>, out: &mut Vec<u8>) -> Result<()> {
        self.serialize(&value.0, out)
    }

    fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<Serde<T>> {
        self.deserialize(input).map(Serde)
    }

    fn snapshot(&self) -> SerializerSnapshot {
        self.own_snapshot()
    }
}

fn write<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    // Room for the length, which is known only afterwards.
    write_count(0, out)?;
    let failed = |source| Error::program("a value cannot be serialized").because(source);
    rmp_serde::encode::write_named(out, value).map_err(|source: rmp_serde::encode::Error| failed(source))?;
    refuse_deep_nesting(out.get(start + 4..).unwrap_or_default())?;
    let mut length = Vec::with_capacity(4);
    write_count(out.len() - start - 4, &mut length)?;
    if let Some(room) = out.get_mut(start..start + 4) {
        room.copy_from_slice(&length);
    }
    Ok(())
}

/// The encoder has no limit of depth, the decoder has one: what could not be read back must not be written.
fn refuse_deep_nesting(message: &[u8]) -> Result<()> {
    const DECODER_LIMIT: usize = 1024;
    // Every level takes a byte at least, so only long messages need to be walked.
    if message.len() < DECODER_LIMIT {
        return Ok(());
    }
    match IgnoredAny::deserialize(&mut rmp_serde::Deserializer::from_read_ref(message)) {
        Err(source @ decode::Error::DepthLimitExceeded) => {
            Err(Error::program("a value is nested more than 1000 levels deep: use a collection instead")
                .because(source))
        }
        _ => Ok(()),
    }
}

fn read<T: DeserializeOwned>(input: &mut ByteReader<'_>) -> Result<T> {
    let offset = input.position();
    let length = input.read_count(1)?;
    let bytes = input.read_bytes(length)?;
    let mut message = rmp_serde::Deserializer::from_read_ref(bytes);
    let value = T::deserialize(&mut message).map_err(|source| match source {
        // Whole, but of another shape than the type.
        decode::Error::Syntax(_) => {
            Error::incompatible("a stored value does not fit its type: added fields need #[serde(default)]")
                .with("offset", offset)
                .because(source)
        }
        _ => Error::corrupt("a stored value is damaged").with("offset", offset).because(source),
    })?;
    match IgnoredAny::deserialize(&mut message) {
        Err(decode::Error::InvalidMarkerRead(_)) => Ok(value),
        _ => Err(Error::corrupt("bytes follow a stored value").with("offset", offset)),
    }
}
