//! What is tested, and how the suite comes to backends of it.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use highwater_checkpoint::{CancelToken, KeyedStateHandle, MemoryStreamFactory, SnapshotOpener};
use highwater_types::{DefaultSerializer, Error, ErrorKind, Key, KeyGroupRange, MaxParallelism, Result};
use tempfile::TempDir;

use crate::{ByteStore, ByteStoreContext, ByteStoreFactory, KeyedBackend, KeyedSnapshot, ReferenceStoreFactory};

/// The store under test, with a directory that is removed together with it.
#[derive(Debug)]
pub struct Subject {
    factory: Option<Arc<dyn ByteStoreFactory>>,
    directory: TempDir,
    stores: AtomicU64,
}

impl Subject {
    /// Keyed state on the heap.
    ///
    /// # Panics
    /// If there is no place for temporary files.
    #[must_use]
    pub fn heap() -> Self {
        Self::new(None)
    }

    /// Keyed state in the stores of this factory.
    ///
    /// # Panics
    /// If there is no place for temporary files.
    #[must_use]
    pub fn bytes(factory: impl ByteStoreFactory) -> Self {
        Self::new(Some(Arc::new(factory)))
    }

    fn new(factory: Option<Arc<dyn ByteStoreFactory>>) -> Self {
        let directory = TempDir::new();
        assert!(directory.is_ok(), "no place for temporary files: {directory:?}");
        #[expect(clippy::unwrap_used, reason = "checked above")]
        Self { factory, directory: directory.unwrap(), stores: AtomicU64::new(0) }
    }

    /// Stores that state must be able to come from and go to.
    pub(super) fn others() -> [Self; 2] {
        [Self::heap(), Self::bytes(ReferenceStoreFactory)]
    }

    pub(super) fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// A store of its own; none on the heap.
    pub(super) fn store(&self, place: Place) -> Result<Option<Box<dyn ByteStore>>> {
        self.factory.as_ref().map(|factory| factory.create(&self.context(place))).transpose()
    }

    fn context(&self, place: Place) -> ByteStoreContext {
        let number = self.stores.fetch_add(1, Ordering::Relaxed);
        ByteStoreContext::new(format!("conformance-{number}"), place.range, place.max_parallelism)
            .with_directory(self.directory())
    }

    /// A backend that holds what the handles hold.
    pub(super) fn backend<K: Key + DefaultSerializer>(
        &self,
        place: Place,
        handles: &[KeyedStateHandle],
    ) -> Result<KeyedBackend<K>> {
        let opener = SnapshotOpener::in_memory();
        let mut builder = KeyedBackend::<K>::builder(K::default_serializer(), place.max_parallelism, place.range)
            .operator("conformance")
            .restore(handles, &opener);
        if let Some(factory) = &self.factory {
            builder = builder.byte_store(&**factory, self.context(place));
        }
        builder.build()
    }

    /// An empty backend with all of 128 key groups.
    pub(super) fn empty<K: Key + DefaultSerializer>(&self) -> Result<KeyedBackend<K>> {
        self.backend(Place::all(128)?, &[])
    }
}

/// The key groups of a backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) max_parallelism: MaxParallelism,
    pub(super) range: KeyGroupRange,
}

impl Place {
    /// Every key group.
    pub(super) fn all(max_parallelism: u32) -> Result<Self> {
        Self::of(max_parallelism, 0, 1)
    }

    /// The key groups of one of several subtasks.
    pub(super) fn of(max_parallelism: u32, subtask: u32, parallelism: u32) -> Result<Self> {
        let max_parallelism = MaxParallelism::new(max_parallelism)?;
        Ok(Self { max_parallelism, range: max_parallelism.range_of(subtask, parallelism)? })
    }
}

/// The asynchronous part, on this thread.
pub(super) fn write(snapshot: KeyedSnapshot) -> Result<Vec<KeyedStateHandle>> {
    let streams = MemoryStreamFactory::new(u64::MAX, CancelToken::new());
    Ok(snapshot.write(&streams)?.into_iter().collect())
}

/// The asynchronous part, on another thread while `meanwhile` runs on this one.
pub(super) fn write_while<R>(
    snapshot: KeyedSnapshot,
    meanwhile: impl FnOnce() -> Result<R>,
) -> Result<(Vec<KeyedStateHandle>, R)> {
    let writing = std::thread::spawn(move || write(snapshot));
    let result = meanwhile();
    let handles = writing.join().map_err(|_| Error::internal("the asynchronous part of a snapshot panicked"))??;
    Ok((handles, result?))
}

/// Both parts of a snapshot.
pub(super) fn take<K: Key>(backend: &KeyedBackend<K>) -> Result<Vec<KeyedStateHandle>> {
    write(backend.snapshot()?)
}

/// The error, which must be of this kind.
pub(super) fn assert_fails<T>(kind: ErrorKind, what: &str, result: Result<T>) -> Option<Error> {
    let error = result.err();
    assert_eq!(error.as_ref().map(Error::kind), Some(kind), "{what}: {error:?}");
    error
}
