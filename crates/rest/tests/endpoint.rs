//! Real requests to the endpoint of running jobs, and answers compared with Flink's, field by field.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed assumption should stop the test, in helpers too"
)]

#[path = "../../dataflow/tests/support/ports.rs"]
mod ports;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use highwater_backends::{Configuration, FsStateBackend, JobSettings, RestartStrategy};
use highwater_dataflow::{Cluster, Collector, ExecutionConfig, GeneratorSource, Job, JobHandle, JobOutcome, JobResult};
use highwater_rest::{RestEndpoint, RestSettings};
use highwater_state::ValueStateDescriptor;
use highwater_types::{Error, ErrorKind, OperatorId};
use serde_json::Value;

/// Sends these bytes and returns what comes back.
fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    // The server may have had enough before all is sent.
    let _ = connection.write_all(request);
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// Status and body.
fn request(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let answer = exchange(address, format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn get(address: SocketAddr, path: &str) -> Value {
    let (status, body) = request(address, "GET", path);
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

fn wait_until(has_happened: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !has_happened() {
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn endpoint(handle: &JobHandle) -> RestEndpoint {
    RestEndpoint::start(handle, &RestSettings::default().port(0)).unwrap()
}

/// A job that fails once when it has a checkpoint, goes on, is watched, and is stopped.
fn run(name: &str, watch: impl FnOnce(SocketAddr, &JobHandle) + Send) -> (JobResult, RestEndpoint) {
    let handle = JobHandle::new();
    let of_job = handle.clone();
    let job = Job::new(name, move |env| {
        let handle = of_job.clone();
        env.source("numbers", GeneratorSource::new(|index| (index % 100) as i64).rate(20_000.0))
            .key_by(|key: &i64| *key)
            .process("count", move |open| {
                let count = open.value_state(&ValueStateDescriptor::<i64>::new("count"))?;
                let mut records = 0_u64;
                Ok(move |_: &i64, _: i64, _: &mut Collector<()>| {
                    records += 1;
                    let progress = if records.is_multiple_of(100) { handle.progress() } else { Default::default() };
                    if progress.attempt == 1 && progress.completed_checkpoints > 0 {
                        return Err(Error::storage("injected failure"));
                    }
                    let n = count.value()?.unwrap_or(0);
                    count.update(n + 1)
                })
            });
        Ok(())
    });
    let directory = tempfile::tempdir().unwrap();
    let backend = FsStateBackend::new(format!("file://{}", directory.path().display())).unwrap();
    let mut history = Configuration::new();
    history.set_raw("web.checkpoints.history", "4");
    let config = ExecutionConfig::new()
        .workers(2)
        .state_backend(backend.with_file_state_size_threshold(0).unwrap())
        .configuration(&history)
        .checkpoint_interval(Duration::from_millis(20))
        .restart_strategy(&RestartStrategy::FixedDelay { attempts: 1, delay: Duration::from_millis(1) })
        .handle(&handle);
    let endpoint = endpoint(&handle);
    let result = std::thread::scope(|scope| {
        let running = scope.spawn(|| job.execute(&config));
        wait_until(|| handle.progress().attempt == 2 && handle.progress().completed_checkpoints >= 8);
        // Whatever becomes of it, the job has to end.
        let watched = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| watch(endpoint.address(), &handle)));
        handle.stop();
        let result = running.join().unwrap();
        watched.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        result
    });
    (result.unwrap(), endpoint)
}

#[track_caller]
fn assert_fields(value: &Value, fields: &str) {
    let found: BTreeSet<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(found, fields.split_whitespace().collect(), "{value:#}");
}

#[track_caller]
fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{field} is no number: {value:#}"))
}

const CHECKPOINT: &str = "className id status is_savepoint savepointFormat trigger_timestamp latest_ack_timestamp \
    checkpointed_size state_size end_to_end_duration alignment_buffered processed_data persisted_data num_subtasks \
    num_acknowledged_subtasks checkpoint_type tasks external_path discarded";
const TASK: &str = "id status latest_ack_timestamp checkpointed_size state_size end_to_end_duration \
    alignment_buffered processed_data persisted_data num_subtasks num_acknowledged_subtasks";
const SUMMARY: &str = "min max avg p50 p90 p95 p99 p999";

fn assert_overview(all: &Value, handle: &JobHandle) {
    assert_fields(all, "counts summary latest history");
    assert_fields(&all["counts"], "restored total in_progress completed failed");
    assert_eq!(number(&all["counts"], "restored"), 1);
    assert!(number(&all["counts"], "completed") >= 8);
    let summary = &all["summary"];
    assert_fields(
        summary,
        "checkpointed_size state_size end_to_end_duration alignment_buffered processed_data persisted_data",
    );
    summary.as_object().unwrap().values().for_each(|of| assert_fields(of, SUMMARY));
    assert!(number(&summary["state_size"], "min") > 0);
    assert!(number(&summary["state_size"], "p50") <= number(&summary["state_size"], "max"));
    assert_fields(&all["latest"], "completed savepoint failed restored");
    assert_eq!(all["latest"]["savepoint"], Value::Null);
    let restored = &all["latest"]["restored"];
    assert_fields(restored, "id restore_timestamp is_savepoint external_path");
    let from = handle.progress().restored_from.unwrap();
    assert_eq!((number(restored, "id"), &restored["external_path"]), (from.checkpoint_id, &from.pointer.into()));
    let history = all["history"].as_array().unwrap();
    let ended = history.iter().filter(|checkpoint| checkpoint["status"] != "IN_PROGRESS");
    assert!((1..=4).contains(&ended.count()), "{all:#}");
    let newest = &all["latest"]["completed"];
    assert_fields(newest, CHECKPOINT);
    assert_eq!((&newest["status"], &newest["checkpoint_type"]), (&"COMPLETED".into(), &"CHECKPOINT".into()));
    assert_eq!((number(newest, "num_subtasks"), number(newest, "num_acknowledged_subtasks")), (4, 4));
    assert!(number(newest, "latest_ack_timestamp") >= number(newest, "trigger_timestamp"));
}

fn assert_subtasks(task: &Value) {
    assert_fields(task, &format!("{TASK} summary subtasks"));
    let summary = &task["summary"];
    assert_fields(
        summary,
        "checkpointed_size state_size end_to_end_duration checkpoint_duration alignment start_delay",
    );
    assert_fields(&summary["checkpoint_duration"], "sync async");
    assert_fields(&summary["alignment"], "buffered processed persisted duration");
    assert_fields(&summary["alignment"]["duration"], SUMMARY);
    let subtasks = task["subtasks"].as_array().unwrap();
    assert_eq!(subtasks.len(), 2);
    for (index, subtask) in subtasks.iter().enumerate() {
        assert_fields(
            subtask,
            "index status ack_timestamp end_to_end_duration checkpointed_size state_size checkpoint alignment \
             start_delay unaligned_checkpoint aborted",
        );
        assert_fields(&subtask["checkpoint"], "sync async");
        assert_fields(&subtask["alignment"], "buffered processed persisted duration");
        assert_eq!((number(subtask, "index"), &subtask["status"]), (index as u64, &"completed".into()));
    }
}

fn assert_config(config: &Value) {
    assert_fields(
        config,
        "mode interval timeout min_pause max_concurrent externalization state_backend unaligned_checkpoints \
         tolerable_failed_checkpoints aligned_checkpoint_timeout checkpoints_after_tasks_finish \
         state_changelog_enabled",
    );
    assert_fields(&config["externalization"], "enabled delete_on_cancellation");
    assert_eq!((number(config, "interval"), number(config, "timeout")), (20, 600_000));
}

#[test]
fn checkpoints_are_answered_as_flink_does() {
    let (result, endpoint) = run("answers", |address, handle| {
        let jobs = get(address, "/jobs");
        assert_eq!((jobs["jobs"].as_array().unwrap().len(), &jobs["jobs"][0]["status"]), (1, &"RUNNING".into()));
        let base = format!("/jobs/{}/checkpoints", jobs["jobs"][0]["id"].as_str().unwrap());
        let all = get(address, &base);
        assert_overview(&all, handle);
        // The newest of the history may be gone by the next request.
        let path = format!("{base}/details/{}", handle.checkpoints().latest_completed.unwrap().id);
        let detail = get(address, &path);
        assert_fields(&detail, CHECKPOINT);
        let count = OperatorId::from_uid("count").to_string();
        assert_eq!(detail["tasks"].as_object().unwrap().len(), 2);
        assert_fields(&detail["tasks"][&count], TASK);
        assert!(number(&detail["tasks"][&count], "state_size") > 0);
        assert_config(&get(address, &format!("{base}/config")));
        for wrong in ["/details/99999999", "/details/x", "/details", "/nothing"] {
            assert_eq!(request(address, "GET", &format!("{base}{wrong}")).0, 404, "{wrong}");
        }
    });
    assert_eq!((result.outcome, result.progress.restarts), (JobOutcome::Stopped, 1));
    let address = endpoint.address();
    let jobs = get(address, "/jobs");
    assert_eq!(jobs["jobs"][0]["status"], "FINISHED");
    let last = result.progress.last_checkpoint.unwrap().id;
    let job = jobs["jobs"][0]["id"].as_str().unwrap();
    let operator = OperatorId::from_uid("count");
    assert_subtasks(&get(address, &format!("/jobs/{job}/checkpoints/details/{last}/subtasks/{operator}")));
    let nobody = OperatorId::from_uid("nobody");
    let path = format!("/jobs/{job}/checkpoints/details/{last}/subtasks/{nobody}");
    assert_eq!(request(address, "GET", &path).0, 404);
    drop(endpoint);
    assert!(TcpStream::connect(address).is_err(), "it ends when it is dropped");
}

#[test]
fn metrics_have_flinks_names() {
    let (result, endpoint) = run("metrics", |_, _| ());
    // The last values are published when the job has ended.
    let text = request(endpoint.address(), "GET", "/metrics").1;
    let value = |name: &str, labels: &[&str]| -> f64 {
        let is_it =
            |line: &&str| line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label));
        let line = text.lines().find(is_it).unwrap_or_else(|| panic!("no {name} {labels:?} in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let job = ["job_name=\"metrics\""];
    assert_eq!(value("numRestarts", &job), 1.0);
    assert_eq!(value("numberOfCompletedCheckpoints", &job), result.progress.completed_checkpoints as f64);
    let last = result.progress.last_checkpoint.unwrap();
    assert_eq!(value("lastCompletedCheckpointId", &job), last.id as f64);
    assert_eq!(value("lastCheckpointSize", &job), last.checkpointed_size as f64);
    assert_eq!(value("lastCheckpointFullSize", &job), last.state_size as f64);
    assert!(value("lastCheckpointDuration", &job) > 0.0 && value("lastCheckpointRestoreTimestamp", &job) > 1e12);
    for one in result.progress.operators.iter().filter(|one| one.operator == "count") {
        let subtask = format!("subtask_index=\"{}\"", one.subtask);
        let labels = [job[0], "operator_name=\"count\"", &subtask];
        assert_eq!(value("numRecordsIn", &labels), one.records_in as f64);
        assert_eq!(value("numBytesIn", &labels), one.bytes_in as f64);
        assert_eq!(value("accumulateBusyTimeMs", &labels), one.busy.as_millis() as f64);
        for rate in ["busyTimeMsPerSecond", "backPressuredTimeMsPerSecond", "idleTimeMsPerSecond"] {
            assert!((0.0..=1_000.0).contains(&value(rate, &labels)), "{rate}");
        }
    }
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (_, number) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        assert!(number.parse::<f64>().is_ok(), "{line:?}");
    }
}

#[test]
fn what_is_not_there_is_not_found_and_nothing_but_get_is_allowed() {
    let endpoint = endpoint(&JobHandle::new());
    let address = endpoint.address();
    assert_eq!(get(address, "/jobs")["jobs"].as_array().unwrap().len(), 0, "before the job begins");
    let id = "0".repeat(32);
    for path in ["/", "/job", "/jobs/", "/jobs/x/checkpoints", "/jobs/x", "/metrics/x", "/jobs//checkpoints", "/../etc"]
    {
        let (status, body) = request(address, "GET", path);
        assert_eq!(status, 404, "{path}: {body}");
        assert!(serde_json::from_str::<Value>(&body).unwrap()["errors"].is_array());
    }
    assert_eq!(request(address, "GET", &format!("/jobs/{id}/checkpoints")).0, 404);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        assert_eq!(request(address, method, "/jobs").0, 405, "{method}");
        assert_eq!(request(address, method, "/nowhere").0, 404, "{method}");
    }
    let (status, body) = request(address, "HEAD", "/jobs");
    assert_eq!((status, &*body), (200, ""));
}

#[test]
fn garbage_long_requests_and_idle_connections_harm_nobody() {
    let endpoint = endpoint(&JobHandle::new());
    let address = endpoint.address();
    // More than may be open at once; none of them says a word.
    let idle: Vec<_> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    for length in [1, 3, 100, 10_000, 1 << 20] {
        let garbage = std::iter::repeat_with(|| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random as u8
        });
        let garbage: Vec<u8> = garbage.take(length).collect();
        let _ = TcpStream::connect(address).unwrap().write_all(&garbage);
    }
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let many: String = (0..10_000).map(|n| format!("X-{n}: x\r\n")).collect();
    for request in [long, format!("GET /jobs HTTP/1.1\r\n{many}\r\n")] {
        let answer = exchange(address, request.as_bytes());
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:.100}");
    }
    assert_eq!(request(address, "GET", "/jobs").0, 200, "it still answers");
    drop(idle);
}

