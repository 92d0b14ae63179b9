//! A file system in memory that remembers what a crash would leave.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Cursor, Write};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use highwater_types::{Error, Result};

use super::{DirEntry, FileLock, FileStat, FileSystem, FileWriter, Syncer, file_error};
use crate::{StateReader, StoragePath};

type NodeId = usize;
type Entries = BTreeMap<String, NodeId>;
const ROOT: NodeId = 0;

/// A file system in memory for tests of durability (feature `testing`).
///
/// It knows written from synced bytes, and changed from synced directory entries; it counts every operation that
/// changes something, can be cut after any of them, and yields the *crash image*: what a disk may hold afterwards.
/// It also injects failures that are not crashes. Scheme and authority of paths are ignored; clones share the disk.
///
/// ```
/// use highwater_checkpoint::{CrashFileSystem, FileSystem, StoragePath, Survival};
/// use std::io::Write;
///
/// let fs = CrashFileSystem::new();
/// let dir = StoragePath::parse("file:///d")?;
/// fs.create_dir_all(&dir)?;
/// fs.sync_dir(&StoragePath::parse("file:///")?)?;
/// for name in ["synced", "forgotten"] {
///     let mut file = fs.create_new(&dir.join(name))?;
///     file.write_all(b"bytes").unwrap();
///     if name == "synced" {
///         file.sync()?;
///         fs.sync_dir(&dir)?;
///     }
/// }
/// let image = fs.image(Survival::SyncedOnly);
/// assert_eq!(image.files().into_keys().collect::<Vec<_>>(), ["/d/synced"]);
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct CrashFileSystem(Arc<Mutex<Disk>>);

/// What of the unsynced changes a crash leaves on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Only what was synced: the machine lost power at the worst moment.
    SyncedOnly,
    /// Everything: the process was killed, the machine went on.
    Everything,
    /// What was synced, and a choice of the rest made by this seed: each change of a directory survives or not, each
    /// file keeps some of its unsynced bytes, or zeros in their place.
    Random(u64),
}

impl CrashFileSystem {
    /// An empty file system.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Operations that changed something so far: create, write, sync, rename, remove, each directory made.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.disk().log.len() as u64
    }

    /// One line for each operation, for the message of a failing test.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.disk().log.clone()
    }

    /// Lets `operations` more operations happen; then everything fails, reading too, as if the process had died.
    pub fn cut_after(&self, operations: u64) {
        let mut disk = self.disk();
        disk.cut = Some(disk.log.len() as u64 + operations);
    }

    /// Fails the operations with these numbers, counted from 1 for the next one, and lets all others pass. A write
    /// that fails has written half of its bytes.
    pub fn fail(&self, operations: RangeInclusive<u64>, kind: io::ErrorKind) {
        let mut disk = self.disk();
        let done = disk.log.len() as u64;
        let (first, last) = operations.into_inner();
        disk.faults.push((done.saturating_add(first)..=done.saturating_add(last), kind));
    }

    /// Ends all injected failures; a cut stays.
    pub fn heal(&self) {
        self.disk().faults.clear();
    }

    /// What a crash at this moment would leave: a new file system, all of it synced, with no lock held.
    #[must_use]
    pub fn image(&self, survival: Survival) -> Self {
        let disk = self.disk();
        let mut random = Random(match survival {
            Survival::Random(seed) => seed,
            _ => 0,
        });
        let survivors = disk.surviving_entries(survival, &mut random);
        let mut image = Disk::default();
        disk.copy_into(&mut image, ROOT, ROOT, &survivors, survival, &mut random);
        Self(Arc::new(Mutex::new(image)))
    }

    /// Path and bytes of every file, synced or not.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        self.disk().collect_files(ROOT, "", &mut files);
        files
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on<T>(
        &self,
        path: &StoragePath,
        action: &str,
        run: impl FnOnce(&mut Disk, &[&str]) -> io::Result<T>,
    ) -> Result<T> {
        let segments: Vec<&str> = path.path().split('/').filter(|s| !s.is_empty()).collect();
        let mut disk = self.disk();
        disk.check_alive().and_then(|()| run(&mut disk, &segments)).map_err(|error| file_error(action, path, error))
    }
}

