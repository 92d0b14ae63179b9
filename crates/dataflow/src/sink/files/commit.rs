//! How uncommitted files become visible.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Read, Write};

use highwater_checkpoint::{FileSystem, FileWriter, StoragePath};
use highwater_types::{Error, Result};
use tracing::{debug, warn};

use super::uncommitted::Uncommitted;

/// Bytes copied at a time.
const COPY_BYTES: usize = 1024 * 1024;

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
    /// A file that has to be cut to what belongs to the checkpoint.
    InProgress,
    Committed,
    /// None of its names. Its commit had begun, so that it was committed, and the user has taken it.
    Taken,
}

/// Makes files visible, durably. Idempotent: what is committed already stays as it is.
///
/// The marks go first, and durably, before any file can be seen. A file of which no name is found was therefore never
/// committed if its mark is there, and may have been if not. Nothing is touched if a file is missing.
pub(super) fn commit_all<'a>(
    fs: &dyn FileSystem,
    by: By,
    files: impl IntoIterator<Item = &'a Uncommitted>,
) -> Result<()> {
    let (mut due, mut to_cut, mut places) = (Vec::new(), Vec::new(), BTreeSet::new());
    for file in files {
        places.insert(file.place());
        match find(fs, by, file)? {
            Found::Pending => due.push(file),
            Found::InProgress => to_cut.push(file),
            Found::Committed => remove_traces(fs, file)?,
            Found::Taken => debug!(file = %file.committed(), "a committed output file was taken away"),
        }
    }
    to_cut.iter().try_for_each(|file| cut(fs, file))?;
    sync_all(fs, to_cut.iter().map(|file| file.place()))?;
    due.append(&mut to_cut);
    begin(fs, &due)?;
    due.iter().try_for_each(|file| fs.rename(&file.pending(), &file.committed()))?;
    // Also where nothing was renamed now: the rename of an attempt that died may not be durable yet.
    sync_all(fs, places)
}

fn find(fs: &dyn FileSystem, by: By, file: &Uncommitted) -> Result<Found> {
    if let Some(stat) = fs.stat(&file.committed())? {
        if stat.size != file.length {
            // It belongs to the user.
            warn!(file = %file.committed(), written = file.length, found = stat.size, "a committed file was changed");
        }
        return Ok(Found::Committed);
    }
    // As long as the original is there, its cut may not be whole.
    if file.is_in_progress
        && let Some(stat) = fs.stat(&file.written())?
    {
        return check_length(file, file.written(), stat.size, stat.size >= file.length).map(|()| Found::InProgress);
    }
    if let Some(stat) = fs.stat(&file.pending())? {
        return check_length(file, file.pending(), stat.size, stat.size == file.length).map(|()| Found::Pending);
    }
    if by == By::Recovery && fs.stat(&file.mark())?.is_none() {
        return Ok(Found::Taken);
    }
    Err(Error::corrupt(
        "an output file is gone before it was committed: put it back, or start the job fresh into an empty directory",
    )
    .with("file", file.written())
    .with("expected", format_args!("{} bytes", file.length))
    .with("checkpoint", file.checkpoint))
}

fn check_length(file: &Uncommitted, path: StoragePath, found: u64, is_right: bool) -> Result<()> {
    if is_right {
        return Ok(());
    }
    Err(Error::corrupt("an output file has not the length it was written with: somebody changed it")
        .with("file", path)
        .with("expected", format_args!("{} bytes", file.length))
        .with("found", format_args!("{found} bytes")))
}

/// Copies what belongs to the checkpoint into a file of its own. The original is not cut: a process that was thought to be
/// dead may still be writing to it.
fn cut(fs: &dyn FileSystem, file: &Uncommitted) -> Result<()> {
    let pending = file.pending();
    fs.remove_file(&pending)?;
    let mut copy = copy_listed(file, fs.open(&file.written())?, fs.create_new(&pending)?)?;
    copy.sync()?;
    copy.close()
}

/// Opens what a snapshot lists of a file, for somebody who must not touch it: its writer may go on, and may be committing
/// it at this moment. None if it is committed, or was and is gone.
pub(super) fn open_listed(fs: &dyn FileSystem, file: &Uncommitted) -> Result<Option<Box<dyn Read>>> {
    loop {
        let path = match find(fs, By::Recovery, file)? {
            Found::Pending => file.pending(),
            Found::InProgress => file.written(),
            Found::Committed | Found::Taken => return Ok(None),
        };
        match fs.open(&path) {
            Ok(original) => return Ok(Some(original)),
            // It goes from name to name, and never back.
            Err(_) if fs.stat(&path)?.is_none() => {}
            Err(error) => return Err(error),
        }
    }
}

/// Copies what a snapshot lists of a file into another, which is then neither synced nor closed.
pub(super) fn copy_listed(
    file: &Uncommitted,
    original: impl Read,
    copy: Box<dyn FileWriter>,
) -> Result<Box<dyn FileWriter>> {
    let error = |cause| {
        Error::storage("cannot copy what a checkpoint lists of an output file: check the space that is left")
            .with("file", file.written())
            .because(cause)
    };
    let mut copy = BufWriter::with_capacity(COPY_BYTES, copy);
    let mut original = original.take(file.length);
    let copied = io::copy(&mut original, &mut copy).and_then(|copied| copy.flush().map(|()| copied)).map_err(error)?;
    check_length(file, file.written(), copied, copied == file.length)?;
    copy.into_inner().map_err(|cause| error(cause.into_error()))
}

/// Begins the commit of files, durably: from here on one that is gone was taken away, and a pending one is whole.
fn begin(fs: &dyn FileSystem, due: &[&Uncommitted]) -> Result<()> {
    for file in due {
        fs.remove_file(&file.mark())?;
        if file.is_in_progress {
            fs.remove_file(&file.written())?;
        }
    }
    let originals = due.iter().filter(|file| file.is_in_progress).map(|file| file.place());
    sync_all(fs, due.iter().map(|file| file.directory.clone()).chain(originals))
}

/// A crash in the middle of a rename may leave both names.
fn remove_traces(fs: &dyn FileSystem, file: &Uncommitted) -> Result<()> {
    [file.mark(), file.written(), file.pending()].iter().try_for_each(|path| fs.remove_file(path))
}

/// Syncs directories. The user may have taken one away as a whole.
fn sync_all(fs: &dyn FileSystem, directories: impl IntoIterator<Item = StoragePath>) -> Result<()> {
    let directories: BTreeSet<StoragePath> = directories.into_iter().collect();
    for directory in directories {
        if fs.stat(&directory)?.is_some() {
            fs.sync_dir(&directory)?;
        }
    }
    Ok(())
}
