//! A queue of timers on the heap.

use std::any::Any;
use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;
use highwater_types::{Error, Key, KeyGroup, KeyGroupRange, Result, ResultExt};
use indexmap::IndexSet;

use super::AnyState;
use crate::canonical::{CanonicalWriter, RunEntries};
use crate::encoding::TimerFormat;
use crate::keyed::{FrozenState, KeyContext, Namespace, nested_use};
use crate::timers::{Heads, Timer, TimerQueue};

/// The timers of one key group by time. Frozen views share it: the first change afterwards copies it, a set of timers of
/// one time only when it is itself changed.
type Group<K, N> = BTreeMap<i64, Moment<K, N>>;

/// The timers of one time: a single one, as of most functions, or all that end with a window.
#[derive(Clone)]
enum Moment<K, N> {
    One(K, N),
    Many(Arc<IndexSet<(K, N), RandomState>>),
}

pub(super) struct HeapTimers<K, N> {
    context: Rc<KeyContext<K>>,
    name: String,
    format: TimerFormat<K, N>,
    queue: RefCell<Queue<K, N>>,
}

struct Queue<K, N> {
    groups: Vec<Arc<Group<K, N>>>,
    heads: Heads,
}

impl<K: Key, N: Namespace> HeapTimers<K, N> {
    pub(super) fn new(context: Rc<KeyContext<K>>, name: &str, format: TimerFormat<K, N>) -> Self {
        let groups: Vec<_> = context.range().iter().map(|_| Arc::default()).collect();
        let heads = Heads::new(groups.len());
        Self { context, name: name.to_owned(), format, queue: RefCell::new(Queue { groups, heads }) }
    }

    fn queue(&self) -> Result<RefMut<'_, Queue<K, N>>> {
        self.queue.try_borrow_mut().map_err(|_| nested_use(&self.name))
    }

    fn index(&self, group: KeyGroup) -> usize {
        usize::from(group - self.context.range().start())
    }
}

impl<K: Key, N: Namespace> TimerQueue<K, N> for HeapTimers<K, N> {
    fn add(&self, timestamp: i64, namespace: &N) -> Result<()> {
        let current = self.context.current()?;
        self.queue()?.add(self.index(current.group), timestamp, &current.key, namespace)
    }

    fn remove(&self, timestamp: i64, namespace: &N) -> Result<()> {
        let current = self.context.current()?;
        let index = self.index(current.group);
        let mut queue = self.queue()?;
        let Queue { groups, heads } = &mut *queue;
        let group = groups.get_mut(index).ok_or_else(no_group)?;
        if group.get(&timestamp).is_some_and(|moment| moment.contains(&current.key, namespace)) {
            let group = Arc::make_mut(group);
            if group.get_mut(&timestamp).is_some_and(|moment| moment.remove(&current.key, namespace)) {
                group.remove(&timestamp);
                heads.set(index, earliest(group));
            }
        }
        Ok(())
    }

    fn next(&self) -> Result<Option<i64>> {
        Ok(self.queue()?.heads.earliest().map(|(_, time)| time))
    }

    fn pop(&self, until: i64) -> Result<Option<Timer<K, N>>> {
        let mut queue = self.queue()?;
        let Queue { groups, heads } = &mut *queue;
        let Some((index, timestamp)) = heads.earliest().filter(|(_, time)| *time <= until) else { return Ok(None) };
        let group = Arc::make_mut(groups.get_mut(index).ok_or_else(no_group)?);
        let timer = |(key, namespace)| Timer { timestamp, key, namespace };
        // All but the last of one time stay where they are.
        if let Some(Moment::Many(timers)) = group.get_mut(&timestamp)
            && timers.len() > 1
        {
            return Ok(Arc::make_mut(timers).pop().map(timer));
        }
        let last = group.pop_first().and_then(|(_, moment)| moment.into_last());
        heads.set(index, earliest(group));
        Ok(last.map(timer))
    }

    fn count(&self) -> Result<usize> {
        Ok(self.queue()?.groups.iter().flat_map(|group| group.values()).map(Moment::len).sum())
    }
}

impl<K: Key, N: Namespace> Queue<K, N> {
    fn add(&mut self, index: usize, timestamp: i64, key: &K, namespace: &N) -> Result<()> {
        let group = self.groups.get_mut(index).ok_or_else(no_group)?;
        let is_first = group.first_key_value().is_none_or(|(first, _)| timestamp < *first);
        match group.get(&timestamp) {
            Some(moment) if moment.contains(key, namespace) => return Ok(()),
            _ => {}
        }
        match Arc::make_mut(group).entry(timestamp) {
            Entry::Vacant(entry) => {
                entry.insert(Moment::One(key.clone(), namespace.clone()));
            }
            Entry::Occupied(mut entry) => entry.get_mut().add(key, namespace),
        }
        if is_first {
            self.heads.set(index, Some(timestamp));
        }
        Ok(())
    }
}

