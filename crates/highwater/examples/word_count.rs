//! Counts words, exactly once, however often it is killed.
//!
//! `cargo run --release --example word_count -- [OPTIONS] [PATH]...`
//!
//! Reads text files, splits them at white space, counts every word in keyed state, and writes one line
//! `word<TAB>count` for every occurrence, where the count is the running one. Kill it at any moment and start the same
//! command again: the committed files, `part-*`, come to hold exactly what an undisturbed run writes, also with another
//! number of workers or another state backend, and also in several processes (`--cluster-index`, `--cluster-hosts`).
//! Files that are not yet committed begin with a dot; they are committed when they are large, old or at rest, and at the
//! end.
//!
//! Exit codes: 0 the job has finished, now or before; 1 it failed; 2 the command or a setting is wrong; 130 it was
//! interrupted, and can be resumed. While it runs, `--ctl` asks it from another process for a checkpoint, a savepoint or
//! its end.
#![allow(missing_docs, reason = "a program")]

#[path = "support/fjall_store.rs"]
mod fjall_store;

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use fjall_store::FjallStateBackend;
use highwater::checkpoint::{StoragePath, file_system_for};
use highwater::state::ReferenceStoreFactory;
use highwater::{
    BackendRegistry, Cluster, Collector, Configuration, ControlCommand, DefaultRollingPolicy, Error, ErrorKind,
    ExecutionConfig, FileSink, FileSource, Job, JobControl, JobHandle, JobOutcome, JobStatus, KeyedStore, Progress,
    Result, Secret, StartFrom, StateBackend, ValueStateDescriptor, options, parse_duration,
};
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Count words in text files, exactly once.
#[derive(Parser)]
#[command(
    name = "word_count",
    args_override_self = true,
    after_help = "Exit codes: 0 finished, 1 failed, 2 wrong settings, 130 interrupted."
)]
struct Options {
    /// Files and directories to read [default: the *.md and *.rs files of this repository, outside target]
    paths: Vec<PathBuf>,

    /// Where working state is kept: fs, memory, hashmap, rocksdb (with the cargo feature of that name), or one that
    /// this program registers: ordered-map, fjall
    #[arg(long, value_name = "NAME", default_value = "fs")]
    state_backend: String,

    /// Whether checkpoints of rocksdb share files with earlier ones [default: false]
    #[arg(long, value_name = "true|false")]
    incremental: Option<bool>,

    /// Local directory for the databases of rocksdb; may be given several times [default: the machine's for temporary
    /// files]
    #[arg(long, value_name = "DIR")]
    db_storage_path: Vec<PathBuf>,

    /// Profile of rocksdb's options: DEFAULT, SPINNING_DISK_OPTIMIZED, SPINNING_DISK_OPTIMIZED_HIGH_MEM or
    /// FLASH_SSD_OPTIMIZED
    #[arg(long, value_name = "NAME")]
    predefined_options: Option<String>,

    /// Directory of checkpoints, as a URI [default: target/word_count/checkpoints of this repository]
    #[arg(long, value_name = "URI")]
    checkpoint_dir: Option<String>,

    /// Directory of the results [default: target/word_count/output of this repository]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,

    /// Time between two checkpoints
    #[arg(long, value_name = "DURATION", default_value = "200ms", value_parser = parse_duration)]
    checkpoint_interval: Duration,

    /// Age, or time without a line, at which a file of results is committed, with the next checkpoint
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    rollover_interval: Duration,

    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,

    /// Lines per second over all workers, to have time to kill it [default: no limit]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,

    /// Look for new files in the directories so often, until somebody stops the job [default: read what is there, and end]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    watch: Option<Duration>,

    /// What to start from: latest, none, or the path of a checkpoint or savepoint; once the job has gone on from there,
    /// the same command goes on
    #[arg(long, value_name = "latest|none|POINTER", default_value = "latest")]
    restore: String,

    /// Start from the pointer again, though the job has gone on from there
    #[arg(long)]
    anew: bool,

    /// Whose the snapshot of the pointer is: NO_CLAIM, CLAIM or LEGACY [default: NO_CLAIM, the user's]
    #[arg(long, value_name = "MODE")]
    claim_mode: Option<String>,

    /// Ask the job that another process runs on these checkpoints, and start none
    #[arg(long, value_name = "checkpoint|savepoint|stop|stop-with-savepoint|cancel")]
    ctl: Option<String>,

