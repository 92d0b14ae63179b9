//! Which files there are.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use highwater_types::{Error, Result};

/// What is visited: files, and what is left out on the way.
pub(super) struct Walk<'a> {
    /// Which entries of directories are taken.
    pub(super) accept: &'a dyn Fn(&Path) -> bool,
    /// Whether to leave early.
    pub(super) is_cancelled: &'a dyn Fn() -> bool,
}

impl Walk<'_> {
    /// Calls `visit` with the canonical path of every file that a canonical `input` names, in no particular order; the
    /// same one comes twice if a link leads to it.
    ///
    /// A file is taken as it is. A directory is walked to the bottom; of its entries, names that begin with `.` or `_` and
    /// links to directories are left out, and so is what is not accepted. What vanishes meanwhile is not there.
    pub(super) fn visit(&self, input: PathBuf, visit: &mut dyn FnMut(PathBuf)) -> Result<()> {
        if !input.is_dir() {
            visit(input);
            return Ok(());
        }
        let mut directories = vec![input];
        while let Some(directory) = directories.pop() {
            let Some(entries) = found(fs::read_dir(&directory), "list", &directory)? else { continue };
            for entry in entries {
                if (self.is_cancelled)() {
                    return Ok(());
                }
                let entry = entry.map_err(|error| cannot("list", &directory, error))?;
                let hidden = matches!(entry.file_name().as_encoded_bytes().first(), Some(b'.' | b'_'));
                let path = entry.path();
                if hidden || !(self.accept)(&path) {
                    continue;
                }
                let Some(kind) = found(entry.file_type(), "look at", &path)? else { continue };
                if kind.is_dir() {
                    directories.push(path);
                } else if kind.is_file() {
                    visit(path);
                } else if path.is_file() {
                    // A link; it may lead to a file that is listed already.
                    found(fs::canonicalize(&path), "look at", &path)?.into_iter().for_each(&mut *visit);
                }
            }
        }
        Ok(())
    }
}

/// The result, or none where the file is gone.
fn found<T>(result: std::io::Result<T>, action: &str, path: &Path) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot(action, path, error)),
    }
}

/// The canonical path of an input; none if it does not exist.
pub(super) fn canonical(input: &Path) -> Result<Option<PathBuf>> {
    found(fs::canonicalize(input), "look at", input)
}

/// What the canonical path of an input that does not exist would be, if its directory does.
pub(super) fn canonical_of_missing(input: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(input).ok()?;
    Some(fs::canonicalize(absolute.parent()?).ok()?.join(absolute.file_name()?))
}

pub(super) fn missing(input: &Path) -> Error {
    Error::configuration("an input does not exist: correct the path").with("file", input.display())
}

pub(super) fn cannot(action: &str, path: &Path, error: std::io::Error) -> Error {
    Error::storage(format!("cannot {action} an input")).with("file", path.display()).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_walked_without_hidden_names_and_links_to_directories() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir_all(root.join("a/deep")).unwrap();
        fs::create_dir_all(root.join("target")).unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        for name in ["z.md", "a/b.md", "a/deep/c.rs", "a/.part-1", "a/_tmp.md", "target/t.md", ".git/x.md", "a/d.bin"] {
            fs::write(root.join(name), name).unwrap();
        }
        let mut expected = vec![root.join("a/b.md"), root.join("a/deep/c.rs"), root.join("z.md")];
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(root.join("z.md"), root.join("a/link.md")).unwrap();
            std::os::unix::fs::symlink(&root, root.join("a/loop")).unwrap();
            std::os::unix::fs::symlink(root.join("nowhere"), root.join("a/dangling")).unwrap();
            expected.push(root.join("z.md"));
        }
        let accept = |path: &Path| !path.ends_with("target") && path.extension().is_none_or(|e| e != "bin");
        let walk = Walk { accept: &accept, is_cancelled: &|| false };
        let mut files = Vec::new();
        walk.visit(root.clone(), &mut |path| files.push(path)).unwrap();
        files.sort_unstable();
        assert_eq!(files, expected);
        files.clear();
        walk.visit(root.join("a/.part-1"), &mut |path| files.push(path)).unwrap();
        assert_eq!(files, [root.join("a/.part-1")], "what is named is taken");
    }

    #[test]
    fn the_path_of_a_missing_file_is_that_of_its_directory_and_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("input");
        assert_eq!(canonical(&path).unwrap(), None);
        assert_eq!(canonical_of_missing(&path), Some(fs::canonicalize(dir.path()).unwrap().join("input")));
        assert_eq!(canonical_of_missing(&path.join("deeper")), None);
    }
}
