//! What completes a checkpoint, what gives it up, and what is deleted.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater_checkpoint::{
    AbortReason, AttemptStart, CheckpointKind, Command, Coordinator, CoordinatorSettings, DiscardExtent, Event,
};
use highwater_types::ErrorKind;

use CheckpointKind::{Final, FinalSavepoint, Manual, Savepoint};

const NOW: Duration = Duration::from_secs(1);

type Commands = Vec<Command<&'static str>>;

/// A coordinator with a running attempt 1 of two subtasks.
struct Job(Coordinator<&'static str>);

impl Job {
    fn new(settings: CoordinatorSettings) -> Self {
        let mut job = Self(Coordinator::new(settings).unwrap());
        job.start(1);
        job
    }

    /// No periodic checkpoints, any number at once, any number of failures.
    fn lenient() -> Self {
        Self::new(CoordinatorSettings {
            max_concurrent: 10,
            tolerable_failures: u32::MAX,
            ..CoordinatorSettings::default()
        })
    }

    fn start(&mut self, attempt: u64) {
        self.0.start(NOW, AttemptStart { attempt, subtasks: 2, next_checkpoint: 1, jitter: 0 }).unwrap();
    }

    fn handle(&mut self, event: Event<&'static str>) -> Commands {
        self.0.handle(NOW, event)
    }

    fn trigger(&mut self, kind: CheckpointKind) -> Commands {
        self.handle(Event::Trigger { kind })
    }

    fn acknowledge(&mut self, checkpoint: u64, subtask: u32, payload: &'static str) -> Commands {
        self.handle(Event::Acknowledge { attempt: 1, checkpoint, subtask, payload })
    }

    fn decline(&mut self, checkpoint: u64, subtask: u32) -> Commands {
        self.handle(Event::Decline { attempt: 1, checkpoint, subtask, reason: "full".into() })
    }

    fn written(&mut self, checkpoint: u64) -> Commands {
        self.handle(Event::MetadataWritten { checkpoint })
    }

    fn failed(&mut self, checkpoint: u64, unclear: bool) -> Commands {
        self.handle(Event::MetadataFailed { checkpoint, reason: "no space left".into(), unclear })
    }

    /// Begins a checkpoint and lets both subtasks acknowledge.
    fn until_writing(&mut self, checkpoint: u64) {
        assert_eq!(self.trigger(Manual), [begin(checkpoint, Manual)]);
        assert_eq!(self.acknowledge(checkpoint, 0, "a"), []);
        assert_eq!(self.acknowledge(checkpoint, 1, "b"), [write(checkpoint)]);
    }

    fn complete(&mut self, checkpoint: u64) {
        self.until_writing(checkpoint);
        assert_eq!(self.written(checkpoint), [complete(checkpoint)]);
    }
}

fn begin(checkpoint: u64, kind: CheckpointKind) -> Command<&'static str> {
    Command::Begin { attempt: 1, checkpoint, kind }
}

fn write(checkpoint: u64) -> Command<&'static str> {
    Command::WriteMetadata { checkpoint, acknowledgements: BTreeMap::from([(0, "a"), (1, "b")]) }
}

fn complete(checkpoint: u64) -> Command<&'static str> {
    Command::Complete { attempt: 1, checkpoint, kind: Manual }
}

fn abort(checkpoint: u64, reason: AbortReason) -> Command<&'static str> {
    Command::Abort { attempt: 1, checkpoint, reason }
}

