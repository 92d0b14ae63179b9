//! The note that a job has finished.
//!
//! It is a file `_finished` in the job's directory, which names the final checkpoint. Flink never looks at it, and the
//! checkpoint stays a plain one that anybody may restore. The note is written when the sinks have committed: a crash
//! before that only makes the next start take one more final checkpoint.

use std::io::{Read, Write};

use highwater_checkpoint::{JobDirectory, error_from_io};
use highwater_types::Result;

const NAME: &str = "_finished";

/// The note of one job. A job without a directory has none.
pub(crate) struct FinishedMarker {
    directory: Option<JobDirectory>,
}

impl FinishedMarker {
    pub(crate) fn new(directory: Option<&JobDirectory>) -> Self {
        Self { directory: directory.cloned() }
    }

    /// Whether the job finished with this checkpoint.
    pub(crate) fn is_for(&self, checkpoint: u64) -> bool {
        self.read() == Some(checkpoint)
    }

    fn read(&self) -> Option<u64> {
        let directory = self.directory.as_ref()?;
        let file = directory.file_system().open(&directory.path().join(NAME)).ok()?;
        let mut text = String::new();
        // A number has at most 20 digits.
        file.take(32).read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }

    /// Notes durably that the job finished with this checkpoint.
    pub(crate) fn write(&self, checkpoint: u64) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        self.remove()?;
        let (fs, path) = (directory.file_system(), directory.path().join(NAME));
        let mut file = fs.create_new(&path)?;
        writeln!(file, "{checkpoint}").map_err(error_from_io)?;
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
