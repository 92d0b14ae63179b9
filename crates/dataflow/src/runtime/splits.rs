//! What waits for the source of one worker: assignments of its enumerator, in order with the barriers.

use std::cell::RefCell;
use std::collections::VecDeque;

use super::message::Assignment;

/// The inbox of one source.
#[derive(Debug, Default)]
pub(crate) struct SplitInbox {
    /// Assignments, and the newest epoch when they came.
    waiting: RefCell<VecDeque<(u64, Assignment)>>,
}

impl SplitInbox {
    /// Adds what has come while `epoch` was the newest one.
    pub(crate) fn push(&self, epoch: u64, assignment: Assignment) {
        self.waiting.borrow_mut().push_back((epoch, assignment));
    }

    /// The next assignment that came before the barrier in front of `epoch`.
    pub(crate) fn take_before(&self, epoch: u64) -> Option<Assignment> {
        let taken = self.waiting.borrow_mut().pop_front_if(|(came, _)| *came < epoch);
        taken.map(|(_, assignment)| assignment)
    }

    /// The next assignment.
    pub(crate) fn take(&self) -> Option<Assignment> {
        self.waiting.borrow_mut().pop_front().map(|(_, assignment)| assignment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_belongs_to_the_side_of_the_barrier_on_which_it_came() {
        let inbox = SplitInbox::default();
        let splits = |n| Assignment::Splits(vec![vec![n]]);
        inbox.push(0, splits(1));
        inbox.push(1, splits(2));
        inbox.push(1, Assignment::NoMore);
        assert_eq!(inbox.take_before(1), Some(splits(1)));
        assert_eq!(inbox.take_before(1), None);
        assert_eq!(inbox.take(), Some(splits(2)));
        assert_eq!(inbox.take_before(2), Some(Assignment::NoMore));
    }
}
