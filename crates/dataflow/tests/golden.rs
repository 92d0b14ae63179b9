//! What real Flink made of scripted inputs is what Highwater makes of them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, dead_code, reason = "helpers of tests")]

#[path = "../examples/golden/compare.rs"]
mod compare;
#[path = "../examples/golden/function.rs"]
mod function;
#[path = "../examples/golden/interval.rs"]
mod interval;
#[path = "../examples/golden/joins.rs"]
mod joins;
#[path = "../examples/golden/process.rs"]
mod process;
#[path = "../examples/golden/run.rs"]
mod run;
#[path = "../examples/golden/running.rs"]
mod running;
#[path = "../examples/golden/scenario.rs"]
mod scenario;
#[path = "../examples/golden/suite.rs"]
mod suite;
#[path = "../examples/golden/windows.rs"]
mod windows;

use std::path::{Path, PathBuf};

use highwater_dataflow::testing::TestBed;
use highwater_state::ReferenceStoreFactory;

/// The whole set, where it is at hand.
fn full() -> Option<PathBuf> {
    let given = std::env::var_os("HIGHWATER_FIXTURES").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures");
    given.or(Some(beside)).map(|fixtures| fixtures.join("time")).filter(|directory| directory.is_dir())
}

/// On the heap, and on a byte store, where timers of one time come in another order.
fn check(directory: &Path, at_least: usize) {
    for bed in [TestBed::heap(), TestBed::bytes(ReferenceStoreFactory)] {
        let outcome = suite::run_all(directory, &bed).unwrap();
        assert!(outcome.cases >= at_least, "only {} cases below {}", outcome.cases, directory.display());
        // What there is no operator for yet.
        let differences: Vec<_> =
            outcome.differences.iter().filter(|(_, difference)| !difference.contains("no such operator yet")).collect();
        assert!(differences.is_empty(), "{bed:?}: {} of {} differ: {differences:#?}", differences.len(), outcome.cases);
    }
}

#[test]
fn committed_cases_hold() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/time"), 120);
}

#[test]
fn all_cases_hold() {
    let Some(directory) = full() else {
        eprintln!("SKIPPED: the whole set of Flink's cases is not here; set HIGHWATER_FIXTURES to its directory");
        return;
    };
    check(&directory, 340);
}
