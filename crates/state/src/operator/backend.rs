//! The operator state of one subtask.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::rc::Rc;

use highwater_checkpoint::{DistributionMode, OperatorStateHandle, StateOpener};
use highwater_types::{Error, Result};

use super::broadcast::{BroadcastState, Map, Serializers};
use super::restore::{RestoredState, restore};
use super::{FrozenOperatorState, OperatorListState, OperatorSnapshot, RegisteredState};
use crate::canonical::StateMeta;
use crate::{ListStateDescriptor, MapStateDescriptor, StateValue};

/// The operator state of one subtask (Flink's `DefaultOperatorStateBackend`): lists and broadcast maps, in memory with
/// every state backend.
///
/// ```
/// use highwater_state::{ListStateDescriptor, MapStateDescriptor, OperatorStateBackend};
///
/// let backend = OperatorStateBackend::builder().operator("source").build()?;
/// let offsets = backend.list_state(&ListStateDescriptor::<(String, i64)>::new("offsets"))?;
/// offsets.add(("part-0".to_owned(), 4711))?;
///
/// let rules = backend.broadcast_state(&MapStateDescriptor::<String, bool>::new("rules"))?;
/// rules.put("audit".to_owned(), true)?;
/// assert_eq!(rules.read_only().get(&"audit".to_owned())?, Some(true));
/// # Ok::<(), highwater_types::Error>(())
/// ```
pub struct OperatorStateBackend {
    operator: String,
    subtask: u32,
    registered: RefCell<BTreeMap<String, Rc<dyn RegisteredState>>>,
    /// What the program has not registered; it goes into every snapshot as it is.
    restored: RefCell<BTreeMap<String, RestoredState>>,
}

impl OperatorStateBackend {
    /// A builder, for an empty backend unless it is given something to restore.
    pub fn builder<'a>() -> OperatorStateBackendBuilder<'a> {
        OperatorStateBackendBuilder { operator: String::new(), subtask: 0, restore: None }
    }

    /// Registers a list whose elements are split among the subtasks when the parallelism changes (`getListState`), with
    /// what was restored of it.
    ///
    /// # Errors
    /// `Program` if this operator has a state of that name already; `Incompatible` if the restored state is of another
    /// mode or type; `Corrupt` if a restored element cannot be read.
    pub fn list_state<T: StateValue>(&self, descriptor: &ListStateDescriptor<T>) -> Result<OperatorListState<T>> {
        self.list(descriptor, DistributionMode::SplitDistribute)
    }

    /// Registers a list of which every subtask receives the elements of all subtasks on restore (`getUnionListState`),
    /// with what was restored of it.
    ///
    /// # Errors
    /// As [`list_state`](Self::list_state).
    pub fn union_list_state<T: StateValue>(&self, descriptor: &ListStateDescriptor<T>) -> Result<OperatorListState<T>> {
        self.list(descriptor, DistributionMode::Union)
    }

    /// Registers a map of which every subtask keeps a copy (`getBroadcastState`), with what was restored of it.
    ///
    /// # Errors
    /// As [`list_state`](Self::list_state).
    pub fn broadcast_state<K, V>(&self, descriptor: &MapStateDescriptor<K, V>) -> Result<BroadcastState<K, V>>
    where
        K: StateValue + Eq + Hash,
        V: StateValue,
    {
        let serializers = Serializers { key: descriptor.key.clone(), value: descriptor.value.clone() };
        let meta = StateMeta::broadcast(&descriptor.name, serializers.key.snapshot(), serializers.value.snapshot());
        self.register(meta, |meta, restored| {
            let mut entries = Map::default();
            for part in restored {
                part.read_each(|input| serializers.deserialize(input, &mut entries))?;
            }
            let state = BroadcastState::new(meta, serializers, entries);
            Ok((state.registered(), state))
        })
    }

    fn list<T: StateValue>(
        &self,
        descriptor: &ListStateDescriptor<T>,
        mode: DistributionMode,
    ) -> Result<OperatorListState<T>> {
        let serializer = descriptor.element.clone();
        let meta = StateMeta::operator_list(&descriptor.name, mode, serializer.snapshot());
        self.register(meta, |meta, restored| {
            let mut elements = Vec::new();
            for part in restored {
                part.read(&*serializer, |element| elements.push(element))?;
            }
            let state = OperatorListState::new(meta, serializer, elements);
            Ok((state.registered(), state))
        })
    }

