//! The snapshot classes Highwater knows: what each of them writes, and how people call the type.

/// A snapshot class of Flink's (or ours) whose content can be walked.
#[derive(Debug)]
pub(super) struct Class {
    /// Binary name of the Java class.
    pub(super) name: &'static str,
    /// The type as people write it: `Long`, `List`.
    pub(super) label: &'static str,
    /// What it writes.
    pub(super) shape: Shape,
}

/// What a snapshot class writes after its version.
#[derive(Debug)]
pub(super) enum Shape {
    /// The same serializer whatever stands in the content, which is nothing or, in old files, a class name.
    Simple,
    /// Plain fields, by version.
    Plain(&'static [(i32, &'static [Field])]),
    /// Nested snapshots behind an outer content (`CompositeTypeSerializerSnapshot`).
    Composite {
        /// What each nested snapshot is for; `None` if there may be any number of them.
        parts: Option<&'static [&'static str]>,
        /// The outer content, by outer version.
        outer: &'static [(i32, &'static [Field])],
    },
    /// A name that says everything (ours, version 1).
    Named,
    /// A class name and three maps whose entries carry their length (POJO and Kryo, version 2).
    Framed,
}

/// One field of a content that has no nested snapshots.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    Bool,
    I32,
    Utf,
    /// `i32` count, then that many `utf`.
    UtfList,
}

/// Version 3 writes nothing, version 2 wrote the class name of the serializer.
pub(super) const SIMPLE: &[(i32, &[Field])] = &[(3, &[]), (2, &[Field::Utf])];

impl Class {
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        CLASSES.iter().find(|class| class.name == name)
    }

    const fn simple(label: &'static str, name: &'static str) -> Self {
        Self { name, label, shape: Shape::Simple }
    }

    const fn plain(label: &'static str, name: &'static str, versions: &'static [(i32, &'static [Field])]) -> Self {
        Self { name, label, shape: Shape::Plain(versions) }
    }

    const fn composite(
        label: &'static str,
        name: &'static str,
        parts: &'static [&'static str],
        outer: &'static [(i32, &'static [Field])],
    ) -> Self {
        Self { name, label, shape: Shape::Composite { parts: Some(parts), outer } }
    }

    const fn of_fields(label: &'static str, name: &'static str, outer: &'static [(i32, &'static [Field])]) -> Self {
        Self { name, label, shape: Shape::Composite { parts: None, outer } }
    }
}

/// The snapshot class of a simple serializer below Flink's `typeutils.base`: `XSerializer$XSerializerSnapshot`.
macro_rules! base {
    ($serializer:literal) => {
        base!("", $serializer)
    };
    ($package:literal, $serializer:literal) => {
        concat!("org.apache.flink.api.common.typeutils.base.", $package, $serializer, "$", $serializer, "Snapshot")
    };
}
pub(crate) use base;

macro_rules! runtime {
    ($class:literal) => {
        concat!("org.apache.flink.api.java.typeutils.runtime.", $class)
    };
}

macro_rules! table {
    ($class:literal) => {
        concat!("org.apache.flink.table.runtime.typeutils.", $class)
    };
}

pub(crate) const VOID_NAMESPACE: &str =
    "org.apache.flink.runtime.state.VoidNamespaceSerializer$VoidNamespaceSerializerSnapshot";
pub(crate) const TIME_WINDOW: &str =
    "org.apache.flink.streaming.api.windowing.windows.TimeWindow$Serializer$TimeWindowSerializerSnapshot";
pub(super) const LIST: &str = "org.apache.flink.api.common.typeutils.base.ListSerializerSnapshot";
pub(super) const MAP: &str = "org.apache.flink.api.common.typeutils.base.MapSerializerSnapshot";
pub(super) const SET: &str = "org.apache.flink.api.common.typeutils.base.SetSerializerSnapshot";
pub(super) const ENUM: &str = base!("EnumSerializer");
pub(super) const NULLABLE: &str = runtime!("NullableSerializer$NullableSerializerSnapshot");
pub(super) const TUPLE: &str = runtime!("TupleSerializerSnapshot");
pub(super) const ROW: &str = runtime!("RowSerializer$RowSerializerSnapshot");
pub(super) const POJO: &str = runtime!("PojoSerializerSnapshot");
pub(super) const TTL: &str = "org.apache.flink.runtime.state.ttl.TtlStateFactory$TtlSerializerSnapshot";
pub(crate) const GLOBAL_WINDOW: &str =
    "org.apache.flink.streaming.api.windowing.windows.GlobalWindow$Serializer$GlobalWindowSerializerSnapshot";
