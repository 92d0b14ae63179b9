//! The memory of all databases of a process: one budget, one block cache, one account of write buffers.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use highwater_types::{Error, Result};

use crate::native_options::Pool;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Parts of the write-buffer budget that the block of a write buffer's arena may take at most: as many states may hold
/// their first records before any of them has to be flushed.
const ARENAS: u64 = 64;

/// The memory budget of RocksDB (`state.backend.rocksdb.memory.*`).
///
/// A *slot* is a worker of the job. The workers of a process share one cache, so its budget is the budget of a slot
/// times [`slots`](Self::slots). The first of these that is set is the budget ([`budget`](Self::budget)):
///
/// 1. [`fixed_per_slot`](Self::fixed_per_slot), times slots
/// 2. [`managed`](Self::managed), times slots
/// 3. [`fixed_per_process`](Self::fixed_per_process)
/// 4. none: every state has a block cache and write buffers for itself, about 140 MB per state and worker.
///
/// ```
/// use highwater_rocksdb::{MemoryBudget, MemorySettings};
///
/// let settings = MemorySettings { fixed_per_slot: Some(128 << 20), ..MemorySettings::default() };
/// let Some(MemoryBudget { bytes, .. }) = settings.budget() else { unreachable!() };
/// assert_eq!(bytes, 128 << 20);
/// assert_eq!(settings.cache_capacity(bytes), 111_848_106);
/// assert_eq!(settings.write_buffer_capacity(bytes), 44_739_242);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct MemorySettings {
    /// Managed memory of a slot, bytes; none if RocksDB does not use it (`…memory.managed` is false). Default 512 MiB,
    /// what Flink's default sizes give the only slot of a task manager.
    pub managed: Option<u64>,
    /// `…memory.fixed-per-slot`, bytes.
    pub fixed_per_slot: Option<u64>,
    /// `…memory.fixed-per-tm`: bytes for the whole process, however many slots it has. Without effect while `managed`
    /// is set.
    pub fixed_per_process: Option<u64>,
    /// Workers of the job in this process. Default 1.
    pub slots: NonZeroUsize,
    /// `…memory.write-buffer-ratio`: share of the budget for write buffers, between 0 and 1. Default 0.5.
    pub write_buffer_ratio: f64,
    /// `…memory.high-prio-pool-ratio`: share of the cache that indexes and filters have for themselves, between 0
    /// and 1. Default 0.1.
    pub high_priority_pool_ratio: f64,
    /// `…memory.partitioned-index-filters`: indexes and filters are read part by part. Existing filters become full
    /// Bloom filters of 10 bits. Default false.
    pub partitioned_index_filters: bool,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self {
            managed: Some(512 * MIB),
            fixed_per_slot: None,
            fixed_per_process: None,
            slots: NonZeroUsize::MIN,
            write_buffer_ratio: 0.5,
            high_priority_pool_ratio: 0.1,
            partitioned_index_filters: false,
        }
    }
}

/// Where a budget comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BudgetSource {
    /// [`MemorySettings::fixed_per_slot`].
    FixedPerSlot,
    /// [`MemorySettings::managed`].
    Managed,
    /// [`MemorySettings::fixed_per_process`].
    FixedPerProcess,
}

/// The budget of all databases of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryBudget {
    /// Bytes.
    pub bytes: u64,
    /// The setting that decided.
    pub source: BudgetSource,
}

impl MemorySettings {
    /// The budget of the process; none: every state for itself.
    #[must_use]
    pub fn budget(&self) -> Option<MemoryBudget> {
        let slots = u64::try_from(self.slots.get()).unwrap_or(u64::MAX);
        let per_slot = |bytes: u64| bytes.saturating_mul(slots);
        let budget = |source| move |bytes| MemoryBudget { bytes, source };
        (self.fixed_per_slot.map(per_slot).map(budget(BudgetSource::FixedPerSlot)))
            .or(self.managed.map(per_slot).map(budget(BudgetSource::Managed)))
            .or(self.fixed_per_process.map(budget(BudgetSource::FixedPerProcess)))
    }

    /// Capacity of the block cache: ⌊(3 − r) · budget / 3⌋ bytes with r = [`write_buffer_ratio`](Self::write_buffer_ratio).
    /// The write buffers are charged to it.
    #[must_use]
    pub fn cache_capacity(&self, budget: u64) -> u64 {
        scaled(budget, (3.0 - self.write_buffer_ratio) / 3.0)
    }

