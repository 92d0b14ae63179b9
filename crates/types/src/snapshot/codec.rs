//! Reading and writing serializer snapshots.

use super::class::{Class, Field, POJO, SIMPLE, Shape};
use super::{Content, EarlierNames, Entry, Frame, SerializerSnapshot};
use crate::{ByteReader, Error, ErrorKind, Result, ResultExt, write_utf};

/// Version of the proxy that wraps snapshots in stream headers; version 1 wrote Java objects.
const PROXY_VERSION: i32 = 2;
/// Composite snapshots up to this version have no outer part of their own.
const LAST_LEGACY_COMPOSITE: i32 = 2;
const OUTER_MAGIC: i32 = 911_108;
const NESTED_MAGIC: i32 = 1_333_245;
const NESTED_VERSION: i32 = 1;
const OPTIONAL_MAP_MAGIC: i64 = 0x0000_04f2_c69a_3d70;
const FRAMED_VERSION: i32 = 2;
const NAMED_VERSION: i32 = 1;
/// Types nested deeper than this are taken for damage.
const MAX_DEPTH: usize = 64;
/// A snapshot takes at least the length of its class name and a version.
const MIN_SNAPSHOT: usize = 6;

impl SerializerSnapshot {
    /// Appends class name, version and content (`TypeSerializerSnapshot.writeVersionedSnapshot`).
    ///
    /// # Errors
    /// `Configuration` if a name the program gave is longer than 65535 bytes.
    pub fn write_versioned(&self, out: &mut Vec<u8>) -> Result<()> {
        write_utf(self.class_name, out)?;
        put_i32(self.version, out);
        match &self.content {
            Content::Plain(bytes) => out.extend_from_slice(bytes),
            Content::Named(name) => write_utf(name, out)?,
            Content::Composite { outer_version, outer, nested } => {
                if self.version > LAST_LEGACY_COMPOSITE {
                    put_i32(OUTER_MAGIC, out);
                    put_i32(*outer_version, out);
                }
                out.extend_from_slice(outer);
                put_i32(NESTED_MAGIC, out);
                put_i32(NESTED_VERSION, out);
                put_i32(nested.len() as i32, out);
                nested.iter().try_for_each(|snapshot| snapshot.write_versioned(out))?;
            }
            Content::Framed { type_name, maps } => {
                write_utf(type_name, out)?;
                maps.iter().try_for_each(|map| write_map(map, out))?;
            }
        }
        Ok(())
    }

    /// Reads what [`write_versioned`](Self::write_versioned) or Flink wrote.
    ///
    /// # Errors
    /// `Corrupt` for damaged bytes; `Unsupported` for a class or version that is not known, since nothing tells where
    /// such a snapshot ends. Both name the offset within the reader.
    pub fn read_versioned(input: &mut ByteReader<'_>) -> Result<Self> {
        read_snapshot(input, 0)
    }

    /// Appends the form used in the headers of keyed and operator state
    /// (`TypeSerializerSnapshotSerializationUtil`): a version, then the snapshot.
    ///
    /// # Errors
    /// As [`write_versioned`](Self::write_versioned).
    pub fn write_proxy(&self, out: &mut Vec<u8>) -> Result<()> {
        put_i32(PROXY_VERSION, out);
        self.write_versioned(out)
    }

    /// Reads the form used in the headers of keyed and operator state.
    ///
    /// # Errors
    /// As [`read_versioned`](Self::read_versioned).
    pub fn read_proxy(input: &mut ByteReader<'_>) -> Result<Self> {
        let offset = input.position();
        match input.read_i32()? {
            PROXY_VERSION => Self::read_versioned(input),
            1 => Err(Error::unsupported(
                "a serializer was written as a Java object, as old releases of Flink did: restore the snapshot in Flink 1.16 \
                 or earlier and take a savepoint there",
            )
            .with("offset", offset)),
            other => Err(wrong_number("not a serializer snapshot", offset, i64::from(PROXY_VERSION), i64::from(other))),
        }
    }
}

