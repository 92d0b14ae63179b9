//! The part of the runtime that sources and sinks see.

use highwater_checkpoint::{CancelToken, MemoryStreamFactory, OperatorStateHandle, SnapshotOpener};
use highwater_dataflow::{Sink, SinkContext, SinkWriter, Source, SourceContext, SourceReader, SourceStatus};
use highwater_state::{OperatorStateBackend, redistribute_operator_state};
use highwater_types::Result;

pub(crate) const JOB: &str = "00112233445566778899aabbccddeeff";

/// Operator state of all subtasks at one barrier.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot(Vec<Vec<OperatorStateHandle>>);

impl Snapshot {
    pub(crate) fn take<'a>(backends: impl IntoIterator<Item = &'a OperatorStateBackend>) -> Self {
        let streams = MemoryStreamFactory::new(u64::MAX, CancelToken::new());
        let write = |backend: &OperatorStateBackend| backend.snapshot().unwrap().write(&streams).unwrap();
        Self(backends.into_iter().map(|backend| write(backend).into_iter().collect()).collect())
    }

    fn backends(&self, parallelism: u32) -> Vec<OperatorStateBackend> {
        let opener = SnapshotOpener::in_memory();
        let restore =
            |handles| OperatorStateBackend::builder().operator("under test").restore(handles, &opener).build();
        let shares = redistribute_operator_state(&self.0, parallelism).unwrap();
        shares.into_iter().map(|handles| restore(handles).unwrap()).collect()
    }
}

fn backends(snapshot: Option<&Snapshot>, parallelism: u32) -> Vec<OperatorStateBackend> {
    match snapshot {
        Some(snapshot) => snapshot.backends(parallelism),
        None => (0..parallelism).map(|_| OperatorStateBackend::builder().build().unwrap()).collect(),
    }
}

/// All subtasks of a source.
pub(crate) struct SourceRun<T> {
    backends: Vec<OperatorStateBackend>,
    readers: Vec<Box<dyn SourceReader<Record = T>>>,
}

impl<T: serde::Serialize + 'static> SourceRun<T> {
    pub(crate) fn open(source: &dyn Source<Record = T>, parallelism: u32, snapshot: Option<&Snapshot>) -> Result<Self> {
        let backends = backends(snapshot, parallelism);
        let mut readers = Vec::new();
        for (subtask, state) in (0..).zip(&backends) {
            let restored = snapshot.is_some();
            readers.push(source.open(&SourceContext { uid: "lines", subtask, parallelism, restored, state })?);
        }
        Ok(Self { backends, readers })
    }

    pub(crate) fn poll(&mut self, subtask: usize, limit: usize) -> Result<(SourceStatus, Vec<T>)> {
        let mut records = Vec::new();
        let status = self.readers[subtask].poll(limit, &mut records)?;
        assert!(records.len() <= limit);
        Ok((status, records))
    }

    pub(crate) fn snapshot(&mut self) -> Snapshot {
        self.readers.iter_mut().for_each(|reader| reader.snapshot().unwrap());
        Snapshot::take(&self.backends)
    }

    /// Everything one subtask still has.
    pub(crate) fn drain_one(&mut self, subtask: usize) -> Result<Vec<T>> {
        let mut all = Vec::new();
        loop {
            let (status, mut records) = self.poll(subtask, 100)?;
            all.append(&mut records);
            match status {
                SourceStatus::Ready => {}
                SourceStatus::Idle(wait) => std::thread::sleep(wait),
                SourceStatus::Finished => return Ok(all),
            }
        }
    }

    /// Everything, subtask after subtask.
    pub(crate) fn drain(&mut self) -> Result<Vec<T>> {
        let mut all = Vec::new();
        for subtask in 0..self.readers.len() {
            all.append(&mut self.drain_one(subtask)?);
        }
        Ok(all)
    }
}

/// All subtasks of a sink.
pub(crate) struct SinkRun<T> {
    backends: Vec<OperatorStateBackend>,
    pub(crate) writers: Vec<Box<dyn SinkWriter<T>>>,
}

impl<T: 'static> SinkRun<T> {
    pub(crate) fn open(
        sink: &dyn Sink<T>,
        attempt: &str,
        parallelism: u32,
        restore: Option<(u64, &Snapshot)>,
    ) -> Result<Self> {
        Self::open_as(sink, JOB, attempt, parallelism, restore)
    }

    pub(crate) fn open_as(
        sink: &dyn Sink<T>,
        job_id: &str,
        attempt: &str,
        parallelism: u32,
        restore: Option<(u64, &Snapshot)>,
    ) -> Result<Self> {
        let backends = backends(restore.map(|(_, snapshot)| snapshot), parallelism);
        let mut writers = Vec::new();
        for (subtask, state) in (0..).zip(&backends) {
            let restored_checkpoint = restore.map(|(id, _)| id);
            let uid = "out";
            let context = SinkContext { job_id, uid, subtask, parallelism, attempt, restored_checkpoint, state };
            writers.push(sink.open(&context)?);
        }
        Ok(Self { backends, writers })
    }

    /// Brings every subtask to the barrier of this checkpoint, and waits until all is durable.
    pub(crate) fn prepare(&mut self, checkpoint: u64) -> Result<Snapshot> {
        self.writers.iter_mut().try_for_each(|writer| writer.prepare(checkpoint))?;
        self.writers.iter_mut().filter_map(|writer| writer.durability()).try_for_each(|durability| durability())?;
        Ok(Snapshot::take(&self.backends))
    }

    /// Brings every subtask to the barrier of a checkpoint that is given up then.
    pub(crate) fn prepare_only(&mut self, checkpoint: u64) -> Result<()> {
        self.writers.iter_mut().try_for_each(|writer| writer.prepare(checkpoint))?;
        self.writers.iter_mut().for_each(|writer| drop(writer.durability()));
        Ok(())
    }

    /// Tells every subtask that this checkpoint is complete.
    pub(crate) fn commit(&mut self, checkpoint: u64) -> Result<()> {
        self.writers.iter_mut().try_for_each(|writer| writer.commit(checkpoint))
    }
}
