//! Bytes at rest, by behaviour: paths, streams, damaged files, places of checkpoints, retention, crashes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed assumption in a helper should stop the test"
)]

mod crashes;
mod damage;
mod faults;
mod file_systems;
mod locks;
mod ownership;
mod paths;
mod places;
mod pointers;
mod retention;
mod streams;
mod support;
