//! Flink reads what Highwater wrote: its RocksDB opens the databases, its jobs start from the checkpoints, and Highwater
//! goes on from what they leave.
//!
//! These tests need a Flink release and a JDK: `HIGHWATER_FLINK` is the class path that `tools/flink/setup` prints.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use highwater_checkpoint::CheckpointMetadata;

use crate::model::{Entries, exact};
use crate::support::{Snapshot, databases, say};
use crate::words::{Job, change_as_flink, described, lines};

const KEYS: usize = 3000;

/// Whether there is a Flink to try. Says so loudly if not.
fn has_flink() -> bool {
    let has = std::env::var_os("HIGHWATER_FLINK").is_some();
    if !has {
        say("SKIPPED: no Flink here to read our files; set HIGHWATER_FLINK=\"$(tools/flink/setup)\"");
    }
    has
}

/// Runs one of the programs in `tools/flink`.
fn run(program: &str, arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/flink/run");
    let output = Command::new(script).arg(program).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

/// A job whose state went through two checkpoints at parallelism 2, one as the increment of the other, and a third at
/// parallelism 3; and that third.
fn rescaled(directory: &Path) -> (Job, PathBuf) {
    let mut job = Job::start(directory, 2, None);
    for round in 0..4 {
        job.change(0..KEYS, round);
    }
    job.checkpoint(1);
    job.change((0..KEYS).step_by(3), 4);
    job.check();
    let second = job.checkpoint(2);

    let mut job = Job::start(directory, 3, Some((&second, job.model)));
    job.check();
    job.change((0..KEYS).step_by(4), 5);
    let third = job.checkpoint(3);
    (job, third)
}

/// All databases of a checkpoint, as Flink's RocksDB finds them.
fn read_by_flink(checkpoint: &Path, scratch: &Path) -> BTreeMap<String, Entries> {
    let metadata = CheckpointMetadata::read(&fs::read(checkpoint.join("_metadata")).unwrap()).unwrap();
    let snapshot = Snapshot::ours(checkpoint, metadata);
    let mut all = BTreeMap::<String, Entries>::new();
    for (index, handle) in snapshot.metadata.operators.iter().flat_map(databases).enumerate() {
        let directory = scratch.join(format!("db-{index}"));
        let dump = scratch.join(format!("dump-{index}"));
        fs::create_dir_all(&directory).unwrap();
        snapshot.assemble(handle, &directory);
        run("OpenDatabase", &[directory.to_str().unwrap(), dump.to_str().unwrap()]);
        for line in fs::read_to_string(&dump).unwrap().lines() {
            let [family, key, value] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
            assert!(all.entry(family.to_owned()).or_default().insert(hex(key), hex(value)).is_none(), "{line}");
        }
    }
    all
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn flinks_rocksdb_opens_our_databases() {
    if !has_flink() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (job, checkpoint) = rescaled(directory.path());
    let mut found = read_by_flink(&checkpoint, directory.path());
    let (operator, states) = described(&job.model);
    for state in states {
        let name = state["name"].as_str().unwrap();
        let expected = exact(&operator, &state).unwrap();
        assert!(expected.len() > KEYS / 2, "{name} is hardly used");
        assert_eq!(found.remove(name).unwrap(), expected, "{name}");
    }
    assert!(found.is_empty(), "not expected: {:?}", found.keys());
}

#[test]
fn a_flink_job_starts_from_our_checkpoint_and_we_from_its_savepoint() {
    if !has_flink() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (job, checkpoint) = rescaled(directory.path());
    let mut model = job.model;
    let (mut from, savepoints) = (checkpoint, directory.path().join("savepoints"));
    // At our parallelism, every database is opened as it is; at another, Flink takes them apart.
    for parallelism in ["3", "2"] {
        let output = directory.path().join("found");
        let keys = KEYS.to_string();
        let [from_text, output_text, savepoints] = [&from, &output, &savepoints].map(|path| path.to_str().unwrap());
        run("RestoreJob", &[from_text, parallelism, &keys, output_text, savepoints]);
        let found = fs::read_to_string(&output).unwrap();
        let mut found: Vec<_> = found.lines().collect();
        let savepoint = PathBuf::from(found.pop().unwrap().trim_start_matches("file:"));
        assert_eq!(found, lines(&model, KEYS));
        change_as_flink(&mut model, KEYS);

        let mut job = Job::start(&directory.path().join(parallelism), 2, Some((&savepoint, model)));
        job.check();
        job.change((0..KEYS).step_by(5), 6);
        from = job.checkpoint(4);
        job.check();
        model = job.model;
    }
}
