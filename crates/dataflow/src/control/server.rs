//! The thread that looks for requests while a job runs.

use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use highwater_checkpoint::{FileLock, FileSystem, JobDirectory, StoragePath};
use highwater_types::{Error, Result};

use super::{
    ANSWER, ControlAnswer, ControlCommand, DIRECTORY, INCOMPLETE, LOCK, REQUEST, RUNNING, Reply, name, read, write,
};
use crate::{CheckpointStatistics, JobHandle, Pending};

/// Time between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// How long an answer that an earlier process gave is left for its asker, who may just be about to read it.
const KEPT: Duration = Duration::from_secs(3_600);

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
        let mut desk = Desk::new(fs, directory, handle, lock);
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
    /// Names of answers that earlier processes gave, and when they go if nobody has fetched them.
    old: (Instant, Vec<String>),
    _lock: Box<dyn FileLock>,
}

enum Waiting {
    For(Pending<CheckpointStatistics>),
    /// For the end of the job.
    ForTheEnd,
}

impl Desk {
    fn new(fs: Arc<dyn FileSystem>, directory: StoragePath, handle: &JobHandle, lock: Box<dyn FileLock>) -> Self {
        let old = (Instant::now() + KEPT, Vec::new());
        Self { fs, directory, handle: handle.clone(), waiting: Vec::new(), old, _lock: lock }
    }

    /// Nothing that was asked before this process ran is carried out: what the one before had begun may have happened,
    /// and what nobody has seen may no longer be meant.
    fn clear(&mut self) -> Result<()> {
        for entry in self.fs.list(&self.directory)? {
            if let Some(name) = name(&entry.name, ANSWER) {
                self.old.1.push(name.to_owned());
            } else if let Some(name) = name(&entry.name, RUNNING) {
                self.answer(
                    name,
                    Reply::Failed(
                        "the process that was asked ended before it answered: look whether it was done".into(),
                    ),
                );
            } else if let Some(name) = name(&entry.name, REQUEST)
                && self.take(name)?.is_some()
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
            // A second one of the same name waits for the answer to the first.
            if self.waiting.iter().any(|(other, _)| other == name) {
                continue;
            }
            let file = match self.take(name) {
                Ok(Some(file)) => file,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(name, %error, "a request cannot be taken up: it is tried again");
                    continue;
                }
            };
            match self.carry_out(&file) {
                Ok(waiting) => self.waiting.push((name.to_owned(), waiting)),
                Err(error) => self.answer(name, Reply::Failed(error.to_string())),
            }
        }
        self.answer_what_is_done();
        self.remove_old_answers();
    }

    /// Gives a request, of which none of the same name waits, the name under which it is never carried out again. None if
    /// its asker has taken it back.
    fn take(&self, name: &str) -> Result<Option<StoragePath>> {
        let request = self.directory.join(&format!("{name}{REQUEST}"));
        let running = self.directory.join(&format!("{name}{RUNNING}"));
        // Of one that was answered, if that could not be removed then.
        self.fs.remove_file(&running)?;
        match self.fs.rename(&request, &running) {
            Ok(()) => Ok(Some(running)),
            Err(_) if self.fs.stat(&request)?.is_none() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remove_old_answers(&mut self) {
        if Instant::now() < self.old.0 {
            return;
        }
        for name in std::mem::take(&mut self.old.1) {
            if let Err(error) = self.fs.remove_file(&self.directory.join(&format!("{name}{ANSWER}"))) {
                tracing::warn!(name, %error, "an old answer cannot be removed");
            }
        }
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

    /// Leaves an answer, in place of one to an earlier request of the same name.
    fn answer(&mut self, name: &str, reply: Reply) {
        self.old.1.retain(|old| old != name);
        let running = self.directory.join(&format!("{name}{RUNNING}"));
        let answer = format!("{name}{ANSWER}");
        let answered = self
            .fs
            .remove_file(&self.directory.join(&answer))
            .and_then(|()| write(&*self.fs, &self.directory, &answer, &reply))
            .and_then(|()| self.fs.remove_file(&running));
        if let Err(error) = answered {
            tracing::warn!(name, %error, ?reply, "a request could not be answered");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use highwater_checkpoint::LocalFileSystem;

    use super::*;

    fn desk(directory: &Path) -> Desk {
        let fs: Arc<dyn FileSystem> = Arc::new(LocalFileSystem);
        let directory = StoragePath::from_local(directory).unwrap();
        let lock = lock(&*fs, &directory).unwrap();
        Desk::new(fs, directory, &JobHandle::new(), lock)
    }

    fn files(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != LOCK);
        names.sort();
        names
    }

    /// The answer to the first was in the way of the second: that was carried out, and then never answered.
    #[test]
    fn a_name_may_be_used_again() {
        let scratch = tempfile::tempdir().unwrap();
        let file = |name: &str| scratch.path().join(name);
        let mut desk = desk(scratch.path());
        for command in ["checkpoint", "unheard-of"] {
            std::fs::write(file("a.request"), format!("{{ \"command\": \"{command}\" }}")).unwrap();
            // What could not be removed after the last answer.
            std::fs::write(file("a.running"), "").unwrap();
            desk.look();
            assert_eq!(files(scratch.path()), ["a.answer"]);
            let is_of_the_second = std::fs::read_to_string(file("a.answer")).unwrap().contains("this is no request");
            assert_eq!(is_of_the_second, command == "unheard-of");
        }
    }

    /// The second took the file of the first away, and answered it with an error.
    #[test]
    fn a_second_request_of_a_name_waits_for_the_answer_to_the_first() {
        let scratch = tempfile::tempdir().unwrap();
        let file = |name: &str| scratch.path().join(name);
        let mut desk = desk(scratch.path());
        for _ in 0..2 {
            std::fs::write(file("a.request"), r#"{ "command": "stop" }"#).unwrap();
            desk.look();
        }
        assert_eq!(files(scratch.path()), ["a.request", "a.running"]);
        desk.close(None);
        assert_eq!(files(scratch.path()), ["a.answer", "a.request"]);
        desk.look();
        assert_eq!(files(scratch.path()), ["a.answer", "a.running"]);
    }

    #[test]
    fn a_request_that_was_taken_back_has_no_answer_and_old_answers_go_in_the_end() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("old.answer"), "{}").unwrap();
        let mut desk = desk(scratch.path());
        desk.clear().unwrap();
        assert!(desk.take("gone").unwrap().is_none());
        desk.look();
        assert_eq!(files(scratch.path()), ["old.answer"], "its asker may be about to read it");
        desk.old.0 = Instant::now();
        desk.look();
        assert_eq!(files(scratch.path()), [] as [&str; 0]);
    }
}
