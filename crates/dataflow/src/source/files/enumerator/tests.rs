use super::*;
use crate::SplitAssignment;

type Context = SplitEnumeratorContext<SplitElement>;

struct Scene {
    dir: tempfile::TempDir,
    context: Context,
    enumerator: FileEnumerator,
}

impl Scene {
    fn watching() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = watch(dir.path());
        Self { enumerator: FileEnumerator::new(&source, None).unwrap(), dir, context: Context::new(1) }
    }

    /// A file that has rested.
    fn add(&self, name: &str) {
        let path = self.dir.path().join(name);
        fs::write(&path, format!("{name}\n")).unwrap();
        set_age(&path, Duration::from_secs(100));
    }

    fn discover(&mut self) {
        let next = discover_all(&mut self.enumerator, &mut self.context);
        assert_eq!(next.unwrap(), Some(Duration::from_millis(5)));
    }

    /// The names of the files that a reader gets if it asks until there is none.
    fn read(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        loop {
            if self.enumerator.idle.is_empty() {
                self.enumerator.handle_split_request(0, &mut self.context).unwrap();
            }
            let assigned = self.context.take_assignments();
            if assigned.is_empty() {
                return names;
            }
            for assignment in assigned {
                let SplitAssignment::Splits { splits, .. } = assignment else { panic!("it never ends") };
                names.extend(splits.into_iter().map(|split| split.0.rsplit('/').next().unwrap().to_owned()));
            }
        }
    }

    fn restart(&mut self) {
        let state = self.enumerator.snapshot_state().unwrap();
        self.enumerator = FileEnumerator::new(&watch(self.dir.path()), Some(&state)).unwrap();
    }
}

/// A whole listing, however many calls it takes.
fn discover_all(enumerator: &mut FileEnumerator, context: &mut Context) -> Result<Option<Duration>> {
    loop {
        match enumerator.discover(context)? {
            Some(Duration::ZERO) => {}
            next => return Ok(next),
        }
    }
}

fn watch(dir: &Path) -> FileSource {
    FileSource::lines([dir]).monitor_continuously(Duration::from_millis(5)).rest_time(Duration::from_secs(50))
}

