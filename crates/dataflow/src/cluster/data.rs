//! A connection for the records of one attempt, as timely sees it.
//!
//! Timely's threads panic where a connection breaks, and so would every worker. They never see that here: a peer that is
//! lost fails the attempt by name, and for timely its stream comes to an orderly end. On the socket the stream is cut into
//! frames of four bytes of length and as many bytes; an empty frame is a sign of life.

use std::io::{self, BufReader, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use highwater_types::Error;
use timely::communication::allocator::zero_copy::stream::Stream;

use super::boundary::Boundary;
use super::session::explain;
use super::{Peer, lost};
use crate::runtime::attempt::{Attempt, lock};

/// Longest frame in bytes.
const LONGEST: usize = 1 << 20;
/// How long a process that fails may take to say why, once its connections have closed.
const WORD_ON_ITS_WAY: Duration = Duration::from_secs(1);

/// One connection. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct DataStream(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    peer: Peer,
    attempt: Arc<Attempt>,
    timeout: Duration,
    /// To end both directions from anywhere.
    socket: TcpStream,
    reading: Mutex<Reading>,
    writing: Mutex<Writing>,
    ends: Mutex<Ends>,
    changed: Condvar,
    /// Set when this side ends the connection: what breaks then is no loss.
    is_closing: AtomicBool,
}

#[derive(Debug)]
struct Reading {
    socket: BufReader<TcpStream>,
    /// Bytes of the frame that are still to come.
    frame: usize,
    boundary: Boundary,
    /// Nothing more comes from the socket.
    is_over: bool,
    /// It broke off in the middle of a message.
    is_broken: bool,
}

#[derive(Debug)]
struct Writing {
    socket: TcpStream,
    /// Nothing more goes to the socket.
    is_over: bool,
}

/// What has come to its end.
#[derive(Debug, Default)]
struct Ends {
    has_read: bool,
    has_written: bool,
    /// No worker is left that could decode what was made up.
    workers_left: bool,
}

impl DataStream {
    pub(super) fn new(socket: TcpStream, peer: Peer, attempt: &Arc<Attempt>, timeout: Duration) -> io::Result<Self> {
        socket.set_read_timeout(Some(timeout))?;
        socket.set_write_timeout(Some(timeout))?;
        let (reading, writing) = (BufReader::with_capacity(LONGEST, socket.try_clone()?), socket.try_clone()?);
        Ok(Self(Arc::new(Connection {
            peer,
            attempt: Arc::clone(attempt),
            timeout,
            socket,
            reading: Mutex::new(Reading {
                socket: reading,
                frame: 0,
                boundary: Boundary::default(),
                is_over: false,
                is_broken: false,
            }),
            writing: Mutex::new(Writing { socket: writing, is_over: false }),
            ends: Mutex::default(),
            changed: Condvar::new(),
            is_closing: AtomicBool::new(false),
        })))
    }

    /// Starts a thread that gives signs of life until the connection is closed. One for each connection: a peer that
    /// takes nothing must not keep them from the others.
    pub(super) fn keep_alive(&self, interval: Duration) -> io::Result<JoinHandle<()>> {
        let connection = Arc::clone(&self.0);
        thread::Builder::new().name("cluster-alive".to_owned()).spawn(move || {
            while !connection.is_closing.load(Ordering::Acquire) {
                connection.give_sign_of_life();
                thread::park_timeout(interval);
            }
        })
    }

    /// No worker is left.
    pub(super) fn workers_have_left(&self) {
        self.0.end(|ends| ends.workers_left = true);
    }

