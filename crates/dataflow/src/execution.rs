//! One execution of a job: where it starts, its attempts, and its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use highwater_checkpoint::{
    CheckpointMetadata, CheckpointStorageAccess, CheckpointStreamFactory, CompletedCheckpointStore, Coordinator,
    MetadataVersion,
};
use highwater_types::{Error, ErrorKind, OperatorId, Result};

use crate::cluster::protocol::Failure;
use crate::cluster::{Allocators, Event, Leader, Member, Network, Relay};
use crate::config::Resolved;
use crate::control::ControlServer;
use crate::finished::{Finished, FinishedMarker};
use crate::graph::{OperatorKind, OperatorPlan};
use crate::progress::{JobStatus, RestoredFrom};
use crate::restart::{Restarts, can_heal, random};
use crate::restore::{check_snapshot, choose_max_parallelism, take_enumerator_states};
use crate::retention::{End, keeps};
use crate::runtime::attempt::{Attempt, catch, lock};
use crate::runtime::control::{Elsewhere, Hub, Link, Port, Workers, connect};
use crate::runtime::driver::{Driver, DriverThread, SharedCoordinator};
use crate::runtime::enumerators::{EnumeratorPlan, EnumeratorThread};
use crate::runtime::io::{Files, IoThread, SharedStore};
use crate::runtime::message::{Ending, Opening, Report, Restore};
use crate::runtime::pool::{OpenStreams, SnapshotPool, SnapshotThreads};
use crate::runtime::requests::Requests;
use crate::runtime::watchdog::{Place, Watchdog};
use crate::runtime::worker::{WorkerSetup, run};
use crate::start::{self, Lineage, SharedLineage, Snapshot};
use crate::statistics::{JobDescription, Reporter};
use crate::{ExecutionConfig, Job, JobHandle, JobOutcome};

/// Threads that write snapshots.
const SNAPSHOT_THREADS: usize = 2;

/// A job being executed in this process.
struct Execution {
    job: Job,
    resolved: Resolved,
    role: Role,
    plan: Vec<OperatorPlan>,
    handle: JobHandle,
    has_control_directory: bool,
    origin: Instant,
    /// Only in the process that coordinates.
    coordination: Option<Coordination>,
    /// Whether an attempt has come so far that all operators were open.
    has_run: bool,
}

/// What this process is to others.
enum Role {
    Alone,
    Leader(Arc<Leader>),
    Member(Arc<Member>),
}

/// Executes a job in this process, alone or with others.
pub(crate) fn execute(
    job: &Job,
    config: &ExecutionConfig,
    resolved: Resolved,
    plan: Vec<OperatorPlan>,
) -> Result<JobOutcome> {
    let Some(cluster) = config.cluster.as_ref().filter(|cluster| cluster.hosts.len() > 1) else {
        return Execution::new(job, config, resolved, plan, Role::Alone)?.run();
    };
    let network = Network::new(cluster, job.id(), resolved.workers, &resolved.settings.cluster)?;
    if network.index > 0 {
        let member = Arc::new(Member::open(&network, &config.handle)?);
        return Execution::new(job, config, resolved, plan, Role::Member(Arc::clone(&member)))?.follow(&member);
    }
    // Before anything can be refused: the others learn of it.
    let leader = Arc::new(Leader::open(&network, &config.handle)?);
    let role = Role::Leader(Arc::clone(&leader));
    let outcome = catch(|| Execution::new(job, config, resolved, plan, role)?.run());
    leader.announce(match &outcome {
        Ok(outcome) => Ok((*outcome).into()),
        Err(error) => Err(Failure::new(error)),
    });
    outcome
}

/// What the coordinating process keeps over all attempts.
struct Coordination {
    coordinator: SharedCoordinator,
    access: Arc<dyn CheckpointStorageAccess>,
    store: SharedStore,
    finished: FinishedMarker,
    lineage: SharedLineage,
    /// The snapshot to begin with, unless the job has taken a checkpoint since.
    initial: Option<Snapshot>,
    /// Least id of a checkpoint that belongs to this execution.
    first_checkpoint: u64,
}

