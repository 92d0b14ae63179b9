//! The surface on which users describe a job.

#[cfg(feature = "testing")]
mod bench;
mod build;
mod collector;
mod connected;
mod environment;
mod interval;
mod joined;
mod keyed;
mod open;
mod stream;
mod weight;
mod windowed;

#[cfg(feature = "testing")]
pub(crate) use bench::Bench;
pub(crate) use build::{Build, OperatorKind, OperatorPlan, Runtime, Setup};
pub use collector::Collector;
pub use connected::ConnectedStreams;
pub use environment::StreamEnvironment;
pub use interval::IntervalJoined;
pub use joined::{JoinedStreams, KeyedJoin, WindowedJoin};
pub use keyed::KeyedStream;
pub use open::OpenContext;
pub use stream::{DataStream, Record};
pub(crate) use weight::weigh;
pub use windowed::WindowedStream;
