//! Operator state as it was restored, before the program registers it.

use std::collections::BTreeMap;

use highwater_checkpoint::{OperatorStateHandle, StateOpener};
use highwater_types::{Error, Result};

use super::FrozenOperatorState;
use super::snapshot::ElementWriter;
use super::stream::{self, Elements};
use crate::canonical::StateMeta;

/// One state of a snapshot, its elements still serialized. It becomes a registered state, or is carried along into the
/// next snapshot as it is.
#[derive(Clone, Debug)]
pub(super) struct RestoredState {
    pub(super) meta: StateMeta,
    /// One for each stream, in the order of the handles.
    pub(super) parts: Vec<Elements>,
}

/// Reads all handles of one subtask.
pub(super) fn restore(
    handles: &[OperatorStateHandle],
    opener: &dyn StateOpener,
) -> Result<BTreeMap<String, RestoredState>> {
    let mut restored = BTreeMap::<String, RestoredState>::new();
    for handle in handles.iter().filter(|handle| !stands_for_nothing(handle)) {
        for (meta, elements) in stream::read(opener, handle)? {
            let name = meta.name().to_owned();
            let state = restored.entry(name).or_insert_with(|| RestoredState { meta: meta.clone(), parts: Vec::new() });
            if state.meta.kind() != meta.kind() || state.meta.value_serializer() != meta.value_serializer() {
                return Err(Error::corrupt("two subtasks of one snapshot describe a state differently")
                    .with("state", meta.name())
                    .with("expected", format_args!("{:?}", state.meta))
                    .with("found", format_args!("{meta:?}")));
            }
            state.parts.push(elements);
        }
    }
    Ok(restored)
}

/// A handle that only keeps directories of merged files alive.
fn stands_for_nothing(handle: &OperatorStateHandle) -> bool {
    handle.states.is_empty()
        && (handle.data.size() == 0 || handle.merged.as_ref().is_some_and(|merged| merged.is_empty))
}

impl FrozenOperatorState for RestoredState {
    fn meta(&self) -> &StateMeta {
        &self.meta
    }

    fn write(&self, out: &mut ElementWriter) -> Result<()> {
        for part in &self.parts {
            let (bytes, starts) = part.raw()?;
            out.elements(bytes, starts)?;
        }
        Ok(())
    }
}
