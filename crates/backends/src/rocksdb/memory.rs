//! How much memory RocksDB may take, as the application and the configuration say it.

use highwater_types::{Error, Result};
use serde::{Deserialize, Serialize};

use super::options;
use crate::Configuration;
use crate::config::{ConfigOption, MemorySize};
use crate::settings::Ranged;

/// The memory of RocksDB as an application sets it, every field possibly unset (Flink's `RocksDBMemoryConfiguration`).
///
/// Which budget holds: fixed memory per slot if set; else managed memory, unless switched off; else fixed memory per
/// task manager; else none, and every state has its own block cache and write buffers. A task manager is the process, a
/// slot one of its workers; all databases of a process share one block cache and one write-buffer manager.
///
/// ```
/// use highwater_backends::{MemorySize, RocksDbMemoryConfiguration};
///
/// let mut memory = RocksDbMemoryConfiguration::new();
/// memory.set_fixed_memory_per_slot(MemorySize::from_mebibytes(64))?;
/// memory.set_write_buffer_ratio(0.4)?;
/// assert!(memory.is_using_fixed_memory_per_slot());
/// assert!(memory.set_write_buffer_ratio(1.0).is_err());
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct RocksDbMemoryConfiguration {
    managed: Option<bool>,
    per_slot: Option<MemorySize>,
    per_task_manager: Option<MemorySize>,
    write_buffer_ratio: Option<f64>,
    high_priority_pool_ratio: Option<f64>,
    partitioned_index_filters: Option<bool>,
}

impl RocksDbMemoryConfiguration {
    /// Every field unset.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether the databases share the managed memory; none unsets it. Unset:
    /// `state.backend.rocksdb.memory.managed`, else true.
    pub fn set_use_managed_memory(&mut self, managed: impl Into<Option<bool>>) -> &mut Self {
        self.managed = managed.into();
        self
    }

    /// Sets the memory of all databases of one worker; none unsets it. Unset:
    /// `state.backend.rocksdb.memory.fixed-per-slot`, else none.
    ///
    /// # Errors
    /// A configuration error for 0 bytes.
    pub fn set_fixed_memory_per_slot(&mut self, size: impl Into<Option<MemorySize>>) -> Result<&mut Self> {
        self.per_slot = above_zero("fixed memory per slot", size.into())?;
        Ok(self)
    }

    /// Sets the memory of all databases of the process, which holds if managed memory is off; none unsets it. Unset:
    /// `state.backend.rocksdb.memory.fixed-per-tm`, else none.
    ///
    /// # Errors
    /// A configuration error for 0 bytes.
    pub fn set_fixed_memory_per_task_manager(&mut self, size: impl Into<Option<MemorySize>>) -> Result<&mut Self> {
        self.per_task_manager = above_zero("fixed memory per task manager", size.into())?;
        Ok(self)
    }

    /// Sets the share of the memory that write buffers may take; none unsets it. Unset:
    /// `state.backend.rocksdb.memory.write-buffer-ratio`, else 0.5.
    ///
    /// # Errors
    /// A configuration error if it is not between 0 and 1.
    pub fn set_write_buffer_ratio(&mut self, ratio: impl Into<Option<f64>>) -> Result<&mut Self> {
        self.write_buffer_ratio = between_0_and_1("write buffer ratio", ratio.into())?;
        Ok(self)
    }

    /// Sets the share of the block cache that is kept for indexes and filters; none unsets it. Unset:
    /// `state.backend.rocksdb.memory.high-prio-pool-ratio`, else 0.1.
    ///
    /// # Errors
    /// A configuration error if it is not between 0 and 1.
    pub fn set_high_priority_pool_ratio(&mut self, ratio: impl Into<Option<f64>>) -> Result<&mut Self> {
        self.high_priority_pool_ratio = between_0_and_1("high priority pool ratio", ratio.into())?;
        Ok(self)
    }

    /// Sets whether indexes and filters are cut into blocks; none unsets it. Unset:
    /// `state.backend.rocksdb.memory.partitioned-index-filters`, else false.
    pub fn set_use_partitioned_index_filters(&mut self, partitioned: impl Into<Option<bool>>) -> &mut Self {
        self.partitioned_index_filters = partitioned.into();
        self
    }

    /// Whether the databases share the managed memory, as far as this says; true if unset.
    #[must_use]
    pub fn is_using_managed_memory(&self) -> bool {
        self.managed.unwrap_or(true)
    }

