//! The operators of the data dataflow, as timely runs them.

mod edge;
mod fiber;
mod input;
mod keyed;
mod sink;
mod source;
mod task;
mod transform;

pub(crate) use edge::Batches;
pub(crate) use fiber::{Exit, Signal, cancelled};
pub(crate) use keyed::{KeyedParts, keyed};
pub(crate) use sink::{SinkParts, sink};
pub(crate) use source::{SourceParts, source};
pub(crate) use transform::{end, transform};
