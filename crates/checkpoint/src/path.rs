//! Storage paths: a URI-like text with scheme, authority and path, read and printed by the rules of Flink's `Path`.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use highwater_types::{Error, Result};

/// A place in a file system, by the rules of Flink's `org.apache.flink.core.fs.Path`.
///
/// Backslashes become slashes, runs of slashes collapse, `.` and `..` are resolved, one trailing slash is dropped, and
/// percent signs are taken literally. The printed form leaves an empty authority out, so that `file:///x` prints as
/// `file:/x`. Whether a path may hold checkpoints is a question of its own: [`validate_checkpoint_dir`].
///
/// ```
/// use highwater_checkpoint::StoragePath;
///
/// let path: StoragePath = "file:///data//flink/../cp/".parse()?;
/// assert_eq!(path.to_string(), "file:/data/cp");
/// assert_eq!((path.scheme(), path.authority(), path.path()), (Some("file"), None, "/data/cp"));
/// assert_eq!(path.join("chk-7").to_string(), "file:/data/cp/chk-7");
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoragePath {
    scheme: Option<String>,
    authority: Option<String>,
    path: String,
}

impl StoragePath {
    /// Reads a path.
    ///
    /// # Errors
    /// [`Configuration`](highwater_types::ErrorKind::Configuration) when the text is empty or breaks the URI syntax:
    /// an illegal scheme (a leading blank counts), a scheme with nothing behind it, or a relative path after a scheme.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::configuration("cannot create a path from an empty path string"));
        }
        let drive = has_windows_drive(text);
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) if !drive && !scheme.contains('/') => (Some(scheme), rest),
            _ => (None, text),
        };
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) if !rest.is_empty() => match rest.find('/') {
                Some(slash) => rest.split_at(slash),
                None => (rest, ""),
            },
            _ => ("", rest),
        };
        let authority = (!authority.is_empty()).then(|| authority.to_owned());
        if let Some(scheme) = scheme {
            check_absolute_uri(text, scheme, authority.is_some(), path)?;
        }
        let path = if drive { normalize(&format!("/{path}")) } else { normalize(path) };
        Ok(Self { scheme: scheme.map(str::to_owned), authority, path })
    }

    /// The path of a local file or directory, with the scheme `file`; a relative one is taken from the current directory.
    ///
    /// # Errors
    /// [`Configuration`](highwater_types::ErrorKind::Configuration) when the name is not UTF-8 or holds a backslash,
    /// which a storage path cannot express; [`Storage`](highwater_types::ErrorKind::Storage) without a current directory.
    pub fn from_local(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let absolute = std::path::absolute(path)
            .map_err(|e| Error::storage("cannot make a path absolute").with("path", path.display()).because(e))?;
        match absolute.to_str() {
            Some(text) if !text.contains('\\') => {
                Ok(Self { scheme: Some("file".to_owned()), authority: None, path: normalize(text) })
            }
            _ => {
                Err(Error::configuration("a storage path must be UTF-8 and free of backslashes: rename the directory")
                    .with("path", path.display()))
            }
        }
    }

    /// The scheme (`file`, `hdfs`, `s3`, ...), as written.
    #[must_use]
    pub fn scheme(&self) -> Option<&str> {
        self.scheme.as_deref()
    }

    /// What stands between `//` and the path (`nn:8020`), if anything.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// The path component, normalised; empty for `hdfs://nn`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Last component of the path, if it has one.
    #[must_use]
    pub fn file_name(&self) -> Option<&str> {
        self.path.rsplit('/').next().filter(|name| !name.is_empty())
    }

    /// The directory that holds this path, if the path is not a root or a single relative name.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.path.rsplit_once('/').filter(|(_, name)| !name.is_empty())?;
        let parent = if parent.is_empty() { "/" } else { parent };
        Some(Self { path: parent.to_owned(), ..self.clone() })
    }

    /// A path below this one. The child is normalised, so `..` in it leads upwards: check hostile names with
    /// [`is_below`](Self::is_below).
    #[must_use]
    pub fn join(&self, child: &str) -> Self {
        let path = match self.path.as_str() {
            "" if self.authority.is_none() => normalize(child),
            parent => normalize(&format!("{parent}/{child}")),
        };
        Self { path, ..self.clone() }
    }

    /// Whether this path lies below `directory`, at any depth, judged by the text alone.
    #[must_use]
    pub fn is_below(&self, directory: &Self) -> bool {
        let rest = self.path.strip_prefix(directory.path.trim_end_matches('/'));
        self.scheme == directory.scheme
            && self.authority == directory.authority
            && rest.is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
    }

    /// This path with a scheme: one without is taken as a local path, relative to the current directory.
    ///
    /// # Errors
    /// As [`from_local`](Self::from_local).
    pub fn qualified(&self) -> Result<Self> {
        match self.scheme {
            Some(_) => Ok(self.clone()),
            None => Self::from_local(self.to_local_path()?),
        }
    }

    /// The path on the local file system, for the scheme `file` or none.
    ///
    /// # Errors
    /// [`Configuration`](highwater_types::ErrorKind::Configuration) with the three-slash hint when an authority is
    /// given; [`Unsupported`](highwater_types::ErrorKind::Unsupported) for any other scheme.
    pub fn to_local_path(&self) -> Result<PathBuf> {
        match self.scheme() {
            None | Some("file") => {}
            Some(scheme) => return Err(unsupported_scheme(scheme).with("path", self)),
        }
        self.refuse_local_authority()?;
        Ok(PathBuf::from(if self.path.is_empty() { "." } else { &self.path }))
    }

    /// A local path names no host: `file://var/x` means the host `var`, which is hardly ever what was meant.
    fn refuse_local_authority(&self) -> Result<()> {
        match (self.scheme(), self.authority()) {
            (None | Some("file"), Some(authority)) => {
                let path = &self.path;
                Err(Error::configuration(format!(
                    "'{self}' names '{authority}' as a host (authority) and '{path}' as the path, but a local file \
                     system has no host. Did you forget a slash? Write 'file:///{authority}{path}'"
                )))
            }
            _ => Ok(()),
        }
    }
}

