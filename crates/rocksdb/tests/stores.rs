//! Stores of one factory: where their files are, threads, views, processes that die.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use highwater_rocksdb::{RocksDbSettings, RocksDbStoreFactory};
use highwater_state::{ByteStoreContext, ByteStoreFactory, ColumnId, FrozenBytes};
use highwater_types::{MaxParallelism, Result};

/// Names the directory in which a child process is to hold a store.
const CHILD: &str = "HIGHWATER_TEST_HOLDS_A_STORE_IN";

fn settings(directories: &[&Path]) -> RocksDbSettings {
    let mut settings = RocksDbSettings::default();
    settings.local_directories = directories.iter().map(|directory| directory.to_path_buf()).collect();
    settings
}

fn context(job: &str, operator: &str) -> ByteStoreContext {
    let max_parallelism = MaxParallelism::new(128).unwrap();
    ByteStoreContext::new(operator, max_parallelism.range_of(0, 1).unwrap(), max_parallelism).with_job(job)
}

fn entries_in(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn key(number: u32) -> [u8; 5] {
    let [a, b, c, d] = number.to_be_bytes();
    [(number % 128) as u8, a, b, c, d]
}

/// Number of entries and a sum over them, read key group by key group as a checkpoint does.
fn fingerprint(frozen: &dyn FrozenBytes, column: ColumnId) -> Result<(u64, u64)> {
    let (mut count, mut sum) = (0, 0_u64);
    for group in 0..128_u8 {
        frozen.scan(column, &[group], &[], &mut |key, value| {
            assert!(key.starts_with(&[group]));
            count += 1;
            sum =
                sum.wrapping_add(key.iter().chain(value).fold(17, |hash, byte| hash * 31 % 65_521 + u64::from(*byte)));
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok((count, sum))
}

#[test]
fn configured_directories_are_used_in_turn_and_left_empty() {
    let scratch = tempfile::tempdir().unwrap();
    let (one, two) = (scratch.path().join("one"), scratch.path().join("two"));
    let factory = RocksDbStoreFactory::new(settings(&[&one, &two])).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let context = context("words", "counter/0").with_directory(elsewhere.path());
    let stores: Vec<_> = (0..4).map(|_| factory.create(&context).unwrap()).collect();
    for directory in [&one, &two] {
        let instances = entries_in(directory);
        assert_eq!(instances.len(), 2, "{instances:?}");
        for instance in instances {
            let name = instance.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(name.starts_with("job_words_op_counter_0_uuid_"), "{name}");
            assert!(instance.join("db/CURRENT").is_file());
        }
    }
    assert_eq!(entries_in(elsewhere.path()), [] as [PathBuf; 0], "configured directories come first");
    drop(stores);
    assert_eq!([entries_in(&one), entries_in(&two)], [[], []] as [[PathBuf; 0]; 2]);
}

#[test]
fn without_a_usable_directory_there_is_no_store() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("file");
    fs::write(&file, b"").unwrap();
    let factory = RocksDbStoreFactory::new(settings(&[&file])).unwrap();
    let error = factory.create(&context("words", "counter")).err().unwrap();
    assert!(error.to_string().contains("No local storage directories available"), "{error}");
    assert_eq!(error.value("store"), Some("counter"));
}

#[test]
fn stores_of_one_factory_work_on_threads_of_their_own() {
    let scratch = tempfile::tempdir().unwrap();
    let mut settings = settings(&[scratch.path()]);
    settings.configured_options.write_buffer_size = Some(64 << 10);
    let factory = Arc::new(RocksDbStoreFactory::new(settings).unwrap());
    let workers: Vec<_> = (0..2_u32)
        .map(|worker| {
            let factory = Arc::clone(&factory);
            thread::spawn(move || {
                let mut store = factory.create(&context("words", &format!("counter-{worker}"))).unwrap();
                let (values, lists) = (store.column("values").unwrap(), store.column("lists").unwrap());
                for number in 0..5000 {
                    store.put(values, &key(number), &[worker as u8; 40]).unwrap();
                    store.append(lists, &key(number % 100), &[worker as u8]).unwrap();
                }
                for number in 0..5000 {
                    let mut seen = None;
                    let mut read = |value: &[u8]| {
                        seen = Some(value.to_vec());
                        Ok(())
                    };
                    assert!(store.get(values, &key(number), &mut read).unwrap());
                    assert_eq!(seen, Some(vec![worker as u8; 40]));
                }
                let whole = (0..50).map(|_| [worker as u8]).collect::<Vec<_>>().join(&b',');
                let mut read = |value: &[u8]| {
                    assert_eq!(value, whole);
                    Ok(())
                };
                assert!(store.get(lists, &key(7), &mut read).unwrap());
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert_eq!(entries_in(scratch.path()), [] as [PathBuf; 0]);
}

#[test]
fn a_frozen_view_stays_while_files_come_and_go_and_the_store_is_dropped() {
    let scratch = tempfile::tempdir().unwrap();
    let mut settings = settings(&[scratch.path()]);
    settings.configured_options.write_buffer_size = Some(64 << 10);
    let mut store = RocksDbStoreFactory::new(settings).unwrap().create(&context("words", "counter")).unwrap();
    let column = store.column("values").unwrap();
    for number in 0..20_000 {
        store.put(column, &key(number), &number.to_be_bytes().repeat(8)).unwrap();
    }
    let frozen: Arc<dyn FrozenBytes> = store.freeze().unwrap().into();
    let expected = fingerprint(&*frozen, column).unwrap();
    assert_eq!(expected.0, 20_000);

    let readers: Vec<_> = (0..3)
        .map(|_| {
            let frozen = Arc::clone(&frozen);
            thread::spawn(move || (0..5).map(|_| fingerprint(&*frozen, column).unwrap()).collect::<Vec<_>>())
        })
        .collect();
    // Overwrites, deletes and makes RocksDB flush and compact below the readers.
    for number in 0..40_000 {
        match number % 3 {
            0 => store.delete(column, &key(number)).unwrap(),
            _ => store.put(column, &key(number), &[7; 32]).unwrap(),
        }
    }
    store.delete_range(column, &[0], &[64]).unwrap();
    let late = store.column("made later").unwrap();
    store.put(late, b"key", b"value").unwrap();
    drop(store);
    for reader in readers {
        assert_eq!(reader.join().unwrap(), vec![expected; 5]);
    }
    assert!(!entries_in(scratch.path()).is_empty(), "a view keeps the files");
    let unknown = frozen.get(late, b"key", &mut |_| Ok(()));
    assert!(unknown.is_err(), "a column that was made later is not in the view");
    drop(frozen);
    assert_eq!(entries_in(scratch.path()), [] as [PathBuf; 0]);
}

#[test]
fn a_cursor_follows_wherever_scans_go() {
    let scratch = tempfile::tempdir().unwrap();
    let mut store =
        RocksDbStoreFactory::new(settings(&[scratch.path()])).unwrap().create(&context("words", "counter")).unwrap();
    let column = store.column("values").unwrap();
    for number in (0..=255_u8).filter(|number| number % 4 != 0) {
        for second in 0..3 {
            store.put(column, &[number, second], b"").unwrap();
        }
    }
    let frozen = store.freeze().unwrap();
    let scan = |prefix: &[u8], from: &[u8], most: usize| {
        let mut keys = Vec::new();
        let mut visit = |key: &[u8], _: &[u8]| {
            keys.push(key.to_vec());
            Ok(if keys.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        frozen.scan(column, prefix, from, &mut visit).unwrap();
        keys
    };
    for _ in 0..2 {
        for (prefix, from, most, expected) in [
            (&[1][..], &[][..], 9, vec![vec![1, 0], vec![1, 1], vec![1, 2]]),
            (&[2], &[], 9, vec![vec![2, 0], vec![2, 1], vec![2, 2]]),
            (&[3], &[], 1, vec![vec![3, 0]]),
            // Behind a scan that was ended early; an empty group; one before; the very last; behind the end.
            (&[3], &[3, 1], 9, vec![vec![3, 1], vec![3, 2]]),
            (&[4], &[], 9, vec![]),
            (&[5], &[], 9, vec![vec![5, 0], vec![5, 1], vec![5, 2]]),
            (&[5], &[5, 2, 0], 9, vec![]),
            (&[6], &[], 2, vec![vec![6, 0], vec![6, 1]]),
            (&[6], &[], 9, vec![vec![6, 0], vec![6, 1], vec![6, 2]]),
            (&[2], &[3], 9, vec![]),
            (&[255], &[], 9, vec![vec![255, 0], vec![255, 1], vec![255, 2]]),
            (&[255, 3], &[], 9, vec![]),
            (&[], &[255, 1], 9, vec![vec![255, 1], vec![255, 2]]),
        ] {
            assert_eq!(scan(prefix, from, most), expected, "prefix {prefix:?} from {from:?}");
        }
    }
    // A scan within a scan of the same column.
    let mut within = Vec::new();
    frozen
        .scan(column, &[1], &[], &mut |_, _| {
            within.push(scan(&[2], &[], 9).len());
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    assert_eq!(within, [3, 3, 3]);
}

#[test]
fn loads_work_with_any_size_of_write_batch() {
    for write_batch_size in [0, 1, 4096, 1 << 30] {
        let scratch = tempfile::tempdir().unwrap();
        let mut settings = settings(&[scratch.path()]);
        settings.write_batch_size = write_batch_size;
        let mut store = RocksDbStoreFactory::new(settings).unwrap().create(&context("words", "counter")).unwrap();
        let columns = [store.column("a").unwrap(), store.column("b").unwrap()];
        let keys: Vec<_> = (0..3000).map(key).collect();
        for part in keys.chunks(700) {
            for column in columns {
                store.load(column, &mut part.iter().map(|key| (&key[..], &key[1..]))).unwrap();
            }
        }
        store.finish_load().unwrap();
        let frozen = store.freeze().unwrap();
        let loaded = columns.map(|column| fingerprint(&*frozen, column).unwrap());
        assert_eq!((loaded[0].0, loaded[0]), (3000, loaded[1]), "write batch size {write_batch_size}");
        assert!(store.approximate_size(columns[0]).is_some_and(|size| size > 1000));
    }
}

/// Not a test of its own: the child process of the next one, which holds a store until it is killed.
#[test]
fn child_that_holds_a_store() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let factory = RocksDbStoreFactory::new(settings(&[Path::new(&directory)])).unwrap();
    let mut store = factory.create(&context("words", "killed")).unwrap();
    let column = store.column("values").unwrap();
    store.put(column, b"key", b"value").unwrap();
    println!("\nholding");
    // Until it is killed, or the test has ended.
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn what_a_killed_process_left_is_removed_at_the_next_start() {
    let scratch = tempfile::tempdir().unwrap();
    let start = || {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_holds_a_store", "--nocapture"])
            .env(CHILD, scratch.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "holding"), "the child made no store");
        child
    };
    let (mut killed, mut alive) = (start(), start());
    assert_eq!(entries_in(scratch.path()).len(), 2, "a living process keeps its files");
    killed.kill().unwrap();
    killed.wait().unwrap();

    let other = RocksDbStoreFactory::new(settings(&[scratch.path()])).unwrap();
    let other = other.create(&context("another job", "counter")).unwrap();
    assert_eq!(entries_in(scratch.path()).len(), 3, "other jobs are left alone");
    let next = RocksDbStoreFactory::new(settings(&[scratch.path()])).unwrap();
    let next = next.create(&context("words", "counter")).unwrap();
    assert_eq!(entries_in(scratch.path()).len(), 3, "one removed, one added");
    alive.kill().unwrap();
    alive.wait().unwrap();
    drop((other, next));
    assert_eq!(entries_in(scratch.path()).len(), 1);
}

/// A view copies its entries out in pages. Whatever is asked of it, in whatever order, must be what the store itself says.
#[test]
fn the_pages_of_a_view_join_without_a_seam() {
    let scratch = tempfile::tempdir().unwrap();
    let factory = RocksDbStoreFactory::new(settings(&[scratch.path()])).unwrap();
    let mut store = factory.create(&context("words", "counter-0")).unwrap();
    let column = store.column("values").unwrap();
    let long = vec![7; 3 << 20];
    for number in 0..60_000_u32 {
        let value = if number % 20_000 == 19_999 { &long } else { &long[..(number % 97) as usize] };
        store.put(column, &key(number), value).unwrap();
    }
    let frozen = store.freeze().unwrap();
    let first_of = |group: u8, skipped: u32| key(u32::from(group) + 128 * skipped);
    let mut asked: Vec<(Vec<u8>, Vec<u8>)> = vec![(vec![], vec![]), (vec![], vec![]), (vec![], vec![200])];
    for group in [0, 1, 2, 127, 3, 63, 63, 0, 64] {
        asked.push((vec![group], vec![]));
        asked.push((vec![group], first_of(group, 300).to_vec()));
        asked.push((vec![group], vec![group + 1]));
        asked.push((first_of(group, 7).to_vec(), vec![]));
    }
    for (prefix, from) in asked {
        for most in [1, 250, usize::MAX] {
            let (mut of_view, mut of_store) = (Vec::new(), Vec::new());
            let gather = |into: &mut Vec<(Vec<u8>, usize)>, key: &[u8], value: &[u8]| {
                into.push((key.to_vec(), value.len()));
                Ok(if into.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            };
            frozen.scan(column, &prefix, &from, &mut |key, value| gather(&mut of_view, key, value)).unwrap();
            store.scan(column, &prefix, &from, &mut |key, value| gather(&mut of_store, key, value)).unwrap();
            assert!(of_view == of_store, "{prefix:?} from {from:?}: {} entries, not {}", of_view.len(), of_store.len());
        }
    }
}
