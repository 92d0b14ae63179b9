//! How values are held in table entries, so that copying a segment never copies what a value owns.

use std::sync::Arc;

/// A value in a table entry. Cloning the cell is cheap.
pub(super) trait ValueCell<V>: Clone + Send + Sync + 'static {
    fn new(value: V) -> Self;
    fn get(&self) -> &V;
    /// The value for changing it in place; copied first if a frozen view holds it too.
    fn get_mut(&mut self) -> &mut V;
    fn set(&mut self, value: V);
}

/// A value without heap memory of its own, held as it is.
#[derive(Clone)]
pub(super) struct Inline<V>(V);

impl<V: Clone + Send + Sync + 'static> ValueCell<V> for Inline<V> {
    #[inline]
    fn new(value: V) -> Self {
        Self(value)
    }

    #[inline]
    fn get(&self) -> &V {
        &self.0
    }

    #[inline]
    fn get_mut(&mut self) -> &mut V {
        &mut self.0
    }

    #[inline]
    fn set(&mut self, value: V) {
        self.0 = value;
    }
}

/// A value that owns heap memory, shared with frozen views until it is written.
pub(super) struct Shared<V>(Arc<V>);

impl<V> Clone for Shared<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V: Clone + Send + Sync + 'static> ValueCell<V> for Shared<V> {
    fn new(value: V) -> Self {
        Self(Arc::new(value))
    }

    fn get(&self) -> &V {
        &self.0
    }

    fn get_mut(&mut self) -> &mut V {
        Arc::make_mut(&mut self.0)
    }

    fn set(&mut self, value: V) {
        match Arc::get_mut(&mut self.0) {
            Some(old) => *old = value,
            None => self.0 = Arc::new(value),
        }
    }
}
