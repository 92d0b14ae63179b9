//! Event time in a job: watermarks travel with the records, windows close, timers fire, and all of it is exactly once.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "helpers of tests")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use highwater_dataflow::{
    CollectionSource, DataStream, EventTimeSessionWindows, GeneratorSource, Job, JobHandle, JobOutcome, OutputTag,
    TumblingEventTimeWindows, WatermarkGenerator, WatermarkOutput, WatermarkStrategy,
};
use highwater_types::ErrorKind;
use support::{CommitSink, Counted, config, files, wait_until};

const RECORDS: u64 = 40_000;
const KEYS: u64 = 7;
const WINDOW: i64 = 100;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Index and key: the index is the timestamp.
fn record(index: u64) -> (i64, i64) {
    (index as i64, (index.wrapping_mul(0x9E37_79B9) % KEYS) as i64)
}

/// Timestamps never fall.
fn by_index() -> WatermarkStrategy<(i64, i64)> {
    WatermarkStrategy::monotonous().timestamps(|(at, _), _| *at)
}

/// The records of each key and window, as key and start and number in one.
fn counts<'s>(records: DataStream<'s, (i64, i64)>) -> DataStream<'s, Counted> {
    records.key_by(|(_, key): &(i64, i64)| *key).window(TumblingEventTimeWindows::of(ms(WINDOW as u64))).process(
        "windows",
        |_| Ok(()),
        |(), context, records, out| {
            out.collect((*context.key(), context.window().start * 1_000 + records.len() as i64));
            Ok(())
        },
    )
}

fn expected_counts(records: u64) -> Vec<Counted> {
    let mut counts: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    for (at, key) in (0..records).map(record) {
        *counts.entry((key, at / WINDOW * WINDOW)).or_default() += 1;
    }
    counts.into_iter().map(|((key, start), count)| (key, start * 1_000 + count)).collect()
}

fn sorted(mut records: Vec<Counted>) -> Vec<Counted> {
    records.sort_unstable();
    records
}

fn windows(name: &str, sink: &CommitSink, rate: f64) -> Job {
    let sink = sink.clone();
    Job::new(name, move |env| {
        let source = GeneratorSource::new(record).count(RECORDS).rate(rate);
        counts(env.source_with_watermarks("records", source, by_index())).sink("sink", sink.clone());
        Ok(())
    })
}

#[test]
fn every_window_is_emitted_once_and_whole() {
    for workers in [1, 3] {
        let sink = CommitSink::new();
        let handle = JobHandle::new();
        // Fails in the middle, once a checkpoint is complete, and goes on from that.
        let failing = sink.clone().failing_on(0, &handle);
        let config = config().workers(workers).auto_watermark_interval(ms(5)).handle(&handle);
        let result = windows("windows", &failing, 60_000.0).execute(&config).unwrap();
        assert_eq!(result.outcome, JobOutcome::Finished);
        assert_eq!(sorted(sink.committed()), expected_counts(RECORDS), "{workers} workers");
    }
}

/// A stop is no end of the input: what is half full is filled up after the resume, with another parallelism too.
#[test]
fn a_stop_closes_no_window() {
    let directory = tempfile::tempdir().unwrap();
    let config = config().state_backend(files(directory.path())).auto_watermark_interval(ms(5));
    let sink = CommitSink::new();
    for workers in [1, 3] {
        let handle = JobHandle::new();
        let stopper = handle.clone();
        let thread = std::thread::spawn(move || {
            let before = stopper.progress().completed_checkpoints;
            wait_until(|| stopper.progress().completed_checkpoints >= before + 2);
            stopper.stop();
        });
        let slow = windows("stopped", &sink, 5_000.0);
        let result = slow.execute(&config.clone().workers(workers).handle(&handle)).unwrap();
        thread.join().unwrap();
        assert_eq!(result.outcome, JobOutcome::Stopped);
    }
    let result = windows("stopped", &sink, 1e9).execute(&config.workers(2)).unwrap();
    assert_eq!(result.outcome, JobOutcome::Finished);
    assert_eq!(sorted(sink.committed()), expected_counts(RECORDS));
}

/// What a window emits lies in a window of the next stage that has not closed.
#[test]
fn windows_of_windows_lose_nothing() {
    let sink = CommitSink::new();
    let of_job = sink.clone();
    let job = Job::new("stages", move |env| {
        let source = GeneratorSource::new(record).count(10_000);
        counts(env.source_with_watermarks("records", source, by_index()))
            .key_by(|_: &Counted| 0_i64)
            .window(TumblingEventTimeWindows::of(ms(WINDOW as u64)))
            .process(
                "totals",
                |_| Ok(()),
                |(), context, counts, out| {
                    let total: i64 = counts.into_iter().map(|(_, count): Counted| count % 1_000).sum();
                    out.collect((context.window().start, total));
                    Ok(())
                },
            )
            .sink("sink", of_job.clone());
        Ok(())
    });
    job.execute(&config().workers(3).auto_watermark_interval(ms(1))).unwrap();
    assert_eq!(sorted(sink.committed()), (0..100).map(|n| (n * WINDOW, WINDOW)).collect::<Vec<_>>());
}

