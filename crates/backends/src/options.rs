//! Every option that the backends and the job runtime read, by its key of Flink 2.x, with the older keys of the same
//! option and Flink's default.
//!
//! Keys of Flink that are not listed here are ignored, so that a cluster's configuration file can be used as it is.

use std::time::Duration;

use crate::config::{ConfigOption, MemorySize, OptionInfo};
use crate::settings::{CheckpointingMode, ClaimMode, ExternalizedRetention};

/// Declares options as statics, with their documentation as description, and lists them all.
macro_rules! options {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $constructor:ident($key:literal $(, $default:literal)?)
       $(, older $older:tt)?;)+) => {
        $(
            $(#[doc = $doc])+
            #[doc = ""]
            #[doc = concat!("Key: `", $key, "`", $(", default: `", $default, "`",)? ".")]
            $(#[doc = concat!("Older keys: `", stringify!($older), "`.")])?
            pub static $name: ConfigOption<$type> =
                ConfigOption::$constructor($key, $($default,)? concat!($($doc),+))$(.with_older_keys(&$older))?;
        )+

        /// Every option of this module.
        pub static ALL: &[&OptionInfo] = &[$($name.info()),+];
    };
}
#[cfg(feature = "rocksdb")]
pub(crate) use options;

#[cfg(feature = "rocksdb")]
pub use crate::rocksdb::options as rocksdb;

/// Every option of every backend that is compiled in.
pub(crate) fn every() -> impl Iterator<Item = &'static OptionInfo> {
    let all = ALL.iter();
    #[cfg(feature = "rocksdb")]
    let all = all.chain(rocksdb::ALL).chain(rocksdb::metrics::ALL);
    all.copied()
}

