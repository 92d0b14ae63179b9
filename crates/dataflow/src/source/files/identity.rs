//! How a file is recognised again.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use highwater_types::{Error, Result};

use super::listing::cannot;

/// Bytes at the start of a file, and before its measured end, that tell whether it was replaced.
const SAMPLE_BYTES: u64 = 4096;

/// A file as it was when the enumerator measured it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileIdentity {
    /// Canonical path: one file is one input, however it was named.
    pub(super) path: Arc<str>,
    /// Length in bytes. Only lines that begin before it are read.
    pub(super) length: u64,
    /// Fingerprint of the first and the last 4096 bytes.
    pub(super) sample: i64,
    /// Number of the file in its file system; 0 where there is none.
    pub(super) inode: u64,
    /// When it was last written to, in nanoseconds since 1970.
    pub(super) modified: i64,
}

impl FileIdentity {
    /// Looks at a file for the first time. None if it is gone again.
    pub(super) fn of(path: &Path) -> Result<Option<Self>> {
        let text = path.to_str().ok_or_else(|| {
            Error::configuration("the path of an input file is not UTF-8: rename the file").with("file", path.display())
        })?;
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot("open", path, error)),
        };
        let metadata = regular(&file, path)?;
        let length = metadata.len();
        Ok(Some(Self {
            path: text.into(),
            length,
            sample: sample(&mut file, length).map_err(|error| cannot("read", path, error))?,
            inode: inode(&metadata),
            modified: modified(&metadata),
        }))
    }

    /// Opens the file, if it is still the one that was measured.
    ///
    /// What is looked at is the open file, so that nobody can replace it in between. It must have the same bytes at its
    /// head and before its measured end. A file that has become longer was appended to; one of the same length must not
    /// have been written to since (`cp -p` and its like turn the time back when they are done, which is fine). And it must
    /// be the same file, or a copy that has kept its time of modification.
    pub(super) fn open(&self) -> Result<File> {
        let path = Path::new(&*self.path);
        let mut file = File::open(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                self.changed("an input file that is not read to its end is missing: put it back").because(error)
            }
            _ => cannot("open", path, error),
        })?;
        let metadata = regular(&file, path)?;
        let length = metadata.len();
        if length < self.length {
            return Err(self
                .changed("an input file is shorter than it was when it was first seen: put the whole file back")
                .with("expected", format_args!("at least {} bytes", self.length))
                .with("found", format_args!("{length} bytes")));
        }
        let found = sample(&mut file, self.length).map_err(|error| cannot("read", path, error))?;
        if found != self.sample {
            return Err(self
                .changed("an input file was replaced, its first or last bytes differ: put the old file back")
                .with("expected", format_args!("fingerprint {:016x}", self.sample))
                .with("found", format_args!("fingerprint {found:016x}")));
        }
        self.check_attributes(&metadata, length)?;
        Ok(file)
    }

    fn check_attributes(&self, metadata: &Metadata, length: u64) -> Result<()> {
        let (inode, modified) = (inode(metadata), modified(metadata));
        if inode != self.inode && modified != self.modified {
            return Err(self
                .changed("an input file was replaced by another one: put the old file back")
                .with("expected", format_args!("inode {}, modified {}", self.inode, self.modified))
                .with("found", format_args!("inode {inode}, modified {modified}")));
        }
        if length == self.length && modified > self.modified {
            return Err(self
                .changed(
                    "an input file was written to since it was first seen, and has not become longer: put the old file \
                     and its time of modification back",
                )
                .with("expected", format_args!("modified {}", self.modified))
                .with("found", format_args!("modified {modified}")));
        }
        Ok(())
    }

    fn changed(&self, sentence: &str) -> Error {
        Error::incompatible(format!("{sentence}, or start the job fresh")).with("file", &self.path)
    }
}

fn regular(file: &File, path: &Path) -> Result<Metadata> {
    let metadata = file.metadata().map_err(|error| cannot("look at", path, error))?;
    if metadata.is_file() {
        Ok(metadata)
    } else {
        Err(Error::configuration(
            "an input is neither a file nor a directory: it could not be read again after a failure",
        )
        .with("file", path.display()))
    }
}

