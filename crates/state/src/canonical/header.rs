//! The header of every stream of keyed state.

use highwater_types::{ByteReader, Error, Result, SerializerSnapshot};

use super::StateMeta;

/// Version of the header since Flink 1.8, the only one that Flink 1.17 and later accept.
const VERSION: i32 = 6;

/// What stands before the key groups (`KeyedBackendSerializationProxy`): whether they are compressed, the serializer of
/// the key, and the states. A state's id in the stream is its place in `states`.
///
/// ```
/// use highwater_state::{KeyedHeader, KeyedKind, StateMeta};
/// use highwater_types::{ByteReader, DefaultSerializer, VoidNamespace};
///
/// let long = i64::default_serializer().snapshot();
/// let void = VoidNamespace::default_serializer().snapshot();
/// let header = KeyedHeader {
///     compression: false,
///     key_serializer: String::default_serializer().snapshot(),
///     states: vec![StateMeta::key_value("count", KeyedKind::Value, void, long)],
/// };
/// let mut bytes = Vec::new();
/// header.write(&mut bytes)?;
/// assert_eq!(KeyedHeader::read(&mut ByteReader::new(&bytes))?, header);
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedHeader {
    /// Whether each key group's block is a stream of snappy frames (`execution.checkpointing.snapshot-compression`).
    pub compression: bool,
    /// Serializer of the key.
    pub key_serializer: SerializerSnapshot,
    /// The states by id, at most 32767.
    pub states: Vec<StateMeta>,
}

impl KeyedHeader {
    /// Appends the header, version 6.
    ///
    /// # Errors
    /// `Program` for more than 32767 states; whatever a name or serializer cannot be written for.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.push(u8::from(self.compression));
        self.key_serializer.write_proxy(out)?;
        StateMeta::write_all(self.states.iter(), out)
    }

    /// Reads a header.
    ///
    /// # Errors
    /// `Unsupported` for another version or a serializer Highwater does not know, `Corrupt` for damage.
    pub fn read(input: &mut ByteReader<'_>) -> Result<Self> {
        let version = input.read_i32()?;
        if version != VERSION {
            return Err(foreign_version(version));
        }
        let compression = input.read_bool()?;
        let key_serializer = SerializerSnapshot::read_proxy(input)?;
        let states = StateMeta::read_all(input)?;
        Ok(Self { compression, key_serializer, states })
    }
}

#[cold]
fn foreign_version(version: i32) -> Error {
    if (1..VERSION).contains(&version) {
        Error::unsupported(
            "the keyed state was written before Flink 1.8: restore it in Flink 1.8 to 1.16 and take a new savepoint there",
        )
    } else {
        Error::corrupt("the stream does not begin like keyed state")
    }
    .with("expected", format_args!("version {VERSION}"))
    .with("found", format_args!("version {version}"))
}
