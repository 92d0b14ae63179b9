//! What is serialized comes back, with nothing left over, for every serializer and for nestings of them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;

use highwater_types::{
    ByteReader, Compatibility, DefaultSerializer, ErrorKind, JavaString, Length, NullableSerializer,
    PrimitiveArraySerializer, Serde, SerdeSerializer, SerializerRef, SerializerSnapshot, TimeWindow, VoidNamespace,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// Writes between other bytes, reads back, and compares by text, which tells all numbers apart. Returns the bytes.
fn survives<T: Debug + 'static>(serializer: &SerializerRef<T>, value: &T) -> Vec<u8> {
    let mut bytes = vec![0xaa];
    serializer.serialize(value, &mut bytes).unwrap();
    let written = bytes.split_off(1);
    let mut padded = written.clone();
    padded.extend([0xff, 0x80]);
    let mut reader = ByteReader::new(&padded);
    let read = serializer.deserialize(&mut reader).unwrap();
    assert_eq!(format!("{read:?}"), format!("{value:?}"));
    assert_eq!(reader.position(), written.len(), "exactly what was written is read");
    assert!(!written.is_empty(), "every value takes a byte");
    match serializer.length() {
        Length::Fixed(0) => assert_eq!(written, [0]),
        Length::Fixed(length) => assert_eq!(written.len(), length),
        Length::Variable => {}
    }
    cut_is_an_error(serializer, &written);
    snapshot_survives(&serializer.snapshot());
    written
}

/// A value that ends too early is never taken for a shorter one.
fn cut_is_an_error<T: Debug + 'static>(serializer: &SerializerRef<T>, written: &[u8]) {
    for length in 0..written.len() {
        assert!(serializer.deserialize(&mut ByteReader::new(&written[..length])).is_err(), "cut at {length}");
    }
}

fn snapshot_survives(snapshot: &SerializerSnapshot) {
    let mut bytes = Vec::new();
    snapshot.write_proxy(&mut bytes).unwrap();
    let mut reader = ByteReader::new(&bytes);
    let read = SerializerSnapshot::read_proxy(&mut reader).unwrap();
    assert!(reader.is_empty());
    assert_eq!(read, *snapshot);
    assert_eq!(read.compatibility(snapshot), Compatibility::AsIs);
}

fn default_survives<T: DefaultSerializer + Debug>(value: &T) -> Vec<u8> {
    survives(&T::default_serializer(), value)
}

/// Ordinary text, ASCII, and strings of all planes.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,20}", any::<String>(), Just("x".repeat(300))]
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Visit {
    page: String,
    seconds: Option<u32>,
    tags: Vec<String>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    First,
    Repeated { times: u64 },
}