/// A process that does not coordinate showed a job without checkpoints, and nobody had the metrics of its operators.
#[test]
fn each_process_of_a_job_has_what_it_knows() {
    let hosts = [(); 2].map(|()| format!("127.0.0.1:{}", ports::free_port()));
    let directory = tempfile::tempdir().unwrap();
    let handles = [JobHandle::new(), JobHandle::new()];
    let run = |index: usize| {
        let job = Job::new("in two processes", |env| {
            env.source("numbers", GeneratorSource::new(|index| index as i64).rate(2_000.0)).map(|n| n + 1);
            Ok(())
        });
        let backend = FsStateBackend::new(format!("file://{}", directory.path().display())).unwrap();
        let config = ExecutionConfig::new()
            .workers(2)
            .state_backend(backend)
            .checkpoint_interval(Duration::from_millis(20))
            .cluster(Cluster::new(index, hosts.clone()))
            .handle(&handles[index]);
        job.execute(&config).unwrap()
    };
    std::thread::scope(|scope| {
        let running = [scope.spawn(|| run(0)), scope.spawn(|| run(1))];
        wait_until(|| handles[0].progress().completed_checkpoints > 0);
        let [coordinating, other] = [endpoint(&handles[0]), endpoint(&handles[1])];
        let path = format!("/jobs/{}/checkpoints", handles[0].description().unwrap().id);
        assert!(get(coordinating.address(), &path)["counts"]["completed"].as_u64().unwrap() > 0);
        let (status, body) = request(other.address(), "GET", &path);
        assert!(status == 404 && body.contains("Process 0"), "{status} {body}");
        // Both publish through the recorder of this test.
        let has = |subtask: u32| {
            let metrics = request(coordinating.address(), "GET", "/metrics").1;
            let mut of_map =
                metrics.lines().filter(|line| line.starts_with("numRecordsOut") && line.contains("two processes"));
            of_map.any(|line| line.contains(&format!("subtask_index=\"{subtask}\"")) && !line.ends_with(" 0"))
        };
        wait_until(|| (0..4).all(has));
        handles[0].stop();
        for thread in running {
            assert_eq!(thread.join().unwrap().outcome, JobOutcome::Stopped);
        }
    });
}

