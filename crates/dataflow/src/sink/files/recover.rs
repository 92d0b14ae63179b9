//! What a start finds of earlier attempts.

use std::collections::BTreeSet;

use highwater_checkpoint::{FileSystem, StoragePath};
use highwater_types::{Error, Result};
use tracing::{debug, info, warn};

use super::commit::{By, commit_all};
use super::name::Namer;
use super::uncommitted::{Uncommitted, UncommittedElement};
use crate::sink::SinkContext;

/// Names in an error text before it becomes unreadable.
const NAMES_SHOWN: usize = 5;

/// What a sink looks after: its output directory and names, and whether there are buckets below it.
pub(super) struct Territory<'a> {
    pub(super) fs: &'a dyn FileSystem,
    pub(super) directory: &'a StoragePath,
    pub(super) namer: &'a Namer,
    pub(super) has_buckets: bool,
}

/// Brings the directory to where the restored checkpoint left it: what it lists is committed, and nothing else that an
/// earlier attempt left uncommitted remains.
///
/// Every subtask sees the list of all. Each commits its share; the first removes what nobody lists. It leaves files of
/// the running attempt alone, as other subtasks may have begun to write. Returns this subtask's share of what is
/// listed in other directories or of other jobs, which may still run: nothing of that is touched.
pub(super) fn recover(
    territory: &Territory<'_>,
    context: &SinkContext<'_>,
    elements: Vec<UncommittedElement>,
) -> Result<Vec<Uncommitted>> {
    let listed = elements.into_iter().map(Uncommitted::from_element).collect::<Result<Vec<_>>>()?;
    let places = territory.places(&listed)?;
    territory.refuse_unfit(&places, context.restored_checkpoint)?;
    let share = listed.iter().skip(context.subtask as usize).step_by(context.parallelism.max(1) as usize);
    let (own, foreign): (Vec<_>, Vec<_>) = share.cloned().partition(|file| territory.is_own(file));
    commit_all(territory.fs, By::Recovery, &own)?;
    if context.subtask == 0 {
        territory.remove_left_behind(&places, &listed)?;
        territory.tell(&listed, context.uid)?;
    }
    Ok(foreign)
}

fn file_names(fs: &dyn FileSystem, directory: &StoragePath) -> Result<Vec<String>> {
    Ok(fs.list(directory)?.into_iter().filter(|entry| !entry.is_dir).map(|entry| entry.name).collect())
}

/// A directory and all that are not hidden below it.
pub(super) fn with_buckets(fs: &dyn FileSystem, directory: &StoragePath) -> Result<BTreeSet<StoragePath>> {
    let (mut found, mut waiting) = (BTreeSet::new(), vec![directory.clone()]);
    while let Some(place) = waiting.pop() {
        let below = fs.list(&place)?.into_iter().filter(|entry| entry.is_dir && !entry.name.starts_with('.'));
        waiting.extend(below.map(|entry| place.join(&entry.name)));
        found.insert(place);
    }
    Ok(found)
}

impl Territory<'_> {
    /// Whether the sink may change a file. All others may have a writer.
    fn is_own(&self, file: &Uncommitted) -> bool {
        file.directory == *self.directory && self.namer.is_of_this_job(file.name())
    }

    /// Where files of this sink are, and are to be written.
    fn places(&self, listed: &[Uncommitted]) -> Result<BTreeSet<StoragePath>> {
        let mut places = match self.has_buckets {
            true => with_buckets(self.fs, self.directory)?,
            false => BTreeSet::from([self.directory.clone()]),
        };
        places.extend(listed.iter().filter(|file| self.is_own(file)).map(Uncommitted::place));
        Ok(places)
    }

    /// Refuses to write lines a second time.
    fn refuse_unfit(&self, places: &BTreeSet<StoragePath>, restored: Option<u64>) -> Result<()> {
        let sentence = match restored {
            None => {
                "the output directory holds committed files, and a fresh start would write their lines again: restore the \
                 job from its latest checkpoint, choose another directory, or remove the files"
            }
            Some(_) => {
                "files were committed after the checkpoint that is to be restored, and their lines would be written \
                 again: restore the latest checkpoint, choose another directory, or remove the files"
            }
        };
        let is_later = |id: u64| restored.is_none_or(|restored| id > restored);
        let mut found = Vec::new();
        for place in places {
            let names = file_names(self.fs, place)?.into_iter();
            found.extend(names.filter(|name| self.namer.committed_checkpoint(name).is_some_and(is_later)));
        }
        if found.is_empty() {
            return Ok(());
        }
        let mut shown = found.iter().take(NAMES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        if found.len() > NAMES_SHOWN {
            shown.push_str(&format!(" and {} more", found.len() - NAMES_SHOWN));
        }
        let error = Error::incompatible(sentence).with("directory", self.directory).with("files", shown);
        Err(match restored {
            Some(restored) => error.with("checkpoint", restored),
            None => error,
        })
    }

    fn tell(&self, listed: &[Uncommitted], uid: &str) -> Result<()> {
        let (own, foreign): (Vec<_>, Vec<_>) = listed.iter().partition(|file| self.is_own(file));
        if !own.is_empty() {
            info!(files = own.len(), operator = uid, "committed the output files of the restored checkpoint");
        }
        for directory in foreign.iter().map(|file| &file.directory).collect::<BTreeSet<_>>() {
            match self.fs.stat(directory)? {
                Some(_) => info!(%directory, operator = uid, "copying what is not committed there"),
                None => warn!(
                    %directory,
                    operator = uid,
                    "the output directory of the snapshot is gone or out of reach: what was not committed there is missing"
                ),
            }
        }
        Ok(())
    }

    fn remove_left_behind(&self, places: &BTreeSet<StoragePath>, listed: &[Uncommitted]) -> Result<()> {
        // By their names, which never repeat: the snapshot may know this directory by another path.
        let paths = listed.iter().flat_map(|file| [file.written(), file.pending(), file.mark()]);
        let keep: BTreeSet<String> = paths.filter_map(|path| path.file_name().map(str::to_owned)).collect();
        for place in places {
            for name in file_names(self.fs, place)?.iter().filter(|name| self.namer.is_left_behind(name)) {
                let path = place.join(name);
                if !keep.contains(name) {
                    debug!(file = %path, "removing an output file that no checkpoint lists");
                    self.fs.remove_file(&path)?;
                }
            }
        }
        Ok(())
    }
}
