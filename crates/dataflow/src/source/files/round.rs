//! One listing of all inputs, as far as it has come.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::listing::Walk;
use super::place::Place;
use super::state::{EnumeratorState, of_path};

/// First all inputs are listed, then the new files are looked at.
#[derive(Default)]
pub(super) struct Round {
    /// Inputs that come after the one that is walked through.
    pub(super) inputs: Vec<PathBuf>,
    pub(super) walk: Option<Walk>,
    /// Files that nobody has seen and that are not looked at yet, in order.
    pub(super) new: BTreeMap<PathBuf, Place>,
    /// Files that are there.
    pub(super) listed: HashSet<u128>,
    /// Files that the caller names, and the names.
    pub(super) named: HashMap<u128, Vec<u128>>,
    /// Places that were listed to the end.
    places: HashMap<Place, PathBuf>,
    /// Files that are still being written.
    pub(super) unsettled: usize,
}

impl Round {
    pub(super) fn of(inputs: &[PathBuf]) -> Self {
        Self { inputs: inputs.iter().rev().cloned().collect(), ..Self::default() }
    }

    pub(super) fn add_file(&mut self, path: PathBuf, place: Place, state: &mut EnumeratorState) {
        let file = of_path(&path);
        if !self.listed.insert(file) {
            return;
        }
        match state.seen.get_mut(&file) {
            // Where it is now is where it is missed one day.
            Some(seen) => *seen = place,
            None => drop(self.new.insert(path, place)),
        }
    }

    pub(super) fn enter(&mut self, path: &Path, place: Place) {
        self.places.insert(place, path.to_owned());
    }

    /// There may be more files in this place than were listed.
    pub(super) fn leave_out(&mut self, place: Place) {
        self.places.remove(&place);
    }

    /// The places that were listed to the end, and lie where they lay all the time.
    pub(super) fn places(&self) -> HashSet<Place> {
        self.places.iter().filter(|(place, path)| place.is_at(path)).map(|(place, _)| *place).collect()
    }
}
