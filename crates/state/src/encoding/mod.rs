//! How keys and values become bytes: the same in a byte store and in the canonical stream.

mod composite_key;
mod timer;

use highwater_types::{ByteReader, Error, Result, TypeSerializer};

pub(crate) use composite_key::{KeyLayout, push_key_group};
pub(crate) use timer::{TimerFormat, time_of};

/// What stands between two elements of a list: `,`, as in Flink's `StringAppendTESTOperator`.
pub const LIST_DELIMITER: u8 = b',';

/// Decodes one value that takes all of `bytes`.
#[inline]
pub(crate) fn decode<V: 'static>(bytes: &[u8], serializer: &dyn TypeSerializer<V>) -> Result<V> {
    let mut reader = ByteReader::new(bytes);
    let value = serializer.deserialize(&mut reader)?;
    if reader.is_empty() { Ok(value) } else { Err(left_over(&reader)) }
}

#[cold]
fn left_over(reader: &ByteReader<'_>) -> Error {
    Error::corrupt("bytes are left over behind a value")
        .with("offset", reader.position())
        .with("found", format_args!("{} bytes", reader.remaining()))
}

/// Decodes a map value, which stands behind a null flag and takes all of `bytes`.
pub(crate) fn decode_flagged<V: 'static>(bytes: &[u8], serializer: &dyn TypeSerializer<V>) -> Result<V> {
    let mut reader = ByteReader::new(bytes);
    let value = serializer.deserialize_flagged(&mut reader)?;
    // Some writers let bytes follow the flag of a null.
    let is_null = bytes.first().is_some_and(|flag| *flag != 0);
    if is_null || reader.is_empty() { Ok(value) } else { Err(left_over(&reader)) }
}

/// Decodes the elements one by one. The delimiter is not escaped: only the element's own decoder knows where it ends.
pub(crate) fn for_each_element<T: 'static>(
    bytes: &[u8],
    serializer: &dyn TypeSerializer<T>,
    mut visit: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let mut reader = ByteReader::new(bytes);
    visit(serializer.deserialize(&mut reader)?)?;
    while !reader.is_empty() {
        let offset = reader.position();
        let found = reader.read_u8()?;
        if found != LIST_DELIMITER {
            return Err(Error::corrupt("the elements of a list are not joined by a comma")
                .with("offset", offset)
                .with("expected", format_args!("{LIST_DELIMITER:#04x}"))
                .with("found", format_args!("{found:#04x}")));
        }
        visit(serializer.deserialize(&mut reader)?)?;
    }
    Ok(())
}
