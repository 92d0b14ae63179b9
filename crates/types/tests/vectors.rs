//! Every vector that Flink wrote (`tests/fixtures/vectors`): values, snapshots, hash codes, key groups, operator ids.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests; a vector of another shape than expected should fail loudly"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use highwater_types::{
    ByteReader, CharSerializer, Compatibility, DefaultSerializer, ErrorKind, JavaHash, JavaString, Length,
    MaxParallelism, OperatorId, PrimitiveArraySerializer, SerializerRef, SerializerSnapshot, TimeWindow, VoidNamespace,
    murmur,
};
use serde_json::Value;

fn vectors(name: &str) -> Value {
    let path = format!("{}/../../tests/fixtures/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("not an array: {value}"))
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    assert!(text.len().is_multiple_of(2));
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

/// A Rust value from the JSON of a vector.
trait FromJson {
    fn from_json(value: &Value) -> Self;
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl FromJson for $type {
            fn from_json(value: &Value) -> Self {
                value.as_i64().unwrap().try_into().unwrap()
            }
        }
    )*};
}

integers!(i8, i16, i32, i64);

impl FromJson for bool {
    fn from_json(value: &Value) -> Self {
        value.as_bool().unwrap()
    }
}

impl FromJson for f32 {
    fn from_json(value: &Value) -> Self {
        Self::from_bits(u32::from_str_radix(value["bits"].as_str().unwrap(), 16).unwrap())
    }
}

impl FromJson for f64 {
    fn from_json(value: &Value) -> Self {
        Self::from_bits(u64::from_str_radix(value["bits"].as_str().unwrap(), 16).unwrap())
    }
}

impl FromJson for u16 {
    fn from_json(value: &Value) -> Self {
        value["utf16"].as_u64().unwrap().try_into().unwrap()
    }
}

impl FromJson for String {
    fn from_json(value: &Value) -> Self {
        value.as_str().unwrap().to_owned()
    }
}

impl FromJson for JavaString {
    fn from_json(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::from(text.as_str()),
            _ => Self::from_utf16(array(&value["utf16"]).iter().map(|unit| unit.as_u64().unwrap() as u16).collect()),
        }
    }
}

impl FromJson for Vec<u8> {
    fn from_json(value: &Value) -> Self {
        hex(value)
    }
}

impl<T: FromJson> FromJson for Option<T> {
    fn from_json(value: &Value) -> Self {
        (!value.is_null()).then(|| T::from_json(value))
    }
}

macro_rules! lists {
    ($($type:ty),*) => {$(
        impl FromJson for Vec<$type> {
            fn from_json(value: &Value) -> Self {
                array(value).iter().map(FromJson::from_json).collect()
            }
        }
    )*};
}

lists!(i64, String);

impl<K: FromJson + Ord, V: FromJson> FromJson for BTreeMap<K, V> {
    fn from_json(value: &Value) -> Self {
        array(value).iter().map(|pair| (K::from_json(&pair[0]), V::from_json(&pair[1]))).collect()
    }
}

impl<A: FromJson, B: FromJson> FromJson for (A, B) {
    fn from_json(value: &Value) -> Self {
        (A::from_json(&value[0]), B::from_json(&value[1]))
    }
}

impl<A: FromJson, B: FromJson, C: FromJson> FromJson for (A, B, C) {
    fn from_json(value: &Value) -> Self {
        (A::from_json(&value[0]), B::from_json(&value[1]), C::from_json(&value[2]))
    }
}

impl FromJson for TimeWindow {
    fn from_json(value: &Value) -> Self {
        Self { start: i64::from_json(&value[0]), end: i64::from_json(&value[1]) }
    }
}

/// Bits tell NaN and -0.0 apart, `==` does not.
fn same<T: Debug>(left: &T, right: &T) -> bool {
    format!("{left:?}") == format!("{right:?}")
}

