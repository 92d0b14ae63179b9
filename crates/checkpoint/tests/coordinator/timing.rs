//! When checkpoints begin and when they expire.

use std::time::Duration;

use highwater_checkpoint::{
    AbortReason, AttemptStart, CheckpointKind, Command, Coordinator, CoordinatorSettings, Event,
};
use highwater_types::ErrorKind;
use proptest::prelude::*;

const ZERO: Duration = Duration::ZERO;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn every(interval: u64) -> CoordinatorSettings {
    CoordinatorSettings { interval: Some(ms(interval)), tolerable_failures: u32::MAX, ..CoordinatorSettings::default() }
}

/// One subtask; the first checkpoint at the end of the interval unless `jitter` says otherwise.
fn started(settings: CoordinatorSettings, jitter: u64) -> Coordinator<()> {
    let mut coordinator = Coordinator::new(settings).unwrap();
    coordinator.start(ZERO, AttemptStart { attempt: 1, subtasks: 1, next_checkpoint: 1, jitter }).unwrap();
    coordinator
}

/// Id and kind of what begins.
fn begun(commands: &[Command<()>]) -> Vec<(u64, CheckpointKind)> {
    let begun = commands.iter().filter_map(|command| match command {
        Command::Begin { checkpoint, kind, .. } => Some((*checkpoint, *kind)),
        _ => None,
    });
    begun.collect()
}

/// Goes to the next wakeup and returns it with what begins there.
fn wake(coordinator: &mut Coordinator<()>) -> (Duration, Vec<(u64, CheckpointKind)>) {
    let at = coordinator.next_wakeup().expect("nothing is due ever");
    let commands = coordinator.handle(at, Event::Tick);
    (at, begun(&commands))
}

/// Acknowledges and writes; returns what begins then.
fn complete(coordinator: &mut Coordinator<()>, now: Duration, checkpoint: u64) -> Vec<(u64, CheckpointKind)> {
    let acknowledge = Event::Acknowledge { attempt: 1, checkpoint, subtask: 0, payload: () };
    assert_eq!(begun(&coordinator.handle(now, acknowledge)), []);
    begun(&coordinator.handle(now, Event::MetadataWritten { checkpoint }))
}

const PERIODIC: CheckpointKind = CheckpointKind::Periodic;

#[test]
fn without_an_interval_nothing_begins_by_itself() {
    let coordinator = started(CoordinatorSettings::default(), 0);
    assert_eq!(coordinator.next_wakeup(), None);
}

#[test]
fn checkpoints_begin_at_a_fixed_rate() {
    let mut coordinator = started(every(100), u64::MAX);
    let mut duration = ms(7);
    for id in 1..=5 {
        let (at, begun) = wake(&mut coordinator);
        assert_eq!((at, begun), (ms(100) * id, vec![(u64::from(id), PERIODIC)]));
        // However long each takes.
        assert_eq!(complete(&mut coordinator, at + duration, u64::from(id)), []);
        duration += ms(20);
    }
}

#[test]
fn a_tick_before_the_time_begins_nothing() {
    let mut coordinator = started(every(100), u64::MAX);
    assert_eq!(coordinator.handle(ms(99), Event::Tick), []);
    assert_eq!(begun(&coordinator.handle(ms(100), Event::Tick)).len(), 1);
}

#[test]
fn missed_times_are_not_made_up_for() {
    let mut coordinator = started(every(100), u64::MAX);
    assert_eq!(begun(&coordinator.handle(ms(750), Event::Tick)).len(), 1);
    assert_eq!(complete(&mut coordinator, ms(760), 1), []);
    assert_eq!(coordinator.next_wakeup(), Some(ms(800)), "the rate is kept");
}

#[test]
fn what_came_due_while_all_places_were_taken_begins_when_one_is_free() {
    let mut coordinator = started(every(100), u64::MAX);
    wake(&mut coordinator);
    assert_eq!(begun(&coordinator.handle(ms(450), Event::Tick)), [], "one at a time");
    assert_eq!(complete(&mut coordinator, ms(460), 1), [(2, PERIODIC)]);
    assert_eq!(complete(&mut coordinator, ms(470), 2), [], "once, however many came due");
    assert_eq!(wake(&mut coordinator), (ms(500), vec![(3, PERIODIC)]));
}

