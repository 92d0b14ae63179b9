//! What goes into the coordinator and what comes out.

use std::collections::BTreeMap;
use std::fmt;

/// Why a checkpoint is taken; it decides what holds it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckpointKind {
    /// By the clock: waits for the minimum pause and for a free place.
    Periodic,
    /// On request: waits for a free place only.
    Manual,
    /// The last one of an attempt, at the end of bounded input or when the job is stopped: waits for a free place only,
    /// lets no other checkpoint begin, and is tried again until it completes or the job fails.
    Final,
    /// A savepoint, on request: waits for nothing, is never given up for a newer checkpoint, and is none itself: its
    /// completion or failure means nothing for checkpoints, and nobody restores it by himself. Each request gets its own.
    Savepoint,
    /// A savepoint with which the attempt ends: waits for nothing, and nothing begins after it unless it is given up.
    /// Then the attempt goes on.
    FinalSavepoint,
}

impl CheckpointKind {
    /// Whether it is a savepoint, which is the user's.
    #[must_use]
    pub fn is_savepoint(self) -> bool {
        matches!(self, Self::Savepoint | Self::FinalSavepoint)
    }

    /// Whether the attempt ends with it.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Final | Self::FinalSavepoint)
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<T> {
    /// Nothing but time passed.
    Tick,
    /// A checkpoint is wanted beside the periodic ones. Requests of one kind that wait together get one checkpoint, but
    /// for savepoints.
    Trigger {
        /// Which kind; a [`Periodic`](CheckpointKind::Periodic) request behaves as if its time had come.
        kind: CheckpointKind,
    },
    /// A checkpoint could not even be started: its place could not be made, and no subtask heard of it.
    BeginFailed {
        /// The checkpoint.
        checkpoint: u64,
        /// What went wrong.
        reason: String,
    },
    /// A subtask has written its state durably.
    Acknowledge {
        /// Attempt of the sender.
        attempt: u64,
        /// The checkpoint.
        checkpoint: u64,
        /// The sender.
        subtask: u32,
        /// Its state handles.
        payload: T,
    },
    /// A subtask could not take the checkpoint, but goes on.
    Decline {
        /// Attempt of the sender.
        attempt: u64,
        /// The checkpoint.
        checkpoint: u64,
        /// The sender.
        subtask: u32,
        /// What went wrong.
        reason: String,
    },
    /// A subtask of the running attempt failed: the attempt is about to end.
    SubtaskFailed {
        /// Attempt of the subtask.
        attempt: u64,
        /// The subtask.
        subtask: u32,
    },
    /// The metadata is durably in place.
    MetadataWritten {
        /// The checkpoint.
        checkpoint: u64,
    },
    /// The metadata could not be written.
    MetadataFailed {
        /// The checkpoint.
        checkpoint: u64,
        /// What went wrong.
        reason: String,
        /// Whether it may be in place all the same (the rename went through, the sync after it did not). Then the
        /// state is kept, and storage has to be looked at before the next attempt chooses what to restore.
        unclear: bool,
    },
    /// The attempt is over, for whatever reason; none of its subtasks is alive.
    AttemptEnded {
        /// The attempt.
        attempt: u64,
    },
}

/// Something to do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<T> {
    /// Make a place for the checkpoint and tell every subtask to take it.
    Begin {
        /// The attempt whose subtasks are meant.
        attempt: u64,
        /// The checkpoint.
        checkpoint: u64,
        /// Why it is taken.
        kind: CheckpointKind,
    },
    /// Write the metadata durably and report [`MetadataWritten`](Event::MetadataWritten) or
    /// [`MetadataFailed`](Event::MetadataFailed). Only one write is under way at a time.
    WriteMetadata {
        /// The checkpoint.
        checkpoint: u64,
        /// What each subtask acknowledged.
        acknowledgements: BTreeMap<u32, T>,
    },
    /// The checkpoint is complete: register it before anything else is done, then tell every subtask of the attempt.
    Complete {
        /// The attempt that took it; it may have ended meanwhile.
        attempt: u64,
        /// The checkpoint.
        checkpoint: u64,
        /// Why it was taken.
        kind: CheckpointKind,
    },
    /// The checkpoint is given up: tell every subtask of the attempt.
    Abort {
        /// The attempt that began it; it may have ended meanwhile.
        attempt: u64,
        /// The checkpoint.
        checkpoint: u64,
        /// Why.
        reason: AbortReason,
    },
    /// Delete state that no complete checkpoint refers to.
    Discard {
        /// The checkpoint it was written for.
        checkpoint: u64,
        /// The state handles.
        payloads: Vec<T>,
        /// How much goes.
        extent: DiscardExtent,
    },
    /// Too many checkpoints failed in a row: end the attempt.
    FailJob {
        /// What went wrong, for the user.
        reason: String,
    },
}

/// How much of a checkpoint is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiscardExtent {
    /// The handles and then the checkpoint's whole directory.
    Checkpoint,
    /// The handles alone: an acknowledgement that came too late.
    Late,
}

/// Why a checkpoint was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AbortReason {
    /// It could not be started.
    BeginFailed(String),
    /// A subtask could not take it.
    Declined {
        /// The subtask.
        subtask: u32,
        /// What went wrong.
        reason: String,
    },
    /// Not every subtask acknowledged in time.
    Expired,
    /// The metadata could not be written.
    MetadataFailed(String),
    /// The metadata may or may not be in place; the state was kept.
    MetadataUnclear(String),
    /// A newer checkpoint completed first.
    Subsumed {
        /// The newer one.
        by: u64,
    },
    /// A subtask failed before it acknowledged.
    SubtaskFailed {
        /// The subtask.
        subtask: u32,
    },
    /// The attempt ended.
    AttemptEnded,
}

impl AbortReason {
    /// Whether it counts against the tolerable failures. As in Flink 2.x a failing metadata write counts; what a
    /// failing job or a newer checkpoint brings about does not.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        match self {
            Self::BeginFailed(_)
            | Self::Declined { .. }
            | Self::Expired
            | Self::MetadataFailed(_)
            | Self::MetadataUnclear(_) => true,
            Self::Subsumed { .. } | Self::SubtaskFailed { .. } | Self::AttemptEnded => false,
        }
    }
}

impl fmt::Display for AbortReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeginFailed(reason) => write!(f, "could not be started: {reason}"),
            Self::Declined { subtask, reason } => write!(f, "was declined by subtask {subtask}: {reason}"),
            Self::Expired => f.write_str("expired before completing"),
            Self::MetadataFailed(reason) => write!(f, "could not be finalized: {reason}"),
            Self::MetadataUnclear(reason) => {
                write!(f, "may or may not be complete; its state was kept and may need cleaning up by hand: {reason}")
            }
            Self::Subsumed { by } => write!(f, "was subsumed by checkpoint {by}"),
            Self::SubtaskFailed { subtask } => write!(f, "was given up because subtask {subtask} failed"),
            Self::AttemptEnded => f.write_str("was given up because the attempt ended"),
        }
    }
}
