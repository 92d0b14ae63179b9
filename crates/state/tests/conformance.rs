//! The conformance suite on the stores of this crate.

use highwater_state::ReferenceStoreFactory;
use highwater_state::conformance::Subject;

highwater_state::conformance_suite!(heap, Subject::heap());
highwater_state::conformance_suite!(reference, Subject::bytes(ReferenceStoreFactory));
