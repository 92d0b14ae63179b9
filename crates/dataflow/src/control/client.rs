//! Asking a job that another process runs.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use highwater_checkpoint::{FileSystem, JobId, StoragePath, file_system_for};
use highwater_types::{Error, Result};

use super::{ANSWER, ControlAnswer, ControlCommand, DIRECTORY, LOCK, REQUEST, Reply, read, write};

/// Time between two looks for the answer.
const PAUSE: Duration = Duration::from_millis(100);

/// The way to a job that runs in another process with
/// [`control_directory`](crate::ExecutionConfig::control_directory): requests and answers are files in the directory
/// `control` beside its checkpoints.
///
/// A request is the file `<name>.request`, where `<name>` consists of letters, digits and `-`. It is written under
/// another name and renamed, and holds a [`ControlCommand`] as JSON:
///
/// ```json
/// { "command": "stop-with-savepoint", "target": "file:///data/savepoints", "drain": false }
/// ```
///
/// The job looks there every second, carries the request out, once, and leaves `<name>.answer`, which is for the asker to
/// remove: `{ "done": … }` with a [`ControlAnswer`], or `{ "failed": "the error" }`.
///
/// ```
/// use std::time::Duration;
/// use highwater_checkpoint::{JobId, StoragePath};
/// use highwater_dataflow::{ControlCommand, JobControl};
///
/// # let scratch = tempfile::tempdir().unwrap();
/// let checkpoints = StoragePath::from_local(scratch.path())?;
/// let job = JobControl::new(&checkpoints, JobId::from_name("word count"))?;
/// let answer = job.ask(&ControlCommand::Checkpoint, Duration::from_secs(60));
/// assert!(answer.unwrap_err().message().contains("does not run"));
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct JobControl {
    fs: Arc<dyn FileSystem>,
    job: StoragePath,
}

impl JobControl {
    /// The way to a job with checkpoints in this base directory.
    ///
    /// # Errors
    /// `Unsupported` for a file system that is not known.
    pub fn new(checkpoints: &StoragePath, job: JobId) -> Result<Self> {
        Ok(Self { fs: file_system_for(checkpoints)?, job: checkpoints.join(&job.to_string()) })
    }

    /// Asks the job for something and waits for the answer: of a checkpoint or savepoint when it is complete, of what ends
    /// the job when it is over. A request that is not taken up in this time is taken back.
    ///
    /// # Errors
    /// What the job answers; `Configuration` if it does not run; `Storage` if it does not answer in time.
    pub fn ask(&self, command: &ControlCommand, timeout: Duration) -> Result<ControlAnswer> {
        self.is_running()?;
        let directory = self.job.join(DIRECTORY);
        let name = uuid::Uuid::new_v4().simple().to_string();
        let (request, answer) = (format!("{name}{REQUEST}"), directory.join(&format!("{name}{ANSWER}")));
        write(&*self.fs, &directory, &request, command).map_err(|error| {
            Error::new(error.kind(), "the request could not be written: does the job take requests?").because(error)
        })?;
        let asked = Instant::now();
        loop {
            // It may have answered just before it ended.
            let is_running = self.is_running();
            if self.fs.stat(&answer)?.is_some() {
                return self.take_answer(&answer);
            }
            if is_running.is_err() || asked.elapsed() >= timeout {
                let request = directory.join(&request);
                let was_seen = self.fs.stat(&request)?.is_none();
                self.fs.remove_file(&request)?;
                is_running?;
                let error = Error::storage("the job has not answered in time; if it has begun, it goes on with it");
                return Err(error.with("was seen", was_seen));
            }
            thread::sleep(PAUSE);
        }
    }

    fn take_answer(&self, answer: &StoragePath) -> Result<ControlAnswer> {
        let text = read(&*self.fs, answer)?;
        self.fs.remove_file(answer)?;
        match serde_json::from_str(&text) {
            Ok(Reply::Done(done)) => Ok(done),
            Ok(Reply::Failed(error)) => Err(Error::storage(error)),
            Err(error) => Err(Error::corrupt("the answer of the job cannot be understood").because(error)),
        }
    }

    /// A job that takes requests holds the lock of the directory.
    fn is_running(&self) -> Result<()> {
        let not_running = || {
            Err(Error::configuration("the job does not run, takes no requests, or keeps its checkpoints elsewhere")
                .with("directory", &self.job))
        };
        let directory = self.job.join(DIRECTORY);
        if self.fs.stat(&directory)?.is_none() {
            return not_running();
        }
        match self.fs.lock(&directory.join(LOCK)) {
            Ok(_ours) => not_running(),
            Err(_held) => Ok(()),
        }
    }
}
