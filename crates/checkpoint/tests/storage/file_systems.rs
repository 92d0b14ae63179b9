//! What every file system behind the trait must do, for real files and for the one that simulates crashes.

use std::io::{self, Read, Seek, SeekFrom, Write};

use highwater_checkpoint::{
    CrashFileSystem, DirEntry, FileStat, FileSystem, LocalFileSystem, StoragePath, file_system_for, io_error_kind,
};
use highwater_types::{ErrorKind, Result};

use crate::support::{path, scratch};

fn on_each(test: impl Fn(&dyn FileSystem, &StoragePath)) {
    let (_guard, directory) = scratch();
    test(&LocalFileSystem, &directory);
    let fs = CrashFileSystem::new();
    fs.create_dir_all(&path("file:///some/where")).unwrap();
    test(&fs, &path("file:///some/where"));
}

fn write(fs: &dyn FileSystem, file: &StoragePath, bytes: &[u8]) {
    let mut writer = fs.create_new(file).unwrap();
    writer.write_all(bytes).unwrap();
    writer.sync().unwrap();
    writer.close().unwrap();
}

fn read(fs: &dyn FileSystem, file: &StoragePath) -> Vec<u8> {
    let mut bytes = Vec::new();
    fs.open(file).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// The error is one of storage, names the path, and has this cause.
fn assert_fails<T>(outcome: Result<T>, file: &StoragePath, kind: io::ErrorKind) {
    let error = outcome.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
    assert_eq!(error.value("file"), Some(file.to_string().as_str()), "{error}");
    assert_eq!(io_error_kind(&error), Some(kind), "{error}");
}

#[test]
fn files_are_written_once() {
    on_each(|fs, dir| {
        let file = dir.join("file");
        write(fs, &file, b"first");
        assert_fails(fs.create_new(&file), &file, io::ErrorKind::AlreadyExists);
        assert_eq!(read(fs, &file), b"first");
        assert_fails(fs.create_new(&dir.join("no/file")), &dir.join("no/file"), io::ErrorKind::NotFound);
    });
}

#[test]
fn readers_seek() {
    on_each(|fs, dir| {
        write(fs, &dir.join("file"), b"0123456789");
        let mut reader = fs.open(&dir.join("file")).unwrap();
        reader.seek(SeekFrom::Start(7)).unwrap();
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "789");
        assert_fails(fs.open(&dir.join("gone")), &dir.join("gone"), io::ErrorKind::NotFound);
    });
}

#[test]
fn looking_and_listing() {
    on_each(|fs, dir| {
        assert_eq!(fs.stat(&dir.join("gone")).unwrap(), None);
        assert_eq!(fs.list(&dir.join("gone")).unwrap(), []);
        assert_eq!(fs.list(dir).unwrap(), []);
        for name in ["b", "a"] {
            write(fs, &dir.join(name), b"12345");
        }
        fs.create_dir_all(&dir.join("c/d")).unwrap();
        fs.create_dir_all(&dir.join("c/d")).unwrap();
        assert_eq!(fs.stat(&dir.join("a")).unwrap(), Some(FileStat { is_dir: false, size: 5 }));
        assert!(fs.stat(&dir.join("c/d")).unwrap().unwrap().is_dir);
        let entry = |name: &str, is_dir| DirEntry { name: name.into(), is_dir };
        assert_eq!(fs.list(dir).unwrap(), [entry("a", false), entry("b", false), entry("c", true)]);
        assert!(fs.create_dir_all(&dir.join("a/x")).is_err());
    });
}

#[test]
fn a_rename_replaces_nothing() {
    on_each(|fs, dir| {
        let (old, new) = (dir.join("old"), dir.join("new"));
        write(fs, &old, b"old");
        fs.rename(&old, &new).unwrap();
        assert_eq!((fs.stat(&old).unwrap(), read(fs, &new)), (None, b"old".to_vec()));

        write(fs, &old, b"other");
        assert_fails(fs.rename(&old, &new), &old, io::ErrorKind::AlreadyExists);
        assert_eq!((read(fs, &old), read(fs, &new)), (b"other".to_vec(), b"old".to_vec()));
        assert_fails(fs.rename(&dir.join("gone"), &dir.join("x")), &dir.join("gone"), io::ErrorKind::NotFound);

        fs.create_dir_all(&dir.join("sub")).unwrap();
        fs.rename(&new, &dir.join("sub/new")).unwrap();
        assert_eq!(read(fs, &dir.join("sub/new")), b"old");
    });
}

#[test]
fn removing_is_idempotent_and_careful() {
    on_each(|fs, dir| {
        write(fs, &dir.join("file"), b"");
        fs.remove_file(&dir.join("file")).unwrap();
        fs.remove_file(&dir.join("file")).unwrap();

        fs.create_dir_all(&dir.join("a/b")).unwrap();
        write(fs, &dir.join("a/b/file"), b"");
        assert_fails(fs.remove_dir(&dir.join("a")), &dir.join("a"), io::ErrorKind::DirectoryNotEmpty);
        assert!(fs.remove_file(&dir.join("a")).is_err());
        fs.remove_dir_all(&dir.join("a")).unwrap();
        assert_eq!(fs.stat(&dir.join("a")).unwrap(), None);
        fs.remove_dir_all(&dir.join("a")).unwrap();
        fs.remove_dir(&dir.join("a")).unwrap();
    });
}

#[test]
fn locks_are_exclusive_and_end_with_the_guard() {
    on_each(|fs, dir| {
        let file = dir.join(".lock");
        let held = fs.lock(&file).unwrap();
        assert_eq!(fs.lock(&file).err().unwrap().kind(), ErrorKind::Storage);
        drop(held);
        fs.lock(&file).unwrap();
    });
}

#[test]
fn directories_sync() {
    on_each(|fs, dir| {
        fs.sync_dir(dir).unwrap();
        assert_fails(fs.sync_dir(&dir.join("gone")), &dir.join("gone"), io::ErrorKind::NotFound);
    });
}

#[test]
fn the_scheme_chooses_the_file_system() {
    file_system_for(&path("file:///x")).unwrap();
    file_system_for(&path("relative")).unwrap();
    let error = file_system_for(&path("s3://bucket/x")).err().unwrap();
    assert_eq!((error.kind(), error.value("scheme")), (ErrorKind::Unsupported, Some("s3")));
    assert!(error.to_string().contains("unsupported file system scheme"), "{error}");
    assert_eq!(LocalFileSystem.stat(&path("s3://bucket/x")).unwrap_err().kind(), ErrorKind::Unsupported);
}
