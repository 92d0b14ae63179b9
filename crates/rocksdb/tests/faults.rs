//! The disk below a store fails while it runs: an error that says so, and no panic, hang or wrong answer.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use highwater_rocksdb::{RocksDbSettings, RocksDbStoreFactory};
use highwater_state::{ByteStore, ByteStoreContext, ByteStoreFactory};
use highwater_types::{Error, ErrorKind, MaxParallelism, Result};

/// Write buffers of 64 KiB: files are written from the first records on.
fn factory(directory: &Path) -> RocksDbStoreFactory {
    let mut settings = RocksDbSettings::default();
    settings.configured_options.write_buffer_size = Some(64 << 10);
    settings.local_directories = vec![directory.to_owned()];
    RocksDbStoreFactory::new(settings).unwrap()
}

fn context(operator: &str) -> ByteStoreContext {
    let max_parallelism = MaxParallelism::new(128).unwrap();
    ByteStoreContext::new(operator, max_parallelism.range_of(0, 1).unwrap(), max_parallelism).with_job("faults")
}

/// Bytes that do not compress.
fn noise(number: u32) -> Vec<u8> {
    let mut state = u64::from(number) + 1;
    (0..128)
        .flat_map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()
        })
        .collect()
}

/// Writes up to 64 MiB of new entries; the error that ends it.
fn write_until_it_fails(store: &mut dyn ByteStore) -> Option<Error> {
    let column = store.column("state").unwrap();
    (0..65_536_u32).find_map(|number| store.put(column, &number.to_be_bytes(), &noise(number)).err())
}

fn write(store: &mut dyn ByteStore, entries: u32) -> Result<()> {
    let column = store.column("state")?;
    (0..entries).try_for_each(|number| store.put(column, &number.to_be_bytes(), &noise(number)))
}

/// Past the harness, which keeps to itself what tests that pass print.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn databases(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path().join("db")).collect()
}

fn assert_storage_error(error: Option<Error>, directory: &Path) {
    let error = error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Storage, "{error:?}");
    let named = error.value("directory").unwrap();
    assert!(Path::new(named).starts_with(directory), "{error}");
}

#[test]
fn a_directory_removed_during_the_run_is_a_storage_error() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = factory(directory.path()).create(&context("removed")).unwrap();
    write(&mut *store, 100).unwrap();
    for database in databases(directory.path()) {
        // Files that are being written may come in between.
        while let Err(error) = fs::remove_dir_all(database.parent().unwrap()) {
            assert_eq!(error.kind(), std::io::ErrorKind::DirectoryNotEmpty, "{error}");
        }
    }
    assert_storage_error(write_until_it_fails(&mut *store), directory.path());
    drop(store);
}

/// A file system of its own, unmounted at the end.
struct Mount(tempfile::TempDir);

impl Mount {
    /// None if this user may not mount.
    fn new(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted =
            run(Command::new("mount").args(["-t", "tmpfs", "-o", size, "highwater-test"]).arg(directory.path()));
        if !mounted {
            say("SKIPPED: this user may not mount a file system");
        }
        mounted.then_some(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(self.path()));
    }
}

/// The upper one of two mounts.
struct Over<'a>(&'a Path);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(self.0));
    }
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_full_disk_is_a_storage_error() {
    let Some(disk) = Mount::new("size=8m") else { return };
    let mut store = factory(disk.path()).create(&context("full")).unwrap();
    let error = write_until_it_fails(&mut *store);
    assert!(error.as_ref().is_some_and(|error| error.to_string().contains("the disk is full")), "{error:?}");
    assert_storage_error(error, disk.path());
    drop(store);
    assert_eq!(databases(disk.path()), [] as [PathBuf; 0], "what fails is removed all the same");
}

#[test]
fn a_disk_that_becomes_read_only_is_a_storage_error() {
    let Some(disk) = Mount::new("size=64m") else { return };
    let mut store = factory(disk.path()).create(&context("read-only")).unwrap();
    write(&mut *store, 10).unwrap();
    // Files that are open for writing keep a mount as it is; a second mount over it does not know of them.
    let path = disk.path();
    assert!(run(Command::new("mount").arg("--bind").args([path, path])));
    let over = Over(path);
    assert!(run(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(path)));
    let error = write_until_it_fails(&mut *store);
    drop(over);
    assert!(error.as_ref().is_some_and(|error| error.to_string().contains("Read-only")), "{error:?}");
    assert_storage_error(error, path);
}

#[test]
fn a_damaged_file_is_an_error_when_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = factory(directory.path()).create(&context("damaged")).unwrap();
    write(&mut *store, 1000).unwrap();
    let tables: Vec<_> = databases(directory.path())
        .iter()
        .flat_map(|database| fs::read_dir(database).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sst"))
        .collect();
    assert!(!tables.is_empty(), "nothing was flushed");
    for table in tables {
        let mut bytes = fs::read(&table).unwrap();
        let middle = bytes.len() / 3;
        for byte in &mut bytes[..middle] {
            *byte ^= 0x5a;
        }
        fs::write(&table, bytes).unwrap();
    }
    let column = store.column("state").unwrap();
    let failure = (0..1000_u32).find_map(|number| {
        let mut right = true;
        let read = store.get(column, &number.to_be_bytes(), &mut |value| {
            right = value == noise(number);
            Ok(())
        });
        assert!(right, "a wrong value was read");
        read.err()
    });
    assert_eq!(failure.as_ref().map(Error::kind), Some(ErrorKind::Corrupt), "{failure:?}");
    let scanned = store.scan(column, &[], &[], &mut |_, _| Ok(std::ops::ControlFlow::Continue(())));
    assert_eq!(scanned.as_ref().err().map(Error::kind), Some(ErrorKind::Corrupt), "{scanned:?}");
}
