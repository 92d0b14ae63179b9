//! One attempt to run a job: what its threads in this process share.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

use highwater_checkpoint::{CancelToken, SubtaskState};
use highwater_types::{Error, ErrorKind, Result};

use super::requests::Request;

/// Locks a mutex. What it protects is whole after every statement, so that a panic elsewhere does no harm.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The attempt-wide flag: set by the first failure, seen by all threads, never taken back.
#[derive(Debug, Default)]
pub(crate) struct Attempt {
    /// Number, from 1 in each process 0.
    pub(crate) number: u64,
    cancel: CancelToken,
    failure: Mutex<Option<Error>>,
    stop: AtomicBool,
    /// The source that may have large records under way; 0 for none.
    large: AtomicU64,
    /// For the coordinator; none where there is none.
    requests: Mutex<Option<Vec<Request>>>,
    /// State that was written for checkpoints that did not want it any more.
    left_over: Mutex<Vec<(u64, SubtaskState)>>,
    /// Threads that park.
    sleepers: Mutex<Vec<Thread>>,
}

impl Attempt {
    pub(crate) fn new(number: u64) -> Self {
        Self { number, ..Self::default() }
    }

    /// Ends the attempt with this error, unless it has one already, and wakes everybody.
    pub(crate) fn fail(&self, error: Error) {
        {
            let mut failure = lock(&self.failure);
            match &*failure {
                None => *failure = Some(error),
                Some(_) => tracing::debug!(%error, "another failure of an attempt that has failed"),
            }
        }
        self.cancel();
    }

    /// Ends the attempt because somebody wants the job to end.
    pub(crate) fn cancel_job(&self) {
        self.fail(Error::cancelled("the job was cancelled"));
    }

    /// Ends the attempt without an error.
    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
        self.wake();
    }

    /// Whether everybody should leave.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// What is cancelled with the attempt.
    pub(crate) fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    /// The first failure.
    pub(crate) fn take_failure(&self) -> Option<Error> {
        lock(&self.failure).take()
    }

    /// Kind and text of the first failure, for others to know.
    pub(crate) fn failure(&self) -> Option<(ErrorKind, String)> {
        lock(&self.failure).as_ref().map(|failure| (failure.kind(), failure.to_string()))
    }

    /// Passes a request on to the coordinator, if this process has it and the attempt runs. Otherwise it is refused.
    pub(crate) fn request(&self, request: Request) {
        if let Some(requests) = &mut *lock(&self.requests) {
            requests.push(request);
        }
        self.wake();
    }

    /// From now on requests are taken.
    pub(crate) fn open_requests(&self) {
        lock(&self.requests).get_or_insert_default();
    }

    /// From now on requests are refused, and so are those that nobody has taken.
    pub(crate) fn close_requests(&self) {
        *lock(&self.requests) = None;
    }

    /// Requests since the last call.
    pub(crate) fn take_requests(&self) -> Vec<Request> {
        lock(&self.requests).as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Asks for a stop with a checkpoint.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Lets one source of this process, named by a number above 0, have records under way that are large, or may be. True
    /// if it is this one.
    pub(crate) fn take_large(&self, source: u64) -> bool {
        match self.large.compare_exchange(0, source, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => true,
            Err(holder) => holder == source,
        }
    }

    /// The records of this source are through, or were not large. True if it was this one that might have some.
    pub(crate) fn give_large(&self, source: u64) -> bool {
        self.large.compare_exchange(source, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Leaves state that was written in vain to whoever deletes files. (In a process without the coordinator, the next
    /// start of the job does.)
    pub(crate) fn leave_over(&self, checkpoint: u64, state: SubtaskState) {
        if !state.is_empty() {
            lock(&self.left_over).push((checkpoint, state));
        }
    }

    /// State whose files are to be deleted, unless completed checkpoints share them.
    pub(crate) fn take_left_over(&self) -> Vec<(u64, SubtaskState)> {
        std::mem::take(&mut *lock(&self.left_over))
    }

    /// Adds the calling thread to those that are woken.
    pub(crate) fn register_sleeper(&self) {
        lock(&self.sleepers).push(thread::current());
    }

    /// Wakes all registered threads.
    pub(crate) fn wake(&self) {
        lock(&self.sleepers).iter().for_each(Thread::unpark);
    }

    /// Runs code of the user. An error or a panic is a failure of the attempt; none is returned then.
    pub(crate) fn guard<T>(&self, operator: &str, subtask: u32, code: impl FnOnce() -> Result<T>) -> Option<T> {
        match catch(code) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fail(error.with("operator", operator).with("subtask", subtask));
                None
            }
        }
    }
}

/// Runs code that may panic; the panic becomes an error.
pub(crate) fn catch<T>(code: impl FnOnce() -> Result<T>) -> Result<T> {
    // What the closure touched is dropped with the attempt, or fails its next use: no broken invariant is seen.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(code)).unwrap_or_else(|payload| Err(panicked(&*payload)))
}

/// The error for a panic.
pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Error {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    Error::program("the program panicked").with("panic", text.unwrap_or("a value that is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_wins_and_panics_are_failures() {
        let attempt = Attempt::new(1);
        assert_eq!(attempt.guard("a", 0, || Ok(7)), Some(7));
        assert!(!attempt.is_cancelled());
        assert_eq!(attempt.guard::<()>("a", 2, || panic!("lost {}", 3)), None);
        attempt.fail(Error::internal("later"));
        assert!(attempt.is_cancelled());
        let failure = attempt.take_failure().unwrap();
        assert_eq!(failure.value("panic"), Some("lost 3"));
        assert_eq!(failure.value("subtask"), Some("2"));
    }
}
