//! What a column family must hold, from the description of a state: its exact entries where the types are simple
//! ones, else how many there are in each key group.

use std::collections::BTreeMap;

use highwater_types::{JavaString, StringSerializer, TypeSerializer};
use serde_json::Value;

/// The entries of a column family.
pub(crate) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// How many entries each key group has.
pub(crate) type Counts = BTreeMap<u64, usize>;

/// Bytes of the key-group prefix.
pub(crate) fn prefix_length(operator: &Value) -> usize {
    if operator["maxParallelism"].as_u64().unwrap() <= 128 { 1 } else { 2 }
}

/// The exact entries of a state, unless its types are beyond this model.
pub(crate) fn exact(operator: &Value, state: &Value) -> Option<Entries> {
    let key_type = operator["keyType"].as_str()?;
    if state.get("ttlMillis").is_some_and(|ttl| !ttl.is_null()) || state["unordered"] == true {
        return None;
    }
    let mut entries = Entries::new();
    for entry in state["entries"].as_array()? {
        let mut key = key_group(operator, entry);
        key.extend(encode(key_type, &entry["key"])?);
        key.extend(namespace(state, entry)?);
        for (user_key, value) in values(state, &entry["value"])? {
            entries.insert([key.as_slice(), user_key.as_slice()].concat(), value);
        }
    }
    Some(entries)
}

/// How many entries a state has in each key group.
pub(crate) fn counts(state: &Value) -> Counts {
    let mut counts = Counts::new();
    for entry in state["entries"].as_array().unwrap() {
        let each = if state["kind"] == "map" { entry["value"].as_array().unwrap().len() } else { 1 };
        *counts.entry(entry["keyGroup"].as_u64().unwrap()).or_default() += each;
    }
    counts
}

/// How many timers of one sort an operator has in each key group.
pub(crate) fn timer_counts(operator: &Value, sort: &str) -> Counts {
    let mut counts = Counts::new();
    for timer in operator["timers"][sort].as_array().into_iter().flatten() {
        *counts.entry(timer["keyGroup"].as_u64().unwrap()).or_default() += 1;
    }
    counts
}

fn key_group(operator: &Value, entry: &Value) -> Vec<u8> {
    let group = u16::try_from(entry["keyGroup"].as_u64().unwrap()).unwrap();
    group.to_be_bytes()[2 - prefix_length(operator)..].to_vec()
}

fn namespace(state: &Value, entry: &Value) -> Option<Vec<u8>> {
    match state["namespaceType"].as_str()? {
        "VoidNamespace" => Some(vec![0]),
        "TimeWindow" => encode("TimeWindow", &entry["window"]),
        _ => None,
    }
}

/// User keys (empty but in maps) and values.
fn values(state: &Value, value: &Value) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let value_type = state["type"].as_str()?;
    match state["kind"].as_str()? {
        "list" => {
            let elements: Option<Vec<_>> = value.as_array()?.iter().map(|each| encode(value_type, each)).collect();
            Some(vec![(Vec::new(), elements?.join(&b','))])
        }
        "map" => {
            let key_type = state["mapKeyType"].as_str()?;
            let pairs = value.as_array()?.iter();
            pairs.map(|pair| Some((encode(key_type, &pair[0])?, nullable(value_type, &pair[1])?))).collect()
        }
        _ => Some(vec![(Vec::new(), encode(value_type, value)?)]),
    }
}

fn nullable(value_type: &str, value: &Value) -> Option<Vec<u8>> {
    if value.is_null() {
        return Some(vec![1]);
    }
    Some([&[0], encode(value_type, value)?.as_slice()].concat())
}

fn encode(value_type: &str, value: &Value) -> Option<Vec<u8>> {
    if let Some(fields) = value_type.strip_prefix("Tuple<").and_then(|rest| rest.strip_suffix('>')) {
        return encode_fields(&fields.split(',').collect::<Vec<_>>(), value);
    }
    match value_type {
        "Long" => Some(value.as_i64()?.to_be_bytes().to_vec()),
        "Integer" => Some(i32::try_from(value.as_i64()?).ok()?.to_be_bytes().to_vec()),
        "Boolean" => Some(vec![u8::from(value.as_bool()?)]),
        "String" => Some(encode_string(value)),
        "TimeWindow" => encode_fields(&["Long", "Long"], value),
        _ => None,
    }
}

/// The fields of a tuple follow each other, with nothing in between.
fn encode_fields(types: &[&str], value: &Value) -> Option<Vec<u8>> {
    let fields: Option<Vec<_>> = types.iter().zip(value.as_array()?).map(|(each, value)| encode(each, value)).collect();
    Some(fields?.concat())
}

fn encode_string(value: &Value) -> Vec<u8> {
    let string = match value.as_str() {
        Some(string) => JavaString::from(string),
        None => {
            let units = value["utf16"].as_array().unwrap().iter();
            JavaString::from_utf16(units.map(|unit| u16::try_from(unit.as_u64().unwrap()).unwrap()).collect())
        }
    };
    let mut bytes = Vec::new();
    StringSerializer.serialize(&string, &mut bytes).unwrap();
    bytes
}
