//! The note that a job has finished.
//!
//! It is a file `_finished` in the job's directory, which names the final checkpoint. Flink never looks at it, and the
//! checkpoint stays a plain one that anybody may restore. The note is written when the sinks have committed: a crash
//! before that only makes the next start take one more final checkpoint.

use std::io::{Read, Write};

use highwater_checkpoint::{JobDirectory, error_from_io};
use highwater_types::{Error, Result, ResultExt};

const NAME: &str = "_finished";
const TEMPORARY: &str = "._finished.inprogress";

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

    /// With what the job finished; none if it did not, which only a missing note says: where the checkpoints went with
    /// the end of the job, nothing else tells that it must not run again.
    ///
    /// # Errors
    /// `Corrupt` if the note cannot be understood; those of the file system.
    pub(crate) fn read(&self) -> Result<Option<Finished>> {
        let Some(directory) = &self.directory else { return Ok(None) };
        let (fs, path) = (directory.file_system(), directory.path().join(NAME));
        if fs.stat(&path)?.is_none() {
            return Ok(None);
        }
        let mut text = Vec::new();
        // A number has at most 20 digits.
        fs.open(&path)?.take(64).read_to_end(&mut text).map_err(error_from_io).with("file", &path)?;
        let finished = parse(&text).ok_or_else(|| {
            Error::corrupt(
                "the note that the job has finished is damaged. Remove it if the job is to run again; it begins at its \
                 beginning unless its checkpoints were kept",
            )
            .with("file", &path)
        });
        finished.map(Some)
    }

    /// Notes durably with what the job finished.
    pub(crate) fn write(&self, finished: Finished) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        self.remove()?;
        let (fs, temporary) = (directory.file_system(), directory.path().join(TEMPORARY));
        fs.remove_file(&temporary)?;
        let mut file = fs.create_new(&temporary)?;
        let place = if finished.is_here { "" } else { ELSEWHERE };
        writeln!(file, "{} {place}", finished.checkpoint).map_err(error_from_io)?;
        file.sync()?;
        file.close()?;
        fs.rename(&temporary, &directory.path().join(NAME))?;
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

fn parse(text: &[u8]) -> Option<Finished> {
    let mut words = std::str::from_utf8(text).ok()?.split_whitespace();
    let checkpoint = words.next()?.parse().ok()?;
    match (words.next(), words.next()) {
        (None, _) => Some(Finished { checkpoint, is_here: true }),
        (Some(ELSEWHERE), None) => Some(Finished { checkpoint, is_here: false }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use highwater_checkpoint::{
        CheckpointStorage, FaultyFileSystem, FileStep, FileSystemCheckpointStorage, JobId, LocalFileSystem, StoragePath,
    };
    use highwater_types::ErrorKind;

    use super::*;

    /// Whatever could not be read counted as "not finished", and the job ran once more from its beginning.
    #[test]
    fn only_a_missing_note_says_that_the_job_has_not_finished() {
        let scratch = tempfile::tempdir().unwrap();
        let fails = Arc::new(AtomicBool::new(false));
        let fails_too = Arc::clone(&fails);
        let fs = FaultyFileSystem::new(LocalFileSystem, move |step, path| {
            match step == FileStep::Read && fails_too.load(Ordering::SeqCst) && path.file_name() == Some(NAME) {
                true => Err(Error::storage("injected")),
                false => Ok(()),
            }
        });
        let base = StoragePath::from_local(scratch.path()).unwrap();
        let storage = FileSystemCheckpointStorage::new(base).unwrap().with_file_system(Arc::new(fs));
        let access = storage.open(JobId::from_name("finished")).unwrap();
        let marker = FinishedMarker::new(access.directory());
        assert_eq!(marker.read().unwrap(), None);

        for finished in [Finished { checkpoint: 7, is_here: true }, Finished { checkpoint: u64::MAX, is_here: false }] {
            marker.write(finished).unwrap();
            assert_eq!(marker.read().unwrap(), Some(finished));
        }
        fails.store(true, Ordering::SeqCst);
        assert_eq!(marker.read().unwrap_err().kind(), ErrorKind::Storage);
        fails.store(false, Ordering::SeqCst);

        let file = access.directory().unwrap().path().join(NAME).to_local_path().unwrap();
        for damaged in ["", "seven", "7 nowhere", "7 elsewhere 8"] {
            std::fs::write(&file, damaged).unwrap();
            let error = marker.read().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{damaged}");
            assert!(error.value("file").unwrap().ends_with(NAME), "{error}");
        }
        marker.remove().unwrap();
        assert_eq!(marker.read().unwrap(), None);
    }
}