    /// Directory that gets the savepoint of --ctl
    #[arg(long, value_name = "DIR")]
    target: Option<String>,

    /// With --ctl stop-with-savepoint: the job counts as finished, and is not resumed
    #[arg(long)]
    drain: bool,

    /// Completed checkpoints that are kept
    #[arg(long, value_name = "N", default_value_t = 3)]
    keep: u32,

    /// Serve metrics and checkpoints over HTTP on this port; 0: any free one. Needs the cargo feature http
    #[arg(long, value_name = "PORT")]
    rest_port: Option<u16>,

    /// Address on which to serve them
    #[arg(long, value_name = "ADDRESS", requires = "rest_port")]
    rest_address: Option<String>,

    /// Allow an address that other machines reach. Nobody has to say who they are
    #[arg(long, requires = "rest_port")]
    rest_allow_remote: bool,

    /// Clear the checkpoints and results of earlier runs first. Not in a cluster: run it once alone
    #[arg(long, conflicts_with = "cluster_index")]
    fresh: bool,

    /// Any key of the configuration; may be given several times
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Index of this process in its cluster, from 0
    #[arg(long, value_name = "N", requires = "cluster_hosts")]
    cluster_index: Option<usize>,

    /// Where the processes of the cluster listen, in the order of their indexes
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', requires = "cluster_index")]
    cluster_hosts: Vec<String>,

    /// File with the secret of the cluster [default: the environment variable HIGHWATER_CLUSTER_SECRET]
    #[arg(long, value_name = "FILE", requires = "cluster_index")]
    cluster_secret_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()))
        .with_writer(std::io::stderr)
        .init();
    match run(Options::parse()) {
        Ok(JobOutcome::Stopped | JobOutcome::Cancelled) => ExitCode::from(130),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if error.kind() == ErrorKind::Configuration { 2 } else { 1 })
        }
    }
}

fn run(options: Options) -> Result<JobOutcome> {
    let output = options.output.clone().unwrap_or_else(|| repository().join("target/word_count/output"));
    let checkpoints = match &options.checkpoint_dir {
        Some(uri) => StoragePath::parse(uri)?,
        None => StoragePath::from_local(repository().join("target/word_count/checkpoints"))?,
    };
    let sink = counts_to(&output, options.rollover_interval);
    let job = word_count(&options, &sink);
    if let Some(command) = &options.ctl {
        return ask(&options, command, &JobControl::new(&checkpoints, job.id())?);
    }
    if options.fresh {
        clear(&checkpoints.join(&job.id().to_string()), || sink.remove_output(job.id(), SINK), &output)?;
    }
    let handle = JobHandle::new();
    let configuration = configuration(&options, &checkpoints)?;
    let config = execution(&options, &configuration)?.handle(&handle);
    let _endpoint = serve(&configuration, &handle)?;
    let result = watched(&handle, || job.execute(&config))?;

    match result.outcome {
        JobOutcome::AlreadyFinished => eprintln!("this job has finished in an earlier run; --fresh runs it again"),
        JobOutcome::Stopped => eprintln!("stopped after a checkpoint; the same command goes on from there"),
        JobOutcome::Cancelled => eprintln!("cancelled; the same command goes on from the last checkpoint"),
        _ => {}
    }
    // The results are those of all processes of a cluster.
    if options.cluster_index.unwrap_or(0) == 0 {
        print_summary(&sink.committed_files(job.id(), SINK)?, &output, &result.progress)?;
    }
    Ok(result.outcome)
}

/// Uid of the sink.
const SINK: &str = "counts";

/// A line for every count.
fn counts_to(output: &Path, rollover_interval: Duration) -> FileSink<(String, i64)> {
    let policy =
        DefaultRollingPolicy::new().rollover_interval(rollover_interval).inactivity_interval(rollover_interval);
    let sink = FileSink::new(output, |(word, count): &(String, i64), line| {
        // Writing to a vector cannot fail.
        let _ = write!(line, "{word}\t{count}");
    });
    sink.rolling_policy(policy).bucket_check_interval(rollover_interval)
}

/// Serves what there is to know of the job for as long as the value lives, if that is wanted.
#[cfg(feature = "http")]
fn serve(configuration: &Configuration, handle: &JobHandle) -> Result<Option<highwater::RestEndpoint>> {
    if !configuration.contains(&options::REST_PORT) {
        return Ok(None);
    }
    let settings = highwater::RestSettings::from_configuration(configuration)?;
    let endpoint = highwater::RestEndpoint::start(handle, &settings)?;
    eprintln!("metrics and checkpoints: http://{}/jobs", endpoint.address());
    Ok(Some(endpoint))
}

