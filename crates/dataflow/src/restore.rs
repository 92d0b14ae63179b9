//! From a snapshot to the operators of a job: whose state is whose, and which subtask gets which part.

use std::collections::BTreeMap;

use highwater_checkpoint::{
    CheckpointMetadata, KeyedStateHandle, OperatorState, OperatorStateHandle, SnapshotOpener, StateOpener,
    StreamHandle, SubtaskState,
};
use highwater_state::{redistribute_keyed_state, redistribute_operator_state};
use highwater_types::{Error, KeyGroupRange, MaxParallelism, OperatorId, Result};

use crate::graph::{OperatorKind, OperatorPlan};
use crate::runtime::enumerators::unseal;

/// A snapshot being restored, on one worker.
pub(crate) struct Restored {
    /// Id of the checkpoint.
    pub(crate) checkpoint: u64,
    /// Whether it is the job's own: later checkpoints may share its files.
    pub(crate) is_own: bool,
    metadata: CheckpointMetadata,
    opener: SnapshotOpener,
}

impl Restored {
    pub(crate) fn new(metadata: CheckpointMetadata, opener: SnapshotOpener, is_own: bool) -> Self {
        Self { checkpoint: metadata.checkpoint_id, is_own, metadata, opener }
    }

    pub(crate) fn opener(&self) -> &dyn StateOpener {
        &self.opener
    }

    /// The number of key groups an operator had; none if the snapshot does not know it.
    pub(crate) fn max_parallelism(&self, id: OperatorId) -> Option<MaxParallelism> {
        self.metadata.operator(id).map(|operator| operator.max_parallelism)
    }

    /// Handles with keyed state of these key groups.
    pub(crate) fn keyed_state(&self, id: OperatorId, range: KeyGroupRange) -> Vec<KeyedStateHandle> {
        let states = self.metadata.operator(id).into_iter().flat_map(OperatorState::subtask_states);
        let handles: Vec<_> = states.filter_map(|(_, state)| state.managed_keyed.clone()).collect();
        redistribute_keyed_state(&handles, range)
    }

    /// Handles with the operator state of one of `workers` subtasks.
    pub(crate) fn operator_state(&self, id: OperatorId, worker: u32, workers: u32) -> Result<Vec<OperatorStateHandle>> {
        let Some(operator) = self.metadata.operator(id) else { return Ok(Vec::new()) };
        let of_subtask = |index| operator.subtask(index).and_then(|state| state.managed_operator.clone());
        let old: Vec<_> = (0..operator.parallelism).map(|index| of_subtask(index).into_iter().collect()).collect();
        let mut shares = redistribute_operator_state(&old, workers)?;
        Ok(if (worker as usize) < shares.len() { shares.swap_remove(worker as usize) } else { Vec::new() })
    }
}

/// Checks a snapshot against the operators of the job before anything starts.
///
/// # Errors
/// `Incompatible` for state that no operator claims, unless it is ignored; `Unsupported` for state that only Flink can
/// use.
pub(crate) fn check_snapshot(
    metadata: &CheckpointMetadata,
    plan: &[OperatorPlan],
    ignore_unclaimed: bool,
) -> Result<()> {
    for operator in &metadata.operators {
        match plan.iter().find(|claims| claims.id == operator.id) {
            Some(claims) => check_kinds(operator, claims.kind).map_err(|error| error.with("operator", &claims.uid))?,
            None if !operator.has_state() => {}
            None if ignore_unclaimed => {
                tracing::warn!(operator = %operator.id, "state of the snapshot is left behind: no operator claims it");
            }
            None => return Err(unclaimed(operator, plan)),
        }
    }
    Ok(())
}

fn unclaimed(operator: &OperatorState, plan: &[OperatorPlan]) -> Error {
    let known = plan.iter().map(|operator| format!("'{}'", operator.uid)).collect::<Vec<_>>().join(", ");
    Error::incompatible(
        "Cannot map checkpoint/savepoint state for an operator to the program: no operator has the uid it belongs to. \
         Give the operator its old uid, or set execution.state-recovery.ignore-unclaimed-state to leave the state behind",
    )
    .with("id", operator.id)
    .with("uid", operator.uid.as_deref().unwrap_or("not recorded"))
    .with("state size", operator.state_size())
    .with("uids of the program", known)
}

fn check_kinds(operator: &OperatorState, kind: OperatorKind) -> Result<()> {
    let is_ours = kind == OperatorKind::Source && enumerator_state(operator).is_some_and(|state| unseal(state).is_ok());
    let foreign = if operator.fully_finished {
        Some("the operator had finished in Flink, its state is gone")
    } else if operator.coordinator.is_some() && !is_ours {
        Some("it holds the state of an operator coordinator")
    } else if operator.subtask_states().any(|(_, state)| state.raw_keyed.is_some() || state.raw_operator.is_some()) {
        Some("it holds raw state")
    } else if operator.subtask_states().any(|(_, s)| !(s.input_channels.is_empty() && s.output_channels.is_empty())) {
        Some("it holds in-flight records of an unaligned checkpoint")
    } else {
        None
    };
    match foreign {
        Some(what) => {
            let way_out = way_out(operator);
            Err(Error::unsupported(format!("only Flink can restore this snapshot: {what}. {way_out}")))
        }
        // Without the state of its enumerator a source would read everything again.
        None if kind == OperatorKind::Source && operator.has_state() && !is_ours => Err(Error::incompatible(
            "the snapshot does not say what the source has read: it was not taken by a source of this version. Give the \
             source another uid to begin at its beginning",
        )),
        None => Ok(()),
    }
}

