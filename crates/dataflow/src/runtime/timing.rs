//! Where the time of a checkpoint goes on one worker.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How long one operator took for one checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OperatorTiming {
    pub(crate) uid: String,
    pub(crate) alignment: Duration,
    pub(crate) sync: Duration,
    pub(crate) asynchronous: Duration,
}

/// Notes the moments of the checkpoints under way.
#[derive(Debug, Default)]
pub(crate) struct CheckpointTimer(RefCell<BTreeMap<u64, Moments>>);

#[derive(Debug)]
struct Moments {
    /// When the worker heard of it.
    begun: Instant,
    operators: BTreeMap<usize, OperatorMoments>,
}

#[derive(Clone, Copy, Debug, Default)]
struct OperatorMoments {
    reached: Option<Instant>,
    frozen: Option<Instant>,
    written: Option<Instant>,
}

impl CheckpointTimer {
    pub(crate) fn begin(&self, checkpoint: u64) {
        let moments = Moments { begun: Instant::now(), operators: BTreeMap::new() };
        self.0.borrow_mut().insert(checkpoint, moments);
    }

    /// The barrier has come to an operator.
    pub(crate) fn reached(&self, checkpoint: u64, operator: usize) {
        self.note(checkpoint, operator, |moments| moments.reached = Some(Instant::now()));
    }

    /// The operator goes on.
    pub(crate) fn frozen(&self, checkpoint: u64, operator: usize) {
        self.note(checkpoint, operator, |moments| moments.frozen = Some(Instant::now()));
    }

    /// Its state is written.
    pub(crate) fn written(&self, checkpoint: u64, operator: usize, when: Instant) {
        self.note(checkpoint, operator, |moments| moments.written = Some(when));
    }

    fn note(&self, checkpoint: u64, operator: usize, note: impl FnOnce(&mut OperatorMoments)) {
        if let Some(moments) = self.0.borrow_mut().get_mut(&checkpoint) {
            note(moments.operators.entry(operator).or_default());
        }
    }

    /// A checkpoint was given up.
    pub(crate) fn forget(&self, checkpoint: u64) {
        self.0.borrow_mut().remove(&checkpoint);
    }

    /// What is known of a checkpoint that is acknowledged. Older ones may still be under way, savepoints beside them, too.
    pub(crate) fn take<'a>(
        &self,
        checkpoint: u64,
        operators: impl IntoIterator<Item = &'a str>,
    ) -> Vec<OperatorTiming> {
        let moments = self.0.borrow_mut().remove(&checkpoint);
        let Some(Moments { begun, operators: of }) = moments else { return Vec::new() };
        let timing = |(index, uid): (usize, &str)| {
            let moments = of.get(&index).copied().unwrap_or_default();
            let reached = moments.reached.unwrap_or(begun);
            let frozen = moments.frozen.unwrap_or(reached);
            let written = moments.written.unwrap_or(frozen);
            OperatorTiming {
                uid: uid.to_owned(),
                alignment: reached.saturating_duration_since(begun),
                sync: frozen.saturating_duration_since(reached),
                asynchronous: written.saturating_duration_since(frozen),
            }
        };
        operators.into_iter().enumerate().map(timing).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phases_follow_each_other_and_what_is_under_way_stays() {
        let timer = CheckpointTimer::default();
        (1..=3).for_each(|checkpoint| timer.begin(checkpoint));
        let wait = || std::thread::sleep(Duration::from_millis(2));
        wait();
        timer.reached(2, 0);
        wait();
        timer.frozen(2, 0);
        wait();
        timer.written(2, 0, Instant::now());
        let timings = timer.take(2, ["count", "sink"]);
        let [count, sink] = &timings[..] else { panic!("two operators") };
        for phase in [count.alignment, count.sync, count.asynchronous] {
            assert!(phase >= Duration::from_millis(2), "{timings:?}");
        }
        assert_eq!((&*sink.uid, sink.sync, sink.asynchronous), ("sink", Duration::ZERO, Duration::ZERO));
        assert!(timer.take(2, ["count"]).is_empty());
        // The first is slower. It used to be forgotten, and was shown as acknowledged by nobody.
        assert_eq!(timer.take(1, ["count", "sink"]).len(), 2);
        timer.forget(3);
        assert!(timer.0.borrow().is_empty());
    }
}
