//! Windows.

use std::time::Duration;

use highwater_dataflow::testing::TestBed;
use highwater_dataflow::{
    ContinuousEventTimeTrigger, CountEvictor, CountTrigger, DataStream, DeltaEvictor, DeltaTrigger,
    EventTimeSessionWindows, EventTimeTrigger, GlobalWindows, KeyedStream, OutputTag, PurgingTrigger,
    SlidingEventTimeWindows, TimeEvictor, TumblingEventTimeWindows, WindowedStream,
};
use highwater_types::{GlobalWindow, Result, StreamRecord, TimeWindow};

use crate::function::{Event, apply};
use crate::run::{Out, Recorded, drive};
use crate::scenario::{Assigner, EvictorKind, Row, Scenario, TriggerKind, Window};

pub(crate) fn run(scenario: &Scenario, bed: &TestBed, window: &Window, recorded: &mut Recorded) -> Result<()> {
    let is_keyed = window.keyed;
    let mut harness = bed.keyed(
        move |(key, _): &Event| if is_keyed { key.clone() } else { String::new() },
        |stream| build(stream, window),
    )?;
    let record = |_, key: &Option<String>, value: &serde_json::Value, _: usize| {
        (key.clone().unwrap_or_default(), value.as_i64().unwrap_or_default())
    };
    let late = window.late_tag.as_ref().map(OutputTag::<Event>::new);
    drive(scenario, &mut harness, recorded, record, |harness, step| {
        let Some(tag) = &late else { return Ok(Vec::new()) };
        let row = |StreamRecord { value: (key, value), timestamp }: StreamRecord<Event>| {
            let tag = Some(tag.id().to_owned());
            (0, Row { step, key: Some(key), value: value.into(), window: None, ts: timestamp, tag })
        };
        Ok(harness.take_side_outputs(tag)?.into_iter().map(row).collect())
    })
}

pub(crate) fn ms(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn build<'s>(stream: KeyedStream<'s, String, Event>, window: &Window) -> DataStream<'s, Out> {
    let of_time = |window: &TimeWindow| Some((window.start, window.end));
    let of_all = |_: &GlobalWindow| None;
    let Window { function, keyed, .. } = *window;
    match window.assigner {
        Assigner::Tumbling { size, offset } => {
            let assigner = TumblingEventTimeWindows::of(ms(size)).offset_millis(offset);
            apply(configure(stream.window(assigner), window), function, keyed, of_time)
        }
        Assigner::Sliding { size, slide, offset } => {
            let assigner = SlidingEventTimeWindows::of(ms(size), ms(slide)).offset_millis(offset);
            apply(configure(stream.window(assigner), window), function, keyed, of_time)
        }
        Assigner::Session { gap } => {
            let assigner = EventTimeSessionWindows::with_gap(ms(gap));
            apply(configure(stream.window(assigner), window), function, keyed, of_time)
        }
        Assigner::DynamicSession => {
            let assigner = EventTimeSessionWindows::with_dynamic_gap(|(_, gap): &Event| ms(*gap));
            apply(configure(stream.window(assigner), window), function, keyed, of_time)
        }
        Assigner::Global => apply(configure(stream.window(GlobalWindows), window), function, keyed, of_all),
        Assigner::Count { size, slide: None } => {
            apply(configure(stream.count_window(size), window), function, keyed, of_all)
        }
        Assigner::Count { size, slide: Some(slide) } => {
            apply(configure(stream.count_window_sliding(size, slide), window), function, keyed, of_all)
        }
    }
}

fn configure<'s, W: highwater_dataflow::Window>(
    mut stream: WindowedStream<'s, String, Event, W>,
    window: &Window,
) -> WindowedStream<'s, String, Event, W> {
    if let Some(trigger) = window.trigger {
        stream = match (trigger.kind, trigger.purging) {
            (TriggerKind::EventTime, false) => stream.trigger(EventTimeTrigger),
            (TriggerKind::EventTime, true) => stream.trigger(PurgingTrigger::of(EventTimeTrigger)),
            (TriggerKind::Count { count }, false) => stream.trigger(CountTrigger::of(count)),
            (TriggerKind::Count { count }, true) => stream.trigger(PurgingTrigger::of(CountTrigger::of(count))),
            (TriggerKind::ContinuousEventTime { interval }, false) => {
                stream.trigger(ContinuousEventTimeTrigger::of(ms(interval)))
            }
            (TriggerKind::ContinuousEventTime { interval }, true) => {
                stream.trigger(PurgingTrigger::of(ContinuousEventTimeTrigger::of(ms(interval))))
            }
            (TriggerKind::Delta { threshold }, false) => stream.trigger(delta(threshold)),
            (TriggerKind::Delta { threshold }, true) => stream.trigger(PurgingTrigger::of(delta(threshold))),
        };
    }
    if let Some(evictor) = window.evictor {
        stream = match evictor.kind {
            EvictorKind::Count { count } => {
                let count = CountEvictor::of(count);
                stream.evictor(if evictor.after { count.after() } else { count })
            }
            EvictorKind::Time { size } => {
                let time = TimeEvictor::of(ms(size));
                stream.evictor(if evictor.after { time.after() } else { time })
            }
            EvictorKind::Delta { threshold } => {
                let delta = DeltaEvictor::of(threshold, |(_, value): &Event, (_, last)| (last - value) as f64);
                stream.evictor(if evictor.after { delta.after() } else { delta })
            }
        };
    }
    if let Some(tag) = &window.late_tag {
        stream = stream.side_output_late_data(&OutputTag::new(tag));
    }
    stream.allowed_lateness(ms(window.allowed_lateness))
}

fn delta(threshold: f64) -> DeltaTrigger<Event> {
    DeltaTrigger::of(threshold, |(_, last): &Event, (_, value)| (value - last) as f64)
}