/// Holds a serializer against everything Flink says about a type. Values that the Rust type cannot hold are named in
/// `not_in_rust` (as JSON) and must be refused when read.
fn check<T: FromJson + Debug + 'static>(vector: &Value, serializer: &SerializerRef<T>, not_in_rust: &[&str]) {
    let name = vector["type"].as_str().unwrap();
    let expected_length = match vector["length"].as_i64().unwrap() {
        -1 => Length::Variable,
        length => Length::Fixed(length as usize),
    };
    assert_eq!(serializer.length(), expected_length, "{name}");

    let snapshot = serializer.snapshot();
    assert_eq!(snapshot.class_name(), vector["snapshotClass"].as_str().unwrap());
    let mut bytes = Vec::new();
    snapshot.write_versioned(&mut bytes).unwrap();
    assert_eq!(bytes, hex(&vector["versionedSnapshot"]), "snapshot of {name}");

    let mut checked = 0;
    for sample in array(&vector["values"]) {
        let json = &sample["value"];
        if sample["bytes"].is_null() {
            // Flink refuses it, and the Rust type has no such value.
            assert!(json.is_null() || array(json).contains(&Value::Null), "{name}: {json}");
            continue;
        }
        let bytes = hex(&sample["bytes"]);
        let mut reader = ByteReader::new(&bytes);
        if not_in_rust.contains(&json.to_string().as_str()) {
            assert_eq!(serializer.deserialize(&mut reader).unwrap_err().kind(), ErrorKind::Incompatible, "{json}");
            continue;
        }
        let value = T::from_json(json);
        let read = serializer.deserialize(&mut reader).unwrap_or_else(|error| panic!("{name}, {json}: {error}"));
        assert!(same(&read, &value), "{name}: read {read:?}, expected {value:?}");
        assert!(reader.is_empty(), "{name}: {json}");

        let mut written = Vec::new();
        serializer.serialize(&value, &mut written).unwrap();
        if name.starts_with("Map<") {
            // The order of a hash map is free; size and content are not.
            assert_eq!(written.len(), bytes.len(), "{name}: {json}");
            assert!(same(&serializer.deserialize(&mut ByteReader::new(&written)).unwrap(), &value));
        } else {
            assert_eq!(written, bytes, "{name}: {json}");
        }
        checked += 1;
    }
    assert!(checked > 0, "{name} has no values");
}

fn check_default<T: DefaultSerializer + FromJson + Debug>(vector: &Value) {
    check(vector, &T::default_serializer(), &[]);
}

/// Flink's types that Rust has no counterpart of yet. Their snapshots are read and written all the same.
const NO_RUST_TYPE: [&str; 11] = [
    "BigInteger",
    "BigDecimal",
    "Instant",
    "LocalDate",
    "LocalTime",
    "LocalDateTime",
    "SqlTimestamp",
    "Row<id:Long,name:String,score:Double,flag:Boolean,pair:Tuple<String,Long>>",
    "Pojo<io.highwater.fixtures.SamplePojo>",
    "Enum<io.highwater.fixtures.Color>",
    "Tuple<Boolean,Byte,Short,Integer,Float,Double,Character,BigDecimal,BigInteger,Instant,LocalDate,LocalTime,\
     LocalDateTime,List<String>,Map<String,Integer>>",
];

