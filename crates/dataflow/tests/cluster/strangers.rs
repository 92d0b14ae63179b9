//! Who does not belong to the cluster.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::harness::Processes;
use super::process::{FAILED, FINISHED, SECRET};

const OURS: &str = "our secret of 32 bytes, not yours";
const THEIRS: &str = "their secret of 32 bytes, not ours";

fn probe(host: &str, bytes: &[u8]) -> Option<TcpStream> {
    let mut socket = TcpStream::connect(host).ok()?;
    socket.write_all(bytes).ok()?;
    Some(socket)
}

/// A port probe during the start killed the process.
#[test]
fn probes_and_garbage_do_no_harm() {
    let mut processes = Processes::new(2);
    processes.set(SECRET, OURS);
    let hosts = processes.hosts[0].clone();
    let mut held = Vec::new();
    for (index, host) in hosts.iter().enumerate() {
        processes.start(index);
        processes.until("the listener", |_| TcpStream::connect(host).is_ok());
        for _ in 0..5 {
            drop(probe(host, b""));
            held.extend(probe(host, b"GET / HTTP/1.1\r\n\r\n"));
            held.extend(probe(host, &[0; 100]));
            held.extend(probe(host, &[0xff; 5_000]));
            held.extend(probe(host, &[0, 0, 0, 9, 1, 2]));
        }
    }
    assert_eq!(processes.wait_all(), [FINISHED; 2], "{}", processes.logs());
    processes.assert_exactly_once();
    processes.assert_calm();
    let refusals = processes.log(0).matches("it speaks another language").count();
    assert!((1..=3).contains(&refusals), "each kind is logged once: {refusals}\n{}", processes.log(0));
    // Nobody was told anything.
    for mut socket in held {
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut told = Vec::new();
        let _ = socket.read_to_end(&mut told);
        assert!(told.is_empty());
    }
}

#[test]
fn without_the_secret_nobody_takes_part() {
    for wrong in [Some(THEIRS), None] {
        let mut processes = Processes::new(2);
        processes.set(SECRET, OURS);
        processes.start(0);
        processes.set(SECRET, wrong.unwrap_or_default());
        processes.configure("taskmanager.registration.timeout=1 s");
        processes.start(1);
        assert_eq!(processes.wait(1), FAILED, "{}", processes.logs());
        assert!(processes.log(1).contains("perhaps it has another secret"), "{}", processes.logs());
        assert!(processes.log(0).contains("it does not know the secret"), "{}", processes.logs());
        processes.set(SECRET, OURS);
        processes.configure("");
        processes.start(1);
        assert_eq!(processes.wait_all(), [FINISHED; 2], "{}", processes.logs());
        processes.assert_exactly_once();
        let logs = processes.logs();
        assert!(!logs.contains(OURS) && !logs.contains(THEIRS), "{logs}");
    }
}

/// Two processes with one index: the second waits, and does the first no harm.
#[test]
fn a_second_process_of_an_index_is_kept_out() {
    let hosts = super::harness::free_hosts(3);
    let mut processes = Processes::with_hosts(vec![hosts[..2].to_vec(); 2]);
    let twin = vec![hosts[0].clone(), hosts[2].clone()];
    processes.start_all();
    processes.until_checkpoints(1);
    let mut other = Processes::with_hosts(vec![twin; 2]);
    other.configure("taskmanager.registration.timeout=1 s");
    other.start(1);
    assert_eq!(processes.wait_all(), [FINISHED; 2], "{}", processes.logs());
    other.wait(1);
    processes.assert_exactly_once();
    processes.assert_calm();
}
