//! Splits: byte ranges of files.

use std::hash::{DefaultHasher, Hash, Hasher};

use highwater_types::{Error, Result};

use super::identity::FileIdentity;

/// How large splits are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SplitSize {
    /// Small enough that a few subtasks find work in one file, large enough that opening it is no burden.
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

/// A split as it travels and as it is kept: path, begin, end, offset; length, sample, inode and time of modification of
/// the file.
pub(super) type SplitElement = (String, i64, i64, i64, i64, i64, i64, i64);

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
    pub(super) fn unread(file: &FileIdentity, begin: u64, end: u64) -> Self {
        Self { file: file.clone(), begin, end, offset: begin }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.offset >= self.end
    }

    /// A number for the split, the same as long as the process runs.
    pub(super) fn id(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.file.path, self.begin).hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn to_element(&self) -> SplitElement {
        let Self { file, begin, end, offset } = self;
        let [begin, end, offset, length] = [*begin, *end, *offset, file.length].map(u64::cast_signed);
        (
            file.path.as_ref().to_owned(),
            begin,
            end,
            offset,
            length,
            file.sample,
            file.inode.cast_signed(),
            file.modified,
        )
    }
}

impl TryFrom<SplitElement> for FileSplit {
    type Error = Error;

    fn try_from(element: SplitElement) -> Result<Self> {
        let (path, begin, end, offset, length, sample, inode, modified) = element;
        match [begin, end, offset, length].map(u64::try_from) {
            [Ok(begin), Ok(end), Ok(offset), Ok(length)] if begin <= offset && offset <= end && end <= length => {
                let inode = inode.cast_unsigned();
                let file = FileIdentity { path: path.into(), length, sample, inode, modified };
                Ok(Self { file, begin, end, offset })
            }
            _ => Err(Error::corrupt("an element of the source's state is no split of a file: use another snapshot")
                .with("file", path)
                .with("found", format_args!("begin {begin}, end {end}, offset {offset}, length {length}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_that_are_no_splits_are_errors() {
        let element = |begin, end, offset, length| ("a".to_owned(), begin, end, offset, length, 7, -1, 9);
        let split = FileSplit::try_from(element(5, 10, 7, 20)).unwrap();
        assert_eq!(split.to_element(), element(5, 10, 7, 20));
        let bad =
            [(-1, 10, 0, 20), (10, 5, 10, 20), (0, 30, 0, 20), (5, 10, 4, 20), (0, 10, 11, 20), (0, 10, i64::MAX, 20)];
        for (begin, end, offset, length) in bad {
            let error = FileSplit::try_from(element(begin, end, offset, length)).unwrap_err();
            assert_eq!((error.kind(), error.value("file")), (highwater_types::ErrorKind::Corrupt, Some("a")));
        }
    }
}
