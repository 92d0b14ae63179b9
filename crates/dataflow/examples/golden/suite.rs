//! All cases below a directory.

use std::io;
use std::path::{Path, PathBuf};

use highwater_dataflow::testing::TestBed;

use crate::compare::difference;
use crate::run::run;
use crate::scenario::Scenario;

/// Where Highwater differs from Flink on purpose, and why.
pub(crate) const DEVIATIONS: &[(&str, &str)] = &[
    ("window-tumbling-extreme-timestamps", "windows at the end of time do not end before they begin"),
    ("window-trigger-continuous-negative", NO_INTERVAL_SKIPPED),
    ("random-1-026-window", NO_INTERVAL_SKIPPED),
    ("co-process-both-idle", FURTHEST_COUNTS),
    ("co-process-both-idle-resumes-ahead", FURTHEST_COUNTS),
    ("window-session-lateness-max", "a merge that would be late is a late record, not the end of the job"),
];

const NO_INTERVAL_SKIPPED: &str = "a continuous trigger skips no interval below zero";
const FURTHEST_COUNTS: &str = "when all inputs are idle, what the furthest has said counts";

/// What came of them.
pub(crate) struct Outcome {
    pub(crate) cases: usize,
    /// Name and first difference.
    pub(crate) differences: Vec<(String, String)>,
}

/// Runs every `*.json` below a directory, with state on this kind of store.
pub(crate) fn run_all(directory: &Path, bed: &TestBed) -> io::Result<Outcome> {
    let mut files = Vec::new();
    find(directory, &mut files)?;
    files.sort();
    let mut outcome = Outcome { cases: files.len(), differences: Vec::new() };
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let difference = match serde_json::from_slice::<Scenario>(&std::fs::read(&file)?) {
            Ok(scenario) => difference(&scenario, &run(&scenario, bed)),
            Err(error) => Some(format!("cannot be read: {error}")),
        };
        let is_deviation = DEVIATIONS.iter().any(|(of, _)| *of == name);
        match difference {
            Some(difference) if !is_deviation => outcome.differences.push((name, difference)),
            None if is_deviation => outcome.differences.push((name, "is as in Flink, against what is promised".into())),
            _ => {}
        }
    }
    Ok(outcome)
}

fn find(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    Ok(())
}
