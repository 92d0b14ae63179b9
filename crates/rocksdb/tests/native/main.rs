//! Checkpoints of RocksDB against a plain model, over rescales, damage, and whatever an options factory sets.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed assumption should stop the test, in helpers too"
)]

mod incremental;
mod options;
mod world;
