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

/// What a start changes in the note of the job.
#[derive(Default)]
struct Opened {
    branch: Option<Branch>,
    /// The snapshot that is pointed to, and whose it is to be.
    pointed_to: Option<(ResolvedSnapshot, ClaimMode)>,
}

impl Opened {
    fn new(
        resolved: &Resolved,
        choice: &Choice,
        lineage: &Lineage,
        (newest, next): (Option<u64>, u64),
    ) -> Result<Self> {
        Ok(match choice {
            Choice::Own => {
                let current = newest.and_then(|id| lineage.of(id)).cloned();
                // A branch that never got to a checkpoint is given up.
                let abandoned = lineage.last().filter(|last| newest.is_some_and(|id| id < last.first));
                let branch =
                    abandoned.map(|last| Branch { first: last.first, savepoint: None, ..current.unwrap_or_default() });
                Self { branch, pointed_to: None }
            }
            Choice::Savepoint(_) => Self::default(),
            Choice::Pointer(pointer) => {
                let (snapshot, mode) = (resolved.storage.resolve(pointer)?, resolved.settings.recovery.claim_mode);
                check_mode(resolved, mode)?;
                let first = next.max(snapshot.metadata()?.checkpoint_id.saturating_add(1));
                let branch = Branch { first, origin: Some(normal_pointer(pointer)?), savepoint: None };
                Self { branch: Some(branch), pointed_to: Some((snapshot, mode)) }
            }
            Choice::Nothing => {
                let branch = (!lineage.is_empty()).then(|| Branch { first: next, ..Branch::default() });
                Self { branch, pointed_to: None }
            }
        })
    }

    /// Tells note and store whose the snapshots are. What this start gives back the store does not hear of any more.
    fn settle(
        &self,
        resolved: &Resolved,
        store: &mut CompletedCheckpointStore,
        lineage: &mut Lineage,
        newest: Option<u64>,
    ) -> Result<()> {
        let origin = self.branch.as_ref().and_then(|branch| branch.origin.as_deref());
        if self.branch.is_some() {
            lineage.give_back(newest, origin.filter(|_| self.pointed_to.is_some()));
        }
        restore_owners(resolved, store, lineage)?;
        let (Some((snapshot, mode)), Some(branch), Some(origin)) = (&self.pointed_to, &self.branch, origin) else {
            return Ok(());
        };
        match mode {
            ClaimMode::Claim => {
                store.claim(snapshot, branch.first)?;
                lineage.claim(origin, branch.first);
            }
            ClaimMode::NoClaim | ClaimMode::Legacy if store.leave_to_user(snapshot)? => lineage.leave_to_user(origin),
            ClaimMode::NoClaim | ClaimMode::Legacy => {}
        }
        Ok(())
    }
}

/// Finds where to begin, notes it durably, and settles whose the snapshots are. Nothing is deleted before.
pub(crate) fn begin(
    resolved: &Resolved,
    store: &mut CompletedCheckpointStore,
    finished: &FinishedMarker,
    lineage: &mut Lineage,
) -> Result<Beginning> {
    let finished_with = finished.read()?;
    let newest = newest(store).max(finished_with.and_then(|finished| finished.elsewhere()));
    let own: Vec<u64> = store.checkpoints().map(|checkpoint| checkpoint.id()).collect();
    let next = store.next_checkpoint_id().max(lineage.last().map_or(0, |last| last.first));
    let choice = choose(&resolved.start, lineage, newest)?;
    let begins_with = lineage.savepoint(newest).map_or(newest, |(id, _)| Some(id));
    let goes_on = matches!(choice, Choice::Own | Choice::Savepoint(_));
    if goes_on && finished_with.is_some_and(|finished| Some(finished.checkpoint) == begins_with) {
        restore_owners(resolved, store, lineage)?;
        return Ok(Beginning { initial: None, first_checkpoint: 0, has_finished: true });
    }
    let opened = Opened::new(resolved, &choice, lineage, (newest, next))?;
    opened.settle(resolved, store, lineage, newest)?;
    if let Some(branch) = opened.branch {
        lineage.begin(branch, &own)?;
    }
    let nothing = |first_checkpoint| Beginning { initial: None, first_checkpoint, has_finished: false };
    Ok(match (choice, opened.pointed_to) {
        (Choice::Savepoint(pointer), _) => {
            Beginning { initial: Some(savepoint(&*resolved.storage, &pointer)?), ..nothing(next) }
        }
        (_, Some((snapshot, mode))) => from_snapshot(&snapshot, mode, next)?,
        (Choice::Own, None) => match store.latest_to_restore()?.filter(|latest| latest.is_users()) {
            // The user may remove it at any time.
            Some(users) => from_snapshot(&resolved.storage.resolve(users.pointer())?, ClaimMode::NoClaim, next)?,
            None => nothing(0),
        },
        (Choice::Pointer(_) | Choice::Nothing, None) => nothing(next),
    })
}

