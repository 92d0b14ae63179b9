//! Keyed state in [fjall](https://docs.rs/fjall), a log-structured store in Rust: all that a state backend of one's own
//! takes. Read it from top to bottom: the store, its frozen view, the factory, the backend.
//!
//! Highwater turns state into ordered bytes, keys and values as Flink's RocksDB backend lays them out, and asks a store
//! only to keep them. Values, lists, maps, checkpoints, rescaling, restoring what another backend wrote: none of it is
//! here, all of it works.

use std::fmt;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Slice, Snapshot};
use highwater::state::{
    ByteStore, ByteStoreContext, ByteStoreFactory, ColumnId, FrozenBytes, LIST_DELIMITER, VisitEntry,
};
use highwater::{ConfigOption, Configuration, CustomStateBackend, Error, KeyedStore, MemorySize, Result, StateBackend};
use tempfile::TempDir;

// ---- 1. The store ---------------------------------------------------------------------------------------------------

/// The state of one subtask of an operator: a fjall database in a directory of its own. Only one thread ever calls it.
struct FjallStore {
    /// One keyspace for every column, and so for every state; the number of a column is the position here.
    keyspaces: Vec<Keyspace>,
    /// Names of the columns. They may be any string, which a keyspace's name may not: those are called by number.
    names: Vec<String>,
    /// Bytes that were put into the memory table of each keyspace since it was last handed over to be written.
    gathered: Vec<u64>,
    memtable: MemorySize,
    files: Arc<Files>,
}

/// What store and frozen views share. The last of them to go closes the database, then removes its directory: fields
/// are dropped in their order.
struct Files {
    database: Database,
    directory: TempDir,
}

impl FjallStore {
    fn open(directory: TempDir, memtable: MemorySize) -> Result<Self> {
        // Nothing has to outlive a crash: a job that comes back rebuilds its state from a checkpoint. fjall's journal
        // cannot be turned off, but it need not be handed to the operating system with every write.
        let database = Database::builder(directory.path()).manual_journal_persist(true).worker_threads(1).open();
        let database = database.map_err(|cause| {
            Error::storage("cannot open a fjall database").with("directory", directory.path().display()).because(cause)
        })?;
        let files = Arc::new(Files { database, directory });
        Ok(Self { keyspaces: Vec::new(), names: Vec::new(), gathered: Vec::new(), memtable, files })
    }

    /// Accounts for a write, and hands a full memory table over to the background thread, which makes a file of it.
    ///
    /// fjall would do that itself, but asks for it with every write into a full table: a fast job fills the queue of
    /// requests, and then the thread that works it off waits for a place in it. No file is ever written again, and the
    /// memory table grows until memory is gone (<https://github.com/fjall-rs/fjall/pull/323>). So the limit of fjall is
    /// put out of reach, and the store asks, once for each table.
    fn written(&mut self, column: ColumnId, bytes: usize) -> Result<()> {
        let keyspace = keyspace(&self.keyspaces, column)?;
        let Some(gathered) = self.gathered.get_mut(column.index()) else { return Ok(()) };
        *gathered += bytes as u64 + ENTRY;
        if *gathered < self.memtable.bytes() {
            return Ok(());
        }
        // The job waits where the disk is slower than it is. fjall waits for its background thread even where that has
        // died of an error of the disk; `persist` reports the error.
        while keyspace.sealed_memtable_count() >= MEMTABLES_TO_WRITE {
            self.files.database.persist(PersistMode::Buffer).map_err(failed(keyspace))?;
            std::thread::sleep(Duration::from_millis(1));
        }
        keyspace.rotate_memtable().map_err(failed(keyspace))?;
        *gathered = 0;
        Ok(())
    }
}

/// What an entry takes in a memory table besides its key and value, roughly.
const ENTRY: u64 = 64;
/// So many full memory tables of a keyspace may wait to be written.
const MEMTABLES_TO_WRITE: usize = 2;

impl ByteStore for FjallStore {
    fn column(&mut self, name: &str) -> Result<ColumnId> {
        let known = self.names.iter().position(|known| known == name);
        let index = known.unwrap_or(self.names.len());
        let number = u32::try_from(index).map_err(|_| Error::program("there are more columns than can be numbered"))?;
        if known.is_none() {
            let options = || KeyspaceCreateOptions::default().manual_journal_persist(true).max_memtable_size(u64::MAX);
            let keyspace = self.files.database.keyspace(&number.to_string(), options).map_err(|cause| {
                let directory = self.files.directory.path().display();
                Error::storage("cannot make a keyspace").with("directory", directory).with("state", name).because(cause)
            })?;
            self.keyspaces.push(keyspace);
            self.names.push(name.to_owned());
            self.gathered.push(0);
        }
        Ok(ColumnId::new(number))
    }

    fn get(&self, column: ColumnId, key: &[u8], read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        let keyspace = keyspace(&self.keyspaces, column)?;
        lend(keyspace, keyspace.get(stored(key)?), read)
    }

