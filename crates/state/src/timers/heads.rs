//! Which key group has the earliest timer.

/// The earliest time of every key group, as a tournament: the winner is known at once, and a change costs one comparison
/// for each doubling of the number of key groups.
#[derive(Debug)]
pub(crate) struct Heads {
    /// A binary tree; the children of `n` are `2n` and `2n + 1`, the root is 1. Every node is the better of its children.
    nodes: Box<[Head]>,
}

/// The time of the first timer; the flag puts those that have none behind all others.
type Head = (bool, i64);

const NONE: Head = (true, 0);

impl Heads {
    pub(crate) fn new(groups: usize) -> Self {
        Self { nodes: vec![NONE; 2 * groups.next_power_of_two()].into() }
    }

    /// Sets the earliest time of one group.
    pub(crate) fn set(&mut self, group: usize, earliest: Option<i64>) {
        let mut node = self.nodes.len() / 2 + group;
        let mut best = earliest.map_or(NONE, |time| (false, time));
        while let Some(place) = self.nodes.get_mut(node) {
            if node == 0 || *place == best {
                return;
            }
            *place = best;
            best = best.min(self.get(node ^ 1));
            node /= 2;
        }
    }

    /// The group with the earliest timer, and its time.
    pub(crate) fn earliest(&self) -> Option<(usize, i64)> {
        let (is_empty, time) = self.get(1);
        if is_empty {
            return None;
        }
        let leaves = self.nodes.len() / 2;
        let mut node = 1;
        while node < leaves {
            node = 2 * node + usize::from(self.get(2 * node) != (false, time));
        }
        Some((node - leaves, time))
    }

    fn get(&self, node: usize) -> Head {
        self.nodes.get(node).copied().unwrap_or(NONE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_earliest_wins(
            groups in 1..70_usize,
            changes in prop::collection::vec((0..70_usize, prop::option::of(prop_oneof![-3..3_i64, Just(i64::MAX), Just(i64::MIN)])), 0..200),
        ) {
            let (mut heads, mut model) = (Heads::new(groups), vec![None; groups]);
            for (group, time) in changes {
                let group = group % groups;
                heads.set(group, time);
                model[group] = time;
                let winner = heads.earliest();
                prop_assert_eq!(winner.map(|(_, time)| time), model.iter().flatten().min().copied());
                if let Some((group, time)) = winner {
                    prop_assert_eq!(model[group], Some(time));
                }
            }
        }
    }
}
