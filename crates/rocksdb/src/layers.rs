//! The options of a database, layer by layer: default, profile, configured, factory, and what is forced.

use std::sync::Arc;

use highwater_types::{Error, Result, ResultExt};
use rust_rocksdb::{BlockBasedOptions, DBCompressionType, Options};

use crate::factory_options;
use crate::native_options::{force_columns, force_database};
use crate::{ConfiguredOptions, MemoryCondition, RocksDbSettings, SharedMemory};

/// What every database of a job is opened with. A clone shares the memory.
///
/// ```
/// use highwater_rocksdb::{Layers, PredefinedOptions, RocksDbSettings};
///
/// let mut settings = RocksDbSettings::default();
/// settings.predefined_options = PredefinedOptions::FlashSsdOptimized;
/// settings.configured_options.write_buffer_size = Some(8 << 20);
/// let layers = Layers::new(settings)?;
/// assert_eq!(layers.database()?.get_max_background_jobs(), 4);
/// assert_eq!(layers.column("counts")?.get_write_buffer_size(), 8 << 20);
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Layers {
    settings: Arc<RocksDbSettings>,
    effective: Arc<ConfiguredOptions>,
    memory: SharedMemory,
}

impl Layers {
    /// Checks the settings and takes the memory that this process has for them. What a user should change is warned
    /// of.
    ///
    /// # Errors
    ///
    /// Those of [`RocksDbSettings::validate`].
    pub fn new(settings: RocksDbSettings) -> Result<Self> {
        settings.validate()?;
        let effective = settings.effective_options();
        let memory = SharedMemory::of_process(&settings.memory)?;
        let layers = Self { settings: Arc::new(settings), effective: Arc::new(effective), memory };
        for condition in layers.conditions() {
            tracing::warn!("{condition}");
        }
        Ok(layers)
    }

    /// What a user should change about memory; empty if all is well.
    #[must_use]
    pub fn conditions(&self) -> Vec<MemoryCondition> {
        self.settings.memory.conditions(self.effective.write_buffer_size.unwrap_or_default())
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &RocksDbSettings {
        &self.settings
    }

    /// The memory that all databases of these settings share.
    #[must_use]
    pub fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// Options of a database.
    ///
    /// # Errors
    ///
    /// A configuration error for an option of the options factory that a store cannot live with; for sizes that this
    /// machine cannot address.
    pub fn database(&self) -> Result<Options> {
        let mut options = Options::default();
        apply_to_database(&self.effective, &mut options)?;
        if let Some(factory) = &self.settings.options_factory {
            factory.database_options(&mut options);
        }
        factory_options::check_database(&options).map_err(|error| self.of_factory(error))?;
        factory_options::force_database(&mut options);
        force_database(&mut options, self.memory.pool());
        Ok(options)
    }

    /// Options of the column family that holds `state`.
    ///
    /// # Errors
    ///
    /// A configuration error for an option of the options factory that a store cannot live with.
    pub fn column(&self, state: &str) -> Result<Options> {
        let mut options = Options::default();
        let mut table = BlockBasedOptions::default();
        apply_to_column(&self.effective, &mut options)?;
        apply_to_table(&self.effective, &mut table)?;
        let buffer = self.effective.write_buffer_size.unwrap_or_default();
        options.set_arena_block_size(size(self.memory.arena_block_size(buffer))?);
        if let Some(factory) = &self.settings.options_factory {
            factory.table_options(state, &mut table);
            options.set_block_based_table_factory(&table);
            factory.column_options(state, &mut options);
        } else {
            options.set_block_based_table_factory(&table);
        }
        let checked = factory_options::check_columns(&options);
        checked.with("state", state).map_err(|error| self.of_factory(error))?;
        factory_options::force_columns(&mut options, &self.memory);
        force_columns(&mut options, self.memory.pool(), self.memory.partitioned()).with("state", state)?;
        Ok(options)
    }

    #[cold]
    fn of_factory(&self, error: Error) -> Error {
        match &self.settings.options_factory {
            Some(factory) => error.with("options factory", factory.name()),
            None => error,
        }
    }
}

fn apply_to_database(effective: &ConfiguredOptions, options: &mut Options) -> Result<()> {
    if let Some(jobs) = effective.background_jobs {
        options.set_max_background_jobs(int(jobs)?);
    }
    if let Some(files) = effective.open_files {
        options.set_max_open_files(files);
    }
    if let Some(level) = effective.log_level {
        options.set_log_level(level.to_rocksdb());
    }
    if let Some(dir) = &effective.log_dir {
        options.set_db_log_dir(dir);
    }
    if let Some(bytes) = effective.log_max_file_size {
        options.set_max_log_file_size(size(bytes)?);
    }
    if let Some(files) = effective.log_file_count {
        options.set_keep_log_file_num(size(files)?);
    }
    Ok(())
}

fn apply_to_column(effective: &ConfiguredOptions, options: &mut Options) -> Result<()> {
    if let Some(style) = effective.compaction_style {
        options.set_compaction_style(style.to_rocksdb()?);
    }
    if let Some(levels) = &effective.compression_per_level {
        let levels: Vec<DBCompressionType> = levels.iter().map(|level| level.to_rocksdb()).collect::<Result<_>>()?;
        options.set_compression_per_level(&levels);
    }
    if let Some(dynamic) = effective.dynamic_level_size {
        options.set_level_compaction_dynamic_level_bytes(dynamic);
    }
    if let Some(bytes) = effective.target_file_size_base {
        options.set_target_file_size_base(bytes);
    }
    if let Some(bytes) = effective.max_level_size_base {
        options.set_max_bytes_for_level_base(bytes);
    }
    if let Some(bytes) = effective.write_buffer_size {
        options.set_write_buffer_size(size(bytes)?);
    }
    if let Some(count) = effective.write_buffer_count {
        options.set_max_write_buffer_number(int(count)?);
    }
    if let Some(count) = effective.write_buffers_to_merge {
        options.set_min_write_buffer_number_to_merge(int(count)?);
    }
    Ok(())
}

fn apply_to_table(effective: &ConfiguredOptions, table: &mut BlockBasedOptions) -> Result<()> {
    if let Some(bytes) = effective.block_size {
        table.set_block_size(size(bytes)?);
    }
    if let Some(bytes) = effective.metadata_block_size {
        table.set_metadata_block_size(size(bytes)?);
    }
    if let Some(bytes) = effective.block_cache_size {
        table.set_block_cache(&rust_rocksdb::Cache::new_lru_cache(size(bytes)?));
    }
    if effective.bloom_filter == Some(true) {
        let bits = effective.bloom_filter_bits_per_key.unwrap_or(10.0);
        table.set_bloom_filter(bits, effective.bloom_filter_block_based == Some(true));
    }
    Ok(())
}

/// A size or count as RocksDB takes it.
fn size(value: impl Into<u64>) -> Result<usize> {
    let value = value.into();
    usize::try_from(value).map_err(|_| too_large(value))
}

fn int(value: u32) -> Result<i32> {
    i32::try_from(value).map_err(|_| too_large(u64::from(value)))
}

fn too_large(value: u64) -> Error {
    Error::configuration("this value is too large for an option of RocksDB").with("found", value)
}
