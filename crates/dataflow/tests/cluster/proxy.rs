//! Ways to a process that can be cut.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::ports::free_port;

const LOOK: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Switch {
    /// Connections of an earlier generation are broken.
    generation: AtomicU64,
    is_cut: AtomicBool,
    is_over: AtomicBool,
}

/// Forwards connections.
pub(crate) struct Proxy {
    pub(crate) host: String,
    switch: Arc<Switch>,
}

impl Proxy {
    pub(crate) fn to(target: &str) -> Self {
        let host = format!("127.0.0.1:{}", free_port());
        let listener = TcpListener::bind(&host).unwrap();
        listener.set_nonblocking(true).unwrap();
        let switch = Arc::new(Switch::default());
        let (of_thread, target) = (Arc::clone(&switch), target.to_owned());
        thread::spawn(move || {
            while !of_thread.is_over.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((near, _)) => forward(near, &target, &of_thread),
                    Err(_) => thread::sleep(LOOK),
                }
            }
        });
        Self { host, switch }
    }

    /// Breaks all connections that there are.
    pub(crate) fn reset(&self) {
        self.switch.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// From now on nothing gets through, and nobody is told; or it does again.
    pub(crate) fn cut(&self, is_cut: bool) {
        self.switch.is_cut.store(is_cut, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.switch.is_over.store(true, Ordering::SeqCst);
    }
}

fn forward(near: TcpStream, target: &str, switch: &Arc<Switch>) {
    let Ok(far) = TcpStream::connect(target) else { return };
    near.set_nonblocking(false).unwrap();
    let generation = switch.generation.load(Ordering::SeqCst);
    for (from, to) in [(&near, &far), (&far, &near)] {
        let (from, to, switch) = (from.try_clone().unwrap(), to.try_clone().unwrap(), Arc::clone(switch));
        thread::spawn(move || pump(from, to, &switch, generation));
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, switch: &Switch, generation: u64) {
    from.set_read_timeout(Some(LOOK)).unwrap();
    let mut buffer = vec![0; 1 << 16];
    while switch.generation.load(Ordering::SeqCst) == generation && !switch.is_over.load(Ordering::SeqCst) {
        if switch.is_cut.load(Ordering::SeqCst) {
            thread::sleep(LOOK);
            continue;
        }
        match from.read(&mut buffer) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(length) => {
                if to.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