    fn put(&mut self, column: ColumnId, key: &[u8], value: &[u8]) -> Result<()> {
        let keyspace = keyspace(&self.keyspaces, column)?;
        keyspace.insert(stored(key)?, storable(value)?).map_err(failed(keyspace))?;
        self.written(column, key.len() + value.len())
    }

    fn delete(&mut self, column: ColumnId, key: &[u8]) -> Result<()> {
        let keyspace = keyspace(&self.keyspaces, column)?;
        keyspace.remove(stored(key)?).map_err(failed(keyspace))?;
        self.written(column, key.len())
    }

    /// fjall cannot append, so this reads, joins and writes: fine for short lists. A list of thousands of elements is
    /// better off in a store that can (RocksDB's merge): every addition copies all of it.
    fn append(&mut self, column: ColumnId, key: &[u8], elements: &[u8]) -> Result<()> {
        let keyspace = keyspace(&self.keyspaces, column)?;
        match keyspace.get(stored(key)?).map_err(failed(keyspace))? {
            Some(old) => self.put(column, key, &[&*old, &[LIST_DELIMITER], elements].concat()),
            None => self.put(column, key, elements),
        }
    }

    fn scan(&self, column: ColumnId, prefix: &[u8], from: &[u8], visit: &mut VisitEntry<'_>) -> Result<()> {
        let keyspace = keyspace(&self.keyspaces, column)?;
        // The greater of the two is where the first entry can be: no key of the prefix is below the prefix itself.
        visit_all(keyspace, keyspace.range(stored(prefix.max(from))?..), prefix, visit)
    }

    fn delete_range(&mut self, column: ColumnId, start: &[u8], end: &[u8]) -> Result<()> {
        let keyspace = keyspace(&self.keyspaces, column)?.clone();
        if start >= end {
            return Ok(());
        }
        // An iterator of fjall reads a snapshot, so removing what it stands on does no harm.
        for entry in keyspace.range(stored(start)?..stored(end)?) {
            let key = entry.key().map_err(failed(&keyspace))?;
            let bytes = key.len();
            keyspace.remove(key).map_err(failed(&keyspace))?;
            self.written(column, bytes)?;
        }
        Ok(())
    }

    /// The job stands still for this. A snapshot of fjall is a number: it copies nothing.
    fn freeze(&mut self) -> Result<Box<dyn FrozenBytes>> {
        Ok(Box::new(FrozenFjall {
            snapshot: self.files.database.snapshot(),
            keyspaces: self.keyspaces.clone(),
            _files: Arc::clone(&self.files),
        }))
    }

    fn approximate_size(&self, column: ColumnId) -> Option<u64> {
        self.keyspaces.get(column.index()).map(Keyspace::disk_space)
    }

    // The rest of the trait has defaults that will do: `multi_get`, `write` and `load` go one by one, and snapshots are
    // streams in Flink's canonical format, which every other backend restores.
}

// ---- 2. The frozen view ---------------------------------------------------------------------------------------------

/// All columns as they were. Background threads write it into the checkpoint while the store goes on, and it may be the
/// last to be dropped: it holds the files too.
struct FrozenFjall {
    snapshot: Snapshot,
    keyspaces: Vec<Keyspace>,
    _files: Arc<Files>,
}

impl FrozenBytes for FrozenFjall {
    fn get(&self, column: ColumnId, key: &[u8], read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        let keyspace = keyspace(&self.keyspaces, column)?;
        lend(keyspace, self.snapshot.get(keyspace, stored(key)?), read)
    }

    fn scan(&self, column: ColumnId, prefix: &[u8], from: &[u8], visit: &mut VisitEntry<'_>) -> Result<()> {
        let keyspace = keyspace(&self.keyspaces, column)?;
        visit_all(keyspace, self.snapshot.range(keyspace, stored(prefix.max(from))?..), prefix, visit)
    }
}

// What both need. ------------------------------------------------------------------------------------------------------

fn keyspace(keyspaces: &[Keyspace], column: ColumnId) -> Result<&Keyspace> {
    keyspaces.get(column.index()).ok_or_else(|| Error::internal("no such column").with("column", column.get()))
}

/// The key as fjall has it. A key of Highwater may be empty, one of fjall may not: each gets the same byte in front,
/// which leaves the order as it is. fjall panics at keys that are too long, so they are refused here.
fn stored(key: &[u8]) -> Result<Vec<u8>> {
    if key.len() >= usize::from(u16::MAX) {
        return Err(Error::unsupported("a key is too long for fjall").with("bytes", key.len()).with("limit", "65534"));
    }
    Ok([FRONT, key].concat())
}

const FRONT: &[u8] = b"k";

/// fjall panics at values that are too long as well.
fn storable(value: &[u8]) -> Result<&[u8]> {
    match u32::try_from(value.len()) {
        Ok(_) => Ok(value),
        Err(_) => Err(Error::unsupported("a value is too long for fjall").with("bytes", value.len())),
    }
}

