//! Answers that come later.

use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use highwater_types::{Error, Result};

use crate::runtime::attempt::lock;

/// The answer to a request that a job takes its time for: wait for it, or await it as a future on any executor. Dropping
/// it takes nothing back.
///
/// ```
/// use std::time::Duration;
/// use highwater_dataflow::JobHandle;
///
/// let mut savepoint = JobHandle::new().trigger_savepoint(Some("file:///data/savepoints"));
/// let answer = savepoint.wait(Duration::from_secs(60));
/// assert!(answer.is_some_and(|answer| answer.is_err()), "no job runs with this handle");
/// ```
#[derive(Debug)]
pub struct Pending<T> {
    shared: Arc<Shared<T>>,
}

/// Gives the answer. Dropped without one, it gives an error: whoever was to answer has gone.
#[derive(Debug)]
pub(crate) struct Promise<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    answer: Mutex<Answer<T>>,
    answered: Condvar,
}

#[derive(Debug)]
struct Answer<T> {
    value: Option<Result<T>>,
    is_given: bool,
    waker: Option<Waker>,
}

/// A promise and the answer that it is about.
pub(crate) fn pending<T>() -> (Promise<T>, Pending<T>) {
    let answer = Mutex::new(Answer { value: None, is_given: false, waker: None });
    let shared = Arc::new(Shared { answer, answered: Condvar::new() });
    (Promise { shared: Arc::clone(&shared) }, Pending { shared })
}

impl<T> Pending<T> {
    /// Waits at most this long. None if there is no answer yet; the answer comes once.
    pub fn wait(&mut self, time: Duration) -> Option<Result<T>> {
        let deadline = Instant::now().checked_add(time);
        let mut answer = lock(&self.shared.answer);
        while !answer.is_given {
            // Without a deadline that the clock can show: for ever.
            let left = deadline.map_or(time, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            answer = match self.shared.answered.wait_timeout(answer, left) {
                Ok((answer, _)) => answer,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        answer.value.take()
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut answer = lock(&self.shared.answer);
        match answer.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                answer.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Promise<T> {
    pub(crate) fn keep(self, value: Result<T>) {
        self.shared.give(value);
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.shared.give(Err(Error::cancelled("the job ended, or its attempt failed, before it could answer")));
    }
}

impl<T> Shared<T> {
    fn give(&self, value: Result<T>) {
        let waker = {
            let mut answer = lock(&self.answer);
            if answer.is_given {
                return;
            }
            answer.is_given = true;
            answer.value = Some(value);
            answer.waker.take()
        };
        self.answered.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;
    use std::thread::{self, Thread};

    use super::*;

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    #[test]
    fn an_answer_is_waited_for_or_awaited() {
        let (promise, mut answer) = pending();
        assert!(answer.wait(Duration::ZERO).is_none());
        let giver = thread::spawn(move || promise.keep(Ok(7)));
        assert_eq!(answer.wait(Duration::MAX).unwrap().unwrap(), 7);
        giver.join().unwrap();

        let (promise, mut answer) = pending();
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        assert!(Pin::new(&mut answer).poll(&mut context).is_pending());
        let giver = thread::spawn(move || promise.keep(Ok("late")));
        let value = loop {
            match Pin::new(&mut answer).poll(&mut context) {
                Poll::Ready(value) => break value,
                Poll::Pending => thread::park(),
            }
        };
        assert_eq!(value.unwrap(), "late");
        giver.join().unwrap();
    }

    #[test]
    fn nobody_waits_for_somebody_who_has_gone() {
        let (promise, mut answer) = pending::<()>();
        drop(promise);
        assert!(answer.wait(Duration::MAX).unwrap().is_err());
    }
}
