//! Serializer snapshots: how a type is described inside a checkpoint or savepoint.

/// Description of a serializer as Flink stores it: a snapshot class, its version, and what that class writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerializerSnapshot {
    class_name: String,
    version: i32,
}

impl SerializerSnapshot {
    /// Name of the Java snapshot class, for example
    /// `org.apache.flink.api.common.typeutils.base.LongSerializer$LongSerializerSnapshot`.
    #[must_use]
    pub fn class_name(&self) -> &str {
        &self.class_name
    }

    /// Version the snapshot class was written with.
    #[must_use]
    pub fn version(&self) -> i32 {
        self.version
    }
}

/// Whether state written by an older serializer can be read by a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compatibility {
    /// Read and written as it is.
    AsIs,
    /// Readable, but the bytes have to be written anew.
    AfterMigration,
    /// Not readable; the text says what differs.
    Incompatible(String),
}
