//! What an operator is doing right now: so that it gives its thread back after a while, and that one which does not is
//! named.
//!
//! Operators read no clock. Each notes the beginning and the end of its turn; one thread of the attempt looks at these
//! notes now and then ([`watchdog`](super::watchdog)), raises a flag where a turn takes long, and reports what does not
//! react to it. The threads behind the workers, which cannot give way, take notes as well, to be named when they hang.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::attempt::lock;

/// Bits of a note that hold the number of the operator; above them turns are counted.
const OPERATOR_BITS: u32 = 16;

/// The notes of one thread.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Pace {
    /// The turn should end.
    is_over: AtomicBool,
    /// The turn there is; 0 for none.
    turn: AtomicU64,
    /// Number of the last turn. Written by the thread alone.
    turns: AtomicU64,
    operators: Mutex<Vec<Arc<str>>>,
}

impl Pace {
    /// Adds an operator. Returns the number under which it takes its turns.
    pub(crate) fn register(&self, operator: Arc<str>) -> usize {
        let mut operators = lock(&self.operators);
        operators.push(operator);
        operators.len() - 1
    }

    /// An operator begins its turn. It ends when the value is dropped.
    pub(crate) fn begin(&self, operator: usize) -> Turn<'_> {
        let turn = self.turns.load(Ordering::Relaxed) + 1;
        self.turns.store(turn, Ordering::Relaxed);
        self.is_over.store(false, Ordering::Relaxed);
        self.turn.store(turn << OPERATOR_BITS | operator as u64 & ((1 << OPERATOR_BITS) - 1), Ordering::Relaxed);
        Turn(self)
    }

    /// As [`begin`](Self::begin), for what has no number yet. There are to be few such names.
    pub(crate) fn begin_named(&self, what: &str) -> Turn<'_> {
        let known = lock(&self.operators).iter().position(|known| **known == *what);
        self.begin(known.unwrap_or_else(|| self.register(what.into())))
    }

    /// The turn there is; 0 for none.
    pub(crate) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    /// Whether the operator should give the thread back. A plain load of a cache line that seldom changes.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Lets the running turn end at the next opportunity.
    pub(crate) fn end_turn(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// What has this turn.
    pub(crate) fn operator_of(&self, turn: u64) -> Arc<str> {
        let operators = lock(&self.operators);
        operators.get((turn & ((1 << OPERATOR_BITS) - 1)) as usize).map_or_else(|| "unknown".into(), Arc::clone)
    }
}

/// A turn of an operator.
pub(crate) struct Turn<'a>(&'a Pace);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.turn.store(0, Ordering::Relaxed);
    }
}
