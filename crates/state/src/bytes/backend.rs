//! The states of one keyed backend over a byte store.

use std::any::Any;
use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use highwater_types::{
    ByteReader, Error, Key, KeyGroup, KeyGroupRange, Result, ResultExt, SerializerRef, TypeSerializer,
};

use super::column::{Shared, StateColumn};
use super::folding::{Aggregate, ByteFoldingState, Reduce};
use super::list::ByteListState;
use super::map::ByteMapState;
use super::timers::ByteTimers;
use super::value::ByteValueState;
use super::{ByteStore, ColumnId, FrozenBytes, FrozenFiles};
use crate::canonical::{CanonicalWriter, RunEntries, StateKind, StateMeta};
use crate::descriptor::{
    AggregateFunction, AggregatingStateDescriptor, ListStateDescriptor, MapStateDescriptor, ReducingStateDescriptor,
    ValueStateDescriptor,
};
use crate::encoding::{KeyLayout, TimerFormat, push_key_group};
use crate::keyed::{
    AggregatingOps, FrozenState, KeyContext, ListOps, MapOps, Namespace, ReducingOps, StateValue, ValueOps,
};
use crate::timers::TimerQueue;

/// Key groups of a state in which restored files are looked into.
const SAMPLES: usize = 1024;

/// Keyed state over a byte store. What it does not do: names used twice, kinds, compatibility (`KeyedBackend` does).
pub(crate) struct ByteBackend<K> {
    pub(super) shared: Rc<Shared<K>>,
    /// In the order in which their columns were made, by a load or a registration.
    states: RefCell<Vec<State>>,
}

/// One state of the backend.
struct State {
    name: String,
    column: ColumnId,
    /// None for restored state that nobody has asked for yet.
    registered: Option<Registered>,
}

struct Registered {
    /// A `SerializerRef<N>`.
    namespace: Box<dyn Any>,
    /// Length of a composite key without its map key.
    scope: Rc<dyn Fn(&[u8]) -> Result<usize>>,
}

impl<K: Key> ByteBackend<K> {
    pub(crate) fn new(store: Box<dyn ByteStore>, context: Rc<KeyContext<K>>, key_serializer: SerializerRef<K>) -> Self {
        Self { shared: Rc::new(Shared::new(store, context, key_serializer)), states: RefCell::default() }
    }

    pub(crate) fn value_state<V: StateValue, N: Namespace>(
        &self,
        descriptor: &ValueStateDescriptor<V>,
        namespace: SerializerRef<N>,
    ) -> Result<Rc<dyn ValueOps<V, N>>> {
        let column = self.register(&descriptor.name, namespace)?;
        Ok(Rc::new(ByteValueState { column, serializer: Arc::clone(&descriptor.serializer) }))
    }

    pub(crate) fn list_state<T: StateValue, N: Namespace>(
        &self,
        descriptor: &ListStateDescriptor<T>,
        namespace: SerializerRef<N>,
    ) -> Result<Rc<dyn ListOps<T, N>>> {
        let column = self.register(&descriptor.name, namespace)?;
        Ok(Rc::new(ByteListState { column, element: Arc::clone(&descriptor.element) }))
    }

    pub(crate) fn map_state<UK: StateValue, UV: StateValue, N: Namespace>(
        &self,
        descriptor: &MapStateDescriptor<UK, UV>,
        namespace: SerializerRef<N>,
    ) -> Result<Rc<dyn MapOps<UK, UV, N>>> {
        let column = self.register(&descriptor.name, namespace)?;
        let (key, value) = (Arc::clone(&descriptor.key), Arc::clone(&descriptor.value));
        Ok(Rc::new(ByteMapState { column, key, value }))
    }

    pub(crate) fn reducing_state<V: StateValue, N: Namespace>(
        &self,
        descriptor: &ReducingStateDescriptor<V>,
        namespace: SerializerRef<N>,
    ) -> Result<Rc<dyn ReducingOps<V, N>>> {
        let column = self.register(&descriptor.name, namespace)?;
        let (serializer, fold) = (Arc::clone(&descriptor.serializer), Reduce(Arc::clone(&descriptor.reduce)));
        Ok(Rc::new(ByteFoldingState { column, serializer, fold }))
    }

    pub(crate) fn aggregating_state<F, N>(
        &self,
        descriptor: &AggregatingStateDescriptor<F>,
        namespace: SerializerRef<N>,
    ) -> Result<Rc<dyn AggregatingOps<F::Input, F::Output, N>>>
    where
        F: AggregateFunction<Accumulator: StateValue>,
        N: Namespace,
    {
        let column = self.register(&descriptor.name, namespace)?;
        let (serializer, fold) = (Arc::clone(&descriptor.accumulator), Aggregate(Arc::clone(&descriptor.function)));
        Ok(Rc::new(ByteFoldingState { column, serializer, fold }))
    }

