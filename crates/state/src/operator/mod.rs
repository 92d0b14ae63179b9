//! Operator state: what a subtask remembers whatever the key, always in memory. Lists are split or united when the
//! parallelism changes, broadcast state is copied.

mod backend;
mod broadcast;
mod list;
mod restore;
mod snapshot;
mod stream;

pub use backend::{OperatorStateBackend, OperatorStateBackendBuilder};
pub use broadcast::{BroadcastState, ReadOnlyBroadcastState};
pub use list::OperatorListState;
pub use snapshot::OperatorSnapshot;

use highwater_types::Error;

use crate::canonical::StateMeta;

/// What the backend does with a state that the program registered.
trait RegisteredState {
    /// A deep copy for a snapshot.
    fn freeze(&self) -> highwater_types::Result<Box<dyn FrozenOperatorState>>;
}

/// A state as it was when it was frozen.
trait FrozenOperatorState: Send {
    fn meta(&self) -> &StateMeta;

    /// Writes the elements; each has its own place in the stream.
    fn write(&self, out: &mut snapshot::ElementWriter) -> highwater_types::Result<()>;
}

#[cold]
fn in_use(state: &StateMeta) -> Error {
    Error::program("an operator state cannot be changed while it is being read").with("state", state.name())
}
