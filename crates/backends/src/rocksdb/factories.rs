//! Options factories by name: what a class name is to Flink, a registered name is here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use highwater_rocksdb::RocksDbOptionsFactory;
use highwater_types::{Error, Result};

use crate::Configuration;
use crate::config::unknown_name;

/// Flink 1.12's factory that applies the keys one by one. They are always applied here, before any factory.
const DEFAULT_CONFIGURABLE: &str = "org.apache.flink.contrib.streaming.state.DefaultConfigurableOptionsFactory";

/// Makes an options factory once the configuration is known (Flink's `ConfigurableRocksDBOptionsFactory`). Every
/// function of that shape is one; a factory without settings of its own ignores the configuration.
///
/// ```
/// use std::sync::Arc;
/// use highwater_backends::{BackendRegistry, Configuration};
/// use highwater_rocksdb::RocksDbOptionsFactory;
///
/// #[derive(Debug)]
/// struct ManyFiles;
///
/// impl RocksDbOptionsFactory for ManyFiles {
///     fn name(&self) -> &str {
///         "many-files"
///     }
/// }
///
/// let mut registry = BackendRegistry::new();
/// registry.register_rocksdb_options_factory("many-files", |_: &Configuration| Ok(Arc::new(ManyFiles) as _))?;
/// # Ok::<(), highwater_types::Error>(())
/// ```
pub trait ConfigurableRocksDbOptionsFactory: Send + Sync + 'static {
    /// The factory that this configuration describes.
    fn create(&self, configuration: &Configuration) -> Result<Arc<dyn RocksDbOptionsFactory>>;
}

impl<F> ConfigurableRocksDbOptionsFactory for F
where
    F: Fn(&Configuration) -> Result<Arc<dyn RocksDbOptionsFactory>> + Send + Sync + 'static,
{
    fn create(&self, configuration: &Configuration) -> Result<Arc<dyn RocksDbOptionsFactory>> {
        self(configuration)
    }
}

/// The options factories that a program registered.
#[derive(Clone, Default)]
pub(crate) struct OptionsFactories {
    by_name: BTreeMap<String, Arc<dyn ConfigurableRocksDbOptionsFactory>>,
}

impl OptionsFactories {
    pub(crate) fn register(&mut self, name: String, factory: impl ConfigurableRocksDbOptionsFactory) -> Result<()> {
        if name.trim().is_empty() {
            return Err(Error::program("an options factory needs a name"));
        }
        if name == DEFAULT_CONFIGURABLE || self.by_name.contains_key(&name) {
            return Err(Error::program("an options factory of this name is there already").with("name", name));
        }
        self.by_name.insert(name, Arc::new(factory));
        Ok(())
    }

    /// The factory of a name, made from the configuration; none for Flink's own, which has nothing left to do.
    pub(crate) fn create(
        &self,
        name: &str,
        configuration: &Configuration,
    ) -> Result<Option<Arc<dyn RocksDbOptionsFactory>>> {
        match self.by_name.get(name) {
            Some(factory) => factory.create(configuration).map(Some).map_err(|cause| {
                Error::new(cause.kind(), "the options factory of RocksDB cannot be configured")
                    .with("name", name)
                    .because(cause)
            }),
            None if name == DEFAULT_CONFIGURABLE => Ok(None),
            None => {
                let known: Vec<_> = self.by_name.keys().map(String::as_str).collect();
                Err(unknown_name(
                    "Cannot find configured options factory: take a known one, or register it with \
                     BackendRegistry::register_rocksdb_options_factory",
                    name,
                    &known,
                ))
            }
        }
    }
}

impl fmt::Debug for OptionsFactories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

/// The options factory of a backend as the application gives it.
#[derive(Clone, Debug)]
pub(super) enum OptionsFactory {
    /// By its registered name.
    Named(String),
    /// The factory itself.
    Given(Arc<dyn RocksDbOptionsFactory>),
}

impl OptionsFactory {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::Given(factory) => factory.name(),
        }
    }
}
