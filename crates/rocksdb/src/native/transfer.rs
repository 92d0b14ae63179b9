//! Several threads that copy files.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use highwater_types::{Error, Result};

/// Does `work` for every item on at most `threads` threads, the calling one among them, and returns the results in the
/// order of the items: as many as there are if all went well, else an error, and the results that there are.
pub(super) fn transfer<T: Send + Sync, R: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<R> + Sync,
) -> (Vec<R>, Option<Error>) {
    let rest = Mutex::new(items.iter().enumerate());
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let failure = Mutex::new(None);
    let is_failed = AtomicBool::new(false);
    let run = || {
        while !is_failed.load(Ordering::Relaxed) {
            let Some((index, item)) = lock(&rest).next() else { return };
            match work(item) {
                Ok(result) => lock(&done).push((index, result)),
                Err(error) => {
                    is_failed.store(true, Ordering::Relaxed);
                    lock(&failure).get_or_insert(error);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            scope.spawn(run);
        }
        run();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(index, _)| *index);
    let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    (done.into_iter().map(|(_, result)| result).collect(), failure)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_a_failure_stops_the_rest() {
        let items: Vec<u32> = (0..100).collect();
        for threads in [1, 4, 200] {
            let (results, failure) = transfer(threads, &items, |item| Ok(item * 2));
            assert!(failure.is_none());
            assert_eq!(results, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        }
        let (results, failure) = transfer(2, &items, |item| match item {
            20 => Err(Error::storage("no")),
            _ => Ok(()),
        });
        assert!(failure.is_some() && results.len() < 100);
        assert!(transfer(3, &[] as &[u32], |_| Ok(())).1.is_none());
    }
}
