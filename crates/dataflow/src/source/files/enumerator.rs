//! The enumerator of files: lists, measures, and deals out splits.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use highwater_types::Result;

use super::identity::{FileIdentity, age, modified};
use super::listing::{Walk, cannot, canonical, canonical_of_missing, missing};
use super::split::{FileSplit, SplitElement, SplitSize};
use super::state::{EnumeratorState, Unassigned, of_directory, of_path};
use super::{Accept, FileSource};
use crate::{SplitEnumerator, SplitEnumeratorContext};

/// Small files are assigned together, up to this many bytes ...
const TOGETHER_BYTES: u64 = 1024 * 1024;
/// ... and files, as long as there is plenty for everybody.
const TOGETHER_FILES: usize = 64;
/// A restored source that waits for files to rest looks at them this often.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Knows what was seen and what nobody reads yet. What is being read is the readers' business.
pub(super) struct FileEnumerator {
    inputs: Vec<PathBuf>,
    accept: Accept,
    split_size: SplitSize,
    rest_time: Duration,
    /// None if the source is bounded.
    discovery_interval: Option<Duration>,

    state: EnumeratorState,
    /// Whether nothing was ever listed: all that is there now is the input, growing or not.
    is_fresh: bool,
    /// Files whose time of modification is in the future: length and time, and since when they are so.
    watched: HashMap<PathBuf, (u64, i64, Instant)>,
    /// Readers without work, in the order they asked.
    idle: VecDeque<u32>,
    /// Whether nothing will be found any more.
    is_complete: bool,
}

/// What there is now.
#[derive(Default)]
struct Listing {
    /// Files that nobody has seen, in order.
    new: Vec<PathBuf>,
    files: HashSet<u128>,
    /// The inputs that are directories.
    directories: HashSet<u128>,
    /// Whether there may be more files than it shows.
    is_partial: bool,
}

/// What became of a file that was looked at.
enum Sight {
    Ready(FileIdentity),
    /// It is still being written.
    Unsettled,
    /// There is nothing to read in it, or it is gone.
    Nothing,
}

impl FileEnumerator {
    pub(super) fn new(source: &FileSource, restored: Option<&[u8]>) -> Result<Self> {
        Ok(Self {
            inputs: source.inputs.clone(),
            accept: Accept::clone(&source.accept),
            split_size: source.split_size,
            rest_time: source.rest_time,
            discovery_interval: source.discovery_interval,
            state: restored.map(EnumeratorState::read).transpose()?.unwrap_or_default(),
            is_fresh: restored.is_none(),
            watched: HashMap::new(),
            idle: VecDeque::new(),
            is_complete: false,
        })
    }

    fn list(&self, is_cancelled: &dyn Fn() -> bool) -> Result<Listing> {
        let walk = Walk { accept: &*self.accept, is_cancelled };
        let mut listing = Listing::default();
        for input in &self.inputs {
            let Some(path) = canonical(input)? else {
                self.tolerate_missing(input, &mut listing)?;
                continue;
            };
            if path.is_dir() {
                listing.directories.insert(of_directory(&path));
            }
            walk.visit(path, &mut |path| {
                let file = of_path(&path);
                if listing.files.insert(file) && !self.state.seen.contains(&file) {
                    listing.new.push(path);
                }
            })?;
        }
        listing.new.sort_unstable();
        Ok(listing)
    }

    /// An input that was there once may be archived; one that never was is a mistake.
    fn tolerate_missing(&self, input: &Path, listing: &mut Listing) -> Result<()> {
        let path = canonical_of_missing(input).ok_or_else(|| missing(input))?;
        let (file, directory) = (of_path(&path), of_directory(&path));
        if self.state.seen.contains(&directory) {
            tracing::warn!(directory = %path.display(), "an input directory is missing; the source waits for it");
            listing.directories.insert(directory);
            listing.is_partial = true;
        } else if self.state.seen.contains(&file) {
            listing.files.insert(file);
        } else {
            return Err(missing(input));
        }
        Ok(())
    }

