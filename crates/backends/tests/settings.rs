//! What a job reads from its configuration: defaults, ranges, and modes that do not exist.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use highwater_backends::{ClaimMode, ExternalizedRetention, JobSettings, MemorySize, RestartStrategy};
use highwater_checkpoint::CoordinatorSettings;
use highwater_types::{Error, ErrorKind, MaxParallelism};

fn settings<const N: usize>(entries: [(&str, &str); N]) -> Result<JobSettings, Error> {
    JobSettings::from_configuration(&entries.into_iter().collect())
}

fn exponential() -> RestartStrategy {
    RestartStrategy::ExponentialDelay {
        initial_backoff: Duration::from_secs(1),
        max_backoff: Duration::from_secs(60),
        backoff_multiplier: 1.5,
        reset_backoff_threshold: Duration::from_secs(3600),
        jitter_factor: 0.1,
        attempts_before_reset: None,
    }
}

#[test]
fn defaults() {
    let settings = settings([]).unwrap();
    assert_eq!(settings.checkpointing.coordinator, CoordinatorSettings::default());
    assert_eq!((settings.checkpointing.retained, settings.checkpointing.history), (1, 10));
    assert_eq!(settings.checkpointing.retention, None);
    assert!(!settings.checkpointing.compression);
    assert_eq!(settings.recovery.path, None);
    assert!(!settings.recovery.ignore_unclaimed_state);
    assert_eq!(settings.recovery.claim_mode, ClaimMode::NoClaim);
    assert_eq!(settings.restart, RestartStrategy::None);
    assert_eq!(settings.cancellation.interval, Duration::from_secs(30));
    assert_eq!(settings.cancellation.timeout, Some(Duration::from_secs(180)));
    assert_eq!(settings.max_parallelism, None);
    assert_eq!(settings.acknowledgement_limit, MemorySize::from_bytes(10_485_760));
}

#[test]
fn everything_set() {
    let settings = settings([
        ("execution.checkpointing.interval", "200 ms"),
        ("execution.checkpointing.timeout", "30 s"),
        ("execution.checkpointing.min-pause", "100"),
        ("execution.checkpointing.max-concurrent-checkpoints", "2"),
        ("execution.checkpointing.tolerable-failed-checkpoints", "3"),
        ("execution.checkpointing.mode", "exactly_once"),
        ("execution.checkpointing.externalized-checkpoint-retention", "retain_on_cancellation"),
        ("execution.checkpointing.snapshot-compression", "TRUE"),
        ("execution.checkpointing.unaligned", "false"),
        ("state.checkpoints.num-retained", "4"),
        ("execution.savepoint.path", "/data/sp"),
        ("execution.savepoint.ignore-unclaimed-state", "true"),
        ("execution.savepoint-restore-mode", "claim"),
        ("pipeline.max-parallelism", "32768"),
        ("pipeline.auto-watermark-interval", "50"),
        ("akka.framesize", "1 mb"),
        ("task.cancellation.interval", "5000"),
        ("task.cancellation.timeout", "0"),
    ])
    .unwrap();
    let coordinator = CoordinatorSettings {
        interval: Some(Duration::from_millis(200)),
        timeout: Duration::from_secs(30),
        min_pause: Duration::from_millis(100),
        max_concurrent: 2,
        tolerable_failures: 3,
    };
    assert_eq!(settings.checkpointing.coordinator, coordinator);
    assert_eq!(settings.checkpointing.retained, 4);
    assert_eq!(settings.checkpointing.retention, Some(ExternalizedRetention::RetainOnCancellation));
    assert!(settings.checkpointing.compression);
    assert_eq!(settings.recovery.path.as_deref(), Some("/data/sp"));
    assert!(settings.recovery.ignore_unclaimed_state);
    assert_eq!(settings.recovery.claim_mode, ClaimMode::Claim);
    assert_eq!(settings.max_parallelism, Some(MaxParallelism::new(32768).unwrap()));
    assert_eq!(settings.watermark_interval, Some(Duration::from_millis(50)));
    assert_eq!(settings.acknowledgement_limit, MemorySize::from_mebibytes(1));
    assert_eq!((settings.cancellation.interval, settings.cancellation.timeout), (Duration::from_secs(5), None));
}