    pub(crate) fn timers<N: Namespace>(
        &self,
        name: &str,
        namespace: SerializerRef<N>,
    ) -> Result<Rc<dyn TimerQueue<K, N>>> {
        let column = self.column(name)?;
        let format = TimerFormat { key: Arc::clone(&self.shared.key_serializer), namespace };
        Ok(Rc::new(ByteTimers::open(Rc::clone(&self.shared), column, name, format)?))
    }

    /// Adds restored entries of one key group to a state, registered or not: keys and values as in a canonical stream,
    /// which are those of the store. [`finish_load`](Self::finish_load) follows the last.
    pub(crate) fn load(&self, state: &StateMeta, group: KeyGroup, entries: &RunEntries) -> Result<()> {
        let column = self.column(state.name())?;
        if is_by_key(state) {
            self.check_keys(group, entries).with("key group", group).with("state", state.name())?;
        }
        self.shared.store.borrow_mut().load(column, &mut entries.iter()).with("state", state.name())
    }

    /// Checks that the keys of a state belong to the key group they are in.
    fn check_keys(&self, group: KeyGroup, entries: &RunEntries) -> Result<()> {
        let mut checked: Option<&[u8]> = None;
        for (composite, _) in entries.iter() {
            // The entries of a map, and the windows of a key, follow one another: their key is decoded once.
            if checked.is_some_and(|key| composite.starts_with(key)) {
                continue;
            }
            let length = self.check_key(group, composite)?;
            checked = composite.get(..length);
        }
        Ok(())
    }

    /// Checks the key of a composite key; returns the length of both, key group and key.
    fn check_key(&self, group: KeyGroup, composite: &[u8]) -> Result<usize> {
        let mut reader = ByteReader::new(composite);
        reader.read_bytes(self.shared.prefix_bytes())?;
        let key = self.shared.key_serializer.deserialize(&mut reader)?;
        self.shared.context.check_group(&key, group)?;
        Ok(reader.position())
    }

    /// Checks the first key that a state has in each key group, up to [`SAMPLES`] of them spread over the range: for a store
    /// that was restored from files, of which no entry was looked at. A key type whose hash changed does not pass. A few
    /// keys in wrong places among many that are right do.
    pub(crate) fn check_sample(&self, state: &StateMeta, range: KeyGroupRange) -> Result<()> {
        let column = self.column(state.name())?;
        if !is_by_key(state) {
            return Ok(());
        }
        let store = self.shared.store.borrow();
        let prefix_bytes = self.shared.prefix_bytes();
        for group in range.iter().step_by(range.count().div_ceil(SAMPLES).max(1)) {
            let mut prefix = Vec::with_capacity(prefix_bytes);
            push_key_group(prefix_bytes, group, &mut prefix);
            let check =
                &mut |composite: &[u8], _: &[u8]| self.check_key(group, composite).map(|_| ControlFlow::Break(()));
            store.scan(column, &prefix, &[], check).with("key group", group).with("state", state.name())?;
        }
        Ok(())
    }

    /// Ends a restore.
    pub(crate) fn finish_load(&self) -> Result<()> {
        self.shared.store.borrow_mut().finish_load()
    }

    /// Makes columns that are in the store already known.
    pub(crate) fn adopt(&self, state: &str) -> Result<()> {
        self.column(state).map(drop)
    }

    /// As [`ByteStore::freeze_files`].
    pub(crate) fn freeze_files(&self, checkpoint: u64) -> Result<Option<Box<dyn FrozenFiles>>> {
        self.shared.store.borrow_mut().freeze_files(checkpoint)
    }

    /// As [`ByteStore::checkpoint_completed`].
    pub(crate) fn checkpoint_completed(&self, checkpoint: u64) {
        self.shared.store.borrow_mut().checkpoint_completed(checkpoint);
    }

    /// As [`ByteStore::checkpoint_aborted`].
    pub(crate) fn checkpoint_aborted(&self, checkpoint: u64) {
        self.shared.store.borrow_mut().checkpoint_aborted(checkpoint);
    }

    /// All keys that have something in this namespace of the state, each once. An unknown state has none.
    pub(crate) fn keys<N: Namespace>(&self, state: &str, namespace: &N) -> Result<Vec<K>> {
        let mut keys = Vec::new();
        let Some((column, serializer)) = self.find(state, |registered| {
            registered
                .namespace
                .downcast_ref::<SerializerRef<N>>()
                .map(Arc::clone)
                .ok_or_else(|| other_namespace(state))
        })?
        else {
            return Ok(keys);
        };
        let key_serializer = &*self.shared.key_serializer;
        let layout = self.layout(&*serializer);
        self.for_each_scope(column, &mut |composite| {
            let split = layout.split(composite, key_serializer, &*serializer)?;
            if split.namespace == *namespace {
                keys.push(split.key);
            }
            Ok(split.scope.len())
        })
        .with("state", state)?;
        Ok(keys)
    }

