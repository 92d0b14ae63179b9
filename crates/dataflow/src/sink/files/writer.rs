//! One subtask of the sink.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_checkpoint::{FileSystem, FileWriter, StoragePath};
use highwater_state::{Clock, OperatorListState};
use highwater_types::Result;

use super::bucket::{BucketAssigner, BucketContext, check_bucket_id};
use super::commit::{By, commit_all, copy_listed, open_listed};
use super::name::Namer;
use super::part::{Part, Place, path_in};
use super::rolling::RollingPolicy;
use super::uncommitted::{Uncommitted, UncommittedElement};
use super::unsynced::Unsynced;
use super::{FileSink, Format};
use crate::sink::{Durability, SinkWriter};

/// Closed files that may wait for a checkpoint to sync them. More would be too many open files.
const MAX_WAITING: usize = 64;

pub(super) struct LineWriter<T> {
    directory: StoragePath,
    namer: Namer,
    format: Format<T>,
    policy: Arc<dyn RollingPolicy<T>>,
    buckets: Arc<dyn BucketAssigner<T>>,
    check_interval: Duration,
    clock: Arc<dyn Clock>,
    fs: Arc<dyn FileSystem>,
    /// Open files by bucket. A bucket without one is forgotten.
    parts: BTreeMap<String, Part>,
    /// Files that are whole, path and length, and belong to the next checkpoint.
    closed: Vec<(String, u64)>,
    unsynced: Unsynced,
    /// Files that belong to a checkpoint and are not yet committed, in the order of checkpoints.
    prepared: Vec<Uncommitted>,
    /// Whether the next checkpoint is the last.
    is_finishing: bool,
    state: OperatorListState<UncommittedElement>,
}

impl<T: 'static> LineWriter<T> {
    pub(super) fn new(
        sink: &FileSink<T>,
        directory: StoragePath,
        namer: Namer,
        state: OperatorListState<UncommittedElement>,
    ) -> Self {
        Self {
            directory,
            namer,
            format: Arc::clone(&sink.format),
            policy: Arc::clone(&sink.policy),
            buckets: Arc::clone(&sink.buckets),
            check_interval: sink.check_interval,
            clock: Arc::clone(&sink.clock),
            fs: Arc::clone(&sink.fs),
            parts: BTreeMap::new(),
            closed: Vec::new(),
            unsynced: Unsynced::new(Arc::clone(&sink.fs)),
            prepared: Vec::new(),
            is_finishing: false,
            state,
        }
    }

    /// Copies what a restored snapshot lists of files that are not this sink's to commit into files of its own. They are
    /// as good as written by this attempt: they belong to its next checkpoint, and go if there is none.
    pub(super) fn adopt(&mut self, files: &[Uncommitted]) -> Result<()> {
        for file in files {
            let bucket = if self.buckets.is_base_path() { "" } else { file.bucket() };
            let Some(original) = open_listed(&*self.fs, file)? else { continue };
            let name = self.namer.next_name();
            let copy = place(&*self.fs, &self.directory, bucket, &self.unsynced).create_marked(&name)?;
            let copy = copy_listed(file, original, copy)?;
            self.closed.push((path_in(bucket, &name), file.length));
            self.sync_later(copy)?;
        }
        Ok(())
    }

    fn sync_later(&self, closed: Box<dyn FileWriter>) -> Result<()> {
        if self.unsynced.add_closed(closed) > MAX_WAITING {
            self.unsynced.sync()?;
        }
        Ok(())
    }

    /// Closes the open file of a bucket. It is synced with the next checkpoint.
    fn close(&mut self, bucket: &str) -> Result<()> {
        let Some(mut part) = self.parts.remove(bucket) else { return Ok(()) };
        if let Err(error) = part.flush(&place(&*self.fs, &self.directory, bucket, &self.unsynced)) {
            self.parts.insert(bucket.to_owned(), part);
            return Err(error);
        }
        self.closed.push((part.path(bucket), part.length));
        part.into_writer().map_or(Ok(()), |writer| self.sync_later(writer))
    }

    /// Closes all files of which the policy says so.
    fn roll(&mut self, mut is_due: impl FnMut(&dyn RollingPolicy<T>, &Part, &str) -> bool) -> Result<()> {
        let due = self.parts.iter().filter(|(bucket, part)| is_due(&*self.policy, part, bucket));
        let due: Vec<String> = due.map(|(bucket, _)| bucket.clone()).collect();
        due.iter().try_for_each(|bucket| self.close(bucket))
    }

    /// What the next checkpoint has to list of files that go on.
    fn in_progress(&mut self, checkpoint: u64) -> Result<Vec<Uncommitted>> {
        let Self { parts, fs, directory, unsynced, .. } = self;
        let list = parts.iter_mut().map(|(bucket, part)| {
            part.flush(&place(&**fs, directory, bucket, unsynced))?;
            part.sync_later(unsynced)?;
            let (directory, path, length) = (directory.clone(), part.path(bucket), part.length);
            Ok(Uncommitted { directory, path, is_in_progress: true, checkpoint, length })
        });
        list.collect()
    }
}

