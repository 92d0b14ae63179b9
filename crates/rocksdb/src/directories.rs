//! Where databases lie on the local disk, and how the directories of crashed runs are found and removed.
//!
//! Every store has an *instance directory* `job_<job>_op_<operator>_uuid_<random>`, named as in Flink, with the database
//! in its child `db`. A file `.lock` in it is locked as long as the process lives: the operating system lets go of the
//! lock however a process ends, so a directory whose lock can be taken is one that nobody uses.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use highwater_types::{Error, Result};
use uuid::Uuid;

/// The child of an instance directory that holds the database.
const DATABASE: &str = "db";
const LOCK: &str = ".lock";
/// The lock file before it is locked.
const UNLOCKED: &str = ".lock.new";
/// Begins the names of directories that are made only to see whether that is possible.
const PROBE: &str = "highwater-probe-";
/// File names may have 255 bytes; prefix, job and UUID take their part.
const NAME_PART: usize = 80;

/// The usable ones of the directories that are to hold databases. Each new database takes the next one.
#[derive(Debug)]
pub(crate) struct LocalDirectories {
    usable: Vec<PathBuf>,
    next: AtomicUsize,
}

impl LocalDirectories {
    /// Tries each directory by making one in it. Those that cannot be used are left out with a warning.
    pub(crate) fn probe(candidates: &[PathBuf]) -> Result<Self> {
        let (mut usable, mut reasons) = (Vec::new(), Vec::new());
        for directory in candidates {
            match probe(directory) {
                Ok(()) => usable.push(directory.clone()),
                Err(cause) => {
                    tracing::warn!(directory = %directory.display(), %cause, "local directory cannot be used, skipped");
                    reasons.push(format!("{}: {cause}", directory.display()));
                }
            }
        }
        if usable.is_empty() {
            return Err(Error::storage(
                "No local storage directories available: make one of them writable, or name others in \
                 state.backend.rocksdb.localdir",
            )
            .with("directories", format_args!("[{}]", reasons.join("; "))));
        }
        // Random, so that the processes of one machine do not all begin with the same disk.
        let start = Uuid::new_v4().as_u128() % usable.len() as u128;
        Ok(Self { usable, next: AtomicUsize::new(start as usize) })
    }

    /// A directory for the next database: in the next of the directories, or, if that has become unusable, in the one
    /// after it.
    pub(crate) fn create(&self, job: &str, operator: &str) -> Result<InstanceDirectory> {
        let mut failure = None;
        for parent in self.in_turn() {
            match InstanceDirectory::create(parent, job, operator) {
                Ok(directory) => return Ok(directory),
                Err(error) => {
                    tracing::warn!(directory = %parent.display(), %error, "local directory cannot be used any more");
                    failure = Some(error);
                }
            }
        }
        Err(failure.unwrap_or_else(|| Error::internal("there are no local directories")))
    }

    /// All directories, beginning with the next one.
    fn in_turn(&self) -> impl Iterator<Item = &Path> {
        let all = self.usable.len();
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % all.max(1);
        self.usable.iter().cycle().skip(turn).take(all).map(PathBuf::as_path)
    }

    /// Removes what crashed runs of a job left in these directories; what cannot be removed is warned of.
    pub(crate) fn remove_abandoned(&self, job: &str) {
        for directory in &self.usable {
            if let Err(cause) = remove_abandoned(directory, job) {
                tracing::warn!(directory = %directory.display(), %cause, "local state of a crashed run is still there");
            }
        }
    }
}

/// Makes a directory in `directory`, and `directory` itself if it is not there, and removes the one that it made.
fn probe(directory: &Path) -> io::Result<()> {
    let attempt = directory.join(format!("{PROBE}{}", Uuid::new_v4()));
    fs::create_dir_all(&attempt)?;
    match fs::remove_dir(&attempt) {
        // Another process took it for abandoned.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn remove_abandoned(directory: &Path, job: &str) -> io::Result<()> {
    let prefix = job_prefix(job);
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PROBE) {
            // Of a process that was killed while it probed, or probes right now: empty in either case.
            let _ = fs::remove_dir(entry.path());
        }
        if !name.starts_with(&prefix) {
            continue;
        }
        match InstanceDirectory::take_over(entry.path())? {
            Some(abandoned) => {
                tracing::info!(directory = %abandoned.path().display(), "removing the local state of a crashed run");
            }
            None => remove_empty(&entry.path()),
        }
    }
    Ok(())
}