fn read_snapshot(input: &mut ByteReader<'_>, depth: usize) -> Result<SerializerSnapshot> {
    let offset = input.position();
    if depth > MAX_DEPTH {
        return Err(Error::corrupt("serializer snapshots are nested too deeply")
            .with("offset", offset)
            .with("expected", format_args!("at most {MAX_DEPTH} levels")));
    }
    let name = input.read_utf()?;
    let version = input.read_i32()?;
    let Some(class) = Class::named(&name) else {
        return Err(Error::unsupported(
            "unknown serializer snapshot class: Highwater cannot tell where its content ends",
        )
        .with("class", name)
        .with("version", version)
        .with("offset", offset));
    };
    let unknown_version = || {
        Error::unsupported("unknown version of a serializer snapshot class")
            .with("class", class.name)
            .with("version", version)
            .with("offset", offset)
    };
    let content = match &class.shape {
        Shape::Simple => Content::Plain(read_fields(input, fields_of(SIMPLE, version).ok_or_else(unknown_version)?)?),
        Shape::Plain(versions) => {
            Content::Plain(read_fields(input, fields_of(versions, version).ok_or_else(unknown_version)?)?)
        }
        Shape::Named if version == NAMED_VERSION => Content::Named(input.read_utf()?),
        Shape::Framed if version == FRAMED_VERSION => read_framed(input, depth, class.name == POJO)?,
        Shape::Named | Shape::Framed => return Err(unknown_version()),
        Shape::Composite { parts, outer } => {
            let (outer_version, outer) = read_outer(input, version, outer)?.ok_or_else(unknown_version)?;
            let nested = read_nested(input, depth, parts.map(<[_]>::len))?;
            Content::Composite { outer_version, outer, nested }
        }
    };
    Ok(SerializerSnapshot { class_name: class.name, version, content, accepts: EarlierNames::default() })
}

fn fields_of(versions: &'static [(i32, &'static [Field])], version: i32) -> Option<&'static [Field]> {
    versions.iter().find(|(v, _)| *v == version).map(|(_, fields)| *fields)
}

/// Checks that the fields are there and returns their bytes.
fn read_fields(input: &mut ByteReader<'_>, fields: &[Field]) -> Result<Vec<u8>> {
    let mut start = input.clone();
    for field in fields {
        match field {
            Field::Bool => drop(read_flag(input)?),
            Field::I32 => drop(input.read_i32()?),
            Field::Utf => drop(input.read_utf()?),
            Field::UtfList => {
                for _ in 0..input.read_count(2)? {
                    input.read_utf()?;
                }
            }
        }
    }
    start.read_bytes(input.position() - start.position()).map(<[u8]>::to_vec)
}

/// Outer version and content of a composite; `None` if that version is not known.
fn read_outer(
    input: &mut ByteReader<'_>,
    version: i32,
    versions: &'static [(i32, &'static [Field])],
) -> Result<Option<(i32, Vec<u8>)>> {
    let outer_version = if version > LAST_LEGACY_COMPOSITE {
        read_number(input, OUTER_MAGIC, "not the outer part of a composite serializer snapshot")?;
        input.read_i32()?
    } else {
        version
    };
    match fields_of(versions, outer_version) {
        Some(fields) if (1..=3).contains(&version) => Ok(Some((outer_version, read_fields(input, fields)?))),
        _ => Ok(None),
    }
}

fn read_nested(input: &mut ByteReader<'_>, depth: usize, expected: Option<usize>) -> Result<Vec<SerializerSnapshot>> {
    read_number(input, NESTED_MAGIC, "not the nested part of a composite serializer snapshot")?;
    read_number(input, NESTED_VERSION, "unknown version of nested serializer snapshots")?;
    let offset = input.position();
    let count = input.read_count(MIN_SNAPSHOT)?;
    if let Some(expected) = expected.filter(|expected| *expected != count) {
        return Err(wrong_number("wrong number of nested serializer snapshots", offset, expected as i64, count as i64));
    }
    (0..count).map(|_| read_snapshot(input, depth + 1)).collect()
}

fn read_framed(input: &mut ByteReader<'_>, depth: usize, is_pojo: bool) -> Result<Content> {
    let type_name = input.read_utf()?;
    let mut map = || read_map(input, depth, is_pojo);
    let maps = [map()?, map()?, map()?];
    Ok(Content::Framed { type_name, maps })
}

/// `OptionalMap`: name, then key and value, each behind a presence flag and its length.
fn read_map(input: &mut ByteReader<'_>, depth: usize, is_pojo: bool) -> Result<Vec<Entry>> {
    let offset = input.position();
    let magic = input.read_i64()?;
    if magic != OPTIONAL_MAP_MAGIC {
        return Err(wrong_number("not a map of a serializer snapshot", offset, OPTIONAL_MAP_MAGIC, magic));
    }
    let mut entries = Vec::new();
    for _ in 0..input.read_count(4)? {
        let name = input.read_utf()?;
        let key = read_frame(input)?.map(<[u8]>::to_vec);
        let offset = input.position();
        let value = match read_frame(input)? {
            Some(bytes) if is_pojo => Some(open_frame(bytes, depth).with("frame", offset)?),
            other => other.map(|bytes| Frame::Raw(bytes.to_vec())),
        };
        entries.push(Entry { name, key, value });
    }
    Ok(entries)
}

