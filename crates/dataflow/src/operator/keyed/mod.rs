//! The keyed operator: one state backend, what is done with records and timers, and barriers.

mod function;
mod interval_join;
mod memory;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use highwater_state::KeyedBackend;
use highwater_types::{Key, MaxParallelism, Result, TaggedUnion};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::edge::Batches;
use super::event_time::EventTime;
use super::task::{Alarm, Command, OperatorBuilder, Records};
use crate::function::SideOutputs;
use crate::graph::Collector;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::pool::Frozen;
use crate::statistics::Meter;
use crate::watermark::{Combined, Valve};

pub(crate) use self::function::{Plain, Timed};
pub(crate) use self::interval_join::{Bounds, IntervalJoin};
pub(crate) use self::memory::WatermarkMemory;

/// Keys whose state is fetched into the cache together, before the first of their records is processed.
const AHEAD: usize = 32;

/// What a keyed operator does. The key of a record, or of a timer, is the current key.
pub(crate) trait KeyedOperator<K, T, O>: 'static {
    /// Handles a record, with its timestamp or `MIN`.
    fn process(&mut self, key: &K, record: T, timestamp: i64, out: &mut Collector<O>) -> Result<()>;

    /// Event time has come so far.
    fn advance(&mut self, watermark: i64, out: &mut Collector<O>) -> Result<()> {
        let _ = (watermark, out);
        Ok(())
    }

    /// The clock may have made timers due.
    fn tick(&mut self, out: &mut Collector<O>) -> Result<()> {
        let _ = out;
        Ok(())
    }

    /// When the clock makes the next timer due, in milliseconds since 1970.
    fn next_tick(&self) -> Result<Option<i64>> {
        Ok(None)
    }

    /// How far event time has come; none for an operator that has no use for it.
    fn watermark(&self) -> Option<i64> {
        None
    }

    /// Goes on from this watermark: nothing is due, but what is behind it is late.
    fn resume_at(&mut self, watermark: i64) {
        let _ = watermark;
    }

    /// How many records came too late for anything.
    fn late_records_dropped(&self) -> u64 {
        0
    }
}

impl<K: 'static, T: 'static, O: 'static> KeyedOperator<K, T, O> for Box<dyn KeyedOperator<K, T, O>> {
    fn process(&mut self, key: &K, record: T, timestamp: i64, out: &mut Collector<O>) -> Result<()> {
        (**self).process(key, record, timestamp, out)
    }

    fn advance(&mut self, watermark: i64, out: &mut Collector<O>) -> Result<()> {
        (**self).advance(watermark, out)
    }

    fn tick(&mut self, out: &mut Collector<O>) -> Result<()> {
        (**self).tick(out)
    }

    fn next_tick(&self) -> Result<Option<i64>> {
        (**self).next_tick()
    }

    fn watermark(&self) -> Option<i64> {
        (**self).watermark()
    }

    fn resume_at(&mut self, watermark: i64) {
        (**self).resume_at(watermark);
    }

    fn late_records_dropped(&self) -> u64 {
        (**self).late_records_dropped()
    }
}

/// What a keyed operator is built from.
pub(crate) struct KeyedParts<K: Key, P> {
    pub(crate) uid: Arc<str>,
    /// Index of the operator in the mailbox.
    pub(crate) index: usize,
    pub(crate) max_parallelism: MaxParallelism,
    pub(crate) backend: Rc<KeyedBackend<K>>,
    pub(crate) operator: P,
    pub(crate) sides: Rc<SideOutputs>,
    /// None if it is not to be remembered how far event time has come.
    pub(crate) memory: Option<WatermarkMemory>,
}

/// Builds a keyed operator. Every worker receives the records of its own key groups. The second stream gives notice of what
/// there is in the side outputs.
pub(crate) fn keyed<'s, K, T, O, P>(
    stream: Batches<'s, (K, T)>,
    mailbox: &Rc<Mailbox>,
    parts: KeyedParts<K, P>,
) -> Result<Results<'s, O>>
where
    K: Key + Serialize + DeserializeOwned,
    T: Exchanged,
    O: 'static,
    P: KeyedOperator<K, T, O>,
{
    let mut builder = OperatorBuilder::new(stream.scope(), mailbox, &parts.uid);
    let (stream, pact, inlet) = stream.exchanged(owner(parts.max_parallelism, mailbox.workers));
    let channels = builder.add_input(stream, (pact, inlet), |records| records);
    build(builder, EventTime::One(Valve::new(channels)), mailbox, parts)
}

