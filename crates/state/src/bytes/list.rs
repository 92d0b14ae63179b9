//! List state over a byte store: the elements of a list joined by `,`, so that adding one is an append without a read.

use highwater_types::{Key, Result, ResultExt, SerializerRef};

use super::WriteBatch;
use super::column::StateColumn;
use crate::encoding::{LIST_DELIMITER, for_each_element};
use crate::keyed::{ListOps, Namespace, StateValue};

pub(super) struct ByteListState<K, N, T> {
    pub(super) column: StateColumn<K, N>,
    pub(super) element: SerializerRef<T>,
}

impl<K: Key, N: Namespace, T: StateValue> ByteListState<K, N, T> {
    /// The elements, joined.
    fn join(&self, elements: &[T], out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        elements.iter().enumerate().try_for_each(|(position, element)| self.push(element, position == 0, out))
    }

    /// Appends one element, behind a delimiter unless it is the first.
    #[inline]
    fn push(&self, element: &T, first: bool, out: &mut Vec<u8>) -> Result<()> {
        if !first {
            out.push(LIST_DELIMITER);
        }
        self.element.serialize(element, out).with("state", self.column.name())
    }

    /// Copies the list's bytes to `out` and tells whether there is a list. User code runs over the copy: it may use
    /// other states, so the store must not stay borrowed.
    fn copy(&self, key: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        let found = self.column.read(key, |bytes| {
            out.clear();
            out.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(found.is_some())
    }
}

impl<K: Key, N: Namespace, T: StateValue> ListOps<T, N> for ByteListState<K, N, T> {
    fn set_namespace(&self, namespace: N) -> Result<()> {
        self.column.set_namespace(namespace)
    }

    fn get(&self) -> Result<Vec<T>> {
        let access = self.column.access()?;
        let mut elements = Vec::new();
        self.column.read(&access.key, |bytes| {
            for_each_element(bytes, &*self.element, |element| {
                elements.push(element);
                Ok(())
            })
        })?;
        Ok(elements)
    }

    fn for_each(&self, visit: &mut dyn FnMut(&T)) -> Result<()> {
        let mut access = self.column.access()?;
        let _same_key = self.column.shared.context.current()?;
        let access = &mut *access;
        if !self.copy(&access.key, &mut access.value)? {
            return Ok(());
        }
        for_each_element(&access.value, &*self.element, |element| {
            visit(&element);
            Ok(())
        })
        .with("state", self.column.name())
    }

    fn add(&self, element: T) -> Result<()> {
        self.add_all_of(std::slice::from_ref(&element))
    }

    fn add_all(&self, elements: Vec<T>) -> Result<()> {
        self.add_all_of(&elements)
    }

    fn update(&self, elements: Vec<T>) -> Result<()> {
        let mut access = self.column.access()?;
        if elements.is_empty() {
            return self.column.delete(&access.key);
        }
        self.join(&elements, &mut access.value)?;
        self.column.put(&access)
    }

    fn retain(&self, keep: &mut dyn FnMut(&mut T) -> bool) -> Result<()> {
        let mut access = self.column.access()?;
        let _same_key = self.column.shared.context.current()?;
        let access = &mut *access;
        let mut old = Vec::new();
        if !self.copy(&access.key, &mut old)? {
            return Ok(());
        }
        access.value.clear();
        let mut kept = 0_usize;
        for_each_element(&old, &*self.element, |mut element| {
            if keep(&mut element) {
                self.push(&element, kept == 0, &mut access.value)?;
                kept += 1;
            }
            Ok(())
        })
        .with("state", self.column.name())?;
        match kept {
            0 => self.column.delete(&access.key),
            _ if access.value == old => Ok(()),
            _ => self.column.put(access),
        }
    }

    fn clear(&self) -> Result<()> {
        let access = self.column.access()?;
        self.column.delete(&access.key)
    }

    /// The elements stay as they are: the bytes of the sources are joined behind those of the target.
    fn merge_namespaces(&self, target: N, sources: &[N]) -> Result<()> {
        let mut access = self.column.access_namespaces()?;
        let sources = self.column.scopes_of_sources(&target, sources)?;
        let target = self.column.scope_of(&target)?;
        let (mut batch, joined) = (WriteBatch::new(), &mut access.value);
        joined.clear();
        for source in sources {
            self.column.read(&source, |bytes| {
                if !batch.is_empty() {
                    joined.push(LIST_DELIMITER);
                }
                joined.extend_from_slice(bytes);
                batch.delete(self.column.column, &source);
                Ok(())
            })?;
        }
        if batch.is_empty() {
            return Ok(());
        }
        batch.append(self.column.column, &target, joined);
        self.column.write(|store, _| store.write(&batch))
    }
}

impl<K: Key, N: Namespace, T: StateValue> ByteListState<K, N, T> {
    fn add_all_of(&self, elements: &[T]) -> Result<()> {
        let mut access = self.column.access()?;
        if elements.is_empty() {
            return Ok(());
        }
        self.join(elements, &mut access.value)?;
        self.column.check_sizes(&access)?;
        self.column.write(|store, column| store.append(column, &access.key, &access.value))
    }
}
