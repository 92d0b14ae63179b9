//! Keyed state: the backend of one keyed operator subtask, the handles user code holds, and its snapshots.

mod backend;
mod context;
mod handle;
mod restored;
mod snapshot;

pub use backend::{KeyedBackend, KeyedBackendBuilder};
pub(crate) use context::KeyContext;
pub use context::PreparedKey;
pub(crate) use handle::{AggregatingOps, ListOps, MapOps, ReducingOps, ValueOps, nested_use, no_namespace};
pub use handle::{AggregatingState, ListState, MapState, ReducingState, ValueState};
pub(crate) use snapshot::FrozenState;
pub use snapshot::KeyedSnapshot;

use std::fmt::Debug;
use std::hash::Hash;

/// What a state can be scoped by besides the key, for example a [`TimeWindow`](highwater_types::TimeWindow).
pub trait Namespace: Clone + Eq + Hash + Debug + Send + Sync + 'static {}
impl<T: Clone + Eq + Hash + Debug + Send + Sync + 'static> Namespace for T {}

/// What a state can hold. The asynchronous part of a snapshot reads values from another thread.
pub trait StateValue: Clone + Send + Sync + 'static {}
impl<T: Clone + Send + Sync + 'static> StateValue for T {}
