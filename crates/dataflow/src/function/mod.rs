//! Functions with timers: what they are told, and what they can do besides emitting.

mod connected;
mod context;
mod side;
mod time;

pub(crate) use connected::Connected;
pub use connected::KeyedCoProcessFunction;
pub use context::{Context, KeyedProcessFunction, TimerContext};
pub(crate) use side::SideOutputs;
pub use side::{OutputTag, SideOutput};
pub(crate) use time::OperatorTime;
pub use time::{TimeDomain, TimerRegistry};
