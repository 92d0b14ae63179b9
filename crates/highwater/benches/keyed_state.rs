//! State operations of one keyed backend on one thread, beside a bare `hashbrown` map doing the same.
//!
//! `cargo bench -p highwater --bench keyed_state [-- [--large] [NAME]...]`
//!
//! Prints operations per millisecond: medians of seven rounds behind three of warm-up, on the wall and on the thread's
//! processor time, and the ratio of the baseline's time to ours. Flink's columns are figures measured with Flink 2.1.3
//! (HashMap backend, two cores of an EPYC machine) on the same workload, processor time, the better of two passes; they
//! are constants here, not measured in this run. `--large` adds value get and update over 10 million keys and the memory
//! of an entry.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, unreachable_pub, reason = "a benchmark may stop")]

mod common;

use common::{Spent, SplitMix64, grouped, measure, median, resident};
use hashbrown::HashMap;
use highwater_state::{
    KeyedBackend, ListState, ListStateDescriptor, MapState, MapStateDescriptor, ValueState, ValueStateDescriptor,
};
use highwater_types::{DefaultSerializer, MaxParallelism};

const KEYS: usize = 500_000;
const DRAWS: usize = 1 << 20;
const OPS: usize = 1_000_000;
const FEW_OPS: usize = 300_000;
/// Keys prepared together.
const GROUP: usize = 16;
const WARM_UP: usize = 3;
const ROUNDS: usize = 7;

type BareMap<V> = HashMap<i64, V, foldhash::fast::RandomState>;

/// The tables all operations draw from.
struct Tables {
    rk: Vec<i64>,
    rv: Vec<i64>,
    new_keys: Vec<i64>,
}

impl Tables {
    fn new(keys: usize) -> Self {
        let mut random = SplitMix64(42);
        let (rk, rv) = (0..DRAWS).map(|_| (random.below(keys as u64) as i64, random.next() as i64)).unzip();
        let mut new_keys: Vec<i64> = (keys as i64..2 * keys as i64).collect();
        for i in (1..new_keys.len()).rev() {
            new_keys.swap(i, random.below(i as u64 + 1) as usize);
        }
        Self { rk, rv, new_keys }
    }

    #[inline]
    fn key(&self, i: usize) -> i64 {
        self.rk[i & (DRAWS - 1)]
    }

    #[inline]
    fn value(&self, i: usize) -> i64 {
        self.rv[i & (DRAWS - 1)]
    }
}

fn backend() -> KeyedBackend<i64> {
    let max_parallelism = MaxParallelism::new(128).unwrap();
    KeyedBackend::builder(i64::default_serializer(), max_parallelism, max_parallelism.all()).build().unwrap()
}

/// One side of a comparison: its state, one operation, and what puts the state back after each round, untimed.
struct Side<S, O, R> {
    state: S,
    operation: O,
    reset: R,
}

impl<S, O: FnMut(&mut S, usize), R: FnMut(&mut S)> Side<S, O, R> {
    fn new(state: S, operation: O, reset: R) -> Self {
        Self { state, operation, reset }
    }

    /// Nanoseconds per operation: medians of the timed rounds.
    fn measure(&mut self, operations: usize) -> Spent {
        let mut spent = Vec::new();
        for round in 0..WARM_UP + ROUNDS {
            let one = measure(|| (0..operations).for_each(|i| (self.operation)(&mut self.state, i)));
            (self.reset)(&mut self.state);
            if round >= WARM_UP {
                spent.push(one);
            }
        }
        let per_operation = |of: fn(&Spent) -> f64| median(spent.iter().map(of)) / operations as f64;
        Spent { wall: per_operation(|one| one.wall), cpu: per_operation(|one| one.cpu) }
    }
}

struct Report {
    /// Parts of names; none wants all rows.
    wanted: Vec<String>,
}

impl Report {
    fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|wanted| name.contains(wanted.as_str()))
    }

    fn head() {
        println!(
            "{:<26} {:>9} {:>9} {:>9} {:>9} {:>8} {:>9} {:>8}",
            "operations per ms", "wall", "cpu", "bare wall", "bare cpu", "x bare", "Flink cpu", "x Flink"
        );
    }

    /// Measures both sides and prints them beside Flink's operations per millisecond.
    fn row<S, O, R, S2, O2, R2>(
        &self,
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
        let (ours, bare) = (ours.measure(operations), bare.measure(operations));
        let per_ms = |nanos: f64| grouped(1e6 / nanos);
        let flink = flink.map(|flink| format!("{:>9} {:>7.1}x", grouped(flink), 1e6 / ours.cpu / flink));
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
}

