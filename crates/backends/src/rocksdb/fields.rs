//! The serialized form of a RocksDB backend: what the application set, unset fields unset.

use std::collections::BTreeMap;
use std::path::PathBuf;

use highwater_rocksdb::PredefinedOptions;
use highwater_types::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::{CheckpointStreamBackend, RocksDbMemoryConfiguration, RocksDbStateBackend};
use crate::{ConfigValue, FsStateBackend, MemoryStateBackend, PriorityQueueStateType};

#[derive(Serialize, Deserialize)]
#[serde(rename = "RocksDbStateBackend", deny_unknown_fields)]
struct Fields {
    checkpoint_stream_backend: Option<StreamFields>,
    enable_incremental_checkpointing: Option<bool>,
    number_of_transfer_threads: Option<i64>,
    write_batch_size: Option<i64>,
    priority_queue_state_type: Option<String>,
    local_directories: Option<Vec<PathBuf>>,
    predefined_options: Option<PredefinedOptions>,
    /// By its name: it must be registered where the backend is read.
    options_factory: Option<String>,
    memory: RocksDbMemoryConfiguration,
    /// What a configuration set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    keys: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
enum StreamFields {
    #[serde(rename = "FsStateBackend")]
    Fs(FsStateBackend),
    #[serde(rename = "MemoryStateBackend")]
    Memory(MemoryStateBackend),
}

impl TryFrom<&RocksDbStateBackend> for Fields {
    type Error = Error;

    fn try_from(backend: &RocksDbStateBackend) -> Result<Self> {
        let stream = match &backend.stream_backend {
            None => None,
            Some(CheckpointStreamBackend::Fs(backend)) => Some(StreamFields::Fs(backend.clone())),
            Some(CheckpointStreamBackend::Memory(backend)) => Some(StreamFields::Memory(backend.clone())),
            Some(CheckpointStreamBackend::Other(backend)) => {
                return Err(Error::unsupported(
                    "a RocksDB backend that checkpoints to a backend of the program's own cannot be serialized: use \
                     RocksDbStateBackend::embedded and give the job a storage",
                )
                .with("found", backend.name()));
            }
        };
        let values = backend.values();
        Ok(Self {
            checkpoint_stream_backend: stream,
            enable_incremental_checkpointing: values.incremental,
            number_of_transfer_threads: values.transfer_threads.map(i64::from),
            write_batch_size: values.write_batch_size.map(u64::cast_signed),
            priority_queue_state_type: values.priority_queue.and_then(|kind| kind.print()),
            local_directories: values.local_directories.clone(),
            predefined_options: values.predefined_options,
            options_factory: backend.get_options().map(str::to_owned),
            memory: values.memory.clone(),
            keys: values.keys.iter().map(|(key, text)| (key.to_owned(), text.to_owned())).collect(),
        })
    }
}

impl TryFrom<Fields> for RocksDbStateBackend {
    type Error = Error;

    fn try_from(fields: Fields) -> Result<Self> {
        let mut backend = match fields.checkpoint_stream_backend {
            None => Self::embedded(),
            Some(StreamFields::Fs(stream)) => Self::with_checkpoint_backend(stream)?,
            Some(StreamFields::Memory(stream)) => Self::with_checkpoint_backend(stream)?,
        }
        .with_incremental_checkpoints(fields.enable_incremental_checkpointing);
        if let Some(threads) = fields.number_of_transfer_threads {
            backend.set_number_of_transfer_threads(threads)?;
        }
        if let Some(bytes) = fields.write_batch_size {
            backend.set_write_batch_size(bytes)?;
        }
        if let Some(kind) = fields.priority_queue_state_type {
            backend.set_priority_queue_state_type(PriorityQueueStateType::parse(&kind)?)?;
        }
        if let Some(paths) = fields.local_directories {
            backend.set_db_storage_paths(paths)?;
        }
        if let Some(profile) = fields.predefined_options {
            backend.set_predefined_options(profile);
        }
        if let Some(name) = fields.options_factory {
            backend.set_options(name);
        }
        backend.values_mut().memory = fields.memory;
        backend.values_mut().keys = fields.keys.into_iter().collect();
        Ok(backend)
    }
}

impl Serialize for RocksDbStateBackend {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Fields::try_from(self).map_err(ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RocksDbStateBackend {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(Fields::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
