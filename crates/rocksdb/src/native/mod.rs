//! Native snapshots: the database's own files, of which only new ones are uploaded, and how a database comes back from
//! them, at any parallelism.

mod clip;
mod manifest;
mod restore;
mod snapshot;
mod table;
mod transfer;
mod uploads;

pub(crate) use restore::restore;
pub(crate) use snapshot::freeze;
pub(crate) use uploads::Uploads;

/// Whether a file of a database holds entries and never changes, so that checkpoints can share it.
fn is_table(name: &str) -> bool {
    name.ends_with(".sst")
}
