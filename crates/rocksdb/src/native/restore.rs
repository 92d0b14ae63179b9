//! A database rebuilt from native snapshots, of this job or of Flink, at any parallelism.
//!
//! One snapshot is opened where its files are put. With several, the one that has most of the key groups is opened, and
//! the files of the others are taken over as they are: key groups of different snapshots never overlap. Last, whatever
//! belongs to other subtasks is cut off. No entry is read or written one by one.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use highwater_checkpoint::{CancelToken, IncrementalHandle, StateOpener, StreamHandle};
use highwater_state::{ByteStoreContext, FileRestore};
use highwater_types::{Error, KeyGroupRange, Result};
use rust_rocksdb::{IngestExternalFileOptions, Options, ReadOptions};

use super::clip::KeySpace;
use super::is_table;
use super::manifest;
use super::table;
use super::transfer::transfer;
use super::uploads::Uploads;
use crate::Layers;
use crate::database::{Database, Db, open_read_only, open_still};
use crate::directories::InstanceDirectory;
use crate::error::{failed, is_of_the_machine};

/// How often somebody who waits for RocksDB looks whether the restore was cancelled.
const LOOK: Duration = Duration::from_millis(50);

/// Rebuilds the database of a store in its instance directory.
pub(crate) fn restore(
    directory: InstanceDirectory,
    layers: &Layers,
    context: &ByteStoreContext,
    from: &FileRestore<'_>,
) -> Result<(Arc<Database>, Uploads)> {
    let keys = KeySpace::new(context.max_parallelism);
    let (range, settings) = (context.range, layers.settings());
    let base = choose_base(from.handles, range, settings.restore_overlap_fraction);
    let cancel = from.opener.cancel_token();
    let sources: Vec<Source<'_>> = from
        .handles
        .iter()
        .enumerate()
        .map(|(index, handle)| Source {
            handle,
            path: match Some(index) == base {
                true => directory.database(),
                false => directory.path().join(format!("restore-{index}")),
            },
        })
        .collect();
    download(&sources, from.opener, settings.transfer_threads)?;

    let base = base.and_then(|index| sources.get(index));
    let families = match base {
        Some(base) => base.families()?,
        None => Vec::new(),
    };
    let database = match base {
        Some(base) => {
            base.check(layers, &families, &cancel)?;
            let opened = Database::try_open(directory, layers.clone(), &families)?;
            opened.map_err(|cause| base.damaged(cause))?
        }
        None => Database::open(directory, layers.clone(), &families)?,
    };
    if let (Some(base), 1) = (base, sources.len())
        && base.handle.range == range
    {
        let uploads = if from.is_own { Uploads::continuing(base.handle) } else { Uploads::new() };
        return Ok((database, uploads));
    }

    if let Some(base) = base
        && sources.len() > 1
    {
        keys.purge(database.db(), &families, base.handle.range)?;
    }
    for source in sources.iter().filter(|source| base.is_none_or(|base| base.path != source.path)) {
        cancel.check_restore()?;
        source.take_over(&database, layers, keys, &cancel)?;
    }
    keys.clip(database.db(), range)?;
    Ok((database, Uploads::new()))
}

/// The snapshot to open in place: the only one, or the one that has most of the key groups, if it has enough of them.
fn choose_base(handles: &[IncrementalHandle], range: KeyGroupRange, fraction: f64) -> Option<usize> {
    let overlap = |handle: &IncrementalHandle| handle.range.intersection(range).map_or(0, KeyGroupRange::count);
    let is_enough = |handle: &&IncrementalHandle| {
        handles.len() == 1 || overlap(handle) as f64 >= fraction * handle.range.count() as f64
    };
    let best = handles.iter().filter(is_enough).max_by_key(|handle| overlap(handle))?;
    handles.iter().position(|handle| std::ptr::eq(handle, best))
}

/// A snapshot and where its files are put.
struct Source<'a> {
    handle: &'a IncrementalHandle,
    path: PathBuf,
}

