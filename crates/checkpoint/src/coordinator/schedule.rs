//! When checkpoints are due.

use std::time::Duration;

use super::{CheckpointKind, CoordinatorSettings};

/// The clock of one attempt: fixed rate after a random first delay, so that many jobs started together do not
/// checkpoint together.
#[derive(Debug)]
pub(super) struct Schedule {
    next: Duration,
    interval: Duration,
}

impl Schedule {
    /// `jitter` is any random number; it places the first checkpoint between the pause and the interval.
    pub(super) fn new(settings: &CoordinatorSettings, now: Duration, jitter: u64) -> Option<Self> {
        let interval = settings.effective_interval()?;
        let pause = settings.pause();
        let span = interval.saturating_sub(pause).as_nanos();
        // The upper half of a 128-bit product: uniform over 0..=span.
        let extra = ((span + 1).saturating_mul(u128::from(jitter)) >> 64).min(span);
        let first = pause.saturating_add(Duration::from_nanos(u64::try_from(extra).unwrap_or(u64::MAX)));
        Some(Self { next: now.saturating_add(first), interval })
    }

    pub(super) fn next(&self) -> Duration {
        self.next
    }

    /// Whether a checkpoint is due; moves on to the next time after `now`. Missed times are not made up for.
    pub(super) fn take_due(&mut self, now: Duration) -> bool {
        if now < self.next {
            return false;
        }
        let missed = (now - self.next).as_nanos() / self.interval.as_nanos().max(1);
        let steps = u32::try_from(missed.saturating_add(1)).unwrap_or(u32::MAX);
        self.next = self.next.saturating_add(self.interval.saturating_mul(steps)).max(now);
        true
    }

    /// Starts anew at `next`.
    pub(super) fn restart_at(&mut self, next: Duration) {
        self.next = next;
    }
}

/// Checkpoints wanted and not yet begun.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) periodic: bool,
    pub(super) manual: bool,
    pub(super) savepoints: u32,
    pub(super) final_savepoints: u32,
    pub(super) last: FinalRequest,
    /// A final checkpoint is wanted if the one under way is a savepoint that fails.
    is_final_wanted: bool,
}

/// Where the final checkpoint stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum FinalRequest {
    #[default]
    No,
    /// Wanted, not before this time.
    Waiting(Duration),
    /// Under way or complete: nothing begins after it.
    Begun,
}

impl Requests {
    pub(super) fn add(&mut self, kind: CheckpointKind, now: Duration) {
        match kind {
            CheckpointKind::Periodic => self.periodic = true,
            CheckpointKind::Manual => self.manual = true,
            CheckpointKind::Savepoint => self.savepoints = self.savepoints.saturating_add(1),
            CheckpointKind::FinalSavepoint => self.final_savepoints = self.final_savepoints.saturating_add(1),
            CheckpointKind::Final if self.last == FinalRequest::Begun => self.is_final_wanted = true,
            CheckpointKind::Final => self.last = FinalRequest::Waiting(now),
        }
    }

    /// The final savepoint was given up.
    pub(super) fn go_on(&mut self, now: Duration) {
        self.last = match std::mem::take(&mut self.is_final_wanted) {
            true => FinalRequest::Waiting(now),
            false => FinalRequest::No,
        };
    }

    /// What is to begin first, as far as it is not held back by the minimum pause.
    pub(super) fn first(&self, now: Duration) -> Option<CheckpointKind> {
        match self.last {
            FinalRequest::No | FinalRequest::Waiting(_) if self.savepoints > 0 => Some(CheckpointKind::Savepoint),
            FinalRequest::No if self.final_savepoints > 0 => Some(CheckpointKind::FinalSavepoint),
            FinalRequest::Waiting(from) => (from <= now).then_some(CheckpointKind::Final),
            FinalRequest::Begun => None,
            FinalRequest::No if self.manual => Some(CheckpointKind::Manual),
            FinalRequest::No => self.periodic.then_some(CheckpointKind::Periodic),
        }
    }

    pub(super) fn remove(&mut self, kind: CheckpointKind) {
        match kind {
            CheckpointKind::Periodic => self.periodic = false,
            CheckpointKind::Manual => self.manual = false,
            CheckpointKind::Savepoint => self.savepoints = self.savepoints.saturating_sub(1),
            CheckpointKind::FinalSavepoint => {
                self.final_savepoints = self.final_savepoints.saturating_sub(1);
                self.last = FinalRequest::Begun;
            }
            CheckpointKind::Final => {
                // It stands for every request made before.
                *self = Self { last: FinalRequest::Begun, ..Self::default() };
            }
        }
    }
}
