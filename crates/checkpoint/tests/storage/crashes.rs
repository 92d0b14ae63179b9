//! Crash images. A job takes checkpoints on a file system that knows what was synced; it is cut after every single
//! operation, and a new process starts from what a crash would leave on disk.
//!
//! Each checkpoint has inline state, files of its own, a shared file, and the shared file of the checkpoint before it,
//! so that deleting an old checkpoint may not delete all it references.

use std::collections::BTreeSet;
use std::sync::Arc;

use highwater_checkpoint::{CrashFileSystem, FileSystem, Survival};
use highwater_types::Result;

use crate::support::{Job, path, storage_on};

const CHECKPOINTS: u64 = 4;

fn start(fs: &CrashFileSystem, max_retained: usize) -> Result<Job> {
    let fs: Arc<dyn FileSystem> = Arc::new(fs.clone());
    Job::start(&storage_on(&fs, &path("file:///data/flink/cp")), max_retained)
}

/// Runs the job until it is through or cut; the newest checkpoint that was reported durable.
fn run(fs: &CrashFileSystem, max_retained: usize) -> u64 {
    let mut durable = 0;
    let mut whole = || -> Result<()> {
        let mut job = start(fs, max_retained)?;
        job.store.remove_orphans();
        for _ in 0..CHECKPOINTS {
            job.checkpoint(|id| durable = id)?;
        }
        Ok(())
    };
    let _ = whole();
    durable
}

fn operations_of_a_run(max_retained: usize) -> u64 {
    let fs = CrashFileSystem::new();
    assert_eq!(run(&fs, max_retained), CHECKPOINTS);
    fs.operations()
}

fn survivals(cut: u64) -> impl Iterator<Item = Survival> {
    [Survival::SyncedOnly, Survival::Everything].into_iter().chain((0..6).map(move |n| Survival::Random(cut * 6 + n)))
}

/// What must hold after any crash: no durable checkpoint is lost, and everything kept is whole.
fn check_recovery(image: &CrashFileSystem, durable: u64, max_retained: usize) {
    let mut job = start(image, max_retained).unwrap();
    assert!(job.store.unreadable().is_empty(), "{:?}", job.store.unreadable());
    let latest = job.store.latest().map_or(0, |checkpoint| checkpoint.id());
    assert!(latest >= durable, "checkpoint {durable} was durable, but only {latest} came back");
    job.verify();

    let on_disk = job.access.directory().unwrap().checkpoints().unwrap();
    let highest = on_disk.iter().map(|entry| entry.id).max().unwrap_or(0);
    assert!(job.store.next_checkpoint_id() > highest);

    job.store.remove_orphans();
    assert_eq!(job.store.orphans().count(), 0);
    job.verify();
    assert_eq!(image.files().into_keys().collect::<BTreeSet<_>>(), job.needed_files(), "left-overs are gone");

    assert!(job.checkpoint(|_| {}).unwrap() > highest);
    job.verify();
    assert_eq!(image.files().into_keys().collect::<BTreeSet<_>>(), job.needed_files());
}

#[test]
fn a_crash_after_any_operation_loses_no_durable_checkpoint() {
    for max_retained in [1, 2] {
        for cut in 0..=operations_of_a_run(max_retained) {
            let fs = CrashFileSystem::new();
            fs.cut_after(cut);
            let durable = run(&fs, max_retained);
            for survival in survivals(cut) {
                let image = fs.image(survival);
                let log = || fs.log().join("\n");
                let checked = std::panic::catch_unwind(|| check_recovery(&image, durable, max_retained));
                assert!(checked.is_ok(), "cut after {cut}, {survival:?}:\n{}", log());
            }
        }
    }
}

#[test]
fn a_second_crash_while_cleaning_up_loses_nothing_either() {
    let max_retained = 1;
    for cut in 0..=operations_of_a_run(max_retained) {
        let fs = CrashFileSystem::new();
        fs.cut_after(cut);
        let durable = run(&fs, max_retained);
        for second_cut in 0.. {
            let image = fs.image(Survival::Random(cut));
            image.cut_after(second_cut);
            let restarted = start(&image, max_retained).map(|mut job| job.store.remove_orphans());
            let through = restarted.is_ok() && image.operations() < second_cut;
            for survival in [Survival::SyncedOnly, Survival::Random(cut * 31 + second_cut)] {
                check_recovery(&image.image(survival), durable, max_retained);
            }
            if through {
                break;
            }
        }
    }
}

#[test]
fn a_crash_while_a_checkpoint_is_discarded_leaves_no_complete_ruin() {
    for with_metadata in [false, true] {
        for cut in 0.. {
            let fs = CrashFileSystem::new();
            let mut job = start(&fs, 1).unwrap();
            job.checkpoint(|_| {}).unwrap();
            let location = job.access.begin(2).unwrap();
            let metadata = job.write_state(location.as_ref()).unwrap();
            if with_metadata {
                let bytes = metadata.write(highwater_checkpoint::MetadataVersion::V3).unwrap();
                location.write_metadata(&bytes).unwrap();
            }
            let before = fs.operations();
            fs.cut_after(cut);
            let through = location.discard().is_ok();
            drop(job);
            for survival in survivals(cut) {
                check_recovery(&fs.image(survival), 1, 1);
            }
            if through {
                assert!(fs.operations() - before <= cut);
                break;
            }
        }
    }
}

#[test]
fn everything_can_be_discarded_and_a_crash_meanwhile_leaves_whole_checkpoints_or_none() {
    for cut in 0.. {
        let fs = CrashFileSystem::new();
        let mut job = start(&fs, 2).unwrap();
        job.checkpoints(2);
        let before = fs.operations();
        fs.cut_after(cut);
        job.store.discard_all();
        drop(job);
        for survival in survivals(cut) {
            check_recovery(&fs.image(survival), 0, 2);
        }
        if fs.operations() - before < cut {
            break;
        }
    }
}

/// The simulation itself can be trusted: it forgets what was not synced, and the same seed gives the same image.
#[test]
fn images_forget_what_was_not_synced_and_repeat() {
    let fs = CrashFileSystem::new();
    fs.cut_after(40);
    run(&fs, 1);
    assert_eq!(fs.operations(), 40);
    assert!(fs.image(Survival::SyncedOnly).files().len() < fs.image(Survival::Everything).files().len());
    for seed in 0..20 {
        let image = |survival| fs.image(survival).files();
        assert_eq!(image(Survival::Random(seed)), image(Survival::Random(seed)));
    }
    let different: BTreeSet<Vec<String>> =
        (0..20).map(|seed| fs.image(Survival::Random(seed)).files().into_keys().collect()).collect();
    assert!(different.len() > 1, "seeds choose different survivors");
}
