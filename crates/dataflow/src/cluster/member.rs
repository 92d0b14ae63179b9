//! A process other than 0: it joins process 0, and does what it is told.

use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use highwater_types::{Error, Result};

use super::handshake::Purpose;
use super::listener::Listener;
use super::mesh::{self, Allocators};
use super::protocol::{Failure, ToLeader, ToMember, Verdict};
use super::session::{Session, Threads};
use super::wire::{NotConnected, call};
use super::{Network, Peer, lost};
use crate::runtime::attempt::{Attempt, lock};
use crate::runtime::control::{Hub, Orders};
use crate::runtime::message::{Opening, Order, Report};
use crate::{JobHandle, JobStatus, RestoredFrom};

/// Shortest and longest time between two calls.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];
/// How often a waiting thread looks whether somebody has asked for the end of the job.
const LOOK: Duration = Duration::from_millis(50);

/// This process in its cluster, over all attempts.
pub(crate) struct Member {
    network: Arc<Network>,
    listener: Listener,
    threads: Threads,
    current: Arc<Current>,
    session: Mutex<Option<(Arc<Session>, Receiver<Event>)>>,
}

/// What process 0 says to the process as a whole.
#[derive(Debug)]
pub(crate) enum Event {
    /// Begin this attempt.
    Start { attempt: u64, attempt_id: String },
    /// The job is over.
    End(Verdict),
    /// Process 0 is gone.
    Lost(Error),
}

/// The attempt that orders are for.
struct Current {
    leader: Peer,
    handle: JobHandle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The number of the attempt that was announced.
    announced: Option<u64>,
    /// What came for it before it was ready.
    early: Vec<ToMember>,
    running: Option<(Arc<Attempt>, Orders)>,
}

impl Member {
    /// Listens for others of the cluster.
    pub(crate) fn open(network: &Arc<Network>, handle: &JobHandle) -> Result<Self> {
        Ok(Self {
            network: Arc::clone(network),
            listener: Listener::open(network, None)?,
            threads: Threads::default(),
            current: Arc::new(Current { leader: network.peer(0), handle: handle.clone(), state: Mutex::default() }),
            session: Mutex::default(),
        })
    }

    /// Joins process 0, as soon as it is there. False if somebody asked for the end of the job meanwhile.
    ///
    /// # Errors
    /// Where the two do not belong together, or process 0 has not let this one in within
    /// `taskmanager.registration.timeout`.
    pub(crate) fn join(&self) -> Result<bool> {
        let timeout = self.network.settings.registration_timeout;
        let deadline = Instant::now() + timeout;
        let [mut pause, longest] = PAUSES;
        let mut said = String::new();
        loop {
            if self.current.handle.is_ending() {
                return Ok(false);
            }
            match call(&self.network, 0, Purpose::Join { incarnation: self.network.incarnation }) {
                Ok(socket) => return self.enter(socket).map(|()| true),
                Err(NotConnected::Never(error)) => return Err(error),
                Err(NotConnected::Retry(reason)) if Instant::now() >= deadline => {
                    return Err(Error::storage(
                        "process 0 has not let this one take part in time: see whether it runs",
                    )
                    .with("peer", &self.current.leader)
                    .with("reason", reason)
                    .with("taskmanager.registration.timeout", format_args!("{timeout:?}")));
                }
                Err(NotConnected::Retry(reason)) => {
                    if said != reason {
                        tracing::info!(peer = %self.current.leader, reason, "not connected yet");
                        said = reason;
                    }
                }
            }
            self.current.handle.wait(pause);
            pause = (pause * 2).min(longest);
        }
    }

    fn enter(&self, socket: TcpStream) -> Result<()> {
        let (events, receiver) = unbounded();
        let (of_end, leader) = (events.clone(), self.current.leader.clone());
        let (current, current_of_end) = (Arc::clone(&self.current), Arc::clone(&self.current));
        let session = Session::start(
            &self.threads,
            socket,
            &self.network.settings,
            move |message| current.receive(message, &events),
            move |reason| {
                current_of_end.lost(&reason);
                let _ = of_end.send(Event::Lost(lost(&leader, &reason)));
            },
        )?;
        *lock(&self.session) = Some((session, receiver));
        Ok(())
    }

    pub(crate) fn leader(&self) -> &Peer {
        &self.current.leader
    }

    /// The next event. A request for the end of the job is passed on.
    pub(crate) fn next(&self) -> Event {
        let Some((session, events)) = lock(&self.session).clone() else {
            return Event::Lost(lost(&self.current.leader, "not connected"));
        };
        let mut requests = Requests::default();
        loop {
            match events.recv_timeout(LOOK) {
                Ok(event) => return event,
                Err(RecvTimeoutError::Disconnected) => return Event::Lost(lost(&self.current.leader, "not connected")),
                Err(RecvTimeoutError::Timeout) => {
                    requests.pass_on(&self.current.handle, &session);
                }
            }
        }
    }

    /// Connects with all processes for an attempt.
    pub(crate) fn begin(&self, attempt: &Arc<Attempt>, attempt_id: &str) -> Result<Allocators> {
        let incoming = self.listener.door().expect(attempt_id);
        mesh::connect(&self.network, attempt, attempt_id, &incoming)
    }

