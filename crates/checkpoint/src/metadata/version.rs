//! Versions of the `_metadata` format.

use std::fmt;

use highwater_types::{ByteReader, Error, Result};

/// First four bytes of every `_metadata` file.
pub(super) const MAGIC: u32 = 0x4960_672d;

/// A version of the `_metadata` format. Each holds what the one before it holds, and more.
///
/// ```
/// use highwater_checkpoint::MetadataVersion;
///
/// assert_eq!(MetadataVersion::default(), MetadataVersion::V3);
/// assert_eq!(MetadataVersion::of(&[0x49, 0x60, 0x67, 0x2d, 0, 0, 0, 6])?, MetadataVersion::V6);
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetadataVersion {
    /// Written by Flink 1.3 to 1.10. Read, never written.
    V2,
    /// Written by Flink 1.11 to 1.15 and read by every release since 1.11, which is why it is the default. Adds
    /// coordinator state, channel state and finished subtasks.
    #[default]
    V3,
    /// Written by Flink 1.16 to 1.20. Adds the checkpoint's properties.
    V4,
    /// Written by Flink 2.0. Adds operator names and uids.
    V5,
    /// Written by Flink 2.1 to 2.3. Adds merged channel state.
    V6,
}

impl MetadataVersion {
    /// The version of a `_metadata` file, from its first eight bytes.
    ///
    /// # Errors
    /// [`Corrupt`](highwater_types::ErrorKind::Corrupt) where the bytes are no metadata at all,
    /// [`Unsupported`](highwater_types::ErrorKind::Unsupported) where the version is not known.
    pub fn of(metadata: &[u8]) -> Result<Self> {
        Self::read_header(&mut ByteReader::new(metadata))
    }

    /// The number in the file.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
            Self::V4 => 4,
            Self::V5 => 5,
            Self::V6 => 6,
        }
    }

    /// Reads magic number and version.
    pub(super) fn read_header(reader: &mut ByteReader<'_>) -> Result<Self> {
        let magic = reader.read_u32()?;
        if magic != MAGIC {
            return Err(Error::corrupt(
                "not a checkpoint's metadata: it is a savepoint of a very old Flink (1.0 or earlier), or no savepoint \
                 at all, or the file is damaged",
            )
            .with("expected", format_args!("{MAGIC:08x}"))
            .with("found", format_args!("{magic:08x}")));
        }
        match reader.read_i32()? {
            2 => Ok(Self::V2),
            3 => Ok(Self::V3),
            4 => Ok(Self::V4),
            5 => Ok(Self::V5),
            6 => Ok(Self::V6),
            other => Err(unrecognized(other)),
        }
    }
}

fn unrecognized(version: i32) -> Error {
    let cure = match version {
        1 => "; restore it in Flink 1.3 to 1.10 and take a new savepoint there",
        _ => "; versions 2 to 6 are read (Flink 1.3 to 2.3)",
    };
    Error::unsupported(format!("Unrecognized checkpoint version number: {version}{cure}")).with("found", version)
}

impl fmt::Display for MetadataVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}
