//! Commit and recovery of pending files.

use std::collections::BTreeSet;

use highwater_checkpoint::{FileSystem, StoragePath};
use highwater_types::{Error, Result};
use tracing::{debug, info};

use super::name::{Namer, committed_name, is_committed};
use crate::sink::SinkContext;

/// Names in an error text before it becomes unreadable.
const NAMES_SHOWN: usize = 5;

/// A pending file in the operator state: path, checkpoint, length in bytes.
pub(super) type PendingElement = (String, i64, i64);

/// A whole and synced file that waits for its checkpoint to complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) path: StoragePath,
    pub(super) checkpoint: u64,
    pub(super) length: u64,
}

impl Pending {
    pub(super) fn to_element(&self) -> PendingElement {
        let [checkpoint, length] = [self.checkpoint, self.length].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        (self.path.to_string(), checkpoint, length)
    }

    fn from_element((path, checkpoint, length): PendingElement) -> Result<Self> {
        let parsed = StoragePath::parse(&path).ok().filter(|path| path.parent().is_some());
        let is_pending =
            parsed.as_ref().and_then(StoragePath::file_name).is_some_and(|name| name.starts_with(".part-"));
        match (parsed, u64::try_from(checkpoint), u64::try_from(length)) {
            (Some(path), Ok(checkpoint), Ok(length)) if is_pending => Ok(Self { path, checkpoint, length }),
            _ => Err(Error::corrupt("an element of the sink's state is no pending file: use another snapshot")
                .with("state", "pending")
                .with("found", format_args!("({path}, {checkpoint}, {length})"))),
        }
    }

    /// Where it is, and what it is called once it is committed.
    fn target(&self) -> Option<(StoragePath, StoragePath)> {
        let directory = self.path.parent()?;
        let committed = directory.join(&committed_name(self.path.file_name()?, self.checkpoint));
        Some((directory, committed))
    }
}

/// Makes pending files visible, durably. Idempotent: what is committed already stays as it is.
pub(super) fn commit_all<'a>(fs: &dyn FileSystem, pending: impl IntoIterator<Item = &'a Pending>) -> Result<()> {
    let mut directories = BTreeSet::new();
    for file in pending {
        let Some((directory, committed)) = file.target() else { continue };
        commit_one(fs, file, &committed)?;
        directories.insert(directory);
    }
    // Also where nothing was renamed now: the rename of an attempt that died may not be durable yet.
    directories.iter().try_for_each(|directory| fs.sync_dir(directory))
}

fn commit_one(fs: &dyn FileSystem, file: &Pending, committed: &StoragePath) -> Result<()> {
    if let Some(stat) = fs.stat(committed)? {
        check_length(committed, file.length, stat.size)?;
        // A crash in the middle of a rename may leave both names.
        return fs.remove_file(&file.path);
    }
    let Some(stat) = fs.stat(&file.path)? else {
        return Err(Error::corrupt(
            "a file that the checkpoint lists is neither pending nor committed: put it back under one of its names, or \
             start the job fresh into an empty directory",
        )
        .with("file", &file.path)
        .with("committed name", committed)
        .with("checkpoint", file.checkpoint));
    };
    check_length(&file.path, file.length, stat.size)?;
    fs.rename(&file.path, committed)
}

fn check_length(path: &StoragePath, expected: u64, found: u64) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::corrupt("an output file has not the length it was written with: somebody changed it")
        .with("file", path)
        .with("expected", format_args!("{expected} bytes"))
        .with("found", format_args!("{found} bytes")))
}

/// Brings the directory to where the restored checkpoint left it: what it lists is committed, and nothing else that an
/// earlier attempt left pending remains.
///
/// Every subtask sees the list of all. Each commits its share; the first removes what nobody lists. It leaves files of
/// the running attempt alone, as other subtasks may have begun to write.
pub(super) fn recover(
    fs: &dyn FileSystem,
    directory: &StoragePath,
    namer: &Namer,
    context: &SinkContext<'_>,
    elements: Vec<PendingElement>,
) -> Result<()> {
    let names: Vec<String> = fs.list(directory)?.into_iter().filter(|e| !e.is_dir).map(|e| e.name).collect();
    refuse_unfit(directory, &names, namer, context.restored_checkpoint)?;
    let listed = elements.into_iter().map(Pending::from_element).collect::<Result<Vec<_>>>()?;
    let share = listed.iter().skip(context.subtask as usize).step_by(context.parallelism.max(1) as usize);
    commit_all(fs, share)?;
    if context.subtask == 0 {
        remove_left_behind(fs, directory, &names, namer, &listed)?;
    }
    if !listed.is_empty() && context.subtask == 0 {
        info!(files = listed.len(), operator = context.uid, "committed the output files of the restored checkpoint");
    }
    Ok(())
}

/// Refuses to write lines a second time.
fn refuse_unfit(directory: &StoragePath, names: &[String], namer: &Namer, restored: Option<u64>) -> Result<()> {
    let (sentence, found): (&str, Vec<&str>) = match restored {
        None => (
            "the output directory holds committed files, and a fresh start would write their lines again: restore the job \
             from its latest checkpoint, choose another directory, or remove the files",
            names.iter().map(String::as_str).filter(|name| is_committed(name)).collect(),
        ),
        Some(restored) => (
            "files were committed after the checkpoint that is to be restored, and their lines would be written again: \
             restore the latest checkpoint, choose another directory, or remove the files",
            names
                .iter()
                .map(String::as_str)
                .filter(|name| namer.committed_checkpoint(name).is_some_and(|id| id > restored))
                .collect(),
        ),
    };
    if found.is_empty() {
        return Ok(());
    }
    let mut shown = found.iter().take(NAMES_SHOWN).copied().collect::<Vec<_>>().join(", ");
    if found.len() > NAMES_SHOWN {
        shown.push_str(&format!(" and {} more", found.len() - NAMES_SHOWN));
    }
    let error = Error::incompatible(sentence).with("directory", directory).with("files", shown);
    Err(match restored {
        Some(restored) => error.with("checkpoint", restored),
        None => error,
    })
}

fn remove_left_behind(
    fs: &dyn FileSystem,
    directory: &StoragePath,
    names: &[String],
    namer: &Namer,
    listed: &[Pending],
) -> Result<()> {
    let listed: BTreeSet<&StoragePath> = listed.iter().map(|pending| &pending.path).collect();
    for name in names.iter().filter(|name| namer.is_left_behind(name)) {
        let path = directory.join(name);
        if !listed.contains(&path) {
            debug!(file = %path, "removing an output file that no checkpoint lists");
            fs.remove_file(&path)?;
        }
    }
    Ok(())
}