impl Execution {
    fn new(
        job: &Job,
        config: &ExecutionConfig,
        resolved: Resolved,
        plan: Vec<OperatorPlan>,
        role: Role,
    ) -> Result<Self> {
        // Without a snapshot, as early as possible.
        choose_max_parallelism(resolved.settings.max_parallelism, None, resolved.parallelism)?;
        let coordination = (resolved.process == 0).then(|| Coordination::open(job, &resolved)).transpose()?;
        let handle = config.handle.clone();
        handle.describe(JobDescription {
            id: job.id(),
            name: job.name().to_owned(),
            parallelism: resolved.parallelism,
            operators: plan.iter().map(|operator| (operator.uid.to_string(), operator.id)).collect(),
            checkpointing: resolved.settings.checkpointing.clone(),
            state_backend: resolved.backend.name().to_owned(),
            is_coordinated_here: resolved.process == 0,
        });
        let has_control_directory = config.has_control_directory;
        Ok(Self {
            job: job.clone(),
            resolved,
            role,
            plan,
            handle,
            has_control_directory,
            origin: Instant::now(),
            coordination,
            has_run: false,
        })
    }

    /// Runs attempts until one comes to an end, or a failure is not forgiven.
    fn run(mut self) -> Result<JobOutcome> {
        if !self.choose_start()? {
            return Ok(JobOutcome::AlreadyFinished);
        }
        self.warn();
        let _reporter = Reporter::start(&self.handle);
        let control = self.control()?;
        let result = self.run_attempts();
        self.release_checkpoints(&result);
        if let Some(control) = control {
            let failure = result.as_ref().err().filter(|_| !self.handle.is_cancelled());
            control.end(failure.map(ToString::to_string));
        }
        match result {
            Ok(ending) => Ok(ending.outcome()),
            Err(_) if self.handle.is_cancelled() => Ok(JobOutcome::Cancelled),
            Err(failure) => Err(failure),
        }
    }

    fn run_attempts(&mut self) -> Result<Ending> {
        let mut restarts = Restarts::new(self.resolved.settings.restart.clone());
        for number in 1.. {
            if number > 1 && self.handle.is_ending() {
                return self.end_without_attempt();
            }
            let ending = match self.wait_for_members() {
                Ok(true) => self.attempt(number, &attempt_id(number)),
                Ok(false) => return self.end_without_attempt(),
                Err(error) => Err(error),
            };
            let failure = match ending {
                Ok(ending) => {
                    self.has_run = true;
                    return Ok(ending);
                }
                Err(failure) => failure,
            };
            self.has_run |= matches!(self.handle.progress().status, JobStatus::Running | JobStatus::Finishing);
            self.recover(number, failure, &mut restarts)?;
        }
        Err(Error::internal("there are no more attempt numbers"))
    }

    /// The end of a job that somebody stopped or cancelled between two attempts: there is no last checkpoint.
    fn end_without_attempt(&self) -> Result<Ending> {
        match self.handle.is_cancelled() {
            true => Err(Error::cancelled("the job was cancelled")),
            false => Ok(Ending::Stopped),
        }
    }

    /// Runs the attempts that process 0 begins, until it says how the job ended.
    fn follow(self, member: &Member) -> Result<JobOutcome> {
        self.warn();
        let _reporter = Reporter::start(&self.handle);
        let mut restarts = Restarts::new(self.resolved.settings.restart.clone());
        let (mut newest, mut last_failure) = (0, None);
        loop {
            if !member.join()? {
                return match self.end_without_attempt() {
                    Err(_) if self.handle.is_cancelled() => Ok(JobOutcome::Cancelled),
                    ending => Ok(ending?.outcome()),
                };
            }
            let failure = loop {
                match member.next() {
                    Event::Start { attempt, attempt_id } => {
                        newest = attempt;
                        if let Err(failure) = self.attempt(attempt, &attempt_id) {
                            tracing::warn!(attempt, error = %failure, "the attempt failed; process 0 decides what follows");
                            self.note_failure(&failure);
                            last_failure = Some(failure);
                        }
                    }
                    Event::End(verdict) => {
                        member.take_leave();
                        return verdict
                            .map(Into::into)
                            .map_err(|failure| failure.at_home(member.leader(), last_failure));
                    }
                    Event::Lost(failure) => break failure,
                }
            };
            member.leave();
            last_failure = Some(self.recover(newest, failure, &mut restarts)?);
        }
    }