fn nothing<S>(_: &mut S) {}

/// Counts the draws in groups of keys prepared ahead, as keyed operators do with their batches. One operation is a group.
fn count_group(backend: &KeyedBackend<i64>, state: &ValueState<i64>, tables: &Tables, group: usize) {
    let keys: [_; GROUP] = std::array::from_fn(|i| backend.prepare_key(tables.key(group * GROUP + i)).unwrap());
    for key in keys {
        backend.set_prepared_key(key).unwrap();
        state.modify(|| 0, |value| *value = value.wrapping_add(1)).unwrap();
    }
}

/// The rows of value state over `keys` keys.
fn value_rows(report: &Report, tables: &Tables, keys: usize, prefix: &str, flink: impl Fn(f64) -> Option<f64>) {
    let before = resident().0;
    let backend = &backend();
    let state = &backend.value_state(&ValueStateDescriptor::<i64>::new("value")).unwrap();
    for i in 0..keys {
        backend.set_current_key(i as i64).unwrap();
        state.update(tables.value(i)).unwrap();
    }
    let ours = resident().0 - before;
    let before = resident().0;
    let bare: &mut BareMap<i64> = &mut (0..keys).map(|i| (i as i64, tables.value(i))).collect();
    if keys > KEYS {
        let per_entry = |bytes: u64| bytes as f64 / keys as f64;
        println!("{prefix}bytes per entry: {:.1} ours, {:.1} bare", per_entry(ours), per_entry(resident().0 - before));
    }
    let name = |name: &str| format!("{prefix}{name}");
    let at = |i: usize| backend.set_current_key(tables.key(i)).unwrap();

    let mut sum = (0_i64, 0_i64);
    report.row(
        &name("valueGet"),
        OPS,
        flink(4_629.0),
        Side::new(
            &mut sum.0,
            |sum, i| {
                at(i);
                **sum = sum.wrapping_add(state.value().unwrap().unwrap());
            },
            nothing,
        ),
        Side::new(&mut sum.1, |sum, i| **sum = sum.wrapping_add(bare[&tables.key(i)]), nothing),
    );
    assert_eq!(sum.0, sum.1, "both sides read the same");

    report.row(
        &name("valueUpdate"),
        OPS,
        flink(3_735.0),
        Side::new(
            (),
            |(), i| {
                at(i);
                state.update(tables.value(i)).unwrap();
            },
            nothing,
        ),
        Side::new(
            &mut *bare,
            |bare, i| {
                bare.insert(tables.key(i), tables.value(i));
            },
            nothing,
        ),
    );
    report.row(
        &name("valueReadModifyWrite"),
        OPS,
        flink(2_238.0),
        Side::new(
            (),
            |(), i| {
                at(i);
                let value = state.value().unwrap().unwrap();
                state.update(value.wrapping_add(1)).unwrap();
            },
            nothing,
        ),
        Side::new(
            &mut *bare,
            |bare, i| {
                let value = bare[&tables.key(i)];
                bare.insert(tables.key(i), value.wrapping_add(1));
            },
            nothing,
        ),
    );
    let count = |bare: &mut &mut BareMap<i64>, i: usize| {
        let value = bare.entry(tables.key(i)).or_insert(0);
        *value = value.wrapping_add(1);
    };
    report.row(
        &name("value modify in place"),
        OPS,
        flink(2_238.0),
        Side::new(
            (),
            |(), i| {
                at(i);
                state.modify(|| 0, |value| *value = value.wrapping_add(1)).unwrap();
            },
            nothing,
        ),
        Side::new(&mut *bare, count, nothing),
    );
    report.row(
        &name("value, 16 keys prepared"),
        OPS / GROUP,
        // Both sides count a group of keys per operation.
        flink(2_238.0 / GROUP as f64),
        Side::new((), |(), group| count_group(backend, state, tables, group), nothing),
        Side::new(&mut *bare, |bare, group| (0..GROUP).for_each(|i| count(bare, group * GROUP + i)), nothing),
    );
    if keys > KEYS {
        return;
    }
    report.row(
        &name("valueAdd"),
        KEYS,
        flink(5_475.0),
        Side::new(
            (),
            |(), i| {
                backend.set_current_key(tables.new_keys[i]).unwrap();
                state.update(tables.value(i)).unwrap();
            },
            |()| {
                for key in &tables.new_keys {
                    backend.set_current_key(*key).unwrap();
                    state.clear().unwrap();
                }
            },
        ),
        Side::new(
            &mut *bare,
            |bare, i| {
                bare.insert(tables.new_keys[i], tables.value(i));
            },
            |bare| tables.new_keys.iter().for_each(|key| assert!(bare.remove(key).is_some())),
        ),
    );
}