#[cfg(not(feature = "http"))]
fn serve(configuration: &Configuration, _: &JobHandle) -> Result<Option<std::convert::Infallible>> {
    match configuration.contains(&options::REST_PORT) {
        true => Err(Error::configuration("this program was built without HTTP: build it with --features http")),
        false => Ok(None),
    }
}

/// The job: lines to words, words to running counts, counts to files.
fn word_count(options: &Options, sink: &FileSink<(String, i64)>) -> Job {
    let mut source = if options.paths.is_empty() {
        FileSource::lines([repository()]).filter(is_text_of_the_repository)
    } else {
        FileSource::lines(&options.paths)
    };
    if let Some(rate) = options.rate {
        source = source.rate(rate);
    }
    if let Some(interval) = options.watch {
        source = source.monitor_continuously(interval);
    }
    let sink = sink.clone();
    Job::new("word count", move |env| {
        env.source("lines", source.clone())
            .flat_map(|line: String, out: &mut Collector<String>| {
                out.extend(line.split_whitespace().map(str::to_owned));
                Ok(())
            })
            .key_by(|word: &String| word.clone())
            .process("count", |open| {
                let count = open.value_state(&ValueStateDescriptor::<i64>::new("count"))?;
                Ok(move |word: &String, _: String, out: &mut Collector<(String, i64)>| {
                    let n = count.modify(
                        || 0,
                        |n| {
                            *n += 1;
                            *n
                        },
                    )?;
                    out.collect((word.clone(), n));
                    Ok(())
                })
            })
            .sink(SINK, sink.clone());
        Ok(())
    })
}

/// What the command line says, by the keys of the configuration.
fn configuration(options: &Options, checkpoints: &StoragePath) -> Result<Configuration> {
    let mut configuration = Configuration::new();
    configuration
        .set(&options::STATE_BACKEND, Some(options.state_backend.clone()))
        .set(&options::CHECKPOINTS_DIRECTORY, Some(checkpoints.to_string()));
    if let Some(mode) = &options.claim_mode {
        configuration.set_raw(options::CLAIM_MODE.key(), mode);
    }
    if let Some(port) = options.rest_port {
        configuration.set_raw(options::REST_PORT.key(), port.to_string());
        configuration.set(&options::REST_ALLOW_REMOTE, options.rest_allow_remote);
    }
    if let Some(address) = &options.rest_address {
        configuration.set_raw(options::REST_BIND_ADDRESS.key(), address);
    }
    set_rocksdb(options, &mut configuration)?;
    for entry in &options.set {
        let Some((key, value)) = entry.split_once('=') else {
            return Err(
                Error::configuration("an entry of the configuration is not of the form KEY=VALUE").with("entry", entry)
            );
        };
        configuration.set_raw(key, value);
    }
    Ok(configuration)
}

