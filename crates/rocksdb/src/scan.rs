//! Walking an iterator over the keys of a prefix.

use std::ops::ControlFlow;

use highwater_state::VisitEntry;
use highwater_types::{Error, Result};
use rust_rocksdb::{DBRawIteratorWithThreadMode, ReadOptions};

use crate::database::Db;

/// Reading in the order of the keys, and all of them. Where an options factory sets a prefix extractor, RocksDB would
/// otherwise look only among keys of the same prefix, and leave others out without an error.
pub(crate) fn reads_in_order() -> ReadOptions {
    let mut reads = ReadOptions::default();
    reads.set_total_order_seek(true);
    reads
}

/// Visits the entries from where the iterator stands to the end of the prefix; breaks where `visit` does. `failed` makes
/// an error of RocksDB's.
pub(crate) fn visit_prefix(
    iterator: &mut DBRawIteratorWithThreadMode<'_, Db>,
    prefix: &[u8],
    visit: &mut VisitEntry<'_>,
    failed: impl FnOnce(rust_rocksdb::Error) -> Error,
) -> Result<ControlFlow<()>> {
    while let Some((key, value)) = iterator.item() {
        if !key.starts_with(prefix) {
            return Ok(ControlFlow::Continue(()));
        }
        if visit(key, value)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        iterator.next();
    }
    // An iterator that met an error looks like one that is at its end.
    iterator.status().map_err(failed)?;
    Ok(ControlFlow::Continue(()))
}

/// The first key behind all keys of a prefix; none if there cannot be one.
pub(crate) fn end_of_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix.get(..=last)?.to_vec();
    *end.last_mut()? += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::end_of_prefix;

    #[test]
    fn prefixes_end_before_the_next_one() {
        for (prefix, end) in [
            (&b""[..], None),
            (b"\xff", None),
            (b"\xff\xff", None),
            (b"a", Some(&b"b"[..])),
            (b"\0", Some(b"\x01")),
            (b"a\xff\xff", Some(b"b")),
            (b"a\xff\0", Some(b"a\xff\x01")),
        ] {
            assert_eq!(end_of_prefix(prefix).as_deref(), end, "prefix {prefix:?}");
        }
    }
}
