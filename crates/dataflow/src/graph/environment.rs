//! Where a job begins.

use std::rc::Rc;
use std::sync::Arc;

use highwater_state::ListStateDescriptor;
use highwater_types::DefaultSerializer;

use super::DataStream;
use super::build::Build;
use crate::operator::{SourceParts, source};
use crate::runtime::enumerators;
use crate::{Source, SourceContext, WatermarkStrategy};

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

    /// Adds a source. Its splits are found by its uid when the job is restored; two equal uids fail the job.
    ///
    /// Its records have no timestamps. When all of its input is read, event time ends all the same.
    pub fn source<S: Source>(&self, uid: &str, origin: S) -> DataStream<'s, S::Record> {
        self.add_source(uid, origin, None)
    }

    /// Adds a source whose records have timestamps and watermarks, by split (Flink's `fromSource`).
    pub fn source_with_watermarks<S: Source>(
        &self,
        uid: &str,
        origin: S,
        strategy: WatermarkStrategy<S::Record>,
    ) -> DataStream<'s, S::Record> {
        self.add_source(uid, origin, Some(strategy))
    }

    fn add_source<S: Source>(
        &self,
        uid: &str,
        origin: S,
        strategy: Option<WatermarkStrategy<S::Record>>,
    ) -> DataStream<'s, S::Record> {
        let origin = Arc::new(origin);
        let plan = self.build.register_source(uid, enumerators::factory(Arc::clone(&origin)));
        let batches = self.build.open(&plan, |runtime| {
            let mailbox = &runtime.mailbox;
            let max_parallelism = runtime.max_parallelism(&plan)?;
            let state = runtime.operator_state(&plan)?;
            let descriptor = ListStateDescriptor::with_serializer("splits", S::Split::default_serializer());
            let splits = state.list_state(&descriptor)?;
            let mut reader =
                origin.create_reader(&SourceContext { uid, subtask: mailbox.worker, parallelism: mailbox.workers })?;
            strategy.as_ref().map_or(Ok(()), WatermarkStrategy::check)?;
            let mut split_ids = Vec::new();
            if !splits.is_empty()? {
                let restored = splits.get()?;
                split_ids.extend(restored.iter().map(|split| reader.split_id(split)));
                reader.add_splits(restored)?;
            }
            let index = mailbox.add_operator(&plan.uid, plan.id, max_parallelism);
            let records = runtime.setup.counters.records_in(mailbox.worker);
            let serializer = S::Split::default_serializer();
            let parts = SourceParts {
                uid: Arc::clone(&plan.uid),
                index,
                reader,
                state,
                splits,
                serializer,
                records,
                strategy,
                watermark_interval: runtime.setup.watermark_interval,
                split_ids,
            };
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