    /// Capacity of the write buffers: ⌊2 · r · budget / 3⌋ bytes. From seven eighths of it on the largest buffer is
    /// flushed, and writers wait while more than all of it is in use. (Flink lets them write on, which exceeds the
    /// budget when they are faster than the disk.)
    #[must_use]
    pub fn write_buffer_capacity(&self, budget: u64) -> u64 {
        scaled(budget, 2.0 * self.write_buffer_ratio / 3.0)
    }

    /// Checks sizes and ratios.
    ///
    /// # Errors
    ///
    /// A configuration error that names key, value and range; for two ratios that leave no room in the cache, both.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("taskmanager.memory.managed.size", self.managed),
            ("state.backend.rocksdb.memory.fixed-per-slot", self.fixed_per_slot),
            ("state.backend.rocksdb.memory.fixed-per-tm", self.fixed_per_process),
        ];
        if let Some((key, _)) = sizes.into_iter().find(|(_, size)| *size == Some(0)) {
            return Err(Error::configuration("the memory of RocksDB must be larger than 0 bytes")
                .with("key", key)
                .with("found", 0));
        }
        let ratios = [
            ("state.backend.rocksdb.memory.write-buffer-ratio", self.write_buffer_ratio),
            ("state.backend.rocksdb.memory.high-prio-pool-ratio", self.high_priority_pool_ratio),
        ];
        if let Some((key, ratio)) = ratios.into_iter().find(|(_, ratio)| !(*ratio > 0.0 && *ratio < 1.0)) {
            return Err(Error::configuration("this share of RocksDB's memory is out of range")
                .with("key", key)
                .with("found", ratio)
                .with("expected", "between 0 and 1, neither of them"));
        }
        let (r, p) = (self.write_buffer_ratio, self.high_priority_pool_ratio);
        if 2.0 * r / (3.0 - r) + p >= 1.0 {
            return Err(Error::configuration(
                "write buffers, indexes and filters leave no room for data in RocksDB's cache: lower one of the ratios",
            )
            .with("state.backend.rocksdb.memory.write-buffer-ratio", r)
            .with("state.backend.rocksdb.memory.high-prio-pool-ratio", p));
        }
        Ok(())
    }
}

/// `bytes` times `share`, rounded down, as Flink computes it.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "Flink computes in doubles; a share of a size is neither negative nor beyond it"
)]
fn scaled(bytes: u64, share: f64) -> u64 {
    (bytes as f64 * share) as u64
}

/// Something about the memory settings that a user should change. Databases work, but not as they could.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryCondition {
    /// The budget for write buffers is so small that RocksDB flushes them constantly.
    WriteBuffersTooSmall {
        /// The step by which RocksDB lets a write buffer grow, bytes.
        block: u64,
        /// Capacity of all write buffers, bytes.
        capacity: u64,
    },
    /// [`MemorySettings::fixed_per_process`] is set and has no effect, because this other setting comes first.
    FixedPerProcessIgnored(BudgetSource),
}

impl fmt::Display for MemoryCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteBuffersTooSmall { block, capacity } => write!(
                f,
                "RocksDB will flush its write buffers constantly: it lets them grow by {block} bytes, and has \
                 {capacity} bytes for all of them; give RocksDB more memory, or raise \
                 state.backend.rocksdb.memory.write-buffer-ratio"
            ),
            Self::FixedPerProcessIgnored(source) => {
                let cure = match source {
                    BudgetSource::FixedPerSlot => "unset state.backend.rocksdb.memory.fixed-per-slot",
                    _ => "set state.backend.rocksdb.memory.managed to false",
                };
                write!(f, "state.backend.rocksdb.memory.fixed-per-tm has no effect: {cure}")
            }
        }
    }
}

/// What databases that share memory use of it, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// Capacity of the block cache, to which the write buffers are charged.
    pub cache_capacity: u64,
    /// What is in the cache: blocks, indexes, filters, what open files need, and the charge of the write buffers.
    pub cache_used: u64,
    /// The part of it that cannot be evicted now.
    pub cache_pinned: u64,
    /// Capacity of the write buffers.
    pub write_buffer_capacity: u64,
    /// What the write buffers take, those that are being flushed included.
    pub write_buffers_used: u64,
}

