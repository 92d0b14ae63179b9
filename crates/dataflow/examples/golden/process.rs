//! Process functions that carry out the commands in their records.

use std::cell::Cell;

use highwater_dataflow::testing::TestBed;
use highwater_dataflow::{
    Collector, Context, DataStream, KeyedCoProcessFunction, KeyedProcessFunction, KeyedStream, OpenContext, OutputTag,
    SideOutput, TimerContext, TimerRegistry,
};
use highwater_state::{MapState, MapStateDescriptor, ValueState, ValueStateDescriptor};
use highwater_types::{Error, Result, TaggedUnion};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::run::{Out, Recorded, drive, side_rows};
use crate::scenario::Scenario;

/// Key and commands, as JSON.
type Event = (String, String);

pub(crate) fn run(scenario: &Scenario, bed: &TestBed, side_tags: &[String], recorded: &mut Recorded) -> Result<()> {
    let tags: Vec<OutputTag<Out>> = side_tags.iter().map(OutputTag::new).collect();
    let mut harness = bed.keyed(
        |(key, _): &Event| key.clone(),
        |stream: KeyedStream<'static, String, Event>| -> DataStream<'static, Out> {
            stream.process_function("process", |open| Interpreter::open(open, &tags))
        },
    )?;
    let record =
        |_, key: &Option<String>, value: &Value, _: usize| (key.clone().unwrap_or_default(), value.to_string());
    drive(scenario, &mut harness, recorded, record, |harness, step| {
        let mut rows = Vec::new();
        for tag in &tags {
            rows.extend(side_rows(harness, tag, step)?);
        }
        Ok(rows)
    })
}

pub(crate) fn run_co(scenario: &Scenario, bed: &TestBed, side_tags: &[String], recorded: &mut Recorded) -> Result<()> {
    let tags: Vec<OutputTag<Out>> = side_tags.iter().map(OutputTag::new).collect();
    let key = |(key, _): &Event| key.clone();
    let mut harness = bed.connected(key, key, |first, second| -> DataStream<'static, Out> {
        first.connect(second).process_function("process", |open| Interpreter::open(open, &tags))
    })?;
    let record = |input, key: &Option<String>, value: &Value, _: usize| {
        let event = (key.clone().unwrap_or_default(), value.to_string());
        if input == 1 { TaggedUnion::One(event) } else { TaggedUnion::Two(event) }
    };
    drive(scenario, &mut harness, recorded, record, |harness, step| {
        let mut rows = Vec::new();
        for tag in &tags {
            rows.extend(side_rows(harness, tag, step)?);
        }
        Ok(rows)
    })
}

#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Command {
    Emit,
    Register { time: i64 },
    Delete { time: i64 },
    RegisterAfter { delay: i64 },
    OnTimer { time: i64, then: Value },
    Put { value: i64 },
    Add { value: i64 },
    Clear,
    Get,
    Side { tag: String, value: Value },
}

struct Interpreter {
    state: ValueState<i64>,
    /// Commands left for timers.
    then: MapState<i64, String>,
    sides: Vec<(String, SideOutput<Out>)>,
    number: Cell<u64>,
}

/// Where commands come from.
struct Origin<'a> {
    from: &'a str,
    key: &'a String,
    /// Of the record or timer.
    time: Option<i64>,
    watermark: i64,
    timers: TimerRegistry<'a, String>,
    side: &'a dyn Fn(&SideOutput<Out>, Out),
}

impl Interpreter {
    fn open(open: &OpenContext<'_, String>, tags: &[OutputTag<Out>]) -> Result<Self> {
        let side = |tag: &OutputTag<Out>| Ok((tag.id().to_owned(), open.side_output(tag)?));
        Ok(Self {
            state: open.value_state(&ValueStateDescriptor::new("state"))?,
            then: open.map_state(&MapStateDescriptor::new("then"))?,
            sides: tags.iter().map(side).collect::<Result<_>>()?,
            number: Cell::new(0),
        })
    }

