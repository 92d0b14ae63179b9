//! `utf`: Java's modified UTF-8 with a two-byte length (`DataOutput.writeUTF`), used for names and never for values.
//!
//! It encodes UTF-16 code units one by one, so a character outside the Basic Multilingual Plane takes six bytes, and
//! U+0000 takes two.

use crate::{ByteReader, Error, Result};

/// Appends `text` as Java's `writeUTF` does: two bytes of length, then modified UTF-8.
///
/// # Errors
/// `Configuration` if the encoded text is longer than 65535 bytes, which the format cannot hold.
///
/// ```
/// use highwater_types::{ByteReader, write_utf};
///
/// let mut bytes = Vec::new();
/// write_utf("a\0é", &mut bytes)?;
/// assert_eq!(bytes, [0, 5, 0x61, 0xc0, 0x80, 0xc3, 0xa9]);
/// assert_eq!(ByteReader::new(&bytes).read_utf()?, "a\0é");
/// # Ok::<(), highwater_types::Error>(())
/// ```
pub fn write_utf(text: &str, out: &mut Vec<u8>) -> Result<()> {
    let length = text.encode_utf16().map(encoded_length).sum::<usize>();
    let Ok(short) = u16::try_from(length) else {
        return Err(Error::configuration("a name is too long for Flink's format: choose a shorter one")
            .with("expected", "at most 65535 bytes")
            .with("found", format_args!("{length} bytes"))
            .with("name", text.chars().take(40).chain("...".chars()).collect::<String>()));
    };
    out.extend_from_slice(&short.to_be_bytes());
    for unit in text.encode_utf16() {
        let [high, low] = unit.to_be_bytes();
        match encoded_length(unit) {
            1 => out.push(low),
            2 => out.extend_from_slice(&[0xc0 | high << 2 | low >> 6, 0x80 | low & 0x3f]),
            _ => out.extend_from_slice(&[0xe0 | high >> 4, 0x80 | high << 2 & 0x3c | low >> 6, 0x80 | low & 0x3f]),
        }
    }
    Ok(())
}

fn encoded_length(unit: u16) -> usize {
    match unit {
        0x01..=0x7f => 1,
        0 | 0x80..=0x7ff => 2,
        _ => 3,
    }
}

impl ByteReader<'_> {
    /// A name in Java's modified UTF-8, as [`write_utf`](crate::write_utf) writes it.
    ///
    /// # Errors
    /// `Corrupt` with the offset if the bytes end early or are not modified UTF-8 in its shortest form, `Unsupported`
    /// for an unpaired surrogate, which a Rust string cannot hold.
    pub fn read_utf(&mut self) -> Result<String> {
        let offset = self.position();
        let length = usize::from(self.read_u16()?);
        let bytes = self.read_bytes(length)?;
        if bytes.is_ascii() && !bytes.contains(&0) {
            return Ok(bytes.iter().map(|byte| char::from(*byte)).collect());
        }
        let mut encoded = ByteReader::new(bytes);
        let mut units = Vec::with_capacity(length);
        while !encoded.is_empty() {
            units.push(encoded.read_utf_unit().map_err(|_| not_utf(offset))?);
        }
        String::from_utf16(&units).map_err(|source| {
            Error::unsupported("a name holds an unpaired surrogate, which Rust strings cannot")
                .with("offset", offset)
                .because(source)
        })
    }

    fn read_utf_unit(&mut self) -> Result<u16> {
        let first = u16::from(self.read_u8()?);
        let unit = match first {
            0x01..=0x7f => return Ok(first),
            0xc0..=0xdf => (first & 0x1f) << 6 | self.read_utf_tail()?,
            0xe0..=0xef => (first & 0x0f) << 12 | self.read_utf_tail()? << 6 | self.read_utf_tail()?,
            _ => return Err(not_utf(self.position())),
        };
        // Only the shortest form is written, so anything else is damage.
        let expected = if first < 0xe0 { 2 } else { 3 };
        if encoded_length(unit) == expected { Ok(unit) } else { Err(not_utf(self.position())) }
    }

    fn read_utf_tail(&mut self) -> Result<u16> {
        match self.read_u8()? {
            byte @ 0x80..=0xbf => Ok(u16::from(byte & 0x3f)),
            _ => Err(not_utf(self.position())),
        }
    }
}

fn not_utf(offset: usize) -> Error {
    Error::corrupt("a name is not modified UTF-8").with("offset", offset)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ErrorKind;

    #[test]
    fn encodes_as_java_does() {
        let mut bytes = Vec::new();
        write_utf("a\0é€😀", &mut bytes).unwrap();
        let expected = [0, 14, 0x61, 0xc0, 0x80, 0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80];
        assert_eq!(bytes, expected);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let mut bytes = Vec::new();
        assert!(write_utf(&"x".repeat(65535), &mut bytes).is_ok());
        let error = write_utf(&"é".repeat(32768), &mut bytes).unwrap_err();
        assert_eq!((error.kind(), error.value("found")), (ErrorKind::Configuration, Some("65536 bytes")));
    }

    #[test]
    fn refuses_foreign_and_overlong_bytes() {
        for (bytes, kind) in [
            (&[0, 1, 0][..], ErrorKind::Corrupt),
            (&[0, 1, 0xc3], ErrorKind::Corrupt),
            (&[0, 2, 0xc1, 0x81], ErrorKind::Corrupt),
            (&[0, 3, 0xe0, 0x81, 0x81], ErrorKind::Corrupt),
            (&[0, 4, 0xf0, 0x9f, 0x98, 0x80], ErrorKind::Corrupt),
            (&[0, 9, 0x61], ErrorKind::Corrupt),
            (&[0, 3, 0xed, 0xa0, 0xbd], ErrorKind::Unsupported),
        ] {
            assert_eq!(ByteReader::new(bytes).read_utf().unwrap_err().kind(), kind, "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_survives(text in any::<String>()) {
            let mut bytes = Vec::new();
            write_utf(&text, &mut bytes).unwrap();
            let mut reader = ByteReader::new(&bytes);
            prop_assert_eq!(reader.read_utf().unwrap(), text);
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn any_bytes_are_text_or_an_error(content in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut bytes = vec![0, content.len() as u8];
            bytes.extend(content);
            if let Ok(text) = ByteReader::new(&bytes).read_utf() {
                let mut again = Vec::new();
                write_utf(&text, &mut again).unwrap();
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
