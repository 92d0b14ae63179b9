//! What the tests share: a job, its directories, and what lies in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use highwater::checkpoint::{
    CheckpointMetadata, CheckpointStorage, CompletedCheckpointStore, FileSystemCheckpointStorage, IncrementalHandle,
    JobId, KeyedStateHandle, StoragePath, StreamHandle,
};
use highwater::{
    Configuration, ExecutionConfig, Job, JobHandle, JobOutcome, JobResult, JobStatus, RestartStrategy, Result,
};
use tempfile::TempDir;

use crate::support::{CommitSink, NumbersUntil, count, occurrences, wait_until};

pub(crate) const NAME: &str = "faults";
pub(crate) const RECORDS: u64 = 30_000;
pub(crate) const KEYS: u64 = 1_009;

/// Checkpoints in one directory, databases in another, results in memory.
pub(crate) struct Place {
    pub(crate) directory: TempDir,
    pub(crate) sink: CommitSink,
    settings: BTreeMap<String, String>,
}

impl Place {
    /// Incremental checkpoints every 20 ms, everything in files, the newest three are kept.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut place = Self { sink: CommitSink::new(), settings: BTreeMap::new(), directory };
        let checkpoints = format!("file://{}", place.path("checkpoints").display());
        let databases = place.path("databases").display().to_string();
        place.set("state.backend", "rocksdb");
        place.set("state.checkpoints.dir", &checkpoints);
        place.set("state.backend.rocksdb.localdir", &databases);
        place.set("execution.checkpointing.incremental", "true");
        place.set("execution.checkpointing.data-inline-threshold", "0 b");
        place
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.settings.insert(key.to_owned(), value.to_owned());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn config(&self) -> ExecutionConfig {
        let restart = RestartStrategy::FixedDelay { attempts: 5, delay: Duration::from_millis(1) };
        let settings: Configuration = self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        ExecutionConfig::from_configuration(&settings)
            .workers(2)
            .checkpoint_interval(Duration::from_millis(20))
            .retained_checkpoints(3)
            .restart_strategy(&restart)
    }

    /// Checkpoints through `storage`, which is to be one over [`Self::storage`].
    pub(crate) fn config_on(&mut self, storage: impl CheckpointStorage + 'static) -> ExecutionConfig {
        self.settings.remove("state.checkpoints.dir");
        self.config().checkpoint_storage(storage)
    }

    /// The storage that is configured.
    pub(crate) fn storage(&self) -> FileSystemCheckpointStorage {
        let base = StoragePath::from_local(self.path("checkpoints")).unwrap();
        FileSystemCheckpointStorage::new(base).unwrap().with_inline_threshold(0)
    }

    /// Counts numbers: `rate` per second until somebody ends the job, or to the end as fast as it can.
    pub(crate) fn job(&self, rate: Option<f64>) -> Job {
        let sink = self.sink.clone();
        Job::new(NAME, move |env| {
            let numbers = NumbersUntil::part_or_rest(RECORDS, KEYS, rate);
            count(env.source("numbers", numbers), "count").sink("sink", sink.clone());
            Ok(())
        })
    }

    /// Shared files that no complete checkpoint names at this moment.
    pub(crate) fn unreferenced(&self) -> BTreeSet<PathBuf> {
        let mut files = self.shared();
        let metadata = listing(&self.job_directory()).into_keys().filter(|path| path.ends_with("_metadata"));
        // A checkpoint may go meanwhile.
        for snapshot in metadata.filter_map(|path| CheckpointMetadata::read(&fs::read(path).ok()?).ok()) {
            for handle in incremental(&snapshot) {
                for (_, stream) in handle.shared.iter().chain(&handle.private) {
                    if let StreamHandle::File { path, .. } = stream {
                        files.remove(Path::new(path.trim_start_matches("file:")));
                    }
                }
            }
        }
        files
    }