/// Builds a keyed operator with two inputs.
pub(crate) fn keyed_pair<'s, K, L, R, O, P>(
    (first, second): (Batches<'s, (K, L)>, Batches<'s, (K, R)>),
    mailbox: &Rc<Mailbox>,
    parts: KeyedParts<K, P>,
) -> Result<Results<'s, O>>
where
    K: Key + Serialize + DeserializeOwned,
    L: Exchanged,
    R: Exchanged,
    O: 'static,
    P: KeyedOperator<K, TaggedUnion<L, R>, O>,
{
    let mut builder = OperatorBuilder::new(first.scope(), mailbox, &parts.uid);
    let (stream, pact, inlet) = first.exchanged(owner(parts.max_parallelism, mailbox.workers));
    let of_first = builder.add_input(stream, (pact, inlet), |records| {
        records.into_iter().map(|(key, record)| (key, TaggedUnion::One(record))).collect()
    });
    let (stream, pact, inlet) = second.exchanged(owner(parts.max_parallelism, mailbox.workers));
    let of_second = builder.add_input(stream, (pact, inlet), |records| {
        records.into_iter().map(|(key, record)| (key, TaggedUnion::Two(record))).collect()
    });
    let valves = [Valve::new(of_first), Valve::new(of_second)];
    build(builder, EventTime::Two(valves, Combined::default()), mailbox, parts)
}

/// The results of an operator, and notices of what is in its side outputs if it has any.
pub(crate) type Results<'s, O> = (Batches<'s, O>, Option<Batches<'s, ()>>);

/// What can go to the worker that owns its key.
pub(crate) trait Exchanged: Send + Serialize + DeserializeOwned + 'static {}
impl<T: Send + Serialize + DeserializeOwned + 'static> Exchanged for T {}

fn build<'s, K, T, O, P>(
    builder: OperatorBuilder<'s, (K, T)>,
    mut event_time: EventTime,
    mailbox: &Rc<Mailbox>,
    mut parts: KeyedParts<K, P>,
) -> Result<Results<'s, O>>
where
    K: Key,
    T: 'static,
    O: 'static,
    P: KeyedOperator<K, T, O>,
{
    let sides = Rc::clone(&parts.sides);
    if let Some(watermark) = parts.memory.as_ref().map(WatermarkMemory::restored).transpose()?.flatten() {
        parts.operator.resume_at(watermark);
        event_time.resume_at(watermark);
    }
    let alarm = Alarm::default();
    let meter = mailbox.meters.meter(&parts.uid, mailbox.worker);
    let mut task = KeyedTask {
        parts,
        mailbox: Rc::clone(mailbox),
        told: Told::default(),
        alarm: alarm.clone(),
        meter,
        dropped: 0,
    };
    // Restored timers may be due.
    task.arrange::<T, O>()?;
    let sides = Some(sides).filter(|sides| !sides.is_empty());
    builder.build(event_time, alarm, sides, move |command, out| {
        match command {
            Command::Process(records) => task.process(records, out)?,
            Command::Mark(advance) => {
                if let Some(watermark) = advance.event_time {
                    task.parts.operator.advance(watermark, out)?;
                }
                advance.forward.into_iter().for_each(|mark| out.mark(mark));
            }
            Command::Checkpoint(checkpoint) => {
                task.tell();
                let watermark = task.parts.operator.watermark();
                task.checkpoint(checkpoint, watermark);
            }
            Command::Review => {
                task.tell();
                if task.alarm.is_due() {
                    task.parts.operator.tick(out)?;
                }
            }
        }
        task.arrange()
    })
}

/// The worker of each record, looked up by key group.
fn owner<K: Key, T>(max_parallelism: MaxParallelism, workers: u32) -> impl FnMut(&(K, T)) -> usize + 'static {
    let owner = |group| max_parallelism.owner_of(group, workers) as usize;
    let owners: Box<[usize]> = max_parallelism.all().iter().map(owner).collect();
    move |(key, _)| {
        let group = max_parallelism.key_group_of(key.java_hash());
        owners.get(usize::from(group)).copied().unwrap_or(0)
    }
}

