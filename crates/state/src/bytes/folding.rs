//! Reducing and aggregating state over a byte store: both fold what is added into one stored value.

use std::sync::Arc;

use highwater_types::{Key, Result, ResultExt, SerializerRef};

use super::WriteBatch;
use super::column::{Access, StateColumn};
use crate::descriptor::{AggregateFunction, ReduceRef};
use crate::keyed::{AggregatingOps, Namespace, ReducingOps, StateValue};

/// How values are folded into an accumulator.
pub(super) trait Fold {
    type Accumulator: StateValue;
    type Input;

    /// The accumulator of the first input.
    fn first(&self, input: Self::Input) -> Self::Accumulator;
    fn add(&self, accumulator: &mut Self::Accumulator, input: Self::Input);
    fn merge(&self, accumulator: &mut Self::Accumulator, other: Self::Accumulator);
}

/// The first value is stored as it is.
pub(super) struct Reduce<V>(pub(super) ReduceRef<V>);

impl<V: StateValue> Fold for Reduce<V> {
    type Accumulator = V;
    type Input = V;

    fn first(&self, input: V) -> V {
        input
    }

    fn add(&self, accumulator: &mut V, input: V) {
        (self.0)(accumulator, input);
    }

    fn merge(&self, accumulator: &mut V, other: V) {
        (self.0)(accumulator, other);
    }
}

/// The accumulator is created when the first input comes.
pub(super) struct Aggregate<F>(pub(super) Arc<F>);

impl<F: AggregateFunction<Accumulator: StateValue>> Fold for Aggregate<F> {
    type Accumulator = F::Accumulator;
    type Input = F::Input;

    fn first(&self, input: F::Input) -> F::Accumulator {
        let mut accumulator = self.0.create_accumulator();
        self.0.add(&mut accumulator, input);
        accumulator
    }

    fn add(&self, accumulator: &mut F::Accumulator, input: F::Input) {
        self.0.add(accumulator, input);
    }

    fn merge(&self, accumulator: &mut F::Accumulator, other: F::Accumulator) {
        self.0.merge(accumulator, other);
    }
}

pub(super) struct ByteFoldingState<K, N, F: Fold> {
    pub(super) column: StateColumn<K, N>,
    pub(super) serializer: SerializerRef<F::Accumulator>,
    pub(super) fold: F,
}

impl<K: Key, N: Namespace, F: Fold> ByteFoldingState<K, N, F> {
    fn read(&self, key: &[u8]) -> Result<Option<F::Accumulator>> {
        self.column.read_value(key, &*self.serializer)
    }

    fn accumulator(&self) -> Result<Option<F::Accumulator>> {
        let access = self.column.access()?;
        self.read(&access.key)
    }

    fn add(&self, input: F::Input) -> Result<()> {
        let mut access = self.column.access()?;
        let _same_key = self.column.shared.context.current()?;
        let accumulator = match self.read(&access.key)? {
            Some(mut accumulator) => {
                self.fold.add(&mut accumulator, input);
                accumulator
            }
            None => self.fold.first(input),
        };
        self.column.put_value(&mut access, &accumulator, &*self.serializer)
    }

    fn clear(&self) -> Result<()> {
        let access = self.column.access()?;
        self.column.delete(&access.key)
    }

    /// Nothing is written before everything is folded, so that a failing function leaves the state as it was.
    fn merge_namespaces(&self, target: &N, sources: &[N]) -> Result<()> {
        let mut access = self.column.access_namespaces()?;
        let _same_key = self.column.shared.context.current()?;
        let sources = self.column.scopes_of_sources(target, sources)?;
        let target = self.column.scope_of(target)?;
        let (mut batch, mut merged) = (WriteBatch::new(), None);
        for source in sources {
            if let Some(accumulator) = self.read(&source)? {
                batch.delete(self.column.column, &source);
                merged = Some(self.merge(merged, accumulator));
            }
        }
        let Some(merged) = merged else { return Ok(()) };
        let merged = self.merge(self.read(&target)?, merged);
        let Access { value, .. } = &mut *access;
        value.clear();
        self.serializer.serialize(&merged, value).with("state", self.column.name())?;
        batch.put(self.column.column, &target, value);
        self.column.write(|store, _| store.write(&batch))
    }

    fn merge(&self, left: Option<F::Accumulator>, right: F::Accumulator) -> F::Accumulator {
        match left {
            Some(mut left) => {
                self.fold.merge(&mut left, right);
                left
            }
            None => right,
        }
    }
}

impl<K: Key, N: Namespace, V: StateValue> ReducingOps<V, N> for ByteFoldingState<K, N, Reduce<V>> {
    fn set_namespace(&self, namespace: N) -> Result<()> {
        self.column.set_namespace(namespace)
    }

    fn get(&self) -> Result<Option<V>> {
        self.accumulator()
    }

    fn add(&self, value: V) -> Result<()> {
        Self::add(self, value)
    }

    fn clear(&self) -> Result<()> {
        Self::clear(self)
    }

    fn merge_namespaces(&self, target: N, sources: &[N]) -> Result<()> {
        Self::merge_namespaces(self, &target, sources)
    }
}

impl<K, N, F> AggregatingOps<F::Input, F::Output, N> for ByteFoldingState<K, N, Aggregate<F>>
where
    K: Key,
    N: Namespace,
    F: AggregateFunction<Accumulator: StateValue>,
{
    fn set_namespace(&self, namespace: N) -> Result<()> {
        self.column.set_namespace(namespace)
    }

    fn get(&self) -> Result<Option<F::Output>> {
        Ok(self.accumulator()?.map(|accumulator| self.fold.0.result(&accumulator)))
    }

    fn add(&self, input: F::Input) -> Result<()> {
        Self::add(self, input)
    }

    fn clear(&self) -> Result<()> {
        Self::clear(self)
    }

    fn merge_namespaces(&self, target: N, sources: &[N]) -> Result<()> {
        Self::merge_namespaces(self, &target, sources)
    }
}
