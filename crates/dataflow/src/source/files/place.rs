//! Where listed files lie: what shows that a directory is the one it was, and no empty mount point in its place.

use std::fs::{self, Metadata};
use std::path::Path;

use super::identity::{fingerprint, inode};

/// An input directory, or a file system that is mounted below one: its path, and what lies there. A directory that is
/// mounted, unmounted or replaced is another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    /// Fingerprint of the path.
    pub(super) path: u64,
    /// Fingerprint of device and inode.
    pub(super) directory: u64,
}

impl Place {
    /// Of files that the caller names. It is never listed.
    pub(super) const NAMED: Self = Self { path: 0, directory: 0 };

    pub(super) fn of(path: &Path, metadata: &Metadata) -> Self {
        let mut identity = [0; 16];
        let (device_bytes, inode_bytes) = identity.split_at_mut(8);
        device_bytes.copy_from_slice(&device(metadata).to_be_bytes());
        inode_bytes.copy_from_slice(&inode(metadata).to_be_bytes());
        Self { path: fingerprint(path.as_os_str().as_encoded_bytes()) as u64, directory: fingerprint(&identity) as u64 }
    }

    /// Whether it is still what lies at this path.
    pub(super) fn is_at(self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|metadata| Self::of(path, &metadata) == self)
    }
}

/// The file system; 0 where it has no number.
pub(super) fn device(metadata: &Metadata) -> u64 {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::dev(metadata);
    #[cfg(not(unix))]
    return 0;
}
