//! What RocksDB measures arrives at the recorder of the `metrics` facade, by Flink's names, and only if it is asked for.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed assumption in a test should stop the test"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use highwater_rocksdb::rust_rocksdb::{ColumnFamilyDescriptor, DB};
use highwater_rocksdb::{Layers, MetricsReporter, MetricsSettings, RocksDbMetric, RocksDbSettings};
use metrics::{Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// Remembers the last value of every gauge, by its name and labels.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<String, f64>>>);

struct SeenGauge(Seen, String);

impl GaugeFn for SeenGauge {
    fn increment(&self, _: f64) {
        panic!("gauges are set");
    }
    fn decrement(&self, _: f64) {
        panic!("gauges are set");
    }
    fn set(&self, value: f64) {
        self.0.0.lock().unwrap().insert(self.1.clone(), value);
    }
}

impl Recorder for Seen {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Gauge::from_arc(Arc::new(SeenGauge(self.clone(), format!("{}{{{}}}", key.name(), labels.join(",")))))
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// The gauges that are set for a state with three entries, two of them in a file.
fn gauges(settings: &MetricsSettings) -> BTreeMap<String, f64> {
    let layers = Layers::new(RocksDbSettings::default()).unwrap();
    let mut reporter = MetricsReporter::new(settings, [("operator", "count".to_owned())]);
    let mut options = layers.database().unwrap();
    options.create_missing_column_families(true);
    reporter.prepare(&mut options);
    assert_eq!(options.get_statistics().is_some(), settings.needs_statistics());

    let dir = tempfile::TempDir::new().unwrap();
    let columns = ["default", "words"].map(|name| ColumnFamilyDescriptor::new(name, layers.column(name).unwrap()));
    let db = DB::open_cf_descriptors(&options, dir.path(), columns).unwrap();
    let words = db.cf_handle("words").unwrap();
    db.put_cf(words, b"a", b"1").unwrap();
    db.put_cf(words, b"b", b"2").unwrap();
    db.flush_cf(words).unwrap();
    db.put_cf(words, b"c", b"3").unwrap();
    for _ in 0..2 {
        db.get_cf(words, b"a").unwrap().unwrap();
    }

    let seen = Seen::default();
    metrics::with_local_recorder(&seen, || reporter.report(&db, [("words", words)]));
    seen.0.lock().unwrap().clone()
}

fn enabled(names: &[&str]) -> MetricsSettings {
    MetricsSettings { enabled: names.iter().map(|name| name.parse().unwrap()).collect(), ..MetricsSettings::default() }
}

#[test]
fn nothing_is_published_by_default() {
    assert_eq!(gauges(&MetricsSettings::default()), BTreeMap::new());
}

#[test]
fn numbers_of_a_state_carry_its_column_family() {
    let mut settings = enabled(&["estimate-num-keys", "num-entries-active-mem-table", "is-write-stopped"]);
    let nested = gauges(&settings);
    assert_eq!(nested["rocksdb.words.estimate-num-keys{operator=count}"], 3.0);
    assert_eq!(nested["rocksdb.words.num-entries-active-mem-table{operator=count}"], 1.0);
    assert_eq!(nested["rocksdb.words.is-write-stopped{operator=count}"], 0.0);
    assert_eq!(nested.len(), 3);

    settings.column_family_as_variable = true;
    let labelled = gauges(&settings);
    assert_eq!(labelled["rocksdb.estimate-num-keys{operator=count,column_family=words}"], 3.0);
    assert_eq!(labelled.len(), 3);
}

#[test]
fn counters_are_those_of_the_database() {
    let gauges = gauges(&enabled(&["bytes-written", "block-cache-miss", "block-cache-hit"]));
    assert!(gauges["rocksdb.bytes-written{operator=count}"] > 0.0);
    assert!(gauges["rocksdb.block-cache-miss{operator=count}"] > 0.0);
    assert!(gauges["rocksdb.block-cache-hit{operator=count}"] > 0.0);
}

#[test]
fn files_are_counted_by_level() {
    let gauges = gauges(&enabled(&["num-files-at-level"]));
    assert_eq!(gauges["rocksdb.words.num-files-at-level{operator=count,level=0}"], 1.0);
    assert_eq!(gauges["rocksdb.words.num-files-at-level{operator=count,level=6}"], 0.0);
}

#[test]
fn rocksdb_knows_every_metric() {
    for metric in RocksDbMetric::all() {
        let gauges = gauges(&enabled(&[metric.name()]));
        assert!(!gauges.is_empty(), "{metric} has no value");
        assert!(gauges.keys().all(|name| name.contains(metric.name())), "{gauges:?}");
    }
}

#[test]
fn an_unknown_name_lists_what_exists() {
    let error = "estimate-keys".parse::<RocksDbMetric>().unwrap_err();
    assert!(error.value("expected").unwrap().contains("estimate-num-keys"));
}