/// Removes what is left where a process was killed between making and locking a directory, or while removing one. One
/// that is just being made may be hit; its maker tries again.
fn remove_empty(directory: &Path) {
    let unlocked = directory.join(UNLOCKED);
    if File::open(&unlocked).is_ok_and(|file| file.try_lock().is_ok()) {
        let _ = fs::remove_file(unlocked);
    }
    // Fails if there is anything in it.
    let _ = fs::remove_dir(directory);
}

/// The directory of one store, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct InstanceDirectory {
    path: PathBuf,
    job: String,
    operator: String,
    /// Locked until the process ends or the directory is gone.
    _lock: File,
}

impl InstanceDirectory {
    /// Makes and locks a new directory in `parent`.
    pub(crate) fn create(parent: &Path, job: &str, operator: &str) -> Result<Self> {
        // Another process may have taken the first one for abandoned before it was locked.
        Self::try_create(parent, job, operator).or_else(|_| Self::try_create(parent, job, operator))
    }

    fn try_create(parent: &Path, job: &str, operator: &str) -> Result<Self> {
        let name = format!("{}{}_uuid_{}", job_prefix(job), name_part(operator), Uuid::new_v4());
        let path = parent.join(name);
        let lock = create_locked(&path).map_err(|cause| {
            // What is there of it is of no use.
            let _ = fs::remove_dir_all(&path);
            Error::storage("could not make a directory for a database").with("directory", path.display()).because(cause)
        })?;
        Ok(Self { path, job: job.to_owned(), operator: operator.to_owned(), _lock: lock })
    }

    /// A directory that is there and that nobody uses; none if somebody does.
    fn take_over(path: PathBuf) -> io::Result<Option<Self>> {
        let lock = match File::open(path.join(LOCK)) {
            Ok(lock) => lock,
            // One that is being made, or removed by somebody else.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { path, job: String::new(), operator: String::new(), _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The directory itself. Snapshots may lie in it, beside the database.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whose state it holds.
    pub(crate) fn operator(&self) -> &str {
        &self.operator
    }

    /// The job of the operator.
    pub(crate) fn job(&self) -> &str {
        &self.job
    }

    /// Where the database is, or will be.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Removes everything, the lock file last: as long as it is there, a later run can go on after a crash.
    fn remove(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name() == LOCK {
                continue;
            }
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
        fs::remove_dir_all(&self.path)
    }
}

impl Drop for InstanceDirectory {
    fn drop(&mut self) {
        match self.remove() {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(directory = %self.path.display(), %cause, "local state could not be removed");
            }
            _ => {}
        }
    }
}

fn create_locked(path: &Path) -> io::Result<File> {
    fs::create_dir_all(path)?;
    // Locked before it has the name under which others look for it.
    let unlocked = path.join(UNLOCKED);
    let lock = File::create_new(&unlocked)?;
    lock.try_lock().map_err(io::Error::from)?;
    fs::rename(&unlocked, path.join(LOCK))?;
    Ok(lock)
}

fn job_prefix(job: &str) -> String {
    format!("job_{}_op_", name_part(job))
}

/// As part of a file name, as Flink writes operators: everything but letters, digits and hyphens becomes `_`.
fn name_part(name: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    name.chars().map(keep).take(NAME_PART).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn unusable_directories_are_skipped() {
        let scratch = tempfile::tempdir().unwrap();
        let (file, new) = (scratch.path().join("file"), scratch.path().join("a/b/c"));
        fs::write(&file, b"not a directory").unwrap();
        let chosen = LocalDirectories::probe(&[file, new.clone()]).unwrap();
        assert_eq!(chosen.in_turn().collect::<Vec<_>>(), [new.as_path()]);
        assert_eq!(names(&new), [] as [String; 0], "a probe leaves nothing");
    }

    #[test]
    fn without_a_usable_directory_each_is_named_with_its_reason() {
        let scratch = tempfile::tempdir().unwrap();
        let files = ["one", "two"].map(|name| scratch.path().join(name));
        files.iter().for_each(|file| fs::write(file, b"not a directory").unwrap());
        let error = LocalDirectories::probe(&files.clone().map(|file| file.join("below"))).unwrap_err();
        assert_eq!(error.kind(), highwater_types::ErrorKind::Storage);
        assert!(error.message().starts_with("No local storage directories available"), "{error}");
        for file in files {
            assert!(error.to_string().contains(&format!("{}/below: Not a directory", file.display())), "{error}");
        }
    }

    #[test]
    fn directories_take_turns_from_a_random_one_on() {
        let scratch = tempfile::tempdir().unwrap();
        let all: Vec<_> = (0..3).map(|number| scratch.path().join(number.to_string())).collect();
        let mut starts = BTreeMap::new();
        for _ in 0..100 {
            let chosen = LocalDirectories::probe(&all).unwrap();
            let turns: Vec<_> = (0..7).map(|_| chosen.in_turn().next().unwrap().to_owned()).collect();
            let start = all.iter().position(|directory| *directory == turns[0]).unwrap();
            let expected: Vec<_> = all.iter().cycle().skip(start).take(7).cloned().collect();
            assert_eq!(turns, expected);
            *starts.entry(start).or_insert(0) += 1;
        }
        assert_eq!(starts.len(), 3, "100 random starts: {starts:?}");
    }

    /// Two operators, two disks, one of them gone: both operators find their way to the other one.
    #[test]
    fn a_directory_that_becomes_unusable_is_passed_over() {
        let scratch = tempfile::tempdir().unwrap();
        let [lost, good] = ["lost", "good"].map(|name| scratch.path().join(name));
        let chosen = LocalDirectories::probe(&[lost.clone(), good.clone()]).unwrap();
        fs::remove_dir(&lost).unwrap();
        fs::write(&lost, b"not a directory any more").unwrap();
        for _ in 0..4 {
            let directory = chosen.create("words", "count").unwrap();
            assert_eq!(directory.path().parent(), Some(good.as_path()));
        }
        fs::remove_dir(&good).unwrap();
        fs::write(&good, b"not a directory any more").unwrap();
        let error = chosen.create("words", "count").unwrap_err();
        assert_eq!(error.kind(), highwater_types::ErrorKind::Storage);
        assert!(error.value("directory").unwrap().starts_with(scratch.path().to_str().unwrap()), "{error}");
    }

    #[test]
    fn instance_directories_are_named_as_in_flink_and_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = InstanceDirectory::create(scratch.path(), "words", "Count_words (1/2) ä/x-1").unwrap();
        let found = names(scratch.path());
        assert_eq!(found.len(), 1);
        let (name, uuid) = found[0].split_once("_uuid_").unwrap();
        assert_eq!(name, "job_words_op_Count_words__1_2____x-1");
        assert!(Uuid::parse_str(uuid).is_ok());
        fs::create_dir_all(directory.database().join("below")).unwrap();
        fs::write(directory.path().join("file"), b"").unwrap();
        drop(directory);
        assert_eq!(names(scratch.path()), [] as [String; 0]);
    }

