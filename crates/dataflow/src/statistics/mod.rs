//! What an operator of a job wants to know about it: its checkpoints, its operators, and all that as metrics.

mod checkpoint;
mod history;
mod operators;
mod reporter;
mod summary;

pub use checkpoint::{CheckpointFailure, CheckpointRecord, CheckpointStatus, SubtaskStatistics};
pub use history::{CheckpointCounts, CheckpointHistory, RestoredCheckpoint};
pub use operators::OperatorProgress;
pub use summary::Summary;

pub(crate) use operators::{Meter, Operators};
pub(crate) use reporter::Reporter;

use highwater_backends::CheckpointSettings;
use highwater_checkpoint::JobId;
use highwater_types::OperatorId;

/// What a job is, as it is executed now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobDescription {
    /// Its identity.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Subtasks of every operator.
    pub parallelism: u32,
    /// Unique id and identity of every operator that takes part in checkpoints, in the order they were added.
    pub operators: Vec<(String, OperatorId)>,
    /// How its checkpoints are taken.
    pub checkpointing: CheckpointSettings,
    /// Name of the state backend.
    pub state_backend: String,
    /// Whether this process coordinates the job. Of a job in several processes only process 0 knows of checkpoints; each
    /// knows of its own operator subtasks.
    pub is_coordinated_here: bool,
}
