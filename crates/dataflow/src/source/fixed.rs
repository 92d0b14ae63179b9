//! The enumerator of sources that know all their splits beforehand.

use std::collections::VecDeque;

use highwater_types::{ByteReader, DefaultSerializer, Error, Result, SerializerRef};

use super::{SplitEnumerator, SplitEnumeratorContext};

/// The enumerator of a source whose splits are known beforehand. Its state is the splits that nobody has yet.
#[derive(Debug)]
pub struct FixedSplits<S> {
    serializer: SerializerRef<Vec<S>>,
    /// What is left; none in the place of splits that are assigned.
    splits: VecDeque<Option<S>>,
    is_dealt: bool,
}

impl<S: Clone + DefaultSerializer> FixedSplits<S> {
    /// Each split goes to the first reader that asks, in order: a slow reader holds nobody up.
    ///
    /// The splits are those of a fresh start. What is `restored` counts instead, if it is given.
    ///
    /// # Errors
    /// `Corrupt` if `restored` is not the state of such an enumerator.
    pub fn on_request(
        splits: impl IntoIterator<Item = S>,
        restored: Option<&[u8]>,
    ) -> Result<Box<dyn SplitEnumerator<S>>> {
        Ok(Box::new(Self::new(splits, restored, false)?))
    }

    /// The splits are dealt out evenly at the start, neighbours to neighbours, so that every reader works on all of its
    /// share at the same time.
    ///
    /// # Errors
    /// As [`on_request`](Self::on_request).
    pub fn dealt_evenly(
        splits: impl IntoIterator<Item = S>,
        restored: Option<&[u8]>,
    ) -> Result<Box<dyn SplitEnumerator<S>>> {
        Ok(Box::new(Self::new(splits, restored, true)?))
    }

    fn new(splits: impl IntoIterator<Item = S>, restored: Option<&[u8]>, is_dealt: bool) -> Result<Self> {
        let serializer = Vec::<S>::default_serializer();
        let splits = match restored {
            Some(restored) => read(&serializer, restored)?,
            None => splits.into_iter().collect(),
        };
        Ok(Self { serializer, splits: splits.into_iter().map(Some).collect(), is_dealt })
    }
}

fn read<S: 'static>(serializer: &SerializerRef<Vec<S>>, state: &[u8]) -> Result<Vec<S>> {
    let mut input = ByteReader::new(state);
    let splits = serializer.deserialize(&mut input)?;
    if input.is_empty() {
        Ok(splits)
    } else {
        Err(Error::corrupt("the state of the enumerator is longer than its splits: use another snapshot")
            .with("offset", input.position()))
    }
}

impl<S: Clone + 'static> SplitEnumerator<S> for FixedSplits<S> {
    fn add_reader(&mut self, subtask: u32, context: &mut SplitEnumeratorContext<S>) -> Result<()> {
        if self.is_dealt {
            let every = context.parallelism().max(1) as usize;
            let share = self.splits.iter_mut().skip(subtask as usize).step_by(every);
            context.assign_splits(subtask, share.filter_map(Option::take).collect());
            context.signal_no_more_splits(subtask);
        }
        Ok(())
    }

    fn handle_split_request(&mut self, subtask: u32, context: &mut SplitEnumeratorContext<S>) -> Result<()> {
        if self.is_dealt {
            return Ok(());
        }
        match std::iter::from_fn(|| self.splits.pop_front()).flatten().next() {
            Some(split) => context.assign_splits(subtask, vec![split]),
            None => context.signal_no_more_splits(subtask),
        }
        Ok(())
    }

    fn snapshot_state(&mut self) -> Result<Vec<u8>> {
        let mut state = Vec::new();
        self.serializer.serialize(&self.splits.iter().flatten().cloned().collect(), &mut state)?;
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SplitAssignment;

    fn assigned(context: &mut SplitEnumeratorContext<i64>) -> Vec<(u32, Vec<i64>)> {
        let splits = |assignment| match assignment {
            SplitAssignment::Splits { subtask, splits } => Some((subtask, splits)),
            SplitAssignment::NoMore { .. } => None,
        };
        context.take_assignments().into_iter().filter_map(splits).collect()
    }

    #[test]
    fn what_was_not_dealt_before_the_snapshot_is_dealt_anew() {
        let mut context = SplitEnumeratorContext::new(3);
        let mut enumerator = FixedSplits::dealt_evenly(0..8_i64, None).unwrap();
        enumerator.add_reader(1, &mut context).unwrap();
        assert_eq!(assigned(&mut context), [(1, vec![1, 4, 7])]);
        let state = enumerator.snapshot_state().unwrap();

        let mut context = SplitEnumeratorContext::new(2);
        let mut restored = FixedSplits::dealt_evenly(0..8_i64, Some(&state)).unwrap();
        restored.add_reader(0, &mut context).unwrap();
        restored.add_reader(1, &mut context).unwrap();
        assert_eq!(assigned(&mut context), [(0, vec![0, 3, 6]), (1, vec![2, 5])]);
        assert_eq!(enumerator.snapshot_state().unwrap(), state, "the same state as long as nothing happens");
    }

    #[test]
    fn whoever_asks_gets_the_next_one_until_there_is_none() {
        let mut context = SplitEnumeratorContext::new(2);
        let mut enumerator = FixedSplits::on_request([5, 6_i64], None).unwrap();
        for subtask in [1, 1, 0] {
            enumerator.handle_split_request(subtask, &mut context).unwrap();
        }
        let splits = |subtask, split| SplitAssignment::Splits { subtask, splits: vec![split] };
        assert_eq!(context.take_assignments(), [splits(1, 5), splits(1, 6), SplitAssignment::NoMore { subtask: 0 }]);
    }

    #[test]
    fn damaged_state_is_refused() {
        let mut state = FixedSplits::on_request([5, 6_i64], None).unwrap().snapshot_state().unwrap();
        state.push(0);
        assert!(FixedSplits::on_request([0_i64], Some(&state)).is_err());
        state.truncate(9);
        assert!(FixedSplits::on_request([0_i64], Some(&state)).is_err());
    }
}
