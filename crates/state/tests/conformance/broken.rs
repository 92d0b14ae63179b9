//! A suite that finds nothing is worth nothing: stores with one planted bug each, and the behaviours that must notice.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};

use highwater_state::conformance::{self, Subject};
use highwater_state::{
    ByteStore, ByteStoreContext, ByteStoreFactory, ColumnId, FrozenBytes, ReferenceStore, VisitEntry, Write, WriteBatch,
};
use highwater_types::Result;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    AppendsWithoutDelimiter,
    ScansPastThePrefix,
    ScansFromThePrefix,
    ScansOnAfterABreak,
    FreezesNothing,
    DeletesTheEndOfARange,
    MixesColumnsOfOneLength,
    WritesBatchesBackwards,
    LoadsOnlyWhatIsInOrder,
    TakesEmptyForAbsent,
    SwallowsErrors,
}

/// The reference store with a bug.
struct Broken {
    bug: Bug,
    store: Arc<Mutex<ReferenceStore>>,
    last_loaded: Vec<u8>,
}

impl ByteStoreFactory for Bug {
    fn create(&self, _: &ByteStoreContext) -> Result<Box<dyn ByteStore>> {
        Ok(Box::new(Broken { bug: *self, store: Arc::default(), last_loaded: Vec::new() }))
    }
}

impl Broken {
    fn store(&self) -> MutexGuard<'_, ReferenceStore> {
        self.store.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl ByteStore for Broken {
    fn column(&mut self, name: &str) -> Result<ColumnId> {
        match self.bug {
            Bug::MixesColumnsOfOneLength => self.store().column(&name.len().to_string()),
            _ => self.store().column(name),
        }
    }

    fn get(&self, column: ColumnId, key: &[u8], read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        let (mut value, store) = (None, self.store());
        store.get(column, key, &mut |bytes| {
            value = Some(bytes.to_vec());
            Ok(())
        })?;
        drop(store);
        match (value, self.bug) {
            (Some(value), Bug::TakesEmptyForAbsent) if value.is_empty() => Ok(false),
            (Some(value), Bug::SwallowsErrors) => Ok(read(&value).is_ok()),
            (Some(value), _) => read(&value).map(|()| true),
            (None, _) => Ok(false),
        }
    }

    fn put(&mut self, column: ColumnId, key: &[u8], value: &[u8]) -> Result<()> {
        self.store().put(column, key, value)
    }

    fn delete(&mut self, column: ColumnId, key: &[u8]) -> Result<()> {
        self.store().delete(column, key)
    }

    fn append(&mut self, column: ColumnId, key: &[u8], elements: &[u8]) -> Result<()> {
        if self.bug != Bug::AppendsWithoutDelimiter {
            return self.store().append(column, key, elements);
        }
        let mut value = Vec::new();
        self.store().get(column, key, &mut |bytes| {
            value.extend_from_slice(bytes);
            Ok(())
        })?;
        value.extend_from_slice(elements);
        self.store().put(column, key, &value)
    }

    fn write(&mut self, batch: &WriteBatch) -> Result<()> {
        let mut writes: Vec<Write<'_>> = batch.iter().collect();
        if self.bug == Bug::WritesBatchesBackwards {
            writes.reverse();
        }
        writes.into_iter().try_for_each(|write| match write {
            Write::Put { column, key, value } => self.put(column, key, value),
            Write::Append { column, key, elements } => self.append(column, key, elements),
            Write::Delete { column, key } => self.delete(column, key),
        })
    }

    fn scan(&self, column: ColumnId, prefix: &[u8], from: &[u8], visit: &mut VisitEntry<'_>) -> Result<()> {
        let store = self.store().clone();
        match self.bug {
            Bug::ScansPastThePrefix => store.scan(column, b"", prefix.max(from), visit),
            Bug::ScansFromThePrefix => store.scan(column, prefix, b"", visit),
            Bug::ScansOnAfterABreak => store.scan(column, prefix, from, &mut |key, value| {
                let _told_to_end = visit(key, value)?;
                Ok(ControlFlow::Continue(()))
            }),
            Bug::SwallowsErrors => store.scan(column, prefix, from, visit).or(Ok(())),
            _ => store.scan(column, prefix, from, visit),
        }
    }

    fn delete_range(&mut self, column: ColumnId, start: &[u8], end: &[u8]) -> Result<()> {
        self.store().delete_range(column, start, end)?;
        if self.bug == Bug::DeletesTheEndOfARange && start < end {
            self.store().delete(column, end)?;
        }
        Ok(())
    }

    fn load(&mut self, column: ColumnId, entries: &mut dyn Iterator<Item = (&[u8], &[u8])>) -> Result<()> {
        for (key, value) in entries {
            if self.bug == Bug::LoadsOnlyWhatIsInOrder && key < self.last_loaded.as_slice() {
                continue;
            }
            self.last_loaded = key.to_vec();
            self.put(column, key, value)?;
        }
        Ok(())
    }

    fn freeze(&mut self) -> Result<Box<dyn FrozenBytes>> {
        match self.bug {
            Bug::FreezesNothing => Ok(Box::new(NotFrozen(Arc::clone(&self.store)))),
            _ => self.store().freeze(),
        }
    }
}

/// A view of the store as it is when it is read.
struct NotFrozen(Arc<Mutex<ReferenceStore>>);

impl FrozenBytes for NotFrozen {
    fn get(&self, column: ColumnId, key: &[u8], read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        self.0.lock().unwrap().get(column, key, read)
    }