fn read_frame<'a>(input: &mut ByteReader<'a>) -> Result<Option<&'a [u8]>> {
    if !read_flag(input)? {
        return Ok(None);
    }
    let length = input.read_count(1)?;
    input.read_bytes(length).map(Some)
}

/// The snapshot of a POJO's field or subclass. The length is known, so one that Highwater does not know is carried along
/// as it is.
fn open_frame(bytes: &[u8], depth: usize) -> Result<Frame> {
    let mut frame = ByteReader::new(bytes);
    match read_snapshot(&mut frame, depth + 1) {
        Ok(snapshot) if frame.is_empty() => Ok(Frame::Snapshot(Box::new(snapshot))),
        Ok(_) => Err(Error::corrupt("a serializer snapshot is shorter than the frame around it")
            .with("expected", format_args!("{} bytes", bytes.len()))
            .with("found", format_args!("{} bytes", frame.position()))),
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(Frame::Raw(bytes.to_vec())),
        Err(error) => Err(error),
    }
}

fn write_map(entries: &[Entry], out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(&OPTIONAL_MAP_MAGIC.to_be_bytes());
    put_i32(entries.len() as i32, out);
    for entry in entries {
        write_utf(&entry.name, out)?;
        out.push(u8::from(entry.key.is_some()));
        if let Some(key) = &entry.key {
            put_i32(key.len() as i32, out);
            out.extend_from_slice(key);
        }
        out.push(u8::from(entry.value.is_some()));
        match &entry.value {
            Some(Frame::Raw(bytes)) => {
                put_i32(bytes.len() as i32, out);
                out.extend_from_slice(bytes);
            }
            Some(Frame::Snapshot(snapshot)) => {
                let mut bytes = Vec::new();
                snapshot.write_versioned(&mut bytes)?;
                put_i32(bytes.len() as i32, out);
                out.extend_from_slice(&bytes);
            }
            None => {}
        }
    }
    Ok(())
}

