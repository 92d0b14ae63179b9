//! Timestamps and watermarks in the middle of a stream.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater_types::Result;
use serde::Serialize;

use super::edge::Batches;
use super::task::{Alarm, Command, operator_with_alarm};
use crate::graph::Collector;
use crate::runtime::mailbox::Mailbox;
use crate::watermark::{PeriodicTicks, StreamAssigner, WatermarkStrategy};

/// Gives the records of a stream timestamps, and says itself what is true of them: of what came before it hears only that
/// there is nothing more.
pub(crate) fn assign<'s, T: Serialize + 'static>(
    stream: Batches<'s, T>,
    mailbox: &Rc<Mailbox>,
    name: &Arc<str>,
    strategy: WatermarkStrategy<T>,
    interval: Option<Duration>,
) -> Result<Batches<'s, T>> {
    let (stream, pact, inlet) = stream.local();
    let alarm = Alarm::default();
    let mut task = AssignTask::new(strategy, interval, alarm.clone());
    operator_with_alarm(stream, (pact, inlet), mailbox, name, alarm, move |command, out| {
        match command {
            Command::Process(records) => {
                out.expect(records.len());
                for (record, previous) in records {
                    out.breathe()?;
                    task.assign(record, previous, out);
                }
            }
            Command::Mark(advance) if advance.event_time == Some(i64::MAX) => task.end(out),
            Command::Review => task.tick(out),
            Command::Mark(_) | Command::Checkpoint(_) => {}
        }
        Ok(())
    })
}

struct AssignTask<T> {
    assigner: StreamAssigner<T>,
    ticks: PeriodicTicks,
    alarm: Alarm,
}

impl<T: Serialize + 'static> AssignTask<T> {
    fn new(strategy: WatermarkStrategy<T>, interval: Option<Duration>, alarm: Alarm) -> Self {
        let assigner = StreamAssigner::new(strategy);
        let now = Instant::now();
        let ticks = PeriodicTicks::new(interval.filter(|_| assigner.is_periodic()), now);
        alarm.set_emits(ticks.pause(now).is_some());
        alarm.set(ticks.pause(now));
        Self { assigner, ticks, alarm }
    }

    fn assign(&mut self, record: T, previous: i64, out: &mut Collector<T>) {
        let timestamp = self.assigner.timestamp(&record, (previous > i64::MIN).then_some(previous));
        let mark = self.assigner.on_event(&record, timestamp);
        out.set_timestamp(timestamp);
        out.collect(record);
        mark.into_iter().for_each(|mark| out.mark(mark));
    }

    fn tick(&mut self, out: &mut Collector<T>) {
        let now = Instant::now();
        if let Some(running) = self.ticks.tick(now, false) {
            self.assigner.on_periodic_emit(running).into_iter().for_each(|mark| out.mark(mark));
            self.alarm.set(self.ticks.pause(now));
        }
    }

    fn end(&mut self, out: &mut Collector<T>) {
        self.alarm.set(None);
        self.alarm.set_emits(false);
        self.assigner.end().into_iter().for_each(|mark| out.mark(mark));
    }
}
