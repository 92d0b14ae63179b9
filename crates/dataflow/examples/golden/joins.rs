//! Two streams joined in windows.

use std::cell::Cell;

use highwater_dataflow::testing::TestBed;
use highwater_dataflow::{
    CountEvictor, CountTrigger, DataStream, EventTimeSessionWindows, KeyedJoin, PurgingTrigger,
    SlidingEventTimeWindows, TimeEvictor, TumblingEventTimeWindows, Window, WindowedJoin,
};
use highwater_types::{Error, Result, TaggedUnion};
use serde_json::{Value, json};

use crate::function::Event;
use crate::run::{Out, Recorded, drive};
use crate::scenario::{Assigner, EvictorKind, Join, Scenario, TriggerKind};
use crate::windows::ms;

pub(crate) fn run(
    scenario: &Scenario,
    bed: &TestBed,
    join: Join,
    in_pairs: bool,
    recorded: &mut Recorded,
) -> Result<()> {
    let key = |(key, _): &Event| key.clone();
    if matches!(join.assigner, Assigner::DynamicSession | Assigner::Global | Assigner::Count { .. }) {
        return Err(Error::unsupported("there is no such operator yet"));
    }
    let mut harness = bed.joined(key, key, |first, second| {
        let keyed = first.join(second).key_by(|(key, _): &Event| key.clone(), |(key, _): &Event| key.clone());
        build(keyed, join, in_pairs)
    })?;
    let record = |input, key: &Option<String>, value: &Value, _: usize| {
        let event = (key.clone().unwrap_or_default(), value.as_i64().unwrap_or_default());
        if input == 1 { TaggedUnion::One(event) } else { TaggedUnion::Two(event) }
    };
    drive(scenario, &mut harness, recorded, record, |_, _| Ok(Vec::new()))
}

fn build<'s>(keyed: KeyedJoin<'s, String, Event, Event>, join: Join, in_pairs: bool) -> DataStream<'s, Out> {
    match join.assigner {
        Assigner::Sliding { size, slide, offset } => {
            let assigner = SlidingEventTimeWindows::of(ms(size), ms(slide)).offset_millis(offset);
            apply(keyed.window(assigner), join, in_pairs)
        }
        Assigner::Session { gap } => apply(keyed.window(EventTimeSessionWindows::with_gap(ms(gap))), join, in_pairs),
        Assigner::Tumbling { size, offset } => {
            let assigner = TumblingEventTimeWindows::of(ms(size)).offset_millis(offset);
            apply(keyed.window(assigner), join, in_pairs)
        }
        _ => apply(keyed.window(TumblingEventTimeWindows::of(ms(0))), join, in_pairs),
    }
}

fn apply<'s, W: Window>(
    mut stream: WindowedJoin<'s, String, Event, Event, W>,
    join: Join,
    in_pairs: bool,
) -> DataStream<'s, Out> {
    if let Some((TriggerKind::Count { count }, is_purging)) =
        join.trigger.map(|trigger| (trigger.kind, trigger.purging))
    {
        stream = match is_purging {
            true => stream.trigger(PurgingTrigger::of(CountTrigger::of(count))),
            false => stream.trigger(CountTrigger::of(count)),
        };
    }
    if let Some(evictor) = join.evictor {
        stream = match evictor.kind {
            EvictorKind::Count { count } => {
                let count = CountEvictor::of(count);
                stream.evictor(if evictor.after { count.after() } else { count })
            }
            EvictorKind::Time { size } => {
                let time = TimeEvictor::of(ms(size));
                stream.evictor(if evictor.after { time.after() } else { time })
            }
            EvictorKind::Delta { .. } => stream,
        };
    }
    let number = Cell::new(0);
    let row = move |key: &str, value: Value| {
        number.set(number.get() + 1);
        Out { number: number.get(), key: Some(key.to_owned()), value, window: None }
    };
    let stream = stream.allowed_lateness(ms(join.allowed_lateness));
    if in_pairs {
        return stream.apply("join", move |(key, one), (_, two)| row(key, json!([one, two])));
    }
    stream.co_group("join", move |first, second, out| {
        let key = first.iter().chain(&second).map(|(key, _)| key.clone()).next().unwrap_or_default();
        let values = |side: &[Event]| side.iter().map(|(_, value)| *value).collect::<Vec<_>>();
        out.collect(row(&key, json!({ "left": values(&first), "right": values(&second) })));
        Ok(())
    })
}
