//! Event time: what a stream says about the timestamps that are still to come.
//!
//! Watermarks travel in-band, as marks at the end of batches. Every input of an operator has a [`Valve`] over its channels;
//! an operator with two inputs combines what their valves say.

mod assigner;
mod combined;
mod generator;
mod idleness;
mod mark;
mod strategy;
mod valve;

pub(crate) use assigner::{PeriodicTicks, SplitAssigner, StreamAssigner};
pub(crate) use combined::Combined;
pub use generator::{WatermarkGenerator, WatermarkOutput};
pub(crate) use mark::{Advance, Mark, Status};
pub use strategy::WatermarkStrategy;
pub(crate) use valve::Valve;
