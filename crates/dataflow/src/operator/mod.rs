//! The operators of the data dataflow, as timely runs them.

mod input;
mod keyed;
mod sink;
mod source;
mod transform;

pub(crate) use keyed::{KeyedParts, keyed};
pub(crate) use sink::{SinkParts, sink};
pub(crate) use source::{SourceParts, source};
pub(crate) use transform::transform;

use timely::dataflow::Stream;

use crate::runtime::time::Time;

/// A stream of batches of records.
pub(crate) type Batches<'s, T> = Stream<'s, Time, Vec<T>>;
