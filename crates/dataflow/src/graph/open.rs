//! What an operator is told when it opens.

use std::rc::Rc;

use highwater_state::{
    AggregateFunction, AggregatingState, AggregatingStateDescriptor, KeyedBackend, ListState, ListStateDescriptor,
    MapKey, MapState, MapStateDescriptor, ReducingState, ReducingStateDescriptor, StateValue, ValueState,
    ValueStateDescriptor,
};
use highwater_types::{Key, Result};

use crate::function::{OutputTag, SideOutput, SideOutputs};

/// What a keyed process is told when it opens, and where it gets its states (Flink's `RuntimeContext`).
///
/// Each state is registered once, under a name of its own within the operator. Registering fails if a restored state of
/// that name has another type.
pub struct OpenContext<'a, K> {
    pub(super) uid: &'a str,
    pub(super) subtask: u32,
    pub(super) parallelism: u32,
    pub(super) is_restored: bool,
    pub(super) backend: &'a Rc<KeyedBackend<K>>,
    pub(super) sides: &'a SideOutputs,
}

impl<K: Key> OpenContext<'_, K> {
    /// Unique id of the operator.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.uid
    }

    /// Number of this subtask, from 0.
    #[must_use]
    pub fn subtask(&self) -> u32 {
        self.subtask
    }

    /// Number of subtasks.
    #[must_use]
    pub fn parallelism(&self) -> u32 {
        self.parallelism
    }

    /// Whether the job started from a snapshot.
    #[must_use]
    pub fn is_restored(&self) -> bool {
        self.is_restored
    }

    /// The whole keyed state of the subtask, for what the other methods do not offer: namespaces, all keys of a state.
    #[must_use]
    pub fn backend(&self) -> &KeyedBackend<K> {
        self.backend
    }

    pub(crate) fn shared_backend(&self) -> &Rc<KeyedBackend<K>> {
        self.backend
    }

    /// Where results of another type go, on a stream of their own: see
    /// [`DataStream::side_output`](crate::DataStream::side_output).
    ///
    /// # Errors
    /// `Program` if the operator has a side output of this id and another type.
    pub fn side_output<X: 'static>(&self, tag: &OutputTag<X>) -> Result<SideOutput<X>> {
        self.sides.open(tag)
    }

    /// One value per key.
    pub fn value_state<V: StateValue>(&self, descriptor: &ValueStateDescriptor<V>) -> Result<ValueState<V>> {
        self.backend.value_state(descriptor)
    }

    /// A list per key.
    pub fn list_state<V: StateValue>(&self, descriptor: &ListStateDescriptor<V>) -> Result<ListState<V>> {
        self.backend.list_state(descriptor)
    }

    /// A map per key.
    pub fn map_state<UK: MapKey, UV: StateValue>(
        &self,
        descriptor: &MapStateDescriptor<UK, UV>,
    ) -> Result<MapState<UK, UV>> {
        self.backend.map_state(descriptor)
    }

    /// One value per key into which every added value is folded.
    pub fn reducing_state<V: StateValue>(&self, descriptor: &ReducingStateDescriptor<V>) -> Result<ReducingState<V>> {
        self.backend.reducing_state(descriptor)
    }

    /// One accumulator per key, fed with inputs and read as a result.
    pub fn aggregating_state<F: AggregateFunction<Accumulator: StateValue>>(
        &self,
        descriptor: &AggregatingStateDescriptor<F>,
    ) -> Result<AggregatingState<F::Input, F::Output>> {
        self.backend.aggregating_state(descriptor)
    }
}

impl<K> std::fmt::Debug for OpenContext<'_, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenContext").field("uid", &self.uid).field("subtask", &self.subtask).finish_non_exhaustive()
    }
}
