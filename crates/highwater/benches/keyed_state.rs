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

/// Counts the draws in groups of keys prepared ahead, as keyed operators do with their batches.
fn count_prepared(operations: usize, tables: &Tables, backend: &KeyedBackend<i64>, state: &ValueState<i64>) -> Spent {
    const GROUP: usize = 16;
    let run = || {
        let mut group = Vec::with_capacity(GROUP);
        for start in (0..operations).step_by(GROUP) {
            group.extend((start..start + GROUP).map(|i| backend.prepare_key(tables.key(i)).unwrap()));
            for key in group.drain(..) {
                backend.set_prepared_key(key).unwrap();
                state.modify(|| 0, |value| *value = value.wrapping_add(1)).unwrap();
            }
        }
    };
    rounds(operations, run, || {})
}

/// Runs the warm-up and the timed rounds; `reset` runs untimed after each. Returns nanoseconds per operation.
fn rounds(operations: usize, mut run: impl FnMut(), mut reset: impl FnMut()) -> Spent {
    let mut spent = Vec::new();
    for round in 0..WARM_UP + ROUNDS {
        let one = measure(&mut run);
        reset();
        if round >= WARM_UP {
            spent.push(one);
        }
    }
    Spent {
        wall: median(spent.iter().map(|one| one.wall)) / operations as f64,
        cpu: median(spent.iter().map(|one| one.cpu)) / operations as f64,
    }
}

struct Report(Vec<String>);

impl Report {
    fn wants(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|wanted| name.contains(wanted.as_str()))
    }

    fn row(&self, name: &str, ours: Spent, bare: Spent, flink: Option<f64>) {
        let per_ms = |nanos: f64| grouped(1e6 / nanos);
        let flink =
            flink.map_or(String::new(), |flink| format!("{:>9} {:>7.1}x", grouped(flink), 1e6 / ours.cpu / flink));
        println!(
            "{name:<26} {:>9} {:>9} {:>9} {:>9} {:>8.2} {flink}",
            per_ms(ours.wall),
            per_ms(ours.cpu),
            per_ms(bare.wall),
            per_ms(bare.cpu),
            ours.cpu / bare.cpu,
        );
    }
}

fn value_rows(report: &Report, tables: &Tables) {
    if !report.wants("value") {
        return;
    }
    const OPS: usize = 1_000_000;
    let fill = |state: &ValueState<i64>, backend: &KeyedBackend<i64>, bare: &mut BareMap<i64>| {
        for i in 0..KEYS {
            backend.set_current_key(i as i64).unwrap();
            state.update(tables.value(i)).unwrap();
            bare.insert(i as i64, tables.value(i));
        }
    };
    let backend = backend();
    let state = backend.value_state(&ValueStateDescriptor::<i64>::new("value")).unwrap();
    let mut bare = BareMap::default();
    fill(&state, &backend, &mut bare);

    let mut sum = 0_i64;
    let ours = rounds(
        OPS,
        || {
            for i in 0..OPS {
                backend.set_current_key(tables.key(i)).unwrap();
                sum = sum.wrapping_add(state.value().unwrap().unwrap());
            }
        },
        || {},
    );
    let theirs = rounds(OPS, || (0..OPS).for_each(|i| sum = sum.wrapping_add(bare[&tables.key(i)])), || {});
    report.row("valueGet", ours, theirs, Some(4_629.0));

    let ours = rounds(
        OPS,
        || {
            for i in 0..OPS {
                backend.set_current_key(tables.key(i)).unwrap();
                state.update(tables.value(i)).unwrap();
            }
        },
        || {},
    );
    let theirs = rounds(
        OPS,
        || {
            (0..OPS).for_each(|i| {
                bare.insert(tables.key(i), tables.value(i));
            })
        },
        || {},
    );
    report.row("valueUpdate", ours, theirs, Some(3_735.0));

    let ours = rounds(
        OPS,
        || {
            for i in 0..OPS {
                backend.set_current_key(tables.key(i)).unwrap();
                let value = state.value().unwrap().unwrap();
                state.update(value.wrapping_add(1)).unwrap();
            }
        },
        || {},
    );
    let theirs = rounds(
        OPS,
        || {
            for i in 0..OPS {
                let value = bare[&tables.key(i)];
                bare.insert(tables.key(i), value.wrapping_add(1));
            }
        },
        || {},
    );
    report.row("valueReadModifyWrite", ours, theirs, Some(2_238.0));

    let ours = rounds(
        OPS,
        || {
            for i in 0..OPS {
                backend.set_current_key(tables.key(i)).unwrap();
                state.modify(|| 0, |value| *value = value.wrapping_add(1)).unwrap();
            }
        },
        || {},
    );
    let theirs = rounds(
        OPS,
        || {
            for i in 0..OPS {
                let value = bare.entry(tables.key(i)).or_insert(0);
                *value = value.wrapping_add(1);
            }
        },
        || {},
    );
    report.row("value modify in place", ours, theirs, Some(2_238.0));
    report.row("  with keys prepared", count_prepared(OPS, tables, &backend, &state), theirs, Some(2_238.0));

    let ours = rounds(
        KEYS,
        || {
            for i in 0..KEYS {
                backend.set_current_key(tables.new_keys[i]).unwrap();
                state.update(tables.value(i)).unwrap();
            }
        },
        || {
            for key in &tables.new_keys {
                backend.set_current_key(*key).unwrap();
                state.clear().unwrap();
            }
        },
    );
    let bare = std::cell::RefCell::new(bare);
    let theirs = rounds(
        KEYS,
        || {
            let mut bare = bare.borrow_mut();
            (0..KEYS).for_each(|i| {
                bare.insert(tables.new_keys[i], tables.value(i));
            });
        },
        || {
            tables.new_keys.iter().for_each(|key| {
                bare.borrow_mut().remove(key);
            })
        },
    );
    report.row("valueAdd", ours, theirs, Some(5_475.0));
    assert_ne!(sum, 1, "the reads are used");
}