#[test]
fn values_of_every_type() {
    let vectors = vectors("serializers.json");
    let mut without = BTreeSet::new();
    for vector in array(&vectors["types"]) {
        match vector["type"].as_str().unwrap() {
            "Long" => check_default::<i64>(vector),
            "Integer" => check_default::<i32>(vector),
            "Short" => check_default::<i16>(vector),
            "Byte" => check_default::<i8>(vector),
            "Boolean" => check_default::<bool>(vector),
            "Character" => check::<u16>(vector, &(std::sync::Arc::new(CharSerializer) as _), &[]),
            "Float" => check_default::<f32>(vector),
            "Double" => check_default::<f64>(vector),
            "String" => {
                check_default::<Option<JavaString>>(vector);
                check_default_without_surrogates(vector);
            }
            "Bytes" => check_default::<Vec<u8>>(vector),
            "LongArray" => {
                let serializer: SerializerRef<Vec<i64>> = std::sync::Arc::new(PrimitiveArraySerializer::<i64>::new());
                check(vector, &serializer, &[]);
            }
            "Tuple<String,Long>" => check_default::<(Option<String>, i64)>(vector),
            "List<String>" => check_default::<Vec<String>>(vector),
            "List<Long>" => check_default::<Vec<i64>>(vector),
            "Map<String,Long>" => check_default::<BTreeMap<String, Option<i64>>>(vector),
            "TimeWindow" => check_default::<TimeWindow>(vector),
            "Tuple<TimeWindow,TimeWindow>" => check_default::<(TimeWindow, TimeWindow)>(vector),
            "VoidNamespace" => {
                let mut bytes = Vec::new();
                VoidNamespace::default_serializer().serialize(&VoidNamespace, &mut bytes).unwrap();
                assert_eq!(bytes, hex(&vector["bytes"]));
            }
            other => {
                say(&format!("no Rust type for: {other}"));
                without.insert(other.to_owned());
            }
        }
    }
    assert_eq!(without, NO_RUST_TYPE.map(str::to_owned).into());
}

/// `String` reads and writes all strings but those with unpaired surrogates, which must be refused.
fn check_default_without_surrogates(vector: &Value) {
    let surrogates: Vec<_> =
        array(&vector["values"]).iter().map(|v| &v["value"]).filter(|v| v.is_object()).map(Value::to_string).collect();
    assert!(!surrogates.is_empty(), "the vectors hold unpaired surrogates");
    let surrogates: Vec<_> = surrogates.iter().map(String::as_str).collect();
    check(vector, &Option::<String>::default_serializer(), &surrogates);
}

