//! Apache Flink's state backends in Rust: working state for stream jobs, with exactly-once checkpoints.
//!
//! A stream job remembers things: counts, lists, maps, offsets. Highwater keeps that state, takes checkpoints of it
//! while the job goes on, and brings it back, exactly once, after a crash, at another parallelism, or on another
//! backend. Names, settings and file formats are Flink's.
//!
//! ```
//! use std::time::Duration;
//! use highwater::{
//!     CollectionSource, Collector, ExecutionConfig, FileSink, FsStateBackend, Job, JobOutcome, ValueStateDescriptor,
//! };
//!
//! # let scratch = tempfile::tempdir()?;
//! # let (checkpoints, output) = (format!("file://{}/checkpoints", scratch.path().display()), scratch.path().join("out"));
//! let sink = FileSink::new(&output, |(word, count): &(String, i64), line| {
//!     line.extend_from_slice(format!("{word}\t{count}").as_bytes());
//! });
//! let job = Job::new("word count", move |env| {
//!     env.source("words", CollectionSource::new(["to", "be", "or", "not", "to", "be"].map(String::from)))
//!         .key_by(|word: &String| word.clone())
//!         .process("count", |open| {
//!             let count = open.value_state(&ValueStateDescriptor::<i64>::new("count"))?;
//!             Ok(move |word: &String, _: String, out: &mut Collector<(String, i64)>| {
//!                 let n = count.value()?.unwrap_or(0) + 1;
//!                 count.update(n)?;
//!                 out.collect((word.clone(), n));
//!                 Ok(())
//!             })
//!         })
//!         .sink("counts", sink.clone());
//!     Ok(())
//! });
//!
//! let config = ExecutionConfig::new()
//!     .workers(2)
//!     .state_backend(FsStateBackend::new(&checkpoints)?)
//!     .checkpoint_interval(Duration::from_millis(200));
//! assert_eq!(job.execute(&config)?.outcome, JobOutcome::Finished);
//!
//! let mut lines = Vec::new();
//! for file in std::fs::read_dir(&output)? {
//!     lines.extend(std::fs::read_to_string(file?.path())?.lines().map(str::to_owned));
//! }
//! lines.sort();
//! assert_eq!(lines, ["be\t1", "be\t2", "not\t1", "or\t1", "to\t1", "to\t2"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Killed at any moment and started again, the same program ends with the same lines: see the example `word_count`.
//!
//! # What is where
//!
//! - **Jobs**: [`Job`], [`StreamEnvironment`], [`DataStream`], [`KeyedStream`]; run with an [`ExecutionConfig`],
//!   watched and stopped through a [`JobHandle`].
//! - **Time**: timestamps and watermarks by a [`WatermarkStrategy`], windows ([`WindowedStream`]), timers
//!   ([`KeyedStream::process_timed`]), two streams together ([`ConnectedStreams`]), side outputs ([`OutputTag`]).
//! - **State**: [`ValueState`], [`ListState`], [`MapState`], [`ReducingState`] and [`AggregatingState`] per key, each
//!   with its descriptor; [`OperatorStateBackend`] for what belongs to a subtask.
//! - **Backends**: [`MemoryStateBackend`], [`FsStateBackend`], [`HashMapStateBackend`], `RocksDbStateBackend` with the
//!   feature `rocksdb`, [`CustomStateBackend`] over a byte store of your own; by name through [`BackendRegistry`] and
//!   [`Configuration`], with Flink's keys ([`options`]).
//! - **Connectors**: [`FileSource`], [`GeneratorSource`], [`CollectionSource`], the exactly-once [`FileSink`] with
//!   its [`RollingPolicy`] and [`BucketAssigner`], and the traits [`Source`] and [`Sink`] for your own.
//! - **Below**: [`types`] (serializers in Flink's encodings), [`checkpoint`] (storage, handles, `_metadata`, the
//!   coordinator), [`state`] (byte stores, the canonical snapshot stream).
//!
//! Every error is an [`Error`]: its [kind](ErrorKind) says what to do about it, its values say where.
//!
//! # Limits
//!
//! - One process by default; several run a job together if all are given the same [`Cluster`]. A job that needs a
//!   cluster manager, SQL or a message broker needs Flink: keyed state and broadcast state move there in Flink's
//!   formats.
//! - Checkpoints go to local files, or to a file system that is mounted. State lives in memory, or in a byte store of
//!   your own.
//! - No broadcast streams, asynchronous I/O or time to live yet.
//!
//! # Features
//!
//! None is on by default.
//!
//! - `rocksdb`: `RocksDbStateBackend` for state larger than memory (`rocksdb`). RocksDB is C++, compiled once or taken
//!   from an archive: the README says what it needs.
//! - `http`: what a job is doing, over HTTP (`RestEndpoint`).
//! - `conformance`: the test suite that a byte store of your own has to pass (`state::conformance`).
//! - `testing`: a harness for functions with time and state (`testing::Harness`), a file system in memory that yields
//!   crash images (`checkpoint::CrashFileSystem`), and a storage whose writes fail or take their time
//!   (`checkpoint::FaultyStorage`).