fn execution(options: &Options, configuration: &Configuration) -> Result<ExecutionConfig> {
    let mut backends = BackendRegistry::new();
    backends.register("ordered-map", |configuration: &Configuration| OrderedMapBackend.configure(configuration))?;
    backends.register("fjall", FjallStateBackend::from_configuration)?;
    let workers = options.workers.or_else(|| thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    let mut config = ExecutionConfig::from_configuration(configuration);
    if let Some(cluster) = cluster(options)? {
        config = config.cluster(cluster);
    }
    Ok(config
        .backends(backends)
        .workers(workers)
        .checkpoint_interval(options.checkpoint_interval)
        .retained_checkpoints(options.keep)
        .control_directory(true)
        .start_from(match options.restore.as_str() {
            "latest" => StartFrom::Latest,
            "none" => StartFrom::Fresh,
            pointer if options.anew => StartFrom::Anew(pointer.to_owned()),
            pointer => StartFrom::Pointer(pointer.to_owned()),
        }))
}

/// Several processes that count together.
fn cluster(options: &Options) -> Result<Option<Cluster>> {
    let Some(index) = options.cluster_index else { return Ok(None) };
    let secret = match &options.cluster_secret_file {
        Some(file) => Some(Secret::from_file(file)?),
        None => Secret::from_env("HIGHWATER_CLUSTER_SECRET")?,
    };
    let cluster = Cluster::new(index, &options.cluster_hosts);
    Ok(Some(match secret {
        Some(secret) => cluster.secret(secret),
        None => cluster,
    }))
}

/// Asks the job in another process for a checkpoint, a savepoint or its end, and prints what came of it.
fn ask(options: &Options, command: &str, job: &JobControl) -> Result<JobOutcome> {
    let target = options.target.as_ref().map(|target| {
        // The other process has another current directory.
        StoragePath::parse(target).and_then(|target| target.qualified()).map(|target| target.to_string())
    });
    let target = target.transpose()?;
    let command = match command {
        "checkpoint" => ControlCommand::Checkpoint,
        "savepoint" => ControlCommand::Savepoint { target },
        "stop" => ControlCommand::Stop,
        "stop-with-savepoint" => ControlCommand::StopWithSavepoint { target, drain: options.drain },
        "cancel" => ControlCommand::Cancel,
        other => return Err(Error::configuration("there is no such request").with("--ctl", other)),
    };
    let done = job.ask(&command, Duration::from_secs(600))?;
    if let Some(pointer) = &done.pointer {
        println!("{pointer}");
    }
    if let (Some(size), Some(duration)) = (done.size, done.duration_ms) {
        eprintln!("{}, {duration} ms", HumanBytes(size));
    }
    Ok(JobOutcome::Finished)
}

/// Flink's keys. They mean nothing to other backends.
fn set_rocksdb(options: &Options, configuration: &mut Configuration) -> Result<()> {
    if let Some(incremental) = options.incremental {
        configuration.set_raw("execution.checkpointing.incremental", incremental.to_string());
    }
    if let Some(name) = &options.predefined_options {
        configuration.set_raw("state.backend.rocksdb.predefined-options", name);
    }
    let absolute = |path: &PathBuf| {
        let absolute = std::path::absolute(path).map_err(|error| {
            Error::configuration("no directory for a database").with("path", path.display()).because(error)
        })?;
        Ok(absolute.display().to_string())
    };
    let paths = options.db_storage_path.iter().map(absolute).collect::<Result<Vec<_>>>()?;
    if !paths.is_empty() {
        configuration.set_raw("state.backend.rocksdb.localdir", paths.join(","));
    }
    Ok(())
}

/// A state backend of one's own: bytes in an ordered map.
#[derive(Clone, Debug)]
struct OrderedMapBackend;

impl fmt::Display for OrderedMapBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OrderedMapBackend")
    }
}

impl StateBackend for OrderedMapBackend {
    fn name(&self) -> &str {
        "OrderedMapBackend"
    }

    fn configure(&self, _: &Configuration) -> Result<Arc<dyn StateBackend>> {
        Ok(Arc::new(self.clone()))
    }

    fn keyed_store(&self) -> KeyedStore {
        KeyedStore::Bytes(Arc::new(ReferenceStoreFactory))
    }
}

fn repository() -> PathBuf {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn is_text_of_the_repository(path: &Path) -> bool {
    match path.extension() {
        _ if path.is_dir() => !path.ends_with("target"),
        extension => extension.is_some_and(|extension| extension == "md" || extension == "rs"),
    }
}

/// Removes what earlier runs of this job left in its two directories, and nothing else. The checkpoints go first: if
/// this is killed half-way, no later run takes the results for complete.
fn clear(checkpoints: &StoragePath, remove_output: impl FnOnce() -> Result<usize>, output: &Path) -> Result<()> {
    const LOCK: &str = ".lock";
    let fs = file_system_for(checkpoints)?;
    if fs.stat(checkpoints)?.is_some() {
        eprintln!("clearing the checkpoints in {checkpoints}");
        // A job that runs at this moment holds the lock.
        let _lock = fs.lock(&checkpoints.join(LOCK))?;
        for entry in fs.list(checkpoints)?.into_iter().filter(|entry| entry.name != LOCK) {
            let path = checkpoints.join(&entry.name);
            if entry.is_dir { fs.remove_dir_all(&path)? } else { fs.remove_file(&path)? }
        }
    }
    let files = remove_output()?;
    if files > 0 {
        eprintln!("cleared {files} files in {}", output.display());
    }
    Ok(())
}

/// Runs a job, shows its progress, and passes the first Ctrl-C on to it. The second ends the process.
fn watched<T>(handle: &JobHandle, run: impl FnOnce() -> Result<T>) -> Result<T> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupted))
            .and_then(|_| flag::register(signal, Arc::clone(&interrupted)))
            .map_err(|error| Error::storage("cannot listen to signals").because(error))?;
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(handle, &interrupted, &done));
        let result = run();
        done.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        result
    })
}

