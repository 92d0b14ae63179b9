//! Reads the lines of one split.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use highwater_types::{Error, Result};

use super::listing::cannot;
use super::split::FileSplit;

const BUFFER_BYTES: usize = 128 * 1024;

/// How lines are taken from bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct LineFormat {
    /// Bytes that are not UTF-8 become U+FFFD instead of an error.
    pub(super) lossy: bool,
    /// Longest line in bytes, its end included.
    pub(super) max_length: usize,
}

/// An open split.
#[derive(Debug)]
pub(super) struct LineReader {
    input: BufReader<File>,
    format: LineFormat,
    split: FileSplit,
}

impl LineReader {
    /// Opens the file, which must be the one that was measured, and finds the first line: the one at the offset if it
    /// begins there, otherwise the next one. Whoever reads the split before takes the line that crosses the border.
    pub(super) fn open(split: FileSplit, format: LineFormat) -> Result<Self> {
        let file = split.file.open()?;
        let mut reader = Self { input: BufReader::with_capacity(BUFFER_BYTES, file), format, split };
        let before = reader.split.offset.saturating_sub(1);
        reader.input.seek(SeekFrom::Start(before)).map_err(|error| reader.cannot_read(error))?;
        match reader.split.offset {
            0 => {}
            offset if offset > reader.split.begin => reader.expect_line_end()?,
            _ => reader.skip_line(before)?,
        }
        Ok(reader)
    }

    /// Where this split stands.
    pub(super) fn split(&self) -> &FileSplit {
        &self.split
    }

    /// The next line without its end (`\n` or `\r\n`), or none at the end of the split.
    pub(super) fn next_line(&mut self) -> Result<Option<String>> {
        if self.split.is_finished() {
            return Ok(None);
        }
        let mut line = self.read_line()?;
        let read = line.len() as u64;
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
        }
        // Room that the reading needed must not travel with the record.
        if line.capacity() - line.len() > BUFFER_BYTES {
            line.shrink_to_fit();
        }
        let line = self.decode(line)?;
        self.split.offset += read;
        Ok(Some(line))
    }

    /// Reads one line with its end. The last line of the file may have been measured while it was being written: it is
    /// read to its end, wherever that is now.
    fn read_line(&mut self) -> Result<Vec<u8>> {
        let most = self.format.max_length as u64 + 1;
        let left = self.split.file.length - self.split.offset;
        let mut line = Vec::new();
        self.input.by_ref().take(most).read_until(b'\n', &mut line).map_err(|error| self.cannot_read(error))?;
        if line.len() > self.format.max_length {
            return Err(self.too_long());
        }
        if line.last() != Some(&b'\n') && (line.len() as u64) < left {
            return Err(self.ends_early(line.len() as u64));
        }
        Ok(line)
    }

    fn decode(&self, line: Vec<u8>) -> Result<String> {
        String::from_utf8(line).or_else(|error| {
            if self.format.lossy {
                return Ok(String::from_utf8_lossy(error.as_bytes()).into_owned());
            }
            let position = self.split.offset + error.utf8_error().valid_up_to() as u64;
            Err(Error::corrupt("an input file is not UTF-8: convert it, or allow replacement characters with `lossy`")
                .with("file", &self.split.file.path)
                .with("offset", position))
        })
    }

    /// Passes the rest of the line that crosses into the split, or the whole split if that line crosses it.
    fn skip_line(&mut self, from: u64) -> Result<()> {
        let mut rest = self.input.by_ref().take(self.split.end - from);
        let skipped = rest.skip_until(b'\n').map_err(|error| self.cannot_read(error))? as u64;
        self.split.offset = from + skipped;
        Ok(())
    }

    /// Lines begin behind line ends: anything else tells that the file is another one.
    fn expect_line_end(&mut self) -> Result<()> {
        let mut byte = [0];
        match self.input.read_exact(&mut byte) {
            Ok(()) if byte == *b"\n" => Ok(()),
            Ok(()) => Err(Error::incompatible(
                "an input file was changed, no line begins where the snapshot says: put the old file back, or start the \
                 job fresh",
            )
            .with("file", &self.split.file.path)
            .with("offset", self.split.offset)),
            Err(error) => Err(self.cannot_read(error)),
        }
    }

    fn cannot_read(&self, error: std::io::Error) -> Error {
        cannot("read", Path::new(&*self.split.file.path), error).with("offset", self.split.offset)
    }

    #[cold]
    fn too_long(&self) -> Error {
        Error::corrupt("a line of an input file is too long: raise `max_line_length` if it is meant to be one line")
            .with("file", &self.split.file.path)
            .with("offset", self.split.offset)
            .with("expected", format_args!("at most {} bytes", self.format.max_length))
    }

    #[cold]
    fn ends_early(&self, read: u64) -> Error {
        Error::corrupt("an input file was cut short while it was read: put the whole file back")
            .with("file", &self.split.file.path)
            .with("expected", format_args!("{} bytes", self.split.file.length))
            .with("found", format_args!("{} bytes", self.split.offset + read))
    }
}
