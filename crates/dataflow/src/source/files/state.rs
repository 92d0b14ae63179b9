//! What the enumerator of files remembers in a checkpoint.

use std::collections::{HashSet, VecDeque};
use std::path::Path;

use highwater_types::{ByteReader, DefaultSerializer, Error, Result, SerializerRef};

use super::identity::{FileIdentity, fingerprint};

/// Files that were seen, and what nobody reads yet.
#[derive(Debug, Default)]
pub(super) struct EnumeratorState {
    /// Fingerprints of the paths of files that were seen, and of the inputs that are directories: 16 bytes each, whatever
    /// the length of the path.
    pub(super) seen: HashSet<u128>,
    /// Files, not splits: they are cut when somebody asks.
    pub(super) unassigned: VecDeque<Unassigned>,
}

/// A file of which some splits are not assigned.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unassigned {
    pub(super) file: FileIdentity,
    /// Where the next split begins.
    pub(super) next: u64,
}

/// Path; where the next split begins; length, sample, inode and time of modification.
type Element = (String, i64, i64, i64, i64, i64);

/// Unassigned files, and the fingerprints one behind the other.
type Encoded = (Vec<Element>, Vec<u8>);

impl EnumeratorState {
    pub(super) fn write(&self) -> Result<Vec<u8>> {
        let elements = self.unassigned.iter().map(Unassigned::to_element).collect();
        let fingerprints = self.seen.iter().flat_map(|seen| seen.to_be_bytes()).collect();
        let mut state = Vec::new();
        serializer().serialize(&(elements, fingerprints), &mut state)?;
        Ok(state)
    }

    pub(super) fn read(state: &[u8]) -> Result<Self> {
        let mut input = ByteReader::new(state);
        let (elements, fingerprints) = serializer().deserialize(&mut input)?;
        let (fingerprints, rest) = fingerprints.as_chunks::<16>();
        if !rest.is_empty() || !input.is_empty() {
            return Err(Error::corrupt("the state of the enumerator of files is damaged: use another snapshot")
                .with("offset", input.position()));
        }
        Ok(Self {
            seen: fingerprints.iter().map(|bytes| u128::from_be_bytes(*bytes)).collect(),
            unassigned: elements.into_iter().map(Unassigned::try_from).collect::<Result<_>>()?,
        })
    }

    /// Forgets what is gone. A file that is still to be read is not forgotten: it would come twice if it came back.
    pub(super) fn forget(&mut self, is_gone: impl Fn(&u128) -> bool) {
        let waiting: HashSet<u128> = self.unassigned.iter().map(|file| of_path(Path::new(&*file.file.path))).collect();
        self.seen.retain(|seen| !is_gone(seen) || waiting.contains(seen));
    }
}

fn serializer() -> SerializerRef<Encoded> {
    Encoded::default_serializer()
}

/// The fingerprint of a file's path.
pub(super) fn of_path(path: &Path) -> u128 {
    fingerprint(path.as_os_str().as_encoded_bytes())
}

/// The fingerprint of a directory's path, which no file has.
pub(super) fn of_directory(path: &Path) -> u128 {
    !of_path(path)
}

impl Unassigned {
    fn to_element(&self) -> Element {
        let Self { file, next } = self;
        let path = file.path.as_ref().to_owned();
        (path, next.cast_signed(), file.length.cast_signed(), file.sample, file.inode.cast_signed(), file.modified)
    }
}

impl TryFrom<Element> for Unassigned {
    type Error = Error;

    fn try_from((path, next, length, sample, inode, modified): Element) -> Result<Self> {
        match (u64::try_from(next), u64::try_from(length)) {
            (Ok(next), Ok(length)) if next < length => {
                let inode = inode.cast_unsigned();
                Ok(Self { file: FileIdentity { path: path.into(), length, sample, inode, modified }, next })
            }
            _ => Err(Error::corrupt("a file of the enumerator's state makes no sense: use another snapshot")
                .with("file", path)
                .with("found", format_args!("next {next}, length {length}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(next: u64) -> EnumeratorState {
        let file = FileIdentity { path: "/some/file".into(), length: 100, sample: -7, inode: u64::MAX, modified: 9 };
        EnumeratorState { seen: (0..1_000_000).collect(), unassigned: VecDeque::from([Unassigned { file, next }]) }
    }

    #[test]
    fn a_million_files_that_were_seen_are_sixteen_megabytes_and_come_back() {
        let before = state(50);
        let bytes = before.write().unwrap();
        assert!((16_000_000..16_000_200).contains(&bytes.len()), "{} bytes", bytes.len());
        let mut after = EnumeratorState::read(&bytes).unwrap();
        assert_eq!((&after.seen, &after.unassigned), (&before.seen, &before.unassigned));
        after.forget(|_| true);
        assert!(after.seen.is_empty());
    }

    #[test]
    fn a_file_that_is_still_to_be_read_is_not_forgotten() {
        let mut state = state(0);
        let file = of_path(Path::new("/some/file"));
        state.seen.insert(file);
        state.forget(|_| true);
        assert_eq!(state.seen, HashSet::from([file]));
    }

    #[test]
    fn damaged_state_is_refused() {
        assert!(EnumeratorState::read(&state(100).write().unwrap()).is_err());
        let mut bytes = EnumeratorState::default().write().unwrap();
        bytes.push(0);
        assert!(EnumeratorState::read(&bytes).is_err());
        bytes.truncate(3);
        assert!(EnumeratorState::read(&bytes).is_err());
    }
}
