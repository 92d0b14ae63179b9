//! Process 0 of a cluster: it admits the others, passes on what coordinator and workers tell each other, and has the last
//! word.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use highwater_types::{Error, Result};

use super::handshake::Answer;
use super::listener::{Joining, Listener};
use super::membership::{Membership, SessionId};
use super::mesh::{self, Allocators};
use super::protocol::{Failure, ToLeader, ToMember, Verdict};
use super::session::{Session, Threads};
use super::{Network, lost};
use crate::JobHandle;
use crate::runtime::attempt::{Attempt, lock};
use crate::runtime::control::{Elsewhere, Port};
use crate::runtime::message::{Order, Report};

/// How often a waiting thread looks whether somebody has asked for the end of the job.
const LOOK: Duration = Duration::from_millis(50);

/// Process 0, over all attempts.
pub(crate) struct Leader {
    core: Arc<Core>,
    listener: Listener,
}

struct Core {
    network: Arc<Network>,
    handle: JobHandle,
    state: Mutex<State>,
    changed: Condvar,
    threads: Threads,
}

struct State {
    membership: Membership,
    /// By session: the index of the member, and the connection.
    sessions: BTreeMap<SessionId, (u32, Arc<Session>)>,
    running: Option<Running>,
    verdict: Option<Verdict>,
    /// Members that have heard the verdict.
    told: BTreeSet<u32>,
}

/// The attempt under way.
struct Running {
    attempt: Arc<Attempt>,
    reports: Port<Report>,
}

impl Leader {
    /// Listens for the others.
    pub(crate) fn open(network: &Arc<Network>, handle: &JobHandle) -> Result<Self> {
        let core = Arc::new(Core {
            network: Arc::clone(network),
            handle: handle.clone(),
            state: Mutex::new(State {
                membership: Membership::new(network.identity.processes),
                sessions: BTreeMap::new(),
                running: None,
                verdict: None,
                told: BTreeSet::new(),
            }),
            changed: Condvar::new(),
            threads: Threads::default(),
        });
        let joining: Arc<dyn Joining> = Arc::new(Doorkeeper(Arc::clone(&core)));
        Ok(Self { listener: Listener::open(network, Some(joining))?, core })
    }

    /// Waits until all members are there and have left the last attempt. False if somebody asked for the end of the job.
    ///
    /// # Errors
    /// Names who is missing after `slot.request.timeout`.
    pub(crate) fn wait_for_members(&self) -> Result<bool> {
        let deadline = Instant::now() + self.core.network.settings.slot_request_timeout;
        let mut state = lock(&self.core.state);
        loop {
            let missing = state.membership.missing();
            if missing.is_empty() {
                return Ok(true);
            }
            if self.core.handle.is_ending() {
                return Ok(false);
            }
            if Instant::now() >= deadline {
                let names: Vec<_> = missing.iter().map(|index| self.core.network.peer(*index).to_string()).collect();
                return Err(Error::storage("not all processes of the job have come in time")
                    .with("missing", names.join(", "))
                    .with(
                        "slot.request.timeout",
                        format_args!("{:?}", self.core.network.settings.slot_request_timeout),
                    ));
            }
            state = self.core.wait(state, LOOK);
        }
    }

    /// Begins an attempt everywhere, and connects all processes for it.
    pub(crate) fn begin(&self, attempt: &Arc<Attempt>, attempt_id: &str, reports: Port<Report>) -> Result<Allocators> {
        let incoming = self.listener.door().expect(attempt_id);
        {
            let mut state = lock(&self.core.state);
            state.running = Some(Running { attempt: Arc::clone(attempt), reports });
            if let Some(missing) = state.membership.missing().first() {
                return Err(lost(&self.core.network.peer(*missing), "it left before the attempt began"));
            }
            state.membership.begin(attempt.number);
            let start = ToMember::Start { attempt: attempt.number, attempt_id: attempt_id.to_owned() };
            state.sessions.values().for_each(|(_, session)| session.send(&start));
        }
        mesh::connect(&self.core.network, attempt, attempt_id, &incoming)
    }

    /// How orders get to workers of other processes.
    pub(crate) fn orders(&self, attempt: u64) -> LeaderOrders {
        LeaderOrders { core: Arc::clone(&self.core), attempt }
    }

    /// An attempt is over in this process, and over for the others.
    pub(crate) fn end(&self, attempt: u64, failure: Option<&Error>) {
        self.listener.door().expect_nobody();
        lock(&self.core.state).running = None;
        if let Some(failure) = failure {
            self.orders(attempt).leave(Failure::new(failure));
        }
    }