fn list_rows(report: &Report, tables: &Tables) {
    if !report.wants("list") {
        return;
    }
    const OPS: usize = 1_000_000;
    let backend = backend();
    let list: ListState<i64> = backend.list_state(&ListStateDescriptor::new("list")).unwrap();
    let bare = std::cell::RefCell::new(BareMap::<Vec<i64>>::default());
    let reset = || {
        for i in 0..KEYS {
            backend.set_current_key(i as i64).unwrap();
            list.update(vec![tables.value(i)]).unwrap();
        }
    };
    let reset_bare = || {
        let mut bare = bare.borrow_mut();
        (0..KEYS).for_each(|i| {
            bare.insert(i as i64, vec![tables.value(i)]);
        });
    };
    reset();
    reset_bare();

    let mut sum = 0_i64;
    let ours = rounds(
        OPS,
        || {
            for i in 0..OPS {
                backend.set_current_key(tables.key(i)).unwrap();
                list.for_each(|element| sum = sum.wrapping_add(*element)).unwrap();
            }
        },
        || {},
    );
    let theirs = rounds(
        OPS,
        || {
            let bare = bare.borrow();
            (0..OPS).for_each(|i| bare[&tables.key(i)].iter().for_each(|element| sum = sum.wrapping_add(*element)));
        },
        || {},
    );
    report.row("listGet", ours, theirs, Some(3_734.0));

    let ours = rounds(
        OPS,
        || {
            for i in 0..OPS {
                backend.set_current_key(tables.key(i)).unwrap();
                list.add(tables.value(i)).unwrap();
            }
        },
        reset,
    );
    let theirs = rounds(
        OPS,
        || {
            let mut bare = bare.borrow_mut();
            (0..OPS).for_each(|i| bare.entry(tables.key(i)).or_default().push(tables.value(i)));
        },
        reset_bare,
    );
    report.row("listAppend", ours, theirs, Some(2_472.0));

    let ours = rounds(
        KEYS,
        || {
            for i in 0..KEYS {
                backend.set_current_key(tables.new_keys[i]).unwrap();
                list.add(tables.value(i)).unwrap();
            }
        },
        || {
            for key in &tables.new_keys {
                backend.set_current_key(*key).unwrap();
                list.clear().unwrap();
            }
        },
    );
    let theirs = rounds(
        KEYS,
        || {
            let mut bare = bare.borrow_mut();
            (0..KEYS).for_each(|i| bare.entry(tables.new_keys[i]).or_default().push(tables.value(i)));
        },
        || {
            tables.new_keys.iter().for_each(|key| {
                bare.borrow_mut().remove(key);
            })
        },
    );
    report.row("listAdd", ours, theirs, Some(3_370.0));

    const UPDATES: usize = 300_000;
    let hundred = |i: usize| (0..100).map(|j| tables.value(i) + j).collect::<Vec<i64>>();
    let ours = rounds(
        UPDATES,
        || {
            for i in 0..UPDATES {
                backend.set_current_key(tables.key(i) % 50_000).unwrap();
                list.update(hundred(i)).unwrap();
            }
        },
        || {},
    );
    let theirs = rounds(
        UPDATES,
        || {
            let mut bare = bare.borrow_mut();
            (0..UPDATES).for_each(|i| {
                bare.insert(tables.key(i) % 50_000, hundred(i));
            });
        },
        || {},
    );
    report.row("listUpdate100", ours, theirs, Some(1_449.0));
    assert_ne!(sum, 1, "the reads are used");
}