pub use highwater_backends::{
    BackendRegistry, CheckpointSettings, CheckpointingMode, ClaimMode, ClusterSettings, ConfigOption, ConfigValue,
    Configuration, CustomStateBackend, ExternalizedRetention, FsStateBackend, HashMapStateBackend, JobSettings,
    KeyedStore, MemorySize, MemoryStateBackend, OptionInfo, RecoverySettings, RestartStrategy, StateBackend,
    StateBackendFactory, format_duration, options, parse_duration, select_checkpoint_storage,
};
#[cfg(feature = "rocksdb")]
pub use highwater_backends::{
    CheckpointStreamBackend, ConfigurableRocksDbOptionsFactory, EmbeddedRocksDBStateBackend, PriorityQueueStateType,
    RocksDBStateBackend, RocksDbMemoryConfiguration, RocksDbStateBackend,
};
#[cfg(feature = "testing")]
pub use highwater_dataflow::testing;
pub use highwater_dataflow::{
    BasePathBucketAssigner, BucketAssigner, BucketContext, CheckpointCounts, CheckpointFailure, CheckpointHistory,
    CheckpointRecord, CheckpointStatistics, CheckpointStatus, Cluster, CollectionSource, Collector, ConnectedStreams,
    Context, ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, ControlAnswer, ControlCommand, CountEvictor,
    CountTrigger, DataStream, DateTimeBucketAssigner, DefaultRollingPolicy, DefaultTrigger, DeltaEvictor, DeltaTrigger,
    Durability, DynamicEventTimeSessionWindows, EndOfStreamTrigger, EventTimeSessionWindows, EventTimeTrigger, Evictor,
    ExecutionConfig, FileSink, FileSource, FixedSplits, GeneratorSource, GlobalWindows, IntervalJoined, Job,
    JobControl, JobDescription, JobHandle, JobOutcome, JobResult, JobStatus, JoinedStreams, KeyedCoProcessFunction,
    KeyedJoin, KeyedProcessFunction, KeyedStream, Merge, NeverTrigger, OnCheckpointRollingPolicy, OpenContext,
    OpenWindow, OperatorProgress, OutputTag, PartFileInfo, Pending, ProcessingTimeSessionWindows,
    ProcessingTimeTrigger, ProcessingTimeoutTrigger, Progress, PurgingTrigger, Record, RestoredCheckpoint,
    RestoredFrom, RollingPolicy, Secret, SideOutput, Sink, SinkContext, SinkWriter, SlidingEventTimeWindows,
    SlidingProcessingTimeWindows, Source, SourceContext, SourceReader, SourceStatus, SplitAssignment, SplitEnumerator,
    SplitEnumeratorContext, StartFrom, StreamEnvironment, SubtaskStatistics, Summary, TimeDomain, TimeEvictor,
    TimerContext, TimerRegistry, Trigger, TriggerContext, TriggerFunction, TriggerOpen, TriggerResult,
    TumblingEventTimeWindows, TumblingProcessingTimeWindows, WatermarkGenerator, WatermarkOutput, WatermarkStrategy,
    Window, WindowAssigner, WindowContext, WindowedJoin, WindowedStream,
};
#[cfg(feature = "http")]
pub use highwater_rest::{RestEndpoint, RestSettings};
#[cfg(feature = "rocksdb")]
pub use highwater_rocksdb::PredefinedOptions;
pub use highwater_state::{
    AggregateFunction, AggregatingState, AggregatingStateDescriptor, BroadcastState, Clock, KeyedBackend,
    KeyedBackendBuilder, ListState, ListStateDescriptor, ManualClock, MapKey, MapState, MapStateDescriptor, Namespace,
    OperatorListState, OperatorStateBackend, OperatorStateBackendBuilder, PreparedKey, ReadOnlyBroadcastState,
    ReducingState, ReducingStateDescriptor, StateValue, SystemClock, ValueState, ValueStateDescriptor,
};
pub use highwater_types::{
    DefaultSerializer, Error, ErrorKind, GlobalWindow, JavaHash, JavaString, Key, Result, ResultExt, Serde,
    SerializerRef, StreamRecord, TaggedUnion, TimeWindow, TypeSerializer, VoidNamespace,
};

