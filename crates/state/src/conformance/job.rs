//! A job with state of every kind, and the plain model it is compared with.

use std::collections::BTreeMap;

use highwater_checkpoint::KeyedStateHandle;
use highwater_types::{DefaultSerializer, Result, TimeWindow, VoidNamespace};

use super::Subject;
use super::folding::Mean;
use super::subject::{Place, take};
use crate::{
    AggregatingState, AggregatingStateDescriptor, KeyedBackend, ListState, ListStateDescriptor, MapState,
    MapStateDescriptor, ReducingState, ReducingStateDescriptor, ValueState, ValueStateDescriptor,
};

/// The namespaces of the states that have some.
pub(super) const WINDOWS: [TimeWindow; 4] = [
    TimeWindow { start: -1, end: 0 },
    TimeWindow { start: 0, end: 1 },
    TimeWindow { start: 1, end: 0x2c2c },
    TimeWindow { start: i64::MIN, end: i64::MAX },
];
/// Namespaces of variable size.
pub(super) const NAMES: [&str; 4] = ["", "a", "aa", "\u{1}"];

/// A backend with eight states.
pub(super) struct Job {
    pub(super) backend: KeyedBackend<String>,
    value: ValueState<i64>,
    list: ListState<String>,
    map: MapState<String, Option<i64>>,
    sum: ReducingState<i64>,
    mean: AggregatingState<i64, i64>,
    windows: ListState<i64, TimeWindow>,
    names: MapState<i64, String, String>,
    chains: ReducingState<String, TimeWindow>,
}

/// What a job holds for each key that has anything.
pub(super) type Model = BTreeMap<String, Content>;

/// What a job holds for one key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Content {
    value: Option<i64>,
    list: Vec<String>,
    map: BTreeMap<String, Option<i64>>,
    sum: Option<i64>,
    mean: Vec<i64>,
    windows: [Vec<i64>; 4],
    names: [BTreeMap<i64, String>; 4],
    chains: [Option<String>; 4],
}

/// One change to the state of one key. Windows and names go by number.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Update(i64),
    Modify(i64),
    ClearValue,
    Add(String),
    AddAll(Vec<String>),
    Replace(Vec<String>),
    /// Marks elements, and drops those with this remainder of their length by three.
    Retain(usize),
    ClearList,
    Put(String, Option<i64>),
    PutAll(Vec<(String, Option<i64>)>),
    ModifyEntry(String, i64),
    Remove(String),
    /// Adds one to values, and drops those that are null.
    RetainEntries,
    ClearMap,
    Reduce(i64),
    ClearSum,
    Aggregate(i64),
    ClearMean,
    AddToWindow(usize, i64),
    ClearWindow(usize),
    MergeWindows(usize, Vec<usize>),
    PutName(usize, i64, String),
    ClearName(usize),
    Chain(usize, String),
    MergeChains(usize, Vec<usize>),
    /// Everything of the key.
    ClearAll,
}

impl Job {
    pub(super) fn open(subject: &Subject, place: Place, handles: &[KeyedStateHandle]) -> Result<Self> {
        let backend = subject.backend::<String>(place, handles)?;
        let windows = TimeWindow::default_serializer;
        Ok(Self {
            value: backend.value_state(&ValueStateDescriptor::new("value"))?,
            list: backend.list_state(&ListStateDescriptor::new("list"))?,
            map: backend.map_state(&MapStateDescriptor::new("map"))?,
            sum: backend.reducing_state(&ReducingStateDescriptor::new("sum", |sum: &mut i64, new| {
                *sum = sum.wrapping_add(new)
            }))?,
            mean: backend.aggregating_state(&AggregatingStateDescriptor::new("mean", Mean))?,
            windows: backend.list_state_in(windows(), &ListStateDescriptor::new("windows"))?,
            names: backend.map_state_in(String::default_serializer(), &MapStateDescriptor::new("names"))?,
            chains: backend.reducing_state_in(
                windows(),
                &ReducingStateDescriptor::new("chains", |left: &mut String, right: String| left.push_str(&right)),
            )?,
            backend,
        })
    }

    /// Both parts of a snapshot.
    pub(super) fn take(&self) -> Result<Vec<KeyedStateHandle>> {
        take(&self.backend)
    }

