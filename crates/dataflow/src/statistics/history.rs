//! The last checkpoints of a job, and what is kept of all.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime};

use highwater_checkpoint::CheckpointMetadata;

use super::checkpoint::{CheckpointFailure, CheckpointRecord, CheckpointStatus, SubtaskStatistics};
use super::summary::Summary;
use crate::progress::RestoredFrom;
use crate::runtime::timing::OperatorTiming;

/// The checkpoints of one execution (Flink's `CheckpointStatsSnapshot`): the last ones with all that is known of them,
/// how many there were, and a summary of all completed ones. Its size is bounded, however long the job runs.
///
/// Only the process that coordinates the job has one that is not empty.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CheckpointHistory {
    /// The newest checkpoints, oldest first: all that are under way, and as many others as `web.checkpoints.history`
    /// says (default 10).
    pub checkpoints: VecDeque<CheckpointRecord>,
    /// How many there were.
    pub counts: CheckpointCounts,
    /// Of all completed ones, the duration from the beginning to the durable metadata, in microseconds.
    pub duration: Summary,
    /// Of all completed ones, from the beginning to the last acknowledgement, in milliseconds.
    pub end_to_end_duration: Summary,
    /// Of all completed ones, the size of all state in bytes.
    pub state_size: Summary,
    /// Of all completed ones, the bytes of state that were written for them.
    pub checkpointed_size: Summary,
    /// The newest completed one that is no savepoint.
    pub latest_completed: Option<CheckpointRecord>,
    /// The newest that was given up.
    pub latest_failed: Option<CheckpointRecord>,
    /// The newest completed savepoint.
    pub latest_savepoint: Option<CheckpointRecord>,
    /// What the job was restored from last.
    pub latest_restored: Option<RestoredCheckpoint>,
    limit: usize,
    /// How many completed checkpoints the job keeps.
    retained: usize,
}

/// How many checkpoints an execution has had (Flink's `CheckpointStatsCounts`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointCounts {
    /// How often a snapshot was restored.
    pub restored: u64,
    /// How many were begun.
    pub total: u64,
    /// How many are under way.
    pub in_progress: u64,
    /// How many were completed.
    pub completed: u64,
    /// How many were given up, also because the attempt ended or a newer one was complete first.
    pub failed: u64,
}

/// A snapshot that was restored (Flink's `RestoredCheckpointStats`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredCheckpoint {
    /// What was restored.
    pub from: RestoredFrom,
    /// When.
    pub time: SystemTime,
}

impl CheckpointHistory {
    pub(crate) fn new(limit: usize, retained: usize) -> Self {
        Self { limit, retained, ..Self::default() }
    }

    /// A checkpoint by its number, if it is remembered.
    #[must_use]
    pub fn checkpoint(&self, id: u64) -> Option<&CheckpointRecord> {
        let latest = [&self.latest_completed, &self.latest_failed, &self.latest_savepoint];
        self.checkpoints.iter().chain(latest.into_iter().flatten()).find(|checkpoint| checkpoint.id == id)
    }

    pub(crate) fn restored(&mut self, from: &RestoredFrom) {
        self.counts.restored += 1;
        self.latest_restored = Some(RestoredCheckpoint { from: from.clone(), time: SystemTime::now() });
    }

    pub(crate) fn began(&mut self, id: u64, is_savepoint: bool, subtasks: u32) {
        self.counts.total += 1;
        self.counts.in_progress += 1;
        self.checkpoints.push_back(CheckpointRecord {
            id,
            status: CheckpointStatus::InProgress,
            is_savepoint,
            triggered: SystemTime::now(),
            duration: Default::default(),
            metadata_duration: Default::default(),
            state_size: 0,
            checkpointed_size: 0,
            subtasks,
            acknowledged: Vec::new(),
            pointer: None,
            is_discarded: false,
            failure: None,
            began: Instant::now(),
        });
    }

    /// One worker has written its state: one subtask of each operator.
    pub(crate) fn acknowledged(
        &mut self,
        id: u64,
        worker: u32,
        state: &CheckpointMetadata,
        timings: Vec<OperatorTiming>,
    ) {
        let Some(checkpoint) = self.under_way(id) else { return };
        checkpoint.duration = checkpoint.began.elapsed();
        checkpoint.state_size += state.state_size();
        checkpoint.checkpointed_size += state.checkpointed_size();
        let acknowledged_after = checkpoint.duration;
        let subtasks = timings.into_iter().zip(&state.operators).map(|(timing, operator)| SubtaskStatistics {
            operator: timing.uid,
            subtask: worker,
            acknowledged_after,
            alignment: timing.alignment,
            sync: timing.sync,
            asynchronous: timing.asynchronous,
            state_size: operator.state_size(),
            checkpointed_size: operator.checkpointed_size(),
        });
        checkpoint.acknowledged.extend(subtasks);
    }

