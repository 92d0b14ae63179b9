//! A backend of the user's own, with fields of its own, over a byte store; by value, by name, and wrapped.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use highwater_backends::{
    BackendRegistry, ConfigOption, Configuration, CustomStateBackend, FsStateBackend, HashMapStateBackend, KeyedStore,
    MemorySize, MemoryStateBackend, StateBackend,
};
use highwater_checkpoint::CheckpointStorage;
use highwater_state::{ByteStore, ByteStoreContext, ByteStoreFactory, ReferenceStore};
use highwater_types::{KeyGroupRange, MaxParallelism, Result};
use serde::{Deserialize, Serialize};

static CACHE: ConfigOption<MemorySize> =
    ConfigOption::new("state.backend.ordered.cache-size", "32 mb", "Size of the cache.");

static STORES: AtomicUsize = AtomicUsize::new(0);

/// An ordered map per subtask, and checkpoints wherever another backend keeps them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct OrderedBackend {
    checkpoints: FsStateBackend,
    cache_bytes: Option<u64>,
}

impl OrderedBackend {
    fn new() -> Self {
        Self { checkpoints: FsStateBackend::new("file:///data/ordered").unwrap(), cache_bytes: None }
    }
}

impl fmt::Display for OrderedBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrderedBackend{{cache={:?}, checkpoints={}}}", self.cache_bytes, self.checkpoints)
    }
}

impl StateBackend for OrderedBackend {
    fn name(&self) -> &str {
        "OrderedBackend"
    }

    fn configure(&self, configuration: &Configuration) -> Result<Arc<dyn StateBackend>> {
        let cache = match self.cache_bytes {
            Some(bytes) => bytes,
            None => configuration.get(&CACHE)?.bytes(),
        };
        Ok(Arc::new(Self { checkpoints: self.checkpoints.configure(configuration)?, cache_bytes: Some(cache) }))
    }

    fn keyed_store(&self) -> KeyedStore {
        KeyedStore::Bytes(Arc::new(OrderedFactory))
    }

    fn checkpoint_storage(&self) -> Result<Option<Arc<dyn CheckpointStorage>>> {
        self.checkpoints.checkpoint_storage()
    }

    fn use_managed_memory(&self) -> bool {
        true
    }

