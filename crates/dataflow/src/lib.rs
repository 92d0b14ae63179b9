//! Stateful stream jobs on timely dataflow: sources with replayable positions, keyed processes, exactly-once sinks,
//! checkpoints and restarts. Timely itself stays behind this crate's own surface.

mod config;
mod execution;
mod finished;
mod graph;
mod job;
mod operator;
mod progress;
mod restart;
mod restore;
mod runtime;
mod sink;
mod source;

pub use config::{Cluster, ExecutionConfig, StartFrom};
pub use graph::{Collector, DataStream, KeyedStream, OpenContext, Record, StreamEnvironment};
pub use job::{Job, JobOutcome, JobResult};
pub use progress::{CheckpointStatistics, JobHandle, JobStatus, Progress, RestoredFrom};
pub use sink::{Durability, FileSink, Sink, SinkContext, SinkWriter};
pub use source::{CollectionSource, FileSource, GeneratorSource, Source, SourceContext, SourceReader, SourceStatus};
