//! The loop of one worker thread: it steps timely, obeys the coordinator, and leaves when the attempt is over.

use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater_backends::KeyedStore;
use highwater_checkpoint::{CheckpointMetadata, CheckpointStorage, SnapshotOpener, StoragePath};
use highwater_types::{Error, MaxParallelism, Result};
use timely::dataflow::operators::probe::Handle as Probe;
use timely::worker::Worker;

use super::attempt::{Attempt, catch, lock};
use super::control::Link;
use super::mailbox::Mailbox;
use super::message::{Ending, Opening, Order, Restore};
use super::pace::Pace;
use super::pool::SnapshotThreads;
use super::time::Time;
use crate::graph::{Build, Runtime, Setup, StreamEnvironment};
use crate::job::Program;
use crate::progress::Counters;
use crate::restart::while_opening;
use crate::restore::Restored;

/// What all workers of this process get for one attempt.
pub(crate) struct WorkerSetup {
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) program: Program,
    pub(crate) job_id: String,
    pub(crate) store: KeyedStore,
    pub(crate) storage: Arc<dyn CheckpointStorage>,
    pub(crate) compression: bool,
    pub(crate) max_parallelism: Option<MaxParallelism>,
    pub(crate) watermark_interval: Option<Duration>,
    pub(crate) remembers_watermarks: bool,
    /// Largest acknowledgement in bytes.
    pub(crate) limit: u64,
    pub(crate) counters: Counters,
    pub(crate) jobs: SnapshotThreads,
    /// What the operators of each worker of this process are doing.
    pub(crate) paces: Vec<Arc<Pace>>,
    /// Index of the first worker of this process.
    pub(crate) first_worker: usize,
    /// The workers' ends of the control plane. Each takes its own.
    pub(crate) links: Vec<Link>,
    /// How the attempt ended; none as long as it has not come to its end.
    pub(crate) ending: Mutex<Option<Ending>>,
}

/// Runs one worker until its dataflows are complete or the attempt is cancelled.
pub(crate) fn run(worker: &mut Worker, setup: &WorkerSetup) {
    setup.attempt.register_sleeper();
    let outcome = catch(|| WorkerLoop::new(worker, setup)?.run());
    if let Err(error) = outcome {
        setup.attempt.fail(error);
    }
    // Nothing is left after a good end. After a failure state and user code are dropped here, on their thread.
    for dataflow in worker.installed_dataflows() {
        let dropped = catch(|| {
            worker.drop_dataflow(dataflow);
            Ok(())
        });
        if let Err(error) = dropped {
            setup.attempt.fail(error);
        }
    }
}

struct WorkerLoop<'a> {
    worker: &'a mut Worker,
    setup: &'a WorkerSetup,
    link: Link,
    data: Option<DataDataflow>,
    /// Whether the worker has done its part.
    is_done: bool,
}

/// The data dataflow while it runs.
struct DataDataflow {
    index: usize,
    mailbox: Rc<Mailbox>,
    probe: Probe<Time>,
    /// The frontier of the end when the sources were last woken.
    end: Option<Time>,
}

impl<'a> WorkerLoop<'a> {
    fn new(worker: &'a mut Worker, setup: &'a WorkerSetup) -> Result<Self> {
        let own = worker.index().checked_sub(setup.first_worker);
        let link = own.and_then(|index| setup.links.get(index)).cloned();
        let link = link.ok_or_else(|| Error::internal("a worker without a link").with("worker", worker.index()))?;
        link.register();
        Ok(Self { worker, setup, link, data: None, is_done: false })
    }

    fn run(mut self) -> Result<()> {
        if let Err(error) = self.work() {
            self.setup.attempt.fail(error);
        }
        Ok(())
    }

    fn work(&mut self) -> Result<()> {
        while !self.setup.attempt.is_cancelled() {
            while let Some(order) = self.link.take_order() {
                self.obey(order)?;
            }
            if let Some(data) = &mut self.data {
                data.mailbox.collect();
                data.wake_sources();
            }
            self.close_when_done();
            if self.is_done && !self.worker.has_dataflows() {
                break;
            }
            self.worker.step_or_park(None);
        }
        Ok(())
    }

