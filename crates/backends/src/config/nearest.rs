//! "Did you mean": the known name closest to one that is not known.

use highwater_types::Error;

/// Names longer than this are not compared: no name of ours is half as long.
const LONGEST: usize = 200;

/// The candidate with the fewest letters to insert, delete, replace or swap, if they are few for the name's length.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.to_lowercase().chars().collect();
    if name.len() > LONGEST {
        return None;
    }
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let letters: Vec<char> = candidate.to_lowercase().chars().collect();
            let few = (name.len().max(letters.len()) / 3).max(1);
            Some((distance(&name, &letters), candidate)).filter(|(distance, _)| *distance <= few)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The error for a name that is not among those known, with the nearest one if there is one.
pub(crate) fn unknown_name(message: &str, name: &str, known: &[&str]) -> Error {
    let error = Error::configuration(message).with("name", format!("'{name}'")).with("known", known.join(", "));
    match nearest(name, known.iter().copied()) {
        Some(known) => error.with("did you mean", known),
        None => error,
    }
}

/// Optimal string alignment: Levenshtein's distance with swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, y) in b.iter().enumerate() {
            let at = |cells: &[usize], index: usize| cells.get(index).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&last, j) + usize::from(x != y)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            if i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x) {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_name_is_found_and_a_far_one_is_not() {
        let names = ["filesystem", "jobmanager", "hashmap"];
        assert_eq!(nearest("filesytem", names), Some("filesystem"));
        assert_eq!(nearest("HashMpa", names), Some("hashmap"));
        assert_eq!(nearest("rocksdb", names), None);
        assert_eq!(nearest("", ["fs"]), None);
        assert_eq!(nearest("forst", ["fs"]), None);
        assert_eq!(nearest(&"x".repeat(10_000), names), None);
    }

    #[test]
    fn a_swap_is_one_step() {
        let chars = |s: &str| s.chars().collect::<Vec<_>>();
        assert_eq!(distance(&chars("ab"), &chars("ba")), 1);
        assert_eq!(distance(&chars("kitten"), &chars("sitting")), 3);
        assert_eq!(distance(&[], &chars("abc")), 3);
    }
}