    /// Waits until all was written and, after a good end, all was read.
    pub(super) fn wait_for_end(&self, is_good: bool, deadline: Instant) {
        let mut ends = lock(&self.0.ends);
        while !(ends.has_written && (ends.has_read || !is_good)) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            ends = self.0.changed.wait_timeout(ends, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends both directions.
    pub(super) fn close(&self) {
        self.0.is_closing.store(true, Ordering::Release);
        let _ = self.0.socket.shutdown(Shutdown::Both);
    }
}

impl Connection {
    fn end(&self, change: impl FnOnce(&mut Ends)) {
        change(&mut lock(&self.ends));
        self.changed.notify_all();
    }

    /// The peer is gone: that is the end of the attempt.
    fn lose(&self, error: &io::Error) {
        // Once the workers have left, there is nothing to lose.
        let is_over = self.is_closing.load(Ordering::Acquire) || lock(&self.ends).workers_left;
        if !is_over && !self.is_cancelled_soon() {
            self.attempt.fail(lost(&self.peer, &explain(error, self.timeout)));
        }
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Whether the attempt ends for another reason. A process that fails says why over its control connection, and closes
    /// this one: that word may still be on its way.
    fn is_cancelled_soon(&self) -> bool {
        let deadline = Instant::now() + WORD_ON_ITS_WAY;
        while !self.attempt.is_cancelled() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        self.attempt.is_cancelled()
    }

    fn read(&self, buffer: &mut [u8]) -> usize {
        let mut reading = lock(&self.reading);
        if !reading.is_over {
            match reading.next(buffer) {
                Ok(0) => {}
                Ok(length) => {
                    let passed = buffer.get(..length).unwrap_or_default();
                    reading.boundary.pass(passed);
                    return length;
                }
                Err(error) if !reading.boundary.has_ended() => self.lose(&error),
                Err(_) => {}
            }
            reading.is_over = true;
            reading.is_broken = !reading.boundary.is_between_messages();
        }
        if reading.is_broken {
            self.wait_for_workers();
        }
        let made_up = reading.boundary.make_up(buffer);
        if made_up == 0 {
            self.end(|ends| ends.has_read = true);
        }
        made_up
    }

    /// The rest of a message that has broken off must not reach a worker, who would try to understand it.
    fn wait_for_workers(&self) {
        let mut ends = lock(&self.ends);
        while !ends.workers_left {
            ends = self.changed.wait(ends).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn write(&self, buffer: &[u8]) -> usize {
        let mut writing = lock(&self.writing);
        let chunk = buffer.get(..buffer.len().min(LONGEST)).unwrap_or_default();
        if !writing.is_over && !chunk.is_empty() {
            let written = writing.frame(chunk);
            self.see_to(&mut writing, written);
        }
        chunk.len()
    }

    fn give_sign_of_life(&self) {
        // Who holds the lock is writing, which is a sign of life.
        if let Ok(mut writing) = self.writing.try_lock()
            && !writing.is_over
        {
            let written = writing.frame(&[]);
            self.see_to(&mut writing, written);
        }
    }

    fn see_to(&self, writing: &mut Writing, written: io::Result<()>) {
        if let Err(error) = written {
            writing.is_over = true;
            // The peer may have gone in order, with all it had to say.
            if !lock(&self.ends).has_read {
                self.lose(&error);
            }
        }
    }

    /// All was written.
    fn finish(&self) {
        let mut writing = lock(&self.writing);
        if !writing.is_over {
            writing.is_over = true;
            let _ = writing.socket.shutdown(Shutdown::Write);
        }
        self.end(|ends| ends.has_written = true);
    }
}

impl Reading {
    /// The next bytes of the stream; none at its orderly end.
    fn next(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.frame == 0 {
            let mut length = [0; 4];
            match self.socket.read_exact(&mut length) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof && self.boundary.has_ended() => return Ok(0),
                result => result?,
            }
            self.frame = u32::from_be_bytes(length) as usize;
            if self.frame > LONGEST {
                return Err(io::Error::new(ErrorKind::InvalidData, "a frame that is too long"));
            }
        }
        let most = buffer.len().min(self.frame);
        let length = loop {
            match self.socket.read(buffer.get_mut(..most).unwrap_or_default()) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.frame -= length;
        Ok(length)
    }
}

impl Writing {
    fn frame(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = (bytes.len() as u32).to_be_bytes();
        let mut slices = [IoSlice::new(&length), IoSlice::new(bytes)];
        let mut left = &mut slices[..];
        while left.iter().any(|slice| !slice.is_empty()) {
            match self.socket.write_vectored(left) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Read for DataStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.0.read(buffer))
    }
}

impl Write for DataStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(self.0.write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for DataStream {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(self.clone())
    }

    fn set_nonblocking(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    /// Timely closes what it has written to the end.
    fn shutdown(&self, _: Shutdown) -> io::Result<()> {
        self.0.finish();
        Ok(())
    }
}

/// The error for a socket that cannot be prepared.
pub(super) fn unusable(peer: &Peer) -> impl FnOnce(io::Error) -> Error {
    let peer = peer.to_string();
    move |error| Error::storage("a connection to another process cannot be used").with("peer", peer).because(error)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use timely::communication::networking::MessageHeader;

    use super::*;

    fn pair(timeout: Duration) -> (DataStream, Arc<Attempt>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let attempt = Arc::new(Attempt::new(1));
        let peer = Peer { index: 4, host: "there:1".into() };
        (DataStream::new(listener.accept().unwrap().0, peer, &attempt, timeout).unwrap(), attempt, other)
    }

    fn message(length: usize) -> Vec<u8> {
        let header = MessageHeader { channel: 1, source: 3, target_lower: 2, target_upper: 3, length, seqno: 9 };
        let mut bytes = Vec::new();
        header.write_to(&mut bytes).unwrap();
        bytes.resize(48 + length, 5);
        bytes
    }

    fn frame(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
    }

    /// A peer that breaks off in the middle of a message once poisoned timely's queues; it must be a failure that names
    /// the peer, and an orderly end for timely, but only when no worker can see the made-up rest.
    #[test]
    fn a_peer_that_breaks_off_fails_the_attempt_by_name() {
        let (mut stream, attempt, mut other) = pair(Duration::from_secs(60));
        let sent = message(10);
        let part = sent.get(..50).unwrap();
        other.write_all(&frame(part)).unwrap();
        drop(other);
        let (of_reader, done) = (stream.clone(), Arc::new(AtomicBool::new(false)));
        let of_thread = Arc::clone(&done);
        let reader = thread::spawn(move || {
            let mut stream = of_reader;
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            assert!(of_thread.load(Ordering::SeqCst), "the workers were still there");
            all
        });
        while !attempt.is_cancelled() {
            thread::yield_now();
        }
        done.store(true, Ordering::SeqCst);
        stream.workers_have_left();
        let read = reader.join().unwrap();
        assert!(read.starts_with(part));
        assert_eq!(read.len(), sent.len() + 48);
        assert!(read.get(50..).unwrap().iter().all(|byte| *byte == 0));
        let failure = attempt.take_failure().unwrap();
        assert_eq!(failure.value("peer"), Some("process 4 (there:1)"));
        assert_eq!(stream.write(b"too late").unwrap(), 8, "swallowed");
    }

    #[test]
    fn a_silent_peer_is_lost_and_one_that_gives_signs_of_life_is_not() {
        let (mut stream, attempt, other) = pair(Duration::from_millis(200));
        let of_thread = attempt.clone();
        let alive = thread::spawn(move || {
            for _ in 0..20 {
                (&other).write_all(&frame(&[])).unwrap();
                thread::sleep(Duration::from_millis(20));
            }
            let was_alive = !of_thread.is_cancelled();
            // From here on it is silent.
            (was_alive, other)
        });
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        let (_, other) = alive.join().unwrap();
        assert!(attempt.take_failure().unwrap().to_string().contains("no sign of life"));
        drop(other);
    }

    #[test]
    fn an_orderly_end_is_no_failure() {
        let (mut stream, attempt, mut other) = pair(Duration::from_secs(60));
        other.write_all(&frame(&message(7))).unwrap();
        other.write_all(&frame(&[])).unwrap();
        other.write_all(&frame(&message(0))).unwrap();
        drop(other);
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert_eq!(all, [message(7), message(0)].concat());
        stream.shutdown(Shutdown::Write).unwrap();
        stream.wait_for_end(true, Instant::now() + Duration::from_secs(60));
        assert!(!attempt.is_cancelled());
    }
}