    /// Waits as the restart strategy says, or until somebody asks for the end, and gives the failure back; it is an error
    /// if nothing follows it.
    fn recover(&self, attempt: u64, failure: Error, restarts: &mut Restarts) -> Result<Error> {
        let delay = match can_heal(&failure) {
            true => restarts.next(self.origin.elapsed(), random()),
            false => None,
        };
        let Some(delay) = delay.filter(|_| !self.handle.is_cancelled()) else { return Err(failure) };
        tracing::warn!(attempt, error = %failure, ?delay, "the attempt failed; the job restarts");
        self.note_failure(&failure);
        self.handle.wait(delay);
        Ok(failure)
    }

    fn note_failure(&self, failure: &Error) {
        self.handle.update(|progress| {
            progress.status = JobStatus::Restarting;
            progress.last_failure = Some(failure.to_string());
        });
    }

    /// Takes requests from outside, if that is wanted and there is where.
    fn control(&self) -> Result<Option<ControlServer>> {
        let directory = self.coordination.as_ref().and_then(|coordination| coordination.access.directory());
        match directory.filter(|_| self.has_control_directory) {
            Some(directory) => ControlServer::start(directory, &self.handle).map(Some),
            None => Ok(None),
        }
    }

    /// Whether all processes are there. False if somebody asked for a stop.
    fn wait_for_members(&self) -> Result<bool> {
        match &self.role {
            Role::Leader(leader) => leader.wait_for_members(),
            Role::Alone | Role::Member(_) => Ok(true),
        }
    }

    /// Finds the snapshot to begin with. False if the job has finished before. Nothing is touched before it is found.
    fn choose_start(&mut self) -> Result<bool> {
        let Some(coordination) = &mut self.coordination else { return Ok(true) };
        let Coordination { store, finished, lineage, .. } = coordination;
        let beginning = start::begin(&self.resolved, &mut lock(store), finished, &mut lock(lineage))?;
        lock(store).remove_orphans();
        if !beginning.has_finished {
            finished.remove()?;
        }
        coordination.initial = beginning.initial;
        coordination.first_checkpoint = beginning.first_checkpoint;
        Ok(!beginning.has_finished)
    }

    /// Keeps or deletes the checkpoints of a job that has ended, and notes whether it has finished. A job that could not
    /// begin to run, or whose checkpoints are damaged, loses nothing.
    fn release_checkpoints(&self, result: &Result<Ending>) {
        let Some(coordination) = self.coordination.as_ref().filter(|_| self.has_run) else { return };
        let end = match result {
            Ok(Ending::Stopped) if coordination.savepoint().is_some() => End::StoppedWithSavepoint,
            Ok(ending) => End::of(*ending),
            Err(failure) if failure.kind() == ErrorKind::Corrupt => return,
            Err(_) if self.handle.is_cancelled() => End::Cancelled,
            Err(_) => End::Failed,
        };
        let is_kept = keeps(self.resolved.settings.checkpointing.retention, end);
        let savepoint = coordination.savepoint();
        let is_here = is_kept && savepoint.is_none();
        if let (End::Finished, Some(checkpoint)) = (end, savepoint.map(|(id, _)| id).or(coordination.newest()))
            && let Err(error) = coordination.finished.write(Finished { checkpoint, is_here })
        {
            tracing::warn!(%error, "the job has finished, but that could not be recorded: a new start runs it once more");
            return;
        }
        if !is_kept {
            lock(&coordination.store).discard_all();
        }
    }

    /// An exactly-once sink whose job dies with the process cannot keep its promise.
    fn warn(&self) {
        let is_exactly_once = |operator: &OperatorPlan| operator.kind == OperatorKind::Sink { exactly_once: true };
        if let Some(sink) = self.plan.iter().find(|operator| is_exactly_once(operator))
            && !self.resolved.storage.survives_process()
        {
            tracing::warn!(
                operator = %sink.uid,
                "the sink is exactly-once, but a new process cannot resume this job: its checkpoints live in memory. Give \
                 the backend a checkpoint directory"
            );
        }
    }

    /// Runs one attempt. When it returns, none of its threads is alive, unless the target of a savepoint hangs.
    fn attempt(&self, number: u64, attempt_id: &str) -> Result<Ending> {
        let attempt = Arc::new(Attempt::new(number));
        let ending = self.run_attempt(&attempt, attempt_id);
        attempt.cancel();
        match &self.role {
            Role::Alone => {}
            Role::Leader(leader) => leader.end(number, ending.as_ref().err()),
            Role::Member(member) => member.end(number, ending.as_ref().err()),
        }
        ending
    }