struct KeyedTask<K: Key, P> {
    parts: KeyedParts<K, P>,
    mailbox: Rc<Mailbox>,
    told: Told,
    /// For the next timer of the clock.
    alarm: Alarm,
    meter: Rc<Meter>,
    /// Late records that the meter knows of.
    dropped: u64,
}

/// What the backend knows of the outcome of checkpoints.
#[derive(Default)]
struct Told {
    completed: u64,
    /// How many aborted ones.
    aborted: usize,
}

impl<K: Key, P> KeyedTask<K, P> {
    /// Tells the backend what became of its checkpoints, before it takes the next one.
    fn tell(&mut self) {
        let completed = self.mailbox.completed();
        if completed > self.told.completed {
            self.told.completed = completed;
            self.parts.backend.checkpoint_completed(completed);
        }
        self.mailbox.aborted_from(&mut self.told.aborted, |checkpoint| {
            self.parts.backend.checkpoint_aborted(checkpoint);
        });
    }

    /// The synchronous part: freezes the state. Whoever it fails for declines the checkpoint and goes on.
    fn checkpoint(&mut self, checkpoint: u64, watermark: Option<i64>) {
        if !self.mailbox.is_wanted(checkpoint) {
            return;
        }
        self.mailbox.timer.reached(checkpoint, self.parts.index);
        let frozen = self.freeze(checkpoint, watermark);
        self.mailbox.submit(checkpoint, self.parts.index, frozen);
    }

    fn freeze(&self, checkpoint: u64, watermark: Option<i64>) -> Result<Frozen> {
        let keyed = match self.mailbox.is_savepoint(checkpoint) {
            true => self.parts.backend.snapshot()?,
            false => self.parts.backend.checkpoint(checkpoint)?,
        };
        let operator = match (&self.parts.memory, watermark) {
            (Some(memory), Some(watermark)) => Some(memory.with(watermark)?.snapshot()?),
            _ => None,
        };
        Ok(Frozen { operator, keyed: Some(keyed), durability: None })
    }

    /// While the function is left in the middle of a record, nothing else touches the backend: its state may be borrowed.
    fn process<T, O>(&mut self, records: Records<(K, T)>, out: &mut Collector<O>) -> Result<()>
    where
        P: KeyedOperator<K, T, O>,
    {
        let parts = &mut self.parts;
        // Where there are no timestamps, nothing is done for them record by record.
        let are_stamped = records.are_stamped();
        let (records, stamps) = records.into_parts();
        let (mut records, mut stamps) = (records.into_iter(), stamps.into_iter());
        let mut stamp = i64::MIN;
        out.set_timestamp(stamp);
        let mut ahead = Vec::with_capacity(AHEAD.min(records.len()));
        while records.len() > 0 {
            for (key, record) in records.by_ref().take(AHEAD) {
                ahead.push((parts.backend.prepare_key(key)?, record));
            }
            for (key, record) in ahead.drain(..) {
                out.breathe()?;
                if are_stamped {
                    stamp = stamps.next().unwrap_or(i64::MIN);
                    out.set_timestamp(stamp);
                }
                parts.backend.set_prepared_key(key)?;
                parts.backend.with_current_key(|key| parts.operator.process(key, record, stamp, out))?;
            }
        }
        Ok(())
    }

    /// Looks again when the clock makes the next timer due, and tells of late records.
    fn arrange<T, O>(&mut self) -> Result<()>
    where
        P: KeyedOperator<K, T, O>,
    {
        let dropped = self.parts.operator.late_records_dropped();
        if dropped > self.dropped {
            self.meter.dropped(dropped - self.dropped);
            self.dropped = dropped;
        }
        let next = self.parts.operator.next_tick()?;
        self.alarm.set_emits(next.is_some());
        let pause = |next: i64| next.saturating_sub(self.parts.backend.clock().now_millis()).max(0).unsigned_abs();
        self.alarm.set(next.map(|next| Duration::from_millis(pause(next))));
        Ok(())
    }
}
