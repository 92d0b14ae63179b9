//! Who gets what when a job is restored with another parallelism.

use std::collections::{BTreeMap, btree_map};

use highwater_checkpoint::{DistributionMode, KeyedStateHandle, OperatorStateHandle, StatePartitions};
use highwater_types::{Error, KeyGroupRange, Result};

/// Distributes the operator state of one operator over `new_parallelism` subtasks (Flink's
/// `RoundRobinOperatorStateRepartitioner`). `old` holds the handles of every subtask of the snapshot, in order, also of
/// those that had none. The result holds the handles of every new subtask.
///
/// * Lists that are split stay where they were if the parallelism is unchanged. Otherwise all elements, in the order of
///   the old subtasks, are dealt out in runs of equal length; the first subtasks get one more where they do not divide
///   evenly, and for the next state (by name) "the first" begins behind them.
/// * Union lists: everyone gets all elements of all old subtasks, in their order, also if the parallelism is unchanged.
/// * Broadcast state: everyone gets one copy, in turn those of the old subtasks.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use highwater_checkpoint::{DistributionMode, OperatorStateHandle, StatePartitions, StreamHandle};
/// use highwater_state::redistribute_operator_state;
///
/// let subtask = |file: &str, offsets: &[u64]| {
///     let list = StatePartitions { mode: DistributionMode::SplitDistribute, offsets: offsets.to_vec() };
///     let data = StreamHandle::RelativeFile { path: file.into(), size: 1000 };
///     vec![OperatorStateHandle::new(BTreeMap::from([("list".into(), list)]), data)]
/// };
/// let old = [subtask("a", &[100, 101, 102]), subtask("b", &[100, 101])];
/// let new = redistribute_operator_state(&old, 3)?;
/// assert_eq!(new[0], subtask("a", &[100, 101]));
/// assert_eq!(new[1], [subtask("a", &[102]), subtask("b", &[100])].concat());
/// assert_eq!(new[2], subtask("b", &[101]));
/// # Ok::<(), highwater_types::Error>(())
/// ```
///
/// # Errors
/// `Configuration` for a parallelism of 0, `Corrupt` if the subtasks disagree on how a state is to be spread.
pub fn redistribute_operator_state(
    old: &[Vec<OperatorStateHandle>],
    new_parallelism: u32,
) -> Result<Vec<Vec<OperatorStateHandle>>> {
    if new_parallelism == 0 {
        return Err(Error::configuration("the parallelism of an operator is at least 1").with("found", 0));
    }
    let parallelism = new_parallelism as usize;
    let modes = modes(old)?;
    let mut shares = Shares::new(old, parallelism);
    if parallelism == old.len() {
        shares.keep(|name| modes.get(name) != Some(&DistributionMode::Union));
    }
    let mut first = 0;
    for (name, mode) in modes {
        match mode {
            DistributionMode::Union => shares.unite(name),
            _ if parallelism == old.len() => {}
            DistributionMode::SplitDistribute => first = shares.split(name, first),
            DistributionMode::Broadcast => shares.copy(name),
        }
    }
    Ok(shares.into_handles())
}

/// The handles a subtask with the key groups of `range` has to restore from: those that hold any of them, in the order
/// of `handles`, whole (as Flink hands over incremental handles). The subtask reads no other key groups of them than its
/// own.
///
/// ```
/// use highwater_checkpoint::{KeyGroupsFormat, KeyGroupsHandle, KeyedStateHandle, StreamHandle};
/// use highwater_state::redistribute_keyed_state;
/// use highwater_types::KeyGroupRange;
///
/// let handle = |start, end| {
///     let range = KeyGroupRange::new(start, end)?;
///     let data = StreamHandle::RelativeFile { path: "a".into(), size: 1000 };
///     let offsets = vec![0; range.count()];
///     Ok(KeyedStateHandle::KeyGroups(KeyGroupsHandle { format: KeyGroupsFormat::Canonical, range, offsets, data }))
/// };
/// let (low, high) = (handle(0, 63)?, handle(64, 127)?);
/// let of = |start, end| Ok(redistribute_keyed_state(&[low.clone(), high.clone()], KeyGroupRange::new(start, end)?));
/// assert_eq!(of(0, 42)?, [low.clone()]);
/// assert_eq!(of(43, 85)?, [low.clone(), high.clone()]);
/// assert_eq!(of(86, 127)?, [high.clone()]);
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[must_use]
pub fn redistribute_keyed_state(handles: &[KeyedStateHandle], range: KeyGroupRange) -> Vec<KeyedStateHandle> {
    handles.iter().filter(|handle| handle.range().intersection(range).is_some()).cloned().collect()
}

