//! Whether a manifest is complete.

/// Bytes of a block of RocksDB's log format. A record does not cross its end.
const BLOCK: usize = 32 << 10;
/// Checksum (4), length (2), type (1).
const HEADER: usize = 7;

/// Whether the records of a manifest end where the file does.
///
/// RocksDB takes a last record that seems to be longer than the file for one that a crash cut short, and stops before it
/// without an error. A damaged length looks the same, and what followed it would be lost. All other damage is found by
/// the checksums of the records.
pub(super) fn is_complete(manifest: &[u8]) -> bool {
    manifest.chunks(BLOCK).all(ends_with_a_record)
}

fn ends_with_a_record(block: &[u8]) -> bool {
    let mut rest = block;
    while let Some((&[_, _, _, _, low, high, _], payload)) = rest.split_first_chunk::<HEADER>() {
        match payload.get(usize::from(u16::from_le_bytes([low, high]))..) {
            Some(next) => rest = next,
            None => return false,
        }
    }
    // The end of a block that has no room for another header is filled up.
    rest.is_empty() || block.len() == BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(length: usize) -> Vec<u8> {
        let [low, high] = u16::try_from(length).unwrap().to_le_bytes();
        let mut record = vec![1, 2, 3, 4, low, high, 1];
        record.resize(HEADER + length, 7);
        record
    }

    #[test]
    fn records_end_where_the_file_does() {
        let small = [record(0), record(300), record(19)].concat();
        assert!(is_complete(&small) && is_complete(&[]));
        for end in 1..small.len() {
            assert_eq!(is_complete(&small[..end]), end == HEADER || end == 2 * HEADER + 300, "cut at {end}");
        }
        let filled = [record(BLOCK - 2 * HEADER - 103), record(100 - 3), vec![0; 6]].concat();
        assert_eq!(filled.len(), BLOCK);
        let two_blocks = [filled, small].concat();
        assert!(is_complete(&two_blocks));
        assert!(!is_complete(&two_blocks[..two_blocks.len() - 1]));
        for length in [4, 5] {
            let mut damaged = two_blocks.clone();
            damaged[length] ^= 0x80;
            assert!(!is_complete(&damaged), "byte {length}");
        }
    }
}
