//! What the processes of a cluster tell each other, and the failures and outcomes in it, as plain data.

use highwater_types::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::Peer;
use crate::JobOutcome;
use crate::runtime::message::{Order, Report};

/// From the coordinating process to another.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToMember {
    /// Begin this attempt: connect with the others, start the workers, wait for orders.
    Start { attempt: u64, attempt_id: String },
    /// For one worker.
    Order { attempt: u64, worker: u32, order: Order },
    /// The attempt has failed: end it.
    Leave { attempt: u64, failure: Failure },
    /// The job is over.
    End(Verdict),
}

/// To the coordinating process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToLeader {
    /// From one worker, or for the whole process.
    Report { attempt: u64, report: Report },
    /// The attempt has failed here.
    Failed { attempt: u64, failure: Failure },
    /// Somebody asked for a stop with a checkpoint.
    Stop,
    /// Somebody wants the job to end at once.
    Cancel,
    /// The end of the job is known here.
    Told,
    /// Nothing of the attempt is left here.
    Left { attempt: u64 },
}

/// The end of a job, for all processes.
pub(crate) type Verdict = std::result::Result<Outcome, Failure>;

/// See [`JobOutcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Finished,
    Stopped,
    Cancelled,
    AlreadyFinished,
}

impl From<JobOutcome> for Outcome {
    fn from(outcome: JobOutcome) -> Self {
        match outcome {
            JobOutcome::Finished => Self::Finished,
            JobOutcome::Stopped => Self::Stopped,
            JobOutcome::Cancelled => Self::Cancelled,
            JobOutcome::AlreadyFinished => Self::AlreadyFinished,
        }
    }
}

impl From<Outcome> for JobOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Finished => Self::Finished,
            Outcome::Stopped => Self::Stopped,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::AlreadyFinished => Self::AlreadyFinished,
        }
    }
}

/// An error on its way to another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// Position in [`KINDS`].
    kind: u8,
    text: String,
}

const KINDS: [ErrorKind; 8] = [
    ErrorKind::Configuration,
    ErrorKind::Program,
    ErrorKind::Incompatible,
    ErrorKind::Corrupt,
    ErrorKind::Storage,
    ErrorKind::Unsupported,
    ErrorKind::Cancelled,
    ErrorKind::Internal,
];

const ELSEWHERE: &str = "the job failed in another process";

impl Failure {
    pub(crate) fn new(error: &Error) -> Self {
        Self::from_parts(error.kind(), error.to_string())
    }

    pub(crate) fn from_parts(kind: ErrorKind, text: String) -> Self {
        let kind = KINDS.iter().position(|known| *known == kind).unwrap_or(KINDS.len() - 1);
        Self { kind: kind as u8, text }
    }

    /// The error where the failure did not happen. Of the same kind: what a restart cannot cure there, it cannot cure
    /// here, and all processes end with the same code.
    pub(crate) fn elsewhere(&self, peer: &Peer) -> Error {
        let kind = KINDS.get(usize::from(self.kind)).copied().unwrap_or(ErrorKind::Internal);
        match self.text.starts_with(ELSEWHERE) {
            // It was told on, and says where it comes from.
            true => Error::new(kind, &self.text),
            false => Error::new(kind, ELSEWHERE).with("failed", peer).with("reason", &self.text),
        }
    }
}

impl Failure {
    /// The error of a job that ended everywhere. Where it began, it is the failure itself.
    pub(crate) fn at_home(&self, leader: &Peer, last: Option<Error>) -> Error {
        let elsewhere = self.elsewhere(leader);
        let is_own = |last: &Error| {
            let text = last.to_string();
            last.kind() == elsewhere.kind() && !text.starts_with(ELSEWHERE) && self.text.contains(&text)
        };
        last.filter(is_own).unwrap_or(elsewhere)
    }
}

/// The text of a message.
pub(crate) fn encode(message: &impl Serialize) -> Result<Vec<u8>> {
    postcard::to_stdvec(message)
        .map_err(|error| Error::internal("a message to another process cannot be written").because(error))
}

/// The message of a text.
pub(crate) fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> std::io::Result<T> {
    postcard::from_bytes(bytes).map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}
