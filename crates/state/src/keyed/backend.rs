//! The keyed backend: all keyed state of one operator subtask.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use highwater_checkpoint::{KeyedStateHandle, SnapshotOpener, StateOpener};
use highwater_types::{
    DefaultSerializer, Error, Key, KeyGroupRange, MaxParallelism, Result, ResultExt, SerializerRef, SerializerSnapshot,
    VoidNamespace,
};

use super::restored::{CarriedState, RestoredStates, Sources, require_as_is};
use super::snapshot::Content;
use super::{
    AggregatingState, FrozenState, KeyContext, KeyedSnapshot, ListState, MapState, Namespace, PreparedKey,
    ReducingState, StateValue, ValueState,
};
use crate::bytes::{ByteBackend, ByteStoreContext, ByteStoreFactory};
use crate::canonical::{KeyedHeader, KeyedKind, StateKind, StateMeta};
use crate::clock::{Clock, SystemClock};
use crate::descriptor::{
    AggregateFunction, AggregatingStateDescriptor, ListStateDescriptor, MapStateDescriptor, ReducingStateDescriptor,
    ValueStateDescriptor,
};
use crate::heap::{AnyState, HeapStates, MapKey};
use crate::timers::{TimerQueue, TimerService, queue_names};

/// All keyed state of one operator subtask (Flink's `KeyedStateBackend`), in heap tables or in a byte store.
///
/// States are registered once, by descriptor; the returned handles work on the current key. A name can be registered
/// once only. State that was restored but never registered is kept and written into every snapshot unchanged.
///
/// The backend belongs to one thread. Its [snapshots](Self::snapshot) can be written from any.
///
/// ```
/// use highwater_state::{KeyedBackend, ValueStateDescriptor};
/// use highwater_types::{DefaultSerializer, MaxParallelism};
///
/// let max_parallelism = MaxParallelism::new(128)?;
/// let backend =
///     KeyedBackend::<String>::builder(String::default_serializer(), max_parallelism, max_parallelism.all()).build()?;
/// let count = backend.value_state(&ValueStateDescriptor::<i64>::new("count"))?;
///
/// for word in ["to", "be", "or", "not", "to", "be"] {
///     backend.set_current_key(word.to_owned())?;
///     count.modify(|| 0, |count| *count += 1)?;
/// }
/// assert_eq!(count.value()?, Some(2));
/// # Ok::<(), highwater_types::Error>(())
/// ```
pub struct KeyedBackend<K> {
    operator: String,
    context: Rc<KeyContext<K>>,
    key: SerializerRef<K>,
    clock: Arc<dyn Clock>,
    compression: bool,
    store: Store<K>,
    /// In the order of registration.
    registered: RefCell<Vec<StateMeta>>,
    restored: RefCell<RestoredStates>,
    /// False once restored state could not be read.
    is_complete: Cell<bool>,
}

enum Store<K> {
    Heap { states: HeapStates<K>, registered: RefCell<Vec<Rc<dyn AnyState<K>>>> },
    Bytes(ByteBackend<K>),
}

/// Configures and builds a [`KeyedBackend`].
#[must_use]
pub struct KeyedBackendBuilder<'a, K> {
    operator: String,
    key: SerializerRef<K>,
    max_parallelism: MaxParallelism,
    range: KeyGroupRange,
    clock: Arc<dyn Clock>,
    compression: bool,
    store: Option<(&'a dyn ByteStoreFactory, ByteStoreContext)>,
    restore: Option<(&'a [KeyedStateHandle], &'a dyn StateOpener)>,
    is_recovery: bool,
}

