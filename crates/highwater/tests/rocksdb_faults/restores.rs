//! Restores that somebody cancels.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use highwater::checkpoint::{FaultyFileSystem, FileStep, LocalFileSystem};
use highwater::{JobHandle, JobOutcome};

use crate::place::Place;
use crate::support::wait_until;

/// The files of a database were fetched to the last one, however long that took, before anybody looked whether the
/// attempt was still wanted; `task.cancellation.timeout` ended the process meanwhile.
#[test]
fn a_cancelled_restore_fetches_no_further_files() {
    let mut place = Place::new();
    place.set("state.backend.rocksdb.checkpoint.transfer.thread.num", "1");
    let handle = JobHandle::new();
    thread::scope(|scope| {
        scope.spawn(|| place.stop_when_tidy(&handle, 3));
        place.job(Some(3_000.0)).execute(&place.config().handle(&handle)).unwrap();
    });

    let (reads, cancelled, later) =
        (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (of_fault, is_cancelled, of_later) = (Arc::clone(&reads), Arc::clone(&cancelled), Arc::clone(&later));
    let fs = FaultyFileSystem::new(LocalFileSystem, move |step, path| {
        if step == FileStep::Read && path.path().contains("/shared/") {
            of_later.fetch_add(u64::from(is_cancelled.load(Ordering::SeqCst)), Ordering::SeqCst);
            of_fault.fetch_add(1, Ordering::SeqCst);
            wait_until(|| is_cancelled.load(Ordering::SeqCst));
        }
        Ok(())
    });
    let storage = place.storage().with_file_system(Arc::new(fs));
    let handle = JobHandle::new();
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            wait_until(|| reads.load(Ordering::SeqCst) > 0);
            drop(handle.cancel());
            cancelled.store(true, Ordering::SeqCst);
        });
        let config = place.config_on(storage).handle(&handle);
        place.job(Some(3_000.0)).execute(&config).unwrap()
    });
    assert_eq!(result.outcome, JobOutcome::Cancelled);
    // One read of each worker may have been on its way.
    let later = later.load(Ordering::SeqCst);
    assert!(later <= 2, "{later} reads after the cancellation");
}
