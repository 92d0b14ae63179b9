//! The options and shared memory that RocksDB's C API does not offer (`cpp/options.cc`).

use std::ffi::{CStr, c_char};
use std::fmt;
use std::ptr::NonNull;

use highwater_types::{Error, Result};
use rust_rocksdb::{AsRawPtr, Options, ffi_raw};

use crate::MemoryUsage;

/// Opaque to Rust.
#[repr(C)]
struct RawMemory {
    _private: [u8; 0],
}

#[repr(C)]
struct RawUsage {
    cache_capacity: usize,
    cache_usage: usize,
    cache_pinned: usize,
    buffer_capacity: usize,
    buffer_usage: usize,
}

unsafe extern "C" {
    fn highwater_memory_create(
        cache_capacity: usize,
        high_priority_ratio: f64,
        buffer_capacity: usize,
    ) -> *mut RawMemory;
    fn highwater_memory_destroy(memory: *mut RawMemory);
    fn highwater_memory_used(memory: *const RawMemory) -> RawUsage;
    fn highwater_refused_database(options: *const ffi_raw::rocksdb_options_t) -> *const c_char;
    fn highwater_refused_columns(options: *const ffi_raw::rocksdb_options_t) -> *const c_char;
    fn highwater_force_database(options: *mut ffi_raw::rocksdb_options_t, memory: *const RawMemory);
    fn highwater_force_columns(
        options: *mut ffi_raw::rocksdb_options_t,
        memory: *const RawMemory,
        partitioned: bool,
    ) -> i32;
}

/// One block cache and the write-buffer manager that is charged to it.
pub(crate) struct Pool(NonNull<RawMemory>);

// SAFETY: it owns two shared pointers whose objects RocksDB itself shares between threads, and is read only.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Pool {
    pub(crate) fn new(cache_capacity: u64, high_priority_ratio: f64, buffer_capacity: u64) -> Result<Self> {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        // SAFETY: takes plain numbers; returns null on failure.
        let raw = unsafe { highwater_memory_create(size(cache_capacity), high_priority_ratio, size(buffer_capacity)) };
        NonNull::new(raw).map(Self).ok_or_else(|| {
            Error::configuration("RocksDB could not make a block cache of this size").with("found", cache_capacity)
        })
    }

    pub(crate) fn usage(&self) -> MemoryUsage {
        // SAFETY: the pointer is valid as long as `self`; both objects may be read from any thread.
        let raw = unsafe { highwater_memory_used(self.0.as_ptr()) };
        MemoryUsage {
            cache_capacity: raw.cache_capacity as u64,
            cache_used: raw.cache_usage as u64,
            cache_pinned: raw.cache_pinned as u64,
            write_buffer_capacity: raw.buffer_capacity as u64,
            write_buffers_used: raw.buffer_usage as u64,
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: made by `highwater_memory_create` and freed once; open databases hold shares of their own.
        unsafe { highwater_memory_destroy(self.0.as_ptr()) }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.usage().fmt(f)
    }
}

fn raw_or_null(pool: Option<&Pool>) -> *const RawMemory {
    pool.map_or(std::ptr::null(), |pool| pool.0.as_ptr().cast_const())
}

/// The first option of a database that a store cannot live with, by its name in RocksDB.
pub(crate) fn refused_database(options: &Options) -> Option<&'static str> {
    // SAFETY: the pointer is valid during the call; what is returned is null or a constant of the C++ file.
    unsafe { constant(highwater_refused_database(options.as_raw_ptr())) }
}

/// The same of a column family.
pub(crate) fn refused_columns(options: &Options) -> Option<&'static str> {
    // SAFETY: as above.
    unsafe { constant(highwater_refused_columns(options.as_raw_ptr())) }
}

/// # Safety
/// `text` is null or a constant.
unsafe fn constant(text: *const c_char) -> Option<&'static str> {
    match text.is_null() {
        true => None,
        // SAFETY: the caller's promise.
        false => unsafe { CStr::from_ptr(text) }.to_str().ok(),
    }
}

/// Gives a database the shared write buffers.
pub(crate) fn force_database(options: &mut Options, pool: Option<&Pool>) {
    // SAFETY: both pointers are valid during the call; the options take a share of the manager.
    unsafe { highwater_force_database(options.as_raw_ptr(), raw_or_null(pool)) }
}

/// Gives a column family the append operator, the file format of Flink's RocksDB and, from a pool, the shared cache. The
/// options are those of [block-based tables](refused_columns).
pub(crate) fn force_columns(options: &mut Options, pool: Option<&Pool>, partitioned: bool) -> Result<()> {
    // SAFETY: as above.
    match unsafe { highwater_force_columns(options.as_raw_ptr(), raw_or_null(pool), partitioned) } {
        0 => Ok(()),
        1 => Err(Error::internal("RocksDB does not know its merge operator stringappendtest")),
        code => Err(Error::internal("RocksDB refused the options of a column family").with("found", code)),
    }
}
