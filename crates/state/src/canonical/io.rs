//! Errors of streams, and their names in errors.

use std::io;

use highwater_checkpoint::StreamHandle;
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

/// A failure to write state. An error of ours that came through `std::io` stays what it was (cancelled, too large).
#[cold]
pub(crate) fn write_error(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => Error::storage("the state could not be written").because(error),
    }
}

/// A failure to read state: bytes that end early or do not decode are damage, anything else is the store's refusal.
#[cold]
pub(crate) fn read_error(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::corrupt("the state ends too early").because(error),
            io::ErrorKind::InvalidData | io::ErrorKind::Other => {
                Error::corrupt("the compressed state does not decode").because(error)
            }
            _ => Error::storage("the state could not be read").because(error),
        },
    }
}