/// The newest checkpoint of the job's directory, readable or not.
fn newest(store: &CompletedCheckpointStore) -> Option<u64> {
    let unreadable = store.unreadable().iter().map(|lost| lost.id).max();
    store.latest().map(|latest| latest.id()).max(unreadable)
}

/// Tells the store which snapshots of earlier starts are the job's, and which it must not delete.
fn restore_owners(resolved: &Resolved, store: &mut CompletedCheckpointStore, lineage: &mut Lineage) -> Result<()> {
    for claimed in lineage.claimed() {
        match find(resolved, lineage, &claimed.pointer) {
            Found::There(snapshot) => store.claim(&snapshot, claimed.first)?,
            Found::Gone => store.take_shared_files(&StoragePath::parse(&claimed.pointer)?),
            Found::Unclear(error) => {
                keep_for_unseen(store, &claimed.pointer, &error)?;
                store.take_shared_files(&StoragePath::parse(&claimed.pointer)?);
            }
        }
    }
    let mut gone = Vec::new();
    for pointer in lineage.of_user() {
        match find(resolved, lineage, pointer) {
            Found::There(snapshot) => drop(store.leave_to_user(&snapshot)?),
            Found::Gone => gone.push(pointer.clone()),
            Found::Unclear(error) => keep_for_unseen(store, pointer, &error)?,
        }
    }
    lineage.forget(|pointer| gone.iter().any(|gone| gone == pointer));
    Ok(())
}

/// Keeps whatever a snapshot may need that cannot be looked at in this run.
fn keep_for_unseen(store: &mut CompletedCheckpointStore, pointer: &str, error: &Error) -> Result<()> {
    tracing::warn!(
        pointer,
        %error,
        "a snapshot of an earlier start cannot be looked at: no file that is in the job's directory now is deleted in \
         this run, for the snapshot may need it"
    );
    store.keep_what_is_there()
}

/// What is at the place of a snapshot of an earlier start.
enum Found {
    There(ResolvedSnapshot),
    /// It was subsumed, or the user is done with it.
    Gone,
    /// It may be there: it is damaged, or the place itself is not there.
    Unclear(Error),
}

fn find(resolved: &Resolved, lineage: &Lineage, pointer: &str) -> Found {
    let found = resolved.storage.resolve(pointer).and_then(|snapshot| snapshot.metadata().map(|_| snapshot));
    match found {
        Ok(snapshot) => Found::There(snapshot),
        Err(error) if error.kind() == ErrorKind::Configuration && is_gone(lineage, pointer) => Found::Gone,
        Err(error) => Found::Unclear(error),
    }
}

/// Whether something that is not at its place is not elsewhere either: beside it there are other things, so that the
/// place is no mount point without its file system.
fn is_gone(lineage: &Lineage, pointer: &str) -> bool {
    let Some(directory) = lineage.directory() else { return true };
    let parent = StoragePath::parse(pointer).ok().and_then(|path| path.parent());
    parent.is_some_and(|parent| directory.file_system().list(&parent).is_ok_and(|entries| !entries.is_empty()))
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
    use highwater_checkpoint::{FileSystemCheckpointStorage, JobId};

    use super::*;
    use crate::ExecutionConfig;

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

    /// A snapshot that is on a disk which is not mounted is not gone, whosever it is: files that only it needs were taken
    /// for orphans.
    #[test]
    fn files_of_a_snapshot_that_is_away_stay() {
        for is_claimed in [true, false] {
            for is_away in [true, false] {
                let scratch = tempfile::tempdir().unwrap();
                let disk = scratch.path().join("disk");
                std::fs::create_dir(&disk).unwrap();
                if !is_away {
                    std::fs::write(disk.join("something else"), b"").unwrap();
                }
                let base = StoragePath::from_local(scratch.path().join("checkpoints")).unwrap();
                let storage = FileSystemCheckpointStorage::new(base).unwrap();
                let resolved = ExecutionConfig::new().checkpoint_storage(storage.clone()).resolve().unwrap();
                let access = storage.open(JobId::from_name("a")).unwrap();
                let directory = access.directory().unwrap().clone();
                let shared = directory.shared().to_local_path().unwrap();
                let file = shared.join("0d1b2f6e-3c44-4a57-9b1a-5a4f6e7d8c90");
                std::fs::create_dir_all(shared).unwrap();
                std::fs::write(&file, b"state").unwrap();
                let mut lineage = Lineage::read(Some(&directory)).unwrap();
                let pointer = StoragePath::from_local(disk.join("copy")).unwrap().to_string();
                match is_claimed {
                    true => lineage.claim(&pointer, 1),
                    false => lineage.leave_to_user(&pointer),
                }
                let mut store = CompletedCheckpointStore::recover(access, 1).unwrap();
                restore_owners(&resolved, &mut store, &mut lineage).unwrap();
                store.remove_orphans();
                assert_eq!(file.exists(), is_away, "claimed: {is_claimed}");
            }
        }
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
