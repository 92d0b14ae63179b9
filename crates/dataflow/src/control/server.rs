//! The thread that looks for requests while a job runs.

use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use highwater_checkpoint::{FileLock, FileSystem, JobDirectory, StoragePath};
use highwater_types::{Error, Result};

use super::{
    ANSWER, ControlAnswer, ControlCommand, DIRECTORY, INCOMPLETE, LOCK, REQUEST, RUNNING, Reply, name, read, write,
};
use crate::{CheckpointStatistics, JobHandle, Pending};

/// Time between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// The running thread. It ends, and gives its last answers, with the job.
pub(crate) struct ControlServer {
    /// Set when the job is over, to its failure if it has failed.
    over: Arc<OnceLock<Option<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl ControlServer {
    /// Answers what an earlier process has left, and begins to look.
    pub(crate) fn start(job: &JobDirectory, handle: &JobHandle) -> Result<Self> {
        let (fs, directory) = (Arc::clone(job.file_system()), job.path().join(DIRECTORY));
        fs.create_dir_all(&directory)?;
        let lock = lock(&*fs, &directory)?;
        let mut desk = Desk { fs, directory, handle: handle.clone(), waiting: Vec::new(), _lock: lock };
        desk.clear()?;
        let over: Arc<OnceLock<Option<String>>> = Arc::default();
        let seen = Arc::clone(&over);
        let run = move || {
            let failure = loop {
                match seen.get() {
                    Some(failure) => break failure,
                    None => desk.look(),
                }
                thread::park_timeout(PAUSE);
            };
            desk.close(failure.as_deref());
        };
        let thread = thread::Builder::new()
            .name("control".to_owned())
            .spawn(run)
            .map_err(|error| Error::storage("the thread for requests could not be started").because(error))?;
        Ok(Self { over, thread: Some(thread) })
    }

    /// The job is over: gives the last answers.
    pub(crate) fn end(self, failure: Option<String>) {
        // Only here and when it is dropped.
        let _ = self.over.set(failure);
    }
}

/// Tells that requests are taken. Somebody who looks whether they are holds the lock for a moment.
fn lock(fs: &dyn FileSystem, directory: &StoragePath) -> Result<Box<dyn FileLock>> {
    let file = directory.join(LOCK);
    for _ in 0..100 {
        if let Ok(lock) = fs.lock(&file) {
            return Ok(lock);
        }
        thread::sleep(Duration::from_millis(10));
    }
    fs.lock(&file)
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        let _ = self.over.set(Some("the job could not be run".to_owned()));
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the thread for requests panicked");
            }
        }
    }
}

/// Where requests are taken and answers given.
struct Desk {
    fs: Arc<dyn FileSystem>,
    directory: StoragePath,
    handle: JobHandle,
    /// Requests without an answer, by name.
    waiting: Vec<(String, Waiting)>,
    _lock: Box<dyn FileLock>,
}

enum Waiting {
    For(Pending<CheckpointStatistics>),
    /// For the end of the job.
    ForTheEnd,
}

impl Desk {
    /// Nothing that was asked before this process ran is carried out: what the one before had begun may have happened,
    /// and what nobody has seen may no longer be meant.
    fn clear(&self) -> Result<()> {
        for entry in self.fs.list(&self.directory)? {
            if let Some(name) = name(&entry.name, RUNNING) {
                self.answer(
                    name,
                    Reply::Failed(
                        "the process that was asked ended before it answered: look whether it was done".into(),
                    ),
                );
            } else if let Some(name) = name(&entry.name, REQUEST)
                && self.take(name).is_ok()
            {
                self.answer(name, Reply::Failed("the job did not run when this was asked: ask again".into()));
            } else if entry.name.ends_with(INCOMPLETE) && entry.name.contains(ANSWER) {
                self.fs.remove_file(&self.directory.join(&entry.name))?;
            }
        }
        Ok(())
    }

    /// Takes new requests, and answers those that are done.
    fn look(&mut self) {
        let entries = match self.fs.list(&self.directory) {
            Ok(entries) => entries,
            Err(error) => return tracing::warn!(%error, "the directory of requests cannot be read"),
        };
        for name in entries.iter().filter_map(|entry| name(&entry.name, REQUEST)) {
            // Once it has another name it is never carried out again.
            match self.take(name).and_then(|file| self.carry_out(&file)) {
                Ok(waiting) => self.waiting.push((name.to_owned(), waiting)),
                Err(error) => self.answer(name, Reply::Failed(error.to_string())),
            }
        }
        self.answer_what_is_done();
    }

    fn take(&self, name: &str) -> Result<StoragePath> {
        let running = self.directory.join(&format!("{name}{RUNNING}"));
        self.fs.rename(&self.directory.join(&format!("{name}{REQUEST}")), &running)?;
        Ok(running)
    }

    fn carry_out(&self, request: &StoragePath) -> Result<Waiting> {
        let command: ControlCommand = serde_json::from_str(&read(&*self.fs, request)?).map_err(|error| {
            Error::configuration("this is no request: see the documentation of the control directory").because(error)
        })?;
        tracing::info!(?command, "a request from outside");
        Ok(match command {
            ControlCommand::Checkpoint => Waiting::For(self.handle.trigger_checkpoint()),
            ControlCommand::Savepoint { target } => Waiting::For(self.handle.trigger_savepoint(target.as_deref())),
            ControlCommand::StopWithSavepoint { target, drain } => {
                Waiting::For(self.handle.stop_with_savepoint(target.as_deref(), drain))
            }
            ControlCommand::Stop => {
                self.handle.stop();
                Waiting::ForTheEnd
            }
            ControlCommand::Cancel => {
                self.handle.cancel();
                Waiting::ForTheEnd
            }
        })
    }

    fn answer_what_is_done(&mut self) {
        let mut done = Vec::new();
        self.waiting.retain_mut(|(name, waiting)| match waiting {
            Waiting::For(pending) => match pending.wait(Duration::ZERO) {
                Some(outcome) => {
                    done.push((std::mem::take(name), outcome));
                    false
                }
                None => true,
            },
            Waiting::ForTheEnd => true,
        });
        for (name, outcome) in done {
            let reply = outcome.map_or_else(|error| Reply::Failed(error.to_string()), |done| Reply::Done(done.into()));
            self.answer(&name, reply);
        }
    }

    /// The job is over: every request is answered by now, but for those that ended it.
    fn close(&mut self, failure: Option<&str>) {
        self.look();
        let newest = || self.handle.progress().last_checkpoint.map_or_else(ControlAnswer::default, Into::into);
        let reply = failure.map_or_else(|| Reply::Done(newest()), |failure| Reply::Failed(failure.to_owned()));
        for (name, _) in std::mem::take(&mut self.waiting) {
            self.answer(&name, reply.clone());
        }
    }

    fn answer(&self, name: &str, reply: Reply) {
        let running = self.directory.join(&format!("{name}{RUNNING}"));
        let answer = format!("{name}{ANSWER}");
        let answered = write(&*self.fs, &self.directory, &answer, &reply).and_then(|()| self.fs.remove_file(&running));
        if let Err(error) = answered {
            tracing::warn!(name, %error, ?reply, "a request could not be answered");
        }
    }
}