    fn run_attempt(&self, attempt: &Arc<Attempt>, attempt_id: &str) -> Result<Ending> {
        self.handle.update(|progress| {
            progress.status = JobStatus::Starting;
            progress.attempt = attempt.number;
            progress.restarts = attempt.number.saturating_sub(1);
        });
        // Dropped last: all other threads are joined under its eyes.
        let watchdog = Watchdog::start(attempt, self.resolved.patience)?;
        let streams = self.streams();
        let snapshot = |index| {
            let name = format!("snapshot-{index}");
            let pace = watchdog.watch(Place::Files(name.clone()));
            (name, pace)
        };
        let pool = SnapshotPool::start((0..SNAPSHOT_THREADS).map(snapshot), &streams, attempt)?;
        // Nobody waits for these for ever.
        let savepoint = |index| (format!("savepoint-{index}"), Arc::default());
        let savepoint_pool = SnapshotPool::start((0..SNAPSHOT_THREADS).map(savepoint), &streams, attempt)?;
        let closed = || Error::internal("the pool of threads is closed");
        let jobs = SnapshotThreads {
            checkpoints: pool.sender().ok_or_else(closed)?,
            savepoints: savepoint_pool.sender().ok_or_else(closed)?,
        };
        let (hub, reports, links) = self.control_plane(attempt.number);
        let (driver, relay) = match (&self.coordination, &self.role) {
            (Some(coordination), _) => (Some(self.driver(coordination, attempt, attempt_id, hub, &watchdog)?), None),
            (None, Role::Member(member)) => (None, Some(member.relay(attempt, hub)?)),
            (None, _) => return Err(Error::internal("nobody coordinates the job")),
        };
        let settings = &self.resolved.settings;
        let first_worker = self.resolved.process * self.resolved.workers;
        let workers = first_worker..first_worker + self.resolved.workers;
        let paces = workers.map(|worker| watchdog.watch(Place::Worker(worker))).collect();
        let setup = Arc::new(WorkerSetup {
            attempt: Arc::clone(attempt),
            program: Arc::clone(self.job.program()),
            job_id: self.job.id().to_string(),
            store: self.resolved.backend.keyed_store(),
            storage: Arc::clone(&self.resolved.storage),
            compression: settings.checkpointing.compression,
            max_parallelism: settings.max_parallelism,
            watermark_interval: settings.watermark_interval,
            remembers_watermarks: self.resolved.remembers_watermarks,
            limit: settings.acknowledgement_limit.bytes(),
            counters: self.handle.counters(),
            jobs,
            paces,
            first_worker,
            links,
            ending: Mutex::new(None),
        });
        self.handle.attach(Some(attempt));
        let mut running = None;
        let started = catch(|| {
            let allocators = self.connect(attempt, attempt_id, reports)?;
            running = driver.map(Driver::start).transpose()?;
            start_workers(allocators, &setup)
        });
        self.handle.attach(None);
        if let Err(error) = started {
            attempt.fail(error);
        }
        // The asynchronous parts that are left see the cancelled attempt, or are of no use to anybody.
        attempt.cancel();
        let ending = lock(&setup.ending).take();
        drop(setup);
        watchdog.workers_have_left();
        drop(pool);
        savepoint_pool.leave(self.resolved.patience.savepoint_grace());
        relay.into_iter().for_each(Relay::join);
        match running.map(DriverThread::join).transpose() {
            Ok(driver) => driver.into_iter().for_each(Driver::finish),
            Err(error) => attempt.fail(error),
        }
        self.sweep();
        match (attempt.take_failure(), ending) {
            (Some(failure), _) => Err(self.explain(failure)),
            (None, Some(ending)) => Ok(ending),
            (None, None) => Err(Error::internal("an attempt ended before its end")),
        }
    }

    /// The ends of the control plane in this process.
    fn control_plane(&self, attempt: u64) -> (Hub, Port<Report>, Vec<Link>) {
        let local = self.resolved.workers as u32;
        let workers = Workers { first: self.resolved.process as u32 * local, local, all: self.resolved.parallelism };
        let elsewhere: Option<Arc<dyn Elsewhere>> = match &self.role {
            Role::Leader(leader) => Some(Arc::new(leader.orders(attempt))),
            Role::Alone | Role::Member(_) => None,
        };
        connect(workers, elsewhere)
    }

