//! The heap store: typed copy-on-write tables, values never serialized on access.

mod cell;
mod group;
mod list;
mod map;
mod segment;
mod state;
mod states;
mod table;
#[cfg(test)]
mod tests;
mod timers;

use std::rc::Rc;
use std::sync::Arc;

use highwater_types::{Key, SerializerRef};

use self::cell::{Inline, Shared, ValueCell};
use self::list::{List, ListCell, ShortList, fits_entry};
pub(crate) use self::state::AnyState;
use self::state::HeapState;
pub use self::states::MapKey;
use self::states::{FoldFormat, ListFormat, MapFormat, ValueFormat};
use self::timers::HeapTimers;
use crate::descriptor::{
    AggregateFunction, AggregatingStateDescriptor, ListStateDescriptor, MapStateDescriptor, ReducingStateDescriptor,
    ValueStateDescriptor,
};
use crate::encoding::TimerFormat;
use crate::keyed::{AggregatingOps, KeyContext, ListOps, MapOps, Namespace, ReducingOps, StateValue, ValueOps};
use crate::timers::TimerQueue;

/// A new state, as its handle sees it and as its backend does.
type New<K, Ops> = (Rc<Ops>, Rc<dyn AnyState<K>>);

/// Makes the heap states of one keyed backend.
pub(crate) struct HeapStates<K> {
    pub(crate) context: Rc<KeyContext<K>>,
    pub(crate) key: SerializerRef<K>,
}

impl<K: Key> HeapStates<K> {
    pub(crate) fn value_state<V: StateValue, N: Namespace>(
        &self,
        descriptor: &ValueStateDescriptor<V>,
        namespace: SerializerRef<N>,
    ) -> New<K, dyn ValueOps<V, N>> {
        // Decided when the program is compiled: only one branch is left.
        if std::mem::needs_drop::<V>() {
            self.value::<V, N, Shared<V>>(descriptor, namespace)
        } else {
            self.value::<V, N, Inline<V>>(descriptor, namespace)
        }
    }

    fn value<V: StateValue, N: Namespace, C: ValueCell<V>>(
        &self,
        descriptor: &ValueStateDescriptor<V>,
        namespace: SerializerRef<N>,
    ) -> New<K, dyn ValueOps<V, N>> {
        let cells = ValueFormat::<V, C>::new(Arc::clone(&descriptor.serializer));
        let state = self.state(&descriptor.name, namespace, cells);
        (Rc::clone(&state) as _, state)
    }

    pub(crate) fn list_state<T: StateValue, N: Namespace>(
        &self,
        descriptor: &ListStateDescriptor<T>,
        namespace: SerializerRef<N>,
    ) -> New<K, dyn ListOps<T, N>> {
        if fits_entry::<T>() {
            self.list::<T, N, ShortList<T>>(descriptor, namespace)
        } else {
            self.list::<T, N, List<T>>(descriptor, namespace)
        }
    }

    fn list<T: StateValue, N: Namespace, C: ListCell<T>>(
        &self,
        descriptor: &ListStateDescriptor<T>,
        namespace: SerializerRef<N>,
    ) -> New<K, dyn ListOps<T, N>> {
        let cells = ListFormat(Arc::clone(&descriptor.element));
        let state = self.state::<N, C, _>(&descriptor.name, namespace, cells);
        (Rc::clone(&state) as _, state)
    }

    pub(crate) fn map_state<UK: MapKey, UV: StateValue, N: Namespace>(
        &self,
        descriptor: &MapStateDescriptor<UK, UV>,
        namespace: SerializerRef<N>,
    ) -> New<K, dyn MapOps<UK, UV, N>> {
        let (key, value) = (Arc::clone(&descriptor.key), Arc::clone(&descriptor.value));
        let cells = MapFormat { key, value, hasher: self.context.hasher().clone() };
        let state = self.state(&descriptor.name, namespace, cells);
        (Rc::clone(&state) as _, state)
    }

    pub(crate) fn reducing_state<V: StateValue, N: Namespace>(
        &self,
        descriptor: &ReducingStateDescriptor<V>,
        namespace: SerializerRef<N>,
    ) -> New<K, dyn ReducingOps<V, N>> {
        if std::mem::needs_drop::<V>() {
            self.reducing::<V, N, Shared<V>>(descriptor, namespace)
        } else {
            self.reducing::<V, N, Inline<V>>(descriptor, namespace)
        }
    }

    fn reducing<V: StateValue, N: Namespace, C: ValueCell<V>>(
        &self,
        descriptor: &ReducingStateDescriptor<V>,
        namespace: SerializerRef<N>,
    ) -> New<K, dyn ReducingOps<V, N>> {
        let cells = FoldFormat::<V, C, _>::new(Arc::clone(&descriptor.serializer), Arc::clone(&descriptor.reduce));
        let state = self.state(&descriptor.name, namespace, cells);
        (Rc::clone(&state) as _, state)
    }

    pub(crate) fn aggregating_state<F, N>(
        &self,
        descriptor: &AggregatingStateDescriptor<F>,
        namespace: SerializerRef<N>,
    ) -> New<K, dyn AggregatingOps<F::Input, F::Output, N>>
    where
        F: AggregateFunction<Accumulator: StateValue>,
        N: Namespace,
    {
        if std::mem::needs_drop::<F::Accumulator>() {
            self.aggregating::<F, N, Shared<F::Accumulator>>(descriptor, namespace)
        } else {
            self.aggregating::<F, N, Inline<F::Accumulator>>(descriptor, namespace)
        }
    }

    fn aggregating<F, N, C>(
        &self,
        descriptor: &AggregatingStateDescriptor<F>,
        namespace: SerializerRef<N>,
    ) -> New<K, dyn AggregatingOps<F::Input, F::Output, N>>
    where
        F: AggregateFunction<Accumulator: StateValue>,
        N: Namespace,
        C: ValueCell<F::Accumulator>,
    {
        let cells = FoldFormat::<F::Accumulator, C, _>::new(
            Arc::clone(&descriptor.accumulator),
            Arc::clone(&descriptor.function),
        );
        let state = self.state(&descriptor.name, namespace, cells);
        (Rc::clone(&state) as _, state)
    }

    pub(crate) fn timers<N: Namespace>(&self, name: &str, namespace: SerializerRef<N>) -> New<K, dyn TimerQueue<K, N>> {
        let format = TimerFormat { key: Arc::clone(&self.key), namespace };
        let queue = Rc::new(HeapTimers::new(Rc::clone(&self.context), name, format));
        (Rc::clone(&queue) as _, queue)
    }

    fn state<N: Namespace, C, F>(&self, name: &str, namespace: SerializerRef<N>, cells: F) -> Rc<HeapState<K, N, C, F>>
    where
        C: Clone + Send + Sync + 'static,
        F: state::CellFormat<C>,
    {
        Rc::new(HeapState::new(Rc::clone(&self.context), name, Arc::clone(&self.key), namespace, cells))
    }
}