impl<K: Key, N: Namespace> Moment<K, N> {
    fn contains(&self, key: &K, namespace: &N) -> bool {
        match self {
            Self::One(of, within) => of == key && within == namespace,
            Self::Many(timers) => timers.contains(&Borrowed(key, namespace)),
        }
    }

    /// Adds a timer that is not there.
    fn add(&mut self, key: &K, namespace: &N) {
        match self {
            Self::One(of, within) => {
                let first = (of.clone(), within.clone());
                *self = Self::Many(Arc::new([first, (key.clone(), namespace.clone())].into_iter().collect()));
            }
            Self::Many(timers) => {
                Arc::make_mut(timers).insert((key.clone(), namespace.clone()));
            }
        }
    }

    /// Removes a timer that is there. Whether none is left.
    fn remove(&mut self, key: &K, namespace: &N) -> bool {
        match self {
            Self::One(..) => true,
            Self::Many(timers) => {
                let timers = Arc::make_mut(timers);
                timers.swap_remove(&Borrowed(key, namespace));
                timers.is_empty()
            }
        }
    }

    fn into_last(self) -> Option<(K, N)> {
        match self {
            Self::One(key, namespace) => Some((key, namespace)),
            Self::Many(timers) => Arc::unwrap_or_clone(timers).pop(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::One(..) => 1,
            Self::Many(timers) => timers.len(),
        }
    }

    fn for_each(&self, mut visit: impl FnMut(&K, &N) -> Result<()>) -> Result<()> {
        match self {
            Self::One(key, namespace) => visit(key, namespace),
            Self::Many(timers) => timers.iter().try_for_each(|(key, namespace)| visit(key, namespace)),
        }
    }
}

/// Looks a pair up without copying it. Hashes as the pair does.
#[derive(Hash)]
struct Borrowed<'a, K, N>(&'a K, &'a N);

impl<K: Eq, N: Eq> indexmap::Equivalent<(K, N)> for Borrowed<'_, K, N> {
    fn equivalent(&self, (key, namespace): &(K, N)) -> bool {
        self.0 == key && self.1 == namespace
    }
}

fn earliest<K, N>(group: &Group<K, N>) -> Option<i64> {
    group.first_key_value().map(|(time, _)| *time)
}

#[cold]
fn no_group() -> Error {
    Error::internal("the current key belongs to a key group without timers")
}

impl<K: Key, N: Namespace> AnyState<K> for HeapTimers<K, N> {
    fn prefetch(&self, _: KeyGroup, _: u64) {}

    fn freeze(&self) -> Result<Box<dyn FrozenState>> {
        let groups = self.queue()?.groups.clone();
        let (range, format) = (self.context.range(), self.format.clone());
        Ok(Box::new(FrozenTimers { range, groups, format, name: self.name.clone() }))
    }

    fn load(&self, group: KeyGroup, entries: &RunEntries) -> Result<()> {
        let mut queue = self.queue()?;
        let prefix_bytes = self.context.max_parallelism().prefix_bytes();
        for (entry, _) in entries.iter() {
            let timer = self.format.read(entry, prefix_bytes)?;
            self.context.check_group(&timer.key, group)?;
            queue.add(self.index(group), timer.timestamp, &timer.key, &timer.namespace)?;
        }
        Ok(())
    }

    fn entry_count(&self) -> Result<usize> {
        self.count()
    }

    /// Timers are not listed by namespace.
    fn keys(&self, _: &dyn Any) -> Result<Vec<K>> {
        Ok(Vec::new())
    }
}

/// The timers as they were when they were frozen.
struct FrozenTimers<K, N> {
    range: KeyGroupRange,
    name: String,
    groups: Vec<Arc<Group<K, N>>>,
    format: TimerFormat<K, N>,
}

impl<K: Key, N: Namespace> FrozenState for FrozenTimers<K, N> {
    fn write_key_group(&mut self, group: KeyGroup, state_id: u16, out: &mut CanonicalWriter) -> Result<()> {
        let index = usize::from(group - self.range.start());
        let timers = self.groups.get_mut(index).map(std::mem::take).ok_or_else(no_group)?;
        for (timestamp, moment) in &*timers {
            moment
                .for_each(|key, namespace| {
                    out.entry(state_id, |bytes| self.format.push(*timestamp, key, namespace, bytes), |_| Ok(()))
                })
                .with("state", &self.name)?;
        }
        Ok(())
    }
}
