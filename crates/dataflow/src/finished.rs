//! The note that a job has finished.
//!
//! It is a file `_finished` in the job's directory, which names the final checkpoint. Flink never looks at it, and the
//! checkpoint stays a plain one that anybody may restore. The note is written when the sinks have committed: a crash
//! before that only makes the next start take one more final checkpoint.

use std::io::{Read, Write};

use highwater_checkpoint::{JobDirectory, error_from_io};
use highwater_types::Result;

const NAME: &str = "_finished";

/// Follows the id where the checkpoint is not in the job's directory.
const ELSEWHERE: &str = "elsewhere";

/// With what a job finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    /// Id of the final checkpoint or savepoint.
    pub(crate) checkpoint: u64,
    /// Whether it is in the job's directory: no savepoint, and not deleted at the end of the job.
    pub(crate) is_here: bool,
}

impl Finished {
    /// Its id, if it cannot be found in the directory.
    pub(crate) fn elsewhere(self) -> Option<u64> {
        (!self.is_here).then_some(self.checkpoint)
    }
}

/// The note of one job. A job without a directory has none.
pub(crate) struct FinishedMarker {
    directory: Option<JobDirectory>,
}

impl FinishedMarker {
    pub(crate) fn new(directory: Option<&JobDirectory>) -> Self {
        Self { directory: directory.cloned() }
    }

    /// With what the job finished; none if it did not.
    pub(crate) fn read(&self) -> Option<Finished> {
        let directory = self.directory.as_ref()?;
        let file = directory.file_system().open(&directory.path().join(NAME)).ok()?;
        let mut text = String::new();
        // A number has at most 20 digits.
        file.take(32).read_to_string(&mut text).ok()?;
        let mut words = text.split_whitespace();
        let checkpoint = words.next()?.parse().ok()?;
        Some(Finished { checkpoint, is_here: words.next() != Some(ELSEWHERE) })
    }

    /// Notes durably with what the job finished.
    pub(crate) fn write(&self, finished: Finished) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        self.remove()?;
        let (fs, path) = (directory.file_system(), directory.path().join(NAME));
        let mut file = fs.create_new(&path)?;
        let place = if finished.is_here { "" } else { ELSEWHERE };
        writeln!(file, "{} {place}", finished.checkpoint).map_err(error_from_io)?;
        file.sync()?;
        file.close()?;
        fs.sync_dir(directory.path())
    }

    /// Takes the note back: the job runs again.
    pub(crate) fn remove(&self) -> Result<()> {
        match &self.directory {
            Some(directory) => directory.file_system().remove_file(&directory.path().join(NAME)),
            None => Ok(()),
        }
    }
}
