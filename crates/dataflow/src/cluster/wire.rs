//! Messages on a socket, and the handshake on one.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use highwater_types::{Error, Result};

use super::Network;
use super::handshake::{Answer, Callee, Caller, Purpose};

/// Longest message of a handshake in bytes: somebody who has proved nothing costs no memory.
const LONGEST_OF_STRANGERS: u32 = 4 << 10;

/// Writes one message.
pub(super) fn write_frame(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    to.write_all(&[&length.to_be_bytes(), bytes].concat())
}

/// Reads one message. Memory is taken as bytes arrive.
pub(super) fn read_frame(from: &mut impl Read, longest: u32) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > longest {
        return Err(io::Error::new(ErrorKind::InvalidData, "a message that is too long"));
    }
    let mut bytes = Vec::new();
    match from.take(u64::from(length)).read_to_end(&mut bytes)? {
        read if read == length as usize => Ok(bytes),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// A socket on which everything has to be said before a deadline.
struct Hurried<'a> {
    socket: &'a TcpStream,
    deadline: Instant,
}

impl Hurried<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Hurried<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(buffer)
    }
}

impl Write for Hurried<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why a call came to nothing.
pub(super) enum NotConnected {
    /// It may be tried again.
    Retry(String),
    /// The two processes do not belong together.
    Never(Error),
}

impl From<Error> for NotConnected {
    fn from(error: Error) -> Self {
        Self::Never(error)
    }
}

impl From<io::Error> for NotConnected {
    fn from(error: io::Error) -> Self {
        Self::Retry(error.to_string())
    }
}

/// Calls another process.
pub(super) fn call(network: &Network, to: u32, purpose: Purpose) -> Result<TcpStream, NotConnected> {
    let peer = network.peer(to);
    let deadline = Instant::now() + network.handshake_timeout();
    let socket = connect(&peer.host, deadline)?;
    socket.set_nodelay(true)?;
    let mut hurried = Hurried { socket: &socket, deadline };
    let (mut caller, hello) = Caller::hello(network.secret.as_ref(), &network.identity, (network.index, to), purpose)?;
    write_frame(&mut hurried, &hello)?;
    let challenge = read_frame(&mut hurried, LONGEST_OF_STRANGERS)?;
    write_frame(&mut hurried, &caller.prove(&challenge)?)?;
    let answer = read_frame(&mut hurried, LONGEST_OF_STRANGERS).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => NotConnected::Retry("it hung up: perhaps it has another secret".to_owned()),
        _ => error.into(),
    })?;
    match caller.answer(&answer)? {
        Some(Answer::Welcome) => Ok(socket),
        Some(Answer::Later(reason)) => Err(NotConnected::Retry(reason)),
        Some(Answer::Never(reason)) => {
            let error =
                Error::configuration("another process refuses this one: all must run the same job in the same way")
                    .with("peer", peer)
                    .with("reason", reason);
            Err(NotConnected::Never(error))
        }
        None => Err(NotConnected::Retry("who answered there does not know the secret".to_owned())),
    }
}

fn connect(host: &str, deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in host.to_socket_addrs()? {
        let left = deadline.saturating_duration_since(Instant::now());
        match TcpStream::connect_timeout(&address, left.max(Duration::from_millis(1))) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Hears a caller out. It then waits for an answer.
pub(super) fn hear(network: &Network, socket: TcpStream) -> io::Result<Heard<'_>> {
    socket.set_nonblocking(false)?;
    socket.set_nodelay(true)?;
    let deadline = Instant::now() + network.handshake_timeout();
    let mut hurried = Hurried { socket: &socket, deadline };
    let foreign = |what: &'static str| io::Error::new(ErrorKind::PermissionDenied, what);
    let hello = read_frame(&mut hurried, LONGEST_OF_STRANGERS).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => foreign("it speaks another language"),
        ErrorKind::UnexpectedEof => foreign("it hung up without a word"),
        _ => error,
    })?;
    let (callee, challenge) = Callee::challenge(network.secret.as_ref(), &hello)
        .map_err(io::Error::other)?
        .ok_or_else(|| foreign("it speaks another language, or another version of it"))?;
    write_frame(&mut hurried, &challenge)?;
    let proof = read_frame(&mut hurried, LONGEST_OF_STRANGERS)?;
    if !callee.is_proof(&proof).map_err(io::Error::other)? {
        return Err(foreign("it does not know the secret"));
    }
    Ok(Heard { callee, socket, deadline })
}

/// A caller that knows the secret.
pub(super) struct Heard<'a> {
    pub(super) callee: Callee<'a>,
    socket: TcpStream,
    deadline: Instant,
}

impl Heard<'_> {
    /// Answers; the connection is of use if that was a welcome.
    pub(super) fn answer(self, answer: Answer) -> io::Result<TcpStream> {
        let answer = self.callee.answer(answer).map_err(io::Error::other)?;
        write_frame(&mut Hurried { socket: &self.socket, deadline: self.deadline }, &answer)?;
        Ok(self.socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_that_is_too_long_or_cut() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, b"order").unwrap();
        write_frame(&mut bytes, b"").unwrap();
        let mut reader = &*bytes;
        assert_eq!(read_frame(&mut reader, 5).unwrap(), b"order");
        assert_eq!(read_frame(&mut reader, 5).unwrap(), b"");
        assert_eq!(read_frame(&mut reader, 5).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(read_frame(&mut &*bytes, 4).unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(read_frame(&mut bytes.get(..8).unwrap(), 5).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
}