fn watch(handle: &JobHandle, interrupted: &AtomicBool, done: &AtomicBool) {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let say = |line: String| bar.suspend(|| eprintln!("{line}"));
    let (start, mut records_at_start) = (Instant::now(), None);
    let (mut attempt_said, mut stopping) = (0, false);
    loop {
        let is_done = done.load(Ordering::Relaxed);
        let progress = handle.progress();
        let has_started = progress.attempt > attempt_said && !matches!(progress.status, JobStatus::Starting);
        if has_started && progress.status != JobStatus::Created {
            attempt_said = progress.attempt;
            say(beginning(&progress));
        }
        if !stopping && interrupted.load(Ordering::Relaxed) {
            stopping = true;
            say("stopping after a checkpoint; interrupt again to stop at once".to_owned());
            handle.stop();
        }
        let first = *records_at_start.get_or_insert(progress.records_in);
        let rate = (progress.records_in - first) as f64 / start.elapsed().as_secs_f64().max(0.001);
        bar.set_message(status(&progress, rate));
        bar.tick();
        if is_done {
            return bar.finish_and_clear();
        }
        thread::park_timeout(Duration::from_millis(100));
    }
}

fn beginning(progress: &Progress) -> String {
    let from = match &progress.restored_from {
        Some(from) => format!("restored from checkpoint {} ({})", from.checkpoint_id, from.pointer),
        None => "started afresh".to_owned(),
    };
    match &progress.last_failure {
        Some(failure) => format!("attempt {} {from}, after: {failure}", progress.attempt),
        None => from,
    }
}

fn status(progress: &Progress, rate: f64) -> String {
    let lines = HumanCount(progress.records_in);
    let checkpoint = match &progress.last_checkpoint {
        Some(last) => format!("checkpoint {}: {:?}, {}", last.id, last.duration, HumanBytes(last.state_size)),
        None => "no checkpoint yet".to_owned(),
    };
    format!("{lines} lines, {}/s, {} words; {checkpoint}", HumanCount(rate as u64), HumanCount(progress.records_out))
}

/// The most frequent words and the totals, read back from the committed files.
fn print_summary(files: &[StoragePath], output: &Path, progress: &Progress) -> Result<()> {
    let paths = files.iter().map(StoragePath::to_local_path).collect::<Result<Vec<_>>>()?;
    let results = Results::read(&paths).map_err(|error| {
        Error::storage("cannot read the results").with("directory", output.display()).because(error)
    })?;
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(["word", "count"]);
    for (word, count) in results.most_frequent(10) {
        table.add_row([word.to_owned(), HumanCount(count.unsigned_abs()).to_string()]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    println!(
        "{} occurrences of {} words in {} files in {}",
        HumanCount(results.lines),
        HumanCount(results.counts.len() as u64),
        HumanCount(paths.len() as u64),
        output.display()
    );
    println!(
        "this run: {} lines read, {} words counted, {} checkpoints",
        HumanCount(progress.records_in),
        HumanCount(progress.records_out),
        progress.completed_checkpoints
    );
    Ok(())
}

#[derive(Default)]
struct Results {
    lines: u64,
    /// The highest count of every word is its last.
    counts: HashMap<String, i64>,
}

impl Results {
    fn read(files: &[PathBuf]) -> std::io::Result<Self> {
        let mut results = Self::default();
        for file in files {
            let file = match File::open(file) {
                // Somebody has taken it away meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                file => file?,
            };
            for line in BufReader::new(file).lines() {
                results.add(&line?);
            }
        }
        Ok(results)
    }

    fn add(&mut self, line: &str) {
        let Some((word, count)) = line.split_once('\t') else { return };
        let count = count.parse().unwrap_or(0);
        self.lines += 1;
        match self.counts.get_mut(word) {
            Some(highest) => *highest = count.max(*highest),
            None => drop(self.counts.insert(word.to_owned(), count)),
        }
    }

    fn most_frequent(&self, n: usize) -> Vec<(&str, i64)> {
        let mut words: Vec<_> = self.counts.iter().map(|(word, count)| (word.as_str(), *count)).collect();
        words.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        words.truncate(n);
        words
    }
}