fn map_rows(report: &Report, tables: &Tables) {
    if !report.wants("map") {
        return;
    }
    const OPS: usize = 1_000_000;
    let backend = backend();
    let map: MapState<i64, f64> = backend.map_state(&MapStateDescriptor::new("map")).unwrap();
    let bare = std::cell::RefCell::new(BareMap::<BareMap<f64>>::default());
    for i in 0..KEYS {
        backend.set_current_key(i as i64).unwrap();
        for j in 0..10 {
            map.put(j, j as f64).unwrap();
            bare.borrow_mut().entry(i as i64).or_default().insert(j, j as f64);
        }
    }

    let mut sum = 0.0;
    let ours = rounds(
        OPS,
        || {
            for i in 0..OPS {
                backend.set_current_key(tables.key(i)).unwrap();
                sum += map.get(&(tables.value(i) & 7)).unwrap().unwrap();
            }
        },
        || {},
    );
    let theirs = rounds(
        OPS,
        || {
            let bare = bare.borrow();
            (0..OPS).for_each(|i| sum += bare[&tables.key(i)][&(tables.value(i) & 7)]);
        },
        || {},
    );
    report.row("mapGet", ours, theirs, Some(2_684.0));

    let mut hits = 0_usize;
    let ours = rounds(
        OPS,
        || {
            for i in 0..OPS {
                backend.set_current_key(tables.key(i)).unwrap();
                hits += usize::from(map.contains(&((tables.value(i) & 7) << 1)).unwrap());
            }
        },
        || {},
    );
    let theirs = rounds(
        OPS,
        || {
            let bare = bare.borrow();
            let hit = |i| bare[&tables.key(i)].contains_key(&((tables.value(i) & 7) << 1));
            (0..OPS).for_each(|i| hits += usize::from(hit(i)));
        },
        || {},
    );
    report.row("mapContains", ours, theirs, Some(2_935.0));

    const ITERATIONS: usize = 300_000;
    let ours = rounds(
        ITERATIONS,
        || {
            for i in 0..ITERATIONS {
                backend.set_current_key(tables.key(i)).unwrap();
                map.for_each(|key, value| sum += *key as f64 + value).unwrap();
            }
        },
        || {},
    );
    let theirs = rounds(
        ITERATIONS,
        || {
            let bare = bare.borrow();
            (0..ITERATIONS)
                .for_each(|i| bare[&tables.key(i)].iter().for_each(|(key, value)| sum += *key as f64 + value));
        },
        || {},
    );
    report.row("mapIterate10", ours, theirs, Some(919.0));

    let ours = rounds(
        OPS,
        || {
            for i in 0..OPS {
                backend.set_current_key(tables.key(i)).unwrap();
                map.put(tables.value(i) & 7, 1.5).unwrap();
            }
        },
        || {},
    );
    let theirs = rounds(
        OPS,
        || {
            let mut bare = bare.borrow_mut();
            (0..OPS).for_each(|i| {
                bare.entry(tables.key(i)).or_default().insert(tables.value(i) & 7, 1.5);
            });
        },
        || {},
    );
    report.row("mapUpdate", ours, theirs, Some(2_488.0));

    let ours = rounds(
        KEYS,
        || {
            for i in 0..KEYS {
                backend.set_current_key(tables.new_keys[i]).unwrap();
                map.put(tables.value(i) & 7, 2.5).unwrap();
            }
        },
        || {
            for key in &tables.new_keys {
                backend.set_current_key(*key).unwrap();
                map.clear().unwrap();
            }
        },
    );
    let theirs = rounds(
        KEYS,
        || {
            let mut bare = bare.borrow_mut();
            (0..KEYS).for_each(|i| {
                bare.entry(tables.new_keys[i]).or_default().insert(tables.value(i) & 7, 2.5);
            });
        },
        || {
            tables.new_keys.iter().for_each(|key| {
                bare.borrow_mut().remove(key);
            })
        },
    );
    report.row("mapAdd", ours, theirs, Some(3_245.0));
    assert!(sum != 1.0 && hits > 0, "the reads are used");
}

