//! RocksDB's own metrics, published through the `metrics` facade.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use highwater_types::{Error, Result};
use metrics::{Label, gauge};
use rust_rocksdb::statistics::{StatsLevel, Ticker};
use rust_rocksdb::{AsColumnFamilyRef, DBWithThreadMode, Options, ThreadMode};
use serde::{Deserialize, Serialize};

use Source::{Counter, Levels, Property};

/// What a metric is read from.
#[derive(Clone, Copy)]
enum Source {
    /// A number per column family.
    Property,
    /// A number per column family and level.
    Levels,
    /// A counter of the whole database, kept by a statistics object.
    Counter(Ticker),
}

/// A metric of RocksDB (`state.backend.rocksdb.metrics.<name>`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RocksDbMetric(usize);

/// Levels of a database.
const LEVELS: usize = 7;

const METRICS: [(&str, Source); 38] = [
    ("num-immutable-mem-table", Property),
    ("mem-table-flush-pending", Property),
    ("compaction-pending", Property),
    ("background-errors", Property),
    ("cur-size-active-mem-table", Property),
    ("cur-size-all-mem-tables", Property),
    ("size-all-mem-tables", Property),
    ("num-entries-active-mem-table", Property),
    ("num-entries-imm-mem-tables", Property),
    ("num-deletes-active-mem-table", Property),
    ("num-deletes-imm-mem-tables", Property),
    ("estimate-num-keys", Property),
    ("estimate-table-readers-mem", Property),
    ("num-snapshots", Property),
    ("num-live-versions", Property),
    ("estimate-live-data-size", Property),
    ("total-sst-files-size", Property),
    ("live-sst-files-size", Property),
    ("estimate-pending-compaction-bytes", Property),
    ("num-running-compactions", Property),
    ("num-running-flushes", Property),
    ("actual-delayed-write-rate", Property),
    ("is-write-stopped", Property),
    ("block-cache-capacity", Property),
    ("block-cache-usage", Property),
    ("block-cache-pinned-usage", Property),
    ("num-files-at-level", Levels),
    ("block-cache-hit", Counter(Ticker::BlockCacheHit)),
    ("block-cache-miss", Counter(Ticker::BlockCacheMiss)),
    ("bloom-filter-useful", Counter(Ticker::BloomFilterUseful)),
    ("bloom-filter-full-positive", Counter(Ticker::BloomFilterFullPositive)),
    ("bloom-filter-full-true-positive", Counter(Ticker::BloomFilterFullTruePositive)),
    ("bytes-read", Counter(Ticker::BytesRead)),
    ("iter-bytes-read", Counter(Ticker::IterBytesRead)),
    ("bytes-written", Counter(Ticker::BytesWritten)),
    ("compaction-read-bytes", Counter(Ticker::CompactReadBytes)),
    ("compaction-write-bytes", Counter(Ticker::CompactWriteBytes)),
    ("stall-micros", Counter(Ticker::StallMicros)),
];

impl RocksDbMetric {
    /// All metrics, those of properties first.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..METRICS.len()).map(Self)
    }

    /// The name in the configuration and, after `rocksdb.`, of the gauge.
    #[must_use]
    pub fn name(self) -> &'static str {
        METRICS.get(self.0).map_or("", |(name, _)| name)
    }

    /// Whether it is a counter, which needs RocksDB's statistics: they cost some of every operation.
    #[must_use]
    pub fn is_counter(self) -> bool {
        self.ticker().is_some()
    }

    fn source(self) -> Source {
        METRICS.get(self.0).map_or(Property, |(_, source)| *source)
    }

    fn ticker(self) -> Option<Ticker> {
        match self.source() {
            Counter(ticker) => Some(ticker),
            Property | Levels => None,
        }
    }
}

impl fmt::Display for RocksDbMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for RocksDbMetric {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::all().find(|metric| metric.name() == text).ok_or_else(|| {
            Error::configuration("RocksDB has no metric of this name")
                .with("found", text)
                .with("expected", crate::names::list(Self::all()))
        })
    }
}

