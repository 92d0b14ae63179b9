//! The conformance suite on the stores of this crate, and on stores that must not pass it.
#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap")]

mod broken;

use highwater_state::ReferenceStoreFactory;
use highwater_state::conformance::{Subject, run};

highwater_state::conformance_suite!(heap, Subject::heap());
highwater_state::conformance_suite!(reference, Subject::bytes(ReferenceStoreFactory));

/// The whole suite in one call, as for a store whose tests are no Rust tests.
#[test]
fn one_call_checks_everything() {
    run(|| Subject::bytes(ReferenceStoreFactory)).unwrap();
}