#[test]
fn characters_as_rust_char() {
    let vectors = vectors("serializers.json");
    let vector = array(&vectors["types"]).iter().find(|vector| vector["type"] == "Character").unwrap();
    let serializer = char::default_serializer();
    let mut refused = 0;
    for sample in array(&vector["values"]) {
        let bytes = hex(&sample["bytes"]);
        let unit = sample["value"]["utf16"].as_u64().unwrap() as u32;
        let read = serializer.deserialize(&mut ByteReader::new(&bytes));
        match char::from_u32(unit) {
            Some(character) => {
                assert_eq!(read.unwrap(), character);
                let mut written = Vec::new();
                serializer.serialize(&character, &mut written).unwrap();
                assert_eq!(written, bytes);
            }
            None => {
                assert_eq!(read.unwrap_err().kind(), ErrorKind::Incompatible);
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 1);
    assert_eq!(serializer.serialize(&'😀', &mut Vec::new()).unwrap_err().kind(), ErrorKind::Program);
}

#[test]
fn snapshots_of_every_type_both_ways() {
    let vectors = vectors("serializers.json");
    let mut labels = Vec::new();
    for vector in array(&vectors["types"]).iter().filter(|vector| vector["type"] != "VoidNamespace") {
        let bytes = hex(&vector["versionedSnapshot"]);
        let mut reader = ByteReader::new(&bytes);
        let snapshot = SerializerSnapshot::read_versioned(&mut reader).unwrap();
        assert!(reader.is_empty());
        assert_eq!(snapshot.class_name(), vector["snapshotClass"].as_str().unwrap());
        assert_eq!(snapshot.compatibility(&snapshot), Compatibility::AsIs);
        let mut again = Vec::new();
        snapshot.write_versioned(&mut again).unwrap();
        assert_eq!(again, bytes, "{snapshot}");
        labels.push((vector["type"].as_str().unwrap(), snapshot.to_string()));
    }
    assert!(labels.len() > 20);
    for (name, label) in labels {
        match name.split('<').next().unwrap() {
            "Row" => assert_eq!(label, "Row<Long, String, Double, Boolean, Tuple<String, Long>>"),
            _ => assert_eq!(label.replace(", ", ","), name),
        }
    }
}

#[test]
fn hash_codes_and_key_groups_of_every_key() {
    let vectors = vectors("key-groups.json");
    let keys = array(&vectors["keys"]);
    assert!(keys.len() > 300);
    for vector in keys {
        let key = &vector["key"];
        let hashes = match vector["type"].as_str().unwrap() {
            "Integer" => vec![i32::from_json(key).java_hash()],
            "Long" => vec![i64::from_json(key).java_hash()],
            "Short" => vec![i16::from_json(key).java_hash()],
            "Byte" => vec![i8::from_json(key).java_hash()],
            "Boolean" => vec![bool::from_json(key).java_hash()],
            "Float" => vec![f32::from_json(key).java_hash()],
            "Double" => vec![f64::from_json(key).java_hash()],
            "Character" => vec![char::from_u32(u32::from(u16::from_json(key))).unwrap().java_hash()],
            "String" => {
                let mut hashes = vec![JavaString::from_json(key).java_hash()];
                hashes.extend(key.as_str().map(JavaHash::java_hash));
                hashes
            }
            "Tuple<String,Integer>" => vec![<(JavaString, i32)>::from_json(key).java_hash()],
            "Tuple<Long,Boolean,String>" => vec![<(i64, bool, JavaString)>::from_json(key).java_hash()],
            other => panic!("no Rust type for the key {other}"),
        };
        for hash in hashes {
            assert_eq!(i64::from(hash), vector["hash"].as_i64().unwrap(), "{vector}");
            assert_eq!(u64::from(murmur(hash)), vector["murmur"].as_u64().unwrap());
            for row in array(&vector["groups"]) {
                let [max, group, owners @ ..] = array(row) else { panic!("{row}") };
                let max = MaxParallelism::new(max.as_u64().unwrap() as u32).unwrap();
                assert_eq!(u64::from(max.key_group_of(hash)), group.as_u64().unwrap(), "{vector}");
                for (owner, parallelism) in owners.iter().zip([1, 2, 3, 7]) {
                    let found = max.owner_of(max.key_group_of(hash), parallelism);
                    assert_eq!(u64::from(found), owner.as_u64().unwrap(), "{vector}");
                }
            }
        }
    }
}

#[test]
fn key_group_ranges_of_every_subtask() {
    let vectors = vectors("key-groups.json");
    assert!(!array(&vectors["ranges"]).is_empty());
    for vector in array(&vectors["ranges"]) {
        let max = MaxParallelism::new(vector["maxParallelism"].as_u64().unwrap() as u32).unwrap();
        let parallelism = vector["parallelism"].as_u64().unwrap() as u32;
        let ranges = array(&vector["ranges"]);
        assert_eq!(ranges.len(), parallelism as usize);
        for (subtask, range) in ranges.iter().enumerate() {
            let found = max.range_of(subtask as u32, parallelism).unwrap();
            assert_eq!(serde_json::json!([found.start(), found.end()]), *range, "{max} {parallelism} {subtask}");
        }
    }
}

#[test]
fn default_max_parallelism() {
    let vectors = vectors("key-groups.json");
    assert!(!array(&vectors["defaultMaxParallelism"]).is_empty());
    for pair in array(&vectors["defaultMaxParallelism"]) {
        let found = MaxParallelism::default_for(pair[0].as_u64().unwrap() as u32).unwrap();
        assert_eq!(u64::from(found.get()), pair[1].as_u64().unwrap());
    }
}

#[test]
fn operator_ids_of_every_uid() {
    let vectors = vectors("operator-ids.json");
    assert!(array(&vectors["uids"]).len() > 5);
    for vector in array(&vectors["uids"]) {
        let id = OperatorId::from_uid(vector["uid"].as_str().unwrap());
        assert_eq!(id.to_string(), vector["operatorId"].as_str().unwrap(), "{vector}");
        assert_eq!(id.to_string().parse::<OperatorId>().unwrap(), id);
        assert_eq!(id.as_bytes().as_slice(), hex(&vector["operatorId"]));
    }
}

/// Loud: the test harness keeps what `eprintln!` says in a passing test to itself, but not this.
fn say(what: &str) {
    use std::io::Write as _;
    std::io::stderr().write_all(format!("{what}\n").as_bytes()).unwrap();
}
