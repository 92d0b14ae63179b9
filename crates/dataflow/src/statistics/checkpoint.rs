//! One checkpoint, as it is remembered.

use std::time::{Duration, Instant, SystemTime};

/// How far a checkpoint has come (Flink's `CheckpointStatsStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointStatus {
    /// Not all subtasks have acknowledged, or the metadata is not yet durable.
    InProgress,
    /// It can be restored.
    Completed,
    /// It was given up.
    Failed,
}

/// One checkpoint: where its time went, what it wrote, and who was last (Flink's `AbstractCheckpointStats`).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CheckpointRecord {
    /// Number of the checkpoint.
    pub id: u64,
    /// How far it has come.
    pub status: CheckpointStatus,
    /// Whether it is a savepoint.
    pub is_savepoint: bool,
    /// When it began.
    pub triggered: SystemTime,
    /// From its beginning to the last acknowledgement so far.
    pub duration: Duration,
    /// From the last acknowledgement to the durable metadata; zero unless it is complete.
    pub metadata_duration: Duration,
    /// Size of all state in bytes, files that it shares with earlier checkpoints included. Of a checkpoint that is not
    /// complete, what has been acknowledged.
    pub state_size: u64,
    /// Bytes of state that were written for this checkpoint alone.
    pub checkpointed_size: u64,
    /// How many subtasks take part: those of all operators that have a uid.
    pub subtasks: u32,
    /// Those that have acknowledged, by operator and number.
    pub acknowledged: Vec<SubtaskStatistics>,
    /// Text by which it is restored; none unless it is complete.
    pub pointer: Option<String>,
    /// Whether newer checkpoints have replaced it: the job has deleted it, unless somebody points to it.
    pub is_discarded: bool,
    /// When it was given up and why.
    pub failure: Option<CheckpointFailure>,
    /// When it began, by the clock that never goes back.
    pub(super) began: Instant,
}

/// When and why a checkpoint was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointFailure {
    /// When.
    pub time: SystemTime,
    /// Why, for the user.
    pub reason: String,
}

/// What one subtask of one operator did for a checkpoint (Flink's `SubtaskStateStats`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubtaskStatistics {
    /// Unique id of the operator.
    pub operator: String,
    /// Number of the subtask, from 0.
    pub subtask: u32,
    /// From the beginning of the checkpoint to the acknowledgement, which a worker sends for all its operators.
    pub acknowledged_after: Duration,
    /// From the order to take it to the barrier at the operator's input.
    pub alignment: Duration,
    /// How long the operator stood still to freeze its state.
    pub sync: Duration,
    /// From there until the state was written, in the background.
    pub asynchronous: Duration,
    /// Size of the subtask's state in bytes.
    pub state_size: u64,
    /// Bytes of it that were written for this checkpoint.
    pub checkpointed_size: u64,
}

impl SubtaskStatistics {
    /// From the beginning of the checkpoint until the subtask heard of it, and what lies between its state being written
    /// and the acknowledgement: what no other phase explains.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.acknowledged_after.saturating_sub(self.alignment + self.sync + self.asynchronous)
    }
}

impl CheckpointRecord {
    /// The subtask that was last: of those that acknowledged last, the one that took longest itself.
    #[must_use]
    pub fn last_subtask(&self) -> Option<&SubtaskStatistics> {
        let own = |subtask: &SubtaskStatistics| subtask.alignment + subtask.sync + subtask.asynchronous;
        self.acknowledged.iter().max_by_key(|subtask| (subtask.acknowledged_after, own(subtask)))
    }

    /// The longest alignment of a subtask.
    #[must_use]
    pub fn alignment(&self) -> Duration {
        self.longest(|subtask| subtask.alignment)
    }

    /// The longest time for which an operator stood still.
    #[must_use]
    pub fn sync(&self) -> Duration {
        self.longest(|subtask| subtask.sync)
    }

    /// The longest time for which state was written in the background.
    #[must_use]
    pub fn asynchronous(&self) -> Duration {
        self.longest(|subtask| subtask.asynchronous)
    }

    fn longest(&self, phase: impl Fn(&SubtaskStatistics) -> Duration) -> Duration {
        self.acknowledged.iter().map(phase).max().unwrap_or_default()
    }

    /// When the last subtask acknowledged; none if none has.
    #[must_use]
    pub fn latest_acknowledgement(&self) -> Option<SystemTime> {
        (!self.acknowledged.is_empty()).then(|| self.triggered + self.duration)
    }
}
