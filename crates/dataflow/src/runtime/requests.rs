//! Checkpoints and savepoints that somebody asked for: from the handle to the coordinator, and the answers back.

use std::collections::{BTreeMap, VecDeque};

use highwater_backends::options;
use highwater_checkpoint::{CheckpointKind, StoragePath};
use highwater_types::{Error, Result};

use crate::pending::Promise;
use crate::progress::CheckpointStatistics;

/// Somebody who waits for a checkpoint or savepoint.
pub(crate) type Waiting = Promise<CheckpointStatistics>;

/// What somebody asks the coordinator for.
#[derive(Debug)]
pub(crate) enum Request {
    Checkpoint(Waiting),
    Savepoint {
        /// Directory in which the savepoint gets its own; none: the default one.
        target: Option<String>,
        waiting: Waiting,
    },
    StopWithSavepoint {
        target: Option<String>,
        /// Whether the job is to count as finished.
        is_drained: bool,
        waiting: Waiting,
    },
}

/// What a request comes to.
#[derive(Debug)]
pub(crate) enum Next {
    /// The coordinator is to take a checkpoint.
    Trigger(CheckpointKind),
    /// There has to be room for a savepoint first, at this target. It is triggered when there is: whoever owns the target
    /// decides how long that takes.
    MakeRoom { request: u64, target: StoragePath },
}

/// A savepoint that is to begin.
#[derive(Debug)]
struct Wanted {
    kind: CheckpointKind,
    request: u64,
    /// None until there is one.
    directory: Option<String>,
    is_drained: bool,
    waiting: Waiting,
}

/// A savepoint that has begun.
#[derive(Debug)]
pub(crate) struct Begun {
    /// Number of the request, which its room was made for.
    pub(crate) request: u64,
    pub(crate) directory: String,
    /// Whether the job, if it ends with it, counts as finished.
    pub(crate) is_drained: bool,
}

/// The requests of one attempt. Who is still waiting when it is dropped is told that the attempt has ended.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// `execution.checkpointing.savepoint-dir`.
    default_target: Option<StoragePath>,
    /// Number of the last request for a savepoint.
    last_request: u64,
    checkpoints: Vec<Waiting>,
    /// Savepoints for which there is no room yet, by request.
    homeless: BTreeMap<u64, Wanted>,
    savepoints: VecDeque<Wanted>,
    final_savepoints: VecDeque<Wanted>,
    /// By checkpoint or savepoint under way.
    under_way: BTreeMap<u64, Vec<Waiting>>,
    /// What ends the job is answered when the job has come to its end.
    last: Vec<(Waiting, CheckpointStatistics)>,
}

impl Requests {
    pub(crate) fn new(default_target: Option<StoragePath>) -> Self {
        let mut requests = Self::default();
        requests.default_target = default_target;
        requests
    }

    /// Takes a request, and says what follows. None if it was refused, and the answer given.
    pub(crate) fn add(&mut self, request: Request) -> Option<Next> {
        let (target, is_drained, waiting, kind) = match request {
            Request::Checkpoint(waiting) => {
                self.checkpoints.push(waiting);
                return Some(Next::Trigger(CheckpointKind::Manual));
            }
            Request::Savepoint { target, waiting } => (target, false, waiting, CheckpointKind::Savepoint),
            Request::StopWithSavepoint { target, is_drained, waiting } => {
                (target, is_drained, waiting, CheckpointKind::FinalSavepoint)
            }
        };
        match self.target(target) {
            Ok(target) => {
                self.last_request += 1;
                let request = self.last_request;
                self.homeless.insert(request, Wanted { kind, request, directory: None, is_drained, waiting });
                Some(Next::MakeRoom { request, target })
            }
            Err(error) => {
                waiting.keep(Err(error));
                None
            }
        }
    }

    /// There is room for a savepoint in this directory, or there cannot be, which is the answer. Returns what to trigger.
    pub(crate) fn room(&mut self, request: u64, directory: Result<String>) -> Option<CheckpointKind> {
        let mut wanted = self.homeless.remove(&request)?;
        match directory {
            Ok(directory) => {
                let kind = wanted.kind;
                wanted.directory = Some(directory);
                match kind.is_final() {
                    true => self.final_savepoints.push_back(wanted),
                    false => self.savepoints.push_back(wanted),
                }
                Some(kind)
            }
            Err(error) => {
                wanted.waiting.keep(Err(error));
                None
            }
        }
    }

