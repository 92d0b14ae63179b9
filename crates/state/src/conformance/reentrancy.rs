//! What closures and functions that were given to a state may do with that same state: nothing, and it is told so.

use std::cell::RefCell;
use std::rc::Rc;

use highwater_types::{DefaultSerializer, ErrorKind, Result, TimeWindow};

use super::Subject;
use super::subject::assert_fails;
use crate::{
    AggregateFunction, AggregatingStateDescriptor, ListStateDescriptor, MapStateDescriptor, ReducingStateDescriptor,
    ValueStateDescriptor,
};

fn window(start: i64) -> TimeWindow {
    TimeWindow { start, end: start + 1 }
}

/// A use of a state, by name.
type Use<'a> = (&'a str, &'a dyn Fn() -> Result<()>);

/// Tries every use inside a closure that `lend` runs; each must be a program error.
fn assert_refused(uses: &[Use<'_>], place: &str, lend: impl FnOnce(&mut dyn FnMut()) -> Result<()>) -> Result<()> {
    let mut tried = 0;
    lend(&mut || {
        tried += 1;
        for (name, run) in uses {
            assert_fails(ErrorKind::Program, &format!("{name} inside {place}"), run());
        }
    })?;
    assert!(tried > 0, "{place} ran no closure");
    Ok(())
}

/// Inside a closure of a state every use of it is an error, its namespace included, and changes nothing. Setting the
/// namespace there used to panic on the heap, and to pass unnoticed in a byte store.
pub fn closures_must_not_use_anything_of_the_same_state(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let windows = TimeWindow::default_serializer;
    let value = backend.value_state_in(windows(), &ValueStateDescriptor::<i64>::new("value"))?;
    let list = backend.list_state_in(windows(), &ListStateDescriptor::<i64>::new("list"))?;
    let map = backend.map_state_in(windows(), &MapStateDescriptor::<i64, i64>::new("map"))?;
    backend.set_current_key(1)?;
    value.set_namespace(window(1))?;
    value.update(1)?;
    list.set_namespace(window(1))?;
    list.update(vec![1])?;
    map.set_namespace(window(1))?;
    map.put(1, 1)?;

    let of_value: [Use<'_>; 6] = [
        ("set_namespace", &|| value.set_namespace(window(2))),
        ("value", &|| value.value().map(drop)),
        ("with", &|| value.with(|_| ())),
        ("update", &|| value.update(5)),
        ("modify", &|| value.modify(|| 5, |value| *value = 5)),
        ("clear", &|| value.clear()),
    ];
    assert_refused(&of_value, "with", |run| value.with(|_| run()))?;
    assert_refused(&of_value, "modify", |run| value.modify(|| 0, |_| run()))?;
    value.set_namespace(window(3))?;
    assert_refused(&of_value, "the initial value of modify", |run| {
        let run = RefCell::new(run);
        value.modify(
            || {
                (run.borrow_mut())();
                7
            },
            |_| (),
        )
    })?;
    assert_eq!(value.value()?, Some(7));
    value.set_namespace(window(1))?;

    let of_list: [Use<'_>; 9] = [
        ("set_namespace", &|| list.set_namespace(window(2))),
        ("get", &|| list.get().map(drop)),
        ("for_each", &|| list.for_each(|_| ())),
        ("add", &|| list.add(5)),
        ("add_all", &|| list.add_all(vec![5])),
        ("update", &|| list.update(vec![5])),
        ("retain", &|| list.retain(|_| false)),
        ("merge_namespaces", &|| list.merge_namespaces(window(2), &[window(1)])),
        ("clear", &|| list.clear()),
    ];
    assert_refused(&of_list, "for_each", |run| list.for_each(|_| run()))?;
    let keep = |run: &mut dyn FnMut()| {
        run();
        true
    };
    assert_refused(&of_list, "retain", |run| list.retain(|_| keep(run)))?;

    let of_map: [Use<'_>; 11] = [
        ("set_namespace", &|| map.set_namespace(window(2))),
        ("get", &|| map.get(&1).map(drop)),
        ("contains", &|| map.contains(&1).map(drop)),
        ("put", &|| map.put(5, 5)),
        ("put_all", &|| map.put_all(vec![(5, 5)])),
        ("modify", &|| map.modify(5, || 5, |_| ())),
        ("remove", &|| map.remove(&1)),
        ("for_each", &|| map.for_each(|_, _| ())),
        ("retain", &|| map.retain(|_, _| false)),
        ("is_empty", &|| map.is_empty().map(drop)),
        ("clear", &|| map.clear()),
    ];
    assert_refused(&of_map, "modify", |run| map.modify(1, || 0, |_| run()))?;
    assert_refused(&of_map, "for_each", |run| map.for_each(|_, _| run()))?;
    assert_refused(&of_map, "retain", |run| map.retain(|_, _| keep(run)))?;

    assert_eq!((value.value()?, list.get()?, map.entries()?), (Some(1), vec![1], vec![(1, 1)]));
    Ok(())
}

thread_local! {
    /// What the functions below do besides folding. They go to other threads with a snapshot, so that they cannot hold
    /// a handle themselves.
    static INTRUDER: RefCell<Option<Rc<dyn Fn()>>> = const { RefCell::new(None) };
}

fn intrude() {
    if let Some(intruder) = INTRUDER.with_borrow(Clone::clone) {
        intruder();
    }
}

/// A sum whose every function intrudes.
struct IntrudingSum;

impl AggregateFunction for IntrudingSum {
    type Input = i64;
    type Accumulator = i64;
    type Output = i64;

    fn create_accumulator(&self) -> i64 {
        intrude();
        0
    }

    fn add(&self, sum: &mut i64, input: i64) {
        intrude();
        *sum += input;
    }

    fn result(&self, sum: &i64) -> i64 {
        *sum
    }

    fn merge(&self, sum: &mut i64, other: i64) {
        intrude();
        *sum += other;
    }
}

/// Counts how often an intruder came, and runs it while `work` does.
fn with_intruder(intruder: impl Fn() + 'static, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let count = Rc::new(RefCell::new(0));
    let counted = Rc::clone(&count);
    INTRUDER.set(Some(Rc::new(move || {
        *counted.borrow_mut() += 1;
        intruder();
    })));
    let result = work();
    INTRUDER.set(None);
    assert!(*count.borrow() >= 3, "the functions did not run");
    result
}

/// Tries everything with a folding state and the current key; each must be a program error.
macro_rules! intruder {
    ($backend:ident, $state:ident) => {{
        let (state, backend) = ($state.clone(), Rc::clone(&$backend));
        move || {
            let refused = |what, result: Result<()>| drop(assert_fails(ErrorKind::Program, what, result));
            refused("set_current_key", backend.set_current_key(2));
            refused("clear_current_key", backend.clear_current_key());
            refused("set_namespace", state.set_namespace(window(5)));
            refused("get", state.get().map(drop));
            refused("add", state.add(100));
            refused("merge_namespaces", state.merge_namespaces(window(1), &[window(2)]));
            refused("clear", state.clear());
        }
    }};
}

/// The functions of reducing and aggregating state can neither use their state nor change the key, in a merge of
/// namespaces neither. There, on the heap, nothing stopped them: the result could end under another key.
pub fn functions_must_not_use_their_own_state(subject: &Subject) -> Result<()> {
    let backend = Rc::new(subject.empty::<i64>()?);
    let windows = TimeWindow::default_serializer;
    let descriptor = ReducingStateDescriptor::<i64>::new("sum", |sum, value| {
        intrude();
        *sum += value;
    });
    let sum = backend.reducing_state_in(windows(), &descriptor)?;
    let other_sum =
        backend.aggregating_state_in(windows(), &AggregatingStateDescriptor::new("aggregate", IntrudingSum))?;
    backend.set_current_key(1)?;

    let intruder = intruder!(backend, sum);
    with_intruder(intruder, || {
        for start in [1, 2, 3] {
            sum.set_namespace(window(start))?;
            sum.add(1)?;
            sum.add(10)?;
        }
        sum.merge_namespaces(window(1), &[window(2), window(3)])
    })?;
    sum.set_namespace(window(1))?;
    assert_eq!((sum.get()?, backend.entry_count("sum")?), (Some(33), 1));

    let intruder = intruder!(backend, other_sum);
    with_intruder(intruder, || {
        for start in [1, 2, 3] {
            other_sum.set_namespace(window(start))?;
            other_sum.add(11)?;
        }
        other_sum.merge_namespaces(window(1), &[window(2), window(3)])
    })?;
    other_sum.set_namespace(window(1))?;
    assert_eq!((other_sum.get()?, backend.entry_count("aggregate")?), (Some(33), 1));
    Ok(())
}