/// The number of a file in its file system; 0 where there is none.
pub(super) fn inode(metadata: &Metadata) -> u64 {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::ino(metadata);
    #[cfg(not(unix))]
    return 0;
}

/// The time of the last change in nanoseconds; 0 where the file system does not know it.
pub(super) fn modified(metadata: &Metadata) -> i64 {
    let since_epoch = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since_epoch.map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}

/// How long ago a file was last written to; none if that is in the future.
pub(super) fn age(modified: i64, now: SystemTime) -> Option<std::time::Duration> {
    let modified = UNIX_EPOCH + std::time::Duration::from_nanos(u64::try_from(modified).unwrap_or(0));
    now.duration_since(modified).ok()
}

fn sample(file: &mut File, length: u64) -> std::io::Result<i64> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(length.min(SAMPLE_BYTES)).read_to_end(&mut bytes)?;
    file.seek(SeekFrom::Start(length.saturating_sub(SAMPLE_BYTES)))?;
    file.take(length.min(SAMPLE_BYTES)).read_to_end(&mut bytes)?;
    Ok((fingerprint(&bytes) as u64).cast_signed())
}

/// FNV-1a, 128 bits: the same on every machine and in every release, as its values are kept in snapshots.
pub(super) fn fingerprint(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    fn identity(path: &Path) -> FileIdentity {
        FileIdentity::of(path).unwrap().unwrap()
    }

    fn set_modified(path: &Path, time: SystemTime) {
        fs::OpenOptions::new().append(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn the_fingerprint_is_fnv_1a() {
        assert_eq!(fingerprint(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fingerprint(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        assert_eq!(fingerprint(b"foobar"), 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
    }

    #[cfg(unix)]
    #[test]
    fn what_cannot_be_read_twice_is_refused() {
        let error = FileIdentity::of(Path::new("/dev/null")).unwrap_err();
        assert_eq!(error.value("file"), Some("/dev/null"));
    }

    /// Whether the file still opens after a change, or what the error says.
    fn after(change: impl FnOnce(&Path, SystemTime)) -> Result<File> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("input");
        fs::write(&path, "one\n".repeat(5_000)).unwrap();
        let before = SystemTime::now() - Duration::from_secs(60);
        set_modified(&path, before);
        let identity = identity(&path);
        identity.open().unwrap();
        change(&path, before);
        identity.open()
    }

    fn assert_refused(word: &str, change: impl FnOnce(&Path, SystemTime)) {
        let error = after(change).unwrap_err();
        assert_eq!(error.kind(), highwater_types::ErrorKind::Incompatible);
        assert!(error.message().contains(word), "{error}");
        assert!(error.value("file").is_some());
    }

    /// `mv` of another file over this one.
    fn replace(path: &Path, content: &str, modified: SystemTime) {
        let new = path.with_extension("new");
        fs::write(&new, content).unwrap();
        set_modified(&new, modified);
        fs::rename(&new, path).unwrap();
    }

    #[test]
    fn a_file_that_was_appended_to_and_a_faithful_copy_are_fine() {
        after(|path, _| fs::write(path, "one\n".repeat(6_000)).unwrap()).unwrap();
        after(|path, before| replace(path, &"one\n".repeat(5_000), before)).unwrap();
        after(|path, before| set_modified(path, before - Duration::from_secs(60))).unwrap();
    }

    #[test]
    fn a_missing_shortened_or_replaced_file_is_named() {
        assert_refused("missing", |path, _| fs::remove_file(path).unwrap());
        assert_refused("shorter", |path, _| fs::write(path, "one\n").unwrap());
        assert_refused("first or last bytes", |path, _| fs::write(path, "two\n".repeat(5_000)).unwrap());
        let other_end = "one\n".repeat(4_999) + "end\n";
        assert_refused("first or last bytes", |path, before| replace(path, &other_end, before));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_replaced_or_rewritten_between_its_ends_is_named() {
        let other_middle = "one\n".repeat(2_000) + "two\n" + &"one\n".repeat(2_999);
        assert_refused("replaced by another", |path, _| replace(path, &other_middle, SystemTime::now()));
        assert_refused("written to", |path, _| fs::write(path, &other_middle).unwrap());
    }
}
