//! RocksDB's errors as ours.

use std::path::Path;

use highwater_types::Error;
use rust_rocksdb::ErrorKind;

/// What RocksDB says about a database that is open.
#[cold]
pub(crate) fn failed(doing: &str, directory: &Path, cause: rust_rocksdb::Error) -> Error {
    let error = match cause.kind() {
        ErrorKind::Corruption => {
            Error::corrupt(format!("RocksDB could not {doing}: its files are damaged; restore from a checkpoint"))
        }
        // Also wrapped, when a write was waiting for files that could not be written.
        ErrorKind::IOError | ErrorKind::Incomplete if is_full(&cause) => {
            Error::storage(format!("RocksDB could not {doing}: the disk is full; free space or use another directory"))
        }
        ErrorKind::IOError
        | ErrorKind::Incomplete
        | ErrorKind::TimedOut
        | ErrorKind::Aborted
        | ErrorKind::Busy
        | ErrorKind::TryAgain
        | ErrorKind::Unknown => {
            Error::storage(format!("RocksDB could not {doing}: check its local directory and the disk below it"))
        }
        ErrorKind::ShutdownInProgress => Error::cancelled(format!("RocksDB could not {doing}: it is being closed")),
        ErrorKind::InvalidArgument if cause.as_ref().contains("too large") => {
            Error::unsupported("a key or value is larger than RocksDB can hold: spread it over several keys")
        }
        _ => Error::internal(format!("RocksDB could not {doing}")),
    };
    error.with("directory", directory.display()).because(cause)
}

/// What RocksDB says when a database is opened or a column is made: what it calls an invalid argument is an option
/// that it does not take.
#[cold]
pub(crate) fn failed_to_open(doing: &str, directory: &Path, cause: rust_rocksdb::Error) -> Error {
    match cause.kind() {
        ErrorKind::InvalidArgument | ErrorKind::NotSupported => {
            Error::configuration(format!("RocksDB could not {doing}: change the option that it names"))
                .with("directory", directory.display())
                .because(cause)
        }
        _ => failed(doing, directory, cause),
    }
}

pub(crate) fn is_full(cause: &rust_rocksdb::Error) -> bool {
    let text: &str = cause.as_ref();
    ["No space left on device", "Disk quota exceeded", "Space Limit"].iter().any(|sign| text.contains(sign))
}

/// Whether the machine does not give what is needed: that says nothing about what is in the files.
pub(crate) fn is_of_the_machine(cause: &rust_rocksdb::Error) -> bool {
    const SIGNS: [&str; 5] = [
        "Too many open files",
        "Permission denied",
        "Read-only file system",
        "Cannot allocate memory",
        "Input/output error",
    ];
    let text: &str = cause.as_ref();
    is_full(cause) || SIGNS.iter().any(|sign| text.contains(sign))
}