/// The block cache and the account of write buffers that all databases of a process with the same budget share; or, of
/// an unbounded budget, nothing. A clone shares too.
///
/// ```
/// use highwater_rocksdb::{MemorySettings, SharedMemory};
///
/// let settings = MemorySettings { fixed_per_slot: Some(64 << 20), ..MemorySettings::default() };
/// let one = SharedMemory::of_process(&settings)?;
/// let other = SharedMemory::of_process(&settings)?;
/// assert!(one.is_shared_with(&other));
/// assert_eq!(one.usage().unwrap_or_default().cache_capacity, 55_924_053);
///
/// let unbounded = SharedMemory::of_process(&MemorySettings { managed: None, ..MemorySettings::default() })?;
/// assert!(unbounded.usage().is_none());
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SharedMemory {
    pool: Option<Arc<Pool>>,
    partitioned: bool,
}

/// What makes two budgets the same: sizes of cache and write buffers, and the ratio's bits.
type PoolKey = (u64, u64, u64);

/// The pools of this process that somebody uses.
static POOLS: LazyLock<Mutex<Vec<(PoolKey, Weak<Pool>)>>> = LazyLock::new(Mutex::default);

impl SharedMemory {
    /// The memory that databases of this process with such settings share. It is there as long as one of them is.
    ///
    /// # Errors
    ///
    /// Those of [`MemorySettings::validate`].
    pub fn of_process(settings: &MemorySettings) -> Result<Self> {
        settings.validate()?;
        let pool = settings.budget().map(|budget| pool_of_process(settings, budget)).transpose()?;
        Ok(Self { pool, partitioned: settings.partitioned_index_filters })
    }

    /// What is used now; none of an unbounded budget.
    #[must_use]
    pub fn usage(&self) -> Option<MemoryUsage> {
        self.pool.as_ref().map(|pool| pool.usage())
    }

    /// Whether both are the same cache.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        match (&self.pool, &other.pool) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    pub(crate) fn pool(&self) -> Option<&Pool> {
        self.pool.as_deref()
    }

    pub(crate) fn partitioned(&self) -> bool {
        self.partitioned
    }

    /// Bytes by which a write buffer grows: RocksDB's own choice, made smaller where the budget is small, so that many
    /// states with few records each do not flush each other.
    pub(crate) fn arena_block_size(&self, write_buffer_size: u64) -> u64 {
        let most = self.usage().map_or(u64::MAX, |usage| usage.write_buffer_capacity / ARENAS);
        usual_arena_block(write_buffer_size).min(most).next_multiple_of(4 * KIB).max(4 * KIB)
    }
}

/// The step by which RocksDB lets a write buffer grow: an eighth of it in whole pages, 1 MiB at most.
fn usual_arena_block(write_buffer_size: u64) -> u64 {
    (write_buffer_size / 8).clamp(1, MIB).next_multiple_of(4 * KIB)
}

fn pool_of_process(settings: &MemorySettings, budget: MemoryBudget) -> Result<Arc<Pool>> {
    let (cache, buffers) = (settings.cache_capacity(budget.bytes), settings.write_buffer_capacity(budget.bytes));
    let ratio = settings.high_priority_pool_ratio;
    let key = (cache, buffers, ratio.to_bits());
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    pools.retain(|(_, pool)| pool.strong_count() > 0);
    if let Some(pool) = pools.iter().find(|(other, _)| *other == key).and_then(|(_, pool)| pool.upgrade()) {
        return Ok(pool);
    }
    let pool = Arc::new(Pool::new(cache, ratio, buffers)?);
    pools.push((key, Arc::downgrade(&pool)));
    Ok(pool)
}

