//! A control connection: messages and signs of life both ways, until one side falls silent.

use std::io::{BufReader, ErrorKind};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use highwater_backends::ClusterSettings;
use highwater_types::{Error, Result};
use serde::{Deserialize, Serialize};

use super::protocol::{decode, encode};
use super::wire::{read_frame, write_frame};
use crate::runtime::attempt::lock;

/// Longest message in bytes. The largest is the metadata of the checkpoint that is restored.
const LONGEST: u32 = 1 << 30;

/// The sending end of a control connection.
#[derive(Debug)]
pub(super) struct Session {
    /// None once nothing more will be said.
    outgoing: Mutex<Option<Sender<Vec<u8>>>>,
    socket: TcpStream,
}

/// The threads of all control connections of a process.
#[derive(Debug, Default)]
pub(super) struct Threads(Mutex<Vec<JoinHandle<()>>>);

impl Threads {
    fn start(&self, name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        let mut threads = lock(&self.0);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }

    /// Waits for all; their connections have been closed.
    pub(super) fn join(&self) {
        let threads = std::mem::take(&mut *lock(&self.0));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of a control connection panicked");
            }
        }
    }
}

impl Session {
    /// Starts both directions. `on_message` gets what arrives, `on_end` once why nothing arrives any more; both on the
    /// reading thread.
    pub(super) fn start<In: for<'a> Deserialize<'a>>(
        threads: &Threads,
        socket: TcpStream,
        settings: &ClusterSettings,
        on_message: impl FnMut(In) + Send + 'static,
        on_end: impl FnOnce(String) + Send + 'static,
    ) -> Result<Arc<Self>> {
        let refused = |error: std::io::Error| Error::storage("a control connection cannot be used").because(error);
        let timeout = settings.heartbeat_timeout;
        socket.set_read_timeout(Some(timeout)).map_err(refused)?;
        socket.set_write_timeout(Some(timeout)).map_err(refused)?;
        let (writing, reading) = (socket.try_clone().map_err(refused)?, socket.try_clone().map_err(refused)?);
        let (outgoing, messages) = unbounded();
        let interval = settings.heartbeat_interval;
        threads.start("cluster-send", move || send(writing, &messages, interval)).map_err(refused)?;
        threads.start("cluster-receive", move || on_end(receive(reading, timeout, on_message))).map_err(refused)?;
        Ok(Arc::new(Self { outgoing: Mutex::new(Some(outgoing)), socket }))
    }

    /// Sends a message; one that cannot be sent any more is nobody's loss: the other side sees the end.
    pub(super) fn send(&self, message: &impl Serialize) {
        match encode(message) {
            Ok(bytes) => {
                if let Some(outgoing) = &*lock(&self.outgoing) {
                    let _ = outgoing.send(bytes);
                }
            }
            Err(error) => {
                tracing::error!(%error, "a message is lost, and the connection with it");
                self.close();
            }
        }
    }

    /// Nothing more will be sent.
    pub(super) fn finish(&self) {
        *lock(&self.outgoing) = None;
    }

    /// Ends both directions at once.
    pub(super) fn close(&self) {
        self.finish();
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

fn send(mut socket: TcpStream, messages: &Receiver<Vec<u8>>, interval: Duration) {
    let end = loop {
        let written = match messages.recv_timeout(interval) {
            Ok(message) => write_frame(&mut socket, &message),
            // An empty message is a sign of life.
            Err(RecvTimeoutError::Timeout) => write_frame(&mut socket, &[]),
            Err(RecvTimeoutError::Disconnected) => break Shutdown::Write,
        };
        if written.is_err() {
            break Shutdown::Both;
        }
    };
    let _ = socket.shutdown(end);
}

fn receive<In: for<'a> Deserialize<'a>>(
    socket: TcpStream,
    timeout: Duration,
    mut on_message: impl FnMut(In) + Send + 'static,
) -> String {
    let mut reader = BufReader::new(&socket);
    let end = loop {
        match read_frame(&mut reader, LONGEST) {
            Ok(message) if message.is_empty() => {}
            Ok(message) => match decode(&message) {
                Ok(message) => on_message(message),
                Err(error) => break error,
            },
            Err(error) => break error,
        }
    };
    // A side that has said its last word still hears the answer: the other direction ends with what is sent.
    let direction = if end.kind() == ErrorKind::UnexpectedEof { Shutdown::Read } else { Shutdown::Both };
    let _ = socket.shutdown(direction);
    explain(&end, timeout)
}

/// Why a connection is at its end.
pub(super) fn explain(error: &std::io::Error, timeout: Duration) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("no sign of life for {timeout:?}"),
        ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
        _ => error.to_string(),
    }
}