/// A value of fjall is a reference to where the bytes lie: they are lent to `read`, not copied.
fn lend(
    keyspace: &Keyspace,
    found: fjall::Result<Option<Slice>>,
    read: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<bool> {
    match found.map_err(failed(keyspace))? {
        Some(value) => read(&value).map(|()| true),
        None => Ok(false),
    }
}

fn visit_all(keyspace: &Keyspace, entries: fjall::Iter, prefix: &[u8], visit: &mut VisitEntry<'_>) -> Result<()> {
    for entry in entries {
        let (key, value) = entry.into_inner().map_err(failed(keyspace))?;
        let key = key.strip_prefix(FRONT).unwrap_or_default();
        if !key.starts_with(prefix) || visit(key, &value)? == ControlFlow::Break(()) {
            break;
        }
    }
    Ok(())
}

/// An error ends the attempt, and the job goes back to its last checkpoint. It says where, and keeps the cause.
fn failed(keyspace: &Keyspace) -> impl Fn(fjall::Error) -> Error {
    move |cause| Error::storage("fjall failed").with("directory", keyspace.path().display()).because(cause)
}

// ---- 3. The factory -------------------------------------------------------------------------------------------------

/// Makes the stores. One factory serves all threads of a job; it holds nothing but settings.
#[derive(Clone, Debug)]
pub(crate) struct FjallStoreFactory {
    directory: Option<PathBuf>,
    memtable: MemorySize,
}

impl FjallStoreFactory {
    pub(crate) fn new(directory: Option<PathBuf>, memtable: MemorySize) -> Self {
        Self { directory, memtable }
    }
}

impl ByteStoreFactory for FjallStoreFactory {
    /// A store starts empty: what a checkpoint holds is put into it afterwards. So it gets a new directory each time. A
    /// process that is killed leaves the directory behind; nobody reads it again.
    fn create(&self, context: &ByteStoreContext) -> Result<Box<dyn ByteStore>> {
        let parent = self.directory.clone().or_else(|| context.directory.clone()).unwrap_or_else(std::env::temp_dir);
        let prefix = format!("fjall-{}-", context.operator);
        let directory = fs::create_dir_all(&parent)
            .and_then(|()| tempfile::Builder::new().prefix(&prefix).tempdir_in(&parent))
            .map_err(|cause| {
                Error::storage("cannot make a directory for state").with("below", parent.display()).because(cause)
            })?;
        Ok(Box::new(FjallStore::open(directory, self.memtable)?))
    }
}

// ---- 4. The backend -------------------------------------------------------------------------------------------------

/// Where the databases go.
static DIRECTORY: ConfigOption<Option<String>> = ConfigOption::optional(
    "state.backend.fjall.localdir",
    "Directory for working state. Default: the directory of the system for temporary files.",
);

/// How much of a state is gathered in memory before it is written to a file.
static MEMTABLE: ConfigOption<MemorySize> =
    ConfigOption::new("state.backend.fjall.memtable-size", "16 mb", "Size of the memory table of one state.");

/// What a program or a configuration says about it: settings that may be unset. `Display` is for the logs.
#[derive(Clone, Debug, Default)]
pub(crate) struct FjallStateBackend {
    directory: Option<PathBuf>,
    memtable: Option<MemorySize>,
}

impl FjallStateBackend {
    /// The backend that a configuration describes: what a `BackendRegistry` keeps under a name. The wrapper is not
    /// needed; it says that the backend is none of Flink's.
    pub(crate) fn from_configuration(configuration: &Configuration) -> Result<Arc<dyn StateBackend>> {
        CustomStateBackend::new(Self::default()).configure(configuration)
    }
}

impl StateBackend for FjallStateBackend {
    fn name(&self) -> &str {
        "FjallStateBackend"
    }

    /// Every setting is the program's, else the configuration's, else the default.
    fn configure(&self, configuration: &Configuration) -> Result<Arc<dyn StateBackend>> {
        let directory = match &self.directory {
            Some(directory) => Some(directory.clone()),
            None => configuration.get(&DIRECTORY)?.map(PathBuf::from),
        };
        let memtable = match self.memtable {
            Some(size) => size,
            None => configuration.get(&MEMTABLE)?,
        };
        Ok(Arc::new(Self { directory, memtable: Some(memtable) }))
    }

    /// The one thing that matters: keyed state goes to the stores of this factory. Where checkpoints go is left to the
    /// job, `execution.checkpointing.dir`.
    fn keyed_store(&self) -> KeyedStore {
        let memtable = self.memtable.unwrap_or(MemorySize::from_mebibytes(16));
        KeyedStore::Bytes(Arc::new(FjallStoreFactory::new(self.directory.clone(), memtable)))
    }
}

impl fmt::Display for FjallStateBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.directory.as_ref().map_or("null".into(), |directory| directory.to_string_lossy());
        let memtable = self.memtable.map_or("null".to_owned(), |size| size.to_string());
        write!(f, "FjallStateBackend (directory: '{directory}', memory table: {memtable})")
    }
}
