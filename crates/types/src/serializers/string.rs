//! Strings as Flink's `StringValue` writes them: length plus one, then UTF-16 code units, all in LEB128.

use std::sync::Arc;

use crate::java_string::unpaired_surrogate;
use crate::serializer::unexpected_null;
use crate::snapshot::base;
use crate::{
    ByteReader, DefaultSerializer, Error, JavaString, Length, Result, SerializerRef, SerializerSnapshot, TypeSerializer,
};

/// `StringSerializer`, for [`String`], [`JavaString`] and `Option` of both; null is the byte `00`.
///
/// ```
/// use highwater_types::{StringSerializer, TypeSerializer};
///
/// let mut bytes = Vec::new();
/// StringSerializer.serialize(&"né".to_owned(), &mut bytes)?;
/// StringSerializer.serialize(&None::<String>, &mut bytes)?;
/// assert_eq!(bytes, [3, b'n', 0xe9, 0x01, 0]);
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct StringSerializer;

fn string_snapshot() -> SerializerSnapshot {
    SerializerSnapshot::simple(base!("StringSerializer"))
}

impl TypeSerializer<String> for StringSerializer {
    fn length(&self) -> Length {
        Length::Variable
    }

    #[inline]
    fn serialize(&self, value: &String, out: &mut Vec<u8>) -> Result<()> {
        write_str(value, out)
    }

    #[inline]
    fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<String> {
        let offset = input.position();
        read_str(input)?.ok_or_else(|| unexpected_null(offset))
    }

    fn snapshot(&self) -> SerializerSnapshot {
        string_snapshot()
    }
}

impl TypeSerializer<JavaString> for StringSerializer {
    fn length(&self) -> Length {
        Length::Variable
    }

    fn serialize(&self, value: &JavaString, out: &mut Vec<u8>) -> Result<()> {
        write_units(value.as_utf16().len(), value.as_utf16().iter().copied(), out)
    }

    fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<JavaString> {
        let offset = input.position();
        read_java_string(input)?.ok_or_else(|| unexpected_null(offset))
    }

    fn snapshot(&self) -> SerializerSnapshot {
        string_snapshot()
    }
}

macro_rules! nullable {
    ($type:ty, $read:ident) => {
        impl TypeSerializer<Option<$type>> for StringSerializer {
            fn length(&self) -> Length {
                Length::Variable
            }

            fn serialize(&self, value: &Option<$type>, out: &mut Vec<u8>) -> Result<()> {
                match value {
                    Some(text) => self.serialize(text, out),
                    None => {
                        out.push(0);
                        Ok(())
                    }
                }
            }

            fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<Option<$type>> {
                $read(input)
            }

            fn snapshot(&self) -> SerializerSnapshot {
                string_snapshot()
            }

            fn serialize_flagged(&self, value: &Option<$type>, out: &mut Vec<u8>) -> Result<()> {
                out.push(u8::from(value.is_none()));
                value.as_ref().map_or(Ok(()), |text| self.serialize(text, out))
            }

            fn deserialize_flagged(&self, input: &mut ByteReader<'_>) -> Result<Option<$type>> {
                if input.read_bool()? { Ok(None) } else { $read(input) }
            }
        }

        impl DefaultSerializer for $type {
            fn default_serializer() -> SerializerRef<Self> {
                Arc::new(StringSerializer)
            }

            fn nullable_serializer() -> SerializerRef<Option<Self>> {
                Arc::new(StringSerializer)
            }
        }
    };
}

nullable!(String, read_str);
nullable!(JavaString, read_java_string);

#[inline]
fn write_str(text: &str, out: &mut Vec<u8>) -> Result<()> {
    if text.is_ascii() {
        // Code units below 0x80 are single bytes, the same as in ASCII.
        write_length(text.len(), out)?;
        out.extend_from_slice(text.as_bytes());
        Ok(())
    } else {
        write_units(text.encode_utf16().count(), text.encode_utf16(), out)
    }
}

fn write_units(count: usize, units: impl Iterator<Item = u16>, out: &mut Vec<u8>) -> Result<()> {
    write_length(count, out)?;
    out.reserve(count);
    units.for_each(|unit| write_leb128(u32::from(unit), out));
    Ok(())
}

fn write_length(count: usize, out: &mut Vec<u8>) -> Result<()> {
    match u32::try_from(count) {
        Ok(count) if count < i32::MAX as u32 => {
            write_leb128(count + 1, out);
            Ok(())
        }
        _ => Err(Error::program("a string is too long for Flink's format: split it or use bytes").with("found", count)),
    }
}