/// What to do about state that only Flink can use.
fn way_out(operator: &OperatorState) -> &'static str {
    let has = |of: fn(&SubtaskState) -> bool| operator.subtask_states().any(|(_, state)| of(state));
    if operator.fully_finished || operator.coordinator.is_some() {
        "Give the operator another uid, so that it starts anew; \
         execution.state-recovery.ignore-unclaimed-state leaves what it had behind"
    } else if has(|state| state.raw_keyed.is_some()) {
        "Take a canonical savepoint in Flink (flink savepoint --type canonical): it holds the timers of a RocksDB job as \
         managed state. Raw state that a function writes itself must become managed state first"
    } else if has(|state| state.raw_operator.is_some()) {
        "Let the function write managed operator state (a list state) in Flink, and take a savepoint of that"
    } else {
        "Take a savepoint in Flink, or a checkpoint with execution.checkpointing.unaligned.enabled: false"
    }
}

fn enumerator_state(operator: &OperatorState) -> Option<&[u8]> {
    match &operator.coordinator {
        Some(StreamHandle::Inline { bytes, .. }) => Some(bytes),
        _ => None,
    }
}

/// Takes the state of the enumerators, which the workers do not need, out of a snapshot.
pub(crate) fn take_enumerator_states(metadata: &mut CheckpointMetadata) -> BTreeMap<OperatorId, Vec<u8>> {
    let states = metadata.operators.iter_mut().filter_map(|operator| {
        let state = enumerator_state(operator).map(<[u8]>::to_vec);
        operator.coordinator = None;
        Some((operator.id, state?))
    });
    states.collect()
}

/// The number of key groups of an operator: fixed by its snapshot, else as configured, else derived from the
/// parallelism.
///
/// # Errors
/// `Incompatible` if the snapshot and the configuration differ, `Configuration` if there are more subtasks than groups.
pub(crate) fn choose_max_parallelism(
    configured: Option<MaxParallelism>,
    snapshot: Option<MaxParallelism>,
    parallelism: u32,
) -> Result<MaxParallelism> {
    let chosen = match (configured, snapshot) {
        (Some(configured), Some(snapshot)) if configured != snapshot => {
            return Err(Error::incompatible(
                "the number of key groups is fixed by the snapshot: remove pipeline.max-parallelism or set it to the \
                 snapshot's",
            )
            .with("expected", snapshot)
            .with("found", configured));
        }
        (_, Some(snapshot)) => snapshot,
        (Some(configured), None) => configured,
        (None, None) => MaxParallelism::default_for(parallelism)?,
    };
    chosen.range_of(0, parallelism)?;
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn max(groups: u32) -> Option<MaxParallelism> {
        Some(MaxParallelism::new(groups).unwrap())
    }

    #[test]
    fn the_snapshot_fixes_the_number_of_key_groups() {
        assert_eq!(choose_max_parallelism(None, None, 3).unwrap().get(), 128);
        assert_eq!(choose_max_parallelism(max(60), None, 3).unwrap().get(), 60);
        assert_eq!(choose_max_parallelism(None, max(60), 3).unwrap().get(), 60);
        let error = choose_max_parallelism(max(64), max(60), 3).unwrap_err();
        assert_eq!((error.value("expected"), error.value("found")), (Some("60"), Some("64")));
        assert!(choose_max_parallelism(None, max(2), 3).is_err());
    }

    #[test]
    fn the_state_of_a_coordinator_belongs_to_a_source_of_ours() {
        let check = |kind, coordinator: Option<&[u8]>, has_splits| {
            let id = OperatorId::from_uid("a");
            let mut operator = OperatorState::new(id, 1, MaxParallelism::new(128).unwrap());
            let inline = |bytes: &[u8]| StreamHandle::Inline { name: "state".to_owned(), bytes: bytes.into() };
            operator.coordinator = coordinator.map(inline);
            if has_splits {
                let managed_operator = Some(OperatorStateHandle::new(BTreeMap::new(), inline(b"splits")));
                operator.subtasks.insert(0, SubtaskState { managed_operator, ..SubtaskState::default() }.into());
            }
            let mut metadata = CheckpointMetadata::new(1);
            metadata.operators.push(operator);
            let plan = OperatorPlan { uid: "a".into(), id, kind, enumerator: None };
            check_snapshot(&metadata, &[plan], false).map(|()| take_enumerator_states(&mut metadata))
        };
        let states = check(OperatorKind::Source, Some(b"HWE1seen"), true).unwrap();
        assert_eq!(states.into_values().collect::<Vec<_>>(), [b"HWE1seen"]);
        assert!(check(OperatorKind::Source, None, false).unwrap().is_empty(), "it had no state");
        for (kind, coordinator, has_splits, word) in [
            (OperatorKind::Source, Some(&b"\0\0\0\x01"[..]), false, "only Flink"),
            (OperatorKind::Source, None, true, "what the source has read"),
            (OperatorKind::Keyed, Some(&b"HWE1seen"[..]), false, "only Flink"),
            (OperatorKind::Sink { exactly_once: true }, Some(&b"HWE1seen"[..]), false, "only Flink"),
        ] {
            let error = check(kind, coordinator, has_splits).unwrap_err();
            assert!(error.message().contains(word), "{error}");
            assert_eq!(error.value("operator"), Some("a"));
        }
    }
}
