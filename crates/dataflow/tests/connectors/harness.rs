//! The part of the runtime that sources and sinks see.

use std::time::Duration;

use highwater_checkpoint::{CancelToken, MemoryStreamFactory, OperatorStateHandle, SnapshotOpener};
use highwater_dataflow::{
    Sink, SinkContext, SinkWriter, Source, SourceContext, SourceReader, SourceStatus, SplitAssignment, SplitEnumerator,
    SplitEnumeratorContext,
};
use highwater_state::{ListStateDescriptor, OperatorListState, OperatorStateBackend, redistribute_operator_state};
use highwater_types::{DefaultSerializer, Result};

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

/// The state of a source at one barrier.
#[derive(Clone, Debug)]
pub(crate) struct SourceSnapshot {
    readers: Snapshot,
    pub(crate) enumerator: Vec<u8>,
}

/// A source: its enumerator and all subtasks.
pub(crate) struct SourceRun<S: Source> {
    enumerator: Box<dyn SplitEnumerator<S::Split>>,
    context: SplitEnumeratorContext<S::Split>,
    backends: Vec<OperatorStateBackend>,
    subtasks: Vec<Subtask<S>>,
}

struct Subtask<S: Source> {
    reader: Box<dyn SourceReader<Record = S::Record, Split = S::Split>>,
    splits: OperatorListState<S::Split>,
    no_more: bool,
    has_asked: bool,
}

impl<S: Source> SourceRun<S> {
    pub(crate) fn open(source: &S, parallelism: u32, snapshot: Option<&SourceSnapshot>) -> Result<Self> {
        let mut enumerator = source.create_enumerator(snapshot.map(|snapshot| &snapshot.enumerator[..]))?;
        let mut context = SplitEnumeratorContext::new(parallelism);
        // One that wants to look again is asked to by the test.
        let _ = discover(&mut *enumerator, &mut context)?;
        let backends = backends(snapshot.map(|snapshot| &snapshot.readers), parallelism);
        let mut subtasks = Vec::new();
        for (subtask, state) in (0..).zip(&backends) {
            let splits = ListStateDescriptor::with_serializer("splits", S::Split::default_serializer());
            let splits = state.list_state(&splits).unwrap();
            let mut reader = source.create_reader(&SourceContext { uid: "lines", subtask, parallelism })?;
            reader.add_splits(splits.get().unwrap())?;
            subtasks.push(Subtask { reader, splits, no_more: false, has_asked: false });
            enumerator.add_reader(subtask, &mut context)?;
        }
        let mut run = Self { enumerator, context, backends, subtasks };
        run.deliver()?;
        Ok(run)
    }

    fn deliver(&mut self) -> Result<()> {
        for assignment in self.context.take_assignments() {
            match assignment {
                SplitAssignment::Splits { subtask, splits } => {
                    let subtask = &mut self.subtasks[subtask as usize];
                    subtask.has_asked = false;
                    subtask.reader.add_splits(splits)?;
                }
                SplitAssignment::NoMore { subtask } => self.subtasks[subtask as usize].no_more = true,
                _ => unreachable!(),
            }
        }
        Ok(())
    }

    /// Lets the enumerator look for splits.
    pub(crate) fn discover(&mut self) -> Result<Option<Duration>> {
        let pause = discover(&mut *self.enumerator, &mut self.context)?;
        self.deliver()?;
        Ok(pause)
    }

    /// One call of the reader, or two, if it first needs a split. [`SourceStatus::NeedsSplit`]: it will get none.
    pub(crate) fn poll(&mut self, subtask: usize, limit: usize) -> Result<(SourceStatus, Vec<S::Record>)> {
        let mut records = Vec::new();
        loop {
            let status = self.subtasks[subtask].reader.poll(limit, &mut records)?;
            assert!(records.len() <= limit);
            let is_starving = status == SourceStatus::NeedsSplit && !self.subtasks[subtask].no_more;
            if !is_starving {
                return Ok((status, records));
            }
            if !std::mem::replace(&mut self.subtasks[subtask].has_asked, true) {
                self.enumerator.handle_split_request(subtask as u32, &mut self.context)?;
                self.deliver()?;
            }
            let has_got_one = !self.subtasks[subtask].has_asked;
            if !records.is_empty() || !has_got_one {
                return Ok((SourceStatus::Ready, records));
            }
        }
    }

    pub(crate) fn snapshot(&mut self) -> SourceSnapshot {
        for subtask in &mut self.subtasks {
            subtask.splits.update(subtask.reader.snapshot_state().unwrap()).unwrap();
        }
        SourceSnapshot {
            readers: Snapshot::take(&self.backends),
            enumerator: self.enumerator.snapshot_state().unwrap(),
        }
    }

    /// Everything there is for one subtask, while no other asks.
    pub(crate) fn drain_one(&mut self, subtask: usize) -> Result<Vec<S::Record>> {
        let mut all = Vec::new();
        loop {
            let (status, mut records) = self.poll(subtask, 100)?;
            all.append(&mut records);
            match status {
                SourceStatus::Ready if self.subtasks[subtask].has_asked => return Ok(all),
                SourceStatus::Ready => {}
                SourceStatus::Idle(wait) => std::thread::sleep(wait),
                SourceStatus::NeedsSplit => return Ok(all),
            }
        }
    }

    /// Everything, a few records of each subtask in turn.
    pub(crate) fn drain(&mut self) -> Result<Vec<S::Record>> {
        let mut all = Vec::new();
        loop {
            let mut is_over = true;
            for subtask in 0..self.subtasks.len() {
                let (status, mut records) = self.poll(subtask, 100)?;
                all.append(&mut records);
                if let SourceStatus::Idle(wait) = status {
                    std::thread::sleep(wait);
                }
                is_over &= status == SourceStatus::NeedsSplit || self.subtasks[subtask].has_asked;
            }
            if is_over {
                return Ok(all);
            }
        }
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

    /// Brings every subtask to the barrier of what is to be the last checkpoint, and waits until all is durable.
    pub(crate) fn prepare_last(&mut self, checkpoint: u64) -> Result<Snapshot> {
        self.writers.iter_mut().try_for_each(|writer| writer.finish())?;
        self.prepare(checkpoint)
    }

    /// Lets every subtask look at the clock. Returns when the first wants to do so again.
    pub(crate) fn look_at_clock(&mut self) -> Option<Duration> {
        self.writers.iter_mut().map(|writer| writer.on_processing_time().unwrap()).min().flatten()
    }

    /// Tells every subtask that this checkpoint is complete.
    pub(crate) fn commit(&mut self, checkpoint: u64) -> Result<()> {
        self.writers.iter_mut().try_for_each(|writer| writer.commit(checkpoint))
    }
}

/// Until the enumerator wants a rest: one that looks at much does so slice by slice.
fn discover<S>(
    enumerator: &mut dyn SplitEnumerator<S>,
    context: &mut SplitEnumeratorContext<S>,
) -> Result<Option<Duration>> {
    loop {
        let pause = enumerator.discover(context)?;
        if pause != Some(Duration::ZERO) {
            return Ok(pause);
        }
    }
}
