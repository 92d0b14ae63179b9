//! Two streams joined by time.

use std::cell::Cell;

use highwater_dataflow::OutputTag;
use highwater_dataflow::testing::TestBed;
use highwater_types::{Result, StreamRecord, TaggedUnion};
use serde_json::{Value, json};

use crate::function::Event;
use crate::run::{Out, Recorded, drive};
use crate::scenario::{Interval, Row, Scenario};

pub(crate) fn run(scenario: &Scenario, bed: &TestBed, join: &Interval, recorded: &mut Recorded) -> Result<()> {
    let key = |(key, _): &Event| key.clone();
    let left_late = join.left_late_tag.as_ref().map(OutputTag::<Event>::new);
    let right_late = join.right_late_tag.as_ref().map(OutputTag::<Event>::new);
    let mut harness = bed.connected(key, key, |left, right| {
        let mut joined = left.interval_join(right).between_millis(join.lower, join.upper);
        if join.lower_exclusive {
            joined = joined.lower_exclusive();
        }
        if join.upper_exclusive {
            joined = joined.upper_exclusive();
        }
        if let Some(tag) = &left_late {
            joined = joined.side_output_left_late_data(tag);
        }
        if let Some(tag) = &right_late {
            joined = joined.side_output_right_late_data(tag);
        }
        let number = Cell::new(0);
        joined.process("join", move |key: &String, ((_, left), left_ts), ((_, right), right_ts), out| {
            number.set(number.get() + 1);
            let value = json!({ "left": left, "right": right, "left_ts": left_ts, "right_ts": right_ts });
            out.collect(Out { number: number.get(), key: Some(key.clone()), value, window: None });
            Ok(())
        })
    })?;
    let record = |input, key: &Option<String>, value: &Value, _: usize| {
        let event = (key.clone().unwrap_or_default(), value.as_i64().unwrap_or_default());
        if input == 1 { TaggedUnion::One(event) } else { TaggedUnion::Two(event) }
    };
    drive(scenario, &mut harness, recorded, record, |harness, step| {
        let mut rows = Vec::new();
        for tag in left_late.iter().chain(&right_late) {
            let row = |StreamRecord { value: (key, value), timestamp }: StreamRecord<Event>| {
                let tag = Some(tag.id().to_owned());
                (0, Row { step, key: Some(key), value: value.into(), window: None, ts: timestamp, tag })
            };
            rows.extend(harness.take_side_outputs(tag)?.into_iter().map(row));
        }
        Ok(rows)
    })
}
