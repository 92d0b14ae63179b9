//! What a window remembers of its records: the state `window-contents`, as Flink's window operators have it.

use highwater_state::{
    AggregateFunction, AggregatingState, AggregatingStateDescriptor, KeyedBackend, ListState, ListStateDescriptor,
    ReducingState, ReducingStateDescriptor, StateValue,
};
use highwater_types::{DefaultSerializer, Key, Result, StreamRecord};

use super::Window;
use super::evictor::Evictor;

/// The contents of the window that is looked at.
pub(crate) trait Contents<T, W>: 'static {
    /// What its function is given.
    type Out;

    fn set_window(&mut self, window: &W) -> Result<()>;
    fn add(&mut self, record: T, timestamp: i64) -> Result<()>;
    /// None if there are none.
    fn get(&mut self, window: &W) -> Result<Option<Self::Out>>;
    /// The function has run with what was got.
    fn emitted(&mut self, window: &W) -> Result<()> {
        let _ = window;
        Ok(())
    }
    fn clear(&mut self) -> Result<()>;
    /// Puts the contents of other windows behind those of `target`.
    fn merge(&mut self, target: &W, sources: &[W]) -> Result<()>;
}

const CONTENTS: &str = "window-contents";

/// All records.
pub(crate) struct Listed<T, W>(ListState<T, W>);

impl<T: StateValue + DefaultSerializer, W: Window> Listed<T, W> {
    pub(crate) fn open<K: Key>(backend: &KeyedBackend<K>) -> Result<Self> {
        backend.list_state_in(W::default_serializer(), &ListStateDescriptor::new(CONTENTS)).map(Self)
    }
}

impl<T: StateValue, W: Window> Contents<T, W> for Listed<T, W> {
    type Out = Vec<T>;

    fn set_window(&mut self, window: &W) -> Result<()> {
        self.0.set_namespace(window.clone())
    }

    fn add(&mut self, record: T, _: i64) -> Result<()> {
        self.0.add(record)
    }

    fn get(&mut self, _: &W) -> Result<Option<Vec<T>>> {
        self.0.get().map(|records| Some(records).filter(|records| !records.is_empty()))
    }

    fn clear(&mut self) -> Result<()> {
        self.0.clear()
    }

    fn merge(&mut self, target: &W, sources: &[W]) -> Result<()> {
        self.0.merge_namespaces(target.clone(), sources)
    }
}

/// The records folded into one.
pub(crate) struct Reduced<T, W>(ReducingState<T, W>);

impl<T: StateValue + DefaultSerializer, W: Window> Reduced<T, W> {
    pub(crate) fn open<K: Key>(
        backend: &KeyedBackend<K>,
        reduce: impl Fn(&mut T, T) + Send + Sync + 'static,
    ) -> Result<Self> {
        backend.reducing_state_in(W::default_serializer(), &ReducingStateDescriptor::new(CONTENTS, reduce)).map(Self)
    }
}

impl<T: StateValue, W: Window> Contents<T, W> for Reduced<T, W> {
    type Out = T;

    fn set_window(&mut self, window: &W) -> Result<()> {
        self.0.set_namespace(window.clone())
    }

    fn add(&mut self, record: T, _: i64) -> Result<()> {
        self.0.add(record)
    }

    fn get(&mut self, _: &W) -> Result<Option<T>> {
        self.0.get()
    }

    fn clear(&mut self) -> Result<()> {
        self.0.clear()
    }

    fn merge(&mut self, target: &W, sources: &[W]) -> Result<()> {
        self.0.merge_namespaces(target.clone(), sources)
    }
}

/// The records in an accumulator.
pub(crate) struct Aggregated<T, R, W>(AggregatingState<T, R, W>);

impl<T: 'static, R: 'static, W: Window> Aggregated<T, R, W> {
    pub(crate) fn open<K, A>(backend: &KeyedBackend<K>, aggregate: A) -> Result<Self>
    where
        K: Key,
        A: AggregateFunction<Input = T, Output = R, Accumulator: StateValue + DefaultSerializer>,
    {
        let descriptor = AggregatingStateDescriptor::new(CONTENTS, aggregate);
        backend.aggregating_state_in(W::default_serializer(), &descriptor).map(Self)
    }
}

impl<T: 'static, R: 'static, W: Window> Contents<T, W> for Aggregated<T, R, W> {
    type Out = R;

    fn set_window(&mut self, window: &W) -> Result<()> {
        self.0.set_namespace(window.clone())
    }

    fn add(&mut self, record: T, _: i64) -> Result<()> {
        self.0.add(record)
    }

    fn get(&mut self, _: &W) -> Result<Option<R>> {
        self.0.get()
    }

    fn clear(&mut self) -> Result<()> {
        self.0.clear()
    }

    fn merge(&mut self, target: &W, sources: &[W]) -> Result<()> {
        self.0.merge_namespaces(target.clone(), sources)
    }
}

/// All records with their timestamps, of which an evictor takes some out.
pub(crate) struct Evicted<T, W, R> {
    records: ListState<StreamRecord<T>, W>,
    evictor: Box<dyn Evictor<T, W>>,
    /// What the function is given of them.
    fold: Box<dyn FnMut(Vec<T>) -> R>,
    /// What was left before the function ran.
    left: Vec<StreamRecord<T>>,
}

impl<T: StateValue + DefaultSerializer, W: Window, R> Evicted<T, W, R> {
    pub(crate) fn open<K: Key>(
        backend: &KeyedBackend<K>,
        evictor: Box<dyn Evictor<T, W>>,
        fold: impl FnMut(Vec<T>) -> R + 'static,
    ) -> Result<Self> {
        let records = backend.list_state_in(W::default_serializer(), &ListStateDescriptor::new(CONTENTS))?;
        Ok(Self { records, evictor, fold: Box::new(fold), left: Vec::new() })
    }
}

impl<T: StateValue, W: Window, R: 'static> Contents<T, W> for Evicted<T, W, R> {
    type Out = R;

    fn set_window(&mut self, window: &W) -> Result<()> {
        self.records.set_namespace(window.clone())
    }

    fn add(&mut self, value: T, timestamp: i64) -> Result<()> {
        let timestamp = (timestamp > i64::MIN).then_some(timestamp);
        self.records.add(StreamRecord { value, timestamp })
    }

    fn get(&mut self, window: &W) -> Result<Option<R>> {
        self.left = self.records.get()?;
        if self.left.is_empty() {
            return Ok(None);
        }
        self.evictor.evict_before(&mut self.left, window);
        let values = self.left.iter().map(|record| record.value.clone()).collect();
        Ok(Some((self.fold)(values)))
    }

    fn emitted(&mut self, window: &W) -> Result<()> {
        let mut left = std::mem::take(&mut self.left);
        self.evictor.evict_after(&mut left, window);
        self.records.update(left)
    }

    fn clear(&mut self) -> Result<()> {
        self.records.clear()
    }

    fn merge(&mut self, target: &W, sources: &[W]) -> Result<()> {
        self.records.merge_namespaces(target.clone(), sources)
    }
}
