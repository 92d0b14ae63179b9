//! The byte store itself, without state above it. There is nothing to check on the heap.
#![expect(clippy::indexing_slicing, reason = "a suite fails by panicking")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use highwater_types::{Error, ErrorKind, Result};

use super::Subject;
use super::random::Random;
use super::subject::{Place, assert_fails};
use crate::{ByteStore, ColumnId, FrozenBytes, ReferenceStore, WriteBatch};

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// A new store; none, and a word about it, on the heap.
fn store(subject: &Subject) -> Result<Option<Box<dyn ByteStore>>> {
    let store = subject.store(Place::all(128)?)?;
    if store.is_none() {
        println!("skipped: the heap has no byte store");
    }
    Ok(store)
}

fn value(store: &dyn ByteStore, column: ColumnId, key: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut value = None;
    let found = store.get(column, key, &mut |bytes| {
        value = Some(bytes.to_vec());
        Ok(())
    })?;
    assert_eq!(found, value.is_some(), "`get` tells whether it called the closure");
    Ok(value)
}

fn scan(store: &dyn ByteStore, column: ColumnId, prefix: &[u8], from: &[u8]) -> Result<Entries> {
    let mut entries = Vec::new();
    store.scan(column, prefix, from, &mut |key, value| {
        entries.push((key.to_vec(), value.to_vec()));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(entries)
}

fn scan_frozen(frozen: &dyn FrozenBytes, column: ColumnId) -> Result<Entries> {
    let mut entries = Vec::new();
    frozen.scan(column, &[], &[], &mut |key, value| {
        entries.push((key.to_vec(), value.to_vec()));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(entries)
}

fn entries<'a>(of: impl IntoIterator<Item = (&'a str, &'a str)>) -> Entries {
    of.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}

/// Columns go by name, are made once, and know nothing of each other.
pub fn store_keeps_its_columns_apart(subject: &Subject) -> Result<()> {
    let Some(mut store) = store(subject)? else { return Ok(()) };
    let names = ["", "state", "State", "default", "_timer_state/event_user-timers", "ä/😀\u{0}"];
    let columns = names.iter().map(|name| store.column(name)).collect::<Result<Vec<_>>>()?;
    for (name, column) in names.iter().zip(&columns) {
        assert_eq!(store.column(name)?, *column, "a column is made once");
        store.put(*column, b"key", name.as_bytes())?;
    }
    for (name, column) in names.iter().zip(&columns) {
        assert_eq!(value(&*store, *column, b"key")?.as_deref(), Some(name.as_bytes()));
        assert_eq!(scan(&*store, *column, b"", b"")?, entries([("key", *name)]));
    }
    Ok(())
}

/// Scans go in the order of unsigned bytes, stay within the prefix, begin where they are told and end when they are
/// told.
pub fn store_scans_in_order_within_the_prefix(subject: &Subject) -> Result<()> {
    let Some(mut store) = store(subject)? else { return Ok(()) };
    let column = store.column("state")?;
    let keys: [&[u8]; 9] = [b"", b"a", b"a\0", b"a\x01", b"ab", b"a\x7f", b"a\x80", b"a\xff\xff", b"b"];
    for key in [3, 8, 0, 5, 2, 7, 4, 1, 6] {
        store.put(column, keys[key], &[key as u8])?;
    }
    // Neighbours on both sides of the column.
    for other in ["stat", "state2"] {
        let other = store.column(other)?;
        store.put(other, b"a!", b"other")?;
    }
    let positions = |store: &dyn ByteStore, prefix: &[u8], from: &[u8]| -> Result<Vec<u8>> {
        Ok(scan(store, column, prefix, from)?.into_iter().flat_map(|(_, value)| value).collect())
    };
    for (prefix, from, expected) in [
        (&b""[..], &b""[..], &[0, 1, 2, 3, 4, 5, 6, 7, 8][..]),
        (b"a", b"", &[1, 2, 3, 4, 5, 6, 7]),
        (b"a", b"a", &[1, 2, 3, 4, 5, 6, 7]),
        (b"a", b"a\0", &[2, 3, 4, 5, 6, 7]),
        (b"a", b"a\x01\0", &[4, 5, 6, 7]),
        (b"a", b"a\xff", &[7]),
        (b"a", b"a\xff\xff\0", &[]),
        (b"a", b"b", &[]),
        (b"a\xff", b"", &[7]),
        (b"a\xff\xff", b"", &[7]),
        (b"b", b"a", &[8]),
        (b"", b"a\x80", &[6, 7, 8]),
        (b"c", b"", &[]),
        (b"\xff", b"", &[]),
    ] {
        assert_eq!(positions(&*store, prefix, from)?, expected, "prefix {prefix:?} from {from:?}");
    }
    let mut visited = 0;
    store.scan(column, b"a", b"", &mut |_, _| {
        visited += 1;
        Ok(if visited == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    assert_eq!(visited, 3, "a scan ends when it is told");
    Ok(())
}

/// The delimiter stands between operands, never before the first; an empty value is a value.
pub fn store_appends_behind_the_delimiter(subject: &Subject) -> Result<()> {
    let Some(mut store) = store(subject)? else { return Ok(()) };
    let column = store.column("state")?;
    store.append(column, b"a", b"1")?;
    assert_eq!(value(&*store, column, b"a")?.as_deref(), Some(&b"1"[..]));
    store.append(column, b"a", b"2,3")?;
    store.append(column, b"a", b"")?;
    store.append(column, b"a", b"4")?;
    assert_eq!(value(&*store, column, b"a")?.as_deref(), Some(&b"1,2,3,,4"[..]));
    store.put(column, b"a", b"5")?;
    store.append(column, b"a", b"6")?;
    assert_eq!(value(&*store, column, b"a")?.as_deref(), Some(&b"5,6"[..]), "behind a put");
    store.delete(column, b"a")?;
    store.append(column, b"a", b"7")?;
    assert_eq!(value(&*store, column, b"a")?.as_deref(), Some(&b"7"[..]), "behind a delete");
    store.delete_range(column, b"a", b"b")?;
    store.append(column, b"a", b"8")?;
    assert_eq!(value(&*store, column, b"a")?.as_deref(), Some(&b"8"[..]), "behind a range delete");
    store.put(column, b"empty", b"")?;
    assert_eq!(value(&*store, column, b"empty")?.as_deref(), Some(&b""[..]));
    store.append(column, b"empty", b"1")?;
    assert_eq!(value(&*store, column, b"empty")?.as_deref(), Some(&b",1"[..]), "an empty value is a value");

    let expected = (0..5000).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    for number in 0..5000 {
        store.append(column, b"long", number.to_string().as_bytes())?;
        if number == 2500 {
            store.freeze()?;
        }
    }
    assert_eq!(value(&*store, column, b"long")?.as_deref(), Some(expected.as_bytes()));
    assert!(scan(&*store, column, b"l", b"")? == entries([("long", &*expected)]), "scans see whole values");
    Ok(())
}

/// A batch does what its operations do one after the other, in several columns.
pub fn store_applies_batches_in_order(subject: &Subject) -> Result<()> {
    let Some(mut store) = store(subject)? else { return Ok(()) };
    let (first, second) = (store.column("first")?, store.column("second")?);
    let mut batch = WriteBatch::new();
    store.write(&batch)?;
    store.put(first, b"old", b"1")?;
    batch.put(first, b"a", b"1");
    batch.append(first, b"a", b"2");
    batch.put(second, b"a", b"other");
    batch.delete(first, b"old");
    batch.put(first, b"b", b"1");
    batch.delete(first, b"b");
    batch.append(first, b"b", b"2");
    batch.delete(second, b"nothing");
    batch.put(first, b"", b"");
    store.write(&batch)?;
    assert_eq!(scan(&*store, first, b"", b"")?, entries([("", ""), ("a", "1,2"), ("b", "2")]));
    assert_eq!(scan(&*store, second, b"", b"")?, entries([("a", "other")]));
    Ok(())
}

/// A range goes from its start to before its end, in one column.
pub fn store_deletes_ranges(subject: &Subject) -> Result<()> {
    let Some(mut store) = store(subject)? else { return Ok(()) };
    let (column, other) = (store.column("state")?, store.column("other")?);
    for group in 0..=255_u8 {
        store.put(column, &[group], b"1")?;
        store.put(column, &[group, 0xff], b"2")?;
        store.put(other, &[group], b"3")?;
    }
    let frozen = store.freeze()?;
    store.delete_range(column, &[10], &[20])?;
    store.delete_range(column, &[30, 1], &[31, 0])?;
    store.delete_range(column, &[50], &[50])?;
    store.delete_range(column, &[61], &[60])?;
    store.put(column, &[15], b"new")?;
    let expected = (0..=255_u8)
        .flat_map(|group| [(vec![group], b"1".to_vec()), (vec![group, 0xff], b"2".to_vec())])
        .filter(|(key, _)| !(10..20).contains(&key[0]) && *key != [30, 0xff] && *key != [31]);
    let mut expected: Entries = expected.chain([(vec![15], b"new".to_vec())]).collect();
    expected.sort();
    assert_eq!(scan(&*store, column, b"", b"")?, expected);
    assert_eq!(value(&*store, column, &[12])?, None);
    assert_eq!((scan(&*store, other, b"", b"")?.len(), scan_frozen(&*frozen, column)?.len()), (256, 512));
    Ok(())
}

/// `multi_get` finds what `get` finds, each with the position of its key.
pub fn store_reads_many_keys_at_once(subject: &Subject) -> Result<()> {
    let Some(mut store) = store(subject)? else { return Ok(()) };
    let column = store.column("state")?;
    for number in (0..100_u8).filter(|number| number % 3 != 0) {
        store.put(column, &[number], &[number, number])?;
    }
    store.append(column, &[1], b"x")?;
    let keys: Vec<[u8; 1]> = (0..100_u8).rev().chain([1, 1]).map(|number| [number]).collect();
    let asked: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    let mut found = vec![None; asked.len()];
    store.multi_get(column, &asked, &mut |position, value| {
        assert!(found[position].replace(value.to_vec()).is_none(), "each key once");
        Ok(())
    })?;
    for (key, found) in asked.iter().zip(&found) {
        assert_eq!(*found, value(&*store, column, key)?, "key {key:?}");
    }
    for nothing in [&[][..], &[&b"none"[..]]] {
        store.multi_get(column, nothing, &mut |_, _| Err(Error::program("found what is not there")))?;
    }
    Ok(())
}

/// Loads in and out of order, several for a column, end up as if they had been put.
pub fn store_loads_in_any_order(subject: &Subject) -> Result<()> {
    let Some(mut store) = store(subject)? else { return Ok(()) };
    let (sorted, shuffled) = (store.column("sorted")?, store.column("shuffled")?);
    let all: Entries = (0..5000_u32).map(|n| (n.to_be_bytes().to_vec(), vec![n as u8; n as usize % 50])).collect();
    let mut mixed = all.clone();
    let mut random = Random::new(1);
    for index in (1..mixed.len()).rev() {
        mixed.swap(index, random.below(index + 1));
    }
    for (sorted_part, mixed_part) in all.chunks(1250).zip(mixed.chunks(1250)) {
        store.load(sorted, &mut sorted_part.iter().map(|(key, value)| (&key[..], &value[..])))?;
        store.load(shuffled, &mut mixed_part.iter().map(|(key, value)| (&key[..], &value[..])))?;
    }
    let late = store.column("late")?;
    store.load(late, &mut std::iter::empty())?;
    store.finish_load()?;
    assert!(scan(&*store, sorted, b"", b"")? == all, "loaded in order");
    assert!(scan(&*store, shuffled, b"", b"")? == all, "loaded out of order");
    assert_eq!(scan(&*store, late, b"", b"")?, []);
    store.append(sorted, &all[7].0, b"more")?;
    assert_eq!(value(&*store, sorted, &all[7].0)?, Some([&all[7].1[..], b",more"].concat()));
    Ok(())
}

/// A frozen view has every column as it was, is read by several threads at once, and outlives the store.
pub fn store_freezes_all_columns(subject: &Subject) -> Result<()> {
    let Some(mut store) = store(subject)? else { return Ok(()) };
    let (first, second) = (store.column("first")?, store.column("second")?);
    let mut expected = Entries::new();
    for number in 0..2000_u32 {
        let key = number.to_be_bytes().to_vec();
        store.put(first, &key, b"old")?;
        store.append(second, &key, b"1")?;
        store.append(second, &key, b"2")?;
        expected.push((key, b"old".to_vec()));
    }
    let frozen: Arc<dyn FrozenBytes> = store.freeze()?.into();
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let frozen = Arc::clone(&frozen);
            std::thread::spawn(move || Ok((scan_frozen(&*frozen, first)?, scan_frozen(&*frozen, second)?)))
        })
        .collect();
    for (number, (key, _)) in expected.iter().enumerate() {
        match number % 3 {
            0 => store.delete(first, key)?,
            1 => store.put(first, key, b"new")?,
            _ => store.append(second, key, b"3")?,
        }
    }
    store.put(first, b"added", b"new")?;
    let unread = store.freeze()?;
    let joined = |value: &[u8]| expected.iter().map(|(key, _)| (key.clone(), value.to_vec())).collect::<Entries>();
    for reader in readers {
        let read: Result<_> = reader.join().map_err(|_| Error::internal("a reader panicked"))?;
        assert!(read? == (expected.clone(), joined(b"1,2")), "a frozen view changed");
    }
    drop((unread, store));
    assert!(scan_frozen(&*frozen, first)? == expected, "a frozen view outlives its store");
    let mut seen = Vec::new();
    assert!(frozen.get(second, &expected[7].0, &mut |value| {
        seen.extend_from_slice(value);
        Ok(())
    })?);
    assert!(!frozen.get(first, b"added", &mut |_| Ok(()))?);
    assert_eq!(seen, b"1,2");
    Ok(())
}

/// What a closure fails with comes out of the call that was given it.
pub fn store_passes_errors_of_closures_on(subject: &Subject) -> Result<()> {
    let Some(mut store) = store(subject)? else { return Ok(()) };
    let column = store.column("state")?;
    store.put(column, b"a", b"1")?;
    store.put(column, b"b", b"2")?;
    let stop = || Error::unsupported("stop");
    let get = store.get(column, b"a", &mut |_| Err(stop()));
    assert_fails(ErrorKind::Unsupported, "get", get);
    let scan = store.scan(column, b"", b"", &mut |_, _| Err(stop()));
    assert_fails(ErrorKind::Unsupported, "scan", scan);
    let many = store.multi_get(column, &[b"a"], &mut |_, _| Err(stop()));
    assert_fails(ErrorKind::Unsupported, "multi_get", many);
    let frozen = store.freeze()?;
    let scan = frozen.scan(column, b"", b"", &mut |_, _| Err(stop()));
    assert_fails(ErrorKind::Unsupported, "scan of a frozen view", scan);
    let get = frozen.get(column, b"a", &mut |_| Err(stop()));
    assert_fails(ErrorKind::Unsupported, "get of a frozen view", get);
    Ok(())
}

/// Keys and values are any bytes: none, all of them, long ones.
pub fn store_takes_any_bytes(subject: &Subject) -> Result<()> {
    let Some(mut store) = store(subject)? else { return Ok(()) };
    let column = store.column("state")?;
    let mut expected = BTreeMap::new();
    let odd = [vec![], vec![0], vec![0, 0], vec![0xff], vec![0xff; 4], vec![b','], vec![7; 40_000], vec![0; 3 << 20]];
    for (key, value) in odd.iter().take(7).zip(odd.iter().rev()).chain([(&vec![2], &vec![])]) {
        store.put(column, key, value)?;
        expected.insert(key.clone(), value.clone());
    }
    for byte in 0..=255 {
        store.put(column, &[1, byte], &[byte])?;
        expected.insert(vec![1, byte], vec![byte]);
    }
    assert!(scan(&*store, column, b"", b"")?.into_iter().eq(expected.clone()), "what was put is found in order");
    for (key, expected) in expected {
        assert!(value(&*store, column, &key)? == Some(expected), "the value of {:?}", key.get(..9).unwrap_or(&key));
    }
    Ok(())
}

/// Thousands of random operations leave store and frozen views as they leave the reference store.
pub fn store_agrees_with_the_reference_store(subject: &Subject) -> Result<()> {
    for seed in 1..=3 {
        let Some(mut store) = store(subject)? else { return Ok(()) };
        let (mut reference, mut random) = (ReferenceStore::new(), Random::new(seed));
        let columns = (store.column("a")?, store.column("b")?);
        assert_eq!((reference.column("a")?.get(), reference.column("b")?.get()), (0, 1));
        let of_reference = |column| ColumnId::new(u32::from(column == columns.1));
        let mut frozen = Vec::new();
        for step in 0..3000 {
            let column = if random.below(2) == 0 { columns.0 } else { columns.1 };
            let (key, bytes) = (random.bytes(3), random.bytes(6));
            match random.below(100) {
                0..40 => {
                    store.put(column, &key, &bytes)?;
                    reference.put(of_reference(column), &key, &bytes)?;
                }
                40..70 => {
                    store.append(column, &key, &bytes)?;
                    reference.append(of_reference(column), &key, &bytes)?;
                }
                70..90 => {
                    store.delete(column, &key)?;
                    reference.delete(of_reference(column), &key)?;
                }
                90..92 => {
                    store.delete_range(column, &key, &bytes)?;
                    reference.delete_range(of_reference(column), &key, &bytes)?;
                }
                92 => frozen.push((store.freeze()?, reference.freeze()?)),
                _ => {
                    let found = scan(&*store, column, &key, &bytes)?;
                    let expected = scan(&reference, of_reference(column), &key, &bytes)?;
                    assert_eq!(found, expected, "seed {seed}, step {step}: prefix {key:?} from {bytes:?}");
                }
            }
            let expected = value(&reference, of_reference(column), &key)?;
            assert_eq!(value(&*store, column, &key)?, expected, "seed {seed}, step {step}: key {key:?}");
            frozen.truncate(5);
        }
        for (number, (frozen, expected)) in frozen.iter().enumerate() {
            for column in [columns.0, columns.1] {
                let expected = scan_frozen(&**expected, of_reference(column))?;
                assert_eq!(scan_frozen(&**frozen, column)?, expected, "seed {seed}, frozen view {number}");
            }
        }
    }
    Ok(())
}

/// Two stores in one directory do not meet, and when they and their views are gone, so are their files.
pub fn store_removes_its_files(subject: &Subject) -> Result<()> {
    let (Some(mut first), Some(mut second)) = (store(subject)?, store(subject)?) else { return Ok(()) };
    let (column, other) = (first.column("state")?, second.column("state")?);
    for number in 0..1000_u32 {
        first.put(column, &number.to_be_bytes(), &[1; 100])?;
    }
    assert_eq!(scan(&*second, other, b"", b"")?, [], "stores do not meet");
    let frozen = first.freeze()?;
    drop(first);
    second.put(other, b"key", b"value")?;
    assert_eq!(scan_frozen(&*frozen, column)?.len(), 1000);
    drop((frozen, second));
    let left: Vec<_> = std::fs::read_dir(subject.directory()).into_iter().flatten().flatten().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}
