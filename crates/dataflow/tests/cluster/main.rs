//! One job in several real processes, over loopback, and what becomes of it when they are killed, stopped, cut off from
//! each other or visited by strangers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, dead_code, reason = "helpers of tests")]

#[path = "../support/ports.rs"]
mod ports;
#[path = "../support/mod.rs"]
mod support;

mod endings;
mod faults;
mod harness;
mod process;
mod proxy;
mod strangers;
