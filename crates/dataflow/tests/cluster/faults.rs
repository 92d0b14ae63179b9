//! Processes that are killed or stopped, and ways between them that break.

use super::harness::Processes;
use super::process::{FAILED, FINISHED};
use super::proxy::Proxy;

/// The survivors once hung, or ended with a panic of timely's queues; now they wait for the new process and go on.
#[test]
fn a_killed_process_is_waited_for() {
    for killed in 0..3 {
        let mut processes = Processes::new(3);
        processes.start_all();
        processes.until_checkpoints(2);
        let over = processes.ended(0).is_some();
        if !over {
            processes.kill(killed);
            let name = format!("process {killed} (");
            let witness = (killed + 1) % 3;
            processes.until("the loss", |processes| {
                processes.log(witness).contains(&name) || processes.ended(witness).is_some()
            });
            processes.start(killed);
        }
        assert_eq!(processes.wait_all(), [FINISHED; 3], "{}", processes.logs());
        processes.assert_exactly_once();
        processes.assert_calm();
    }
}

#[test]
fn without_a_restart_strategy_the_loss_of_a_process_ends_all_by_its_name() {
    for killed in 0..2 {
        let mut processes = Processes::new(2);
        processes.configure("restart-strategy.type=none");
        processes.start_all();
        processes.until_checkpoints(1);
        if processes.ended(0).is_some() {
            continue;
        }
        processes.kill(killed);
        let witness = 1 - killed;
        assert_eq!(processes.wait(witness), FAILED);
        let peer = format!("peer: process {killed} ({})", processes.hosts[0][killed]);
        assert!(processes.log(witness).contains(&peer), "{peer}:\n{}", processes.logs());
        processes.assert_calm();
    }
}

/// SIGSTOP of one process left the others hanging for ever.
#[test]
fn a_stopped_process_is_given_up_and_may_come_back() {
    for stopped in 0..3 {
        let mut processes = Processes::new(3);
        processes.start_all();
        processes.until_checkpoints(2);
        if processes.ended(0).is_none() {
            processes.signal(stopped, "STOP");
            let witness = (stopped + 1) % 3;
            let name = format!("process {stopped} (");
            processes.until("the loss", |processes| {
                processes.log(witness).contains(&name) || processes.ended(witness).is_some()
            });
            processes.signal(stopped, "CONT");
        }
        assert_eq!(processes.wait_all(), [FINISHED; 3], "{}", processes.logs());
        processes.assert_exactly_once();
        processes.assert_calm();
    }
}

/// Three processes; 1 and 2 reach process 0, and 2 reaches 1, through proxies.
fn behind_proxies() -> (Processes, Vec<Proxy>) {
    let hosts = super::harness::free_hosts(3);
    let to = [Proxy::to(&hosts[0]), Proxy::to(&hosts[0]), Proxy::to(&hosts[1])];
    let mut seen = vec![hosts; 3];
    seen[1][0] = to[0].host.clone();
    seen[2][0] = to[1].host.clone();
    seen[2][1] = to[2].host.clone();
    (Processes::with_hosts(seen), to.into())
}

#[test]
fn broken_connections_cost_an_attempt_and_nothing_else() {
    for broken in 0..3 {
        let (mut processes, proxies) = behind_proxies();
        processes.start_all();
        processes.until_checkpoints(2);
        proxies[broken].reset();
        assert_eq!(processes.wait_all(), [FINISHED; 3], "{}", processes.logs());
        processes.assert_exactly_once();
        processes.assert_calm();
    }
}

#[test]
fn a_partition_that_heals_is_survived_by_all() {
    for cut in [0, 2] {
        let (mut processes, proxies) = behind_proxies();
        processes.start_all();
        processes.until_checkpoints(2);
        if processes.ended(0).is_none() {
            proxies[cut].cut(true);
            processes.until("the loss", |processes| {
                processes.log(0).contains("the attempt failed") || processes.ended(0).is_some()
            });
            proxies[cut].cut(false);
        }
        assert_eq!(processes.wait_all(), [FINISHED; 3], "{}", processes.logs());
        processes.assert_exactly_once();
        processes.assert_calm();
    }
}