/// Checks that a directory may hold checkpoints or savepoints, before anything touches it.
///
/// Flink's rules in Flink's order: a scheme is given; there is a path; the path is not the root. (A text that parses
/// always has a path component, so the second rule shows as a syntax error of [`StoragePath::parse`].) Highwater
/// refuses two holes more: a path above the root (`file:///..`), and a `file:` path with a host, which Flink notices
/// only when the job starts.
///
/// # Errors
/// [`Configuration`](highwater_types::ErrorKind::Configuration), naming the path and the cure.
///
/// ```
/// use highwater_checkpoint::{StoragePath, validate_checkpoint_dir};
///
/// assert!(validate_checkpoint_dir(&StoragePath::parse("file:///data/checkpoints")?).is_ok());
///
/// let error = validate_checkpoint_dir(&StoragePath::parse("file://var/checkpoints")?).unwrap_err();
/// assert!(error.to_string().contains("Did you forget a slash? Write 'file:///var/checkpoints'"));
/// # Ok::<(), highwater_types::Error>(())
/// ```
pub fn validate_checkpoint_dir(path: &StoragePath) -> Result<()> {
    let refuse = |message: &str| Err(Error::configuration(message).with("path", path));
    if path.scheme.is_none() {
        return refuse("the scheme (hdfs://, file://, ...) is null: give the file system scheme explicitly in the URI");
    }
    if path.path.trim_start_matches('/').is_empty() {
        return refuse("cannot use the root directory for checkpoints: name a directory below it");
    }
    if path.path.split('/').any(|segment| segment == "..") {
        return refuse("the path leads above the root directory: write it without '..'");
    }
    path.refuse_local_authority()
}

/// The error for a scheme no file system is known for.
pub(crate) fn unsupported_scheme(scheme: &str) -> Error {
    Error::unsupported(format!("unsupported file system scheme '{scheme}': Highwater reads and writes file:// paths"))
        .with("scheme", scheme)
}

/// What `java.net.URI` demands of a text with a scheme.
fn check_absolute_uri(text: &str, scheme: &str, has_authority: bool, path: &str) -> Result<()> {
    let refuse = |message: &str| Err(Error::configuration(message).with("path", format!("'{text}'")));
    let mut chars = scheme.chars();
    let starts_well = chars.next().is_some_and(|c| c.is_ascii_alphabetic());
    if !starts_well || !chars.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) {
        return refuse("URI syntax error: illegal character in the scheme name");
    }
    if has_authority || path.starts_with(['/', '\\']) {
        return Ok(());
    }
    if path.is_empty() {
        return refuse("URI syntax error: the path after the scheme is missing");
    }
    refuse("URI syntax error: relative path in an absolute URI, begin it with a slash")
}

/// Whether a text begins with a Windows drive (`C:`), which is not a scheme.
fn has_windows_drive(text: &str) -> bool {
    matches!(text.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic())
}

fn normalize(path: &str) -> String {
    let absolute = path.starts_with(['/', '\\']);
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split(['/', '\\']) {
        match (segment, segments.last()) {
            ("" | ".", _) => {}
            ("..", Some(&last)) if last != ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    let joined = segments.join("/");
    match absolute {
        true => format!("/{joined}"),
        // As Java does: a first segment with a colon must not read like a scheme.
        false if segments.first().is_some_and(|first| first.contains(':')) => format!("./{joined}"),
        false => joined,
    }
}

impl Display for StoragePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = &self.scheme {
            write!(f, "{scheme}:")?;
        }
        if let Some(authority) = &self.authority {
            write!(f, "//{authority}")?;
        }
        let bare = self.scheme.is_none() && self.authority.is_none();
        match self.path.strip_prefix('/') {
            Some(drive) if bare && has_windows_drive(drive) => f.write_str(drive),
            _ => f.write_str(&self.path),
        }
    }
}

impl FromStr for StoragePath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<String> for StoragePath {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<StoragePath> for String {
    fn from(path: StoragePath) -> Self {
        path.to_string()
    }
}
