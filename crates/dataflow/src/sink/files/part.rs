//! The part file that a bucket has open.

use std::io::Write;

use highwater_checkpoint::{FileSystem, FileWriter, StoragePath};
use highwater_types::{Error, Result};

use super::name::mark_name;
use super::rolling::PartFileInfo;
use super::unsynced::Unsynced;

/// Bytes gathered before a write.
pub(super) const BUFFER_BYTES: usize = 64 * 1024;

/// A part file that is being written. It is created with its first bytes: there are no empty files.
pub(super) struct Part {
    name: String,
    /// None until the first bytes are written.
    writer: Option<Box<dyn FileWriter>>,
    /// Lines that are not yet in the file.
    buffer: Vec<u8>,
    /// Bytes in the file.
    pub(super) length: u64,
    /// Bytes that are durable or on their way to be.
    queued: u64,
    creation_time: i64,
    last_update_time: i64,
}

/// Where the files of a bucket are.
pub(super) struct Place<'a> {
    pub(super) fs: &'a dyn FileSystem,
    /// The output directory.
    pub(super) directory: &'a StoragePath,
    pub(super) bucket: &'a str,
    pub(super) unsynced: &'a Unsynced,
}

impl Place<'_> {
    fn of_bucket(&self) -> StoragePath {
        self.bucket.split('/').filter(|part| !part.is_empty()).fold(self.directory.clone(), |dir, part| dir.join(part))
    }

    /// Creates a file, and the mark that is there until its commit begins.
    pub(super) fn create_marked(&self, name: &str) -> Result<Box<dyn FileWriter>> {
        let (place, mark) = (self.of_bucket(), self.directory.join(&mark_name(name)));
        // The user may have taken the directory away with what was committed in it.
        self.fs.create_dir_all(&place)?;
        self.fs.create_new(&mark)?.close()?;
        let file = self.fs.create_new(&place.join(name)).inspect_err(|_| drop(self.fs.remove_file(&mark)))?;
        let levels = 1 + self.bucket.split('/').filter(|part| !part.is_empty()).count();
        self.unsynced.add_names_in(std::iter::successors(Some(place), StoragePath::parent).take(levels));
        Ok(file)
    }
}

impl Part {
    pub(super) fn new(name: String, now: i64) -> Self {
        let (writer, buffer) = (None, Vec::new());
        Self { name, writer, buffer, length: 0, queued: 0, creation_time: now, last_update_time: now }
    }

    pub(super) fn info<'a>(&self, bucket_id: &'a str) -> PartFileInfo<'a> {
        PartFileInfo {
            bucket_id,
            size: self.length + self.buffer.len() as u64,
            creation_time: self.creation_time,
            last_update_time: self.last_update_time,
        }
    }

    /// Appends a line. Returns whether it is time to [`flush`](Self::flush).
    pub(super) fn append(&mut self, now: i64, format: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.last_update_time = now;
        format(&mut self.buffer);
        self.buffer.push(b'\n');
        self.buffer.len() >= BUFFER_BYTES
    }

    /// Moves the lines that wait into the file.
    pub(super) fn flush(&mut self, place: &Place<'_>) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(place.create_marked(&self.name)?),
        };
        if let Err(error) = writer.write_all(&self.buffer) {
            // Part of the buffer may be in the file: it must not come twice.
            place.unsynced.fail();
            return Err(Error::storage("cannot write to an output file: check the space that is left")
                .with("file", place.of_bucket().join(&self.name))
                .because(error));
        }
        self.length += self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(2 * BUFFER_BYTES);
        Ok(())
    }

    /// Lets the next sync make durable what is in the file.
    pub(super) fn sync_later(&mut self, unsynced: &Unsynced) -> Result<()> {
        if let Some(writer) = self.writer.as_ref().filter(|_| self.queued < self.length) {
            unsynced.add_open(writer.syncer()?);
            self.queued = self.length;
        }
        Ok(())
    }

    /// Path of the file below the output directory.
    pub(super) fn path(&self, bucket: &str) -> String {
        path_in(bucket, &self.name)
    }

    /// Ends the file, which has yet to be synced and closed. None if nothing was written.
    pub(super) fn into_writer(self) -> Option<Box<dyn FileWriter>> {
        self.writer
    }
}

/// Path of a file of a bucket below the output directory.
pub(super) fn path_in(bucket: &str, name: &str) -> String {
    if bucket.is_empty() { name.to_owned() } else { format!("{bucket}/{name}") }
}
