//! Values of options that have names in RocksDB and in Flink's configuration.

use std::fmt::{self, Display};
use std::str::FromStr;

use highwater_types::{Error, Result};
use rust_rocksdb::{DBCompactionStyle, DBCompressionType, LogLevel as RocksLogLevel};
use serde::{Deserialize, Serialize};

/// Names one after another, for errors that say what exists.
pub(crate) fn list(values: impl IntoIterator<Item = impl Display>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
}

macro_rules! named {
    (
        $(#[$meta:meta])*
        $name:ident, $what:literal { $($(#[$variant_meta:meta])* $variant:ident => $text:literal,)* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// All values.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name in Flink's configuration.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $name {
            type Err = Error;

            /// Reads a name in any case; the error lists what exists.
            fn from_str(text: &str) -> Result<Self> {
                Self::ALL.iter().find(|value| value.name().eq_ignore_ascii_case(text)).copied().ok_or_else(|| {
                    Error::configuration(concat!("there is no such ", $what))
                        .with("found", text)
                        .with("expected", list(Self::ALL))
                })
            }
        }
    };
}

named! {
    /// How much RocksDB writes into its log file `LOG` (`state.backend.rocksdb.log.level`).
    LogLevel, "log level of RocksDB" {
        /// Everything.
        Debug => "DEBUG_LEVEL",
        /// Flushes, compactions and settings.
        Info => "INFO_LEVEL",
        /// What may become a problem.
        Warn => "WARN_LEVEL",
        /// Failures.
        Error => "ERROR_LEVEL",
        /// Failures that end the process.
        Fatal => "FATAL_LEVEL",
        /// The settings at the head of the file, nothing else.
        Header => "HEADER_LEVEL",
    }
}

impl LogLevel {
    pub(crate) fn to_rocksdb(self) -> RocksLogLevel {
        match self {
            Self::Debug => RocksLogLevel::Debug,
            Self::Info => RocksLogLevel::Info,
            Self::Warn => RocksLogLevel::Warn,
            Self::Error => RocksLogLevel::Error,
            Self::Fatal => RocksLogLevel::Fatal,
            Self::Header => RocksLogLevel::Header,
        }
    }
}

named! {
    /// How RocksDB merges its files (`state.backend.rocksdb.compaction.style`).
    CompactionStyle, "compaction style of RocksDB" {
        /// Levels of growing size: least space, most writing.
        Level => "LEVEL",
        /// Sorted runs of similar size: least writing, most space.
        Universal => "UNIVERSAL",
        /// The oldest files are deleted when the database is too large, and state with them: refused.
        Fifo => "FIFO",
        /// Files are never merged, so that writes stop when there are many: refused.
        None => "NONE",
    }
}

impl CompactionStyle {
    /// The styles that keep state and let a job be rescaled again and again.
    pub const SUPPORTED: &[Self] = &[Self::Level, Self::Universal];

    pub(crate) fn to_rocksdb(self) -> Result<DBCompactionStyle> {
        let reason = match self {
            Self::Level => return Ok(DBCompactionStyle::Level),
            Self::Universal => return Ok(DBCompactionStyle::Universal),
            Self::Fifo => "deletes the oldest state when there is much",
            Self::None => "never merges files: writes stop when there are many, and a job can be rescaled only once",
        };
        Err(Error::unsupported(format!("this compaction style of RocksDB {reason}"))
            .with("found", self)
            .with("expected", list(Self::SUPPORTED)))
    }
}

named! {
    /// Compression of a level's blocks (`state.backend.rocksdb.compression.per.level`).
    Compression, "compression of RocksDB" {
        /// None.
        None => "NO_COMPRESSION",
        /// Snappy: fast.
        Snappy => "SNAPPY_COMPRESSION",
        /// zlib; not part of Highwater's RocksDB.
        Zlib => "ZLIB_COMPRESSION",
        /// bzip2; not part of Highwater's RocksDB.
        Bzip2 => "BZLIB2_COMPRESSION",
        /// LZ4: fast.
        Lz4 => "LZ4_COMPRESSION",
        /// LZ4 that compresses slowly and reads as fast.
        Lz4Hc => "LZ4HC_COMPRESSION",
        /// Microsoft's Xpress; not part of Highwater's RocksDB.
        Xpress => "XPRESS_COMPRESSION",
        /// Zstandard: small.
        Zstd => "ZSTD_COMPRESSION",
    }
}

impl Compression {
    /// The compressions that Highwater's RocksDB was built with.
    pub const SUPPORTED: &[Self] = &[Self::None, Self::Snappy, Self::Lz4, Self::Lz4Hc, Self::Zstd];

    pub(crate) fn to_rocksdb(self) -> Result<DBCompressionType> {
        match self {
            Self::None => Ok(DBCompressionType::None),
            Self::Snappy => Ok(DBCompressionType::Snappy),
            Self::Lz4 => Ok(DBCompressionType::Lz4),
            Self::Lz4Hc => Ok(DBCompressionType::Lz4hc),
            Self::Zstd => Ok(DBCompressionType::Zstd),
            Self::Zlib | Self::Bzip2 | Self::Xpress => {
                Err(Error::unsupported("Highwater's RocksDB was built without this compression")
                    .with("found", self)
                    .with("expected", list(Self::SUPPORTED)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case_and_errors_list_them() {
        assert_eq!("info_level".parse::<LogLevel>().unwrap(), LogLevel::Info);
        assert_eq!("Universal".parse::<CompactionStyle>().unwrap(), CompactionStyle::Universal);
        assert_eq!("LZ4_COMPRESSION".parse::<Compression>().unwrap(), Compression::Lz4);
        let error = "INFO".parse::<LogLevel>().unwrap_err();
        assert_eq!(
            error.value("expected"),
            Some("DEBUG_LEVEL, INFO_LEVEL, WARN_LEVEL, ERROR_LEVEL, FATAL_LEVEL, HEADER_LEVEL")
        );
    }
}
