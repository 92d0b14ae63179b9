//! What the conformance suite cannot see: the bytes themselves, and bytes that are damaged.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use highwater_types::{DefaultSerializer, ErrorKind, MaxParallelism, Result, TimeWindow, VoidNamespace};
use proptest::prelude::*;

use super::{ByteBackend, ReferenceStore};
use crate::descriptor::{ListStateDescriptor, MapStateDescriptor, ReducingStateDescriptor, ValueStateDescriptor};
use crate::keyed::{KeyContext, ListOps, MapOps, ValueOps};

struct Fixture {
    backend: ByteBackend<String>,
    context: Rc<KeyContext<String>>,
}

/// A backend over the reference store with "key1" as the current key.
fn fixture() -> Fixture {
    let max_parallelism = MaxParallelism::new(128).unwrap();
    let context = Rc::new(KeyContext::new(max_parallelism, max_parallelism.all()));
    context.set(context.prepare("key1".to_owned()).unwrap()).unwrap();
    let key = String::default_serializer();
    let backend = ByteBackend::new(Box::new(ReferenceStore::new()), Rc::clone(&context), key);
    Fixture { backend, context }
}

impl Fixture {
    fn value(&self) -> Rc<dyn ValueOps<i64, VoidNamespace>> {
        let state = self.backend.value_state(&ValueStateDescriptor::new("value"), VoidNamespace::default_serializer());
        ready(state, |state| state.set_namespace(VoidNamespace).unwrap())
    }

    fn list(&self) -> Rc<dyn ListOps<String, VoidNamespace>> {
        let state = self.backend.list_state(&ListStateDescriptor::new("list"), VoidNamespace::default_serializer());
        ready(state, |state| state.set_namespace(VoidNamespace).unwrap())
    }

    fn map<UV: crate::StateValue + DefaultSerializer>(&self) -> Rc<dyn MapOps<String, UV, VoidNamespace>> {
        let state = self.backend.map_state(&MapStateDescriptor::new("map"), VoidNamespace::default_serializer());
        ready(state, |state| state.set_namespace(VoidNamespace).unwrap())
    }

