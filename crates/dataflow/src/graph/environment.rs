//! Where a job begins.

use std::rc::Rc;
use std::sync::Arc;

use super::DataStream;
use super::build::{Build, OperatorKind};
use crate::operator::{SourceParts, source};
use crate::{Source, SourceContext};

/// Where the streams of a job begin (Flink's `StreamExecutionEnvironment`). A job's closure gets one on every worker.
pub struct StreamEnvironment<'s> {
    build: Rc<Build<'s>>,
}

impl<'s> StreamEnvironment<'s> {
    pub(crate) fn new(build: Rc<Build<'s>>) -> Self {
        Self { build }
    }

    /// Number of subtasks of every operator: all workers of all processes.
    #[must_use]
    pub fn parallelism(&self) -> u32 {
        self.build.parallelism
    }

    /// Adds a source. Its positions are found by its uid when the job is restored; two equal uids fail the job.
    pub fn source<S: Source>(&self, uid: &str, origin: S) -> DataStream<'s, S::Record> {
        let plan = self.build.register(uid, OperatorKind::Source);
        let batches = self.build.open(&plan, |runtime| {
            let mailbox = &runtime.mailbox;
            let max_parallelism = runtime.max_parallelism(&plan)?;
            let state = runtime.operator_state(&plan)?;
            let reader = origin.open(&SourceContext {
                uid,
                subtask: mailbox.worker,
                parallelism: mailbox.workers,
                restored: runtime.setup.restored.as_ref().is_some_and(|restored| restored.knows(plan.id)),
                state: &state,
            })?;
            let index = mailbox.add_operator(&plan.uid, plan.id, max_parallelism);
            let records = runtime.setup.counters.records_in(mailbox.worker);
            let parts = SourceParts { uid: Arc::clone(&plan.uid), index, reader, state, records };
            Ok(source(runtime.scope, mailbox, &runtime.probe, parts))
        });
        DataStream::new(&self.build, batches)
    }
}

impl std::fmt::Debug for StreamEnvironment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamEnvironment").field("parallelism", &self.parallelism()).finish_non_exhaustive()
    }
}