    /// What timely runs on: connections with all other processes, if there are any.
    fn connect(&self, attempt: &Arc<Attempt>, attempt_id: &str, reports: Port<Report>) -> Result<Allocators> {
        match &self.role {
            Role::Alone => timely::CommunicationConfig::Process(self.resolved.workers).try_build().map_err(refused),
            Role::Leader(leader) => leader.begin(attempt, attempt_id, reports),
            Role::Member(member) => member.begin(attempt, attempt_id),
        }
    }

    /// Nobody writes any more: removes what was uploaded for acknowledgements that have never arrived.
    fn sweep(&self) {
        if let Some(coordination) = &self.coordination
            && let Err(error) = lock(&coordination.store).sweep()
        {
            tracing::warn!(%error, "files that the attempt left may still be there; the next start removes them");
        }
    }

    /// Damaged state is never stepped over: the error names what there is to go back to.
    fn explain(&self, failure: Error) -> Error {
        let Some(coordination) = self.coordination.as_ref().filter(|_| failure.kind() == ErrorKind::Corrupt) else {
            return failure;
        };
        let Some(restored) = self.handle.progress().restored_from else { return failure };
        let store = lock(&coordination.store);
        let older = store.checkpoints().rev().find(|checkpoint| checkpoint.id() < restored.checkpoint_id);
        failure
            .with("restored from", restored.pointer)
            .with("older checkpoint", older.map_or("none", |checkpoint| checkpoint.pointer()))
    }

    fn streams(&self) -> OpenStreams {
        let (storage, job) = (Arc::clone(&self.resolved.storage), self.job.id());
        Arc::new(move |checkpoint, savepoint, cancel| -> Result<Arc<dyn CheckpointStreamFactory>> {
            match savepoint {
                Some(directory) => storage.savepoint_streams(directory, cancel.clone()),
                None => storage.streams(job, checkpoint, cancel.clone()),
            }
        })
    }

    fn driver(
        &self,
        coordination: &Coordination,
        attempt: &Arc<Attempt>,
        attempt_id: &str,
        hub: Hub,
        watchdog: &Watchdog,
    ) -> Result<Driver> {
        let mut snapshot = coordination.snapshot(&self.resolved)?;
        let mut enumerator_states = BTreeMap::new();
        if let Some(snapshot) = &mut snapshot {
            let mut metadata = CheckpointMetadata::read(&snapshot.restore.metadata)?;
            check_snapshot(&metadata, &self.plan, self.resolved.settings.recovery.ignore_unclaimed_state)
                .map_err(|error| error.with("snapshot", &snapshot.from.pointer))?;
            enumerator_states = take_enumerator_states(&mut metadata);
            // That of Flink goes to the workers as it is.
            if !enumerator_states.is_empty() {
                snapshot.restore.metadata = metadata.write(MetadataVersion::V3)?;
            }
        }
        let (restore, from) = snapshot.map(|snapshot| (snapshot.restore, snapshot.from)).unzip();
        if let Some(from) = &from {
            self.handle.note(|history| history.restored(from));
        }
        self.handle.update(|progress| progress.restored_from = from);
        let files = Files {
            job: self.job.id(),
            storage: Arc::clone(&self.resolved.storage),
            access: Arc::clone(&coordination.access),
            store: Arc::clone(&coordination.store),
            lineage: Arc::clone(&coordination.lineage),
        };
        let pace = watchdog.watch(Place::Files("checkpoint-io".to_owned()));
        let savepoint_io = IoThread::start("savepoint-io", files.clone(), Arc::clone(attempt), Arc::default())?;
        let io = IoThread::start("checkpoint-io", files, Arc::clone(attempt), pace)?;
        let default_target = self.resolved.backend.savepoint_directory().cloned();
        let default_target =
            default_target.or_else(|| self.resolved.settings.checkpointing.savepoint_directory.clone());
        let enumerators = EnumeratorThread::start(
            self.enumerators(enumerator_states),
            self.resolved.parallelism,
            Arc::clone(attempt),
            watchdog.watch(Place::Enumerators),
        )?;
        let opening = Opening {
            attempt: attempt.number,
            attempt_id: attempt_id.to_owned(),
            first_checkpoint: coordination.next_checkpoint(),
            restore,
        };
        Ok(Driver::new(
            Arc::clone(attempt),
            Arc::clone(&coordination.coordinator),
            self.origin,
            self.resolved.parallelism,
            opening,
            (hub, io, savepoint_io, enumerators),
            (self.handle.clone(), Requests::new(default_target), self.resolved.patience.savepoint_grace()),
        ))
    }

