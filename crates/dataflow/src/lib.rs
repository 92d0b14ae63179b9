//! Stateful stream jobs on timely dataflow: sources with replayable positions, keyed processes, exactly-once sinks,
//! checkpoints and restarts. Timely itself stays behind this crate's own surface.

mod sink;
mod source;

pub use sink::{FileSink, Sink, SinkContext, SinkWriter};
pub use source::{
    CollectionSource, FileSource, GeneratorSource, Source, SourceContext, SourceReader, SourceStatus,
};
