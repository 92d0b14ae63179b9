//! Stateful stream jobs on timely dataflow: sources with replayable positions, keyed processes, exactly-once sinks,
//! checkpoints and restarts. Timely itself stays behind this crate's own surface.
//!
//! - A [`Job`] is a name and a program. The program builds a dataflow on a [`StreamEnvironment`]: [`DataStream`]s come
//!   from a [`Source`], are transformed, partitioned by key ([`KeyedStream`]), processed with state, and end in a
//!   [`Sink`].
//! - [`Job::execute`] runs it with an [`ExecutionConfig`]: how many workers, which state backend, how often a checkpoint
//!   is taken, what follows a failure, what to start from. A [`JobHandle`] shows progress and asks for a stop.
//! - Every worker thread runs one subtask of every operator. Records go to the worker that owns the key group of their
//!   key, as in Flink, so that state can be restored at any parallelism, and by Flink.
//!
//! # How a checkpoint is taken
//!
//! The coordinator, on a thread of its own, announces checkpoint *n*. Each source notes its position and sends all further records with the next *epoch*. The barrier is timely's frontier: when it has reached the next epoch
//! at the input of an operator, everything before the checkpoint has come, and the operator freezes its state; records
//! of the next epoch have waited. A background thread writes the frozen state while the operator goes on. When all
//! workers have acknowledged, the metadata is written, and the sinks commit.
//!
//! # Limits
//!
//! Parallelism is the same for all operators. Barriers are aligned: a checkpoint takes at least as long as records take
//! from source to sink, which flow control keeps near a tenth of a second. Several processes run a job together
//! ([`Cluster`]), but a failure in one ends all of them; whoever started them starts them again.

mod config;
mod execution;
mod finished;
mod graph;
mod job;
mod operator;
mod progress;
mod restart;
mod restore;
mod retention;
mod runtime;
mod sink;
mod source;
mod start;

pub use config::{Cluster, ExecutionConfig, StartFrom};
pub use graph::{Collector, DataStream, KeyedStream, OpenContext, Record, StreamEnvironment};
pub use job::{Job, JobOutcome, JobResult};
pub use progress::{CheckpointStatistics, JobHandle, JobStatus, Progress, RestoredFrom};
pub use sink::{Durability, FileSink, Sink, SinkContext, SinkWriter};
pub use source::{CollectionSource, FileSource, GeneratorSource, Source, SourceContext, SourceReader, SourceStatus};