    fn target(&self, target: Option<String>) -> Result<StoragePath> {
        match target {
            Some(target) => StoragePath::parse(&target)?.qualified(),
            None => self.default_target.clone().ok_or_else(|| {
                Error::configuration(
                    "no directory for the savepoint was given, and there is no default: give one, or set it with this key",
                )
                .with("key", options::SAVEPOINT_DIRECTORY.key())
            }),
        }
    }

    /// A checkpoint begins. Returns where a savepoint goes.
    pub(crate) fn begin(&mut self, checkpoint: u64, kind: CheckpointKind) -> Option<Begun> {
        let wanted = match kind {
            CheckpointKind::Periodic => return None,
            // The final checkpoint stands for all that were asked for.
            CheckpointKind::Manual | CheckpointKind::Final => {
                let waiting = std::mem::take(&mut self.checkpoints);
                if !waiting.is_empty() {
                    self.under_way.insert(checkpoint, waiting);
                }
                if kind.is_final() {
                    let homeless = self.homeless.extract_if(.., |_, wanted| wanted.kind.is_final());
                    let late = self.final_savepoints.drain(..).chain(homeless.map(|(_, wanted)| wanted));
                    let answer = || Err(Error::cancelled("the job is ending already, with a checkpoint of its own"));
                    late.for_each(|wanted| wanted.waiting.keep(answer()));
                }
                return None;
            }
            CheckpointKind::Savepoint => self.savepoints.pop_front(),
            CheckpointKind::FinalSavepoint => self.final_savepoints.pop_front(),
        };
        let Wanted { request, directory, is_drained, waiting, .. } = wanted?;
        self.under_way.insert(checkpoint, vec![waiting]);
        Some(Begun { request, directory: directory?, is_drained })
    }

    /// It is complete. What ends the job is answered with the end.
    pub(crate) fn completed(&mut self, kind: CheckpointKind, statistics: &CheckpointStatistics) {
        for waiting in self.under_way.remove(&statistics.id).into_iter().flatten() {
            match kind.is_final() {
                true => self.last.push((waiting, statistics.clone())),
                false => waiting.keep(Ok(statistics.clone())),
            }
        }
    }

    /// It was given up.
    pub(crate) fn aborted(&mut self, checkpoint: u64, reason: &impl std::fmt::Display) {
        for waiting in self.under_way.remove(&checkpoint).into_iter().flatten() {
            let error = Error::storage("the checkpoint or savepoint was given up; the job goes on");
            waiting.keep(Err(error.with("id", checkpoint).with("reason", reason)));
        }
    }

    /// The job has come to its end: everything is committed.
    pub(crate) fn ended(&mut self) {
        self.last.drain(..).for_each(|(waiting, statistics)| waiting.keep(Ok(statistics)));
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        for (waiting, statistics) in self.last.drain(..) {
            let error = Error::storage(
                "the savepoint was taken, but the job failed before everything was committed: it goes on from the savepoint",
            );
            waiting.keep(Err(error.with("savepoint", statistics.pointer)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pending::pending;

    /// Whoever came too late heard nothing until the attempt was over.
    #[test]
    fn a_final_checkpoint_answers_the_final_savepoints_that_wait_behind_it() {
        let mut requests = Requests::new(None);
        let mut ask = || {
            let (waiting, answer) = pending();
            let target = Some("file:///savepoints".to_owned());
            let next = requests.add(Request::StopWithSavepoint { target, is_drained: true, waiting });
            let Some(Next::MakeRoom { request, .. }) = next else { panic!("{next:?}") };
            (request, answer)
        };
        let ((first, with_room), (second, without)) = (ask(), ask());
        assert_eq!(requests.room(first, Ok("there".to_owned())), Some(CheckpointKind::FinalSavepoint));
        assert!(requests.begin(7, CheckpointKind::Final).is_none());
        for mut answer in [with_room, without] {
            let error = answer.wait(Duration::ZERO).unwrap().unwrap_err();
            assert!(error.to_string().contains("is ending already"), "{error}");
        }
        assert_eq!(requests.room(second, Ok("there".to_owned())), None);
        // It is not there for a later one.
        assert!(requests.begin(8, CheckpointKind::FinalSavepoint).is_none());
    }
}