/// How each state is spread, by name.
fn modes(old: &[Vec<OperatorStateHandle>]) -> Result<BTreeMap<&str, DistributionMode>> {
    let mut modes = BTreeMap::new();
    for (name, partitions) in old.iter().flatten().flat_map(|handle| &handle.states) {
        match modes.entry(name.as_str()) {
            btree_map::Entry::Vacant(entry) => {
                entry.insert(partitions.mode);
            }
            btree_map::Entry::Occupied(entry) if *entry.get() == partitions.mode => {}
            btree_map::Entry::Occupied(entry) => {
                return Err(Error::corrupt("the subtasks of a snapshot disagree on how a state is spread")
                    .with("state", name)
                    .with("expected", format_args!("{:?}", entry.get()))
                    .with("found", format_args!("{:?}", partitions.mode)));
            }
        }
    }
    Ok(modes)
}

/// What each new subtask gets of each old handle.
struct Shares<'a> {
    /// All old handles in order, with the index of their subtask.
    handles: Vec<(usize, &'a OperatorStateHandle)>,
    /// For each new subtask, by index of the handle, by state.
    new: Vec<BTreeMap<usize, BTreeMap<String, StatePartitions>>>,
}

impl<'a> Shares<'a> {
    fn new(old: &'a [Vec<OperatorStateHandle>], parallelism: usize) -> Self {
        let handles = old.iter().enumerate().flat_map(|(subtask, handles)| handles.iter().map(move |h| (subtask, h)));
        Self { handles: handles.collect(), new: vec![BTreeMap::new(); parallelism] }
    }

    /// Leaves the states of these names where they were.
    fn keep(&mut self, stays: impl Fn(&str) -> bool) {
        for (index, &(subtask, handle)) in self.handles.iter().enumerate() {
            let staying = handle.states.iter().filter(|(name, _)| stays(name));
            let states: BTreeMap<_, _> = staying.map(|(name, partitions)| (name.clone(), partitions.clone())).collect();
            if let Some(share) = self.new.get_mut(subtask).filter(|_| !states.is_empty() || handle.states.is_empty()) {
                share.insert(index, states);
            }
        }
    }

    /// Gives every new subtask all elements.
    fn unite(&mut self, name: &str) {
        for (index, partitions) in holders(&self.handles, name) {
            for share in &mut self.new {
                share.entry(index).or_default().insert(name.to_owned(), partitions.clone());
            }
        }
    }

    /// Gives every new subtask the copy of one old subtask, in turn.
    fn copy(&mut self, name: &str) {
        let copies: Vec<_> = holders(&self.handles, name).collect();
        for (share, (index, partitions)) in self.new.iter_mut().zip(copies.iter().cycle()) {
            share.entry(*index).or_default().insert(name.to_owned(), (*partitions).clone());
        }
    }

    /// Deals out the elements, beginning with the new subtask `first`. Returns the first subtask that got no extra one.
    fn split(&mut self, name: &str, first: usize) -> usize {
        let parallelism = self.new.len();
        let elements = holders(&self.handles, name)
            .flat_map(|(index, partitions)| partitions.offsets.iter().map(move |offset| (index, *offset)));
        let mut elements: std::collections::VecDeque<_> = elements.collect();
        let (each, extra) = (elements.len() / parallelism, elements.len() % parallelism);
        for turn in 0..parallelism {
            let count = each + usize::from(turn < extra);
            let Some(share) = self.new.get_mut((first + turn) % parallelism) else { continue };
            for (index, offset) in elements.drain(..count) {
                let partitions = share.entry(index).or_default().entry(name.to_owned());
                let mode = DistributionMode::SplitDistribute;
                partitions.or_insert_with(|| StatePartitions { mode, offsets: Vec::new() }).offsets.push(offset);
            }
        }
        (first + extra) % parallelism
    }

    fn into_handles(self) -> Vec<Vec<OperatorStateHandle>> {
        let handle = |(index, states): (usize, BTreeMap<_, _>)| {
            let (_, old) = self.handles.get(index)?;
            Some(OperatorStateHandle { states, data: old.data.clone(), merged: old.merged.clone() })
        };
        self.new.into_iter().map(|share| share.into_iter().filter_map(handle).collect()).collect()
    }
}

/// The handles that have a state, by index, and what they have of it.
fn holders<'a, 'b>(
    handles: &'b [(usize, &'a OperatorStateHandle)],
    name: &'b str,
) -> impl Iterator<Item = (usize, &'a StatePartitions)> + 'b {
    let holds = move |(index, (_, handle)): (usize, &(usize, &'a OperatorStateHandle))| {
        handle.states.get(name).map(|partitions| (index, partitions))
    };
    handles.iter().enumerate().filter_map(holds)
}
