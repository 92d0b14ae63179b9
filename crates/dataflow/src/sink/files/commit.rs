//! How uncommitted files become visible.

use std::collections::BTreeSet;

use highwater_checkpoint::{FileSystem, StoragePath};
use highwater_types::{Error, Result};
use tracing::{debug, warn};

use super::uncommitted::Uncommitted;

/// Who commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The writer of the files, for the first time.
    Writer,
    /// A recovery. An earlier attempt may have committed them, and the user may have taken them away since.
    Recovery,
}

/// What is found of a listed file.
enum Found {
    Pending,
    Committed,
    /// Neither name. Its commit had begun, so that it was committed, and the user has taken it.
    Taken,
}

/// Makes files visible, durably. Idempotent: what is committed already stays as it is.
///
/// The marks go first, and durably, before any file can be seen. A file of which neither name is found was therefore
/// never committed if its mark is there, and may have been if not. Nothing is touched if a file is missing.
pub(super) fn commit_all<'a>(
    fs: &dyn FileSystem,
    by: By,
    files: impl IntoIterator<Item = &'a Uncommitted>,
) -> Result<()> {
    let (mut due, mut places) = (Vec::new(), BTreeSet::new());
    for file in files {
        places.insert(file.place());
        match find(fs, by, file)? {
            Found::Pending => due.push(file),
            // A crash in the middle of a rename may leave both names.
            Found::Committed => {
                fs.remove_file(&file.mark())?;
                fs.remove_file(&file.pending())?;
            }
            Found::Taken => debug!(file = %file.committed(), "a committed output file was taken away"),
        }
    }
    due.iter().try_for_each(|file| fs.remove_file(&file.mark()))?;
    let directories: BTreeSet<&StoragePath> = due.iter().map(|file| &file.directory).collect();
    directories.into_iter().try_for_each(|directory| fs.sync_dir(directory))?;
    due.iter().try_for_each(|file| fs.rename(&file.pending(), &file.committed()))?;
    // Also where nothing was renamed now: the rename of an attempt that died may not be durable yet.
    places.iter().try_for_each(|place| sync_if_exists(fs, place))
}

fn find(fs: &dyn FileSystem, by: By, file: &Uncommitted) -> Result<Found> {
    if let Some(stat) = fs.stat(&file.committed())? {
        if stat.size != file.length {
            // It belongs to the user.
            warn!(file = %file.committed(), written = file.length, found = stat.size, "a committed file was changed");
        }
        return Ok(Found::Committed);
    }
    if let Some(stat) = fs.stat(&file.pending())? {
        return check_length(file, stat.size).map(|()| Found::Pending);
    }
    if by == By::Recovery && fs.stat(&file.mark())?.is_none() {
        return Ok(Found::Taken);
    }
    Err(Error::corrupt(
        "an output file is gone before it was committed: put it back, or start the job fresh into an empty directory",
    )
    .with("file", file.pending())
    .with("expected", format_args!("{} bytes", file.length))
    .with("checkpoint", file.checkpoint))
}

fn check_length(file: &Uncommitted, found: u64) -> Result<()> {
    if file.length == found {
        return Ok(());
    }
    Err(Error::corrupt("an output file has not the length it was written with: somebody changed it")
        .with("file", file.pending())
        .with("expected", format_args!("{} bytes", file.length))
        .with("found", format_args!("{found} bytes")))
}

/// The user may have taken a directory as a whole.
fn sync_if_exists(fs: &dyn FileSystem, directory: &StoragePath) -> Result<()> {
    match fs.stat(directory)? {
        Some(_) => fs.sync_dir(directory),
        None => Ok(()),
    }
}
