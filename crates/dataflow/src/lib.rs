//! Stateful stream jobs on timely dataflow: sources with replayable positions, keyed processes, exactly-once sinks,
//! checkpoints and restarts. Timely itself stays behind this crate's own surface.
//!
//! - A [`Job`] is a name and a program. The program builds a dataflow on a [`StreamEnvironment`]: [`DataStream`]s come
//!   from a [`Source`], are transformed, partitioned by key ([`KeyedStream`]), processed with state, and end in a
//!   [`Sink`].
//! - [`Job::execute`] runs it with an [`ExecutionConfig`]: how many workers, which state backend, how often a checkpoint
//!   is taken, what follows a failure, what to start from. A [`JobHandle`] shows progress, and asks for checkpoints,
//!   savepoints and the end of the job; a [`JobControl`] does so from another process.
//! - Every worker thread runs one subtask of every operator. Records go to the worker that owns the key group of their
//!   key, as in Flink, so that state can be restored at any parallelism, and by Flink.
//!
//! # How a checkpoint is taken
//!
//! The coordinator, on a thread of its own, asks the enumerators of the sources for what nobody reads yet, then announces
//! checkpoint *n*. Each source notes its splits and sends all further records with the next *epoch*. The barrier is
//! timely's frontier: when it has reached the next epoch
//! at the input of an operator, everything before the checkpoint has come, and the operator freezes its state; records
//! of the next epoch have waited. A background thread writes the frozen state while the operator goes on. When all
//! workers have acknowledged, the metadata is written, and the sinks commit.
//!
//! # Event time
//!
//! A [`WatermarkStrategy`] gives records timestamps, at a source by split or in the middle of a stream, and says how far
//! event time has come. A watermark travels behind the records that it speaks of, to every subtask of what comes next,
//! which is as far as the least of those it hears of, idle ones left out. It closes windows ([`WindowedStream`]) and makes
//! timers due ([`KeyedStream::process_timed`]), whose results go before it. When a source has read all of its input,
//! event time ends: every window closes. A stop is no such end.
//!
//! Windows and timers are keyed state. How far event time had come is remembered over a restore, so that what was late
//! stays late (Flink forgets it; [`ExecutionConfig::remember_watermarks`]). A timestamp of `i64::MIN` is none. Timers that
//! wait for the clock are not called once the input has ended.
//!
//! Records that come too late for their windows are counted ([`OperatorProgress::late_records_dropped`]) and dropped, or
//! go to a side output. Watermarks are not aligned between sources.
//!
//! # Slow and greedy functions
//!
//! Results of an operator leave in chunks of at most 1,024 records and 64 KiB. Where there is no room for a chunk, the
//! call of [`Collector::collect`] returns when there is, so that one call of a function may have any number of results.
//! An edge between operators holds 16 MiB in a process (at least 64 KiB for each pair of workers), an edge within a
//! worker 1 MiB; a record that is larger is on its way alone. Sources let only one record of 2 MiB or more into a
//! process at a time. Credit for what was processed travels back to the sender, in another process too.
//!
//! A source begins with one record and has twice as many under way with every quick journey to the end of the dataflow,
//! half as many after a slow one: what is under way is worth about a tenth of a second, or half a second where that is
//! but a few records. An operator gives its thread back after about 10 ms, between two records or where a chunk leaves.
//! So barriers, stops and failures wait for the records under way and one call of a function, not for a batch.
//!
//! A call that takes more than 10 s is reported with operator and subtask. Nothing can end it from outside: if the job
//! has failed or is cancelled and a call does not return for `task.cancellation.timeout` (180 s), the process ends with
//! status 239 and a message that names operator and subtask. After an error or a panic a function is never called again
//! in the same attempt. Functions run on stacks of 2 MiB of their own; one that is left in the middle of a record when
//! the attempt ends is unwound, so that what it holds is dropped.
//!
//! # Limits
//!
//! Parallelism is the same for all operators. Barriers are aligned: a checkpoint takes at least as long as records take
//! from source to sink, all results of one call of a function included, and a function that suddenly becomes slow still
//! has what a quick one was given before it. A function that makes large records itself has one under way at each
//! operator behind it, and every subtask of it does. The state of an enumerator is part
//! of `_metadata`; while one lists directories, no checkpoint begins. Several processes run a job together
//! ([`Cluster`]): when one fails or is lost, all go back to the newest checkpoint, and a process that has gone is waited for,
//! but somebody else has to start it again. Process 0 coordinates; as long as it is gone the job stands still. Connections
//! are authenticated, not encrypted.

mod cluster;
mod config;
mod control;
mod execution;
mod finished;
mod function;
mod graph;
mod job;
mod operator;
mod pending;
mod progress;
mod restart;
mod restore;
mod retention;
mod runtime;
mod sink;
mod source;
mod start;
mod statistics;
#[cfg(feature = "testing")]
pub mod testing;
mod watermark;
mod window;

pub use cluster::{Cluster, Secret};
pub use config::{ExecutionConfig, StartFrom};
pub use control::{ControlAnswer, ControlCommand, JobControl};
pub use function::{
    Context, KeyedCoProcessFunction, KeyedProcessFunction, OutputTag, SideOutput, TimeDomain, TimerContext,
    TimerRegistry,
};
pub use graph::{
    Collector, ConnectedStreams, DataStream, IntervalJoined, JoinedStreams, KeyedJoin, KeyedStream, OpenContext,
    Record, StreamEnvironment, WindowedJoin, WindowedStream,
};
pub use job::{Job, JobOutcome, JobResult};
pub use pending::Pending;
pub use progress::{CheckpointStatistics, JobHandle, JobStatus, Progress, RestoredFrom};
pub use sink::{
    BasePathBucketAssigner, BucketAssigner, BucketContext, DateTimeBucketAssigner, DefaultRollingPolicy, Durability,
    FileSink, OnCheckpointRollingPolicy, PartFileInfo, RollingPolicy, Sink, SinkContext, SinkWriter,
};
pub use source::{
    CollectionSource, FileSource, FixedSplits, GeneratorSource, Source, SourceContext, SourceReader, SourceStatus,
    SplitAssignment, SplitEnumerator, SplitEnumeratorContext,
};
pub use statistics::{
    CheckpointCounts, CheckpointFailure, CheckpointHistory, CheckpointRecord, CheckpointStatus, JobDescription,
    OperatorProgress, RestoredCheckpoint, SubtaskStatistics, Summary,
};
pub use watermark::{WatermarkGenerator, WatermarkOutput, WatermarkStrategy};
pub use window::{
    ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, CountEvictor, CountTrigger, DefaultTrigger,
    DeltaEvictor, DeltaTrigger, DynamicEventTimeSessionWindows, EndOfStreamTrigger, EventTimeSessionWindows,
    EventTimeTrigger, Evictor, GlobalWindows, Merge, NeverTrigger, OpenWindow, ProcessingTimeSessionWindows,
    ProcessingTimeTrigger, ProcessingTimeoutTrigger, PurgingTrigger, SlidingEventTimeWindows,
    SlidingProcessingTimeWindows, TimeEvictor, Trigger, TriggerContext, TriggerFunction, TriggerOpen, TriggerResult,
    TumblingEventTimeWindows, TumblingProcessingTimeWindows, Window, WindowAssigner, WindowContext,
};