    /// From now on orders get to the workers, and what they report to the coordinator.
    pub(crate) fn relay(&self, attempt: &Arc<Attempt>, hub: Hub) -> Result<Relay> {
        let session = lock(&self.session).as_ref().map(|(session, _)| Arc::clone(session));
        let session = session.ok_or_else(|| lost(&self.current.leader, "not connected"))?;
        let (attempt_of_thread, orders) = (Arc::clone(attempt), hub.orders().clone());
        let handle = self.current.handle.clone();
        let thread = thread::Builder::new()
            .name("cluster-relay".to_owned())
            .spawn(move || relay(&attempt_of_thread, &hub, &session, &handle))
            .map_err(|error| Error::storage("the thread of the relay could not be started").because(error))?;
        self.current.begin(attempt, orders);
        Ok(Relay(thread))
    }

    /// An attempt is over in this process. A failure has been passed on before, unless it is one of the very beginning.
    pub(crate) fn end(&self, attempt: u64, failure: Option<&Error>) {
        self.listener.door().expect_nobody();
        lock(&self.current.state).running = None;
        if let Some((session, _)) = &*lock(&self.session) {
            if let Some(failure) = failure.filter(|_| !self.current.handle.is_cancelled()) {
                session.send(&ToLeader::Failed { attempt, failure: Failure::new(failure) });
            }
            session.send(&ToLeader::Left { attempt });
        }
    }

    /// Leaves process 0 with thanks for the end of the job.
    pub(crate) fn take_leave(&self) {
        if let Some((session, _)) = lock(&self.session).take() {
            session.send(&ToLeader::Told);
            session.finish();
        }
        self.threads.join();
    }

    /// Leaves process 0.
    pub(crate) fn leave(&self) {
        if let Some((session, _)) = lock(&self.session).take() {
            session.close();
        }
        self.threads.join();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Current {
    fn receive(&self, message: ToMember, events: &Sender<Event>) {
        let mut state = lock(&self.state);
        match message {
            ToMember::Start { attempt, attempt_id } => {
                state.announced = Some(attempt);
                state.early.clear();
                let _ = events.send(Event::Start { attempt, attempt_id });
            }
            ToMember::End(verdict) => {
                let _ = events.send(Event::End(verdict));
            }
            message @ (ToMember::Order { attempt, .. } | ToMember::Leave { attempt, .. }) => match &state.running {
                Some((running, orders)) if running.number == attempt => self.carry_out(message, running, orders),
                None if state.announced == Some(attempt) => state.early.push(message),
                _ => {}
            },
        }
    }

    fn carry_out(&self, message: ToMember, attempt: &Attempt, orders: &Orders) {
        match message {
            ToMember::Order { worker, order, .. } => {
                if let Order::Open(opening) = &order {
                    self.note_restored(opening);
                }
                orders.send(worker, order);
            }
            ToMember::Leave { failure, .. } => attempt.fail(failure.elsewhere(&self.leader)),
            ToMember::Start { .. } | ToMember::End(_) => {}
        }
    }

    fn note_restored(&self, opening: &Opening) {
        let restored_from = opening.restore.as_ref().map(|restore| RestoredFrom {
            checkpoint_id: restore.checkpoint,
            pointer: restore.pointer.clone().unwrap_or_default(),
        });
        self.handle.update(|progress| progress.restored_from = restored_from);
    }

    fn begin(&self, attempt: &Arc<Attempt>, orders: Orders) {
        let mut state = lock(&self.state);
        for message in std::mem::take(&mut state.early) {
            self.carry_out(message, attempt, &orders);
        }
        if state.announced.take() == Some(attempt.number) {
            state.running = Some((Arc::clone(attempt), orders));
        } else {
            attempt.fail(lost(&self.leader, "it left before the attempt began"));
        }
    }

    fn lost(&self, reason: &str) {
        let mut state = lock(&self.state);
        state.announced = None;
        state.early.clear();
        if let Some((attempt, _)) = state.running.take() {
            attempt.fail(lost(&self.leader, reason));
        }
    }
}

/// Passes on what the workers of one attempt report.
pub(crate) struct Relay(JoinHandle<()>);

impl Relay {
    /// Waits for the thread, whose attempt has been cancelled.
    pub(crate) fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the thread of the relay panicked");
        }
    }
}

/// What somebody asked of the job in this process, as far as process 0 knows it.
#[derive(Default)]
struct Requests {
    is_stopped: bool,
    is_cancelled: bool,
}

impl Requests {
    fn pass_on(&mut self, handle: &JobHandle, session: &Session) {
        if handle.is_cancelled() && !self.is_cancelled {
            self.is_cancelled = true;
            session.send(&ToLeader::Cancel);
        } else if handle.is_ending() && !self.is_stopped {
            self.is_stopped = true;
            session.send(&ToLeader::Stop);
        }
    }
}

fn relay(attempt: &Attempt, hub: &Hub, session: &Session, handle: &JobHandle) {
    hub.register();
    attempt.register_sleeper();
    let number = attempt.number;
    let mut requests = Requests::default();
    loop {
        let is_over = attempt.is_cancelled();
        while let Some(report) = hub.take_report() {
            if matches!(report, Report::Ready { .. }) {
                handle.update(|progress| progress.status = JobStatus::Running);
            }
            session.send(&ToLeader::Report { attempt: number, report });
        }
        requests.pass_on(handle, session);
        if is_over {
            break;
        }
        thread::park();
    }
    if let Some((kind, text)) = attempt.failure().filter(|_| !handle.is_cancelled()) {
        session.send(&ToLeader::Failed { attempt: number, failure: Failure::from_parts(kind, text) });
    }
}
