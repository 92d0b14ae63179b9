//! The end of a job, be it good or bad, is the same in all its processes.

use std::net::TcpListener;

use super::harness::Processes;
use super::process::{ALREADY_FINISHED, FAILED, FAILS, FINISHED, REFUSED, STOPPED, WORKERS};

#[test]
fn three_processes_count_exactly() {
    let mut processes = Processes::new(3);
    processes.start_all();
    assert_eq!(processes.wait_all(), [FINISHED; 3]);
    processes.assert_exactly_once();
    processes.assert_calm();
    // Process 0 used to wait `heartbeat.timeout` for the answer of one that could not give it any more.
    assert!(!processes.log(0).contains("could be told the end"), "{}", processes.logs());
}

/// A failure in one process ended all of them, and whoever had started them had to start them again.
#[test]
fn after_a_failure_in_one_process_all_go_on() {
    for failing in ["0", "1"] {
        let mut processes = Processes::new(2);
        processes.set(FAILS, failing);
        processes.touch("fail");
        processes.start_all();
        processes.until("the failure", |processes| processes.logs().contains("injected failure in one process"));
        processes.remove("fail");
        assert_eq!(processes.wait_all(), [FINISHED; 2]);
        processes.assert_exactly_once();
        processes.assert_calm();
        let other = if failing == "0" { 1 } else { 0 };
        assert!(processes.log(other).contains("the job failed in another process"), "{}", processes.logs());
    }
}

#[test]
fn a_failure_that_stays_ends_all_processes_in_the_same_way_and_the_next_start_resumes() {
    for failing in ["0", "1"] {
        let mut processes = Processes::new(2);
        processes.set(FAILS, failing);
        processes.configure("restart-strategy.type=none");
        processes.touch("fail");
        processes.start_all();
        assert_eq!(processes.wait_all(), [FAILED; 2]);
        assert!(processes.log(0).contains("injected failure") && processes.log(1).contains("injected failure"));
        processes.remove("fail");
        processes.start_all();
        assert_eq!(processes.wait_all(), [FINISHED; 2]);
        processes.assert_exactly_once();
    }
}

#[test]
fn a_stop_that_one_process_is_asked_for_stops_all() {
    let mut processes = Processes::new(2);
    processes.start_all();
    processes.until_checkpoints(2);
    processes.touch("stop");
    let codes = processes.wait_all();
    assert!(codes == [STOPPED; 2] || codes == [FINISHED; 2], "{codes:?}");
    processes.remove("stop");
    processes.start_all();
    let codes = processes.wait_all();
    assert!(codes == [FINISHED; 2] || codes == [ALREADY_FINISHED; 2], "{codes:?}");
    processes.assert_exactly_once();
}

/// A process 0 that ended before the network was up left the others calling it for ever.
#[test]
fn a_refusal_at_the_start_reaches_all_processes() {
    let mut processes = Processes::new(2);
    processes.start_all();
    assert_eq!(processes.wait_all(), [FINISHED; 2]);

    processes.start_all();
    assert_eq!(processes.wait_all(), [ALREADY_FINISHED; 2], "the job has finished before");

    for file in processes.checkpoints() {
        if file.ends_with("_metadata") {
            std::fs::write(file, "no metadata").unwrap();
        } else if file.ends_with("_finished") {
            std::fs::remove_file(file).unwrap();
        }
    }
    processes.start_all();
    let codes = processes.wait_all();
    assert_eq!(codes, [FAILED; 2], "no checkpoint can be read");
    assert!(processes.log(1).contains("the job failed in another process"), "{}", processes.logs());
}

#[test]
fn a_held_lock_reaches_all_processes() {
    let mut processes = Processes::new(2);
    processes.start_all();
    processes.until_checkpoints(1);
    // The same job, elsewhere.
    let hosts = super::harness::free_hosts(2);
    let first = std::mem::replace(&mut processes.hosts, vec![hosts; 2]);
    let mut second = Processes::with_hosts(processes.hosts.clone());
    processes.hosts = first;
    let own = std::mem::replace(&mut second.directory, tempfile::tempdir().unwrap());
    let shared = processes.directory.path().join("checkpoints");
    std::os::unix::fs::symlink(&shared, second.directory.path().join("checkpoints")).unwrap();
    drop(own);
    second.start_all();
    let codes = second.wait_all();
    let ended = processes.ended(0).is_some();
    assert!(codes == [FAILED; 2] || codes == [REFUSED; 2] || ended, "{codes:?}\n{}", second.logs());
    assert_eq!(processes.wait_all(), [FINISHED; 2], "the first is not disturbed");
    processes.assert_exactly_once();
}

#[test]
fn a_process_of_another_shape_is_refused_by_name() {
    let mut processes = Processes::new(2);
    processes.start(0);
    processes.set(WORKERS, "3");
    processes.start(1);
    assert_eq!(processes.wait(1), REFUSED);
    assert!(processes.log(1).contains("3 workers per process"), "{}", processes.logs());
    processes.set(WORKERS, "2");
    processes.start(1);
    assert_eq!(processes.wait_all(), [FINISHED; 2]);
    processes.assert_exactly_once();
}

#[test]
fn a_process_whose_address_is_taken_says_so() {
    let mut processes = Processes::new(2);
    let taken = TcpListener::bind(&processes.hosts[0][1]).unwrap();
    processes.start(1);
    assert_eq!(processes.wait(1), FAILED);
    assert!(processes.log(1).contains("cannot listen"), "{}", processes.logs());
    drop(taken);
    processes.start_all();
    assert_eq!(processes.wait_all(), [FINISHED; 2]);
}
