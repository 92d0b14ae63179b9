//! Databases that Flink wrote: this crate's RocksDB opens them and finds what must be in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use highwater_checkpoint::IncrementalHandle;
use rust_rocksdb::{ColumnFamilyDescriptor, DB, IteratorMode, Options};
use serde_json::Value;

use crate::model::{Counts, Entries, counts, exact, prefix_length, timer_counts};
use crate::support::{Snapshot, committed, databases, full, say, snapshots};

/// The one option without which Flink's files are read wrongly: list states hold merges by this operator.
const MERGE_OPERATOR: &str = "merge_operator=stringappendtest";

/// What was compared.
#[derive(Default)]
struct Seen {
    databases: usize,
    exact_states: BTreeSet<String>,
    entries: usize,
}

fn read_database(directory: &Path) -> BTreeMap<String, Entries> {
    let options = Options::default().get_options_from_string(MERGE_OPERATOR).unwrap();
    let names = DB::list_cf(&options, directory).unwrap();
    let families = names.iter().map(|name| ColumnFamilyDescriptor::new(name, options.clone()));
    let db = DB::open_cf_descriptors(&Options::default(), directory, families).unwrap();
    db.verify_checksum().unwrap();
    let entries = |name: &String| {
        let handle = db.cf_handle(name).unwrap();
        let entries = db.iterator_cf(&handle, IteratorMode::Start).map(Result::unwrap);
        entries.map(|(key, value)| (key.into_vec(), value.into_vec())).collect()
    };
    names.iter().map(|name| (name.clone(), entries(name))).collect()
}

/// All databases of an operator as one: no key may lie in two of them, none outside of its database's key groups.
fn read_operator(snapshot: &Snapshot, handles: &[&IncrementalHandle], prefix: usize) -> BTreeMap<String, Entries> {
    let mut all = BTreeMap::<String, Entries>::new();
    for handle in handles {
        let directory = tempfile::tempdir().unwrap();
        snapshot.assemble(handle, directory.path());
        for (name, entries) in read_database(directory.path()) {
            for (key, value) in entries {
                assert!(handle.range.iter().any(|group| u64::from(group) == key_group(&key, prefix)), "{name}");
                assert!(all.entry(name.clone()).or_default().insert(key, value).is_none(), "{name}: a key lies twice");
            }
        }
    }
    all
}

fn key_group(key: &[u8], prefix: usize) -> u64 {
    key[..prefix].iter().fold(0, |group, byte| group << 8 | u64::from(*byte))
}

fn count(entries: &Entries, prefix: usize) -> Counts {
    let mut counts = Counts::new();
    for key in entries.keys() {
        *counts.entry(key_group(key, prefix)).or_default() += 1;
    }
    counts
}

fn check_operator(snapshot: &Snapshot, expected: &Value, seen: &mut Seen) {
    let operator = snapshot.metadata.operator(expected["operatorId"].as_str().unwrap().parse().unwrap()).unwrap();
    let handles: Vec<_> = databases(operator).collect();
    if handles.is_empty() {
        return;
    }
    let prefix = prefix_length(expected);
    let mut found = read_operator(snapshot, &handles, prefix);
    seen.databases += handles.len();
    for state in expected["keyedStates"].as_array().into_iter().flatten() {
        let name = state["name"].as_str().unwrap();
        let entries = found.remove(name).unwrap_or_default();
        assert_eq!(count(&entries, prefix), counts(state), "{name}");
        seen.entries += entries.len();
        if let Some(exact) = exact(expected, state) {
            assert_eq!(entries, exact, "{name}");
            seen.exact_states.insert(name.to_owned());
        }
    }
    let service = expected["timers"]["service"].as_str().unwrap_or_default();
    for (key, sort) in [("eventTime", "event"), ("processingTime", "processing")] {
        // Timers on the heap lie beside the database.
        if let Some(timers) = found.remove(&format!("_timer_state/{sort}_{service}")) {
            assert!(timers.values().all(Vec::is_empty), "a timer has no value");
            assert_eq!(count(&timers, prefix), timer_counts(expected, key), "{sort}");
            seen.entries += timers.len();
        }
    }
    assert!(found.is_empty(), "not expected: {:?}", found.keys());
}

fn check_all(directory: &Path) -> Seen {
    let mut seen = Seen::default();
    for snapshot in snapshots(directory) {
        for operator in snapshot.expected["operators"].as_array().unwrap() {
            check_operator(&snapshot, operator, &mut seen);
        }
    }
    seen
}

#[test]
fn a_committed_database_holds_what_it_must() {
    let seen = check_all(&committed());
    assert_eq!((seen.databases, seen.entries), (1, 6));
    assert_eq!(seen.exact_states, BTreeSet::from(["count".to_owned()]));
}

#[test]
fn all_databases_hold_what_they_must() {
    let Some(directory) = full() else {
        say("SKIPPED: the whole set of Flink's files is not here; set HIGHWATER_FIXTURES to its directory");
        return;
    };
    let seen = check_all(&directory);
    assert!(seen.databases > 80 && seen.entries > 3000, "only {} with {}", seen.databases, seen.entries);
    for state in ["items", "entries", "notes", "sum", "avg", "tuples", "window-contents"] {
        assert!(seen.exact_states.contains(state), "{state} was not compared: {:?}", seen.exact_states);
    }
}