#[test]
fn as_many_as_permitted_are_under_way_at_once() {
    let mut coordinator = started(CoordinatorSettings { max_concurrent: 3, ..every(100) }, u64::MAX);
    for id in 1..=3 {
        assert_eq!(wake(&mut coordinator).1, [(id, PERIODIC)]);
    }
    assert_eq!(begun(&coordinator.handle(ms(1000), Event::Tick)), []);
    assert_eq!(complete(&mut coordinator, ms(1010), 1), [(4, PERIODIC)]);
}

#[test]
fn the_pause_is_measured_from_the_last_completion() {
    let mut coordinator = started(CoordinatorSettings { min_pause: ms(80), ..every(100) }, u64::MAX);
    assert_eq!(wake(&mut coordinator).0, ms(100));
    assert_eq!(complete(&mut coordinator, ms(150), 1), []);
    // Due at 200, but the pause lasts until 230; from there on the rate starts anew.
    assert_eq!(wake(&mut coordinator), (ms(200), vec![]));
    assert_eq!(wake(&mut coordinator), (ms(230), vec![(2, PERIODIC)]));
    assert_eq!(complete(&mut coordinator, ms(231), 2), []);
    assert_eq!(wake(&mut coordinator), (ms(330), vec![(3, PERIODIC)]));
}

#[test]
fn a_checkpoint_that_was_given_up_asks_for_no_pause() {
    let mut coordinator = started(CoordinatorSettings { min_pause: ms(80), ..every(100) }, u64::MAX);
    wake(&mut coordinator);
    let decline = Event::Decline { attempt: 1, checkpoint: 1, subtask: 0, reason: String::new() };
    let _ = coordinator.handle(ms(190), decline);
    assert_eq!(wake(&mut coordinator), (ms(200), vec![(2, PERIODIC)]));
}

#[test]
fn requests_do_not_wait_for_the_pause() {
    for kind in [CheckpointKind::Manual, CheckpointKind::Final] {
        let mut coordinator = started(CoordinatorSettings { min_pause: ms(80), ..every(100) }, u64::MAX);
        wake(&mut coordinator);
        complete(&mut coordinator, ms(150), 1);
        assert_eq!(begun(&coordinator.handle(ms(151), Event::Trigger { kind })), [(2, kind)]);
    }
}

#[test]
fn a_periodic_request_behaves_as_if_its_time_had_come() {
    let settings = CoordinatorSettings { min_pause: ms(80), ..CoordinatorSettings::default() };
    let mut coordinator = started(settings, 0);
    let request = Event::Trigger { kind: PERIODIC };
    assert_eq!(begun(&coordinator.handle(ms(1), request.clone())), [(1, PERIODIC)]);
    complete(&mut coordinator, ms(10), 1);
    assert_eq!(begun(&coordinator.handle(ms(11), request)), []);
    assert_eq!(wake(&mut coordinator), (ms(90), vec![(2, PERIODIC)]), "after the pause");
}

#[test]
fn the_pause_widens_the_interval() {
    let mut coordinator = started(CoordinatorSettings { min_pause: ms(500), ..every(100) }, 0);
    assert_eq!(wake(&mut coordinator).0, ms(500));
    complete(&mut coordinator, ms(500), 1);
    assert_eq!(wake(&mut coordinator).0, ms(1000));
}

#[test]
fn no_periodic_checkpoint_begins_once_the_final_one_is_wanted() {
    let mut coordinator = started(every(100), u64::MAX);
    let _ = coordinator.handle(ms(10), Event::Trigger { kind: CheckpointKind::Final });
    assert_eq!(coordinator.next_wakeup(), Some(ms(10) + Duration::from_secs(600)), "only the timeout is left");
    assert_eq!(begun(&coordinator.handle(ms(1000), Event::Tick)), []);
    assert_eq!(complete(&mut coordinator, ms(1001), 1), []);
    assert_eq!(coordinator.next_wakeup(), None);
}

#[test]
fn a_checkpoint_expires() {
    let settings = CoordinatorSettings { timeout: ms(50), ..every(1000) };
    let mut coordinator = started(settings, u64::MAX);
    wake(&mut coordinator);
    assert_eq!(coordinator.next_wakeup(), Some(ms(1050)));
    assert_eq!(coordinator.handle(ms(1049), Event::Tick), []);
    let commands = coordinator.handle(ms(1050), Event::Tick);
    let Command::Abort { checkpoint: 1, reason, .. } = &commands[0] else { panic!("{commands:?}") };
    assert_eq!(*reason, AbortReason::Expired);
    assert_eq!(reason.to_string(), "expired before completing");
    assert!(matches!(commands[1], Command::Discard { .. }));
}