fn visit() -> impl Strategy<Value = Visit> {
    let kind = prop_oneof![Just(Kind::First), any::<u64>().prop_map(|times| Kind::Repeated { times })];
    (text(), any::<Option<u32>>(), prop::collection::vec(text(), 0..4), kind)
        .prop_map(|(page, seconds, tags, kind)| Visit { page, seconds, tags, kind })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn numbers(a: i8, b: i16, c: i32, d: i64, e in any::<u32>(), f in any::<u64>(), g: bool) {
        default_survives(&a);
        default_survives(&b);
        default_survives(&c);
        default_survives(&d);
        default_survives(&f32::from_bits(e));
        default_survives(&f64::from_bits(f));
        default_survives(&g);
        default_survives(&(a, b, c, d, g));
    }

    #[test]
    fn strings(text in text(), units in prop::collection::vec(any::<u16>(), 0..30), c in any::<u16>()) {
        let bytes = default_survives(&text);
        prop_assert_eq!(&bytes, &default_survives(&JavaString::from(text.as_str())));
        prop_assert_eq!(&bytes, &default_survives(&Some(text)));
        default_survives(&JavaString::from_utf16(units));
        if let Some(character) = char::from_u32(c.into()) {
            default_survives(&character);
        }
    }

    #[test]
    fn lists_and_arrays(numbers in prop::collection::vec(any::<i64>(), 0..20), words in prop::collection::vec(text(), 0..6), raw: Vec<u8>) {
        let list = default_survives(&numbers);
        let array: SerializerRef<Vec<i64>> = Arc::new(PrimitiveArraySerializer::new());
        prop_assert_eq!(list, survives(&array, &numbers));
        default_survives(&raw);
        default_survives(&vec![raw.clone(), vec![], raw]);
        default_survives(&vec![words.clone(), vec![], words]);
    }

    #[test]
    fn maps_and_sets(map: BTreeMap<i32, Option<i64>>, set in prop::collection::btree_set(text(), 0..8)) {
        default_survives(&map);
        default_survives(&set);
        let bytes = default_survives(&BTreeMap::from([(1_i32, map.clone())]));
        prop_assert_eq!(&bytes[..8], [0, 0, 0, 1, 0, 0, 0, 1]);
        // The order of a hash map is free, so only its content is compared.
        let hashed: HashMap<i32, Option<i64>> = map.clone().into_iter().collect();
        let mut bytes = Vec::new();
        HashMap::default_serializer().serialize(&hashed, &mut bytes).unwrap();
        prop_assert_eq!(BTreeMap::default_serializer().deserialize(&mut ByteReader::new(&bytes)).unwrap(), map);
        let hashed: HashSet<String> = set.iter().cloned().collect();
        let mut bytes = Vec::new();
        HashSet::default_serializer().serialize(&hashed, &mut bytes).unwrap();
        prop_assert_eq!(BTreeSet::default_serializer().deserialize(&mut ByteReader::new(&bytes)).unwrap(), set);
    }

    #[test]
    fn options(number: Option<i64>, word in prop::option::of(text()), nested: Option<Option<i32>>) {
        let plain = default_survives(&number);
        prop_assert_eq!(plain.len(), if number.is_some() { 9 } else { 1 });
        let padded: SerializerRef<Option<i64>> = Arc::new(NullableSerializer::padded(i64::default_serializer()));
        prop_assert_eq!(padded.length(), Length::Fixed(9));
        survives(&padded, &number);
        default_survives(&word);
        default_survives(&nested);
        default_survives(&vec![number, None]);
        default_survives(&BTreeSet::from([word.clone(), None]));
        default_survives(&(word, number));
    }

    #[test]
    fn namespaces_and_tuples(start: i64, end: i64, word in text()) {
        let window = TimeWindow { start, end };
        default_survives(&window);
        default_survives(&VoidNamespace);
        default_survives(&());
        default_survives(&(window,));
        default_survives(&((window, VoidNamespace), word.clone(), vec![(word, Some(start))]));
        default_survives(&(1_i32, 2_i32, 3_i32, 4_i32, 5_i32, 6_i32, 7_i32, 8_i32, 9_i32, 10_i32, 11_i32, end));
    }

    #[test]
    fn serde_values(visits in prop::collection::vec(visit(), 1..3)) {
        for visit in &visits {
            let wrapped = default_survives(&Serde(visit.clone()));
            let chosen: SerializerRef<Visit> = Arc::new(SerdeSerializer::new());
            prop_assert_eq!(wrapped, survives(&chosen, visit));
        }
        default_survives(&(7_i64, Some(Serde(visits))));
    }
}

#[test]
fn lengths_of_tuples_are_those_of_their_fields() {
    assert_eq!(<(i64, bool, TimeWindow)>::default_serializer().length(), Length::Fixed(25));
    assert_eq!(<(i64, String)>::default_serializer().length(), Length::Variable);
    assert_eq!(<(Option<i64>,)>::default_serializer().length(), Length::Variable);
}

#[test]
fn numbers_that_are_not_numbers_are_written_as_one() {
    let write = |value: f64| {
        let mut bytes = Vec::new();
        f64::default_serializer().serialize(&value, &mut bytes).unwrap();
        bytes
    };
    assert_eq!(write(f64::from_bits(0xfff8_0000_0000_0001)), write(f64::NAN));
    assert_eq!(write(f64::NAN), [0x7f, 0xf8, 0, 0, 0, 0, 0, 0]);
    assert_ne!(write(-0.0), write(0.0));
}

