//! The time of the data dataflow: checkpoint epoch in the high bits, flow-control tick in the low bits.

use timely::progress::frontier::MutableAntichain;

/// Epoch and tick in one number, so that timely's order is: epoch first, then tick.
pub(crate) type Time = u64;

/// An attempt has room for 268 million checkpoints, and an epoch for 68 billion ticks. Idle sources leap 64 of them every
/// 5 to 50 milliseconds: without a checkpoint they last for 62 to 620 days. An epoch that has run out of ticks goes on in
/// its last one, where what is under way is bounded by the edges alone (`runtime/flow.rs`).
const TICK_BITS: u32 = 36;

/// Last tick of every epoch.
pub(crate) const LAST_TICK: u64 = (1 << TICK_BITS) - 1;

/// Last epoch of an attempt.
pub(crate) const LAST_EPOCH: u64 = (1 << (u64::BITS - TICK_BITS)) - 1;

/// The time of a tick in an epoch.
pub(crate) fn at(epoch: u64, tick: u64) -> Time {
    epoch.min(LAST_EPOCH) << TICK_BITS | tick.min(LAST_TICK)
}

/// The epoch of a time.
pub(crate) fn epoch_of(time: Time) -> u64 {
    time >> TICK_BITS
}

/// The tick of a time.
pub(crate) fn tick_of(time: Time) -> u64 {
    time & LAST_TICK
}

/// The only element of a frontier of totally ordered times; none once it is empty: nothing more will come.
pub(crate) fn least(frontier: &MutableAntichain<Time>) -> Option<Time> {
    frontier.frontier().as_option().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tick_of_an_epoch_is_before_the_next_epoch() {
        assert!(at(3, LAST_TICK) < at(4, 0));
        assert_eq!((epoch_of(at(7, 9)), tick_of(at(7, 9))), (7, 9));
        assert_eq!(tick_of(at(1, u64::MAX)), LAST_TICK);
    }
}
