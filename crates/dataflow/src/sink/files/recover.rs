//! What a start finds of earlier attempts.

use std::collections::BTreeSet;

use highwater_checkpoint::{FileSystem, StoragePath};
use highwater_types::{Error, Result};
use tracing::{debug, info};

use super::commit::{By, commit_all};
use super::name::Namer;
use super::uncommitted::{Uncommitted, UncommittedElement};
use crate::sink::SinkContext;

/// Names in an error text before it becomes unreadable.
const NAMES_SHOWN: usize = 5;

/// Brings the directory to where the restored checkpoint left it: what it lists is committed, and nothing else that an
/// earlier attempt left uncommitted remains.
///
/// Every subtask sees the list of all. Each commits its share; the first removes what nobody lists. It leaves files of
/// the running attempt alone, as other subtasks may have begun to write.
pub(super) fn recover(
    fs: &dyn FileSystem,
    directory: &StoragePath,
    namer: &Namer,
    context: &SinkContext<'_>,
    elements: Vec<UncommittedElement>,
) -> Result<()> {
    refuse_unfit(directory, &file_names(fs, directory)?, namer, context.restored_checkpoint)?;
    let listed = elements.into_iter().map(Uncommitted::from_element).collect::<Result<Vec<_>>>()?;
    let share = listed.iter().skip(context.subtask as usize).step_by(context.parallelism.max(1) as usize);
    commit_all(fs, By::Recovery, share)?;
    if context.subtask == 0 {
        remove_left_behind(fs, directory, namer, &listed)?;
    }
    if !listed.is_empty() && context.subtask == 0 {
        info!(files = listed.len(), operator = context.uid, "committed the output files of the restored checkpoint");
    }
    Ok(())
}

fn file_names(fs: &dyn FileSystem, directory: &StoragePath) -> Result<Vec<String>> {
    Ok(fs.list(directory)?.into_iter().filter(|entry| !entry.is_dir).map(|entry| entry.name).collect())
}

/// Refuses to write lines a second time.
fn refuse_unfit(directory: &StoragePath, names: &[String], namer: &Namer, restored: Option<u64>) -> Result<()> {
    let sentence = match restored {
        None => {
            "the output directory holds committed files, and a fresh start would write their lines again: restore the job \
             from its latest checkpoint, choose another directory, or remove the files"
        }
        Some(_) => {
            "files were committed after the checkpoint that is to be restored, and their lines would be written again: \
             restore the latest checkpoint, choose another directory, or remove the files"
        }
    };
    let is_later = |id: u64| restored.is_none_or(|restored| id > restored);
    let found: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| namer.committed_checkpoint(name).is_some_and(is_later))
        .collect();
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

/// Wherever the checkpoint knows of files, and where new ones are to be written.
fn remove_left_behind(
    fs: &dyn FileSystem,
    directory: &StoragePath,
    namer: &Namer,
    listed: &[Uncommitted],
) -> Result<()> {
    let keep: BTreeSet<StoragePath> = listed.iter().flat_map(|file| [file.pending(), file.mark()]).collect();
    let mut places: BTreeSet<StoragePath> =
        listed.iter().flat_map(|file| [file.directory.clone(), file.place()]).collect();
    places.insert(directory.clone());
    for place in places {
        for name in file_names(fs, &place)?.iter().filter(|name| namer.is_left_behind(name)) {
            let path = place.join(name);
            if !keep.contains(&path) {
                debug!(file = %path, "removing an output file that no checkpoint lists");
                fs.remove_file(&path)?;
            }
        }
    }
    Ok(())
}