#[test]
fn nulls_need_an_option() {
    let mut bytes = Vec::new();
    let nulls = BTreeMap::from([("a".to_owned(), None), ("b".to_owned(), Some(1_i64))]);
    BTreeMap::default_serializer().serialize(&nulls, &mut bytes).unwrap();
    assert_eq!(bytes, [0, 0, 0, 2, 2, b'a', 1, 2, b'b', 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    let error = BTreeMap::<String, i64>::default_serializer().deserialize(&mut ByteReader::new(&bytes)).unwrap_err();
    assert_eq!((error.kind(), error.value("offset")), (ErrorKind::Incompatible, Some("6")));
    let error = String::default_serializer().deserialize(&mut ByteReader::new(&[0])).unwrap_err();
    assert!(error.to_string().contains("use Option"), "{error}");
}

#[test]
fn what_an_option_is_called_in_a_snapshot() {
    fn name<T: DefaultSerializer>() -> String {
        T::default_serializer().snapshot().to_string()
    }
    assert_eq!(name::<Option<i64>>(), "Nullable<Long>");
    assert_eq!(name::<Option<String>>(), "String");
    assert_eq!(name::<Vec<Option<i64>>>(), "List<Nullable<Long>>");
    // The container's own null flag takes the place of the option.
    assert_eq!(name::<HashMap<i32, Option<i64>>>(), "Map<Integer, Long>");
    assert_eq!(name::<HashSet<Option<i64>>>(), "Set<Long>");
    assert_eq!(name::<Vec<u8>>(), "Bytes");
    assert_eq!(name::<Vec<Vec<u8>>>(), "List<Bytes>");
    assert_eq!(name::<(i32, (bool, String))>(), "Tuple<Integer, Tuple<Boolean, String>>");
}

mod evolved {
    use super::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Visit {
        pub(super) page: String,
        #[serde(default)]
        pub(super) referrer: String,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Strict {
        pub(super) page: String,
        pub(super) referrer: String,
    }
}

#[test]
fn serde_types_may_gain_and_lose_fields() {
    let visit = Visit { page: "/".to_owned(), seconds: None, tags: vec!["a".to_owned()], kind: Kind::First };
    let mut bytes = Vec::new();
    Serde::<Visit>::default_serializer().serialize(&Serde(visit), &mut bytes).unwrap();

    let read = Serde::<evolved::Visit>::default_serializer().deserialize(&mut ByteReader::new(&bytes)).unwrap();
    assert_eq!(read.0, evolved::Visit { page: "/".to_owned(), referrer: String::new() });

    let error = Serde::<evolved::Strict>::default_serializer().deserialize(&mut ByteReader::new(&bytes)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("#[serde(default)]") && error.to_string().contains("referrer"), "{error}");
    assert!(error.value("type").unwrap().ends_with("Strict"));
}

#[test]
fn serde_types_are_told_apart_by_name() {
    let named = |name: &str| SerializerSnapshot::custom(name);
    assert_eq!(named("a").compatibility(&named("a")), Compatibility::AsIs);
    assert_eq!(
        named("a").compatibility(&named("b")),
        Compatibility::Incompatible(
            "Custom<a> in the snapshot, Custom<b> in the program; if this is the same type under a new name, say so with \
             `accepting([\"a\"])` on its serializer or snapshot"
                .to_owned()
        )
    );
    assert_eq!(named("a").compatibility(&named("b").accepting(["z", "a"])), Compatibility::AsIs);
    // Deep inside a type as well.
    let list = |element| SerializerSnapshot::list(element);
    assert_eq!(list(named("a")).compatibility(&list(named("b").accepting(["a"]))), Compatibility::AsIs);

    let old = Serde::<Visit>::default_serializer().snapshot();
    let new = Serde::<evolved::Visit>::default_serializer().snapshot();
    assert!(matches!(old.compatibility(&new), Compatibility::Incompatible(text) if text.contains("evolved::Visit")));
}

#[test]
fn bytes_after_a_serde_value_are_damage() {
    let serializer = Serde::<u8>::default_serializer();
    assert_eq!(serializer.deserialize(&mut ByteReader::new(&[0, 0, 0, 1, 7])).unwrap().0, 7);
    for bytes in [&[0, 0, 0, 2, 7, 7][..], &[0, 0, 0, 2, 7, 0xcd], &[0, 0, 0, 0], &[0, 0, 0, 1, 0xcd]] {
        let error = serializer.deserialize(&mut ByteReader::new(bytes)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{bytes:x?}: {error}");
    }
}
