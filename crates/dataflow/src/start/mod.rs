//! Where an execution begins: with the job's own newest checkpoint, with a snapshot that somebody pointed to, or afresh;
//! and whose that snapshot is.

mod lineage;

use std::sync::{Arc, Mutex};

use highwater_backends::{ClaimMode, options};
use highwater_checkpoint::{CheckpointStorage, CompletedCheckpointStore, ResolvedSnapshot, StoragePath};
use highwater_types::{Error, ErrorKind, Result};

pub(crate) use lineage::Lineage;
use lineage::{Branch, normal_pointer};

use crate::config::{Resolved, StartFrom};
use crate::finished::FinishedMarker;
use crate::progress::RestoredFrom;
use crate::runtime::message::Restore;

/// A snapshot to restore.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) restore: Restore,
    pub(crate) from: RestoredFrom,
}

/// The note of the job, over all attempts of this process.
pub(crate) type SharedLineage = Arc<Mutex<Lineage>>;

/// How an execution begins.
pub(crate) struct Beginning {
    /// The snapshot to begin with; none: the newest own checkpoint from `first_checkpoint` on, if there is one.
    pub(crate) initial: Option<Snapshot>,
    /// Least id of a checkpoint that belongs to this execution.
    pub(crate) first_checkpoint: u64,
    /// Whether the job has finished before.
    pub(crate) has_finished: bool,
}

/// What is to be restored.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    /// The newest of the job's own checkpoints.
    Own,
    /// The savepoint with which the job was stopped.
    Savepoint(String),
    /// What the pointer of this start names.
    Pointer(String),
    Nothing,
}

/// Decides between a pointer and what the job has done since. `newest` is the newest checkpoint that the job ever
/// completed, as far as that is known.
fn choose(start: &StartFrom, lineage: &Lineage, newest: Option<u64>) -> Result<Choice> {
    let stopped = lineage.savepoint(newest).map(|(_, savepoint)| savepoint);
    let current = stopped.and_then(|_| lineage.last()).or_else(|| newest.and_then(|id| lineage.of(id)));
    let go_on = || match (stopped, newest) {
        (Some(savepoint), _) => Choice::Savepoint(savepoint.to_owned()),
        (None, Some(_)) => Choice::Own,
        (None, None) => Choice::Nothing,
    };
    Ok(match start {
        StartFrom::Latest => go_on(),
        StartFrom::Pointer(pointer) => {
            let origin = current.and_then(|branch| branch.origin.as_ref());
            match origin == Some(&normal_pointer(pointer)?) {
                true => go_on(),
                false => Choice::Pointer(pointer.clone()),
            }
        }
        StartFrom::Anew(pointer) => Choice::Pointer(pointer.clone()),
        StartFrom::Fresh => Choice::Nothing,
    })
}