/// Says with a negative number how far event time has come.
struct Punctuated;

impl WatermarkGenerator<i64> for Punctuated {
    fn on_event(&mut self, record: &i64, _: i64, out: &mut WatermarkOutput) {
        if *record < 0 {
            out.emit_watermark(-record);
        }
    }
}

/// A watermark comes right behind the record that caused it, through all operators of a worker: what follows is late.
#[test]
fn late_records_go_to_the_side() {
    let (sums, late) = (CommitSink::new(), CommitSink::new());
    let (of_sums, of_late) = (sums.clone(), late.clone());
    let job = Job::new("late", move |env| {
        let tag = OutputTag::new("late");
        let strategy = WatermarkStrategy::generator(|| Punctuated).timestamps(|record: &i64, _| record.abs());
        let numbers = vec![1, 3, 12, -10, 4, 15, -30, 17, 31];
        let windows = env
            .source("numbers", CollectionSource::new(numbers))
            .assign_timestamps_and_watermarks(strategy)
            .map(|number| (0_i64, number))
            .key_by(|(key, _): &(i64, i64)| *key)
            .window(TumblingEventTimeWindows::of(ms(10)))
            .side_output_late_data(&tag)
            .reduce("windows", |sum, number| sum.1 += number.1);
        windows.side_output(&tag).sink("late", of_late.clone());
        windows.sink("sums", of_sums.clone());
        Ok(())
    });
    job.execute(&config()).unwrap();
    // 4 comes when the window up to 10 is closed, 17 when that up to 20 is; -10 and -30 are in their own windows.
    assert_eq!(sorted(late.committed()), [(0, 4), (0, 17)]);
    assert_eq!(sorted(sums.committed()), [(0, 1), (0, 4), (0, 12 - 10 + 15)]);
}

/// Late records that nobody wants to see are counted at least.
#[test]
fn late_records_are_counted() {
    let sink = CommitSink::new();
    let job = Job::new("counted", move |env| {
        let strategy = WatermarkStrategy::generator(|| Punctuated).timestamps(|record: &i64, _| record.abs());
        env.source_with_watermarks("numbers", CollectionSource::new(vec![1, -10, 4, 15, -30, 17, 31]), strategy)
            .map(|number| (0_i64, number))
            .key_by(|(key, _): &(i64, i64)| *key)
            .window(TumblingEventTimeWindows::of(ms(10)))
            .reduce("windows", |sum, number| sum.1 += number.1)
            .sink("sink", sink.clone());
        Ok(())
    });
    let progress = job.execute(&config()).unwrap().progress;
    let windows = progress.operators.iter().find(|operator| operator.operator == "windows").unwrap();
    assert_eq!((windows.records_in, windows.late_records_dropped), (7, 2));
}

/// Sessions, counted by timers of their own: a key that has had nothing for a while is told.
#[test]
fn timers_fire_when_event_time_has_come() {
    let sink = CommitSink::new();
    let of_job = sink.clone();
    let job = Job::new("timers", move |env| {
        // Bursts of 50 records, with a pause behind each.
        let source =
            GeneratorSource::new(|index| ((index + index / 50 * 1_000) as i64, (index % 3) as i64)).count(2_000);
        env.source_with_watermarks("records", source, by_index())
            .key_by(|(_, key): &(i64, i64)| *key)
            .process_timed(
                "timers",
                |open| open.list_state(&highwater_state::ListStateDescriptor::<i64>::new("times")),
                |times, context, (at, _), _| {
                    times.add(at)?;
                    context.timers().register_event_time(at + 500)
                },
                |times, context, out| {
                    // What comes later than the timer may have come already.
                    let since = context.time() - 499..=context.time();
                    if !times.get()?.iter().any(|at| since.contains(at)) {
                        out.collect((*context.key(), context.time()));
                    }
                    Ok(())
                },
            )
            .sink("sink", of_job.clone());
        Ok(())
    });
    job.execute(&config().workers(3).auto_watermark_interval(ms(1))).unwrap();
    let mut lasts: BTreeMap<(i64, u64), i64> = BTreeMap::new();
    for index in 0..2_000_u64 {
        lasts.insert(((index % 3) as i64, index / 50), (index + index / 50 * 1_000) as i64 + 500);
    }
    let expected = lasts.into_iter().map(|((key, _), at)| (key, at)).collect();
    assert_eq!(sorted(sink.committed()), sorted(expected));
}

