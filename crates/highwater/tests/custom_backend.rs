//! The store of the tutorial `custom_backend` does all that a store has to do; so does a copy of it that writes files
//! all the time.
#![allow(clippy::unwrap_used, reason = "a failed assumption should stop the test, in helpers too")]

#[path = "../examples/support/fjall_store.rs"]
mod fjall_store;
mod support;

use std::ops::ControlFlow;
use std::process::Command;

use fjall_store::{FjallStateBackend, FjallStoreFactory};
use highwater::state::conformance::Subject;
use highwater::state::{ByteStoreContext, ByteStoreFactory, conformance_suite};
use highwater::types::{KeyGroupRange, MaxParallelism};
use highwater::{BackendRegistry, ErrorKind, KeyedStore, MemorySize};

conformance_suite!(in_memory_tables, Subject::bytes(FjallStoreFactory::new(None, MemorySize::from_mebibytes(16))));

// Flushes and compactions below the frozen views.
conformance_suite!(in_many_files, Subject::bytes(FjallStoreFactory::new(None, MemorySize::from_kibibytes(64))));

fn context() -> ByteStoreContext {
    ByteStoreContext::new("test", KeyGroupRange::new(0, 127).unwrap(), MaxParallelism::new(128).unwrap())
}

#[test]
fn the_backend_is_loaded_by_its_name_and_keeps_its_files_where_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("made/when/needed");
    let mut registry = BackendRegistry::new();
    registry.register("fjall", FjallStateBackend::from_configuration).unwrap();
    let configuration = [
        ("state.backend.type", "Fjall"),
        ("state.backend.fjall.localdir", place.to_str().unwrap()),
        ("state.backend.fjall.memtable-size", "1 mb"),
    ];
    let backend = registry.load(&configuration.into_iter().collect()).unwrap();
    assert_eq!(backend.name(), "FjallStateBackend");
    assert!(backend.to_string().contains("made/when/needed") && backend.to_string().contains("1 mb"), "{backend}");

    let KeyedStore::Bytes(factory) = backend.keyed_store() else { unreachable!("it keeps bytes") };
    let (first, second) = (factory.create(&context()).unwrap(), factory.create(&context()).unwrap());
    assert_eq!(place.read_dir().unwrap().count(), 2, "a directory for each store");
    drop((first, second));
    assert_eq!(place.read_dir().unwrap().count(), 0);

    let error = registry
        .load(&[("state.backend", "fjall"), ("state.backend.fjall.memtable-size", "big")].into_iter().collect());
    assert!(error.unwrap_err().to_string().contains("memtable-size"));
}

/// Twenty versions of every value, each with a view of its own, while fjall moves them from memory to files and drops
/// what nobody can see any more.
#[test]
fn views_stay_as_they_are_while_files_are_written_and_merged() {
    let mut store = FjallStoreFactory::new(None, MemorySize::from_kibibytes(64)).create(&context()).unwrap();
    let column = store.column("state").unwrap();
    let mut views = Vec::new();
    for version in 0..20_u8 {
        for key in 0..500_u16 {
            store.put(column, &key.to_be_bytes(), &[version; 300]).unwrap();
        }
        views.push((version, store.freeze().unwrap()));
        // Some views are gone before others, as those of checkpoints are.
        if version % 3 == 2 {
            views.swap_remove(usize::from(version) / 3);
        }
    }
    assert!(store.approximate_size(column).unwrap() > 0, "nothing was written to files");
    drop(store);
    for (version, view) in &views {
        let mut keys = 0..500_u16;
        view.scan(column, b"", b"", &mut |key, value| {
            assert_eq!(key, keys.next().unwrap().to_be_bytes());
            assert_eq!(value, [*version; 300]);
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        assert_eq!(keys.next(), None, "version {version}");
    }
}

/// fjall asks for a full memory table to be written with every write into it. The queue of these requests filled up, the
/// thread that works it off waited for a place in it, and from then on all state stayed in memory. The store holds the
/// number of full tables down, so most of what was put is in files whenever one looks.
#[test]
fn however_fast_state_comes_it_goes_to_files() {
    let mut store = FjallStoreFactory::new(None, MemorySize::from_kibibytes(64)).create(&context()).unwrap();
    let columns = ["one", "two", "three"].map(|name| store.column(name).unwrap());
    for key in 0..60_000_u32 {
        for column in columns {
            store.put(column, &key.to_be_bytes(), &key.wrapping_mul(0x9E37_79B9).to_be_bytes()).unwrap();
        }
    }
    for column in columns {
        let (written, put) = (store.approximate_size(column).unwrap(), 60_000 * 8);
        assert!(written > put / 2, "{written} of {put} bytes are in files");
    }
}

#[test]
fn what_fjall_would_panic_at_is_refused() {
    let mut store = FjallStoreFactory::new(None, MemorySize::from_mebibytes(1)).create(&context()).unwrap();
    let column = store.column("state").unwrap();
    store.put(column, &[7; 65_534], b"the longest key").unwrap();
    assert!(store.get(column, &[7; 65_534], &mut |_| Ok(())).unwrap());
    let too_long = [7; 65_535];
    for result in [
        store.put(column, &too_long, b""),
        store.append(column, &too_long, b""),
        store.delete(column, &too_long),
        store.get(column, &too_long, &mut |_| Ok(())).map(drop),
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn a_place_that_is_no_directory_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let factory = FjallStoreFactory::new(Some(file.path().to_owned()), MemorySize::from_mebibytes(1));
    let error = factory.create(&context()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert_eq!(error.value("below"), Some(file.path().to_str().unwrap()));
}

#[test]
fn the_tutorial_stops_goes_on_with_another_parallelism_and_ends_with_the_right_receipts() {
    let output = Command::new(support::example("custom_backend")).output().unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{stdout}{stderr}");
    for said in [
        "2 workers, started afresh: Stopped",
        "3 workers, restored from checkpoint",
        ": Finished after",
        "4000 receipts",
        "0 databases left",
    ] {
        assert!(stdout.contains(said), "{said:?} is missing in\n{stdout}");
    }
}