fn list_rows(report: &Report, tables: &Tables) {
    let backend = &backend();
    let list: &ListState<i64> = &backend.list_state(&ListStateDescriptor::new("list")).unwrap();
    let bare = &mut BareMap::<Vec<i64>>::default();
    let at = |i: usize| backend.set_current_key(tables.key(i)).unwrap();
    let one_each = |(): &mut ()| {
        for i in 0..KEYS {
            backend.set_current_key(i as i64).unwrap();
            list.update(vec![tables.value(i)]).unwrap();
        }
    };
    let one_each_bare = |bare: &mut &mut BareMap<Vec<i64>>| {
        for i in 0..KEYS {
            bare.insert(i as i64, vec![tables.value(i)]);
        }
    };
    one_each(&mut ());
    one_each_bare(&mut &mut *bare);

    let mut sum = (0_i64, 0_i64);
    report.row(
        "listGet",
        OPS,
        Some(3_734.0),
        Side::new(
            &mut sum.0,
            |sum, i| {
                at(i);
                list.for_each(|element| **sum = sum.wrapping_add(*element)).unwrap();
            },
            nothing,
        ),
        Side::new(
            &mut sum.1,
            |sum, i| bare[&tables.key(i)].iter().for_each(|element| **sum = sum.wrapping_add(*element)),
            nothing,
        ),
    );
    assert_eq!(sum.0, sum.1, "both sides read the same");

    report.row(
        "listAppend",
        OPS,
        Some(2_472.0),
        Side::new(
            (),
            |(), i| {
                at(i);
                list.add(tables.value(i)).unwrap();
            },
            one_each,
        ),
        Side::new(&mut *bare, |bare, i| bare.entry(tables.key(i)).or_default().push(tables.value(i)), one_each_bare),
    );
    report.row(
        "listAdd",
        KEYS,
        Some(3_370.0),
        Side::new(
            (),
            |(), i| {
                backend.set_current_key(tables.new_keys[i]).unwrap();
                list.add(tables.value(i)).unwrap();
            },
            |()| {
                for key in &tables.new_keys {
                    backend.set_current_key(*key).unwrap();
                    list.clear().unwrap();
                }
            },
        ),
        Side::new(
            &mut *bare,
            |bare, i| bare.entry(tables.new_keys[i]).or_default().push(tables.value(i)),
            |bare| tables.new_keys.iter().for_each(|key| assert!(bare.remove(key).is_some())),
        ),
    );
    let hundred = |i: usize| (0..100).map(|j| tables.value(i).wrapping_add(j)).collect::<Vec<i64>>();
    report.row(
        "listUpdate100",
        FEW_OPS,
        Some(1_449.0),
        Side::new(
            (),
            |(), i| {
                backend.set_current_key(tables.key(i) % 50_000).unwrap();
                list.update(hundred(i)).unwrap();
            },
            nothing,
        ),
        Side::new(
            &mut *bare,
            |bare, i| {
                bare.insert(tables.key(i) % 50_000, hundred(i));
            },
            nothing,
        ),
    );
}

