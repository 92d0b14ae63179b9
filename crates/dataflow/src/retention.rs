//! What becomes of the job's checkpoints when it ends: `execution.checkpointing.externalized-checkpoint-retention`.

use highwater_backends::ExternalizedRetention;

use crate::runtime::message::Ending;

/// How a job ended, as far as its checkpoints are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its input was at an end, or it was drained.
    Finished,
    /// It was stopped with a checkpoint, to be resumed from it.
    Stopped,
    /// It was stopped with a savepoint, to be resumed from that.
    StoppedWithSavepoint,
    /// It was ended at once.
    Cancelled,
    /// It failed, and was not restarted.
    Failed,
}

impl End {
    pub(crate) fn of(ending: Ending) -> Self {
        match ending {
            Ending::Finished => Self::Finished,
            Ending::Stopped => Self::Stopped,
        }
    }
}

/// Whether the checkpoints are kept, as the table at
/// [`ExecutionConfig::checkpoint_retention`](crate::ExecutionConfig::checkpoint_retention) says. It is Flink's for a
/// policy that is set; without one Highwater keeps everything, so that nobody loses a checkpoint by leaving a key out.
/// Where Flink knows no such end, a stop with a checkpoint, only a policy that keeps nothing deletes what the stop was
/// for.
pub(crate) fn keeps(policy: Option<ExternalizedRetention>, end: End) -> bool {
    use ExternalizedRetention::{DeleteOnCancellation, NoExternalizedCheckpoints, RetainOnCancellation};
    match (policy, end) {
        (None, _) => true,
        (Some(NoExternalizedCheckpoints), _) | (Some(_), End::Finished | End::StoppedWithSavepoint) => false,
        (Some(DeleteOnCancellation | RetainOnCancellation), End::Stopped | End::Failed) => true,
        (Some(policy), End::Cancelled) => policy == RetainOnCancellation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_flink_and_everything_without_a_policy() {
        use ExternalizedRetention::{DeleteOnCancellation, NoExternalizedCheckpoints, RetainOnCancellation};
        let ends = [End::Finished, End::Stopped, End::StoppedWithSavepoint, End::Cancelled, End::Failed];
        for (policy, kept) in [
            (None, [true; 5]),
            (Some(RetainOnCancellation), [false, true, false, true, true]),
            (Some(DeleteOnCancellation), [false, true, false, false, true]),
            (Some(NoExternalizedCheckpoints), [false; 5]),
        ] {
            assert_eq!(ends.map(|end| keeps(policy, end)), kept, "{policy:?}");
        }
    }
}