#[inline]
fn write_leb128(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
fn read_str(input: &mut ByteReader<'_>) -> Result<Option<String>> {
    let offset = input.position();
    let Some(count) = read_length(input)? else { return Ok(None) };
    if let Some(bytes) = input.rest().get(..count)
        && bytes.is_ascii()
        && let Ok(text) = str::from_utf8(bytes)
    {
        let text = text.to_owned();
        input.read_bytes(count)?;
        return Ok(Some(text));
    }
    let mut text = String::with_capacity(count);
    let mut left = count;
    while left > 0 {
        left -= 1;
        let unit = read_unit(input)?;
        let character = match char::from_u32(u32::from(unit)) {
            Some(character) => Some(character),
            None if left == 0 => None,
            None => {
                left -= 1;
                char::decode_utf16([unit, read_unit(input)?]).next().and_then(|pair| pair.ok())
            }
        };
        text.push(character.ok_or_else(|| unpaired_surrogate().with("offset", offset))?);
    }
    Ok(Some(text))
}

fn read_java_string(input: &mut ByteReader<'_>) -> Result<Option<JavaString>> {
    let Some(count) = read_length(input)? else { return Ok(None) };
    (0..count).map(|_| read_unit(input)).collect::<Result<_>>().map(JavaString::from_utf16).map(Some)
}

/// Number of code units; `None` for null. Every unit takes at least a byte, so the number never exceeds the bytes left.
#[inline]
fn read_length(input: &mut ByteReader<'_>) -> Result<Option<usize>> {
    let offset = input.position();
    let Some(count) = read_leb128::<5>(input)?.checked_sub(1) else { return Ok(None) };
    match usize::try_from(count) {
        Ok(count) if count <= input.remaining() => Ok(Some(count)),
        _ => Err(Error::corrupt("a string is longer than the bytes that follow")
            .with("offset", offset)
            .with("found", format_args!("{count} characters"))
            .with("remaining", format_args!("{} bytes", input.remaining()))),
    }
}

#[inline]
fn read_unit(input: &mut ByteReader<'_>) -> Result<u16> {
    let offset = input.position();
    u16::try_from(read_leb128::<3>(input)?).map_err(|_| not_leb128(offset))
}

/// A number of at most `MAX` bytes in its shortest form, the only one Flink writes.
#[inline]
fn read_leb128<const MAX: u32>(input: &mut ByteReader<'_>) -> Result<u64> {
    let offset = input.position();
    let mut value = 0;
    for shift in 0..MAX {
        let byte = input.read_u8()?;
        value |= u64::from(byte & 0x7f) << (7 * shift);
        if byte < 0x80 {
            return if byte == 0 && shift > 0 { Err(not_leb128(offset)) } else { Ok(value) };
        }
    }
    Err(not_leb128(offset))
}

#[cold]
fn not_leb128(offset: usize) -> Error {
    Error::corrupt("not a string as Flink writes it").with("offset", offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn written(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_str(text, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn length_prefix_grows_as_in_flink() {
        for (count, prefix) in [
            (126, &[0x7f][..]),
            (127, &[0x80, 0x01]),
            (200, &[0xc9, 0x01]),
            (16382, &[0xff, 0x7f]),
            (16383, &[0x80, 0x80, 0x01]),
            (16384, &[0x81, 0x80, 0x01]),
        ] {
            let bytes = written(&"x".repeat(count));
            assert!(bytes.starts_with(prefix), "{count}");
            assert_eq!(bytes.len(), prefix.len() + count);
        }
    }

    #[test]
    fn edges_of_code_units() {
        for (text, bytes) in [
            ("\0", &[2, 0][..]),
            ("\u{80}", &[2, 0x80, 1]),
            ("\u{3fff}", &[2, 0xff, 0x7f]),
            ("\u{4000}", &[2, 0x80, 0x80, 1]),
            ("\u{ffff}", &[2, 0xff, 0xff, 3]),
            ("😀", &[3, 0xbd, 0xb0, 3, 0x80, 0xbc, 3]),
        ] {
            assert_eq!(written(text), bytes);
            assert_eq!(read_str(&mut ByteReader::new(bytes)).unwrap().unwrap(), text);
        }
    }

    #[test]
    fn refuses_what_flink_never_writes() {
        for bytes in [
            &[0x80, 0][..],                                 // a length that is not in its shortest form
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], // a length without end
            &[0xff, 0xff, 0xff, 0xff, 0x7f],                // more than there is
            &[2, 0xff, 0xff, 4],                            // a unit above 0xffff
            &[2, 0x80],                                     // cut short
        ] {
            let text = read_str(&mut ByteReader::new(bytes)).unwrap_err();
            let java = read_java_string(&mut ByteReader::new(bytes)).unwrap_err();
            assert_eq!((text.kind(), java.kind()), (ErrorKind::Corrupt, ErrorKind::Corrupt), "{bytes:x?}");
        }
    }

    #[test]
    fn unpaired_surrogates_need_a_java_string() {
        let alone = JavaString::from_utf16(vec![0x61, 0xdc00]);
        let mut bytes = Vec::new();
        StringSerializer.serialize(&alone, &mut bytes).unwrap();
        assert_eq!(read_java_string(&mut ByteReader::new(&bytes)).unwrap(), Some(alone));
        let error = read_str(&mut ByteReader::new(&bytes)).unwrap_err();
        assert!(error.message().ends_with("use JavaString"), "{error}");
    }
}
