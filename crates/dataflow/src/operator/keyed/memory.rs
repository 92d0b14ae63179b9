//! What an operator remembers of its event time over a restore. Flink forgets it: until the first new watermark nothing is
//! late, and windows that had closed come back with what should have been dropped.

use highwater_state::{ListStateDescriptor, OperatorListState, OperatorStateBackend};
use highwater_types::{KeyGroupRange, Result};

/// First and last key group of a subtask, and its watermark.
type Element = (i32, i32, i64);

/// The union state `watermarks`, in which every subtask says how far it had come.
pub(crate) struct WatermarkMemory {
    state: OperatorStateBackend,
    watermarks: OperatorListState<Element>,
    range: KeyGroupRange,
}

impl WatermarkMemory {
    /// Of the subtask with these key groups.
    pub(crate) fn open(state: OperatorStateBackend, range: KeyGroupRange) -> Result<Self> {
        let watermarks = state.union_list_state(&ListStateDescriptor::new("watermarks"))?;
        Ok(Self { state, watermarks, range })
    }

    /// The watermark up to which nothing is accepted any more: the smallest of the subtasks that had some of these key
    /// groups. None if they had none.
    pub(crate) fn restored(&self) -> Result<Option<i64>> {
        let (first, last) = self.borders();
        let mut least: Option<i64> = None;
        self.watermarks.for_each(|(from, to, watermark)| {
            if *from <= last && first <= *to {
                least = Some(least.map_or(*watermark, |least| least.min(*watermark)));
            }
        })?;
        Ok(least.filter(|watermark| *watermark > i64::MIN))
    }

    /// The state with what is to be remembered. The end of all input is not: a job may be given more of it.
    pub(crate) fn with(&self, watermark: i64) -> Result<&OperatorStateBackend> {
        let (first, last) = self.borders();
        let watermark = if watermark == i64::MAX { i64::MIN } else { watermark };
        self.watermarks.update([(first, last, watermark)])?;
        Ok(&self.state)
    }

    fn borders(&self) -> (i32, i32) {
        (i32::from(self.range.start()), i32::from(self.range.end()))
    }
}
