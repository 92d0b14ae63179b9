//! Options over keys: which key wins, what an unparseable value says, overlays, and own keys that do not exist.

use std::time::Duration;

use highwater_backends::{ClaimMode, ConfigOption, Configuration, MemorySize, options};
use highwater_types::ErrorKind;

fn configuration<const N: usize>(entries: [(&str, &str); N]) -> Configuration {
    entries.into_iter().collect()
}

/// Key, older keys and default of every option, as Flink documents them.
#[test]
fn the_options_are_flinks() {
    let expected: &[(&str, &[&str], Option<&str>)] = &[
        ("state.backend.type", &["state.backend"], None),
        ("execution.checkpointing.storage", &["state.checkpoint-storage"], None),
        ("execution.checkpointing.dir", &["state.checkpoints.dir", "state.backend.fs.checkpointdir"], None),
        ("execution.checkpointing.savepoint-dir", &["state.savepoints.dir", "savepoints.state.backend.fs.dir"], None),
        (
            "execution.checkpointing.data-inline-threshold",
            &["state.storage.fs.memory-threshold", "state.backend.fs.memory-threshold"],
            Some("20 kb"),
        ),
        (
            "execution.checkpointing.write-buffer-size",
            &["state.storage.fs.write-buffer-size", "state.backend.fs.write-buffer-size"],
            Some("4096"),
        ),
        ("execution.checkpointing.num-retained", &["state.checkpoints.num-retained"], Some("1")),
        ("web.checkpoints.history", &[], Some("10")),
        ("execution.checkpointing.create-subdir", &["state.checkpoints.create-subdir"], Some("true")),
        ("execution.checkpointing.snapshot-compression", &[], Some("false")),
        ("pekko.framesize", &["akka.framesize"], Some("10485760b")),
        ("pipeline.max-parallelism", &[], Some("-1")),
        ("pipeline.auto-watermark-interval", &[], Some("200 ms")),
        ("taskmanager.numberOfTaskSlots", &[], Some("1")),
        ("execution.checkpointing.interval", &[], None),
        ("execution.checkpointing.mode", &[], Some("EXACTLY_ONCE")),
        ("execution.checkpointing.timeout", &[], Some("10 min")),
        ("execution.checkpointing.min-pause", &[], Some("0 ms")),
        ("execution.checkpointing.max-concurrent-checkpoints", &[], Some("1")),
        ("execution.checkpointing.tolerable-failed-checkpoints", &[], Some("0")),
        ("execution.checkpointing.externalized-checkpoint-retention", &[], None),
        ("execution.checkpointing.unaligned.enabled", &["execution.checkpointing.unaligned"], Some("false")),
        ("execution.state-recovery.path", &["execution.savepoint.path"], None),
        (
            "execution.state-recovery.ignore-unclaimed-state",
            &["execution.savepoint.ignore-unclaimed-state"],
            Some("false"),
        ),
        ("execution.state-recovery.claim-mode", &["execution.savepoint-restore-mode"], Some("NO_CLAIM")),
        ("restart-strategy.type", &["restart-strategy"], None),
        ("restart-strategy.fixed-delay.attempts", &[], Some("1")),
        ("restart-strategy.fixed-delay.delay", &[], Some("1 s")),
        ("restart-strategy.exponential-delay.initial-backoff", &[], Some("1 s")),
        ("restart-strategy.exponential-delay.max-backoff", &[], Some("1 min")),
        ("restart-strategy.exponential-delay.backoff-multiplier", &[], Some("1.5")),
        ("restart-strategy.exponential-delay.reset-backoff-threshold", &[], Some("1 h")),
        ("restart-strategy.exponential-delay.jitter-factor", &[], Some("0.1")),
        ("restart-strategy.exponential-delay.attempts-before-reset-backoff", &[], None),
        ("task.cancellation.interval", &[], Some("30 s")),
        ("task.cancellation.timeout", &[], Some("180 s")),
        ("heartbeat.interval", &[], Some("10 s")),
        ("heartbeat.timeout", &[], Some("50 s")),
        ("taskmanager.registration.timeout", &[], Some("5 min")),
        ("slot.request.timeout", &[], Some("5 min")),
        ("rest.port", &[], Some("8081")),
        ("rest.bind-address", &[], Some("127.0.0.1")),
        ("highwater.rest.allow-remote", &[], Some("false")),
        ("highwater.memory.max-state-size", &[], Some("5 mb")),
    ];
    let found: Vec<_> = options::ALL.iter().map(|o| (o.key(), o.older_keys(), o.default_text())).collect();
    assert_eq!(found, expected);
    assert!(options::ALL.iter().all(|option| option.description().ends_with('.')));
}