    /// Checks the name and what was restored under it, then creates the state.
    fn register<S>(
        &self,
        meta: StateMeta,
        create: impl FnOnce(StateMeta, &[super::stream::Elements]) -> Result<(Rc<dyn RegisteredState>, S)>,
    ) -> Result<S> {
        let name = meta.name().to_owned();
        if self.registered.borrow().contains_key(&name) {
            return Err(Error::program(
                "an operator state of this name is registered already: choose another name, or \
                 keep the handle and clone it",
            )
            .with("operator", &self.operator)
            .with("state", name));
        }
        let restored = self.restored.borrow().get(&name).cloned();
        if let Some(restored) = &restored {
            // Also after a migration: elements are read now and written anew with the next snapshot.
            let _readable = restored.meta.check_compatible(&meta, &self.operator)?;
        }
        let parts = restored.as_ref().map(|restored| restored.parts.as_slice()).unwrap_or_default();
        let (registered, state) =
            create(meta, parts).map_err(|error| error.with("operator", &self.operator).with("state", &name))?;
        self.restored.borrow_mut().remove(&name);
        self.registered.borrow_mut().insert(name, registered);
        Ok(state)
    }

    /// Names of the restored states that were not registered yet, ascending. They go into every snapshot as they are.
    #[must_use]
    pub fn unregistered(&self) -> Vec<String> {
        self.restored.borrow().keys().cloned().collect()
    }

    /// The synchronous part of a snapshot: a deep copy of all state.
    ///
    /// # Errors
    /// `Program` if a state is being changed right now.
    pub fn snapshot(&self) -> Result<OperatorSnapshot> {
        let registered = self.registered.borrow();
        let mut states = registered.values().map(|state| state.freeze()).collect::<Result<Vec<_>>>()?;
        let restored = self.restored.borrow();
        let carried = restored.values().filter(|state| self.carries(&state.meta));
        states.extend(carried.map(|state| Box::new(state.clone()) as Box<dyn FrozenOperatorState>));
        Ok(OperatorSnapshot { operator: self.operator.clone(), states })
    }

    /// Every subtask was given all elements of a union list: if each carried them along, every restore would multiply
    /// them.
    fn carries(&self, meta: &StateMeta) -> bool {
        self.subtask == 0 || meta.distribution() != Some(DistributionMode::Union)
    }
}

impl fmt::Debug for OperatorStateBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorStateBackend")
            .field("operator", &self.operator)
            .field("states", &self.registered.borrow().keys())
            .field("unregistered", &self.restored.borrow().keys())
            .finish()
    }
}

/// Builds an [`OperatorStateBackend`].
#[must_use]
pub struct OperatorStateBackendBuilder<'a> {
    operator: String,
    subtask: u32,
    restore: Option<(Vec<OperatorStateHandle>, &'a dyn StateOpener)>,
}

impl<'a> OperatorStateBackendBuilder<'a> {
    /// What errors call the operator; empty by default.
    pub fn operator(mut self, name: impl Into<String>) -> Self {
        self.operator = name.into();
        self
    }

    /// Number of the subtask, 0 by default. Union lists that nobody registers go into the snapshots of subtask 0 alone.
    pub fn subtask(mut self, subtask: u32) -> Self {
        self.subtask = subtask;
        self
    }

    /// Restores what [`redistribute_operator_state`](crate::redistribute_operator_state) gave to this subtask: handles
    /// of any number of earlier subtasks, each with all or some of its elements.
    pub fn restore(mut self, handles: Vec<OperatorStateHandle>, opener: &'a dyn StateOpener) -> Self {
        self.restore = Some((handles, opener));
        self
    }

    /// Builds the backend; reads what is to be restored.
    ///
    /// # Errors
    /// `Corrupt` for a damaged or missing stream, `Unsupported` for a format or serializer that Highwater does not know.
    /// All name the file and the operator.
    pub fn build(self) -> Result<OperatorStateBackend> {
        let restored = match self.restore {
            Some((handles, opener)) => {
                restore(&handles, opener).map_err(|error| error.with("operator", &self.operator))?
            }
            None => BTreeMap::new(),
        };
        let registered = RefCell::new(BTreeMap::new());
        let restored = RefCell::new(restored);
        Ok(OperatorStateBackend { operator: self.operator, subtask: self.subtask, registered, restored })
    }
}

impl fmt::Debug for OperatorStateBackendBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorStateBackendBuilder").field("operator", &self.operator).finish_non_exhaustive()
    }
}
