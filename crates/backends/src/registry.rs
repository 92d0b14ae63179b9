//! State backends by name (Flink's `StateBackendLoader`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use highwater_types::{Error, Result};

use crate::config::{Configuration, unknown_name};
#[cfg(feature = "rocksdb")]
use crate::rocksdb::{ConfigurableRocksDbOptionsFactory, OptionsFactories, RocksDbStateBackend};
use crate::{FsStateBackend, HashMapStateBackend, MemoryStateBackend, StateBackend, options};

/// Creates the effective backend that a configuration describes (Flink's `StateBackendFactory`). Every function of
/// that shape is one.
pub trait StateBackendFactory: Send + Sync + 'static {
    /// The backend, with every field taken from the configuration, else set to its default.
    fn create_from_configuration(&self, configuration: &Configuration) -> Result<Arc<dyn StateBackend>>;

    /// As [`create_from_configuration`](Self::create_from_configuration), with what else the program registered by
    /// name. Default: nothing of it is needed.
    fn create_with(&self, configuration: &Configuration, registry: &BackendRegistry) -> Result<Arc<dyn StateBackend>> {
        let _ = registry;
        self.create_from_configuration(configuration)
    }
}

impl<F> StateBackendFactory for F
where
    F: Fn(&Configuration) -> Result<Arc<dyn StateBackend>> + Send + Sync + 'static,
{
    fn create_from_configuration(&self, configuration: &Configuration) -> Result<Arc<dyn StateBackend>> {
        self(configuration)
    }
}

/// State backends by name, in any case: the built-in ones and those that a program registers.
///
/// | name | backend |
/// |---|---|
/// | `hashmap` | [`HashMapStateBackend`] |
/// | `filesystem`, `fs` | [`FsStateBackend`]; needs `execution.checkpointing.dir` |
/// | `jobmanager`, `memory` | [`MemoryStateBackend`] |
/// | `rocksdb` | `RocksDbStateBackend`, with the feature `rocksdb` |
///
/// The class names of Flink's factories for these are understood too.
///
/// ```
/// use std::sync::Arc;
/// use highwater_backends::{BackendRegistry, Configuration, HashMapStateBackend, StateBackend};
///
/// let mut registry = BackendRegistry::new();
/// registry.register("fjall", |configuration: &Configuration| HashMapStateBackend::new().configure(configuration))?;
///
/// let configuration = [("state.backend", "Fjall")].into_iter().collect();
/// assert_eq!(registry.load(&configuration)?.name(), "HashMapStateBackend");
///
/// let configuration = [("state.backend.type", "fjal")].into_iter().collect();
/// let error = registry.load(&configuration).unwrap_err();
/// assert_eq!(error.value("did you mean"), Some("fjall"));
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone)]
pub struct BackendRegistry {
    /// By name in lower case.
    factories: BTreeMap<String, Arc<dyn StateBackendFactory>>,
    #[cfg(feature = "rocksdb")]
    options_factories: OptionsFactories,
}

impl BackendRegistry {
    /// The built-in backends.
    #[must_use]
    pub fn new() -> Self {
        let built_in: [(&[&str], Arc<dyn StateBackendFactory>); 3] = [
            (&["filesystem", "fs", "org.apache.flink.runtime.state.filesystem.FsStateBackendFactory"], Arc::new(fs)),
            (&["hashmap", "org.apache.flink.runtime.state.hashmap.HashMapStateBackendFactory"], Arc::new(hash_map)),
            (
                &["jobmanager", "memory", "org.apache.flink.runtime.state.memory.MemoryStateBackendFactory"],
                Arc::new(memory),
            ),
        ];
        let names = built_in
            .iter()
            .flat_map(|(names, factory)| names.iter().map(|name| (name.to_ascii_lowercase(), Arc::clone(factory))));
        let registry = Self {
            factories: names.collect(),
            #[cfg(feature = "rocksdb")]
            options_factories: OptionsFactories::default(),
        };
        registry.with_rocksdb()
    }

    #[cfg(feature = "rocksdb")]
    fn with_rocksdb(mut self) -> Self {
        let factory: Arc<dyn StateBackendFactory> = Arc::new(RocksDbStateBackendFactory);
        for name in ROCKSDB_NAMES {
            self.factories.insert(name.to_ascii_lowercase(), Arc::clone(&factory));
        }
        self
    }

    #[cfg(not(feature = "rocksdb"))]
    fn with_rocksdb(self) -> Self {
        self
    }

    /// Adds a backend of the program's own.
    ///
    /// # Errors
    /// A program error if the name is empty or taken.
    pub fn register(&mut self, name: impl Into<String>, factory: impl StateBackendFactory) -> Result<&mut Self> {
        let name = name.into();
        if name.trim().is_empty() {
            return Err(Error::program("a state backend needs a name"));
        }
        let key = name.to_ascii_lowercase();
        if self.factories.contains_key(&key) {
            return Err(Error::program("a state backend of this name is there already").with("name", name));
        }
        self.factories.insert(key, Arc::new(factory));
        Ok(self)
    }

    /// Adds an options factory of RocksDB: the name is what `state.backend.rocksdb.options-factory` and
    /// [`RocksDbStateBackend::set_options`](crate::RocksDbStateBackend::set_options) say, in exactly these letters.
    ///
    /// # Errors
    /// A program error if the name is empty or taken.
    #[cfg(feature = "rocksdb")]
    pub fn register_rocksdb_options_factory(
        &mut self,
        name: impl Into<String>,
        factory: impl ConfigurableRocksDbOptionsFactory,
    ) -> Result<&mut Self> {
        self.options_factories.register(name.into(), factory)?;
        Ok(self)
    }

