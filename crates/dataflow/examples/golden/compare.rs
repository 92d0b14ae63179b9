//! Whether an output is what was recorded, by the rules that come with the cases.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::run::Recorded;
use crate::scenario::{Event, Lanes, Lists, Row, Scenario};

/// The first difference.
pub(crate) fn difference(scenario: &Scenario, found: &Recorded) -> Option<String> {
    let fails = |error: &Option<String>| if error.is_some() { "an error" } else { "no error" };
    if scenario.error.is_some() != found.error.is_some() {
        let found = found.error.as_deref().unwrap_or("no error");
        return Some(format!("{} expected, found {found}", fails(&scenario.error)));
    }
    rows(scenario, found).or_else(|| {
        let said = scenario.progress.iter().zip(&found.progress).find(|(expected, found)| expected != found);
        if let Some((expected, found)) = said {
            return Some(format!("{expected:?} expected, found {found:?}"));
        }
        if scenario.progress.len() != found.progress.len() {
            let (expected, found) = (scenario.progress.len(), found.progress.len());
            return Some(format!("{expected} watermarks and statuses expected, found {found}"));
        }
        let expected = scenario.late_dropped?;
        (expected != found.late_dropped)
            .then(|| format!("{expected} late records dropped expected, found {}", found.late_dropped))
    })
}

fn rows(scenario: &Scenario, found: &Recorded) -> Option<String> {
    for (step, event) in scenario.input.iter().enumerate() {
        let (is_record, rule) = match event {
            Event::Record { .. } => (true, scenario.order.record),
            _ => (false, scenario.order.progress),
        };
        let of_step = |rows: &[Row]| rows.iter().filter(|row| row.step == step).cloned().collect::<Vec<_>>();
        let (expected, found) = (of_step(&scenario.output), of_step(&found.rows));
        let difference = lanes(&expected, rule, scenario.order.lists)
            .into_iter()
            .zip_longest(lanes(&found, rule, scenario.order.lists))
            .find(|(expected, found)| expected != found);
        if let Some((expected, found)) = difference {
            return Some(format!("step {step}: {} expected, found {}", text(expected), text(found)));
        }
        if scenario.order.sorted && !is_record && !found.is_sorted_by_key(|row| row.ts) {
            return Some(format!("step {step}: not in the order of time"));
        }
    }
    None
}

type Lane = (String, Vec<Value>);

fn text(lane: Option<Lane>) -> String {
    lane.map_or("nothing".to_owned(), |(_, rows)| Value::Array(rows).to_string())
}

trait ZipLongest: Iterator + Sized {
    fn zip_longest(
        self,
        other: impl IntoIterator<Item = Self::Item>,
    ) -> impl Iterator<Item = (Option<Self::Item>, Option<Self::Item>)>;
}

impl<I: Iterator> ZipLongest for I {
    fn zip_longest(
        mut self,
        other: impl IntoIterator<Item = Self::Item>,
    ) -> impl Iterator<Item = (Option<Self::Item>, Option<Self::Item>)> {
        let mut other = other.into_iter();
        std::iter::from_fn(move || match (self.next(), other.next()) {
            (None, None) => None,
            pair => Some(pair),
        })
    }
}

/// The rows of a step in lanes, each of which has an order.
fn lanes(rows: &[Row], rule: Lanes, lists: Lists) -> BTreeMap<String, Vec<Value>> {
    let mut lanes: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in rows {
        let value = if lists == Lists::Multiset { sorted(row.value.clone()) } else { row.value.clone() };
        // What happens at the beginning of time has no timestamp: they are the same number.
        let timestamp = row.ts.filter(|timestamp| *timestamp > i64::MIN);
        let row_value = serde_json::json!([row.key, value, row.window, timestamp, row.tag]);
        let lane = match rule {
            Lanes::Exact => String::new(),
            Lanes::Key => format!("{:?}", row.key),
            Lanes::KeyWindow => format!("{:?} {:?}", row.key, row.window),
            Lanes::Pair if row.tag.is_some() => "side".to_owned(),
            Lanes::Pair => format!("{} {}", row.value["left_ts"], row.value["right_ts"]),
            Lanes::Any => row_value.to_string(),
        };
        lanes.entry(lane).or_default().push(row_value);
    }
    lanes
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Array(values) => {
            let mut values: Vec<_> = values.into_iter().map(sorted).collect();
            values.sort_by_key(Value::to_string);
            Value::Array(values)
        }
        Value::Object(fields) => Value::Object(fields.into_iter().map(|(name, value)| (name, sorted(value))).collect()),
        value => value,
    }
}
