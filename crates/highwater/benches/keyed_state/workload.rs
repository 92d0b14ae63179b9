//! What the rows of all stores share: the tables, the rounds of a measurement, and the printed line.

use crate::common::{Spent, SplitMix64, grouped, measure, median};

pub const KEYS: usize = 500_000;
const DRAWS: usize = 1 << 20;
const WARM_UP: usize = 3;
const ROUNDS: usize = 7;

/// The tables all operations draw from.
pub struct Tables {
    rk: Vec<i64>,
    rv: Vec<i64>,
    pub new_keys: Vec<i64>,
}

impl Tables {
    pub fn new(keys: usize) -> Self {
        let mut random = SplitMix64(42);
        let (rk, rv) = (0..DRAWS).map(|_| (random.below(keys as u64) as i64, random.next() as i64)).unzip();
        let mut new_keys: Vec<i64> = (keys as i64..2 * keys as i64).collect();
        for i in (1..new_keys.len()).rev() {
            new_keys.swap(i, random.below(i as u64 + 1) as usize);
        }
        Self { rk, rv, new_keys }
    }

    #[inline]
    pub fn key(&self, i: usize) -> i64 {
        self.rk[i & (DRAWS - 1)]
    }

    #[inline]
    pub fn value(&self, i: usize) -> i64 {
        self.rv[i & (DRAWS - 1)]
    }
}

/// One side of a comparison: its state, one operation, and what puts the state back after each round, untimed.
pub struct Side<S, O, R> {
    state: S,
    operation: O,
    reset: R,
}

impl<S, O: FnMut(&mut S, usize), R: FnMut(&mut S)> Side<S, O, R> {
    pub fn new(state: S, operation: O, reset: R) -> Self {
        Self { state, operation, reset }
    }

    fn round(&mut self, operations: usize) -> Spent {
        let spent = measure(|| (0..operations).for_each(|i| (self.operation)(&mut self.state, i)));
        (self.reset)(&mut self.state);
        spent
    }
}

/// Which side a round belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Ours,
    Bare,
}

/// Nanoseconds per operation: medians of the rounds behind the warm-up.
fn per_operation(rounds: &[Spent], operations: usize) -> Spent {
    let timed = &rounds[WARM_UP..];
    let median_of = |of: fn(&Spent) -> f64| median(timed.iter().map(of)) / operations as f64;
    Spent { wall: median_of(|one| one.wall), cpu: median_of(|one| one.cpu) }
}

pub struct Report {
    /// Parts of names; none wants all rows.
    wanted: Vec<String>,
    /// Both sides take turns round by round, so that they see the same machine. Not where they would drive each other
    /// out of the processor's caches.
    takes_turns: bool,
    /// How many times Flink's operations per millisecond, and how many times bare time, by row.
    times: Vec<(f64, f64)>,
}

impl Report {
    pub fn new(wanted: Vec<String>, takes_turns: bool) -> Self {
        Self { wanted, takes_turns, times: Vec::new() }
    }

    fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|wanted| name.contains(wanted.as_str()))
    }

    pub fn wants_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.wants(name))
    }

    pub fn head() {
        println!(
            "{:<26} {:>9} {:>9} {:>9} {:>9} {:>8} {:>9} {:>8}",
            "operations per ms", "wall", "cpu", "bare wall", "bare cpu", "x bare", "Flink cpu", "x Flink"
        );
    }

    /// Measures both sides and prints them beside Flink's operations per millisecond.
    pub fn row<S, O, R, S2, O2, R2>(
        &mut self,
        name: &str,
        operations: usize,
        flink: Option<f64>,
        mut ours: Side<S, O, R>,
        mut bare: Side<S2, O2, R2>,
    ) where
        O: FnMut(&mut S, usize),
        R: FnMut(&mut S),
        O2: FnMut(&mut S2, usize),
        R2: FnMut(&mut S2),
    {
        if !self.wants(name) {
            return;
        }
        let mut spent = (Vec::new(), Vec::new());
        for turn in self.turns() {
            match turn {
                Turn::Ours => spent.0.push(ours.round(operations)),
                Turn::Bare => spent.1.push(bare.round(operations)),
            }
        }
        let (ours, bare) = (per_operation(&spent.0, operations), per_operation(&spent.1, operations));
        let per_ms = |nanos: f64| grouped(1e6 / nanos);
        let times = flink.map(|flink| 1e6 / ours.cpu / flink);
        self.times.extend(times.map(|times| (times, ours.cpu / bare.cpu)));
        let flink = flink.zip(times).map(|(flink, times)| format!("{:>9} {times:>7.1}x", grouped(flink)));
        println!(
            "{name:<26} {:>9} {:>9} {:>9} {:>9} {:>8.2} {}",
            per_ms(ours.wall),
            per_ms(ours.cpu),
            per_ms(bare.wall),
            per_ms(bare.cpu),
            ours.cpu / bare.cpu,
            flink.unwrap_or_default(),
        );
    }

    fn turns(&self) -> Vec<Turn> {
        let rounds = WARM_UP + ROUNDS;
        match self.takes_turns {
            true => [Turn::Ours, Turn::Bare].repeat(rounds),
            false => [vec![Turn::Ours; rounds], vec![Turn::Bare; rounds]].concat(),
        }
    }

    /// Prints what the rows that Flink has too come to.
    pub fn finish(&self) {
        if self.times.len() > 1 {
            let least = self.times.iter().map(|(flink, _)| *flink).fold(f64::MAX, f64::min);
            println!(
                "median row: {:.1} times Flink's rate (least {least:.1}), {:.2} times the bare time",
                median(self.times.iter().map(|(flink, _)| *flink)),
                median(self.times.iter().map(|(_, bare)| *bare)),
            );
        }
    }
}

pub fn nothing<S>(_: &mut S) {}
