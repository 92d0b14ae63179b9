//! The conformance suite: what every keyed state does, whatever store is below it. A store of your own proves itself
//! with
//!
//! ```no_run
//! # #[derive(Debug)] struct MyStoreFactory;
//! # impl highwater_state::ByteStoreFactory for MyStoreFactory {
//! #     fn create(&self, _: &highwater_state::ByteStoreContext)
//! #         -> highwater_types::Result<Box<dyn highwater_state::ByteStore>> {
//! #         Ok(Box::new(highwater_state::ReferenceStore::new()))
//! #     }
//! # }
//! use highwater_state::conformance::Subject;
//!
//! highwater_state::conformance_suite!(my_store, Subject::bytes(MyStoreFactory));
//! # fn main() {}
//! ```
//!
//! in a file below `tests/`, with the cargo feature `conformance` of this crate: one `#[test]` for each behaviour, named
//! after it. [`run`] does the same in one call. A failed expectation panics; an error of the store is returned.

mod compatibility;
mod folding;
mod job;
mod keys;
mod list;
mod map;
mod misplaced;
mod namespace;
mod random;
mod reentrancy;
mod snapshot;
mod store;
mod subject;
mod timers;
mod value;

use highwater_types::Result;

pub use compatibility::*;
pub use folding::*;
pub use keys::*;
pub use list::*;
pub use map::*;
pub use misplaced::*;
pub use namespace::*;
pub use random::*;
pub use reentrancy::*;
pub use snapshot::*;
pub use store::*;
pub use subject::Subject;
pub use timers::*;
pub use value::*;

/// Hands the list of all behaviours to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_behaviours {
    ($then:ident!($($before:tt)*)) => {
        $crate::$then! { $($before)*
            value_is_what_was_written_last
            value_in_place_updates_are_kept
            value_belongs_to_its_key
            list_keeps_the_order_of_additions
            list_elements_may_hold_the_delimiter
            list_without_elements_is_no_list
            list_in_place_updates_are_kept
            map_entries_are_independent
            map_in_place_updates_are_kept
            map_without_entries_is_no_map
            map_values_may_be_null
            map_larger_than_a_page_is_visited_once
            reducing_starts_with_the_first_value
            aggregating_creates_its_accumulator_late
            large_values_are_kept
            closures_may_use_other_states
            closures_must_not_use_the_same_state
            closures_must_not_use_anything_of_the_same_state
            functions_must_not_use_their_own_state
            the_key_stays_while_a_closure_runs
            namespaces_are_independent
            namespaces_of_variable_size_are_not_confused
            handles_share_the_namespace_of_their_clones
            a_namespace_must_be_set
            merging_lists_appends_the_sources_in_order
            merging_values_keeps_the_target_on_the_left
            merging_nothing_changes_nothing
            a_current_key_must_be_set
            keys_of_other_subtasks_are_refused
            keys_are_listed_once
            entries_are_counted_by_key_and_namespace
            apply_to_all_keys_may_change_what_it_visits
            many_keys_and_both_prefixes_work
            snapshot_does_not_see_later_writes
            snapshots_of_one_backend_are_independent
            snapshot_restores_everything
            snapshot_crosses_to_other_stores_and_back
            empty_state_restores_as_empty
            rescaling_loses_nothing_and_doubles_nothing
            restored_state_nobody_asks_for_is_carried_along
            restored_state_goes_on_changing
            a_name_is_used_once
            another_kind_is_refused_on_restore
            another_value_type_is_refused_on_restore
            another_key_type_is_refused_on_restore
            another_map_key_type_is_refused_on_restore
            keys_whose_hash_changed_are_refused
            another_max_parallelism_is_refused_on_restore
            timers_come_in_the_order_of_their_time
            timers_are_deleted
            timers_may_change_while_they_are_taken
            timers_of_services_and_kinds_of_time_are_apart
            timers_need_a_current_key
            timers_go_with_their_key
            timers_nobody_asks_for_are_carried_along
            timers_of_another_namespace_are_refused_on_restore
            random_timers_agree_with_a_model
            random_operations_agree_with_a_model
            random_operations_agree_with_a_model_in_many_key_groups
            store_keeps_its_columns_apart
            store_scans_in_order_within_the_prefix
            store_appends_behind_the_delimiter
            store_applies_batches_in_order
            store_deletes_ranges
            store_reads_many_keys_at_once
            store_loads_in_any_order
            store_freezes_all_columns
            store_passes_errors_of_closures_on
            store_takes_any_bytes
            store_agrees_with_the_reference_store
            store_removes_its_files
        }
    };
}

/// Makes a module of tests, one for each behaviour: `conformance_suite!(name_of_module, subject)`, where `subject` is an
/// expression for a [`Subject`](crate::conformance::Subject).
#[macro_export]
macro_rules! conformance_suite {
    ($name:ident, $subject:expr) => {
        #[allow(unused_imports, reason = "the subject may need nothing from outside")]
        mod $name {
            use super::*;

            fn subject() -> $crate::conformance::Subject {
                $subject
            }

            $crate::conformance_behaviours!(conformance_tests!(subject));
        }
    };
}

/// One test for each behaviour.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($subject:ident $($behaviour:ident)*) => {$(
        #[test]
        fn $behaviour() {
            $crate::conformance::check($crate::conformance::$behaviour, &$subject());
        }
    )*};
}

/// One call for each behaviour.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_calls {
    ($subject:ident $($behaviour:ident)*) => {$(
        $behaviour(&$subject())?;
    )*};
}

/// Checks every behaviour, each with a subject of its own.
///
/// # Panics
/// If a behaviour is not what it should be.
pub fn run(subject: impl Fn() -> Subject) -> Result<()> {
    crate::conformance_behaviours!(conformance_calls!(subject));
    Ok(())
}

/// Checks one behaviour.
///
/// # Panics
/// If the behaviour is not what it should be, or with an error of the store.
pub fn check(behaviour: impl Fn(&Subject) -> Result<()>, subject: &Subject) {
    let result = behaviour(subject);
    assert!(result.is_ok(), "{subject:?} failed with an error: {:?}", result.err());
}
