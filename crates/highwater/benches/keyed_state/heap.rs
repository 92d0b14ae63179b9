//! The rows of the heap backend, beside a bare `hashbrown` map.

use hashbrown::HashMap;
use highwater_state::{
    KeyedBackend, ListState, ListStateDescriptor, MapState, MapStateDescriptor, ValueState, ValueStateDescriptor,
};
use highwater_types::{DefaultSerializer, MaxParallelism};

use crate::common::resident;
use crate::workload::{KEYS, Report, Side, Tables, nothing};

const OPS: usize = 1_000_000;
const FEW_OPS: usize = 300_000;
/// Keys prepared together.
const GROUP: usize = 16;

type BareMap<V> = HashMap<i64, V, foldhash::fast::RandomState>;

/// All rows at half a million keys.
pub fn rows(report: &mut Report) {
    let tables = &Tables::new(KEYS);
    let value =
        ["valueGet", "valueUpdate", "valueReadModifyWrite", "value modify in place", "value, 16 keys", "valueAdd"];
    if report.wants_any(&value) {
        value_rows(report, tables, KEYS, "", Some);
    }
    if report.wants_any(&["listGet", "listAppend", "listAdd", "listUpdate100"]) {
        list_rows(report, tables);
    }
    if report.wants_any(&["mapGet", "mapContains", "mapIterate10", "mapUpdate", "mapAdd"]) {
        map_rows(report, tables);
    }
}

/// Value state over ten million keys.
pub fn large_rows(report: &mut Report) {
    let keys = 10_000_000;
    value_rows(report, &Tables::new(keys), keys, "10M: ", |_| None);
}

fn backend() -> KeyedBackend<i64> {
    let max_parallelism = MaxParallelism::new(128).unwrap();
    KeyedBackend::builder(i64::default_serializer(), max_parallelism, max_parallelism.all()).build().unwrap()
}

/// Counts the draws in groups of keys prepared ahead, as keyed operators do with their batches. One operation is a group.
fn count_group(backend: &KeyedBackend<i64>, state: &ValueState<i64>, tables: &Tables, group: usize) {
    let keys: [_; GROUP] = std::array::from_fn(|i| backend.prepare_key(tables.key(group * GROUP + i)).unwrap());
    for key in keys {
        backend.set_prepared_key(key).unwrap();
        state.modify(|| 0, |value| *value = value.wrapping_add(1)).unwrap();
    }
}

/// The rows of value state over `keys` keys.
fn value_rows(report: &mut Report, tables: &Tables, keys: usize, prefix: &str, flink: impl Fn(f64) -> Option<f64>) {
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

fn list_rows(report: &mut Report, tables: &Tables) {
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

fn map_rows(report: &mut Report, tables: &Tables) {
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
