//! The door of a process: it listens where the process's `hosts` entry says, and lets in who belongs to the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{IpAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use highwater_types::{Error, Result};

use super::Network;
use super::handshake::{Answer, Purpose};
use super::wire::{Heard, hear};
use crate::runtime::attempt::lock;

/// Callers that are heard out at once, in all and from one address; more are turned away.
const AT_ONCE: [usize; 2] = [64, 32];
/// How often the door is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What becomes of members that want to join; only in process 0.
pub(super) trait Joining: Send + Sync {
    /// Answers, and keeps the connection if the caller is welcome.
    fn join(&self, from: u32, incarnation: u64, answer: &mut dyn FnMut(Answer) -> std::io::Result<TcpStream>);
}

/// The attempt whose connections are let in.
type Expected = Option<(String, Sender<(u32, TcpStream)>)>;

/// What the threads of the door share.
pub(super) struct Door {
    network: Arc<Network>,
    joining: Option<Arc<dyn Joining>>,
    expected: Mutex<Expected>,
    /// What was logged: a scanner does not fill the log.
    reported: Mutex<BTreeSet<(Option<IpAddr>, String)>>,
    hearing: Mutex<BTreeMap<Option<IpAddr>, usize>>,
    is_closed: AtomicBool,
}

/// The listening thread. Dropping it closes the door.
pub(super) struct Listener {
    door: Arc<Door>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Listener {
    /// Listens.
    ///
    /// # Errors
    /// A storage error if the address is taken or is none of this machine.
    pub(super) fn open(network: &Arc<Network>, joining: Option<Arc<dyn Joining>>) -> Result<Self> {
        let host = &network.peer(network.index).host;
        let refused = |error: std::io::Error| {
            Error::storage("this process cannot listen where its entry of the hosts says")
                .with("hosts", host)
                .with("index", network.index)
                .because(error)
        };
        let listener = bind(host, network.handshake_timeout()).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let door = Arc::new(Door {
            network: Arc::clone(network),
            joining,
            expected: Mutex::default(),
            reported: Mutex::default(),
            hearing: Mutex::default(),
            is_closed: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&door);
        let thread = thread::Builder::new()
            .name("cluster-door".to_owned())
            .spawn(move || of_thread.watch(&listener))
            .map_err(refused)?;
        Ok(Self { door, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn door(&self) -> &Arc<Door> {
        &self.door
    }

    pub(super) fn close(&self) {
        self.door.is_closed.store(true, Ordering::Release);
        let thread = lock(&self.thread).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that listens panicked");
        }
    }
}

/// Tries for a while: a name may not be known yet, and an earlier process may still be going.
fn bind(host: &str, patience: Duration) -> std::io::Result<TcpListener> {
    let deadline = Instant::now() + patience;
    loop {
        let addresses = host.to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        match addresses.and_then(|addresses| TcpListener::bind(&*addresses)) {
            Err(_) if Instant::now() < deadline => thread::sleep(LOOK),
            result => return result,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.close();
    }
}

impl Door {
    /// From now on connections of this attempt, and no other, are let in.
    pub(super) fn expect(&self, attempt_id: &str) -> Receiver<(u32, TcpStream)> {
        let (sender, receiver) = unbounded();
        *lock(&self.expected) = Some((attempt_id.to_owned(), sender));
        receiver
    }

    /// Nobody is expected any more.
    pub(super) fn expect_nobody(&self) {
        *lock(&self.expected) = None;
    }

    fn watch(self: &Arc<Self>, listener: &TcpListener) {
        while !self.is_closed.load(Ordering::Acquire) {
            match listener.accept() {
                Ok((socket, _)) => self.hear(socket),
                Err(error) => {
                    if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) {
                        self.report(None, &format!("a connection could not be taken: {error}"));
                    }
                    thread::sleep(LOOK);
                }
            }
        }
    }

    /// Hears a caller out on a thread of its own, which ends with the handshake.
    fn hear(self: &Arc<Self>, socket: TcpStream) {
        let from = socket.peer_addr().ok().map(|address| address.ip());
        if !self.begin_hearing(from) {
            return self.report(from, "too many at once");
        }
        let door = Arc::clone(self);
        let thread = thread::Builder::new().name("cluster-handshake".to_owned()).spawn(move || {
            match hear(&door.network, socket) {
                Ok(heard) => door.let_in(from, heard),
                Err(error) => door.report(from, &error.to_string()),
            }
            door.end_hearing(from);
        });
        if thread.is_err() {
            self.end_hearing(from);
            self.report(from, "there is no thread for it");
        }
    }

    /// Whether there is room for one more: a stranger leaves room for others.
    fn begin_hearing(&self, from: Option<IpAddr>) -> bool {
        let [in_all, from_one] = AT_ONCE;
        let mut hearing = lock(&self.hearing);
        let has_room = hearing.values().sum::<usize>() < in_all && hearing.get(&from).is_none_or(|n| *n < from_one);
        if has_room {
            *hearing.entry(from).or_default() += 1;
        }
        has_room
    }

    fn end_hearing(&self, from: Option<IpAddr>) {
        let mut hearing = lock(&self.hearing);
        if let Some(n) = hearing.get_mut(&from) {
            *n -= 1;
        }
        hearing.retain(|_, n| *n > 0);
    }

    fn let_in(&self, from: Option<IpAddr>, heard: Heard<'_>) {
        if let Some(mismatch) = heard.callee.mismatch(&self.network.identity, self.network.index) {
            self.report(from, &mismatch);
            let _ = heard.answer(Answer::Never(mismatch));
            return;
        }
        let (index, purpose) = (heard.callee.hello.from, heard.callee.hello.purpose.clone());
        match (purpose, &self.joining) {
            (Purpose::Join { incarnation }, Some(joining)) => {
                let mut heard = Some(heard);
                joining.join(index, incarnation, &mut |answer| {
                    heard.take().ok_or_else(|| std::io::Error::from(ErrorKind::NotConnected))?.answer(answer)
                });
            }
            (Purpose::Join { .. }, None) => {
                let _ = heard.answer(Answer::Never("only process 0 coordinates".to_owned()));
            }
            (Purpose::Data { attempt_id }, _) => self.take_data(index, &attempt_id, heard),
        }
    }

    fn take_data(&self, index: u32, attempt_id: &str, heard: Heard<'_>) {
        let sender = match &*lock(&self.expected) {
            Some((expected, sender)) if expected == attempt_id => Some(sender.clone()),
            _ => None,
        };
        match sender {
            Some(sender) => {
                if let Ok(socket) = heard.answer(Answer::Welcome) {
                    let _ = sender.send((index, socket));
                }
            }
            None => {
                let _ = heard.answer(Answer::Later("this attempt is over here, or has not begun".to_owned()));
            }
        }
    }

    /// Says once why somebody was turned away, and once more when much else was said in between.
    fn report(&self, from: Option<IpAddr>, reason: &str) {
        const MOST: usize = 256;
        let from_text = from.map_or_else(|| "unknown".to_owned(), |from| from.to_string());
        let mut reported = lock(&self.reported);
        if reported.len() >= MOST {
            reported.clear();
        }
        if reported.insert((from, reason.to_owned())) {
            tracing::warn!(from = from_text, reason, "a connection was refused; the like is not logged again");
        } else {
            tracing::debug!(from = from_text, reason, "a connection was refused");
        }
    }
}
