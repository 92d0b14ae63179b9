//! Metrics and checkpoints of a running job over HTTP, in the shape of Flink's REST answers.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | metrics in Prometheus' text format |
//! | `/jobs` | the job and what it is doing |
//! | `/jobs/<job>/checkpoints` | counts, summary, the latest of each kind, the last checkpoints |
//! | `/jobs/<job>/checkpoints/config` | how checkpoints are taken |
//! | `/jobs/<job>/checkpoints/details/<checkpoint>` | one checkpoint, with all operators |
//! | `/jobs/<job>/checkpoints/details/<checkpoint>/subtasks/<operator>` | one operator in it, with all subtasks |
//!
//! Only `GET` is answered (and `HEAD`, without the body); everything else is 404 or 405, with Flink's `{"errors": […]}`.
//!
//! # Limits
//!
//! One thread of its own serves one request after the other; the job's threads never wait for it. At most 32 connections
//! are open, each for one request of at most 16 KiB that has to come within five seconds. There is neither encryption
//! nor authentication: it listens on the loopback interface, and refuses any other address unless that is
//! [allowed](RestSettings::allow_remote). On the loopback interface it answers only requests for that very place (the
//! header `Host`): no page in a browser of this machine can be made to read it under a name of its own.

mod answers;
mod endpoint;
mod metrics;
mod settings;

pub use endpoint::RestEndpoint;
pub use settings::RestSettings;
