//! The generator uses every index exactly once, whatever happens to its subtasks.

use std::time::{Duration, Instant};

use highwater_dataflow::{CollectionSource, GeneratorSource, SourceStatus};
use highwater_types::ErrorKind;
use proptest::prelude::*;

use crate::harness::SourceRun;

#[test]
fn one_subtask_sees_the_indexes_in_order() {
    let source = GeneratorSource::new(|index| index * 10).count(1_000);
    let records = SourceRun::open(&source, 1, None).unwrap().drain().unwrap();
    assert_eq!(records, (0..1_000).map(|index| index * 10).collect::<Vec<_>>());
}

#[test]
fn order_goes_on_after_a_restore_in_the_middle_of_a_round() {
    let source = GeneratorSource::new(|index| index).count(1_000);
    let mut run = SourceRun::open(&source, 1, None).unwrap();
    let (_, mut records) = run.poll(0, 333).unwrap();
    let snapshot = run.snapshot();
    run.poll(0, 50).unwrap();
    records.extend(SourceRun::open(&source, 1, Some(&snapshot)).unwrap().drain().unwrap());
    assert_eq!(records, (0..1_000).collect::<Vec<_>>());
}

#[test]
fn a_collection_comes_once_and_an_empty_one_is_finished_at_once() {
    let words = CollectionSource::new(vec!["to", "be", "or"]);
    assert_eq!(SourceRun::open(&words, 1, None).unwrap().drain().unwrap(), ["to", "be", "or"]);
    let mut nothing = SourceRun::open(&CollectionSource::new(Vec::<u8>::new()), 2, None).unwrap();
    assert_eq!(nothing.poll(0, 10).unwrap(), (SourceStatus::NeedsSplit, vec![]));
}

#[test]
fn an_endless_generator_never_finishes() {
    let mut run = SourceRun::open(&GeneratorSource::new(|index| index), 1, None).unwrap();
    for _ in 0..100 {
        assert_eq!(run.poll(0, 1_000).unwrap().0, SourceStatus::Ready);
    }
}

#[test]
fn the_rate_holds_over_all_subtasks() {
    let source = GeneratorSource::new(|index| index).rate(4_000.0);
    let mut run = SourceRun::open(&source, 2, None).unwrap();
    let start = Instant::now();
    let mut records = 0;
    // What a pause costs is not made up for, so it takes longer where the machine has other things to do.
    while records < 1_000 {
        records += run.poll(0, 1_000).unwrap().1.len() + run.poll(1, 1_000).unwrap().1.len();
        std::thread::sleep(Duration::from_millis(2));
    }
    let (time, most) = (start.elapsed(), (start.elapsed().as_secs_f64() * 4_000.0) as usize + 1);
    assert!(records <= most, "{records} records in {time:?}");
}

#[test]
fn a_rate_that_lets_nothing_pass_is_refused() {
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = SourceRun::open(&GeneratorSource::new(|index| index).rate(rate), 1, None).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Configuration);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_index_exactly_once_over_restores_with_other_parallelisms(
        count in 0u64..3_000,
        runs in prop::collection::vec((1u32..200, prop::collection::vec((0usize..200, 0usize..300), 0..20)), 0..4),
        last in 1u32..5,
    ) {
        let source = GeneratorSource::new(|index| index).count(count);
        let (mut records, mut snapshot) = (Vec::new(), None);
        for (parallelism, polls) in runs {
            let mut run = SourceRun::open(&source, parallelism, snapshot.as_ref()).unwrap();
            for (subtask, limit) in polls {
                records.extend(run.poll(subtask % parallelism as usize, limit).unwrap().1);
            }
            snapshot = Some(run.snapshot());
            // What comes behind the barrier is lost with the attempt.
            run.poll(0, 10).unwrap();
        }
        records.extend(SourceRun::open(&source, last, snapshot.as_ref()).unwrap().drain().unwrap());
        records.sort_unstable();
        prop_assert_eq!(records, (0..count).collect::<Vec<_>>());
    }
}

/// A rescale gives a reader stripes that are far apart; with event time, what is behind must not come late.
#[test]
fn stripes_that_are_far_apart_are_brought_into_step() {
    let source = GeneratorSource::new(|index| index).count(5_000);
    let mut run = SourceRun::open(&source, 2, None).unwrap();
    let (_, mut records) = run.poll(0, 900).unwrap();
    records.extend(run.poll(1, 100).unwrap().1);
    let snapshot = run.snapshot();
    let rest = SourceRun::open(&source, 1, Some(&snapshot)).unwrap().drain().unwrap();
    assert!(rest.is_sorted(), "{rest:?}");
    records.extend(rest);
    records.sort_unstable();
    assert_eq!(records, (0..5_000).collect::<Vec<_>>());
}