impl fmt::Debug for CrashFileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrashFileSystem").field("operations", &self.operations()).finish_non_exhaustive()
    }
}

enum Node {
    /// Bytes are only ever appended, so the synced ones are a prefix.
    File { bytes: Vec<u8>, synced: usize },
    /// Entries as the process sees them, and as the disk holds them.
    Directory { entries: Entries, durable: Entries },
}

/// A change of directory entries that is not synced yet.
#[derive(Clone)]
enum Change {
    Link { dir: NodeId, name: String, node: NodeId },
    Unlink { dir: NodeId, name: String },
    Rename { from: (NodeId, String), to: (NodeId, String), node: NodeId },
}

struct Disk {
    nodes: Vec<Node>,
    pending: Vec<Change>,
    locks: BTreeSet<String>,
    log: Vec<String>,
    cut: Option<u64>,
    faults: Vec<(RangeInclusive<u64>, io::ErrorKind)>,
}

impl Default for Disk {
    fn default() -> Self {
        let root = Node::Directory { entries: Entries::new(), durable: Entries::new() };
        Self {
            nodes: vec![root],
            pending: Vec::new(),
            locks: BTreeSet::new(),
            log: Vec::new(),
            cut: None,
            faults: Vec::new(),
        }
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn crashed() -> io::Error {
    io::Error::other("simulated crash")
}

impl Disk {
    fn check_alive(&self) -> io::Result<()> {
        match self.cut {
            Some(cut) if self.log.len() as u64 >= cut => Err(crashed()),
            _ => Ok(()),
        }
    }

    /// Counts an operation that changes something, and fails it where a fault was planned.
    fn operate(&mut self, what: impl fmt::Display) -> io::Result<()> {
        self.check_alive()?;
        self.log.push(what.to_string());
        let number = self.log.len() as u64;
        match self.faults.iter().find(|(range, _)| range.contains(&number)) {
            Some((_, kind)) => Err(io::Error::new(*kind, "injected failure")),
            None => Ok(()),
        }
    }

    fn find(&self, path: &[&str]) -> io::Result<NodeId> {
        path.iter().try_fold(ROOT, |dir, name| self.entries(dir)?.get(*name).copied().ok_or_else(not_found))
    }

    fn entries(&self, dir: NodeId) -> io::Result<&Entries> {
        match self.nodes.get(dir) {
            Some(Node::Directory { entries, .. }) => Ok(entries),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn entries_mut(&mut self, dir: NodeId) -> io::Result<&mut Entries> {
        match self.nodes.get_mut(dir) {
            Some(Node::Directory { entries, .. }) => Ok(entries),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// The directory of a path, and the name within it.
    fn locate<'a>(&self, path: &[&'a str]) -> io::Result<(NodeId, &'a str)> {
        let (name, dir) = path.split_last().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.find(dir)?, name))
    }

    fn link(&mut self, dir: NodeId, name: &str, node: Node) -> io::Result<NodeId> {
        let id = self.nodes.len();
        self.entries_mut(dir)?.insert(name.to_owned(), id);
        self.nodes.push(node);
        self.pending.push(Change::Link { dir, name: name.to_owned(), node: id });
        Ok(id)
    }

    fn unlink(&mut self, dir: NodeId, name: &str) -> io::Result<()> {
        self.entries_mut(dir)?.remove(name);
        self.pending.push(Change::Unlink { dir, name: name.to_owned() });
        Ok(())
    }

    fn create_file(&mut self, path: &[&str]) -> io::Result<NodeId> {
        let (dir, name) = self.locate(path)?;
        if self.entries(dir)?.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.operate(format_args!("create {}", path.join("/")))?;
        self.link(dir, name, Node::File { bytes: Vec::new(), synced: 0 })
    }

    fn create_dirs(&mut self, path: &[&str]) -> io::Result<()> {
        let mut dir = ROOT;
        for name in path {
            dir = match self.entries(dir)?.get(*name) {
                Some(&id) => id,
                None => {
                    self.operate(format_args!("create directory {name} of {}", path.join("/")))?;
                    self.link(dir, name, Node::Directory { entries: Entries::new(), durable: Entries::new() })?
                }
            };
        }
        self.entries(dir).map(drop)
    }

    fn append(&mut self, file: NodeId, new: &[u8]) -> io::Result<()> {
        let outcome = self.operate(format_args!("write {} bytes", new.len()));
        let (written, _) = new.split_at(match &outcome {
            Ok(()) => new.len(),
            Err(_) if self.check_alive().is_ok() => new.len() / 2,
            Err(_) => 0,
        });
        if let Some(Node::File { bytes, .. }) = self.nodes.get_mut(file) {
            bytes.extend_from_slice(written);
        }
        outcome
    }

    fn sync_file(&mut self, file: NodeId) -> io::Result<()> {
        self.operate("sync a file")?;
        if let Some(Node::File { bytes, synced }) = self.nodes.get_mut(file) {
            *synced = bytes.len();
        }
        Ok(())
    }

    fn rename(&mut self, from: &[&str], to: &[&str]) -> io::Result<()> {
        let (from_dir, from_name) = self.locate(from)?;
        let (to_dir, to_name) = self.locate(to)?;
        let node = *self.entries(from_dir)?.get(from_name).ok_or_else(not_found)?;
        if self.entries(to_dir)?.contains_key(to_name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.operate(format_args!("rename {} to {}", from.join("/"), to.join("/")))?;
        self.entries_mut(from_dir)?.remove(from_name);
        self.entries_mut(to_dir)?.insert(to_name.to_owned(), node);
        let (from, to) = ((from_dir, from_name.to_owned()), (to_dir, to_name.to_owned()));
        self.pending.push(Change::Rename { from, to, node });
        Ok(())
    }

    fn remove_file(&mut self, path: &[&str]) -> io::Result<()> {
        let (dir, name) = self.locate(path)?;
        let node = *self.entries(dir)?.get(name).ok_or_else(not_found)?;
        if self.entries(node).is_ok() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.operate(format_args!("remove {}", path.join("/")))?;
        self.unlink(dir, name)
    }

    fn remove_dir(&mut self, path: &[&str]) -> io::Result<()> {
        let (dir, name) = self.locate(path)?;
        let node = *self.entries(dir)?.get(name).ok_or_else(not_found)?;
        if !self.entries(node)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.operate(format_args!("remove directory {}", path.join("/")))?;
        self.unlink(dir, name)
    }

    /// As the real thing: one operation for each entry, so that it can be cut half way.
    fn remove_dir_all(&mut self, path: &[&str]) -> io::Result<()> {
        let names: Vec<String> = self.entries(self.find(path)?)?.keys().cloned().collect();
        for name in &names {
            let mut child = path.to_vec();
            child.push(name);
            match self.entries(self.find(&child)?) {
                Ok(_) => self.remove_dir_all(&child)?,
                Err(_) => self.remove_file(&child)?,
            }
        }
        self.remove_dir(path)
    }

    fn sync_dir(&mut self, path: &[&str]) -> io::Result<()> {
        let id = self.find(path)?;
        self.operate(format_args!("sync directory {}", path.join("/")))?;
        if let Some(Node::Directory { entries, durable }) = self.nodes.get_mut(id) {
            *durable = entries.clone();
        }
        // Each half of a rename between directories is made durable by the sync of its own directory.
        self.pending = std::mem::take(&mut self.pending)
            .into_iter()
            .filter_map(|change| match change {
                Change::Link { dir, .. } | Change::Unlink { dir, .. } if dir == id => None,
                Change::Rename { from, to, .. } if from.0 == id && to.0 == id => None,
                Change::Rename { from, to, node } if from.0 == id => Some(Change::Link { dir: to.0, name: to.1, node }),
                Change::Rename { from, to, .. } if to.0 == id => Some(Change::Unlink { dir: from.0, name: from.1 }),
                other => Some(other),
            })
            .collect();
        Ok(())
    }

    /// The entries of every directory after a crash.
    fn surviving_entries(&self, survival: Survival, random: &mut Random) -> BTreeMap<NodeId, Entries> {
        let mut survivors = BTreeMap::new();
        for (id, node) in self.nodes.iter().enumerate() {
            if let Node::Directory { entries, durable } = node {
                survivors.insert(id, if survival == Survival::Everything { entries } else { durable }.clone());
            }
        }
        if let Survival::Random(_) = survival {
            for change in &self.pending {
                if random.next().is_multiple_of(2) {
                    change.apply(&mut survivors);
                }
            }
        }
        survivors
    }

    fn copy_into(
        &self,
        image: &mut Self,
        from: NodeId,
        to: NodeId,
        survivors: &BTreeMap<NodeId, Entries>,
        survival: Survival,
        random: &mut Random,
    ) {
        for (name, &id) in survivors.get(&from).into_iter().flatten() {
            let copy = image.nodes.len();
            match self.nodes.get(id) {
                Some(Node::File { bytes, synced }) => {
                    let bytes = surviving_bytes(bytes, *synced, survival, random);
                    image.nodes.push(Node::File { synced: bytes.len(), bytes });
                }
                _ => {
                    image.nodes.push(Node::Directory { entries: Entries::new(), durable: Entries::new() });
                    self.copy_into(image, id, copy, survivors, survival, random);
                }
            }
            if let Some(Node::Directory { entries, durable }) = image.nodes.get_mut(to) {
                entries.insert(name.clone(), copy);
                durable.insert(name.clone(), copy);
            }
        }
    }

    fn collect_files(&self, dir: NodeId, path: &str, files: &mut BTreeMap<String, Vec<u8>>) {
        for (name, &id) in self.entries(dir).into_iter().flatten() {
            let path = format!("{path}/{name}");
            match self.nodes.get(id) {
                Some(Node::File { bytes, .. }) => drop(files.insert(path, bytes.clone())),
                _ => self.collect_files(id, &path, files),
            }
        }
    }
}

impl Change {
    fn apply(&self, directories: &mut BTreeMap<NodeId, Entries>) {
        let (unlink, link) = match self {
            Self::Link { dir, name, node } => (None, Some((dir, name, node))),
            Self::Unlink { dir, name } => (Some((dir, name)), None),
            Self::Rename { from, to, node } => (Some((&from.0, &from.1)), Some((&to.0, &to.1, node))),
        };
        if let Some((dir, name)) = unlink {
            directories.entry(*dir).or_default().remove(name);
        }
        if let Some((dir, name, node)) = link {
            directories.entry(*dir).or_default().insert(name.clone(), *node);
        }
    }
}

fn surviving_bytes(bytes: &[u8], synced: usize, survival: Survival, random: &mut Random) -> Vec<u8> {
    let (durable, unsynced) = bytes.split_at(synced.min(bytes.len()));
    match survival {
        Survival::SyncedOnly => durable.to_vec(),
        Survival::Everything => bytes.to_vec(),
        Survival::Random(_) => {
            let length = (random.next() % (unsynced.len() as u64 + 1)) as usize;
            let zeros = random.next().is_multiple_of(4);
            let tail = unsynced.iter().take(length).map(|&byte| if zeros { 0 } else { byte });
            durable.iter().copied().chain(tail).collect()
        }
    }
}

/// SplitMix64: small, good enough, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Turns "there is nothing of that name" into success.
fn gone_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

impl FileSystem for CrashFileSystem {
    fn create_new(&self, path: &StoragePath) -> Result<Box<dyn FileWriter>> {
        let node = self.on(path, "create a file", |disk, p| disk.create_file(p))?;
        Ok(Box::new(CrashWriter { fs: self.clone(), node, path: path.clone() }))
    }

    fn open(&self, path: &StoragePath) -> Result<Box<dyn StateReader>> {
        let bytes = self.on(path, "open a file", |disk, p| match disk.nodes.get(disk.find(p)?) {
            Some(Node::File { bytes, .. }) => Ok(bytes.clone()),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        })?;
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn stat(&self, path: &StoragePath) -> Result<Option<FileStat>> {
        self.on(path, "look at a file", |disk, p| match disk.find(p) {
            Ok(id) => Ok(match disk.nodes.get(id) {
                Some(Node::File { bytes, .. }) => Some(FileStat { is_dir: false, size: bytes.len() as u64 }),
                _ => Some(FileStat { is_dir: true, size: 0 }),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
    }

    fn list(&self, dir: &StoragePath) -> Result<Vec<DirEntry>> {
        self.on(dir, "list a directory", |disk, p| match disk.find(p) {
            Ok(id) => Ok(disk
                .entries(id)?
                .iter()
                .map(|(name, &child)| DirEntry { name: name.clone(), is_dir: disk.entries(child).is_ok() })
                .collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        })
    }

    fn create_dir_all(&self, dir: &StoragePath) -> Result<()> {
        self.on(dir, "create a directory", |disk, p| disk.create_dirs(p))
    }

    fn rename(&self, from: &StoragePath, to: &StoragePath) -> Result<()> {
        let target: Vec<&str> = to.path().split('/').filter(|s| !s.is_empty()).collect();
        self.on(from, "rename a file", |disk, p| disk.rename(p, &target)).map_err(|error| error.with("new name", to))
    }

    fn remove_file(&self, path: &StoragePath) -> Result<()> {
        self.on(path, "remove a file", |disk, p| gone_is_fine(disk.remove_file(p)))
    }

    fn remove_dir(&self, dir: &StoragePath) -> Result<()> {
        self.on(dir, "remove an empty directory", |disk, p| gone_is_fine(disk.remove_dir(p)))
    }

    fn remove_dir_all(&self, dir: &StoragePath) -> Result<()> {
        self.on(dir, "remove a directory", |disk, p| gone_is_fine(disk.remove_dir_all(p)))
    }

    fn sync_dir(&self, dir: &StoragePath) -> Result<()> {
        self.on(dir, "sync a directory", |disk, p| disk.sync_dir(p))
    }

    fn lock(&self, path: &StoragePath) -> Result<Box<dyn FileLock>> {
        let taken = self.on(path, "lock a file", |disk, p| {
            if disk.find(p).is_err() {
                disk.create_file(p)?;
            }
            Ok(disk.locks.insert(path.path().to_owned()))
        })?;
        match taken {
            true => Ok(Box::new(CrashLock { fs: self.clone(), path: path.path().to_owned() })),
            false => Err(Error::storage("another process uses this directory").with("file", path)),
        }
    }
}

struct CrashWriter {
    fs: CrashFileSystem,
    node: NodeId,
    path: StoragePath,
}

impl Write for CrashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.fs.disk().append(self.node, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl FileWriter for CrashWriter {
    fn sync(&mut self) -> Result<()> {
        self.fs.disk().sync_file(self.node).map_err(|error| file_error("sync a file", &self.path, error))
    }

    fn syncer(&self) -> Result<Syncer> {
        let mut file = Self { fs: self.fs.clone(), node: self.node, path: self.path.clone() };
        Ok(Box::new(move || file.sync()))
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.fs.disk().check_alive().map_err(|error| file_error("close a file", &self.path, error))
    }
}

struct CrashLock {
    fs: CrashFileSystem,
    path: String,
}

impl fmt::Debug for CrashLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CrashLock({})", self.path)
    }
}

impl FileLock for CrashLock {}

impl Drop for CrashLock {
    fn drop(&mut self) {
        self.fs.disk().locks.remove(&self.path);
    }
}
