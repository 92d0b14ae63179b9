//! In which format a table is, as its last bytes say.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// What the last eight bytes of a table say, little-endian, that RocksDB does not read (any more). Tables that it reads have
/// their version before that: where it says something odd, it is damaged.
const UNREADABLE: [(u64, &str); 4] = [
    (0xdb47_7524_8b80_fb57, "format version 0"),
    (0x8242_2296_63bf_9564, "a plain table"),
    (0x4f34_18eb_7a8f_13b8, "a plain table"),
    (0x9267_89d0_c5f1_7873, "a cuckoo table"),
];

/// What a table is in that is not read here; none if it is read, or damaged.
pub(super) fn unreadable(table: &Path) -> io::Result<Option<&'static str>> {
    let mut kind = [0; 8];
    let mut file = File::open(table)?;
    if file.metadata()?.len() < kind.len() as u64 {
        return Ok(None);
    }
    file.seek(SeekFrom::End(-(kind.len() as i64)))?;
    file.read_exact(&mut kind)?;
    let kind = u64::from_le_bytes(kind);
    Ok(UNREADABLE.iter().find(|(unreadable, _)| *unreadable == kind).map(|(_, name)| *name))
}
