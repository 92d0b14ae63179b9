//! Serializer snapshots: how a type is described inside a checkpoint or savepoint.

mod class;
mod codec;
mod compatibility;
mod display;

pub(crate) use class::{GLOBAL_WINDOW, TIME_WINDOW, VOID_NAMESPACE, base};
pub use compatibility::Compatibility;

/// Description of a serializer as Flink stores it (`TypeSerializerSnapshot`): a snapshot class, its version, and what
/// that class writes. Prints as the type people know: `Map<String, Long>`.
///
/// Whatever was read is written back byte for byte, also for types that Rust has no counterpart of.
///
/// ```
/// use highwater_types::{ByteReader, Compatibility, DefaultSerializer, SerializerSnapshot};
///
/// let written = Vec::<i64>::default_serializer().snapshot();
/// let mut bytes = Vec::new();
/// written.write_versioned(&mut bytes)?;
///
/// let read = SerializerSnapshot::read_versioned(&mut ByteReader::new(&bytes))?;
/// assert_eq!(read.to_string(), "List<Long>");
/// assert_eq!(read.compatibility(&written), Compatibility::AsIs);
/// let text = Vec::<String>::default_serializer().snapshot();
/// assert_eq!(
///     read.compatibility(&text),
///     Compatibility::Incompatible("list element: Long in the snapshot, String in the program".to_owned())
/// );
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerializerSnapshot {
    class_name: &'static str,
    version: i32,
    content: Content,
    accepts: EarlierNames,
}

/// What a snapshot class wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    /// The bytes as they are; most often none.
    Plain(Vec<u8>),
    /// The name of a type or encoding of the program.
    Named(String),
    /// Nested snapshots.
    Composite {
        /// Version of the outer content.
        outer_version: i32,
        /// The outer content.
        outer: Vec<u8>,
        /// The nested snapshots.
        nested: Vec<SerializerSnapshot>,
    },
    /// A class name and three maps: fields, registered and other subclasses of a POJO; registrations of Kryo.
    Framed { type_name: String, maps: [Vec<Entry>; 3] },
}

/// Entry of a map whose parts carry their length.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    key: Option<Vec<u8>>,
    value: Option<Frame>,
}

/// Bytes with a known length.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Frame {
    /// Exactly one snapshot that could be read.
    Snapshot(Box<SerializerSnapshot>),
    /// Anything else, as it is.
    Raw(Vec<u8>),
}

/// Names under which a program's type was known before. Not stored, and no part of equality.
#[derive(Clone, Debug, Default)]
struct EarlierNames(Vec<String>);

impl PartialEq for EarlierNames {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for EarlierNames {}

impl SerializerSnapshot {
    /// Name of the Java snapshot class, for example
    /// `org.apache.flink.api.common.typeutils.base.LongSerializer$LongSerializerSnapshot`.
    #[must_use]
    pub fn class_name(&self) -> &'static str {
        self.class_name
    }

    /// Version the snapshot class was written with.
    #[must_use]
    pub fn version(&self) -> i32 {
        self.version
    }

    /// Snapshots nested in this one: the element of a list, key and value of a map, the fields of a tuple.
    #[must_use]
    pub fn nested(&self) -> &[Self] {
        match &self.content {
            Content::Composite { nested, .. } => nested,
            Content::Plain(_) | Content::Named(_) | Content::Framed { .. } => &[],
        }
    }

    /// Snapshot of a serializer without configuration, by one of the known classes.
    pub(crate) fn simple(class_name: &'static str) -> Self {
        Self::new(class_name, 3, Content::Plain(Vec::new()))
    }

    /// Snapshot of a serializer of your own, which Flink cannot read. The name says which encoding was used: give
    /// another one when the encoding changes.
    ///
    /// For a type that only wraps one of Flink's, return that serializer's snapshot instead, and Flink reads it too.
    #[must_use]
    pub fn custom(name: &str) -> Self {
        Self::named(class::CUSTOM, name)
    }

    /// Snapshot of values written through serde.
    pub(crate) fn serde(type_name: &str) -> Self {
        Self::named(class::SERDE, type_name)
    }

    /// Names under which snapshots of the same encoding were written earlier; for [`custom`](Self::custom) snapshots.
    #[must_use]
    pub fn accepting<N: Into<String>>(mut self, earlier_names: impl IntoIterator<Item = N>) -> Self {
        self.accepts.0.extend(earlier_names.into_iter().map(Into::into));
        self
    }

    /// `ListSerializerSnapshot`.
    #[must_use]
    pub fn list(element: Self) -> Self {
        Self::composite(class::LIST, 1, Vec::new(), vec![element])
    }

    /// `MapSerializerSnapshot`.
    #[must_use]
    pub fn map(key: Self, value: Self) -> Self {
        Self::composite(class::MAP, 1, Vec::new(), vec![key, value])
    }

    /// `SetSerializerSnapshot`, which Flink has since 2.0.
    #[must_use]
    pub fn set(element: Self) -> Self {
        Self::composite(class::SET, 1, Vec::new(), vec![element])
    }

    /// `NullableSerializerSnapshot`; a null is followed by `padding` zero bytes.
    #[must_use]
    pub fn nullable(value: Self, padding: u32) -> Self {
        Self::composite(class::NULLABLE, 2, padding.to_be_bytes().to_vec(), vec![value])
    }

    /// `TupleSerializerSnapshot` of Flink's `Tuple1` to `Tuple25`.
    #[must_use]
    pub fn tuple(fields: Vec<Self>) -> Self {
        let tuple_class = format!("org.apache.flink.api.java.tuple.Tuple{}", fields.len());
        // A short ASCII name is its own modified UTF-8.
        let outer = [&[0, tuple_class.len() as u8], tuple_class.as_bytes()].concat();
        Self::composite(class::TUPLE, 2, outer, fields)
    }

    /// `TtlSerializerSnapshot`: a value behind the time of its last access.
    #[must_use]
    pub fn ttl(value: Self) -> Self {
        Self::composite(class::TTL, 2, Vec::new(), vec![Self::simple(base!("LongSerializer")), value])
    }

    /// `TimerSerializerSnapshot`.
    #[must_use]
    pub fn timer(key: Self, namespace: Self) -> Self {
        Self::composite(class::TIMER, 2, Vec::new(), vec![key, namespace])
    }

    /// `StreamElementSerializerSnapshot`: a record with or without a timestamp.
    #[must_use]
    pub fn stream_element(record: Self) -> Self {
        Self::composite(class::STREAM_ELEMENT, 2, Vec::new(), vec![record])
    }

    /// `IntervalJoinOperator.BufferEntrySerializerSnapshot`: a record that waits for partners.
    #[must_use]
    pub fn buffer_entry(element: Self) -> Self {
        Self::composite(class::BUFFER_ENTRY, 2, Vec::new(), vec![element])
    }

    /// `CoGroupedStreams.UnionSerializerSnapshot`: a record of one of two streams.
    #[must_use]
    pub fn tagged_union(one: Self, two: Self) -> Self {
        Self::composite(class::TAGGED_UNION, 2, Vec::new(), vec![one, two])
    }

    fn named(class_name: &'static str, name: &str) -> Self {
        Self::new(class_name, 1, Content::Named(name.to_owned()))
    }

    fn composite(class_name: &'static str, outer_version: i32, outer: Vec<u8>, nested: Vec<Self>) -> Self {
        Self::new(class_name, 3, Content::Composite { outer_version, outer, nested })
    }

    fn new(class_name: &'static str, version: i32, content: Content) -> Self {
        Self { class_name, version, content, accepts: EarlierNames::default() }
    }
}
