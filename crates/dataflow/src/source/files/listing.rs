//! Which files there are, and how one is recognised again.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use highwater_types::{Error, Result};

/// Bytes at the start of a file that tell whether it was replaced.
const HEAD_BYTES: u64 = 4096;

/// A file as it was when the source first saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileIdentity {
    /// Canonical path: one file is one input, however it was named.
    pub(super) path: Arc<str>,
    /// Length in bytes. The source never reads further.
    pub(super) length: u64,
    /// FNV-1a of the first 4096 bytes.
    pub(super) head: i64,
}

impl FileIdentity {
    /// Looks at a file for the first time.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let text = path.to_str().ok_or_else(|| {
            Error::configuration("the path of an input file is not UTF-8: rename the file").with("file", path.display())
        })?;
        let length = regular_file_length(path)?;
        Ok(Self { path: text.into(), length, head: hash_head(path, length)? })
    }

    /// Checks that this is still the file it was.
    pub(super) fn verify(&self) -> Result<()> {
        let path = Path::new(&*self.path);
        let length = match fs::metadata(path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(self.changed("an input file of the snapshot is missing: put it back").because(error));
            }
            Err(error) => return Err(cannot("look at", path, error)),
        };
        if length < self.length {
            return Err(self
                .changed("an input file is shorter than the snapshot knows it: put the whole file back")
                .with("expected", format_args!("at least {} bytes", self.length))
                .with("found", format_args!("{length} bytes")));
        }
        let head = hash_head(path, self.length)?;
        if head != self.head {
            return Err(self
                .changed(
                    "an input file was replaced, its head differs from what the snapshot knows: put the old file back",
                )
                .with("expected", format_args!("head {:016x}", self.head))
                .with("found", format_args!("head {head:016x}")));
        }
        Ok(())
    }

    fn changed(&self, sentence: &str) -> Error {
        Error::incompatible(format!("{sentence}, or start the job fresh")).with("file", &self.path)
    }
}

/// Paths of all files that `inputs` name, canonical, sorted, each once.
///
/// A file is taken as it is. A directory is walked to the bottom; of its entries, names that begin with `.` or `_` and
/// links to directories are left out, and so is what `accept` refuses.
pub(super) fn list(inputs: &[PathBuf], accept: &dyn Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for input in inputs {
        let path = fs::canonicalize(input).map_err(|error| missing(input, error))?;
        if path.is_dir() {
            walk(path, accept, &mut files)?;
        } else {
            files.push(path);
        }
    }
    files.sort_unstable();
    files.dedup();
    Ok(files)
}

fn walk(top: PathBuf, accept: &dyn Fn(&Path) -> bool, files: &mut Vec<PathBuf>) -> Result<()> {
    let mut directories = vec![top];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory).map_err(|error| cannot("list", &directory, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| cannot("list", &directory, error))?;
            let hidden = matches!(entry.file_name().as_encoded_bytes().first(), Some(b'.' | b'_'));
            let path = entry.path();
            if hidden || !accept(&path) {
                continue;
            }
            let kind = entry.file_type().map_err(|error| cannot("look at", &path, error))?;
            if kind.is_dir() {
                directories.push(path);
            } else if path.is_file() {
                // A link to a file may lead to one that is listed already.
                files.push(fs::canonicalize(&path).map_err(|error| cannot("look at", &path, error))?);
            }
        }
    }
    Ok(())
}

fn regular_file_length(path: &Path) -> Result<u64> {
    let metadata = fs::metadata(path).map_err(|error| cannot("look at", path, error))?;
    if metadata.is_file() {
        Ok(metadata.len())
    } else {
        Err(Error::configuration(
            "an input is neither a file nor a directory: it could not be read again after a failure",
        )
        .with("file", path.display()))
    }
}

fn hash_head(path: &Path, length: u64) -> Result<i64> {
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(length.min(HEAD_BYTES)).read_to_end(&mut head))
        .map_err(|error| cannot("read", path, error))?;
    Ok(fnv1a(&head).cast_signed())
}

/// FNV-1a, 64 bits: the same on every machine and in every release, as its values are kept in snapshots.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn missing(path: &Path, error: std::io::Error) -> Error {
    if error.kind() == ErrorKind::NotFound {
        Error::configuration("an input does not exist: correct the path").with("file", path.display()).because(error)
    } else {
        cannot("look at", path, error)
    }
}

pub(super) fn cannot(action: &str, path: &Path, error: std::io::Error) -> Error {
    Error::storage(format!("cannot {action} an input")).with("file", path.display()).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn directories_are_walked_without_hidden_names_and_each_file_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir_all(root.join("a/deep")).unwrap();
        fs::create_dir_all(root.join("target")).unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        for name in ["z.md", "a/b.md", "a/deep/c.rs", "a/.part-1", "a/_tmp.md", "target/t.md", ".git/x.md", "a/d.bin"] {
            fs::write(root.join(name), name).unwrap();
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(root.join("z.md"), root.join("a/link.md")).unwrap();
            std::os::unix::fs::symlink(&root, root.join("a/loop")).unwrap();
        }
        let accept = |path: &Path| !path.ends_with("target") && path.extension().is_none_or(|e| e != "bin");
        let found = list(&[root.join("a"), root.join("a/../z.md"), root.clone()], &accept).unwrap();
        assert_eq!(found, [root.join("a/b.md"), root.join("a/deep/c.rs"), root.join("z.md")]);
    }

    #[test]
    fn a_missing_input_is_named() {
        let error = list(&[PathBuf::from("no/such/file")], &|_| true).unwrap_err();
        assert_eq!(error.kind(), highwater_types::ErrorKind::Configuration);
        assert_eq!(error.value("file"), Some("no/such/file"));
    }

    #[cfg(unix)]
    #[test]
    fn what_cannot_be_read_twice_is_refused() {
        let error = FileIdentity::of(Path::new("/dev/null")).unwrap_err();
        assert_eq!(error.value("file"), Some("/dev/null"));
    }

    #[test]
    fn a_missing_shortened_or_replaced_file_is_named_and_a_grown_one_is_fine() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("input");
        fs::write(&path, "one\ntwo\n").unwrap();
        let identity = FileIdentity::of(&path).unwrap();
        identity.verify().unwrap();

        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        identity.verify().unwrap();
        for (content, word) in [(Some("one\n"), "shorter"), (Some("one\nTWO\nthree\n"), "replaced"), (None, "missing")]
        {
            match content {
                Some(content) => fs::write(&path, content).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let error = identity.verify().unwrap_err();
            assert!(error.message().contains(word), "{error}");
            assert_eq!(error.value("file"), path.to_str());
        }
    }
}