    pub(crate) fn completed(&mut self, id: u64, pointer: &str, (state_size, checkpointed_size): (u64, u64)) {
        let Some(checkpoint) = self.under_way(id) else { return };
        let duration = checkpoint.began.elapsed();
        checkpoint.status = CheckpointStatus::Completed;
        checkpoint.metadata_duration = duration.saturating_sub(checkpoint.duration);
        checkpoint.pointer = Some(pointer.to_owned());
        (checkpoint.state_size, checkpoint.checkpointed_size) = (state_size, checkpointed_size);
        let checkpoint = checkpoint.clone();
        self.counts.completed += 1;
        self.duration.record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        self.end_to_end_duration.record(u64::try_from(checkpoint.duration.as_millis()).unwrap_or(u64::MAX));
        self.state_size.record(state_size);
        self.checkpointed_size.record(checkpointed_size);
        let latest = if checkpoint.is_savepoint { &mut self.latest_savepoint } else { &mut self.latest_completed };
        *latest = Some(checkpoint);
        let is_own =
            |record: &&mut CheckpointRecord| record.status == CheckpointStatus::Completed && !record.is_savepoint;
        let replaced = self.checkpoints.iter_mut().rev().filter(is_own).skip(self.retained);
        replaced.for_each(|record| record.is_discarded = true);
        self.ended();
    }

    pub(crate) fn failed(&mut self, id: u64, reason: String) {
        let Some(checkpoint) = self.under_way(id) else { return };
        checkpoint.status = CheckpointStatus::Failed;
        checkpoint.failure = Some(CheckpointFailure { time: SystemTime::now(), reason });
        self.latest_failed = Some(checkpoint.clone());
        self.counts.failed += 1;
        self.ended();
    }

    fn under_way(&mut self, id: u64) -> Option<&mut CheckpointRecord> {
        let is_it = |record: &&mut CheckpointRecord| record.id == id && record.status == CheckpointStatus::InProgress;
        self.checkpoints.iter_mut().rev().find(is_it)
    }

    /// One is not under way any more: the oldest that are not may have to go.
    fn ended(&mut self) {
        self.counts.in_progress = self.counts.in_progress.saturating_sub(1);
        let has_ended = |record: &CheckpointRecord| record.status != CheckpointStatus::InProgress;
        let ended = self.checkpoints.iter().filter(|record| has_ended(record)).count();
        let mut too_many = ended.saturating_sub(self.limit);
        self.checkpoints.retain(|record| {
            let goes = too_many > 0 && has_ended(record);
            too_many -= usize::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(history: &mut CheckpointHistory, ids: impl IntoIterator<Item = u64>) {
        ids.into_iter().for_each(|id| history.began(id, false, 2));
    }

    fn ids(history: &CheckpointHistory) -> Vec<u64> {
        history.checkpoints.iter().map(|checkpoint| checkpoint.id).collect()
    }

    /// The durations of all checkpoints were kept for ever.
    #[test]
    fn it_stays_small_and_keeps_what_is_under_way_and_the_latest_of_each_kind() {
        let mut history = CheckpointHistory::new(3, 2);
        begun(&mut history, [1, 2]);
        history.failed(2, "a reason".to_owned());
        for id in 3..=1_000 {
            begun(&mut history, [id]);
            history.completed(id, &format!("pointer {id}"), (id, 1));
        }
        assert_eq!(ids(&history), [1, 998, 999, 1_000], "number 1 is under way");
        let discarded = history.checkpoints.iter().filter(|checkpoint| checkpoint.is_discarded);
        assert_eq!(discarded.map(|checkpoint| checkpoint.id).collect::<Vec<_>>(), [998], "two are kept");
        let counts = CheckpointCounts { restored: 0, total: 1_000, in_progress: 1, completed: 998, failed: 1 };
        assert_eq!(history.counts, counts);
        assert_eq!(history.latest_failed.as_ref().unwrap().failure.as_ref().unwrap().reason, "a reason");
        assert_eq!(history.latest_completed.as_ref().unwrap().pointer.as_deref(), Some("pointer 1000"));
        assert_eq!(history.checkpoint(2), history.latest_failed.as_ref());
        assert_eq!((history.state_size.count(), history.state_size.min(), history.state_size.max()), (998, 3, 1_000));
        history.failed(1, "the attempt ended".to_owned());
        assert_eq!(ids(&history), [998, 999, 1_000]);
    }

    #[test]
    fn without_history_only_the_latest_of_each_kind_are_kept() {
        let mut history = CheckpointHistory::new(0, 1);
        begun(&mut history, [7]);
        history.completed(7, "pointer", (1, 1));
        assert_eq!(ids(&history), [] as [u64; 0]);
        assert!(history.checkpoint(7).is_some());
        // What comes too late changes nothing.
        history.failed(7, "late".to_owned());
        assert_eq!((history.counts.failed, history.latest_failed), (0, None));
    }
}
