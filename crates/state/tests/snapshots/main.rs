//! The formats of snapshots: the canonical stream of keyed state, the stream of operator state, and who gets what of
//! them on restore; bytes that Flink wrote or accepted, values of every kind, damage of every kind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers outside of test functions may fail the test"
)]

mod allocator;
mod canonical_stream;
mod flink;
mod hostile;
mod operator_state;
mod redistribution;
mod restored_state;
mod state_meta;
mod support;