fn map_rows(report: &Report, tables: &Tables) {
    let backend = &backend();
    let map: &MapState<i64, f64> = &backend.map_state(&MapStateDescriptor::new("map")).unwrap();
    let bare = &mut BareMap::<BareMap<f64>>::default();
    for i in 0..KEYS {
        backend.set_current_key(i as i64).unwrap();
        for j in 0..10 {
            map.put(j, j as f64).unwrap();
            bare.entry(i as i64).or_default().insert(j, j as f64);
        }
    }
    let at = |i: usize| backend.set_current_key(tables.key(i)).unwrap();

    let mut sum = (0.0, 0.0);
    report.row(
        "mapGet",
        OPS,
        Some(2_684.0),
        Side::new(
            &mut sum.0,
            |sum, i| {
                at(i);
                **sum += map.get(&(tables.value(i) & 7)).unwrap().unwrap();
            },
            nothing,
        ),
        Side::new(&mut sum.1, |sum, i| **sum += bare[&tables.key(i)][&(tables.value(i) & 7)], nothing),
    );
    assert_eq!(sum.0, sum.1, "both sides read the same");

    let mut hits = (0, 0);
    report.row(
        "mapContains",
        OPS,
        Some(2_935.0),
        Side::new(
            &mut hits.0,
            |hits, i| {
                at(i);
                **hits += usize::from(map.contains(&((tables.value(i) & 7) << 1)).unwrap());
            },
            nothing,
        ),
        Side::new(
            &mut hits.1,
            |hits, i| **hits += usize::from(bare[&tables.key(i)].contains_key(&((tables.value(i) & 7) << 1))),
            nothing,
        ),
    );
    assert_eq!(hits.0, hits.1, "both sides find the same");

    let mut sum = (0.0, 0.0);
    report.row(
        "mapIterate10",
        FEW_OPS,
        Some(919.0),
        Side::new(
            &mut sum.0,
            |sum, i| {
                at(i);
                map.for_each(|key, value| **sum += *key as f64 + value).unwrap();
            },
            nothing,
        ),
        Side::new(
            &mut sum.1,
            |sum, i| bare[&tables.key(i)].iter().for_each(|(key, value)| **sum += *key as f64 + value),
            nothing,
        ),
    );
    assert_eq!(sum.0, sum.1, "both sides read the same");

    report.row(
        "mapUpdate",
        OPS,
        Some(2_488.0),
        Side::new(
            (),
            |(), i| {
                at(i);
                map.put(tables.value(i) & 7, 1.5).unwrap();
            },
            nothing,
        ),
        Side::new(
            &mut *bare,
            |bare, i| {
                bare.entry(tables.key(i)).or_default().insert(tables.value(i) & 7, 1.5);
            },
            nothing,
        ),
    );
    report.row(
        "mapAdd",
        KEYS,
        Some(3_245.0),
        Side::new(
            (),
            |(), i| {
                backend.set_current_key(tables.new_keys[i]).unwrap();
                map.put(tables.value(i) & 7, 2.5).unwrap();
            },
            |()| {
                for key in &tables.new_keys {
                    backend.set_current_key(*key).unwrap();
                    map.clear().unwrap();
                }
            },
        ),
        Side::new(
            &mut *bare,
            |bare, i| {
                bare.entry(tables.new_keys[i]).or_default().insert(tables.value(i) & 7, 2.5);
            },
            |bare| tables.new_keys.iter().for_each(|key| assert!(bare.remove(key).is_some())),
        ),
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let large = arguments.iter().any(|argument| argument == "--large");
    let report = Report { wanted: arguments.into_iter().filter(|argument| !argument.starts_with("--")).collect() };
    Report::head();
    // First, while no freed memory hides what an entry takes.
    if large {
        let keys = 10_000_000;
        value_rows(&report, &Tables::new(keys), keys, "10M: ", |_| None);
    }
    let tables = Tables::new(KEYS);
    let any = |names: &[&str]| names.iter().any(|name| report.wants(name));
    if any(&["valueGet", "valueUpdate", "valueReadModifyWrite", "value modify in place", "value, 16 keys", "valueAdd"])
    {
        value_rows(&report, &tables, KEYS, "", Some);
    }
    if any(&["listGet", "listAppend", "listAdd", "listUpdate100"]) {
        list_rows(&report, &tables);
    }
    if any(&["mapGet", "mapContains", "mapIterate10", "mapUpdate", "mapAdd"]) {
        map_rows(&report, &tables);
    }
}
