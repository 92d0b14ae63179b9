//! Opening the bytes behind the handles of one snapshot.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use highwater_types::{Error, Result};

use crate::fs::{FileSystem, into_io};
use crate::{CancelToken, StateOpener, StateReader, StoragePath, StreamHandle};

/// Opens the handles of a snapshot: inline bytes, files beside `_metadata`, files by absolute path, and pieces of
/// merged files. The length of a file is checked against its handle before the first byte is read.
///
/// ```
/// use highwater_checkpoint::{SnapshotOpener, StateOpener, StreamHandle};
/// use std::io::Read;
///
/// let handle = StreamHandle::Inline { name: "a".into(), bytes: b"state".as_slice().into() };
/// let mut bytes = Vec::new();
/// SnapshotOpener::in_memory().open(&handle)?.read_to_end(&mut bytes).unwrap();
/// assert_eq!(bytes, b"state");
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SnapshotOpener {
    place: Option<(Arc<dyn FileSystem>, StoragePath)>,
    cancel: CancelToken,
}

impl SnapshotOpener {
    /// For a snapshot whose `_metadata` was found in this directory.
    #[must_use]
    pub fn new(fs: Arc<dyn FileSystem>, directory: StoragePath) -> Self {
        Self { place: Some((fs, directory)), cancel: CancelToken::new() }
    }

    /// For a snapshot that lives in memory alone: inline handles only.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { place: None, cancel: CancelToken::new() }
    }

    /// Lets a token end the reading, also of streams that are open: a restore of large state takes long.
    #[must_use]
    pub fn with_cancel_token(mut self, cancel: CancelToken) -> Self {
        self.cancel = cancel;
        self
    }

    /// Looks whether a stream is there in its full length, without reading it.
    ///
    /// # Errors
    /// [`Corrupt`](highwater_types::ErrorKind::Corrupt) with the file if it is missing or has another size.
    pub fn check(&self, handle: &StreamHandle) -> Result<()> {
        match handle.innermost() {
            handle @ (StreamHandle::File { path, size } | StreamHandle::RelativeFile { path, size }) => {
                self.check_file(handle, path, *size, true).map(drop)
            }
            handle @ StreamHandle::Segment { path, start, size, .. } => {
                self.check_file(handle, path, start.saturating_add(*size), false).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// File system and path of a handle's file.
    fn locate(&self, handle: &StreamHandle, text: &str) -> Result<(&dyn FileSystem, StoragePath)> {
        let Some((fs, directory)) = &self.place else {
            return Err(Error::corrupt("a snapshot that lives in memory names a file").with("file", text));
        };
        Ok((fs.as_ref(), resolve_file(directory, handle, text)?))
    }

    /// Opens a file that must hold at least (`exactly`: just) `expected` bytes.
    fn open_file(
        &self,
        handle: &StreamHandle,
        text: &str,
        expected: u64,
        exactly: bool,
    ) -> Result<Box<dyn StateReader>> {
        let (fs, path) = self.check_file(handle, text, expected, exactly)?;
        Ok(Box::new(Cancellable { file: fs.open(&path)?, cancel: self.cancel.clone() }))
    }

    /// File system and path of a file, which must hold at least (`exactly`: just) `expected` bytes.
    fn check_file(
        &self,
        handle: &StreamHandle,
        text: &str,
        expected: u64,
        exactly: bool,
    ) -> Result<(&dyn FileSystem, StoragePath)> {
        let (fs, path) = self.locate(handle, text)?;
        let Some(stat) = fs.stat(&path)?.filter(|stat| !stat.is_dir) else {
            return Err(Error::corrupt("a state file is missing: use another snapshot").with("file", path));
        };
        if stat.size < expected || (exactly && stat.size != expected) {
            return Err(Error::corrupt("a state file has not the size its handle names: use another snapshot")
                .with("file", path)
                .with("expected", expected)
                .with("found", stat.size));
        }
        Ok((fs, path))
    }
}

/// The file a handle names, if it names one. A relative path must stay inside the snapshot's directory.
pub(crate) fn file_of(directory: &StoragePath, handle: &StreamHandle) -> Result<Option<StoragePath>> {
    match handle.innermost() {
        handle @ (StreamHandle::File { path, .. }
        | StreamHandle::RelativeFile { path, .. }
        | StreamHandle::Segment { path, .. }) => resolve_file(directory, handle, path).map(Some),
        _ => Ok(None),
    }
}

fn resolve_file(directory: &StoragePath, handle: &StreamHandle, text: &str) -> Result<StoragePath> {
    if !matches!(handle, StreamHandle::RelativeFile { .. }) {
        return StoragePath::parse(text).map_err(|error| {
            Error::corrupt("a state handle names a file by an impossible path").with("file", text).because(error)
        });
    }
    let path = directory.join(text);
    match path.is_below(directory) {
        true => Ok(path),
        false => Err(Error::corrupt("a relative state handle leads out of the directory of its snapshot")
            .with("directory", directory)
            .with("file", text)),
    }
}

impl StateOpener for SnapshotOpener {
    fn open(&self, handle: &StreamHandle) -> Result<Box<dyn StateReader>> {
        self.cancel.check_restore()?;
        match handle.innermost() {
            StreamHandle::Inline { bytes, .. } => Ok(Box::new(Cursor::new(Arc::clone(bytes)))),
            handle @ (StreamHandle::File { path, size } | StreamHandle::RelativeFile { path, size }) => {
                self.open_file(handle, path, *size, true)
            }
            handle @ StreamHandle::Segment { path, start, size, .. } => {
                let end = start.checked_add(*size).ok_or_else(|| {
                    Error::corrupt("a segment of a merged file ends beyond all files").with("file", path)
                })?;
                let file = self.open_file(handle, path, end, false)?;
                Ok(Box::new(Window { file, start: *start, size: *size, position: 0, placed: false }))
            }
            StreamHandle::EmptySegment => Ok(Box::new(io::empty())),
            StreamHandle::KeyGroups(_) => Err(Error::internal("a nested handle has no innermost stream")),
        }
    }

    fn fetch_file(&self, handle: &StreamHandle, to: &Path) -> Result<()> {
        if let StreamHandle::File { path: text, size } | StreamHandle::RelativeFile { path: text, size } =
            handle.innermost()
        {
            self.cancel.check_restore()?;
            let (fs, path) = self.check_file(handle.innermost(), text, *size, true)?;
            if fs.link_to(&path, to)? {
                return Ok(());
            }
        }
        self.copy_file(handle, to)
    }

    fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }
}

/// A file whose reading can be ended.
struct Cancellable {
    file: Box<dyn StateReader>,
    cancel: CancelToken,
}

impl Read for Cancellable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.cancel.check_restore().map_err(into_io)?;
        self.file.read(buffer)
    }
}

impl Seek for Cancellable {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// A piece of a file that reads like a file of its own.
struct Window {
    file: Box<dyn StateReader>,
    start: u64,
    size: u64,
    position: u64,
    /// Whether the file stands at `position`.
    placed: bool,
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.placed {
            self.file.seek(SeekFrom::Start(self.start.saturating_add(self.position)))?;
            self.placed = true;
        }
        let left = self.size.saturating_sub(self.position);
        let read = (&mut self.file).take(left).read(buffer)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        self.placed = false;
        Ok(self.position)
    }
}