/// The clock makes timers due while nothing comes, their results are committed, and a timer that waits holds up no
/// checkpoint.
#[test]
fn timers_of_the_clock_fire_and_hold_nobody_up() {
    let sink = CommitSink::new();
    let of_job = sink.clone();
    let handle = JobHandle::new();
    let job = Job::new("clock", move |env| {
        env.source("records", GeneratorSource::new(record).rate(20.0))
            .key_by(|(_, key): &(i64, i64)| *key)
            .process_timed(
                "timers",
                |_| Ok(()),
                |(), context, _, _| {
                    let now = context.current_processing_time();
                    context.timers().register_processing_time(now + 30)?;
                    context.timers().register_processing_time(now + 86_400_000)
                },
                |(), context, out| {
                    out.collect((*context.key(), i64::from(context.current_processing_time() > context.time())));
                    Ok(())
                },
            )
            .sink("sink", of_job.clone());
        Ok(())
    });
    let stopper = (handle.clone(), sink.clone());
    let thread = std::thread::spawn(move || {
        let (handle, sink) = stopper;
        wait_until(|| !sink.committed().is_empty());
        let before = handle.progress().completed_checkpoints;
        wait_until(|| handle.progress().completed_checkpoints >= before + 20);
        handle.stop();
    });
    let result = job.execute(&config().workers(2).handle(&handle)).unwrap();
    thread.join().unwrap();
    assert_eq!(result.outcome, JobOutcome::Stopped);
    let fired = sink.committed();
    assert!(!fired.is_empty() && fired.iter().all(|(_, is_after)| *is_after == 1), "{fired:?}");
}

/// Nothing is emitted after the restart that was emitted before: the function fails half-way through a window.
#[test]
fn a_window_function_that_fails_emits_nothing_twice() {
    let sink = CommitSink::new();
    let of_job = sink.clone();
    let handle = JobHandle::new();
    let of_function = handle.clone();
    let has_failed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let job = Job::new("half-way", move |env| {
        let (handle, has_failed) = (of_function.clone(), has_failed.clone());
        let source = GeneratorSource::new(record).count(RECORDS).rate(60_000.0);
        env.source_with_watermarks("records", source, by_index())
            .key_by(|(_, key): &(i64, i64)| *key)
            .window(EventTimeSessionWindows::with_gap(ms(KEYS + 1)))
            .trigger(highwater_dataflow::PurgingTrigger::of(highwater_dataflow::CountTrigger::of(10)))
            .process(
                "sessions",
                |_| Ok(()),
                move |(), context, records, out| {
                    for (at, _) in records {
                        let is_due = handle.progress().completed_checkpoints > 0;
                        let fails = is_due && !has_failed.swap(true, std::sync::atomic::Ordering::SeqCst);
                        assert!(!fails, "injected failure");
                        out.collect((*context.key(), at));
                    }
                    Ok(())
                },
            )
            .sink("sink", of_job.clone());
        Ok(())
    });
    // One worker: which ten records come together is known beforehand.
    job.execute(&config().auto_watermark_interval(ms(5)).handle(&handle)).unwrap();
    let committed = sorted(sink.committed());
    let mut expected: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    (0..RECORDS).map(record).for_each(|(at, key)| expected.entry(key).or_default().push(at));
    let complete = |(key, times): (i64, Vec<i64>)| {
        let whole = times.len() / 10 * 10;
        times.into_iter().take(whole).map(move |at| (key, at))
    };
    assert_eq!(committed, expected.into_iter().flat_map(complete).collect::<Vec<_>>());
}

#[test]
fn what_makes_no_sense_fails_before_the_job_begins() {
    let run = |build: fn(DataStream<'_, (i64, i64)>)| {
        let job = Job::new("nonsense", move |env| {
            build(env.source("records", GeneratorSource::new(record).count(10)));
            Ok(())
        });
        job.execute(&config()).unwrap_err()
    };
    let error = run(|records| {
        let windows = TumblingEventTimeWindows::of(ms(0));
        records.key_by(|(_, key)| *key).window(windows).reduce("windows", |_, _| {});
    });
    assert_eq!((error.kind(), error.value("operator")), (ErrorKind::Program, Some("windows")), "{error}");
    let error = run(|records| {
        let windows = EventTimeSessionWindows::with_gap(ms(10));
        let delta = highwater_dataflow::DeltaTrigger::of(1.0, |_: &(i64, i64), _| 0.0);
        records.key_by(|(_, key)| *key).window(windows).trigger(delta).reduce("windows", |_, _| {});
    });
    assert!(error.message().contains("merge"), "{error}");
    let error = run(|records| {
        let results = records.key_by(|(_, key)| *key).process_timed::<i64, ()>(
            "timers",
            |_| Ok(()),
            |(), _, _, _| Ok(()),
            |(), _, _| Ok(()),
        );
        results.side_output(&OutputTag::<i64>::new("nothing"));
    });
    assert!(error.message().contains("no side output"), "{error}");
    let error = run(|records| {
        let windows = TumblingEventTimeWindows::of(ms(10));
        records.key_by(|(_, key)| *key).window(windows).reduce("windows", |_, _| {});
    });
    assert!(error.message().contains("Were timestamps assigned?"), "{error}");
}
