//! Splits: byte ranges of files, and who reads which.

use std::collections::HashSet;
use std::sync::Arc;

use highwater_types::{Error, Result};

use super::listing::{FileIdentity, fnv1a};

/// How large splits are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SplitSize {
    /// Small enough that a few subtasks find work in one file, large enough that opening it is no burden. Depends on
    /// nothing but the file, so that all subtasks agree.
    #[default]
    Sixteenth,
    /// This many bytes.
    Fixed(u64),
}

impl SplitSize {
    pub(super) fn of(self, length: u64) -> u64 {
        match self {
            Self::Sixteenth => length.div_ceil(16).clamp(64 * 1024, 16 * 1024 * 1024),
            Self::Fixed(bytes) => bytes,
        }
    }
}

/// A split in the operator state: path, begin, end, offset, length of the file, hash of its head.
pub(super) type SplitElement = (String, i64, i64, i64, i64, i64);

/// The lines of a file that begin at `begin` or later and before `end`. Knows all there is to know about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileSplit {
    pub(super) file: FileIdentity,
    pub(super) begin: u64,
    pub(super) end: u64,
    /// Where the next line begins; somewhere in the line before, as long as nothing was read.
    pub(super) offset: u64,
}

impl FileSplit {
    fn unread(file: &FileIdentity, begin: u64, end: u64) -> Self {
        Self { file: file.clone(), begin, end, offset: begin }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.offset >= self.end
    }

    pub(super) fn to_element(&self) -> SplitElement {
        let [begin, end, offset, length] =
            [self.begin, self.end, self.offset, self.file.length].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        (self.file.path.as_ref().to_owned(), begin, end, offset, length, self.file.head)
    }

    fn from_element(element: SplitElement) -> Result<Self> {
        let (path, begin, end, offset, length, head) = element;
        let numbers = [begin, end, offset, length].map(u64::try_from);
        match numbers {
            [Ok(begin), Ok(end), Ok(offset), Ok(length)]
                if begin <= end && end <= length && begin <= offset && offset <= length =>
            {
                Ok(Self { file: FileIdentity { path: path.into(), length, head }, begin, end, offset })
            }
            _ => Err(Error::corrupt("an element of the source's state is no split of a file: use another snapshot")
                .with("file", path)
                .with("found", format_args!("begin {begin}, end {end}, offset {offset}, length {length}"))),
        }
    }
}

/// Cuts a range of a file into splits. An empty file is one split, so that it is known from then on.
fn cut(file: &FileIdentity, begin: u64, end: u64, size: SplitSize) -> impl Iterator<Item = FileSplit> {
    let size = size.of(file.length);
    let pieces = (end - begin).div_ceil(size).max(1);
    (0..pieces).map(move |piece| {
        let from = begin + piece * size;
        FileSplit::unread(file, from, from.saturating_add(size).min(end))
    })
}

/// The share of one subtask in files that no snapshot knows.
///
/// Who reads a split depends on its path and number alone, not on its place in a list: if a file appears or grows while
/// the subtasks are looking, they still agree about all others. Neighbouring splits go to neighbouring subtasks.
pub(super) fn share_of_new(
    file: &FileIdentity,
    size: SplitSize,
    subtask: u32,
    parallelism: u32,
) -> impl Iterator<Item = FileSplit> {
    let first = fnv1a(file.path.as_bytes());
    let mine = move |number: u64| first.wrapping_add(number) % u64::from(parallelism.max(1)) == u64::from(subtask);
    cut(file, 0, file.length, size).zip(0..).filter_map(move |(split, number)| mine(number).then_some(split))
}

/// All splits of a snapshot, put in order; every subtask computes the same.
#[derive(Debug)]
pub(super) struct KnownSplits {
    splits: Vec<FileSplit>,
    paths: HashSet<Arc<str>>,
}

impl KnownSplits {
    /// Reads the elements of all subtasks. No byte of a file may be in two splits.
    ///
    /// Bytes in no split make a new one: if a file appeared while the subtasks were looking for the first time, some of
    /// them may not have seen it.
    pub(super) fn read(elements: Vec<SplitElement>, size: SplitSize) -> Result<Self> {
        let mut splits = elements.into_iter().map(FileSplit::from_element).collect::<Result<Vec<_>>>()?;
        splits.sort_unstable_by(|a, b| (&a.file.path, a.begin, a.end).cmp(&(&b.file.path, b.begin, b.end)));
        let mut known = Self { splits: Vec::with_capacity(splits.len()), paths: HashSet::new() };
        for of_one_file in splits.chunk_by(|a, b| a.file.path == b.file.path) {
            known.add_file(of_one_file, size)?;
        }
        Ok(known)
    }

