//! The `_metadata` codec: bytes that Flink wrote or accepted, values of every kind, damage of every kind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers outside of test functions may fail the test"
)]

mod arbitrary;
mod bytes;
mod flink;
mod hostile;
mod streams;
mod write_rules;
