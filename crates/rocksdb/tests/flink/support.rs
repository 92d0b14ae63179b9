//! Where Flink's files lie, and the handles and streams in them.

use std::fs;
use std::path::{Path, PathBuf};

use highwater_checkpoint::{CheckpointMetadata, IncrementalHandle, KeyedStateHandle, OperatorState, StreamHandle};
use serde_json::Value;

/// The set that is committed.
pub(crate) fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/flink")
}

/// The whole set, where it is at hand.
pub(crate) fn full() -> Option<PathBuf> {
    let given = std::env::var_os("HIGHWATER_FIXTURES").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures");
    given.or_else(|| beside.is_dir().then_some(beside))
}

/// A checkpoint or savepoint that Flink wrote.
pub(crate) struct Snapshot {
    /// The directory of `_metadata`.
    directory: PathBuf,
    pub(crate) metadata: CheckpointMetadata,
    /// What must be in it.
    pub(crate) expected: Value,
}

impl Snapshot {
    /// The snapshot in `directory`, if it is one and says what is in it.
    pub(crate) fn in_directory(directory: &Path) -> Option<Self> {
        let name = directory.file_name()?.to_str()?;
        let variant = directory.parent()?;
        let expected = [format!("expected-{name}.json"), "expected.json".to_owned()].map(|file| variant.join(file));
        let expected = fs::read_to_string(expected.iter().find(|file| file.exists())?).ok()?;
        let bytes = fs::read(directory.join("_metadata")).ok()?;
        Some(Self {
            directory: directory.to_owned(),
            metadata: CheckpointMetadata::read(&bytes).unwrap(),
            expected: serde_json::from_str(&expected).unwrap(),
        })
    }

    /// A checkpoint of our own, where it was written.
    pub(crate) fn ours(directory: &Path, metadata: CheckpointMetadata) -> Self {
        Self { directory: directory.to_owned(), metadata, expected: Value::Null }
    }

    /// Puts every file of a handle under its own name into `target`.
    pub(crate) fn assemble(&self, handle: &IncrementalHandle, target: &Path) {
        for (name, stream) in handle.shared.iter().chain(&handle.private) {
            fs::write(target.join(name), self.bytes(stream)).unwrap();
        }
    }

    /// The handle with all of its files inline, so that it can be opened without the directory that it names.
    pub(crate) fn inline(&self, handle: &IncrementalHandle) -> KeyedStateHandle {
        let mut handle = handle.clone();
        let files = handle.shared.iter_mut().chain(&mut handle.private).map(|(_, stream)| stream);
        for stream in files.chain([&mut handle.meta]) {
            *stream = StreamHandle::Inline { name: String::new(), bytes: self.bytes(stream).into() };
        }
        KeyedStateHandle::Incremental(Box::new(handle))
    }

    fn bytes(&self, stream: &StreamHandle) -> Vec<u8> {
        match stream {
            StreamHandle::Inline { bytes, .. } => bytes.to_vec(),
            StreamHandle::RelativeFile { path, .. } => fs::read(self.directory.join(path)).unwrap(),
            StreamHandle::File { path, .. } if self.expected.is_null() => {
                fs::read(path.trim_start_matches("file:")).unwrap()
            }
            StreamHandle::File { path, .. } => {
                // Written below `.../checkpoints/<job id>/`, which is the directory above ours now.
                let (_, below) = path.split_once("/checkpoints/").unwrap();
                let (_job, place) = below.split_once('/').unwrap();
                fs::read(self.directory.parent().unwrap().join(place)).unwrap()
            }
            other => panic!("no such stream in these files: {other:?}"),
        }
    }
}

/// All snapshots below a directory that say what is in them.
pub(crate) fn snapshots(directory: &Path) -> Vec<Snapshot> {
    let mut found: Vec<_> = Snapshot::in_directory(directory).into_iter().collect();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(snapshots(&path));
        }
    }
    found
}

/// The databases of an operator.
pub(crate) fn databases(operator: &OperatorState) -> impl Iterator<Item = &IncrementalHandle> {
    operator.subtask_states().flat_map(|(_, state)| &state.managed_keyed).filter_map(|handle| match handle {
        KeyedStateHandle::Incremental(handle) => Some(handle.as_ref()),
        _ => None,
    })
}

/// Loud: the test harness keeps what `eprintln!` says in a passing test to itself, but not this.
pub(crate) fn say(what: &str) {
    use std::io::Write as _;
    std::io::stderr().write_all(format!("{what}\n").as_bytes()).unwrap();
}
