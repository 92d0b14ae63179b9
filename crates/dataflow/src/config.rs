//! How a job is executed.

use std::sync::Arc;
use std::time::Duration;

use highwater_backends::{
    BackendRegistry, ClaimMode, Configuration, ExternalizedRetention, JobSettings, RestartStrategy, StateBackend,
    options, select_checkpoint_storage,
};
use highwater_checkpoint::CheckpointStorage;
use highwater_types::{Error, Result};

use crate::runtime::watchdog::Patience;
use crate::{Cluster, JobHandle};

/// What a job starts from.
///
/// A pointer belongs to the first start with it, as in Flink it belongs to the submission of a job. Once the job has
/// completed a checkpoint of its own, the same start goes on from there, so that whatever restarts the command line
/// after a crash loses nothing. The job's directory holds a note of what its checkpoints continue from
/// (`_lineage.<n>`, which Flink ignores); another pointer than the noted one is followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// The newest checkpoint in the job's own directory, which belongs to the job, or the savepoint with which it was
    /// stopped later; nothing if there is none. A job that has finished is not run again.
    #[default]
    Latest,
    /// A snapshot somewhere: the directory or the metadata file of a checkpoint or savepoint, of Highwater or Flink.
    /// The newest of the job's own checkpoints wins if it continues from this snapshot; whether it finished counts then
    /// as with [`Latest`](Self::Latest).
    ///
    /// Whose the snapshot is from then on says `execution.state-recovery.claim-mode`
    /// ([`claim_mode`](ExecutionConfig::claim_mode)). By default it stays the user's: the job never deletes it or a file
    /// that it needs, also where it is one of the job's own checkpoints, during this run and all later ones; and the
    /// first checkpoint of the job is full, so that none of its checkpoints needs a file of the snapshot.
    Pointer(String),
    /// A snapshot as with [`Pointer`](Self::Pointer), also if the job has gone on from it: what it has done since is
    /// given up, with every start anew.
    Anew(String),
    /// Nothing, whatever is in the job's directory. What is there is replaced once a new checkpoint is complete.
    Fresh,
}

/// How a job is executed (Flink's `ExecutionConfig` and `CheckpointConfig`).
///
/// Every setting has a key in Flink's configuration; the methods below are short forms for the usual ones. What a
/// method sets wins over a configuration given before.
///
/// ```
/// use std::time::Duration;
/// use highwater_backends::FsStateBackend;
/// use highwater_dataflow::ExecutionConfig;
///
/// let config = ExecutionConfig::new()
///     .workers(2)
///     .state_backend(FsStateBackend::new("file:///tmp/checkpoints")?)
///     .checkpoint_interval(Duration::from_millis(200))
///     .retained_checkpoints(3);
/// # let _ = config;
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ExecutionConfig {
    pub(crate) workers: Option<usize>,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) start: Option<StartFrom>,
    pub(crate) handle: JobHandle,
    pub(crate) has_control_directory: bool,
    forgets_watermarks: bool,
    configuration: Configuration,
    backend: Option<Arc<dyn StateBackend>>,
    storage: Option<Arc<dyn CheckpointStorage>>,
    registry: BackendRegistry,
}

impl ExecutionConfig {
    /// One worker, the heap backend, no periodic checkpoints, no restarts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes everything from a configuration, as [`configuration`](Self::configuration) does.
    pub fn from_configuration(configuration: &Configuration) -> Self {
        Self::new().configuration(configuration)
    }

    /// Lays a configuration over what was set so far. The state backend is loaded from it, unless
    /// [`state_backend`](Self::state_backend) gives one, which then takes from it what it leaves unset.
    pub fn configuration(mut self, configuration: &Configuration) -> Self {
        self.configuration = self.configuration.overlaid_with(configuration);
        self
    }

    /// Worker threads in this process, at least 1. Each runs one subtask of every operator. Default:
    /// `taskmanager.numberOfTaskSlots`, which is 1 unless configured.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Runs the job together with other processes.
    pub fn cluster(mut self, cluster: Cluster) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// The state backend. Default: the configured one, else the heap.
    pub fn state_backend(mut self, backend: impl StateBackend) -> Self {
        self.backend = Some(Arc::new(backend));
        self
    }