    fn add_file(&mut self, splits: &[FileSplit], size: SplitSize) -> Result<()> {
        let Some(file) = splits.first().map(|split| &split.file) else { return Ok(()) };
        let mut covered = None;
        for split in splits {
            if split.file != *file {
                return Err(grew_at_start(file, &split.file));
            }
            match covered {
                Some(covered) if split.begin < covered || split.end == covered => return Err(overlap(split)),
                _ => self.add_hole(file, covered.unwrap_or(0), split.begin, size),
            }
            covered = Some(split.end);
            self.splits.push(split.clone());
        }
        self.add_hole(file, covered.unwrap_or(0), file.length, size);
        self.paths.insert(Arc::clone(&file.path));
        Ok(())
    }

    fn add_hole(&mut self, file: &FileIdentity, begin: u64, end: u64, size: SplitSize) {
        if begin < end {
            self.splits.extend(cut(file, begin, end, size));
        }
    }

    pub(super) fn contains(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// The share of one subtask: what is still to be read is dealt out evenly, and so is what is finished.
    pub(super) fn share(self, subtask: u32, parallelism: u32) -> Vec<FileSplit> {
        let (finished, unfinished): (Vec<_>, Vec<_>) = self.splits.into_iter().partition(FileSplit::is_finished);
        let every = parallelism.max(1) as usize;
        let deal = |splits: Vec<FileSplit>| splits.into_iter().skip(subtask as usize).step_by(every);
        deal(unfinished).chain(deal(finished)).collect()
    }
}

#[cold]
fn grew_at_start(one: &FileIdentity, other: &FileIdentity) -> Error {
    Error::incompatible(
        "an input file was written while the job started for the first time, so that its subtasks saw different files: \
         start the job fresh when the file stands still",
    )
    .with("file", &one.path)
    .with("expected", format_args!("{} bytes, head {:016x}", one.length, one.head))
    .with("found", format_args!("{} bytes, head {:016x}", other.length, other.head))
}

#[cold]
fn overlap(split: &FileSplit) -> Error {
    Error::corrupt("two splits of the source's state overlap: use another snapshot")
        .with("file", &split.file.path)
        .with("offset", split.begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(path: &str, begin: i64, end: i64, offset: i64, length: i64) -> SplitElement {
        (path.to_owned(), begin, end, offset, length, 7)
    }

    fn read(elements: Vec<SplitElement>) -> Result<Vec<(String, u64, u64, u64)>> {
        let known = KnownSplits::read(elements, SplitSize::Fixed(10))?;
        Ok(known.splits.iter().map(|s| (s.file.path.to_string(), s.begin, s.end, s.offset)).collect())
    }

    #[test]
    fn bytes_that_no_subtask_took_become_new_splits() {
        let found = read(vec![element("b", 0, 0, 0, 0), element("a", 20, 30, 27, 55), element("a", 0, 10, 10, 55)]);
        let a = [(0, 10, 10), (10, 20, 10), (20, 30, 27), (30, 40, 30), (40, 50, 40), (50, 55, 50)];
        let mut expected: Vec<_> = a.map(|(begin, end, offset)| ("a".to_owned(), begin, end, offset)).into();
        expected.push(("b".to_owned(), 0, 0, 0));
        assert_eq!(found.unwrap(), expected);
    }

    #[test]
    fn a_file_that_grew_while_the_job_started_is_named() {
        let error = read(vec![element("a", 0, 10, 0, 10), element("a", 10, 12, 10, 12)]).unwrap_err();
        assert_eq!(error.value("file"), Some("a"));
        assert_eq!(error.kind(), highwater_types::ErrorKind::Incompatible);
    }

    #[test]
    fn elements_that_overlap_or_are_no_splits_are_errors() {
        for bad in [
            vec![element("a", 0, 10, 0, 20), element("a", 9, 20, 9, 20)],
            vec![element("a", 0, 10, 0, 20), element("a", 0, 10, 0, 20)],
            vec![element("a", 0, 0, 0, 0), element("a", 0, 0, 0, 0)],
            vec![element("a", -1, 10, 0, 20)],
            vec![element("a", 10, 5, 10, 20)],
            vec![element("a", 0, 30, 0, 20)],
            vec![element("a", 5, 10, 4, 20)],
            vec![element("a", 0, 10, i64::MAX, 20)],
        ] {
            let error = read(bad.clone()).unwrap_err();
            assert_eq!(
                (error.kind(), error.value("file")),
                (highwater_types::ErrorKind::Corrupt, Some("a")),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn every_split_of_a_new_file_has_one_subtask_and_neighbours_have_neighbours() {
        let file = FileIdentity { path: "some/file".into(), length: 1_000, head: 1 };
        for parallelism in 1..8 {
            let shares: Vec<Vec<FileSplit>> = (0..parallelism)
                .map(|subtask| share_of_new(&file, SplitSize::Fixed(10), subtask, parallelism).collect())
                .collect();
            let (least, most) = (shares.iter().map(Vec::len).min(), shares.iter().map(Vec::len).max());
            assert!(most <= least.map(|least| least + 1), "{least:?} {most:?}");
            let mut begins: Vec<u64> = shares.into_iter().flatten().map(|split| split.begin).collect();
            begins.sort_unstable();
            assert_eq!(begins, (0..100).map(|i| i * 10).collect::<Vec<_>>());
        }
    }
}