    /// How many pairs of key and namespace have something in the state; a map counts once. An unknown state has none.
    pub(crate) fn entry_count(&self, state: &str) -> Result<usize> {
        let Some((column, scope)) = self.find(state, |registered| Ok(Rc::clone(&registered.scope)))? else {
            return Ok(0);
        };
        let mut count = 0;
        self.for_each_scope(column, &mut |composite| {
            count += 1;
            scope(composite)
        })
        .with("state", state)?;
        Ok(count)
    }

    /// The names of all columns, in the order of [`freeze`](Self::freeze).
    pub(crate) fn state_names(&self) -> Vec<String> {
        self.states.borrow().iter().map(|state| state.name.clone()).collect()
    }

    /// A frozen view of every state, in the order in which their columns were made.
    pub(crate) fn freeze(&self) -> Result<Vec<Box<dyn FrozenState>>> {
        let frozen: Arc<dyn FrozenBytes> = self.shared.store.borrow_mut().freeze()?.into();
        let prefix_bytes = self.shared.prefix_bytes();
        let view = |state: &State| -> Box<dyn FrozenState> {
            Box::new(FrozenColumn { frozen: Arc::clone(&frozen), column: state.column, prefix_bytes })
        };
        Ok(self.states.borrow().iter().map(view).collect())
    }

    fn register<N: Namespace>(&self, name: &str, namespace: SerializerRef<N>) -> Result<StateColumn<K, N>> {
        let column = self.column(name)?;
        let (layout, key_serializer) = (self.layout(&*namespace), Arc::clone(&self.shared.key_serializer));
        let by_scope = Arc::clone(&namespace);
        let registered = Registered {
            namespace: Box::new(Arc::clone(&namespace)),
            scope: Rc::new(move |composite| Ok(layout.split(composite, &*key_serializer, &*by_scope)?.scope.len())),
        };
        if let Some(state) = self.states.borrow_mut().iter_mut().find(|state| state.column == column) {
            state.registered = Some(registered);
        }
        Ok(StateColumn::new(Rc::clone(&self.shared), column, name, namespace))
    }

    /// The column of a state, made if it is not there yet.
    fn column(&self, name: &str) -> Result<ColumnId> {
        let mut states = self.states.borrow_mut();
        if let Some(state) = states.iter().find(|state| state.name == name) {
            return Ok(state.column);
        }
        let column = self.shared.store.borrow_mut().column(name).with("state", name)?;
        states.push(State { name: name.to_owned(), column, registered: None });
        Ok(column)
    }

    fn find<R>(&self, name: &str, of: impl FnOnce(&Registered) -> Result<R>) -> Result<Option<(ColumnId, R)>> {
        let states = self.states.borrow();
        let Some(state) = states.iter().find(|state| state.name == name) else { return Ok(None) };
        let registered = state.registered.as_ref().ok_or_else(|| not_registered(name))?;
        Ok(Some((state.column, of(registered)?)))
    }

    fn layout<N: 'static>(&self, namespace: &dyn TypeSerializer<N>) -> KeyLayout {
        KeyLayout::new(self.shared.context.max_parallelism(), self.shared.key_serializer.length(), namespace.length())
    }

    /// Visits the first composite key of every pair of key and namespace; `visit` returns the length of that pair in it.
    fn for_each_scope(&self, column: ColumnId, visit: &mut dyn FnMut(&[u8]) -> Result<usize>) -> Result<()> {
        let mut scope: Option<Vec<u8>> = None;
        self.shared.store.borrow().scan(column, &[], &[], &mut |composite, _| {
            if !scope.as_ref().is_some_and(|scope| composite.starts_with(scope)) {
                let length = visit(composite)?;
                let next = scope.get_or_insert_default();
                next.clear();
                next.extend_from_slice(composite.get(..length).unwrap_or(composite));
            }
            Ok(ControlFlow::Continue(()))
        })
    }
}

/// One column of a frozen store.
struct FrozenColumn {
    frozen: Arc<dyn FrozenBytes>,
    column: ColumnId,
    prefix_bytes: usize,
}

impl FrozenState for FrozenColumn {
    fn write_key_group(&mut self, group: KeyGroup, state_id: u16, out: &mut CanonicalWriter) -> Result<()> {
        let mut prefix = Vec::with_capacity(self.prefix_bytes);
        push_key_group(self.prefix_bytes, group, &mut prefix);
        self.frozen.scan(self.column, &prefix, &[], &mut |key, value| {
            out.raw_entry(state_id, key, value)?;
            Ok(ControlFlow::Continue(()))
        })
    }
}

/// Whether the entries of a state begin with a key of the program. Timers begin with their time.
fn is_by_key(state: &StateMeta) -> bool {
    matches!(state.kind(), StateKind::KeyValue(_) | StateKind::KeyValueV2(_))
}

#[cold]
fn not_registered(state: &str) -> Error {
    Error::program("the state was restored but not registered: register it before looking into it").with("state", state)
}

#[cold]
fn other_namespace(state: &str) -> Error {
    Error::program("the state was registered with another type of namespace").with("state", state)
}
