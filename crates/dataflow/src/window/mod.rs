//! Windows: records of a key that belong together, by time or by count, are folded or processed together.
//!
//! An *assigner* says which windows a record belongs to, a *trigger* when their contents are emitted, an *evictor* what of
//! them is left out. What they remember is keyed state, scoped by the window, laid out as Flink's window operator does.

mod assigner;
mod assigners;
mod contents;
mod context;
mod evictor;
mod merging;
mod operator;
mod trigger;
mod triggers;

pub use assigner::{DefaultTrigger, Merge, WindowAssigner};
pub use assigners::{
    DynamicEventTimeSessionWindows, EventTimeSessionWindows, GlobalWindows, ProcessingTimeSessionWindows,
    SlidingEventTimeWindows, SlidingProcessingTimeWindows, TumblingEventTimeWindows, TumblingProcessingTimeWindows,
};
pub(crate) use contents::{Aggregated, Contents, Evicted, Listed, Reduced};
pub use context::{OpenWindow, WindowContext};
pub use evictor::{CountEvictor, DeltaEvictor, Evictor, TimeEvictor};
pub(crate) use operator::{Lateness, WindowOperator, WindowParts};
pub(crate) use trigger::AnyTrigger;
pub use trigger::{Trigger, TriggerContext, TriggerFunction, TriggerOpen, TriggerResult};
pub use triggers::{
    ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, CountTrigger, DeltaTrigger, EndOfStreamTrigger,
    EventTimeTrigger, NeverTrigger, ProcessingTimeTrigger, ProcessingTimeoutTrigger, PurgingTrigger,
};

use highwater_state::Namespace;
use highwater_types::{DefaultSerializer, GlobalWindow, TimeWindow};

/// What records are gathered in (Flink's `Window`). State and timers are scoped by it.
pub trait Window: Namespace + DefaultSerializer {
    /// The largest timestamp that belongs to it. Results have this timestamp.
    fn max_timestamp(&self) -> i64;
}

impl Window for TimeWindow {
    fn max_timestamp(&self) -> i64 {
        Self::max_timestamp(*self)
    }
}

impl Window for GlobalWindow {
    fn max_timestamp(&self) -> i64 {
        i64::MAX
    }
}
