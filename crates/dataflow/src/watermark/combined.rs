//! The watermark of an operator with two inputs (Flink's `IndexedCombinedWatermarkStatus`).

use super::mark::{Advance, Mark, Status};

/// Combines what two inputs say: the minimum of those that are not idle, and only what is larger than before. An input
/// that comes back behind the other holds it up until it has caught up.
#[derive(Debug)]
pub(crate) struct Combined {
    inputs: [Input; 2],
    last: i64,
    is_idle: bool,
}

#[derive(Clone, Copy, Debug)]
struct Input {
    watermark: i64,
    is_idle: bool,
}

impl Default for Combined {
    fn default() -> Self {
        Self { inputs: [Input { watermark: i64::MIN, is_idle: false }; 2], last: i64::MIN, is_idle: false }
    }
}

impl Combined {
    /// Goes on from this watermark.
    pub(crate) fn resume_at(&mut self, watermark: i64) {
        self.last = watermark;
    }

    /// Takes in what an input says.
    pub(crate) fn mark(&mut self, input: usize, mark: Mark) -> Advance {
        let Some(input) = self.inputs.get_mut(input) else { return Advance::default() };
        if mark.status == Status::Active {
            input.is_idle = false;
        }
        if mark.watermark > i64::MIN {
            // Whoever has something to say is not idle.
            *input = Input { watermark: mark.watermark.max(input.watermark), is_idle: false };
        }
        if mark.status == Status::Idle {
            input.is_idle = true;
        }
        let was_idle = std::mem::replace(&mut self.is_idle, self.inputs.iter().all(|input| input.is_idle));
        let event_time = self.advance();
        let status = match (was_idle, self.is_idle) {
            (false, true) => Status::Idle,
            (true, false) => Status::Active,
            _ => Status::Unchanged,
        };
        // As in Flink, what advances the operator while it leaves idleness is not said to those behind it, who are told
        // of the end of idleness only afterwards.
        let said = event_time.filter(|_| status != Status::Active || mark.watermark > i64::MIN);
        let forward = Mark { watermark: said.unwrap_or(i64::MIN), status };
        Advance { event_time, forward: (!forward.says_nothing()).then_some(forward) }
    }

    fn advance(&mut self) -> Option<i64> {
        let watermarks = || self.inputs.iter().filter(|input| !input.is_idle).map(|input| input.watermark);
        let to = match self.is_idle {
            true => self.inputs.iter().map(|input| input.watermark).max(),
            false => watermarks().min(),
        };
        let to = to.filter(|watermark| *watermark > self.last)?;
        self.last = to;
        Some(to)
    }
}

#[cfg(test)]
mod tests {
    use Status::{Active, Idle};

    use super::*;

    const NO: Status = Status::Unchanged;

    fn check(steps: &[(usize, Mark, Option<i64>, Status)]) {
        let mut combined = Combined::default();
        for (number, (input, mark, event_time, status)) in steps.iter().enumerate() {
            let advance = combined.mark(*input, *mark);
            let said = advance.forward.map_or(NO, |mark| mark.status);
            assert_eq!((advance.event_time, said), (*event_time, *status), "step {number} of {steps:?}");
        }
    }

    #[test]
    fn the_minimum_of_the_inputs_that_are_not_idle_grows() {
        let (w, s) = (Mark::watermark, Mark::status);
        check(&[
            (0, w(10), None, NO),
            (1, w(5), Some(5), NO),
            (1, w(20), Some(10), NO),
            (0, s(Idle), Some(20), NO),
            (1, w(30), Some(30), NO),
            (0, s(Active), None, NO),
            (0, w(25), None, NO),
            (0, w(40), None, NO),
            (1, s(Idle), Some(40), NO),
        ]);
    }

    #[test]
    fn when_both_are_idle_the_furthest_counts() {
        let (w, s) = (Mark::watermark, Mark::status);
        check(&[(0, w(10), None, NO), (1, w(5), Some(5), NO), (0, s(Idle), None, NO), (1, s(Idle), Some(10), Idle)]);
        check(&[
            (0, s(Idle), None, NO),
            (1, s(Idle), None, Idle),
            (1, s(Active), None, Active),
            (1, w(3), Some(3), NO),
        ]);
    }
}