pub(super) const STREAM_ELEMENT: &str =
    "org.apache.flink.streaming.runtime.streamrecord.StreamElementSerializer$StreamElementSerializerSnapshot";
pub(super) const BUFFER_ENTRY: &str =
    "org.apache.flink.streaming.api.operators.co.IntervalJoinOperator$BufferEntrySerializerSnapshot";
pub(super) const TAGGED_UNION: &str =
    "org.apache.flink.streaming.api.datastream.CoGroupedStreams$UnionSerializerSnapshot";
pub(super) const TIMER: &str = "org.apache.flink.streaming.api.operators.TimerSerializerSnapshot";
/// Ours: values written through serde.
pub(super) const SERDE: &str = "io.highwater.SerdeSerializerSnapshot";
/// Ours: values written by a serializer of the program.
pub(super) const CUSTOM: &str = "io.highwater.CustomSerializerSnapshot";

use Field::{Bool, I32, Utf, UtfList};

pub(super) static CLASSES: &[Class] = &[
    Class::simple("Boolean", base!("BooleanSerializer")),
    Class::simple("Byte", base!("ByteSerializer")),
    Class::simple("Short", base!("ShortSerializer")),
    Class::simple("Integer", base!("IntSerializer")),
    Class::simple("Long", base!("LongSerializer")),
    Class::simple("Float", base!("FloatSerializer")),
    Class::simple("Double", base!("DoubleSerializer")),
    Class::simple("Character", base!("CharSerializer")),
    Class::simple("String", base!("StringSerializer")),
    Class::simple("Void", base!("VoidSerializer")),
    Class::simple("VoidNamespace", VOID_NAMESPACE),
    Class::simple("TimeWindow", TIME_WINDOW),
    Class::simple("GlobalWindow", GLOBAL_WINDOW),
    Class::simple("BooleanValue", base!("BooleanValueSerializer")),
    Class::simple("ByteValue", base!("ByteValueSerializer")),
    Class::simple("ShortValue", base!("ShortValueSerializer")),
    Class::simple("IntValue", base!("IntValueSerializer")),
    Class::simple("LongValue", base!("LongValueSerializer")),
    Class::simple("FloatValue", base!("FloatValueSerializer")),
    Class::simple("DoubleValue", base!("DoubleValueSerializer")),
    Class::simple("CharValue", base!("CharValueSerializer")),
    Class::simple("StringValue", base!("StringValueSerializer")),
    Class::simple("NullValue", base!("NullValueSerializer")),
    Class::simple("BigInteger", base!("BigIntSerializer")),
    Class::simple("BigDecimal", base!("BigDecSerializer")),
    Class::simple("Date", base!("DateSerializer")),
    Class::simple("SqlDate", base!("SqlDateSerializer")),
    Class::simple("SqlTime", base!("SqlTimeSerializer")),
    Class::simple("SqlTimestamp", base!("SqlTimestampSerializer")),
    Class::simple("Instant", base!("InstantSerializer")),
    Class::simple("LocalDate", base!("LocalDateSerializer")),
    Class::simple("LocalTime", base!("LocalTimeSerializer")),
    Class::simple("LocalDateTime", base!("LocalDateTimeSerializer")),
    Class::simple("Bytes", base!("array.", "BytePrimitiveArraySerializer")),
    Class::simple("BooleanArray", base!("array.", "BooleanPrimitiveArraySerializer")),
    Class::simple("ShortArray", base!("array.", "ShortPrimitiveArraySerializer")),
    Class::simple("CharArray", base!("array.", "CharPrimitiveArraySerializer")),
    Class::simple("IntArray", base!("array.", "IntPrimitiveArraySerializer")),
    Class::simple("LongArray", base!("array.", "LongPrimitiveArraySerializer")),
    Class::simple("FloatArray", base!("array.", "FloatPrimitiveArraySerializer")),
    Class::simple("DoubleArray", base!("array.", "DoublePrimitiveArraySerializer")),
    Class::simple("StringArray", base!("array.", "StringArraySerializer")),
    Class::simple("Tuple0", runtime!("Tuple0SerializerSnapshot")),
    Class::simple("JavaSerialized", "org.apache.flink.runtime.state.JavaSerializer$JavaSerializerSnapshot"),
    Class::simple("StringData", table!("StringDataSerializer$StringDataSerializerSnapshot")),
    Class::plain("DecimalData", table!("DecimalDataSerializer$DecimalSerializerSnapshot"), &[(3, &[I32, I32])]),
    Class::plain("TimestampData", table!("TimestampDataSerializer$TimestampDataSerializerSnapshot"), &[(1, &[I32])]),
    Class::plain("BinaryRowData", table!("BinaryRowDataSerializer$BinaryRowDataSerializerSnapshot"), &[(3, &[I32])]),
    Class::plain("Enum", ENUM, &[(3, &[Utf, UtfList])]),
    Class::plain("Value", runtime!("ValueSerializer$ValueSerializerSnapshot"), &[(2, &[Utf])]),
    Class::plain(
        "Avro",
        "org.apache.flink.formats.avro.typeutils.AvroSerializerSnapshot",
        &[(2, &[Utf, Utf]), (1, &[Utf])],
    ),
    Class { name: SERDE, label: "Serde", shape: Shape::Named },
    Class { name: CUSTOM, label: "Custom", shape: Shape::Named },
    Class::composite("List", LIST, &["list element"], &[(1, &[])]),
    Class::composite("Map", MAP, &["map key", "map value"], &[(1, &[])]),
    Class::composite("Set", SET, &["set element"], &[(1, &[])]),
    Class::composite(
        "Array",
        "org.apache.flink.api.common.typeutils.base.GenericArraySerializerSnapshot",
        &["array element"],
        &[(1, &[Utf])],
    ),
    Class::composite("Nullable", NULLABLE, &["nullable value"], &[(2, &[I32])]),
    Class::of_fields("Tuple", TUPLE, &[(2, &[Utf])]),
    Class::composite("Either", runtime!("JavaEitherSerializerSnapshot"), &["left", "right"], &[(1, &[])]),
    Class::of_fields("Row", ROW, &[(4, &[Bool]), (3, &[]), (2, &[])]),
    Class::composite("Ttl", TTL, &["time-to-live stamp", "time-to-live value"], &[(2, &[]), (1, &[])]),
    Class::composite("Timer", TIMER, &["timer key", "timer namespace"], &[(2, &[]), (1, &[])]),
    Class::composite("StreamElement", STREAM_ELEMENT, &["record"], &[(2, &[]), (1, &[])]),
    Class::composite("BufferEntry", BUFFER_ENTRY, &["buffered record"], &[(2, &[])]),
    Class::composite("TaggedUnion", TAGGED_UNION, &["first record", "second record"], &[(2, &[])]),
    Class::composite(
        "ScalaOption",
        "org.apache.flink.api.scala.typeutils.ScalaOptionSerializerSnapshot",
        &["option value"],
        &[(2, &[]), (1, &[])],
    ),
    Class { name: POJO, label: "Pojo", shape: Shape::Framed },
    Class {
        name: "org.apache.flink.api.java.typeutils.runtime.kryo.KryoSerializerSnapshot",
        label: "Kryo",
        shape: Shape::Framed,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_and_labels_are_unique() {
        let names: HashSet<_> = CLASSES.iter().map(|class| class.name).collect();
        let labels: HashSet<_> = CLASSES.iter().map(|class| class.label).collect();
        assert_eq!((names.len(), labels.len()), (CLASSES.len(), CLASSES.len()));
    }
}