    /// The entries of a state in hexadecimal, without the key group.
    fn stored(&self, state: &str) -> Vec<(String, String)> {
        let mut entries = Vec::new();
        let mut store = self.backend.shared.store.borrow_mut();
        let column = store.column(state).unwrap();
        store
            .scan(column, &[], &[], &mut |key, value| {
                entries.push((hex(&key[1..]), hex(value)));
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
        entries
    }

    /// Replaces the value of every entry of a state.
    fn damage(&self, state: &str, value: &[u8]) {
        let mut keys = Vec::new();
        let mut store = self.backend.shared.store.borrow_mut();
        let column = store.column(state).unwrap();
        store
            .scan(column, &[], &[], &mut |key, _| {
                keys.push(key.to_vec());
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
        keys.iter().for_each(|key| store.put(column, key, value).unwrap());
    }
}

fn ready<T: ?Sized>(state: Result<Rc<T>>, set: impl FnOnce(&T)) -> Rc<T> {
    let state = state.unwrap();
    set(&state);
    state
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn one(key: &str, value: &str) -> Vec<(String, String)> {
    vec![(key.to_owned(), value.to_owned())]
}

#[test]
fn keys_and_values_are_those_of_flink() {
    let fixture = fixture();
    let text = str::to_owned;
    fixture.value().put(7).unwrap();
    assert_eq!(fixture.stored("value"), one("056b65793100", "0000000000000007"));

    let list = fixture.list();
    list.add(text("e1")).unwrap();
    list.add_all(vec![text("e4"), text("e7")]).unwrap();
    assert_eq!(fixture.stored("list"), one("056b65793100", "0365312c0365342c036537"));

    let map = fixture.map::<Option<i32>>();
    map.put(text("m1"), Some(1)).unwrap();
    assert_eq!(fixture.stored("map"), one("056b65793100036d31", "0000000001"));
    map.put(text("m1"), None).unwrap();
    assert_eq!(fixture.stored("map"), one("056b65793100036d31", "01"));

    let windows = TimeWindow::default_serializer();
    let sum =
        fixture.backend.reducing_state(&ReducingStateDescriptor::new("sum", |sum: &mut i32, new| *sum += new), windows);
    let sum = sum.unwrap();
    sum.set_namespace(TimeWindow { start: 1000, end: 2000 }).unwrap();
    sum.add(40).unwrap();
    sum.add(2).unwrap();
    assert_eq!(fixture.stored("sum"), one("056b65793100000000000003e800000000000007d0", "0000002a"));
}

#[test]
fn damaged_values_are_corrupt_and_name_the_state() {
    let fixture = fixture();
    let value = fixture.value();
    value.put(1).unwrap();
    for damaged in [&b""[..], b"1234567", b"123456789"] {
        fixture.damage("value", damaged);
        let error = value.get().unwrap_err();
        assert_eq!((error.kind(), error.value("state")), (ErrorKind::Corrupt, Some("value")), "{damaged:?}: {error}");
    }

    let list = fixture.list();
    list.add("a".to_owned()).unwrap();
    for (damaged, offset) in [(&b""[..], "0"), (b"\x02a;\x02b", "2"), (b"\x02a,", "3"), (b"\x02a,\x03b", "3")] {
        fixture.damage("list", damaged);
        for error in
            [list.get().unwrap_err(), list.for_each(&mut |_| ()).unwrap_err(), list.retain(&mut |_| true).unwrap_err()]
        {
            assert_eq!(
                (error.kind(), error.value("state")),
                (ErrorKind::Corrupt, Some("list")),
                "{damaged:?}: {error}"
            );
            assert_eq!(error.value("offset"), Some(offset), "{damaged:?}: {error}");
        }
    }

    let map = fixture.map::<i32>();
    map.put("a".to_owned(), 1).unwrap();
    for damaged in [&b""[..], b"\0", b"\x00123", b"\x0012345"] {
        fixture.damage("map", damaged);
        for error in [map.get(&"a".to_owned()).unwrap_err(), map.for_each(&mut |_, _| ()).unwrap_err()] {
            assert_eq!((error.kind(), error.value("state")), (ErrorKind::Corrupt, Some("map")), "{damaged:?}: {error}");
        }
    }
}

#[test]
fn a_null_map_value_needs_an_option() {
    let fixture = fixture();
    let map = fixture.map::<i32>();
    map.put("a".to_owned(), 1).unwrap();
    fixture.damage("map", &[1]);
    let error = map.get(&"a".to_owned()).unwrap_err();
    assert_eq!((error.kind(), error.value("state")), (ErrorKind::Incompatible, Some("map")), "{error}");
    assert!(error.to_string().contains("Option"), "the error names the cure: {error}");

    let map = fixture.map::<Option<i32>>();
    assert_eq!(map.get(&"a".to_owned()).unwrap(), Some(None));
    // Flink's heap backend lets bytes of a null follow.
    fixture.damage("map", &[1, 0, 0, 0, 0]);
    assert_eq!(map.get(&"a".to_owned()).unwrap(), Some(None));
}

#[test]
fn damaged_keys_are_corrupt() {
    let fixture = fixture();
    fixture.value().put(1).unwrap();
    let mut store = fixture.backend.shared.store.borrow_mut();
    let column = store.column("value").unwrap();
    store.put(column, b"\x05\x03a", b"12345678").unwrap();
    drop(store);
    for error in [
        fixture.backend.keys("value", &VoidNamespace).map(drop).unwrap_err(),
        fixture.backend.entry_count("value").map(drop).unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.value("state")), (ErrorKind::Corrupt, Some("value")), "{error}");
    }
}

#[test]
fn a_panic_in_a_closure_leaves_the_state_as_it_was() {
    let fixture = fixture();
    let (value, map) = (fixture.value(), fixture.map::<i32>());
    value.put(1).unwrap();
    map.put("a".to_owned(), 1).unwrap();
    let panic = |value: &mut i64| {
        *value = 2;
        panic!("on purpose");
    };
    assert!(catch_unwind(AssertUnwindSafe(|| value.modify(&mut || 0, &mut { panic }))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| map.for_each(&mut |_, _| panic!("on purpose")))).is_err());
    assert_eq!((value.get().unwrap(), map.get(&"a".to_owned()).unwrap()), (Some(1), Some(1)));
    fixture.context.set(fixture.context.prepare("key2".to_owned()).unwrap()).unwrap();
    assert_eq!(value.get().unwrap(), None);
}

proptest! {
    /// Whatever lies in the store, reading gives a value or an error.
    #[test]
    fn any_bytes_are_a_value_or_an_error(bytes: Vec<u8>) {
        let fixture = fixture();
        let (list, map) = (fixture.list(), fixture.map::<Option<i32>>());
        list.add("a".to_owned()).unwrap();
        map.put("a".to_owned(), Some(1)).unwrap();
        fixture.damage("list", &bytes);
        fixture.damage("map", &bytes);
        let _ = (list.get(), list.retain(&mut |_| true), map.retain(&mut |_, _| true), map.get(&"a".to_owned()));
    }
}
