//! Value state over a byte store.

use highwater_types::{Key, Result, SerializerRef};

use super::column::StateColumn;
use crate::keyed::{Namespace, StateValue, ValueOps};

pub(super) struct ByteValueState<K, N, V> {
    pub(super) column: StateColumn<K, N>,
    pub(super) serializer: SerializerRef<V>,
}

impl<K: Key, N: Namespace, V: StateValue> ValueOps<V, N> for ByteValueState<K, N, V> {
    fn set_namespace(&self, namespace: N) -> Result<()> {
        self.column.set_namespace(namespace)
    }

    fn get(&self) -> Result<Option<V>> {
        let access = self.column.access()?;
        self.column.read_value(&access.key, &*self.serializer)
    }

    fn with(&self, read: &mut dyn FnMut(Option<&V>)) -> Result<()> {
        let access = self.column.access()?;
        let _same_key = self.column.shared.context.current()?;
        let value = self.column.read_value(&access.key, &*self.serializer)?;
        read(value.as_ref());
        Ok(())
    }

    fn put(&self, value: V) -> Result<()> {
        let mut access = self.column.access()?;
        self.column.put_value(&mut access, &value, &*self.serializer)
    }

    fn modify(&self, initial: &mut dyn FnMut() -> V, change: &mut dyn FnMut(&mut V)) -> Result<()> {
        let mut access = self.column.access()?;
        let _same_key = self.column.shared.context.current()?;
        let mut value = self.column.read_value(&access.key, &*self.serializer)?.unwrap_or_else(initial);
        change(&mut value);
        self.column.put_value(&mut access, &value, &*self.serializer)
    }

    fn clear(&self) -> Result<()> {
        let access = self.column.access()?;
        self.column.delete(&access.key)
    }
}
