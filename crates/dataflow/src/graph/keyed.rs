//! Keyed streams.

use std::sync::Arc;

use highwater_state::{
    AggregateFunction, AggregatingState, AggregatingStateDescriptor, KeyedBackend, ListState, ListStateDescriptor,
    MapKey, MapState, MapStateDescriptor, ReducingState, ReducingStateDescriptor, StateValue, ValueState,
    ValueStateDescriptor,
};
use highwater_types::{DefaultSerializer, Key, Result};
use serde::Serialize;

use super::build::OperatorKind;
use super::{Collector, DataStream, Record};
use crate::operator::{KeyedParts, keyed};

/// A stream partitioned by key (Flink's `KeyedStream`). Operators on it have state for each key.
pub struct KeyedStream<'s, K: 'static, T: 'static> {
    pairs: DataStream<'s, (K, T)>,
}

impl<'s, K, T> KeyedStream<'s, K, T>
where
    K: Key + DefaultSerializer + Record,
    T: Record,
{
    pub(super) fn new(pairs: DataStream<'s, (K, T)>) -> Self {
        Self { pairs }
    }

    /// Adds a keyed process (Flink's `KeyedProcessFunction`), whose state is found by its uid when the job is restored.
    ///
    /// `open` runs once per subtask and attempt: it registers the states and returns the function that is called with
    /// the key and every record. The states' handles work on the key of that record. An error or a panic, here or
    /// there, fails the attempt, in which the function is never called again.
    pub fn process<O: Serialize + 'static, F>(
        self,
        uid: &str,
        open: impl FnOnce(&OpenContext<'_, K>) -> Result<F>,
    ) -> DataStream<'s, O>
    where
        F: FnMut(&K, T, &mut Collector<O>) -> Result<()> + 'static,
    {
        let (build, batches) = self.pairs.into_parts();
        let plan = build.register(uid, OperatorKind::Keyed);
        let Some(batches) = batches else {
            return DataStream::new(&build, None);
        };
        let results = build.open(&plan, |runtime| {
            let mailbox = &runtime.mailbox;
            let max_parallelism = runtime.max_parallelism(&plan)?;
            let backend = runtime.keyed_state::<K>(&plan, max_parallelism)?;
            let function = open(&OpenContext {
                uid,
                subtask: mailbox.worker,
                parallelism: mailbox.workers,
                is_restored: runtime.setup.restored.is_some(),
                backend: &backend,
            })?;
            let index = mailbox.add_operator(&plan.uid, plan.id, max_parallelism);
            let parts = KeyedParts { uid: Arc::clone(&plan.uid), index, max_parallelism, backend, function };
            keyed(batches, mailbox, parts)
        });
        DataStream::new(&build, results)
    }

    /// Folds the records of each key into one and emits it after every record (Flink's `reduce`). The state is a value
    /// named `_op_state`, as in Flink.
    pub fn reduce(self, uid: &str, mut reduce: impl FnMut(&mut T, T) + 'static) -> DataStream<'s, T>
    where
        T: StateValue + DefaultSerializer,
    {
        self.process(uid, move |open| {
            let state = open.value_state(&ValueStateDescriptor::<T>::new("_op_state"))?;
            Ok(move |_: &K, record: T, out: &mut Collector<T>| {
                let folded = match state.value()? {
                    Some(mut folded) => {
                        reduce(&mut folded, record);
                        folded
                    }
                    None => record,
                };
                state.update(folded.clone())?;
                out.collect(folded);
                Ok(())
            })
        })
    }
}

impl<K: 'static, T: 'static> std::fmt::Debug for KeyedStream<'_, K, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedStream").finish_non_exhaustive()
    }
}

/// What a keyed process is told when it opens, and where it gets its states (Flink's `RuntimeContext`).
///
/// Each state is registered once, under a name of its own within the operator. Registering fails if a restored state of
/// that name has another type.
#[derive(Debug)]
pub struct OpenContext<'a, K> {
    uid: &'a str,
    subtask: u32,
    parallelism: u32,
    is_restored: bool,
    backend: &'a KeyedBackend<K>,
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