    /// Whether each worker has a fixed amount.
    #[must_use]
    pub fn is_using_fixed_memory_per_slot(&self) -> bool {
        self.per_slot.is_some()
    }

    /// Memory of all databases of one worker, if set.
    #[must_use]
    pub fn fixed_memory_per_slot(&self) -> Option<MemorySize> {
        self.per_slot
    }

    /// Memory of all databases of the process, if set.
    #[must_use]
    pub fn fixed_memory_per_task_manager(&self) -> Option<MemorySize> {
        self.per_task_manager
    }

    /// Share of the memory that write buffers may take; 0.5 if unset.
    #[must_use]
    pub fn write_buffer_ratio(&self) -> f64 {
        self.write_buffer_ratio.unwrap_or(0.5)
    }

    /// Share of the block cache that is kept for indexes and filters; 0.1 if unset.
    #[must_use]
    pub fn high_priority_pool_ratio(&self) -> f64 {
        self.high_priority_pool_ratio.unwrap_or(0.1)
    }

    /// Whether indexes and filters are cut into blocks; false if unset.
    #[must_use]
    pub fn is_using_partitioned_index_filters(&self) -> bool {
        self.partitioned_index_filters.unwrap_or(false)
    }

    /// A new one with every field from this one, else from the configuration, else its default; the two fixed sizes
    /// stay unset where nothing sets them.
    pub(super) fn configure(&self, configuration: &Configuration) -> Result<Self> {
        self.check_contradictions(configuration)?;
        Ok(Self {
            managed: Some(or_configured(self.managed, configuration, &options::USE_MANAGED_MEMORY)?),
            per_slot: size(self.per_slot, configuration, &options::FIX_PER_SLOT_MEMORY_SIZE)?,
            per_task_manager: match self.is_process_overridden() {
                true => None,
                false => size(self.per_task_manager, configuration, &options::FIX_PER_TM_MEMORY_SIZE)?,
            },
            write_buffer_ratio: Some(ratio(self.write_buffer_ratio, configuration, &options::WRITE_BUFFER_RATIO)?),
            high_priority_pool_ratio: Some(ratio(
                self.high_priority_pool_ratio,
                configuration,
                &options::HIGH_PRIORITY_POOL_RATIO,
            )?),
            partitioned_index_filters: Some(or_configured(
                self.partitioned_index_filters,
                configuration,
                &options::USE_PARTITIONED_INDEX_FILTERS,
            )?),
        })
    }

    /// Whether the application's own values leave a configured memory per task manager without effect.
    fn is_process_overridden(&self) -> bool {
        self.per_task_manager.is_none() && (self.per_slot.is_some() || self.managed == Some(true))
    }

    /// Memory per task manager that would have no effect is refused, where Flink says nothing. Keys that the
    /// application overrides are no contradiction.
    fn check_contradictions(&self, configuration: &Configuration) -> Result<()> {
        let is_set = self.per_task_manager.is_some() || configuration.contains(&options::FIX_PER_TM_MEMORY_SIZE);
        if !is_set || self.is_process_overridden() {
            return Ok(());
        }
        let per_task_manager = options::FIX_PER_TM_MEMORY_SIZE.key();
        if self.per_slot.is_some() || configuration.contains(&options::FIX_PER_SLOT_MEMORY_SIZE) {
            return Err(Error::configuration(
                "memory per slot and memory per task manager are both fixed, and the second has no effect: remove one",
            )
            .with("key", options::FIX_PER_SLOT_MEMORY_SIZE.key())
            .with("other key", per_task_manager));
        }
        if or_configured(self.managed, configuration, &options::USE_MANAGED_MEMORY)? {
            return Err(Error::configuration(
                "fixed memory per task manager has no effect while managed memory is on: set the first key to false or \
                 remove the other",
            )
            .with("key", options::USE_MANAGED_MEMORY.key())
            .with("other key", per_task_manager));
        }
        Ok(())
    }
}

/// Managed memory of the process in bytes.
pub(super) fn managed_bytes(configuration: &Configuration) -> Result<u64> {
    if let Some(size) = size(None, configuration, &options::MANAGED_MEMORY_SIZE)? {
        return Ok(size.bytes());
    }
    match size(None, configuration, &options::TOTAL_FLINK_MEMORY)? {
        Some(total) => {
            let fraction = configuration.get(&options::MANAGED_MEMORY_FRACTION)?;
            if !(fraction > 0.0 && fraction <= 1.0) {
                return Err(out_of_range(&options::MANAGED_MEMORY_FRACTION, fraction, "above 0, at most 1"));
            }
            Ok((total.bytes() as f64 * fraction) as u64)
        }
        None => Ok(RocksDbMemoryConfiguration::DEFAULT_MANAGED_MEMORY.bytes()),
    }
}

