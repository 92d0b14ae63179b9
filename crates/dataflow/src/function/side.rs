//! Side outputs: results of another type, on streams of their own.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;

use highwater_types::{Error, Result};
use serde::Serialize;

use crate::graph::weigh;

/// Names a side output of an operator, and says what comes out of it (Flink's `OutputTag`).
///
/// ```
/// use highwater_dataflow::OutputTag;
///
/// let late = OutputTag::<String>::new("late");
/// assert_eq!(late.id(), "late");
/// ```
pub struct OutputTag<T> {
    id: String,
    of: PhantomData<fn() -> T>,
}

impl<T> OutputTag<T> {
    /// A tag; within an operator equal ids are the same output.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), of: PhantomData }
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl<T> Clone for OutputTag<T> {
    fn clone(&self) -> Self {
        Self::new(self.id.clone())
    }
}

impl<T> fmt::Debug for OutputTag<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputTag").field("id", &self.id).finish()
    }
}

/// Where a function puts the results of one side output. Clones are the same output.
pub struct SideOutput<T>(Rc<Buffer<T>>);

struct Buffer<T> {
    /// With their timestamps.
    records: RefCell<Vec<(T, i64)>>,
    /// What notice was given of, in portions.
    sealed: RefCell<VecDeque<Vec<(T, i64)>>>,
    is_read: Cell<bool>,
    gathered: Rc<Gathered>,
}

/// What all side outputs of an operator have gathered.
#[derive(Default)]
struct Gathered {
    records: Cell<usize>,
    bytes: Cell<usize>,
    /// Lets the operator send it, in the middle of a call.
    way_out: RefCell<Option<Rc<dyn Fn()>>>,
}

/// Notice is given of so many records, or bytes of memory.
const PORTION_RECORDS: usize = 1_024;
const PORTION_BYTES: usize = 64 * 1024;

impl<T: Serialize> SideOutput<T> {
    /// Emits a record with a timestamp, `MIN` for none. What nobody reads is dropped.
    pub(crate) fn emit(&self, record: T, timestamp: i64) {
        let Buffer { records, is_read, gathered, .. } = &*self.0;
        if !is_read.get() {
            return;
        }
        gathered.records.set(gathered.records.get() + 1);
        gathered.bytes.set(gathered.bytes.get() + weigh(&record));
        records.borrow_mut().push((record, timestamp));
        if gathered.records.get() >= PORTION_RECORDS || gathered.bytes.get() >= PORTION_BYTES {
            let way_out = gathered.way_out.borrow().clone();
            way_out.into_iter().for_each(|leave| leave());
        }
    }
}

impl<T> SideOutput<T> {
    /// Somebody reads it. False if somebody does already.
    pub(crate) fn read(&self) -> bool {
        !self.0.is_read.replace(true)
    }

    /// The oldest portion that notice was given of.
    pub(crate) fn unseal(&self) -> Vec<(T, i64)> {
        self.0.sealed.borrow_mut().pop_front().unwrap_or_default()
    }

    /// What was emitted and has not been sealed.
    #[cfg(feature = "testing")]
    pub(crate) fn take(&self) -> Vec<(T, i64)> {
        self.0.records.take()
    }
}

impl<T> Clone for SideOutput<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> fmt::Debug for SideOutput<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SideOutput").finish_non_exhaustive()
    }
}

/// The side outputs of one operator subtask.
#[derive(Default)]
pub(crate) struct SideOutputs {
    sides: RefCell<Vec<Side>>,
    gathered: Rc<Gathered>,
    /// Whether all are read by hand.
    is_on_bench: bool,
}

struct Side {
    id: String,
    type_name: &'static str,
    output: Box<dyn Any>,
    seal: Box<dyn Fn()>,
}

impl SideOutputs {
    /// Everything that is emitted is kept.
    #[cfg(feature = "testing")]
    pub(crate) fn on_bench() -> Self {
        Self { is_on_bench: true, ..Self::default() }
    }

    /// The output of a tag, made if it is not there yet.
    pub(crate) fn open<T: 'static>(&self, tag: &OutputTag<T>) -> Result<SideOutput<T>> {
        if let Some(output) = self.get(tag)? {
            return Ok(output);
        }
        let output = SideOutput(Rc::new(Buffer {
            records: RefCell::default(),
            sealed: RefCell::default(),
            is_read: Cell::new(self.is_on_bench),
            gathered: Rc::clone(&self.gathered),
        }));
        let buffer = Rc::clone(&output.0);
        let seal = move || {
            if buffer.is_read.get() {
                buffer.sealed.borrow_mut().push_back(buffer.records.take());
            }
        };
        self.sides.borrow_mut().push(Side {
            id: tag.id.clone(),
            type_name: std::any::type_name::<T>(),
            output: Box::new(output.clone()),
            seal: Box::new(seal),
        });
        Ok(output)
    }

    /// The output of a tag, if the operator has it.
    ///
    /// # Errors
    /// `Program` if it has one of that id and another type.
    pub(crate) fn get<T: 'static>(&self, tag: &OutputTag<T>) -> Result<Option<SideOutput<T>>> {
        let sides = self.sides.borrow();
        let Some(side) = sides.iter().find(|side| side.id == tag.id) else { return Ok(None) };
        match side.output.downcast_ref::<SideOutput<T>>() {
            Some(output) => Ok(Some(output.clone())),
            None => Err(Error::program("a side output of this id has another type: give each its own id")
                .with("side output", &tag.id)
                .with("expected", side.type_name)
                .with("found", std::any::type_name::<T>())),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sides.borrow().is_empty()
    }

    /// How the code of the operator is left when there is much to be sent.
    pub(crate) fn set_way_out(&self, way_out: Rc<dyn Fn()>) {
        *self.gathered.way_out.borrow_mut() = Some(way_out);
    }

    /// Whether anything was emitted that has not been sealed.
    pub(crate) fn has_any(&self) -> bool {
        self.gathered.records.get() > 0
    }

    /// Makes a portion of what was emitted, to be unsealed by every reader once. About how many bytes it has; none if
    /// there is nothing.
    pub(crate) fn seal(&self) -> Option<usize> {
        if self.gathered.records.take() == 0 {
            return None;
        }
        self.sides.borrow().iter().for_each(|side| (side.seal)());
        Some(self.gathered.bytes.take())
    }
}