    fn scan(&self, column: ColumnId, prefix: &[u8], from: &[u8], visit: &mut VisitEntry<'_>) -> Result<()> {
        self.0.lock().unwrap().scan(column, prefix, from, visit)
    }
}

type Behaviour = fn(&Subject) -> Result<()>;

/// Every one of the behaviours must fail on a store with this bug.
fn assert_noticed(bug: Bug, by: &[(&str, Behaviour)]) {
    for (name, behaviour) in by {
        let outcome = catch_unwind(AssertUnwindSafe(|| behaviour(&Subject::bytes(bug))));
        assert!(!matches!(outcome, Ok(Ok(()))), "{name} does not notice a store that {bug:?}");
    }
}

macro_rules! noticed {
    ($($test:ident: $bug:ident by $($behaviour:ident),*;)*) => {$(
        #[test]
        fn $test() {
            assert_noticed(Bug::$bug, &[$((stringify!($behaviour), conformance::$behaviour)),*]);
        }
    )*};
}

noticed! {
    appends_without_delimiter: AppendsWithoutDelimiter by
        list_keeps_the_order_of_additions, merging_lists_appends_the_sources_in_order,
        random_operations_agree_with_a_model, store_appends_behind_the_delimiter;
    scans_past_the_prefix: ScansPastThePrefix by
        map_entries_are_independent, map_larger_than_a_page_is_visited_once, namespaces_are_independent,
        random_operations_agree_with_a_model, store_scans_in_order_within_the_prefix;
    scans_from_the_prefix: ScansFromThePrefix by store_scans_in_order_within_the_prefix;
    scans_on_after_a_break: ScansOnAfterABreak by store_scans_in_order_within_the_prefix;
    freezes_nothing: FreezesNothing by
        snapshot_does_not_see_later_writes, snapshots_of_one_backend_are_independent,
        random_operations_agree_with_a_model, store_freezes_all_columns, store_agrees_with_the_reference_store;
    deletes_the_end_of_a_range: DeletesTheEndOfARange by store_deletes_ranges, store_agrees_with_the_reference_store;
    mixes_columns: MixesColumnsOfOneLength by
        random_operations_agree_with_a_model, store_keeps_its_columns_apart;
    writes_batches_backwards: WritesBatchesBackwards by
        random_operations_agree_with_a_model, store_applies_batches_in_order;
    loads_only_what_is_in_order: LoadsOnlyWhatIsInOrder by
        snapshot_restores_everything, rescaling_loses_nothing_and_doubles_nothing, store_loads_in_any_order;
    takes_empty_for_absent: TakesEmptyForAbsent by store_appends_behind_the_delimiter, store_takes_any_bytes;
    swallows_errors: SwallowsErrors by store_passes_errors_of_closures_on;
}

/// The wrapper itself is sound: what a bug does not concern passes.
#[test]
fn a_bug_is_not_noticed_elsewhere() {
    for (bug, behaviour) in [
        (Bug::DeletesTheEndOfARange, conformance::random_operations_agree_with_a_model as Behaviour),
        (Bug::SwallowsErrors, conformance::store_agrees_with_the_reference_store),
        (Bug::AppendsWithoutDelimiter, conformance::map_larger_than_a_page_is_visited_once),
        (Bug::FreezesNothing, conformance::rescaling_loses_nothing_and_doubles_nothing),
    ] {
        conformance::check(behaviour, &Subject::bytes(bug));
    }
}
