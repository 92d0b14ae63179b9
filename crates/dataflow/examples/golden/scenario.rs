//! A recorded case.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
pub(crate) struct Scenario {
    pub(crate) operator: Operator,
    pub(crate) order: Order,
    pub(crate) input: Vec<Event>,
    pub(crate) output: Vec<Row>,
    pub(crate) progress: Vec<Said>,
    pub(crate) late_dropped: Option<u64>,
    pub(crate) error: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Operator {
    Window(Window),
    Process {
        #[serde(default)]
        side_tags: Vec<String>,
    },
    Running {
        function: Running,
        #[serde(default = "yes")]
        first: bool,
    },
    CoProcess {
        #[serde(default)]
        side_tags: Vec<String>,
    },
    WindowJoin(Join),
    IntervalJoin(Interval),
    CoGroup(Join),
    #[serde(other)]
    Unknown,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Window {
    pub(crate) assigner: Assigner,
    pub(crate) trigger: Option<Trigger>,
    pub(crate) evictor: Option<Evictor>,
    #[serde(default)]
    pub(crate) allowed_lateness: i64,
    pub(crate) late_tag: Option<String>,
    pub(crate) function: Function,
    #[serde(default = "yes")]
    pub(crate) keyed: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Interval {
    pub(crate) lower: i64,
    pub(crate) upper: i64,
    #[serde(default)]
    pub(crate) lower_exclusive: bool,
    #[serde(default)]
    pub(crate) upper_exclusive: bool,
    pub(crate) left_late_tag: Option<String>,
    pub(crate) right_late_tag: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Join {
    pub(crate) assigner: Assigner,
    pub(crate) trigger: Option<Trigger>,
    pub(crate) evictor: Option<Evictor>,
    #[serde(default)]
    pub(crate) allowed_lateness: i64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Assigner {
    Tumbling {
        size: i64,
        #[serde(default)]
        offset: i64,
    },
    Sliding {
        size: i64,
        slide: i64,
        #[serde(default)]
        offset: i64,
    },
    Session {
        gap: i64,
    },
    DynamicSession,
    Global,
    Count {
        size: u64,
        slide: Option<u64>,
    },
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Trigger {
    #[serde(flatten)]
    pub(crate) kind: TriggerKind,
    #[serde(default)]
    pub(crate) purging: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum TriggerKind {
    EventTime,
    Count { count: u64 },
    ContinuousEventTime { interval: i64 },
    Delta { threshold: f64 },
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Evictor {
    #[serde(flatten)]
    pub(crate) kind: EvictorKind,
    #[serde(default)]
    pub(crate) after: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum EvictorKind {
    Count { count: usize },
    Time { size: i64 },
    Delta { threshold: f64 },
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Function {
    List,
    Count,
    Sum,
    Aggregate,
    Firings,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Running {
    Reduce,
    Sum,
    Min,
    Max,
    MinBy,
    MaxBy,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Event {
    Record {
        #[serde(default = "first")]
        input: usize,
        key: Option<String>,
        value: Value,
        ts: Option<i64>,
    },
    Watermark {
        #[serde(default = "first")]
        input: usize,
        ts: i64,
    },
    Idle {
        #[serde(default = "first")]
        input: usize,
    },
    End {
        #[serde(default = "first")]
        input: usize,
    },
}

/// Inputs are counted from 1.
fn first() -> usize {
    1
}

/// How much of the order of the output is guaranteed.
#[derive(Debug, Deserialize)]
pub(crate) struct Order {
    pub(crate) record: Lanes,
    pub(crate) progress: Lanes,
    pub(crate) lists: Lists,
    pub(crate) sorted: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Lanes {
    Exact,
    Key,
    KeyWindow,
    Pair,
    Any,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Lists {
    Exact,
    Multiset,
}

/// A row of the output.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(crate) struct Row {
    pub(crate) step: usize,
    pub(crate) key: Option<String>,
    pub(crate) value: Value,
    pub(crate) window: Option<(i64, i64)>,
    pub(crate) ts: Option<i64>,
    pub(crate) tag: Option<String>,
}

/// What the operator said of its event time.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) step: usize,
    pub(crate) watermark: Option<i64>,
    pub(crate) status: Option<String>,
}
