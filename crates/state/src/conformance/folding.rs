//! Reducing and aggregating state.

use highwater_types::Result;

use super::Subject;
use crate::{AggregateFunction, AggregatingStateDescriptor, ReducingStateDescriptor};

/// The first value is stored as it is; the function sees the old value on the left and the new one on the right.
pub fn reducing_starts_with_the_first_value(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let chain = ReducingStateDescriptor::<String>::new("chain", |old, new| old.push_str(&format!(">{new}")));
    let state = backend.reducing_state(&chain)?;
    backend.set_current_key(1)?;
    assert_eq!(state.get()?, None);
    for value in ["a", "b", "c"] {
        state.add(value.to_owned())?;
    }
    assert_eq!(state.get()?.as_deref(), Some("a>b>c"));
    backend.set_current_key(2)?;
    assert_eq!(state.get()?, None);
    state.add("d".to_owned())?;
    backend.set_current_key(1)?;
    state.clear()?;
    assert_eq!(state.get()?, None);
    state.add("e".to_owned())?;
    assert_eq!(state.get()?.as_deref(), Some("e"));
    backend.set_current_key(2)?;
    assert_eq!(state.get()?.as_deref(), Some("d"));
    Ok(())
}

/// Mean of integers; an empty accumulator has a result that must never be seen.
#[derive(Debug)]
pub(super) struct Mean;

impl AggregateFunction for Mean {
    type Input = i64;
    type Accumulator = (i64, i64);
    type Output = i64;

    fn create_accumulator(&self) -> (i64, i64) {
        (0, 0)
    }

    fn add(&self, (sum, count): &mut (i64, i64), input: i64) {
        *sum = sum.wrapping_add(input);
        *count += 1;
    }

    fn result(&self, (sum, count): &(i64, i64)) -> i64 {
        sum.checked_div(*count).unwrap_or(i64::MIN)
    }

    fn merge(&self, (sum, count): &mut (i64, i64), other: (i64, i64)) {
        *sum = sum.wrapping_add(other.0);
        *count += other.1;
    }
}

/// Without input there is no result, not the result of an empty accumulator.
pub fn aggregating_creates_its_accumulator_late(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let state = backend.aggregating_state(&AggregatingStateDescriptor::new("mean", Mean))?;
    backend.set_current_key(1)?;
    assert_eq!(state.get()?, None);
    for value in [2, 4, 9] {
        state.add(value)?;
    }
    assert_eq!(state.get()?, Some(5));
    backend.set_current_key(2)?;
    assert_eq!(state.get()?, None);
    backend.set_current_key(1)?;
    state.clear()?;
    assert_eq!(state.get()?, None);
    state.add(100)?;
    assert_eq!(state.get()?, Some(100));
    Ok(())
}