    /// The storage of checkpoints, for a backend that has none of its own.
    pub fn checkpoint_storage(mut self, storage: impl CheckpointStorage + 'static) -> Self {
        self.storage = Some(Arc::new(storage));
        self
    }

    /// The backends known by name. Default: those of Highwater.
    pub fn backends(mut self, registry: BackendRegistry) -> Self {
        self.registry = registry;
        self
    }

    /// Time between the starts of two checkpoints, at least 10 ms (`execution.checkpointing.interval`). Default: no
    /// periodic checkpoints; a job whose input ends takes a final one all the same.
    pub fn checkpoint_interval(mut self, interval: Duration) -> Self {
        self.configuration.set(&options::CHECKPOINTING_INTERVAL, Some(interval));
        self
    }

    /// How many checkpoints in a row may fail before the job does
    /// (`execution.checkpointing.tolerable-failed-checkpoints`). Default 0.
    pub fn tolerable_checkpoint_failures(mut self, failures: u32) -> Self {
        self.configuration.set(&options::TOLERABLE_FAILURE_NUMBER, i32::try_from(failures).unwrap_or(i32::MAX));
        self
    }

    /// How many completed checkpoints are kept (`execution.checkpointing.num-retained`). Default 1.
    pub fn retained_checkpoints(mut self, checkpoints: u32) -> Self {
        self.configuration.set(&options::MAX_RETAINED_CHECKPOINTS, i32::try_from(checkpoints).unwrap_or(i32::MAX));
        self
    }

    /// What becomes of the checkpoints when the job ends (`execution.checkpointing.externalized-checkpoint-retention`).
    /// Default: they are kept, however it ends. A snapshot of the user is kept always, and so is every checkpoint when
    /// the process is killed, or the job could not even begin to run, also if it is cancelled then.
    ///
    /// | policy | finished | stopped | stopped with a savepoint | cancelled | failed |
    /// |---|---|---|---|---|---|
    /// | none set | kept | kept | kept | kept | kept |
    /// | `RETAIN_ON_CANCELLATION` | deleted | kept | deleted | kept | kept |
    /// | `DELETE_ON_CANCELLATION` | deleted | kept | deleted | deleted | kept |
    /// | `NO_EXTERNALIZED_CHECKPOINTS` | deleted | deleted | deleted | deleted | deleted |
    ///
    /// A finished job is known as finished also without its checkpoints.
    pub fn checkpoint_retention(mut self, policy: ExternalizedRetention) -> Self {
        self.configuration.set(&options::EXTERNALIZED_CHECKPOINT_RETENTION, Some(policy));
        self
    }

    /// Whose the snapshot is that [`StartFrom::Pointer`] names (`execution.state-recovery.claim-mode`), from the first
    /// start with it on:
    ///
    /// | mode | owner | the job's first checkpoint | deleted by the job |
    /// |---|---|---|---|
    /// | [`NoClaim`](ClaimMode::NoClaim), the default | the user | full: no checkpoint needs the snapshot | never |
    /// | [`Claim`](ClaimMode::Claim) | the job | may share its files | when newer checkpoints replace it, as its own; the directory around it stays |
    /// | [`Legacy`](ClaimMode::Legacy) | the user | may share its files: keep it as long as the job lives | never |
    pub fn claim_mode(mut self, mode: ClaimMode) -> Self {
        self.configuration.set(&options::CLAIM_MODE, mode);
        self
    }

    /// Number of key groups, 1 to 32768 (`pipeline.max-parallelism`). Default: that of the snapshot, else derived from
    /// the parallelism, at least 128. It bounds the parallelism for the life of the state.
    pub fn max_parallelism(mut self, key_groups: u32) -> Self {
        self.configuration.set(&options::MAX_PARALLELISM, i32::try_from(key_groups).unwrap_or(i32::MAX));
        self
    }

    /// How often watermark generators are asked for watermarks (`pipeline.auto-watermark-interval`); zero: never, so that
    /// only generators that emit with a record have any. Default 200 ms.
    pub fn auto_watermark_interval(mut self, interval: Duration) -> Self {
        self.configuration.set(&options::AUTO_WATERMARK_INTERVAL, interval);
        self
    }