options! {
    /// Name of the state backend: `hashmap`, `filesystem`, `jobmanager`, `rocksdb`, or one registered by the program. Without it
    /// keyed state is on the heap and the storage follows [`CHECKPOINT_STORAGE`].
    STATE_BACKEND: Option<String> = optional("state.backend.type"), older ["state.backend"];
    /// Where the bytes of checkpoints go, when the backend does not decide it: `filesystem` or `jobmanager`. Without it
    /// `filesystem` if a checkpoint directory is set, else `jobmanager`.
    CHECKPOINT_STORAGE: Option<String> = optional("execution.checkpointing.storage"),
        older ["state.checkpoint-storage"];
    /// Base directory of checkpoints, a URI such as `file:///data/checkpoints`. Each job has a directory below it.
    CHECKPOINTS_DIRECTORY: Option<String> = optional("execution.checkpointing.dir"),
        older ["state.checkpoints.dir", "state.backend.fs.checkpointdir"];
    /// Default target of savepoints, a URI.
    SAVEPOINT_DIRECTORY: Option<String> = optional("execution.checkpointing.savepoint-dir"),
        older ["state.savepoints.dir", "savepoints.state.backend.fs.dir"];
    /// State streams up to this size are kept inside the metadata file instead of a file of their own; 0 to 1 mb.
    FS_SMALL_FILE_THRESHOLD: MemorySize = new("execution.checkpointing.data-inline-threshold", "20 kb"),
        older ["state.storage.fs.memory-threshold", "state.backend.fs.memory-threshold"];
    /// Size in bytes, a plain number, of the buffer before checkpoint files; at least the inline threshold is taken.
    FS_WRITE_BUFFER_SIZE: i32 = new("execution.checkpointing.write-buffer-size", "4096"),
        older ["state.storage.fs.write-buffer-size", "state.backend.fs.write-buffer-size"];
    /// How many completed checkpoints are kept while the job runs, at least 1.
    MAX_RETAINED_CHECKPOINTS: i32 = new("execution.checkpointing.num-retained", "1"),
        older ["state.checkpoints.num-retained"];
    /// How many checkpoints that are not under way are remembered with all that is known of them.
    CHECKPOINTS_HISTORY: i32 = new("web.checkpoints.history", "10");
    /// Whether each job has its own directory below the base directory. Without it two jobs must not share a base
    /// directory.
    CREATE_CHECKPOINT_SUBDIR: bool = new("execution.checkpointing.create-subdir", "true"),
        older ["state.checkpoints.create-subdir"];
    /// Whether key groups of full snapshots are compressed with snappy.
    SNAPSHOT_COMPRESSION: bool = new("execution.checkpointing.snapshot-compression", "false");
    /// Largest sum of state that one task may put inline into one acknowledgement (Flink: the largest message between
    /// processes).
    FRAMESIZE: MemorySize = new("pekko.framesize", "10485760b"), older ["akka.framesize"];
    /// Number of key groups of operators that do not set it, 1 to 32768; -1 derives it from the first parallelism.
    MAX_PARALLELISM: i32 = new("pipeline.max-parallelism", "-1");
    /// How often watermark generators are asked for watermarks, from 0 on; 0 for never.
    AUTO_WATERMARK_INTERVAL: Duration = new("pipeline.auto-watermark-interval", "200 ms");
    /// Slots of a process, at least 1: they share its managed memory. A job runs that many workers in a process, unless
    /// the program says how many; then that is the number of slots.
    NUM_TASK_SLOTS: i32 = new("taskmanager.numberOfTaskSlots", "1");

    /// Time between the starts of two checkpoints, at least 10 ms; not set: no periodic checkpoints.
    CHECKPOINTING_INTERVAL: Option<Duration> = optional("execution.checkpointing.interval");
    /// Guarantee of checkpoints. Highwater's are exactly once.
    CHECKPOINTING_MODE: CheckpointingMode = new("execution.checkpointing.mode", "EXACTLY_ONCE");
    /// Time after which a checkpoint that is not complete is given up, at least 10 ms.
    CHECKPOINTING_TIMEOUT: Duration = new("execution.checkpointing.timeout", "10 min");
    /// Shortest time from the end of one checkpoint to the start of the next; more than 365 days count as 365 days.
    MIN_PAUSE_BETWEEN_CHECKPOINTS: Duration = new("execution.checkpointing.min-pause", "0 ms");
    /// How many checkpoints may be under way at once, at least 1.
    MAX_CONCURRENT_CHECKPOINTS: i32 = new("execution.checkpointing.max-concurrent-checkpoints", "1");
    /// How many checkpoints in a row may fail before the job fails, at least 0.
    TOLERABLE_FAILURE_NUMBER: i32 = new("execution.checkpointing.tolerable-failed-checkpoints", "0");
    /// What happens to the checkpoints of a job that ends. Not set: they are kept, however it ends.
    EXTERNALIZED_CHECKPOINT_RETENTION: Option<ExternalizedRetention> =
        optional("execution.checkpointing.externalized-checkpoint-retention");
    /// Whether barriers may overtake records. Highwater aligns, and refuses to be asked for anything else.
    UNALIGNED_CHECKPOINTS: bool = new("execution.checkpointing.unaligned.enabled", "false"),
        older ["execution.checkpointing.unaligned"];

    /// Snapshot to start from: a directory or a metadata file, with or without a scheme.
    SAVEPOINT_PATH: Option<String> = optional("execution.state-recovery.path"), older ["execution.savepoint.path"];
    /// Whether state of the snapshot that no operator claims may be left behind.
    IGNORE_UNCLAIMED_STATE: bool = new("execution.state-recovery.ignore-unclaimed-state", "false"),
        older ["execution.savepoint.ignore-unclaimed-state"];
    /// Who owns the snapshot that the job starts from.
    CLAIM_MODE: ClaimMode = new("execution.state-recovery.claim-mode", "NO_CLAIM"),
        older ["execution.savepoint-restore-mode"];

    /// What follows a failure: `none`, `fixed-delay` or `exponential-delay`. Not set: exponential-delay if checkpoints
    /// are on, else none.
    RESTART_STRATEGY: Option<String> = optional("restart-strategy.type"), older ["restart-strategy"];
    /// Fixed delay: restarts before the job fails, at least 0.
    FIXED_DELAY_ATTEMPTS: i32 = new("restart-strategy.fixed-delay.attempts", "1");
    /// Fixed delay: time before each restart.
    FIXED_DELAY_DELAY: Duration = new("restart-strategy.fixed-delay.delay", "1 s");
    /// Exponential delay: time before the first restart, above 0.
    EXPONENTIAL_DELAY_INITIAL_BACKOFF: Duration = new("restart-strategy.exponential-delay.initial-backoff", "1 s");
    /// Exponential delay: longest time before a restart, at least the initial one.
    EXPONENTIAL_DELAY_MAX_BACKOFF: Duration = new("restart-strategy.exponential-delay.max-backoff", "1 min");
    /// Exponential delay: factor from one delay to the next, at least 1.
    EXPONENTIAL_DELAY_BACKOFF_MULTIPLIER: f64 = new("restart-strategy.exponential-delay.backoff-multiplier", "1.5");
    /// Exponential delay: time without a failure after which the delay is the initial one again.
    EXPONENTIAL_DELAY_RESET_THRESHOLD: Duration =
        new("restart-strategy.exponential-delay.reset-backoff-threshold", "1 h");
    /// Exponential delay: random part of each delay, as a share of it, 0 to 1.
    EXPONENTIAL_DELAY_JITTER_FACTOR: f64 = new("restart-strategy.exponential-delay.jitter-factor", "0.1");
    /// Exponential delay: restarts without a reset before the job fails; not set: any number.
    EXPONENTIAL_DELAY_ATTEMPTS: Option<i32> =
        optional("restart-strategy.exponential-delay.attempts-before-reset-backoff");

    /// Time between two reports of user code that does not return although its job was cancelled or has failed, at least
    /// 1 ms.
    TASK_CANCELLATION_INTERVAL: Duration = new("task.cancellation.interval", "30 s");
    /// Time after which the process ends if user code does not return although its job was cancelled or has failed; 0:
    /// it never does.
    TASK_CANCELLATION_TIMEOUT: Duration = new("task.cancellation.timeout", "180 s");

    /// Time between two signs of life of a process to another of its cluster, at least 1 ms.
    HEARTBEAT_INTERVAL: Duration = new("heartbeat.interval", "10 s");
    /// Time without a sign of life after which a process counts as lost, at least the interval.
    HEARTBEAT_TIMEOUT: Duration = new("heartbeat.timeout", "50 s");
    /// How long a process looks for the coordinating one before it ends, at least 1 ms.
    REGISTRATION_TIMEOUT: Duration = new("taskmanager.registration.timeout", "5 min");
    /// How long the coordinating process waits for all others before an attempt fails, at least 1 ms.
    SLOT_REQUEST_TIMEOUT: Duration = new("slot.request.timeout", "5 min");

    /// Port of the HTTP endpoint of a program that has one, 0 to 65535; 0: any free one.
    REST_PORT: i32 = new("rest.port", "8081");
    /// Address on which the HTTP endpoint listens: an IP address or `localhost`.
    REST_BIND_ADDRESS: String = new("rest.bind-address", "127.0.0.1");
    /// Highwater's own: whether that may be another address than one of the loopback interface. The endpoint knows no
    /// users.
    REST_ALLOW_REMOTE: bool = new("highwater.rest.allow-remote", "false");

    /// Largest state, in bytes, of one stream of a memory backend that is created by name; 1 byte to 2147483647 bytes.
    MEMORY_MAX_STATE_SIZE: MemorySize = new("highwater.memory.max-state-size", "5 mb");
}
