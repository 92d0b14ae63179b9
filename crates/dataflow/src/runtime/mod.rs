//! What one attempt to run a job is made of: threads, the control plane, the coordinator, and the time of the dataflow.

pub(crate) mod attempt;
pub(crate) mod control;
pub(crate) mod driver;
pub(crate) mod enumerators;
pub(crate) mod flow;
pub(crate) mod io;
pub(crate) mod mailbox;
pub(crate) mod message;
pub(crate) mod pace;
pub(crate) mod pool;
pub(crate) mod requests;
pub(crate) mod splits;
pub(crate) mod time;
pub(crate) mod timing;
pub(crate) mod watchdog;
pub(crate) mod worker;