impl<K: Key> KeyedBackend<K> {
    /// A builder for the key groups `range` of an operator with `max_parallelism` key groups in all. State lives on the
    /// heap unless a [byte store](KeyedBackendBuilder::byte_store) is given.
    pub fn builder<'a>(
        key: SerializerRef<K>,
        max_parallelism: MaxParallelism,
        range: KeyGroupRange,
    ) -> KeyedBackendBuilder<'a, K> {
        KeyedBackendBuilder {
            operator: String::new(),
            key,
            max_parallelism,
            range,
            clock: Arc::new(SystemClock),
            compression: false,
            store: None,
            restore: None,
            is_recovery: false,
        }
    }

    /// Makes `key` the current key of all handles.
    ///
    /// # Errors
    /// `Program` if the key belongs to a key group of another subtask, or while a closure given to a state runs.
    #[inline]
    pub fn set_current_key(&self, key: K) -> Result<()> {
        self.context.set(self.context.prepare(key)?)
    }

    /// Derives from a key what every access needs, and begins to fetch its entries into the processor's cache (of heap
    /// tables; a byte store sees to that itself). Prepare some keys before the first becomes the current one: with large
    /// state, accesses then need not wait for memory one after the other.
    ///
    /// ```
    /// # use highwater_state::{KeyedBackend, ValueStateDescriptor};
    /// # use highwater_types::{DefaultSerializer, MaxParallelism};
    /// # let max = MaxParallelism::new(128)?;
    /// # let backend = KeyedBackend::<i64>::builder(i64::default_serializer(), max, max.all()).build()?;
    /// let count = backend.value_state(&ValueStateDescriptor::<i64>::new("count"))?;
    /// let prepared = [3, 4, 3].map(|key| backend.prepare_key(key));
    /// for key in prepared {
    ///     backend.set_prepared_key(key?)?;
    ///     count.modify(|| 0, |count| *count += 1)?;
    /// }
    /// assert_eq!(count.value()?, Some(2));
    /// # Ok::<(), highwater_types::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Program` if the key belongs to a key group of another subtask.
    #[inline]
    pub fn prepare_key(&self, key: K) -> Result<PreparedKey<K>> {
        let prepared = self.context.prepare(key)?;
        if let Store::Heap { registered, .. } = &self.store {
            registered.borrow().iter().for_each(|state| state.prefetch(prepared.group, prepared.hash));
        }
        Ok(prepared)
    }

    /// Makes a key that *this* backend [prepared](Self::prepare_key) the current key.
    ///
    /// # Errors
    /// `Program` while a closure given to a state runs.
    #[inline]
    pub fn set_prepared_key(&self, key: PreparedKey<K>) -> Result<()> {
        self.context.set(key)
    }

    /// Forgets the current key: until the next, every access is an error.
    pub fn clear_current_key(&self) -> Result<()> {
        self.context.clear()
    }

    /// The current key, if there is one.
    pub fn current_key(&self) -> Option<K> {
        self.context.current().ok().map(|current| current.key.clone())
    }

    /// Reads the current key without copying it. Other states may be used meanwhile.
    ///
    /// # Errors
    /// `Program` if no key is set; whatever the closure returns.
    #[inline]
    pub fn with_current_key<R>(&self, read: impl FnOnce(&K) -> Result<R>) -> Result<R> {
        read(&self.context.current()?.key)
    }

    /// The key groups of this subtask.
    #[must_use]
    pub fn key_groups(&self) -> KeyGroupRange {
        self.context.range()
    }

    /// The key groups of the operator.
    #[must_use]
    pub fn max_parallelism(&self) -> MaxParallelism {
        self.context.max_parallelism()
    }

    /// The clock of everything that has to do with processing time.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Registers a value state. See [`value_state_in`](Self::value_state_in).
    pub fn value_state<V: StateValue>(&self, descriptor: &ValueStateDescriptor<V>) -> Result<ValueState<V>> {
        let state = self.value_state_in(VoidNamespace::default_serializer(), descriptor)?;
        state.set_namespace(VoidNamespace)?;
        Ok(state)
    }

    /// Registers a value state that is scoped by namespaces as well as keys. A namespace has to be set before use.
    ///
    /// # Errors
    /// `Program` if the name is registered already; `Incompatible` if restored state of this name has another kind or
    /// serializer.
    pub fn value_state_in<V: StateValue, N: Namespace>(
        &self,
        namespace: SerializerRef<N>,
        descriptor: &ValueStateDescriptor<V>,
    ) -> Result<ValueState<V, N>> {
        let value = descriptor.serializer.snapshot();
        self.register(&descriptor.name, KeyedKind::Value, namespace.snapshot(), value)?;
        Ok(ValueState::new(match &self.store {
            Store::Heap { states, registered } => {
                self.adopt(&descriptor.name, registered, states.value_state(descriptor, namespace))?
            }
            Store::Bytes(states) => states.value_state(descriptor, namespace)?,
        }))
    }

    /// Registers a list state. See [`list_state_in`](Self::list_state_in).
    pub fn list_state<T: StateValue>(&self, descriptor: &ListStateDescriptor<T>) -> Result<ListState<T>> {
        let state = self.list_state_in(VoidNamespace::default_serializer(), descriptor)?;
        state.set_namespace(VoidNamespace)?;
        Ok(state)
    }

    /// Registers a list state that is scoped by namespaces as well as keys. A namespace has to be set before use.
    ///
    /// # Errors
    /// As [`value_state_in`](Self::value_state_in).
    pub fn list_state_in<T: StateValue, N: Namespace>(
        &self,
        namespace: SerializerRef<N>,
        descriptor: &ListStateDescriptor<T>,
    ) -> Result<ListState<T, N>> {
        let value = SerializerSnapshot::list(descriptor.element.snapshot());
        self.register(&descriptor.name, KeyedKind::List, namespace.snapshot(), value)?;
        Ok(ListState::new(match &self.store {
            Store::Heap { states, registered } => {
                self.adopt(&descriptor.name, registered, states.list_state(descriptor, namespace))?
            }
            Store::Bytes(states) => states.list_state(descriptor, namespace)?,
        }))
    }

    /// Registers a map state. See [`map_state_in`](Self::map_state_in).
    pub fn map_state<UK: MapKey, UV: StateValue>(
        &self,
        descriptor: &MapStateDescriptor<UK, UV>,
    ) -> Result<MapState<UK, UV>> {
        let state = self.map_state_in(VoidNamespace::default_serializer(), descriptor)?;
        state.set_namespace(VoidNamespace)?;
        Ok(state)
    }

    /// Registers a map state that is scoped by namespaces as well as keys. A namespace has to be set before use.
    ///
    /// # Errors
    /// As [`value_state_in`](Self::value_state_in); the serializer of the map's keys must not change at all.
    pub fn map_state_in<UK: MapKey, UV: StateValue, N: Namespace>(
        &self,
        namespace: SerializerRef<N>,
        descriptor: &MapStateDescriptor<UK, UV>,
    ) -> Result<MapState<UK, UV, N>> {
        let value = SerializerSnapshot::map(descriptor.key.snapshot(), descriptor.value.flagged_snapshot());
        self.register(&descriptor.name, KeyedKind::Map, namespace.snapshot(), value)?;
        Ok(MapState::new(match &self.store {
            Store::Heap { states, registered } => {
                self.adopt(&descriptor.name, registered, states.map_state(descriptor, namespace))?
            }
            Store::Bytes(states) => states.map_state(descriptor, namespace)?,
        }))
    }

    /// Registers a reducing state. See [`reducing_state_in`](Self::reducing_state_in).
    pub fn reducing_state<V: StateValue>(&self, descriptor: &ReducingStateDescriptor<V>) -> Result<ReducingState<V>> {
        let state = self.reducing_state_in(VoidNamespace::default_serializer(), descriptor)?;
        state.set_namespace(VoidNamespace)?;
        Ok(state)
    }

    /// Registers a reducing state that is scoped by namespaces as well as keys. A namespace has to be set before use.
    ///
    /// # Errors
    /// As [`value_state_in`](Self::value_state_in).
    pub fn reducing_state_in<V: StateValue, N: Namespace>(
        &self,
        namespace: SerializerRef<N>,
        descriptor: &ReducingStateDescriptor<V>,
    ) -> Result<ReducingState<V, N>> {
        let value = descriptor.serializer.snapshot();
        self.register(&descriptor.name, KeyedKind::Reducing, namespace.snapshot(), value)?;
        Ok(ReducingState::new(match &self.store {
            Store::Heap { states, registered } => {
                self.adopt(&descriptor.name, registered, states.reducing_state(descriptor, namespace))?
            }
            Store::Bytes(states) => states.reducing_state(descriptor, namespace)?,
        }))
    }

    /// Registers an aggregating state. See [`aggregating_state_in`](Self::aggregating_state_in).
    pub fn aggregating_state<F: AggregateFunction<Accumulator: StateValue>>(
        &self,
        descriptor: &AggregatingStateDescriptor<F>,
    ) -> Result<AggregatingState<F::Input, F::Output>> {
        let state = self.aggregating_state_in(VoidNamespace::default_serializer(), descriptor)?;
        state.set_namespace(VoidNamespace)?;
        Ok(state)
    }

    /// Registers an aggregating state that is scoped by namespaces as well as keys. A namespace has to be set before
    /// use.
    ///
    /// # Errors
    /// As [`value_state_in`](Self::value_state_in).
    pub fn aggregating_state_in<F: AggregateFunction<Accumulator: StateValue>, N: Namespace>(
        &self,
        namespace: SerializerRef<N>,
        descriptor: &AggregatingStateDescriptor<F>,
    ) -> Result<AggregatingState<F::Input, F::Output, N>> {
        let value = descriptor.accumulator.snapshot();
        self.register(&descriptor.name, KeyedKind::Aggregating, namespace.snapshot(), value)?;
        Ok(AggregatingState::new(match &self.store {
            Store::Heap { states, registered } => {
                self.adopt(&descriptor.name, registered, states.aggregating_state(descriptor, namespace))?
            }
            Store::Bytes(states) => states.aggregating_state(descriptor, namespace)?,
        }))
    }

    /// Registers a service of timers: two queues, which are in every snapshot, even when they are empty (Flink's
    /// `_timer_state/event_<service>` and `_timer_state/processing_<service>`). The services of Flink's operators are called
    /// `user-timers` (process functions) and `window-timers`.
    ///
    /// # Errors
    /// `Program` if there is a service of this name; `Incompatible` if its restored timers have another namespace.
    pub fn timer_service<N: Namespace>(
        &self,
        service: &str,
        namespace: SerializerRef<N>,
    ) -> Result<TimerService<K, N>> {
        let (event_time, processing_time) = queue_names(service);
        let processing_time = self.timers(&processing_time, &namespace)?;
        Ok(TimerService::new(self.timers(&event_time, &namespace)?, processing_time))
    }

    fn timers<N: Namespace>(&self, name: &str, namespace: &SerializerRef<N>) -> Result<Rc<dyn TimerQueue<K, N>>> {
        let timer = SerializerSnapshot::timer(self.key.snapshot(), namespace.snapshot());
        self.register_meta(StateMeta::priority_queue(name, timer))?;
        match &self.store {
            Store::Heap { states, registered } => {
                self.adopt(name, registered, states.timers(name, Arc::clone(namespace)))
            }
            Store::Bytes(states) => states.timers(name, Arc::clone(namespace)),
        }
    }

    fn register(
        &self,
        name: &str,
        kind: KeyedKind,
        namespace: SerializerSnapshot,
        value: SerializerSnapshot,
    ) -> Result<()> {
        self.register_meta(StateMeta::key_value(name, kind, namespace, value))
    }

    /// Checks name and compatibility of a new state and writes it down.
    fn register_meta(&self, meta: StateMeta) -> Result<()> {
        let name = meta.name();
        let mut registered = self.registered.borrow_mut();
        if registered.iter().any(|meta| meta.name() == name) {
            return Err(Error::program("a state of this name is registered already: give each state its own name")
                .with("operator", &self.operator)
                .with("state", name));
        }
        if let Some(restored) = self.restored.borrow().meta(name) {
            let compatibility = restored.check_compatible(&meta, &self.operator)?;
            require_as_is(&compatibility, name).with("operator", &self.operator)?;
        }
        registered.push(meta);
        Ok(())
    }

    /// Takes in a new heap state: restored entries of its name move into it.
    fn adopt<Ops: ?Sized>(
        &self,
        name: &str,
        registered: &RefCell<Vec<Rc<dyn AnyState<K>>>>,
        (handle, state): (Rc<Ops>, Rc<dyn AnyState<K>>),
    ) -> Result<Rc<Ops>> {
        // From here on the snapshot no longer has the entries; a state that could not take them all must never be
        // mistaken for the whole.
        let was_complete = self.is_complete.replace(false);
        let mut restored = self.restored.borrow_mut();
        let cancel = restored.cancel_token();
        for (group, entries) in restored.take_entries(name) {
            cancel.check_restore().with("operator", &self.operator)?;
            state
                .load(group, &entries)
                .with("key group", group)
                .with("state", name)
                .with("operator", &self.operator)?;
        }
        self.is_complete.set(was_complete);
        registered.borrow_mut().push(state);
        Ok(handle)
    }

    /// All keys that have something in this namespace of a state, each once, in no particular order. A name that is not
    /// registered has none.
    ///
    /// # Errors
    /// `Program` if the state was registered with another type of namespace.
    pub fn keys<N: Namespace>(&self, state: &str, namespace: &N) -> Result<Vec<K>> {
        match &self.store {
            Store::Heap { registered, .. } => match self.position(state) {
                Some(index) => registered.borrow().get(index).map_or(Ok(Vec::new()), |state| state.keys(namespace)),
                None => Ok(Vec::new()),
            },
            Store::Bytes(states) if self.position(state).is_some() => states.keys(state, namespace),
            Store::Bytes(_) => Ok(Vec::new()),
        }
    }

    /// How many pairs of key and namespace have something in a state; a map counts once. A name that is not registered
    /// has none.
    pub fn entry_count(&self, state: &str) -> Result<usize> {
        match &self.store {
            Store::Heap { registered, .. } => match self.position(state) {
                Some(index) => registered.borrow().get(index).map_or(Ok(0), |state| state.entry_count()),
                None => Ok(0),
            },
            Store::Bytes(states) if self.position(state).is_some() => states.entry_count(state),
            Store::Bytes(_) => Ok(0),
        }
    }

    /// Calls `apply` for every key that had something in this namespace of a state when the call began, with that key as
    /// the current key (`KeyedStateBackend.applyToAllKeys`). `apply` may read and change any state. Afterwards the
    /// current key is what it was before.
    ///
    /// # Errors
    /// The first error of `apply`, at once.
    pub fn apply_to_all_keys<N: Namespace>(
        &self,
        state: &str,
        namespace: &N,
        mut apply: impl FnMut(&K) -> Result<()>,
    ) -> Result<()> {
        let before = self.current_key();
        let result = self.keys(state, namespace)?.into_iter().try_for_each(|key| {
            self.set_current_key(key.clone())?;
            apply(&key)
        });
        match before {
            Some(key) => self.set_current_key(key)?,
            None => self.clear_current_key()?,
        }
        result
    }

    /// The synchronous part of a snapshot in Flink's canonical format, which every backend reads: freezes all state as
    /// it is now, without I/O and without serializing anything. Later changes do not touch the frozen state.
    ///
    /// # Errors
    /// `Program` after restored state could not be read: what is left must not replace the snapshot it came from.
    pub fn snapshot(&self) -> Result<KeyedSnapshot> {
        self.check_complete()?;
        Ok(match &self.store {
            Store::Heap { registered, .. } => {
                let (metas, states) = self.freeze_heap(&registered.borrow())?;
                self.frozen(metas, Content::Entries(states))
            }
            Store::Bytes(states) => self.frozen(self.column_metas(states)?, Content::Entries(states.freeze()?)),
        })
    }

    /// The synchronous part of a checkpoint: the files of the store if its snapshots are incremental, else as
    /// [`snapshot`](Self::snapshot). A store may have to write what it holds in memory into files first.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot); `Storage` if the store cannot write.
    pub fn checkpoint(&self, checkpoint: u64) -> Result<KeyedSnapshot> {
        self.check_complete()?;
        if let Store::Bytes(states) = &self.store
            && let metas = self.column_metas(states)?
            && !metas.is_empty()
            && let Some(files) = states.freeze_files(checkpoint).with("operator", &self.operator)?
        {
            return Ok(self.frozen(metas, Content::Files { checkpoint, files }));
        }
        self.snapshot()
    }

    /// Tells that a checkpoint is complete (Flink's `notifyCheckpointComplete`), so that later ones can build on it.
    pub fn checkpoint_completed(&self, checkpoint: u64) {
        if let Store::Bytes(states) = &self.store {
            states.checkpoint_completed(checkpoint);
        }
    }

    /// Tells that a checkpoint was given up (Flink's `notifyCheckpointAborted`): no later one can build on it.
    pub fn checkpoint_aborted(&self, checkpoint: u64) {
        if let Store::Bytes(states) = &self.store {
            states.checkpoint_aborted(checkpoint);
        }
    }

    fn check_complete(&self) -> Result<()> {
        match self.is_complete.get() {
            true => Ok(()),
            false => Err(Error::program(
                "a state could not be restored, so no snapshot is taken: the program must not go on",
            )
            .with("operator", &self.operator)),
        }
    }

    fn frozen(&self, states: Vec<StateMeta>, content: Content) -> KeyedSnapshot {
        KeyedSnapshot {
            range: self.context.range(),
            max_parallelism: self.context.max_parallelism(),
            header: KeyedHeader { compression: self.compression, key_serializer: self.key.snapshot(), states },
            content,
        }
    }

    /// The registered states, then those nobody asked for.
    fn freeze_heap(&self, states: &[Rc<dyn AnyState<K>>]) -> Result<(Vec<StateMeta>, Vec<Box<dyn FrozenState>>)> {
        let mut metas = self.registered.borrow().clone();
        let mut frozen = states.iter().map(|state| state.freeze()).collect::<Result<Vec<_>>>()?;
        for CarriedState { meta, entries } in self.restored.borrow().carried() {
            metas.push(meta);
            frozen.push(Box::new(entries));
        }
        Ok((metas, frozen))
    }

    /// The descriptions of all columns of a byte store, registered or only restored.
    fn column_metas(&self, states: &ByteBackend<K>) -> Result<Vec<StateMeta>> {
        let (registered, restored) = (self.registered.borrow(), self.restored.borrow());
        let meta = |name: String| {
            let known = registered.iter().find(|meta| meta.name() == name).or_else(|| restored.meta(&name));
            known.cloned().ok_or_else(|| Error::internal("a column without a state").with("state", name))
        };
        states.state_names().into_iter().map(meta).collect()
    }

    /// Timers are not states that can be looked into by key.
    fn position(&self, state: &str) -> Option<usize> {
        let is_state = |meta: &StateMeta| meta.name() == state && meta.kind() != StateKind::PriorityQueue;
        self.registered.borrow().iter().position(is_state)
    }
}

