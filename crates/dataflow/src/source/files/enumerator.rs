//! The enumerator of files: lists, measures, and deals out splits.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use highwater_types::{Error, Result};

use super::identity::{FileIdentity, age, modified};
use super::listing::{Step, Walk, absolute, cannot, canonical, canonical_of_missing, missing};
use super::place::Place;
use super::round::Round;
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
/// A listing is interrupted this often: between two slices one request or snapshot is served.
const SLICE: Duration = Duration::from_millis(20);

/// Knows what was seen and what nobody reads yet. What is being read is the readers' business.
pub(super) struct FileEnumerator {
    inputs: Vec<PathBuf>,
    accept: Accept,
    split_size: SplitSize,
    rest_time: Duration,
    /// None if the source is bounded.
    discovery_interval: Option<Duration>,

    state: EnumeratorState,
    /// The listing that is not complete.
    round: Option<Round>,
    /// How long one call works on it.
    slice: Duration,
    /// Files whose time of modification is in the future: length and time, and since when they are so.
    watched: HashMap<PathBuf, (u64, i64, Instant)>,
    /// What could not be read and was told of.
    passed_over: HashSet<PathBuf>,
    /// Readers without work, in the order they asked.
    idle: VecDeque<u32>,
    /// Whether nothing will be found any more.
    is_complete: bool,
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
            round: None,
            slice: SLICE,
            watched: HashMap::new(),
            passed_over: HashSet::new(),
            idle: VecDeque::new(),
            is_complete: false,
        })
    }

    /// One small step of a listing: one entry of a directory, or one new file. True when there is nothing left to do.
    fn advance(&mut self, round: &mut Round) -> Result<bool> {
        if let Some(walk) = &mut round.walk {
            match walk.step(&*self.accept)? {
                Step::File(path, place) => round.add_file(path, place, &mut self.state),
                Step::Entered(path, place) => round.enter(&path, place),
                Step::Unlisted(path, place, error) => {
                    round.leave_out(place);
                    self.pass_over(path, place, error)?;
                }
                Step::Other => {}
                Step::End => round.walk = None,
            }
        } else if let Some(input) = round.inputs.pop() {
            self.enter(&input, round)?;
        } else if let Some((path, place)) = round.new.pop_first() {
            self.measure(path, place, round)?;
        } else {
            return Ok(true);
        }
        Ok(false)
    }

    fn enter(&mut self, input: &Path, round: &mut Round) -> Result<()> {
        let name = absolute(input)?;
        let Some(path) = canonical(input)? else { return self.tolerate_missing(input, &name) };
        if path.is_dir() {
            self.state.inputs.insert(of_directory(&name));
            let (walk, place) = Walk::below(path.clone())?;
            round.enter(&path, place);
            round.walk = Some(walk);
        } else {
            round.named.entry(of_path(&path)).or_default().push(of_path(&name));
            round.add_file(path, Place::NAMED, &mut self.state);
        }
        Ok(())
    }

    /// An input that was there once may be archived, alone or with its directory; one that never was is a mistake.
    fn tolerate_missing(&self, input: &Path, name: &Path) -> Result<()> {
        if self.state.inputs.contains(&of_directory(name)) {
            tracing::warn!(directory = %input.display(), "an input directory is missing; the source waits for it");
            return Ok(());
        }
        // A file may have been seen below a directory, and named only now.
        let is_seen = |path: PathBuf| self.state.seen.contains_key(&of_path(&path));
        if !self.state.inputs.contains(&of_path(name)) && !canonical_of_missing(name).is_some_and(is_seen) {
            return Err(missing(input));
        }
        Ok(())
    }

    fn measure(&mut self, path: PathBuf, place: Place, round: &mut Round) -> Result<()> {
        match self.look_at(&path) {
            Ok(Sight::Ready(file)) => {
                let seen = of_path(&path);
                self.state.seen.insert(seen, place);
                self.state.inputs.extend(round.named.remove(&seen).unwrap_or_default());
                self.watched.remove(&path);
                self.passed_over.remove(&path);
                self.add(file);
            }
            Ok(Sight::Unsettled) => round.unsettled += 1,
            Ok(Sight::Nothing) => {}
            Err(error) => self.pass_over(path, place, error)?,
        }
        Ok(())
    }

    /// One bad entry of a watched directory is none of the others' business: it is left until it can be read.
    fn pass_over(&mut self, path: PathBuf, place: Place, error: Error) -> Result<()> {
        if self.discovery_interval.is_none() || place == Place::NAMED {
            return Err(error);
        }
        if !self.passed_over.contains(&path) {
            tracing::warn!(path = %path.display(), %error, "left out of a watched directory until it can be read");
            self.passed_over.insert(path);
        }
        Ok(())
    }

    /// What follows from a listing that is complete.
    fn finish(&mut self, round: Round) -> Option<Duration> {
        self.state.is_listed = true;
        self.watched.retain(|path, _| round.listed.contains(&of_path(path)));
        self.passed_over.retain(|path| path.symlink_metadata().is_ok());
        let named = round.named.iter().filter(|(file, _)| self.state.seen.contains_key(*file));
        self.state.inputs.extend(named.flat_map(|(_, names)| names));
        match self.discovery_interval {
            Some(interval) => {
                self.state.forget_all_but(&round.listed, &round.places());
                Some(interval)
            }
            None if round.unsettled > 0 => {
                let files = round.unsettled;
                tracing::info!(files, "new input files are still being written; the source waits for them");
                Some(LOOK_AGAIN)
            }
            None => {
                self.is_complete = true;
                None
            }
        }
    }

    /// Measures a new file, unless it has to rest first.
    fn look_at(&mut self, path: &Path) -> Result<Sight> {
        // A fresh bounded source takes everything as it is now.
        if !self.state.is_listed && self.discovery_interval.is_none() {
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
        let mut round = self.round.take().unwrap_or_else(|| Round::of(&self.inputs));
        let end = Instant::now() + self.slice;
        while !self.advance(&mut round)? {
            if context.is_cancelled() {
                return Ok(None);
            }
            if Instant::now() >= end {
                self.round = Some(round);
                self.serve(context);
                return Ok(Some(Duration::ZERO));
            }
        }
        let next = self.finish(round);
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
mod tests;