/// Finds where to begin, notes it durably, and settles whose the snapshots are. Nothing is deleted before.
pub(crate) fn begin(
    resolved: &Resolved,
    store: &mut CompletedCheckpointStore,
    finished: &FinishedMarker,
    lineage: &mut Lineage,
) -> Result<Beginning> {
    restore_owners(resolved, store, lineage)?;
    let finished_with = finished.read()?;
    let newest = newest(store).max(finished_with.and_then(|finished| finished.elsewhere()));
    let own: Vec<u64> = store.checkpoints().map(|checkpoint| checkpoint.id()).collect();
    let next = store.next_checkpoint_id().max(lineage.last().map_or(0, |last| last.first));
    let mut beginning = Beginning { initial: None, first_checkpoint: 0, has_finished: false };
    match choose(&resolved.start, lineage, newest)? {
        Choice::Own | Choice::Savepoint(_)
            if finished_with.is_some_and(|with| {
                Some(with.checkpoint) == lineage.savepoint(newest).map_or(newest, |(id, _)| Some(id))
            }) =>
        {
            beginning.has_finished = true;
        }
        Choice::Own => {
            let current = newest.and_then(|id| lineage.of(id)).cloned();
            // A branch that never got to a checkpoint is given up.
            if let Some(abandoned) = lineage.last().filter(|last| newest.is_some_and(|id| id < last.first)) {
                let branch = Branch { first: abandoned.first, savepoint: None, ..current.unwrap_or_default() };
                lineage.begin(branch, &own)?;
            }
            if let Some(users) = store.latest_to_restore()?.filter(|latest| latest.is_users()) {
                // The user may remove it at any time.
                let snapshot = resolved.storage.resolve(users.pointer())?;
                beginning = from_snapshot(&snapshot, ClaimMode::NoClaim, next)?;
            }
        }
        Choice::Savepoint(pointer) => {
            beginning.initial = Some(savepoint(&*resolved.storage, &pointer)?);
            beginning.first_checkpoint = next;
        }
        Choice::Pointer(pointer) => {
            let (snapshot, mode) = (resolved.storage.resolve(&pointer)?, resolved.settings.recovery.claim_mode);
            check_mode(resolved, mode)?;
            beginning = from_snapshot(&snapshot, mode, next)?;
            let first = beginning.first_checkpoint;
            let origin = normal_pointer(&pointer)?;
            match mode {
                ClaimMode::Claim => {
                    store.claim(&snapshot, first)?;
                    lineage.claim(&origin, first);
                }
                ClaimMode::NoClaim | ClaimMode::Legacy if store.leave_to_user(&snapshot)? => {
                    lineage.leave_to_user(&origin);
                }
                ClaimMode::NoClaim | ClaimMode::Legacy => {}
            }
            lineage.begin(Branch { first, origin: Some(origin), savepoint: None }, &own)?;
        }
        Choice::Nothing => {
            beginning.first_checkpoint = next;
            if !lineage.is_empty() {
                lineage.begin(Branch { first: next, ..Branch::default() }, &own)?;
            }
        }
    }
    Ok(beginning)
}

/// The newest checkpoint of the job's directory, readable or not.
fn newest(store: &CompletedCheckpointStore) -> Option<u64> {
    let unreadable = store.unreadable().iter().map(|lost| lost.id).max();
    store.latest().map(|latest| latest.id()).max(unreadable)
}

/// Tells the store which snapshots of earlier starts are the job's, and which it must not delete.
fn restore_owners(resolved: &Resolved, store: &mut CompletedCheckpointStore, lineage: &mut Lineage) -> Result<()> {
    for claimed in lineage.claimed() {
        match find(resolved, &claimed.pointer)? {
            Some(snapshot) => store.claim(&snapshot, claimed.first)?,
            None => store.take_shared_files(&StoragePath::parse(&claimed.pointer)?),
        }
    }
    let mut gone = Vec::new();
    for pointer in lineage.of_user() {
        match find(resolved, pointer)? {
            Some(snapshot) => drop(store.leave_to_user(&snapshot)?),
            None => gone.push(pointer.clone()),
        }
    }
    lineage.forget(|pointer| gone.iter().any(|gone| gone == pointer));
    Ok(())
}

/// A snapshot, unless there is nothing in its place: it was subsumed, or the user is done with it.
fn find(resolved: &Resolved, pointer: &str) -> Result<Option<ResolvedSnapshot>> {
    match resolved.storage.resolve(pointer) {
        Err(error) if error.kind() == ErrorKind::Configuration => Ok(None),
        found => found.map(Some),
    }
}

/// Whether the job can treat a snapshot so.
fn check_mode(resolved: &Resolved, mode: ClaimMode) -> Result<()> {
    let refuse =
        |text: &str| Err(Error::configuration(text).with("key", options::CLAIM_MODE.key()).with("value", mode));
    match mode {
        ClaimMode::NoClaim if !resolved.backend.supports_no_claim_restore_mode() => refuse(
            "this state backend cannot become independent of the snapshot that it starts from: use CLAIM or LEGACY",
        ),
        ClaimMode::Claim if !resolved.storage.survives_process() => refuse(
            "the snapshot cannot be given to a job whose own checkpoints live in memory: give the job a checkpoint \
             directory",
        ),
        _ => Ok(()),
    }
}

/// The savepoint with which the job was stopped.
pub(crate) fn savepoint(storage: &dyn CheckpointStorage, pointer: &str) -> Result<Snapshot> {
    let snapshot = storage.resolve(pointer).map_err(|error| {
        Error::new(
            error.kind(),
            "the job was stopped with a savepoint that is no longer where it was: point to where it is now",
        )
        .with("savepoint", pointer)
        .because(error)
    })?;
    to_restore(&snapshot, ClaimMode::NoClaim)
}