    /// One for each source, with its state in the snapshot.
    fn enumerators(&self, mut restored: BTreeMap<OperatorId, Vec<u8>>) -> Vec<EnumeratorPlan> {
        let of_source = |(operator, plan): (u32, &OperatorPlan)| {
            let (id, uid, factory) = (plan.id, Arc::clone(&plan.uid), plan.enumerator.clone()?);
            Some(EnumeratorPlan { operator, id, uid, factory, restored: restored.remove(&id) })
        };
        (0..).zip(&self.plan).filter_map(of_source).collect()
    }
}

impl Coordination {
    fn open(job: &Job, resolved: &Resolved) -> Result<Self> {
        let settings = &resolved.settings.checkpointing;
        let access = resolved.storage.open(job.id()).map_err(|error| error.with("job", job.name()))?;
        let store = CompletedCheckpointStore::recover(Arc::clone(&access), settings.retained as usize)?;
        let coordinator = Coordinator::new(settings.coordinator.clone())?;
        Ok(Self {
            coordinator: Arc::new(Mutex::new(coordinator)),
            finished: FinishedMarker::new(access.directory()),
            lineage: Arc::new(Mutex::new(Lineage::read(access.directory())?)),
            access,
            store: Arc::new(Mutex::new(store)),
            initial: None,
            first_checkpoint: 0,
        })
    }

    /// The savepoint with which the job was stopped, and its id.
    fn savepoint(&self) -> Option<(u64, String)> {
        let newest = self.newest();
        lock(&self.lineage).savepoint(newest).map(|(id, pointer)| (id, pointer.to_owned()))
    }

    /// The newest checkpoint that is complete.
    fn newest(&self) -> Option<u64> {
        lock(&self.store).latest().map(|latest| latest.id())
    }

    /// The newest checkpoint of this execution, or the savepoint after which it failed to stop, else the snapshot it began
    /// with.
    fn snapshot(&self, resolved: &Resolved) -> Result<Option<Snapshot>> {
        if let Some((_, pointer)) = self.savepoint() {
            // The sinks may have committed what it covers.
            return start::savepoint(&*resolved.storage, &pointer).map(Some);
        }
        let store = lock(&self.store);
        match store.latest().filter(|latest| latest.id() >= self.first_checkpoint) {
            Some(latest) => Ok(Some(Snapshot {
                from: RestoredFrom { checkpoint_id: latest.id(), pointer: latest.pointer().to_owned() },
                restore: Restore {
                    checkpoint: latest.id(),
                    pointer: latest.directory().map(ToString::to_string),
                    is_own: true,
                    metadata: latest.metadata().write(MetadataVersion::V3)?,
                },
            })),
            None => Ok(self.initial.clone()),
        }
    }

    /// Least id of the next checkpoint: above everything that was ever begun.
    fn next_checkpoint(&self) -> u64 {
        let begun = lock(&self.coordinator).next_checkpoint();
        lock(&self.store).next_checkpoint_id().max(begun).max(self.first_checkpoint)
    }
}

/// Runs the workers of this process to their end.
fn start_workers((allocators, others): Allocators, setup: &Arc<WorkerSetup>) -> Result<()> {
    let shared = Arc::clone(setup);
    let config = timely::WorkerConfig::default();
    let guards = timely::execute::execute_from(allocators, others, config, move |worker| run(worker, &shared));
    for result in guards.map_err(refused)?.join() {
        if let Err(panic) = result {
            setup.attempt.fail(Error::internal("a worker thread panicked").with("panic", panic));
        }
    }
    Ok(())
}

fn refused(error: String) -> Error {
    Error::storage("the workers could not be started").with("reason", error)
}

/// A name no other attempt ever had: two processes cannot hold the lock of a job at the same nanosecond.
fn attempt_id(number: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}{number:04x}", now.as_nanos())
}