impl RocksDbMemoryConfiguration {
    /// Managed memory of a process where nothing is configured: 512 mb, what a task manager has with the configuration
    /// file that Flink ships (1728 mb for the process, of which 1280 mb are Flink's and 0.4 of those managed).
    pub const DEFAULT_MANAGED_MEMORY: MemorySize = MemorySize::from_mebibytes(512);
}

/// The application's value, else the configured one, else the default.
pub(super) fn or_configured<T: crate::ConfigValue>(
    application: Option<T>,
    configuration: &Configuration,
    option: &ConfigOption<T>,
) -> Result<T> {
    application.map_or_else(|| configuration.get(option), Ok)
}

fn size(
    application: Option<MemorySize>,
    configuration: &Configuration,
    option: &ConfigOption<Option<MemorySize>>,
) -> Result<Option<MemorySize>> {
    if application.is_some() || !configuration.contains(option) {
        return Ok(application);
    }
    configuration.at_least(option, Some(MemorySize::from_bytes(1)))
}

fn ratio(application: Option<f64>, configuration: &Configuration, option: &ConfigOption<f64>) -> Result<f64> {
    let ratio = or_configured(application, configuration, option)?;
    match between_0_and_1("ratio", Some(ratio)) {
        Ok(_) => Ok(ratio),
        Err(_) => Err(out_of_range(option, ratio, "between 0 and 1, both excluded")),
    }
}

fn out_of_range(option: &ConfigOption<f64>, value: f64, allowed: &str) -> Error {
    Error::configuration("a configured value is out of range")
        .with("key", option.key())
        .with("value", value)
        .with("allowed", allowed)
}

fn above_zero(what: &str, size: Option<MemorySize>) -> Result<Option<MemorySize>> {
    match size {
        Some(size) if size.bytes() == 0 => {
            Err(Error::configuration(format!("the {what} must be larger than 0 bytes")).with("found", size))
        }
        _ => Ok(size),
    }
}

fn between_0_and_1(what: &str, ratio: Option<f64>) -> Result<Option<f64>> {
    match ratio {
        Some(ratio) if !(ratio > 0.0 && ratio < 1.0) => {
            Err(Error::configuration(format!("the {what} must be between 0 and 1, both excluded")).with("found", ratio))
        }
        _ => Ok(ratio),
    }
}

/// The serialized form, sizes in bytes; reading it checks as the setters do.
#[derive(Serialize, Deserialize)]
#[serde(rename = "RocksDbMemoryConfiguration", deny_unknown_fields)]
struct Fields {
    managed: Option<bool>,
    fixed_per_slot: Option<u64>,
    fixed_per_task_manager: Option<u64>,
    write_buffer_ratio: Option<f64>,
    high_priority_pool_ratio: Option<f64>,
    partitioned_index_filters: Option<bool>,
}

impl From<RocksDbMemoryConfiguration> for Fields {
    fn from(memory: RocksDbMemoryConfiguration) -> Self {
        Self {
            managed: memory.managed,
            fixed_per_slot: memory.per_slot.map(MemorySize::bytes),
            fixed_per_task_manager: memory.per_task_manager.map(MemorySize::bytes),
            write_buffer_ratio: memory.write_buffer_ratio,
            high_priority_pool_ratio: memory.high_priority_pool_ratio,
            partitioned_index_filters: memory.partitioned_index_filters,
        }
    }
}

impl TryFrom<Fields> for RocksDbMemoryConfiguration {
    type Error = Error;

    fn try_from(fields: Fields) -> Result<Self> {
        let mut memory = Self::new();
        memory
            .set_use_managed_memory(fields.managed)
            .set_use_partitioned_index_filters(fields.partitioned_index_filters)
            .set_fixed_memory_per_slot(fields.fixed_per_slot.map(MemorySize::from_bytes))?
            .set_fixed_memory_per_task_manager(fields.fixed_per_task_manager.map(MemorySize::from_bytes))?
            .set_write_buffer_ratio(fields.write_buffer_ratio)?
            .set_high_priority_pool_ratio(fields.high_priority_pool_ratio)?;
        Ok(memory)
    }
}
