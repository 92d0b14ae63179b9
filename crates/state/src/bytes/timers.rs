//! A queue of timers over a byte store: one column, in which the entries of a key group lie in the order of their time.

use std::cell::{RefCell, RefMut};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::rc::Rc;

use highwater_types::{Error, Key, KeyGroup, Result, ResultExt};

use super::ColumnId;
use super::column::Shared;
use crate::encoding::{TimerFormat, push_key_group, time_of};
use crate::keyed::{Namespace, nested_use};
use crate::timers::{Heads, Timer, TimerQueue};

/// So many timers of a key group are held in memory, as in Flink (`state.backend.rocksdb.timer-service.cache-size`).
const CACHED: usize = 128;

pub(super) struct ByteTimers<K, N> {
    shared: Rc<Shared<K>>,
    column: ColumnId,
    name: String,
    format: TimerFormat<K, N>,
    cache: RefCell<Cache>,
}

struct Cache {
    groups: Vec<Earliest>,
    heads: Heads,
}

/// The earliest timers of a key group, as they are in the store. Not one that is only there is earlier.
#[derive(Default)]
struct Earliest {
    entries: BTreeSet<Vec<u8>>,
    /// Whether the store has more. If so, there is at least one here.
    has_more: bool,
}

impl<K: Key, N: Namespace> ByteTimers<K, N> {
    /// A queue in a column that may have timers already.
    pub(super) fn open(shared: Rc<Shared<K>>, column: ColumnId, name: &str, format: TimerFormat<K, N>) -> Result<Self> {
        let range = shared.context.range();
        let groups = range.iter().map(|_| Earliest::default()).collect();
        let cache = RefCell::new(Cache { groups, heads: Heads::new(range.count()) });
        let queue = Self { shared, column, name: name.to_owned(), format, cache };
        {
            let mut cache = queue.cache()?;
            for (index, group) in range.iter().enumerate() {
                let mut prefix = Vec::new();
                push_key_group(queue.prefix_bytes(), group, &mut prefix);
                let earliest = queue.fetch(&prefix, &[])?;
                queue.settle(&mut cache, index, earliest);
            }
        }
        Ok(queue)
    }

    fn prefix_bytes(&self) -> usize {
        self.shared.prefix_bytes()
    }

    fn cache(&self) -> Result<RefMut<'_, Cache>> {
        self.cache.try_borrow_mut().map_err(|_| nested_use(&self.name))
    }

    /// Key group and bytes of a timer of the current key.
    fn entry(&self, timestamp: i64, namespace: &N) -> Result<(usize, Vec<u8>)> {
        let current = self.shared.context.current()?;
        let mut entry = Vec::with_capacity(32);
        push_key_group(self.prefix_bytes(), current.group, &mut entry);
        self.format.push(timestamp, &current.key, namespace, &mut entry).with("state", &self.name)?;
        Ok((self.index(current.group), entry))
    }

    fn index(&self, group: KeyGroup) -> usize {
        usize::from(group - self.shared.context.range().start())
    }

    /// The earliest timers of a key group that are not before `from`.
    fn fetch(&self, prefix: &[u8], from: &[u8]) -> Result<Earliest> {
        let mut earliest = Earliest::default();
        let store = self.shared.store.try_borrow().map_err(|_| nested_use(&self.name))?;
        store
            .scan(self.column, prefix, from, &mut |entry, _| {
                earliest.has_more = earliest.entries.len() == CACHED;
                if earliest.has_more {
                    return Ok(ControlFlow::Break(()));
                }
                earliest.entries.insert(entry.to_vec());
                Ok(ControlFlow::Continue(()))
            })
            .with("state", &self.name)?;
        Ok(earliest)
    }

    /// Takes an entry out of the cache; if the store has more, the next ones come in behind it.
    fn forget(&self, cache: &mut Cache, index: usize, entry: &[u8]) -> Result<()> {
        let group = cache.groups.get_mut(index).ok_or_else(no_group)?;
        if !group.entries.remove(entry) {
            return Ok(());
        }
        if group.entries.is_empty() && group.has_more {
            // Not from the beginning of the key group, where the deleted ones lie until the store has tidied up.
            let mut behind = entry.to_vec();
            behind.push(0);
            *group = self.fetch(entry.get(..self.prefix_bytes()).unwrap_or_default(), &behind)?;
        }
        let head = self.head(group);
        cache.heads.set(index, head);
        Ok(())
    }

    fn settle(&self, cache: &mut Cache, index: usize, earliest: Earliest) {
        cache.heads.set(index, self.head(&earliest));
        if let Some(group) = cache.groups.get_mut(index) {
            *group = earliest;
        }
    }

    fn head(&self, group: &Earliest) -> Option<i64> {
        group.entries.first().and_then(|entry| time_of(entry, self.prefix_bytes()))
    }

    fn delete(&self, entry: &[u8]) -> Result<()> {
        let mut store = self.shared.store.try_borrow_mut().map_err(|_| nested_use(&self.name))?;
        store.delete(self.column, entry).with("state", &self.name)
    }
}

impl<K: Key, N: Namespace> TimerQueue<K, N> for ByteTimers<K, N> {
    fn add(&self, timestamp: i64, namespace: &N) -> Result<()> {
        let (index, entry) = self.entry(timestamp, namespace)?;
        let mut cache = self.cache()?;
        let Cache { groups, heads } = &mut *cache;
        let group = groups.get_mut(index).ok_or_else(no_group)?;
        if group.entries.contains(&entry) {
            return Ok(());
        }
        {
            let mut store = self.shared.store.try_borrow_mut().map_err(|_| nested_use(&self.name))?;
            store.put(self.column, &entry, &[]).with("state", &self.name)?;
        }
        if group.has_more && group.entries.last().is_some_and(|last| entry > *last) {
            return Ok(());
        }
        group.entries.insert(entry);
        if group.entries.len() > CACHED {
            group.entries.pop_last();
            group.has_more = true;
        }
        heads.set(index, self.head(group));
        Ok(())
    }

    fn remove(&self, timestamp: i64, namespace: &N) -> Result<()> {
        let (index, entry) = self.entry(timestamp, namespace)?;
        self.delete(&entry)?;
        self.forget(&mut *self.cache()?, index, &entry)
    }

    fn next(&self) -> Result<Option<i64>> {
        Ok(self.cache()?.heads.earliest().map(|(_, time)| time))
    }

    fn pop(&self, until: i64) -> Result<Option<Timer<K, N>>> {
        let mut cache = self.cache()?;
        let Some((index, _)) = cache.heads.earliest().filter(|(_, time)| *time <= until) else { return Ok(None) };
        let first = cache.groups.get(index).and_then(|group| group.entries.first()).cloned();
        let entry = first.ok_or_else(no_group)?;
        let timer = self.format.read(&entry, self.prefix_bytes()).with("state", &self.name)?;
        let group = self.shared.context.range().start() + index as KeyGroup;
        self.shared.context.check_group(&timer.key, group).with("state", &self.name)?;
        self.delete(&entry)?;
        self.forget(&mut cache, index, &entry)?;
        Ok(Some(timer))
    }

    fn count(&self) -> Result<usize> {
        let mut count = 0;
        let store = self.shared.store.try_borrow().map_err(|_| nested_use(&self.name))?;
        store
            .scan(self.column, &[], &[], &mut |_, _| {
                count += 1;
                Ok(ControlFlow::Continue(()))
            })
            .with("state", &self.name)?;
        Ok(count)
    }
}

#[cold]
fn no_group() -> Error {
    Error::internal("a timer of a key group without timers")
}