    /// Measures a new file, unless it has to rest first.
    fn look_at(&mut self, path: &Path) -> Result<Sight> {
        // A fresh bounded source takes everything as it is now.
        if self.is_fresh && self.discovery_interval.is_none() {
            return Ok(FileIdentity::of(path)?.map_or(Sight::Nothing, Sight::Ready));
        }
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Sight::Nothing),
            Err(error) => return Err(cannot("look at", path, error)),
        };
        // A file that was created and not yet written to may rest for long.
        if metadata.len() == 0 {
            return Ok(Sight::Nothing);
        }
        if !self.has_rested(path, metadata.len(), modified(&metadata)) {
            return Ok(Sight::Unsettled);
        }
        Ok(match FileIdentity::of(path)? {
            Some(file) if (file.length, file.modified) == (metadata.len(), modified(&metadata)) => Sight::Ready(file),
            Some(_) => Sight::Unsettled,
            None => Sight::Nothing,
        })
    }

    fn has_rested(&mut self, path: &Path, length: u64, modified: i64) -> bool {
        if let Some(age) = age(modified, SystemTime::now()) {
            return age >= self.rest_time;
        }
        let now = Instant::now();
        let watched = self.watched.entry(path.to_owned()).or_insert((length, modified, now));
        if (watched.0, watched.1) != (length, modified) {
            *watched = (length, modified, now);
        }
        now.duration_since(watched.2) >= self.rest_time
    }

    fn add(&mut self, file: FileIdentity) {
        if file.length > 0 {
            self.state.unassigned.push_back(Unassigned { file, next: 0 });
        }
    }

    /// Gives work to idle readers, as far as there is some.
    fn serve(&mut self, context: &mut SplitEnumeratorContext<SplitElement>) {
        while let Some(reader) = self.idle.front().copied() {
            let splits = self.next_splits(context.parallelism());
            if splits.is_empty() {
                break;
            }
            self.idle.pop_front();
            context.assign_splits(reader, splits);
        }
        if self.is_complete && self.state.unassigned.is_empty() {
            self.idle.drain(..).for_each(|reader| context.signal_no_more_splits(reader));
        }
    }

    /// The next split, or several small files.
    fn next_splits(&mut self, parallelism: u32) -> Vec<SplitElement> {
        let most = 1 + (self.state.unassigned.len() / (4 * parallelism.max(1) as usize)).min(TOGETHER_FILES - 1);
        let (mut splits, mut bytes) = (Vec::new(), 0);
        while let Some(Unassigned { file, next }) = self.state.unassigned.front_mut() {
            let end = next.saturating_add(self.split_size.of(file.length)).min(file.length);
            let is_whole = *next == 0 && end == file.length;
            bytes += end - *next;
            let fits = is_whole && bytes <= TOGETHER_BYTES;
            if !(splits.is_empty() || fits) {
                break;
            }
            splits.push(FileSplit::unread(file, *next, end).to_element());
            *next = end;
            if end == file.length {
                self.state.unassigned.pop_front();
            }
            if !is_whole || splits.len() == most {
                break;
            }
        }
        splits
    }
}

impl SplitEnumerator<SplitElement> for FileEnumerator {
    fn discover(&mut self, context: &mut SplitEnumeratorContext<SplitElement>) -> Result<Option<Duration>> {
        let Listing { new, files, directories, is_partial } = self.list(&|| context.is_cancelled())?;
        let mut unsettled = 0;
        self.watched.retain(|path, _| files.contains(&of_path(path)));
        for path in new {
            if context.is_cancelled() {
                return Ok(None);
            }
            match self.look_at(&path)? {
                Sight::Ready(file) => {
                    self.state.seen.insert(of_path(&path));
                    self.watched.remove(&path);
                    self.add(file);
                }
                Sight::Unsettled => unsettled += 1,
                Sight::Nothing => {}
            }
        }
        if context.is_cancelled() {
            return Ok(None);
        }
        self.state.seen.extend(&directories);
        self.is_fresh = false;
        let next = match self.discovery_interval {
            Some(interval) => {
                // A directory that is suddenly empty may be one that is not mounted.
                if !is_partial && !files.is_empty() {
                    self.state.forget(|seen| !files.contains(seen) && !directories.contains(seen));
                }
                Some(interval)
            }
            None if unsettled > 0 => {
                tracing::info!(files = unsettled, "new input files are still being written; the source waits for them");
                Some(LOOK_AGAIN)
            }
            None => {
                self.is_complete = true;
                None
            }
        };
        self.serve(context);
        Ok(next)
    }

    fn handle_split_request(&mut self, subtask: u32, context: &mut SplitEnumeratorContext<SplitElement>) -> Result<()> {
        self.idle.push_back(subtask);
        self.serve(context);
        Ok(())
    }

    fn snapshot_state(&mut self) -> Result<Vec<u8>> {
        self.state.write()
    }
}

#[cfg(test)]
mod tests {
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
            assert_eq!(self.enumerator.discover(&mut self.context).unwrap(), Some(Duration::from_millis(5)));
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
        let rounds = 20;
        let mut size = 0;
        for round in 0..rounds {
            for i in 0..100 {
                scene.add(&format!("{round}-{i}"));
            }
            scene.discover();
            assert_eq!(scene.read().len(), 100);
            size = scene.enumerator.snapshot_state().unwrap().len();
            assert!(size <= 16 * 101 + 32, "{size} bytes in round {round}");
            (0..100).for_each(|i| fs::remove_file(scene.dir.path().join(format!("{round}-{i}"))).unwrap());
            // An empty directory may be one that is not mounted: nothing is forgotten.
            scene.discover();
            assert_eq!(scene.enumerator.snapshot_state().unwrap().len(), size);
        }
        assert!(size >= 16 * 100);
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
        assert_eq!(enumerator.discover(&mut context).unwrap(), None);
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
}