impl TryFrom<String> for RocksDbMetric {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<RocksDbMetric> for String {
    fn from(metric: RocksDbMetric) -> Self {
        metric.name().to_owned()
    }
}

/// Which metrics of RocksDB are published. By default none, which costs nothing.
///
/// ```
/// use highwater_rocksdb::MetricsSettings;
///
/// let mut settings = MetricsSettings::default();
/// assert!(settings.enabled.is_empty());
/// settings.enabled.insert("estimate-num-keys".parse()?);
/// assert!(!settings.needs_statistics());
/// settings.enabled.insert("block-cache-hit".parse()?);
/// assert!(settings.needs_statistics());
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsSettings {
    /// Metrics that are published.
    pub enabled: BTreeSet<RocksDbMetric>,
    /// Whether the column family is a label of the metric (`…metrics.column-family-as-variable`) instead of a part of
    /// its name. Default false.
    pub column_family_as_variable: bool,
}

impl MetricsSettings {
    /// Whether a counter is published, so that databases have to keep statistics.
    #[must_use]
    pub fn needs_statistics(&self) -> bool {
        self.enabled.iter().any(|metric| metric.is_counter())
    }
}

/// Publishes the metrics of one database as gauges of the `metrics` facade.
///
/// A gauge of a column family is `rocksdb.<column family>.<metric>`, or `rocksdb.<metric>` with the label
/// `column_family`; a counter of the database is `rocksdb.<metric>`. The number of files has a label `level`. All carry
/// the labels given to the reporter.
pub struct MetricsReporter {
    properties: Vec<RocksDbMetric>,
    counters: Vec<(RocksDbMetric, Ticker)>,
    column_family_as_variable: bool,
    labels: Vec<Label>,
    /// Shares the statistics of the database that was opened with them.
    statistics: Option<Options>,
}

impl MetricsReporter {
    /// A reporter; `labels` say which operator it is.
    #[must_use]
    pub fn new(settings: &MetricsSettings, labels: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self {
            properties: settings.enabled.iter().copied().filter(|metric| !metric.is_counter()).collect(),
            counters: settings.enabled.iter().filter_map(|metric| Some((*metric, metric.ticker()?))).collect(),
            column_family_as_variable: settings.column_family_as_variable,
            labels: labels.into_iter().map(|(name, value)| Label::new(name, value)).collect(),
            statistics: None,
        }
    }

    /// Makes a database keep statistics if a counter is published. Call this with the options of the database before
    /// it is opened.
    pub fn prepare(&mut self, options: &mut Options) {
        if self.counters.is_empty() {
            return;
        }
        options.enable_statistics();
        options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
        self.statistics = Some(options.clone());
    }

    /// Whether there is nothing to publish.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.properties.is_empty() && self.counters.is_empty()
    }

    /// Publishes what is measured now, of the states in `columns`. A number that RocksDB does not have is left out.
    pub fn report<'a, T, C>(&self, db: &DBWithThreadMode<T>, columns: impl IntoIterator<Item = (&'a str, C)>)
    where
        T: ThreadMode,
        C: AsColumnFamilyRef,
    {
        if self.is_empty() {
            return;
        }
        for (state, column) in columns {
            self.report_column(db, state, &column);
        }
        for (metric, ticker) in &self.counters {
            if let Some(statistics) = &self.statistics {
                self.publish(format!("rocksdb.{metric}"), &[], statistics.get_ticker_count(*ticker));
            }
        }
    }

    fn report_column<T: ThreadMode>(&self, db: &DBWithThreadMode<T>, state: &str, column: &impl AsColumnFamilyRef) {
        for metric in &self.properties {
            match metric.source() {
                Levels => {
                    for level in 0..LEVELS {
                        let value = property(db, column, &format!("rocksdb.{metric}{level}"));
                        self.publish_of_column(*metric, state, Some(level), value);
                    }
                }
                _ => self.publish_of_column(*metric, state, None, property(db, column, &format!("rocksdb.{metric}"))),
            }
        }
    }

    fn publish_of_column(&self, metric: RocksDbMetric, state: &str, level: Option<usize>, value: Option<u64>) {
        let Some(value) = value else { return };
        let mut labels = Vec::new();
        let name = if self.column_family_as_variable {
            labels.push(Label::new("column_family", state.to_owned()));
            format!("rocksdb.{metric}")
        } else {
            format!("rocksdb.{state}.{metric}")
        };
        labels.extend(level.map(|level| Label::new("level", level.to_string())));
        self.publish(name, &labels, value);
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
    fn publish(&self, name: String, labels: &[Label], value: u64) {
        let labels: Vec<Label> = self.labels.iter().chain(labels).cloned().collect();
        gauge!(name, labels).set(value as f64);
    }
}

/// A number that RocksDB gives for a column family; some it gives as text.
fn property<T: ThreadMode>(db: &DBWithThreadMode<T>, column: &impl AsColumnFamilyRef, name: &str) -> Option<u64> {
    match db.property_int_value_cf(column, name) {
        Ok(Some(value)) => Some(value),
        _ => db.property_value_cf(column, name).ok().flatten()?.trim().parse().ok(),
    }
}

impl fmt::Debug for MetricsReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsReporter")
            .field("properties", &self.properties)
            .field("counters", &self.counters)
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}