/// Downloads the files of all snapshots under their local names.
fn download(sources: &[Source<'_>], opener: &dyn StateOpener, threads: usize) -> Result<()> {
    let mut files = Vec::new();
    for source in sources {
        fs::create_dir_all(&source.path).map_err(|error| unusable(&source.path, error))?;
        for (name, stream) in source.files() {
            files.push((name, local_path(&source.path, name)?, stream));
        }
    }
    // Tables never change. The others belong to this database alone: an option can make RocksDB write to them.
    let fetch = |(name, path, stream): &(&str, PathBuf, &StreamHandle)| match is_table(name) {
        true => opener.fetch_file(stream, path),
        false => opener.copy_file(stream, path),
    };
    match transfer(threads, &files, fetch).1 {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Where a file of a database goes. Its name comes from the snapshot and must stay within the directory.
fn local_path(directory: &Path, name: &str) -> Result<PathBuf> {
    let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
    match is_plain {
        true => Ok(directory.join(name)),
        false => Err(Error::corrupt("the snapshot names a file by an impossible path").with("file", name)),
    }
}

impl Source<'_> {
    fn files(&self) -> impl Iterator<Item = (&str, &StreamHandle)> {
        self.handle.shared.iter().chain(&self.handle.private).map(|(name, stream)| (name.as_str(), stream))
    }

    /// The column families of the database, whose files are looked at first.
    fn families(&self) -> Result<Vec<String>> {
        self.check_formats()?;
        for (name, _) in self.files().filter(|(name, _)| name.starts_with("MANIFEST-")) {
            let path = local_path(&self.path, name)?;
            let bytes = fs::read(&path).map_err(|error| unusable(&path, error))?;
            if !manifest::is_complete(&bytes) {
                return Err(self.not_whole().with("found", self.place_of(name)));
            }
        }
        Db::list_cf(&Options::default(), &self.path).map_err(|cause| self.damaged(cause))
    }

    /// Looks for files that are whole, but in a format that is not read here: RocksDB would call them damaged.
    fn check_formats(&self) -> Result<()> {
        for (name, _) in self.files() {
            if name.ends_with(".blob") {
                return Err(self.unsupported(name, "a blob file"));
            }
            if is_table(name) {
                let path = local_path(&self.path, name)?;
                if let Some(found) = table::unreadable(&path).map_err(|error| unusable(&path, error))? {
                    return Err(self.unsupported(name, found));
                }
            }
        }
        Ok(())
    }

    /// Looks whether the database is whole, before it begins to change.
    fn check(&self, layers: &Layers, families: &[String], cancel: &CancelToken) -> Result<()> {
        let db = open_read_only(layers, &self.path, families)?.map_err(|cause| self.damaged(cause))?;
        self.verify(&Arc::new(db), cancel)
    }

    /// Reads all files once: what is damaged must show now, and not when a record meets it.
    ///
    /// Past the block cache, in which a file is known by the number it was made under. Files of Flink 1.x do not carry
    /// that number, and here, unlike in an open database, RocksDB knows no other: their indexes would be taken for one
    /// another, and sound files for damaged ones.
    ///
    /// On a thread of its own, because this takes as long as it takes to read all state, and RocksDB cannot be
    /// interrupted in it: a restore that is cancelled leaves the thread to itself, which changes nothing.
    fn verify(&self, db: &Arc<Db>, cancel: &CancelToken) -> Result<()> {
        self.verify_tables(db)?;
        let (result, verified) = mpsc::channel();
        let of_thread = Arc::clone(db);
        let verify = move || {
            let mut reads = ReadOptions::default();
            reads.fill_cache(false);
            // Who was cancelled does not wait for it.
            let _ = result.send(of_thread.verify_checksum_opt(&reads));
        };
        let thread = thread::Builder::new().name("verify".to_owned()).spawn(verify);
        let thread =
            thread.map_err(|error| Error::storage("a background thread could not be started").because(error))?;
        let verified = loop {
            match verified.recv_timeout(LOOK) {
                Ok(verified) => break Some(verified),
                Err(RecvTimeoutError::Timeout) => cancel.check_restore()?,
                Err(RecvTimeoutError::Disconnected) => break None,
            }
        };
        // The database is closed when the caller drops it.
        match (thread.join(), verified) {
            (Ok(()), Some(verified)) => verified.map_err(|cause| self.damaged(cause)),
            _ => Err(Error::internal("the thread that verifies a snapshot panicked")),
        }
    }

    /// Whether the database knows all tables of the snapshot: those that it has not heard of it would delete.
    fn verify_tables(&self, db: &Db) -> Result<()> {
        let live = db.live_files().map_err(|cause| self.damaged(cause))?;
        let live: HashSet<&str> = live.iter().map(|file| file.name.trim_start_matches('/')).collect();
        match self.handle.shared.iter().find(|(name, _)| is_table(name) && !live.contains(name.as_str())) {
            Some((name, _)) => Err(self.not_whole().with("found", format_args!("no {name} in the manifest"))),
            None => Ok(()),
        }
    }

    /// Adds the files of this snapshot to a database that has nothing of its key groups.
    fn take_over(&self, database: &Arc<Database>, layers: &Layers, keys: KeySpace, cancel: &CancelToken) -> Result<()> {
        let families = self.families()?;
        let db = open_still(layers, &self.path, &families)?.map_err(|cause| self.damaged(cause))?;
        let db = Arc::new(db);
        self.verify(&db, cancel)?;
        keys.purge(&db, &families, self.handle.range)?;
        // Bottommost level first, and oldest first within level 0.
        let mut files = db.live_files().map_err(|cause| self.damaged(cause))?;
        files.reverse();
        files.sort_by_key(|file| std::cmp::Reverse(file.level));
        let mut ingest = IngestExternalFileOptions::default();
        ingest.set_allow_db_generated_files(true);
        ingest.set_snapshot_consistency(false);
        ingest.set_allow_blocking_flush(false);
        ingest.set_link_files(true);
        ingest.set_fill_cache(false);
        for family in &families {
            let of_family = files.iter().filter(|file| file.column_family_name == *family);
            let paths: Vec<PathBuf> =
                of_family.map(|file| Path::new(&file.directory).join(file.name.trim_start_matches('/'))).collect();
            if paths.is_empty() {
                continue;
            }
            let target = database.family(family)?;
            let cannot = |cause| failed("take over the files of a snapshot", database.path(), cause);
            database.db().ingest_external_file_cf_opts(&target, &ingest, paths).map_err(cannot)?;
        }
        drop(db);
        fs::remove_dir_all(&self.path).map_err(|error| unusable(&self.path, error))
    }

    /// What RocksDB says of files that were just downloaded: unless the machine is at fault, they are not what they
    /// should be.
    #[cold]
    fn damaged(&self, cause: rust_rocksdb::Error) -> Error {
        match is_of_the_machine(&cause) {
            true => failed("open a snapshot", &self.path, cause),
            false => self.not_whole().with("found", self.name_of(&cause)).because(cause),
        }
    }

    #[cold]
    fn unsupported(&self, file: &str, found: &str) -> Error {
        Error::unsupported(
            "a file of the snapshot is in a format that this RocksDB does not read (Flink wrote version 0 before 1.14): take a \
             canonical savepoint with the Flink that wrote it, and restore that",
        )
        .with("checkpoint", self.handle.checkpoint_id)
        .with("file", self.place_of(file))
        .with("expected", "block-based tables of format version 2 or later")
        .with("found", found)
    }

    #[cold]
    fn not_whole(&self) -> Error {
        Error::corrupt("the files of the snapshot do not make a database: use another snapshot")
            .with("checkpoint", self.handle.checkpoint_id)
            .with("key groups", self.handle.range)
    }

    /// The place in the checkpoint of the file that an error names.
    fn name_of(&self, cause: &rust_rocksdb::Error) -> String {
        let text: &str = cause.as_ref();
        let named = |(name, _): &(&str, _)| text.contains(*name);
        match self.files().filter(|(name, _)| is_table(name)).find(named).or_else(|| self.files().find(named)) {
            // RocksDB blames it for tables that it could not open, too.
            Some((name, _)) if name.starts_with("MANIFEST-") => format!("{}, or a table in it", self.place_of(name)),
            Some((name, _)) => self.place_of(name),
            None => "no file in particular".to_owned(),
        }
    }

    /// The place of a file in the checkpoint.
    fn place_of(&self, file: &str) -> String {
        match self.files().find(|(name, _)| *name == file) {
            Some((name, StreamHandle::File { path, .. } | StreamHandle::RelativeFile { path, .. })) => {
                format!("{name}, stored as {path}")
            }
            _ => format!("{file}, stored within the metadata"),
        }
    }
}

#[cold]
fn unusable(directory: &Path, error: std::io::Error) -> Error {
    Error::storage("the local directory of a store cannot be used")
        .with("directory", directory.display())
        .because(error)
}
