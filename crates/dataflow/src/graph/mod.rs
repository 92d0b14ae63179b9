//! The surface on which users describe a job.

mod build;
mod collector;
mod environment;
mod keyed;
mod stream;
mod weight;

pub(crate) use build::{Build, OperatorKind, OperatorPlan, Runtime, Setup};
pub use collector::Collector;
pub use environment::StreamEnvironment;
pub use keyed::{KeyedStream, OpenContext};
pub use stream::{DataStream, Record};
pub(crate) use weight::weigh;