/// A page of anybody's could give its own name the address 127.0.0.1, and read the answer.
#[test]
fn on_loopback_only_requests_for_it_are_answered() {
    let endpoint = endpoint(&JobHandle::new());
    let ask = |host: &str| {
        let mut connection = TcpStream::connect(endpoint.address()).unwrap();
        write!(connection, "GET /jobs HTTP/1.1\r\n{host}\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    for host in ["localhost", "LOCALHOST:8081", "127.0.0.1", "127.0.0.1:1", "[::1]:9"] {
        assert_eq!(ask(&format!("Host: {host}\r\n")), "200", "{host}");
    }
    for host in ["rebound.example", "rebound.example:8081", "10.0.0.1", "localhost.example", "", "a b"] {
        assert_ne!(ask(&format!("Host: {host}\r\n")), "200", "{host}");
    }
}

#[test]
fn only_loopback_is_listened_on_unless_more_is_allowed() {
    let start = |settings: &RestSettings| RestEndpoint::start(&JobHandle::new(), settings);
    let everywhere = RestSettings::default().port(0).bind_address("0.0.0.0".parse().unwrap());
    let error = start(&everywhere).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert_eq!(error.value("key"), Some("rest.bind-address"));
    assert!(start(&everywhere.allow_remote(true)).unwrap().address().ip().is_unspecified());
    assert!(start(&RestSettings::default().port(0)).unwrap().address().ip().is_loopback());

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = start(&RestSettings::default().port(taken.local_addr().unwrap().port())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert_eq!(error.value("address"), Some(&*taken.local_addr().unwrap().to_string()));

    let configured = |pairs: &[(&str, &str)]| RestSettings::from_configuration(&pairs.iter().copied().collect());
    assert_eq!(configured(&[]).unwrap(), RestSettings::default());
    let settings = configured(&[("rest.port", "9"), ("rest.bind-address", "localhost")]).unwrap();
    assert_eq!(settings.address().unwrap().to_string(), "127.0.0.1:9");
    assert!(configured(&[("rest.bind-address", "10.0.0.1")]).unwrap().address().is_err());
    let allowed = [("rest.bind-address", "10.0.0.1"), ("highwater.rest.allow-remote", "true")];
    assert!(configured(&allowed).unwrap().address().is_ok());
    // The key was unknown to whoever reads the configuration of a job.
    let configuration: Configuration = allowed.into_iter().collect();
    assert!(JobSettings::from_configuration(&configuration).is_ok());
    for (key, value) in [("rest.port", "70000"), ("rest.port", "-1"), ("rest.bind-address", "nowhere")] {
        let error = configured(&[(key, value)]).unwrap_err();
        assert_eq!((error.kind(), error.value("key")), (ErrorKind::Configuration, Some(key)), "{error}");
    }
}