fn discard(checkpoint: u64, payloads: &[&'static str]) -> Command<&'static str> {
    Command::Discard { checkpoint, payloads: payloads.to_vec(), extent: DiscardExtent::Checkpoint }
}

fn discard_late(checkpoint: u64, payload: &'static str) -> Command<&'static str> {
    Command::Discard { checkpoint, payloads: vec![payload], extent: DiscardExtent::Late }
}

fn declined(subtask: u32) -> AbortReason {
    AbortReason::Declined { subtask, reason: "full".into() }
}

#[test]
fn a_checkpoint_completes_after_all_acknowledged_and_the_metadata_is_durable() {
    let mut job = Job::lenient();
    assert_eq!(job.trigger(Manual), [begin(1, Manual)]);
    assert_eq!(job.acknowledge(1, 1, "b"), []);
    assert_eq!(job.handle(Event::MetadataWritten { checkpoint: 1 }), [], "nobody was told to write it");
    assert_eq!(job.acknowledge(1, 0, "a"), [write(1)]);
    assert_eq!(job.0.last_completed(), None);
    assert_eq!(job.0.pending().collect::<Vec<_>>(), [1]);
    assert_eq!(job.written(1), [complete(1)]);
    assert_eq!(job.0.last_completed(), Some(1));
    assert_eq!(job.0.pending().len(), 0);
    assert_eq!(job.written(1), [], "said twice");
}

#[test]
fn a_decline_gives_the_checkpoint_up() {
    let mut job = Job::lenient();
    job.trigger(Manual);
    job.acknowledge(1, 0, "a");
    assert_eq!(job.decline(1, 1), [abort(1, declined(1)), discard(1, &["a"])]);
    assert_eq!(job.decline(1, 1), []);
    assert_eq!(job.decline(9, 1), [], "unknown");
}

#[test]
fn a_decline_of_who_acknowledged_is_ignored() {
    let mut job = Job::lenient();
    job.trigger(Manual);
    job.acknowledge(1, 0, "a");
    assert_eq!(job.decline(1, 0), []);
    assert_eq!(job.acknowledge(1, 1, "b"), [write(1)]);
    assert_eq!(job.decline(1, 1), []);
}

#[test]
fn a_checkpoint_that_cannot_begin_is_given_up() {
    let mut job = Job::lenient();
    job.trigger(Manual);
    let event = Event::BeginFailed { checkpoint: 1, reason: "read-only".into() };
    let reason = AbortReason::BeginFailed("read-only".into());
    assert_eq!(job.handle(event.clone()), [abort(1, reason), discard(1, &[])]);
    assert_eq!(job.handle(event), []);
}

#[test]
fn a_duplicate_acknowledgement_is_not_counted_and_not_discarded() {
    let mut job = Job::lenient();
    job.trigger(Manual);
    assert_eq!(job.acknowledge(1, 0, "a"), []);
    assert_eq!(job.acknowledge(1, 0, "a"), [], "one subtask twice is not two subtasks");
    assert_eq!(job.acknowledge(1, 1, "b"), [write(1)]);
    assert_eq!(job.acknowledge(1, 1, "b"), []);
    assert_eq!(job.written(1), [complete(1)]);
    assert_eq!(job.acknowledge(1, 0, "a"), [], "it is part of a complete checkpoint");
}

#[test]
fn an_acknowledgement_of_an_unknown_subtask_is_not_counted() {
    let mut job = Job::lenient();
    job.trigger(Manual);
    assert_eq!(job.acknowledge(1, 7, "x"), []);
    assert_eq!(job.acknowledge(1, 0, "a"), []);
    assert_eq!(job.acknowledge(1, 1, "b"), [write(1)]);
}

#[test]
fn a_late_acknowledgement_is_discarded_once() {
    let mut job = Job::lenient();
    job.trigger(Manual);
    job.decline(1, 1);
    assert_eq!(job.acknowledge(1, 0, "late"), [discard_late(1, "late")]);
    assert_eq!(job.acknowledge(1, 0, "late"), []);
    assert_eq!(job.acknowledge(1, 1, "odd"), [], "it had declined");
}

#[test]
fn an_acknowledgement_of_a_checkpoint_never_begun_is_discarded() {
    let mut job = Job::lenient();
    assert_eq!(job.acknowledge(1, 0, "a"), [discard_late(1, "a")]);
    assert_eq!(job.trigger(Manual), [begin(1, Manual)]);
}

#[test]
fn the_end_of_an_attempt_gives_up_what_is_under_way() {
    let mut job = Job::lenient();
    job.trigger(Manual);
    job.trigger(Manual);
    job.acknowledge(1, 0, "a");
    assert_eq!(
        job.handle(Event::AttemptEnded { attempt: 1 }),
        [abort(1, AbortReason::AttemptEnded), discard(1, &["a"]), abort(2, AbortReason::AttemptEnded), discard(2, &[])]
    );
    assert_eq!(job.trigger(Manual), [], "no attempt, no checkpoint");
    assert_eq!(job.0.next_wakeup(), None);
}

#[test]
fn acknowledgements_of_another_attempt_are_discarded_and_not_counted() {
    let mut job = Job::lenient();
    job.trigger(Manual);
    job.handle(Event::AttemptEnded { attempt: 1 });
    job.start(2);
    assert_eq!(job.trigger(Manual), [Command::Begin { attempt: 2, checkpoint: 2, kind: Manual }]);
    assert_eq!(job.acknowledge(1, 0, "late"), [discard_late(1, "late")]);
    assert_eq!(job.acknowledge(2, 0, "wrong attempt"), []);
    assert_eq!(job.acknowledge(2, 1, "wrong attempt"), []);
    for subtask in 0..2 {
        let commands = job.handle(Event::Acknowledge { attempt: 2, checkpoint: 2, subtask, payload: "right" });
        assert_eq!(commands.len(), subtask as usize, "the second of two completes it");
    }
}

#[test]
fn events_of_another_attempt_do_not_touch_the_running_one() {
    let mut job = Job::lenient();
    job.handle(Event::AttemptEnded { attempt: 1 });
    job.start(2);
    job.trigger(Manual);
    assert_eq!(job.handle(Event::AttemptEnded { attempt: 1 }), []);
    assert_eq!(job.handle(Event::SubtaskFailed { attempt: 1, subtask: 0 }), []);
    assert_eq!(job.decline(1, 0), []);
    assert_eq!(job.0.pending().len(), 1);
}

#[test]
fn a_failed_subtask_gives_up_what_it_has_not_acknowledged() {
    let mut job = Job::lenient();
    job.trigger(Manual);
    job.trigger(Manual);
    job.acknowledge(1, 0, "a");
    let reason = AbortReason::SubtaskFailed { subtask: 0 };
    assert_eq!(job.handle(Event::SubtaskFailed { attempt: 1, subtask: 0 }), [abort(2, reason), discard(2, &[])]);
    assert_eq!(job.trigger(Manual), [], "not all subtasks run");
    assert_eq!(job.acknowledge(1, 1, "b"), [write(1)], "what it had acknowledged can still complete");
}

#[test]
fn a_completed_checkpoint_subsumes_older_ones() {
    let mut job = Job::lenient();
    job.trigger(Manual);
    job.acknowledge(1, 0, "old");
    job.until_writing(2);
    job.trigger(Manual);
    let by_2 = AbortReason::Subsumed { by: 2 };
    assert_eq!(job.written(2), [complete(2), abort(1, by_2), discard(1, &["old"])]);
    assert_eq!(job.0.pending().collect::<Vec<_>>(), [3], "a newer one goes on");
    assert_eq!(job.acknowledge(1, 1, "late"), [discard_late(1, "late")]);
}

#[test]
fn one_metadata_write_at_a_time_and_the_newest_first() {
    let mut job = Job::lenient();
    job.until_writing(1);
    for checkpoint in [2, 3] {
        job.trigger(Manual);
        assert_eq!(job.acknowledge(checkpoint, 0, "a"), []);
        assert_eq!(job.acknowledge(checkpoint, 1, "b"), [], "the first is still being written");
    }
    assert_eq!(job.0.writing(), Some(1));
    assert_eq!(job.written(1), [complete(1), write(3)]);
    let by_3 = AbortReason::Subsumed { by: 3 };
    assert_eq!(job.written(3), [complete(3), abort(2, by_3), discard(2, &["a", "b"])]);
}

#[test]
fn when_the_newer_write_fails_the_older_one_gets_its_turn() {
    let mut job = Job::lenient();
    job.trigger(Manual);
    job.until_writing(2);
    job.acknowledge(1, 0, "a");
    assert_eq!(job.acknowledge(1, 1, "b"), []);
    let reason = AbortReason::MetadataFailed("no space left".into());
    assert_eq!(job.failed(2, false), [abort(2, reason), discard(2, &["a", "b"]), write(1)]);
    assert_eq!(job.written(1), [complete(1)]);
}

#[test]
fn a_failed_metadata_write_discards_and_an_unclear_one_keeps() {
    let mut job = Job::lenient();
    job.until_writing(1);
    let reason = AbortReason::MetadataFailed("no space left".into());
    assert_eq!(job.failed(1, false), [abort(1, reason), discard(1, &["a", "b"])]);

    job.until_writing(2);
    assert_eq!(job.failed(2, true), [abort(2, AbortReason::MetadataUnclear("no space left".into()))]);
    assert_eq!(job.acknowledge(2, 0, "a"), [], "it may be part of a complete checkpoint");
    assert_eq!(job.failed(2, false), [], "said twice");
    assert_eq!(job.0.last_completed(), None);
}

#[test]
fn the_outcome_of_a_write_outlives_the_attempt() {
    let mut job = Job::lenient();
    job.until_writing(1);
    job.trigger(Manual);
    assert_eq!(
        job.handle(Event::AttemptEnded { attempt: 1 }),
        [abort(2, AbortReason::AttemptEnded), discard(2, &[])],
        "the write goes on"
    );
    let start = AttemptStart { attempt: 2, subtasks: 2, next_checkpoint: 1, jitter: 0 };
    let error = job.0.start(NOW, start).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert_eq!(error.value("checkpoint"), Some("1"), "nobody knows yet what to restore");
    assert_eq!(job.written(1), [complete(1)]);
    job.start(2);
}

#[test]
fn attempts_are_started_one_after_the_other_with_new_numbers() {
    let mut job = Job::lenient();
    let start = |attempt, subtasks| AttemptStart { attempt, subtasks, next_checkpoint: 1, jitter: 0 };
    assert!(job.0.start(NOW, start(2, 2)).is_err(), "another runs");
    job.handle(Event::AttemptEnded { attempt: 1 });
    assert!(job.0.start(NOW, start(1, 2)).is_err(), "not new");
    assert!(job.0.start(NOW, start(2, 0)).is_err(), "nobody to ask");
    job.0.start(NOW, start(2, 5)).unwrap();
}

#[test]
fn ids_grow_over_failures_attempts_and_what_storage_knows() {
    let mut job = Job::lenient();
    job.trigger(Manual);
    job.decline(1, 0);
    assert_eq!(job.trigger(Manual), [begin(2, Manual)]);
    job.handle(Event::AttemptEnded { attempt: 1 });
    job.start(2);
    assert_eq!(job.0.next_checkpoint(), 3);
    job.handle(Event::AttemptEnded { attempt: 2 });
    job.0.start(NOW, AttemptStart { attempt: 3, subtasks: 1, next_checkpoint: 40, jitter: 0 }).unwrap();
    assert_eq!(job.trigger(Manual), [Command::Begin { attempt: 3, checkpoint: 40, kind: Manual }]);
}

fn fail_job(commands: &Commands) -> Option<&str> {
    match commands.last() {
        Some(Command::FailJob { reason }) => Some(reason),
        _ => None,
    }
}

#[test]
fn without_tolerance_the_first_failure_fails_the_job() {
    let mut job = Job::new(CoordinatorSettings::default());
    job.trigger(Manual);
    let commands = job.decline(1, 1);
    let reason = fail_job(&commands).unwrap();
    assert!(reason.contains("Exceeded checkpoint tolerable failure threshold"), "{reason}");
    assert!(reason.contains("checkpoint 1 was declined by subtask 1: full"), "{reason}");
    assert_eq!(job.trigger(Manual), [], "the attempt is about to end");
}

#[test]
fn failures_count_in_a_row_and_a_success_forgives() {
    let mut job = Job::new(CoordinatorSettings { tolerable_failures: 2, ..CoordinatorSettings::default() });
    let decline = |job: &mut Job, checkpoint| {
        job.trigger(Manual);
        fail_job(&job.decline(checkpoint, 0)).is_some()
    };
    assert!(!decline(&mut job, 1));
    assert!(!decline(&mut job, 2));
    job.complete(3);
    assert!(!decline(&mut job, 4));
    assert!(!decline(&mut job, 5));
    assert!(decline(&mut job, 6));

    job.handle(Event::AttemptEnded { attempt: 1 });
    job.start(2);
    job.trigger(Manual);
    let event = Event::Decline { attempt: 2, checkpoint: 7, subtask: 0, reason: "full".into() };
    assert!(fail_job(&job.handle(event)).is_none(), "failing the job begins a new count");
}

#[test]
fn what_counts_as_a_failure() {
    let counts = |event: fn(&mut Job) -> Commands| {
        let mut job = Job::new(CoordinatorSettings { max_concurrent: 2, ..CoordinatorSettings::default() });
        job.until_writing(1);
        job.trigger(Manual);
        fail_job(&event(&mut job)).is_some()
    };
    assert!(counts(|job| job.decline(2, 0)));
    assert!(counts(|job| job.failed(1, false)));
    assert!(counts(|job| job.failed(1, true)));
    assert!(counts(|job| job.handle(Event::BeginFailed { checkpoint: 2, reason: "full".into() })));
    assert!(counts(|job| job.0.handle(NOW + Duration::from_secs(600), Event::Tick)), "expired");
    assert!(!counts(|job| job.handle(Event::SubtaskFailed { attempt: 1, subtask: 0 })));
    assert!(!counts(|job| job.handle(Event::AttemptEnded { attempt: 1 })));
    assert!(!counts(|job| {
        job.acknowledge(2, 0, "a");
        job.acknowledge(2, 1, "b");
        job.failed(1, true);
        vec![]
    }));
}

#[test]
fn being_subsumed_is_no_failure() {
    let mut job = Job::new(CoordinatorSettings { max_concurrent: 2, ..CoordinatorSettings::default() });
    job.trigger(Manual);
    job.until_writing(2);
    let commands = job.written(2);
    assert!(matches!(commands[..], [Command::Complete { .. }, Command::Abort { .. }, Command::Discard { .. }]));
}

#[test]
fn the_final_checkpoint_lets_no_other_begin() {
    let mut job = Job::lenient();
    assert_eq!(job.trigger(Final), [begin(1, Final)]);
    assert_eq!(job.trigger(Manual), []);
    assert_eq!(job.trigger(Final), [], "it is under way");
    job.acknowledge(1, 0, "a");
    job.acknowledge(1, 1, "b");
    assert_eq!(job.written(1), [Command::Complete { attempt: 1, checkpoint: 1, kind: Final }]);
    assert_eq!(job.trigger(Manual), []);
    assert_eq!(job.0.next_wakeup(), None);
}

#[test]
fn the_final_checkpoint_waits_for_a_place() {
    let mut job = Job::new(CoordinatorSettings::default());
    job.until_writing(1);
    assert_eq!(job.trigger(Manual), []);
    assert_eq!(job.trigger(Final), []);
    assert_eq!(job.written(1), [complete(1), begin(2, Final)], "it goes first and stands for the other");
    job.acknowledge(2, 0, "a");
    job.acknowledge(2, 1, "b");
    job.written(2);
    assert_eq!(job.handle(Event::Tick), []);
}

#[test]
fn a_failed_final_checkpoint_is_tried_again() {
    let mut job = Job::lenient();
    job.trigger(Final);
    assert_eq!(job.decline(1, 0).len(), 2);
    let again = job.0.next_wakeup().unwrap();
    assert_eq!(again, NOW + Duration::from_secs(1));
    assert_eq!(job.trigger(Manual), []);
    assert_eq!(job.0.handle(again, Event::Tick), [begin(2, Final)]);
}

#[test]
fn requests_end_with_their_attempt() {
    let mut job = Job::new(CoordinatorSettings::default());
    job.trigger(Manual);
    job.trigger(Final);
    job.handle(Event::AttemptEnded { attempt: 1 });
    job.start(2);
    assert_eq!(job.handle(Event::Tick), []);
}

#[test]
fn a_savepoint_begins_beside_any_checkpoint_and_none_gives_way_to_the_other() {
    let mut job = Job::new(CoordinatorSettings::default());
    assert_eq!(job.trigger(Manual), [begin(1, Manual)]);
    assert_eq!(job.trigger(Savepoint), [begin(2, Savepoint)], "beside the one checkpoint that may be under way");
    assert_eq!(job.trigger(Savepoint), [begin(3, Savepoint)], "each request has its own");
    assert_eq!(job.trigger(Manual), []);
    job.acknowledge(3, 0, "a");
    assert_eq!(job.acknowledge(3, 1, "b"), [write(3)]);
    let done = Command::Complete { attempt: 1, checkpoint: 3, kind: Savepoint };
    assert_eq!(job.written(3), [done], "1 and 2 go on");
    assert_eq!(job.0.last_completed(), None, "it is no checkpoint");
    job.acknowledge(1, 0, "a");
    assert_eq!(job.acknowledge(1, 1, "b"), [write(1)]);
    let commands = job.written(1);
    assert_eq!(commands.first(), Some(&complete(1)), "2 is not subsumed: {commands:?}");
}

/// What happens to savepoints is no reason for or against anything that concerns checkpoints.
#[test]
fn a_savepoint_that_fails_does_not_count() {
    let mut job = Job::new(CoordinatorSettings { max_concurrent: 10, ..CoordinatorSettings::default() });
    for id in 1..4 {
        job.trigger(Savepoint);
        assert_eq!(job.decline(id, 0), [abort(id, declined(0)), discard(id, &[])]);
    }
    // Nor does one that succeeds make up for failures.
    let mut job = Job::new(CoordinatorSettings { tolerable_failures: 1, ..CoordinatorSettings::default() });
    job.trigger(Manual);
    job.decline(1, 0);
    job.trigger(Savepoint);
    job.acknowledge(2, 0, "a");
    job.acknowledge(2, 1, "b");
    job.written(2);
    job.trigger(Manual);
    assert!(matches!(&job.decline(3, 0)[..], [.., Command::FailJob { .. }]));
}

#[test]
fn an_attempt_that_ends_with_a_savepoint_goes_on_if_it_fails() {
    let mut job = Job::lenient();
    assert_eq!(job.trigger(FinalSavepoint), [begin(1, FinalSavepoint)]);
    assert_eq!(job.trigger(Manual), [], "nothing begins after it");
    assert_eq!(job.trigger(Savepoint), []);
    let commands = job.decline(1, 1);
    assert_eq!(commands, [abort(1, declined(1)), discard(1, &[]), begin(2, Savepoint), begin(3, Manual)]);

    let mut job = Job::lenient();
    job.trigger(FinalSavepoint);
    assert_eq!(job.trigger(Final), [], "the input came to its end meanwhile");
    assert_eq!(job.decline(1, 1), [abort(1, declined(1)), discard(1, &[]), begin(2, Final)]);
    assert_eq!(job.trigger(FinalSavepoint), []);

    let mut job = Job::lenient();
    job.trigger(FinalSavepoint);
    job.acknowledge(1, 0, "a");
    assert_eq!(job.acknowledge(1, 1, "b"), [write(1)]);
    assert_eq!(job.written(1), [Command::Complete { attempt: 1, checkpoint: 1, kind: FinalSavepoint }]);
    assert_eq!(job.trigger(Manual), [], "it was the last");
    assert_eq!(job.trigger(Final), []);
}
