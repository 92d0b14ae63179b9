//! Local directories of RocksDB: one syntax for the application, another for the configuration.

use std::path::{Path, PathBuf};

use highwater_types::{Error, Result};

use super::options::LOCAL_DIRECTORIES;
use crate::Configuration;

/// Checks directories that the application gives.
pub(super) fn from_application<I>(paths: I) -> Result<Vec<PathBuf>>
where
    I: IntoIterator,
    I::Item: AsRef<Path>,
{
    paths.into_iter().map(|path| local(path.as_ref())).collect()
}

/// The configured directories, if any.
pub(super) fn from_configuration(configuration: &Configuration) -> Result<Option<Vec<PathBuf>>> {
    let Some((key, text)) = configuration.find(LOCAL_DIRECTORIES.info()) else { return Ok(None) };
    from_application(split(text)).map(Some).map_err(|cause| {
        Error::configuration("Invalid configuration for RocksDB state backend's local storage directories")
            .with("key", key)
            .with("value", text)
            .because(cause)
    })
}

/// A directory that is a path or a `file:` URI.
fn local(path: &Path) -> Result<PathBuf> {
    let uri = path.to_str().and_then(|text| Some((text, text.split_once(':')?)));
    let Some((text, (scheme, rest))) = uri.filter(|(_, (scheme, _))| is_scheme(scheme)) else {
        return absolute(path, path.to_owned());
    };
    if !scheme.eq_ignore_ascii_case("file") {
        return Err(Error::configuration("a local directory has a non-local scheme: give a path or a file: URI")
            .with("path", text)
            .with("scheme", scheme));
    }
    let directory = match rest.strip_prefix("//") {
        Some(rest) => {
            let (host, directory) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            if !host.is_empty() {
                tracing::warn!(
                    "the local directory '{text}' names the host '{host}', which has no meaning: '{directory}' is taken; \
                     if '/{host}{directory}' was meant, write 'file:///{host}{directory}'"
                );
            }
            directory
        }
        None => rest,
    };
    let directory = match directory.trim_end_matches('/') {
        "" if directory.starts_with('/') => "/",
        trimmed => trimmed,
    };
    absolute(path, PathBuf::from(directory))
}

fn absolute(given: &Path, directory: PathBuf) -> Result<PathBuf> {
    if directory.is_absolute() {
        return Ok(directory);
    }
    Err(Error::configuration("Relative paths are not supported for local directories: give an absolute one")
        .with("path", format!("'{}'", given.display())))
}

/// Whether a text can stand before the colon of a URI.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// The elements of a list with commas or colons between them. A colon behind a scheme belongs to a URI, where Flink
/// cuts.
fn split(text: &str) -> Vec<String> {
    let mut elements: Vec<String> = Vec::new();
    for part in text.trim_end_matches([',', ':', ' ']).split(',') {
        let mut scheme: Option<&str> = None;
        for piece in part.split(':').map(str::trim) {
            match scheme.take() {
                Some(scheme) if piece.starts_with('/') || scheme.eq_ignore_ascii_case("file") => {
                    elements.push(format!("{scheme}:{piece}"));
                    continue;
                }
                Some(relative) => elements.push(relative.to_owned()),
                None => {}
            }
            if is_scheme(piece) {
                scheme = Some(piece);
            } else {
                elements.push(piece.to_owned());
            }
        }
        elements.extend(scheme.map(str::to_owned));
    }
    elements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_at_commas_and_colons_but_not_inside_of_uris() {
        for (text, expected) in [
            ("/a", &["/a"] as &[_]),
            ("/a,/b", &["/a", "/b"]),
            ("/a:/b", &["/a", "/b"]),
            ("/a, /b : /c", &["/a", "/b", "/c"]),
            ("/a,/b,", &["/a", "/b"]),
            ("file:///a", &["file:///a"]),
            ("file:///a:/b", &["file:///a", "/b"]),
            ("/a:file:///b,FILE:/c", &["/a", "file:///b", "FILE:/c"]),
            ("file:a", &["file:a"]),
            ("a:b", &["a", "b"]),
            ("hdfs:///a:/b", &["hdfs:///a", "/b"]),
            ("/a,,/b", &["/a", "", "/b"]),
            ("", &[""]),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }
}
