//! The one error type of all floors: a kind that tells the caller what to do, a sentence, and the values that matter.

use std::error::Error as StdError;
use std::fmt::{self, Display};

/// Result of everything in Highwater that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller has to do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting, path or argument is wrong: change it. Nothing was touched.
    Configuration,
    /// The program broke a rule of the API (no current key, a name registered twice, a failing user function): change the program.
    Program,
    /// The snapshot is sound, but it does not fit this program or its parallelism: change one of them.
    Incompatible,
    /// Bytes are damaged, cut short, missing or not what they claim to be: use another snapshot or repair this one.
    Corrupt,
    /// The file system or store refused: check it and try again.
    Storage,
    /// The thing is sound, but Highwater cannot do it: the text names the way around.
    Unsupported,
    /// The work was cancelled because its attempt or checkpoint ended: nothing to do.
    Cancelled,
    /// A rule inside Highwater was broken: please report it.
    Internal,
}

impl Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configuration => "configuration error",
            Self::Program => "program error",
            Self::Incompatible => "incompatible state",
            Self::Corrupt => "corrupt data",
            Self::Storage => "storage error",
            Self::Unsupported => "unsupported",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal error",
        })
    }
}

/// An error with its kind, a sentence, the values that matter and its cause.
///
/// ```
/// use highwater_types::{Error, ErrorKind};
///
/// let error = Error::corrupt("the key group at this offset is not the one expected")
///     .with("file", "chk-7/2f1c")
///     .with("offset", 4315)
///     .with("expected", 3)
///     .with("found", 80);
/// assert_eq!(error.kind(), ErrorKind::Corrupt);
/// assert_eq!(error.value("offset"), Some("4315"));
/// assert_eq!(
///     error.to_string(),
///     "the key group at this offset is not the one expected (file: chk-7/2f1c, offset: 4315, expected: 3, found: 80)"
/// );
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    values: Vec<(&'static str, String)>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

macro_rules! constructors {
    ($($name:ident => $kind:ident),* $(,)?) => {$(
        #[doc = concat!("An error of kind [`ErrorKind::", stringify!($kind), "`].")]
        #[cold]
        #[must_use]
        pub fn $name(message: impl Into<String>) -> Self {
            Self::new(ErrorKind::$kind, message)
        }
    )*};
}

impl Error {
    /// An error of the given kind.
    #[cold]
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), values: Vec::new(), source: None }))
    }

    constructors! {
        configuration => Configuration,
        program => Program,
        incompatible => Incompatible,
        corrupt => Corrupt,
        storage => Storage,
        unsupported => Unsupported,
        cancelled => Cancelled,
        internal => Internal,
    }

    /// Adds a value that matters: which file, operator, state, key group; expected, found. What is there already is not
    /// said twice.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Display) -> Self {
        let added = (name, value.to_string());
        if !self.0.values.contains(&added) {
            self.0.values.push(added);
        }
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What the caller has to do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The sentence, without values and cause.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The first value of this name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.values.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }

    /// All values in the order they were added.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.values.iter().map(|(n, v)| (*n, v.as_str()))
    }
}

impl Display for Error {
    /// One line: the sentence, the values in brackets, then the causes after colons.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for (i, (name, value)) in self.values().enumerate() {
            write!(f, "{}{name}: {value}", if i == 0 { " (" } else { ", " })?;
        }
        if !self.0.values.is_empty() {
            f.write_str(")")?;
        }
        match &self.0.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    /// Several lines: kind and sentence, one line for each value, the causes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind, self.0.message)?;
        for (name, value) in self.values() {
            write!(f, "\n  {name}: {value}")?;
        }
        if let Some(source) = &self.0.source {
            write!(f, "\ncaused by: {source:?}")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}

/// Adds values to the error of a [`Result`] on its way up.
pub trait ResultExt<T> {
    /// As [`Error::with`], computed only when there is an error.
    fn with<V: Display>(self, name: &'static str, value: V) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn with<V: Display>(self, name: &'static str, value: V) -> Result<T> {
        self.map_err(|error| error.with(name, value))
    }
}
