//! State operations of one keyed backend on one thread, beside the same done without Highwater.
//!
//! `cargo bench -p highwater --bench keyed_state [-- [--large] [NAME]...]`: the heap, beside a bare `hashbrown` map.
//! `cargo bench -p highwater --features rocksdb --bench keyed_state -- rocksdb [--managed] [NAME]...`: RocksDB, beside
//! bare calls of RocksDB with the same keys, options and files.
//!
//! Prints operations per millisecond: medians of seven rounds behind three of warm-up, on the wall and on the thread's
//! processor time, and the ratio of our time to the baseline's. Flink's columns are figures measured with Flink 2.1.3
//! (HashMap or RocksDB backend, two cores of an EPYC machine) on the same workload, processor time, the better of two
//! passes; they are constants here, not measured in this run. `--large` adds value get and update over 10 million keys
//! and the memory of an entry. `--managed` gives RocksDB its default budget of 512 mb where Flink's figures are with
//! block caches of 8 mb.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a benchmark may stop at the first failure, and has no users"
)]

#[path = "../common/mod.rs"]
mod common;
mod heap;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod workload;

use workload::Report;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    let is_name = |argument: &&String| !argument.starts_with("--") && *argument != "rocksdb";
    let wanted = arguments.iter().filter(is_name).cloned().collect();
    let mut report = Report::new(wanted, has("rocksdb"));
    Report::head();
    if has("rocksdb") {
        #[cfg(feature = "rocksdb")]
        rocksdb::rows(&mut report, has("--managed"));
        #[cfg(not(feature = "rocksdb"))]
        eprintln!("RocksDB is a feature: --features rocksdb");
    } else {
        // First, while no freed memory hides what an entry takes.
        if has("--large") {
            heap::large_rows(&mut report);
        }
        heap::rows(&mut report);
    }
    report.finish();
}