    fn supports_no_claim_restore_mode(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct OrderedFactory;

impl ByteStoreFactory for OrderedFactory {
    fn create(&self, context: &ByteStoreContext) -> Result<Box<dyn ByteStore>> {
        assert_eq!(context.operator, "Counter_0da08f51_(1/2)");
        STORES.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(ReferenceStore::new()))
    }
}

const CONFIGURED: &str = "OrderedBackend{cache=Some(1024), checkpoints=File State Backend (checkpoints: \
                          'file:/data/ordered', savepoints: 'null', fileStateThreshold: 20480)}";

#[test]
fn it_comes_to_life_by_its_byte_store() {
    let backend = OrderedBackend::new().configure(&Configuration::new()).unwrap();
    let KeyedStore::Bytes(factory) = backend.keyed_store() else { panic!("a byte store") };
    let range = KeyGroupRange::new(0, 63).unwrap();
    let context = ByteStoreContext::new("Counter_0da08f51_(1/2)", range, MaxParallelism::new(128).unwrap());
    let mut store = factory.create(&context).unwrap();
    let column = store.column("counts").unwrap();
    store.put(column, b"key", b"value").unwrap();
    let mut found = Vec::new();
    let mut read = |value: &[u8]| {
        found.extend_from_slice(value);
        Ok(())
    };
    assert!(store.get(column, b"key", &mut read).unwrap());
    assert_eq!(found, b"value");
    assert_eq!(STORES.load(Ordering::Relaxed), 1);
}

#[test]
fn it_is_loaded_by_its_name_and_reads_its_own_keys() {
    let mut registry = BackendRegistry::new();
    registry
        .register("ordered", |configuration: &Configuration| OrderedBackend::new().configure(configuration))
        .unwrap();
    let configuration =
        [("state.backend", "Ordered"), ("state.backend.ordered.cache-size", "1 kb")].into_iter().collect();
    assert_eq!(registry.load(&configuration).unwrap().to_string(), CONFIGURED);

    let configuration =
        [("state.backend", "ordered"), ("state.backend.ordered.cache-size", "big")].into_iter().collect();
    let error = registry.load(&configuration).unwrap_err();
    assert!(error.to_string().contains("state.backend.ordered.cache-size"), "{error}");
}

#[test]
fn the_wrapper_passes_everything_through() {
    let backend = CustomStateBackend::new(OrderedBackend::new());
    let configuration = [("state.backend.ordered.cache-size", "1 kb")].into_iter().collect();
    let configured = backend.configure(&configuration).unwrap();
    for wrapped in [&backend as &dyn StateBackend, &*configured, &configured] {
        assert_eq!(wrapped.name(), "OrderedBackend");
        assert!(matches!(wrapped.keyed_store(), KeyedStore::Bytes(_)));
        assert!(wrapped.checkpoint_storage().unwrap().unwrap().survives_process());
        assert!(wrapped.use_managed_memory());
        assert!(!wrapped.supports_no_claim_restore_mode());
    }
    assert_eq!(configured.to_string(), CONFIGURED);
    assert_eq!(backend.get_ref(), &OrderedBackend::new());
    assert_eq!(backend.into_inner(), OrderedBackend::new());
}

#[test]
fn the_wrapper_serializes_as_what_it_wraps() {
    let backend = CustomStateBackend::new(OrderedBackend::new());
    let json = serde_json::to_string(&backend).unwrap();
    assert_eq!(json, serde_json::to_string(backend.get_ref()).unwrap());
    assert_eq!(serde_json::from_str::<CustomStateBackend<OrderedBackend>>(&json).unwrap(), backend);
}

#[test]
fn a_backend_without_storage_of_its_own_leaves_it_open() {
    let wrapped = CustomStateBackend::new(HashMapStateBackend::new());
    assert!(wrapped.checkpoint_storage().unwrap().is_none());
    assert!(!wrapped.use_managed_memory());
    assert!(wrapped.supports_no_claim_restore_mode());
}

/// One backend object, many threads: configuring and building from it at the same time.
#[test]
fn many_threads_use_one_backend() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<MemoryStateBackend>();
    shared::<FsStateBackend>();
    shared::<HashMapStateBackend>();
    shared::<CustomStateBackend<OrderedBackend>>();
    shared::<Arc<dyn StateBackend>>();
    shared::<KeyedStore>();
    shared::<BackendRegistry>();
    shared::<Configuration>();

    let backends: Vec<Arc<dyn StateBackend>> = vec![
        Arc::new(MemoryStateBackend::new()),
        Arc::new(FsStateBackend::new("file:///data/cp").unwrap()),
        Arc::new(CustomStateBackend::new(OrderedBackend::new())),
    ];
    let registry = BackendRegistry::new();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (backends, registry) = (&backends, &registry);
            scope.spawn(move || {
                let size = format!("{} kb", thread + 1);
                let configuration: Configuration = [
                    ("highwater.memory.max-state-size", size.as_str()),
                    ("state.backend.fs.memory-threshold", size.as_str()),
                    ("state.backend.ordered.cache-size", size.as_str()),
                ]
                .into_iter()
                .collect();
                let bytes = ((thread + 1) * 1024).to_string();
                for _ in 0..100 {
                    for backend in backends {
                        let configured = backend.configure(&configuration).unwrap();
                        assert!(configured.to_string().contains(&bytes), "{configured}");
                        configured.checkpoint_storage().unwrap().unwrap();
                    }
                    registry.load(&configuration).unwrap();
                }
            });
        }
    });
    assert!(backends[0].to_string().contains("5242880"), "the shared backend stays as it was");
}