    /// Whether operators remember over a restore how far event time had come, so that what was late stays late. Flink
    /// forgets it. Switch it off for one start if the watermark strategy has become more tolerant. Default: yes.
    pub fn remember_watermarks(mut self, remember: bool) -> Self {
        self.forgets_watermarks = !remember;
        self
    }

    /// What follows a failure (`restart-strategy.*`). Default: exponential delay if checkpoints are taken, else none.
    pub fn restart_strategy(mut self, strategy: &RestartStrategy) -> Self {
        let configuration = &mut self.configuration;
        match strategy {
            RestartStrategy::None => {
                configuration.set(&options::RESTART_STRATEGY, Some("none".to_owned()));
            }
            RestartStrategy::FixedDelay { attempts, delay } => {
                configuration
                    .set(&options::RESTART_STRATEGY, Some("fixed-delay".to_owned()))
                    .set(&options::FIXED_DELAY_ATTEMPTS, i32::try_from(*attempts).unwrap_or(i32::MAX))
                    .set(&options::FIXED_DELAY_DELAY, *delay);
            }
            RestartStrategy::ExponentialDelay {
                initial_backoff,
                max_backoff,
                backoff_multiplier,
                reset_backoff_threshold,
                jitter_factor,
                attempts_before_reset,
            } => {
                let attempts = attempts_before_reset.map(|attempts| i32::try_from(attempts).unwrap_or(i32::MAX));
                configuration
                    .set(&options::RESTART_STRATEGY, Some("exponential-delay".to_owned()))
                    .set(&options::EXPONENTIAL_DELAY_INITIAL_BACKOFF, *initial_backoff)
                    .set(&options::EXPONENTIAL_DELAY_MAX_BACKOFF, *max_backoff)
                    .set(&options::EXPONENTIAL_DELAY_BACKOFF_MULTIPLIER, *backoff_multiplier)
                    .set(&options::EXPONENTIAL_DELAY_RESET_THRESHOLD, *reset_backoff_threshold)
                    .set(&options::EXPONENTIAL_DELAY_JITTER_FACTOR, *jitter_factor)
                    .set(&options::EXPONENTIAL_DELAY_ATTEMPTS, attempts);
            }
        }
        self
    }

    /// How long the code of a cancelled attempt may go on before the process ends with status 239
    /// (`task.cancellation.timeout`); zero: for ever. Default 180 s. Nothing else can end a call that never returns.
    pub fn cancellation_timeout(mut self, timeout: Duration) -> Self {
        self.configuration.set(&options::TASK_CANCELLATION_TIMEOUT, timeout);
        self
    }

    /// What the job starts from. Default: `execution.state-recovery.path` if that is set, else
    /// [`StartFrom::Latest`].
    pub fn start_from(mut self, start: StartFrom) -> Self {
        self.start = Some(start);
        self
    }

    /// Whether state of the snapshot that no operator claims may be left behind
    /// (`execution.state-recovery.ignore-unclaimed-state`). Default no: the job refuses to start.
    pub fn ignore_unclaimed_state(mut self, ignore: bool) -> Self {
        self.configuration.set(&options::IGNORE_UNCLAIMED_STATE, ignore);
        self
    }

    /// Whether the job takes requests from outside its process: for checkpoints, savepoints, its end. They are files in a
    /// directory `control` beside its checkpoints, where a job looks every second; see [`JobControl`](crate::JobControl).
    /// Whoever may write there rules the job. Default no.
    pub fn control_directory(mut self, is_wanted: bool) -> Self {
        self.has_control_directory = is_wanted;
        self
    }

    /// The handle on which the program sees progress and asks for a stop.
    pub fn handle(mut self, handle: &JobHandle) -> Self {
        self.handle = handle.clone();
        self
    }