    #[test]
    fn long_names_are_cut() {
        let scratch = tempfile::tempdir().unwrap();
        let long = "x".repeat(1000);
        let directory = InstanceDirectory::create(scratch.path(), &long, &long).unwrap();
        assert!(directory.path().is_dir());
    }

    #[test]
    fn only_directories_of_the_job_that_nobody_holds_are_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let alive = InstanceDirectory::create(scratch.path(), "words", "alive").unwrap();
        let leave = |name: &str, lock: bool| {
            let path = scratch.path().join(name);
            fs::create_dir_all(path.join("db")).unwrap();
            fs::write(path.join("db/000007.sst"), b"").unwrap();
            if lock {
                fs::write(path.join(LOCK), b"").unwrap();
            }
        };
        leave("job_words_op_dead_uuid_1", true);
        leave("job_words_op_being-made_uuid_2", false);
        leave("job_other_op_dead_uuid_3", true);
        // Killed before the lock had its name, and before there was one.
        fs::create_dir(scratch.path().join("job_words_op_unborn_uuid_4")).unwrap();
        fs::write(scratch.path().join("job_words_op_unborn_uuid_4").join(UNLOCKED), b"").unwrap();
        fs::create_dir(scratch.path().join("job_words_op_unborn_uuid_5")).unwrap();
        // Killed between making a directory for a trial and removing it. These used to stay for ever.
        fs::create_dir(scratch.path().join(format!("{PROBE}6"))).unwrap();
        leave("mine", true);
        fs::write(scratch.path().join("job_words_op_file"), b"").unwrap();

        let chosen = LocalDirectories::probe(&[scratch.path().to_owned()]).unwrap();
        chosen.remove_abandoned("words");
        let mut left = names(scratch.path());
        left.sort();
        let alive_name = alive.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(
            left,
            ["job_other_op_dead_uuid_3", alive_name, "job_words_op_being-made_uuid_2", "job_words_op_file", "mine"]
        );
    }
}
