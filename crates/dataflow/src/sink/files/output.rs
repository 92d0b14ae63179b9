//! What a sink has written, by the names it gave.

use std::collections::BTreeSet;

use highwater_checkpoint::{JobId, StoragePath};
use highwater_types::Result;

use super::FileSink;
use super::name::SinkNames;
use super::recover::with_buckets;

impl<T: 'static> FileSink<T> {
    /// The committed files of this sink in its directory, under this uid of this job. Files of other sinks, jobs and
    /// programs are told apart by their names.
    ///
    /// ```
    /// use highwater_dataflow::{CollectionSource, ExecutionConfig, FileSink, Job};
    ///
    /// # let scratch = tempfile::tempdir()?;
    /// # let output = scratch.path().join("output");
    /// let lines = FileSink::new(&output, |n: &i64, line| line.extend_from_slice(n.to_string().as_bytes()));
    /// let sink = lines.clone();
    /// let job = Job::new("numbers", move |env| {
    ///     env.source("numbers", CollectionSource::new(vec![1_i64, 2, 3])).sink("lines", sink.clone());
    ///     Ok(())
    /// });
    /// job.execute(&ExecutionConfig::new())?;
    /// std::fs::write(output.join("part-00000.parquet"), "of another program")?;
    ///
    /// assert_eq!(lines.committed_files(job.id(), "lines")?.len(), 1);
    /// lines.remove_output(job.id(), "lines")?;
    /// assert_eq!(std::fs::read_dir(&output)?.count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Configuration` for a uid that no file sink can have; `Storage` if a directory cannot be listed.
    pub fn committed_files(&self, job: JobId, uid: &str) -> Result<Vec<StoragePath>> {
        let names = SinkNames::new(&job.to_string(), uid)?;
        self.files(&self.places()?, |name| names.is_committed(name))
    }

    /// Removes every file of this sink in its directory under this uid of this job, committed or not, and buckets that
    /// are empty then. Nothing else is touched. Returns how many files there were. For a job that begins anew: take its
    /// checkpoints away first, and call it while the job does not run.
    ///
    /// # Errors
    /// As [`committed_files`](Self::committed_files).
    pub fn remove_output(&self, job: JobId, uid: &str) -> Result<usize> {
        let names = SinkNames::new(&job.to_string(), uid)?;
        let places = self.places()?;
        let files = self.files(&places, |name| names.is_file(name))?;
        files.iter().try_for_each(|file| self.fs.remove_file(file))?;
        let changed: BTreeSet<StoragePath> = files.iter().filter_map(StoragePath::parent).collect();
        changed.iter().try_for_each(|place| self.fs.sync_dir(place))?;
        // The deepest come first.
        for bucket in places.iter().rev().filter(|place| changed.iter().any(|c| c == *place || c.is_below(place))) {
            if Some(bucket) != places.first() && self.fs.list(bucket)?.is_empty() {
                self.fs.remove_dir(bucket)?;
            }
        }
        Ok(files.len())
    }

    /// The output directory and, if there are buckets, all of them; the output directory comes first.
    fn places(&self) -> Result<BTreeSet<StoragePath>> {
        let directory = StoragePath::from_local(&self.directory)?;
        match self.buckets.is_base_path() {
            true => Ok(BTreeSet::from([directory])),
            false => with_buckets(&*self.fs, &directory),
        }
    }

    fn files(&self, places: &BTreeSet<StoragePath>, is_mine: impl Fn(&str) -> bool) -> Result<Vec<StoragePath>> {
        let mut files = Vec::new();
        for place in places {
            let mine = self.fs.list(place)?.into_iter().filter(|entry| !entry.is_dir && is_mine(&entry.name));
            files.extend(mine.map(|entry| place.join(&entry.name)));
        }
        Ok(files)
    }
}