#[test]
fn what_is_being_written_does_not_expire() {
    let settings = CoordinatorSettings { timeout: ms(50), ..every(1000) };
    let mut coordinator = started(settings, u64::MAX);
    wake(&mut coordinator);
    let _ = coordinator.handle(ms(1049), Event::Acknowledge { attempt: 1, checkpoint: 1, subtask: 0, payload: () });
    assert_eq!(coordinator.handle(ms(1500), Event::Tick), []);
    let commands = coordinator.handle(ms(1600), Event::MetadataWritten { checkpoint: 1 });
    assert!(matches!(commands[..], [Command::Complete { checkpoint: 1, .. }]));
}

#[test]
fn an_acknowledgement_at_the_very_deadline_counts() {
    let settings = CoordinatorSettings { timeout: ms(50), ..every(1000) };
    let mut coordinator = started(settings, u64::MAX);
    wake(&mut coordinator);
    let acknowledge = Event::Acknowledge { attempt: 1, checkpoint: 1, subtask: 0, payload: () };
    assert!(matches!(coordinator.handle(ms(1050), acknowledge)[..], [Command::WriteMetadata { .. }]));
}

#[test]
fn a_failed_final_checkpoint_waits_an_interval() {
    let mut coordinator = started(every(300), u64::MAX);
    let _ = coordinator.handle(ms(10), Event::Trigger { kind: CheckpointKind::Final });
    let decline = Event::Decline { attempt: 1, checkpoint: 1, subtask: 0, reason: String::new() };
    assert_eq!(begun(&coordinator.handle(ms(20), decline)), []);
    assert_eq!(wake(&mut coordinator), (ms(320), vec![(2, CheckpointKind::Final)]));
}

#[test]
fn time_that_goes_back_is_ignored() {
    let mut coordinator = started(every(100), u64::MAX);
    let _ = coordinator.handle(ms(90), Event::Tick);
    let begun = begun(&coordinator.handle(ms(5), Event::Trigger { kind: CheckpointKind::Manual }));
    assert_eq!(begun.len(), 1);
    assert_eq!(coordinator.next_wakeup(), Some(ms(90) + Duration::from_secs(600)));
}

#[test]
fn settings_out_of_range_are_refused() {
    let good = every(10);
    good.validate().unwrap();
    for (bad, key) in [
        (every(9), "interval"),
        (CoordinatorSettings { timeout: ms(9), ..good.clone() }, "timeout"),
        (CoordinatorSettings { max_concurrent: 0, ..good }, "max-concurrent"),
    ] {
        let error = Coordinator::<()>::new(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.value("key").unwrap().contains(key), "{error}");
    }
}

#[test]
fn extreme_settings_do_not_overflow() {
    let settings = CoordinatorSettings {
        interval: Some(Duration::MAX),
        min_pause: Duration::MAX,
        timeout: Duration::MAX,
        ..CoordinatorSettings::default()
    };
    let mut coordinator = started(settings, u64::MAX);
    let _ = coordinator.handle(ms(1), Event::Trigger { kind: CheckpointKind::Manual });
    complete(&mut coordinator, ms(2), 1);
    let request = Event::Trigger { kind: PERIODIC };
    assert_eq!(coordinator.handle(ms(3), request), []);
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    assert_eq!(coordinator.next_wakeup(), Some(ms(2) + year), "the pause counts at most a year");
    assert_eq!(begun(&coordinator.handle(Duration::MAX, Event::Tick)).len(), 1);
}

proptest! {
    #[test]
    fn the_first_checkpoint_begins_between_pause_and_interval(
        interval in 10..10_000_u64, pause in 0..10_000_u64, jitter in any::<u64>()
    ) {
        let settings = CoordinatorSettings { min_pause: ms(pause), ..every(interval) };
        let first = started(settings, jitter).next_wakeup().unwrap();
        prop_assert!(ms(pause) <= first && first <= ms(interval.max(pause)), "{first:?}");
    }
}

/// Jitter spreads over the whole range.
#[test]
fn jitter_reaches_both_ends() {
    let settings = CoordinatorSettings { min_pause: ms(100), ..every(200) };
    assert_eq!(started(settings.clone(), 0).next_wakeup(), Some(ms(100)));
    assert_eq!(started(settings.clone(), u64::MAX).next_wakeup(), Some(ms(200)));
    assert_eq!(started(settings, u64::MAX / 2 + 1).next_wakeup(), Some(ms(150)));
}