/// Value get and update over 10 million keys, and what an entry takes.
fn large_rows(report: &Report) {
    const LARGE: usize = 10_000_000;
    const OPS: usize = 2_000_000;
    let tables = Tables::new(LARGE);
    let before = resident().0;
    let backend = backend();
    let state = backend.value_state(&ValueStateDescriptor::<i64>::new("value")).unwrap();
    for i in 0..LARGE {
        backend.set_current_key(i as i64).unwrap();
        state.update(i as i64).unwrap();
    }
    let ours = resident().0 - before;
    let before = resident().0;
    let mut bare = BareMap::default();
    (0..LARGE as i64).for_each(|i| {
        bare.insert(i, i);
    });
    let theirs = resident().0 - before;
    println!(
        "10M: bytes per entry     {:>9.1} ours, {:.1} bare",
        ours as f64 / LARGE as f64,
        theirs as f64 / LARGE as f64
    );

    let mut sum = 0_i64;
    let ours = rounds(
        OPS,
        || {
            for i in 0..OPS {
                backend.set_current_key(tables.key(i)).unwrap();
                sum = sum.wrapping_add(state.value().unwrap().unwrap());
            }
        },
        || {},
    );
    let theirs = rounds(OPS, || (0..OPS).for_each(|i| sum = sum.wrapping_add(bare[&tables.key(i)])), || {});
    report.row("10M: valueGet", ours, theirs, None);
    let ours = rounds(
        OPS,
        || {
            for i in 0..OPS {
                backend.set_current_key(tables.key(i)).unwrap();
                state.update(tables.value(i)).unwrap();
            }
        },
        || {},
    );
    let theirs = rounds(
        OPS,
        || {
            (0..OPS).for_each(|i| {
                bare.insert(tables.key(i), tables.value(i));
            })
        },
        || {},
    );
    report.row("10M: valueUpdate", ours, theirs, None);
    let theirs = rounds(
        OPS,
        || {
            for i in 0..OPS {
                let value = bare.entry(tables.key(i)).or_insert(0);
                *value = value.wrapping_add(1);
            }
        },
        || {},
    );
    report.row("10M: count, keys prepared", count_prepared(OPS, &tables, &backend, &state), theirs, None);
    assert_ne!(sum, 1, "the reads are used");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let large = arguments.iter().any(|argument| argument == "--large");
    let report = Report(arguments.into_iter().filter(|argument| !argument.starts_with("--")).collect());
    let tables = Tables::new(KEYS);
    println!(
        "{:<26} {:>9} {:>9} {:>9} {:>9} {:>8} {:>9} {:>8}",
        "operations per ms", "wall", "cpu", "bare wall", "bare cpu", "x bare", "Flink cpu", "x Flink"
    );
    // First, while no freed memory hides what an entry takes.
    if large {
        large_rows(&report);
    }
    value_rows(&report, &tables);
    list_rows(&report, &tables);
    map_rows(&report, &tables);
}
