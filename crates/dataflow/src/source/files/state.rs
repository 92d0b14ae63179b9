//! What the enumerator of files remembers in a checkpoint.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;

use highwater_types::{ByteReader, DefaultSerializer, Error, Result, SerializerRef};

use super::identity::{FileIdentity, fingerprint};
use super::place::Place;

/// Of so many directories that came one after the other under one path, the files are remembered: the mounted one, the
/// empty mount point, and one to spare.
const PLACES_OF_A_PATH: usize = 3;

/// Files that were seen, and what nobody reads yet.
#[derive(Debug, Default)]
pub(super) struct EnumeratorState {
    /// Whether all that was there at the very beginning is in it.
    pub(super) is_listed: bool,
    /// Fingerprints of the paths of files that were seen, 16 bytes each, whatever the length of the path; and where they
    /// lay when they were last listed.
    pub(super) seen: HashMap<u128, Place>,
    /// Places of files that were seen; those that were there last come first.
    places: Vec<Place>,
    /// Inputs that were there once, by the names they were given: files that were seen, and directories.
    pub(super) inputs: HashSet<u128>,
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

/// The two numbers of a place, and the fingerprints of its files one behind the other.
type Group = (i64, i64, Vec<u8>);

/// Whether the first listing is complete, unassigned files, files that were seen, and inputs.
type Encoded = (bool, Vec<Element>, Vec<Group>, Vec<u8>);

impl EnumeratorState {
    pub(super) fn write(&self) -> Result<Vec<u8>> {
        let elements = self.unassigned.iter().map(Unassigned::to_element).collect();
        let inputs = self.inputs.iter().flat_map(|input| input.to_be_bytes()).collect();
        let mut state = Vec::new();
        serializer().serialize(&(self.is_listed, elements, self.groups(), inputs), &mut state)?;
        Ok(state)
    }

    /// The files that were seen, by their places, in the order of these.
    fn groups(&self) -> Vec<Group> {
        let mut files: HashMap<Place, Vec<u8>> = HashMap::new();
        for (file, place) in &self.seen {
            files.entry(*place).or_default().extend(file.to_be_bytes());
        }
        let ordered: Vec<_> = self.places.iter().filter_map(|place| files.remove_entry(place)).collect();
        let groups = ordered.into_iter().chain(files);
        groups.map(|(place, files)| (place.path.cast_signed(), place.directory.cast_signed(), files)).collect()
    }

    pub(super) fn read(state: &[u8]) -> Result<Self> {
        let mut input = ByteReader::new(state);
        let (is_listed, elements, groups, inputs) = serializer().deserialize(&mut input)?;
        let damaged = || Error::corrupt("the state of the enumerator of files is damaged: use another snapshot");
        if !input.is_empty() {
            return Err(damaged().with("offset", input.position()));
        }
        let (mut seen, mut places) = (HashMap::new(), Vec::new());
        for (path, directory, files) in groups {
            let place = Place { path: path.cast_unsigned(), directory: directory.cast_unsigned() };
            places.push(place);
            seen.extend(fingerprints(&files).ok_or_else(damaged)?.map(|file| (file, place)));
        }
        Ok(Self {
            is_listed,
            seen,
            places,
            inputs: fingerprints(&inputs).ok_or_else(damaged)?.collect(),
            unassigned: elements.into_iter().map(Unassigned::try_from).collect::<Result<_>>()?,
        })
    }

    /// Forgets what a whole listing of these places no longer shows. What lies elsewhere stays: it may be on a disk that
    /// is not mounted. So does a file that is still to be read: it would come twice if it came back.
    pub(super) fn forget_all_but(&mut self, listed: &HashSet<u128>, places: &HashSet<Place>) {
        let waiting: HashSet<u128> = self.unassigned.iter().map(|file| of_path(Path::new(&*file.file.path))).collect();
        self.seen.retain(|file, place| !places.contains(place) || listed.contains(file) || waiting.contains(file));
        let used: HashSet<Place> = self.seen.values().copied().collect();
        let (mut kept, mut of_path) = (Vec::new(), HashMap::new());
        let before = self.places.iter().filter(|place| !places.contains(place));
        for place in places.iter().chain(before).filter(|place| used.contains(place)) {
            let count: &mut usize = of_path.entry(place.path).or_default();
            *count += 1;
            if *place == Place::NAMED || *count <= PLACES_OF_A_PATH {
                kept.push(*place);
            }
        }
        self.places = kept;
        let kept: HashSet<_> = self.places.iter().copied().chain([Place::NAMED]).collect();
        self.seen.retain(|file, place| kept.contains(place) || waiting.contains(file));
    }
}

fn fingerprints(bytes: &[u8]) -> Option<impl Iterator<Item = u128>> {
    let (fingerprints, rest) = bytes.as_chunks::<16>();
    rest.is_empty().then(|| fingerprints.iter().map(|bytes| u128::from_be_bytes(*bytes)))
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

    const HERE: Place = Place { path: 1, directory: 2 };

    fn state(next: u64) -> EnumeratorState {
        let file = FileIdentity { path: "/some/file".into(), length: 100, sample: -7, inode: u64::MAX, modified: 9 };
        EnumeratorState {
            is_listed: true,
            seen: (0..1_000_000).map(|file| (file, HERE)).collect(),
            places: vec![HERE],
            inputs: HashSet::from([5]),
            unassigned: VecDeque::from([Unassigned { file, next }]),
        }
    }

    #[test]
    fn a_million_files_that_were_seen_are_sixteen_megabytes_and_come_back() {
        let before = state(50);
        let bytes = before.write().unwrap();
        assert!((16_000_000..16_000_250).contains(&bytes.len()), "{} bytes", bytes.len());
        let mut after = EnumeratorState::read(&bytes).unwrap();
        assert_eq!((&after.seen, &after.unassigned), (&before.seen, &before.unassigned));
        assert_eq!((after.is_listed, &after.places, &after.inputs), (true, &before.places, &before.inputs));
        after.forget_all_but(&HashSet::new(), &HashSet::from([HERE]));
        assert!(after.seen.is_empty());
    }

    #[test]
    fn a_file_that_is_still_to_be_read_is_not_forgotten() {
        let mut state = state(0);
        let file = of_path(Path::new("/some/file"));
        state.seen.insert(file, HERE);
        state.forget_all_but(&HashSet::new(), &HashSet::from([HERE]));
        assert_eq!(state.seen, HashMap::from([(file, HERE)]));
    }

    /// A directory that is replaced every day must not leave its files in the state for ever.
    #[test]
    fn of_directories_under_one_path_the_last_three_are_remembered() {
        let mut state = EnumeratorState::default();
        for day in 0..10 {
            let place = Place { path: 1, directory: day };
            state.seen.insert(u128::from(day), place);
            state = EnumeratorState::read(&state.write().unwrap()).unwrap();
            state.forget_all_but(&HashSet::from([u128::from(day)]), &HashSet::from([place]));
        }
        let mut left: Vec<_> = state.seen.into_keys().collect();
        left.sort_unstable();
        assert_eq!(left, [7, 8, 9]);
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
