//! What every state backend answers.

use std::any::Any;
use std::fmt::{Debug, Display};
use std::sync::Arc;

use highwater_checkpoint::{CheckpointStorage, StoragePath};
use highwater_state::ByteStoreFactory;
use highwater_types::Result;

use crate::{BackendRegistry, Configuration};

/// A state backend: configuration that says where the working state of a job is kept and where its checkpoints go.
///
/// A backend is built by the application with fields possibly unset. [`configure`](Self::configure) makes the
/// effective one when the job starts: for every field the application's value, else the configuration's, else the
/// default. A backend is shared by all threads of a job; the state itself belongs to what is built from it. `Display`
/// is the text form that Flink logs.
///
/// Implement it to bring a store of your own to life: hand out a [`ByteStoreFactory`] and everything else works, all
/// kinds of state, checkpoints, rescaling, and restoring what another backend wrote.
///
/// ```
/// use std::fmt;
/// use std::sync::Arc;
/// use highwater_backends::{Configuration, KeyedStore, StateBackend};
/// use highwater_state::{ByteStore, ByteStoreContext, ByteStoreFactory, ReferenceStore};
/// use highwater_types::Result;
///
/// #[derive(Clone, Debug)]
/// struct OrderedMapBackend;
///
/// impl fmt::Display for OrderedMapBackend {
///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         f.write_str("OrderedMapBackend (data in an ordered map)")
///     }
/// }
///
/// impl StateBackend for OrderedMapBackend {
///     fn name(&self) -> &str {
///         "OrderedMapBackend"
///     }
///
///     fn configure(&self, _: &Configuration) -> Result<Arc<dyn StateBackend>> {
///         Ok(Arc::new(self.clone()))
///     }
///
///     fn keyed_store(&self) -> KeyedStore {
///         KeyedStore::Bytes(Arc::new(OrderedMap))
///     }
/// }
///
/// #[derive(Debug)]
/// struct OrderedMap;
///
/// impl ByteStoreFactory for OrderedMap {
///     fn create(&self, _: &ByteStoreContext) -> Result<Box<dyn ByteStore>> {
///         Ok(Box::new(ReferenceStore::new()))
///     }
/// }
///
/// let backend = OrderedMapBackend.configure(&Configuration::new())?;
/// assert!(matches!(backend.keyed_store(), KeyedStore::Bytes(_)));
/// # Ok::<(), highwater_types::Error>(())
/// ```
pub trait StateBackend: Any + Debug + Display + Send + Sync + 'static {
    /// The name of the type without its path (Flink's `getName`).
    fn name(&self) -> &str;

    /// A new backend of the same type with every unset field taken from the configuration, else set to its default.
    /// The backend itself stays as it is.
    ///
    /// # Errors
    /// A configuration error with key and value, if a value that is needed cannot be parsed or is out of range.
    fn configure(&self, configuration: &Configuration) -> Result<Arc<dyn StateBackend>>;

    /// As [`configure`](Self::configure), with what the program registered by name. Default: nothing of it is needed.
    /// A backend that passes others through passes this through too.
    ///
    /// # Errors
    /// As [`configure`](Self::configure).
    fn configure_with(
        &self,
        configuration: &Configuration,
        registry: &BackendRegistry,
    ) -> Result<Arc<dyn StateBackend>> {
        let _ = registry;
        self.configure(configuration)
    }

    /// Where keyed state is kept. Operator state is on the heap with every backend.
    fn keyed_store(&self) -> KeyedStore;

    /// Where the bytes of checkpoints go, if the backend decides it: the default leaves it to the job and its
    /// configuration ([`select_checkpoint_storage`](crate::select_checkpoint_storage)). Nothing is touched before the
    /// storage is opened.
    ///
    /// # Errors
    /// A configuration error if the fields of the backend do not make a storage.
    fn checkpoint_storage(&self) -> Result<Option<Arc<dyn CheckpointStorage>>> {
        Ok(None)
    }

    /// Default directory of savepoints, if the backend has one: it comes before the configured one.
    fn savepoint_directory(&self) -> Option<&StoragePath> {
        None
    }

    /// Whether the store takes its memory from a share that the runtime manages. Default no.
    fn use_managed_memory(&self) -> bool {
        false
    }

    /// Whether a job can start from a snapshot that it must not come to depend on
    /// ([`ClaimMode::NoClaim`](crate::ClaimMode::NoClaim)). Default yes: snapshots of the stores here are always whole.
    /// (In Flink a custom backend answers no, because it writes its snapshots itself.)
    fn supports_no_claim_restore_mode(&self) -> bool {
        true
    }
}

/// Where keyed state is kept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KeyedStore {
    /// In typed tables on the heap; values are serialized only into snapshots.
    Heap,
    /// As ordered bytes in a store of this factory, one for each subtask of an operator.
    Bytes(Arc<dyn ByteStoreFactory>),
}

/// A shared backend is a backend, so that what the loader returns can be wrapped again.
impl<B: StateBackend + ?Sized> StateBackend for Arc<B> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn configure(&self, configuration: &Configuration) -> Result<Arc<dyn StateBackend>> {
        (**self).configure(configuration)
    }

    fn configure_with(
        &self,
        configuration: &Configuration,
        registry: &BackendRegistry,
    ) -> Result<Arc<dyn StateBackend>> {
        (**self).configure_with(configuration, registry)
    }

    fn keyed_store(&self) -> KeyedStore {
        (**self).keyed_store()
    }

    fn checkpoint_storage(&self) -> Result<Option<Arc<dyn CheckpointStorage>>> {
        (**self).checkpoint_storage()
    }

    fn savepoint_directory(&self) -> Option<&StoragePath> {
        (**self).savepoint_directory()
    }

    fn use_managed_memory(&self) -> bool {
        (**self).use_managed_memory()
    }

    fn supports_no_claim_restore_mode(&self) -> bool {
        (**self).supports_no_claim_restore_mode()
    }
}