    /// Waits until a running job has so many checkpoints, and until every file that no checkpoint names now is gone or
    /// named: nothing is left for the end of the attempt. Then stops the job, which has time for it.
    pub(crate) fn stop_when_tidy(&self, handle: &JobHandle, checkpoints: u64) {
        wait_until(|| handle.progress().completed_checkpoints >= checkpoints);
        let files = self.unreferenced();
        let is_running = || handle.progress().status == JobStatus::Running;
        wait_until(|| !is_running() || files.is_disjoint(&self.unreferenced()));
        assert!(is_running(), "files were left in the shared directory: {files:?}");
        handle.stop();
    }

    /// Runs until there are so many new checkpoints, and stops with one more.
    pub(crate) fn run_and_stop(&self, config: ExecutionConfig, checkpoints: u64) -> JobResult {
        let handle = JobHandle::new();
        let result = std::thread::scope(|scope| {
            scope.spawn(|| self.stop_when_tidy(&handle, checkpoints));
            self.job(Some(5_000.0)).execute(&config.handle(&handle))
        });
        let result = result.unwrap();
        assert_eq!(result.outcome, JobOutcome::Stopped);
        result
    }

    pub(crate) fn run_to_end(&self, config: &ExecutionConfig) -> JobResult {
        let result = self.job(None).execute(config).unwrap();
        assert_eq!(result.outcome, JobOutcome::Finished);
        self.sink.assert_exactly_once(&occurrences(RECORDS, KEYS));
        assert_eq!(listing(&self.path("databases")), BTreeMap::new(), "databases were left behind");
        result
    }

    /// Starts a job that cannot run.
    pub(crate) fn run_in_vain(&self, config: &ExecutionConfig) -> (highwater::Error, JobHandle) {
        let handle = JobHandle::new();
        let before = self.sink.committed();
        let outcome: Result<JobResult> = self.job(None).execute(&config.clone().handle(&handle));
        let Err(error) = outcome else { panic!("the job ran") };
        assert_eq!(self.sink.committed(), before, "a job that cannot run commits nothing");
        (error, handle)
    }

    /// Everything complete, as a new run would find it.
    pub(crate) fn checkpoints(&self) -> CompletedCheckpointStore {
        let job = self.storage().open(JobId::from_name(NAME)).unwrap();
        CompletedCheckpointStore::recover(job, 3).unwrap()
    }

    pub(crate) fn job_directory(&self) -> PathBuf {
        self.path("checkpoints").join(JobId::from_name(NAME).to_string())
    }

    /// Paths of the files in `shared`.
    pub(crate) fn shared(&self) -> BTreeSet<PathBuf> {
        listing(&self.job_directory().join("shared")).into_keys().collect()
    }

    /// No checkpoint is damaged, and no file lies around that none of them names.
    pub(crate) fn assert_tidy(&self) {
        let store = self.checkpoints();
        assert!(store.unreadable().is_empty(), "{:?}", store.unreadable());
        let orphans: Vec<_> = store.orphans().map(ToString::to_string).collect();
        assert_eq!(orphans, [] as [String; 0], "files that no checkpoint names");
    }
}

/// The native snapshots of a checkpoint.
pub(crate) fn incremental(metadata: &CheckpointMetadata) -> Vec<IncrementalHandle> {
    let subtasks = metadata.operators.iter().flat_map(|operator| operator.subtask_states());
    let keyed = subtasks.filter_map(|(_, state)| state.managed_keyed.clone());
    keyed
        .filter_map(|handle| match handle {
            KeyedStateHandle::Incremental(handle) => Some(*handle),
            _ => None,
        })
        .collect()
}

/// All files below a directory: size and time of the last change.
pub(crate) fn listing(directory: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    let Ok(entries) = fs::read_dir(directory) else { return found };
    for entry in entries {
        let entry = entry.unwrap();
        // Of a running job it may be gone.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            found.extend(listing(&entry.path()));
        } else if entry.file_name() != ".lock" {
            found.insert(entry.path(), (metadata.len(), metadata.modified().unwrap()));
        }
    }
    found
}

/// Puts other bytes in the place of a file: it may be a hard link to what a database has open.
pub(crate) fn replace(file: &Path, bytes: &[u8]) {
    fs::remove_file(file).unwrap();
    fs::write(file, bytes).unwrap();
}
