//! Files that a checkpoint lists because they are not committed yet.

use highwater_checkpoint::StoragePath;
use highwater_types::{Error, Result};

use super::name::{committed_name, cut_name, is_uncommitted, mark_name};

/// An uncommitted file in the operator state: output directory, path below it, whether it is in progress, checkpoint,
/// length in bytes.
pub(super) type UncommittedElement = (String, String, bool, i64, i64);

/// A file that a checkpoint lists. It is *pending*, whole and waiting for the checkpoint to complete, or *in progress*,
/// with a length up to which it belongs to the checkpoint. That much of it is durable.
///
/// In the output directory lies an empty file, its *mark*, until its commit begins. That tells a file that was committed
/// and taken away from one that was lost: see [`commit_all`](super::commit::commit_all).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Uncommitted {
    /// The output directory.
    pub(super) directory: StoragePath,
    /// Path below it.
    pub(super) path: String,
    pub(super) is_in_progress: bool,
    pub(super) checkpoint: u64,
    /// In bytes.
    pub(super) length: u64,
}

impl Uncommitted {
    pub(super) fn to_element(&self) -> UncommittedElement {
        let [checkpoint, length] = [self.checkpoint, self.length].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        (self.directory.to_string(), self.path.clone(), self.is_in_progress, checkpoint, length)
    }

    pub(super) fn from_element(element: UncommittedElement) -> Result<Self> {
        let (directory, path, is_in_progress, checkpoint, length) = &element;
        let directory = StoragePath::parse(directory).ok();
        let is_known = directory.as_ref().is_some_and(|directory| directory.join(path).is_below(directory))
            && is_uncommitted(path.rsplit('/').next().unwrap_or_default());
        match (directory, u64::try_from(*checkpoint), u64::try_from(*length)) {
            (Some(directory), Ok(checkpoint), Ok(length)) if is_known => {
                Ok(Self { directory, path: path.clone(), is_in_progress: *is_in_progress, checkpoint, length })
            }
            _ => Err(Error::corrupt("an element of the sink's state is no uncommitted file: use another snapshot")
                .with("state", "uncommitted")
                .with("found", format_args!("{element:?}"))),
        }
    }

    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The directory that holds it.
    pub(super) fn place(&self) -> StoragePath {
        match self.bucket() {
            "" => self.directory.clone(),
            bucket => self.directory.join(bucket),
        }
    }

    /// The id of its bucket.
    pub(super) fn bucket(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(bucket, _)| bucket)
    }

    /// Where it was written.
    pub(super) fn written(&self) -> StoragePath {
        self.directory.join(&self.path)
    }

    /// Where it is when it holds just what belongs to the checkpoint.
    pub(super) fn pending(&self) -> StoragePath {
        match self.is_in_progress {
            true => self.place().join(&cut_name(self.name(), self.checkpoint)),
            false => self.written(),
        }
    }

    /// Where it is once it is committed.
    pub(super) fn committed(&self) -> StoragePath {
        self.place().join(&committed_name(self.name(), self.checkpoint))
    }

    /// Its mark, which is there until its commit begins.
    pub(super) fn mark(&self) -> StoragePath {
        self.directory.join(&mark_name(self.name()))
    }
}