    pub(super) fn apply(&self, key: &str, action: &Action) -> Result<()> {
        self.backend.set_current_key(key.to_owned())?;
        match action.clone() {
            Action::Update(value) => self.value.update(value),
            Action::Modify(by) => self.value.modify(|| 1, |value| *value = value.wrapping_add(by)),
            Action::ClearValue => self.value.clear(),
            Action::Add(element) => self.list.add(element),
            Action::AddAll(elements) => self.list.add_all(elements),
            Action::Replace(elements) => self.list.update(elements),
            Action::Retain(remainder) => self.list.retain(|element| mark(element, remainder)),
            Action::ClearList => self.list.clear(),
            Action::Put(key, value) => self.map.put(key, value),
            Action::PutAll(entries) => self.map.put_all(entries),
            Action::ModifyEntry(key, by) => {
                self.map.modify(key, || Some(1), |value| *value = value.map(|value| value.wrapping_add(by)))
            }
            Action::Remove(key) => self.map.remove(&key),
            Action::RetainEntries => self.map.retain(|_, value| increment(value)),
            Action::ClearMap => self.map.clear(),
            Action::Reduce(value) => self.sum.add(value),
            Action::ClearSum => self.sum.clear(),
            Action::Aggregate(value) => self.mean.add(value),
            Action::ClearMean => self.mean.clear(),
            Action::AddToWindow(window, element) => {
                self.windows.set_namespace(pick(&WINDOWS, window))?;
                self.windows.add(element)
            }
            Action::ClearWindow(window) => {
                self.windows.set_namespace(pick(&WINDOWS, window))?;
                self.windows.clear()
            }
            Action::MergeWindows(target, sources) => {
                let sources: Vec<_> = sources.into_iter().map(|source| pick(&WINDOWS, source)).collect();
                self.windows.merge_namespaces(pick(&WINDOWS, target), &sources)
            }
            Action::PutName(name, key, value) => {
                self.names.set_namespace(pick(&NAMES, name).to_owned())?;
                self.names.put(key, value)
            }
            Action::ClearName(name) => {
                self.names.set_namespace(pick(&NAMES, name).to_owned())?;
                self.names.clear()
            }
            Action::Chain(window, value) => {
                self.chains.set_namespace(pick(&WINDOWS, window))?;
                self.chains.add(value)
            }
            Action::MergeChains(target, sources) => {
                let sources: Vec<_> = sources.into_iter().map(|source| pick(&WINDOWS, source)).collect();
                self.chains.merge_namespaces(pick(&WINDOWS, target), &sources)
            }
            Action::ClearAll => self.clear_all(),
        }
    }

    fn clear_all(&self) -> Result<()> {
        self.value.clear()?;
        self.list.clear()?;
        self.map.clear()?;
        self.sum.clear()?;
        self.mean.clear()?;
        for window in WINDOWS {
            self.windows.set_namespace(window)?;
            self.windows.clear()?;
            self.chains.set_namespace(window)?;
            self.chains.clear()?;
        }
        for name in NAMES {
            self.names.set_namespace(name.to_owned())?;
            self.names.clear()?;
        }
        Ok(())
    }

    /// Everything the job holds for one key.
    pub(super) fn content(&self, key: &str) -> Result<Observed> {
        self.backend.set_current_key(key.to_owned())?;
        let mut windows = [const { Vec::new() }; 4];
        let mut chains = [const { None }; 4];
        for ((window, list), chain) in WINDOWS.into_iter().zip(&mut windows).zip(&mut chains) {
            self.windows.set_namespace(window)?;
            *list = self.windows.get()?;
            self.chains.set_namespace(window)?;
            *chain = self.chains.get()?;
        }
        let mut names = [const { BTreeMap::new() }; 4];
        for (name, map) in NAMES.into_iter().zip(&mut names) {
            self.names.set_namespace(name.to_owned())?;
            *map = self.names.entries()?.into_iter().collect();
        }
        Ok(Observed {
            content: Content {
                value: self.value.value()?,
                list: self.list.get()?,
                map: self.map.entries()?.into_iter().collect(),
                sum: self.sum.get()?,
                mean: Vec::new(),
                windows,
                names,
                chains,
            },
            mean: self.mean.get()?,
        })
    }

    /// Every key that has anything.
    pub(super) fn keys(&self) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        for state in ["value", "list", "map", "sum", "mean"] {
            keys.extend(self.backend.keys(state, &VoidNamespace)?);
        }
        for window in WINDOWS {
            keys.extend(self.backend.keys("windows", &window)?);
            keys.extend(self.backend.keys("chains", &window)?);
        }
        for name in NAMES {
            keys.extend(self.backend.keys("names", &name.to_owned())?);
        }
        keys.sort();
        keys.dedup();
        Ok(keys)
    }

    /// Compares everything with the model: keys, contents, counts.
    pub(super) fn assert_is(&self, model: &Model, what: &str) -> Result<()> {
        assert!(self.keys()?.iter().eq(model.keys()), "{what}: keys {:?}, expected {:?}", self.keys()?, model.keys());
        for (key, expected) in model {
            assert_eq!(self.content(key)?, expected.observed(), "{what}: key {key:?}");
        }
        for (state, expected) in counts(model) {
            assert_eq!(self.backend.entry_count(state)?, expected, "{what}: entries of {state}");
        }
        Ok(())
    }
}

