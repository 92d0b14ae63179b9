//! Where a single operator is taken out of a program to be tested.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use highwater_state::KeyedBackend;
use highwater_types::{Error, Key, Result};

use super::OpenContext;
use crate::function::SideOutputs;

/// Holds the state of one keyed operator, and then the operator.
pub(crate) struct Bench<K> {
    pub(crate) backend: Rc<KeyedBackend<K>>,
    pub(crate) sides: SideOutputs,
    pub(crate) is_restored: bool,
    operator: RefCell<Option<Result<Box<dyn Any>>>>,
}

impl<K: Key> Bench<K> {
    pub(crate) fn new(backend: KeyedBackend<K>, is_restored: bool) -> Rc<Self> {
        let (sides, operator) = (SideOutputs::on_bench(), RefCell::default());
        Rc::new(Self { backend: Rc::new(backend), sides, is_restored, operator })
    }

    pub(super) fn open_context<'a>(&'a self, uid: &'a str) -> OpenContext<'a, K> {
        OpenContext {
            uid,
            subtask: 0,
            parallelism: 1,
            is_restored: self.is_restored,
            backend: &self.backend,
            sides: &self.sides,
        }
    }

    pub(super) fn put<P: 'static>(&self, operator: Result<P>) {
        *self.operator.borrow_mut() = Some(operator.map(|operator| Box::new(operator) as Box<dyn Any>));
    }

    /// The operator that was built.
    pub(crate) fn take<P: 'static>(&self) -> Result<P> {
        let built = self.operator.take().ok_or_else(|| Error::program("no keyed operator was added to the stream"))?;
        let operator = built?.downcast::<P>();
        operator.map(|operator| *operator).map_err(|_| Error::program("the last operator added is not the keyed one"))
    }
}