    /// Reads and checks everything; nothing is touched.
    pub(crate) fn resolve(&self) -> Result<Resolved> {
        let settings = JobSettings::from_configuration(&self.configuration)?;
        let backend = self.effective_backend(self.local_workers()?)?;
        let storage = select_checkpoint_storage(&*backend, self.storage.clone(), &self.configuration)?;
        let start = match (&self.start, &settings.recovery.path) {
            (Some(start), _) => start.clone(),
            (None, Some(path)) => StartFrom::Pointer(path.clone()),
            (None, None) => StartFrom::Latest,
        };
        let workers = self.local_workers()?;
        let (processes, process) = self.cluster.as_ref().map_or((1, 0), |cluster| (cluster.hosts.len(), cluster.index));
        if workers == 0 || processes == 0 || process >= processes {
            return Err(Error::configuration(
                "a job needs at least one worker, and each process an index below their number",
            )
            .with("workers", workers)
            .with("processes", processes)
            .with("index", process));
        }
        self.cluster.as_ref().map(Cluster::check).transpose()?;
        let parallelism = u32::try_from(workers.saturating_mul(processes))
            .map_err(|_| Error::configuration("there are too many workers").with("workers", workers))?;
        let patience = Patience::from(&settings.cancellation);
        let remembers_watermarks = !self.forgets_watermarks;
        Ok(Resolved {
            settings,
            backend,
            storage,
            start,
            patience,
            remembers_watermarks,
            workers,
            process,
            parallelism,
        })
    }

    /// A worker is a slot.
    fn local_workers(&self) -> Result<usize> {
        match self.workers {
            Some(workers) => Ok(workers),
            None => {
                let slots = self.configuration.get(&options::NUM_TASK_SLOTS)?;
                usize::try_from(slots).ok().filter(|slots| *slots > 0).ok_or_else(|| {
                    Error::configuration("a process needs at least one slot")
                        .with("key", options::NUM_TASK_SLOTS.key())
                        .with("value", slots)
                })
            }
        }
    }

    /// The backend with its unset fields from the one configuration there is.
    fn effective_backend(&self, workers: usize) -> Result<Arc<dyn StateBackend>> {
        let mut configuration = self.configuration.clone();
        let workers = workers.max(1);
        configuration.set(&options::NUM_TASK_SLOTS, i32::try_from(workers).unwrap_or(i32::MAX));
        self.registry.effective_backend(self.backend.as_deref(), &configuration, &Configuration::new())
    }
}

/// Checked settings of one execution.
pub(crate) struct Resolved {
    pub(crate) settings: JobSettings,
    pub(crate) backend: Arc<dyn StateBackend>,
    pub(crate) storage: Arc<dyn CheckpointStorage>,
    pub(crate) start: StartFrom,
    pub(crate) patience: Patience,
    pub(crate) remembers_watermarks: bool,
    /// Worker threads of this process.
    pub(crate) workers: usize,
    /// Index of this process.
    pub(crate) process: usize,
    /// Workers of all processes.
    pub(crate) parallelism: u32,
}

#[cfg(test)]
mod tests {
    use highwater_backends::MemoryStateBackend;

    use super::*;

    #[test]
    fn a_backend_of_the_application_takes_from_the_configuration_what_it_leaves_unset() {
        let configuration = [("state.savepoints.dir", "file:///conf"), ("state.checkpoints.dir", "file:///conf")];
        let config = ExecutionConfig::from_configuration(&configuration.into_iter().collect())
            .state_backend(MemoryStateBackend::new().with_checkpoint_path("file:///app").unwrap());
        let effective = config.resolve().unwrap().backend.to_string();
        assert!(effective.contains("checkpoints: 'file:/app', savepoints: 'file:/conf'"), "{effective}");
    }

    #[test]
    fn each_worker_is_a_slot() {
        let mut registry = BackendRegistry::new();
        let named = |configuration: &Configuration| -> Result<Arc<dyn StateBackend>> {
            let slots = configuration.get(&options::NUM_TASK_SLOTS)?;
            Ok(Arc::new(MemoryStateBackend::new().with_max_state_size(i64::from(slots))?))
        };
        registry.register("slots", named).unwrap();
        let configuration = [("state.backend", "slots"), ("taskmanager.numberOfTaskSlots", "9")];
        let config = ExecutionConfig::from_configuration(&configuration.into_iter().collect()).backends(registry);
        for workers in [1, 3] {
            let effective = config.clone().workers(workers).resolve().unwrap().backend.to_string();
            assert!(effective.contains(&format!("maxStateSize: {workers})")), "{effective}");
        }
    }
}