/// Values and their bytes: serializers with Flink's encodings, their snapshots, Java hash codes, key groups.
pub mod types {
    pub use highwater_types::{
        BooleanSerializer, BufferEntry, BufferEntrySerializer, ByteReader, ByteSerializer, BytesSerializer,
        CharSerializer, Compatibility, DefaultSerializer, DoubleSerializer, FloatSerializer, GlobalWindow,
        GlobalWindowSerializer, IntSerializer, JavaHash, JavaString, Key, KeyGroup, KeyGroupRange, Length,
        ListSerializer, LongSerializer, MapSerializer, MaxParallelism, NullableSerializer, OperatorId,
        PrimitiveArraySerializer, PrimitiveElement, Serde, SerdeSerializer, SerializerRef, SerializerSnapshot,
        SetSerializer, ShortSerializer, StreamElementSerializer, StreamRecord, StringSerializer, TaggedUnion,
        TimeWindow, TimeWindowSerializer, TupleSerializer, TypeSerializer, UnionSerializer, VoidNamespace,
        VoidNamespaceSerializer, VoidSerializer, murmur, write_utf,
    };
}

/// Bytes at rest: storage, checkpoint streams, state handles, `_metadata`, retention, the coordinator's decisions.
pub mod checkpoint {
    pub use highwater_checkpoint::{
        AbortReason, AttemptStart, CancelToken, Change, ChangelogBytesHandle, ChangelogFileHandle, ChangelogHandle,
        ChannelState, ChannelStateHandle, CheckpointEntry, CheckpointKind, CheckpointLocation, CheckpointMetadata,
        CheckpointStorage, CheckpointStorageAccess, CheckpointStream, CheckpointStreamFactory, Command,
        CompletedCheckpoint, CompletedCheckpointStore, CompletedLocation, Coordinator, CoordinatorSettings,
        DEFAULT_INLINE_THRESHOLD, DEFAULT_MAX_STATE_SIZE, DEFAULT_WRITE_BUFFER, DirEntry, DiscardExtent,
        DistributionMode, Event, FileLock, FileStat, FileSystem, FileSystemCheckpointStorage, FileWriter,
        FsStreamFactory, IncrementalHandle, JobDirectory, JobId, JobManagerCheckpointStorage, KeyGroupsFormat,
        KeyGroupsHandle, KeyGroupsStream, KeyedStateHandle, LocalFileSystem, MAX_INLINE_THRESHOLD, MasterState,
        MemoryStreamFactory, MergedDirectories, MetadataVersion, NOT_EXTERNALLY_ADDRESSABLE, OperatorState,
        OperatorStateHandle, ResolvedSnapshot, SnapshotOpener, StateOpener, StatePartitions, StateReader, StateScope,
        StoragePath, StreamHandle, Subtask, SubtaskState, Syncer, UnreadableCheckpoint, create_dir_durable,
        error_from_io, file_system_for, io_error_kind, resolve_pointer, validate_checkpoint_dir,
    };
    #[cfg(feature = "testing")]
    pub use highwater_checkpoint::{
        CrashFileSystem, FaultyFileSystem, FaultyStorage, FileStep, StorageStep, StorageWrite, Survival,
    };
}

/// What state stands on: byte stores, snapshots and the canonical stream they are written in, redistribution.
pub mod state {
    pub use highwater_state::{
        ByteStore, ByteStoreContext, ByteStoreFactory, CanonicalReader, CanonicalWriter, ColumnId, FileRestore,
        FrozenBytes, FrozenFiles, KeyGroupBlock, KeyedHeader, KeyedKind, KeyedSnapshot, LIST_DELIMITER, NativeFiles,
        OperatorSnapshot, ReferenceStore, ReferenceStoreFactory, Run, RunEntries, StateKind, StateMeta, Timer,
        TimerService, Timers, VisitEntry, Write, WriteBatch, redistribute_keyed_state, redistribute_operator_state,
    };
    #[cfg(feature = "conformance")]
    pub use highwater_state::{conformance, conformance_suite};
}

/// RocksDB as a byte store: its options one by one, its memory, its metrics, and the factory of a program's own options.
#[cfg(feature = "rocksdb")]
pub mod rocksdb {
    pub use highwater_rocksdb::{
        BudgetSource, CompactionStyle, Compression, ConfiguredOptions, LogLevel, MemoryBudget, MemoryCondition,
        MemorySettings, MemoryUsage, MetricsSettings, PredefinedOptions, RocksDbMetric, RocksDbOptionsFactory,
        RocksDbSettings, RocksDbStore, RocksDbStoreFactory, SharedMemory, rust_rocksdb,
    };
}

/// The programs of the README are compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