#[test]
fn ranges_are_checked_with_key_value_and_range() {
    for (key, value, allowed) in [
        ("execution.checkpointing.interval", "9 ms", "must be larger than or equal to 10 ms"),
        ("execution.checkpointing.interval", "0", "10 ms"),
        ("execution.checkpointing.timeout", "9999 us", "must be larger than or equal to 10 ms"),
        ("execution.checkpointing.max-concurrent-checkpoints", "0", "larger than or equal to 1"),
        ("execution.checkpointing.tolerable-failed-checkpoints", "-1", "larger than or equal to 0"),
        ("execution.checkpointing.num-retained", "0", "larger than or equal to 1"),
        ("web.checkpoints.history", "-1", "larger than or equal to 0"),
        ("state.checkpoints.num-retained", "-3", "larger than or equal to 1"),
        ("pipeline.max-parallelism", "0", "1 to 32768"),
        ("pipeline.max-parallelism", "-2", "1 to 32768"),
        ("pipeline.max-parallelism", "32769", "1 to 32768"),
        ("pekko.framesize", "0", "1 bytes"),
        ("task.cancellation.interval", "0", "1 ms"),
    ] {
        let error = settings([(key, value)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert_eq!((error.value("key"), error.value("value")), (Some(key), Some(value)), "{error}");
        assert!(error.value("allowed").unwrap().contains(allowed), "{error}");
    }
    for (key, value) in [
        ("execution.checkpointing.interval", "10 ms"),
        ("execution.checkpointing.timeout", "10"),
        ("execution.checkpointing.min-pause", "0"),
        ("execution.checkpointing.min-pause", "400 d"),
        ("pipeline.max-parallelism", "-1"),
        ("pipeline.max-parallelism", "1"),
    ] {
        settings([(key, value)]).unwrap();
    }
}

#[test]
fn what_cannot_be_parsed_names_key_and_value() {
    for (key, value) in [
        ("execution.checkpointing.interval", "soon"),
        ("execution.checkpointing.interval", "-5 s"),
        ("execution.checkpointing.min-pause", "-1"),
        ("execution.checkpointing.mode", "EXACTLY-ONCE"),
        ("execution.checkpointing.externalized-checkpoint-retention", "retain-on-cancellation"),
        ("execution.checkpointing.num-retained", "2.5"),
        ("execution.checkpointing.snapshot-compression", "yes"),
        ("execution.state-recovery.claim-mode", "steal"),
        ("execution.state-recovery.ignore-unclaimed-state", "1"),
        ("pekko.framesize", "10mib"),
        ("pipeline.max-parallelism", "many"),
    ] {
        let error = settings([(key, value)]).unwrap_err();
        assert_eq!(error.message(), "Could not parse value", "{key}: {error}");
        assert_eq!((error.value("key"), error.value("value")), (Some(key), Some(value)));
    }
}

#[test]
fn at_least_once_is_refused_with_the_cure() {
    let error = settings([("execution.checkpointing.mode", "at_least_once")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("EXACTLY_ONCE"), "{error}");
    assert_eq!(error.value("key"), Some("execution.checkpointing.mode"));
}

#[test]
fn an_unknown_own_key_is_refused() {
    assert_eq!(settings([("highwater.typo", "1")]).unwrap_err().value("name"), Some("'highwater.typo'"));
}

#[test]
fn the_default_restart_strategy_follows_the_checkpoints() {
    assert_eq!(settings([("execution.checkpointing.interval", "1 s")]).unwrap().restart, exponential());
}

#[test]
fn restart_strategies_by_name() {
    for name in ["none", "off", "disable", "NONE"] {
        let found = settings([("restart-strategy", name), ("execution.checkpointing.interval", "1 s")]).unwrap();
        assert_eq!(found.restart, RestartStrategy::None, "{name}");
    }
    for name in ["fixed-delay", "fixeddelay", "Fixed-Delay"] {
        let fixed = RestartStrategy::FixedDelay { attempts: 1, delay: Duration::from_secs(1) };
        assert_eq!(settings([("restart-strategy.type", name)]).unwrap().restart, fixed);
    }
    for name in ["exponential-delay", "exponentialdelay"] {
        assert_eq!(settings([("restart-strategy.type", name)]).unwrap().restart, exponential());
    }
    let error = settings([("restart-strategy.type", "fixed-dealy")]).unwrap_err();
    assert_eq!(error.value("did you mean"), Some("fixed-delay"), "{error}");
    assert_eq!(error.value("key"), Some("restart-strategy.type"));
    let error = settings([("restart-strategy.type", "failure-rate")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("exponential-delay"), "{error}");
}

#[test]
fn restart_strategies_with_values() {
    let fixed = settings([
        ("restart-strategy", "fixed-delay"),
        ("restart-strategy.fixed-delay.attempts", "7"),
        ("restart-strategy.fixed-delay.delay", "0"),
    ]);
    assert_eq!(fixed.unwrap().restart, RestartStrategy::FixedDelay { attempts: 7, delay: Duration::ZERO });
    let exponential = settings([
        ("restart-strategy", "exponential-delay"),
        ("restart-strategy.exponential-delay.initial-backoff", "10 ms"),
        ("restart-strategy.exponential-delay.max-backoff", "20 ms"),
        ("restart-strategy.exponential-delay.backoff-multiplier", "1.0"),
        ("restart-strategy.exponential-delay.reset-backoff-threshold", "1 min"),
        ("restart-strategy.exponential-delay.jitter-factor", "0"),
        ("restart-strategy.exponential-delay.attempts-before-reset-backoff", "8"),
    ]);
    let expected = RestartStrategy::ExponentialDelay {
        initial_backoff: Duration::from_millis(10),
        max_backoff: Duration::from_millis(20),
        backoff_multiplier: 1.0,
        reset_backoff_threshold: Duration::from_secs(60),
        jitter_factor: 0.0,
        attempts_before_reset: Some(8),
    };
    assert_eq!(exponential.unwrap().restart, expected);
}

#[test]
fn values_of_restart_strategies_have_ranges() {
    for (strategy, key, value) in [
        ("fixed-delay", "attempts", "-1"),
        ("exponential-delay", "initial-backoff", "0"),
        ("exponential-delay", "max-backoff", "999 ms"),
        ("exponential-delay", "backoff-multiplier", "0.9"),
        ("exponential-delay", "backoff-multiplier", "NaN"),
        ("exponential-delay", "backoff-multiplier", "inf"),
        ("exponential-delay", "reset-backoff-threshold", "0"),
        ("exponential-delay", "jitter-factor", "1.1"),
        ("exponential-delay", "jitter-factor", "-0.1"),
        ("exponential-delay", "attempts-before-reset-backoff", "0"),
    ] {
        let key = format!("restart-strategy.{strategy}.{key}");
        let error = settings([("restart-strategy.type", strategy), (&key, value)]).unwrap_err();
        assert_eq!((error.value("key"), error.value("value")), (Some(key.as_str()), Some(value)), "{error}");
        assert!(error.value("allowed").is_some());
    }
    // Of a strategy that is not chosen nothing is read.
    settings([("restart-strategy.type", "none"), ("restart-strategy.fixed-delay.attempts", "-1")]).unwrap();
}
