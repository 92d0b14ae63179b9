//! Streams of records.

use std::rc::Rc;
use std::sync::Arc;

use highwater_types::{DefaultSerializer, Key, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::build::{Build, OperatorKind};
use super::{Collector, KeyedStream};
use crate::operator::{Batches, SinkParts, end, sink, transform};
use crate::{Sink, SinkContext};

/// What can be sent from one worker to another, which may be in another process. Implemented for every type that has
/// what it needs; derive serde's `Serialize` and `Deserialize`.
pub trait Record: Clone + Send + Serialize + DeserializeOwned + 'static {}
impl<T: Clone + Send + Serialize + DeserializeOwned + 'static> Record for T {}

/// A stream of records (Flink's `DataStream`). Its functions run on the worker where the records are; the order of the
/// records of one subtask is kept. Records are weighed by what serde shows of them, which is why all of them have to be
/// `Serialize`: that bounds how much memory they take on their way.
pub struct DataStream<'s, T: 'static> {
    build: Rc<Build<'s>>,
    /// None while the job is only planned, and after it was used.
    batches: Option<Batches<'s, T>>,
}

impl<'s, T: 'static> DataStream<'s, T> {
    pub(super) fn new(build: &Rc<Build<'s>>, batches: Option<Batches<'s, T>>) -> Self {
        Self { build: Rc::clone(build), batches }
    }

    /// Turns every record into another.
    pub fn map<U: Serialize + 'static>(self, mut function: impl FnMut(T) -> U + 'static) -> DataStream<'s, U> {
        self.transform("map", move |record, out| {
            out.collect(function(record));
            Ok(())
        })
    }

    /// Keeps the records for which `predicate` is true.
    pub fn filter(self, mut predicate: impl FnMut(&T) -> bool + 'static) -> Self
    where
        T: Serialize,
    {
        self.transform("filter", move |record, out| {
            if predicate(&record) {
                out.collect(record);
            }
            Ok(())
        })
    }

    /// Turns every record into any number of others; they leave while the function runs. An error fails the attempt.
    pub fn flat_map<U: Serialize + 'static>(
        self,
        function: impl FnMut(T, &mut Collector<U>) -> Result<()> + 'static,
    ) -> DataStream<'s, U> {
        self.transform("flat_map", function)
    }

    /// Partitions the stream: records of equal keys meet at one subtask, that which owns the key's key group.
    pub fn key_by<K>(self, mut key: impl FnMut(&T) -> K + 'static) -> KeyedStream<'s, K, T>
    where
        K: Key + DefaultSerializer + Record,
        T: Record,
    {
        KeyedStream::new(self.map(move |record| (key(&record), record)))
    }

    /// Ends the stream in a sink, whose state is found by its uid when the job is restored.
    pub fn sink(mut self, uid: &str, target: impl Sink<T>) {
        let plan = self.build.register(uid, OperatorKind::Sink { exactly_once: target.is_exactly_once() });
        let Some(batches) = self.batches.take() else { return };
        self.build.open(&plan, |runtime| {
            let mailbox = &runtime.mailbox;
            let max_parallelism = runtime.max_parallelism(&plan)?;
            let state = runtime.operator_state(&plan)?;
            let writer = target.open(&SinkContext {
                job_id: &runtime.setup.job_id,
                uid,
                subtask: mailbox.worker,
                parallelism: mailbox.workers,
                attempt: &runtime.setup.attempt_id,
                restored_checkpoint: runtime.setup.restored.as_ref().map(|restored| restored.checkpoint),
                state: &state,
            })?;
            let index = mailbox.add_operator(&plan.uid, plan.id, max_parallelism);
            let records = runtime.setup.counters.records_out(mailbox.worker);
            let parts = SinkParts { uid: Arc::clone(&plan.uid), index, writer, state, records };
            sink(batches, mailbox, &runtime.probe, parts)
        });
    }

    fn transform<U: 'static>(
        mut self,
        name: &str,
        function: impl FnMut(T, &mut Collector<U>) -> Result<()> + 'static,
    ) -> DataStream<'s, U> {
        let batches = match (self.build.runtime(), self.batches.take()) {
            (Some(runtime), Some(batches)) => transform(batches, &runtime.mailbox, &name.into(), function)
                .map_err(|error| self.build.fail(error))
                .ok(),
            _ => None,
        };
        DataStream::new(&self.build, batches)
    }

    /// The stream of batches and where to build, for the operators of this crate.
    pub(super) fn into_parts(mut self) -> (Rc<Build<'s>>, Option<Batches<'s, T>>) {
        (Rc::clone(&self.build), self.batches.take())
    }
}

/// A second use of the same records, each of which is cloned.
impl<T: Clone + 'static> Clone for DataStream<'_, T> {
    fn clone(&self) -> Self {
        Self { build: Rc::clone(&self.build), batches: self.batches.clone() }
    }
}

/// A stream that leads nowhere is an end of the dataflow too: sources must not run ahead of it.
impl<T: 'static> Drop for DataStream<'_, T> {
    fn drop(&mut self) {
        if let (Some(runtime), Some(batches)) = (self.build.runtime(), self.batches.take())
            && let Err(error) = end(batches, &runtime.mailbox, &runtime.probe)
        {
            self.build.fail(error);
        }
    }
}

impl<T: 'static> std::fmt::Debug for DataStream<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataStream").finish_non_exhaustive()
    }
}