fn set_age(path: &Path, age: Duration) {
    let file = fs::OpenOptions::new().append(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

#[test]
fn new_files_are_assigned_once_when_they_have_rested() {
    let mut scene = Scene::watching();
    scene.add("a");
    fs::write(scene.dir.path().join("growing"), "half a li").unwrap();
    fs::write(scene.dir.path().join("empty"), "").unwrap();
    set_age(&scene.dir.path().join("empty"), Duration::from_secs(100));
    scene.discover();
    assert_eq!(scene.read(), ["a"]);
    scene.add("b");
    scene.restart();
    scene.discover();
    assert_eq!(scene.read(), ["b"]);
    scene.add("growing");
    scene.add("empty");
    scene.discover();
    assert_eq!(scene.read(), ["empty", "growing"]);
    scene.restart();
    scene.discover();
    assert!(scene.read().is_empty());
}

#[test]
fn a_file_of_the_future_rests_as_soon_as_it_stands_still() {
    let mut scene = Scene::watching();
    scene.enumerator.rest_time = Duration::from_millis(20);
    let path = scene.dir.path().join("future");
    fs::write(&path, "a\n").unwrap();
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    fs::OpenOptions::new().append(true).open(&path).unwrap().set_modified(tomorrow).unwrap();
    scene.discover();
    assert!(scene.read().is_empty());
    std::thread::sleep(Duration::from_millis(30));
    scene.discover();
    assert_eq!(scene.read(), ["future"]);
}

#[test]
fn the_state_is_sixteen_bytes_for_each_file_that_is_still_there() {
    let mut scene = Scene::watching();
    for round in 0..20 {
        for i in 0..100 {
            scene.add(&format!("{round}-{i}"));
        }
        scene.discover();
        assert_eq!(scene.read().len(), 100);
        let size = scene.enumerator.snapshot_state().unwrap().len();
        assert!((16 * 100..=16 * 101 + 64).contains(&size), "{size} bytes in round {round}");
        (0..100).for_each(|i| fs::remove_file(scene.dir.path().join(format!("{round}-{i}"))).unwrap());
        // Every second time it is seen empty: it is the same directory, so the files are gone indeed.
        if round % 2 == 0 {
            scene.discover();
            assert!(scene.enumerator.snapshot_state().unwrap().len() < 64);
        }
    }
    scene.restart();
    scene.discover();
    assert!(scene.read().is_empty());
}

#[test]
fn a_missing_directory_is_waited_for_and_nothing_in_it_is_read_again() {
    let mut scene = Scene::watching();
    scene.add("a");
    scene.discover();
    assert_eq!(scene.read(), ["a"]);
    let away = scene.dir.path().with_extension("away");
    fs::rename(scene.dir.path(), &away).unwrap();
    scene.restart();
    scene.discover();
    fs::rename(&away, scene.dir.path()).unwrap();
    scene.add("b");
    scene.discover();
    assert_eq!(scene.read(), ["b"]);
}

#[test]
fn many_small_files_are_assigned_together_and_few_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..1_000 {
        fs::write(dir.path().join(format!("{i}")), "line\n").unwrap();
    }
    let mut context = Context::new(4);
    let mut enumerator = FileEnumerator::new(&FileSource::lines([dir.path()]), None).unwrap();
    assert_eq!(discover_all(&mut enumerator, &mut context).unwrap(), None);
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < 1_000 {
        enumerator.handle_split_request(0, &mut context).unwrap();
        match context.take_assignments().pop() {
            Some(SplitAssignment::Splits { splits, .. }) => sizes.push(splits.len()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((sizes.first(), sizes.last()), (Some(&63), Some(&1)));
    assert!(sizes.len() < 100);
}

/// An unmounted disk leaves its empty mount point, another directory under the same name. While other inputs had files,
/// all files of that one were forgotten, and read again when it came back.
#[cfg(unix)]
#[test]
fn files_of_an_input_that_was_unmounted_for_a_while_are_not_read_again() {
    let mut scene = Scene::watching();
    let [a, b] = ["a", "b"].map(|name| scene.dir.path().join(name));
    for dir in [&a, &b] {
        fs::create_dir(dir).unwrap();
    }
    let source = FileSource::lines([&a, &b]).monitor_continuously(Duration::from_millis(5)).rest_time(Duration::ZERO);
    scene.enumerator = FileEnumerator::new(&source, None).unwrap();
    scene.add("a/1");
    scene.add("b/2");
    scene.discover();
    assert_eq!(scene.read(), ["1", "2"]);
    let away = scene.dir.path().join("away");
    for _ in 0..3 {
        fs::rename(&b, &away).unwrap();
        fs::create_dir(&b).unwrap();
        scene.discover();
        let state = scene.enumerator.snapshot_state().unwrap();
        scene.enumerator = FileEnumerator::new(&source, Some(&state)).unwrap();
        scene.discover();
        fs::remove_dir(&b).unwrap();
        fs::rename(&away, &b).unwrap();
        scene.discover();
        assert!(scene.read().is_empty());
    }
    fs::remove_file(b.join("2")).unwrap();
    scene.discover();
    scene.add("b/2");
    scene.discover();
    assert_eq!(scene.read(), ["2"], "it was gone while its directory was there");
}

/// The mount of a watched directory is gone, and the directory above it, too: that ended the job.
#[cfg(unix)]
#[test]
fn an_input_is_waited_for_when_its_directory_or_the_target_of_its_link_is_gone() {
    let scratch = tempfile::tempdir().unwrap();
    let [disk, link] = ["disk", "link"].map(|name| scratch.path().join(name));
    let inbox = disk.join("inbox");
    fs::create_dir_all(&inbox).unwrap();
    std::os::unix::fs::symlink(&inbox, &link).unwrap();
    for input in [&inbox, &link] {
        let mut scene = Scene::watching();
        let source = watch(input);
        scene.enumerator = FileEnumerator::new(&source, None).unwrap();
        fs::write(inbox.join("1"), "1\n").unwrap();
        set_age(&inbox.join("1"), Duration::from_secs(100));
        scene.discover();
        assert_eq!(scene.read(), ["1"]);
        let away = scratch.path().join("away");
        fs::rename(&disk, &away).unwrap();
        let state = scene.enumerator.snapshot_state().unwrap();
        scene.enumerator = FileEnumerator::new(&source, Some(&state)).unwrap();
        scene.discover();
        // What was a directory on the way may even be a file for a while.
        fs::write(&disk, "").unwrap();
        scene.discover();
        fs::remove_file(&disk).unwrap();
        fs::rename(&away, &disk).unwrap();
        scene.discover();
        assert!(scene.read().is_empty());
    }
}

/// One name that is not UTF-8 ended the job for good, whatever else there was to read.
#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_not_utf8_is_left_out_of_a_watched_directory_until_it_is_renamed() {
    use std::os::unix::ffi::OsStrExt;
    let mut scene = Scene::watching();
    let bad = scene.dir.path().join(std::ffi::OsStr::from_bytes(b"bad\xff"));
    fs::write(&bad, "bad\n").unwrap();
    set_age(&bad, Duration::from_secs(100));
    scene.add("good");
    scene.discover();
    scene.discover();
    assert_eq!(scene.read(), ["good"]);
    assert_eq!(scene.enumerator.passed_over, HashSet::from([bad.clone()]));
    fs::rename(&bad, scene.dir.path().join("renamed")).unwrap();
    scene.discover();
    assert_eq!(scene.read(), ["renamed"]);
    assert!(scene.enumerator.passed_over.is_empty());

    // A bounded source must not leave anything out, nor may a file that somebody names be left out.
    fs::write(&bad, "bad\n").unwrap();
    set_age(&bad, Duration::from_secs(100));
    for source in [FileSource::lines([scene.dir.path()]), watch(&bad)] {
        let mut enumerator = FileEnumerator::new(&source, None).unwrap();
        let error = discover_all(&mut enumerator, &mut scene.context).unwrap_err();
        assert!(error.message().contains("UTF-8"), "{error}");
    }
}

/// A million files were measured in one call: nothing was assigned and no checkpoint completed meanwhile, so that a job
/// whose checkpoints expired began again from nothing, for ever.
#[test]
fn splits_and_snapshots_do_not_wait_for_the_end_of_a_listing() {
    let scene = Scene::watching();
    // They were written to just now: what is there in the beginning need not rest, however late it is looked at.
    (0..10).for_each(|i| fs::write(scene.dir.path().join(format!("{i}")), "line\n").unwrap());
    let source = FileSource::lines([scene.dir.path()]).rest_time(Duration::from_secs(1_000_000));
    let mut scene = Scene { enumerator: FileEnumerator::new(&source, None).unwrap(), ..scene };
    let mut names = Vec::new();
    let mut attempts = 0;
    while names.len() < 10 {
        attempts += 1;
        // Each attempt comes as far as one more file, and fails after a snapshot.
        scene.enumerator.slice = Duration::ZERO;
        scene.enumerator.handle_split_request(0, &mut scene.context).unwrap();
        while !scene.enumerator.idle.is_empty() {
            assert_eq!(scene.enumerator.discover(&mut scene.context).unwrap(), Some(Duration::ZERO));
        }
        for assignment in scene.context.take_assignments() {
            let SplitAssignment::Splits { splits, .. } = assignment else { panic!("there are more") };
            names.extend(splits.into_iter().map(|split| split.0));
        }
        let state = scene.enumerator.snapshot_state().unwrap();
        scene.enumerator = FileEnumerator::new(&source, Some(&state)).unwrap();
    }
    assert_eq!(attempts, 10);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 10, "each of them once");
    assert_eq!(discover_all(&mut scene.enumerator, &mut scene.context).unwrap(), None);
    // Now it is listed: what comes later is not there from the beginning.
    fs::write(scene.dir.path().join("late"), "li").unwrap();
    let state = scene.enumerator.snapshot_state().unwrap();
    scene.enumerator = FileEnumerator::new(&source, Some(&state)).unwrap();
    assert_eq!(discover_all(&mut scene.enumerator, &mut scene.context).unwrap(), Some(LOOK_AGAIN));
}

/// A file system, mounted until it is dropped.
#[cfg(target_os = "linux")]
struct Mount(PathBuf);

#[cfg(target_os = "linux")]
impl Mount {
    /// None if this user may not mount.
    fn new(arguments: &[&str], at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mut mount = std::process::Command::new("mount");
        if mount.args(arguments).arg(at).output().is_ok_and(|output| output.status.success()) {
            return Some(Self(at.to_owned()));
        }
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "SKIPPED: this user may not mount a file system");
        None
    }
}

#[cfg(target_os = "linux")]
impl Drop for Mount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

/// The input directory stays as it is when a disk below it is unmounted: that disk's files were forgotten.
#[cfg(target_os = "linux")]
#[test]
fn files_of_a_disk_below_an_input_are_not_read_again_after_it_was_unmounted() {
    let elsewhere = tempfile::tempdir().unwrap();
    let Some(_disk) = Mount::new(&["-t", "tmpfs", "highwater-test"], elsewhere.path()) else { return };
    let mut scene = Scene::watching();
    let nested = scene.dir.path().join("deep/disk");
    let bind = ["--bind", elsewhere.path().to_str().unwrap()];
    let mounted = Mount::new(&bind, &nested).unwrap();
    scene.add("1");
    scene.add("deep/2");
    scene.add("deep/disk/3");
    scene.discover();
    assert_eq!(scene.read(), ["1", "2", "3"]);
    drop(mounted);
    scene.discover();
    scene.restart();
    scene.discover();
    let _mounted = Mount::new(&bind, &nested).unwrap();
    scene.add("deep/disk/4");
    scene.discover();
    assert_eq!(scene.read(), ["4"]);
    fs::remove_file(nested.join("3")).unwrap();
    scene.discover();
    assert_eq!(scene.enumerator.state.seen.len(), 3, "it is gone indeed");
}