    /// Tells all members how the job ended. Those that are not there are waited for, at most `heartbeat.timeout`: they
    /// would look for this process for a long time.
    pub(crate) fn announce(&self, verdict: Verdict) {
        let deadline = Instant::now() + self.core.network.settings.heartbeat_timeout;
        let mut state = lock(&self.core.state);
        state.sessions.values().for_each(|(_, session)| tell(session, &verdict));
        state.verdict = Some(verdict);
        let members = self.core.network.peers.len() - 1;
        while state.told.len() < members && Instant::now() < deadline {
            state = self.core.wait(state, LOOK);
        }
        let untold: Vec<_> = (1..=members as u32).filter(|index| !state.told.contains(index)).collect();
        if !untold.is_empty() {
            tracing::warn!(processes = ?untold, "not all processes could be told the end of the job");
        }
        let sessions = std::mem::take(&mut state.sessions);
        drop(state);
        self.listener.close();
        sessions.values().for_each(|(_, session)| session.close());
        self.core.threads.join();
    }
}

/// The last message of a session.
fn tell(session: &Session, verdict: &Verdict) {
    session.send(&ToMember::End(verdict.clone()));
    session.finish();
}

impl Core {
    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }

    fn enter(self: &Arc<Self>, index: u32, id: SessionId, socket: TcpStream) -> Result<()> {
        // Locked until the session is known: what it says first waits.
        let mut state = lock(&self.state);
        let (of_messages, of_end) = (Arc::clone(self), Arc::clone(self));
        let session = Session::start(
            &self.threads,
            socket,
            &self.network.settings,
            move |message| of_messages.receive(index, id, message),
            move |reason| of_end.lost(id, &reason),
        )?;
        if let Some(verdict) = &state.verdict {
            tell(&session, verdict);
        }
        state.sessions.insert(id, (index, session));
        state.membership.connected(id);
        tracing::info!(peer = %self.network.peer(index), "a process has joined");
        self.changed.notify_all();
        Ok(())
    }

    fn receive(&self, index: u32, id: SessionId, message: ToLeader) {
        let mut state = lock(&self.state);
        let running = |attempt: u64| state.running.as_ref().filter(|running| running.attempt.number == attempt);
        match message {
            ToLeader::Report { attempt, report } => {
                if let Some(running) = running(attempt) {
                    running.reports.send(report);
                }
            }
            ToLeader::Failed { attempt, failure } => {
                if let Some(running) = running(attempt) {
                    running.attempt.fail(failure.elsewhere(&self.network.peer(index)));
                }
            }
            ToLeader::Left { attempt } => {
                state.membership.left(id, attempt);
                self.changed.notify_all();
            }
            ToLeader::Told => {
                state.told.insert(index);
                self.changed.notify_all();
            }
            ToLeader::Stop => {
                drop(state);
                self.handle.stop();
            }
            ToLeader::Cancel => {
                drop(state);
                self.handle.cancel();
            }
        }
    }

    fn lost(&self, id: SessionId, reason: &str) {
        let mut state = lock(&self.state);
        let member = state.membership.lost(id);
        state.sessions.remove(&id);
        if let Some((index, attempt)) = member
            && state.verdict.is_none()
        {
            let peer = self.network.peer(index);
            tracing::warn!(%peer, reason, "a process is lost");
            if let Some(running) = &state.running
                && attempt == Some(running.attempt.number)
            {
                running.attempt.fail(lost(&peer, reason));
            }
        }
        self.changed.notify_all();
    }
}

/// Lets members in.
struct Doorkeeper(Arc<Core>);

impl Joining for Doorkeeper {
    fn join(&self, from: u32, incarnation: u64, answer: &mut dyn FnMut(Answer) -> std::io::Result<TcpStream>) {
        let place = lock(&self.0.state).membership.join(from, incarnation);
        let entered = match place {
            Err(reason) => return drop(answer(Answer::Later(reason))),
            Ok(id) => (id, answer(Answer::Welcome)),
        };
        let result = match entered {
            (id, Ok(socket)) => self.0.enter(from, id, socket).map_err(|error| (id, error.to_string())),
            (id, Err(error)) => Err((id, error.to_string())),
        };
        if let Err((id, reason)) = result {
            self.0.lost(id, &reason);
        }
    }
}

/// The way of orders to workers of other processes, for one attempt.
#[derive(Clone)]
pub(crate) struct LeaderOrders {
    core: Arc<Core>,
    attempt: u64,
}

impl Elsewhere for LeaderOrders {
    fn order(&self, worker: u32, order: Order) {
        let process = worker / self.core.network.identity.workers.max(1);
        let state = lock(&self.core.state);
        if let Some((_, session)) = state.sessions.values().find(|(index, _)| *index == process) {
            session.send(&ToMember::Order { attempt: self.attempt, worker, order });
        }
    }

    fn leave(&self, failure: Failure) {
        let leave = ToMember::Leave { attempt: self.attempt, failure };
        lock(&self.core.state).sessions.values().for_each(|(_, session)| session.send(&leave));
    }
}
