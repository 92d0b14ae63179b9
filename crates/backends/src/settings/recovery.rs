//! What a job starts from.

use highwater_types::Result;

use crate::config::{Configuration, config_enum};
use crate::options;

config_enum! {
    /// Who owns the snapshot that a job starts from (Flink's `RecoveryClaimMode`).
    pub enum ClaimMode {
        /// The user: the job never deletes it and never depends on it after its first own checkpoint.
        NoClaim = "NO_CLAIM",
        /// The job: it deletes the snapshot once newer checkpoints replace it. Whoever made the snapshot must not run any
        /// more: its directory is not locked, and what it still builds on would go.
        Claim = "CLAIM",
        /// Flink before 1.15: the user, but the job's checkpoints may depend on it.
        Legacy = "LEGACY",
    }
}

/// What a job starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoverySettings {
    /// A snapshot's directory or metadata file (`execution.state-recovery.path`).
    pub path: Option<String>,
    /// Whether state that no operator claims may be left behind; default no.
    pub ignore_unclaimed_state: bool,
    /// Who owns the snapshot; default [`ClaimMode::NoClaim`].
    pub claim_mode: ClaimMode,
}

impl RecoverySettings {
    pub(super) fn from_configuration(configuration: &Configuration) -> Result<Self> {
        Ok(Self {
            path: configuration.get(&options::SAVEPOINT_PATH)?,
            ignore_unclaimed_state: configuration.get(&options::IGNORE_UNCLAIMED_STATE)?,
            claim_mode: configuration.get(&options::CLAIM_MODE)?,
        })
    }
}
