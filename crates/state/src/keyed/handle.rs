//! The handles user code holds. Each is one virtual call away from its store; the handle knows neither the key type
//! nor where the bytes are.

use std::fmt;
use std::rc::Rc;

use highwater_types::{Error, Result, VoidNamespace};

/// What a store does for [`ValueState`].
pub(crate) trait ValueOps<V, N> {
    fn set_namespace(&self, namespace: N) -> Result<()>;
    fn get(&self) -> Result<Option<V>>;
    fn with(&self, read: &mut dyn FnMut(Option<&V>)) -> Result<()>;
    fn put(&self, value: V) -> Result<()>;
    fn modify(&self, initial: &mut dyn FnMut() -> V, change: &mut dyn FnMut(&mut V)) -> Result<()>;
    fn clear(&self) -> Result<()>;
}

/// What a store does for [`ListState`].
pub(crate) trait ListOps<T, N> {
    fn set_namespace(&self, namespace: N) -> Result<()>;
    fn get(&self) -> Result<Vec<T>>;
    fn for_each(&self, visit: &mut dyn FnMut(&T)) -> Result<()>;
    fn add(&self, element: T) -> Result<()>;
    fn add_all(&self, elements: Vec<T>) -> Result<()>;
    fn update(&self, elements: Vec<T>) -> Result<()>;
    fn retain(&self, keep: &mut dyn FnMut(&mut T) -> bool) -> Result<()>;
    fn clear(&self) -> Result<()>;
    fn merge_namespaces(&self, target: N, sources: &[N]) -> Result<()>;
}

/// What a store does for [`MapState`].
pub(crate) trait MapOps<UK, UV, N> {
    fn set_namespace(&self, namespace: N) -> Result<()>;
    fn get(&self, key: &UK) -> Result<Option<UV>>;
    fn contains(&self, key: &UK) -> Result<bool>;
    fn put(&self, key: UK, value: UV) -> Result<()>;
    fn put_all(&self, entries: Vec<(UK, UV)>) -> Result<()>;
    fn modify(&self, key: UK, initial: &mut dyn FnMut() -> UV, change: &mut dyn FnMut(&mut UV)) -> Result<()>;
    fn remove(&self, key: &UK) -> Result<()>;
    fn for_each(&self, visit: &mut dyn FnMut(&UK, &UV)) -> Result<()>;
    fn retain(&self, keep: &mut dyn FnMut(&UK, &mut UV) -> bool) -> Result<()>;
    fn is_empty(&self) -> Result<bool>;
    fn clear(&self) -> Result<()>;
}

/// What a store does for [`ReducingState`].
pub(crate) trait ReducingOps<V, N> {
    fn set_namespace(&self, namespace: N) -> Result<()>;
    fn get(&self) -> Result<Option<V>>;
    fn add(&self, value: V) -> Result<()>;
    fn clear(&self) -> Result<()>;
    fn merge_namespaces(&self, target: N, sources: &[N]) -> Result<()>;
}

