//! Flink's canonical stream of keyed state: a header that describes the states, then one block per key group.
//!
//! Every backend writes it and every backend reads it, Flink's included (1.13 and later), so it is the one format of
//! Highwater's snapshots and the bridge to Flink's savepoints.

mod header;
mod io;
mod meta;
mod reader;
mod writer;

pub use header::KeyedHeader;
pub(crate) use io::{decode_error, read_error, stream_name};
pub use meta::{KeyedKind, StateKind, StateMeta};
pub use reader::{CanonicalReader, KeyGroupBlock, Run, RunEntries};
pub use writer::CanonicalWriter;