impl MemorySettings {
    /// What a user should change, for databases whose write buffers are `write_buffer_size` bytes.
    #[must_use]
    pub fn conditions(&self, write_buffer_size: u64) -> Vec<MemoryCondition> {
        let Some(budget) = self.budget() else { return Vec::new() };
        let capacity = self.write_buffer_capacity(budget.bytes);
        let block = usual_arena_block(write_buffer_size);
        let flushes = (block.saturating_mul(8) > capacity.saturating_mul(7))
            .then_some(MemoryCondition::WriteBuffersTooSmall { block, capacity });
        let ignored = (self.fixed_per_process.is_some() && budget.source != BudgetSource::FixedPerProcess)
            .then_some(MemoryCondition::FixedPerProcessIgnored(budget.source));
        flushes.into_iter().chain(ignored).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn per_slot(bytes: u64) -> MemorySettings {
        MemorySettings { fixed_per_slot: Some(bytes), ..MemorySettings::default() }
    }

    #[test]
    fn capacities_are_those_of_flink() {
        let settings = per_slot(128 * MIB);
        assert_eq!(settings.cache_capacity(128 * MIB), 111_848_106);
        assert_eq!(settings.write_buffer_capacity(128 * MIB), 44_739_242);
        let settings = MemorySettings { write_buffer_ratio: 0.1, ..per_slot(512 * MIB) };
        assert_eq!(settings.cache_capacity(512 * MIB), 518_975_214);
        assert_eq!(settings.write_buffer_capacity(512 * MIB), 35_791_394);
    }

    #[test]
    fn the_budget_is_chosen_in_order() {
        let slots = NonZeroUsize::new(3).unwrap();
        let all = MemorySettings {
            managed: Some(20),
            fixed_per_slot: Some(10),
            fixed_per_process: Some(70),
            slots,
            ..MemorySettings::default()
        };
        let managed = MemorySettings { fixed_per_slot: None, ..all.clone() };
        let process = MemorySettings { managed: None, ..managed.clone() };
        let none = MemorySettings { fixed_per_process: None, ..process.clone() };
        assert_eq!(all.budget(), Some(MemoryBudget { bytes: 30, source: BudgetSource::FixedPerSlot }));
        assert_eq!(managed.budget(), Some(MemoryBudget { bytes: 60, source: BudgetSource::Managed }));
        assert_eq!(process.budget(), Some(MemoryBudget { bytes: 70, source: BudgetSource::FixedPerProcess }));
        assert_eq!(none.budget(), None);
        let ignored = |settings: &MemorySettings| {
            settings.conditions(4096).into_iter().find(|c| matches!(c, MemoryCondition::FixedPerProcessIgnored(_)))
        };
        assert_eq!(ignored(&all), Some(MemoryCondition::FixedPerProcessIgnored(BudgetSource::FixedPerSlot)));
        assert_eq!(ignored(&managed), Some(MemoryCondition::FixedPerProcessIgnored(BudgetSource::Managed)));
        assert_eq!(ignored(&process), None);
    }

    #[test]
    fn ratios_that_leave_no_room_are_refused_with_both_values() {
        // 2r / (3 - r) is 0.4 for r = 0.5.
        let settings = |high_priority_pool_ratio| MemorySettings { high_priority_pool_ratio, ..per_slot(MIB) };
        settings(0.59).validate().unwrap();
        let error = settings(0.61).validate().unwrap_err();
        assert_eq!(error.value("state.backend.rocksdb.memory.write-buffer-ratio"), Some("0.5"));
        assert_eq!(error.value("state.backend.rocksdb.memory.high-prio-pool-ratio"), Some("0.61"));
    }

    #[test]
    fn sizes_and_ratios_out_of_range_name_their_key() {
        for ratio in [0.0, 1.0, -0.1, f64::NAN] {
            let settings = MemorySettings { write_buffer_ratio: ratio, ..per_slot(MIB) };
            let error = settings.validate().unwrap_err();
            assert_eq!(error.value("key"), Some("state.backend.rocksdb.memory.write-buffer-ratio"));
        }
        let error = per_slot(0).validate().unwrap_err();
        assert_eq!(error.value("key"), Some("state.backend.rocksdb.memory.fixed-per-slot"));
    }

    #[test]
    fn write_buffers_that_are_too_small_are_reported() {
        assert_eq!(per_slot(64 * MIB).conditions(64 * MIB), []);
        let capacity = per_slot(3 * MIB).write_buffer_capacity(3 * MIB);
        let conditions = per_slot(3 * MIB).conditions(64 * MIB);
        assert_eq!(conditions, [MemoryCondition::WriteBuffersTooSmall { block: MIB, capacity }]);
        // Small buffers grow by small steps.
        assert_eq!(per_slot(3 * MIB).conditions(MIB), []);
    }

    #[test]
    fn arenas_shrink_with_the_budget() {
        let block = |bytes, buffer| SharedMemory::of_process(&per_slot(bytes)).unwrap().arena_block_size(buffer);
        assert_eq!(block(1024 * MIB, 64 * MIB), MIB);
        assert_eq!(block(64 * MIB, 64 * MIB), 352_256); // a 64th of 22,369,621, in whole pages
        assert_eq!(block(4096, 64 * MIB), 4096);
        assert_eq!(block(1024 * MIB, 100), 4096);
    }

    #[test]
    fn one_process_has_one_cache_for_equal_budgets() {
        let one = SharedMemory::of_process(&per_slot(7 * MIB)).unwrap();
        // Another way to the same budget.
        let slots = NonZeroUsize::new(7).unwrap();
        let same = SharedMemory::of_process(&MemorySettings { slots, ..per_slot(MIB) }).unwrap();
        let other = SharedMemory::of_process(&per_slot(8 * MIB)).unwrap();
        assert!(one.is_shared_with(&same));
        assert!(!one.is_shared_with(&other));
    }
}
