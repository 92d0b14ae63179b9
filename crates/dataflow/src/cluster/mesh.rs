//! The connections of one attempt between all processes, and timely on top of them.

use std::any::Any;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use highwater_types::{Error, Result};
use timely::communication::allocator::zero_copy::initialize::{CommsGuard, initialize_networking_from_sockets};
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::communication::initialize::Hooks;

use super::data::{DataStream, unusable};
use super::handshake::Purpose;
use super::wire::{NotConnected, call};
use super::{Network, lost};
use crate::runtime::attempt::{Attempt, catch};

/// Time between two calls.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a failed attempt goes on telling timely's orderly end, so that others hear the cause from the coordinator
/// before they see a connection break.
const FAREWELL: Duration = Duration::from_secs(1);

/// What timely runs on, and what is to be kept until the workers have left.
pub(crate) type Allocators = (Vec<AllocatorBuilder>, Box<dyn Any + Send>);

/// Connects with all other processes: this one calls those with a smaller index, and is called by the others.
pub(super) fn connect(
    network: &Network,
    attempt: &Arc<Attempt>,
    attempt_id: &str,
    incoming: &Receiver<(u32, TcpStream)>,
) -> Result<Allocators> {
    let deadline = Instant::now() + network.settings.heartbeat_timeout;
    let mut sockets: Vec<Option<TcpStream>> = network.peers.iter().map(|_| None).collect();
    for index in 0..network.index {
        let socket = call_until(network, attempt, attempt_id, index, deadline)?;
        if let Some(slot) = sockets.get_mut(index as usize) {
            *slot = Some(socket);
        }
    }
    let is_missing =
        |(index, socket): &(usize, &Option<TcpStream>)| *index > network.index as usize && socket.is_none();
    while let Some((missing, _)) = sockets.iter().enumerate().find(is_missing) {
        check(network, attempt, missing as u32, deadline, "it has not called")?;
        if let Ok((index, socket)) = incoming.recv_timeout(PAUSE)
            && let Some(slot) = sockets.get_mut(index as usize)
        {
            *slot = Some(socket);
        }
    }
    build(network, attempt, sockets)
}

fn call_until(
    network: &Network,
    attempt: &Arc<Attempt>,
    attempt_id: &str,
    index: u32,
    deadline: Instant,
) -> Result<TcpStream> {
    loop {
        match call(network, index, Purpose::Data { attempt_id: attempt_id.to_owned() }) {
            Ok(socket) => return Ok(socket),
            Err(NotConnected::Never(error)) => return Err(error),
            Err(NotConnected::Retry(reason)) => check(network, attempt, index, deadline, &reason)?,
        }
        thread::sleep(PAUSE);
    }
}

/// Whether there is still sense in waiting for a peer.
fn check(network: &Network, attempt: &Attempt, index: u32, deadline: Instant, reason: &str) -> Result<()> {
    if attempt.is_cancelled() {
        return Err(Error::cancelled("the attempt was given up before all processes were connected"));
    }
    if Instant::now() >= deadline {
        return Err(lost(&network.peer(index), reason));
    }
    Ok(())
}

fn build(network: &Network, attempt: &Arc<Attempt>, sockets: Vec<Option<TcpStream>>) -> Result<Allocators> {
    let settings = &network.settings;
    let mut streams = Vec::new();
    for (index, socket) in sockets.into_iter().enumerate() {
        let stream = |socket| {
            let peer = network.peer(index as u32);
            DataStream::new(socket, peer.clone(), attempt, settings.heartbeat_timeout).map_err(unusable(&peer))
        };
        streams.push(socket.map(stream).transpose()?);
    }
    let mut mesh = Mesh {
        attempt: Arc::clone(attempt),
        streams: streams.iter().flatten().cloned().collect(),
        timeout: settings.heartbeat_timeout,
        alive: Vec::new(),
        comms: None,
    };
    let refused = |error| Error::storage("the threads of the connections could not be started").because(error);
    for stream in streams.iter().flatten() {
        mesh.alive.push(stream.keep_alive(settings.heartbeat_interval).map_err(refused)?);
    }
    let threads = network.identity.workers as usize;
    let hooks = Hooks::default();
    let inner = ProcessBuilder::new_typed_vector(threads, hooks.refill.clone(), hooks.spill.clone());
    let (builders, comms) =
        initialize_networking_from_sockets(inner, streams, network.index as usize, threads, hooks).map_err(refused)?;
    mesh.comms = Some(comms);
    Ok((builders.into_iter().map(AllocatorBuilder::Tcp).collect(), Box::new(mesh)))
}

/// The connections of an attempt. Dropping it, when the workers have left, ends them and their threads.
struct Mesh {
    attempt: Arc<Attempt>,
    streams: Vec<DataStream>,
    timeout: Duration,
    alive: Vec<JoinHandle<()>>,
    comms: Option<CommsGuard>,
}

impl Drop for Mesh {
    fn drop(&mut self) {
        let is_good = !self.attempt.is_cancelled();
        let deadline = Instant::now() + if is_good { self.timeout } else { FAREWELL };
        self.streams.iter().for_each(DataStream::workers_have_left);
        if self.comms.is_some() {
            self.streams.iter().for_each(|stream| stream.wait_for_end(is_good, deadline));
        }
        self.streams.iter().for_each(DataStream::close);
        for thread in self.alive.drain(..) {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("a thread that gives signs of life panicked");
            }
        }
        let comms = self.comms.take();
        if let Err(error) = catch(|| {
            drop(comms);
            Ok(())
        }) {
            tracing::error!(%error, "a thread of a connection panicked");
        }
    }
}