    fn obey(&mut self, order: Order) -> Result<()> {
        match (order, &self.data) {
            (Order::Open(opening), _) => self.data = Some(self.open(opening).map_err(while_opening)?),
            (Order::Assign { operator, assignment }, Some(data)) => data.mailbox.assign(operator, assignment),
            (Order::Begin { checkpoint, is_final, savepoint }, Some(data)) => {
                let savepoint = savepoint.map(|directory| StoragePath::parse(&directory)).transpose()?;
                data.mailbox.begin(checkpoint, is_final, savepoint);
            }
            (Order::Complete { checkpoint, is_final }, Some(data)) => data.mailbox.complete(checkpoint, is_final),
            (Order::Abort { checkpoint }, Some(data)) => data.mailbox.abort(checkpoint),
            (Order::End(ending), Some(data)) => {
                *lock(&self.setup.ending) = Some(ending);
                data.mailbox.end();
            }
            (order, None) => {
                return Err(
                    Error::internal("an order came before the job was opened").with("order", format_args!("{order:?}"))
                );
            }
        }
        Ok(())
    }

    /// Builds the data dataflow and opens its operators.
    fn open(&mut self, opening: Opening) -> Result<DataDataflow> {
        let setup = self.setup;
        let (index, workers) = (self.worker.index() as u32, self.worker.peers() as u32);
        let pace = setup.paces.get(self.worker.index() - setup.first_worker).cloned().unwrap_or_default();
        let mailbox = Mailbox::new(
            Arc::clone(&setup.attempt),
            (index, workers),
            (pace, setup.counters.operators.clone()),
            opening.first_checkpoint,
            self.link.clone(),
            setup.jobs.clone(),
            setup.limit,
        );
        let restored = opening.restore.map(|restore| restored(setup, restore)).transpose()?;
        let operators = Setup {
            job_id: setup.job_id.clone(),
            attempt_id: opening.attempt_id,
            store: setup.store.clone(),
            compression: setup.compression,
            max_parallelism: setup.max_parallelism,
            watermark_interval: setup.watermark_interval,
            remembers_watermarks: setup.remembers_watermarks,
            restored,
            counters: setup.counters.clone(),
        };
        let probe = Probe::new();
        let dataflow = self.worker.next_dataflow_index();
        let (inner_mailbox, inner_probe, program) = (Rc::clone(&mailbox), probe.clone(), Arc::clone(&setup.program));
        self.worker.dataflow::<Time, _, _>(move |scope| {
            let runtime = Runtime { scope, mailbox: inner_mailbox, probe: inner_probe, setup: operators };
            let build = Build::new(Some(runtime), workers);
            let built = catch(|| program(&mut StreamEnvironment::new(Rc::clone(&build))));
            // What the operators say comes first: it is the cause of what the program says.
            build.finish().and(built)
        })?;
        mailbox.opened();
        Ok(DataDataflow { index: dataflow, mailbox, probe, end: None })
    }

    /// After the last order the worker's part in the job is over.
    fn close_when_done(&mut self) {
        let is_over =
            |data: &DataDataflow| data.mailbox.is_ending() && !self.worker.installed_dataflows().contains(&data.index);
        if self.data.as_ref().is_some_and(is_over) {
            self.data = None;
            self.is_done = true;
        }
    }
}

impl DataDataflow {
    fn wake_sources(&mut self) {
        let end = self.probe.with_frontier(|frontier| frontier.as_option().copied());
        if end != self.end {
            self.end = end;
            self.mailbox.activate_sources();
        }
    }
}

fn restored(setup: &WorkerSetup, restore: Restore) -> Result<Restored> {
    let opener = match &restore.pointer {
        Some(pointer) => setup.storage.resolve(pointer)?.opener(),
        None => SnapshotOpener::in_memory(),
    };
    let opener = opener.with_cancel_token(setup.attempt.cancel_token().clone());
    Ok(Restored::new(CheckpointMetadata::read(&restore.metadata)?, opener, restore.is_own))
}