    fn row(&self, origin: &Origin<'_>, value: Value) -> Out {
        self.number.set(self.number.get() + 1);
        Out { number: self.number.get(), key: Some(origin.key.clone()), value, window: None }
    }

    fn emit(&self, origin: &Origin<'_>, out: &mut Collector<Out>) {
        let value = json!({ "from": origin.from, "time": origin.time, "watermark": origin.watermark });
        out.collect(self.row(origin, value));
    }

    fn execute(&self, commands: &str, origin: &Origin<'_>, out: &mut Collector<Out>) -> Result<()> {
        let parsed: Vec<Command> = serde_json::from_str(commands).map_err(|error| Error::program(error.to_string()))?;
        for command in parsed {
            match command {
                Command::Emit => self.emit(origin, out),
                Command::Register { time } => origin.timers.register_event_time(time)?,
                Command::Delete { time } => origin.timers.delete_event_time(time)?,
                Command::RegisterAfter { delay } => {
                    origin.timers.register_event_time(origin.time.unwrap_or(i64::MIN).wrapping_add(delay))?;
                }
                Command::OnTimer { time, then } => self.then.put(time, then.to_string())?,
                Command::Put { value } => self.state.update(value)?,
                Command::Add { value } => self.state.modify(|| 0, |state| *state = state.wrapping_add(value))?,
                Command::Clear => self.state.clear()?,
                Command::Get => out.collect(self.row(origin, json!({ "state": self.state.value()? }))),
                Command::Side { tag, value } => {
                    if let Some((_, side)) = self.sides.iter().find(|(id, _)| *id == tag) {
                        (origin.side)(side, self.row(origin, json!({ "side": value })));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Interpreter {
    fn on_record(
        &self,
        from: &str,
        commands: &str,
        context: &Context<'_, String>,
        out: &mut Collector<Out>,
    ) -> Result<()> {
        let origin = Origin {
            from,
            key: context.key(),
            time: context.timestamp(),
            watermark: context.current_watermark(),
            timers: context.timers(),
            side: &|side, row| context.output(side, row),
        };
        self.execute(commands, &origin, out)
    }

    fn on_due(&self, context: &TimerContext<'_, String>, out: &mut Collector<Out>) -> Result<()> {
        let origin = Origin {
            from: "timer",
            key: context.key(),
            time: Some(context.time()),
            watermark: context.current_watermark(),
            timers: context.timers(),
            side: &|side, row| context.output(side, row),
        };
        self.emit(&origin, out);
        match self.then.get(&context.time())? {
            Some(commands) => {
                self.then.remove(&context.time())?;
                self.execute(&commands, &origin, out)
            }
            None => Ok(()),
        }
    }
}

impl KeyedProcessFunction<String, Event, Out> for Interpreter {
    fn process_element(
        &mut self,
        (_, commands): Event,
        context: &Context<'_, String>,
        out: &mut Collector<Out>,
    ) -> Result<()> {
        self.on_record("element", &commands, context, out)
    }

    fn on_timer(&mut self, context: &TimerContext<'_, String>, out: &mut Collector<Out>) -> Result<()> {
        self.on_due(context, out)
    }
}

impl KeyedCoProcessFunction<String, Event, Event, Out> for Interpreter {
    fn process_first(
        &mut self,
        (_, commands): Event,
        context: &Context<'_, String>,
        out: &mut Collector<Out>,
    ) -> Result<()> {
        self.on_record("input1", &commands, context, out)
    }

    fn process_second(
        &mut self,
        (_, commands): Event,
        context: &Context<'_, String>,
        out: &mut Collector<Out>,
    ) -> Result<()> {
        self.on_record("input2", &commands, context, out)
    }

    fn on_timer(&mut self, context: &TimerContext<'_, String>, out: &mut Collector<Out>) -> Result<()> {
        self.on_due(context, out)
    }
}
