//! Sources and sinks by themselves, driven as the runtime drives them: subtasks with operator state, snapshots at a
//! barrier, restores at any parallelism.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed assumption should stop the test, in helpers too"
)]

mod buckets;
mod consumed;
mod file_sink;
mod file_source;
mod forks;
mod generator;
mod harness;
mod rolling;
mod sink_crash;