fn to_restore(snapshot: &ResolvedSnapshot, mode: ClaimMode) -> Result<Snapshot> {
    let checkpoint_id = snapshot.metadata()?.checkpoint_id;
    Ok(Snapshot {
        from: RestoredFrom { checkpoint_id, pointer: snapshot.pointer() },
        restore: Restore {
            checkpoint: checkpoint_id,
            pointer: Some(snapshot.pointer()),
            is_own: mode != ClaimMode::NoClaim,
            metadata: snapshot.metadata_bytes.clone(),
        },
    })
}

fn from_snapshot(snapshot: &ResolvedSnapshot, mode: ClaimMode, next: u64) -> Result<Beginning> {
    let initial = to_restore(snapshot, mode)?;
    let first_checkpoint = next.max(initial.from.checkpoint_id.saturating_add(1));
    Ok(Beginning { initial: Some(initial), first_checkpoint, has_finished: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lineage(branches: impl IntoIterator<Item = Branch>) -> Lineage {
        let mut lineage = Lineage::read(None).unwrap();
        branches.into_iter().for_each(|branch| lineage.begin(branch, &[1, 10, 20]).unwrap());
        lineage
    }

    fn branch(first: u64, pointer: &str) -> Branch {
        Branch { first, origin: Some(pointer.to_owned()), savepoint: None }
    }

    fn pointer(pointer: &str) -> StartFrom {
        StartFrom::Pointer(pointer.to_owned())
    }

    #[test]
    fn a_pointer_belongs_to_the_first_start() {
        let follow = |pointer: &str| Choice::Pointer(pointer.to_owned());
        let none = lineage([]);
        assert_eq!(choose(&pointer("/a"), &none, None).unwrap(), follow("/a"));
        assert_eq!(choose(&pointer("/a"), &none, Some(4)).unwrap(), follow("/a"), "these do not come from it");

        let from_a = lineage([branch(5, "file:/a")]);
        assert_eq!(choose(&pointer("/a"), &from_a, Some(4)).unwrap(), follow("/a"), "it crashed before its first");
        assert_eq!(choose(&pointer("/a/_metadata"), &from_a, Some(5)).unwrap(), Choice::Own);
        assert_eq!(choose(&pointer("/b"), &from_a, Some(5)).unwrap(), follow("/b"), "another one is followed");
        assert_eq!(choose(&StartFrom::Anew("/a".to_owned()), &from_a, Some(5)).unwrap(), follow("/a"));
        assert_eq!(choose(&StartFrom::Latest, &from_a, Some(5)).unwrap(), Choice::Own);
        assert_eq!(choose(&StartFrom::Fresh, &from_a, Some(5)).unwrap(), Choice::Nothing);

        // A start from /b that came to nothing changes nothing for /a.
        let failed = lineage([branch(5, "file:/a"), branch(11, "file:/b")]);
        assert_eq!(choose(&pointer("/a"), &failed, Some(10)).unwrap(), Choice::Own);
        assert_eq!(choose(&pointer("/b"), &failed, Some(10)).unwrap(), follow("/b"));
        assert_eq!(choose(&pointer("/a"), &failed, Some(12)).unwrap(), follow("/a"));
    }

    #[test]
    fn a_job_that_was_stopped_with_a_savepoint_resumes_from_it() {
        let stopped = Branch { savepoint: Some("file:/s".to_owned()), ..branch(11, "file:/a") };
        let stopped = lineage([branch(5, "file:/a"), stopped]);
        let savepoint = Choice::Savepoint("file:/s".to_owned());
        assert_eq!(choose(&pointer("/a"), &stopped, Some(10)).unwrap(), savepoint);
        assert_eq!(choose(&StartFrom::Latest, &stopped, None).unwrap(), savepoint);
        assert_eq!(choose(&StartFrom::Latest, &stopped, Some(11)).unwrap(), Choice::Own);
        assert_eq!(choose(&pointer("/s"), &stopped, Some(10)).unwrap(), Choice::Pointer("/s".to_owned()));
    }
}
