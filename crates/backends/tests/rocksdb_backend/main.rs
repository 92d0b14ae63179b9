//! `RocksDbStateBackend`: constructors, setters and getters, merge, text form, serialized form, and the stores it makes.

#![cfg(feature = "rocksdb")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod forms;
mod options_factory;
mod precedence;
mod setters;
mod stores;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use highwater_backends::{BackendRegistry, Configuration, RocksDbStateBackend};
use highwater_rocksdb::rust_rocksdb::Options;
use highwater_rocksdb::{RocksDbOptionsFactory, RocksDbSettings};
use highwater_state::ByteStoreContext;
use highwater_types::{Error, KeyGroupRange, MaxParallelism, Result};

const INCREMENTAL: &str = "execution.checkpointing.incremental";
const THREADS: &str = "state.backend.rocksdb.checkpoint.transfer.thread.num";
const BATCH: &str = "state.backend.rocksdb.write-batch-size";
const PROFILE: &str = "state.backend.rocksdb.predefined-options";
const LOCAL: &str = "state.backend.rocksdb.localdir";
const FACTORY: &str = "state.backend.rocksdb.options-factory";
const TIMERS: &str = "state.backend.rocksdb.timer-service.factory";

fn configuration<const N: usize>(entries: [(&str, &str); N]) -> Configuration {
    entries.into_iter().collect()
}

fn embedded() -> RocksDbStateBackend {
    RocksDbStateBackend::embedded()
}

fn configured<const N: usize>(backend: &RocksDbStateBackend, entries: [(&str, &str); N]) -> RocksDbStateBackend {
    backend.configure(&configuration(entries)).unwrap()
}

fn settings<const N: usize>(backend: &RocksDbStateBackend, entries: [(&str, &str); N]) -> RocksDbSettings {
    configured(backend, entries).settings().unwrap().clone()
}

/// Says how often it was asked, and what it was made from.
#[derive(Clone, Debug)]
struct Counting {
    name: String,
    asked: Arc<AtomicUsize>,
}

impl Counting {
    fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), asked: Arc::default() }
    }
}

impl RocksDbOptionsFactory for Counting {
    fn name(&self) -> &str {
        &self.name
    }

    fn database_options(&self, _: &mut Options) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }
}

fn registry() -> BackendRegistry {
    let mut registry = BackendRegistry::new();
    registry
        .register_rocksdb_options_factory("plain", |_: &Configuration| Ok(Arc::new(Counting::new("plain")) as _))
        .unwrap()
        .register_rocksdb_options_factory("configurable", |configuration: &Configuration| {
            let suffix =
                configuration.raw("my.own.key").ok_or_else(|| Error::configuration("my.own.key is missing"))?;
            Ok(Arc::new(Counting::new(format!("configurable {suffix}"))) as _)
        })
        .unwrap();
    registry
}

fn factory_of(backend: &RocksDbStateBackend, entries: &[(&str, &str)]) -> Result<Option<String>> {
    let registry = registry();
    let effective =
        registry.effective_backend(Some(backend), &entries.iter().copied().collect(), &Configuration::new())?;
    // Behind the trait object only the debug form tells.
    let text = format!("{effective:?}");
    let name = text.split("Counting { name: \"").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
    Ok(name)
}

fn context() -> ByteStoreContext {
    let max = MaxParallelism::new(128).unwrap();
    ByteStoreContext::new("op", KeyGroupRange::new(0, 127).unwrap(), max).with_job("job")
}