#[test]
fn no_key_belongs_to_two_options() {
    let mut keys: Vec<_> = options::ALL.iter().flat_map(|option| option.keys()).collect();
    keys.sort_unstable();
    let count = keys.len();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

#[test]
fn defaults_can_be_read() {
    let empty = Configuration::new();
    assert_eq!(empty.get(&options::FS_SMALL_FILE_THRESHOLD).unwrap(), MemorySize::from_bytes(20480));
    assert_eq!(empty.get(&options::FS_WRITE_BUFFER_SIZE).unwrap(), 4096);
    assert_eq!(empty.get(&options::CHECKPOINTING_TIMEOUT).unwrap(), Duration::from_secs(600));
    assert_eq!(empty.get(&options::MIN_PAUSE_BETWEEN_CHECKPOINTS).unwrap(), Duration::ZERO);
    assert_eq!(empty.get(&options::CHECKPOINTING_INTERVAL).unwrap(), None);
    assert_eq!(empty.get(&options::CLAIM_MODE).unwrap(), ClaimMode::NoClaim);
    assert_eq!(empty.get(&options::FRAMESIZE).unwrap(), MemorySize::from_bytes(10_485_760));
    assert_eq!(empty.get(&options::MEMORY_MAX_STATE_SIZE).unwrap(), MemorySize::from_bytes(5_242_880));
    assert_eq!(empty.get_set(&options::CHECKPOINTING_TIMEOUT).unwrap(), None);
}

#[test]
fn the_current_key_wins_then_the_newer_of_the_old_ones() {
    let keys = [
        "execution.checkpointing.data-inline-threshold",
        "state.storage.fs.memory-threshold",
        "state.backend.fs.memory-threshold",
    ];
    let mut configuration = Configuration::new();
    for (kb, key) in (1..).zip(keys).collect::<Vec<_>>().into_iter().rev() {
        configuration.set_raw(key, format!("{kb} kb"));
        let found = configuration.get(&options::FS_SMALL_FILE_THRESHOLD).unwrap();
        assert_eq!(found, MemorySize::from_kibibytes(kb), "{key}");
    }
}

#[test]
fn an_unparseable_value_names_the_key_that_was_used_and_the_value() {
    let configuration = configuration([("state.backend.fs.memory-threshold", "abc")]);
    let error = configuration.get(&options::FS_SMALL_FILE_THRESHOLD).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(error.message(), "Could not parse value");
    assert_eq!(error.value("key"), Some("state.backend.fs.memory-threshold"));
    assert_eq!(error.value("value"), Some("abc"));
    assert!(error.to_string().contains("starts with a whole number"), "{error}");
}

#[test]
fn the_default_of_an_option_that_cannot_be_parsed_is_an_error_too() {
    static BROKEN: ConfigOption<bool> = ConfigOption::new("test.broken", "maybe", "A slip of the program.");
    let error = Configuration::new().get(&BROKEN).unwrap_err();
    assert_eq!(error.value("value"), Some("maybe"));
}

#[test]
fn setting_writes_the_current_key_and_removes_the_older_ones() {
    let mut configuration = configuration([("state.checkpoints.dir", "file:///old"), ("other", "1")]);
    configuration.set(&options::CHECKPOINTS_DIRECTORY, "file:///new".to_owned());
    assert_eq!(configuration.to_string(), "execution.checkpointing.dir: file:///new\nother: 1\n");
    configuration.set(&options::CHECKPOINTS_DIRECTORY, None);
    assert!(!configuration.contains(&options::CHECKPOINTS_DIRECTORY));
    configuration.set(&options::CHECKPOINTING_TIMEOUT, Duration::from_secs(90)).remove(&options::CHECKPOINTING_TIMEOUT);
    assert_eq!(configuration.iter().collect::<Vec<_>>(), [("other", "1")]);
}

#[test]
fn what_is_set_is_read_back() {
    let mut configuration = Configuration::new();
    configuration
        .set(&options::FS_SMALL_FILE_THRESHOLD, MemorySize::from_bytes(12_345))
        .set(&options::CHECKPOINTING_INTERVAL, Duration::from_millis(1_234))
        .set(&options::CLAIM_MODE, ClaimMode::Claim)
        .set(&options::EXPONENTIAL_DELAY_BACKOFF_MULTIPLIER, 1.25);
    assert_eq!(configuration.get(&options::FS_SMALL_FILE_THRESHOLD).unwrap().bytes(), 12_345);
    assert_eq!(configuration.get(&options::CHECKPOINTING_INTERVAL).unwrap(), Some(Duration::from_millis(1_234)));
    assert_eq!(configuration.get(&options::CLAIM_MODE).unwrap(), ClaimMode::Claim);
    assert_eq!(configuration.raw("restart-strategy.exponential-delay.backoff-multiplier"), Some("1.25"));
}

#[test]
fn an_overlay_replaces_an_option_whatever_its_name() {
    let below = configuration([("execution.checkpointing.dir", "file:///below"), ("foreign", "1"), ("kept", "1")]);
    let above = configuration([("state.checkpoints.dir", "file:///above"), ("foreign", "2")]);
    let both = below.overlaid_with(&above);
    assert_eq!(both.get(&options::CHECKPOINTS_DIRECTORY).unwrap().as_deref(), Some("file:///above"));
    assert_eq!((both.raw("foreign"), both.raw("kept")), (Some("2"), Some("1")));
    assert_eq!(below.raw("foreign"), Some("1"), "the one below stays as it is");
    assert_eq!(below.overlaid_with(&Configuration::new()), below);
}

#[test]
fn foreign_keys_are_ignored_and_own_ones_that_do_not_exist_are_errors() {
    configuration([
        ("taskmanager.numberOfTaskSlots", "4"),
        ("highwater", "x"),
        ("state.backend.rocksdb.localdir", "/a"),
    ])
    .check_own_keys()
    .unwrap();
    configuration([("highwater.memory.max-state-size", "1 mb")]).check_own_keys().unwrap();

    let error = configuration([("highwater.memory.max-state-sise", "1 mb")]).check_own_keys().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(error.value("name"), Some("'highwater.memory.max-state-sise'"));
    assert_eq!(error.value("did you mean"), Some("highwater.memory.max-state-size"));

    let error = configuration([("highwater.x", "1")]).check_own_keys().unwrap_err();
    assert_eq!(error.value("did you mean"), None);
    assert!(error.value("known").unwrap().contains("highwater.memory.max-state-size"));
}

#[test]
fn it_serializes_as_a_map() {
    let configuration = configuration([("b", "2"), ("a", "1")]);
    let json = serde_json::to_string(&configuration).unwrap();
    assert_eq!(json, r#"{"a":"1","b":"2"}"#);
    assert_eq!(serde_json::from_str::<Configuration>(&json).unwrap(), configuration);
}