/// What a store does for [`AggregatingState`].
pub(crate) trait AggregatingOps<In, Out, N> {
    fn set_namespace(&self, namespace: N) -> Result<()>;
    fn get(&self) -> Result<Option<Out>>;
    fn add(&self, input: In) -> Result<()>;
    fn clear(&self) -> Result<()>;
    fn merge_namespaces(&self, target: N, sources: &[N]) -> Result<()>;
}

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident<$($param:ident),*> over $ops:ident) => {
        $(#[$doc])*
        ///
        /// The handle is cheap to clone, belongs to one thread, and works on the backend's current key. Every call
        /// fails with a [`Program`](highwater_types::ErrorKind::Program) error when no key is set.
        pub struct $name<$($param,)* N = VoidNamespace> {
            ops: Rc<dyn $ops<$($param,)* N>>,
        }

        impl<$($param,)* N> $name<$($param,)* N> {
            pub(crate) fn new(ops: Rc<dyn $ops<$($param,)* N>>) -> Self {
                Self { ops }
            }

            /// Scopes the following calls to this namespace (`InternalKvState.setCurrentNamespace`). All clones of
            /// the handle share the setting.
            ///
            /// # Errors
            /// `Program` inside a closure or function that was given to the same state.
            #[inline]
            pub fn set_namespace(&self, namespace: N) -> Result<()> {
                self.ops.set_namespace(namespace)
            }

            /// Removes everything of the current key and namespace.
            #[inline]
            pub fn clear(&self) -> Result<()> {
                self.ops.clear()
            }
        }

        impl<$($param,)* N> Clone for $name<$($param,)* N> {
            fn clone(&self) -> Self {
                Self { ops: Rc::clone(&self.ops) }
            }
        }

        impl<$($param,)* N> fmt::Debug for $name<$($param,)* N> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

handle! {
    /// One value per key (Flink's `ValueState`).
    ValueState<V> over ValueOps
}

impl<V, N> ValueState<V, N> {
    /// A copy of the value, or none if there is none.
    #[inline]
    pub fn value(&self) -> Result<Option<V>> {
        self.ops.get()
    }

    /// Reads the value in place, without copying it where the store allows.
    ///
    /// The closure must not use the same state: that is a [`Program`](highwater_types::ErrorKind::Program) error.
    pub fn with<R>(&self, read: impl FnOnce(Option<&V>) -> R) -> Result<R> {
        let (mut read, mut result) = (Some(read), None);
        self.ops.with(&mut |value| result = read.take().map(|read| read(value)))?;
        result.ok_or_else(not_called)
    }

    /// Sets the value.
    #[inline]
    pub fn update(&self, value: V) -> Result<()> {
        self.ops.put(value)
    }

    /// Changes the value in place, starting from `initial()` if there is none: one access instead of a read and a write.
    ///
    /// The closures must not use the same state: that is a [`Program`](highwater_types::ErrorKind::Program) error.
    #[inline]
    pub fn modify<R>(&self, initial: impl Fn() -> V, change: impl FnOnce(&mut V) -> R) -> Result<R> {
        let (mut change, mut result) = (Some(change), None);
        self.ops.modify(&mut || initial(), &mut |value| result = change.take().map(|change| change(value)))?;
        result.ok_or_else(not_called)
    }
}

handle! {
    /// A list per key (Flink's `ListState`). An empty list and no list are the same.
    ListState<T> over ListOps
}

impl<T, N> ListState<T, N> {
    /// A copy of all elements, in the order they were added.
    pub fn get(&self) -> Result<Vec<T>> {
        self.ops.get()
    }

    /// Visits all elements in order, without copying them where the store allows.
    ///
    /// The closure must not use the same state: that is a [`Program`](highwater_types::ErrorKind::Program) error.
    #[inline]
    pub fn for_each(&self, mut visit: impl FnMut(&T)) -> Result<()> {
        self.ops.for_each(&mut visit)
    }

    /// Appends one element.
    #[inline]
    pub fn add(&self, element: T) -> Result<()> {
        self.ops.add(element)
    }

    /// Appends elements; none at all changes nothing.
    pub fn add_all(&self, elements: Vec<T>) -> Result<()> {
        self.ops.add_all(elements)
    }

    /// Replaces the list; an empty one clears the state.
    pub fn update(&self, elements: Vec<T>) -> Result<()> {
        self.ops.update(elements)
    }

    /// Changes the list in place: visits every element, which may be changed, and keeps those for which `keep` is true.
    ///
    /// The closure must not use the same state: that is a [`Program`](highwater_types::ErrorKind::Program) error.
    pub fn retain(&self, mut keep: impl FnMut(&mut T) -> bool) -> Result<()> {
        self.ops.retain(&mut keep)
    }

    /// Moves the lists of the `sources` namespaces of the current key behind the list of `target`, in order
    /// (`InternalMergingState.mergeNamespaces`).
    pub fn merge_namespaces(&self, target: N, sources: &[N]) -> Result<()> {
        self.ops.merge_namespaces(target, sources)
    }
}

handle! {
    /// A map per key (Flink's `MapState`). Iteration order is that of the store: unspecified on the heap, by serialized
    /// key in a byte store.
    MapState<UK, UV> over MapOps
}

impl<UK, UV, N> MapState<UK, UV, N> {
    /// A copy of the value under `key`.
    #[inline]
    pub fn get(&self, key: &UK) -> Result<Option<UV>> {
        self.ops.get(key)
    }

    /// Whether there is a value under `key`.
    #[inline]
    pub fn contains(&self, key: &UK) -> Result<bool> {
        self.ops.contains(key)
    }

    /// Sets the value under `key`.
    #[inline]
    pub fn put(&self, key: UK, value: UV) -> Result<()> {
        self.ops.put(key, value)
    }

    /// Sets several values.
    pub fn put_all(&self, entries: Vec<(UK, UV)>) -> Result<()> {
        self.ops.put_all(entries)
    }

    /// Changes the value under `key` in place, starting from `initial()` if there is none.
    ///
    /// The closures must not use the same state: that is a [`Program`](highwater_types::ErrorKind::Program) error.
    #[inline]
    pub fn modify<R>(&self, key: UK, initial: impl Fn() -> UV, change: impl FnOnce(&mut UV) -> R) -> Result<R> {
        let (mut change, mut result) = (Some(change), None);
        self.ops.modify(key, &mut || initial(), &mut |value| result = change.take().map(|change| change(value)))?;
        result.ok_or_else(not_called)
    }

    /// Removes the value under `key`, if there is one.
    #[inline]
    pub fn remove(&self, key: &UK) -> Result<()> {
        self.ops.remove(key)
    }

    /// Visits all entries without copying them where the store allows.
    ///
    /// The closure must not use the same state: that is a [`Program`](highwater_types::ErrorKind::Program) error.
    #[inline]
    pub fn for_each(&self, mut visit: impl FnMut(&UK, &UV)) -> Result<()> {
        self.ops.for_each(&mut visit)
    }

    /// Changes the map in place: visits every entry, whose value may be changed, and keeps those for which `keep` is
    /// true.
    ///
    /// The closure must not use the same state: that is a [`Program`](highwater_types::ErrorKind::Program) error.
    pub fn retain(&self, mut keep: impl FnMut(&UK, &mut UV) -> bool) -> Result<()> {
        self.ops.retain(&mut keep)
    }

    /// Copies of all entries.
    pub fn entries(&self) -> Result<Vec<(UK, UV)>>
    where
        UK: Clone,
        UV: Clone,
    {
        let mut entries = Vec::new();
        self.for_each(|key, value| entries.push((key.clone(), value.clone())))?;
        Ok(entries)
    }

    /// Copies of all map keys.
    pub fn keys(&self) -> Result<Vec<UK>>
    where
        UK: Clone,
    {
        let mut keys = Vec::new();
        self.for_each(|key, _| keys.push(key.clone()))?;
        Ok(keys)
    }

    /// Copies of all values.
    pub fn values(&self) -> Result<Vec<UV>>
    where
        UV: Clone,
    {
        let mut values = Vec::new();
        self.for_each(|_, value| values.push(value.clone()))?;
        Ok(values)
    }

    /// Whether the map has no entry.
    pub fn is_empty(&self) -> Result<bool> {
        self.ops.is_empty()
    }
}

handle! {
    /// One value per key into which every added value is folded (Flink's `ReducingState`).
    ReducingState<V> over ReducingOps
}

impl<V, N> ReducingState<V, N> {
    /// A copy of the folded value, or none if nothing was added.
    #[inline]
    pub fn get(&self) -> Result<Option<V>> {
        self.ops.get()
    }

    /// Folds a value in, in place; the first one is stored as it is.
    #[inline]
    pub fn add(&self, value: V) -> Result<()> {
        self.ops.add(value)
    }

    /// Folds the values of the `sources` namespaces of the current key, in order, into that of `target`, which stays
    /// on the left (`InternalMergingState.mergeNamespaces`).
    pub fn merge_namespaces(&self, target: N, sources: &[N]) -> Result<()> {
        self.ops.merge_namespaces(target, sources)
    }
}

handle! {
    /// One accumulator per key, fed with inputs and read as a result (Flink's `AggregatingState`).
    AggregatingState<In, Out> over AggregatingOps
}

impl<In, Out, N> AggregatingState<In, Out, N> {
    /// The result, or none if nothing was added.
    #[inline]
    pub fn get(&self) -> Result<Option<Out>> {
        self.ops.get()
    }

    /// Adds an input to the accumulator, in place.
    #[inline]
    pub fn add(&self, input: In) -> Result<()> {
        self.ops.add(input)
    }

    /// Merges the accumulators of the `sources` namespaces of the current key, in order, into that of `target`, which
    /// stays on the left (`InternalMergingState.mergeNamespaces`).
    pub fn merge_namespaces(&self, target: N, sources: &[N]) -> Result<()> {
        self.ops.merge_namespaces(target, sources)
    }
}

#[cold]
fn not_called() -> Error {
    Error::internal("the store did not call the closure it was given")
}

/// What a nested use of one state comes to, on either kind of store.
#[cold]
pub(crate) fn nested_use(state: &str) -> Error {
    Error::program("a state cannot be used inside a closure that was given to the same state: read or collect first")
        .with("state", state)
}

/// What a use without a namespace comes to, on either kind of store.
#[cold]
pub(crate) fn no_namespace() -> Error {
    Error::program("no namespace is set: call `set_namespace` before using the state")
}
