//! Which files there are.

use std::fs::{self, ReadDir};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use highwater_types::{Error, Result};

use super::place::{Place, device};

/// A directory on the way through one input, entry by entry.
pub(super) struct Walk {
    waiting: Vec<Directory>,
    open: Option<(Directory, ReadDir)>,
}

struct Directory {
    path: PathBuf,
    place: Place,
    device: u64,
}

/// What one step has come to.
pub(super) enum Step {
    /// A file, by its canonical path; the same one comes twice if a link leads to it.
    File(PathBuf, Place),
    /// A place whose files come from now on.
    Entered(PathBuf, Place),
    /// A directory that is not listed to its end, so that more files may lie in its place.
    Unlisted(PathBuf, Place, Error),
    /// Nothing that matters.
    Other,
    End,
}

impl Walk {
    /// Through a directory down to the bottom, by its canonical path. Names that begin with `.` or `_` and links to
    /// directories are left out, and so is what is not accepted. What vanishes meanwhile is not there.
    pub(super) fn below(input: PathBuf) -> Result<(Self, Place)> {
        let metadata = fs::metadata(&input).map_err(|error| cannot("look at", &input, error))?;
        let place = Place::of(&input, &metadata);
        let entries = fs::read_dir(&input).map_err(|error| cannot("list", &input, error))?;
        let directory = Directory { path: input, place, device: device(&metadata) };
        Ok((Self { waiting: Vec::new(), open: Some((directory, entries)) }, place))
    }

    pub(super) fn step(&mut self, accept: &dyn Fn(&Path) -> bool) -> Result<Step> {
        let Some((directory, entries)) = &mut self.open else {
            return Ok(self.waiting.pop().map_or(Step::End, |directory| self.enter(directory)));
        };
        let entry = match entries.next() {
            Some(Ok(entry)) => entry,
            Some(Err(error)) => {
                let error = cannot("list", &directory.path, error);
                let step = Step::Unlisted(directory.path.clone(), directory.place, error);
                self.open = None;
                return Ok(step);
            }
            None => {
                self.open = None;
                return Ok(Step::Other);
            }
        };
        let hidden = matches!(entry.file_name().as_encoded_bytes().first(), Some(b'.' | b'_'));
        let path = entry.path();
        if hidden || !accept(&path) {
            return Ok(Step::Other);
        }
        let Some(kind) = found(entry.file_type(), "look at", &path)? else { return Ok(Step::Other) };
        let (place, device) = (directory.place, directory.device);
        if kind.is_dir() {
            self.waiting.push(Directory { path, place, device });
        } else if kind.is_file() {
            return Ok(Step::File(path, place));
        } else if path.is_file() {
            // A link; it may lead to a file that is listed already.
            let target = found(fs::canonicalize(&path), "look at", &path)?;
            return Ok(target.map_or(Step::Other, |path| Step::File(path, place)));
        }
        Ok(Step::Other)
    }

    fn enter(&mut self, mut directory: Directory) -> Step {
        let opened = fs::metadata(&directory.path).and_then(|it| Ok((it, fs::read_dir(&directory.path)?)));
        let (metadata, entries) = match opened {
            Ok(opened) => opened,
            Err(error) if error.kind() == ErrorKind::NotFound => return Step::Other,
            Err(error) => {
                let error = cannot("list", &directory.path, error);
                return Step::Unlisted(directory.path, directory.place, error);
            }
        };
        let mut step = Step::Other;
        if device(&metadata) != directory.device {
            directory.place = Place::of(&directory.path, &metadata);
            directory.device = device(&metadata);
            step = Step::Entered(directory.path.clone(), directory.place);
        }
        self.open = Some((directory, entries));
        step
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
    match fs::canonicalize(input) {
        // What was a directory on the way to it is a file now.
        Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(None),
        result => found(result, "look at", input),
    }
}

/// The name of an input from the root, whatever it leads to.
pub(super) fn absolute(input: &Path) -> Result<PathBuf> {
    std::path::absolute(input).map_err(|error| cannot("name", input, error))
}

/// What the canonical path of an input that does not exist would be, if its directory does.
pub(super) fn canonical_of_missing(absolute: &Path) -> Option<PathBuf> {
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
        let (mut walk, place) = Walk::below(root).unwrap();
        let mut files = Vec::new();
        loop {
            match walk.step(&accept).unwrap() {
                Step::File(path, of) => {
                    assert_eq!(of, place);
                    files.push(path);
                }
                Step::Other => {}
                Step::End => break,
                Step::Entered(path, _) | Step::Unlisted(path, ..) => panic!("{}", path.display()),
            }
        }
        files.sort_unstable();
        assert_eq!(files, expected);
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
