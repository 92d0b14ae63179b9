//! List states of an operator.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use highwater_types::{Result, SerializerRef};

use super::snapshot::ElementWriter;
use super::{FrozenOperatorState, RegisteredState, in_use};
use crate::StateValue;
use crate::canonical::StateMeta;

/// A list that belongs to a subtask (Flink's operator `ListState`), got from
/// [`list_state`](super::OperatorStateBackend::list_state) or
/// [`union_list_state`](super::OperatorStateBackend::union_list_state).
///
/// The handle is cheap to clone and belongs to one thread. The list cannot be changed while it is being visited: that is
/// a [`Program`](highwater_types::ErrorKind::Program) error.
pub struct OperatorListState<T> {
    inner: Rc<Inner<T>>,
}

struct Inner<T> {
    meta: StateMeta,
    serializer: SerializerRef<T>,
    elements: RefCell<Vec<T>>,
}

impl<T: StateValue> OperatorListState<T> {
    pub(super) fn new(meta: StateMeta, serializer: SerializerRef<T>, elements: Vec<T>) -> Self {
        Self { inner: Rc::new(Inner { meta, serializer, elements: RefCell::new(elements) }) }
    }

    pub(super) fn registered(&self) -> Rc<dyn RegisteredState> {
        Rc::<Inner<T>>::clone(&self.inner)
    }

    /// A copy of all elements, in order.
    pub fn get(&self) -> Result<Vec<T>> {
        self.inner.read(<[T]>::to_vec)
    }

    /// Visits all elements in order, without copying them.
    pub fn for_each(&self, visit: impl FnMut(&T)) -> Result<()> {
        self.inner.read(|elements| elements.iter().for_each(visit))
    }

    /// How many elements.
    pub fn len(&self) -> Result<usize> {
        self.inner.read(<[T]>::len)
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> Result<bool> {
        self.inner.read(<[T]>::is_empty)
    }

    /// Appends one element.
    pub fn add(&self, element: T) -> Result<()> {
        self.inner.change(|elements| elements.push(element))
    }

    /// Appends elements; none at all changes nothing.
    pub fn add_all(&self, elements: impl IntoIterator<Item = T>) -> Result<()> {
        let added: Vec<T> = elements.into_iter().collect();
        self.inner.change(|elements| elements.extend(added))
    }

    /// Replaces the list.
    pub fn update(&self, elements: impl IntoIterator<Item = T>) -> Result<()> {
        let new = elements.into_iter().collect();
        self.inner.change(|elements| std::mem::replace(elements, new)).map(drop)
    }

    /// Removes all elements.
    pub fn clear(&self) -> Result<()> {
        self.update([])
    }
}

impl<T> Inner<T> {
    fn read<R>(&self, read: impl FnOnce(&[T]) -> R) -> Result<R> {
        self.elements.try_borrow().map(|elements| read(&elements)).map_err(|_| in_use(&self.meta))
    }

    fn change<R>(&self, change: impl FnOnce(&mut Vec<T>) -> R) -> Result<R> {
        self.elements.try_borrow_mut().map(|mut elements| change(&mut elements)).map_err(|_| in_use(&self.meta))
    }
}

impl<T> Clone for OperatorListState<T> {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner) }
    }
}

impl<T> fmt::Debug for OperatorListState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorListState").field("name", &self.inner.meta.name()).finish_non_exhaustive()
    }
}

impl<T: StateValue> RegisteredState for Inner<T> {
    fn freeze(&self) -> Result<Box<dyn FrozenOperatorState>> {
        let (meta, serializer) = (self.meta.clone(), SerializerRef::clone(&self.serializer));
        Ok(Box::new(FrozenList { meta, serializer, elements: self.read(<[T]>::to_vec)? }))
    }
}

struct FrozenList<T> {
    meta: StateMeta,
    serializer: SerializerRef<T>,
    elements: Vec<T>,
}

impl<T: StateValue> FrozenOperatorState for FrozenList<T> {
    fn meta(&self) -> &StateMeta {
        &self.meta
    }

    fn write(&self, out: &mut ElementWriter) -> Result<()> {
        self.elements.iter().try_for_each(|element| out.element(|buffer| self.serializer.serialize(element, buffer)))
    }
}
