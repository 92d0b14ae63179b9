//! The operators of the data dataflow, as timely runs them.

mod assign;
mod capability;
mod edge;
mod event_time;
mod fiber;
mod input;
mod keyed;
mod side;
mod sink;
mod source;
mod task;
mod transform;
mod union;

pub(crate) use assign::assign;
pub(crate) use edge::Batches;
pub(crate) use event_time::EventTime;
pub(crate) use fiber::{Chunk, Exit, Signal, cancelled};
pub(crate) use keyed::{
    Bounds, IntervalJoin, KeyedOperator, KeyedParts, Plain, Results, Timed, WatermarkMemory, keyed, keyed_pair,
};
pub(crate) use side::side;
pub(crate) use sink::{SinkParts, sink};
pub(crate) use source::{SourceParts, source};
pub(crate) use transform::{end, transform};
pub(crate) use union::union;
