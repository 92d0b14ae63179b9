//! State descriptors: name, kind and serializers of one state.

use std::fmt::{self, Debug};
use std::sync::Arc;

use highwater_types::{DefaultSerializer, SerializerRef};

macro_rules! descriptor_debug {
    ($name:ident<$($param:ident),*>) => {
        impl<$($param),*> Debug for $name<$($param),*> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("name", &self.name).finish_non_exhaustive()
            }
        }
    };
}

/// One value per key (`ValueStateDescriptor`).
pub struct ValueStateDescriptor<V> {
    pub(crate) name: String,
    pub(crate) serializer: SerializerRef<V>,
}
descriptor_debug!(ValueStateDescriptor<V>);

impl<V> ValueStateDescriptor<V> {
    /// A state of this name with the type's own serializer.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self
    where
        V: DefaultSerializer,
    {
        Self::with_serializer(name, V::default_serializer())
    }

    /// A state of this name with an explicitly chosen serializer.
    #[must_use]
    pub fn with_serializer(name: impl Into<String>, serializer: SerializerRef<V>) -> Self {
        Self { name: name.into(), serializer }
    }
}

/// A list per key (`ListStateDescriptor`); also the descriptor of operator list states.
pub struct ListStateDescriptor<T> {
    pub(crate) name: String,
    pub(crate) element: SerializerRef<T>,
}
descriptor_debug!(ListStateDescriptor<T>);

impl<T> ListStateDescriptor<T> {
    /// A list state of this name with the element type's own serializer.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self
    where
        T: DefaultSerializer,
    {
        Self::with_serializer(name, T::default_serializer())
    }

    /// A list state of this name with an explicitly chosen element serializer.
    #[must_use]
    pub fn with_serializer(name: impl Into<String>, element: SerializerRef<T>) -> Self {
        Self { name: name.into(), element }
    }
}

/// A map per key (`MapStateDescriptor`); also the descriptor of broadcast states.
pub struct MapStateDescriptor<UK, UV> {
    pub(crate) name: String,
    pub(crate) key: SerializerRef<UK>,
    pub(crate) value: SerializerRef<UV>,
}
descriptor_debug!(MapStateDescriptor<UK, UV>);

impl<UK, UV> MapStateDescriptor<UK, UV> {
    /// A map state of this name with the types' own serializers.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self
    where
        UK: DefaultSerializer,
        UV: DefaultSerializer,
    {
        Self::with_serializers(name, UK::default_serializer(), UV::default_serializer())
    }

    /// A map state of this name with explicitly chosen serializers.
    #[must_use]
    pub fn with_serializers(name: impl Into<String>, key: SerializerRef<UK>, value: SerializerRef<UV>) -> Self {
        Self { name: name.into(), key, value }
    }
}

/// Folds a new value into the old one, in place.
pub(crate) type ReduceRef<V> = Arc<dyn Fn(&mut V, V) + Send + Sync>;

/// One value per key into which every added value is folded (`ReducingStateDescriptor`).
pub struct ReducingStateDescriptor<V> {
    pub(crate) name: String,
    pub(crate) serializer: SerializerRef<V>,
    pub(crate) reduce: ReduceRef<V>,
}
descriptor_debug!(ReducingStateDescriptor<V>);

impl<V> ReducingStateDescriptor<V> {
    /// A reducing state of this name. `reduce` folds a new value into the stored one and must be associative.
    #[must_use]
    pub fn new(name: impl Into<String>, reduce: impl Fn(&mut V, V) + Send + Sync + 'static) -> Self
    where
        V: DefaultSerializer,
    {
        Self::with_serializer(name, V::default_serializer(), reduce)
    }

    /// A reducing state with an explicitly chosen serializer.
    #[must_use]
    pub fn with_serializer(
        name: impl Into<String>,
        serializer: SerializerRef<V>,
        reduce: impl Fn(&mut V, V) + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), serializer, reduce: Arc::new(reduce) }
    }
}

/// How an aggregating state turns inputs into a result (`AggregateFunction`).
pub trait AggregateFunction: Send + Sync + 'static {
    /// What is added.
    type Input;
    /// What is stored.
    type Accumulator;
    /// What is read.
    type Output;

    /// An empty accumulator.
    fn create_accumulator(&self) -> Self::Accumulator;
    /// Adds one input.
    fn add(&self, accumulator: &mut Self::Accumulator, input: Self::Input);
    /// The result of what was added so far.
    fn result(&self, accumulator: &Self::Accumulator) -> Self::Output;
    /// Adds everything in `other` to `accumulator`.
    fn merge(&self, accumulator: &mut Self::Accumulator, other: Self::Accumulator);
}

/// One accumulator per key, fed with inputs and read as a result (`AggregatingStateDescriptor`).
pub struct AggregatingStateDescriptor<F: AggregateFunction> {
    pub(crate) name: String,
    pub(crate) accumulator: SerializerRef<F::Accumulator>,
    pub(crate) function: Arc<F>,
}

impl<F: AggregateFunction> Debug for AggregatingStateDescriptor<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregatingStateDescriptor").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<F: AggregateFunction> AggregatingStateDescriptor<F> {
    /// An aggregating state of this name with the accumulator type's own serializer.
    #[must_use]
    pub fn new(name: impl Into<String>, function: F) -> Self
    where
        F::Accumulator: DefaultSerializer,
    {
        Self::with_serializer(name, F::Accumulator::default_serializer(), function)
    }

    /// An aggregating state with an explicitly chosen accumulator serializer.
    #[must_use]
    pub fn with_serializer(name: impl Into<String>, accumulator: SerializerRef<F::Accumulator>, function: F) -> Self {
        Self { name: name.into(), accumulator, function: Arc::new(function) }
    }
}
