//! Requests to a job from outside its process, as files in a directory beside its checkpoints.
//!
//! Whoever wants something puts a file `<name>.request` into `<checkpoints>/<job id>/control`, complete with its name
//! (written under another one and renamed), where `<name>` consists of letters, digits and `-`:
//!
//! ```json
//! { "command": "savepoint", "target": "file:///data/savepoints" }
//! ```
//!
//! The job looks there every second, renames the file to `<name>.running`, does what it says, and leaves the answer as
//! `<name>.answer`, which is for the asker to remove:
//!
//! ```json
//! { "done": { "id": 7, "pointer": "file:/data/savepoints/savepoint-3f2a1b-0c9d8e7f6a5b", "size": 104218, "duration_ms": 31 } }
//! { "failed": "the error, as text" }
//! ```
//!
//! It is the same file system as that of the checkpoints, so it works wherever they do. Whoever may write there rules the
//! job. A request is carried out at most once: what a dead process had begun, and what was asked while no process ran, is
//! answered with an error at the next start. A name may be used again: the second request waits for the answer to the
//! first, and its own takes the place of that. An answer that nobody fetches goes an hour after the next start.

mod client;
mod server;

use std::io::{Read, Write};

use highwater_checkpoint::{FileSystem, StoragePath, error_from_io};
use highwater_types::{Error, Result, ResultExt};
use serde::{Deserialize, Serialize};

pub use client::JobControl;
pub(crate) use server::ControlServer;

use crate::CheckpointStatistics;

/// The directory beside the checkpoints.
const DIRECTORY: &str = "control";
/// Held as long as somebody takes requests.
const LOCK: &str = ".lock";
const REQUEST: &str = ".request";
const RUNNING: &str = ".running";
const ANSWER: &str = ".answer";
/// A file under this name is not complete.
const INCOMPLETE: &str = ".incomplete";

/// What somebody asks a job for from outside ([`JobHandle`](crate::JobHandle) has the same from within).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ControlCommand {
    /// A checkpoint ([`trigger_checkpoint`](crate::JobHandle::trigger_checkpoint)).
    Checkpoint,
    /// A savepoint ([`trigger_savepoint`](crate::JobHandle::trigger_savepoint)).
    Savepoint {
        /// Directory that gets it, a URI; none: the job's default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<String>,
    },
    /// The end of the job with a checkpoint ([`stop`](crate::JobHandle::stop)).
    Stop,
    /// The end of the job with a savepoint ([`stop_with_savepoint`](crate::JobHandle::stop_with_savepoint)).
    StopWithSavepoint {
        /// Directory that gets it, a URI; none: the job's default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<String>,
        /// Whether the job counts as finished.
        #[serde(default)]
        drain: bool,
    },
    /// The end of the job at once ([`cancel`](crate::JobHandle::cancel)).
    Cancel,
}

/// What a job has done for somebody outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ControlAnswer {
    /// Number of the checkpoint or savepoint; none where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Text by which it is restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Size of its state in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Milliseconds from its start to its durable metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

impl From<CheckpointStatistics> for ControlAnswer {
    fn from(statistics: CheckpointStatistics) -> Self {
        Self {
            id: Some(statistics.id),
            pointer: Some(statistics.pointer),
            size: Some(statistics.state_size),
            duration_ms: u64::try_from(statistics.duration.as_millis()).ok(),
        }
    }
}

/// An answer as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Reply {
    Done(ControlAnswer),
    Failed(String),
}

/// The name of a request, without what is put behind it.
fn name<'a>(file: &'a str, suffix: &str) -> Option<&'a str> {
    let name = file.strip_suffix(suffix)?;
    let is_plain = (1..=100).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    is_plain.then_some(name)
}

/// Writes a file so that it is complete as soon as it is there.
fn write(fs: &dyn FileSystem, directory: &StoragePath, name: &str, value: &impl Serialize) -> Result<()> {
    let incomplete = directory.join(&format!("{name}{INCOMPLETE}"));
    let text = serde_json::to_vec(value).map_err(|error| Error::internal("no text for a file").because(error))?;
    fs.remove_file(&incomplete)?;
    let mut file = fs.create_new(&incomplete)?;
    file.write_all(&text).map_err(error_from_io).with("file", &incomplete)?;
    file.close()?;
    fs.rename(&incomplete, &directory.join(name))
}

/// Reads a file of ours, which is small. The rest of a large one is not read.
fn read(fs: &dyn FileSystem, file: &StoragePath) -> Result<String> {
    const LARGEST: u64 = 1 << 16;
    let mut bytes = Vec::new();
    fs.open(file)?.take(LARGEST).read_to_end(&mut bytes).map_err(error_from_io).with("file", file)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
