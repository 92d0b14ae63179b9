//! RocksDB databases that go between Flink and Highwater: files that Flink wrote are opened here, and files written
//! here are opened by the RocksDB that Flink carries.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers outside of test functions may fail the test"
)]

mod files;
mod model;
mod reads;
mod restores;
mod support;
mod words;