    #[cfg(feature = "rocksdb")]
    pub(crate) fn options_factories(&self) -> &OptionsFactories {
        &self.options_factories
    }

    /// The names in lower case, in their order; without class names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.factories.keys().map(String::as_str).filter(|name| !name.starts_with("org.apache.flink."))
    }

    /// The effective backend of a name.
    ///
    /// # Errors
    /// A configuration error for an unknown name, with those known and the nearest; or one whose cause is the
    /// backend's own error.
    pub fn create(&self, name: &str, configuration: &Configuration) -> Result<Arc<dyn StateBackend>> {
        let lower_case = name.to_ascii_lowercase();
        let Some(factory) = self.factories.get(&lower_case) else {
            #[cfg(not(feature = "rocksdb"))]
            if ROCKSDB_NAMES.iter().any(|known| known.eq_ignore_ascii_case(&lower_case)) {
                return Err(Error::configuration(
                    "the RocksDB backend is not compiled in: build with the cargo feature `rocksdb`",
                )
                .with("name", name));
            }
            let known: Vec<_> = self.names().collect();
            return Err(unknown_name(
                "there is no state backend of this name: take a known one or register it",
                name,
                &known,
            ));
        };
        configuration.check_own_keys()?;
        factory.create_with(configuration, self).map_err(|cause| {
            Error::new(cause.kind(), "the configured state backend cannot be created").with("name", name).because(cause)
        })
    }

    /// The effective backend that a configuration names (`state.backend.type`, older `state.backend`); without the key
    /// a [`HashMapStateBackend`], as since Flink 2.0.
    ///
    /// # Errors
    /// As [`create`](Self::create), naming the key.
    pub fn load(&self, configuration: &Configuration) -> Result<Arc<dyn StateBackend>> {
        match configuration.find(options::STATE_BACKEND.info()) {
            Some((key, name)) => self.create(name, configuration).map_err(|error| error.with("key", key)),
            None => {
                configuration.check_own_keys()?;
                HashMapStateBackend::new().configure(configuration)
            }
        }
    }

    /// The backend of a job: the application's, configured by the cluster's configuration alone; else the one that
    /// the cluster's configuration overlaid with the job's names; else the default.
    ///
    /// A program that knows one configuration only gives it as the cluster's.
    ///
    /// # Errors
    /// As [`load`](Self::load) and [`StateBackend::configure`].
    ///
    /// ```
    /// use highwater_backends::{BackendRegistry, Configuration, MemoryStateBackend};
    ///
    /// let registry = BackendRegistry::new();
    /// let cluster = [("state.backend.type", "hashmap")].into_iter().collect();
    /// let job = Configuration::new();
    /// let application = MemoryStateBackend::new();
    /// assert_eq!(registry.effective_backend(Some(&application), &cluster, &job)?.name(), "MemoryStateBackend");
    /// assert_eq!(registry.effective_backend(None, &cluster, &job)?.name(), "HashMapStateBackend");
    /// # Ok::<(), highwater_types::Error>(())
    /// ```
    pub fn effective_backend(
        &self,
        application: Option<&dyn StateBackend>,
        cluster: &Configuration,
        job: &Configuration,
    ) -> Result<Arc<dyn StateBackend>> {
        match application {
            Some(backend) => {
                cluster.check_own_keys()?;
                backend.configure_with(cluster, self)
            }
            None => self.load(&cluster.overlaid_with(job)),
        }
    }
}

/// RocksDB's name, and the class names of Flink's factories for it, oldest first.
const ROCKSDB_NAMES: [&str; 4] = [
    "rocksdb",
    "org.apache.flink.contrib.streaming.state.RocksDBStateBackendFactory",
    "org.apache.flink.contrib.streaming.state.EmbeddedRocksDBStateBackendFactory",
    "org.apache.flink.state.rocksdb.EmbeddedRocksDBStateBackendFactory",
];

/// As in Flink since 1.13: the backend leaves open where checkpoints go.
#[cfg(feature = "rocksdb")]
struct RocksDbStateBackendFactory;

#[cfg(feature = "rocksdb")]
impl StateBackendFactory for RocksDbStateBackendFactory {
    fn create_from_configuration(&self, configuration: &Configuration) -> Result<Arc<dyn StateBackend>> {
        StateBackend::configure(&RocksDbStateBackend::embedded(), configuration)
    }

    fn create_with(&self, configuration: &Configuration, registry: &BackendRegistry) -> Result<Arc<dyn StateBackend>> {
        RocksDbStateBackend::embedded().configure_with(configuration, registry)
    }
}

fn fs(configuration: &Configuration) -> Result<Arc<dyn StateBackend>> {
    Ok(Arc::new(FsStateBackend::from_configuration(configuration)?))
}

fn hash_map(configuration: &Configuration) -> Result<Arc<dyn StateBackend>> {
    HashMapStateBackend::new().configure(configuration)
}

fn memory(configuration: &Configuration) -> Result<Arc<dyn StateBackend>> {
    Ok(Arc::new(MemoryStateBackend::from_configuration(configuration)?))
}

impl Default for BackendRegistry {
    /// As [`BackendRegistry::new`].
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for BackendRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.factories.keys()).finish()
    }
}
