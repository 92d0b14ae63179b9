//! The checkpoint coordinator: each rule by a scenario, and all of them together under random schedules.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers outside of test functions may fail the test"
)]

mod rules;
mod schedules;
mod simulation;
mod timing;