/// A content as it can be read: the inputs of the mean are known to the model alone.
#[derive(Debug, PartialEq)]
pub(super) struct Observed {
    content: Content,
    mean: Option<i64>,
}

impl Content {
    pub(super) fn observed(&self) -> Observed {
        let sum = self.mean.iter().fold(0_i64, |sum, value| sum.wrapping_add(*value));
        Observed { content: Self { mean: Vec::new(), ..self.clone() }, mean: sum.checked_div(self.mean.len() as i64) }
    }

    pub(super) fn list(&self) -> &[String] {
        &self.list
    }

    fn apply(&mut self, action: &Action) {
        match action.clone() {
            Action::Update(value) => self.value = Some(value),
            Action::Modify(by) => self.value = Some(self.value.unwrap_or(1).wrapping_add(by)),
            Action::ClearValue => self.value = None,
            Action::Add(element) => self.list.push(element),
            Action::AddAll(elements) => self.list.extend(elements),
            Action::Replace(elements) => self.list = elements,
            Action::Retain(remainder) => self.list.retain_mut(|element| mark(element, remainder)),
            Action::ClearList => self.list.clear(),
            Action::Put(key, value) => drop(self.map.insert(key, value)),
            Action::PutAll(entries) => self.map.extend(entries),
            Action::ModifyEntry(key, by) => {
                let value = self.map.entry(key).or_insert(Some(1));
                *value = value.map(|value| value.wrapping_add(by));
            }
            Action::Remove(key) => drop(self.map.remove(&key)),
            Action::RetainEntries => self.map.retain(|_, value| increment(value)),
            Action::ClearMap => self.map.clear(),
            Action::Reduce(value) => self.sum = Some(self.sum.map_or(value, |sum| sum.wrapping_add(value))),
            Action::ClearSum => self.sum = None,
            Action::Aggregate(value) => self.mean.push(value),
            Action::ClearMean => self.mean.clear(),
            Action::AddToWindow(window, element) => at(&mut self.windows, window).push(element),
            Action::ClearWindow(window) => at(&mut self.windows, window).clear(),
            Action::MergeWindows(target, sources) => {
                let merged: Vec<_> =
                    others(target, sources).flat_map(|source| std::mem::take(at(&mut self.windows, source))).collect();
                at(&mut self.windows, target).extend(merged);
            }
            Action::PutName(name, key, value) => drop(at(&mut self.names, name).insert(key, value)),
            Action::ClearName(name) => at(&mut self.names, name).clear(),
            Action::Chain(window, value) => at(&mut self.chains, window).get_or_insert_default().push_str(&value),
            Action::MergeChains(target, sources) => {
                let merged: Vec<_> =
                    others(target, sources).filter_map(|source| at(&mut self.chains, source).take()).collect();
                if !merged.is_empty() {
                    at(&mut self.chains, target).get_or_insert_default().push_str(&merged.concat());
                }
            }
            Action::ClearAll => *self = Self::default(),
        }
    }
}

/// Applies an action to a model, which forgets keys that have nothing.
pub(super) fn apply(model: &mut Model, key: &str, action: &Action) {
    let content = model.entry(key.to_owned()).or_default();
    content.apply(action);
    if *content == Content::default() {
        model.remove(key);
    }
}

fn counts(model: &Model) -> [(&'static str, usize); 8] {
    let count = |of: &dyn Fn(&Content) -> usize| model.values().map(of).sum();
    [
        ("value", count(&|content| usize::from(content.value.is_some()))),
        ("list", count(&|content| usize::from(!content.list.is_empty()))),
        ("map", count(&|content| usize::from(!content.map.is_empty()))),
        ("sum", count(&|content| usize::from(content.sum.is_some()))),
        ("mean", count(&|content| usize::from(!content.mean.is_empty()))),
        ("windows", count(&|content| content.windows.iter().filter(|list| !list.is_empty()).count())),
        ("names", count(&|content| content.names.iter().filter(|map| !map.is_empty()).count())),
        ("chains", count(&|content| content.chains.iter().flatten().count())),
    ]
}

/// The target of a merge is none of its sources.
fn others(target: usize, sources: Vec<usize>) -> impl Iterator<Item = usize> {
    sources.into_iter().filter(move |source| *source != target)
}

fn mark(element: &mut String, remainder: usize) -> bool {
    element.push('.');
    element.len() % 3 != remainder
}

fn increment(value: &mut Option<i64>) -> bool {
    *value = value.map(|value| value.wrapping_add(1));
    value.is_some()
}

#[expect(clippy::indexing_slicing, reason = "the remainder is an index")]
fn pick<T: Copy>(of: &[T; 4], index: usize) -> T {
    of[index % 4]
}

#[expect(clippy::indexing_slicing, reason = "the remainder is an index")]
fn at<T>(of: &mut [T; 4], index: usize) -> &mut T {
    &mut of[index % 4]
}
