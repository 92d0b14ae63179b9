//! Running aggregations.

use highwater_dataflow::testing::TestBed;
use highwater_dataflow::{Collector, DataStream, KeyedStream};
use highwater_state::ValueStateDescriptor;
use highwater_types::Result;

use crate::run::{Out, Recorded, drive};
use crate::scenario::{Running, Scenario};

/// Key, value, and the step it came with.
type Event = (String, i64, i64);

pub(crate) fn run(
    scenario: &Scenario,
    bed: &TestBed,
    function: Running,
    first: bool,
    recorded: &mut Recorded,
) -> Result<()> {
    let mut harness = bed.keyed(
        |(key, ..): &Event| key.clone(),
        |stream: KeyedStream<'static, String, Event>| running(stream, function, first),
    )?;
    let record = |_, key: &Option<String>, value: &serde_json::Value, step: usize| {
        (key.clone().unwrap_or_default(), value.as_i64().unwrap_or_default(), step as i64)
    };
    drive(scenario, &mut harness, recorded, record, |_, _| Ok(Vec::new()))
}

fn running<'s>(stream: KeyedStream<'s, String, Event>, function: Running, first: bool) -> DataStream<'s, Out> {
    stream.process("running", move |open| {
        let state = open.value_state(&ValueStateDescriptor::<Event>::new("_op_state"))?;
        let mut number = 0;
        Ok(move |key: &String, record: Event, out: &mut Collector<Out>| {
            let folded = match state.value()? {
                Some(old) => fold(function, first, old, record),
                None => record,
            };
            state.update(folded.clone())?;
            number += 1;
            let value = serde_json::json!([folded.1, folded.2]);
            out.collect(Out { number, key: Some(key.clone()), value, window: None });
            Ok(())
        })
    })
}

fn fold(function: Running, first: bool, old: Event, new: Event) -> Event {
    let value = match function {
        Running::Reduce => return (new.0, old.1.wrapping_add(new.1), new.2),
        Running::Sum => old.1.wrapping_add(new.1),
        Running::Min => old.1.min(new.1),
        Running::Max => old.1.max(new.1),
        Running::MinBy | Running::MaxBy => {
            let is_better = if matches!(function, Running::MinBy) { new.1 < old.1 } else { new.1 > old.1 };
            return if is_better || (new.1 == old.1 && !first) { new } else { old };
        }
    };
    (old.0, value, old.2)
}