fn place<'a>(fs: &'a dyn FileSystem, directory: &'a StoragePath, bucket: &'a str, unsynced: &'a Unsynced) -> Place<'a> {
    Place { fs, directory, bucket, unsynced }
}

impl<T: 'static> SinkWriter<T> for LineWriter<T> {
    fn write(&mut self, record: T) -> Result<()> {
        let now = self.clock.now_millis();
        let bucket = self.buckets.bucket_id(&record, &BucketContext { current_processing_time: now });
        if let Some(part) = self.parts.get(&*bucket)
            && self.policy.should_roll_on_event(&part.info(&bucket), &record)
        {
            self.close(&bucket)?;
        }
        let part = match self.parts.get_mut(&*bucket) {
            Some(part) => part,
            None => {
                check_bucket_id(&bucket)?;
                self.parts.entry(bucket.clone().into_owned()).or_insert(Part::new(self.namer.next_name(), now))
            }
        };
        if part.append(now, |line| (self.format)(&record, line)) {
            self.unsynced.check()?;
            part.flush(&place(&*self.fs, &self.directory, &bucket, &self.unsynced))?;
        }
        Ok(())
    }

    fn on_processing_time(&mut self) -> Result<Option<Duration>> {
        let now = self.clock.now_millis();
        self.roll(|policy, part, bucket| policy.should_roll_on_processing_time(&part.info(bucket), now))?;
        Ok(Some(self.check_interval))
    }

    fn finish(&mut self) -> Result<()> {
        self.is_finishing = true;
        Ok(())
    }

    fn prepare(&mut self, checkpoint_id: u64) -> Result<()> {
        self.unsynced.check()?;
        let is_finishing = std::mem::take(&mut self.is_finishing);
        self.roll(|policy, part, bucket| is_finishing || policy.should_roll_on_checkpoint(&part.info(bucket)))?;
        let in_progress = self.in_progress(checkpoint_id)?;
        let closed = self.closed.drain(..);
        self.prepared.extend(closed.map(|(path, length)| Uncommitted {
            directory: self.directory.clone(),
            path,
            is_in_progress: false,
            checkpoint: checkpoint_id,
            length,
        }));
        // Replaces what was restored: that is committed.
        self.state.update(self.prepared.iter().chain(&in_progress).map(Uncommitted::to_element))
    }

    fn durability(&mut self) -> Option<Durability> {
        let unsynced = self.unsynced.clone();
        Some(Box::new(move || unsynced.sync()))
    }

    fn commit(&mut self, checkpoint_id: u64) -> Result<()> {
        let due = self.prepared.partition_point(|file| file.checkpoint <= checkpoint_id);
        let (now, _later) = self.prepared.split_at(due);
        commit_all(&*self.fs, By::Writer, now)?;
        self.prepared.drain(..due);
        Ok(())
    }
}