fn put_i32(value: i32, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// A boolean of a snapshot; only what Flink writes is taken, so that everything read can be written back as it was.
fn read_flag(input: &mut ByteReader<'_>) -> Result<bool> {
    let offset = input.position();
    match input.read_u8()? {
        flag @ (0 | 1) => Ok(flag == 1),
        other => Err(wrong_number("not a flag of a serializer snapshot", offset, 1, i64::from(other))),
    }
}

fn read_number(input: &mut ByteReader<'_>, expected: i32, message: &str) -> Result<()> {
    let offset = input.position();
    match input.read_i32()? {
        number if number == expected => Ok(()),
        found => Err(wrong_number(message, offset, i64::from(expected), i64::from(found))),
    }
}

#[cold]
fn wrong_number(message: &str, offset: usize, expected: i64, found: i64) -> Error {
    Error::corrupt(message).with("offset", offset).with("expected", expected).with("found", found)
}

#[cfg(test)]
mod tests {
    use super::super::class::CLASSES;
    use super::*;
    use crate::DefaultSerializer;

    fn written(snapshot: &SerializerSnapshot) -> Vec<u8> {
        let mut bytes = Vec::new();
        snapshot.write_versioned(&mut bytes).unwrap();
        bytes
    }

    /// Content with these fields, by hand.
    fn content(fields: &[Field]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for field in fields {
            match field {
                Field::Bool => bytes.push(1),
                Field::I32 => put_i32(7, &mut bytes),
                Field::Utf => write_utf("a.B", &mut bytes).unwrap(),
                Field::UtfList => {
                    put_i32(2, &mut bytes);
                    write_utf("X", &mut bytes).unwrap();
                    write_utf("Y", &mut bytes).unwrap();
                }
            }
        }
        bytes
    }

    fn nested(count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_i32(NESTED_MAGIC, &mut bytes);
        put_i32(NESTED_VERSION, &mut bytes);
        put_i32(count as i32, &mut bytes);
        (0..count).for_each(|_| bytes.extend(written(&i64::default_serializer().snapshot())));
        bytes
    }

    fn framed() -> Vec<u8> {
        let mut bytes = content(&[Field::Utf]);
        for _ in 0..3 {
            bytes.extend(OPTIONAL_MAP_MAGIC.to_be_bytes());
            put_i32(1, &mut bytes);
            write_utf("entry", &mut bytes).unwrap();
            bytes.extend([1, 0, 0, 0, 0, 1]);
            let frame = written(&SerializerSnapshot::custom("own"));
            put_i32(frame.len() as i32, &mut bytes);
            bytes.extend(frame);
        }
        bytes
    }

    /// Every class in every version, as Flink lays it out, is read to its end and written back as it was.
    #[test]
    fn every_known_class_and_version() {
        let mut checked = 0;
        for class in CLASSES {
            let samples: Vec<(i32, Vec<u8>)> = match &class.shape {
                Shape::Simple => SIMPLE.iter().map(|(version, fields)| (*version, content(fields))).collect(),
                Shape::Plain(versions) => {
                    versions.iter().map(|(version, fields)| (*version, content(fields))).collect()
                }
                Shape::Named => vec![(1, content(&[Field::Utf]))],
                Shape::Framed => vec![(2, framed())],
                Shape::Composite { parts, outer } => {
                    let nested = nested(parts.map_or(3, <[_]>::len));
                    let with_outer = |(outer_version, fields): &(i32, &[Field])| {
                        let mut bytes = Vec::new();
                        put_i32(OUTER_MAGIC, &mut bytes);
                        put_i32(*outer_version, &mut bytes);
                        (3, [bytes, content(fields), nested.clone()].concat())
                    };
                    let legacy = outer.iter().filter(|(version, _)| *version <= 2);
                    let legacy = legacy.map(|(version, fields)| (*version, [content(fields), nested.clone()].concat()));
                    outer.iter().map(with_outer).chain(legacy).collect()
                }
            };
            for (version, content) in samples {
                let mut bytes = Vec::new();
                write_utf(class.name, &mut bytes).unwrap();
                put_i32(version, &mut bytes);
                bytes.extend(content);
                let mut input = ByteReader::new(&bytes);
                let snapshot = SerializerSnapshot::read_versioned(&mut input).unwrap();
                assert!(input.is_empty(), "{}", class.name);
                assert_eq!((snapshot.class_name(), snapshot.version()), (class.name, version));
                assert_eq!(written(&snapshot), bytes, "{}", class.name);
                assert!(snapshot.to_string().starts_with(class.label));
                checked += 1;
            }
        }
        assert!(checked > 120, "{checked}");
    }

    #[test]
    fn a_composite_needs_its_parts() {
        let mut bytes = written(&SerializerSnapshot::map(
            i64::default_serializer().snapshot(),
            i64::default_serializer().snapshot(),
        ));
        let count = bytes.windows(4).position(|window| window == [0, 0, 0, 2]).unwrap();
        bytes[count + 3] = 1;
        let error = SerializerSnapshot::read_versioned(&mut ByteReader::new(&bytes)).unwrap_err();
        assert_eq!((error.kind(), error.value("found")), (ErrorKind::Corrupt, Some("1")));
    }

    /// A POJO with one field, whose snapshot is this.
    fn pojo(frame: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_utf(POJO, &mut bytes).unwrap();
        put_i32(2, &mut bytes);
        write_utf("com.example.User", &mut bytes).unwrap();
        for fields in [1, 0, 0] {
            bytes.extend(OPTIONAL_MAP_MAGIC.to_be_bytes());
            put_i32(fields, &mut bytes);
            if fields == 1 {
                write_utf("name", &mut bytes).unwrap();
                bytes.extend([0, 1]);
                put_i32(frame.len() as i32, &mut bytes);
                bytes.extend(frame);
            }
        }
        bytes
    }

    /// The frame around a POJO's field tells its length, so an unknown class inside does no harm.
    #[test]
    fn unknown_classes_inside_a_pojo_are_carried_along() {
        let mut frame = Vec::new();
        write_utf("com.example.MySnapshot", &mut frame).unwrap();
        frame.extend([0, 0, 0, 1, 0xca, 0xfe]);
        let bytes = pojo(&frame);
        let snapshot = SerializerSnapshot::read_versioned(&mut ByteReader::new(&bytes)).unwrap();
        assert_eq!(snapshot.to_string(), "Pojo<com.example.User>");
        assert_eq!(written(&snapshot), bytes);
    }

    #[test]
    fn a_frame_inside_a_pojo_holds_one_snapshot_and_no_more() {
        let mut frame = written(&i64::default_serializer().snapshot());
        assert!(SerializerSnapshot::read_versioned(&mut ByteReader::new(&pojo(&frame))).is_ok());
        frame.push(0);
        let error = SerializerSnapshot::read_versioned(&mut ByteReader::new(&pojo(&frame))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.value("frame").is_some(), "{error}");
    }

    #[test]
    fn names_that_are_too_long_are_refused() {
        let error = SerializerSnapshot::custom(&"x".repeat(70_000)).write_versioned(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
    }
}
