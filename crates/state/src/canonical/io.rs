//! Errors of streams, and their names in errors.

use std::io;

use highwater_checkpoint::{StreamHandle, error_from_io};
use highwater_types::Error;

/// What to call a stream in an error: its path, or the name of an inline one.
pub(crate) fn stream_name(stream: &StreamHandle) -> String {
    match stream.innermost() {
        StreamHandle::Inline { name, .. } => format!("{name} (inline in _metadata)"),
        StreamHandle::File { path, .. } | StreamHandle::RelativeFile { path, .. } => path.clone(),
        StreamHandle::Segment { path, start, size, .. } => {
            format!("{path} (bytes {start} to {})", start.saturating_add(*size))
        }
        StreamHandle::EmptySegment | StreamHandle::KeyGroups(_) => "an empty stream".to_owned(),
    }
}

/// A failure to read state: bytes that end early are damage, anything else is the store's refusal.
#[cold]
pub(crate) fn read_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::corrupt("the state ends too early").because(error),
        _ => error_from_io(error),
    }
}

/// Compressed bytes that do not decode.
#[cold]
pub(crate) fn decode_error(error: io::Error) -> Error {
    Error::corrupt("the compressed state does not decode").because(error)
}
