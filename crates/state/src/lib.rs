//! Working state of a stream job: what it remembers about every key and every subtask.
//!
//! *Keyed state* lives either in typed heap tables or in a [byte store](ByteStore); the five kinds of state are written
//! once over each. *Operator state* belongs to a subtask and is always on the heap. Snapshots of both come out in
//! Flink's formats and are read back at any parallelism, into either kind of store.

mod bytes;
mod canonical;
mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod descriptor;
mod encoding;
mod heap;
mod keyed;
mod operator;
mod redistribution;
mod timers;

pub use bytes::{
    ByteStore, ByteStoreContext, ByteStoreFactory, ColumnId, FileRestore, FrozenBytes, FrozenFiles, NativeFiles,
    ReferenceStore, ReferenceStoreFactory, VisitEntry, Write, WriteBatch,
};
pub use canonical::{
    CanonicalReader, CanonicalWriter, KeyGroupBlock, KeyedHeader, KeyedKind, Run, RunEntries, StateKind, StateMeta,
};
pub use clock::{Clock, ManualClock, SystemClock};
pub use descriptor::{
    AggregateFunction, AggregatingStateDescriptor, ListStateDescriptor, MapStateDescriptor, ReducingStateDescriptor,
    ValueStateDescriptor,
};
pub use encoding::LIST_DELIMITER;
pub use heap::MapKey;
pub use keyed::{
    AggregatingState, KeyedBackend, KeyedBackendBuilder, KeyedSnapshot, ListState, MapState, Namespace, PreparedKey,
    ReducingState, StateValue, ValueState,
};
pub use operator::{
    BroadcastState, OperatorListState, OperatorSnapshot, OperatorStateBackend, OperatorStateBackendBuilder,
    ReadOnlyBroadcastState,
};
pub use redistribution::{redistribute_keyed_state, redistribute_operator_state};
pub use timers::{Timer, TimerService, Timers};
