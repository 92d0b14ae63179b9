//! What the operators of this process have done, and what they waited for.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::runtime::attempt::lock;

/// What one subtask of an operator has done in this process, over all attempts (Flink's `TaskIOMetricGroup`).
///
/// The three times add up to the time since the operator was opened, up to its last turn. A worker runs one subtask of
/// every operator on its thread: while one is busy, the others are idle.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperatorProgress {
    /// Unique id of the operator; of those without one, what they do ("map"): all of these together.
    pub operator: String,
    /// Number of the subtask, from 0.
    pub subtask: u32,
    /// Records that came in; of a source, that it has read.
    pub records_in: u64,
    /// Records that went out. A sink sends none.
    pub records_out: u64,
    /// Bytes that came in, as flow control weighs them: what the records take serialized, more or less. 0 of a source.
    pub bytes_in: u64,
    /// Bytes that went out, weighed in the same way.
    pub bytes_out: u64,
    /// Records that came too late for their windows, and were dropped (Flink's `numLateRecordsDropped`).
    pub late_records_dropped: u64,
    /// Time in which it was at work.
    pub busy: Duration,
    /// Time in which it had work, but no room for results.
    pub back_pressured: Duration,
    /// The rest.
    pub idle: Duration,
}

/// The meters of all operators of this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Operators(Arc<Mutex<Vec<Entry>>>);

#[derive(Debug)]
struct Entry {
    operator: Arc<str>,
    subtask: u32,
    totals: Arc<Totals>,
}

/// Written by one thread, read by others. On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Totals {
    records_in: AtomicU64,
    records_out: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    late_records_dropped: AtomicU64,
    /// Nanoseconds.
    busy: AtomicU64,
    back_pressured: AtomicU64,
    idle: AtomicU64,
}

impl Operators {
    /// The meter of a subtask that opens. It goes on from earlier attempts.
    pub(crate) fn meter(&self, operator: &Arc<str>, subtask: u32) -> Rc<Meter> {
        let mut entries = lock(&self.0);
        let known = entries.iter().find(|entry| entry.operator == *operator && entry.subtask == subtask);
        let totals = known.map(|entry| Arc::clone(&entry.totals));
        let totals = totals.unwrap_or_else(|| {
            let totals = Arc::new(Totals::default());
            entries.push(Entry { operator: Arc::clone(operator), subtask, totals: Arc::clone(&totals) });
            totals
        });
        Rc::new(Meter { totals, since: Cell::new(Instant::now()), waits_for_room: Cell::new(false) })
    }

    /// By operator in the order they were opened, and by subtask.
    pub(crate) fn progress(&self) -> Vec<OperatorProgress> {
        let entries = lock(&self.0);
        let mut order = Vec::<&str>::new();
        for entry in entries.iter() {
            if !order.contains(&&*entry.operator) {
                order.push(&entry.operator);
            }
        }
        let mut all: Vec<_> = entries.iter().map(Entry::progress).collect();
        all.sort_by_key(|one| (order.iter().position(|operator| *operator == one.operator), one.subtask));
        all
    }
}

impl Entry {
    fn progress(&self) -> OperatorProgress {
        let get = |total: &AtomicU64| total.load(Ordering::Relaxed);
        let time = |total: &AtomicU64| Duration::from_nanos(get(total));
        let totals = &self.totals;
        OperatorProgress {
            operator: self.operator.to_string(),
            subtask: self.subtask,
            records_in: get(&totals.records_in),
            records_out: get(&totals.records_out),
            bytes_in: get(&totals.bytes_in),
            bytes_out: get(&totals.bytes_out),
            late_records_dropped: get(&totals.late_records_dropped),
            busy: time(&totals.busy),
            back_pressured: time(&totals.back_pressured),
            idle: time(&totals.idle),
        }
    }
}

/// Counts what one operator does: per batch and per turn, never per record.
#[derive(Debug)]
pub(crate) struct Meter {
    totals: Arc<Totals>,
    /// When its last turn ended, or this one began.
    since: Cell<Instant>,
    /// Whether it could not go on for want of room.
    waits_for_room: Cell<bool>,
}

impl Meter {
    /// The operator begins to work. It ends when the value is dropped.
    pub(crate) fn turn(&self) -> MeteredTurn<'_> {
        let waited = if self.waits_for_room.replace(false) { &self.totals.back_pressured } else { &self.totals.idle };
        self.pass(waited);
        MeteredTurn(self)
    }

    /// It has work, but no room for results: until its next turn it is back-pressured.
    pub(crate) fn waits_for_room(&self) {
        self.waits_for_room.set(true);
    }

    pub(crate) fn received(&self, records: usize, bytes: usize) {
        raise(&self.totals.records_in, records as u64);
        raise(&self.totals.bytes_in, bytes as u64);
    }

    pub(crate) fn sent(&self, records: usize, bytes: usize) {
        raise(&self.totals.records_out, records as u64);
        raise(&self.totals.bytes_out, bytes as u64);
    }

    /// Records came too late, and were dropped.
    pub(crate) fn dropped(&self, records: u64) {
        raise(&self.totals.late_records_dropped, records);
    }

    /// The time since the last change was one of these.
    fn pass(&self, kind: &AtomicU64) {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.since.replace(now));
        raise(kind, u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// One thread writes: no need for an atomic addition, which would cost a bus lock for each batch.
fn raise(total: &AtomicU64, by: u64) {
    total.store(total.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// An operator at work.
pub(crate) struct MeteredTurn<'a>(&'a Meter);

impl Drop for MeteredTurn<'_> {
    fn drop(&mut self) {
        self.0.pass(&self.0.totals.busy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_what_the_operator_did_and_counts_go_on_over_attempts() {
        let operators = Operators::default();
        let (count, map): (Arc<str>, Arc<str>) = ("count".into(), "map".into());
        let pause = || std::thread::sleep(Duration::from_millis(3));
        let _other = operators.meter(&map, 0);
        for attempt in 1..=2 {
            let meter = operators.meter(&count, 1);
            let of = || operators.progress().into_iter().find(|one| one.operator == "count").unwrap();
            let before = of();
            pause();
            let turn = meter.turn();
            meter.received(10, 100);
            meter.sent(20, 300);
            assert!(of().idle > before.idle && of().busy == before.busy);
            pause();
            meter.waits_for_room();
            drop(turn);
            assert!(of().busy > before.busy && of().back_pressured == before.back_pressured);
            pause();
            let idle = of().idle;
            drop(meter.turn());
            assert!(of().back_pressured > before.back_pressured && of().idle == idle);
            let now = of();
            let counts = (now.records_in, now.bytes_in, now.records_out, now.bytes_out);
            assert_eq!(counts, (10 * attempt, 100 * attempt, 20 * attempt, 300 * attempt));
        }
        let names: Vec<_> = operators.progress().into_iter().map(|one| (one.operator, one.subtask)).collect();
        assert_eq!(names, [("map".to_owned(), 0), ("count".to_owned(), 1)]);
    }
}