impl<'a, K: Key> KeyedBackendBuilder<'a, K> {
    /// Names the operator in errors, by convention `<uid>_(<subtask + 1>/<parallelism>)`. Empty by default.
    pub fn operator(mut self, name: impl Into<String>) -> Self {
        self.operator = name.into();
        self
    }

    /// Takes processing time from this clock. The machine's by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Keeps state in a byte store of this factory instead of on the heap.
    pub fn byte_store(mut self, factory: &'a dyn ByteStoreFactory, context: ByteStoreContext) -> Self {
        self.store = Some((factory, context));
        self
    }

    /// Writes the key groups of snapshots as snappy frames (`execution.checkpointing.snapshot-compression`). Off by
    /// default.
    pub fn snapshot_compression(mut self, on: bool) -> Self {
        self.compression = on;
        self
    }

    /// Starts from the state behind these handles, written at any parallelism: key groups that belong to other subtasks
    /// are left out.
    pub fn restore(mut self, handles: &'a [KeyedStateHandle], opener: &'a dyn StateOpener) -> Self {
        self.restore = Some((handles, opener));
        self
    }

    /// Whether the handles are those of the job's own newest completed checkpoint, so that incremental checkpoints may
    /// go on naming its files (default no: the snapshot belongs to somebody else, and may be deleted at any time).
    pub fn recovery(mut self, is_recovery: bool) -> Self {
        self.is_recovery = is_recovery;
        self
    }

