//! Runs the input of a case through the operator it names.

use std::fmt::Debug;

use highwater_dataflow::testing::{Harness, Progress, TestBed};
use highwater_dataflow::{OutputTag, Record};
use highwater_types::{DefaultSerializer, Key, Result, StreamRecord};
use serde::Serialize;
use serde_json::Value;

use crate::scenario::{Event, Operator, Row, Said, Scenario};
use crate::{interval, joins, process, running, windows};

/// What came out.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) rows: Vec<Row>,
    pub(crate) progress: Vec<Said>,
    pub(crate) late_dropped: u64,
    pub(crate) error: Option<String>,
}

/// What an operator under test emits.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Out {
    /// Counts what is emitted, to the side too.
    pub(crate) number: u64,
    pub(crate) key: Option<String>,
    pub(crate) value: Value,
    pub(crate) window: Option<(i64, i64)>,
}

pub(crate) fn run(scenario: &Scenario, bed: &TestBed) -> Recorded {
    let mut recorded = Recorded::default();
    let result = match &scenario.operator {
        Operator::Window(window) => windows::run(scenario, bed, window, &mut recorded),
        Operator::Process { side_tags } => process::run(scenario, bed, side_tags, &mut recorded),
        Operator::Running { function, first } => running::run(scenario, bed, *function, *first, &mut recorded),
        Operator::CoProcess { side_tags } => process::run_co(scenario, bed, side_tags, &mut recorded),
        Operator::WindowJoin(join) => joins::run(scenario, bed, *join, true, &mut recorded),
        Operator::CoGroup(join) => joins::run(scenario, bed, *join, false, &mut recorded),
        Operator::IntervalJoin(join) => interval::run(scenario, bed, join, &mut recorded),
        Operator::Unknown => Err(highwater_types::Error::unsupported("there is no such operator yet")),
    };
    recorded.error = result.err().map(|error| error.to_string());
    recorded
}

/// Drives an operator through the input. `record` makes a record of key, value and step; `side` takes what was emitted to
/// the side.
pub(crate) fn drive<K, T>(
    scenario: &Scenario,
    harness: &mut Harness<K, T, Out>,
    recorded: &mut Recorded,
    record: impl Fn(usize, &Option<String>, &Value, usize) -> T,
    side: impl Fn(&mut Harness<K, T, Out>, usize) -> Result<Vec<(u64, Row)>>,
) -> Result<()>
where
    K: Key + DefaultSerializer + Record,
    T: Record + Debug,
{
    let mut idle = [false; 2];
    for (step, event) in scenario.input.iter().enumerate() {
        let result = match event {
            Event::Record { input, key, value, ts } => {
                wake(harness, *input, &mut idle).and_then(|()| harness.element(record(*input, key, value, step), *ts))
            }
            Event::Watermark { input, ts } => {
                wake(harness, *input, &mut idle).and_then(|()| harness.watermark_of(input - 1, *ts))
            }
            Event::Idle { input } => {
                idle[input - 1] = true;
                harness.idle_of(input - 1)
            }
            // A source of Flink's that ends while it is idle says nothing more. Ours does: of operators it is all the same.
            Event::End { input } if idle[input - 1] => Ok(()),
            Event::End { input } => harness.watermark_of(input - 1, i64::MAX),
        };
        let mut rows: Vec<_> = harness.take_outputs().into_iter().map(|out| main_row(step, out)).collect();
        rows.extend(side(harness, step)?);
        rows.sort_by_key(|(number, _)| *number);
        recorded.rows.extend(rows.into_iter().map(|(_, row)| row));
        recorded.progress.extend(harness.take_progress().into_iter().map(|said| said_at(step, said)));
        recorded.late_dropped = harness.late_records_dropped();
        result?;
    }
    Ok(())
}

/// A source is active again with what it has to say next.
fn wake<K, T>(harness: &mut Harness<K, T, Out>, input: usize, idle: &mut [bool; 2]) -> Result<()>
where
    K: Key + DefaultSerializer + Record,
    T: Record,
{
    if std::mem::take(&mut idle[input - 1]) { harness.active_of(input - 1) } else { Ok(()) }
}

fn main_row(step: usize, out: StreamRecord<Out>) -> (u64, Row) {
    let Out { number, key, value, window } = out.value;
    (number, Row { step, key, value, window, ts: out.timestamp, tag: None })
}

/// What came out of a side output of the same type.
pub(crate) fn side_rows<K, T>(
    harness: &mut Harness<K, T, Out>,
    tag: &OutputTag<Out>,
    step: usize,
) -> Result<Vec<(u64, Row)>>
where
    K: Key + DefaultSerializer + Record,
    T: Record,
{
    let row = |out: StreamRecord<Out>| {
        let Out { number, key, value, window } = out.value;
        (number, Row { step, key, value, window, ts: out.timestamp, tag: Some(tag.id().to_owned()) })
    };
    Ok(harness.take_side_outputs(tag)?.into_iter().map(row).collect())
}

fn said_at(step: usize, said: Progress) -> Said {
    let status = |status: &str| Said { step, watermark: None, status: Some(status.to_owned()) };
    match said {
        Progress::Watermark(watermark) => Said { step, watermark: Some(watermark), status: None },
        Progress::Idle => status("idle"),
        Progress::Active => status("active"),
    }
}
