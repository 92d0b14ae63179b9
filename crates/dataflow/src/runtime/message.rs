//! What workers and the coordinator tell each other. Everything may cross the border of a process, so everything is
//! plain data; state handles travel in the encoding of `_metadata`.

use serde::{Deserialize, Serialize};

use super::timing::OperatorTiming;
use crate::JobOutcome;

/// From a worker to the coordinator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// All operators are open.
    Ready { worker: u32 },
    /// The worker's state is written. One message for all its operators, as from one of Flink's tasks.
    Acknowledge {
        attempt: u64,
        checkpoint: u64,
        worker: u32,
        /// A metadata file (version 3) that holds this worker's subtasks alone.
        state: Vec<u8>,
        /// Of each operator in it.
        timings: Vec<OperatorTiming>,
    },
    /// The worker could not take part, but goes on.
    Decline { attempt: u64, checkpoint: u64, worker: u32, reason: String },
    /// A source of the worker has nothing left to read. It is named by its index in the plan of the job.
    RequestSplit { worker: u32, operator: u32 },
    /// None of the worker's sources will ever have another record.
    SourcesFinished { worker: u32 },
    /// All sinks of the worker have committed the final checkpoint.
    Committed { worker: u32 },
}

/// From the coordinator to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Build the data dataflow and open its operators.
    Open(Opening),
    /// A decision of a source's enumerator. The source is named by its index in the plan of the job.
    Assign { operator: u32, assignment: Assignment },
    /// Take a checkpoint, or a savepoint in this directory. A final one stops the sources, unless it is aborted.
    Begin { checkpoint: u64, is_final: bool, savepoint: Option<String> },
    /// Commit everything up to this checkpoint.
    Complete { checkpoint: u64, is_final: bool },
    /// Forget this checkpoint.
    Abort { checkpoint: u64 },
    /// The final checkpoint is committed everywhere: let go.
    End(Ending),
}

/// What the enumerator of a source has for one of its readers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Assignment {
    /// Serialized splits.
    Splits(Vec<Vec<u8>>),
    /// There will be no more.
    NoMore,
}

/// How an attempt ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ending {
    /// All input was read.
    Finished,
    /// Somebody asked for it.
    Stopped,
}

impl Ending {
    pub(crate) fn outcome(self) -> JobOutcome {
        match self {
            Self::Finished => JobOutcome::Finished,
            Self::Stopped => JobOutcome::Stopped,
        }
    }
}

/// How an attempt begins.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Opening {
    /// Number of the attempt.
    pub(crate) attempt: u64,
    /// A name that no other attempt of the job ever had.
    pub(crate) attempt_id: String,
    /// Least id of the attempt's checkpoints; epochs count from here.
    pub(crate) first_checkpoint: u64,
    /// What to restore; none on a fresh start.
    pub(crate) restore: Option<Restore>,
}

/// A snapshot to restore.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Restore {
    pub(crate) checkpoint: u64,
    /// Where it was found; none where all state is inline.
    pub(crate) pointer: Option<String>,
    /// Whether later checkpoints may share its files: it is the job's own, was claimed, or is taken so
    /// ([`ClaimMode::Legacy`](highwater_backends::ClaimMode::Legacy)).
    pub(crate) is_own: bool,
    /// The metadata file.
    pub(crate) metadata: Vec<u8>,
}