    /// Builds the backend.
    ///
    /// # Errors
    /// `Configuration` if the key groups are not within the max parallelism; from a restore: `Corrupt` for damaged
    /// state, `Incompatible` for state with another key type or max parallelism, or with keys in another key group than
    /// their hash leads to (on the heap that shows when the state is registered), `Unsupported` for formats of other
    /// backends.
    pub fn build(self) -> Result<KeyedBackend<K>> {
        if u32::from(self.range.end()) >= self.max_parallelism.get() {
            return Err(Error::configuration("the key groups are not within the max parallelism")
                .with("operator", &self.operator)
                .with("key groups", self.range)
                .with("max parallelism", self.max_parallelism));
        }
        let context = Rc::new(KeyContext::new(self.max_parallelism, self.range));
        let (store, restored) = self.restore_store(&context).with("operator", &self.operator)?;
        Ok(KeyedBackend {
            operator: self.operator,
            context,
            key: self.key,
            clock: self.clock,
            compression: self.compression,
            store,
            registered: RefCell::default(),
            restored: RefCell::new(restored),
            is_complete: Cell::new(true),
        })
    }

    fn restore_store(&self, context: &Rc<KeyContext<K>>) -> Result<(Store<K>, RestoredStates)> {
        let key = self.key.snapshot();
        let in_memory = SnapshotOpener::in_memory();
        let (handles, opener) = self.restore.unwrap_or((&[], &in_memory));
        let sources = Sources::new((handles, opener, self.is_recovery), &key, self.max_parallelism, self.range)?;
        let (context, key) = (Rc::clone(context), Arc::clone(&self.key));
        match &self.store {
            Some((factory, of)) => {
                let (restored, states) =
                    RestoredStates::for_bytes(&sources, (*factory, of), |store| ByteBackend::new(store, context, key))?;
                Ok((Store::Bytes(states), restored))
            }
            None => {
                let restored = RestoredStates::for_heap(&sources)?;
                Ok((Store::Heap { states: HeapStates { context, key }, registered: RefCell::default() }, restored))
            }
        }
    }
}

impl<K> fmt::Debug for KeyedBackend<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBackend").field("operator", &self.operator).finish_non_exhaustive()
    }
}

impl<K> fmt::Debug for KeyedBackendBuilder<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBackendBuilder").field("operator", &self.operator).finish_non_exhaustive()
    }
}
